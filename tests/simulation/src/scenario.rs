//! The small worlds of the protocol's section 16, those that its model left out, and some for what overlaps and ends; each as the state in which
//! its interesting part begins and a budget of what may go wrong.
//!
//! Keys are K, L and M; `K` is a value, `K−` a tombstone. What only sets the stage runs in one order; what the world is about is explored.

use aft_core::bug::Bug;
use aft_core::ids::{Key, Session};
use aft_core::message::Isolation;
use aft_core::settings::{Levels, Settings};
use aft_core::store::{Call, Name, Writes};

use crate::clocks::{Pause, StoreClock};
use crate::draw::{key, small_settings};
use crate::explore::{Budget, Scenario, complete, run_attempt, run_for};
use crate::hosts::Role;
use crate::script::{Action, Guard, Request, Step};
use crate::world::World;

/// States at which the default search of one world is cut; `AFT_SIM_DEEP=1` raises it.
const STATES_MAX: usize = 20_000;
/// States at which a deep search is cut: memory, about 5 KiB a state on the stack.
const STATES_DEEP_MAX: usize = 3_000_000;

const MEMBER: [Role; 1] = [Role::Member];
const MEMBERS: [Role; 2] = [Role::Member; 2];

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
        'm' => Action::Delete(m()),
        other => panic!("{other} is no key of a small world"),
    });
    let mut request = Request::new(id, vec![Step::Run(actions.collect()), Step::Commit]);
    request.eager = true;
    request
}

/// The same without a request ID: of one key, a whole entry.
fn plain(id: u32, text: &str) -> Request {
    Request { named: false, ..writes(id, text) }
}

/// A serializable request of one batch with conditions or sums, which commits.
fn conditional(id: u32, actions: Vec<Action>) -> Request {
    let program = vec![Step::Run(actions), Step::Commit];
    Request { eager: true, checked: true, ..Request::new(id, program) }
}

/// Reads keys one after the other, each a verb of its own; `*` lists all at once, `/` page by page.
fn reads(text: &str) -> Request {
    let list = |limit, pages| Step::List { prefix: String::new(), limit, pages, delimiter: None };
    let mut program: Vec<Step> = text
        .chars()
        .map(|letter| match letter {
            'k' => Step::Run(vec![Action::Get(k())]),
            'l' => Step::Run(vec![Action::Get(l())]),
            'm' => Step::Run(vec![Action::Get(m())]),
            '*' => list(10, 1),
            '/' => list(1, 3),
            other => panic!("{other} is no read of a small world"),
        })
        .collect();
    program.push(Step::Commit);
    Request { named: false, ..Request::new(u32::MAX - 1, program) }
}

/// The same, fresh.
fn fresh(text: &str) -> Request {
    Request { fresh: true, ..reads(text) }
}

#[derive(Clone)]
struct Stage {
    world: World,
    after: Vec<(usize, usize, bool)>,
    jumps: Vec<u64>,
}

impl Stage {
    fn new(bug: Option<Bug>, roles: &[Role]) -> Stage {
        let mut settings = small_settings(false);
        settings.bug = bug;
        Stage::with(settings, roles)
    }

    fn with(settings: Settings, roles: &[Role]) -> Stage {
        let world = World::new(settings, roles, Vec::new(), vec![k(), l()]);
        Stage { world, after: Vec::new(), jumps: Vec::new() }
    }

    fn settings(&self) -> &Settings {
        &self.world.settings
    }

    /// Names a third key.
    fn three(mut self) -> Stage {
        self.world.keys.push(m());
        self
    }

    fn add(&mut self, request: Request, host: usize) -> usize {
        self.world.requests.push(request);
        let request = self.world.requests.len() - 1;
        self.world.new_attempt(request, host, Session::default())
    }

    /// Adds a further attempt of the request of another one.
    fn again(&mut self, attempt: usize, host: usize) -> usize {
        let request = self.world.attempts[attempt].request;
        self.world.new_attempt(request, host, Session::default())
    }

    /// Adds readers of both orders, on both hosts.
    fn readers(mut self, make: fn(&str) -> Request) -> Stage {
        self.add(make("kl"), 1);
        self.add(make("lk"), 0);
        self
    }

    /// Commits a request, to the end.
    fn run(&mut self, request: Request, host: usize) -> usize {
        let attempt = self.add(request, host);
        run_attempt(&mut self.world, attempt).unwrap_or_else(|violation| panic!("{violation}"));
        self.pass(1);
        attempt
    }

    /// Commits, in this order, everything heard.
    fn done(mut self, texts: &[&str]) -> Stage {
        for (number, text) in texts.iter().enumerate() {
            let host = number % self.world.hosts.len();
            self.run(writes(number as u32, text), host);
        }
        self
    }

    fn pass(&mut self, ms: u64) {
        run_for(&mut self.world, ms).unwrap_or_else(|violation| panic!("{violation}"));
    }

    fn passed(mut self, ms: u64) -> Stage {
        self.pass(ms);
        self
    }

    fn upkeep(&mut self, on: bool) {
        self.world.upkeep(0, on).unwrap_or_else(|violation| panic!("{violation}"));
    }

    /// Answers the calls of a host until it makes such a one, which is then under way.
    fn answer_until(&mut self, host: usize, is_it: impl Fn(&Call) -> bool) {
        loop {
            let mut own = self.world.flights.iter().filter(|(_, flight)| flight.host == host);
            if own.clone().any(|(_, flight)| is_it(&flight.call)) {
                return;
            }
            let next = *own.next().expect("such a call is made").0;
            complete(&mut self.world, next).expect("nothing is broken before the world begins");
        }
    }

    /// Lets one sweep or two pass over the store.
    fn swept(mut self) -> Stage {
        self.upkeep(true);
        self.pass(self.settings().sweep_interval_ms + 10);
        self.upkeep(false);
        self
    }

    /// Lets time pass until all that was committed is over, and could be at or below the mark.
    fn over(self) -> Stage {
        let lag_ms = self.settings().target_lag_ms();
        self.passed(lag_ms + 100)
    }

    /// Lets the mark pass all that was committed, and settle: the next sweep removes.
    fn settled(self) -> Stage {
        let settle_ms = self.settings().settle_after_ms();
        // One sweep moves the mark, another sees where it is.
        self.over().swept().swept().passed(settle_ms + 100)
    }

    /// Lets the client of an attempt send its next verb, and hear the reply.
    fn verb(&mut self, attempt: usize) {
        self.world.client(attempt).unwrap_or_else(|violation| panic!("{violation}"));
        self.pass(1);
    }

    /// Lets the client of an attempt send its next verb, and answers the first call that it leads
    /// to: the next one is under way.
    fn half_a_verb(&mut self, attempt: usize) {
        let clean = "nothing is broken before the world begins";
        self.world.client(attempt).expect(clean);
        let first = *self.world.flights.keys().next().expect("the verb asks the store");
        complete(&mut self.world, first).expect(clean);
        assert!(!self.world.flights.is_empty(), "the answer leads to another call");
    }

    /// Lets a host stand still, without any sign of it, while the others do something.
    fn unseen(mut self, host: usize, meanwhile: impl FnOnce(Stage) -> Stage) -> Stage {
        self.world.pause(host, Pause::Unseen);
        let mut stage = meanwhile(self);
        stage.world.resume(host);
        stage
    }

    fn scenario(mut self, name: &'static str, budget: Budget) -> Scenario {
        self.world.fresh.clear();
        self.world.notes.clear();
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

/// Returns every small world, with or without a fault in the core. Those come first that seeds replace least.
pub fn all(bug: Option<Bug>) -> Vec<Scenario> {
    let mut all = exactly_once(bug);
    all.extend(reading(bug));
    all.extend(collecting(bug));
    all.extend(reading_beside_sweeps(bug));
    all.extend(sweeping(bug));
    all.extend(times(bug));
    all.extend(overlapping(bug));
    all.extend(ending(bug));
    all.extend(checking(bug));
    all.extend(locking(bug));
    all
}

/// A serializable request: reads keys one after the other, writes the others in one batch, commits.
fn checked(text: &str, writes: &str) -> Request {
    let gets = text.chars().map(|letter| match letter {
        'k' => Step::Run(vec![Action::Get(k())]),
        'l' => Step::Run(vec![Action::Get(l())]),
        '*' => Step::list_all(),
        other => panic!("{other} is no read of a small world"),
    });
    let puts = writes.chars().map(|letter| match letter {
        'K' => Action::Put(k()),
        'L' => Action::Put(l()),
        'k' => Action::Delete(k()),
        'l' => Action::Delete(l()),
        other => panic!("{other} is no key of a small world"),
    });
    let mut program: Vec<Step> = gets.collect();
    let puts: Vec<Action> = puts.collect();
    program.extend((!puts.is_empty()).then_some(Step::Run(puts)));
    program.push(Step::Commit);
    Request { checked: true, ..Request::new(0, program) }
}

/// Serializable transactions on a store that one process holds (protocol, section 13).
fn checking(bug: Option<Bug>) -> Vec<Scenario> {
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

/// Serializable transactions on a store that several processes share (protocol, section 13).
fn locking(bug: Option<Bug>) -> Vec<Scenario> {
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

    // A holder that stands still between its locks and its record is broken, and goes on.
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

    // One has read a deletion, which is then collected; the other finds nothing.
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

    // The same, but the sweep is about to delete it.
    let mut leaving = stage(true).done(&["K", "k"]).settled().swept();
    let reader = leaving.add(Request { id: 20, timeout_ms: Some(4_000), ..checked("k", "K") }, 1);
    leaving.verb(reader);
    leaving.verb(reader);
    leaving.upkeep(true);
    leaving.answer_until(0, |call| matches!(call, Call::Delete(_)));
    let mut decided = leaving.clone();
    let budget = Budget { splits: 1, ..Budget::default() };
    add("locks: a deletion that leaves beside a reader", leaving, vec![eager("k", "K")], budget);
    // And the reader has found it in its place already.
    let clean = "nothing is broken before the world begins";
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

    // The second attempt has begun before the first one commits, and meets what that one did.
    let mut twice = stage(true);
    let first = twice.add(conditional(20, create()), 0);
    let again = twice.again(first, 1);
    twice.world.requests[0].eager = false;
    twice.verb(again);
    twice.add(Request { id: 21, ..eager("", "k") }, 1);
    all.push(twice.scenario("locks: a condition of one request, twice, and a deletion", splits));
    all
}

fn exactly_once(bug: Option<Bug>) -> Vec<Scenario> {
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

    // The first attempt leaves a record and half of its entries; the retry comes at any time.
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

fn reading(bug: Option<Bug>) -> Vec<Scenario> {
    let mut all = Vec::new();

    let mut stage = Stage::new(bug, &MEMBERS).done(&["KL"]);
    stage.add(writes(1, "KL"), 0);
    let stage = stage.readers(fresh);
    let budget = Budget { splits: 3, ..Budget::default() };
    all.push(stage.scenario("KL, KL with real commit steps and 2 fresh readers", budget));

    let mut stage = Stage::new(bug, &MEMBERS);
    let first = stage.add(writes(0, "KL"), 0);
    let second = stage.add(writes(1, "KL"), 0);
    let third = stage.add(writes(2, "L"), 1);
    stage.add(reads("kl"), 1);
    stage.after = vec![(second, first, false), (third, second, false)];
    all.push(
        stage.scenario("KL, KL, L with a reader and a crash", Budget { crashes: 1, ..Budget::default() }),
    );

    let mut stage = Stage::new(bug, &MEMBERS).done(&["K"]).passed(1_500);
    stage.add(writes(1, "KL"), 0);
    stage.add(reads("lk"), 1);
    let budget = Budget { splits: 2, ..Budget::default() };
    all.push(stage.scenario("K then KL with a reader that read l first", budget));

    let mut stage = Stage::new(bug, &MEMBERS);
    stage.add(writes(0, "KL"), 0);
    let first = stage.add(reads("k"), 1);
    let second = stage.add(reads("lk"), 1);
    stage.after.push((second, first, false));
    let budget = Budget { crashes: 1, splits: 2, ..Budget::default() };
    all.push(stage.scenario("a sibling key on the node that read a half-entered transaction", budget));

    // Both nodes commit at the same instant: their commit times are equal, and only attempts tell them apart.
    let mut stage = Stage::new(bug, &MEMBERS).done(&["KL"]);
    stage.add(writes(1, "KL"), 0);
    stage.add(writes(2, "KL"), 1);
    let stage = stage.readers(reads);
    all.push(stage.scenario("KL and KL at the same instant, 2 readers", Budget::default()));

    let mut stage = Stage::new(bug, &MEMBERS);
    stage.run(plain(0, "K"), 0);
    stage.add(plain(1, "K"), 0);
    stage.add(plain(2, "k"), 1);
    stage.add(writes(3, "KL"), 1);
    stage.add(fresh("kl"), 0);
    let budget = Budget { no_answers: 1, late: 1, crashes: 1, ..Budget::default() };
    all.push(stage.scenario("whole entries", budget));

    let mut settings = small_settings(false);
    settings.bug = bug;
    (settings.index_bytes_max, settings.versions_kept_max, settings.version_page_len) = (1, 1, 1);
    let mut stage = Stage::with(settings, &MEMBERS).done(&["KL", "K", "KL"]).passed(1_500);
    stage.add(writes(3, "KL"), 0);
    stage.add(reads("klk"), 1);
    stage.add(reads("lkl"), 1);
    all.push(stage.scenario("a reader whose node forgets", Budget { splits: 1, ..Budget::default() }));

    // The reader's node has listings of before, and hears of what came since.
    let mut stage = Stage::new(bug, &MEMBERS).done(&["KL"]);
    stage.run(reads("kl"), 1);
    let writer = stage.add(writes(1, "KL"), 0);
    let second = stage.add(writes(2, "L"), 0);
    stage.after.push((second, writer, false));
    stage.add(reads("kl"), 1);
    stage.add(reads("lk"), 1);
    stage.jumps = vec![stage.settings().recheck_after_ms + 1];
    all.push(stage.scenario("a reader by old listings, tells", Budget { crashes: 1, ..Budget::default() }));

    let mut stage = Stage::new(bug, &MEMBERS).three().done(&["K", "L"]).passed(1_500);
    stage.add(writes(2, "M"), 0);
    stage.add(writes(3, "KM"), 1);
    stage.add(reads("/mk"), 0);
    all.push(stage.scenario("a listing page by page, beside M and KM", Budget::default()));

    let mut stage = Stage::new(bug, &MEMBERS);
    stage.add(writes(0, "KL"), 0);
    stage.add(reads("*kl"), 1);
    let second = stage.add(reads("k*l"), 1);
    stage.after.push((second, 1, false));
    let budget = Budget { crashes: 1, splits: 1, ..Budget::default() };
    all.push(stage.scenario("list then get of a half-entered transaction", budget));
    all
}

/// What the first of two sweeps removes, beside readers.
fn collecting(bug: Option<Bug>) -> Vec<Scenario> {
    let mut all = Vec::new();
    let sweep = Budget { sweeps: 1, ..Budget::default() };

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

    let mut stage = Stage::new(bug, &MEMBERS).done(&["KL", "k"]).settled();
    let retry = stage.again(0, 1);
    stage.add(reads("k"), 1);
    let late = stage.again(0, 0);
    stage.after.push((late, retry, false));
    stage.jumps = vec![stage.settings().retention_max_ms];
    all.push(stage.scenario("KL, K−, a retry of the first at any time", sweep));
    all
}

fn reading_beside_sweeps(bug: Option<Bug>) -> Vec<Scenario> {
    let mut all = Vec::new();

    // Between its listing and its get everything that the reader has found is removed.
    for (name, texts) in [
        ("a reader that stands still between listing and get", ["KL", "KL"]),
        ("a reader that stands still while a tombstone goes", ["KL", "kl"]),
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

    // A reader whose machine stands still with all its clocks, behind a proxy that strips the store's time: its deadline does not end it, and what
    // it has read is from before the mark moved. First the other key is deleted, and nothing is left of it.
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

    // Then the other key is overwritten, and a sweep is half-way through its older versions.
    let mut stage = Stage::new(bug, &MEMBERS).done(&["K", "K"]);
    // What it knows of them is forgotten, so that it must list them.
    stage.world.start_again(1);
    stage.world.timeless = Some(1);
    let reader = stage.add(fresh("lk"), 1);
    stage.verb(reader);
    stage.verb(reader);
    let mut stage = stage.unseen(1, |mut stage| {
        stage.run(writes(2, "KL"), 0);
        stage.settled()
    });
    // The deletion of the oldest version is the last to land: the one above it is gone.
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

    // Then it has listed the key when it comes to stand still, and asks for the record of what it
    // found there. A sweep removes that beside it.
    let mut stage = Stage::new(bug, &MEMBERS).done(&["K"]);
    // It knows entries by their listing alone.
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

    // A writer commits beside the sweep that moves the mark, on a node that knew an old one.
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

fn sweeping(bug: Option<Bug>) -> Vec<Scenario> {
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

    // Pages of one name, so that there is much to stop between.
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

/// Clocks, pauses, and queues in the driver.
fn times(bug: Option<Bug>) -> Vec<Scenario> {
    let mut all = Vec::new();

    // P10: the second writer has heard nothing, neither of the store's time nor of the first.
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
        stage.world.hosts[0].clocks.wall_offset_ms = 3_600_000;
        stage.world.hosts[1].clocks.wall_offset_ms = -3_600_000;
        let first = stage.add(writes(0, "K"), 0);
        let second = stage.add(plain(1, "K"), 1);
        let third = stage.add(fresh("k"), 0);
        stage.after = vec![(second, first, false), (third, second, false)];
        all.push(stage.scenario(name, Budget { splits: 1, ticks: 2, ..Budget::default() }));
    }

    // A commit waits in the driver, or its host stands still, for longer than its transaction may take.
    let mut stage = Stage::new(bug, &MEMBERS).done(&["KL"]);
    let mut request = writes(1, "KL");
    request.timeout_ms = Some(1_000);
    let first = stage.add(request, 0);
    stage.again(first, 1);
    let over_ms = stage.settings().over_after_ms() + stage.settings().skew_max_ms;
    stage.jumps = vec![1_001, over_ms];
    let budget = Budget { holds: 1, pauses: 1, splits: 1, sweeps: 1, ..Budget::default() };
    all.push(stage.scenario("a commit that waits in the driver, a host that stands still", budget));

    // A guest vanishes after its attempt, or goes on much later.
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

/// Verbs of one transaction beside each other, and begins that wait.
fn overlapping(bug: Option<Bug>) -> Vec<Scenario> {
    let mut all = Vec::new();

    // A value that comes too late is chosen again, beside a listing that had settled on it.
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

/// Drains, and a store that fails for good.
fn ending(bug: Option<Bug>) -> Vec<Scenario> {
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
