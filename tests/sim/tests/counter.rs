//! Goal: the parts of this crate find planted bugs when a driver puts them together, by seeds and
//! by search, and shrink what they find. This is also the smallest example of a driver.
//!
//! Method: a toy. Each node of a counter has a count of its own, writes it to its own disk, then
//! acknowledges the add and sends the count to the others, which keep the maximum. One planted bug
//! counts messages instead, so doubled ones break it; the other acknowledges before the disk has
//! the count, so a crash breaks it.

use std::hash::{Hash, Hasher};

use aft_sim::calendar::Calendar;
use aft_sim::clocks::HostClocks;
use aft_sim::fate::{CallFaults, Fate, draw_fate, draw_late};
use aft_sim::flights::{Calls, FlightId, Flights, Late, Life};
use aft_sim::net::{MessageFaults, MessageId, Net, draw_arrivals};
use aft_sim::process::Process;
use aft_sim::random::Random;
use aft_sim::run::{Counts, Simulate, simulate};
use aft_sim::search::{Explored, Search, explore};
use aft_sim::shrink::{Shrink, shrink};
use aft_sim::trace::Trace;
use aft_sim::verdict::{Verdict, broken};

const HOSTS: usize = 3;
/// The time for which a write may land late.
const GRACE_MS: u64 = 500;
const TOO_HIGH: &str = "no count is higher than the adds";
const LOST: &str = "an acknowledged add is counted";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Bug {
    CountsMessages,
    AcknowledgesEarly,
}

/// Calls to the disks: a write of a node's count to its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Disk;

impl Calls for Disk {
    type Call = (usize, u64);
    type Answer = ();
    type Error = &'static str;

    fn is_write(_: &(usize, u64)) -> bool {
        true
    }
}

/// A node: the counts of all, as far as it knows.
#[derive(Debug, Clone, Hash)]
struct Node {
    life: Life,
    counts: [u64; HOSTS],
    /// The number of calls and messages that it made.
    made: u64,
}

/// New things, to which a scheduler gives a time.
#[derive(Debug, Clone)]
enum Fresh {
    Flight(FlightId),
    Message(MessageId),
    Late(Late<Disk>),
}

#[derive(Debug, Clone)]
struct World {
    now_ms: u64,
    nodes: Vec<Process<Node>>,
    disks: [u64; HOSTS],
    flights: Flights<Disk>,
    net: Net<(usize, u64)>,
    /// The adds at each node that were made, and those that were acknowledged.
    made: [u64; HOSTS],
    acknowledged: [u64; HOSTS],
    lives: u64,
    bug: Option<Bug>,
    /// Not part of the state, like the trace.
    fresh: Vec<Fresh>,
    trace: Option<Trace>,
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.nodes, &self.disks, &self.flights, &self.net).hash(state);
        (&self.made, &self.acknowledged, self.lives, self.now_ms).hash(state);
    }
}

impl World {
    fn new(bug: Option<Bug>) -> World {
        let mut world = World {
            now_ms: 0,
            nodes: vec![Process::new(HostClocks::new(0)); HOSTS],
            disks: [0; HOSTS],
            flights: Flights::default(),
            net: Net::default(),
            made: [0; HOSTS],
            acknowledged: [0; HOSTS],
            lives: 0,
            bug,
            fresh: Vec::new(),
            trace: None,
        };
        (0..HOSTS).for_each(|host| world.start(host));
        world
    }

    fn say(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            trace.say(self.now_ms, &line());
        }
    }

    fn start(&mut self, host: usize) {
        self.lives += 1;
        let mut counts = [0; HOSTS];
        counts[host] = self.disks[host];
        self.nodes[host].start(Node { life: Life(self.lives), counts, made: 0 });
    }

    fn node(&mut self, host: usize) -> &mut Node {
        self.nodes[host].machine_mut().expect("a crashed node starts again at once")
    }

    /// Adds one at a node.
    fn add(&mut self, host: usize) {
        self.say(|| format!("add at {host}"));
        self.made[host] += 1;
        let node = self.node(host);
        node.counts[host] += 1;
        let count = node.counts[host];
        self.write(host, count);
        if self.bug == Some(Bug::AcknowledgesEarly) {
            self.acknowledge(host, count);
        }
    }

    fn write(&mut self, host: usize, count: u64) {
        let now_ms = self.now_ms;
        let node = self.node(host);
        node.made += 1;
        let id = FlightId { life: node.life, call: node.made };
        self.flights.fly(id, host, (host, count), vec![(host, count)], now_ms, now_ms);
        self.fresh.push(Fresh::Flight(id));
    }

    /// Acknowledges an add, and sends the count to the other nodes.
    fn acknowledge(&mut self, host: usize, count: u64) {
        self.say(|| format!("{host} acknowledges {count}"));
        self.acknowledged[host] += 1;
        let node = self.node(host);
        node.made += 1;
        let (from, sequence) = (node.life, node.made);
        for to in (0..HOSTS).filter(|to| *to != host) {
            let id = MessageId { from, sequence, to };
            self.net.send(id, (host, count));
            self.fresh.push(Fresh::Message(id));
        }
    }

    fn land(&mut self, id: FlightId) {
        let Some(call) = self.flights.to_land(id, 0).copied() else { return };
        self.say(|| format!("{id} lands"));
        self.store(call);
        self.flights.landed(id, 0, (), None);
    }

    fn store(&mut self, (host, count): (usize, u64)) {
        // The maximum, so that an older write that lands late does no harm.
        self.disks[host] = self.disks[host].max(count);
    }

    fn answer(&mut self, id: FlightId) {
        let Some(flight) = self.flights.remove(id) else { return };
        match flight.outcomes()[0] {
            Ok(()) if self.bug == Some(Bug::AcknowledgesEarly) => {}
            Ok(()) => self.acknowledge(flight.host, flight.call.1),
            Err(_) => self.write(flight.host, flight.call.1),
        }
    }

    fn arrive(&mut self, id: MessageId, keep: bool) -> Verdict {
        let Some((from, count)) = self.net.arrive(id, keep) else { return Ok(()) };
        self.say(|| format!("{} hears that {from} has {count}", id.to));
        let bug = self.bug;
        let known = &mut self.node(id.to).counts[from];
        *known = if bug == Some(Bug::CountsMessages) { *known + 1 } else { count.max(*known) };
        let (known, made) = (*known, self.made[from]);
        if known > made { broken(TOO_HIGH, format!("{known} of {made} at {}", id.to)) } else { Ok(()) }
    }

    fn crash(&mut self, host: usize) {
        self.say(|| format!("{host} crashes"));
        let node = self.nodes[host].end().expect("a crashed node starts again at once");
        let late = self.flights.abandon(node.life, GRACE_MS);
        self.fresh.extend(late.into_iter().map(Fresh::Late));
        self.start(host);
    }

    /// Lets all writes land, shows every node what the others have, and makes the demands.
    fn heal(&mut self) -> Verdict {
        self.flights.lose_all_late();
        while let Some(id) = self.flights.first() {
            self.land(id);
            self.answer(id);
        }
        self.net.lose_all();
        for (host, acknowledged) in self.acknowledged.iter().enumerate() {
            let counts = self.nodes.iter().map(|node| node.machine().expect("it runs").counts[host]);
            let best = counts.max().expect("there are nodes");
            if best < *acknowledged {
                return broken(LOST, format!("{best} of {acknowledged} at {host}"));
            }
        }
        Ok(())
    }
}

/// The plan of a seed: numbers of adds, and chances of faults per thousand.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plan {
    bug: Option<Bug>,
    adds: u64,
    crash: u64,
    lost: u64,
    twice: u64,
    no_answer: u64,
}

impl Plan {
    fn parts(&mut self) -> [(&'static str, &mut u64); 4] {
        let Plan { crash, lost, twice, no_answer, .. } = self;
        [("crash", crash), ("lost", lost), ("twice", twice), ("no_answer", no_answer)]
    }
}

impl Shrink for Plan {
    fn changes(&self) -> Vec<String> {
        let fewer = [self.adds / 2, self.adds - 1].into_iter().filter(|adds| *adds > 0);
        let mut copy = self.clone();
        let faults = copy.parts().into_iter().filter(|(_, chance)| **chance > 0).map(|(name, _)| name);
        fewer.map(|adds| format!("adds={adds}")).chain(faults.map(|name| format!("{name}=0"))).collect()
    }

    fn change(&mut self, change: &str) -> Result<(), String> {
        let (name, value) = change.split_once('=').ok_or("no value")?;
        let value = value.parse().map_err(|_| "no number")?;
        if name == "adds" {
            self.adds = value;
            return Ok(());
        }
        let part = self.parts().into_iter().find(|(known, _)| *known == name);
        *part.ok_or("no such part")?.1 = value;
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Add(usize),
    Land(FlightId),
    Fail(FlightId, Option<u64>),
    Answer(FlightId),
    Late(Late<Disk>),
    Arrive(MessageId, bool),
    Crash(usize),
}

/// The driver of seeds.
#[derive(Debug)]
struct Counter;

impl Simulate for Counter {
    type Plan = Plan;
    type Options = Option<Bug>;

    const COMMAND: &'static str = "counter";
    const ARGUMENTS: &'static str = "none of its own";

    fn draw(random: &Random, bug: &Option<Bug>) -> Plan {
        let mut random = random.branch("plan");
        let adds = random.between(5, 40);
        let mut chance = || *random.pick(&[0, 100, 300]);
        Plan { bug: *bug, adds, crash: chance(), lost: chance(), twice: chance(), no_answer: chance() }
    }

    fn run(plan: Plan, random: &Random, trace: Option<Trace>) -> (Verdict, Counts) {
        let mut world = World { trace, ..World::new(plan.bug) };
        let verdict = run(&plan, &mut world, random);
        (verdict, Counts::from([("adds", world.made.iter().sum())]))
    }

    fn argument(_: &mut Option<Bug>, _: &str, _: &mut dyn FnMut() -> Option<String>) -> Result<bool, String> {
        Ok(false)
    }
}

fn run(plan: &Plan, world: &mut World, random: &Random) -> Verdict {
    let (mut clients, mut net, mut faults) =
        (random.branch("clients"), random.branch("net"), random.branch("faults"));
    let calls = CallFaults { no_answer: plan.no_answer, slow: 50, timeout_ms: 100, delay_max_ms: 20 };
    let messages = MessageFaults { lost: plan.lost, twice: plan.twice, late: 100, late_max_ms: 200 };
    let mut calendar = Calendar::new();
    for number in 0..plan.adds {
        let host = clients.below(HOSTS as u64) as usize;
        calendar.at(0, 50 * number, Event::Add(host));
        if faults.chance(plan.crash) {
            calendar.at(0, 50 * number + faults.below(20), Event::Crash(host));
        }
    }
    while calendar.next_ms().is_some() {
        let (now_ms, event) = calendar.next_event()?;
        world.now_ms = now_ms;
        match event {
            Event::Add(host) => world.add(host),
            Event::Land(id) => world.land(id),
            Event::Fail(id, late_until_ms) if world.flights.to_fail(id, 0).is_some() => {
                let late = world.flights.fail(id, 0, "no answer", late_until_ms);
                world.fresh.extend(late.map(Fresh::Late));
            }
            Event::Fail(..) => {}
            Event::Answer(id) => world.answer(id),
            Event::Late(late) => {
                if world.flights.take_late(&late, now_ms) {
                    world.store(late.call);
                }
            }
            Event::Arrive(id, keep) => world.arrive(id, keep)?,
            Event::Crash(host) => world.crash(host),
        }
        for fresh in std::mem::take(&mut world.fresh) {
            match fresh {
                Fresh::Flight(id) => match draw_fate(&mut net, &calls, false, |_| None::<()>) {
                    Fate::Lands { after_ms } => {
                        calendar.at(now_ms, now_ms + after_ms, Event::Land(id));
                        calendar.at(now_ms, now_ms + after_ms, Event::Answer(id));
                    }
                    Fate::NoAnswer { lands_after_ms, may_be_late } => {
                        let lands = lands_after_ms.map(|after_ms| now_ms + after_ms);
                        lands.into_iter().for_each(|at| calendar.at(now_ms, at, Event::Land(id)));
                        let timeout_ms = now_ms + calls.timeout_ms;
                        let late_until_ms = may_be_late.then_some(now_ms + GRACE_MS);
                        calendar.at(now_ms, timeout_ms, Event::Fail(id, late_until_ms));
                        calendar.at(now_ms, timeout_ms, Event::Answer(id));
                    }
                    Fate::Fails { .. } => unreachable!("this disk reports no errors"),
                },
                Fresh::Message(id) => {
                    let arrivals = draw_arrivals(&mut net, &messages, 20);
                    for (place, delay) in arrivals.iter().enumerate() {
                        let again = place + 1 < arrivals.len();
                        calendar.at(now_ms, now_ms + delay, Event::Arrive(id, again));
                    }
                }
                Fresh::Late(late) => {
                    if let Some(delay) = draw_late(&mut net, late.until_ms - now_ms) {
                        calendar.at(now_ms, now_ms + delay, Event::Late(late));
                    }
                }
            }
        }
    }
    world.heal()
}

/// A state of the search: the world, the adds that are left, and the faults that may still happen.
#[derive(Debug, Clone, Hash)]
struct Small {
    world: World,
    adds: u8,
    crashes: u8,
    twice: u8,
}

#[derive(Debug, Clone)]
enum Step {
    Complete(FlightId),
    Arrive(MessageId, bool),
    Add(usize),
    Crash(usize),
}

impl Search for Small {
    type Step = Step;

    fn steps(&self) -> Vec<Step> {
        let complete = self.world.flights.iter().map(|(id, _)| Step::Complete(id));
        let arrive = self.world.net.ids().map(|id| Step::Arrive(id, false));
        let mut steps: Vec<Step> = complete.chain(arrive).collect();
        steps.extend((0..2).filter(|_| self.adds > 0).map(Step::Add));
        steps.extend(self.world.net.ids().filter(|_| self.twice > 0).map(|id| Step::Arrive(id, true)));
        steps.extend((0..HOSTS).filter(|_| self.crashes > 0).map(Step::Crash));
        steps
    }

    fn take(&mut self, step: &Step) -> Verdict {
        match step {
            Step::Complete(id) => {
                self.world.land(*id);
                self.world.answer(*id);
            }
            Step::Arrive(id, keep) => {
                self.twice -= u8::from(*keep);
                self.world.arrive(*id, *keep)?;
            }
            Step::Add(host) => {
                self.adds -= 1;
                self.world.add(*host);
            }
            Step::Crash(host) => {
                self.crashes -= 1;
                self.world.crash(*host);
            }
        }
        self.world.flights.lose_all_late();
        self.world.fresh.clear();
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.adds == 0 && self.world.flights.is_empty()
    }

    fn heal(&mut self) -> Verdict {
        self.world.heal()
    }

    fn keep_story(&mut self, trace: Trace) {
        self.world.trace = Some(trace);
    }
}

fn search(bug: Option<Bug>) -> Explored {
    explore(&Small { world: World::new(bug), adds: 2, crashes: 1, twice: 1 }, 20_000)
}

#[test]
fn the_counter_without_a_bug_keeps_its_promises() {
    for seed in 1..=200 {
        let outcome = simulate::<Counter>(seed, &None, false);
        assert_eq!(outcome.violation, None, "seed {seed}");
    }
    let explored = search(None);
    assert!(explored.found.is_none() && explored.whole, "{explored:?}");
}

/// Shrinks the first seed that finds a bug, and expects that it broke `rule` and that one add or
/// two, and the fault `needed` alone, are left.
fn check_seeds(bug: Bug, rule: &str, needed: &str) {
    let found =
        (1..=200).find_map(|seed| Some((seed, simulate::<Counter>(seed, &Some(bug), false).violation?)));
    let (seed, violation) = found.expect("a seed finds the bug");
    assert_eq!(violation.rule, rule);
    let plan = Counter::draw(&Random::new(seed), &Some(bug));
    let shrunk = shrink::<Counter>(seed, &plan, &violation, 200);
    let mut smallest = plan;
    shrunk.changes.iter().for_each(|change| smallest.change(change).expect("it was kept"));
    let faults = smallest.parts().into_iter().filter(|(_, chance)| **chance > 0);
    assert_eq!(faults.map(|(name, _)| name).collect::<Vec<_>>(), [needed], "{shrunk:?}");
    assert!(smallest.adds < 10, "{shrunk:?}");
    assert!(!shrunk.outcome.trace.is_empty());
}

/// Expects that a search breaks `rule` within a few steps.
fn check_search(bug: Bug, rule: &str) {
    let found = search(Some(bug)).found.expect("the search finds the bug");
    assert_eq!(found.violation.rule, rule);
    assert!(found.steps < 10, "{found:#?}");
}

#[test]
fn counting_messages_breaks_when_one_is_doubled() {
    check_seeds(Bug::CountsMessages, TOO_HIGH, "twice");
    check_search(Bug::CountsMessages, TOO_HIGH);
}

#[test]
fn acknowledging_before_the_disk_has_the_count_breaks_by_a_crash() {
    check_seeds(Bug::AcknowledgesEarly, LOST, "crash");
    check_search(Bug::AcknowledgesEarly, LOST);
}
