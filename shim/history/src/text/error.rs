//! What can be wrong with a text, each with the line and what to do about it.

use crate::{Key, TransactionId, Value};

/// A text that is no history.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ParseError {
    /// The line, counted from 1.
    pub line: u64,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The text could not be read on.
    #[error("cannot read on: {0}")]
    Io(#[from] std::io::Error),
    /// The line is longer than any operation or sensible comment.
    #[error("longer than {max} bytes; is this a history? expected one operation a line", max = super::line::LEN_MAX)]
    TooLong,
    /// Neither an operation nor a comment.
    #[error(
        "{0:?} is no operation; expected w(key,value,session,transaction) or r(key,value,session,transaction), \
         or a comment after '#'"
    )]
    NotAnOperation(String),
    /// An operation with too few or too many numbers.
    #[error("{found} numbers in the brackets; expected four: key,value,session,transaction")]
    Fields {
        /// How many there are.
        found: usize,
    },
    /// Something that should be a number.
    #[error("{field} {text:?} is no number from 0 to {max}{remedy}", remedy = remedy(field))]
    Number {
        /// Which number it should be.
        field: &'static str,
        /// What is there.
        text: String,
        /// The greatest number that can be there.
        max: u128,
    },
    /// A transaction in two sessions.
    #[error(
        "{transaction} is in session {now} here and in session {before} above; a transaction has one session, so \
         give them different numbers"
    )]
    SessionChanged {
        /// The transaction.
        transaction: TransactionId,
        /// Its session so far.
        before: u64,
        /// Its session here.
        now: u64,
    },
    /// A pair of key and value written twice.
    #[error(
        "value {value} of {key} is written here and in line {first_line}; values must name their writer: write every \
         value to a key only once"
    )]
    ValueReused {
        /// The key.
        key: Key,
        /// The value.
        value: Value,
        /// Where it is written first.
        first_line: u64,
    },
    /// Version 0 is written.
    #[error(
        "value 0 is written to {0}; 0 is reserved and means never written: count values from 1, and leave out a first \
         transaction that writes 0 to every key"
    )]
    AbsentWritten(Key),
    /// A directive that there is not.
    #[error(
        "directive {0:?} is not known; there are unknown, aborted, stamp, request, began, committed and session \
         (begin a comment with '#' and a space)"
    )]
    UnknownDirective(String),
    /// A directive with too few or too many numbers.
    #[error("directive {word} with {found} numbers; expected {expected}: {usage}")]
    DirectiveNumbers {
        /// The directive.
        word: &'static str,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
        /// How it is written.
        usage: &'static str,
    },
    /// A directive that says again, or otherwise, what is said above.
    #[error("directive {word} contradicts or repeats what is said of {transaction} above; say it once")]
    DirectiveRepeated {
        /// The directive.
        word: &'static str,
        /// The transaction.
        transaction: TransactionId,
    },
    /// A directive about a transaction that the text does not have.
    #[error(
        "{0} has no operations anywhere in the text; correct its number, or declare it with '#@ session T S'"
    )]
    NoSuchTransaction(TransactionId),
    /// An operation that names an aborted transaction.
    #[error("{0} was declared aborted; its operations carry the transaction -1")]
    AbortedByNumber(TransactionId),
}

/// What else may help with a wrong number.
fn remedy(field: &str) -> &'static str {
    if field == "transaction" { ", or -1 for an aborted transaction" } else { "" }
}
