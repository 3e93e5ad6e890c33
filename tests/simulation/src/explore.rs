//! Exhaustive small worlds: depth-first search over every interleaving, with a set of the states already seen, in rounds of more and more
//! deviations from a default order (calls are answered as they come, clients run one after the other).
//!
//! A move is what a scheduler may do next: a client's next verb, a store call's effect and answer, a late call, a tell, a crash, a maintainer that starts,
//! a step of time. Effect and answer of a call are one move unless the world's budget lets them come apart: a node does nothing between the
//! two that another order of moves would not do as well, save where two of its transactions share its index; that is what the budget is for.
//! Time stands still but for moves that pass it. A state whose attempts have ended is healed in a copy, and the demands are made on the copy.
//!
//! What is bounded and what is not: budgets bound crashes, drains, late calls, unanswered and failed calls, and split calls; within them the search is whole, unless
//! it says how many deviations it came to.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use aft_core::message::{Input, Refusal};
use aft_core::store::CallError;

use crate::attempt::Ended;
use crate::audit::{Verdict, Violation, broken};
use crate::demand::{demand_clean, demand_ended, demand_newest};
use crate::flights::{Flight, FlightId, Ghost};
use crate::model::is_write;
use crate::script::{Action, Request, Step};
use crate::trace::Trace;
use crate::world::{TellId, World};

/// How much may go wrong in one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Budget {
    /// Crashes, at any point between two outputs.
    pub crashes: u8,
    /// Calls that get no answer.
    pub no_answers: u8,
    /// Late calls that land: of dead nodes, or unanswered.
    pub late: u8,
    /// Calls whose answer comes apart from their effect.
    pub splits: u8,
    /// Calls that fail for good: what they read is damaged, what they write is refused.
    pub failures: u8,
    /// Maintainers that start.
    pub maintainers: u8,
    /// Hosts that are drained; an empty node follows.
    pub drains: u8,
    /// Heartbeats that are lost, and back at once.
    pub heartbeats: u8,
    /// Moves of time, each a step to the next instant at which a node wants to wake.
    pub ticks: u8,
}

/// A small world to explore.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// How it begins.
    pub world: World,
    /// What may go wrong.
    pub budget: Budget,
    /// Attempts that begin only when others have ended: (attempt, the one it waits for, whether it gets that one's session).
    pub after: Vec<(usize, usize, bool)>,
    /// Times that may pass at any point, in this order.
    pub jumps: Vec<u64>,
    /// Check the demands after each terminal state.
    pub heal: bool,
    /// Cut the search at so many states.
    pub states_max: usize,
}

/// What came of a search.
#[derive(Debug, Clone)]
pub struct Explored {
    /// States visited, over all rounds.
    pub states: usize,
    /// States in which all had ended, each healed and held against the demands.
    pub ends: usize,
    /// The search went through every path with so many deviations from the default order, or was cut while it did.
    pub deviations: u8,
    /// Nothing was left out.
    pub whole: bool,
    /// The first violation, with the moves that lead to it and their story.
    pub violation: Option<(Violation, Vec<String>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Move {
    Client(usize),
    Complete(FlightId),
    Land(FlightId),
    Answer(FlightId),
    Unanswered(FlightId),
    Late(Ghost),
    Tell(TellId),
    Maintain(usize),
    Wake(usize),
    Tick,
    Jump,
    Crash(usize),
    Fail(FlightId),
    Drain(usize),
    Heartbeat(usize),
}

#[derive(Debug, Clone)]
struct State {
    world: World,
    budget: Budget,
    jumped: usize,
}

impl State {
    fn key(&self) -> u128 {
        let half = |salt: u64| {
            let mut hasher = DefaultHasher::new();
            salt.hash(&mut hasher);
            self.world.hash(&mut hasher);
            self.budget.hash(&mut hasher);
            self.jumped.hash(&mut hasher);
            u128::from(hasher.finish())
        };
        (half(0) << 64) | half(1)
    }
}

/// The moves that lead to a state, newest first, shared between states.
type Path = Option<Rc<Link>>;

#[derive(Debug)]
struct Link {
    step: Move,
    cut: Option<usize>,
    before: Path,
}

/// The states seen, each with the deviations that were left when it was seen.
type Seen = HashMap<u128, u8, BuildHasherDefault<DefaultHasher>>;

/// Searches a scenario: first every path with one deviation from the default order, then with two, and so on until nothing was left out or the bound on
/// states is reached. Bugs hide behind few deviations; so a search that is cut has still seen what matters most.
pub fn explore(scenario: &Scenario) -> Explored {
    let mut explored = Explored { states: 0, ends: 0, deviations: 0, whole: false, violation: None };
    let mut healed = Seen::default();
    while !explored.whole && explored.violation.is_none() && explored.states < scenario.states_max {
        // After a few careful rounds, all that is left.
        explored.deviations = if explored.deviations < ROUNDS { explored.deviations + 1 } else { u8::MAX };
        search(scenario, &mut explored, &mut healed);
    }
    explored
}

/// Rounds with a bound on deviations, before the one without.
const ROUNDS: u8 = 4;

fn search(scenario: &Scenario, explored: &mut Explored, healed: &mut Seen) {
    let mut seen = Seen::default();
    let mut pruned = false;
    let root = State { world: scenario.world.clone(), budget: scenario.budget, jumped: 0 };
    let mut stack: Vec<(State, Path, u8)> = vec![(root, None, explored.deviations)];
    while let Some((state, path, left)) = stack.pop() {
        let key = state.key();
        if seen.get(&key).is_some_and(|before| *before >= left) {
            continue;
        }
        seen.insert(key, left);
        explored.states += 1;
        if explored.states >= scenario.states_max {
            return;
        }
        if over(&state.world) && healed.insert(key, 0).is_none() {
            explored.ends += 1;
            let mut copy = state.world.clone();
            if let (true, Err(violation)) = (scenario.heal, guarded(|| heal(&mut copy))) {
                explored.violation = Some((violation, retell(scenario, &path, true)));
                return;
            }
        }
        for (place, step) in moves(&state, scenario).into_iter().enumerate() {
            let mut variants = vec![None];
            if state.budget.crashes > 0 && can_crash(&step) {
                let mut probe = state.clone();
                if guarded(|| apply(&mut probe, &step, scenario)).is_ok() {
                    variants.extend((0..=probe.world.last_outputs).map(Some));
                }
            }
            for cut in variants {
                let costs = u8::from(place > 0 || cut.is_some());
                if costs > left {
                    pruned = true;
                    continue;
                }
                let mut next = state.clone();
                next.world.cut = cut;
                next.budget.crashes -= u8::from(cut.is_some());
                let path = Some(Rc::new(Link { step: step.clone(), cut, before: path.clone() }));
                if let Err(violation) = guarded(|| apply(&mut next, &step, scenario)) {
                    explored.violation = Some((violation, retell(scenario, &path, false)));
                    return;
                }
                stack.push((next, path, left - costs));
            }
        }
    }
    explored.whole = !pruned;
}

fn guarded(run: impl FnOnce() -> Verdict) -> Verdict {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "a panic without a text".into());
        broken("an assertion of the core", text)
    })
}

/// All attempts have ended, and nobody waits for the store.
fn over(world: &World) -> bool {
    world.flights.is_empty() && world.attempts.iter().all(|attempt| attempt.ended().is_some())
}

fn can_crash(step: &Move) -> bool {
    match step {
        Move::Client(_) | Move::Complete(_) | Move::Answer(_) | Move::Wake(_) => true,
        Move::Land(_)
        | Move::Unanswered(_)
        | Move::Late(_)
        | Move::Tell(_)
        | Move::Maintain(_)
        | Move::Tick
        | Move::Jump
        | Move::Crash(_)
        | Move::Fail(_)
        | Move::Drain(_)
        | Move::Heartbeat(_) => false,
    }
}

fn moves(state: &State, scenario: &Scenario) -> Vec<Move> {
    let State { world, budget, jumped } = state;
    // The default order: the first move costs no deviation.
    let mut moves = Vec::new();
    for (id, flight) in &world.flights {
        moves.push(if flight.landed.is_some() { Move::Answer(*id) } else { Move::Complete(*id) });
    }
    for number in 0..world.attempts.len() {
        let waits = scenario
            .after
            .iter()
            .any(|(later, earlier, _)| *later == number && world.attempts[*earlier].ended().is_none());
        if !waits && world.client_ready(number) {
            moves.push(Move::Client(number));
        }
    }
    moves.extend(world.tells.keys().copied().map(Move::Tell));
    let alive = || (0..world.hosts.len()).filter(|host| world.hosts[*host].node.is_some());
    let due = |host: &usize| world.next_wake_ms(*host).is_some_and(|at| at <= world.now_ms);
    moves.extend(alive().filter(due).map(Move::Wake));
    if budget.maintainers > 0 {
        moves.extend(alive().filter(|host| !world.hosts[*host].maintains).map(Move::Maintain));
    }
    // No write is under way for longer than its grace.
    let in_time = |until_ms: u64| {
        let in_time = |flight: &Flight| until_ms <= flight.issued_ms + world.settings.grace_ms;
        world
            .flights
            .values()
            .all(|flight| flight.landed.is_some() || !is_write(&flight.call) || in_time(flight))
    };
    if scenario.jumps.get(*jumped).is_some_and(|jump| in_time(world.now_ms + jump)) {
        moves.push(Move::Jump);
    }
    for (id, flight) in world.flights.iter().filter(|(_, flight)| flight.landed.is_none()) {
        if budget.splits > 0 {
            moves.push(Move::Land(*id));
        }
        if budget.no_answers > 0 && is_write(&flight.call) {
            moves.push(Move::Unanswered(*id));
        }
        if budget.failures > 0 {
            moves.push(Move::Fail(*id));
        }
    }
    if budget.late > 0 {
        moves.extend(
            world.ghosts.iter().filter(|ghost| ghost.until_ms >= world.now_ms).cloned().map(Move::Late),
        );
    }
    let idle = moves.iter().all(|step| matches!(step, Move::Tell(_) | Move::Late(_) | Move::Maintain(_)));
    if budget.crashes > 0 {
        moves.extend(alive().map(Move::Crash));
    }
    if budget.drains > 0 {
        moves.extend(alive().filter(|host| !world.hosts[*host].draining).map(Move::Drain));
    }
    if budget.heartbeats > 0 {
        moves.extend(alive().map(Move::Heartbeat));
    }
    let wakes = (0..world.hosts.len()).any(|host| world.next_wake_ms(host).is_some());
    if !over(world) && (idle || (budget.ticks > 0 && wakes)) {
        moves.push(Move::Tick);
    }
    moves
}

fn apply(state: &mut State, step: &Move, scenario: &Scenario) -> Verdict {
    let world = &mut state.world;
    world.say(|| format!("── {step:?}"));
    match step {
        Move::Client(number) => {
            let before = scenario.after.iter().find(|(later, _, session)| later == number && *session);
            if let (Some((_, earlier, _)), true) = (before, world.attempts[*number].begun_ms == 0) {
                world.attempts[*number].session = world.attempts[*earlier].session_after.clone();
            }
            world.client(*number)?;
        }
        Move::Complete(id) => {
            world.land(*id)?;
            world.answer(*id)?;
        }
        Move::Land(id) => {
            state.budget.splits -= 1;
            world.land(*id)?;
        }
        Move::Answer(id) => world.answer(*id)?,
        Move::Unanswered(id) => {
            state.budget.no_answers -= 1;
            let until_ms = world.flights[id].issued_ms + world.settings.grace_ms;
            world.fail(*id, CallError::NoAnswer, Some(until_ms))?;
        }
        Move::Late(ghost) => {
            state.budget.late -= 1;
            world.land_ghost(ghost)?;
        }
        Move::Tell(id) => world.hear(*id, false)?,
        Move::Maintain(host) => {
            state.budget.maintainers -= 1;
            world.step(*host, Input::Maintain(true))?;
        }
        Move::Wake(host) => world.step(*host, Input::Wake)?,
        Move::Tick => {
            state.budget.ticks = state.budget.ticks.saturating_sub(1);
            let next = (0..world.hosts.len()).filter_map(|host| world.next_wake_ms(host)).min();
            let Some(next) = next else {
                return broken(
                    "every verb gets exactly one reply",
                    "nothing can happen, and attempts are open".into(),
                );
            };
            world.now_ms = next.max(world.now_ms);
        }
        Move::Jump => {
            world.now_ms += scenario.jumps[state.jumped];
            state.jumped += 1;
        }
        Move::Crash(host) => {
            state.budget.crashes -= 1;
            world.crash(*host);
        }
        Move::Fail(id) => {
            state.budget.failures -= 1;
            let what = "planned".to_owned();
            let error = if is_write(&world.flights[id].call) {
                CallError::Refused(what)
            } else {
                CallError::Damaged(what)
            };
            world.fail(*id, error, None)?;
        }
        Move::Drain(host) => {
            state.budget.drains -= 1;
            world.drain(*host)?;
        }
        Move::Heartbeat(host) => {
            state.budget.heartbeats -= 1;
            world.step(*host, Input::HeartbeatLost)?;
            world.step(*host, Input::HeartbeatBack)?;
        }
    }
    let world = &mut state.world;
    world.cut = None;
    for host in 0..world.hosts.len() {
        if world.is_drained(host) {
            world.stop(host)?;
        }
        if world.hosts[host].node.is_none() {
            world.start_node(host);
        }
    }
    // No ghost is kept that can never land: states differ only in what may still come.
    if state.budget.late == 0 {
        world.ghosts.clear();
    }
    world.fresh.clear();
    world.notes.clear();
    Ok(())
}

fn retell(scenario: &Scenario, path: &Path, healing: bool) -> Vec<String> {
    let mut links = Vec::new();
    let mut at = path.as_ref();
    while let Some(link) = at {
        links.push(link);
        at = link.before.as_ref();
    }
    let trace = Trace::default();
    let mut state = State { world: scenario.world.clone(), budget: scenario.budget, jumped: 0 };
    state.world.trace = Some(trace.clone());
    for Link { step, cut, .. } in links.iter().rev().map(|link| &***link) {
        state.world.cut = *cut;
        state.budget.crashes -= u8::from(cut.is_some());
        if guarded(|| apply(&mut state, step, scenario)).is_err() {
            return trace.lines();
        }
    }
    if healing {
        state.world.say(|| "── healing".into());
        let _ = guarded(|| heal(&mut state.world));
    }
    trace.lines()
}

/// Heals a world, and makes the demands.
pub fn heal(world: &mut World) -> Verdict {
    world.ghosts.clear();
    world.tells.clear();
    let settings = world.settings.clone();
    for host in 0..world.hosts.len() {
        if world.hosts[host].draining {
            world.start_again(host);
        }
        world.step(host, Input::Maintain(host == 0))?;
    }
    let bound_ms =
        2 * settings.timeout_max_ms + settings.grace_ms + settings.slack_ms + settings.recheck_after_ms;
    let bound_ms = bound_ms + settings.skew_max_ms + 10 * settings.maintenance_interval_ms;
    run_for(world, bound_ms)?;
    demand_ended(world)?;
    read_all(world)?;
    run_for(world, settings.retention_max_ms + 4 * settings.tombstone_age_ms + 180_000)?;
    demand_clean(world)?;
    read_all(world)
}

/// Lets everything happen at once, and time pass, for so long.
pub fn run_for(world: &mut World, span_ms: u64) -> Verdict {
    let until_ms = world.now_ms + span_ms;
    loop {
        if let Some(id) = world.flights.keys().next().copied() {
            world.land(id)?;
            world.answer(id)?;
        } else if let Some(id) = world.tells.keys().next().copied() {
            world.hear(id, false)?;
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

/// Runs an attempt to its end, with everything else that happens meanwhile.
pub fn run_attempt(world: &mut World, number: usize) -> Verdict {
    let until_ms = world.now_ms + 2 * world.settings.timeout_max_ms;
    while world.attempts[number].ended().is_none() {
        if world.client_ready(number) {
            world.client(number)?;
        } else if let Some(id) = world.flights.keys().next().copied() {
            world.land(id)?;
            world.answer(id)?;
        } else if world.now_ms < until_ms {
            let wakes = (0..world.hosts.len()).filter_map(|host| world.next_wake_ms(host));
            let next = wakes.min().unwrap_or(until_ms);
            run_for(world, next.saturating_sub(world.now_ms).max(1))?;
        } else {
            return broken("every verb gets exactly one reply", format!("attempt {number} has had none"));
        }
        world.fresh.clear();
    }
    Ok(())
}

fn read_all(world: &mut World) -> Verdict {
    let gets = world.keys.iter().cloned().map(Action::Get).collect();
    let programs = [
        vec![Step::Run(gets), Step::Commit],
        vec![Step::List { prefix: String::new(), limit: 100, pages: 1 }, Step::Commit],
    ];
    for host in 0..world.hosts.len() {
        for program in &programs {
            read(world, host, program.clone())?;
        }
    }
    Ok(())
}

/// How often fresh readers try before an endless `SnapshotGone` is assumed.
const READ_TRIES_MAX: u32 = 5;

fn read(world: &mut World, host: usize, program: Vec<Step>) -> Verdict {
    world.requests.push(Request { named: false, ..Request::new(u32::MAX, program) });
    let request = world.requests.len() - 1;
    for _ in 0..READ_TRIES_MAX {
        let number = world.new_attempt(request, host, Vec::new());
        run_attempt(world, number)?;
        match world.attempts[number].ended() {
            Some(Ended::Committed(_)) => {
                let reader = world.attempts[number].clone();
                return demand_newest(world, &reader);
            }
            Some(Ended::Refused(Refusal::SnapshotGone(_))) => {
                run_for(world, world.settings.recheck_after_ms / 2)?;
            }
            ended => return broken("P7: after healing, every node reads", format!("host {host}: {ended:?}")),
        }
    }
    broken("section 5: no endless SnapshotGone for fresh transactions", format!("on host {host}"))
}
