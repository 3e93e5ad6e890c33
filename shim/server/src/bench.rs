//! `aft bench` and `aft demo`: options in, reports out.

use std::process::ExitCode;
use std::sync::Arc;

use aft_bench::demo::OpenStore;
use aft_bench::standard::{Length, Options, Pace, Prepare, Target, Token, Way, Workload};
use futures::FutureExt as _;

use crate::commands::{BenchArguments, BenchWorkload, DemoArguments, Latency, StandardArguments};
use crate::{BAD, Failed, commands, logging, stores, token};
use aft_store_faulty::{Faults, FaultyStore};

/// Transactions, if neither a number nor a time is given.
const TRANSACTIONS: u64 = 10_000;

pub(crate) async fn standard(arguments: BenchArguments) -> Result<ExitCode, Failed> {
    logging::start_quiet()?;
    let BenchWorkload::Standard(arguments) = arguments.workload;
    let (json, way) = (arguments.json, way(&arguments));
    if arguments.compare {
        let compared = aft_bench::standard::compare(options(arguments).await?).await;
        let compared = compared.map_err(|why| why.to_string())?;
        match json {
            true => println!("{}", compared.json()),
            false => println!("{compared}"),
        }
        return Ok(if compared.shim.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(BAD) });
    }
    let report = aft_bench::standard::run(options(arguments).await?).await.map_err(|why| why.to_string())?;
    if json {
        println!("{}", report.json());
    } else {
        println!("{report}");
    }
    // Without the shim anomalies are what is measured.
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
    let target = match (arguments.store.starts_with("http://"), arguments.latency) {
        (true, None) => Target::Server { url: arguments.store },
        (true, Some(_)) => return Err("--latency is of a store, and this is a server: name the store".into()),
        (false, None) => Target::Store(stores::open(&arguments.store).await?),
        (false, Some(Latency(latency))) => {
            let (store, seed) = (stores::open(&arguments.store).await?, arguments.seed.unwrap_or_default());
            Target::Store(Arc::new(FaultyStore::new(store, seed, Faults::latency_only(latency))))
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
        dataset: None,
        command: Some(typed()),
    })
}

/// What was typed, for the report.
fn typed() -> String {
    let mut words = vec!["aft".to_owned()];
    words.extend(std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
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
    if arguments.json {
        println!("{}", outcome.json());
    } else {
        println!("{outcome}");
    }
    Ok(if outcome.shim_is_clean() { ExitCode::SUCCESS } else { ExitCode::from(BAD) })
}
