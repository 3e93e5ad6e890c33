//! Errors in the text of a history, each with its line and a remedy.

use crate::{Key, TransactionId, Value};

/// An error of the parser.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ParseError {
    /// The line, counted from 1.
    pub line: u64,
    /// The problem with the line.
    pub problem: Problem,
}

/// A problem with a line.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The text could not be read to its end.
    #[error("cannot read the text: {0}")]
    Io(#[from] std::io::Error),
    /// The line is longer than any operation or sensible comment.
    #[error("longer than {max} bytes; is this a history? expected one operation per line", max = super::line::LEN_MAX)]
    TooLong,
    /// The line is neither an operation nor a comment.
    #[error(
        "{0:?} is not an operation; expected w(key,value,session,transaction) or r(key,value,session,transaction), \
         or a comment after '#'"
    )]
    NotAnOperation(String),
    /// An operation has too few or too many numbers.
    #[error("{found} numbers in the brackets; expected four: key,value,session,transaction")]
    Fields {
        /// The number of numbers in the brackets.
        found: usize,
    },
    /// A field is not a number, or is too large.
    #[error("{field} {text:?} is not a number from 0 to {max}{remedy}", remedy = remedy(field))]
    Number {
        /// The name of the field.
        field: &'static str,
        /// The text of the field.
        text: String,
        /// The greatest number that the field can hold.
        max: u128,
    },
    /// A transaction has operations in two sessions.
    #[error(
        "{transaction} is in session {now} here and in session {before} above; a transaction has one session, so \
         give them different numbers"
    )]
    SessionChanged {
        /// The transaction.
        transaction: TransactionId,
        /// The number of its session so far.
        before: u64,
        /// The number of its session in this line.
        now: u64,
    },
    /// A pair of key and value is written twice.
    #[error(
        "value {value} of {key} is written here and in line {first_line}; values must name their writer: write every \
         value to a key only once"
    )]
    ValueReused {
        /// The key.
        key: Key,
        /// The value.
        value: Value,
        /// The line of the first write.
        first_line: u64,
    },
    /// A write has value 0, which is reserved for version 0.
    #[error(
        "value 0 is written to {0}; 0 is reserved and means never written: count values from 1, and leave out a first \
         transaction that writes 0 to every key"
    )]
    AbsentWritten(Key),
    /// The directive does not exist.
    #[error(
        "directive {0:?} is not known; the directives are unknown, aborted, stamp, request, began, committed and session \
         (begin a comment with '#' and a space)"
    )]
    UnknownDirective(String),
    /// A directive has too few or too many numbers.
    #[error("directive {word} with {found} numbers; expected {expected}: {usage}")]
    DirectiveNumbers {
        /// The directive.
        word: &'static str,
        /// The number of numbers after the directive.
        found: usize,
        /// The number of numbers that the directive takes.
        expected: usize,
        /// The syntax of the directive.
        usage: &'static str,
    },
    /// A directive repeats or contradicts an earlier line.
    #[error(
        "directive {word} contradicts or repeats an earlier line about {transaction}; keep only one of them"
    )]
    DirectiveRepeated {
        /// The directive.
        word: &'static str,
        /// The transaction.
        transaction: TransactionId,
    },
    /// A directive names a transaction that the text does not contain.
    #[error(
        "{0} has no operations anywhere in the text; correct its number, or declare it with '#@ session T S'"
    )]
    NoSuchTransaction(TransactionId),
    /// An operation carries the number of an aborted transaction.
    #[error("{0} was declared aborted; its operations carry the transaction -1")]
    AbortedByNumber(TransactionId),
}

/// Returns the further remedy for a wrong number in `field`.
fn remedy(field: &str) -> &'static str {
    if field == "transaction" { ", or -1 for an aborted transaction" } else { "" }
}
