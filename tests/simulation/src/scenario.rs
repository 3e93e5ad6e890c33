//! The small worlds of the design's section 11, and some of its kind for what overlaps and ends, each as the state in which its interesting part begins and a budget of what may go wrong.
//!
//! Keys are K and L; `K+` is a value, `K−` a tombstone. What only sets the stage runs in one order; what the world is about is explored.

use aft_core::bug::Bug;
use aft_core::ids::Key;
use aft_core::settings::Settings;

use crate::draw::{key, small_settings};
use crate::explore::{Budget, Scenario, run_attempt, run_for};
use crate::script::{Action, Request, Step};
use crate::world::World;

/// States at which the default search of one world is cut; `AFT_SIM_DEEP=1` raises it.
const STATES_MAX: usize = 20_000;
/// States at which a deep search is cut: memory, about 5 KiB a state on the stack.
const STATES_DEEP_MAX: usize = 3_000_000;

fn k() -> Key {
    key(0)
}

fn l() -> Key {
    key(1)
}

fn m() -> Key {
    key(2)
}

/// Writes: `"K"`, `"KL"` values; `"k"`, `"l"` tombstones; and commits.
fn writes(id: u32, text: &str) -> Request {
    let actions = text.chars().map(|letter| match letter {
        'K' => Action::Put(k()),
        'L' => Action::Put(l()),
        'M' => Action::Put(m()),
        'k' => Action::Delete(k()),
        'l' => Action::Delete(l()),
        other => panic!("{other} is no key of a small world"),
    });
    let mut request = Request::new(id, vec![Step::Run(actions.collect()), Step::Commit]);
    request.eager = true;
    request
}

/// Reads keys one after the other, each a verb of its own; `*` lists all at once, `/` page by page.
fn reads(text: &str) -> Request {
    let mut program: Vec<Step> = text
        .chars()
        .map(|letter| match letter {
            'k' => Step::Run(vec![Action::Get(k())]),
            'l' => Step::Run(vec![Action::Get(l())]),
            'm' => Step::Run(vec![Action::Get(m())]),
            '*' => Step::List { prefix: String::new(), limit: 10, pages: 1 },
            '/' => Step::List { prefix: String::new(), limit: 1, pages: 3 },
            other => panic!("{other} is no read of a small world"),
        })
        .collect();
    program.push(Step::Commit);
    Request { named: false, ..Request::new(u32::MAX - 1, program) }
}

#[derive(Clone)]
struct Stage {
    world: World,
    after: Vec<(usize, usize, bool)>,
    jumps: Vec<u64>,
}

impl Stage {
    fn new(bug: Option<Bug>, hosts: usize) -> Stage {
        let mut settings = small_settings(false);
        settings.bug = bug;
        settings.maintenance_interval_ms = 5_000; // few passes while time runs after healing
        settings.maintenance_pause_max_ms = 5_000;
        Stage::with(settings, hosts)
    }

    fn with(settings: Settings, hosts: usize) -> Stage {
        let world = World::new(settings, hosts, Vec::new(), vec![k(), l()]);
        Stage { world, after: Vec::new(), jumps: Vec::new() }
    }

    fn add(&mut self, request: Request, host: usize) -> usize {
        self.world.requests.push(request);
        let request = self.world.requests.len() - 1;
        self.world.new_attempt(request, host, Vec::new())
    }

    /// A further attempt of the request of another one.
    fn again(&mut self, attempt: usize, host: usize) -> usize {
        let request = self.world.attempts[attempt].request;
        self.world.new_attempt(request, host, Vec::new())
    }

    /// Commits, in this order, everything published and heard.
    fn done(mut self, texts: &[&str]) -> Stage {
        for (number, text) in texts.iter().enumerate() {
            let attempt = self.add(writes(number as u32, text), number % self.world.hosts.len());
            run_attempt(&mut self.world, attempt).unwrap_or_else(|violation| panic!("{violation}"));
            run_for(&mut self.world, 1).unwrap_or_else(|violation| panic!("{violation}"));
        }
        self
    }

    fn pass_time(mut self, ms: u64) -> Stage {
        run_for(&mut self.world, ms).unwrap_or_else(|violation| panic!("{violation}"));
        self
    }

    /// Time passes, and a maintainer works.
    fn maintained(mut self, ms: u64) -> Stage {
        let step = |world: &mut World, on| world.step(0, aft_core::message::Input::Maintain(on));
        step(&mut self.world, true).unwrap_or_else(|violation| panic!("{violation}"));
        let mut stage = self.pass_time(ms);
        step(&mut stage.world, false).unwrap_or_else(|violation| panic!("{violation}"));
        stage
    }

    fn scenario(mut self, name: &'static str, budget: Budget) -> Scenario {
        self.world.fresh.clear();
        let deep = std::env::var("AFT_SIM_DEEP").is_ok_and(|deep| deep == "1");
        Scenario {
            name,
            world: self.world,
            budget,
            after: self.after,
            jumps: self.jumps,
            heal: true,
            states_max: if deep { STATES_DEEP_MAX } else { STATES_MAX },
        }
    }
}

/// Every small world, with or without a fault in the core. Those come first that seeds replace least.
pub fn all(bug: Option<Bug>) -> Vec<Scenario> {
    let mut all = overlapping(bug);
    all.extend(ending(bug));
    all.extend(exactly_once(bug));
    all.extend(reading(bug));
    all.extend(collecting(bug));
    all.extend(leavings(bug));
    all
}

fn exactly_once(bug: Option<Bug>) -> Vec<Scenario> {
    let mut all = Vec::new();

    let mut stage = Stage::new(bug, 2);
    let first = stage.add(writes(0, "KL"), 0);
    stage.again(first, 1);
    let third = stage.again(first, 0);
    stage.after.push((third, first, false));
    let budget = Budget { crashes: 2, late: 2, no_answers: 1, ..Budget::default() };
    all.push(stage.scenario("3 attempts of one request, 2 crashes, 2 late calls", budget));

    let mut stage = Stage::new(bug, 2);
    let first = stage.add(writes(0, "K"), 0);
    let second = stage.again(first, 1);
    stage.after.push((second, first, false));
    let budget = Budget { no_answers: 2, late: 1, ticks: 1, ..Budget::default() };
    all.push(stage.scenario("2 attempts, 2 calls without an answer", budget));

    let mut stage = Stage::new(bug, 2);
    let first = stage.add(writes(0, "KL"), 0);
    stage.again(first, 1);
    stage.jumps.push(stage.world.settings.slack_ms + 1);
    let budget = Budget { maintainers: 1, crashes: 1, ..Budget::default() };
    all.push(stage.scenario("2 attempts and a maintainer", budget));

    let mut stage = Stage::new(bug, 1);
    stage.add(writes(0, "KL"), 0);
    let budget = Budget { no_answers: 1, late: 1, crashes: 1, splits: 1, ticks: 1, ..Budget::default() };
    all.push(stage.scenario("1 attempt, everything goes wrong once", budget));
    all
}

fn reading(bug: Option<Bug>) -> Vec<Scenario> {
    let mut all = Vec::new();

    let mut stage = Stage::new(bug, 2);
    let first = stage.add(writes(0, "KL"), 0);
    let second = stage.add(writes(1, "KL"), 0);
    let third = stage.add(writes(2, "L"), 1);
    stage.add(reads("kl"), 1);
    stage.after = vec![(second, first, false), (third, second, false)];
    all.push(
        stage.scenario("KL, KL, L with a reader and a crash", Budget { crashes: 1, ..Budget::default() }),
    );

    let mut stage = Stage::new(bug, 2).done(&["KL"]);
    stage.add(writes(1, "L"), 0);
    stage.add(reads("kl"), 0);
    stage.add(reads("lk"), 1);
    all.push(stage.scenario("KL, L with two readers", Budget { splits: 1, ..Budget::default() }));

    let mut stage = Stage::new(bug, 2).done(&["K"]).pass_time(1_500);
    stage.add(writes(1, "KL"), 0);
    stage.add(reads("lk"), 1);
    all.push(
        stage
            .scenario("K then KL with a reader that read l first", Budget { splits: 1, ..Budget::default() }),
    );

    let mut stage = Stage::new(bug, 2).done(&["KL"]).pass_time(1_500);
    stage.add(writes(1, "KL"), 0);
    stage.add(reads("kl"), 1);
    stage.add(reads("lk"), 1);
    all.push(stage.scenario("KL, KL, read in both orders", Budget { splits: 1, ..Budget::default() }));

    let mut stage = Stage::new(bug, 2);
    let first = stage.add(writes(0, "KL"), 0);
    stage.add(reads("*kl"), 1);
    let second = stage.add(reads("k*l"), 1);
    stage.after.push((second, first, false));
    all.push(stage.scenario(
        "list then get of a half-published transaction",
        Budget { crashes: 1, ..Budget::default() },
    ));

    let mut stage = Stage::new(bug, 2);
    stage.add(writes(0, "KL"), 0);
    let first = stage.add(reads("k"), 1);
    let second = stage.add(reads("lk"), 1);
    stage.after.push((second, first, false));
    all.push(stage.scenario(
        "a sibling key on the node that read a half-published transaction",
        Budget { crashes: 1, ..Budget::default() },
    ));

    // Both nodes commit at the same instant: their commit times are equal, and only attempts tell them apart.
    let mut stage = Stage::new(bug, 2);
    let first = stage.add(writes(0, "KL"), 0);
    run_attempt(&mut stage.world, first).unwrap_or_else(|violation| panic!("{violation}"));
    stage.add(writes(1, "KL"), 1);
    stage.add(reads("kl"), 0);
    stage.add(reads("lk"), 1);
    all.push(stage.scenario("KL and KL at the same instant, two readers", Budget::default()));
    all
}

fn collecting(bug: Option<Bug>) -> Vec<Scenario> {
    let mut all = Vec::new();
    let collect = Budget { maintainers: 1, ..Budget::default() };

    let mut stage = Stage::new(bug, 2).done(&["KL", "KL"]).pass_time(2_600);
    stage.add(reads("kl"), 1);
    all.push(stage.scenario("KL, KL with a reader, a maintainer, a crash", Budget { crashes: 1, ..collect }));

    for (name, texts) in [
        ("KL, K, L with a reader, collected meanwhile", ["KL", "K", "L"]),
        ("K, K, K with a reader, collected meanwhile", ["K", "K", "K"]),
    ] {
        let mut stage = Stage::new(bug, 2).done(&texts).pass_time(2_600);
        stage.add(reads("kl"), 1);
        stage.add(reads("lk"), 0);
        all.push(stage.scenario(name, Budget { splits: 1, ..collect }));
    }

    let stage = Stage::new(bug, 2).done(&["K", "k"]);
    let age = stage.world.settings.tombstone_age_ms;
    let mut stage = stage.maintained(5_000);
    let retry = stage.again(0, 1);
    stage.add(reads("k"), 1);
    let late = stage.again(0, 0);
    stage.after.push((late, retry, false));
    stage.jumps = vec![age];
    all.push(stage.scenario("K+, K−, retry of the first around the tombstone's collection", collect));

    for (name, texts) in
        [("two maintainers over K+, K−", ["K", "k"]), ("two maintainers over KL, KL", ["KL", "KL"])]
    {
        let mut stage = Stage::new(bug, 2).done(&texts).pass_time(2_600);
        stage.jumps = vec![stage.world.settings.tombstone_age_ms + 60_000];
        all.push(stage.scenario(name, Budget { maintainers: 2, crashes: 1, ..Budget::default() }));
    }

    let stage = Stage::new(bug, 2).done(&["K", "K"]);
    let retention = stage.world.settings.retention_max_ms + stage.world.settings.grace_ms;
    let mut stage = stage.maintained(retention - 4_000);
    let again = stage.again(0, 1);
    let third = stage.again(0, 0);
    stage.after.push((third, again, false));
    stage.jumps = vec![10_000];
    let budget = Budget { maintainers: 2, splits: 1, ..Budget::default() };
    all.push(stage.scenario("a request ID used again after its header went", budget));

    let stage = Stage::new(bug, 2).done(&["KL", "k", "L"]);
    let age = stage.world.settings.tombstone_age_ms;
    let mut stage = stage.pass_time(2_600);
    stage.jumps = vec![age + 60_000];
    stage.add(reads("kl"), 1);
    all.push(
        stage.scenario("KL, K−, L: the cascade", Budget { maintainers: 2, crashes: 1, ..Budget::default() }),
    );

    let mut stage = Stage::new(bug, 2).done(&["KL", "K"]).pass_time(2_600);
    for host in [0, 1] {
        let reader = stage.add(reads("lk"), host);
        stage.world.attempts[reader].session = stage.world.attempts[host].session_after.clone();
    }
    let third = stage.add(writes(7, "L"), 0);
    stage.world.attempts[third].session = stage.world.attempts[0].session_after.clone();
    stage.jumps = vec![2_600];
    all.push(stage.scenario("session floor on a collected record", collect));
    all
}

fn leavings(bug: Option<Bug>) -> Vec<Scenario> {
    let mut all = Vec::new();
    let blob = Request::new(0, vec![Step::Blob(Some(k())), Step::Commit]);

    let mut stage = Stage::new(bug, 2);
    let first = stage.add(blob, 0);
    stage.again(first, 1);
    stage.jumps = vec![stage.world.settings.timeout_max_ms + stage.world.settings.grace_ms + 1];
    all.push(stage.scenario(
        "blob, zombie, orphan",
        Budget { crashes: 1, late: 1, maintainers: 1, ..Budget::default() },
    ));

    let mut stage = Stage::new(bug, 2);
    stage.add(writes(0, "KL"), 0);
    let budget = Budget { no_answers: 1, late: 1, maintainers: 1, crashes: 1, ..Budget::default() };
    stage.jumps = vec![stage.world.settings.slack_ms + 1];
    all.push(stage.scenario("KL half published, a maintainer, a crash", budget));
    all
}

/// Verbs of one transaction beside each other, and begins that wait.
fn overlapping(bug: Option<Bug>) -> Vec<Scenario> {
    let mut all = Vec::new();

    // A value that comes too late is chosen anew, beside a listing that had settled on it.
    let mut stage = Stage::new(bug, 1).done(&["KL"]);
    stage.world.start_again(0);
    let mut request = reads("k*");
    request.parallel = true;
    stage.add(request, 0);
    stage.jumps = vec![stage.world.settings.recheck_after_ms + 1];
    all.push(stage.scenario("a get and a listing at once, a value that comes late", Budget::default()));

    let mut stage = Stage::new(bug, 2).done(&["K"]).pass_time(1_500);
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
    all.push(stage.scenario(
        "gets, puts and two commits at once, beside KL",
        Budget { splits: 1, ..Budget::default() },
    ));

    let mut stage = Stage::new(bug, 1);
    let mut aborts = writes(0, "K");
    aborts.program = vec![Step::Run(vec![Action::Put(k())]), Step::Abort];
    stage.add(aborts, 0);
    let mut waits = writes(0, "KL");
    (waits.overlap, waits.wait_ms) = (false, 2_000);
    let second = stage.add(waits, 0);
    stage.again(second, 0);
    let budget = Budget { crashes: 1, ticks: 2, ..Budget::default() };
    all.push(stage.scenario("an attempt that aborts, and two that wait for it", budget));

    let mut stage = Stage::new(bug, 2).done(&["K", "L"]).pass_time(1_500);
    stage.world.keys.push(m());
    stage.add(writes(2, "M"), 0);
    stage.add(writes(3, "KM"), 1);
    stage.add(reads("/mk"), 0);
    all.push(stage.scenario("a listing page by page, beside M and KM", Budget::default()));
    all
}

/// Drains, and a store that fails for good.
fn ending(bug: Option<Bug>) -> Vec<Scenario> {
    let mut all = Vec::new();

    let mut stage = Stage::new(bug, 2);
    let first = stage.add(writes(0, "KL"), 0);
    stage.again(first, 0);
    stage.add(reads("kl"), 1);
    let budget = Budget { drains: 1, no_answers: 1, ..Budget::default() };
    all.push(stage.scenario("KL on a node that drains, a retry and a reader", budget));

    let mut stage = Stage::new(bug, 1);
    let mut request = Request::new(0, vec![Step::Run(vec![Action::Put(k())]), Step::Commit]);
    request.stubborn = true;
    stage.add(request, 0);
    let mut beating = stage.clone();
    let budget = Budget { failures: 2, no_answers: 1, late: 1, ticks: 1, ..Budget::default() };
    all.push(stage.scenario("a stubborn commit, a call without an answer, two failures", budget));

    beating.again(0, 0);
    let budget = Budget { heartbeats: 2, no_answers: 1, splits: 1, ..Budget::default() };
    all.push(beating.scenario("a stubborn commit, a retry, two lost heartbeats", budget));

    let mut stage = Stage::new(bug, 2).done(&["KL"]).pass_time(1_500);
    stage.add(writes(1, "KL"), 0);
    stage.add(reads("kl"), 1);
    stage.add(reads("*k"), 1);
    all.push(
        stage.scenario("KL with two readers, two failures", Budget { failures: 2, ..Budget::default() }),
    );
    all
}
