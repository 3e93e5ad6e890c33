//! Exhaustive small worlds: the moves that are possible in each state, and their effects.
//!
//! The search itself is `aft-sim`'s. It runs in rounds that allow more and more deviations from a
//! default order, in which calls are answered as they come and clients run one after the other.
//!
//! A *move* is one thing that may happen next: a client's next verb, the effect of a part of a
//! store call, a call's answer, a late call, a tell, a crash, a pause, a sweep that starts or
//! stops, a step of time. Time advances only in moves that say so.
//!
//! The effects of a call and its answer are a single move, unless the world's budget lets them come
//! apart. Between the two a node does nothing that another order of moves would not do as well,
//! except where two of its transactions share its index; the budget is for these cases.
//!
//! A state in which all attempts have ended is healed in a copy, and the demands are made on the
//! copy.
//!
//! Budgets bound crashes, pauses, drains, late calls, unanswered, failed, queued and split calls.
//! Within them the search is complete, unless [`Explored`] reports that it was cut.

use std::hash::{Hash, Hasher};
use std::rc::Rc;

use aft_core::ids::Session;
use aft_core::message::{Input, Refusal};
use aft_core::settings::Settings;
use aft_core::store::CallError;
use aft_sim::clocks::Pause;
use aft_sim::flights::FlightId;
use aft_sim::net::MessageId;
use aft_sim::search::{self, Explored, Search};
use aft_sim::trace::Trace;
use aft_sim::verdict::{Verdict, broken, guarded};

use crate::attempt::Ended;
use crate::demand::{demand_clean, demand_ended, demand_newest};
use crate::flights::{Flight, Late};
use crate::script::{Action, Request, Step};
use crate::world::World;

/// The largest number of faults of each kind in one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Budget {
    /// Crashes, at any point between two outputs.
    pub crashes: u8,
    /// Parts of calls that get no answer.
    pub no_answers: u8,
    /// Late calls that land: of dead nodes, or unanswered.
    pub late: u8,
    /// Parts of calls that take effect at another time than the other parts and the answer.
    pub splits: u8,
    /// Parts of calls that fail for good: reads find damage, writes are refused.
    pub failures: u8,
    /// Calls that wait in the driver's queue before they are sent.
    pub holds: u8,
    /// Requests to a host to sweep.
    pub sweeps: u8,
    /// Requests to a host to stop sweeping.
    pub stops: u8,
    /// Pauses of hosts, of every kind that their clocks show.
    pub pauses: u8,
    /// Drains of hosts, each followed by an empty node.
    pub drains: u8,
    /// Steps of time, each to the next wake of a node. When nothing else can happen, time also
    /// steps without budget.
    pub ticks: u8,
}

/// A small world to explore.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// The state in which it begins.
    pub world: World,
    /// The faults that may happen.
    pub budget: Budget,
    /// Attempts that begin only when others have ended: the later attempt, the earlier one, and
    /// true if the later one gets the earlier one's session.
    pub after: Vec<(usize, usize, bool)>,
    /// Spans of time that may pass at any point, in this order, in milliseconds.
    pub jumps: Vec<u64>,
    /// The number of states at which the search is cut.
    pub states_max: usize,
}

/// A thing that may happen next.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Move {
    /// An attempt does its next step.
    Client(usize),
    /// All remaining parts of a call land, and it is answered.
    Complete(FlightId),
    /// A part of a call lands.
    Land(FlightId, usize),
    /// A call is answered.
    Answer(FlightId),
    /// A part of a call gets no answer, and may land late.
    Unanswered(FlightId, usize),
    /// A part of a call fails for good.
    Fail(FlightId, usize),
    /// A call is put into the driver's queue.
    Hold(FlightId),
    /// A queued call is sent.
    Send(FlightId),
    /// A late call lands.
    Late(Box<Late>),
    /// A tell arrives.
    Tell(MessageId),
    /// A host begins to sweep.
    Sweep(usize),
    /// A host stops sweeping.
    Rest(usize),
    /// A node wakes at the time that it asked for.
    Wake(usize),
    /// Time advances to the next wake of any node.
    Tick,
    /// The scenario's next span of time passes.
    Jump,
    /// A host crashes.
    Crash(usize),
    Pause(usize, Pause),
    Resume(usize),
    Drain(usize),
}

/// A move, with the number of outputs after which its node crashes.
#[derive(Debug, Clone)]
struct Taken {
    step: Move,
    cut: Option<usize>,
}

/// A state of the search.
#[derive(Debug, Clone)]
struct State {
    world: World,
    /// The faults that may still happen.
    budget: Budget,
    /// The number of the scenario's spans of time that have passed.
    jumped: usize,
    /// The scenario's parts that never change. Not part of the state.
    fixed: Rc<Fixed>,
}

/// The parts of a scenario that never change: see the fields of [`Scenario`] with the same names.
#[derive(Debug)]
struct Fixed {
    after: Vec<(usize, usize, bool)>,
    jumps: Vec<u64>,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.world.hash(state);
        self.budget.hash(state);
        self.jumped.hash(state);
    }
}

impl Search for State {
    type Step = Taken;

    fn steps(&self) -> Vec<Taken> {
        let mut all = Vec::new();
        for step in moves(self) {
            all.push(Taken { step: step.clone(), cut: None });
            // With the budget for a crash, the node may crash before or after any output of the
            // move. A probe says how many there are.
            if self.budget.crashes > 0 && can_crash(&step) {
                let mut probe = self.clone();
                if guarded(|| apply(&mut probe, &step)).is_ok() {
                    let cuts = 0..=probe.world.last_outputs;
                    all.extend(cuts.map(|cut| Taken { step: step.clone(), cut: Some(cut) }));
                }
            }
        }
        all
    }

    fn take(&mut self, taken: &Taken) -> Verdict {
        self.world.cut = taken.cut;
        self.budget.crashes -= u8::from(taken.cut.is_some());
        apply(self, &taken.step)
    }

    fn is_over(&self) -> bool {
        over(&self.world)
    }

    fn heal(&mut self) -> Verdict {
        self.world.say(|| "── healing".into());
        heal(&mut self.world)
    }

    fn keep_story(&mut self, trace: Trace) {
        self.world.trace = Some(trace);
    }
}

/// Searches a scenario, up to its bound on states.
pub fn explore(scenario: &Scenario) -> Explored {
    let fixed = Fixed { after: scenario.after.clone(), jumps: scenario.jumps.clone() };
    let world = scenario.world.clone();
    let start = State { world, budget: scenario.budget, jumped: 0, fixed: Rc::new(fixed) };
    search::explore(&start, scenario.states_max)
}

/// Returns true if all attempts have ended, no store call is in flight, and no host is paused.
fn over(world: &World) -> bool {
    world.flights.is_empty()
        && world.attempts.iter().all(|attempt| attempt.ended().is_some())
        && world.hosts.iter().all(|host| host.process.paused().is_none())
}

/// Returns true for a move that gives a node an event, so that the node may crash between its
/// outputs.
fn can_crash(step: &Move) -> bool {
    match step {
        Move::Client(_) | Move::Complete(_) | Move::Answer(_) | Move::Wake(_) => true,
        Move::Land(..)
        | Move::Unanswered(..)
        | Move::Fail(..)
        | Move::Hold(_)
        | Move::Send(_)
        | Move::Late(_)
        | Move::Tell(_)
        | Move::Sweep(_)
        | Move::Rest(_)
        | Move::Tick
        | Move::Jump
        | Move::Crash(_)
        | Move::Pause(..)
        | Move::Resume(_)
        | Move::Drain(_) => false,
    }
}

/// Returns every move that is possible in a state. The first one is the default.
fn moves(state: &State) -> Vec<Move> {
    let State { world, budget, jumped, fixed } = state;
    let awake = || (0..world.hosts.len()).filter(|host| world.is_awake(*host));
    // First the moves without faults, in the default order: calls, clients, tells, wakes.
    let mut moves = Vec::new();
    for (id, flight) in world.flights.iter().filter(|(_, flight)| world.is_awake(flight.host)) {
        moves.push(match (flight.queued, flight.has_outcome()) {
            (true, _) => Move::Send(id),
            (false, true) => Move::Answer(id),
            (false, false) => Move::Complete(id),
        });
    }
    for number in 0..world.attempts.len() {
        let waits = fixed
            .after
            .iter()
            .any(|(later, earlier, _)| *later == number && world.attempts[*earlier].ended().is_none());
        if !waits && world.client_ready(number) {
            moves.push(Move::Client(number));
        }
    }
    moves.extend(world.tells.ids().filter(|id| world.is_awake(id.to)).map(Move::Tell));
    let due = |host: &usize| world.next_wake_ms(*host).is_some_and(|at| at <= world.now_ms);
    moves.extend(awake().filter(due).map(Move::Wake));
    if budget.sweeps > 0 {
        moves.extend(awake().filter(|host| !world.hosts[*host].sweeps).map(Move::Sweep));
    }
    // No span of time may pass during which a write would be in flight for longer than its grace.
    let in_time = |flight: &Flight, until_ms: u64| {
        let open = flight.parts.iter().filter(|part| !part.has_outcome());
        let sent = !flight.queued && open.into_iter().any(|part| part.call.is_write());
        !sent || until_ms <= flight.sent_ms + world.settings.grace_ms
    };
    if let Some(jump) = fixed.jumps.get(*jumped)
        && world.flights.iter().all(|(_, flight)| in_time(flight, world.now_ms + jump))
    {
        moves.push(Move::Jump);
    }
    // Then pauses that end, and faults.
    let still = (0..world.hosts.len()).filter(|host| world.hosts[*host].process.paused().is_some());
    moves.extend(still.map(Move::Resume));
    for (id, flight) in world.flights.iter().filter(|(_, flight)| !flight.queued) {
        faults(state, id, flight, &mut moves);
    }
    if budget.late > 0 {
        moves.extend(
            world
                .flights
                .late()
                .filter(|late| late.until_ms >= world.now_ms)
                .cloned()
                .map(Box::new)
                .map(Move::Late),
        );
    }
    // Time must advance if nothing else makes progress, and may if the budget allows it.
    let idle = moves.iter().all(|step| matches!(step, Move::Tell(_) | Move::Late(_) | Move::Sweep(_)));
    if budget.crashes > 0 {
        moves.extend(awake().map(Move::Crash));
    }
    if budget.pauses > 0 {
        let kinds = [Pause::Process, Pause::Suspended, Pause::Machine];
        moves.extend(awake().flat_map(|host| kinds.map(|kind| Move::Pause(host, kind))));
    }
    if budget.drains > 0 {
        moves.extend(awake().filter(|host| !world.hosts[*host].draining).map(Move::Drain));
    }
    if budget.stops > 0 {
        moves.extend(awake().filter(|host| world.hosts[*host].sweeps).map(Move::Rest));
    }
    let wakes = awake().any(|host| world.next_wake_ms(host).is_some());
    if !over(world) && (idle || (budget.ticks > 0 && wakes)) {
        moves.push(Move::Tick);
    }
    moves
}

/// Adds the faults of one call that the budget allows.
fn faults(state: &State, id: FlightId, flight: &Flight, moves: &mut Vec<Move>) {
    let State { world, budget, .. } = state;
    let still = !world.is_awake(flight.host);
    if budget.holds > 0 && !still && flight.parts.iter().all(|part| !part.has_outcome()) {
        moves.push(Move::Hold(id));
    }
    for place in flight.open_parts() {
        let write = flight.parts[place].call.is_write();
        // Landing separately costs nothing if the host is paused: it cannot notice the difference.
        if budget.splits > 0 || still {
            moves.push(Move::Land(id, place));
        }
        if budget.no_answers > 0 && write {
            moves.push(Move::Unanswered(id, place));
        }
        if budget.failures > 0 {
            moves.push(Move::Fail(id, place));
        }
    }
}

/// Performs a move, and takes its cost from the budget.
fn apply(state: &mut State, step: &Move) -> Verdict {
    let world = &mut state.world;
    world.say(|| format!("── {step:?}"));
    match step {
        Move::Client(number) => {
            let before = state.fixed.after.iter().find(|(later, _, session)| later == number && *session);
            if let (Some((_, earlier, _)), true) = (before, world.attempts[*number].begun_ms == 0) {
                world.follow(*number, *earlier);
            }
            world.client(*number)?;
        }
        Move::Complete(id) => {
            world.land_rest(*id)?;
            world.answer(*id)?;
        }
        Move::Land(id, place) => {
            let still = !world.is_awake(world.flights[*id].host);
            state.budget.splits -= u8::from(!still);
            world.land(*id, *place)?;
        }
        Move::Answer(id) => world.answer(*id)?,
        Move::Unanswered(id, place) => {
            state.budget.no_answers -= 1;
            let until_ms = world.flights[*id].sent_ms + world.settings.grace_ms;
            world.fail_part(*id, *place, CallError::NoAnswer, Some(until_ms));
        }
        Move::Fail(id, place) => {
            state.budget.failures -= 1;
            let what = "planned".to_owned();
            let write = world.flights[*id].parts[*place].call.is_write();
            let error = if write { CallError::Refused(what) } else { CallError::Damaged(what) };
            world.fail_part(*id, *place, error, None);
        }
        Move::Hold(id) => {
            state.budget.holds -= 1;
            world.hold(*id);
        }
        Move::Send(id) => {
            world.send(*id)?;
        }
        Move::Late(late) => {
            state.budget.late -= 1;
            world.land_late(late)?;
        }
        Move::Tell(id) => world.hear(*id, false)?,
        Move::Sweep(host) => {
            state.budget.sweeps -= 1;
            world.upkeep(*host, true)?;
        }
        Move::Rest(host) => {
            state.budget.stops -= 1;
            world.upkeep(*host, false)?;
        }
        Move::Wake(host) => world.step(*host, Input::Wake)?,
        Move::Tick => {
            state.budget.ticks = state.budget.ticks.saturating_sub(1);
            let next = (0..world.hosts.len()).filter_map(|host| world.next_wake_ms(host)).min();
            let Some(next) = next else {
                return broken(
                    "every verb gets exactly one reply",
                    "no event is left that could happen, but attempts are open".into(),
                );
            };
            world.now_ms = next.max(world.now_ms);
        }
        Move::Jump => {
            pass(world, state.fixed.jumps[state.jumped])?;
            state.jumped += 1;
        }
        Move::Crash(host) => {
            state.budget.crashes -= 1;
            world.crash(*host);
        }
        Move::Pause(host, kind) => {
            state.budget.pauses -= 1;
            world.pause(*host, *kind);
        }
        Move::Resume(host) => world.resume(*host),
        Move::Drain(host) => {
            state.budget.drains -= 1;
            world.drain(*host)?;
        }
    }
    let world = &mut state.world;
    world.cut = None;
    for host in 0..world.hosts.len() {
        if world.is_drained(host) {
            world.stop(host);
        }
        if world.hosts[host].process.machine().is_none() {
            world.start_node(host);
        }
    }
    // Late calls that can never land are dropped, as states should differ only by what may still
    // happen.
    if state.budget.late == 0 {
        world.flights.lose_all_late();
    }
    world.fresh.clear();
    world.notes.clear();
    Ok(())
}

/// Heals a world (no more late calls, damage or pauses, and one host that sweeps), and makes the
/// demands.
pub fn heal(world: &mut World) -> Verdict {
    world.flights.lose_all_late();
    world.tells.lose_all();
    world.store.unreadable.clear();
    for host in 0..world.hosts.len() {
        world.resume(host);
        if world.hosts[host].draining {
            world.start_again(host);
        }
        world.upkeep(host, host == 0)?;
    }
    run_for(world, ended_after_ms(&world.settings))?;
    demand_ended(world)?;
    read_all(world, false)?;
    run_for(world, clean_after_ms(&world.settings))?;
    demand_clean(world)?;
    read_all(world, true)
}

/// Lets `span_ms` pass for hosts that run: each node wakes when it asked to. The calls that they
/// make meanwhile are in flight afterwards. Stops early if a write would be in flight for longer
/// than its grace.
fn pass(world: &mut World, span_ms: u64) -> Verdict {
    let until_ms = world.now_ms + span_ms;
    loop {
        let open = world
            .flights
            .iter()
            .map(|(_, flight)| flight)
            .filter(|flight| !flight.queued && !flight.has_outcome());
        let latest = open.filter(|flight| flight.call.is_write());
        let latest = latest.map(|flight| flight.sent_ms + world.settings.grace_ms);
        let until_ms = latest.fold(until_ms, u64::min).max(world.now_ms);
        let wakes = (0..world.hosts.len()).filter_map(|host| Some((world.next_wake_ms(host)?, host)));
        let Some((at, host)) = wakes.min().filter(|(at, _)| *at <= until_ms) else {
            world.now_ms = until_ms;
            return Ok(());
        };
        world.now_ms = world.now_ms.max(at);
        world.step(host, Input::Wake)?;
    }
}

/// Returns the time within which every open transaction ends after healing, in milliseconds.
pub fn ended_after_ms(settings: &Settings) -> u64 {
    2 * settings.timeout_max_ms + settings.grace_ms + settings.recheck_after_ms + settings.skew_max_ms
}

/// Returns the time within which everything is removed that may be, in milliseconds: each removal
/// waits for a settled mark, some wait for an earlier removal, and the last for the retention.
pub fn clean_after_ms(settings: &Settings) -> u64 {
    let round_ms = settings.target_lag_ms() + settings.settle_after_ms() + 3 * settings.sweep_interval_ms;
    settings.retention_max_ms + 4 * round_ms
}

/// Lets `span_ms` pass in which everything happens at once: calls are answered and tells delivered
/// without delay.
pub fn run_for(world: &mut World, span_ms: u64) -> Verdict {
    let until_ms = world.now_ms + span_ms;
    loop {
        if let Some(id) = next_flight(world) {
            complete(world, id)?;
        } else if let Some(id) = world.tells.first() {
            // A tell to a paused host is lost: tells only make reads fresher.
            if world.is_awake(id.to) {
                world.hear(id, false)?;
            } else {
                world.tells.lose(id);
            }
        } else {
            let wakes = (0..world.hosts.len()).filter_map(|host| Some((world.next_wake_ms(host)?, host)));
            let Some((at, host)) = wakes.min().filter(|(at, _)| *at <= until_ms) else { break };
            world.now_ms = world.now_ms.max(at);
            world.step(host, Input::Wake)?;
        }
        world.fresh.clear();
    }
    world.now_ms = until_ms;
    Ok(())
}

/// Returns the first call in flight of a host that runs. A paused host gets its answers when it
/// resumes.
fn next_flight(world: &World) -> Option<FlightId> {
    world.flights.iter().find(|(_, flight)| world.is_awake(flight.host)).map(|(id, _)| id)
}

/// Lets a call take effect and answers it; sends it first if it is queued.
pub fn complete(world: &mut World, id: FlightId) -> Verdict {
    assert!(world.is_awake(world.flights[id].host), "a paused host cannot be given an answer");
    if world.flights[id].queued {
        return world.send(id).map(|_| ());
    }
    world.land_rest(id)?;
    world.answer(id)
}

/// Runs an attempt to its end, and everything else that happens meanwhile.
pub fn run_attempt(world: &mut World, number: usize) -> Verdict {
    let until_ms = world.now_ms + 2 * world.settings.timeout_max_ms;
    while world.attempts[number].ended().is_none() {
        if world.client_ready(number) {
            world.client(number)?;
        } else if let Some(id) = next_flight(world) {
            complete(world, id)?;
        } else if world.now_ms < until_ms {
            let wakes = (0..world.hosts.len()).filter_map(|host| world.next_wake_ms(host));
            let next = wakes.min().unwrap_or(until_ms);
            run_for(world, next.saturating_sub(world.now_ms).max(1))?;
        } else {
            return broken("every verb gets exactly one reply", format!("attempt {number} has had no reply"));
        }
        world.fresh.clear();
    }
    Ok(())
}

/// Demands that transactions on every host read all keys: by gets in a fresh transaction, and by a
/// listing.
fn read_all(world: &mut World, all: bool) -> Verdict {
    let gets = world.keys.iter().cloned().map(Action::Get).collect();
    let programs =
        [(vec![Step::Run(gets), Step::Commit], true), (vec![Step::list_all(), Step::Commit], false)];
    for host in 0..world.hosts.len() {
        for (program, fresh) in &programs {
            read(world, host, program.clone(), *fresh, all)?;
        }
    }
    Ok(())
}

/// The number of tries after which a reader that meets `SnapshotGone` is taken to meet it for ever.
const READ_TRIES_MAX: u32 = 5;

/// Demands that a transaction on `host` reads the newest versions, trying again after
/// `SnapshotGone`.
fn read(world: &mut World, host: usize, program: Vec<Step>, fresh: bool, all: bool) -> Verdict {
    world.requests.push(Request { named: false, fresh, ..Request::new(u32::MAX, program) });
    let request = world.requests.len() - 1;
    for _ in 0..READ_TRIES_MAX {
        let number = world.new_attempt(request, host, Session::default());
        run_attempt(world, number)?;
        match world.attempts[number].ended() {
            Some(Ended::Committed(_)) => {
                let reader = world.attempts[number].clone();
                return demand_newest(world, &reader, all);
            }
            Some(Ended::Refused(Refusal::SnapshotGone(_))) => {
                run_for(world, world.settings.recheck_after_ms / 2)?;
            }
            ended => return broken("P7: after healing, every node reads", format!("host {host}: {ended:?}")),
        }
    }
    broken(
        "section 5: no endless SnapshotGone for fresh transactions",
        format!("{READ_TRIES_MAX} tries on host {host}"),
    )
}
