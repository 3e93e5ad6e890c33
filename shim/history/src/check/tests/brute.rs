//! The definition by brute force: it tries every order of the transactions, every read, and every
//! transaction that could make the read wrong. It works for about five transactions.
//!
//! It consists of nested loops over the history, without an index or a graph, and shares no code
//! with the checker.

use crate::{History, Key, Level, Operation, Options, Outcome, Readers, Transaction, Value};

/// The source of a read's value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Nobody,
    First,
    Transaction(usize),
}

/// Returns the strongest level that holds.
pub(super) fn level(history: &History, options: &Options) -> Level {
    let brute = Brute { history: history.transactions(), options: *options };
    if !brute.reads_are_sound() {
        return Level::None;
    }
    let orders = brute.orders();
    let orders: Vec<_> = orders.iter().filter(|order| brute.keeps_to_stamps(order)).collect();
    let holds = |level| orders.iter().any(|order| brute.explains(order, level));
    let is_serial = options.serializable && brute.orders().iter().any(|order| brute.is_serial(order));
    if holds(Level::ReadAtomic) && is_serial {
        Level::Serializable
    } else if holds(Level::ReadAtomic) {
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

    /// Returns the reader's own write of a key that a read at `place` must return, if there is one.
    fn own(&self, reader: usize, place: usize, key: Key) -> Option<Value> {
        self.history[reader].operations[..place].iter().rev().find_map(|operation| match operation {
            Operation::Write { key: written, value } if *written == key => Some(*value),
            Operation::Write { .. } | Operation::Read { .. } => None,
        })
    }

    /// Returns the reads that the reader's own writes do not determine: place, key, source.
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

    /// Returns true if there is no dirty, intermediate, thin-air or future read, and own writes are
    /// seen.
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

    /// Returns every order of the committed transactions.
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
        orders
    }

    fn keeps_to_stamps(&self, order: &[usize]) -> bool {
        order.iter().filter_map(|at| self.history[*at].stamp).is_sorted()
    }

    /// Returns true if all reads are as if the transactions had run in this order, one after the
    /// other, and the versions of each key are in the order of stamps.
    fn is_serial(&self, order: &[usize]) -> bool {
        let writes = |at: usize, key: Key| self.history[at].writes().filter(|of| of.0 == key).last();
        let is_sorted = order.iter().flat_map(|at| self.history[*at].writes()).all(|(key, _)| {
            let writers = order.iter().filter(|at| writes(**at, key).is_some());
            writers.filter_map(|at| self.history[*at].stamp).is_sorted()
        });
        let sees_all = (0..order.len()).all(|place| {
            self.foreign(order[place]).into_iter().all(|(_, key, from)| {
                let newest = order[..place].iter().rev().find(|at| writes(**at, key).is_some());
                from == newest.map_or(From::First, |at| From::Transaction(*at))
            })
        });
        is_sorted && sees_all && self.sessions_hold(order)
    }

    /// Returns true if an order explains all reads at a level.
    fn explains(&self, order: &[usize], level: Level) -> bool {
        // Version 0 comes before all; a reader that did not commit comes after all.
        let place = |from: From| match from {
            From::First | From::Nobody => -1,
            From::Transaction(at) => {
                order.iter().position(|of| *of == at).map_or(i64::MAX, |place| i64::try_from(place).unwrap())
            }
        };
        self.sessions_hold(order)
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

    /// Returns true if the commits of every session are in the session's order.
    fn sessions_hold(&self, order: &[usize]) -> bool {
        let place = |at: usize| order.iter().position(|of| *of == at);
        (0..self.history.len()).all(|at| {
            self.history[at].outcome != Outcome::Committed
                || self.session_before(at).into_iter().all(|before| place(before) < place(at))
        })
    }

    /// Returns the commits of a transaction's session before it.
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
