//! The small worlds of the protocol's section 16: those of its model, those that the model left
//! out, and some for verbs beside each other and for the end of nodes.
//!
//! Each world is a state and a budget of faults. Its preparation runs in one order; its interesting
//! part is explored from that state in every order. In the names, `K`, `L` and `M` are values of
//! the three keys, and `K−` is a tombstone.
//!
//! [`all`] lists them. `stage` prepares a world and makes a [`Scenario`] of it, `requests` has the
//! programs of its clients; the other modules have the worlds, by subject.

mod attempts;
mod failures;
mod reading;
mod requests;
mod serializable;
mod stage;
mod sweeps;
mod uploads;

use aft_core::bug::Bug;

use crate::explore::Scenario;

/// Returns every small world, with or without a planted bug. Those whose bugs the seeds are least
/// likely to find come first.
pub fn all(bug: Option<Bug>) -> Vec<Scenario> {
    let mut all = attempts::exactly_once(bug);
    all.extend(reading::reading(bug));
    all.extend(sweeps::collecting(bug));
    all.extend(sweeps::reading_beside_sweeps(bug));
    all.extend(sweeps::sweeping(bug));
    all.extend(failures::times(bug));
    all.extend(attempts::overlapping(bug));
    all.extend(failures::ending(bug));
    all.extend(serializable::checking(bug));
    all.extend(serializable::locking(bug));
    all.extend(uploads::uploading(bug));
    all
}
