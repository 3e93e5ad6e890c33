//! Comparison of runs of the standard transaction on the same store: without the shim, in every way
//! that the store has, then with it.

use std::collections::BTreeMap;
use std::fmt;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde::Serialize;

use crate::error::{Ended, Error, Result};
use crate::figures::{Figures, json};
use crate::standard::report::workload_text;
use crate::standard::{Options, Report, Shape, Target, Way, run};

/// The reports side by side. `Display` prints the table for people; [`Comparison::json`] returns
/// the object for programs.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The runs without the shim, in the order in which they ran. The first is [`Way::Direct`].
    pub without: Vec<(Way, Report)>,
    /// The run through a node.
    pub shim: Report,
}

/// Rows without a meaningful ratio: in a closed loop they only follow the throughput.
const COUNTS: [&str; 3] = ["transactions", "attempts", "seconds"];

/// The shim's figures, as multiples of those of a run without it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratio {
    /// The ratio of the median latencies.
    pub p50: f64,
    /// The ratio of the 99th percentiles of latency.
    pub p99: f64,
    /// The ratio of the throughputs.
    pub transactions_per_s: f64,
}

#[derive(Serialize)]
struct Object<'a> {
    /// The figures of each run, by the name of its way.
    runs: BTreeMap<&'a str, &'a Figures<Shape>>,
    /// The ratio of the shim to the direct run, if both have ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<Ratio>,
    /// The ratio of the shim to the store's own transactions, if it has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_to_transactions: Option<Ratio>,
}

/// Runs the load without the shim, then with the store's own transactions if it has them, then with
/// the shim, all with the same seed. Prints nothing.
///
/// # Errors
/// Returns the errors of [`run`]; as [`Error::Unfinished`] if some runs have ended before. Returns
/// an error as well if the target is a server, since the store behind it cannot be accessed
/// directly.
pub async fn compare(options: Options) -> Result<Comparison> {
    let target = match &options.target {
        Target::Store(target) => target,
        Target::Server { url } => {
            let problem =
                "this is a server, and a comparison needs direct access to the store: give the store's URL"
                    .to_owned();
            return Err(Error::Server { url: url.clone(), problem });
        }
        Target::Servers { .. } => {
            return Err(Error::Options(
                "a comparison needs direct access to the store: give the store's URL instead of the servers'"
                    .into(),
            ));
        }
    };
    let mut ways = vec![Way::Direct];
    if target.transactions.is_some() {
        ways.push(Way::Transactions);
    }
    // All runs draw the same keys.
    let seed = options.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    ways.push(Way::Shim);
    let mut ended: Vec<(Way, Report)> = Vec::new();
    for way in ways {
        match run(Options { way, seed: Some(seed), ..options.clone() }).await {
            Ok(report) => {
                let failed = report.failed.clone();
                ended.push((way, report));
                if let Some(why) = failed {
                    return Err(unfinished(&ended, Error::Stopped(why)));
                }
            }
            Err(why) if ended.is_empty() => return Err(why),
            Err(why) => return Err(unfinished(&ended, why)),
        }
    }
    let (_, shim) = ended.pop().expect("the last way was through the shim");
    Ok(Comparison { without: ended, shim })
}

/// Returns the error of a comparison of which only these runs have ended.
fn unfinished(ended: &[(Way, Report)], why: Error) -> Error {
    let texts: Vec<String> = ended.iter().map(|(_, report)| report.to_string()).collect();
    let runs = ended.iter().map(|(way, report)| (key(*way), &report.figures)).collect();
    let json = json(&Object { runs, ratio: None, ratio_to_transactions: None });
    Error::Unfinished { ended: Ended { text: texts.join("\n\n"), json }, why: Box::new(why) }
}

/// Returns the name of a way in the JSON object.
fn key(way: Way) -> &'static str {
    match way {
        Way::Shim => "shim",
        Way::Transactions => "transactions",
        Way::Direct | Way::DirectAtOnce => "direct",
    }
}

impl Comparison {
    /// Returns the shim's figures as multiples of those of the way `to`, if it ran.
    pub fn ratio(&self, to: Way) -> Option<Ratio> {
        let (_, other) = self.without.iter().find(|(way, _)| *way == to)?;
        let (shim, other) = (&self.shim.figures, &other.figures);
        Some(Ratio {
            p50: shim.latency_ms.p50 / other.latency_ms.p50,
            p99: shim.latency_ms.p99 / other.latency_ms.p99,
            transactions_per_s: shim.transactions_per_s / other.transactions_per_s,
        })
    }

    /// Returns the figures as one JSON object on one line.
    pub fn json(&self) -> String {
        let without = self.without.iter().map(|(way, report)| (key(*way), &report.figures));
        json(&Object {
            runs: without.chain([("shim", &self.shim.figures)]).collect(),
            ratio: self.ratio(Way::Direct),
            ratio_to_transactions: self.ratio(Way::Transactions),
        })
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        let mut header = vec!["standard transaction".to_owned()];
        header.extend(self.without.iter().map(|(way, _)| way.name().to_owned()));
        header.push("shim".to_owned());
        header.extend(self.without.iter().map(|(way, _)| format!("shim / {}", way.name())));
        table
            .load_style(UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header(header);
        let without: Vec<_> = self.without.iter().map(|(_, report)| report.rows()).collect();
        let shim = self.shim.rows();
        // The ways make different calls, so the rows are those that any of them has.
        let mut seen: Vec<&String> = Vec::new();
        for (name, _) in shim.iter().chain(without.iter().flatten()) {
            if seen.contains(&name) {
                continue;
            }
            seen.push(name);
            let of = |rows: &[(String, String)]| {
                rows.iter().find(|(what, _)| what == name).map_or(String::new(), |(_, figure)| figure.clone())
            };
            let (others, shim): (Vec<String>, String) =
                (without.iter().map(|rows| of(rows)).collect(), of(&shim));
            let ratio = |other: &String| match (other.parse::<f64>(), shim.parse::<f64>()) {
                (Ok(other), Ok(shim)) if other > 0.0 && !COUNTS.contains(&name.as_str()) => {
                    format!("{:.2}", shim / other)
                }
                _ => String::new(),
            };
            let ratios: Vec<String> = others.iter().map(ratio).collect();
            table.add_row([vec![name.clone()], others, vec![shim], ratios].concat());
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let figures = &self.shim.figures;
        writeln!(f, "{table}")?;
        writeln!(f, "machine   {}", self.shim.machine)?;
        writeln!(f, "store     {}", figures.store)?;
        writeln!(f, "workload  {}", workload_text(&figures.workload))?;
        write!(f, "seed      {}", figures.seed)?;
        if let Some(command) = &self.shim.command {
            write!(f, "\ncommand   {command}")?;
        }
        Ok(())
    }
}
