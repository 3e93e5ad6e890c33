//! Verbs: the work for which clients wait.
//!
//! ```text
//!   begin ─► batch ─► read ─► choose          list ─► read ─► choose          commit ─► lock, tell
//! ```

pub(in crate::node) mod batch;
pub(in crate::node) mod begin;
pub(in crate::node) mod choose;
pub(in crate::node) mod commit;
mod condition;
pub(in crate::node) mod end;
pub(in crate::node) mod failed;
pub(in crate::node) mod level;
pub(in crate::node) mod list;
pub(in crate::node) mod lock;
pub(in crate::node) mod read;
pub(in crate::node) mod reserve;
pub(in crate::node) mod resolve;
pub(in crate::node) mod tell;
