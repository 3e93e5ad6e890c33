//! Random simulation: one heap of (time, sequence, event), everything drawn from the seed.
//!
//! First faults and work, then healing, then demands. The same seed gives the same trace.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::panic::{AssertUnwindSafe, catch_unwind};

use aft_core::bug::Bug;
use aft_core::message::{Input, Refusal};
use aft_core::store::{Call, CallError};

use crate::audit::{Verdict, Violation, broken};
use crate::demand::{demand_clean, demand_ended, demand_newest};
use crate::draw::Plan;
use crate::model::is_write;
use crate::past::judge_history;
use crate::random::Random;
use crate::script::{Action, Ended, Progress, Request, Step};
use crate::world::{BEGIN_MS, FlightId, Fresh, Ghost, TellId, Trace, World};

/// What to simulate.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A fault in the core.
    pub bug: Option<Bug>,
    /// Keep the story.
    pub trace: bool,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The first promise that was broken, if any.
    pub violation: Option<Violation>,
    /// Counts: how attempts ended, what nodes noted, events.
    pub counts: BTreeMap<&'static str, u64>,
    /// The story, if it was wanted.
    pub trace: Vec<String>,
}

/// Runs the simulation of a seed.
pub fn simulate(seed: u64, options: &Options) -> Outcome {
    let random = Random::new(seed);
    let plan = Plan::draw(&random, options.bug);
    let trace = options.trace.then(Trace::default);
    if let Some(trace) = &trace {
        trace.push(format!("seed {seed}: {plan:?}"));
    }
    let kept = trace.clone();
    // A panic is the core's own assertion: it is a finding like any other.
    let ran = catch_unwind(AssertUnwindSafe(move || {
        let mut simulation = Simulation::new(plan, &random, kept);
        let verdict = simulation.run();
        (verdict, simulation.counts())
    }));
    let (violation, counts) = match ran {
        Ok((verdict, counts)) => (verdict.err(), counts),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let text = text.unwrap_or_else(|| "a panic without a text".into());
            (Some(Violation { rule: "an assertion of the core", text }), BTreeMap::new())
        }
    };
    Outcome { seed, violation, counts, trace: trace.map(|trace| trace.lines()).unwrap_or_default() }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Land(FlightId),
    Answer(FlightId),
    FromCache(FlightId),
    /// The error, whether it is "no answer", and until when the call may still land.
    Fail(FlightId, bool, Option<u64>),
    Ghost(Ghost),
    Tell(TellId, bool),
    Client(usize),
    Launch(usize),
    Retry(usize, usize, u32),
    Impatience(usize, usize),
    Wake(usize),
    Disturb,
    Restart(usize),
    Resume(usize),
    HeartbeatBack(usize),
}

/// One client: one request at a time.
#[derive(Debug, Clone, Default)]
struct Client {
    session: aft_core::ids::Session,
    /// The attempt it waits for, and how often it has retried.
    current: Option<(usize, u32)>,
}

/// How often a client runs a request again.
const RETRIES_MAX: u32 = 8;
/// A node whose process stood still for longer has lost its heartbeat.
const LEASE_MS: u64 = 1_500;
/// A run makes fewer events than this; more are a loop without an end.
const EVENTS_MAX: u64 = 3_000_000;
/// How often fresh readers try before an endless `SnapshotGone` is assumed.
const READ_TRIES_MAX: u32 = 6;

struct Simulation {
    world: World,
    plan: Plan,
    heap: BinaryHeap<Reverse<(u64, u64, Event)>>,
    sequence: u64,
    events: u64,
    net: Random,
    client_stream: Random,
    fault: Random,
    clients: Vec<Client>,
    owner: Vec<Option<usize>>,
    woken: Vec<Option<u64>>,
    paused_until: Vec<u64>,
    launched: u64,
    healed: bool,
}

impl Simulation {
    fn new(plan: Plan, random: &Random, trace: Option<Trace>) -> Simulation {
        let mut world = World::new(plan.settings.clone(), plan.hosts, Vec::new(), plan.keys.clone());
        world.trace = trace;
        world.clock_grain_ms = plan.clock_grain_ms;
        world.delay_max_ms = 4 * plan.call_timeout_ms.max(plan.delay_max_ms);
        Simulation {
            heap: BinaryHeap::new(),
            sequence: 0,
            events: 0,
            net: random.branch("net"),
            client_stream: random.branch("clients"),
            fault: random.branch("faults"),
            clients: vec![Client::default(); plan.clients],
            owner: Vec::new(),
            woken: vec![None; plan.hosts],
            paused_until: vec![0; plan.hosts],
            launched: 0,
            healed: false,
            world,
            plan,
        }
    }

    fn at(&mut self, time_ms: u64, event: Event) {
        self.sequence += 1;
        self.heap.push(Reverse((time_ms.max(self.world.now_ms), self.sequence, event)));
    }

    fn after(&mut self, delay_ms: u64, event: Event) {
        self.at(self.world.now_ms + delay_ms, event);
    }

    fn run(&mut self) -> Verdict {
        let half_skew = self.plan.settings.skew_max_ms / 2;
        for host in 0..self.plan.hosts {
            self.set_clock(host, half_skew);
            self.world.step(host, Input::Maintain(host == 0 || self.fault.chance(500)))?;
        }
        for client in 0..self.plan.clients {
            let delay = self.client_stream.below(50);
            self.after(delay, Event::Launch(client));
        }
        if self.plan.faults.disturb_every_ms > 0 {
            self.after(1_000, Event::Disturb);
        }
        self.absorb();
        let busy = |simulation: &Simulation| {
            simulation.launched < simulation.plan.requests
                || simulation.clients.iter().any(|client| client.current.is_some())
        };
        while busy(self) {
            self.next_event()?;
        }
        self.heal()
    }

    fn set_clock(&mut self, host: usize, half_skew: u64) {
        // Often the clocks agree.
        let half_skew = if self.fault.chance(500) { 0 } else { half_skew - self.plan.clock_grain_ms / 2 };
        self.world.hosts[host].wall_offset_ms = self.fault.below(2 * half_skew + 1) as i64 - half_skew as i64;
    }

    fn next_event(&mut self) -> Verdict {
        let Some(Reverse((time_ms, _, event))) = self.heap.pop() else {
            return broken("time goes on", "nothing is left to happen, but something is awaited".into());
        };
        self.world.now_ms = time_ms;
        self.events += 1;
        if self.events > EVENTS_MAX {
            return broken("a run ends", format!("{EVENTS_MAX} events were not enough"));
        }
        self.perform(event)?;
        self.absorb();
        Ok(())
    }

    fn run_until(&mut self, time_ms: u64) -> Verdict {
        while self.heap.peek().is_some_and(|Reverse((at, _, _))| *at <= time_ms) {
            self.next_event()?;
        }
        self.world.now_ms = time_ms;
        Ok(())
    }

    /// The host that an event needs awake.
    fn host_of(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Answer(id) | Event::FromCache(id) | Event::Fail(id, ..) => {
                self.world.flights.get(id).map(|flight| flight.host)
            }
            Event::Tell(id, _) => Some(id.to),
            Event::Client(number) => Some(self.world.attempts[*number].host),
            Event::Wake(host) | Event::HeartbeatBack(host) => Some(*host),
            Event::Land(_)
            | Event::Ghost(_)
            | Event::Launch(_)
            | Event::Retry(..)
            | Event::Impatience(..)
            | Event::Disturb
            | Event::Restart(_)
            | Event::Resume(_) => None,
        }
    }

    fn perform(&mut self, event: Event) -> Verdict {
        if let Some(host) = self.host_of(&event) {
            let until_ms = self.paused_until[host];
            if until_ms > self.world.now_ms {
                self.at(until_ms, event);
                return Ok(());
            }
            if !self.healed && self.fault.chance(1_000) && self.fault.below(10_000) < self.plan.faults.crash {
                self.world.cut = Some(self.fault.below(6) as usize);
            }
        }
        let verdict = self.perform_awake(event);
        self.world.cut = None;
        verdict
    }

    fn perform_awake(&mut self, event: Event) -> Verdict {
        match event {
            Event::Land(id) => self.world.land(id),
            Event::Answer(id) => self.world.answer(id),
            Event::FromCache(id) => {
                if !self.world.answer_from_cache(id)? {
                    self.world.land(id)?;
                    self.world.answer(id)?;
                }
                Ok(())
            }
            Event::Fail(id, no_answer, late_until_ms) => {
                let error = if no_answer { CallError::NoAnswer } else { CallError::Busy };
                self.world.fail(id, error, late_until_ms)
            }
            Event::Ghost(ghost) => {
                if self.world.now_ms <= ghost.until_ms {
                    self.world.land_ghost(&ghost)?;
                }
                self.world.ghosts.remove(&ghost);
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
                if self.world.hosts[host].node.is_none() {
                    self.world.start_node(host);
                    let maintains = self.healed || self.fault.chance(500);
                    self.world.step(host, Input::Maintain(maintains))?;
                }
                Ok(())
            }
            Event::Resume(host) => self.resume(host),
            Event::HeartbeatBack(host) => {
                let maintains = self.fault.chance(500) || self.healed;
                self.world.step(host, Input::HeartbeatBack)?;
                self.world.step(host, Input::Maintain(maintains))
            }
        }
    }

    fn client(&mut self, number: usize) -> Verdict {
        let at_parts = matches!(self.world.attempts[number].progress, Progress::Parts { .. });
        if at_parts && !self.healed && self.client_stream.chance(self.plan.faults.forsake) {
            self.world.strand_part(number);
            return Ok(());
        }
        self.world.client(number)
    }

    /// The process of a host ran again after a pause: if it was long, the first thing it sees is that its heartbeat is lost.
    fn resume(&mut self, host: usize) -> Verdict {
        if self.world.hosts[host].node.is_some() {
            self.world.step(host, Input::HeartbeatLost)?;
            let delay = self.fault.between(1, 1_000);
            self.after(delay, Event::HeartbeatBack(host));
        }
        Ok(())
    }

    fn disturb(&mut self) -> Verdict {
        if self.healed {
            return Ok(());
        }
        let host = self.fault.below(self.plan.hosts as u64) as usize;
        let now_ms = self.world.now_ms;
        match self.fault.below(7) {
            0 => self.set_clock(host, self.plan.settings.skew_max_ms / 2),
            1 => {
                let pause = self.fault.between(1, 2 * self.plan.settings.timeout_max_ms);
                self.paused_until[host] = now_ms + pause;
                self.world.say(|| format!("host {host} stands still for {pause} ms"));
                if pause > LEASE_MS {
                    // Before anything else that waits for the same instant.
                    self.sequence += 1;
                    self.heap.push(Reverse((now_ms + pause, 0, Event::Resume(host))));
                }
            }
            2 => {
                self.world.step(host, Input::HeartbeatLost)?;
                let delay = self.fault.between(1, 3_000);
                self.after(delay, Event::HeartbeatBack(host));
            }
            3 if self.plan.faults.crash > 0 => self.world.crash(host),
            4 if !self.world.requests.is_empty() => {
                let request = self.fault.below(self.world.requests.len() as u64) as usize;
                self.world.look_up(host, request)?;
            }
            _ => {
                let holds = !self.world.hosts[host].maintains;
                if self.paused_until[host] <= now_ms && !self.world.hosts[host].heartbeat_lost {
                    self.world.step(host, Input::Maintain(holds))?;
                }
            }
        }
        Ok(())
    }

    fn launch(&mut self, client: usize) {
        if self.healed || self.launched >= self.plan.requests {
            return;
        }
        self.launched += 1;
        let known = self.world.requests.len() as u64;
        // The same request comes again: soon (a duplicate), or long after.
        let again = known > 0 && self.client_stream.chance(250);
        let request = if again {
            let back = if self.client_stream.chance(700) { known.min(4) } else { known };
            let request = (known - 1 - self.client_stream.below(back)) as usize;
            if self.client_stream.chance(100) {
                // The same request ID for something else: a mistake of the caller.
                let payload = self.world.requests[request].payload + 1;
                let mistaken = Request { payload, ..self.world.requests[request].clone() };
                self.world.requests.push(mistaken);
                self.world.requests.len() - 1
            } else {
                request
            }
        } else {
            let request = self.plan.request(&mut self.client_stream, known as u32);
            self.world.requests.push(request);
            known as usize
        };
        self.attempt(client, request, 0);
    }

    fn attempt(&mut self, client: usize, request: usize, tries: u32) {
        let session =
            if self.client_stream.chance(800) { self.clients[client].session.clone() } else { Vec::new() };
        let host = self.client_stream.below(self.plan.hosts as u64) as usize;
        let number = self.world.new_attempt(request, host, session);
        self.owner.push(Some(client));
        self.clients[client].current = Some((number, tries));
        let delay = self.client_stream.below(self.plan.delay_max_ms + 1);
        self.after(delay, Event::Client(number));
        let patience = if self.client_stream.chance(self.plan.faults.forsake) {
            self.client_stream.between(1, 500)
        } else {
            2 * self.plan.settings.timeout_max_ms
        };
        self.after(patience, Event::Impatience(client, number));
    }

    /// The client gives up on an attempt; it goes on as a zombie, or falls silent.
    fn forsake(&mut self, client: usize, number: usize) {
        let Some((current, tries)) = self.clients[client].current else { return };
        if current != number || self.world.attempts[number].ended().is_some() {
            return;
        }
        self.owner[number] = None;
        self.world.say(|| format!("attempt {number} is given up on"));
        if self.client_stream.chance(300)
            && matches!(self.world.attempts[number].progress, Progress::Ready | Progress::Unbegun)
        {
            self.world.end(number, Ended::NodeDied);
        }
        self.clients[client].current = None;
        self.go_on(client, self.world.attempts[number].request, tries);
    }

    fn go_on(&mut self, client: usize, request: usize, tries: u32) {
        let retry = !self.healed && tries < RETRIES_MAX;
        if retry {
            let delay = self.client_stream.below(200);
            self.clients[client].current = Some((usize::MAX, tries)); // busy until the retry begins
            self.after(delay, Event::Retry(client, request, tries + 1));
        } else {
            let think = self.client_stream.below(self.plan.think_max_ms + 1);
            self.after(think, Event::Launch(client));
        }
    }

    fn ended(&mut self, number: usize) {
        let Some(client) = self.owner.get_mut(number).and_then(Option::take) else { return };
        let Some((current, tries)) = self.clients[client].current else { return };
        if current != number {
            return;
        }
        self.clients[client].current = None;
        let attempt = &self.world.attempts[number];
        let request = attempt.request;
        // An unnamed request is run again only if it surely did not commit.
        let unsafe_to_repeat = !self.world.requests[request].named && attempt.commit_sent;
        let again = match attempt.ended().expect("it ended") {
            Ended::Committed(_) | Ended::Replayed(_) => {
                if !attempt.session_after.is_empty() {
                    self.clients[client].session = attempt.session_after.clone();
                }
                false
            }
            Ended::Aborted => false,
            Ended::NodeDied => !unsafe_to_repeat,
            Ended::Refused(refusal) => match refusal {
                Refusal::KeyReused
                | Refusal::ResultGone
                | Refusal::TooLarge(_)
                | Refusal::Invalid(_)
                | Refusal::Damaged(_) => false,
                Refusal::Unknown(_) | Refusal::Ended => !unsafe_to_repeat,
                Refusal::SnapshotGone(_)
                | Refusal::Overloaded(_)
                | Refusal::Lost
                | Refusal::StoreUnavailable(_)
                | Refusal::InProgress { .. }
                | Refusal::NotFound
                | Refusal::NotServing => true,
            },
        };
        let tries = if again { tries } else { RETRIES_MAX };
        self.go_on(client, request, tries);
    }

    /// Gives everything new its time.
    fn absorb(&mut self) {
        loop {
            let fresh = std::mem::take(&mut self.world.fresh);
            if fresh.is_empty() {
                break;
            }
            for item in fresh {
                match item {
                    Fresh::Flight(id) => self.plan_flight(id),
                    Fresh::Tell(id) => self.plan_tell(id),
                    Fresh::Ghost(ghost) => self.plan_ghost(ghost),
                    Fresh::Client(number) if self.world.attempts[number].ended().is_some() => {
                        self.ended(number)
                    }
                    Fresh::Client(number) => {
                        let delay = self.client_stream.below(self.plan.delay_max_ms + 1);
                        let slow = self.client_stream.chance(20) && !self.healed;
                        let delay = if slow { self.client_stream.below(3_000) } else { delay };
                        self.after(delay, Event::Client(number));
                    }
                }
            }
        }
        for host in 0..self.plan.hosts {
            if self.world.hosts[host].node.is_none() {
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
    }

    fn plan_flight(&mut self, id: FlightId) {
        let Some(flight) = self.world.flights.get(&id) else { return };
        let (write, fetch) = (is_write(&flight.call), matches!(flight.call, Call::Fetch { .. }));
        let delay_max = if self.healed { 1 } else { self.plan.delay_max_ms };
        let there = self.net.below(delay_max + 1);
        let back = self.net.below(delay_max + 1);
        let timeout = self.plan.call_timeout_ms;
        let faults = &self.plan.faults;
        if !self.healed && self.net.chance(faults.busy) {
            return self.after(there + back, Event::Fail(id, false, None));
        }
        if !self.healed && self.net.chance(faults.no_answer) {
            let grace = self.plan.settings.grace_ms;
            let fate = self.net.below(3);
            if fate == 0 {
                let lands = self.net.below(timeout);
                self.after(lands, Event::Land(id));
            }
            let late = (fate == 1 && write && grace > timeout).then(|| self.world.now_ms + grace);
            return self.after(timeout, Event::Fail(id, true, late));
        }
        if fetch && self.net.chance(faults.cached) {
            return self.after(there, Event::FromCache(id));
        }
        // Now and then a call takes nearly as long as it may.
        let slow = !self.healed && self.net.chance(20);
        let there = if slow { self.net.below(timeout) } else { there };
        self.after(there, Event::Land(id));
        self.after(there + back, Event::Answer(id));
    }

    fn plan_tell(&mut self, id: TellId) {
        let faults = self.plan.faults.clone();
        if !self.healed && self.net.chance(faults.tell_lost) {
            self.world.tells.remove(&id);
            return;
        }
        let mut delay = self.net.below(self.plan.delay_max_ms + 1);
        if !self.healed && self.net.chance(faults.tell_late) {
            delay += self.net.below(20_000);
        }
        let twice = !self.healed && self.net.chance(faults.tell_twice);
        self.after(delay, Event::Tell(id, twice));
        if twice {
            let second = delay + self.net.below(10_000);
            self.after(second, Event::Tell(id, false));
        }
    }

    fn plan_ghost(&mut self, ghost: Ghost) {
        let span = ghost.until_ms.saturating_sub(self.world.now_ms);
        if span == 0 || self.net.chance(400) {
            self.world.ghosts.remove(&ghost); // it never lands
            return;
        }
        // Often at the last moment: that is where relations between times are tested.
        let delay = if self.net.chance(300) { span } else { self.net.below(span + 1) };
        self.after(delay, Event::Ghost(ghost));
    }

    fn heal(&mut self) -> Verdict {
        self.healed = true;
        self.world.say(|| "healing".into());
        let settings = self.plan.settings.clone();
        let latest_pause = self.paused_until.iter().copied().max().unwrap_or(0);
        let calm_ms = latest_pause.max(self.world.now_ms) + 4_000;
        self.run_until(calm_ms)?;
        for host in 0..self.plan.hosts {
            if self.world.hosts[host].heartbeat_lost {
                self.world.step(host, Input::HeartbeatBack)?;
            }
            // Two maintainers must be harmless, now too.
            let maintains = host == 0 || self.fault.chance(500);
            self.world.step(host, Input::Maintain(maintains))?;
        }
        self.absorb();
        let passes_ms = 20 * settings.maintenance_interval_ms;
        let bound_ms =
            2 * settings.timeout_max_ms + settings.grace_ms + settings.slack_ms + settings.skew_max_ms;
        let bound_ms = bound_ms + settings.recheck_after_ms + passes_ms + settings.store_patience_ms;
        self.run_until(self.world.now_ms + bound_ms)?;
        demand_ended(&self.world)?;
        self.demand_readable()?;
        let long_ms = settings.retention_max_ms + 4 * settings.tombstone_age_ms + 3 * 60_000 + 10 * passes_ms;
        self.run_until(self.world.now_ms + long_ms)?;
        demand_clean(&self.world)?;
        self.demand_readable()?;
        judge_history(&self.world)?;
        self.world.say(|| "all demands are met".into());
        Ok(())
    }

    /// Fresh transactions on every host read all keys at once, each alone, and by a listing.
    fn demand_readable(&mut self) -> Verdict {
        let keys = self.plan.keys.clone();
        let mut programs = vec![vec![Step::Run(keys.iter().cloned().map(Action::Get).collect())]];
        programs.extend(keys.iter().map(|key| vec![Step::Run(vec![Action::Get(key.clone())])]));
        programs.push(vec![Step::List { prefix: String::new(), limit: 100 }]);
        for host in 0..self.plan.hosts {
            for program in &programs {
                self.read(host, program)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, host: usize, program: &[Step]) -> Verdict {
        let mut program = program.to_vec();
        program.push(Step::Commit);
        let id = u32::MAX;
        self.world.requests.push(Request { named: false, ..Request::new(id, program) });
        let request = self.world.requests.len() - 1;
        for _ in 0..READ_TRIES_MAX {
            let number = self.world.new_attempt(request, host, Vec::new());
            self.owner.push(None);
            self.after(0, Event::Client(number));
            let until_ms = self.world.now_ms + 2 * self.plan.settings.timeout_max_ms;
            while self.world.attempts[number].ended().is_none() && self.world.now_ms < until_ms {
                self.next_event()?;
            }
            match self.world.attempts[number].ended() {
                Some(Ended::Committed(_)) => {
                    let reader = self.world.attempts[number].clone();
                    return demand_newest(&self.world, &reader);
                }
                Some(Ended::Refused(Refusal::SnapshotGone(_))) => {
                    let pause = self.plan.settings.recheck_after_ms / 2;
                    self.run_until(self.world.now_ms + pause)?;
                }
                ended => {
                    return broken("P7: after healing, every node reads", format!("host {host}: {ended:?}"));
                }
            }
        }
        broken(
            "section 5: no endless SnapshotGone for fresh transactions",
            format!("on host {host}: {:?}", self.world.requests[request].program),
        )
    }

    fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = self.world.tally();
        counts.extend(self.world.notes.iter().map(|(name, count)| (*name, *count)));
        counts.insert("events", self.events);
        counts.insert("virtual seconds", (self.world.now_ms - BEGIN_MS) / 1_000);
        counts
    }
}
