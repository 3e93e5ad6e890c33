//! Worlds of serializable transactions (protocol, section 13): on an exclusive store, and with
//! locks on a shared one.

use aft_core::bug::Bug;
use aft_core::message::Isolation;
use aft_core::settings::Levels;
use aft_core::store::{Call, Name};

use super::requests::{checked, conditional, k, plain};
use super::stage::{MEMBER, MEMBERS, Stage};
use crate::draw::small_settings;
use crate::explore::{Budget, Scenario};
use crate::script::{Action, Guard, Request};

/// Returns worlds of serializable transactions on an exclusive store (protocol, section 13).
pub(super) fn checking(bug: Option<Bug>) -> Vec<Scenario> {
    let worlds: [(&str, &[&str], [Request; 3]); 4] = [
        ("lost update", &["K"], [checked("k", "K"), checked("k", "K"), plain(2, "K")]),
        ("write skew", &["KL"], [checked("kl", "K"), checked("kl", "L"), plain(2, "K")]),
        (
            "a key that is listed as absent and written",
            &["K"],
            [checked("*", "K"), checked("k", "L"), checked("l", "L")],
        ),
        ("delete, collect, write again", &["K"], [checked("k", "k"), checked("k", "K"), checked("k", "L")]),
    ];
    let mut all = Vec::new();
    for (name, done, requests) in worlds {
        let mut settings = small_settings(true);
        settings.bug = bug;
        let mut stage = Stage::with(settings, &MEMBER).done(done);
        for (id, request) in requests.into_iter().enumerate() {
            stage.add(Request { id: 10 + id as u32, ..request }, 0);
        }
        let budget = Budget { crashes: 1, ..Budget::default() };
        all.push(stage.scenario(name, budget));
    }
    let mut settings = small_settings(true);
    settings.bug = bug;
    let mut stage = Stage::with(settings, &MEMBER).done(&["K"]);
    let attempt = stage.add(Request { id: 10, ..checked("k", "K") }, 0);
    stage.again(attempt, 0);
    stage.add(Request { id: 11, ..checked("k", "K") }, 0);
    let budget = Budget { crashes: 1, ..Budget::default() };
    all.push(stage.scenario("two attempts of one request that conflict with each other", budget));
    all
}

/// Returns worlds of serializable transactions on a shared store (protocol, section 13).
pub(super) fn locking(bug: Option<Bug>) -> Vec<Scenario> {
    let stage = |delete_if: bool| {
        let mut settings = small_settings(false);
        settings.bug = bug;
        settings.delete_if = delete_if;
        settings.levels = Levels::everywhere(Isolation::Serializable);
        settings.break_after_ms = 100;
        Stage::with(settings, &MEMBERS)
    };
    let eager = |text: &str, writes: &str| Request { eager: true, ..checked(text, writes) };
    let mut all = Vec::new();
    let mut add = |name: &'static str, mut stage: Stage, requests: Vec<Request>, budget: Budget| {
        for (number, request) in requests.into_iter().enumerate() {
            stage.add(Request { id: 10 + number as u32, ..request }, number % 2);
        }
        all.push(stage.scenario(name, budget));
    };
    let plain = |text: &str, writes: &str| Request { named: false, ..eager(text, writes) };

    let crash = Budget { crashes: 1, ..Budget::default() };
    let splits = Budget { splits: 2, late: 1, no_answers: 1, ..Budget::default() };
    add("locks: lost update", stage(true).done(&["K"]), vec![eager("k", "K"), eager("k", "K")], splits);
    add(
        "locks: lost update, whole",
        stage(true).done(&["K"]),
        vec![plain("k", "K"), plain("k", "K")],
        splits,
    );
    add("locks: lost update of an absent key", stage(false), vec![plain("k", "K"), eager("k", "K")], splits);
    add("locks: write skew", stage(true).done(&["KL"]), vec![eager("kl", "K"), eager("kl", "L")], splits);
    add(
        "locks: blind writes cross",
        stage(true).done(&["KL"]),
        vec![eager("", "KL"), eager("", "KL")],
        Budget { splits: 2, ticks: 2, ..Budget::default() },
    );
    add(
        "locks: the read-only anomaly",
        stage(true).done(&["KL"]),
        vec![eager("kl", "K"), eager("l", "L"), checked("kl", "")],
        crash,
    );

    // A holder that is paused between its locks and its record is broken, and then resumes.
    let mut zombie = stage(true).done(&["K"]);
    zombie.jumps.push(400);
    let budget = Budget { holds: 1, pauses: 1, ..Budget::default() };
    add("locks: a zombie after a break", zombie, vec![eager("k", "K"), eager("k", "K")], budget);

    let mut dead = stage(true).done(&["K"]);
    dead.jumps.push(400);
    let budget = Budget { crashes: 1, late: 1, no_answers: 1, ..Budget::default() };
    add("locks: the lock of a dead attempt", dead, vec![eager("kl", "K"), eager("k", "K")], budget);

    for delete_if in [true, false] {
        let name = match delete_if {
            true => "locks: delete, collect, write again",
            false => "locks: delete, collect, write again, without deletion by tag",
        };
        let deleted = stage(delete_if).done(&["K", "k"]).settled().swept();
        let budget = Budget { sweeps: 1, splits: 1, crashes: 1, ..Budget::default() };
        add(name, deleted, vec![checked("k", "K"), checked("k", "K")], budget);
    }

    // One attempt has read a tombstone, which is then collected; the other finds nothing.
    let mut collected = stage(true).done(&["K", "k"]).settled().swept();
    let reader = collected.add(Request { id: 20, timeout_ms: Some(4_000), ..checked("k", "K") }, 1);
    collected.verb(reader);
    collected.verb(reader);
    collected.upkeep(true);
    collected.pass(100);
    collected.upkeep(false);
    assert!(!collected.world.store.all_entries().any(|(key, _)| *key == k()), "the deletion is collected");
    let budget = Budget { splits: 2, ..Budget::default() };
    add("locks: a deletion that is collected under a reader", collected, vec![eager("k", "K")], budget);

    // The same, but the sweep is just about to delete the tombstone.
    let mut leaving = stage(true).done(&["K", "k"]).settled().swept();
    let reader = leaving.add(Request { id: 20, timeout_ms: Some(4_000), ..checked("k", "K") }, 1);
    leaving.verb(reader);
    leaving.verb(reader);
    leaving.upkeep(true);
    leaving.answer_until(0, |call| matches!(call, Call::Delete(_)));
    let mut decided = leaving.clone();
    let budget = Budget { splits: 1, ..Budget::default() };
    add("locks: a deletion that leaves beside a reader", leaving, vec![eager("k", "K")], budget);
    // And the reader has put its lock behind the tombstone already, and is about to create its
    // record.
    let clean = "no promise is broken in the preparation";
    (0..2).for_each(|_| decided.world.client(reader).expect(clean));
    decided.answer_until(1, |call| matches!(call, Call::Create(Name::Commit(_), _)));
    add("locks: a deletion that leaves behind a lock", decided, vec![eager("k", "K")], Budget::default());

    let mut again = stage(true).done(&["K"]);
    again.jumps.push(400);
    let first = again.add(Request { id: 10, ..eager("k", "K") }, 0);
    again.again(first, 1);
    again.add(Request { id: 11, ..eager("k", "K") }, 1);
    let budget = Budget { crashes: 1, holds: 1, ..Budget::default() };
    all.push(again.scenario("locks: two attempts of one request that conflict with each other", budget));

    let mut swept = stage(true).done(&["K"]);
    swept.jumps.push(swept.settings().target_lag_ms() + 1);
    let first = swept.add(Request { id: 10, ..eager("k", "KL") }, 0);
    swept.again(first, 1);
    let budget = Budget { crashes: 1, sweeps: 1, late: 1, ..Budget::default() };
    all.push(swept.scenario("locks: half-locked, swept, run again", budget));

    let create = || vec![Action::Check(k(), Guard::Absent), Action::Put(k())];
    let sum = || vec![Action::Add(k(), 1)];
    let splits = Budget { splits: 2, crashes: 1, no_answers: 1, ..Budget::default() };
    for (name, actions) in [
        ("locks: two create a key if it is absent", create as fn() -> Vec<Action>),
        ("locks: two add to a key", sum),
    ] {
        let mut two = stage(true).done(&["K", "k"]);
        two.add(conditional(20, actions()), 0);
        two.add(Request { named: false, ..conditional(21, actions()) }, 1);
        all.push(two.scenario(name, splits));
    }

    // The second attempt begins before the first one commits, and then meets the first one's
    // effects.
    let mut twice = stage(true);
    let first = twice.add(conditional(20, create()), 0);
    let again = twice.again(first, 1);
    twice.world.requests[0].eager = false;
    twice.verb(again);
    twice.add(Request { id: 21, ..eager("", "k") }, 1);
    all.push(twice.scenario("locks: a condition of one request, twice, and a deletion", splits));
    all
}
