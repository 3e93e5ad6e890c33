//! The check of witnesses: every fact in a violation must be in the history, and together they must
//! prove the violation.

use crate::{
    Because, Direction, Edge, History, Outcome, Transaction, TransactionId, Value, Version, Violation,
};

/// Panics if the history does not contain a violation's witness, or the witness proves nothing.
pub(super) fn verify(history: &History, violation: &Violation) {
    let told = Told(history);
    match violation {
        Violation::ThinAirRead { reader, read } => {
            told.read(*reader, read);
            assert!(history.transactions().iter().all(|t| t.writes().all(|w| w != (read.key, read.value))));
        }
        Violation::DirtyRead { reader, read } => {
            told.read(*reader, read);
            assert_eq!(told.find(read.writer.unwrap()).outcome, Outcome::Aborted);
        }
        Violation::FutureRead { reader, read } => {
            told.read(*reader, read);
            assert_eq!(read.writer, Some(*reader));
        }
        Violation::IntermediateRead { reader, read, last } => {
            told.read(*reader, read);
            let writer = read.writer.unwrap();
            assert_eq!(told.left(writer, read), *last);
            assert_ne!(*last, read.value);
        }
        Violation::OwnWriteLost { reader, own, read } => {
            told.read(*reader, read);
            told.wrote(own);
            assert_eq!((own.writer, own.key), (Some(*reader), read.key));
        }
        Violation::NonRepeatableRead { reader, first, later } => {
            told.read(*reader, first);
            told.read(*reader, later);
            assert_eq!(first.key, later.key);
            assert_ne!(first.writer, later.writer);
        }
        Violation::FracturedRead { reader, seen, sibling, read, direction } => {
            told.sibling(*reader, seen, sibling, read);
            // The other read may be repeated, before and after.
            match direction {
                Direction::NewerFirst => assert!(told.first(*reader, seen) < told.last(*reader, read)),
                Direction::OlderFirst => assert!(told.first(*reader, read) < told.first(*reader, seen)),
            }
        }
        Violation::Cycle(cycle) => {
            assert!(cycle.edges.len() > 1);
            let next = cycle.edges.iter().cycle().skip(1);
            for (edge, next) in cycle.edges.iter().zip(next) {
                assert_eq!(edge.after, next.before);
                told.edge(edge);
            }
        }
        Violation::LaterStampRead { reader, stamp, read, read_stamp } => {
            told.read(*reader, read);
            assert_eq!(told.find(*reader).stamp, Some(*stamp));
            assert_eq!(told.find(read.writer.unwrap()).stamp, Some(*read_stamp));
            assert!(stamp < read_stamp);
        }
        Violation::SharedStamp { first, second, stamp } => {
            assert_ne!(first, second);
            assert_eq!(told.find(*first).stamp, Some(*stamp));
            assert_eq!(told.find(*second).stamp, Some(*stamp));
        }
        Violation::DoubleEffect { request, first, second } => {
            assert_ne!(first, second);
            assert_eq!(told.find(*first).request, Some(*request));
            assert_eq!(told.find(*second).request, Some(*request));
        }
        Violation::OwnCommitLost { reader, own, read } => {
            told.read(*reader, read);
            told.wrote(own);
            assert_eq!(told.find(own.writer.unwrap()).session, told.find(*reader).session);
        }
    }
    assert!(!violation.to_string().is_empty());
}

struct Told<'h>(&'h History);

impl Told<'_> {
    fn find(&self, id: TransactionId) -> &Transaction {
        self.0.transactions().iter().find(|transaction| transaction.id == id).unwrap()
    }

    fn read(&self, reader: TransactionId, version: &Version) {
        assert!(self.find(reader).reads().any(|read| read == (version.key, version.value)));
        if version.value == Value::ABSENT {
            assert_eq!(version.writer, None);
        } else if version.writer.is_some() {
            self.wrote(version);
        }
    }

    fn wrote(&self, version: &Version) {
        let writer = self.find(version.writer.unwrap());
        assert!(writer.writes().any(|write| write == (version.key, version.value)));
    }

    /// Returns the last value that a transaction wrote to a version's key.
    fn left(&self, writer: TransactionId, version: &Version) -> Value {
        self.find(writer).writes().filter(|write| write.0 == version.key).last().unwrap().1
    }

    fn first(&self, reader: TransactionId, version: &Version) -> usize {
        self.find(reader).reads().position(|read| read == (version.key, version.value)).unwrap()
    }

    fn last(&self, reader: TransactionId, version: &Version) -> usize {
        let mut reads = self.find(reader).reads().collect::<Vec<_>>().into_iter();
        reads.rposition(|read| read == (version.key, version.value)).unwrap()
    }

    fn sibling(&self, reader: TransactionId, seen: &Version, sibling: &Version, read: &Version) {
        self.read(reader, seen);
        self.read(reader, read);
        self.wrote(sibling);
        assert_eq!(seen.writer, sibling.writer);
        assert_ne!(seen.writer, read.writer);
        assert_eq!(sibling.key, read.key);
    }

    fn edge(&self, edge: &Edge) {
        match &edge.because {
            Because::Read { version } => {
                self.read(edge.after, version);
                assert_eq!(version.writer, Some(edge.before));
            }
            Because::Sibling { reader, seen, sibling, read } => {
                self.sibling(*reader, seen, sibling, read);
                assert_eq!((seen.writer, read.writer), (Some(edge.before), Some(edge.after)));
            }
            Because::Session { session } => {
                assert_eq!(self.find(edge.before).session, *session);
                assert_eq!(self.find(edge.after).session, *session);
            }
            Because::Stamps { before, after } => {
                assert_eq!(self.find(edge.before).stamp, Some(*before));
                assert_eq!(self.find(edge.after).stamp, Some(*after));
                assert!(before < after);
            }
            Because::Replaced { read, newer } => {
                self.read(edge.before, read);
                self.wrote(newer);
                assert_eq!((newer.writer, newer.key), (Some(edge.after), read.key));
                assert_ne!(read.writer, newer.writer);
                let stamp = |version: &Version| self.find(version.writer?).stamp;
                assert!(stamp(read).zip(stamp(newer)).is_none_or(|(read, newer)| read < newer));
            }
            Because::Hidden { reader, read, older } => {
                self.read(*reader, read);
                self.wrote(older);
                assert_eq!((older.writer, read.writer), (Some(edge.before), Some(edge.after)));
                assert_eq!(older.key, read.key);
                let stamp = |version: &Version| self.find(version.writer?).stamp;
                assert!(stamp(older).zip(stamp(read)).is_none_or(|(older, read)| older < read));
            }
            Because::SessionSibling { reader, own, read } => {
                self.read(*reader, read);
                self.wrote(own);
                assert_eq!((own.writer, read.writer), (Some(edge.before), Some(edge.after)));
            }
        }
    }
}
