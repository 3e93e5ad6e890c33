//! The state machine: one struct, one owner, one `step`.

use crate::clock::Now;
use crate::ids::NodeId;
use crate::message::{Input, Output};
use crate::settings::Settings;
use crate::store::CallId;

/// A node of the shim.
#[derive(Debug, Clone, Hash)]
pub struct Node {
    id: NodeId,
    settings: Settings,
}

impl Node {
    /// Makes a node with an empty index. `id` is fresh at every start of a process.
    ///
    /// # Panics
    /// If the settings break a relation that safety rests on ([`Settings::check`]).
    pub fn new(id: NodeId, settings: Settings) -> Node {
        Node { id, settings }
    }

    /// Returns the node's identity.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Takes one event, changes the state, and appends what must be done.
    ///
    /// The clocks never go back, but for the wall clock.
    pub fn step(&mut self, _now: Now, _input: Input, _outputs: &mut Vec<Output>) {
        unimplemented!("follows in the next commits: {:?}", self.settings)
    }

    /// Returns true if a call that waited in the driver may still be sent. If not, the driver answers it with
    /// [`CallError::Expired`](crate::store::CallError::Expired).
    pub fn may_send(&self, _now: Now, _call: CallId) -> bool {
        unimplemented!("follows in the next commits")
    }

    /// Returns the monotonic instant, in milliseconds, at which [`Input::Wake`] is wanted at the latest.
    pub fn next_wake(&self) -> Option<u64> {
        None
    }

    /// Returns the number of open transactions.
    pub fn open_transactions(&self) -> usize {
        0
    }

    /// Returns the estimated bytes of the index; at most `index_bytes_max` and what operations under way hold.
    pub fn index_bytes(&self) -> usize {
        0
    }

    /// Returns the estimated bytes of open transactions; at most `transactions_bytes_max` and what operations under way add.
    pub fn transactions_bytes(&self) -> usize {
        0
    }

    /// Panics if an invariant of the state is broken. Costs time in proportion to the state; for tests.
    pub fn check_invariants(&self) {}
}
