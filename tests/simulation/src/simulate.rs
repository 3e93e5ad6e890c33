//! Random simulation: a calendar of events, with everything drawn from the seed.
//!
//! A run has two phases: work (`clients`) under faults (`faults`), then healing and demands
//! (`healing`). The same seed gives the same trace.

mod clients;
mod faults;
mod healing;

use std::collections::BTreeMap;

use aft_core::bug::Bug;
use aft_core::ids::NodeId;
use aft_core::message::Input;
use aft_core::store::{CallError, Name};
use aft_sim::calendar::Calendar;
use aft_sim::flights::FlightId;
use aft_sim::net::MessageId;
use aft_sim::random::Random;
use aft_sim::run::{self, Counts, Outcome, Simulate};
use aft_sim::trace::Trace;
use aft_sim::verdict::Verdict;

use crate::draw::Plan;
use crate::flights::Late;
use crate::hosts::Role;
use crate::world::{BEGIN_MS, Fresh, World};
use clients::Client;

/// The options of a simulation.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A bug to plant in the core.
    pub bug: Option<Bug>,
    /// True to keep the story.
    pub trace: bool,
}

/// The driver of the shim's core.
#[derive(Debug, Clone, Copy)]
pub struct Shim;

impl Simulate for Shim {
    type Plan = Plan;
    /// A bug to plant in the core.
    type Options = Option<Bug>;

    const COMMAND: &'static str = "cargo xtask simulate";
    const ARGUMENTS: &'static str = "--bug NAME";

    fn draw(random: &Random, bug: &Option<Bug>) -> Plan {
        Plan::draw(random, *bug)
    }

    fn run(plan: Plan, random: &Random, trace: Option<Trace>) -> (Verdict, Counts) {
        let mut simulation = Simulation::new(plan, random, trace);
        let verdict = simulation.run();
        (verdict, simulation.counts())
    }

    fn argument(
        bug: &mut Option<Bug>,
        name: &str,
        value: &mut dyn FnMut() -> Option<String>,
    ) -> Result<bool, String> {
        if name != "--bug" {
            return Ok(false);
        }
        let name = value().unwrap_or_default();
        let named = Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name);
        *bug = Some(named.ok_or_else(|| {
            format!("--bug {name:?}: no planted bug has this name; shim/core/src/bug.rs lists them")
        })?);
        Ok(true)
    }
}

/// Runs the simulation of a seed.
pub fn simulate(seed: u64, options: &Options) -> Outcome {
    run::simulate::<Shim>(seed, &options.bug, options.trace)
}

/// An event that happens at a planned time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A part of a call lands.
    Land(FlightId, usize),
    /// A part of a call fails; the last field is the time until which it may still land.
    FailPart(FlightId, usize, CallError, Option<u64>),
    /// A call that waited in the driver's queue is sent, if its node still allows it.
    Send(FlightId),
    /// A call is answered.
    Answer(FlightId),
    /// A fetch is answered from the value cache.
    FromCache(FlightId),
    /// A late call lands.
    Late(Box<Late>),
    /// A tell arrives; if true, it will arrive again.
    Tell(MessageId, bool),
    /// An attempt does its next step.
    Client(usize),
    /// A client begins its next request.
    Launch(usize),
    /// A client starts another attempt: client, request, number of the retry.
    Retry(usize, usize, u32),
    /// A client stops waiting for an attempt: client, attempt.
    Impatience(usize, usize),
    /// A node wakes at the time that it asked for.
    Wake(usize),
    /// Something disturbs a host, a clock or the store.
    Disturb,
    /// A host without a node starts one.
    Restart(usize),
    /// A paused host resumes.
    Resume(usize),
    /// A sweeper begins to sweep, or stops.
    Sweeper(usize, bool),
    /// All damage in the store is repaired.
    Mend,
    /// A client looks up an attempt whose outcome it does not know.
    AskOf(usize),
    /// The time that a node has to drain is over, and its process is killed if it still runs.
    DrainOver(usize, NodeId),
}

/// A run.
struct Simulation {
    world: World,
    plan: Plan,
    calendar: Calendar<Event>,
    /// The random streams: fates of calls and tells, clients, faults of hosts, clocks and the
    /// store.
    net: Random,
    client_stream: Random,
    fault: Random,
    clients: Vec<Client>,
    /// The client that waits for each attempt; `None` once it does not any more.
    owner: Vec<Option<usize>>,
    /// The time of each host's planned wake; `u64::MAX` while its restart is planned.
    woken: Vec<Option<u64>>,
    /// The time at which each paused host resumes; `u64::MAX` for a guest that is frozen until an
    /// attempt needs it.
    paused_until: Vec<u64>,
    /// The events of frozen guests, which happen when they resume.
    parked: Vec<Vec<Event>>,
    /// The end of each host's last pause that no clock showed while it had writes in flight.
    unseen_ms: Vec<u64>,
    /// The time at which the answer to a get of each name was last damaged in transit.
    damaged_ms: BTreeMap<Name, u64>,
    /// The number of requests that clients have begun.
    launched: u64,
    /// True in the second phase, without faults.
    healed: bool,
    /// True once sweepers are not stopped any more.
    unhurried: bool,
}

impl Simulation {
    /// Sets up the run of a plan.
    fn new(plan: Plan, random: &Random, trace: Option<Trace>) -> Simulation {
        let mut world = World::new(plan.settings.clone(), &plan.roles, Vec::new(), plan.keys.clone());
        world.trace = trace;
        world.clock_grain_ms = plan.clock_grain_ms;
        world.delay_max_ms = 4 * plan.call_timeout_ms.max(plan.delay_max_ms);
        world.unseen_max_ms = plan.clocks.unseen_max_ms;
        world.store.abilities = plan.abilities;
        world.store_clock = plan.clocks.store.clone();
        let hosts = plan.roles.len();
        Simulation {
            calendar: Calendar::new(),
            net: random.branch("net"),
            client_stream: random.branch("clients"),
            fault: random.branch("faults"),
            clients: vec![Client::default(); plan.clients],
            owner: Vec::new(),
            woken: vec![None; hosts],
            paused_until: vec![0; hosts],
            parked: vec![Vec::new(); hosts],
            unseen_ms: vec![0; hosts],
            damaged_ms: BTreeMap::new(),
            launched: 0,
            healed: false,
            unhurried: false,
            world,
            plan,
        }
    }

    /// Plans an event at `time_ms`, or now if that has passed.
    fn at(&mut self, time_ms: u64, event: Event) {
        self.calendar.at(self.world.now_ms, time_ms, event);
    }

    /// Plans an event after `delay_ms`.
    fn after(&mut self, delay_ms: u64, event: Event) {
        self.at(self.world.now_ms + delay_ms, event);
    }

    /// Runs both phases.
    fn run(&mut self) -> Verdict {
        for host in 0..self.plan.roles.len() {
            self.set_clocks(host);
            match self.plan.roles[host] {
                Role::Member => {
                    let sweeps = host == 0 || self.fault.chance(500);
                    self.world.upkeep(host, sweeps)?;
                }
                Role::Sweeper => {
                    let first = self.fault.below(self.plan.sweep_every_ms);
                    self.after(first, Event::Sweeper(host, true));
                }
                Role::Guest => {}
            }
        }
        for client in 0..self.plan.clients {
            let delay = self.client_stream.below(50);
            self.after(delay, Event::Launch(client));
        }
        if self.plan.faults.disturb_every_ms > 0 {
            self.after(1_000, Event::Disturb);
        }
        self.absorb()?;
        // The first phase lasts until every request was begun and no client waits.
        let busy = |simulation: &Simulation| {
            simulation.launched < simulation.plan.requests
                || simulation.clients.iter().any(|client| client.current.is_some())
        };
        while busy(self) {
            self.next_event()?;
        }
        self.heal()
    }

    /// Performs the next event, and plans what follows from it.
    fn next_event(&mut self) -> Verdict {
        let (time_ms, event) = self.calendar.next_event()?;
        self.world.now_ms = time_ms;
        self.perform(event)?;
        for host in 0..self.plan.roles.len() {
            if self.world.is_drained(host) {
                self.world.stop(host);
            }
        }
        self.absorb()
    }

    /// Performs all events up to `time_ms`, and advances to it.
    fn run_until(&mut self, time_ms: u64) -> Verdict {
        while self.calendar.next_ms().is_some_and(|at| at <= time_ms) {
            self.next_event()?;
        }
        self.world.now_ms = time_ms;
        Ok(())
    }

    /// Returns the host that must run for an event to happen.
    fn host_of(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Answer(id) | Event::FromCache(id) | Event::Send(id) => {
                self.world.flights.get(*id).map(|flight| flight.host)
            }
            Event::Tell(id, _) => Some(id.to),
            Event::Client(number) | Event::AskOf(number) => Some(self.world.attempts[*number].host),
            Event::Wake(host) | Event::Sweeper(host, _) => Some(*host),
            Event::Land(..)
            | Event::FailPart(..)
            | Event::Late(_)
            | Event::Launch(_)
            | Event::Retry(..)
            | Event::Impatience(..)
            | Event::Disturb
            | Event::Restart(_)
            | Event::Resume(_)
            | Event::Mend
            | Event::DrainOver(..) => None,
        }
    }

    /// Performs an event; if its host is paused, puts it off.
    fn perform(&mut self, event: Event) -> Verdict {
        if let Some(host) = self.host_of(&event) {
            if let Event::Client(number) = event {
                self.rouse(host, number);
            }
            if self.world.hosts[host].process.paused().is_some() {
                match self.plan.roles[host] {
                    Role::Guest if self.paused_until[host] == u64::MAX => self.parked[host].push(event),
                    Role::Guest | Role::Member | Role::Sweeper => self.at(self.paused_until[host], event),
                }
                return Ok(());
            }
            // The node may crash between two outputs of its next step.
            if !self.healed && self.fault.below(10_000) < self.plan.faults.crash && self.fault.chance(100) {
                self.world.cut = Some(self.fault.below(6) as usize);
            }
        }
        let verdict = self.perform_awake(event);
        self.world.cut = None;
        verdict
    }

    /// Performs an event whose host runs.
    fn perform_awake(&mut self, event: Event) -> Verdict {
        match event {
            Event::Land(id, place) => self.land(id, place),
            Event::FailPart(id, place, error, late_until_ms) => {
                self.world.fail_part(id, place, error, late_until_ms);
                Ok(())
            }
            Event::Send(id) => {
                if self.world.send(id)? {
                    self.plan_sent(id);
                }
                Ok(())
            }
            Event::Answer(id) => match self.world.flights.get(id) {
                // A part has not landed yet: a pause of its host has delayed it. Try again.
                Some(flight) if !flight.has_outcome() => {
                    self.after(1, Event::Answer(id));
                    Ok(())
                }
                Some(_) | None => self.world.answer(id),
            },
            Event::FromCache(id) => {
                if !self.world.answer_from_cache(id)? {
                    self.world.land_rest(id)?;
                    self.world.answer(id)?;
                }
                Ok(())
            }
            Event::Late(late) => {
                if self.world.now_ms <= late.until_ms {
                    self.world.land_late(&late)?;
                }
                self.world.flights.lose_late(&late);
                Ok(())
            }
            Event::Tell(id, keep) => self.world.hear(id, keep),
            Event::Client(number) => self.client(number),
            Event::Launch(client) => {
                self.launch(client);
                Ok(())
            }
            Event::Retry(client, request, tries) => {
                self.attempt(client, request, tries);
                Ok(())
            }
            Event::Impatience(client, number) => {
                self.forsake(client, number);
                Ok(())
            }
            Event::Wake(host) => {
                self.woken[host] = None;
                let due = self.world.next_wake_ms(host).is_some_and(|at| at <= self.world.now_ms);
                if due { self.world.step(host, Input::Wake) } else { Ok(()) }
            }
            Event::Disturb => {
                let next = self.fault.between(1, self.plan.faults.disturb_every_ms);
                self.after(next, Event::Disturb);
                self.disturb()
            }
            Event::Restart(host) => {
                if self.world.hosts[host].process.machine().is_none() {
                    self.world.start_node(host);
                    let sweeps = self.plan.roles[host] == Role::Member;
                    let sweeps = sweeps && (self.healed || self.fault.chance(500));
                    self.world.upkeep(host, sweeps)?;
                }
                Ok(())
            }
            Event::Resume(host) => {
                self.world.resume(host);
                Ok(())
            }
            Event::Sweeper(host, on) => self.sweeper(host, on),
            Event::Mend => {
                self.mend();
                Ok(())
            }
            Event::AskOf(number) => {
                let host = self.world.attempts[number].host;
                self.world.look_up_of(host, number)
            }
            Event::DrainOver(host, node) => {
                if self.world.node_id(host) == Some(node) {
                    self.world.crash(host);
                }
                Ok(())
            }
        }
    }

    /// Plans the events of all that is new in the world: calls, tells, late calls, clients, wakes.
    fn absorb(&mut self) -> Verdict {
        loop {
            let fresh = std::mem::take(&mut self.world.fresh);
            if fresh.is_empty() {
                break;
            }
            for item in fresh {
                match item {
                    Fresh::Flight(id) => self.plan_flight(id),
                    Fresh::Tell(id) => self.plan_tell(id),
                    Fresh::Late(late) => self.plan_late(*late),
                    Fresh::Client(number) if self.world.attempts[number].ended().is_some() => {
                        self.ended(number)
                    }
                    Fresh::Client(number) => {
                        let delay = self.client_stream.below(self.plan.delay_max_ms + 1);
                        let slow = self.client_stream.chance(20) && !self.healed;
                        let delay = if slow { self.client_stream.below(3_000) } else { delay };
                        let dwell_max_ms =
                            self.world.requests[self.world.attempts[number].request].dwell_max_ms;
                        let dwell = self.client_stream.below(dwell_max_ms + 1);
                        self.after(delay + dwell, Event::Client(number));
                    }
                }
            }
        }
        // Hosts: guests may vanish, crashed nodes are restarted, and the others wake when they
        // asked to.
        for host in 0..self.plan.roles.len() {
            if self.plan.roles[host] == Role::Guest {
                self.let_go(host)?;
            }
            if self.world.hosts[host].process.machine().is_none() {
                if self.plan.roles[host] == Role::Guest {
                    continue; // its next attempt starts it
                }
                let pending = self.woken[host] == Some(u64::MAX);
                if !pending {
                    self.woken[host] = Some(u64::MAX); // the restart is planned
                    let delay = self.fault.between(1, 2_000);
                    self.after(delay, Event::Restart(host));
                }
                continue;
            }
            if self.woken[host] == Some(u64::MAX) {
                self.woken[host] = None;
            }
            if let Some(at) = self.world.next_wake_ms(host)
                && self.woken[host].is_none_or(|planned| at < planned)
            {
                self.woken[host] = Some(at);
                self.at(at, Event::Wake(host));
            }
        }
        Ok(())
    }

    /// Returns the counts of this run.
    fn counts(&self) -> Counts {
        let mut counts = self.world.tally();
        counts.extend(self.world.notes.iter().map(|(name, count)| (*name, *count)));
        let committed = self.world.audit.commits.len() as u64;
        counts.insert("commits", committed);
        let asked = ["conditions asked", "sums asked"]
            .iter()
            .any(|name| counts.get(name).is_some_and(|count| *count > 0));
        counts.insert("seeds with conditions", u64::from(asked));
        counts.insert("events", self.calendar.performed());
        counts.insert("virtual seconds", (self.world.now_ms - BEGIN_MS) / 1_000);
        counts
    }
}
