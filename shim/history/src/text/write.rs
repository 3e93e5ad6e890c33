//! Writers of the text format: with directives, so that the parser restores the same history; and
//! plain, for other checkers, which know only operations.

use std::io::{self, Write};

use crate::{History, Key, Operation, Outcome, Transaction, Value};

/// Writes a history such that [`parse`](super::parse) restores it, with nameless aborted
/// transactions first.
///
/// # Errors
///
/// Returns the error of `text` if a write to it fails.
pub fn write(text: &mut impl Write, history: &History) -> io::Result<()> {
    let is_nameless = |transaction: &&Transaction| transaction.id.number().is_none();
    let transactions = history.transactions();
    // The operations of a nameless transaction must come before any `aborted` directive of its
    // session, or they would be attributed to the transaction that the directive names.
    transactions
        .iter()
        .filter(is_nameless)
        .try_for_each(|transaction| write_transaction(text, transaction))?;
    let mut named = transactions.iter().filter(|transaction| !is_nameless(transaction));
    named.try_for_each(|transaction| write_transaction(text, transaction))
}

/// Writes one transaction, for logging each transaction when it ends. A file must contain the
/// transactions of a session in their order.
///
/// # Errors
///
/// Returns the error of `text` if a write to it fails.
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

/// Writes only the operations, for other checkers. Aborted writes get transaction -1, reads of
/// aborted transactions are left out, and a transaction of unknown outcome counts as committed if
/// and only if another transaction read one of its writes.
///
/// # Errors
///
/// Returns the error of `text` if a write to it fails.
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

/// Returns every read of the history with the place of its reader, sorted.
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
    // The reads are unique, so at most one is by the writer: this looks at two at most.
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
