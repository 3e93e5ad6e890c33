//! The faults to inject, and how they are drawn: plain data and pure functions of a random stream.
//!
//! Every call draws the same number of values under all settings. So a change of one probability
//! does not shift the values that later calls draw.

use std::time::Duration;

use rand::{Rng, RngExt};

/// A distribution of delays, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Latency {
    /// The absence of delays: a call does not even yield.
    None,
    /// A uniform distribution between two bounds, both inclusive.
    Uniform {
        /// The shortest delay.
        min_us: u64,
        /// The longest delay.
        max_us: u64,
    },
    /// A log-normal distribution, the usual shape of services: most calls near the median, and a
    /// long tail. It is cut off at ten times the 99th percentile.
    LogNormal {
        /// The median: half of the delays are below it.
        median_us: u64,
        /// The 99th percentile: 99 in 100 delays are below it. Greater than the median.
        p99_us: u64,
    },
}

/// The 99th percentile of the standard normal distribution.
const NORMAL_P99: f64 = 2.326_347_9;
/// The longest delay that a log-normal distribution gives, as a multiple of its 99th percentile:
/// one draw in a million is beyond it for the profiles below, and a bound lets
/// [`FaultyStore`](crate::FaultyStore) state a grace time.
const TAIL_P99_MULTIPLE: u64 = 10;

impl Latency {
    /// S3 standard class, small objects, same region: about 20 ms with a tail.
    pub const S3: Latency = Latency::LogNormal { median_us: 20_000, p99_us: 120_000 };
    /// DynamoDB, same region: about 5 ms.
    pub const DYNAMODB: Latency = Latency::LogNormal { median_us: 5_000, p99_us: 20_000 };
    /// Redis in the same zone: about half a millisecond.
    pub const REDIS: Latency = Latency::LogNormal { median_us: 500, p99_us: 2_000 };

    /// Returns the distribution that always gives the same delay.
    pub const fn fixed(us: u64) -> Latency {
        Latency::Uniform { min_us: us, max_us: us }
    }

    /// Returns the longest delay that the distribution gives.
    pub const fn max(self) -> Duration {
        match self {
            Latency::None => Duration::ZERO,
            Latency::Uniform { max_us, .. } => Duration::from_micros(max_us),
            Latency::LogNormal { p99_us, .. } => Duration::from_micros(p99_us * TAIL_P99_MULTIPLE),
        }
    }

    /// Draws a delay. Always takes two values from `rng`.
    pub(crate) fn draw(self, rng: &mut impl Rng) -> Duration {
        let (one, two): (f64, f64) = (rng.random(), rng.random());
        match self {
            Latency::None => Duration::ZERO,
            Latency::Uniform { min_us, max_us } => {
                assert!(min_us <= max_us, "delays from {min_us} to {max_us} us");
                Duration::from_micros(min_us + ((max_us - min_us + 1) as f64 * one) as u64)
            }
            Latency::LogNormal { median_us, p99_us } => {
                assert!(0 < median_us && median_us < p99_us, "median {median_us} us, p99 {p99_us} us");
                let sigma = (p99_us as f64 / median_us as f64).ln() / NORMAL_P99;
                // Box and Muller's transform of two uniform values.
                let normal = (-2.0 * (1.0 - one).ln()).sqrt() * (std::f64::consts::TAU * two).cos();
                let us = median_us as f64 * (sigma * normal).exp();
                Duration::from_micros(us as u64).min(self.max())
            }
        }
    }
}

/// The faults to inject. Probabilities are for each call, or each piece of a commit, and between 0
/// and 1. The first six exclude each other and sum to at most 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Faults {
    /// The delay of every call. A random share of it passes before the effect, the rest after it.
    pub latency: Latency,
    /// The probability that the call takes effect and its answer is lost.
    pub no_answer_done: f64,
    /// The probability that the call is not answered and takes effect after a delay drawn from
    /// `late`. (A read is just not answered.)
    pub no_answer_late: f64,
    /// The probability that the call is not answered and never takes effect.
    pub no_answer_never: f64,
    /// The probability that the store answers [`Busy`](aft_store::Error::Busy).
    pub busy: f64,
    /// The probability that the call is executed twice in a row and the second answer is returned.
    /// So a create that won may answer `Exists`, as happens when a client library repeats a request
    /// whose answer was lost.
    pub twice: f64,
    /// The probability that the call is answered and takes effect once more after a delay drawn
    /// from `late`, as when a client library timed out on a first try that was still in flight.
    pub again_late: f64,
    /// The probability, drawn separately and only for a delete of several names, that a random part
    /// of them is deleted and no answer is returned.
    pub delete_partial: f64,
    /// The probability, drawn separately and only for a commit, that all of its pieces have the
    /// same fate, as in a store that carries them out as one. Otherwise each piece has its own,
    /// with the probabilities above.
    pub commit_whole: f64,
    /// The delay of effects that come late.
    pub late: Latency,
}

impl Faults {
    /// Settings without faults and delays.
    pub const NONE: Faults = Faults {
        latency: Latency::None,
        no_answer_done: 0.0,
        no_answer_late: 0.0,
        no_answer_never: 0.0,
        busy: 0.0,
        twice: 0.0,
        again_late: 0.0,
        delete_partial: 0.0,
        commit_whole: 0.0,
        late: Latency::None,
    };

    /// Returns settings with delays and no faults, which imitate a remote store for benchmarks.
    pub const fn latency_only(latency: Latency) -> Faults {
        Faults { latency, ..Faults::NONE }
    }

    /// Returns settings with every fault, each with probability `each` (at most 1/6). Late effects
    /// come after a delay drawn from `late`. Half of the commits have one fate as a whole.
    pub const fn all(each: f64, latency: Latency, late: Latency) -> Faults {
        Faults {
            latency,
            no_answer_done: each,
            no_answer_late: each,
            no_answer_never: each,
            busy: each,
            twice: each,
            again_late: each,
            delete_partial: each,
            commit_whole: 0.5,
            late,
        }
    }

    /// Checks the probabilities.
    ///
    /// # Panics
    /// Panics if a probability is out of range, or the first six sum to more than 1.
    pub(crate) fn check(&self) {
        let each = self.probabilities().map(|(_, probability)| probability);
        assert!(each.iter().all(|p| (0.0..=1.0).contains(p)), "probabilities in {self:?}");
        assert!(each.iter().sum::<f64>() <= 1.0 + 1e-9, "probabilities sum to more than 1 in {self:?}");
        assert!((0.0..=1.0).contains(&self.delete_partial), "delete_partial in {self:?}");
        assert!((0.0..=1.0).contains(&self.commit_whole), "commit_whole in {self:?}");
    }

    fn probabilities(&self) -> [(Fate, f64); 6] {
        [
            (Fate::Done, self.no_answer_done),
            (Fate::Late, self.no_answer_late),
            (Fate::Never, self.no_answer_never),
            (Fate::Busy, self.busy),
            (Fate::Twice, self.twice),
            (Fate::AgainLate, self.again_late),
        ]
    }

    /// Draws the course of one call.
    pub(crate) fn draw(&self, rng: &mut impl Rng) -> Plan {
        let delay = self.latency.draw(rng);
        let before = delay.mul_f64(rng.random());
        let late = self.late.draw(rng);
        let (partial, share): (f64, f64) = (rng.random(), rng.random());
        // The six fates share the interval from 0 to 1; the rest of it is an answered call.
        let mut left = rng.random::<f64>();
        let mut fate = Fate::Answered;
        for (candidate, probability) in self.probabilities() {
            if left < probability {
                fate = candidate;
                break;
            }
            left -= probability;
        }
        Plan {
            before,
            after: delay - before,
            late,
            fate,
            partial: (partial < self.delete_partial).then_some(share),
        }
    }
}

/// The fate of a call, apart from delays: one for each of the first six probabilities of
/// [`Faults`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Takes effect once and is answered.
    Answered,
    /// Takes effect, but the answer is lost.
    Done,
    /// Has no answer, and takes effect late.
    Late,
    /// Has no answer, and never takes effect.
    Never,
    /// Fails with `Busy`, and takes no effect.
    Busy,
    /// Takes effect twice in a row; the second answer is returned.
    Twice,
    /// Takes effect and is answered, and takes effect once more, late.
    AgainLate,
}

/// The drawn course of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) before: Duration,
    pub(crate) after: Duration,
    pub(crate) late: Duration,
    pub(crate) fate: Fate,
    /// The share of the names that a partial delete removes; `None` if a delete is not partial.
    pub(crate) partial: Option<f64>,
}

/// The classes of calls to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each without a comment is the method of the same name")]
pub enum Call {
    Get,
    Put,
    Create,
    Replace,
    Delete,
    DeleteIf,
    List,
    Groups,
    Commit,
    Scan,
    /// Calls of [`FaultyStore::around_read`](crate::FaultyStore::around_read).
    OtherRead,
    /// Calls of [`FaultyStore::around_write`](crate::FaultyStore::around_write).
    OtherWrite,
}

impl Call {
    /// All classes.
    pub const ALL: [Call; 12] = [
        Call::Get,
        Call::Put,
        Call::Create,
        Call::Replace,
        Call::Delete,
        Call::DeleteIf,
        Call::List,
        Call::Groups,
        Call::Commit,
        Call::Scan,
        Call::OtherRead,
        Call::OtherWrite,
    ];
}

/// The number of calls, and of the faults injected into them. If the pieces of a commit have fates
/// of their own, each piece's fault counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All calls, with or without a fault.
    pub calls: u64,
    /// Calls that took effect and whose answer was lost.
    pub no_answer_done: u64,
    /// Calls that were not answered and take effect later.
    pub no_answer_late: u64,
    /// Calls that were not answered and never take effect.
    pub no_answer_never: u64,
    /// Calls that were answered with `Busy`.
    pub busy: u64,
    /// Calls that were executed twice.
    pub twice: u64,
    /// Calls that were answered and take effect once more.
    pub again_late: u64,
    /// Deletes that deleted a part of their names.
    pub delete_partial: u64,
}

impl Counts {
    /// Returns the number of faults of all kinds. Delays are not counted.
    pub fn faults(&self) -> u64 {
        let unanswered = self.no_answer_done + self.no_answer_late + self.no_answer_never;
        unanswered + self.busy + self.twice + self.again_late + self.delete_partial
    }

    pub(crate) fn count(&mut self, plan: &Plan, may_be_partial: bool) {
        self.calls += 1;
        if may_be_partial && plan.partial.is_some() {
            self.delete_partial += 1;
            return;
        }
        self.count_fate(plan.fate);
    }

    pub(crate) fn count_fate(&mut self, fate: Fate) {
        match fate {
            Fate::Answered => {}
            Fate::Done => self.no_answer_done += 1,
            Fate::Late => self.no_answer_late += 1,
            Fate::Never => self.no_answer_never += 1,
            Fate::Busy => self.busy += 1,
            Fate::Twice => self.twice += 1,
            Fate::AgainLate => self.again_late += 1,
        }
    }

    pub(crate) fn add(&mut self, other: &Counts) {
        self.calls += other.calls;
        self.no_answer_done += other.no_answer_done;
        self.no_answer_late += other.no_answer_late;
        self.no_answer_never += other.no_answer_never;
        self.busy += other.busy;
        self.twice += other.twice;
        self.again_late += other.again_late;
        self.delete_partial += other.delete_partial;
    }
}
