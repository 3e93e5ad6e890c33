//! Worlds of the attempts of requests: several of one request, several verbs at once, and begins
//! that wait.

use aft_core::bug::Bug;

use super::requests::{k, l, reads, writes};
use super::stage::{MEMBER, MEMBERS, Stage};
use crate::explore::{Budget, Scenario};
use crate::script::{Action, Request, Step};

/// Returns worlds of several attempts of one request.
pub(super) fn exactly_once(bug: Option<Bug>) -> Vec<Scenario> {
    let mut all = Vec::new();

    let mut stage = Stage::new(bug, &MEMBERS);
    let first = stage.add(writes(0, "KL"), 0);
    stage.again(first, 1);
    let third = stage.again(first, 0);
    stage.after.push((third, first, false));
    let budget = Budget { crashes: 2, late: 2, no_answers: 1, ..Budget::default() };
    all.push(stage.scenario("3 attempts of one request, 2 crashes, 2 late calls", budget));

    let mut stage = Stage::new(bug, &MEMBERS);
    let first = stage.add(writes(0, "K"), 0);
    let second = stage.again(first, 1);
    stage.after.push((second, first, false));
    let budget = Budget { no_answers: 2, late: 1, ticks: 1, ..Budget::default() };
    all.push(stage.scenario("2 attempts, 2 calls without an answer", budget));

    let mut stage = Stage::new(bug, &MEMBERS);
    let first = stage.add(writes(0, "KL"), 0);
    stage.again(first, 1);
    stage.jumps.push(stage.settings().target_lag_ms() + 1);
    all.push(
        stage.scenario("2 attempts and a sweeper", Budget { sweeps: 1, crashes: 1, ..Budget::default() }),
    );

    let mut stage = Stage::new(bug, &MEMBER);
    stage.add(writes(0, "KL"), 0);
    let budget = Budget { no_answers: 1, late: 1, crashes: 1, splits: 1, ticks: 1, ..Budget::default() };
    all.push(stage.scenario("1 attempt, everything goes wrong once", budget));

    // The first attempt may leave a record and half of its entries; the retry begins at any time.
    let mut stage = Stage::new(bug, &MEMBERS);
    let first = stage.add(writes(0, "KL"), 0);
    stage.again(first, 1);
    stage.add(reads("kl"), 1);
    let budget = Budget { crashes: 1, splits: 2, late: 1, sweeps: 1, ..Budget::default() };
    stage.jumps.push(stage.settings().target_lag_ms() + 1);
    all.push(stage.scenario("half-entered, replayed late", budget));

    let mut stage = Stage::new(bug, &MEMBERS);
    let blob = Request::new(0, vec![Step::Blob(Some(k())), Step::Commit]);
    let first = stage.add(blob, 0);
    stage.again(first, 1);
    stage.jumps = vec![stage.settings().target_lag_ms() + 1];
    let budget = Budget { crashes: 1, late: 1, sweeps: 1, ..Budget::default() };
    all.push(stage.scenario("blobs and a loser", budget));
    all
}

/// Returns worlds of overlapping verbs of one transaction, and of begins that wait.
pub(super) fn overlapping(bug: Option<Bug>) -> Vec<Scenario> {
    let mut all = Vec::new();

    // A version whose value comes too late is chosen again, while a listing has chosen it as well.
    let mut stage = Stage::new(bug, &MEMBER).done(&["KL"]);
    stage.world.start_again(0);
    let mut request = reads("k*");
    request.parallel = true;
    stage.add(request, 0);
    stage.jumps = vec![stage.settings().recheck_after_ms + 1];
    all.push(stage.scenario("a get and a listing at once, a value that comes late", Budget::default()));

    let mut stage = Stage::new(bug, &MEMBERS).done(&["K"]).passed(1_500);
    stage.add(writes(1, "KL"), 0);
    let gets_and_puts = vec![
        Step::Run(vec![Action::Get(k())]),
        Step::Run(vec![Action::Get(l()), Action::Put(k())]),
        Step::Run(vec![Action::Put(l())]),
        Step::Commit,
    ];
    let mut request = Request::new(2, gets_and_puts);
    request.parallel = true;
    request.twice = true;
    stage.add(request, 1);
    let budget = Budget { splits: 1, ..Budget::default() };
    all.push(stage.scenario("gets, puts and two commits at once, beside KL", budget));

    let mut stage = Stage::new(bug, &MEMBER);
    let mut aborts = writes(0, "K");
    aborts.program = vec![Step::Run(vec![Action::Put(k())]), Step::Abort];
    stage.add(aborts, 0);
    let mut waits = writes(0, "KL");
    (waits.overlap, waits.wait_ms) = (false, 2_000);
    let second = stage.add(waits, 0);
    stage.again(second, 0);
    let budget = Budget { crashes: 1, ticks: 2, ..Budget::default() };
    all.push(stage.scenario("an attempt that aborts, and two that wait for it", budget));
    all
}
