//! What a seed means: settings, workload and faults, drawn so that rare paths are common.
//!
//! Times are a real deployment's divided by about a thousand, in the same relations, so that everything is collected many times within a
//! run of a few virtual minutes. Bounds are small enough to be met.

use aft_core::bug::Bug;
use aft_core::ids::Key;
use aft_core::message::Visibility;
use aft_core::settings::Settings;

use crate::random::Random;
use crate::script::{Action, Request, Step};

/// What one simulation is made from.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Of every node.
    pub settings: Settings,
    /// How many hosts.
    pub hosts: usize,
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
    /// Faults.
    pub faults: Faults,
}

/// How often what goes wrong, in a thousand.
#[derive(Debug, Clone)]
pub struct Faults {
    /// A call gets no answer.
    pub no_answer: u64,
    /// A call is refused for now.
    pub busy: u64,
    /// A call is refused for good.
    pub refused: u64,
    /// What a call reads is damaged.
    pub damaged: u64,
    /// A step is cut by a crash.
    pub crash: u64,
    /// A tell is lost.
    pub tell_lost: u64,
    /// A tell comes twice.
    pub tell_twice: u64,
    /// A tell comes late.
    pub tell_late: u64,
    /// A client forsakes an attempt and starts another.
    pub forsake: u64,
    /// The pause between disturbances of hosts (pauses, clock jumps, lost heartbeats, drains, leases that move), at most; 0: none.
    pub disturb_every_ms: u64,
    /// A fetch is answered from the value cache if it can be.
    pub cached: u64,
}

/// A scaled setting of every time and bound: what the small worlds use as it is, and seeds vary.
pub fn small_settings(exclusive: bool) -> Settings {
    let grace_ms = if exclusive { 0 } else { 4_000 };
    let mut settings = Settings::new(exclusive, grace_ms, true);
    settings.timeout_default_ms = 3_000;
    settings.timeout_max_ms = 4_000;
    settings.recheck_after_ms = 1_000;
    settings.slack_ms = 2_000;
    settings.skew_max_ms = 500;
    settings.retention_default_ms = 17_000;
    settings.retention_max_ms = 20_000;
    settings.tombstone_age_ms = 40_000;
    settings.collect_pace_percent = 0; // the small worlds are searched by states, not by windows of time
    settings.maintenance_interval_ms = 500;
    settings.maintenance_pause_max_ms = 1_000;
    settings.store_patience_ms = 1_000;
    settings.retry_min_ms = 10;
    settings.retry_max_ms = 100;
    settings
}

impl Plan {
    /// The plan of a seed.
    pub fn draw(random: &Random, bug: Option<Bug>) -> Plan {
        let mut random = random.branch("plan");
        let hosts = if random.chance(250) { 1 } else { 2 };
        let exclusive = hosts == 1 && random.chance(500);
        let mut settings = small_settings(exclusive);
        settings.bug = bug;
        let delay_max_ms = *random.pick(&[1, 5, 50]);
        // A listing must outlive the way of its answer, or nothing can ever rest on it.
        settings.recheck_after_ms = *random.pick(&[8 * delay_max_ms, 1_000, 5_000]);
        // A short slack lets the collector work beside readers. Within it a record must be read and its entries put, though.
        let publishing = 10 * delay_max_ms;
        settings.slack_ms = settings.skew_max_ms + publishing + *random.pick(&[1, 200, 1_000, 4_000]);
        settings.retention_max_ms = settings.retention_min_ms() + random.between(0, 5_000);
        settings.retention_default_ms = settings.retention_max_ms;
        let least = settings.retention_max_ms
            + 2 * settings.grace_ms
            + settings.recheck_after_ms
            + settings.timeout_max_ms
            + settings.skew_max_ms;
        settings.tombstone_age_ms = least + random.between(1, 10_000);
        settings.delete_if = random.chance(800);
        settings.index_bytes_max = *random.pick(&[1, 2_000, 6_000, 1 << 20]);
        settings.version_page_len = *random.pick(&[1, 1, 2, 16]);
        settings.maintenance_tasks_max = *random.pick(&[1, 2, 4]);
        settings.maintenance_batch_len = *random.pick(&[1, 2, 3, 32]);
        settings.maintenance_batch_writes_max = *random.pick(&[1, 3, 1_000]);
        settings.collect_pace_percent = *random.pick(&[0, 110]);
        settings.maintenance_interval_ms = random.between(200, 2_000);
        settings.maintenance_pause_max_ms = 2_000;
        settings.transactions_max = *random.pick(&[3, 100]);
        settings.publish_queue_max = *random.pick(&[2, 100]);
        settings.write_set_len_max = *random.pick(&[2, 1_000, 1_000, 1_000]);
        settings.waiters_max = *random.pick(&[1, 64]);
        // Mostly before the deadline: who waits is told, asks again, and joins the commit that goes on.
        settings.commit_patience_ms = *random.branch("patience").pick(&[100, 1_000, 15_000]);
        let keys = random.between(2, 4);
        let keys = (0..keys).map(|number| key(number as u32)).collect();
        let calm = random.chance(200);
        let faults = Faults {
            no_answer: if calm { 0 } else { *random.pick(&[0, 10, 50, 150]) },
            busy: if calm { 0 } else { *random.pick(&[0, 10, 100]) },
            crash: if calm { 0 } else { *random.pick(&[0, 1, 3, 10]) },
            tell_lost: *random.pick(&[0, 300, 1_000]),
            tell_twice: *random.pick(&[0, 100]),
            tell_late: *random.pick(&[0, 300]),
            forsake: *random.pick(&[0, 100, 300]),
            disturb_every_ms: if calm { 0 } else { *random.pick(&[0, 3_000, 15_000]) },
            cached: *random.pick(&[0, 500]),
            refused: if calm { 0 } else { *random.pick(&[0, 0, 20, 100]) },
            damaged: if calm { 0 } else { *random.pick(&[0, 0, 20, 100]) },
        };
        Plan {
            settings,
            hosts,
            clock_grain_ms: *random.pick(&[1, 1, 100]),
            keys,
            clients: random.between(1, 4) as usize,
            requests: random.between(20, 120),
            think_max_ms: *random.pick(&[1, 200, 3_000]),
            delay_max_ms,
            call_timeout_ms: *random.pick(&[120, 300]),
            faults,
        }
    }

    /// A new request of this plan.
    pub fn request(&self, random: &mut Random, id: u32) -> Request {
        let mut program = Vec::new();
        let steps = random.between(1, 3);
        for _ in 0..steps {
            match random.below(20) {
                0..=2 => {
                    let (limit, pages) = (random.between(1, 5) as u32, random.between(1, 4) as u32);
                    program.push(Step::List { prefix: String::new(), limit, pages })
                }
                3 => program.push(Step::Blob((!random.chance(250)).then(|| random.pick(&self.keys).clone()))),
                _ => {
                    let len = random.between(1, 4);
                    program.push(Step::Run((0..len).map(|_| self.action(random)).collect()));
                }
            }
        }
        program.push(if random.chance(30) { Step::Abort } else { Step::Commit });
        let mut request = Request::new(id, program);
        request.named = random.chance(700);
        request.eager = random.chance(500);
        request.overlap = random.chance(500);
        if !request.overlap && random.chance(700) {
            request.wait_ms = random.between(1, 2 * self.settings.timeout_max_ms);
        }
        request.parallel = random.chance(300);
        request.twice = random.chance(100);
        request.stubborn = random.chance(300);
        if random.chance(150) {
            request.visibility = Visibility::Published;
        }
        if random.chance(300) {
            request.timeout_ms = Some(random.between(1, self.settings.timeout_max_ms));
        }
        if random.chance(500) {
            request.retention_ms = Some(0); // raised to the least that is allowed
        }
        request
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

/// The key of a number.
pub fn key(number: u32) -> Key {
    Key::parse(&format!("key{number}")).expect("a short name is a key")
}
