//! The second phase of a run: no more faults, then demands.

use std::collections::BTreeSet;

use aft_core::ids::{Session, TxnId};
use aft_core::message::Refusal;
use aft_sim::verdict::{Verdict, broken};

use super::{Event, Simulation};
use crate::attempt::Ended;
use crate::demand::{demand_clean, demand_ended, demand_newest};
use crate::explore::{clean_after_ms, ended_after_ms};
use crate::hosts::Role;
use crate::past::judge_history;
use crate::script::{Action, Request, Step};

/// The number of tries after which a reader that meets `SnapshotGone` is taken to meet it for ever.
const READ_TRIES_MAX: u32 = 6;

impl Simulation {
    /// Ends all faults, lets every wait pass, and makes the demands.
    pub(super) fn heal(&mut self) -> Verdict {
        self.healed = true;
        self.world.say(|| "healing".into());
        self.mend();
        let settings = self.plan.settings.clone();
        if settings.exclusive {
            // The store's time continues where it stopped: this wall clock was never ahead of true
            // time.
            self.world.hosts[0].process.clocks.wall_offset_ms = 0;
        }
        // First every pause ends.
        let still = self.paused_until.iter().copied().filter(|until_ms| *until_ms != u64::MAX);
        let calm_ms = still.max().unwrap_or(0).max(self.world.now_ms) + 4_000;
        self.run_until(calm_ms)?;
        // One host sweeps all the time, or in short turns with long breaks: sweeps that stop and go
        // on from notes must come to an end as well.
        let stops = self.plan.roles[0] == Role::Sweeper && self.fault.chance(500);
        self.plan.sweep_every_ms = 4 * self.plan.sweep_for_ms;
        self.unhurried = !stops;
        for host in 0..self.plan.roles.len() {
            if self.plan.roles[host] == Role::Guest || (host == 0 && stops) {
                continue;
            }
            // A second sweeper must still be harmless.
            let sweeps = host == 0 || self.fault.chance(500);
            self.world.upkeep(host, sweeps)?;
        }
        self.absorb()?;
        // Within a bounded time everything ends, and is readable.
        let slowly = if stops { 5 } else { 1 };
        let repaired_ms = settings.target_lag_ms() + 2 * slowly * settings.sweep_interval_ms;
        let bound_ms = ended_after_ms(&settings) + settings.store_patience_ms + repaired_ms;
        self.run_until(self.world.now_ms + bound_ms)?;
        demand_ended(&self.world)?;
        self.demand_readable(false)?;
        self.run_until(self.world.now_ms + slowly * self.verified_after_ms())?;
        // Notes on damage that was repaired may have landed late, or could not go before the mark
        // had passed the entries. Then everything is collected.
        self.mend();
        self.run_until(self.world.now_ms + slowly * clean_after_ms(&settings))?;
        // A sweep that has just been stopped may continue from its notes, and finishes.
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

    /// Returns the time within which sweeps verify all attempts above the mark, in milliseconds.
    /// Each has room for a limited number of attempts, and waits for the mark that the one before
    /// it moved.
    fn verified_after_ms(&self) -> u64 {
        let (settings, store) = (&self.plan.settings, &self.world.store);
        let mark = store.format.as_ref().map_or(TxnId::ZERO, |format| format.mark);
        let attempts: BTreeSet<TxnId> =
            store.all_entries().map(|(_, entry)| entry.txn).filter(|txn| *txn > mark).collect();
        let sweeps = attempts.len().div_ceil(settings.sweep_window_max) as u64;
        sweeps * (settings.settle_after_ms() + 2 * settings.sweep_interval_ms)
    }

    /// Demands that transactions on every host can read all keys: in one batch, each alone, and by
    /// a listing; fresh or not.
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

    /// Demands that a transaction reads the newest versions, trying again after `SnapshotGone`.
    fn read(&mut self, host: usize, program: &[Step], fresh: bool, all: bool) -> Verdict {
        let mut program = program.to_vec();
        program.push(Step::Commit);
        let id = u32::MAX;
        self.world.requests.push(Request { named: false, fresh, ..Request::new(id, program) });
        let request = self.world.requests.len() - 1;
        for _ in 0..READ_TRIES_MAX {
            // The mark may have passed dead entries meanwhile, which an operator then removes
            // (protocol, section 11).
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
                // `Lost` also: the first answer may show that the host and all its clocks were
                // paused, and then the attempt's deadline may pass at once.
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
            format!("{READ_TRIES_MAX} tries on host {host}: {:?}", self.world.requests[request].program),
        )
    }
}
