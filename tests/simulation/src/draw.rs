//! The plan of a seed: settings, workload, clocks and faults, drawn so that rare paths are common.
//!
//! Times are those of a real deployment divided by about a thousand, in the same relations, so that
//! collecting happens many times within a run of a few virtual minutes. Bounds are small enough to
//! be reached; in some of the seeds most bounded memories hold from one to five things.

use aft_core::bug::Bug;
use aft_core::ids::{Key, Session};
use aft_core::message::Isolation;
use aft_core::settings::{Levels, Settings};
use aft_sim::random::Random;
use aft_sim::shrink::Shrink;

use crate::hosts::Role;
use crate::model::Abilities;
use crate::script::{Action, Guard, Request, Step};
use crate::store_clock::StoreClock;

/// The settings and surroundings of one simulation.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The settings of every node.
    pub settings: Settings,
    /// The role of each host.
    pub roles: Vec<Role>,
    /// The store's abilities.
    pub abilities: Abilities,
    /// The step in which wall clocks advance, in milliseconds.
    pub clock_grain_ms: u64,
    /// The keys.
    pub keys: Vec<Key>,
    /// The number of clients. Each has one request at a time.
    pub clients: usize,
    /// The number of requests that are begun in all.
    pub requests: u64,
    /// The longest pause of a client between requests.
    pub think_max_ms: u64,
    /// The longest usual delay of a call, in one direction.
    pub delay_max_ms: u64,
    /// The timeout of a call.
    pub call_timeout_ms: u64,
    /// The time for which a sweeper sweeps in one turn.
    pub sweep_for_ms: u64,
    /// The time from one turn of a sweeper to the next.
    pub sweep_every_ms: u64,
    /// The chance that a request's client is slow (`Request::dwell_max_ms`), per thousand.
    pub dwell: u64,
    /// The chance that a request begins fresh, per thousand.
    pub fresh: u64,
    /// The chance that a request is serializable, per thousand.
    pub checked: u64,
    /// The chance that a serializable request has conditions or sums, per thousand.
    pub conditional: u64,
    /// The clocks.
    pub clocks: ClockPlan,
    /// The faults.
    pub faults: Faults,
}

/// The plan of the store's clock and the hosts' clocks.
#[derive(Debug, Clone)]
pub struct ClockPlan {
    /// The store's clock at the start.
    pub store: StoreClock,
    /// The largest distance of its offset from the one at the start.
    pub store_steps_ms: u64,
    /// The largest error of a host's wall clock, in either direction.
    pub wall_max_ms: u64,
    /// The largest drift of a monotonic clock, in either direction, in parts per million.
    pub drift_max_ppm: u64,
    /// The longest pause that no clock shows, of a host with writes in flight.
    pub unseen_max_ms: u64,
}

/// The chance of each fault, per thousand unless a field says otherwise.
#[derive(Debug, Clone)]
pub struct Faults {
    /// A part of a call gets no answer.
    pub no_answer: u64,
    /// The store is too busy for a part of a call.
    pub busy: u64,
    /// The store refuses a part of a call for good.
    pub refused: u64,
    /// The answer to a read is damaged in transit.
    pub damaged: u64,
    /// A disturbance damages something in the store, until it is repaired.
    pub spoil: u64,
    /// A call waits in the driver's queue before it is sent.
    pub queued: u64,
    /// A part of a call takes nearly as long as its timeout.
    pub slow: u64,
    /// A crash cuts a step short: the chance per hundred thousand. Above 0, disturbances crash
    /// hosts too.
    pub crash: u64,
    /// A guest vanishes, instead of freezing, when its attempt has ended.
    pub vanish: u64,
    /// A tell is lost.
    pub tell_lost: u64,
    /// A tell comes twice.
    pub tell_twice: u64,
    /// A tell comes late.
    pub tell_late: u64,
    /// A client stops waiting for an attempt early and starts another, or dies while it stores a
    /// blob.
    pub forsake: u64,
    /// The longest time between disturbances (pauses, clock steps, damage, drains, sweeps that
    /// stop), in milliseconds; 0 for none.
    pub disturb_every_ms: u64,
    /// A fetch is answered from the value cache, if the version is there.
    pub cached: u64,
}

/// A part of a plan that is a number: its name, its place, and its smallest value.
type Part = (&'static str, fn(&mut Plan) -> &mut u64, u64);

/// The parts of a plan that shrinking sets to their smallest values. Most are faults; what is rare
/// comes first.
const PARTS: &[Part] = &[
    ("faults.disturb_every_ms", |plan| &mut plan.faults.disturb_every_ms, 0),
    ("faults.crash", |plan| &mut plan.faults.crash, 0),
    ("faults.spoil", |plan| &mut plan.faults.spoil, 0),
    ("faults.no_answer", |plan| &mut plan.faults.no_answer, 0),
    ("faults.busy", |plan| &mut plan.faults.busy, 0),
    ("faults.refused", |plan| &mut plan.faults.refused, 0),
    ("faults.damaged", |plan| &mut plan.faults.damaged, 0),
    ("faults.queued", |plan| &mut plan.faults.queued, 0),
    ("faults.slow", |plan| &mut plan.faults.slow, 0),
    ("faults.vanish", |plan| &mut plan.faults.vanish, 0),
    ("faults.tell_lost", |plan| &mut plan.faults.tell_lost, 0),
    ("faults.tell_twice", |plan| &mut plan.faults.tell_twice, 0),
    ("faults.tell_late", |plan| &mut plan.faults.tell_late, 0),
    ("faults.forsake", |plan| &mut plan.faults.forsake, 0),
    ("faults.cached", |plan| &mut plan.faults.cached, 0),
    ("clocks.store_steps_ms", |plan| &mut plan.clocks.store_steps_ms, 0),
    ("clocks.wall_max_ms", |plan| &mut plan.clocks.wall_max_ms, 0),
    ("clocks.drift_max_ppm", |plan| &mut plan.clocks.drift_max_ppm, 0),
    ("clocks.unseen_max_ms", |plan| &mut plan.clocks.unseen_max_ms, 0),
    ("clock_grain_ms", |plan| &mut plan.clock_grain_ms, 1),
    ("think_max_ms", |plan| &mut plan.think_max_ms, 1),
    ("delay_max_ms", |plan| &mut plan.delay_max_ms, 1),
    ("dwell", |plan| &mut plan.dwell, 0),
    ("fresh", |plan| &mut plan.fresh, 0),
    ("checked", |plan| &mut plan.checked, 0),
    ("conditional", |plan| &mut plan.conditional, 0),
];

impl Shrink for Plan {
    fn changes(&self) -> Vec<String> {
        let mut changes = Vec::new();
        // Fewer requests make every later run shorter.
        let requests = self.requests;
        changes.extend([requests / 2, requests * 3 / 4].map(|fewer| format!("requests={}", fewer.max(1))));
        changes.extend((1..self.roles.len()).map(|hosts| format!("hosts={hosts}")));
        changes.push("clients=1".to_owned());
        let mut copy = self.clone();
        for (name, part, least) in PARTS {
            if *part(&mut copy) > *least {
                changes.push(format!("{name}={least}"));
            }
        }
        changes.push(format!("requests={}", requests.saturating_sub(1).max(1)));
        let present = [format!("requests={requests}"), format!("clients={}", self.clients)];
        changes.retain(|change| !present.contains(change));
        changes
    }

    fn change(&mut self, change: &str) -> Result<(), String> {
        let wrong = || {
            format!(
                "--set {change:?}: not NAME=VALUE, or no part of a plan has this name or takes this value; \
                 PARTS in tests/simulation/src/draw.rs lists the parts, beside requests, clients and hosts"
            )
        };
        let (name, value) = change.split_once('=').ok_or_else(wrong)?;
        let value: u64 = value.parse().map_err(|_| wrong())?;
        match name {
            "requests" if value >= 1 => self.requests = value,
            "clients" if value >= 1 => self.clients = usize::try_from(value).map_err(|_| wrong())?,
            "hosts" if (1..=self.roles.len() as u64).contains(&value) => self.roles.truncate(value as usize),
            name => {
                let part = PARTS.iter().find(|(known, _, least)| *known == name && value >= *least);
                let (_, part, _) = part.ok_or_else(wrong)?;
                *part(self) = value;
            }
        }
        Ok(())
    }
}

/// Returns settings with scaled-down times and bounds. The small worlds use them unchanged, and
/// seeds vary them.
pub fn small_settings(exclusive: bool) -> Settings {
    let grace_ms = if exclusive { 0 } else { 1_000 };
    let mut settings = Settings::new(exclusive, grace_ms, true);
    settings.timeout_default_ms = 3_000;
    settings.timeout_max_ms = 4_000;
    settings.recheck_after_ms = 1_000;
    settings.skew_max_ms = 500;
    settings.put_limit_ms = 1_000;
    settings.retention_max_ms = settings.retention_min_ms() + 3_000;
    settings.retention_default_ms = settings.retention_max_ms;
    settings.commit_wait_max_ms = 50;
    settings.sweep_interval_ms = 3_000;
    settings.look_at_all_ms = 10_000;
    settings.store_patience_ms = 1_000;
    settings.commit_patience_ms = 2_000;
    settings.retry_min_ms = 10;
    settings.retry_max_ms = 100;
    settings.run_scripts_twice = true;
    settings
}

/// Draws a bound: `roomy`, or, in most cases of a `narrow` world, from 1 to 5.
fn bound<T: Copy + TryFrom<u64>>(random: &mut Random, narrow: bool, roomy: T) -> T {
    if !narrow || random.chance(300) {
        return roomy;
    }
    T::try_from(random.between(1, 5)).unwrap_or(roomy)
}

impl Plan {
    /// Draws the plan of a seed.
    pub fn draw(random: &Random, bug: Option<Bug>) -> Plan {
        // Most groups of draws have a branch of their own, so that a change in one does not shift
        // the others.
        let calm = random.branch("calm").chance(200);
        let roles = draw_roles(&mut random.branch("roles"));
        let exclusive = roles.len() == 1 && random.branch("exclusive").chance(600);
        let coarse = random.branch("coarse").chance(200);
        let scan_heads = random.branch("heads").chance(700);
        let mut random = random.branch("plan");
        let delay_max_ms = *random.pick(&[1, 5, 50]);
        let mut settings = draw_settings(&mut random, exclusive, coarse, delay_max_ms);
        settings.bug = bug;
        let abilities = Abilities {
            delete_if: settings.delete_if,
            scan_bodies: random.chance(300),
            scan_heads,
            // The clock of an exclusive store may be set back, so it does not report such times.
            scan_written: random.chance(500) && !exclusive,
            commit_at_once: exclusive || random.chance(100),
        };
        let keys = random.between(2, 5);
        let clocks = draw_clocks(&mut random.branch("clocks"), &settings, coarse, calm);
        let sweep_for_ms = *random.pick(&[300, 1_000]);
        let mut checks = random.branch("checks");
        let conditional = *random.branch("conditions").pick(&[0, 300, 800]);
        if !exclusive {
            settings.levels = draw_levels(&mut random.branch("levels"));
        }
        settings.break_after_ms = *random.branch("breaks").pick(&[0, 50, 500]);
        Plan {
            roles,
            abilities,
            clock_grain_ms: *random.pick(&[1, 1, 16]),
            keys: (0..keys).map(|number| key(number as u32)).collect(),
            clients: random.between(1, 4) as usize,
            requests: random.between(20, 120),
            think_max_ms: *random.pick(&[1, 200, 3_000]),
            delay_max_ms,
            call_timeout_ms: *random.pick(&[120, 300]),
            sweep_for_ms,
            sweep_every_ms: sweep_for_ms * random.between(2, 60),
            dwell: *random.pick(&[0, 50, 50, 500]),
            fresh: *random.pick(&[0, 300, 1_000]),
            checked: match settings.levels.iter().count() {
                0 if !exclusive => 0,
                _ => *checks.pick(&[0, 500, 1_000]),
            },
            conditional,
            clocks,
            faults: draw_faults(&mut random.branch("faults"), calm),
            settings,
        }
    }

    /// Draws a new request of this plan.
    pub fn request(&self, random: &mut Random, id: u32) -> Request {
        let mut program = Vec::new();
        let steps = random.between(1, 3);
        for _ in 0..steps {
            match random.below(20) {
                0..=2 => program.push(list(random)),
                3 => program.push(Step::Blob((!random.chance(250)).then(|| random.pick(&self.keys).clone()))),
                _ => {
                    let len = random.between(1, 4);
                    program.push(Step::Run((0..len).map(|_| self.action(random)).collect()));
                }
            }
        }
        program.push(if random.chance(30) { Step::Abort } else { Step::Commit });
        let mut request = Request::new(id, program);
        request.named = random.chance(600);
        if !request.named && random.chance(300) {
            // Like plain access: a single write.
            let key = random.pick(&self.keys).clone();
            let action = if random.chance(200) { Action::Delete(key) } else { Action::Put(key) };
            request.program = vec![Step::Run(vec![action]), Step::Commit];
        }
        request.eager = random.chance(500);
        request.overlap = random.chance(500);
        if !request.overlap && random.chance(700) {
            request.wait_ms = random.between(1, 2 * self.settings.timeout_max_ms);
        }
        request.parallel = random.chance(300);
        request.twice = random.chance(100);
        request.stubborn = random.chance(300);
        request.fresh = random.chance(self.fresh);
        request.checked = self.checked > 0 && random.chance(self.checked);
        let mut conditions = random.branch("conditions");
        if request.checked && conditions.chance(self.conditional) {
            self.add_conditions(&mut conditions, &mut request);
        }
        let levels = &self.settings.levels;
        if levels.iter().next().is_some() && !random.chance(50) {
            // Most programs keep to keys of one level, and do not list under the checked one; the
            // others are rejected as invalid.
            let locks = |action: &Action| levels.checks(action.key());
            let one = match request.actions().next() {
                Some(first) if !request.checked => locks(first),
                _ => true,
            };
            request.program.retain_mut(|step| match step {
                Step::Run(actions) => {
                    actions.retain(|action| locks(action) == one);
                    !actions.is_empty()
                }
                Step::Blob(key) => key.as_ref().is_none_or(|key| levels.checks(key) == one),
                Step::List { .. } => !one,
                Step::Commit | Step::Abort => true,
            });
        }
        if random.chance(300) {
            request.timeout_ms = Some(random.between(1, self.settings.timeout_max_ms));
        }
        if random.chance(self.dwell) {
            request.timeout_ms = Some(self.settings.timeout_max_ms);
            request.dwell_max_ms = random.between(100, self.settings.timeout_max_ms);
        }
        if random.chance(500) {
            request.retention_ms = Some(0); // the node raises it to the least that is allowed
        }
        request
    }

    /// Gives a request conditions or sums, most of them on one key.
    fn add_conditions(&self, random: &mut Random, request: &mut Request) {
        let one = |random: &mut Random| match random.chance(600) {
            true => self.keys[0].clone(),
            false => random.pick(&self.keys).clone(),
        };
        let guards = [Guard::Absent, Guard::Absent, Guard::Version, Guard::Value];
        match random.below(5) {
            // Sums must be in the batch that commits. Before it the request may read or write.
            0 | 1 => {
                let mut adds = Vec::new();
                for _ in 0..random.between(1, 3) {
                    adds.push(Action::Add(one(random), *random.pick(&[1, 10, -7])));
                }
                match random.below(4) {
                    0 => adds.insert(0, Action::Check(one(random), *random.pick(&guards))),
                    1 => adds.insert(0, Action::Put(one(random))),
                    2 => adds.push(Action::Delete(one(random))),
                    _ => {}
                }
                let before = match random.below(3) {
                    0 => Some(Step::Run(vec![Action::Get(one(random))])),
                    1 => Some(Step::Run(vec![self.action(random)])),
                    _ => None,
                };
                request.program = before.into_iter().chain([Step::Run(adds), Step::Commit]).collect();
                request.eager = true;
                request.parallel = false;
            }
            // A lock as applications use it: taken if it is free, or given back.
            2 => {
                let key = one(random);
                let (guard, write) = match random.chance(600) {
                    true => (Guard::Absent, Action::Put(key.clone())),
                    false => (Guard::Version, Action::Delete(key.clone())),
                };
                request.program = vec![Step::Run(vec![Action::Check(key, guard), write]), Step::Commit];
            }
            // Conditions among the other actions of the program.
            _ => {
                for step in &mut request.program {
                    let Step::Run(actions) = step else { continue };
                    let at = random.below(actions.len() as u64 + 1) as usize;
                    let key = one(random);
                    let guard = *random.pick(&guards);
                    if random.chance(500) {
                        let write = if random.chance(300) { Action::Delete } else { Action::Put };
                        actions.insert(at, write(key.clone()));
                    }
                    actions.insert(at, Action::Check(key, guard));
                }
            }
        }
    }

    /// Draws a read, a write or a deletion of any key.
    fn action(&self, random: &mut Random) -> Action {
        let key = random.pick(&self.keys).clone();
        match random.below(10) {
            0..=3 => Action::Get(key),
            4..=7 => Action::Put(key),
            _ => Action::Delete(key),
        }
    }
}

/// Draws a listing.
fn list(random: &mut Random) -> Step {
    let (limit, pages) = (random.between(1, 5) as u32, random.between(1, 4) as u32);
    let prefix = (*random.pick(&["", "", "a/", "b/", "b/1"])).to_owned();
    let delimiter = random.chance(300).then(|| "/".to_owned());
    Step::List { prefix, limit, pages, delimiter }
}

/// Draws the levels of a shared store: read atomic everywhere, serializable everywhere, or
/// serializable under one of the two prefixes.
fn draw_levels(random: &mut Random) -> Levels {
    let mut levels = Levels::default();
    match random.below(4) {
        0 | 1 => {}
        2 => levels.set(String::new(), Isolation::Serializable),
        _ => levels.set("a/".into(), Isolation::Serializable),
    }
    levels
}

/// Draws the hosts of a world.
fn draw_roles(random: &mut Random) -> Vec<Role> {
    match random.below(8) {
        0 | 1 => vec![Role::Member],
        2 | 3 => vec![Role::Member, Role::Member],
        4 => vec![Role::Sweeper, Role::Member],
        5 => vec![Role::Sweeper, Role::Guest, Role::Guest],
        6 => vec![Role::Member, Role::Guest],
        _ => vec![Role::Sweeper, Role::Member, Role::Guest, Role::Guest],
    }
}

/// Draws the settings of every node.
fn draw_settings(random: &mut Random, exclusive: bool, coarse: bool, delay_max_ms: u64) -> Settings {
    let mut settings = small_settings(exclusive);
    if coarse {
        // A store that reports whole seconds leaves an error of half a second, at least at first.
        settings.skew_max_ms = 2_500;
    }
    // A listing must stay in use for longer than its answer takes, or no read could ever rest on
    // one.
    settings.recheck_after_ms = *random.pick(&[8 * delay_max_ms, 1_000, 5_000]);
    if !exclusive {
        settings.grace_ms = settings.skew_max_ms + random.between(1, 3_000);
    }
    // It must be long enough to read a record and put its entries.
    settings.put_limit_ms = 20 * delay_max_ms + *random.pick(&[100, 1_000, 5_000]);
    settings.retention_max_ms = settings.retention_min_ms() + random.between(0, 5_000);
    settings.retention_default_ms = settings.retention_max_ms;
    settings.delete_if = random.chance(700);
    settings.commit_wait_max_ms = *random.pick(&[0, 50, 50, 1_000]);
    settings.sweep_interval_ms = random.between(200, 3_000);
    settings.transactions_max = *random.pick(&[3, 100]);
    settings.write_set_len_max = *random.pick(&[2, 1_000, 1_000, 1_000]);
    settings.waiters_max = *random.pick(&[1, 64]);
    // Mostly shorter than the deadline: a client hears "unknown", asks again, and joins the commit
    // that goes on.
    settings.commit_patience_ms = *random.pick(&[100, 1_000, 15_000]);
    // The bounded memories.
    let mut random = random.branch("memories");
    let narrow = random.chance(400);
    settings.ended_kept_max = bound(&mut random, narrow, 100);
    settings.entered_kept_max = bound(&mut random, narrow, 100);
    settings.checked_keys_max = bound(&mut random, narrow, 100);
    settings.versions_kept_max = bound(&mut random, narrow, 32);
    settings.version_page_len = bound(&mut random, narrow, 16);
    settings.scan_page_len = bound(&mut random, narrow, 100);
    settings.delete_batch_len = bound(&mut random, narrow, 100);
    settings.sweep_calls_max = bound(&mut random, narrow, 8);
    settings.sweep_window_max = bound(&mut random, narrow, 1_000);
    settings.sweep_hashes_max = bound(&mut random, narrow, 1_000);
    settings.index_bytes_max = if narrow { *random.pick(&[1, 2, 2_000, 6_000]) } else { 1 << 20 };
    settings.session_len_max = *random.branch("sessions").pick(&[1, 2, Session::LEN_MAX]);
    settings
}

/// Draws the clocks. In a `calm` world only the offset of the store's clock and drift remain.
fn draw_clocks(random: &mut Random, settings: &Settings, coarse: bool, calm: bool) -> ClockPlan {
    const HOURS_5: u64 = 5 * 3_600_000;
    let offset_ms = match random.below(3) {
        0 => 0,
        1 => random.below(2_000) as i64 - 1_000,
        _ => random.below(2 * HOURS_5) as i64 - HOURS_5 as i64,
    };
    let span_ms = if coarse { 1_000 } else { 1 };
    ClockPlan {
        store: StoreClock::with(offset_ms, span_ms),
        store_steps_ms: if calm { 0 } else { *random.pick(&[0, 0, settings.skew_max_ms / 4]) },
        wall_max_ms: if calm { 0 } else { *random.pick(&[0, 100, 60_000, HOURS_5]) },
        drift_max_ppm: *random.pick(&[0, 100]),
        unseen_max_ms: if calm { 0 } else { *random.pick(&[0, 0, settings.skew_max_ms / 4]) },
    }
}

/// Draws the faults. In a `calm` world guests still vanish, tells get lost, late or doubled,
/// clients stop waiting, and fetches are answered from the cache.
fn draw_faults(random: &mut Random, calm: bool) -> Faults {
    let faults = Faults {
        no_answer: *random.pick(&[0, 10, 50, 150]),
        busy: *random.pick(&[0, 10, 100]),
        refused: *random.pick(&[0, 0, 20, 100]),
        damaged: *random.pick(&[0, 0, 20, 100]),
        spoil: *random.pick(&[0, 0, 0, 500]),
        queued: *random.pick(&[0, 0, 50, 300]),
        slow: *random.pick(&[0, 20, 200]),
        crash: *random.pick(&[0, 1, 3, 10]),
        vanish: 500,
        tell_lost: *random.pick(&[0, 300, 1_000]),
        tell_twice: *random.pick(&[0, 100]),
        tell_late: *random.pick(&[0, 300]),
        forsake: *random.pick(&[0, 100, 300]),
        disturb_every_ms: *random.pick(&[0, 3_000, 15_000]),
        cached: *random.pick(&[0, 500]),
    };
    if !calm {
        return faults;
    }
    Faults {
        no_answer: 0,
        busy: 0,
        refused: 0,
        damaged: 0,
        spoil: 0,
        queued: 0,
        slow: 0,
        crash: 0,
        disturb_every_ms: 0,
        ..faults
    }
}

/// Returns the key with a number. Even numbers are under the prefix `a/`, odd ones under `b/`.
pub fn key(number: u32) -> Key {
    let prefix = if number.is_multiple_of(2) { "a" } else { "b" };
    Key::parse(&format!("{prefix}/{number}")).expect("a short name is a key")
}
