//! From a history to text.
//!
//! Two ways: with directives, so that the parser gives back the same history; and plain, for other checkers, which
//! know operations only.

use std::io::{self, Write};

use crate::{History, Key, Operation, Outcome, Transaction, Value};

/// Writes a history so that [`parse`](super::parse) gives it back (nameless aborted transactions first).
///
/// # Errors
///
/// If `text` cannot be written to.
pub fn write(text: &mut impl Write, history: &History) -> io::Result<()> {
    let is_nameless = |transaction: &&Transaction| transaction.id.number().is_none();
    let transactions = history.transactions();
    // A nameless one's operations must not follow a directive that names one of its session.
    transactions
        .iter()
        .filter(is_nameless)
        .try_for_each(|transaction| write_transaction(text, transaction))?;
    let mut named = transactions.iter().filter(|transaction| !is_nameless(transaction));
    named.try_for_each(|transaction| write_transaction(text, transaction))
}

/// Writes one transaction: who logs while running writes each when it ends. In a file, a session's transactions must
/// come in their order.
///
/// # Errors
///
/// If `text` cannot be written to.
pub fn write_transaction(text: &mut impl Write, transaction: &Transaction) -> io::Result<()> {
    let session = transaction.session.number();
    if let Some(number) = transaction.id.number() {
        match transaction.outcome {
            Outcome::Aborted => writeln!(text, "#@ aborted {number} {session}")?,
            Outcome::Unknown | Outcome::Committed if transaction.operations.is_empty() => {
                writeln!(text, "#@ session {number} {session}")?;
            }
            Outcome::Unknown | Outcome::Committed => {}
        }
        if transaction.outcome == Outcome::Unknown {
            writeln!(text, "#@ unknown {number}")?;
        }
        if let Some(request) = transaction.request {
            writeln!(text, "#@ request {number} {}", request.0)?;
        }
        if let Some(stamp) = transaction.stamp {
            writeln!(text, "#@ stamp {number} {}", stamp.0)?;
        }
        if let Some(ms) = transaction.begin_ms {
            writeln!(text, "#@ began {number} {ms}")?;
        }
        if let Some(ms) = transaction.commit_ms {
            writeln!(text, "#@ committed {number} {ms}")?;
        }
    }
    let is_aborted = transaction.outcome == Outcome::Aborted;
    let number = transaction.id.number().filter(|_| !is_aborted);
    transaction.operations.iter().try_for_each(|operation| write_operation(text, operation, session, number))
}

/// Writes the operations alone, as other checkers read them: aborted writes with transaction -1, reads of aborted
/// transactions left out, and unknown outcomes decided (committed if and only if somebody read them).
///
/// # Errors
///
/// If `text` cannot be written to.
pub fn write_plain(text: &mut impl Write, history: &History) -> io::Result<()> {
    let reads = sorted_reads(history);
    for (at, transaction) in history.transactions().iter().enumerate() {
        let is_committed = match transaction.outcome {
            Outcome::Committed => true,
            Outcome::Aborted => false,
            Outcome::Unknown => transaction.writes().any(|write| is_read_by_another(&reads, write, at)),
        };
        let number = transaction.id.number().filter(|_| is_committed);
        for operation in &transaction.operations {
            if is_committed || matches!(operation, Operation::Write { .. }) {
                write_operation(text, operation, transaction.session.number(), number)?;
            }
        }
    }
    Ok(())
}

/// Every read of the history and who made it, sorted.
fn sorted_reads(history: &History) -> Vec<((Key, Value), usize)> {
    let readers = history.transactions().iter().enumerate();
    let mut reads: Vec<_> =
        readers.flat_map(|(at, reader)| reader.reads().map(move |read| (read, at))).collect();
    reads.sort_unstable();
    reads.dedup();
    reads
}

fn is_read_by_another(reads: &[((Key, Value), usize)], write: (Key, Value), writer: usize) -> bool {
    let start = reads.partition_point(|read| read.0 < write);
    // The writer itself is one reader at most, so this looks at two.
    reads[start..].iter().take_while(|read| read.0 == write).any(|read| read.1 != writer)
}

fn write_operation(
    text: &mut impl Write,
    operation: &Operation,
    session: u64,
    number: Option<u64>,
) -> io::Result<()> {
    let (letter, key, value) = match operation {
        Operation::Read { key, value } => ('r', key, value),
        Operation::Write { key, value } => ('w', key, value),
    };
    write!(text, "{letter}({},{},{session},", key.0, value.0)?;
    match number {
        Some(number) => writeln!(text, "{number})"),
        None => writeln!(text, "-1)"),
    }
}
