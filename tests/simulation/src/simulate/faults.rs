//! What goes wrong and when: the fate of every call and tell, and disturbances of hosts.

use std::cmp::Reverse;

use aft_core::message::Input;
use aft_core::store::{Call, CallError};

use super::{Event, Simulation};
use crate::audit::Verdict;
use crate::flights::{FlightId, Ghost};
use crate::model::is_write;
use crate::world::TellId;

/// A node whose process stood still for longer has lost its heartbeat.
const LEASE_MS: u64 = 1_500;

impl Simulation {
    pub(super) fn set_clock(&mut self, host: usize, half_skew: u64) {
        // Often the clocks agree.
        let half_skew = if self.fault.chance(500) { 0 } else { half_skew - self.plan.clock_grain_ms / 2 };
        self.world.hosts[host].wall_offset_ms = self.fault.below(2 * half_skew + 1) as i64 - half_skew as i64;
    }

    /// The process of a host ran again after a pause: if it was long, the first thing it sees is that its heartbeat is lost.
    pub(super) fn resume(&mut self, host: usize) -> Verdict {
        if self.world.hosts[host].node.is_some() {
            self.world.step(host, Input::HeartbeatLost)?;
            let delay = self.fault.between(1, 1_000);
            self.after(delay, Event::HeartbeatBack(host));
        }
        Ok(())
    }

    pub(super) fn disturb(&mut self) -> Verdict {
        if self.healed {
            return Ok(());
        }
        let host = self.fault.below(self.plan.hosts as u64) as usize;
        let now_ms = self.world.now_ms;
        match self.fault.below(8) {
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
            5 => self.drain(host)?,
            _ => {
                let slot = &self.world.hosts[host];
                let holds = !slot.maintains;
                if self.paused_until[host] <= now_ms && !slot.heartbeat_lost && !slot.draining {
                    self.world.step(host, Input::Maintain(holds))?;
                }
            }
        }
        Ok(())
    }

    fn drain(&mut self, host: usize) -> Verdict {
        let slot = &self.world.hosts[host];
        let Some(node) = self.world.node_id(host) else { return Ok(()) };
        if slot.draining || self.paused_until[host] > self.world.now_ms {
            return Ok(());
        }
        self.world.drain(host)?;
        let patience_ms = self.plan.settings.timeout_max_ms + self.plan.settings.slack_ms;
        self.after(patience_ms, Event::DrainOver(host, node));
        Ok(())
    }

    pub(super) fn plan_flight(&mut self, id: FlightId) {
        let Some(flight) = self.world.flights.get(&id) else { return };
        let (write, fetch) = (is_write(&flight.call), matches!(flight.call, Call::Fetch { .. }));
        let delay_max = if self.healed { 1 } else { self.plan.delay_max_ms };
        let there = self.net.below(delay_max + 1);
        let back = self.net.below(delay_max + 1);
        let timeout = self.plan.call_timeout_ms;
        let faults = &self.plan.faults;
        if !self.healed && self.net.chance(faults.busy) {
            return self.after(there + back, Event::Fail(id, CallError::Busy, None));
        }
        if !self.healed && self.net.chance(faults.refused) {
            let error = CallError::Refused(format!("planned for {}#{}", id.node, id.call.0));
            return self.after(there + back, Event::Fail(id, error, None));
        }
        if !self.healed && !write && self.net.chance(faults.damaged) {
            let error = CallError::Damaged(format!("planned for {}#{}", id.node, id.call.0));
            return self.after(there + back, Event::Fail(id, error, None));
        }
        if !self.healed && self.net.chance(faults.no_answer) {
            let grace = self.plan.settings.grace_ms;
            let fate = self.net.below(3);
            if fate == 0 {
                let lands = self.net.below(timeout);
                self.after(lands, Event::Land(id));
            }
            let late = (fate == 1 && write && grace > timeout).then(|| self.world.now_ms + grace);
            return self.after(timeout, Event::Fail(id, CallError::NoAnswer, late));
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

    pub(super) fn plan_tell(&mut self, id: TellId) {
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

    pub(super) fn plan_ghost(&mut self, ghost: Ghost) {
        let span = ghost.until_ms.saturating_sub(self.world.now_ms);
        if span == 0 || self.net.chance(400) {
            self.world.ghosts.remove(&ghost); // it never lands
            return;
        }
        // Often at the last moment: that is where relations between times are tested.
        let delay = if self.net.chance(300) { span } else { self.net.below(span + 1) };
        self.after(delay, Event::Ghost(ghost));
    }
}
