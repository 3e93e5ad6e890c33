//! The checker: it decides whether a history keeps the promises P1 to P5 (and P8 on request).
//!
//! Definition. A history is read atomic if there is a total order of its committed transactions,
//! with a virtual first one that wrote version 0 of every key, such that every transaction comes
//! after those that it read, and every read of `l` from `B` is the newest write of `l` among the
//! transactions from which the reader read anything. In the paper's words (section 3): no reader
//! sees `A`'s write of one key together with a version of `l` older than `A`'s write of `l`.
//!
//! Method:
//!
//! ```text
//! history ─► index      the writer of each value (sorted writes); the committed transactions
//!              │ per reader
//!              ├► reads        dirty, intermediate, own writes, repeatable; returns the good reads
//!              │               from other transactions
//!              ├► constraints  reader saw A, and read l from B, and A wrote l too  ⇒  A before B
//!              │    ├► fracture   checks them against the known order: version 0 is oldest; stamps
//!              │    └► order      checks them without an order, as a graph: a cycle is a violation
//!              ├► session      the same for commits of the reader's own session (option)
//!              └► staleness    measures how far reads lag behind
//!            requests    at most one commit per request; stamps unique
//!            serial      one order of transactions that explains all reads (option)
//! ```
//!
//! The two checks of constraints agree: constraints that the stamps satisfy have no cycle. This is
//! asserted. Where only some transactions have stamps, these stamps join the graph, so that every
//! mixture is decided exactly.
//!
//! Cost: sorting; and, for each reader and each transaction that it read from, the size of the
//! smaller of their read set and write set. No step is quadratic in the number of transactions.
//!
//! The check for serializability ([`serial`]) finds lost updates and write skew, which read
//! atomicity allows. If session order is checked, too, it must also respect that order.

/// Returns true if a unit test planted this bug in the checker; the constant `false` elsewhere.
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
pub use file::{CheckFileError, check_file, read_file};
pub use index::Malformed;

use constraints::Constraints;
use index::Index;
use order::Order;
use serial::Serial;
use session::OwnCommits;
use staleness::Lags;

use crate::{Counts, History, Outcome, Report, Serializability, Stamps, Violation};

/// The transactions whose reads are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readers {
    /// Committed transactions, to which the promises apply.
    #[default]
    Committed,
    /// All transactions: an attempt that will abort must not see fractures either while it runs.
    All,
}

/// The options of a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The transactions whose reads are checked.
    pub readers: Readers,
    /// True to require that a session sees its own acknowledged commits (P8), in the order in which
    /// the history lists them. False by default: without session tokens the shim promises nothing
    /// across transactions.
    pub sessions: bool,
    /// True to require that the result is as if all committed transactions had run one after the
    /// other. False by default: the shim promises it only at the serializable level.
    pub serializable: bool,
}

/// Checks a history.
///
/// # Errors
///
/// Returns [`Malformed`], without checking anything, if the history is not well formed: a value
/// written twice, version 0 written, or an id used twice. Fix the logger.
///
/// # Panics
///
/// Panics if the checker contradicts itself, which no history can cause.
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
            // The scan reports bad reads by themselves and leaves them out of `seen`, so that no
            // later check reports the same read again.
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
        // After the reader's own check, because its commit binds only later transactions. An
        // unchecked transaction may have committed too.
        if let Some(own_commits) = &mut own_commits {
            own_commits.pass(&index, reader, &mut order);
        }
    }

    fracture::check(&index, &constraints, &mut violations);
    fracture::check_later_stamps(&index, &order, &mut violations);
    let cycles = order.cycles(&index, &constraints);
    let stamps = requests::stamps(&index);
    // With all stamps the two checks must agree. Session order is excluded, because the stamps of a
    // session need not follow it.
    if stamps == Stamps::All && !options.sessions {
        let explained = violations.iter().any(|found| found.breaks().is_some());
        assert!(
            cycles.is_empty() || explained,
            "no order of versions explains the reads, but the stamps break no constraint: {cycles:?}"
        );
    }
    violations.extend(cycles.into_iter().map(Violation::Cycle));
    // Otherwise a violation may follow only from stamps and constraints (or sessions) together.
    if stamps != Stamps::All || options.sessions {
        let broken = violations.iter().filter_map(Violation::breaks).min();
        let cycles = order.stamp_cycles(&index, &constraints, broken);
        violations.extend(cycles.into_iter().map(Violation::Cycle));
    }
    // Serializability implies the weaker levels, so a violation of one settles it.
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
    // The sort is stable, so each kind keeps the order of the history.
    violations.sort_by_key(kind);

    Ok(Report {
        counts: counts(&index, reads_checked),
        stamps,
        violations,
        serializability,
        staleness: lags.summary(),
    })
}

/// Returns true if the reads of a transaction are checked.
fn is_checked(index: &Index<'_>, reader: usize, readers: Readers) -> bool {
    match readers {
        Readers::Committed => index.is_committed(reader),
        // A nameless aborted transaction may stand for several, whose reads are unrelated.
        Readers::All => index.transaction(reader).id.number().is_some(),
    }
}

/// Returns the position of a violation's kind in a report: the simplest witness comes first.
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
