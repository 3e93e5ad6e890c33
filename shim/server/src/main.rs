//! The binary `aft`: settings, subcommands, and the only place that names concrete stores.
//!
//! * `commands` – the command line. One file for each command: `serve`, `bench` (with the demo),
//!   `check`, `request`, `store` (with `store_show`), `maintain`, `transfer` (import and export,
//!   with their arguments), `credentials`, `functions` (with its arguments).
//! * `entry`, `tls_files` – credentials and TLS, read at the start and at SIGHUP. `token` – the
//!   token that our own clients present.
//! * `settings` – `aft.toml`, the environment, flags; nothing else takes settings from the
//!   environment. `memory` – the shares of one bound on all memory.
//! * `stores` – store URLs. `logging` – the logs. `output` – standard output.
//!
//! Exit codes: 0 – done, with a good verdict; 1 – done, with a bad verdict; 2 – rejected or failed,
//! or done with output that could not be written, with the reason on standard error.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod buckets;
mod check;
mod commands;
mod credentials;
mod descriptors;
mod entry;
mod functions;
mod logging;
mod maintain;
mod memory;
mod output;
mod request;
mod serve;
mod settings;
mod store;
mod store_show;
mod stores;
mod tls_files;
mod token;
mod transfer;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::commands::{Aft, Command};

/// The allocator of the process. Values and names are allocated and freed at the rate of
/// transactions. glibc's allocator searches ever longer free lists while old ones are collected in
/// between: with it, `memory:` served 0.63 times as many transactions while old versions were
/// collected as without. With this allocator the ratio is 1.01, at 1.4 times the throughput
/// (docs/benchmarks.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The reason for which a command was rejected or failed, for people, with the remedy.
type Failed = String;

/// The exit code of a command with a bad verdict.
const BAD: u8 = 1;
/// The exit code of a command that was rejected or failed.
const FAILED: u8 = 2;

/// The maximum number of threads for calls that block: more than an embedded store uses at once.
/// Each keeps some memory of its own.
const BLOCKING_THREADS_MAX: usize = 64;

fn main() -> ExitCode {
    let parsed = command().try_get_matches().and_then(|matches| Aft::from_arg_matches(&matches));
    let aft = match parsed {
        Ok(aft) => aft,
        Err(why) => return explain(&why),
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = match runtime.enable_all().max_blocking_threads(BLOCKING_THREADS_MAX).build() {
        Ok(runtime) => runtime,
        Err(why) => return failed(&format!("cannot start the threads of the runtime: {why}")),
    };
    let ended = runtime.block_on(Box::pin(run(aft)));
    // Blocking calls whose callers have left (a store that is still being opened) do not keep the
    // process alive.
    runtime.shutdown_background();
    ended.unwrap_or_else(|why| failed(&why))
}

/// Returns the command line, with the list of settings in the help of `aft serve`.
fn command() -> clap::Command {
    let settings = settings::render::help();
    let short = format!("{}\n\n`aft settings` prints every setting.", commands::SERVE_EXAMPLES);
    let long = format!(
        "{}\n\nSettings (aft.toml or --config FILE; `aft settings` prints an annotated file):\n{settings}\n{}",
        commands::SERVE_EXAMPLES,
        commands::SERVE_NOTES
    );
    Aft::command().mut_subcommand("serve", |serve| serve.after_help(short).after_long_help(long))
}

async fn run(aft: Aft) -> Result<ExitCode, Failed> {
    match aft.command {
        Command::Serve(arguments) => serve::run(arguments).await,
        Command::Settings(_) => {
            let mut output = output::Output::default();
            output.write(&settings::render::file());
            output.end().map(|()| ExitCode::SUCCESS)
        }
        Command::Demo(arguments) => bench::demo(arguments).await,
        Command::DemoFunction { order } => Ok(aft_bench::demo::function::run(&order).await),
        Command::Bench(arguments) => bench::run(arguments).await,
        Command::Check(arguments) => check::run(arguments),
        Command::Request(arguments) => request::run(arguments).await,
        Command::Store(arguments) => store::run(arguments).await,
        Command::Maintain(arguments) => maintain::run(arguments).await,
        Command::Import(arguments) => transfer::import(arguments).await,
        Command::Export(arguments) => transfer::export(arguments).await,
        Command::Credentials(arguments) => credentials::run(arguments),
        Command::Functions(arguments) => functions::run(arguments).await,
    }
}

/// Prints the help, or the error of a command line, and returns the exit code.
fn explain(why: &clap::Error) -> ExitCode {
    let printed = why.print().and_then(|()| std::io::stdout().flush());
    match printed {
        Err(lost) if !why.use_stderr() => failed(&output::lost(&lost)),
        // Nobody reads standard error, and the exit code is all that can be said.
        Ok(()) | Err(_) => ExitCode::from(u8::try_from(why.exit_code()).unwrap_or(FAILED)),
    }
}

/// Prints the reason, and returns the exit code.
fn failed(why: &str) -> ExitCode {
    output::note(format_args!("aft: {why}"));
    ExitCode::from(FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::HELP_COLUMNS;

    /// Calls `check` with every command, by its name with those of its parents.
    fn each_command(check: &mut dyn FnMut(&str, &mut clap::Command)) {
        fn walk(name: &str, of: &mut clap::Command, check: &mut dyn FnMut(&str, &mut clap::Command)) {
            check(name, of);
            for sub in of.get_subcommands_mut() {
                walk(&format!("{name} {}", sub.get_name()), sub, check);
            }
        }
        let mut aft = command();
        aft.build();
        walk("aft", &mut aft, check);
    }

    #[test]
    fn help_fits_eighty_columns() {
        let mut count = 0;
        each_command(&mut |name, of| {
            for help in [of.render_help(), of.render_long_help()] {
                for line in help.to_string().lines() {
                    assert!(line.chars().count() <= HELP_COLUMNS, "{name} --help: {line}");
                }
            }
            count += 1;
        });
        assert!(count >= 15, "only {count} commands");
    }

    /// A paragraph of notes is one line, which is broken to the width of the terminal. A paragraph
    /// that is broken by hand would be broken again, after its first word or two.
    #[test]
    fn notes_are_not_broken_by_hand() {
        each_command(&mut |name, of| {
            for notes in [of.get_after_help(), of.get_after_long_help()].into_iter().flatten() {
                let notes = notes.to_string();
                let lines: Vec<&str> = notes.lines().collect();
                for (line, next) in lines.iter().zip(lines[1..].iter().chain([&""])) {
                    let is_listed = next.starts_with(' ') || next.is_empty();
                    assert!(line.chars().count() <= HELP_COLUMNS || is_listed, "{name} --help: {line}");
                    // A command that is broken cannot be copied.
                    let is_example = line.starts_with("  ");
                    assert!(!is_example || line.chars().count() <= HELP_COLUMNS, "{name} --help: {line}");
                }
            }
        });
    }
}
