//! Verbs: the work for which clients wait.
//!
//! ```text
//!   begin ─► batch ─► read ─► choose, scan          commit ─► lock ─► ending ─► tell
//!   list ──► read ─► choose, scan, prefixes         a verb that ends a transaction ─► end ─► read
//! ```

pub(in crate::node) mod batch;
pub(in crate::node) mod begin;
pub(in crate::node) mod choose;
pub(in crate::node) mod commit;
mod condition;
pub(in crate::node) mod end;
mod ending;
pub(in crate::node) mod failed;
pub(in crate::node) mod level;
pub(in crate::node) mod list;
pub(in crate::node) mod lock;
pub(in crate::node) mod look_up;
mod prefixes;
pub(in crate::node) mod read;
pub(in crate::node) mod report;
pub(in crate::node) mod reserve;
pub(in crate::node) mod resolve;
mod scan;
