//! Owners of state: each has private fields in its own file, and knows nothing of the verbs above
//! it.

pub(in crate::node) mod calls;
pub(in crate::node) mod checks;
pub(in crate::node) mod ids;
pub(in crate::node) mod index;
pub(in crate::node) mod line;
pub(in crate::node) mod mark;
pub(in crate::node) mod read;
pub(in crate::node) mod read_set;
pub(in crate::node) mod remembered;
pub(in crate::node) mod requests;
pub(in crate::node) mod script;
pub(in crate::node) mod state;
pub(in crate::node) mod timers;
pub(in crate::node) mod transaction;
pub(in crate::node) mod transactions;
mod weights;
