//! Tests of the text of reports, and of the measurements in them.
//!
//! Goal: a report names the transactions, keys and values of the shortest witness. Method: text in,
//! exact text out.

use aft_history::{
    KeyNames, Level, Malformed, Options, Outcome, Readers, Recorder, RequestId, Serializability, SessionId,
    Staleness, Stamp, Stamps, Transaction, TransactionId, check, check_file, text,
};

#[track_caller]
fn says(history: &str, violations: &[&str]) {
    let history = text::parse(history.as_bytes()).expect("the text is a history");
    let report = check(&history, &Options::default()).expect("the text is a history");
    let told: Vec<_> = report.violations().iter().map(ToString::to_string).collect();
    assert_eq!(told, violations);
}

#[test]
fn the_text_of_each_violation_names_its_witness() {
    says("r(1,99,1,1)", &["thin-air read: T1 read k1=99, which nobody wrote"]);
    says("#@ aborted 3 0\nw(1,10,0,-1)\nr(1,10,1,1)", &["dirty read: T1 read k1=10 of T3, which aborted"]);
    says(
        "w(1,10,0,-1)\nr(1,10,1,1)",
        &["dirty read: T1 read k1=10 of an aborted transaction of session 0, which aborted"],
    );
    says("r(1,10,0,0)\nw(1,10,0,0)", &["future read: T0 read k1=10 before it wrote that itself"]);
    says(
        "w(1,10,0,0)\nw(1,11,0,0)\nr(1,10,1,1)",
        &["intermediate read: T1 read k1=10 of T0, which its writer overwrote with k1=11"],
    );
    says("w(1,10,0,0)\nr(1,0,0,0)", &["own write lost: T0 wrote k1=10 and then read k1 as absent"]);
    says(
        "w(1,10,0,0)\nr(1,0,1,1)\nr(1,10,1,1)\nr(1,0,1,1)",
        &[
            "non-repeatable read: T1 read k1 as absent and later k1=10 of T0",
            "fractured read: T1 read k1=10 of T0 and then k1 as absent, but T0 also wrote k1=10, which is newer",
        ],
    );
    says(
        "w(1,10,0,0)\nw(2,20,0,0)\nr(2,0,1,1)\nr(1,10,1,1)",
        &[
            "fractured read: T1 read k2 as absent and then k1=10 of T0, but T0 also wrote k2=20, which is newer",
        ],
    );
    says(
        "w(1,10,0,0)\n#@ stamp 0 9\nr(1,10,1,1)\nw(2,20,1,1)\n#@ stamp 1 8",
        &["read of a later stamp: T1, stamped 8, read k1=10 of T0, stamped 9"],
    );
    says(
        "w(1,10,0,0)\n#@ stamp 0 9\nw(2,20,1,1)\n#@ stamp 1 9",
        &["shared stamp: T0 and T1 are both stamped 9"],
    );
    says(
        "w(1,10,0,0)\n#@ request 0 5\nw(1,11,1,1)\n#@ request 1 5\nw(1,12,2,-1)",
        &["double effect: T0 and T1 both committed request 5"],
    );
}

/// Asserts that a history is read atomic but not serializable, with the given first violation.
#[track_caller]
fn is_not_serial(history: &str, violation: &str) {
    let history = text::parse(history.as_bytes()).expect("the text is a history");
    let options = Options { serializable: true, ..Options::default() };
    let report = check(&history, &options).expect("the text is a history");
    assert_eq!(report.violations().first().map(ToString::to_string).as_deref(), Some(violation));
    assert_eq!(report.serializability(), Serializability::No);
    assert!(report.is_read_atomic(), "{report}");
    assert!(report.to_string().contains("[serializable] cycle"), "{report}");
}

#[test]
fn a_lost_update_is_a_cycle_of_two() {
    is_not_serial(
        "w(1,10,0,0)\nr(1,10,1,1)\nw(1,11,1,1)\nr(1,10,2,2)\nw(1,12,2,2)",
        "cycle of 2: no order of transactions satisfies all of these\n    \
           T1 before T2: T1 read k1=10 of T0, which T2 replaced with k1=12\n    \
           T2 before T1: T2 read k1=10 of T0, which T1 replaced with k1=11",
    );
}

#[test]
fn without_stamps_what_came_after_the_writer_replaced_it() {
    is_not_serial(
        "r(4,42,0,0)\nw(1,10,0,0)\nw(2,20,0,0)\nr(2,20,1,1)\nw(3,31,1,1)\nw(1,12,2,2)\nw(4,42,2,2)\nr(3,31,3,3)\nr(1,12,3,3)",
        "cycle of 3: no order of transactions satisfies all of these\n    \
           T0 before T1: T1 read k2=20 of T0\n    \
           T1 before T3: T3 read k3=31 of T1\n    \
           T3 before T0: T3 read k1=12 of T2, which T0 replaced with k1=10",
    );
}

#[test]
fn a_cycle_justifies_each_step() {
    says(
        "w(1,10,0,0)\nw(2,20,0,0)\nw(1,11,1,1)\nw(2,21,1,1)\nr(1,10,2,2)\nr(2,21,2,2)",
        &["cycle of 2: no order of versions satisfies all of these\n    \
           T0 before T1: T2 read k1=10 of T0 and k2=21 of T1; T0 also wrote k2=20, so that must be the older one\n    \
           T1 before T0: T2 read k2=21 of T1 and k1=10 of T0; T1 also wrote k1=11, so that must be the older one"],
    );
    says(
        "w(1,10,0,0)\nr(2,21,0,0)\nw(2,21,1,1)\nr(1,10,1,1)",
        &["cycle of 2: no order of versions satisfies all of these\n    \
           T0 before T1: T1 read k1=10 of T0\n    \
           T1 before T0: T0 read k2=21 of T1"],
    );
}

#[test]
fn a_report_has_verdict_counts_and_violations() {
    let history = "w(1,10,0,0)\nw(2,20,0,0)\nr(2,0,1,1)\nr(1,10,1,1)\nw(3,1,5,-1)\nw(3,2,6,6)\n#@ unknown 6";
    let report = check(&text::parse(history.as_bytes()).unwrap(), &Options::default()).unwrap();
    assert_eq!(
        report.to_string(),
        "read atomic: no (strongest level that holds: read committed)\n\
         transactions: 2 committed, 1 aborted, 1 unknown (of these 0 read by others, so committed)\n\
         operations: 2 reads (2 checked), 4 writes to 3 keys\n\
         order of versions: not given; any order that explains the reads is accepted\n\
         violations: 1\n  \
         [P2 read atomic] fractured read: T1 read k2 as absent and then k1=10 of T0, but T0 also wrote k2=20, which \
         is newer"
    );
    assert!(!report.is_read_atomic());
    assert_eq!(report.level(), Level::ReadCommitted);
}

#[test]
fn a_report_of_many_violations_is_short() {
    let mut recorder = Recorder::new();
    for _ in 0..100 {
        let reader = recorder.begin();
        recorder.read(reader, 1, 99);
        recorder.commit(reader, None);
    }
    let report = check(recorder.history(), &Options::default()).unwrap();
    assert_eq!(report.violations().len(), 100);
    assert!(report.to_string().ends_with("and 80 more"));
    assert_eq!(report.to_string().lines().count(), 4 + 1 + 20 + 1);
}

#[test]
fn a_double_effect_does_not_lower_the_level() {
    let mut recorder = Recorder::new();
    for _ in 0..2 {
        let attempt = recorder.begin();
        recorder.request(attempt, RequestId(5));
        recorder.write_fresh(attempt, 1);
        recorder.commit(attempt, None);
    }
    let report = check(recorder.history(), &Options::default()).unwrap();
    assert!(report.is_read_atomic() && !report.is_clean());
}

#[test]
fn an_attempt_of_unknown_outcome_counts_as_committed_if_it_was_read() {
    let mut recorder = Recorder::new();
    let [lost, won] = [(); 2].map(|()| {
        let attempt = recorder.begin();
        recorder.request(attempt, RequestId(5));
        attempt
    });
    let value = recorder.write_fresh(lost, 1);
    recorder.unknown(lost, None);
    recorder.write_fresh(won, 1);
    recorder.commit(won, None);
    assert!(check(recorder.history(), &Options::default()).unwrap().is_clean());
    let reader = recorder.begin();
    recorder.read(reader, 1, value);
    recorder.commit(reader, None);
    let report = check(recorder.history(), &Options::default()).unwrap();
    assert_eq!(report.violations().len(), 1, "{report}");
    assert_eq!(report.counts().unknown_read, 1);
}

#[test]
fn the_reads_of_aborted_attempts_are_checked_on_request() {
    let mut recorder = Recorder::new();
    let writer = recorder.begin();
    let value = recorder.write_fresh(writer, 1);
    recorder.write_fresh(writer, 2);
    recorder.commit(writer, None);
    let zombie = recorder.begin();
    recorder.read(zombie, 1, value);
    recorder.read(zombie, 2, 0);
    recorder.abort(zombie);
    assert!(check(recorder.history(), &Options::default()).unwrap().is_clean());
    let options = Options { readers: Readers::All, ..Options::default() };
    assert_eq!(check(recorder.history(), &options).unwrap().level(), Level::None);
}

#[test]
fn sessions_must_see_their_own_commits_on_request() {
    let session = SessionId::new(1);
    let options = Options { sessions: true, ..Options::default() };
    let mut recorder = Recorder::new();
    let [old, new] = [1, 2].map(|stamp| {
        let writer = recorder.begin_in(session);
        let value = recorder.write_fresh(writer, 1);
        recorder.commit(writer, Some(Stamp(stamp)));
        value
    });
    let fresh = recorder.begin_in(session);
    recorder.read(fresh, 1, new);
    recorder.commit(fresh, None);
    assert!(check(recorder.history(), &options).unwrap().is_clean());
    let stale = recorder.begin_in(session);
    recorder.read(stale, 1, old);
    recorder.commit(stale, None);
    assert!(check(recorder.history(), &Options::default()).unwrap().is_clean());
    let report = check(recorder.history(), &options).unwrap();
    assert!(report.to_string().contains("[P8 sessions] own commit lost: T3 read k1=1 of T0"), "{report}");
}

#[test]
fn staleness_is_measured_from_times() {
    let mut recorder = Recorder::new();
    let values = [1000, 2000, 3000].map(|commit_ms| {
        let writer = recorder.begin();
        let value = recorder.write_fresh(writer, 1);
        recorder.commit(writer, None);
        recorder.committed_at(writer, commit_ms);
        value
    });
    // A reader that begins at 3500 and reads the first version is 1500 ms and two versions behind.
    for (value, begin_ms) in [(values[0].0, 3500), (values[2].0, 3500), (values[0].0, 1999), (0, 1500)] {
        let reader = recorder.begin();
        recorder.began_at(reader, begin_ms);
        recorder.read(reader, 1, value);
        recorder.commit(reader, None);
    }
    let report = check(recorder.history(), &Options::default()).unwrap();
    let expected = Staleness { reads: 4, stale: 2, p50_ms: 0, p99_ms: 1500, max_ms: 1500, max_versions: 2 };
    assert_eq!(report.staleness(), Some(&expected));
    assert!(report.is_clean());
}

#[test]
fn a_report_shows_whether_none_some_or_all_writers_have_stamps() {
    let history =
        |stamps: &str| text::parse(format!("w(1,10,0,0)\nw(1,11,1,1)\n{stamps}").as_bytes()).unwrap();
    let stamps = |text| check(&history(text), &Options::default()).unwrap().stamps();
    assert_eq!(stamps(""), Stamps::None);
    assert_eq!(stamps("#@ stamp 0 1\n"), Stamps::Some);
    assert_eq!(stamps("#@ stamp 0 1\n#@ stamp 1 2\n"), Stamps::All);
}

#[test]
fn a_malformed_history_is_rejected() {
    let write = |number: u64, value: u64| {
        let mut transaction = Transaction::alone(TransactionId::new(number));
        transaction.write(1, value);
        transaction.outcome = Outcome::Committed;
        transaction
    };
    let refused = |transactions: [Transaction; 2]| {
        check(&transactions.into_iter().collect(), &Options::default()).unwrap_err()
    };
    assert!(matches!(refused([write(0, 1), write(0, 2)]), Malformed::IdReused(_)));
    assert!(matches!(refused([write(0, 1), write(1, 0)]), Malformed::AbsentWritten { .. }));
    assert_eq!(
        refused([write(7, 1), write(3, 1)]).to_string(),
        "value 1 of k1 is written by T7 and again by T3; values must name their writer: write every value to a key \
         only once"
    );
}

#[test]
fn a_missing_file_is_named_in_the_error() {
    let error = check_file("/nowhere/history.txt", &Options::default()).unwrap_err().to_string();
    assert!(error.starts_with("cannot open /nowhere/history.txt: "), "{error}");
}

#[test]
fn named_keys_have_stable_numbers() {
    let mut names = KeyNames::new();
    let (a, b) = (names.key("users/a"), names.key("users/b"));
    assert_ne!(a, b);
    assert_eq!(names.key("users/a"), a);
    assert_eq!(names.name(b), Some("users/b"));
}
