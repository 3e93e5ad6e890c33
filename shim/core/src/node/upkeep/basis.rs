//! The basis of a sweep: the marks and the time on which it rests, and the work that must end
//! before a mark settles.

use crate::bug::Bug;
use crate::ids::{AttemptId, TxnId};

use super::super::base::state::State;

/// The place of a transaction among those that a sweep distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The transaction is at or below the settled mark: committed, and removed where it is
    /// superseded.
    Settled,
    /// The transaction is at or below the mark: committed.
    Marked,
    /// The transaction is over, and not verified yet.
    Window,
    /// The transaction is above the target: nothing is concluded from it.
    Beyond,
}

/// The marks and the time on which a sweep rests.
#[derive(Debug, Clone, Hash)]
pub(super) struct Basis {
    settled: TxnId,
    mark: TxnId,
    target: TxnId,
    /// The lower bound of the store's time when the sweep began, in milliseconds.
    began_ms: u64,
}

impl Basis {
    /// Creates the basis of a sweep that began at `began_ms`.
    pub(super) fn new(settled: TxnId, mark: TxnId, target: TxnId, began_ms: u64) -> Basis {
        let basis = Basis { settled, mark, target, began_ms };
        basis.check_invariants();
        basis
    }

    /// Returns the mark that the sweep began with.
    pub(super) fn mark(&self) -> TxnId {
        self.mark
    }

    pub(super) fn target(&self) -> TxnId {
        self.target
    }

    pub(super) fn began_ms(&self) -> u64 {
        self.began_ms
    }

    /// Returns the place of a transaction. With the planted bug, attempts that are not over are
    /// verified, too.
    pub(super) fn standing(&self, state: &State, txn: TxnId) -> Standing {
        if txn <= self.settled {
            Standing::Settled
        } else if txn <= self.mark {
            Standing::Marked
        } else if txn <= self.target || state.planted(Bug::RemoveUndecidedEarly) {
            Standing::Window
        } else {
            Standing::Beyond
        }
    }

    /// Panics if the three places are not in order.
    pub(super) fn check_invariants(&self) {
        assert!(self.settled <= self.mark, "only what was a mark settles");
        assert!(self.mark <= self.target, "the target never falls below the mark");
    }

    /// Lowers the target below a transaction that could not be verified, entered or removed.
    pub(super) fn fall_below(&mut self, txn: TxnId) {
        if self.mark < txn && txn <= self.target {
            self.target = txn.just_below();
        }
        assert!(self.mark <= self.target, "the target never falls below the mark");
    }

    /// Lowers the target to a place.
    pub(super) fn lower_to(&mut self, below: TxnId) {
        self.target = self.target.min(below).max(self.mark);
    }

    /// Cancels the move of the mark.
    pub(super) fn hold(&mut self) {
        self.target = self.mark;
    }

    /// Takes the target of a sweep that stopped. Every transaction at or below it was over then.
    pub(super) fn take_target(&mut self, target: TxnId) {
        assert!(self.mark <= target, "notes of the same mark have a target above it");
        self.target = target;
    }
}

/// The work that must end before a mark settles, where this process moves it alone.
#[derive(Debug, Clone, Hash)]
pub(super) struct Settling {
    /// The transactions that were open as it moved.
    open: Vec<AttemptId>,
    /// The number of the first call after the move. Earlier writes may rest on the old mark.
    before_call: u64,
}

impl Settling {
    /// Records everything that is open now, after the mark was read in its place.
    pub(super) fn new(state: &State) -> Settling {
        let open = state.transactions.keys().copied().collect();
        Settling { open, before_call: state.calls.next_number() }
    }

    /// Returns true if everything that was open as the mark moved has ended.
    pub(super) fn has_ended(&self, state: &State) -> bool {
        let open = self.open.iter().any(|attempt| state.transactions.contains_key(attempt));
        !open && !state.calls.has_writes_before(self.before_call)
    }
}
