//! The results of a run of the standard transaction: a JSON object for programs, a table for
//! people.

use std::fmt;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width};
use serde::Serialize;

use crate::figures::{Anomalies, Figures, json};
use crate::machine;
use crate::standard::{Options, Pace, Workload};

/// The results of a run. `Display` prints the table for people; [`Report::json`] returns the object
/// for programs.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The fields of the JSON object.
    pub figures: Figures<Shape>,
    /// The machine that the run was measured on.
    pub machine: String,
    /// The command line, if the caller set it.
    pub command: Option<String>,
    /// The duration of the measurement, in seconds.
    pub elapsed_s: f64,
    /// The reason why the run did not come to its end, for people: the target went away, or
    /// something after the measurement failed. The figures are those until then.
    pub failed: Option<String>,
}

/// The load, as in the JSON object.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shape {
    /// The number of functions in a transaction.
    pub functions: usize,
    /// The number of reads in a function.
    pub reads: usize,
    /// The number of writes in a function.
    pub writes: usize,
    /// The size of a value in bytes.
    pub value_bytes: usize,
    /// The number of keys.
    pub keys: usize,
    /// The exponent of the Zipf distribution of keys.
    pub zipf: f64,
    /// The number of clients.
    pub clients: usize,
    /// The rate at which transactions were due, per second; null for a closed loop.
    pub rate: Option<f64>,
}

impl Shape {
    pub(crate) fn new(workload: &Workload, options: &Options) -> Shape {
        Shape {
            functions: workload.functions,
            reads: workload.reads,
            writes: workload.writes,
            value_bytes: workload.value_bytes,
            keys: workload.keys,
            zipf: workload.zipf,
            clients: options.clients,
            rate: match options.pace {
                Pace::Closed => None,
                Pace::Open { per_s } => Some(per_s),
            },
        }
    }
}

impl Report {
    /// Returns the figures as one JSON object on one line.
    pub fn json(&self) -> String {
        json(&self.figures)
    }

    /// Returns true if the run kept what the shim promises: no anomaly, no session that read stale
    /// versions, and no answer that breaks the API.
    pub fn is_clean(&self) -> bool {
        self.figures.anomalies == Anomalies::default()
            && self.figures.sessions_broken.unwrap_or_default() == 0
            && !self.figures.errors.contains_key("malformed_answer")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = &self.figures;
        let mut table = Table::new();
        table
            .load_style(UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header(vec!["standard transaction", if figures.direct { "direct" } else { "shim" }]);
        for (what, figure) in self.rows() {
            table.add_row(vec![what, figure]);
        }
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(FIGURES_WIDTH)));
        }
        writeln!(f, "{table}")?;
        writeln!(f, "machine   {}", self.machine)?;
        writeln!(f, "store     {}", figures.store)?;
        writeln!(f, "workload  {}", workload_text(&figures.workload))?;
        write!(f, "seed      {}", figures.seed)?;
        if let Some(command) = &self.command {
            write!(f, "\ncommand   {command}")?;
        }
        Ok(())
    }
}

/// The minimum width of the column of figures, which keeps it from wrapping on a narrow terminal.
const FIGURES_WIDTH: u16 = 14;

impl Report {
    pub(crate) fn rows(&self) -> Vec<(String, String)> {
        let figures = &self.figures;
        let latency = &figures.latency_ms;
        let mut rows: Vec<(String, String)> = [
            ("transactions", figures.transactions.to_string()),
            ("attempts", figures.attempts.to_string()),
            ("seconds", format!("{:.2}", self.elapsed_s)),
            ("transactions/s", format!("{:.0}", figures.transactions_per_s)),
            ("latency p50, ms", format!("{:.3}", latency.p50)),
            ("latency p95, ms", format!("{:.3}", latency.p95)),
            ("latency p99, ms", format!("{:.3}", latency.p99)),
            ("latency max, ms", format!("{:.3}", latency.max)),
            ("own-write anomalies", figures.anomalies.own_write.to_string()),
            ("fractured reads", figures.anomalies.fractured.to_string()),
        ]
        .map(|(what, figure)| (what.to_owned(), figure))
        .into();
        let broken = figures.sessions_broken.iter();
        rows.extend(broken.map(|n| ("reads older than their session".to_owned(), n.to_string())));
        let requests = figures.requests_per_transaction.iter();
        rows.extend(
            requests.map(|(call, n)| (format!("store requests/transaction: {call}"), format!("{n:.3}"))),
        );
        let consumed = figures.consumed_per_transaction.iter();
        rows.extend(consumed.map(|(unit, n)| (format!("consumed/transaction: {unit}"), format!("{n:.3}"))));
        let cost = figures.cost_per_million_transactions;
        rows.extend(
            cost.map(|dollars| ("requests, $/million transactions".to_owned(), format!("{dollars:.2}"))),
        );
        rows.extend(figures.errors.iter().map(|(code, n)| (format!("errors: {code}"), n.to_string())));
        rows
    }
}

pub(crate) fn workload_text(shape: &Shape) -> String {
    let rate = shape.rate.map_or("closed loop".to_owned(), |rate| format!("open loop at {rate}/s"));
    format!(
        "{} × ({} + {}) of {} B, {}, zipf {}, {}, {rate}",
        count(shape.functions, "function"),
        count(shape.writes, "write"),
        count(shape.reads, "read"),
        shape.value_bytes,
        count(shape.keys, "key"),
        shape.zipf,
        count(shape.clients, "client")
    )
}

/// Formats a number of things: "1 write", "2 writes".
fn count(number: usize, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}

impl Report {
    /// Returns the report of a run.
    pub(crate) fn new(figures: Figures<Shape>, command: Option<String>, elapsed_s: f64) -> Report {
        Report { figures, machine: machine::describe(), command, elapsed_s, failed: None }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Report, Shape, workload_text};
    use crate::figures::{Anomalies, Figures};
    use crate::latency::LatencyMs;
    use crate::standard::{Options, Workload};

    fn report() -> Report {
        let figures = Figures {
            transactions: 10_000,
            attempts: 10_003,
            transactions_per_s: 1234.5,
            latency_ms: LatencyMs { p50: 1.0, p95: 2.0, p99: 3.0, max: 4.0 },
            anomalies: Anomalies { own_write: 0, fractured: 2 },
            sessions_broken: None,
            requests_per_transaction: [("create".to_owned(), 1.0)].into(),
            consumed_per_transaction: [("write_units".to_owned(), 12.0)].into(),
            cost_per_million_transactions: Some(15.5),
            errors: [("snapshot_gone".to_owned(), 3)].into(),
            seed: 7,
            store: "memory:".into(),
            workload: Shape::new(&Workload::default(), &Options::default()),
            direct: false,
        };
        Report::new(figures, Some("aft bench standard".into()), 8.1)
    }

    #[test]
    fn one_thing_is_in_the_singular() {
        let text = workload_text(&Shape::new(&Workload::default(), &Options::default()));
        assert!(text.starts_with("2 functions × (1 write + 2 reads) of 4096 B, 1000 keys, "), "{text}");
    }

    #[test]
    fn the_object_has_exactly_the_stable_fields() {
        let object: Value = serde_json::from_str(&report().json()).unwrap();
        assert_eq!(
            object,
            json!({
                "transactions": 10000, "attempts": 10003, "transactions_per_s": 1234.5,
                "latency_ms": {"p50": 1.0, "p95": 2.0, "p99": 3.0, "max": 4.0},
                "anomalies": {"own_write": 0, "fractured": 2},
                "requests_per_transaction": {"create": 1.0},
                "consumed_per_transaction": {"write_units": 12.0},
                "cost_per_million_transactions": 15.5,
                "errors": {"snapshot_gone": 3},
                "seed": 7, "store": "memory:", "direct": false,
                "workload": {"functions": 2, "reads": 2, "writes": 1, "value_bytes": 4096, "keys": 1000,
                    "zipf": 1.0, "clients": 10, "rate": null},
            })
        );
        assert!(!report().json().contains('\n'));
    }

    #[test]
    fn a_broken_session_shows_and_is_not_clean() {
        let of = |sessions_broken| {
            let report = report();
            let anomalies = Anomalies::default();
            Report { figures: Figures { anomalies, sessions_broken, ..report.figures }, ..report }
        };
        assert!(of(None).is_clean() && of(Some(0)).is_clean() && !of(Some(3)).is_clean());
        assert!(of(Some(3)).json().contains("\"sessions_broken\":3"));
        assert!(of(Some(3)).to_string().contains("reads older than their session"));
    }

    #[test]
    fn the_table_names_machine_seed_store_and_command() {
        let text = report().to_string();
        for part in ["machine", "seed      7", "memory:", "aft bench standard", "snapshot_gone", "10000"] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(!report().is_clean());
    }
}
