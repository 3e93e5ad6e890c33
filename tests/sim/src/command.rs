//! The command line of a driver.
//!
//! ```text
//! --seed X [--trace]      one seed; with its story
//! --seeds N [--seed X]    N seeds from X on
//! --minutes N [--seed X]  seeds from X on for N minutes
//! ```
//! A driver adds arguments of its own. Exit code 1 if a promise was broken, 2 if the arguments are
//! wrong; the seed of a broken promise and how to replay it are printed.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::run::{Counts, Simulate, simulate};

/// The time between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// The arguments of a command.
struct Arguments<O> {
    seed: u64,
    seeds: u64,
    until: Option<Duration>,
    trace: bool,
    options: O,
}

/// Reads the words after the program's name.
fn parse<S: Simulate>(mut words: impl Iterator<Item = String>) -> Result<Arguments<S::Options>, String> {
    let options = S::Options::default();
    let mut arguments = Arguments { seed: 1, seeds: 1, until: None, trace: false, options };
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
            "--trace" => arguments.trace = true,
            other => {
                if !S::argument(&mut arguments.options, other, &mut || words.next())? {
                    let own = S::ARGUMENTS;
                    return Err(format!(
                        "unknown argument {other:?}; use --seed X, --seeds N, --minutes N, --trace, {own}"
                    ));
                }
            }
        }
    }
    Ok(arguments)
}

/// Runs the seeds that the process's arguments name, and prints what came of them.
pub fn command<S: Simulate>() -> ExitCode {
    let arguments = match parse::<S>(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    // A run reports a panic of the core as a violation, with its seed: no need to print it twice.
    std::panic::set_hook(Box::new(|_| {}));
    let started = Instant::now();
    let mut said = started;
    let mut counts = Counts::new();
    let (mut ran, mut broken) = (0_u64, 0_u64);
    for seed in (arguments.seed..).take(usize::try_from(arguments.seeds).unwrap_or(usize::MAX)) {
        if arguments.until.is_some_and(|until| started.elapsed() > until) {
            break;
        }
        let outcome = simulate::<S>(seed, &arguments.options, arguments.trace);
        ran += 1;
        outcome.trace.iter().for_each(|line| println!("{line}"));
        for (name, count) in outcome.counts {
            *counts.entry(name).or_default() += count;
        }
        if let Some(violation) = outcome.violation {
            broken += 1;
            println!("seed {seed}: {violation}");
            println!("    replay: {} --seed {seed} --trace", S::COMMAND);
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
