//! From text to a history, line by line, in one pass.
//!
//! Memory is the history's own, a table of transactions, and 24 bytes a write to find values that are written twice.
//! Never panics, whatever the bytes.

use std::collections::BTreeMap;
use std::io::BufRead;

use super::error::{ParseError, Problem};
use super::line::{self, Directive, Line};
use crate::{History, Key, Outcome, SessionId, Transaction, TransactionId, Value};

/// Reads a history.
///
/// # Errors
///
/// With the number of the first line that is wrong, and why. (Values written twice and directives without a
/// transaction are found at the end, but name their line, too.)
pub fn parse(mut text: impl BufRead) -> Result<History, ParseError> {
    let mut parser = Parser::default();
    let mut buffer = Vec::new();
    loop {
        parser.line += 1;
        let at = |problem| ParseError { line: parser.line, problem };
        if !line::read(&mut text, &mut buffer).map_err(at)? {
            return parser.finish();
        }
        let line = line::parse(&buffer).map_err(at)?;
        parser.add(line).map_err(|problem| ParseError { line: parser.line, problem })?;
    }
}

/// What is known of a transaction besides its content.
#[derive(Clone, Copy)]
struct Entry {
    /// Its place in the history.
    place: usize,
    /// If only directives speak of it so far: the line of the first.
    undeclared: Option<u64>,
}

#[derive(Default)]
struct Parser {
    /// The line at hand, counted from 1.
    line: u64,
    transactions: Vec<Transaction>,
    entries: BTreeMap<TransactionId, Entry>,
    /// The transaction of the operation before: the next one is likely of the same.
    last: Option<(TransactionId, usize)>,
    /// Whose are the operations of a session with transaction -1.
    aborting: BTreeMap<SessionId, TransactionId>,
    /// Every write, with its line.
    writes: Vec<(Key, Value, u64)>,
}

impl Parser {
    fn add(&mut self, line: Line) -> Result<(), Problem> {
        match line {
            Line::Nothing => Ok(()),
            Line::Operation { is_write, key, value, session, transaction } => {
                let place = match transaction {
                    Some(transaction) => self.declare(transaction, session)?,
                    None => self.aborted(session)?,
                };
                self.add_operation(place, is_write, key, value)
            }
            Line::Directive(transaction, directive) => self.direct(transaction, directive),
        }
    }

    fn add_operation(&mut self, place: usize, is_write: bool, key: Key, value: Value) -> Result<(), Problem> {
        if is_write && value == Value::ABSENT {
            return Err(Problem::AbsentWritten(key));
        }
        let transaction = &mut self.transactions[place];
        if is_write {
            self.writes.push((key, value, self.line));
            transaction.write(key, value);
        } else {
            transaction.read(key, value);
        }
        Ok(())
    }

    /// The place of a transaction that an operation or a `session` directive names.
    fn declare(&mut self, id: TransactionId, session: SessionId) -> Result<usize, Problem> {
        let place = match self.last {
            Some((last, place)) if last == id => place,
            _ => self.entry(id, session, true),
        };
        self.last = Some((id, place));
        let transaction = &self.transactions[place];
        if transaction.outcome == Outcome::Aborted {
            return Err(Problem::AbortedByNumber(id));
        }
        if transaction.session != session {
            let (before, now) = (transaction.session.number(), session.number());
            return Err(Problem::SessionChanged { transaction: id, before, now });
        }
        Ok(place)
    }

    /// The place of what a session is aborting.
    fn aborted(&mut self, session: SessionId) -> Result<usize, Problem> {
        let id = self.aborting.get(&session).copied().unwrap_or(TransactionId::nameless_of(session));
        let place = self.entry(id, session, true);
        self.transactions[place].outcome = Outcome::Aborted;
        Ok(place)
    }

    /// The place of a transaction, which is made if there is none. What directives alone spoke of has the session
    /// that is now declared.
    fn entry(&mut self, id: TransactionId, session: SessionId, is_declared: bool) -> usize {
        let place = self.transactions.len();
        let entry = self.entries.entry(id).or_insert_with(|| {
            let mut transaction = Transaction::new(id, session);
            transaction.outcome = Outcome::Committed;
            self.transactions.push(transaction);
            Entry { place, undeclared: Some(self.line) }
        });
        if is_declared && entry.undeclared.take().is_some() {
            self.transactions[entry.place].session = session;
        }
        entry.place
    }

    fn direct(&mut self, id: TransactionId, directive: Directive) -> Result<(), Problem> {
        let repeated = Problem::DirectiveRepeated { word: directive.word(), transaction: id };
        let place = match directive {
            Directive::Session(session) => return self.declare(id, session).map(|_| ()),
            Directive::Aborted(session) => return self.direct_aborted(id, session, repeated),
            // Any session will do until the transaction is declared.
            _ => self.entry(id, SessionId::new(0), false),
        };
        let transaction = &mut self.transactions[place];
        let is_new = match directive {
            Directive::Unknown => {
                let is_new = transaction.outcome == Outcome::Committed;
                transaction.outcome = Outcome::Unknown;
                is_new
            }
            Directive::Stamp(stamp) => transaction.stamp.replace(stamp).is_none(),
            Directive::Request(request) => transaction.request.replace(request).is_none(),
            Directive::Began(ms) => transaction.begin_ms.replace(ms).is_none(),
            Directive::Committed(ms) => transaction.commit_ms.replace(ms).is_none(),
            Directive::Aborted(_) | Directive::Session(_) => unreachable!("returned above"),
        };
        if is_new { Ok(()) } else { Err(repeated) }
    }

    fn direct_aborted(
        &mut self,
        id: TransactionId,
        session: SessionId,
        repeated: Problem,
    ) -> Result<(), Problem> {
        let is_new = self.entries.get(&id).is_none_or(|entry| entry.undeclared.is_some());
        let place = self.entry(id, session, true);
        let transaction = &mut self.transactions[place];
        if !is_new || transaction.outcome != Outcome::Committed {
            return Err(repeated);
        }
        transaction.outcome = Outcome::Aborted;
        self.aborting.insert(session, id);
        Ok(())
    }

    fn finish(mut self) -> Result<History, ParseError> {
        let mut undeclared = self.entries.iter().filter_map(|(id, entry)| Some((entry.undeclared?, *id)));
        if let Some((line, id)) = undeclared.by_ref().min() {
            return Err(ParseError { line, problem: Problem::NoSuchTransaction(id) });
        }
        self.writes.sort_unstable();
        let reused = self.writes.array_windows().filter(|[one, other]| (one.0, one.1) == (other.0, other.1));
        if let Some([one, other]) = reused.min_by_key(|[_, other]| other.2) {
            let problem = Problem::ValueReused { key: one.0, value: one.1, first_line: one.2 };
            return Err(ParseError { line: other.2, problem });
        }
        Ok(History::from_iter(self.transactions))
    }
}
