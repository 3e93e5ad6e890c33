//! The events of a run over time, for the report's plots.

use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

/// A fault that was injected into a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The function was killed.
    Killed,
    /// The function's request was delivered twice.
    Twice,
    /// The function continued after its attempt had been abandoned.
    Late,
}

/// An auditor's observation of a pair at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    /// The time of the audit, in seconds since the start.
    pub(crate) at_s: f64,
    pub(crate) pair: u32,
    /// The sum of the pair minus the sum that it should have.
    pub(crate) money_off: i64,
}

/// The events and samples of one run. Their number is bounded by the length of the run.
#[derive(Debug)]
pub(crate) struct Timeline {
    start: Instant,
    entries: Mutex<Entries>,
}

/// The contents of a timeline.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entries {
    /// The events, each with its time in seconds since the start.
    pub(crate) events: Vec<(f64, Event)>,
    pub(crate) samples: Vec<Sample>,
}

impl Timeline {
    /// Returns an empty timeline that starts now.
    pub(crate) fn start() -> Timeline {
        Timeline { start: Instant::now(), entries: Mutex::default() }
    }

    /// Returns the seconds since the start.
    pub(crate) fn now_s(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Records an event at the current time.
    pub(crate) fn note(&self, event: Event) {
        let now = self.now_s();
        self.entries().events.push((now, event));
    }

    /// Records an audit at the current time.
    pub(crate) fn sample(&self, pair: u32, money_off: i64) {
        let at_s = self.now_s();
        self.entries().samples.push(Sample { at_s, pair, money_off });
    }

    /// Takes the contents.
    pub(crate) fn take(&self) -> Entries {
        std::mem::take(&mut *self.entries())
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().expect("nothing panics while it holds this lock")
    }
}
