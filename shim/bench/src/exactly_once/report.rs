//! The results of a run: a JSON object for programs, a table for people.

use std::collections::BTreeMap;
use std::fmt;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde::Serialize;

use crate::counting::Asked;
use crate::error::{Ended, Error};
use crate::exactly_once::Options;
use crate::exactly_once::audit::Final;
use crate::exactly_once::load::Loaded;
use crate::figures::json;
use crate::latency::LatencyMs;
use crate::machine;

/// The results of a run in all three ways. `Display` prints the table for people; [`Report::json`]
/// returns the object for programs.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The figures of each way.
    pub runs: Runs,
    /// The settings of the run.
    pub workload: Load,
    /// The seed; the same seed draws the same fates.
    pub seed: u64,
    /// The store's URL.
    pub store: String,
    /// The machine that the run was measured on.
    pub machine: String,
    /// The command line, if the caller set it.
    pub command: Option<String>,
}

/// The figures of each way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Runs {
    /// The run without protection.
    pub plain: Figures,
    /// The run with an idempotency record.
    pub record: Figures,
    /// The run through the shim.
    pub aft: Figures,
}

/// The figures of one way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Requests that were sent.
    pub requests: u64,
    /// Attempts that the requests took, those that died or were rejected included.
    pub attempts: u64,
    /// Attempts that died at their point.
    pub crashes: u64,
    /// Requests that were delivered twice at the same time.
    pub duplicates: u64,
    /// Attempts that were rejected because another one was in progress.
    pub refused: u64,
    /// Requests with a delivery that was answered.
    pub acknowledged: u64,
    /// Requests whose deliveries all used up their attempts. They may have taken effect, but only
    /// as a whole.
    pub given_up: u64,
    /// Requests with an effect that happened more than once, at the end.
    pub double_effects: u64,
    /// Requests with one effect and not the other, at the end.
    pub half_effects: u64,
    /// Looks at requests in flight that found one effect and not the other.
    pub halves_seen: u64,
    /// Looks at requests in flight.
    pub looks: u64,
    /// Acknowledged requests without any effect at the end.
    pub lost_effects: u64,
    /// The time from the first delivery to the acknowledgement, waiting for retries included.
    pub latency_ms: LatencyMs,
    /// All acknowledged requests, those after retries included, per second from the start to the
    /// last acknowledgement.
    pub acknowledged_per_s: f64,
    /// Requests to the store per request sent, by call. Retries and publishing are included;
    /// through the shim, looks are included as well.
    pub store_requests_per_request: BTreeMap<String, f64>,
    /// The list price of those requests to the store in US dollars, per million requests sent; null
    /// if the store does not charge by request.
    pub cost_per_million_requests: Option<f64>,
    /// Attempts that failed for other reasons, by code.
    pub errors: BTreeMap<String, u64>,
}

/// The settings of the run, as in the JSON object.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Load {
    /// The number of requests in each way.
    pub requests: u64,
    /// The number of clients.
    pub clients: usize,
    /// The share of attempts that died, 0 to 1.
    pub crashes: f64,
    /// The share of requests that were delivered twice, 0 to 1.
    pub duplicates: f64,
    /// The maximum number of attempts of a delivery.
    pub attempts: u32,
    /// The timeout of an attempt, which is also the time that a record is in progress.
    pub function_timeout_ms: f64,
    /// The delay before the second attempt.
    pub retry_delay_ms: f64,
    /// The number of tasks that looked at requests in flight.
    pub readers: usize,
    /// The size of a counter's value in bytes.
    pub value_bytes: usize,
}

#[derive(Serialize)]
struct Object<'a> {
    runs: &'a Runs,
    seed: u64,
    store: &'a str,
    workload: &'a Load,
}

impl Figures {
    pub(crate) fn new(requests: u64, loaded: &Loaded, end: Final, asked: &Asked) -> Figures {
        let tally = &loaded.tally;
        let acknowledged = tally.acknowledged.len() as u64;
        assert_eq!(acknowledged + tally.given_up, requests, "every request is acknowledged or given up");
        Figures {
            requests,
            attempts: tally.attempts,
            crashes: tally.died,
            duplicates: tally.duplicates,
            refused: tally.conflicts,
            acknowledged,
            given_up: tally.given_up,
            double_effects: end.double_effects,
            half_effects: end.half_effects,
            halves_seen: loaded.looks.halves,
            looks: loaded.looks.count,
            lost_effects: end.lost_effects,
            latency_ms: tally.latencies.summary(),
            acknowledged_per_s: acknowledged as f64
                / loaded.acknowledged_within.as_secs_f64().max(f64::EPSILON),
            store_requests_per_request: asked.per_transaction(requests),
            cost_per_million_requests: asked.cost_per_million(requests),
            errors: tally.errors.clone(),
        }
    }

    /// Returns true if every acknowledged request took effect exactly once and as a whole, and no
    /// other request took effect in part.
    pub fn is_clean(&self) -> bool {
        self.double_effects + self.half_effects + self.halves_seen + self.lost_effects == 0
    }

    fn rows(&self) -> Vec<(String, String)> {
        let mut rows: Vec<(String, String)> = [
            ("requests", self.requests.to_string()),
            ("attempts", self.attempts.to_string()),
            ("crashes", self.crashes.to_string()),
            ("delivered twice", self.duplicates.to_string()),
            ("rejected: in progress", self.refused.to_string()),
            ("acknowledged", self.acknowledged.to_string()),
            ("given up", self.given_up.to_string()),
            ("double effects", fault(self.double_effects)),
            ("half effects", fault(self.half_effects)),
            ("lost effects", fault(self.lost_effects)),
            ("halves seen during the run", fault(self.halves_seen)),
            ("looks", self.looks.to_string()),
            ("latency p50, ms", format!("{:.3}", self.latency_ms.p50)),
            ("latency p99, ms", format!("{:.3}", self.latency_ms.p99)),
            ("acknowledged/s", format!("{:.0}", self.acknowledged_per_s)),
        ]
        .map(|(what, figure)| (what.to_owned(), figure))
        .into();
        // The rows below depend on the store and on the calls that the way makes.
        let requests = self.store_requests_per_request.iter();
        rows.extend(requests.map(|(call, n)| (format!("store requests/request: {call}"), format!("{n:.3}"))));
        let total = self.store_requests_per_request.values().sum::<f64>();
        rows.push(("store requests/request: all".to_owned(), format!("{total:.3}")));
        let cost = self.cost_per_million_requests;
        rows.extend(cost.map(|dollars| ("requests, $/million requests".to_owned(), format!("{dollars:.2}"))));
        rows.extend(self.errors.iter().map(|(code, n)| (format!("errors: {code}"), n.to_string())));
        rows
    }
}

/// Formats a count that should be 0, with a mark if it is not.
fn fault(number: u64) -> String {
    if number == 0 { "0".to_owned() } else { format!("{number} ✗") }
}

impl Report {
    pub(crate) fn new(runs: Runs, options: &Options, seed: u64, store: String) -> Report {
        let workload = Load {
            requests: options.requests,
            clients: options.clients,
            crashes: options.crashes,
            duplicates: options.duplicates,
            attempts: options.attempts,
            function_timeout_ms: options.function_timeout.as_secs_f64() * 1e3,
            retry_delay_ms: options.retry_delay.as_secs_f64() * 1e3,
            readers: options.readers,
            value_bytes: options.value_bytes,
        };
        Report { runs, workload, seed, store, machine: machine::describe(), command: options.command.clone() }
    }

    /// Returns the results as one JSON object on one line.
    pub fn json(&self) -> String {
        let Report { runs, workload, seed, store, .. } = self;
        json(&Object { runs, seed: *seed, store, workload })
    }

    /// Returns true if the run through the shim kept its promises. In the other two runs, faults
    /// are what is measured.
    pub fn is_clean(&self) -> bool {
        self.runs.aft.is_clean()
    }
}

/// Returns the table of these ways.
fn table(ways: &[(&str, &Figures)]) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(["exactly once"].into_iter().chain(ways.iter().map(|(name, _)| *name)));
    let columns: Vec<_> = ways.iter().map(|(_, figures)| figures.rows()).collect();
    // The ways make different calls, so the rows are those that any of them has.
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in columns.iter().flatten() {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    for name in names {
        let of = |rows: &Vec<(String, String)>| {
            rows.iter().find(|(what, _)| what == name).map_or(String::new(), |(_, figure)| figure.clone())
        };
        table.add_row([name.to_owned()].into_iter().chain(columns.iter().map(of)));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Returns the error of a run of which only these ways have ended.
pub(crate) fn unfinished(ended: &[(&'static str, Figures)], why: Error) -> Error {
    #[derive(Serialize)]
    struct Object<'a> {
        runs: BTreeMap<&'a str, &'a Figures>,
    }
    if ended.is_empty() {
        return why;
    }
    let ways: Vec<_> = ended.iter().map(|(name, figures)| (*name, figures)).collect();
    let json = json(&Object { runs: ways.iter().copied().collect() });
    Error::Unfinished { ended: Ended { text: table(&ways).to_string(), json }, why: Box::new(why) }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Runs { plain, record, aft } = &self.runs;
        let load = &self.workload;
        writeln!(f, "{}", table(&[("plain", plain), ("record", record), ("aft", aft)]))?;
        writeln!(f, "machine   {}", self.machine)?;
        writeln!(f, "store     {}", self.store)?;
        writeln!(
            f,
            "workload  {} requests, {} clients, values of {} B; share of attempts that die: {}, of requests delivered twice: {}",
            load.requests, load.clients, load.value_bytes, load.crashes, load.duplicates
        )?;
        writeln!(
            f,
            "platform  up to {} attempts per delivery, timeout {} ms, {} ms before the second; {} readers",
            load.attempts, load.function_timeout_ms, load.retry_delay_ms, load.readers
        )?;
        write!(f, "seed      {}", self.seed)?;
        if let Some(command) = &self.command {
            write!(f, "\ncommand   {command}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Figures, Report, Runs};
    use crate::exactly_once::Options;
    use crate::latency::LatencyMs;

    fn figures(double_effects: u64) -> Figures {
        Figures {
            requests: 100,
            attempts: 120,
            crashes: 19,
            duplicates: 5,
            refused: 1,
            acknowledged: 98,
            given_up: 2,
            double_effects,
            half_effects: 0,
            halves_seen: 0,
            looks: 500,
            lost_effects: 0,
            latency_ms: LatencyMs { p50: 1.0, p95: 2.0, p99: 3.0, max: 4.0 },
            acknowledged_per_s: 1234.5,
            store_requests_per_request: [("put".to_owned(), 2.25), ("get".to_owned(), 0.5)].into(),
            cost_per_million_requests: Some(11.5),
            errors: [("busy".to_owned(), 3)].into(),
        }
    }

    fn report() -> Report {
        let runs = Runs { plain: figures(9), record: figures(7), aft: figures(0) };
        let options = Options { command: Some("aft bench exactly-once".to_owned()), ..Options::default() };
        Report::new(runs, &options, 17, "memory:".to_owned())
    }

    #[test]
    fn the_object_has_exactly_the_stable_fields() {
        let object: Value = serde_json::from_str(&report().json()).unwrap();
        let run = |double_effects| {
            json!({
                "requests": 100, "attempts": 120, "crashes": 19, "duplicates": 5, "refused": 1,
                "acknowledged": 98, "given_up": 2,
                "double_effects": double_effects, "half_effects": 0, "halves_seen": 0, "looks": 500,
                "lost_effects": 0,
                "latency_ms": {"p50": 1.0, "p95": 2.0, "p99": 3.0, "max": 4.0},
                "acknowledged_per_s": 1234.5,
                "store_requests_per_request": {"put": 2.25, "get": 0.5},
                "cost_per_million_requests": 11.5,
                "errors": {"busy": 3},
            })
        };
        assert_eq!(
            object,
            json!({
                "runs": {"plain": run(9), "record": run(7), "aft": run(0)},
                "seed": 17, "store": "memory:",
                "workload": {"requests": 1000, "clients": 10, "crashes": 0.2, "duplicates": 0.05, "attempts": 3,
                    "function_timeout_ms": 1000.0, "retry_delay_ms": 2000.0, "readers": 2, "value_bytes": 4096},
            })
        );
        assert!(!report().json().contains('\n'));
    }

    #[test]
    fn the_table_has_all_three_ways() {
        let text = report().to_string();
        let parts =
            ["plain", "record", "aft", "9 ✗", "7 ✗", "2.750", "11.50", "busy", "seed      17", "memory:"];
        for part in parts.into_iter().chain(["aft bench exactly-once", "machine"]) {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }

    #[test]
    fn anything_wrong_through_the_shim_is_not_clean() {
        fn check(change: impl FnOnce(&mut Figures)) {
            let mut report = report();
            assert!(report.is_clean());
            change(&mut report.runs.aft);
            assert!(!report.is_clean(), "{report:?}");
        }
        check(|aft| aft.double_effects = 1);
        check(|aft| aft.half_effects = 1);
        check(|aft| aft.halves_seen = 1);
        check(|aft| aft.lost_effects = 1);
    }
}
