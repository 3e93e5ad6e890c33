//! The parser of the text format. It works line by line, in one pass.
//!
//! Its memory is that of the history, a table of transactions, and 24 bytes per write to find
//! values that are written twice. It never panics, for any bytes.

use std::collections::BTreeMap;
use std::io::BufRead;

use super::error::{ParseError, Problem};
use super::line::{self, Directive, Line};
use crate::{History, Key, Outcome, SessionId, Transaction, TransactionId, Value};

/// Parses a history.
///
/// # Errors
///
/// Returns a [`ParseError`] with the number of the first wrong line and the problem, if the text is
/// not a history or cannot be read. Values that are written twice, and directives whose transaction
/// has no operations, are found only at the end, but are reported with their line, too.
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

/// The parser's state of a transaction, besides its contents.
#[derive(Clone, Copy)]
struct Entry {
    /// The place in the history.
    place: usize,
    /// The line of the first directive that names the transaction, as long as no operation and no
    /// `session` or `aborted` directive has declared it.
    undeclared: Option<u64>,
}

#[derive(Default)]
struct Parser {
    /// The current line, counted from 1.
    line: u64,
    transactions: Vec<Transaction>,
    entries: BTreeMap<TransactionId, Entry>,
    /// The transaction of the previous operation, cached because the next operation is likely to be
    /// of the same one.
    last: Option<(TransactionId, usize)>,
    /// The transaction to which operations with transaction -1 belong, for each session.
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

    /// Returns the place of the transaction that an operation or a `session` directive names.
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

    /// Returns the place of the transaction to which the session's aborted operations belong.
    fn aborted(&mut self, session: SessionId) -> Result<usize, Problem> {
        let id = self.aborting.get(&session).copied().unwrap_or(TransactionId::nameless_of(session));
        let place = self.entry(id, session, true);
        self.transactions[place].outcome = Outcome::Aborted;
        Ok(place)
    }

    /// Returns the place of a transaction, and creates the transaction if it is new. If only
    /// directives named it so far, a declaration sets its session.
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
            // The session is a placeholder until the transaction is declared.
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
