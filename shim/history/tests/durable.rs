//! Tests of the durability check.
//!
//! Goal: a final read may return the newest acknowledged version or one that may be newer, and
//! nothing else. Method: one key, a few versions with outcomes and stamps, a final read, the
//! verdict.

use aft_history::{Durability, Key, Loss, Recorder, Stamp, Value, check_durable};

/// The outcome and the stamp of a version.
#[derive(Clone, Copy)]
enum Write {
    Committed(Option<u128>),
    Unknown(Option<u128>),
    Aborted,
}
use Write::{Aborted, Committed, Unknown};

/// Returns the verdict on a final read of key 1, whose versions are 1, 2, ….
fn read(writes: &[Write], value: u64) -> Durability {
    let mut recorder = Recorder::new();
    for write in writes {
        let writer = recorder.begin();
        recorder.write_fresh(writer, 1);
        match write {
            Committed(stamp) => recorder.commit(writer, stamp.map(Stamp)),
            Unknown(stamp) => recorder.unknown(writer, stamp.map(Stamp)),
            Aborted => recorder.abort(writer),
        }
    }
    check_durable(recorder.history(), [(Key(1), Value(value))]).expect("the recorder makes values unique")
}

#[track_caller]
fn passes(writes: &[Write], value: u64) {
    let verdict = read(writes, value);
    assert!(verdict.is_durable(), "{verdict}");
}

#[track_caller]
fn fails(writes: &[Write], value: u64, message: &str) {
    let verdict = read(writes, value);
    let told: Vec<_> = verdict.losses.iter().map(Loss::to_string).collect();
    assert_eq!(told, [message]);
}

#[test]
fn the_newest_acknowledged_version_is_there() {
    passes(&[Committed(Some(1)), Committed(Some(2))], 2);
    passes(&[Committed(Some(2)), Committed(Some(1))], 1);
    passes(&[], 0);
    passes(&[Aborted], 0);
    passes(&[Unknown(None)], 0);
    fails(
        &[Committed(Some(1)), Committed(Some(2))],
        1,
        "lost write: k1=2 of T1 was acknowledged, and a final read returned k1=1 of T0",
    );
    fails(
        &[Committed(Some(1))],
        0,
        "lost write: k1=1 of T0 was acknowledged, and a final read returned k1 as absent",
    );
}

#[test]
fn an_unknown_outcome_may_be_newer_but_not_older() {
    passes(&[Committed(Some(1)), Unknown(Some(2))], 2);
    passes(&[Committed(Some(1)), Unknown(Some(2))], 1);
    passes(&[Committed(Some(1)), Unknown(None)], 2);
    fails(
        &[Committed(Some(2)), Unknown(Some(1))],
        2,
        "lost write: k1=1 of T0 was acknowledged, and a final read returned k1=2 of T1",
    );
}

#[test]
fn without_stamps_any_acknowledged_version_passes_but_not_absence() {
    passes(&[Committed(None), Committed(None)], 1);
    passes(&[Committed(None), Committed(None)], 2);
    fails(
        &[Committed(None)],
        0,
        "lost write: k1=1 of T0 was acknowledged, and a final read returned k1 as absent",
    );
}

#[test]
fn a_value_that_no_commit_left_fails() {
    fails(&[Committed(Some(1))], 9, "thin-air final read: k1=9, which nobody wrote");
    fails(&[Committed(Some(1)), Aborted], 2, "dirty final read: k1=2 of T1, which aborted");
    let mut recorder = Recorder::new();
    let writer = recorder.begin();
    recorder.write(writer, 1, 10);
    recorder.write(writer, 1, 11);
    recorder.commit(writer, None);
    let verdict = check_durable(recorder.history(), [(Key(1), Value(10))]).unwrap();
    assert_eq!(verdict.losses.len(), 1);
    assert_eq!(verdict.losses[0].transaction(), Some(writer));
}

#[test]
fn keys_without_a_final_read_are_counted() {
    let mut recorder = Recorder::new();
    let writer = recorder.begin();
    recorder.write_fresh(writer, 1);
    recorder.write_fresh(writer, 2);
    recorder.commit(writer, None);
    let verdict = check_durable(recorder.history(), [(Key(2), Value(2))]).unwrap();
    assert_eq!((verdict.reads, verdict.keys_unread, verdict.is_durable()), (1, 1, false));
    assert_eq!(verdict.to_string(), "durable: no (1 final reads, 1 keys not read)");
}
