//! What to inject, and how it is drawn: plain data and pure functions of a random stream.
//!
//! Every call draws the same number of values, whatever the settings. So one probability can be changed without another run's
//! decisions moving with it.

use std::time::Duration;

use rand::{Rng, RngExt};

/// A distribution of delays, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Latency {
    /// No delay: the call does not even yield.
    None,
    /// Uniform between two bounds, both inclusive.
    Uniform {
        /// The shortest.
        min_us: u64,
        /// The longest.
        max_us: u64,
    },
    /// Log-normal, the usual shape of services: most calls near the median, a long tail. Cut off at ten times the 99th percentile.
    LogNormal {
        /// Half of the delays are below.
        median_us: u64,
        /// 99 in 100 are below; more than the median.
        p99_us: u64,
    },
}

/// The 99th percentile of the standard normal distribution.
const NORMAL_P99: f64 = 2.326_347_9;
/// The longest delay that a log-normal distribution gives, as a multiple of its 99th percentile: one draw in a million is beyond it
/// for the profiles below, and a bound lets [`FaultyStore`](crate::FaultyStore) state a grace time.
const TAIL_P99_MULTIPLE: u64 = 10;

impl Latency {
    /// S3 standard class, small objects, same region: about 20 ms with a tail.
    pub const S3: Latency = Latency::LogNormal { median_us: 20_000, p99_us: 120_000 };
    /// DynamoDB, same region: about 5 ms.
    pub const DYNAMODB: Latency = Latency::LogNormal { median_us: 5_000, p99_us: 20_000 };
    /// Redis in the same zone: about half a millisecond.
    pub const REDIS: Latency = Latency::LogNormal { median_us: 500, p99_us: 2_000 };

    /// The same delay each time.
    pub const fn fixed(us: u64) -> Latency {
        Latency::Uniform { min_us: us, max_us: us }
    }

    /// No delay is longer.
    pub const fn max(self) -> Duration {
        match self {
            Latency::None => Duration::ZERO,
            Latency::Uniform { max_us, .. } => Duration::from_micros(max_us),
            Latency::LogNormal { p99_us, .. } => Duration::from_micros(p99_us * TAIL_P99_MULTIPLE),
        }
    }

    /// One delay. Draws two values.
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
                let normal = (-2.0 * (1.0 - one).ln()).sqrt() * (std::f64::consts::TAU * two).cos();
                let us = median_us as f64 * (sigma * normal).exp();
                Duration::from_micros(us as u64).min(self.max())
            }
        }
    }
}

/// The faults to inject. Probabilities are per call, or per piece of a commit, between 0 and 1; the first
/// six exclude each other and sum to at most 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Faults {
    /// The delay of every call. A random share of it passes before the effect, the rest after.
    pub latency: Latency,
    /// Probability: the call takes effect, and its answer is lost.
    pub no_answer_done: f64,
    /// Probability: the call is not answered, and takes effect after a delay drawn from `late`. (A read is just not answered.)
    pub no_answer_late: f64,
    /// Probability: the call is not answered, and never takes effect.
    pub no_answer_never: f64,
    /// Probability: the store says [`Busy`](aft_store::Error::Busy).
    pub busy: f64,
    /// Probability: the call is executed twice, one right after the other, and the second answer is given. So a create that won may
    /// answer `Exists`, as happens when a client library repeats a request whose answer it lost.
    pub twice: f64,
    /// Probability: the call is answered, and lands once more after a delay drawn from `late`, as when a client library
    /// gave up on a first try that was still under way.
    pub again_late: f64,
    /// Probability, for a delete of several names only, drawn apart: a random part of them is deleted, and no answer is given.
    pub delete_partial: f64,
    /// Probability, for a commit only, drawn apart: all of its pieces meet one fate, as in a store
    /// that carries it out at once. Otherwise each piece meets its own, with these probabilities.
    pub commit_whole: f64,
    /// The delay of what lands late.
    pub late: Latency,
}

impl Faults {
    /// Nothing at all.
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

    /// Only delays: a stand-in for a remote store, for benchmarks.
    pub const fn latency_only(latency: Latency) -> Faults {
        Faults { latency, ..Faults::NONE }
    }

    /// Everything, each with probability `each` (at most 1/6), landing up to `late` later. Every
    /// other commit meets its fate as a whole.
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

    /// # Panics
    /// If a probability is out of range or they sum to more than 1.
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

    /// What is to happen to one call.
    pub(crate) fn draw(&self, rng: &mut impl Rng) -> Plan {
        let delay = self.latency.draw(rng);
        let before = delay.mul_f64(rng.random());
        let late = self.late.draw(rng);
        let (partial, share): (f64, f64) = (rng.random(), rng.random());
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

/// What happens to a call, apart from delays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Answered,
    Done,
    Late,
    Never,
    Busy,
    Twice,
    AgainLate,
}

/// The drawn course of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) before: Duration,
    pub(crate) after: Duration,
    pub(crate) late: Duration,
    pub(crate) fate: Fate,
    /// Only this share of the names of a delete takes effect.
    pub(crate) partial: Option<f64>,
}

/// The classes of calls to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the method of the same name")]
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
    TransactGet,
    TransactPut,
}

impl Call {
    /// Every class.
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
        Call::TransactGet,
        Call::TransactPut,
    ];
}

/// Numbers of calls, and of what was injected into them. Of a commit whose pieces went apart,
/// each piece's fault counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Calls, whatever became of them.
    pub calls: u64,
    /// Took effect, answer lost.
    pub no_answer_done: u64,
    /// Not answered, to land later.
    pub no_answer_late: u64,
    /// Not answered, never to land.
    pub no_answer_never: u64,
    /// Told that the store is busy.
    pub busy: u64,
    /// Executed twice.
    pub twice: u64,
    /// Answered, to land once more.
    pub again_late: u64,
    /// Deletes that deleted a part of their names.
    pub delete_partial: u64,
}

impl Counts {
    /// All faults, of any kind; delays are not counted.
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
