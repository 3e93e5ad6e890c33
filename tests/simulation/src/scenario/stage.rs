//! A world in preparation: requests run in one order and time passes without faults, until it
//! becomes the first state of a [`Scenario`].
//!
//! Its fields are plain data, which the worlds set up by hand where no method does.

use aft_core::bug::Bug;
use aft_core::ids::Session;
use aft_core::settings::Settings;
use aft_core::store::Call;
use aft_sim::clocks::Pause;

use super::requests::{k, l, m, writes};
use crate::draw::small_settings;
use crate::explore::{Budget, Scenario, complete, run_attempt, run_for};
use crate::hosts::Role;
use crate::script::Request;
use crate::world::World;

/// The number of states at which the search of one world is cut; `AFT_SIM_DEEP=1` raises it.
const STATES_MAX: usize = 20_000;
/// The number of states at which a deep search is cut, because of memory: about 5 KiB for each
/// state on the search's stack.
const STATES_DEEP_MAX: usize = 3_000_000;

pub(super) const MEMBER: [Role; 1] = [Role::Member];
pub(super) const MEMBERS: [Role; 2] = [Role::Member; 2];

/// A world in preparation.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) world: World,
    /// Attempts that begin only when others have ended; see [`Scenario::after`].
    pub(super) after: Vec<(usize, usize, bool)>,
    /// Spans of time that may pass at any point; see [`Scenario::jumps`].
    pub(super) jumps: Vec<u64>,
}

impl Stage {
    pub(super) fn new(bug: Option<Bug>, roles: &[Role]) -> Stage {
        let mut settings = small_settings(false);
        settings.bug = bug;
        Stage::with(settings, roles)
    }

    pub(super) fn with(settings: Settings, roles: &[Role]) -> Stage {
        let world = World::new(settings, roles, Vec::new(), vec![k(), l()]);
        Stage { world, after: Vec::new(), jumps: Vec::new() }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.world.settings
    }

    /// Adds the key M to the world.
    pub(super) fn three(mut self) -> Stage {
        self.world.keys.push(m());
        self
    }

    /// Adds a request and an attempt of it on `host`, and returns the attempt's number.
    pub(super) fn add(&mut self, request: Request, host: usize) -> usize {
        self.world.requests.push(request);
        let request = self.world.requests.len() - 1;
        self.world.new_attempt(request, host, Session::default())
    }

    /// Adds another attempt of the request that `attempt` runs.
    pub(super) fn again(&mut self, attempt: usize, host: usize) -> usize {
        let request = self.world.attempts[attempt].request;
        self.world.new_attempt(request, host, Session::default())
    }

    /// Adds a reader of K then L on host 1, and one of L then K on host 0.
    pub(super) fn readers(mut self, make: fn(&str) -> Request) -> Stage {
        self.add(make("kl"), 1);
        self.add(make("lk"), 0);
        self
    }

    /// Runs a request to its end.
    pub(super) fn run(&mut self, request: Request, host: usize) -> usize {
        let attempt = self.add(request, host);
        run_attempt(&mut self.world, attempt).unwrap_or_else(|violation| panic!("{violation}"));
        self.pass(1);
        attempt
    }

    /// Commits these writes one after the other, on alternating hosts, with all tells delivered.
    pub(super) fn done(mut self, texts: &[&str]) -> Stage {
        for (number, text) in texts.iter().enumerate() {
            let host = number % self.world.hosts.len();
            self.run(writes(number as u32, text), host);
        }
        self
    }

    /// Lets `ms` pass without faults.
    pub(super) fn pass(&mut self, ms: u64) {
        run_for(&mut self.world, ms).unwrap_or_else(|violation| panic!("{violation}"));
    }

    pub(super) fn passed(mut self, ms: u64) -> Stage {
        self.pass(ms);
        self
    }

    /// Asks host 0 to sweep, or to stop.
    pub(super) fn upkeep(&mut self, on: bool) {
        self.world.upkeep(0, on).unwrap_or_else(|violation| panic!("{violation}"));
    }

    /// Answers the calls of a host until it makes one for which `is_it` holds, which stays in
    /// flight.
    pub(super) fn answer_until(&mut self, host: usize, is_it: impl Fn(&Call) -> bool) {
        loop {
            let own = || self.world.flights.iter().filter(|(_, flight)| flight.host == host);
            if own().any(|(_, flight)| is_it(&flight.call)) {
                return;
            }
            let (next, _) = own().next().expect("the host makes the call that is waited for");
            complete(&mut self.world, next).expect("no promise is broken in the preparation");
        }
    }

    /// Lets one or two sweeps run.
    pub(super) fn swept(mut self) -> Stage {
        self.upkeep(true);
        self.pass(self.settings().sweep_interval_ms + 10);
        self.upkeep(false);
        self
    }

    /// Lets time pass until all committed attempts are over, so that the mark may pass them.
    pub(super) fn over(self) -> Stage {
        let lag_ms = self.settings().target_lag_ms();
        self.passed(lag_ms + 100)
    }

    /// Lets the mark pass all committed attempts, and settle: the next sweep removes.
    pub(super) fn settled(self) -> Stage {
        let settle_ms = self.settings().settle_after_ms();
        // The first sweep moves the mark, the second notes the time at which it saw it there.
        self.over().swept().swept().passed(settle_ms + 100)
    }

    /// Lets the client of an attempt send its next verb and get the reply.
    pub(super) fn verb(&mut self, attempt: usize) {
        self.world.client(attempt).unwrap_or_else(|violation| panic!("{violation}"));
        self.pass(1);
    }

    /// Lets the client of an attempt send its next verb, and answers the first store call of it.
    /// The second one stays in flight.
    pub(super) fn half_a_verb(&mut self, attempt: usize) {
        let clean = "no promise is broken in the preparation";
        self.world.client(attempt).expect(clean);
        let first = self.world.flights.iter().next().expect("the verb leads to a store call").0;
        complete(&mut self.world, first).expect(clean);
        assert!(!self.world.flights.is_empty(), "the answer leads to another call");
    }

    /// Pauses a host while `meanwhile` runs on the others. No clock shows the pause.
    pub(super) fn unseen(mut self, host: usize, meanwhile: impl FnOnce(Stage) -> Stage) -> Stage {
        self.world.pause(host, Pause::Unseen);
        let mut stage = meanwhile(self);
        stage.world.resume(host);
        stage
    }

    /// Makes a scenario of the world as it is now.
    pub(super) fn scenario(mut self, name: &'static str, budget: Budget) -> Scenario {
        self.world.fresh.clear();
        self.world.notes.clear();
        let deep = std::env::var("AFT_SIM_DEEP").is_ok_and(|deep| deep == "1");
        Scenario {
            name,
            world: self.world,
            budget,
            after: self.after,
            jumps: self.jumps,
            states_max: if deep { STATES_DEEP_MAX } else { STATES_MAX },
        }
    }
}
