//! The command line of a driver.
//!
//! ```text
//! --seed X [--trace]      one seed; with its story
//! --seeds N [--seed X]    N seeds from X on
//! --minutes N [--seed X]  seeds from X on for N minutes
//!     --set NAME=VALUE    with this part of every plan changed; may be repeated
//!     --shrink            makes the plan of a broken promise smaller, and prints the changes; with
//!                         --trace, the story is that of the smallest plan
//! ```
//! A driver adds arguments of its own. Exit code 1 if a promise was broken, 2 if the arguments are
//! wrong; the seed of a broken promise and how to replay it are printed.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::random::Random;
use crate::run::{Counts, Simulate, simulate_plan};
use crate::shrink::{Shrink, Shrunk, shrink};

/// The time between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// The number of runs after which shrinking stops: a minute or two.
const SHRINK_TRIES_MAX: u32 = 1_000;

/// The arguments of a command.
struct Arguments<O> {
    seed: u64,
    seeds: u64,
    until: Option<Duration>,
    trace: bool,
    shrink: bool,
    /// Changes of every plan.
    changes: Vec<String>,
    options: O,
    /// The words that the driver read into its options, to repeat them in messages.
    own: Vec<String>,
}

/// Reads the words after the program's name.
fn parse<S: Simulate>(mut words: impl Iterator<Item = String>) -> Result<Arguments<S::Options>, String> {
    let mut arguments = Arguments {
        seed: 1,
        seeds: 1,
        until: None,
        trace: false,
        shrink: false,
        changes: Vec::new(),
        options: S::Options::default(),
        own: Vec::new(),
    };
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
            "--shrink" => arguments.shrink = true,
            "--set" => {
                let change = words.next().ok_or("--set needs NAME=VALUE after it")?;
                arguments.changes.push(change);
            }
            other => {
                let mut own = vec![other.to_owned()];
                let mut value = || words.next().inspect(|value| own.push(value.clone()));
                if !S::argument(&mut arguments.options, other, &mut value)? {
                    return Err(format!(
                        "unknown argument {other:?}; use --seed X, --seeds N, --minutes N, --trace, \
                         --set NAME=VALUE, --shrink, {}",
                        S::ARGUMENTS
                    ));
                }
                arguments.own.append(&mut own);
            }
        }
    }
    Ok(arguments)
}

/// Returns the command that replays a seed with changes of its plan.
fn replay<S: Simulate>(seed: u64, own: &[String], changes: &[String]) -> String {
    let own = own.iter().map(|word| format!(" {word}"));
    let changes = changes.iter().map(|change| format!(" --set {change}"));
    format!("{} --seed {seed} --trace{}", S::COMMAND, own.chain(changes).collect::<String>())
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
        let mut plan = S::draw(&Random::new(seed), &arguments.options);
        if let Err(why) = arguments.changes.iter().try_for_each(|change| plan.change(change)) {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
        // With --shrink, the story to tell is that of the smallest plan.
        let outcome = simulate_plan::<S>(seed, plan.clone(), arguments.trace && !arguments.shrink);
        ran += 1;
        outcome.trace.iter().for_each(|line| println!("{line}"));
        for (name, count) in outcome.counts {
            *counts.entry(name).or_default() += count;
        }
        if let Some(violation) = outcome.violation {
            broken += 1;
            println!("seed {seed}: {violation}");
            println!("    replay: {}", replay::<S>(seed, &arguments.own, &arguments.changes));
            if arguments.shrink {
                let shrunk = shrink::<S>(seed, &plan, &violation, SHRINK_TRIES_MAX);
                print_shrunk::<S>(&arguments, &shrunk);
            }
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

/// Prints what the smallest plan breaks, how to replay it, its counts, and, if it is asked for, its
/// story.
fn print_shrunk<S: Simulate>(arguments: &Arguments<S::Options>, shrunk: &Shrunk) {
    let Shrunk { changes, tries, outcome } = shrunk;
    if arguments.trace {
        outcome.trace.iter().for_each(|line| println!("{line}"));
    }
    let violation = outcome.violation.as_ref().expect("a shrunk plan breaks a promise");
    println!("    smaller, after {tries} tries: {violation}");
    let changes = [&arguments.changes[..], changes].concat();
    println!("    replay: {}", replay::<S>(outcome.seed, &arguments.own, &changes));
    println!("    counts: {:?}", outcome.counts);
}
