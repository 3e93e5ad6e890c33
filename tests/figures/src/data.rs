//! What was measured, as it is written down: the object of `data.json`, of which CSV, plots and page are views.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Floating-point numbers as `data.json` has them: six digits, more than a measurement is good for, and exactly the same when
/// they are read again; `null` where there is no number, as after a division by zero.
mod float {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// What holds such numbers.
    pub(super) trait Floats: Sized {
        /// As it is written.
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
    /// The run that measured every figure that names no other.
    #[serde(flatten)]
    pub run: Run,
    /// In the paper's order.
    pub figures: Vec<Figure>,
}

/// A run: on what, when and how it was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// What it was measured on.
    pub machine: String,
    /// Of `aft` and of the servers, by name.
    pub versions: BTreeMap<String, String>,
    /// The day, as `2026-11-30`.
    pub day: String,
    /// Gives the same keys again.
    pub seed: u64,
    /// What was typed.
    pub command: String,
    /// How long it all took, in seconds, services included, builds not.
    #[serde(with = "float")]
    pub took_s: f64,
    /// Programs that wanted a processor in the minute before (the load average): what else the
    /// machine did. None where the system does not tell, and in runs of before it was kept.
    #[serde(with = "float", default, skip_serializing_if = "Option::is_none")]
    pub load_before: Option<f64>,
}

impl Data {
    /// Takes the figures of an earlier run that this one did not measure; each keeps its own run.
    /// `ids` are the figures that there are, in their order: an earlier one of another name goes.
    pub(crate) fn with_earlier<'a>(self, earlier: Data, ids: impl Iterator<Item = &'a str>) -> Data {
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
        // The head is the run of most figures; of two the newer.
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

    /// The runs of figures that are not of the first, each with its figures.
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
    /// Its name in file names: letters, digits and hyphens.
    pub id: String,
    /// A heading.
    pub title: String,
    /// Where the paper has it, as `figure 2`; empty if nowhere.
    pub paper: String,
    /// The load, in a sentence or two.
    pub about: String,
    /// What [`Cell::x`] counts, as `writes in a transaction`. Empty: every way has one cell a store.
    pub x: String,
    /// What a plot draws over `x`.
    pub y: Y,
    /// What was measured.
    pub cells: Vec<Cell>,
    /// What the paper says of the same.
    pub published: Vec<Published>,
    /// What this project aims at.
    pub bounds: Vec<Bound>,
    /// The run that measured it, unless it is that of the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
}

/// What a plot draws.
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
    /// Whether the store answered as fast as the emulator does here, or was slowed down.
    pub speed: Speed,
    /// How the work was done, as `aft`, `plain`, `store's transactions`.
    pub way: String,
    /// The point on the figure's axis; 0 if it has none.
    #[serde(with = "float")]
    pub x: f64,
    /// What was seen.
    pub seen: Seen,
}

/// How fast the store answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Speed {
    /// As the server on this machine does.
    AsIs,
    /// Every call delayed by a draw from the cloud's published latency.
    Cloud,
}

/// What a measurement saw.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Transactions that ended well.
    pub transactions: u64,
    /// Attempts that they took.
    pub attempts: u64,
    /// Of them, a second.
    #[serde(with = "float")]
    pub transactions_per_s: f64,
    /// Half were at least as fast, in milliseconds.
    #[serde(with = "float")]
    pub p50_ms: f64,
    /// 99 % were.
    #[serde(with = "float")]
    pub p99_ms: f64,
    /// Transactions that read a key of their own writing and got another write.
    pub own_write: u64,
    /// Transactions that read a version together with one that is too old for it.
    pub fractured: u64,
    /// Effects that happened twice (where effects are counted).
    pub double: u64,
    /// Requests of which a part happened (where effects are counted).
    pub half: u64,
    /// Superseded versions that went meanwhile, per transaction; none where nobody looked.
    #[serde(with = "float", default)]
    pub removed: Option<f64>,
    /// Calls to the store per transaction, by call; requests by the classes of their price where they were counted as such.
    #[serde(with = "float")]
    pub requests: BTreeMap<String, f64>,
    /// Their list price in US dollars per million transactions; none where the store does not charge by request.
    #[serde(with = "float")]
    pub dollars_per_million: Option<f64>,
    /// Attempts that failed, by code.
    pub errors: BTreeMap<String, u64>,
}

impl Seen {
    /// Counts a second run of the same length in: sums of what is counted, means of what is not.
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
    /// As [`Cell::store`].
    pub store: String,
    /// As [`Cell::way`].
    pub way: String,
    /// As [`Cell::x`].
    #[serde(with = "float")]
    pub x: f64,
    /// Of the latency, in milliseconds.
    #[serde(with = "float")]
    pub p50_ms: Option<f64>,
    /// Of the latency, in milliseconds.
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

/// One measured against one other: the aim, and what was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bound {
    /// What is bounded, as `S3 at cloud speed: median of aft / plain`.
    pub what: String,
    /// What was seen.
    #[serde(with = "float")]
    pub seen: f64,
    /// The most that it may be; the least, if `at_least`.
    #[serde(with = "float")]
    pub aim: f64,
    /// Whether `aim` is a lower bound.
    pub at_least: bool,
    /// The paper's own figure for the same, if it has one.
    #[serde(with = "float")]
    pub paper: Option<f64>,
}

impl Bound {
    /// Whether the aim is reached.
    pub(crate) fn holds(&self) -> bool {
        if self.at_least { self.seen >= self.aim } else { self.seen <= self.aim }
    }
}
