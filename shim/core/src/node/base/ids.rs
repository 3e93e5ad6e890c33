//! The identities that a node gives to its operations and scripts. Store calls, timers and work
//! name their owners by them.

/// The identity of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::node) struct OperationId(pub(in crate::node) u64);

/// The identity of a running script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::node) struct TaskId(pub(in crate::node) u64);
