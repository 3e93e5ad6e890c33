//! What happened when, for the report's plots.

use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

/// What befell a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// It was killed.
    Killed,
    /// Its request was delivered twice.
    Twice,
    /// It went on after it had been given up.
    Late,
}

/// What an auditor saw at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    /// Seconds since the start.
    pub(crate) at_s: f64,
    pub(crate) pair: u32,
    /// What the pair held beyond what it should.
    pub(crate) money_off: i64,
}

/// Events and samples of one run, bounded by the run's length.
#[derive(Debug)]
pub(crate) struct Timeline {
    start: Instant,
    entries: Mutex<Entries>,
}

/// What a timeline holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entries {
    /// Seconds since the start, and what happened.
    pub(crate) events: Vec<(f64, Event)>,
    pub(crate) samples: Vec<Sample>,
}

impl Timeline {
    /// Starts now.
    pub(crate) fn start() -> Timeline {
        Timeline { start: Instant::now(), entries: Mutex::default() }
    }

    /// Seconds since the start.
    pub(crate) fn now_s(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Something happened now.
    pub(crate) fn note(&self, event: Event) {
        let now = self.now_s();
        self.entries().events.push((now, event));
    }

    /// An auditor looked now.
    pub(crate) fn sample(&self, pair: u32, money_off: i64) {
        let at_s = self.now_s();
        self.entries().samples.push(Sample { at_s, pair, money_off });
    }

    /// What it holds.
    pub(crate) fn take(&self) -> Entries {
        std::mem::take(&mut *self.entries())
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().expect("nothing panics while it holds this lock")
    }
}
