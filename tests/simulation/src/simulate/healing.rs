//! The second phase: no more faults, and then demands.

use std::collections::BTreeSet;

use aft_core::ids::{Session, TxnId};
use aft_core::message::Refusal;

use super::{Event, Simulation};
use crate::attempt::Ended;
use crate::audit::{Verdict, broken};
use crate::demand::{demand_clean, demand_ended, demand_newest};
use crate::explore::{clean_after_ms, ended_after_ms};
use crate::hosts::Role;
use crate::past::judge_history;
use crate::script::{Action, Request, Step};

/// The number of times that readers try before an endless `SnapshotGone` is assumed.
const READ_TRIES_MAX: u32 = 6;

impl Simulation {
    pub(super) fn heal(&mut self) -> Verdict {
        self.healed = true;
        self.world.say(|| "healing".into());
        self.mend();
        let settings = self.plan.settings.clone();
        if settings.exclusive {
            // Time goes on where it stopped: no wall clock was ever ahead of the truth.
            self.world.hosts[0].clocks.wall_offset_ms = 0;
        }
        let still = self.paused_until.iter().copied().filter(|until_ms| *until_ms != u64::MAX);
        let calm_ms = still.max().unwrap_or(0).max(self.world.now_ms) + 4_000;
        self.run_until(calm_ms)?;
        // Few sweeps a while, or one that goes on: what stops and goes on again must come to an end as well.
        let stops = self.plan.roles[0] == Role::Sweeper && self.fault.chance(500);
        self.plan.sweep_every_ms = 4 * self.plan.sweep_for_ms;
        self.unhurried = !stops;
        for host in 0..self.plan.roles.len() {
            if self.plan.roles[host] == Role::Guest || (host == 0 && stops) {
                continue;
            }
            // Two that sweep must be harmless, now too.
            let sweeps = host == 0 || self.fault.chance(500);
            self.world.upkeep(host, sweeps)?;
        }
        self.absorb()?;
        let slowly = if stops { 5 } else { 1 };
        let repaired_ms = settings.target_lag_ms() + 2 * slowly * settings.sweep_interval_ms;
        let bound_ms = ended_after_ms(&settings) + settings.store_patience_ms + repaired_ms;
        self.run_until(self.world.now_ms + bound_ms)?;
        demand_ended(&self.world)?;
        self.demand_readable(false)?;
        self.run_until(self.world.now_ms + slowly * self.verified_after_ms())?;
        // Notes on what was mended may have landed late, or the mark was below it.
        self.mend();
        self.run_until(self.world.now_ms + slowly * clean_after_ms(&settings))?;
        // A sweep that was just stopped goes on from its notes when it may, and comes to its end.
        self.unhurried = true;
        let until_ms = self.world.now_ms + 10 * self.plan.sweep_every_ms;
        while stops && self.world.store.notes.is_some() && self.world.now_ms < until_ms {
            self.next_event()?;
        }
        demand_clean(&self.world)?;
        self.demand_readable(true)?;
        judge_history(&self.world)?;
        self.world.say(|| "all demands are met".into());
        Ok(())
    }

    /// Returns the time in which sweeps verify what lies above the mark: each has room for some
    /// attempts, and waits for the mark that the one before it moved.
    fn verified_after_ms(&self) -> u64 {
        let (settings, store) = (&self.plan.settings, &self.world.store);
        let mark = store.format.as_ref().map_or(TxnId::ZERO, |format| format.mark);
        let attempts: BTreeSet<TxnId> =
            store.all_entries().map(|(_, entry)| entry.txn).filter(|txn| *txn > mark).collect();
        let sweeps = attempts.len().div_ceil(settings.sweep_window_max) as u64;
        sweeps * (settings.settle_after_ms() + 2 * settings.sweep_interval_ms)
    }

    /// Demands that transactions on every host read all keys: at once, each alone, and by a listing; fresh or not.
    pub(super) fn demand_readable(&mut self, all: bool) -> Verdict {
        let keys = self.plan.keys.clone();
        let mut programs = vec![vec![Step::Run(keys.iter().cloned().map(Action::Get).collect())]];
        programs.extend(keys.iter().map(|key| vec![Step::Run(vec![Action::Get(key.clone())])]));
        programs.push(vec![Step::list_all()]);
        for host in 0..self.plan.roles.len() {
            for program in &programs {
                let fresh = self.fault.chance(500);
                self.read(host, program, fresh, all)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, host: usize, program: &[Step], fresh: bool, all: bool) -> Verdict {
        let mut program = program.to_vec();
        program.push(Step::Commit);
        let id = u32::MAX;
        self.world.requests.push(Request { named: false, fresh, ..Request::new(id, program) });
        let request = self.world.requests.len() - 1;
        for _ in 0..READ_TRIES_MAX {
            // The mark may have passed dead entries since, which are then removed by hand (protocol,
            // section 11).
            self.mend();
            let number = self.world.new_attempt(request, host, Session::default());
            self.owner.push(None);
            self.after(0, Event::Client(number));
            let until_ms = self.world.now_ms + 2 * self.plan.settings.timeout_max_ms;
            while self.world.attempts[number].ended().is_none() && self.world.now_ms < until_ms {
                self.next_event()?;
            }
            match self.world.attempts[number].ended() {
                Some(Ended::Committed(_)) => {
                    let reader = self.world.attempts[number].clone();
                    return demand_newest(&self.world, &reader, all);
                }
                // The first answer since may show that the host stood still, with all of its
                // clocks: then the attempt's time may be over at once.
                Some(Ended::Refused(Refusal::SnapshotGone(_) | Refusal::Lost)) => {
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
