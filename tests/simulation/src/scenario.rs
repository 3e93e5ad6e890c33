//! The small worlds of the protocol's section 16: those of its model, those that the model left
//! out, and some for verbs beside each other and for the end of nodes.
//!
//! Each world is a state and a budget of faults. Its preparation runs in one order; its interesting
//! part is explored from that state in every order. In the names, `K`, `L` and `M` are values of
//! the three keys, and `K−` is a tombstone.

use aft_core::bug::Bug;
use aft_core::ids::{Key, Session};
use aft_core::message::Isolation;
use aft_core::settings::{Levels, Settings};
use aft_core::store::{Call, Name, Writes};
use aft_sim::clocks::Pause;

use crate::draw::{key, small_settings};
use crate::explore::{Budget, Scenario, complete, run_attempt, run_for};
use crate::hosts::Role;
use crate::script::{Action, Guard, Request, Step};
use crate::store_clock::StoreClock;
use crate::world::World;

/// The number of states at which the search of one world is cut; `AFT_SIM_DEEP=1` raises it.
const STATES_MAX: usize = 20_000;
/// The number of states at which a deep search is cut, because of memory: about 5 KiB for each
/// state on the search's stack.
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

/// Returns a request that writes in one batch, and commits: `"K"` and `"KL"` write values, `"k"`
/// and `"l"` tombstones.
fn writes(id: u32, text: &str) -> Request {
    let actions = text.chars().map(|letter| match letter {
        'K' => Action::Put(k()),
        'L' => Action::Put(l()),
        'M' => Action::Put(m()),
        'k' => Action::Delete(k()),
        'l' => Action::Delete(l()),
        'm' => Action::Delete(m()),
        other => panic!("unknown write {other:?}; use K, L, M for values and k, l, m for tombstones"),
    });
    let mut request = Request::new(id, vec![Step::Run(actions.collect()), Step::Commit]);
    request.eager = true;
    request
}

/// Returns the same request without a request ID; with one key it commits as a whole entry.
fn plain(id: u32, text: &str) -> Request {
    Request { named: false, ..writes(id, text) }
}

/// Returns a serializable request of one batch with conditions or sums, which commits.
fn conditional(id: u32, actions: Vec<Action>) -> Request {
    let program = vec![Step::Run(actions), Step::Commit];
    Request { eager: true, checked: true, ..Request::new(id, program) }
}

/// Returns a request that reads keys one after the other, each by a verb of its own; `*` lists all
/// keys in one page, `/` page by page.
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
            other => panic!("unknown read {other:?}; use k, l, m for gets and * or / for listings"),
        })
        .collect();
    program.push(Step::Commit);
    Request { named: false, ..Request::new(u32::MAX - 1, program) }
}

/// Returns the same request, fresh.
fn fresh(text: &str) -> Request {
    Request { fresh: true, ..reads(text) }
}

/// A world in preparation.
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

    /// Adds the key M to the world.
    fn three(mut self) -> Stage {
        self.world.keys.push(m());
        self
    }

    /// Adds a request and an attempt of it on `host`, and returns the attempt's number.
    fn add(&mut self, request: Request, host: usize) -> usize {
        self.world.requests.push(request);
        let request = self.world.requests.len() - 1;
        self.world.new_attempt(request, host, Session::default())
    }

    /// Adds another attempt of the request that `attempt` runs.
    fn again(&mut self, attempt: usize, host: usize) -> usize {
        let request = self.world.attempts[attempt].request;
        self.world.new_attempt(request, host, Session::default())
    }

    /// Adds a reader of K then L on host 1, and one of L then K on host 0.
    fn readers(mut self, make: fn(&str) -> Request) -> Stage {
        self.add(make("kl"), 1);
        self.add(make("lk"), 0);
        self
    }

    /// Runs a request to its end.
    fn run(&mut self, request: Request, host: usize) -> usize {
        let attempt = self.add(request, host);
        run_attempt(&mut self.world, attempt).unwrap_or_else(|violation| panic!("{violation}"));
        self.pass(1);
        attempt
    }

    /// Commits these writes one after the other, on alternating hosts, with all tells delivered.
    fn done(mut self, texts: &[&str]) -> Stage {
        for (number, text) in texts.iter().enumerate() {
            let host = number % self.world.hosts.len();
            self.run(writes(number as u32, text), host);
        }
        self
    }

    /// Lets `ms` pass without faults.
    fn pass(&mut self, ms: u64) {
        run_for(&mut self.world, ms).unwrap_or_else(|violation| panic!("{violation}"));
    }

    fn passed(mut self, ms: u64) -> Stage {
        self.pass(ms);
        self
    }

    /// Asks host 0 to sweep, or to stop.
    fn upkeep(&mut self, on: bool) {
        self.world.upkeep(0, on).unwrap_or_else(|violation| panic!("{violation}"));
    }

    /// Answers the calls of a host until it makes one for which `is_it` holds, which stays in
    /// flight.
    fn answer_until(&mut self, host: usize, is_it: impl Fn(&Call) -> bool) {
        loop {
            let own = || self.world.flights.iter().filter(|(_, flight)| flight.host == host);
            if own().any(|(_, flight)| is_it(&flight.call)) {
                return;
            }
            let (next, _) = own().next().expect("the host makes the call that is waited for");
            complete(&mut self.world, next).expect("no promise is broken in the preparation");
        }
    }

    /// Lets one or two sweeps run.
    fn swept(mut self) -> Stage {
        self.upkeep(true);
        self.pass(self.settings().sweep_interval_ms + 10);
        self.upkeep(false);
        self
    }

    /// Lets time pass until all committed attempts are over, so that the mark may pass them.
    fn over(self) -> Stage {
        let lag_ms = self.settings().target_lag_ms();
        self.passed(lag_ms + 100)
    }

    /// Lets the mark pass all committed attempts, and settle: the next sweep removes.
    fn settled(self) -> Stage {
        let settle_ms = self.settings().settle_after_ms();
        // The first sweep moves the mark, the second notes the time at which it saw it there.
        self.over().swept().swept().passed(settle_ms + 100)
    }

    /// Lets the client of an attempt send its next verb and get the reply.
    fn verb(&mut self, attempt: usize) {
        self.world.client(attempt).unwrap_or_else(|violation| panic!("{violation}"));
        self.pass(1);
    }

    /// Lets the client of an attempt send its next verb, and answers the first store call of it.
    /// The second one stays in flight.
    fn half_a_verb(&mut self, attempt: usize) {
        let clean = "no promise is broken in the preparation";
        self.world.client(attempt).expect(clean);
        let first = self.world.flights.iter().next().expect("the verb leads to a store call").0;
        complete(&mut self.world, first).expect(clean);
        assert!(!self.world.flights.is_empty(), "the answer leads to another call");
    }

    /// Pauses a host while `meanwhile` runs on the others. No clock shows the pause.
    fn unseen(mut self, host: usize, meanwhile: impl FnOnce(Stage) -> Stage) -> Stage {
        self.world.pause(host, Pause::Unseen);
        let mut stage = meanwhile(self);
        stage.world.resume(host);
        stage
    }

    /// Makes a scenario of the world as it is now.
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
            states_max: if deep { STATES_DEEP_MAX } else { STATES_MAX },
        }
    }
}

/// Returns every small world, with or without a planted bug. Those whose bugs the seeds are least
/// likely to find come first.
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

/// Returns a serializable request that reads the keys in `text` one after the other, writes
/// `writes` in one batch, and commits.
fn checked(text: &str, writes: &str) -> Request {
    let gets = text.chars().map(|letter| match letter {
        'k' => Step::Run(vec![Action::Get(k())]),
        'l' => Step::Run(vec![Action::Get(l())]),
        '*' => Step::list_all(),
        other => panic!("unknown read {other:?}; use k and l for gets and * for a listing"),
    });
    let puts = writes.chars().map(|letter| match letter {
        'K' => Action::Put(k()),
        'L' => Action::Put(l()),
        'k' => Action::Delete(k()),
        'l' => Action::Delete(l()),
        other => panic!("unknown write {other:?}; use K and L for values and k and l for tombstones"),
    });
    let mut program: Vec<Step> = gets.collect();
    let puts: Vec<Action> = puts.collect();
    program.extend((!puts.is_empty()).then_some(Step::Run(puts)));
    program.push(Step::Commit);
    Request { checked: true, ..Request::new(0, program) }
}

/// Returns worlds of serializable transactions on an exclusive store (protocol, section 13).
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

/// Returns worlds of serializable transactions on a shared store (protocol, section 13).
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

/// Returns worlds of several attempts of one request.
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

/// Returns worlds of readers beside writers.
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

    // Both nodes commit at the same instant, with equal commit times: only the attempts order them.
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

    // The reader's node has listings from before the writes, and gets tells of them.
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

/// Returns worlds in which a sweep removes superseded versions beside readers.
fn collecting(bug: Option<Bug>) -> Vec<Scenario> {
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
fn reading_beside_sweeps(bug: Option<Bug>) -> Vec<Scenario> {
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

/// Returns worlds of wrong clocks, pauses, and calls that wait in the driver's queue.
fn times(bug: Option<Bug>) -> Vec<Scenario> {
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

/// Returns worlds of overlapping verbs of one transaction, and of begins that wait.
fn overlapping(bug: Option<Bug>) -> Vec<Scenario> {
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

/// Returns worlds of nodes that drain, and of a store that fails for good.
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
