//! Worlds of hosts and a store that fail: wrong clocks, pauses, nodes that drain, and calls that
//! fail for good.

use aft_core::bug::Bug;

use super::requests::{fresh, k, plain, reads, writes};
use super::stage::{MEMBER, MEMBERS, Stage};
use crate::draw::small_settings;
use crate::explore::{Budget, Scenario};
use crate::hosts::Role;
use crate::script::{Action, Request, Step};
use crate::store_clock::StoreClock;

/// Returns worlds of wrong clocks, pauses, and calls that wait in the driver's queue.
pub(super) fn times(bug: Option<Bug>) -> Vec<Scenario> {
    let mut all = Vec::new();

    // P10: the second writer knows neither the store's time nor the first write.
    for (name, span_ms) in [("K, then K blindly on another node", 1), ("the same, with whole seconds", 1_000)]
    {
        let mut settings = small_settings(false);
        settings.bug = bug;
        if span_ms > 1 {
            settings.skew_max_ms = 2_500;
            settings.grace_ms = 3_000;
            settings.retention_max_ms = settings.retention_min_ms() + 3_000;
            settings.retention_default_ms = settings.retention_max_ms;
        }
        let mut stage = Stage::with(settings, &MEMBERS);
        stage.world.store_clock = StoreClock::with(-3_600_000, span_ms);
        stage.world.hosts[0].process.clocks.wall_offset_ms = 3_600_000;
        stage.world.hosts[1].process.clocks.wall_offset_ms = -3_600_000;
        let first = stage.add(writes(0, "K"), 0);
        let second = stage.add(plain(1, "K"), 1);
        let third = stage.add(fresh("k"), 0);
        stage.after = vec![(second, first, false), (third, second, false)];
        all.push(stage.scenario(name, Budget { splits: 1, ticks: 2, ..Budget::default() }));
    }

    // A commit waits in the driver's queue, or its host is paused, until after its deadline.
    let mut stage = Stage::new(bug, &MEMBERS).done(&["KL"]);
    let mut request = writes(1, "KL");
    request.timeout_ms = Some(1_000);
    let first = stage.add(request, 0);
    stage.again(first, 1);
    let over_ms = stage.settings().over_after_ms() + stage.settings().skew_max_ms;
    stage.jumps = vec![1_001, over_ms];
    let budget = Budget { holds: 1, pauses: 1, splits: 1, sweeps: 1, ..Budget::default() };
    all.push(stage.scenario("a commit that waits in the driver, a host that is paused", budget));

    // A guest vanishes after its attempt, or resumes much later.
    let mut stage = Stage::new(bug, &[Role::Member, Role::Guest]).done(&["KL"]);
    let first = stage.add(writes(1, "KL"), 1);
    let second = stage.add(reads("kl"), 1);
    let third = stage.add(writes(3, "K"), 1);
    stage.after = vec![(second, first, false), (third, second, true)];
    stage.jumps = vec![2_000];
    let budget = Budget { crashes: 1, pauses: 1, ..Budget::default() };
    all.push(stage.scenario("a guest that vanishes or freezes", budget));
    all
}

/// Returns worlds of nodes that drain, and of a store that fails for good.
pub(super) fn ending(bug: Option<Bug>) -> Vec<Scenario> {
    let mut all = Vec::new();

    let mut stage = Stage::new(bug, &MEMBERS);
    let first = stage.add(writes(0, "KL"), 0);
    stage.again(first, 0);
    stage.add(reads("kl"), 1);
    let budget = Budget { drains: 1, no_answers: 1, ..Budget::default() };
    all.push(stage.scenario("KL on a node that drains, a retry and a reader", budget));

    let mut stage = Stage::new(bug, &MEMBER);
    let mut request = Request::new(0, vec![Step::Run(vec![Action::Put(k())]), Step::Commit]);
    request.stubborn = true;
    stage.add(request, 0);
    let budget = Budget { failures: 2, no_answers: 1, late: 1, ticks: 1, ..Budget::default() };
    all.push(stage.scenario("a stubborn commit, a call without an answer, two failures", budget));

    let mut stage = Stage::new(bug, &MEMBERS).done(&["KL"]).passed(1_500);
    stage.add(writes(1, "KL"), 0);
    stage.add(reads("kl"), 1);
    stage.add(reads("*k"), 1);
    let budget = Budget { failures: 2, ..Budget::default() };
    all.push(stage.scenario("KL with two readers, two failures", budget));
    all
}
