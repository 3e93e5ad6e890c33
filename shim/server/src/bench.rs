//! `aft bench` and `aft demo`: turn arguments into options, and print the reports.

use std::process::ExitCode;
use std::sync::Arc;

use aft_bench::Error;
use aft_bench::demo::OpenStore;
use aft_bench::exactly_once;
use aft_bench::standard::{Length, Options, Pace, Prepare, StoreTarget, Target, Token, Way, Workload};
use aft_client::TlsFiles;
use futures::FutureExt as _;

use crate::commands::{
    BenchArguments, BenchWorkload, DemoArguments, ExactlyOnceArguments, Latency, StandardArguments,
};
use crate::{BAD, Failed, commands, logging, output, stores, token};

/// The number of transactions if neither a number nor a time is given.
const TRANSACTIONS: u64 = 10_000;

pub(crate) async fn run(arguments: BenchArguments) -> Result<ExitCode, Failed> {
    logging::start_quiet()?;
    match arguments.workload {
        BenchWorkload::Standard(arguments) => standard(arguments).await,
        BenchWorkload::ExactlyOnce(arguments) => exactly_once(arguments).await,
    }
}

async fn standard(arguments: StandardArguments) -> Result<ExitCode, Failed> {
    // A comparison runs all ways itself, so it has a report of its own.
    let (json, way) = (arguments.json, way(&arguments));
    if arguments.compare {
        let compared = aft_bench::standard::compare(options(arguments).await?).await;
        let compared = compared.map_err(|why| unfinished(why, json))?;
        match json {
            true => output::print(compared.json())?,
            false => output::print(&compared)?,
        }
        return Ok(if compared.shim.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(BAD) });
    }
    let report = aft_bench::standard::run(options(arguments).await?).await.map_err(|why| why.to_string())?;
    match json {
        true => output::print(report.json())?,
        false => output::print(&report)?,
    }
    if let Some(why) = report.failed {
        return Err(why);
    }
    // Without the shim, anomalies are the measured figure and not a failure.
    Ok(if way.is_direct() || report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(BAD) })
}

fn way(arguments: &StandardArguments) -> Way {
    match arguments.way {
        _ if arguments.direct => Way::Direct,
        commands::Way::Shim => Way::Shim,
        commands::Way::Direct => Way::Direct,
        commands::Way::DirectAtOnce => Way::DirectAtOnce,
        commands::Way::Transactions => Way::Transactions,
    }
}

async fn options(arguments: StandardArguments) -> Result<Options, Failed> {
    let way = way(&arguments);
    let is_secure = arguments.store.iter().any(|url| url.starts_with("https://"));
    let files = arguments.tls.files();
    let tls = match is_secure || files != TlsFiles::default() {
        true => Some(files.client_config().map_err(|why| why.details().detail.clone())?),
        false => None,
    };
    let are_servers = arguments.store.iter().all(|url| is_server(url));
    let sessions = !arguments.no_sessions;
    // One store, one server, or several servers, and the options that each of them allows.
    let target = match (arguments.store.as_slice(), are_servers, arguments.latency) {
        (_, true, Some(_)) => {
            return Err("--latency delays the calls to a store, and this is a server: name the store".into());
        }
        ([url], ..) if !sessions => {
            return Err(format!(
                "--no-sessions needs several servers, and {url} is one: name more, or leave it out"
            ));
        }
        ([url], true, None) => Target::Server { url: url.clone() },
        ([url], false, latency) => Target::Store(open(url, latency, arguments.seed).await?),
        (_, true, None) => Target::Servers { urls: arguments.store, sessions },
        (_, false, _) => {
            return Err("--store may be given several times only for servers: name one store".into());
        }
    };
    Ok(Options {
        target,
        way,
        workload: Workload {
            functions: arguments.functions,
            reads: arguments.reads,
            writes: arguments.writes,
            value_bytes: arguments.value_bytes,
            keys: arguments.keys,
            zipf: arguments.zipf,
            prepare: if arguments.no_prepare { Prepare::Nothing } else { Prepare::Write },
        },
        length: match (arguments.seconds, arguments.transactions) {
            (Some(time), _) => Length::For(time),
            (None, number) => Length::Transactions(number.unwrap_or(TRANSACTIONS)),
        },
        warm_up: arguments.warm_up,
        pace: arguments.rate.map_or(Pace::Closed, |per_s| Pace::Open { per_s }),
        clients: arguments.clients,
        seed: arguments.seed,
        history: arguments.history,
        token: token::read(arguments.token_file.as_deref())?
            .map(|token| Token::new(token.expose().to_owned())),
        tls,
        dataset: None,
        command: Some(typed()),
        progress: true,
    })
}

/// Returns true if the URL is that of a server, not of a store.
fn is_server(url: &str) -> bool {
    url.starts_with("http://") || url.starts_with("https://")
}

/// Opens the store and its own transactions, slowed down if `latency` is given.
async fn open(url: &str, latency: Option<Latency>, seed: Option<u64>) -> Result<StoreTarget, Failed> {
    let target = stores::open_for_bench(url).await?;
    let Some(Latency(latency)) = latency else { return Ok(target) };
    Ok(aft_bench_targets::slowed(target, latency, seed.unwrap_or_default()))
}

async fn exactly_once(arguments: ExactlyOnceArguments) -> Result<ExitCode, Failed> {
    if is_server(&arguments.store) {
        return Err(
            "plain functions and records call a store directly, and this is a server: name the store".into(),
        );
    }
    let StoreTarget { store, .. } = open(&arguments.store, arguments.latency, arguments.seed).await?;
    let defaults = exactly_once::Options::default();
    let options = exactly_once::Options {
        requests: arguments.requests,
        clients: arguments.clients,
        crashes: arguments.crashes,
        duplicates: arguments.duplicates,
        attempts: arguments.attempts,
        function_timeout: arguments.function_timeout.unwrap_or(defaults.function_timeout),
        retry_delay: arguments.retry_delay.unwrap_or(defaults.retry_delay),
        readers: arguments.readers,
        value_bytes: arguments.value_bytes,
        seed: arguments.seed,
        command: Some(typed()),
        progress: true,
    };
    let report = exactly_once::run(store, options).await;
    let report = report.map_err(|why| unfinished(why, arguments.json))?;
    match arguments.json {
        true => output::print(report.json())?,
        false => output::print(&report)?,
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(BAD) })
}

/// Prints what a run that stopped has measured until then, and returns the reason.
fn unfinished(why: Error, json: bool) -> Failed {
    if let Error::Unfinished { ended, .. } = &why {
        // The reason why the run stopped is the better one to report.
        let _ = output::print(if json { &ended.json } else { &ended.text });
    }
    why.to_string()
}

/// Returns the command line, for the report.
fn typed() -> String {
    let words = std::env::args_os().skip(1).map(|word| without_password(&word.to_string_lossy()));
    std::iter::once("aft".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// Returns a word of the command line without the password that its URL may have: reports are
/// published.
fn without_password(word: &str) -> String {
    if word.contains("://") { stores::shown(word) } else { word.to_owned() }
}

pub(crate) async fn demo(arguments: DemoArguments) -> Result<ExitCode, Failed> {
    logging::start_quiet()?;
    let open = |url: String| async move { stores::open(&url).await }.boxed();
    let options = aft_bench::demo::Options {
        requests: arguments.requests,
        seed: arguments.seed,
        store: arguments.store,
        report: arguments.report,
        program: None,
        open: Some(OpenStore(Arc::new(open))),
    };
    let outcome = aft_bench::demo::run(options).await.map_err(|why| why.to_string())?;
    match arguments.json {
        true => output::print(outcome.json())?,
        false => output::print(&outcome)?,
    }
    if let Some(why) = outcome.report_failed {
        return Err(why);
    }
    Ok(if outcome.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(BAD) })
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn the_command_in_a_report_has_no_password() {
        for (word, shown) in [
            ("redis://me:hunter2@h:1/shop", "redis://…@h:1/shop"),
            ("--store=redis://:hunter2@h:1/shop", "--store=redis://…@h:1/shop"),
            ("local:./a@b", "local:./a@b"),
            ("a@b.txt", "a@b.txt"),
            ("s3://bucket/prefix?region=r", "s3://bucket/prefix?region=r"),
        ] {
            assert_eq!(without_password(word), shown);
        }
    }
}
