//! The definition, tried out: every order of the transactions, every read, every transaction that could have made it
//! wrong. For five transactions or so.
//!
//! No index, no graph, no sharing with the checker: nested loops over the history.

use crate::{History, Key, Level, Operation, Options, Outcome, Readers, Transaction, Value};

/// Where a read's value comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Nobody,
    First,
    Transaction(usize),
}

/// The strongest level that holds.
pub(super) fn level(history: &History, options: &Options) -> Level {
    let brute = Brute { history: history.transactions(), options: *options };
    if !brute.reads_are_sound() {
        return Level::None;
    }
    let orders = brute.orders();
    let holds = |level| orders.iter().any(|order| brute.explains(order, level));
    if holds(Level::ReadAtomic) {
        Level::ReadAtomic
    } else if holds(Level::ReadCommitted) {
        Level::ReadCommitted
    } else {
        Level::None
    }
}

struct Brute<'h> {
    history: &'h [Transaction],
    options: Options,
}

impl Brute<'_> {
    fn from(&self, key: Key, value: Value) -> From {
        if value == Value::ABSENT {
            return From::First;
        }
        let writer =
            self.history.iter().position(|writer| writer.writes().any(|write| write == (key, value)));
        writer.map_or(From::Nobody, From::Transaction)
    }

    fn is_committed(&self, at: usize) -> bool {
        match self.history[at].outcome {
            Outcome::Committed => true,
            Outcome::Aborted => false,
            Outcome::Unknown => (0..self.history.len()).any(|other| {
                other != at
                    && self.history[other]
                        .reads()
                        .any(|(key, value)| self.from(key, value) == From::Transaction(at))
            }),
        }
    }

    fn readers(&self) -> Vec<usize> {
        let is_reader = |at: &usize| match self.options.readers {
            Readers::Committed => self.is_committed(*at),
            Readers::All => true,
        };
        (0..self.history.len()).filter(is_reader).collect()
    }

    /// The own write of a key that a read at a place must return.
    fn own(&self, reader: usize, place: usize, key: Key) -> Option<Value> {
        self.history[reader].operations[..place].iter().rev().find_map(|operation| match operation {
            Operation::Write { key: written, value } if *written == key => Some(*value),
            Operation::Write { .. } | Operation::Read { .. } => None,
        })
    }

    /// A reader's reads from others: place, key, from whom.
    fn foreign(&self, reader: usize) -> Vec<(usize, Key, From)> {
        let mut foreign = Vec::new();
        for (place, operation) in self.history[reader].operations.iter().enumerate() {
            let Operation::Read { key, value } = *operation else { continue };
            if self.own(reader, place, key).is_none() {
                foreign.push((place, key, self.from(key, value)));
            }
        }
        foreign
    }

    /// No dirty, intermediate, thin-air or future read, and own writes are seen.
    fn reads_are_sound(&self) -> bool {
        self.readers().into_iter().all(|reader| {
            self.history[reader].operations.iter().enumerate().all(|(place, operation)| {
                let Operation::Read { key, value } = *operation else { return true };
                if let Some(own) = self.own(reader, place, key) {
                    return own == value;
                }
                match self.from(key, value) {
                    From::Nobody => false,
                    From::First => true,
                    From::Transaction(writer) => {
                        let last = self.history[writer].writes().filter(|write| write.0 == key).last();
                        writer != reader && self.is_committed(writer) && last == Some((key, value))
                    }
                }
            })
        })
    }

    /// Every order to be tried, as a list of transactions.
    fn orders(&self) -> Vec<Vec<usize>> {
        let committed: Vec<_> = (0..self.history.len()).filter(|at| self.is_committed(*at)).collect();
        let mut orders = vec![Vec::new()];
        for _ in 0..committed.len() {
            let longer = |order: Vec<usize>| {
                let left: Vec<_> = committed.iter().filter(|at| !order.contains(at)).copied().collect();
                left.into_iter().map(move |at| [order.clone(), vec![at]].concat())
            };
            orders = orders.into_iter().flat_map(longer).collect();
        }
        orders.retain(|order| {
            let stamps: Vec<_> = order.iter().filter_map(|at| self.history[*at].stamp).collect();
            stamps.is_sorted()
        });
        orders
    }

    /// Whether an order explains all reads.
    fn explains(&self, order: &[usize], level: Level) -> bool {
        // Version 0 comes before all; a reader that did not commit comes after all.
        let place = |from: From| match from {
            From::First | From::Nobody => -1,
            From::Transaction(at) => {
                order.iter().position(|of| *of == at).map_or(i64::MAX, |place| i64::try_from(place).unwrap())
            }
        };
        let sessions_hold = (0..self.history.len()).all(|at| {
            self.session_before(at).into_iter().all(|before| {
                self.history[at].outcome != Outcome::Committed
                    || place(From::Transaction(before)) < place(From::Transaction(at))
            })
        });
        sessions_hold
            && self.readers().into_iter().all(|reader| {
                let foreign = self.foreign(reader);
                foreign.iter().all(|&(at, key, from)| {
                    let is_visible = |other: usize| {
                        let read = foreign.iter().any(|&(seen_at, _, seen)| {
                            seen == From::Transaction(other) && (level == Level::ReadAtomic || seen_at < at)
                        });
                        read || level == Level::ReadAtomic && self.session_before(reader).contains(&other)
                    };
                    place(from) < place(From::Transaction(reader))
                        && (0..self.history.len()).all(|other| {
                            from == From::Transaction(other)
                                || !is_visible(other)
                                || self.history[other].writes().all(|write| write.0 != key)
                                || place(From::Transaction(other)) < place(from)
                        })
                })
            })
    }

    /// What a transaction's session had committed before it.
    fn session_before(&self, at: usize) -> Vec<usize> {
        if !self.options.sessions {
            return Vec::new();
        }
        let before = |before: &usize| {
            let before = &self.history[*before];
            before.session == self.history[at].session && before.outcome == Outcome::Committed
        };
        (0..at).filter(before).collect()
    }
}
