//! The second phase: no more faults, and then demands.

use aft_core::message::{Input, Refusal};

use super::{Event, Simulation};
use crate::attempt::Ended;
use crate::audit::{Verdict, broken};
use crate::demand::{demand_clean, demand_ended, demand_newest};
use crate::past::judge_history;
use crate::script::{Action, Request, Step};

/// How often fresh readers try before an endless `SnapshotGone` is assumed.
const READ_TRIES_MAX: u32 = 6;

impl Simulation {
    pub(super) fn heal(&mut self) -> Verdict {
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
    pub(super) fn demand_readable(&mut self) -> Verdict {
        let keys = self.plan.keys.clone();
        let mut programs = vec![vec![Step::Run(keys.iter().cloned().map(Action::Get).collect())]];
        programs.extend(keys.iter().map(|key| vec![Step::Run(vec![Action::Get(key.clone())])]));
        programs.push(vec![Step::List { prefix: String::new(), limit: 100, pages: 1 }]);
        for host in 0..self.plan.hosts {
            for program in &programs {
                self.read(host, program)?;
            }
        }
        Ok(())
    }

    pub(super) fn read(&mut self, host: usize, program: &[Step]) -> Verdict {
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
}
