//! `aft-simulation`: runs seeds, or replays one with its trace.
//!
//! ```text
//! aft-simulation --seed X [--trace]      one seed; with its story
//! aft-simulation --seeds N [--seed X]    N seeds from X on
//! aft-simulation --minutes N [--seed X]  seeds from X on for N minutes
//!                [--bug NAME]            with a fault planted in the core
//! ```
//! Exit code 1 if a promise was broken; the seed and how to replay it are printed.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use aft_core::bug::Bug;
use aft_simulation::{Options, simulate};

/// The time between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

struct Arguments {
    seed: u64,
    seeds: u64,
    until: Option<Duration>,
    options: Options,
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments { seed: 1, seeds: 1, until: None, options: Options::default() };
    while let Some(word) = words.next() {
        let mut number = |name: &str| -> Result<u64, String> {
            let text = words.next().ok_or_else(|| format!("{name} needs a number after it"))?;
            text.parse().map_err(|_| format!("{name} needs a whole number, not {text:?}"))
        };
        match word.as_str() {
            "--seed" => arguments.seed = number("--seed")?,
            "--seeds" => arguments.seeds = number("--seeds")?,
            "--minutes" => {
                arguments.until = Some(Duration::from_secs(60 * number("--minutes")?));
                arguments.seeds = u64::MAX;
            }
            "--trace" => arguments.options.trace = true,
            "--bug" => {
                let name = words.next().unwrap_or_default();
                let bug = Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name);
                arguments.options.bug = Some(bug.ok_or_else(|| {
                    format!("--bug {name:?}: no planted bug has this name; shim/core/src/bug.rs lists them")
                })?);
            }
            other => {
                return Err(format!(
                    "unknown argument {other:?}; use --seed X, --seeds N, --minutes N, --trace, --bug NAME"
                ));
            }
        }
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    // `simulate` reports a panic of the core as a violation, with its seed: no need to print it
    // twice.
    std::panic::set_hook(Box::new(|_| {}));
    let started = Instant::now();
    let mut said = started;
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut ran, mut broken) = (0_u64, 0_u64);
    for seed in (arguments.seed..).take(usize::try_from(arguments.seeds).unwrap_or(usize::MAX)) {
        if arguments.until.is_some_and(|until| started.elapsed() > until) {
            break;
        }
        let outcome = simulate(seed, &arguments.options);
        ran += 1;
        outcome.trace.iter().for_each(|line| println!("{line}"));
        for (name, count) in outcome.counts {
            *counts.entry(name).or_default() += count;
        }
        if let Some(violation) = outcome.violation {
            broken += 1;
            println!("seed {seed}: {violation}");
            println!("    replay: cargo xtask simulate --seed {seed} --trace");
        }
        if said.elapsed() > PROGRESS_EVERY {
            said = Instant::now();
            eprintln!("{ran} seeds, {broken} broken, {} s", started.elapsed().as_secs());
        }
    }
    println!(
        "{ran} seeds from {}, {broken} broken, {} ms: {counts:?}",
        arguments.seed,
        started.elapsed().as_millis()
    );
    if broken > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
