//! Both runs of the standard transaction, one after the other over the same store: without the shim, then with it.

use std::fmt;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::figures::{Figures, json};
use crate::standard::report::workload_text;
use crate::standard::{Options, Report, Shape, Target, run};

/// Two reports side by side. `Display` is the table for people, [`Comparison::json`] the object for programs.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Straight at the store.
    pub direct: Report,
    /// Through a node.
    pub shim: Report,
}

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
    runs: Runs<'a>,
    ratio: Ratio,
}

#[derive(Serialize)]
struct Runs<'a> {
    direct: &'a Figures<Shape>,
    shim: &'a Figures<Shape>,
}

/// Runs the load without the shim and then with it, with the same seed. Prints nothing.
///
/// # Errors
/// As [`run`]; and if the target is a server, which cannot be gone around.
pub async fn compare(options: Options) -> Result<Comparison> {
    if let Target::Server { url } = &options.target {
        let problem = "a server cannot be compared with its store: name the store".to_owned();
        return Err(Error::Server { url: url.clone(), problem });
    }
    let seed = options.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let of = |direct| Options { direct, seed: Some(seed), ..options.clone() };
    Ok(Comparison { direct: run(of(true)).await?, shim: run(of(false)).await? })
}

impl Comparison {
    /// The shim's figures as multiples of those without it.
    pub fn ratio(&self) -> Ratio {
        let (shim, direct) = (&self.shim.figures, &self.direct.figures);
        Ratio {
            p50: shim.latency_ms.p50 / direct.latency_ms.p50,
            p99: shim.latency_ms.p99 / direct.latency_ms.p99,
            transactions_per_s: shim.transactions_per_s / direct.transactions_per_s,
        }
    }

    /// One JSON object, on one line.
    pub fn json(&self) -> String {
        let runs = Runs { direct: &self.direct.figures, shim: &self.shim.figures };
        json(&Object { runs, ratio: self.ratio() })
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table
            .load_style(UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header(vec!["standard transaction", "direct", "shim", "shim / direct"]);
        let (direct, shim) = (self.direct.rows(), self.shim.rows());
        let names = shim.iter().chain(&direct).map(|(what, _)| what);
        let mut seen: Vec<&String> = Vec::new();
        for name in names {
            if seen.contains(&name) {
                continue;
            }
            seen.push(name);
            let of = |rows: &[(String, String)]| {
                rows.iter().find(|(what, _)| what == name).map_or(String::new(), |(_, figure)| figure.clone())
            };
            let (one, other) = (of(&direct), of(&shim));
            let ratio = match (one.parse::<f64>(), other.parse::<f64>()) {
                (Ok(one), Ok(other)) if one > 0.0 => format!("{:.2}", other / one),
                _ => String::new(),
            };
            table.add_row(vec![name.clone(), one, other, ratio]);
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
