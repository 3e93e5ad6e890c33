//! What a seed means: settings, workload, clocks and faults, drawn so that rare paths are common.
//!
//! Times are a real deployment's divided by about a thousand, in the same relations, so that everything is removed many times within a
//! run of a few virtual minutes. Bounds are small enough to be met; in a share of the seeds every bounded memory holds from one to five things.

use aft_core::bug::Bug;
use aft_core::ids::{Key, Session};
use aft_core::message::Isolation;
use aft_core::settings::{Levels, Settings};

use crate::clocks::StoreClock;
use crate::hosts::Role;
use crate::model::Abilities;
use crate::random::Random;
use crate::script::{Action, Guard, Request, Step};

/// Settings and surroundings of one simulation.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Of every node.
    pub settings: Settings,
    /// The hosts.
    pub roles: Vec<Role>,
    /// The store's abilities.
    pub abilities: Abilities,
    /// The step of wall clocks.
    pub clock_grain_ms: u64,
    /// The keys.
    pub keys: Vec<Key>,
    /// How many clients, each one request at a time.
    pub clients: usize,
    /// How many requests are begun in all.
    pub requests: u64,
    /// The longest pause of a client between requests.
    pub think_max_ms: u64,
    /// The longest usual way of a call, there or back.
    pub delay_max_ms: u64,
    /// When a call without an answer is given up.
    pub call_timeout_ms: u64,
    /// A sweeper sweeps for this long.
    pub sweep_for_ms: u64,
    /// A sweeper comes once in this time.
    pub sweep_every_ms: u64,
    /// Of a thousand requests, so many take their time until their transaction's is over.
    pub dwell: u64,
    /// Of a thousand requests, so many begin fresh.
    pub fresh: u64,
    /// A request is serializable.
    pub checked: u64,
    /// Of a thousand serializable requests, so many have conditions or sums.
    pub conditional: u64,
    /// Clocks.
    pub clocks: ClockPlan,
    /// Faults.
    pub faults: Faults,
}

/// The store's clock and the hosts'.
#[derive(Debug, Clone)]
pub struct ClockPlan {
    /// The store's clock at the begin.
    pub store: StoreClock,
    /// By how much its offset may move, in all.
    pub store_steps_ms: u64,
    /// Hosts' wall clocks are off by this at most, either way.
    pub wall_max_ms: u64,
    /// Monotonic clocks gain or lose this at most, in a million.
    pub drift_max_ppm: u64,
    /// The longest pause that no clock shows to a host with writes under way.
    pub unseen_max_ms: u64,
}

/// How often what goes wrong, in a thousand.
#[derive(Debug, Clone)]
pub struct Faults {
    /// A piece of a call gets no answer.
    pub no_answer: u64,
    /// A piece of a call is refused for now.
    pub busy: u64,
    /// A piece of a call is refused for good.
    pub refused: u64,
    /// What a call reads is damaged, this once.
    pub damaged: u64,
    /// A record or a whole entry is damaged, at a disturbance, until it is mended.
    pub spoil: u64,
    /// A call waits in the driver before it is sent.
    pub queued: u64,
    /// A piece of a call takes nearly as long as it may.
    pub slow: u64,
    /// A step is cut by a crash, in ten thousand.
    pub crash: u64,
    /// A guest vanishes when its attempt has ended.
    pub vanish: u64,
    /// A tell is lost.
    pub tell_lost: u64,
    /// A tell comes twice.
    pub tell_twice: u64,
    /// A tell comes late.
    pub tell_late: u64,
    /// A client forsakes an attempt and starts another.
    pub forsake: u64,
    /// The pause between disturbances of hosts (pauses, clock steps, damage, drains, sweeps that stop), at most; 0: none.
    pub disturb_every_ms: u64,
    /// A fetch is answered from the value cache if it can be.
    pub cached: u64,
}

/// Returns a scaled setting of every time and bound: what the small worlds use as it is, and seeds vary.
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

/// Draws a bound: usually roomy, in a narrow world from 1 to 5.
fn bound<T: Copy + TryFrom<u64>>(random: &mut Random, narrow: bool, roomy: T) -> T {
    if !narrow || random.chance(300) {
        return roomy;
    }
    T::try_from(random.between(1, 5)).unwrap_or(roomy)
}

impl Plan {
    /// Draws the plan of a seed.
    pub fn draw(random: &Random, bug: Option<Bug>) -> Plan {
        let calm = random.branch("calm").chance(200);
        let roles = draw_roles(&mut random.branch("roles"));
        let exclusive = roles.len() == 1 && random.branch("exclusive").chance(600);
        let coarse = random.branch("coarse").chance(200);
        let mut random = random.branch("plan");
        let delay_max_ms = *random.pick(&[1, 5, 50]);
        let mut settings = draw_settings(&mut random, exclusive, coarse, delay_max_ms);
        settings.bug = bug;
        let abilities = Abilities {
            delete_if: settings.delete_if,
            scan_bodies: random.chance(300),
            // One process's clock may be set back, so its store says nothing of this.
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
            // What plain access does: one write, and no more.
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
            // Most know which level which keys have, and that nothing covers a listing.
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
            request.retention_ms = Some(0); // raised to the least that is allowed
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
            // Sums belong to a call that commits; before it the request may read, or write.
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
            // A lock that is taken, or given back.
            2 => {
                let key = one(random);
                let (guard, write) = match random.chance(600) {
                    true => (Guard::Absent, Action::Put(key.clone())),
                    false => (Guard::Version, Action::Delete(key.clone())),
                };
                request.program = vec![Step::Run(vec![Action::Check(key, guard), write]), Step::Commit];
            }
            // Conditions among whatever else it does.
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

    fn action(&self, random: &mut Random) -> Action {
        let key = random.pick(&self.keys).clone();
        match random.below(10) {
            0..=3 => Action::Get(key),
            4..=7 => Action::Put(key),
            _ => Action::Delete(key),
        }
    }
}

fn list(random: &mut Random) -> Step {
    let (limit, pages) = (random.between(1, 5) as u32, random.between(1, 4) as u32);
    let prefix = (*random.pick(&["", "", "a/", "b/", "b/1"])).to_owned();
    let delimiter = random.chance(300).then(|| "/".to_owned());
    Step::List { prefix, limit, pages, delimiter }
}

/// Draws the levels of a shared store: none, the same for all keys, or one for each prefix.
fn draw_levels(random: &mut Random) -> Levels {
    let mut levels = Levels::default();
    match random.below(4) {
        0 | 1 => {}
        2 => levels.set(String::new(), Isolation::Serializable),
        _ => levels.set("a/".into(), Isolation::Serializable),
    }
    levels
}

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

fn draw_settings(random: &mut Random, exclusive: bool, coarse: bool, delay_max_ms: u64) -> Settings {
    let mut settings = small_settings(exclusive);
    if coarse {
        // A store that tells whole seconds leaves an error of half a one, at least at first.
        settings.skew_max_ms = 2_500;
    }
    // A listing must outlive the way of its answer, or nothing can ever rest on it.
    settings.recheck_after_ms = *random.pick(&[8 * delay_max_ms, 1_000, 5_000]);
    if !exclusive {
        settings.grace_ms = settings.skew_max_ms + random.between(1, 3_000);
    }
    // Within it a record is read and its entries are put.
    settings.put_limit_ms = 20 * delay_max_ms + *random.pick(&[100, 1_000, 5_000]);
    settings.retention_max_ms = settings.retention_min_ms() + random.between(0, 5_000);
    settings.retention_default_ms = settings.retention_max_ms;
    settings.delete_if = random.chance(700);
    settings.commit_wait_max_ms = *random.pick(&[0, 50, 50, 1_000]);
    settings.sweep_interval_ms = random.between(200, 3_000);
    settings.transactions_max = *random.pick(&[3, 100]);
    settings.write_set_len_max = *random.pick(&[2, 1_000, 1_000, 1_000]);
    settings.waiters_max = *random.pick(&[1, 64]);
    // Mostly before the deadline: who waits hears of it, asks again, and joins the commit that goes on.
    settings.commit_patience_ms = *random.pick(&[100, 1_000, 15_000]);
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

/// Returns the key of a number. Keys fall under two prefixes.
pub fn key(number: u32) -> Key {
    let prefix = if number.is_multiple_of(2) { "a" } else { "b" };
    Key::parse(&format!("{prefix}/{number}")).expect("a short name is a key")
}
