//! The binary `aft`: settings, subcommands, and the only place that names concrete stores.
//!
//! * `commands` – the command line; `serve`, `bench`, `check`, `request`, `store` (with `store_show`),
//!   `maintain`, `credentials` – one file a command.
//! * `credentials_file`, `tls_files`, `entry` – who gets in, and over what: read at the start and at SIGHUP. `token` – what our own clients present.
//! * `settings` – `aft.toml`, the environment, flags. Nothing else in the house takes settings from the environment.
//! * `stores` – store URLs. `logging` – where logs go.
//!
//! Exit codes: 0 – done, and the verdict is good; 1 – done, and the verdict is bad; 2 – refused or failed, with the reason on standard error.

mod bench;
mod check;
mod commands;
mod credentials;
mod entry;
mod logging;
mod maintain;
mod memory;
mod request;
mod serve;
mod settings;
mod store;
mod store_show;
mod stores;
mod tls_files;
mod token;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::commands::{Aft, Command};

/// Values and names come and go at the rate of transactions. glibc's allocator searches ever longer free lists once old ones are
/// collected in between: `memory:` served 0.63 of the transactions that it serves when nothing is collected, and serves 1.01 with
/// this one, of 1.4 times as many (docs/benchmarks.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Why a command was refused or failed, for people: what, and the remedy.
type Failed = String;

/// The verdict of a command that has one is bad.
const BAD: u8 = 1;
/// The command was refused, or failed.
const FAILED: u8 = 2;

/// Threads for calls that block: more than an embedded store uses at once. Each keeps some memory of its own.
const BLOCKING_THREADS_MAX: usize = 64;

fn main() -> ExitCode {
    let aft = match Aft::from_arg_matches(&command().get_matches()) {
        Ok(aft) => aft,
        Err(why) => why.exit(),
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = match runtime.enable_all().max_blocking_threads(BLOCKING_THREADS_MAX).build() {
        Ok(runtime) => runtime,
        Err(why) => return failed(&format!("cannot start the threads of the runtime: {why}")),
    };
    let ended = runtime.block_on(Box::pin(run(aft)));
    // Blocking calls that nobody waits for any more (a store that is being opened) do not hold the process.
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
            print!("{}", settings::render::file());
            Ok(ExitCode::SUCCESS)
        }
        Command::Demo(arguments) => bench::demo(arguments).await,
        Command::DemoFunction { order } => Ok(aft_bench::demo::function::run(&order).await),
        Command::Bench(arguments) => bench::run(arguments).await,
        Command::Check(arguments) => check::run(arguments),
        Command::Request(arguments) => request::run(arguments).await,
        Command::Store(arguments) => store::run(arguments).await,
        Command::Maintain(arguments) => maintain::run(arguments).await,
        Command::Credentials(arguments) => credentials::run(arguments),
    }
}

/// Says why, if anybody still reads it.
fn failed(why: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "aft: {why}");
    ExitCode::from(FAILED)
}
