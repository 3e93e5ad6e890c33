//! The paper's evaluation, as far as one machine can show it: `cargo xtask figures`.
//!
//! ```text
//!   services ─► site (a store, plain and through aft) ─► plan ─► measure ─┐
//!   docs/figures/, docs/benchmarks.md ◄─ write ◄─ chapters ◄──────────────┘
//! ```
//!
//! * [`plan`] – the measurements: which, how, and for how long.
//! * [`site`], [`stores`] – a store with its server, and `aft` on top of it.
//! * [`measure`], [`once`], [`counts`] – run the plan.
//! * [`levels`] – compares AFT's isolation levels with each other.
//! * [`others`] – compares AFT with etcd, MinIO, Restate and Powertools, where they can be
//!   installed.
//! * [`chapters`], [`published`] – the figures, their bounds, and the paper's numbers.
//! * [`data`], [`write`] – the results, and the files made from them: data.json, CSV, plots, the
//!   page and the summary.

mod chapters;
mod counts;
mod data;
mod levels;
mod measure;
mod once;
mod others;
mod plan;
mod published;
mod site;
mod stores;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use aft_door_native::Meters;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use crate::data::{Data, Run};
use crate::measure::Choice;
use crate::plan::Kind;
use crate::site::Failed;

/// The same allocator as in `aft`, because this process runs the nodes and doors that it measures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The default factor of the plan's times; with it, measuring everything takes some 40 minutes.
const SCALE: f64 = 0.9;

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask figures",
    about = "Measure the paper's figures and write docs/figures/",
    disable_version_flag = true
)]
struct Arguments {
    /// Choose keys, values and crashes by this seed
    #[arg(long, value_name = "X", default_value_t = 1)]
    seed: u64,
    /// Multiply the time of every measurement; 0.9 takes some 40 minutes in all
    #[arg(long, value_name = "FACTOR", default_value_t = SCALE, value_parser = factor)]
    scale: f64,
    /// Only these stores: memory, local, redis, dynamodb, s3 (and comparisons if --figures names
    /// them)
    #[arg(long, value_name = "STORE,…", value_delimiter = ',', value_parser = kind)]
    stores: Vec<Kind>,
    /// Only these figures, by their names in docs/figures/
    #[arg(long, value_name = "FIGURE,…", value_delimiter = ',', value_parser = figure)]
    figures: Vec<String>,
    /// Measure nothing; draw and write everything again from docs/figures/data.json
    #[arg(long)]
    render: bool,
    /// Write below this directory instead of the repository's root; docs/benchmarks.md must be
    /// there
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments)),
        Err(why) => Err(format!("cannot start the runtime: {why}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("figures: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Failed> {
    let root = arguments.root.clone().unwrap_or_else(repository);
    let unwritten = |why: std::io::Error| format!("cannot write below {}: {why}", root.display());
    if arguments.render {
        return write::again(&root).map_err(unwritten);
    }
    if cfg!(debug_assertions) {
        eprintln!("figures: a development build says nothing about aft's speed; use `cargo xtask figures`");
    }
    let named_kinds = !arguments.stores.is_empty();
    let kinds = if named_kinds { arguments.stores } else { Kind::ALL.to_vec() };
    let Arguments { figures, seed, scale, .. } = arguments;
    let choice = Choice { kinds, named_kinds, figures, seed, scale };
    let start = Instant::now();
    let load_before = load_average();
    let bar = ProgressBar::new(choice.count() as u64).with_style(
        ProgressStyle::with_template("{elapsed_precise} {bar:30} {pos}/{len} {wide_msg}")
            .expect("a constant template"),
    );
    bar.enable_steady_tick(std::time::Duration::from_secs(1));
    // One recorder of metrics for the whole process: every server that is started shares it.
    let meters = Meters::install();
    let mut cells = Vec::new();
    let mut versions = BTreeMap::from([("aft".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
    for kind in choice.kinds.iter().filter(|kind| choice.needs(**kind)) {
        cells.extend(measure::kind(*kind, &choice, &meters, &bar, &mut versions).await?);
    }
    // Comparisons that cannot run, or that fail, do not lose what was measured before them.
    let (mut left_out, mut failed) = (Vec::new(), Vec::new());
    for outcome in [levels::run(&choice, &bar).await, others::run(&choice, &bar, &mut versions).await] {
        cells.extend(outcome.cells);
        left_out.extend(outcome.left_out);
        failed.extend(outcome.failed);
    }
    bar.finish_and_clear();
    for why in left_out.iter().chain(&failed) {
        eprintln!("figures: {why}");
    }
    if cells.is_empty() {
        return Err("nothing was measured: nothing is written".to_owned());
    }
    let run = Run {
        machine: aft_bench::machine(),
        versions,
        day: time::OffsetDateTime::now_utc().date().to_string(),
        seed,
        command: command(&choice),
        took_s: start.elapsed().as_secs_f64(),
        load_before,
    };
    let data = Data { run, figures: chapters::figures(&cells) };
    write::all(&data, &root).map_err(unwritten)?;
    println!(
        "{} measurements in {:.0} s: {}",
        cells.len(),
        data.run.took_s,
        root.join("docs/figures/index.html").display()
    );
    for bound in data.figures.iter().flat_map(|figure| &figure.bounds) {
        println!(
            "{} {}: {:.2} (aim {})",
            if bound.holds() { "ok    " } else { "MISSED" },
            bound.what,
            bound.seen,
            bound.aim
        );
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(format!("{} comparisons failed; the reasons are above", failed.len())),
    }
}

/// Returns the command that repeats this run.
fn command(choice: &Choice) -> String {
    let mut words = vec!["cargo xtask figures".to_owned(), format!("--seed {}", choice.seed)];
    if choice.scale != SCALE {
        words.push(format!("--scale {}", choice.scale));
    }
    if choice.named_kinds {
        let names: Vec<String> = choice.kinds.iter().map(|kind| kind.name().to_lowercase()).collect();
        words.push(format!("--stores {}", names.join(",")));
    }
    if !choice.figures.is_empty() {
        words.push(format!("--figures {}", choice.figures.join(",")));
    }
    words.join(" ")
}

/// Returns the load average of the last minute, if the system reports it (Linux does).
fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.expect("tests/figures lies two folders below the root").to_owned()
}

fn kind(name: &str) -> Result<Kind, String> {
    let found = Kind::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name));
    found.ok_or_else(|| "the stores are memory, local, redis, dynamodb and s3".to_owned())
}

fn figure(id: &str) -> Result<String, String> {
    if chapters::ids().any(|known| known == id) {
        return Ok(id.to_owned());
    }
    Err(format!("the figures are {}", chapters::ids().collect::<Vec<_>>().join(", ")))
}

fn factor(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if (0.001..=100.0).contains(&factor) => Ok(factor),
        _ => Err("a factor is a number between 0.001 and 100".to_owned()),
    }
}
