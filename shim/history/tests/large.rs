//! Tests of large histories.
//!
//! Goal: the cost is not quadratic in the size of the history. Method: histories of shapes that
//! have each led a checker into quadratic work, of a size at which quadratic work would take hours.
//! The tests read no clock: a quadratic checker would not finish.

use aft_history::{History, Level, Options, Recorder, Stamp, Transaction, TransactionId, check, text};

/// The approximate number of operations of each history.
const OPERATIONS: u64 = 600_000;

fn commit(recorder: &mut Recorder, transaction: TransactionId) {
    recorder.commit(transaction, None);
}

#[test]
fn a_long_history_survives_a_round_trip_and_passes() {
    let mut recorder = Recorder::new();
    let mut last = [0; 1000];
    for at in 0..OPERATIONS / 6 {
        let transaction = recorder.begin();
        for key in [at % 1000, (at + 1) % 1000, (at + 2) % 1000] {
            recorder.read(transaction, key, last[usize::try_from(key).unwrap()]);
        }
        for key in [at % 1000, (at + 1) % 1000, (at + 2) % 1000] {
            last[usize::try_from(key).unwrap()] = recorder.write_fresh(transaction, key).0;
        }
        commit(&mut recorder, transaction);
    }
    let mut written = Vec::new();
    text::write(&mut written, recorder.history()).unwrap();
    let history = text::parse(written.as_slice()).unwrap();
    assert_eq!(&history, recorder.history());
    let report = check(&history, &Options { sessions: true, ..Options::default() }).unwrap();
    assert!(report.is_clean(), "{report}");
}

#[test]
fn one_hot_key() {
    let mut recorder = Recorder::new();
    let mut last = 0;
    for _ in 0..OPERATIONS / 2 {
        let transaction = recorder.begin();
        recorder.read(transaction, 1, last);
        last = recorder.write_fresh(transaction, 1).0;
        commit(&mut recorder, transaction);
    }
    assert!(check(recorder.history(), &Options::default()).unwrap().is_clean());
    // With stamps, the check for serializability need not look at pairs of writers.
    let mut stamped = History::new();
    for (stamp, transaction) in (1..).zip(recorder.history().transactions()) {
        stamped.push(Transaction { stamp: Some(Stamp(stamp)), ..transaction.clone() });
    }
    let options = Options { serializable: true, ..Options::default() };
    assert_eq!(check(&stamped, &options).unwrap().level(), Level::Serializable);
}

#[test]
fn one_huge_writer_and_many_readers() {
    let mut recorder = Recorder::new();
    let huge = recorder.begin();
    let values: Vec<_> = (0..OPERATIONS / 3).map(|key| recorder.write_fresh(huge, key).0).collect();
    commit(&mut recorder, huge);
    for (key, value) in (0..).zip(&values) {
        let reader = recorder.begin();
        recorder.read(reader, key, *value);
        recorder.read(reader, 0, values[0]);
        commit(&mut recorder, reader);
    }
    assert!(check(recorder.history(), &Options::default()).unwrap().is_clean());
}

#[test]
fn one_huge_reader_of_many_writers() {
    let mut recorder = Recorder::new();
    let pairs = (0..OPERATIONS / 4).map(|key| {
        let writer = recorder.begin();
        let values = [key * 2, key * 2 + 1].map(|key| (key, recorder.write_fresh(writer, key)));
        commit(&mut recorder, writer);
        values
    });
    let pairs: Vec<_> = pairs.collect();
    let huge = recorder.begin();
    pairs.iter().flatten().for_each(|(key, value)| recorder.read(huge, *key, *value));
    commit(&mut recorder, huge);
    assert!(check(recorder.history(), &Options::default()).unwrap().is_clean());
}

#[test]
fn one_key_read_in_every_version_by_one_reader() {
    let mut recorder = Recorder::new();
    let values = (0..OPERATIONS / 2).map(|_| {
        let writer = recorder.begin();
        let value = recorder.write_fresh(writer, 1);
        commit(&mut recorder, writer);
        value
    });
    let values: Vec<_> = values.collect();
    let reader = recorder.begin();
    values.iter().for_each(|value| recorder.read(reader, 1, *value));
    commit(&mut recorder, reader);
    let report = check(recorder.history(), &Options::default()).unwrap();
    assert_eq!((report.level(), report.violations().len()), (Level::ReadCommitted, 1));
}

#[test]
fn one_ring_of_all_transactions() {
    // Each transaction reads what the next one writes: one cycle through the whole history.
    let count = OPERATIONS / 2;
    let mut recorder = Recorder::new();
    for at in 0..count {
        let transaction = recorder.begin();
        recorder.read(transaction, (at + 1) % count, 1);
        recorder.write(transaction, at, 1);
        commit(&mut recorder, transaction);
    }
    let report = check(recorder.history(), &Options::default()).unwrap();
    assert_eq!((report.level(), report.violations().len()), (Level::None, 1));
}

#[test]
fn nothing_but_fractures() {
    let mut recorder = Recorder::new();
    for at in 0..OPERATIONS / 8 {
        let [left, right] = [(); 2].map(|()| recorder.begin());
        let values = [left, right].map(|writer| {
            let values = [1, 2].map(|key| recorder.write_fresh(writer, key + at * 2));
            recorder.commit(writer, None);
            values
        });
        let reader = recorder.begin();
        recorder.read(reader, 1 + at * 2, values[0][0]);
        recorder.read(reader, 2 + at * 2, values[1][1]);
        commit(&mut recorder, reader);
    }
    let report = check(recorder.history(), &Options::default()).unwrap();
    assert_eq!(report.level(), Level::ReadCommitted);
    assert_eq!(report.violations().len() as u64, OPERATIONS / 8);
}
