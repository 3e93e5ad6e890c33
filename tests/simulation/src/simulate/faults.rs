//! The faults: the fate of every call and tell, and disturbances of hosts, clocks and the store.

use std::collections::BTreeMap;

use aft_core::message::Input;
use aft_core::store::{Call, CallError, Name};
use aft_sim::clocks::Pause;
use aft_sim::fate::{CallFaults, Fate, draw_delay, draw_fate, draw_late};
use aft_sim::flights::FlightId;
use aft_sim::net::{MessageFaults, MessageId, draw_arrivals};
use aft_sim::verdict::Verdict;

use super::{Event, Simulation};
use crate::attempt::Progress;
use crate::draw::Faults;
use crate::flights::{Late, life};
use crate::hosts::Role;
use crate::world::World;

/// The end of a guest's pause that lasts until its next attempt.
const UNTIL_NEEDED: u64 = u64::MAX;

/// The bound on the delay of late tells.
const TELL_LATE_MAX_MS: u64 = 20_000;

impl Simulation {
    /// Draws the clocks of a host.
    pub(super) fn set_clocks(&mut self, host: usize) {
        let drift = self.plan.clocks.drift_max_ppm;
        let drift_ppm = self.fault.below(2 * drift + 1) as i64 - drift as i64;
        // On an exclusive store this clock is the store's, and there is nothing to drift from.
        let drift_ppm = if self.plan.settings.exclusive { 0 } else { drift_ppm };
        self.world.hosts[host].process.clocks.drift_ppm = drift_ppm;
        self.set_wall(host);
    }

    /// Sets the wall clock of a host; in three of ten cases to the correct time.
    pub(super) fn set_wall(&mut self, host: usize) {
        let most = self.plan.clocks.wall_max_ms;
        let off = self.fault.below(2 * most + 1) as i64 - most as i64;
        let off = if self.fault.chance(300) { 0 } else { off };
        // Where it is the store's clock, it may stop until the truth has caught up, but never runs
        // ahead.
        let off = if self.plan.settings.exclusive { off.min(0) } else { off };
        self.world.say(|| format!("the wall clock of host {host} is off by {off} ms"));
        self.world.hosts[host].process.clocks.wall_offset_ms = off;
    }

    /// Lets a sweeper begin or stop, and plans the opposite.
    pub(super) fn sweeper(&mut self, host: usize, on: bool) -> Verdict {
        let next =
            if on { self.plan.sweep_for_ms } else { self.plan.sweep_every_ms - self.plan.sweep_for_ms };
        self.after(next, Event::Sweeper(host, !on));
        if self.world.hosts[host].draining || (self.unhurried && !on) {
            return Ok(());
        }
        self.world.upkeep(host, on)
    }

    /// Lets a guest vanish or freeze, if no attempt is open on it.
    pub(super) fn let_go(&mut self, host: usize) -> Verdict {
        if !self.world.is_awake(host) || !self.world.hosts[host].tickets.is_empty() {
            return Ok(());
        }
        let node = self.world.node_id(host);
        let active = self.world.attempts.iter().any(|attempt| {
            attempt.host == host
                && attempt.node == node
                && !matches!(attempt.progress, Progress::Unbegun | Progress::Ended(_))
        });
        if active {
            return Ok(());
        }
        if self.fault.chance(self.plan.faults.vanish) {
            self.world.crash(host);
            return Ok(());
        }
        let mut kind = *self.fault.pick(&Pause::ALL);
        if kind == Pause::Unseen && !self.is_quiet(host) {
            kind = Pause::Machine;
        }
        self.pause(host, kind)?;
        self.paused_until[host] = UNTIL_NEEDED;
        self.woken[host] = None;
        Ok(())
    }

    /// Pauses a host. If only its wall clock will show the pause, the node first gets a step: else
    /// an earlier change of that clock and the pause could cancel out within one step.
    fn pause(&mut self, host: usize, kind: Pause) -> Verdict {
        if kind == Pause::Machine {
            self.world.step(host, Input::Wake)?;
        }
        self.world.pause(host, kind);
        Ok(())
    }

    /// Returns true if a pause that no clock shows is harmless: the host has no call in flight,
    /// does not sweep and is not committing, so nothing that it decided before the pause is sent
    /// after it.
    fn is_quiet(&self, host: usize) -> bool {
        let node = self.world.node_id(host);
        let committing = |number: &crate::attempt::Attempt| number.commits > 0 && number.ended().is_none();
        !self.plan.settings.exclusive
            && !self.world.hosts[host].sweeps
            && node.is_none_or(|node| self.world.flights.of_life(life(node)).next().is_none())
            && self.world.hosts[host].tickets.is_empty()
            && self.world.hosts[host].process.machine().is_none_or(|node| node.calls_under_way() == 0)
            && !self.world.attempts.iter().any(|attempt| attempt.host == host && committing(attempt))
    }

    /// Wakes the guest that a new attempt needs, or starts its node.
    pub(super) fn rouse(&mut self, host: usize, number: usize) {
        if self.plan.roles[host] != Role::Guest || self.world.attempts[number].progress != Progress::Unbegun {
            return;
        }
        if self.world.hosts[host].process.machine().is_none() {
            self.parked[host].clear();
            self.paused_until[host] = 0;
            self.world.start_node(host);
        } else if self.paused_until[host] == UNTIL_NEEDED && self.world.hosts[host].process.paused().is_some()
        {
            self.world.resume(host);
            self.paused_until[host] = 0;
            for event in std::mem::take(&mut self.parked[host]) {
                self.after(0, event);
            }
        }
    }

    /// Disturbs a host, a clock or the store.
    pub(super) fn disturb(&mut self) -> Verdict {
        if self.healed {
            return Ok(());
        }
        let host = self.fault.below(self.plan.roles.len() as u64) as usize;
        match self.fault.below(9) {
            // The wall clock is not set during a pause that it must show, or must hide.
            0 if !matches!(self.world.hosts[host].process.paused(), Some(Pause::Machine | Pause::Unseen)) => {
                // The node sees first what the clock has read so far.
                if self.world.is_awake(host) {
                    self.world.step(host, Input::Wake)?;
                }
                self.set_wall(host);
            }
            1 | 2 => self.stand_still(host)?,
            3 => {
                // The store's clock steps away from its first offset, which the plan holds, and
                // back.
                let base = self.plan.clocks.store.offset_ms();
                let step = self.fault.below(self.plan.clocks.store_steps_ms + 1) as i64;
                let now_ms = self.world.now_ms;
                self.world.say(|| format!("the store's clock is off by {} ms", base + step));
                self.world.store_clock.set(base + step, now_ms);
            }
            4 if self.plan.faults.crash > 0 => self.world.crash(host),
            5 if !self.world.requests.is_empty() => {
                let request = self.fault.below(self.world.requests.len() as u64) as usize;
                self.world.look_up(host, request)?;
            }
            6 => self.drain(host)?,
            7 if self.fault.chance(self.plan.faults.spoil) => self.spoil(),
            _ => {
                let slot = &self.world.hosts[host];
                let on = !slot.sweeps;
                if slot.role == Role::Member && slot.process.paused().is_none() && !slot.draining {
                    self.world.upkeep(host, on)?;
                }
            }
        }
        Ok(())
    }

    /// Pauses a host, often for longer than any timeout.
    fn stand_still(&mut self, host: usize) -> Verdict {
        if !self.world.is_awake(host) {
            return Ok(());
        }
        let settings = &self.plan.settings;
        let longest = [settings.timeout_max_ms, settings.over_after_ms(), settings.settle_after_ms()];
        let most = longest.into_iter().max().expect("there are some") + 2_000;
        let most = *self.fault.pick(&[2 * self.plan.call_timeout_ms, 3_000, most, most]);
        let mut span = self.fault.between(1, most);
        let mut kind = *self.fault.pick(&Pause::ALL);
        let now_ms = self.world.now_ms;
        // With calls in flight, a pause that no clock shows must be short, and rare.
        if kind == Pause::Unseen && !self.is_quiet(host) {
            let unseen_max = self.plan.clocks.unseen_max_ms;
            let again_ms = self.unseen_ms[host] + settings.over_after_ms();
            if unseen_max == 0 || settings.exclusive || now_ms < again_ms {
                kind = Pause::Process;
            } else {
                span = self.fault.between(1, unseen_max);
                self.unseen_ms[host] = now_ms + span;
            }
        }
        self.pause(host, kind)?;
        self.paused_until[host] = now_ms + span;
        self.woken[host] = None;
        self.world.say(|| format!("for {span} ms"));
        // Before all other events that wait for the same instant.
        self.calendar.first_at(now_ms + span, Event::Resume(host));
        Ok(())
    }

    /// Damages the record or an entry of a reported commit, or the mark, or adds a name that cannot
    /// be parsed.
    fn spoil(&mut self) {
        let heals = self.fault.between(500, 30_000);
        self.after(heals, Event::Mend);
        let known = self.world.audit.commits.values().filter(|commit| commit.told_ms.is_some());
        let names: Vec<Name> = known
            .flat_map(|commit| {
                let record = &commit.record;
                let of_record = !commit.whole && !commit.record_gone;
                // Only whole entries and those of checked keys have a body.
                let entries = record.writes.iter().filter_map(|(key, _)| {
                    let mut entries = self.world.store.entries(key);
                    let entry = entries.find(|entry| entry.txn == record.txn)?;
                    (entry.whole || entry.follows.is_some()).then(|| entry.name(key))
                });
                of_record.then_some(Name::Commit(record.hash)).into_iter().chain(entries)
            })
            .collect();
        match self.fault.below(6) {
            0 => {
                let key = self.fault.pick(&self.plan.keys).clone();
                self.world
                    .store
                    .strangers
                    .insert(key.clone(), format!("a foreign name among the entries of {key}"));
            }
            1 => {
                self.world.store.strange_commits.insert("a foreign name among the commits".into());
            }
            // The process of an exclusive store that cannot read the mark begins at its wall clock.
            // If that was set back as well, nothing is promised, so the mark is not damaged there.
            2 if self.fault.chance(300)
                && !(self.plan.settings.exclusive && self.plan.clocks.wall_max_ms > 0) =>
            {
                self.world.store.unreadable.insert(Name::Format);
            }
            _ if !names.is_empty() => {
                let name = self.fault.pick(&names).clone();
                self.world.say(|| format!("damaged: {name:?}"));
                self.world.store.unreadable.insert(name);
            }
            _ => {}
        }
    }

    /// Repairs all damage.
    pub(super) fn mend(&mut self) {
        self.world.mend();
    }

    /// Drains a host, and kills its process if it takes longer than any transaction may.
    fn drain(&mut self, host: usize) -> Verdict {
        let slot = &self.world.hosts[host];
        let Some(node) = self.world.node_id(host) else { return Ok(()) };
        if slot.draining || slot.process.paused().is_some() {
            return Ok(());
        }
        self.world.drain(host)?;
        let patience_ms = self.plan.settings.timeout_max_ms + 1_000;
        self.after(patience_ms, Event::DrainOver(host, node));
        Ok(())
    }

    /// Plans a new call, which may wait in the driver's queue first.
    pub(super) fn plan_flight(&mut self, id: FlightId) {
        if self.world.flights.get(id).is_none() {
            return;
        }
        if !self.healed && self.net.chance(self.plan.faults.queued) {
            let most = *self.net.pick(&[50, 1_000, 2 * self.plan.settings.timeout_max_ms]);
            let delay = self.net.below(most);
            self.world.hold(id);
            return self.after(delay, Event::Send(id));
        }
        self.plan_sent(id);
    }

    /// Plans a call that was sent: each part has a fate of its own, and the answer follows the
    /// last.
    pub(super) fn plan_sent(&mut self, id: FlightId) {
        let Some(flight) = self.world.flights.get(id) else { return };
        let calls: Vec<Call> = flight.parts.iter().map(|part| part.call.clone()).collect();
        let delay_max = if self.healed { 1 } else { self.plan.delay_max_ms };
        if matches!(flight.call, Call::Fetch { .. }) && self.net.chance(self.plan.faults.cached) {
            let there = self.net.below(delay_max + 1);
            return self.after(there, Event::FromCache(id));
        }
        let fates: Vec<u64> = calls
            .iter()
            .enumerate()
            .map(|(place, call)| self.plan_part(id, place, call, delay_max))
            .collect();
        let last = fates.into_iter().max().expect("a call has a part");
        let back = self.net.below(delay_max + 1);
        self.after(last + back, Event::Answer(id));
    }

    /// Plans a part, and returns the time after which its caller can know the outcome, in
    /// milliseconds.
    fn plan_part(&mut self, id: FlightId, place: usize, call: &Call, delay_max_ms: u64) -> u64 {
        let grace_ms = self.plan.settings.grace_ms;
        // Without grace, writes take effect when they are sent: the process that sends them is the
        // store.
        let at_once = call.is_write() && grace_ms == 0;
        if self.healed {
            let after_ms = draw_delay(&mut self.net, at_once, delay_max_ms);
            self.after(after_ms, Event::Land(id, place));
            return after_ms;
        }
        let Faults { busy, refused, damaged, no_answer, slow, .. } = self.plan.faults;
        let timeout_ms = self.plan.call_timeout_ms;
        // The text names the call, so that the judges recognize it in a node's report.
        let planned = || format!("planned for {id}");
        let fate = draw_fate(
            &mut self.net,
            &CallFaults { no_answer, slow, timeout_ms, delay_max_ms },
            at_once,
            |net| {
                if net.chance(busy) {
                    Some(CallError::Busy)
                } else if net.chance(refused) {
                    Some(CallError::Refused(planned()))
                } else if !call.is_write()
                    && net.chance(damaged)
                    && can_be_damaged(&self.world, &mut self.damaged_ms, call)
                {
                    Some(CallError::Damaged(planned()))
                } else {
                    None
                }
            },
        );
        match fate {
            Fate::Lands { after_ms } => {
                self.after(after_ms, Event::Land(id, place));
                after_ms
            }
            Fate::Fails { after_ms, error } => {
                self.after(after_ms, Event::FailPart(id, place, error, None));
                after_ms
            }
            Fate::NoAnswer { lands_after_ms, may_be_late } => {
                if let Some(after_ms) = lands_after_ms {
                    self.after(after_ms, Event::Land(id, place));
                }
                let late = may_be_late && call.is_write() && grace_ms > timeout_ms;
                let late_until_ms = late.then(|| self.world.now_ms + grace_ms);
                self.after(timeout_ms, Event::FailPart(id, place, CallError::NoAnswer, late_until_ms));
                timeout_ms
            }
        }
    }

    /// Lands a part, unless its host is paused and still holds its bytes: then it lands when the
    /// host resumes, or never if that is after its grace.
    pub(super) fn land(&mut self, id: FlightId, place: usize) -> Verdict {
        let Some(flight) = self.world.flights.get(id) else { return Ok(()) };
        let (host, latest_ms) = (flight.host, flight.sent_ms + self.plan.settings.grace_ms);
        let until_ms = self.paused_until[host];
        let still = self.world.hosts[host].process.paused().is_some() && until_ms != UNTIL_NEEDED;
        if still && self.net.chance(300) {
            if until_ms <= latest_ms {
                self.at(until_ms, Event::Land(id, place));
            } else {
                self.world.fail_part(id, place, CallError::NoAnswer, None);
            }
            return Ok(());
        }
        self.world.land(id, place)
    }

    /// Plans a tell, which may be lost, late or doubled.
    pub(super) fn plan_tell(&mut self, id: MessageId) {
        let Faults { tell_lost: lost, tell_twice: twice, tell_late: late, .. } = self.plan.faults;
        let faults = MessageFaults { lost, twice, late, late_max_ms: TELL_LATE_MAX_MS };
        let arrivals = if self.healed {
            vec![self.net.below(self.plan.delay_max_ms + 1)]
        } else {
            draw_arrivals(&mut self.net, &faults, self.plan.delay_max_ms)
        };
        if arrivals.is_empty() {
            self.world.tells.lose(id);
        }
        for (place, delay) in arrivals.iter().enumerate() {
            let again = place + 1 < arrivals.len();
            self.after(*delay, Event::Tell(id, again));
        }
    }

    /// Plans a late call, which may also be lost.
    pub(super) fn plan_late(&mut self, late: Late) {
        let span_ms = late.until_ms.saturating_sub(self.world.now_ms);
        match draw_late(&mut self.net, span_ms) {
            Some(delay) => self.after(delay, Event::Late(Box::new(late))),
            None => self.world.flights.lose_late(&late),
        }
    }
}

/// Returns true if the answer to a read may be damaged in transit, and then notes it in
/// `damaged_ms`. A get of a name that holds nothing cannot be, and a second get of a name within a
/// minute is not.
fn can_be_damaged(world: &World, damaged_ms: &mut BTreeMap<Name, u64>, call: &Call) -> bool {
    const ONCE_IN_MS: u64 = 60_000;
    let Call::Get(name) = call else { return true };
    let before_ms = damaged_ms.get(name).copied();
    let is_spared = before_ms.is_some_and(|before_ms| world.now_ms < before_ms + ONCE_IN_MS);
    if world.store.get(name).is_none() || is_spared {
        return false;
    }
    damaged_ms.insert(name.clone(), world.now_ms);
    true
}
