//! The measurements as they are stored: the object in `data.json`. CSV, plots and page are made
//! from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The form of floating-point numbers in `data.json`: six significant digits, which is more than a
/// measurement is good for and reads back exactly. `null` replaces what is no number, such as the
/// result of a division by zero.
mod float {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// A type that holds floating-point numbers.
    pub(super) trait Floats: Sized {
        /// The type that is serialised in its place.
        type Written: Serialize + for<'a> Deserialize<'a>;
        fn written(&self) -> Self::Written;
        fn read(written: Self::Written) -> Self;
    }

    impl Floats for f64 {
        type Written = Option<f64>;
        fn written(&self) -> Option<f64> {
            self.is_finite().then(|| format!("{self:.5e}").parse().unwrap_or(*self))
        }
        fn read(written: Option<f64>) -> f64 {
            written.unwrap_or(f64::NAN)
        }
    }

    impl Floats for Option<f64> {
        type Written = Option<f64>;
        fn written(&self) -> Option<f64> {
            self.and_then(|value| value.written())
        }
        fn read(written: Option<f64>) -> Option<f64> {
            written
        }
    }

    impl Floats for BTreeMap<String, f64> {
        type Written = BTreeMap<String, Option<f64>>;
        fn written(&self) -> Self::Written {
            self.iter().map(|(name, value)| (name.clone(), value.written())).collect()
        }
        fn read(written: Self::Written) -> Self {
            written.into_iter().map(|(name, value)| (name, f64::read(value))).collect()
        }
    }

    pub(super) fn serialize<F: Floats, S: Serializer>(floats: &F, serializer: S) -> Result<S::Ok, S::Error> {
        floats.written().serialize(serializer)
    }

    pub(super) fn deserialize<'a, F: Floats, D: Deserializer<'a>>(deserializer: D) -> Result<F, D::Error> {
        F::Written::deserialize(deserializer).map(F::read)
    }
}

/// All that was measured, perhaps in several runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Data {
    /// The run that measured every figure without a run of its own.
    #[serde(flatten)]
    pub run: Run,
    /// In the paper's order.
    pub figures: Vec<Figure>,
}

/// A run of the program: its machine, its time and its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The machine, its system and the build of `aft`, in words.
    pub machine: String,
    /// The versions of `aft` and of the servers, by name.
    pub versions: BTreeMap<String, String>,
    /// The day, as `2026-11-30`.
    pub day: String,
    /// The seed; the same seed gives the same keys.
    pub seed: u64,
    /// The command that repeats the run.
    pub command: String,
    /// The time that the run took in seconds, with starting the services and without builds.
    #[serde(with = "float")]
    pub took_s: f64,
    /// The load average of the minute before, which shows what else the machine did. None if the
    /// system does not report it, and in runs that are older than this field.
    #[serde(with = "float", default, skip_serializing_if = "Option::is_none")]
    pub load_before: Option<f64>,
}

impl Data {
    /// Adds the figures of `earlier` that this run did not measure; each keeps its own run. `ids`
    /// are the existing figures in their order: an earlier figure with another name is dropped.
    pub(crate) fn with_earlier<'a>(self, earlier: Data, ids: impl Iterator<Item = &'a str>) -> Data {
        // Every figure beside the run that measured it, the new ones first.
        let of_their_runs = |data: Data| {
            let run = data.run;
            let each = move |figure: Figure| (figure.run.clone().unwrap_or_else(|| run.clone()), figure);
            data.figures.into_iter().map(each)
        };
        let newest = self.run.clone();
        let mut found: Vec<(Run, Figure)> = of_their_runs(self).collect();
        for (run, figure) in of_their_runs(earlier) {
            if found.iter().all(|(_, measured)| measured.id != figure.id) {
                found.push((run, figure));
            }
        }
        // The run at the head is that of most figures, so that few have to name their own. If two
        // runs have the same number of figures, it is the newer one.
        let count = |run: &Run| found.iter().filter(|(of, _)| of == run).count();
        let mut head = newest;
        for (run, _) in &found {
            if count(run) > count(&head) {
                head = run.clone();
            }
        }
        let mut figures = Vec::new();
        for id in ids {
            let at = found.iter().position(|(_, figure)| figure.id == id);
            if let Some((run, figure)) = at.map(|at| found.swap_remove(at)) {
                figures.push(Figure { run: Some(run).filter(|run| *run != head), ..figure });
            }
        }
        Data { run: head, figures }
    }

    /// Returns the runs other than the one at the head, each with the figures that it measured.
    pub(crate) fn other_runs(&self) -> Vec<(&Run, Vec<&Figure>)> {
        let mut runs: Vec<(&Run, Vec<&Figure>)> = Vec::new();
        for figure in &self.figures {
            let Some(run) = &figure.run else { continue };
            match runs.iter_mut().find(|(known, _)| *known == run) {
                Some((_, figures)) => figures.push(figure),
                None => runs.push((run, vec![figure])),
            }
        }
        runs
    }
}

/// One of the paper's figures or tables, or one of ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// The figure's name, which is used in file names: letters, digits and hyphens.
    pub id: String,
    /// A heading.
    pub title: String,
    /// The figure's place in the paper, such as `figure 2`; empty if the paper does not have it.
    pub paper: String,
    /// A description of the load, one sentence a line.
    pub about: String,
    /// The unit of [`Cell::x`], such as `writes in a transaction`. If it is empty, every way has
    /// one cell for each store.
    pub x: String,
    /// The quantity that a plot draws over `x`.
    pub y: Y,
    /// The measurements.
    pub cells: Vec<Cell>,
    /// The paper's numbers for the same.
    pub published: Vec<Published>,
    /// This project's aims for the figure.
    pub bounds: Vec<Bound>,
    /// The run that measured it, unless it is that of the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
}

/// The quantity that a plot draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Y {
    /// Latency: the median, and the 99th percentile fainter.
    Latency,
    /// Transactions a second.
    Throughput,
    /// Dollars per million transactions.
    Dollars,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cell {
    /// `S3`, `DynamoDB`, `Redis`, `local` or `memory`.
    pub store: String,
    /// The speed of the store: that of the server on this machine, or slowed down.
    pub speed: Speed,
    /// The way in which the work was done, such as `aft`, `plain` or `store's transactions`.
    pub way: String,
    /// The point on the figure's axis; 0 if it has none.
    #[serde(with = "float")]
    pub x: f64,
    /// The results.
    pub seen: Seen,
}

/// The speed at which the store answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Speed {
    /// The speed of the server on this machine.
    AsIs,
    /// Every call delayed by a draw from the cloud's published latency.
    Cloud,
}

/// The results of a measurement.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Transactions that ended well.
    pub transactions: u64,
    /// Attempts that those transactions took.
    pub attempts: u64,
    /// Transactions that ended well, per second.
    #[serde(with = "float")]
    pub transactions_per_s: f64,
    /// The median latency in milliseconds.
    #[serde(with = "float")]
    pub p50_ms: f64,
    /// The 99th percentile of the latency in milliseconds.
    #[serde(with = "float")]
    pub p99_ms: f64,
    /// Transactions that read a key of their own writing and got another write.
    pub own_write: u64,
    /// Transactions that read a version together with one that is too old for it (fractured reads).
    pub fractured: u64,
    /// Effects that happened twice (where effects are counted).
    pub double: u64,
    /// Requests that happened in part (where effects are counted).
    pub half: u64,
    /// Superseded versions that were removed meanwhile, per transaction; none where this was not
    /// counted.
    #[serde(with = "float", default)]
    pub removed: Option<f64>,
    /// Calls to the store per transaction, by call. Where requests were counted by the classes of
    /// their price, they are listed by class.
    #[serde(with = "float")]
    pub requests: BTreeMap<String, f64>,
    /// The list price of those requests in US dollars per million transactions; none where the
    /// store does not charge by request.
    #[serde(with = "float")]
    pub dollars_per_million: Option<f64>,
    /// Attempts that failed, by code.
    pub errors: BTreeMap<String, u64>,
}

impl Seen {
    /// Adds a second run of the same length: counts are summed, all other numbers are averaged.
    pub(crate) fn join(&mut self, other: Seen) {
        let mean = |one: f64, other: f64| f64::midpoint(one, other);
        let sum = |one: &mut BTreeMap<String, u64>, other: BTreeMap<String, u64>| {
            for (name, count) in other {
                *one.entry(name).or_default() += count;
            }
        };
        self.transactions += other.transactions;
        self.attempts += other.attempts;
        self.transactions_per_s = mean(self.transactions_per_s, other.transactions_per_s);
        self.p50_ms = mean(self.p50_ms, other.p50_ms);
        self.p99_ms = mean(self.p99_ms, other.p99_ms);
        self.own_write += other.own_write;
        self.fractured += other.fractured;
        self.double += other.double;
        self.half += other.half;
        self.removed = self.removed.zip(other.removed).map(|(one, other)| mean(one, other));
        for (name, per_transaction) in &mut self.requests {
            *per_transaction = mean(*per_transaction, other.requests.get(name).copied().unwrap_or(0.0));
        }
        let dollars = self.dollars_per_million.zip(other.dollars_per_million);
        self.dollars_per_million = dollars.map(|(one, other)| mean(one, other));
        sum(&mut self.errors, other.errors);
    }
}

/// A figure of the paper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Published {
    /// The store, named like [`Cell::store`].
    pub store: String,
    /// The way, named like [`Cell::way`].
    pub way: String,
    /// The point, as in [`Cell::x`].
    #[serde(with = "float")]
    pub x: f64,
    /// The median latency in milliseconds.
    #[serde(with = "float")]
    pub p50_ms: Option<f64>,
    /// The 99th percentile of the latency in milliseconds.
    #[serde(with = "float")]
    pub p99_ms: Option<f64>,
    /// Transactions a second.
    #[serde(with = "float")]
    pub transactions_per_s: Option<f64>,
    /// Own-write anomalies in 10,000 transactions.
    pub own_write: Option<u64>,
    /// Fractured reads in 10,000 transactions.
    pub fractured: Option<u64>,
}

/// A bound on a ratio or a count: the aim, and the measured value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bound {
    /// The bounded quantity, such as `S3 at cloud speed: median of aft / plain`.
    pub what: String,
    /// The measured value.
    #[serde(with = "float")]
    pub seen: f64,
    /// The greatest permitted value, or the least if `at_least` is set.
    #[serde(with = "float")]
    pub aim: f64,
    /// True if `aim` is a lower bound.
    pub at_least: bool,
    /// The paper's own figure for the same, if it has one.
    #[serde(with = "float")]
    pub paper: Option<f64>,
}

impl Bound {
    /// Returns true if the aim is reached.
    pub(crate) fn holds(&self) -> bool {
        if self.at_least { self.seen >= self.aim } else { self.seen <= self.aim }
    }
}
