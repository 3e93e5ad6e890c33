//! Worlds of sweeps: beside readers, beside readers that are paused, and beside each other.

use aft_core::bug::Bug;
use aft_core::store::{Call, Name, Writes};

use super::requests::{fresh, k, reads, writes};
use super::stage::{MEMBER, MEMBERS, Stage};
use crate::draw::small_settings;
use crate::explore::{Budget, Scenario};

/// Returns worlds in which a sweep removes superseded versions beside readers.
pub(super) fn collecting(bug: Option<Bug>) -> Vec<Scenario> {
    let mut all = Vec::new();
    let sweep = Budget { sweeps: 1, ..Budget::default() };

    // What was written first is superseded in a different way in each of these worlds.
    for (name, texts) in [
        ("KL, KL with a reader and a sweeper", &["KL", "KL"][..]),
        ("KL, K, L with readers and a sweeper", &["KL", "K", "L"]),
        ("L, K−L−, KL with readers and a sweeper", &["L", "kl", "KL"]),
        ("KL, K−L with readers and a sweeper", &["KL", "kL"]),
        ("K, K−, K with readers and a sweeper", &["K", "k", "K"]),
    ] {
        let stage = Stage::new(bug, &MEMBERS).done(texts).settled().readers(reads);
        all.push(stage.scenario(name, Budget { splits: 1, ..sweep }));
    }

    for (name, texts) in [
        ("KLM, K−L, L−M with readers and a sweeper", ["KLM", "kL", "lM"]),
        ("KL, LM, K−M− with readers and a sweeper", ["KL", "LM", "km"]),
    ] {
        let mut stage = Stage::new(bug, &MEMBERS).three().done(&texts).settled();
        stage.add(reads("klm"), 1);
        stage.add(reads("mlk"), 0);
        all.push(stage.scenario(name, sweep));
    }

    let mut stage = Stage::new(bug, &MEMBERS).done(&["KL", "k"]).settled();
    for (host, earlier) in [(0, 0), (1, 1)] {
        let reader = stage.add(reads("lk"), host);
        stage.world.follow(reader, earlier);
    }
    let third = stage.add(writes(7, "L"), 0);
    stage.world.follow(third, 0);
    stage.jumps = vec![stage.settings().retention_max_ms];
    all.push(stage.scenario("KL, K− with floors", Budget { sweeps: 2, ..Budget::default() }));

    // The retry finds the record, or none if it was removed after its retention.
    let mut stage = Stage::new(bug, &MEMBERS).done(&["KL", "k"]).settled();
    let retry = stage.again(0, 1);
    stage.add(reads("k"), 1);
    let late = stage.again(0, 0);
    stage.after.push((late, retry, false));
    stage.jumps = vec![stage.settings().retention_max_ms];
    all.push(stage.scenario("KL, K−, a retry of the first at any time", sweep));
    all
}

/// Returns worlds of readers that are paused while a sweep removes what they have found, and of
/// commits and damage beside a sweep.
pub(super) fn reading_beside_sweeps(bug: Option<Bug>) -> Vec<Scenario> {
    let mut all = Vec::new();

    // All that the reader has listed may be removed before its get.
    for (name, texts) in [
        ("a reader that is paused between listing and get", ["KL", "KL"]),
        ("a reader that is paused while a tombstone goes", ["KL", "kl"]),
    ] {
        let mut stage = Stage::new(bug, &MEMBERS).done(&texts[..1]);
        stage.run(writes(1, texts[1]), 0);
        let mut stage = stage.over();
        stage.add(reads("kl"), 1);
        stage.add(reads("lk"), 1);
        let settle_ms = stage.settings().settle_after_ms() + stage.settings().sweep_interval_ms + 100;
        stage.jumps = vec![settle_ms, settle_ms];
        let budget = Budget { sweeps: 1, pauses: 1, splits: 1, ..Budget::default() };
        all.push(stage.scenario(name, budget));
    }

    // A reader whose machine is paused with all its clocks, behind a proxy that strips the store's
    // time: its deadline does not end it, and its reads are from before the mark moved. In the
    // first such world, the other key is deleted meanwhile, and all of it is collected.
    let mut stage = Stage::new(bug, &MEMBERS).done(&["KL"]);
    stage.world.timeless = Some(1);
    let reader = stage.add(reads("lk"), 1);
    stage.verb(reader);
    stage.verb(reader);
    let stage = stage.unseen(1, |mut stage| {
        stage.run(writes(1, "kL"), 0);
        stage.settled().swept().swept()
    });
    let name = "a reader that nothing wakes, and a key that is gone";
    all.push(stage.scenario(name, Budget { splits: 1, ..Budget::default() }));

    // In the second, the other key is overwritten, and a sweep has removed half of its older
    // versions.
    let mut stage = Stage::new(bug, &MEMBERS).done(&["K", "K"]);
    // An empty node in its place: it must list the versions.
    stage.world.start_again(1);
    stage.world.timeless = Some(1);
    let reader = stage.add(fresh("lk"), 1);
    stage.verb(reader);
    stage.verb(reader);
    let mut stage = stage.unseen(1, |mut stage| {
        stage.run(writes(2, "KL"), 0);
        stage.settled()
    });
    // The oldest version is put back, as if the deletion of it were the last to land: the one above
    // it is gone.
    let oldest =
        stage.world.audit.commits.values().map(|commit| commit.record.clone()).min_by_key(|of| of.txn);
    let oldest = oldest.expect("some have committed");
    let entries = oldest.entries();
    let newest = stage.world.store.entries(&k()).map(|entry| entry.txn).max();
    let between = stage.world.audit.commits.values().map(|commit| commit.record.txn);
    let between = between.filter(|txn| *txn > oldest.txn && Some(*txn) < newest).collect::<Vec<_>>();
    assert!(between.iter().all(|txn| !stage.world.store.has_entry(&k(), *txn)), "the one above it is gone");
    let now_ms = stage.world.now_ms;
    stage.world.store.apply(&Call::Commit(Writes { record: Some(oldest), entries }), now_ms);
    let name = "a reader that nothing wakes, and versions that go";
    all.push(stage.scenario(name, Budget { splits: 1, ..Budget::default() }));

    // In the third, the reader has listed the key when it is paused, and then asks for the record
    // of the entry that it found. A sweep removes both at the same time.
    let mut stage = Stage::new(bug, &MEMBERS).done(&["K"]);
    // An empty node in its place: it knows entries by their listing only.
    stage.world.start_again(1);
    stage.world.timeless = Some(1);
    let reader = stage.add(fresh("k"), 1);
    stage.verb(reader);
    stage.half_a_verb(reader);
    let stage = stage.unseen(1, |mut stage| {
        stage.run(writes(1, "K"), 0);
        let retention_ms = stage.settings().retention_max_ms;
        stage.settled().passed(retention_ms)
    });
    let name = "a reader that nothing wakes between listing and get";
    all.push(stage.scenario(name, Budget { sweeps: 1, ..Budget::default() }));

    // A writer commits beside the sweep that moves the mark, on a node that knows an older mark.
    let mut stage = Stage::new(bug, &MEMBERS).done(&["KL", "K"]).settled();
    stage.add(writes(3, "KL"), 1);
    stage.add(fresh("kl"), 1);
    stage.jumps = vec![stage.settings().target_lag_ms()];
    all.push(
        stage.scenario("KL, K, then KL beside a sweep", Budget { sweeps: 1, splits: 2, ..Budget::default() }),
    );

    let mut stage = Stage::new(bug, &MEMBERS).done(&["KL", "KL"]).settled();
    let hash = stage.world.requests[1].hash_for(stage.world.attempts[1].id);
    stage.world.store.unreadable.insert(Name::Commit(hash));
    stage.add(reads("kl"), 1);
    stage.add(writes(3, "K"), 0);
    stage.jumps = vec![stage.settings().target_lag_ms()];
    all.push(stage.scenario("KL, KL whose record is damaged", Budget { sweeps: 2, ..Budget::default() }));
    all
}

/// Returns worlds of several sweepers.
pub(super) fn sweeping(bug: Option<Bug>) -> Vec<Scenario> {
    let mut all = Vec::new();
    let two = Budget { sweeps: 2, crashes: 1, ..Budget::default() };

    for (name, texts) in
        [("KL, K−, L with two sweepers", ["KL", "k", "L"]), ("K, KL, K− with two sweepers", ["K", "KL", "k"])]
    {
        let mut stage = Stage::new(bug, &MEMBERS).done(&texts).settled();
        stage.jumps = vec![stage.settings().retention_max_ms];
        stage.add(reads("kl"), 1);
        all.push(stage.scenario(name, two));
    }

    for (name, texts) in [
        ("KL, K− with two sweepers, crash, late call", ["KL", "k"]),
        ("KL, KL with two sweepers, crash, late call", ["KL", "KL"]),
    ] {
        let mut stage = Stage::new(bug, &MEMBERS).done(&texts).over();
        let settle_ms = stage.settings().settle_after_ms() + stage.settings().sweep_interval_ms;
        stage.jumps = vec![settle_ms, settle_ms];
        all.push(stage.scenario(name, Budget { late: 1, no_answers: 1, ..two }));
    }

    let stage = Stage::new(bug, &MEMBERS).done(&["K", "K"]);
    let retention_ms = stage.settings().retention_max_ms;
    let mut stage = stage.settled().passed(retention_ms / 2);
    let again = stage.again(0, 1);
    let third = stage.again(0, 0);
    stage.after.push((third, again, false));
    stage.jumps = vec![retention_ms / 2];
    let budget = Budget { sweeps: 2, splits: 1, ..Budget::default() };
    all.push(stage.scenario("a request ID used again, two sweepers", budget));

    // Pages of one name, so that a sweep can be stopped at many points.
    let mut settings = small_settings(false);
    settings.bug = bug;
    (settings.scan_page_len, settings.sweep_calls_max, settings.sweep_hashes_max) = (1, 1, 1);
    let mut stage = Stage::with(settings, &MEMBERS).done(&["KL", "K", "L"]).over();
    let settle_ms = stage.settings().settle_after_ms() + stage.settings().sweep_interval_ms;
    stage.jumps = vec![settle_ms, settle_ms];
    let budget = Budget { sweeps: 3, stops: 2, crashes: 1, ..Budget::default() };
    all.push(stage.scenario("sweeps that stop, and go on from notes", budget));

    let mut settings = small_settings(true);
    settings.bug = bug;
    let mut stage = Stage::with(settings, &MEMBER).done(&["KL", "K"]);
    stage.add(reads("kl"), 0);
    stage.add(writes(3, "KL"), 0);
    stage.add(reads("lk"), 0);
    stage.jumps = vec![stage.settings().sweep_interval_ms + 1; 2];
    let budget = Budget { sweeps: 1, crashes: 1, ..Budget::default() };
    all.push(stage.scenario("an exclusive store that moves the mark by itself", budget));
    all
}
