//! Runs of the standard transaction one after the other over the same store: without the shim, in every way that the store has, then with it.

use std::collections::BTreeMap;
use std::fmt;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::figures::{Figures, json};
use crate::standard::report::workload_text;
use crate::standard::{Options, Report, Shape, Target, Way, run};

/// Reports side by side. `Display` is the table for people, [`Comparison::json`] the object for programs.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Without the shim, in the order in which they ran; the first is [`Way::Direct`].
    pub without: Vec<(Way, Report)>,
    /// Through a node.
    pub shim: Report,
}

/// Rows whose ratio says nothing: in a closed loop they only follow the throughput.
const COUNTS: [&str; 3] = ["transactions", "attempts", "seconds"];

/// The shim's figures as multiples of those without it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratio {
    /// Of the latency's median.
    pub p50: f64,
    /// Of its 99th percentile.
    pub p99: f64,
    /// Of the throughput.
    pub transactions_per_s: f64,
}

#[derive(Serialize)]
struct Object<'a> {
    /// By the name of the way.
    runs: BTreeMap<&'a str, &'a Figures<Shape>>,
    /// Over the direct run.
    ratio: Ratio,
    /// Over the store's own transactions, where it has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_to_transactions: Option<Ratio>,
}

/// Runs the load without the shim, by the store's own transactions where it has them, and then with the shim, with the same seed. Prints
/// nothing.
///
/// # Errors
/// As [`run`]; and if the target is a server, which cannot be gone around.
pub async fn compare(options: Options) -> Result<Comparison> {
    let store = match &options.target {
        Target::Store(store) => store,
        Target::Server { url } => {
            let problem = "a server cannot be compared with its store: name the store".to_owned();
            return Err(Error::Server { url: url.clone(), problem });
        }
        Target::Servers { .. } => {
            return Err(Error::Options("servers cannot be compared with their store: name the store".into()));
        }
    };
    let mut ways = vec![Way::Direct];
    if store.transact_get(&[]).await.is_ok() {
        ways.push(Way::Transactions);
    }
    let seed = options.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let of = |way| run(Options { way, seed: Some(seed), ..options.clone() });
    let mut without = Vec::new();
    for way in ways {
        without.push((way, of(way).await?));
    }
    Ok(Comparison { without, shim: of(Way::Shim).await? })
}

impl Comparison {
    /// The shim's figures as multiples of another way's, if that ran.
    pub fn ratio(&self, to: Way) -> Option<Ratio> {
        let (_, other) = self.without.iter().find(|(way, _)| *way == to)?;
        let (shim, other) = (&self.shim.figures, &other.figures);
        Some(Ratio {
            p50: shim.latency_ms.p50 / other.latency_ms.p50,
            p99: shim.latency_ms.p99 / other.latency_ms.p99,
            transactions_per_s: shim.transactions_per_s / other.transactions_per_s,
        })
    }

    /// One JSON object, on one line.
    pub fn json(&self) -> String {
        let key = |way| if way == Way::Transactions { "transactions" } else { "direct" };
        let without = self.without.iter().map(|(way, report)| (key(*way), &report.figures));
        json(&Object {
            runs: without.chain([("shim", &self.shim.figures)]).collect(),
            ratio: self.ratio(Way::Direct).expect("the direct run comes first"),
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
