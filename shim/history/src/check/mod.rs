//! The checker: does a history keep the promises P1 to P4 (and P5, and P8 if asked)?
//!
//! Definition. A history is read atomic if there is one total order of its committed transactions, with a virtual
//! first one that wrote version 0 of every key, such that every transaction comes after those that it read, and
//! every read of `l` from `B` is the newest write of `l` among the transactions that the reader read anything from.
//! In the paper's words (section 3): no reader sees `A`'s write of one key together with a version of `l` older
//! than `A`'s write of `l`.
//!
//! Method:
//!
//! ```text
//! history ─► index      who wrote what (sorted writes); who counts as committed
//!              │ per reader
//!              ├► reads        dirty, intermediate, own writes, repeatable; leaves the good reads from others
//!              ├► constraints  reader saw A, and l of B, and A wrote l too  ⇒  A before B
//!              │    ├► fractures  against the order that is known: version 0 is the oldest; stamps
//!              │    └► order      without any order: the constraints as a graph; a cycle is a violation
//!              ├► session      the same for what the reader's own session committed (option)
//!              └► staleness    how far behind, as a number
//!            requests    at most one commit a request; stamps unique
//!            serial      one order for all of it (option)
//! ```
//!
//! The two judgements agree: constraints that stamps satisfy have no cycle. That is asserted. Where some stamps are
//! missing, what stamps there are join the graph, so that any mixture is judged exactly.
//!
//! Cost: sorting, and for each reader and each transaction it read from, the smaller of their read and write sets.
//! No step is quadratic in the number of transactions.
//!
//! Lost updates and write skew, which read atomicity allows, are found if serializability is asked for ([`serial`]);
//! so is the order across transactions of a client.

/// Whether the tests planted this bug in the checker; never so outside of its own unit tests.
macro_rules! planted {
    ($plant:ident) => {{
        #[cfg(test)]
        let is_planted = crate::check::planted::is_planted(crate::check::planted::Plant::$plant);
        #[cfg(not(test))]
        let is_planted = false;
        is_planted
    }};
}

mod constraints;
mod cycle;
mod durable;
mod file;
mod fracture;
mod index;
mod order;
#[cfg(test)]
mod planted;
mod reads;
mod requests;
mod serial;
mod session;
mod staleness;
#[cfg(test)]
mod tests;

pub use durable::{Durability, Loss, check_durable};
pub use file::{CheckFileError, check_file};
pub use index::Malformed;

use constraints::Constraints;
use index::Index;
use order::Order;
use serial::Serial;
use session::OwnCommits;
use staleness::Lags;

use crate::{Counts, History, Outcome, Report, Serializability, Stamps, Violation};

/// Whose reads are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readers {
    /// Those of committed transactions: what the promises speak of.
    #[default]
    Committed,
    /// Those of every transaction: also an attempt that will abort must not see fractures while it runs.
    All,
}

/// What to check beyond the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whose reads are checked.
    pub readers: Readers,
    /// Whether a session must see its own acknowledged commits (P8), in the order in which the history lists them.
    /// Off by default: without session tokens the shim promises nothing across transactions.
    pub sessions: bool,
    /// Demands that all committed transactions come to what they would have come to one after the
    /// other. Off by default: the shim promises it only at the serializable level.
    pub serializable: bool,
}

/// Checks a history.
///
/// # Errors
///
/// If the history is no history: a value written twice, version 0 written, an id used twice. Nothing was checked.
///
/// # Panics
///
/// If the checker contradicts itself, which no history can cause.
pub fn check(history: &History, options: &Options) -> Result<Report, Malformed> {
    let index = Index::new(history)?;
    let mut violations = Vec::new();
    let mut constraints = Constraints::default();
    let mut order = Order::default();
    let mut lags = Lags::new(&index);
    let mut serial = options.serializable.then(Serial::default);
    let mut own_commits = options.sessions.then(OwnCommits::new);
    let mut reads_checked = 0;

    for reader in 0..index.len() {
        if is_checked(&index, reader, options.readers) {
            let scan = reads::scan(&index, reader, &mut violations);
            reads_checked += scan.reads;
            constraints.add_reader(&index, reader, &scan.seen);
            order.add_reads(reader, &scan.seen);
            lags.add_reader(&index, reader, &scan.seen);
            if let Some(serial) = &mut serial
                && index.is_committed(reader)
            {
                serial.add_reader(reader, &scan.seen);
            }
            if let Some(own_commits) = &own_commits {
                own_commits.check(&index, reader, &scan.seen, &mut order, &mut violations);
            }
        }
        if let Some(own_commits) = &mut own_commits {
            own_commits.pass(&index, reader, &mut order);
        }
    }

    fracture::check(&index, &constraints, &mut violations);
    fracture::check_later_stamps(&index, &order, &mut violations);
    let cycles = order.cycles(&index, &constraints);
    let stamps = requests::stamps(&index);
    if stamps == Stamps::All && !options.sessions {
        let explained = violations.iter().any(|found| found.breaks().is_some());
        assert!(
            cycles.is_empty() || explained,
            "reads that no order of versions explains, and the stamps do: {cycles:?}"
        );
    }
    violations.extend(cycles.into_iter().map(Violation::Cycle));
    if stamps != Stamps::All || options.sessions {
        let broken = violations.iter().filter_map(Violation::breaks).min();
        let cycles = order.stamp_cycles(&index, &constraints, broken);
        violations.extend(cycles.into_iter().map(Violation::Cycle));
    }
    let serializability = match serial {
        None => Serializability::NotAsked,
        Some(_) if violations.iter().any(|found| found.breaks().is_some()) => Serializability::No,
        Some(serial) => {
            let (verdict, cycles) = serial.judge(&index, order.sessions());
            violations.extend(cycles.into_iter().map(Violation::Cycle));
            verdict
        }
    };
    requests::check(&index, &mut violations);
    // Grouped by kind; the sort is stable, so within a kind the order of the history stays.
    violations.sort_by_key(kind);

    Ok(Report {
        counts: counts(&index, reads_checked),
        stamps,
        violations,
        serializability,
        staleness: lags.summary(),
    })
}

/// Whether the reads of a transaction are judged.
fn is_checked(index: &Index<'_>, reader: usize, readers: Readers) -> bool {
    match readers {
        Readers::Committed => index.is_committed(reader),
        // Nameless aborted transactions may be several: their reads do not belong together.
        Readers::All => index.transaction(reader).id.number().is_some(),
    }
}

/// The order in which kinds of violations are reported: the simplest story first.
const fn kind(violation: &Violation) -> u8 {
    match violation {
        Violation::ThinAirRead { .. } => 0,
        Violation::DirtyRead { .. } => 1,
        Violation::FutureRead { .. } => 2,
        Violation::IntermediateRead { .. } => 3,
        Violation::OwnWriteLost { .. } => 4,
        Violation::NonRepeatableRead { .. } => 5,
        Violation::FracturedRead { .. } => 6,
        Violation::Cycle(_) => 7,
        Violation::LaterStampRead { .. } => 8,
        Violation::SharedStamp { .. } => 9,
        Violation::DoubleEffect { .. } => 10,
        Violation::OwnCommitLost { .. } => 11,
    }
}

fn counts(index: &Index<'_>, reads_checked: u64) -> Counts {
    let mut counts = Counts { reads_checked, keys_written: index.keys_written(), ..Counts::default() };
    for (at, transaction) in index.transactions().iter().enumerate() {
        match (transaction.outcome, index.is_committed(at)) {
            (Outcome::Committed, _) => counts.committed += 1,
            (Outcome::Aborted, _) => counts.aborted += 1,
            (Outcome::Unknown, true) => counts.unknown_read += 1,
            (Outcome::Unknown, false) => counts.unknown_unread += 1,
        }
        counts.reads += transaction.reads().count() as u64;
        counts.writes += transaction.writes().count() as u64;
    }
    counts
}
