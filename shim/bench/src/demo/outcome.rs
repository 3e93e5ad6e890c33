//! The results of the demo: a JSON object for programs, and tables side by side for people.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde::Serialize;

use crate::figures::{Anomalies, Figures, json};

/// The results of one run: the common figures, and those that only the demo has.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunFigures {
    /// The common figures. Latencies are from the request to its acknowledgement: at least two
    /// processes, and all attempts. Anomalies are functions that did not see what their attempt had
    /// written, and audits whose two accounts came from different attempts.
    #[serde(flatten)]
    pub common: Figures<Scale>,
    /// Requests that an audit saw half done, or that stayed half done.
    pub half_done: u64,
    /// Requests that were carried out more than once.
    pub double_effects: u64,
    /// Acknowledged requests with at least one effect missing at the end.
    pub lost_effects: u64,
    /// Money that appeared from nowhere, over all pairs that have too much.
    pub money_created: i64,
    /// Money that disappeared, over all pairs that have too little.
    pub money_lost: i64,
    /// Functions killed between their writes.
    pub kills: u64,
    /// Requests delivered twice at the same time.
    pub duplicates: u64,
    /// Functions that continued after another attempt had carried out their request.
    pub zombies: u64,
    /// Audits of a pair of accounts.
    pub audits: u64,
}

/// The load of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Scale {
    /// The number of transfers.
    pub requests: u64,
    /// The number of pairs of accounts.
    pub pairs: u32,
    /// The number of requests in flight at once.
    pub workers: u32,
}

/// The results of the demo. `Display` prints the tables for people; [`Outcome::json`] returns the
/// object for programs.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The results of the direct run and of the run through the shim.
    pub runs: Runs,
    /// The results of the transfers through the shim without an order, at both levels.
    pub balances: Balances,
    /// The machine that the demo ran on.
    pub machine: String,
    /// The path of the HTML report.
    pub report: PathBuf,
    /// The reason why the report could not be written, for people.
    pub report_failed: Option<String>,
    /// True if the stores belonged to the demo, and were removed.
    pub stores_removed: bool,
}

/// The results of the two runs, over the same requests with the same fates.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Runs {
    /// The run directly against the store.
    pub direct: RunFigures,
    /// The run through the shim.
    pub shim: RunFigures,
}

/// The results of transfers through the shim between any two accounts at the same time, at both
/// levels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Balances {
    /// The store's URL.
    pub store: String,
    /// The level `read_atomic`, at which lost updates are possible.
    pub read_atomic: LevelFigures,
    /// The level `serializable`, at which the sum of all balances is preserved.
    pub serializable: LevelFigures,
}

/// The figures of one level.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LevelFigures {
    /// The number of accounts.
    pub accounts: u32,
    /// The number of requested transfers.
    pub transfers: u64,
    /// The number of acknowledged transfers.
    pub acknowledged: u64,
    /// The number of attempts of all transfers.
    pub attempts: u64,
    /// Attempts rejected with `conflict`: another transfer of one of their accounts committed
    /// first.
    pub conflicts: u64,
    /// Functions killed between their writes.
    pub kills: u64,
    /// Requests delivered twice at the same time.
    pub duplicates: u64,
    /// Functions that continued after another attempt had carried out their request.
    pub zombies: u64,
    /// The sum of all balances before the first transfer.
    pub sum_before: i64,
    /// The sum of all balances after the last process has ended.
    pub sum_after: i64,
    /// Acknowledged transfers that are missing at the end in at least one of their accounts.
    pub overwritten: u64,
    /// Transfers that an account lists more than once.
    pub double_effects: u64,
    /// Audits: reads of all accounts in one transaction of the same level, during the transfers.
    pub audits: u64,
    /// Audits that saw a sum different from `sum_before`.
    pub audits_off: u64,
    /// Attempts that failed, by code, except conflicts.
    pub errors: BTreeMap<String, u64>,
    /// Acknowledged transfers per second.
    pub transfers_per_s: f64,
}

impl LevelFigures {
    /// Returns the change of the sum of all balances.
    pub fn sum_off(&self) -> i64 {
        self.sum_after - self.sum_before
    }

    /// Returns true if the sum is unchanged, no acknowledged transfer was overwritten, none was
    /// carried out twice, and no audit saw a different sum.
    pub fn is_exact(&self) -> bool {
        self.sum_off() == 0 && self.overwritten + self.double_effects + self.audits_off == 0
    }

    /// Returns the rows of the table for people.
    pub(crate) fn rows(&self) -> Vec<Row> {
        // The part of the table depends on the kind of figure, and only faults can be wrong.
        let row = |what, text: String, is_wrong, part| Row { what, text, is_wrong, part };
        let fate = |what, n: u64| row(what, n.to_string(), false, Part::Fates);
        let wrong = |what, n: u64| row(what, n.to_string(), n > 0, Part::Balances);
        let sum = |what, n: i64| row(what, n.to_string(), false, Part::Balances);
        let run = |what, text: String| row(what, text, false, Part::Run);
        let off = match self.sum_off() {
            0 => "0".to_owned(),
            off => format!("{off:+}"),
        };
        vec![
            fate("transfers", self.transfers),
            fate("attempts", self.attempts),
            fate("functions killed between writes", self.kills),
            fate("transfers delivered twice at once", self.duplicates),
            fate("zombies: functions that came back after the retry", self.zombies),
            sum("sum of all balances before", self.sum_before),
            sum("sum of all balances after", self.sum_after),
            row("money created or lost", off, self.sum_off() != 0, Part::Balances),
            wrong("acknowledged transfers that were overwritten", self.overwritten),
            wrong("transfers carried out more than once", self.double_effects),
            wrong("audits that saw a different sum", self.audits_off),
            run("conflicts, each followed by another attempt", self.conflicts.to_string()),
            run("transfers not acknowledged", self.transfers.saturating_sub(self.acknowledged).to_string()),
            run("audits", self.audits.to_string()),
            run("errors", self.errors.values().sum::<u64>().to_string()),
            run("transfers/s", format!("{:.1}", self.transfers_per_s)),
        ]
    }
}

impl RunFigures {
    /// Returns true if every request was carried out exactly once and no anomaly was seen.
    pub fn is_clean(&self) -> bool {
        let wrong = self.half_done + self.double_effects + self.lost_effects;
        wrong == 0
            && (self.money_created, self.money_lost) == (0, 0)
            && self.common.anomalies == Anomalies::default()
            && self.common.transactions == self.common.workload.requests
    }

    /// Returns the rows of the table for people.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let fate = |what, n: u64| Row { what, text: n.to_string(), is_wrong: false, part: Part::Fates };
        let wrong = |what, n: u64| Row { what, text: n.to_string(), is_wrong: n > 0, part: Part::Promises };
        let count = |what, n: u64| Row { what, text: n.to_string(), is_wrong: false, part: Part::Run };
        let time = |what, ms: f64| Row { what, text: format!("{ms:.1}"), is_wrong: false, part: Part::Run };
        let missing = self.common.workload.requests.saturating_sub(self.common.transactions);
        vec![
            fate("requests", self.common.workload.requests),
            fate("attempts", self.common.attempts),
            fate("functions killed between writes", self.kills),
            fate("requests delivered twice at once", self.duplicates),
            fate("zombies: functions that came back after the retry", self.zombies),
            wrong("requests not acknowledged", missing),
            wrong("money created", self.money_created.unsigned_abs()),
            wrong("money lost", self.money_lost.unsigned_abs()),
            wrong("transfers seen half done", self.half_done),
            wrong("fractured reads", self.common.anomalies.fractured),
            wrong("own writes not seen", self.common.anomalies.own_write),
            wrong("requests carried out more than once", self.double_effects),
            wrong("acknowledged requests that are lost", self.lost_effects),
            count("audits", self.audits),
            count("errors", self.common.errors.values().sum()),
            time("latency p50, ms", self.common.latency_ms.p50),
            time("latency p99, ms", self.common.latency_ms.p99),
            time("requests/s", self.common.transactions_per_s),
        ]
    }
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) text: String,
    /// True if the figure counts a fault that did occur. Through the shim that is a broken promise,
    /// except at the level `read_atomic` among the balances.
    pub(crate) is_wrong: bool,
    pub(crate) part: Part,
}

/// The parts of the table, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The requests and the injected faults.
    Fates,
    /// Faults, which should be 0.
    Promises,
    /// The sum of all balances, and the faults beside it, which should be 0.
    Balances,
    /// Other figures of the run.
    Run,
}

impl Part {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Part::Fates => "Requests and injected faults",
            Part::Promises => "What must not happen",
            Part::Balances => "The money",
            Part::Run => "The run",
        }
    }
}

/// The explanation of the demo for people. It says plainly what the platform contributes, and what
/// takes the place of the store.
pub(crate) const EXPLANATION: [&str; 5] = [
    "Each transfer is two functions (debit, then credit), each in a process of its own. Both runs carry out the same requests, with the same injected faults.",
    "direct: each function writes to the store immediately, through a plain key-value server (only one process can open an embedded store).",
    "shim: the same functions, in a transaction of `aft serve`; each retry is a new attempt with the same request ID.",
    "Requests of one pair of accounts run one after the other (as from a FIFO queue by key); attempts of one request may overlap.",
    "levels: the same functions and faults again, now between any two accounts and without that order; each level has its own accounts.",
];

impl Outcome {
    /// Returns true if the run through the shim kept every promise.
    pub fn shim_is_clean(&self) -> bool {
        self.runs.shim.is_clean()
    }

    /// Returns true if the run through the shim kept every promise, and the transfers at
    /// `serializable` kept the sum of all balances. The exit code depends on this. The results at
    /// `read_atomic` do not count, because that level promises nothing about a sum.
    pub fn is_clean(&self) -> bool {
        self.shim_is_clean() && self.balances.serializable.is_exact()
    }

    /// Returns the results as one JSON object on one line.
    pub fn json(&self) -> String {
        #[derive(Serialize)]
        struct Object<'a> {
            runs: &'a Runs,
            balances: &'a Balances,
            machine: &'a str,
            /// Null if the report could not be written.
            report: Option<String>,
        }
        let object = Object {
            runs: &self.runs,
            balances: &self.balances,
            machine: &self.machine,
            report: self.report_failed.is_none().then(|| self.report.display().to_string()),
        };
        json(&object)
    }

    /// Returns the verdict on the two runs in one or two sentences.
    pub(crate) fn verdict(&self) -> &'static str {
        match (self.runs.direct.is_clean(), self.shim_is_clean()) {
            (false, true) => {
                "Through the shim every request was carried out exactly once. Directly against the store, they were not."
            }
            (true, true) => {
                "Every request was carried out exactly once in both runs. The direct run was lucky: try again with more --requests."
            }
            (_, false) => {
                "The run through the shim broke a promise. Please report this bug, with the seed below."
            }
        }
    }
}

impl Balances {
    /// Returns the verdict on the two levels in one or two sentences.
    pub(crate) fn verdict(&self) -> &'static str {
        match (self.read_atomic.is_exact(), self.serializable.is_exact()) {
            (false, true) => {
                "At serializable the sum of all balances did not change. At read_atomic transfers overwrote each other, which that level allows."
            }
            (true, true) => {
                "At serializable the sum of all balances did not change. This time it did not change at read_atomic either, but that level promises nothing about it."
            }
            (_, false) => {
                "The transfers at serializable did not keep the balances exact: a promise is broken. Please report this bug, with the seed below."
            }
        }
    }
}

/// Returns a table of two columns of figures.
fn table(header: [&str; 3], left: &[Row], right: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header);
    let mark = |row: &Row| format!("{}{}", row.text, if row.is_wrong { " ✗" } else { "  " });
    for (left, right) in left.iter().zip(right) {
        table.add_row(vec![left.what.to_owned(), mark(left), mark(right)]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (direct, shim) = (self.runs.direct.rows(), self.runs.shim.rows());
        writeln!(f, "{}", table(["bank transfers", "direct", "shim"], &direct, &shim))?;
        let Balances { read_atomic, serializable, .. } = &self.balances;
        let (left, right) = (read_atomic.rows(), serializable.rows());
        writeln!(
            f,
            "{}",
            table(["two levels, through the shim", "read_atomic", "serializable"], &left, &right)
        )?;
        // After the tables: how they came about, the verdicts, the errors, and where things are.
        for line in EXPLANATION {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "\n{}\n{}\n", self.verdict(), self.balances.verdict())?;
        for (name, run) in [("direct", &self.runs.direct), ("shim", &self.runs.shim)] {
            for (code, count) in &run.common.errors {
                writeln!(f, "errors   {name}: {code} {count}")?;
            }
        }
        for (name, level) in [("read_atomic", read_atomic), ("serializable", serializable)] {
            for (code, count) in &level.errors {
                writeln!(f, "errors   {name}: {code} {count}")?;
            }
        }
        writeln!(f, "machine  {}", self.machine)?;
        let (direct, shim) = (&self.runs.direct.common.store, &self.runs.shim.common.store);
        let removed = if self.stores_removed { " (removed)" } else { "" };
        writeln!(f, "stores   {direct}, {shim} and {}{removed}", self.balances.store)?;
        writeln!(f, "seed     {}", self.runs.shim.common.seed)?;
        let lost = if self.report_failed.is_some() { " (not written)" } else { "" };
        write!(f, "report   {}{lost}", self.report.display())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::Value;

    use super::{Balances, LevelFigures, Outcome, RunFigures, Runs, Scale};
    use crate::figures::{Anomalies, Figures};
    use crate::latency::LatencyMs;

    pub(crate) fn figures(direct: bool) -> RunFigures {
        let common = Figures {
            transactions: 600,
            attempts: 700,
            transactions_per_s: 100.0,
            latency_ms: LatencyMs { p50: 10.0, p95: 20.0, p99: 30.0, max: 40.0 },
            anomalies: Anomalies { own_write: 0, fractured: if direct { 5 } else { 0 } },
            sessions_broken: None,
            requests_per_transaction: [("put".to_owned(), 4.0)].into(),
            consumed_per_transaction: Default::default(),
            cost_per_million_transactions: None,
            errors: Default::default(),
            seed: 7,
            store: "local:somewhere".into(),
            workload: Scale { requests: 600, pairs: 16, workers: 8 },
            direct,
        };
        RunFigures {
            common,
            half_done: u64::from(direct),
            double_effects: 0,
            lost_effects: 0,
            money_created: 0,
            money_lost: 0,
            kills: 70,
            duplicates: 50,
            zombies: 30,
            audits: 1_000,
        }
    }

    fn level(exact: bool) -> LevelFigures {
        LevelFigures {
            accounts: 16,
            transfers: 150,
            acknowledged: 150,
            attempts: 180,
            conflicts: if exact { 30 } else { 0 },
            kills: 20,
            duplicates: 12,
            zombies: 9,
            sum_before: 16_000_000,
            sum_after: if exact { 16_000_000 } else { 15_999_588 },
            overwritten: if exact { 0 } else { 11 },
            double_effects: 0,
            audits: 100,
            audits_off: if exact { 0 } else { 60 },
            errors: Default::default(),
            transfers_per_s: 80.0,
        }
    }

    pub(crate) fn outcome() -> Outcome {
        let runs = Runs { direct: figures(true), shim: figures(false) };
        let store = "local:elsewhere".into();
        let balances = Balances { store, read_atomic: level(false), serializable: level(true) };
        let report = "/tmp/report.html".into();
        let machine = "2 cores".into();
        Outcome { runs, balances, machine, report, report_failed: None, stores_removed: true }
    }

    #[test]
    fn the_object_names_both_runs() {
        let object: Value = serde_json::from_str(&outcome().json()).unwrap();
        for run in ["direct", "shim"] {
            let run = &object["runs"][run];
            for field in [
                "transactions",
                "attempts",
                "transactions_per_s",
                "latency_ms",
                "anomalies",
                "requests_per_transaction",
                "errors",
                "seed",
                "store",
                "workload",
                "direct",
                "half_done",
                "double_effects",
                "lost_effects",
                "money_created",
                "money_lost",
            ] {
                assert!(!run[field].is_null(), "{field} is missing in {run}");
            }
        }
        assert_eq!(object["runs"]["shim"]["half_done"], 0);
        assert_eq!(object["runs"]["direct"]["anomalies"]["fractured"], 5);
        let balances = &object["balances"];
        assert_eq!(balances["read_atomic"]["sum_after"], 15_999_588);
        assert_eq!(balances["serializable"]["sum_after"], balances["serializable"]["sum_before"]);
        assert_eq!(balances["serializable"]["conflicts"], 30);
    }

    fn check_level(change: impl FnOnce(&mut LevelFigures)) {
        let mut outcome = outcome();
        assert!(outcome.is_clean(), "the results at read_atomic break no promise: {outcome:?}");
        change(&mut outcome.balances.serializable);
        assert!(!outcome.is_clean() && outcome.shim_is_clean(), "{outcome:?}");
        assert!(outcome.to_string().contains("a promise is broken"), "{outcome}");
    }

    #[test]
    fn a_sum_that_changed_at_serializable_is_not_clean() {
        check_level(|level| level.sum_after += 1);
        check_level(|level| level.sum_after -= 1);
        check_level(|level| level.overwritten = 1);
        check_level(|level| level.double_effects = 1);
        check_level(|level| level.audits_off = 1);
    }

    #[test]
    fn an_unchanged_sum_at_read_atomic_is_not_claimed_as_a_promise() {
        let mut outcome = outcome();
        outcome.balances.read_atomic = level(true);
        assert!(outcome.is_clean());
        assert!(outcome.to_string().contains("promises nothing about it"), "{outcome}");
    }

    fn check(change: impl FnOnce(&mut RunFigures)) {
        let mut figures = figures(false);
        assert!(figures.is_clean());
        change(&mut figures);
        assert!(!figures.is_clean(), "{figures:?}");
    }

    #[test]
    fn anything_wrong_is_not_clean() {
        check(|run| run.half_done = 1);
        check(|run| run.double_effects = 1);
        check(|run| run.lost_effects = 1);
        check(|run| run.money_created = 1);
        check(|run| run.money_lost = 1);
        check(|run| run.common.anomalies.own_write = 1);
        check(|run| run.common.anomalies.fractured = 1);
        check(|run| run.common.transactions = 599);
    }

    #[test]
    fn the_table_has_both_runs_and_the_verdict() {
        let text = outcome().to_string();
        for part in [
            "direct",
            "shim",
            "fractured reads",
            "5 ✗",
            "exactly once",
            "local:somewhere and local:elsewhere (removed)",
            "serializable",
            "-412 ✗",
            "overwrote each other",
            "seed     7",
            "report.html",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }
}
