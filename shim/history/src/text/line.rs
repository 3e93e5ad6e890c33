//! The syntax of one line.
//!
//! The parser works on bytes, not characters: any file may be given to it, and none may make it
//! panic.

use std::io::{BufRead, Read};

use super::error::Problem;
use crate::{Key, RequestId, SessionId, Stamp, TransactionId, Value};

/// The length of the longest line, in bytes: room for a long comment. The bound keeps a file
/// without line ends from filling the memory.
pub(super) const LEN_MAX: usize = 64 * 1024;

/// The contents of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A blank line or a comment.
    Nothing,
    /// An operation.
    Operation {
        is_write: bool,
        key: Key,
        value: Value,
        session: SessionId,
        /// The transaction, or `None` if it aborted.
        transaction: Option<TransactionId>,
    },
    /// A directive and the transaction that it is about.
    Directive(TransactionId, Directive),
}

/// A directive, without its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Directive {
    Unknown,
    Aborted(SessionId),
    Stamp(Stamp),
    Request(RequestId),
    Began(u64),
    Committed(u64),
    Session(SessionId),
}

impl Directive {
    /// Returns the word that begins the directive.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Aborted(_) => "aborted",
            Self::Stamp(_) => "stamp",
            Self::Request(_) => "request",
            Self::Began(_) => "began",
            Self::Committed(_) => "committed",
            Self::Session(_) => "session",
        }
    }
}

/// Reads the next line into `buffer`, without its end. Returns false at the end of the text.
pub(super) fn read(text: &mut impl BufRead, buffer: &mut Vec<u8>) -> Result<bool, Problem> {
    buffer.clear();
    let max = u64::try_from(LEN_MAX).expect("a small constant");
    // One more byte for the line's end.
    let len = text.take(max + 1).read_until(b'\n', buffer)?;
    if buffer.last() == Some(&b'\n') {
        buffer.pop();
    } else if len > LEN_MAX {
        return Err(Problem::TooLong);
    }
    Ok(len > 0)
}

/// Parses a line.
pub(super) fn parse(line: &[u8]) -> Result<Line, Problem> {
    let line = line.trim_ascii();
    match line {
        [] => Ok(Line::Nothing),
        [b'#', b'@', directive @ ..] => parse_directive(directive),
        [b'#', ..] => Ok(Line::Nothing),
        [b'w', b'(', fields @ .., b')'] => parse_operation(true, fields),
        [b'r', b'(', fields @ .., b')'] => parse_operation(false, fields),
        _ => Err(Problem::NotAnOperation(excerpt(line))),
    }
}

fn parse_operation(is_write: bool, fields: &[u8]) -> Result<Line, Problem> {
    let mut numbers = fields.split(|byte| *byte == b',');
    let four = (numbers.next(), numbers.next(), numbers.next(), numbers.next(), numbers.next());
    let (Some(key), Some(value), Some(session), Some(transaction), None) = four else {
        return Err(Problem::Fields { found: fields.split(|byte| *byte == b',').count() });
    };
    Ok(Line::Operation {
        is_write,
        key: Key(parse_u64("key", key)?),
        value: Value(parse_u64("value", value)?),
        session: parse_session(session)?,
        transaction: match transaction.trim_ascii() {
            b"-1" => None,
            number => Some(parse_transaction(number)?),
        },
    })
}

fn parse_directive(directive: &[u8]) -> Result<Line, Problem> {
    let mut words = directive.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let word = words.next().unwrap_or_default();
    let (name, usage): (&'static str, &'static str) = match word {
        b"unknown" => ("unknown", "#@ unknown TRANSACTION"),
        b"aborted" => ("aborted", "#@ aborted TRANSACTION SESSION"),
        b"stamp" => ("stamp", "#@ stamp TRANSACTION NUMBER"),
        b"request" => ("request", "#@ request TRANSACTION NUMBER"),
        b"began" => ("began", "#@ began TRANSACTION MILLISECONDS"),
        b"committed" => ("committed", "#@ committed TRANSACTION MILLISECONDS"),
        b"session" => ("session", "#@ session TRANSACTION SESSION"),
        _ => return Err(Problem::UnknownDirective(excerpt(word))),
    };
    // The words of the usage, without "#@" and the directive itself.
    let expected = usage.split(' ').count() - 2;
    let (transaction, number, more) = (words.next(), words.next(), words.count());
    let found = usize::from(transaction.is_some()) + usize::from(number.is_some()) + more;
    let wrong = Problem::DirectiveNumbers { word: name, found, expected, usage };
    if found != expected {
        return Err(wrong);
    }
    // Every directive names a transaction; all but `unknown` have a number after it.
    let Some(transaction) = transaction else { return Err(wrong) };
    let transaction = parse_transaction(transaction)?;
    let number = number.unwrap_or_default();
    let directive = match name {
        "unknown" => Directive::Unknown,
        "aborted" => Directive::Aborted(parse_session(number)?),
        "stamp" => Directive::Stamp(Stamp(parse_number("stamp", number, u128::MAX)?)),
        "request" => Directive::Request(RequestId(parse_u64("request", number)?)),
        "began" => Directive::Began(parse_u64("time", number)?),
        "committed" => Directive::Committed(parse_u64("time", number)?),
        _ => Directive::Session(parse_session(number)?),
    };
    Ok(Line::Directive(transaction, directive))
}

fn parse_transaction(text: &[u8]) -> Result<TransactionId, Problem> {
    parse_number("transaction", text, TransactionId::MAX.into()).map(narrow).map(TransactionId::new)
}

fn parse_session(text: &[u8]) -> Result<SessionId, Problem> {
    parse_number("session", text, SessionId::MAX.into()).map(narrow).map(SessionId::new)
}

fn parse_u64(field: &'static str, text: &[u8]) -> Result<u64, Problem> {
    parse_number(field, text, u64::MAX.into()).map(narrow)
}

fn narrow(number: u128) -> u64 {
    u64::try_from(number).expect("the bound that was parsed with fits")
}

/// Parses a number that consists of digits only, without a sign or underscores.
fn parse_number(field: &'static str, text: &[u8], max: u128) -> Result<u128, Problem> {
    let digits = text.trim_ascii();
    let number = digits.iter().try_fold(0_u128, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        number.checked_mul(10)?.checked_add(digit.into())
    });
    match number.filter(|number| *number <= max && !digits.is_empty()) {
        Some(number) => Ok(number),
        None => Err(Problem::Number { field, text: excerpt(text), max }),
    }
}

/// Returns the beginning of `bytes`, to be shown in an error message.
fn excerpt(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 60;
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_MAX)]);
    if bytes.len() > SHOWN_MAX { format!("{shown}…") } else { shown.into_owned() }
}
