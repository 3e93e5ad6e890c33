//! `cargo xtask services`: fetches services and runs them until Ctrl-C, for people who try things
//! by hand.

use std::process::ExitCode;

use aft_services::{Error, Fetched, Home, Server, Service};
use clap::Parser;

/// The bucket in the sample lines, as in [`Server::store_url`].
const BUCKET: &str = "aft";

/// Real servers for tests, on loopback. Without names: those of the everyday tests (minio, moto,
/// redis, dynamodb, and the clients s3-clients and lambda-runtimes), except those that
/// AFT_SKIP_SERVICES names. There are also ceph, for the long tests, and etcd, restate and
/// powertools, with which the figures compare AFT.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask services", disable_version_flag = true)]
struct Arguments {
    /// Only fetch them, if they are not there yet
    #[arg(long)]
    fetch: bool,
    /// The services to fetch and run
    #[arg(value_name = "SERVICE")]
    services: Vec<Service>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Error> {
    let services = chosen(arguments)?;
    fetch(&services)?;
    if arguments.fetch {
        return Ok(());
    }
    // Registered first: from here on a signal ends the wait below instead of this process, so that
    // the servers' data is removed.
    let signals =
        signals().map_err(|source| Error::Io { what: "cannot wait for signals".to_owned(), source })?;
    let (servers, libraries): (Vec<Service>, Vec<Service>) =
        services.into_iter().partition(|service| service.serves());
    for library in libraries {
        println!("{library}: {}", library.program(&Home::from_environment())?.display());
    }
    let servers = servers.iter().map(|service| service.start()).collect::<Result<Vec<_>, _>>()?;
    for server in &servers {
        if server.service().holds_stores() && server.store_url().starts_with("s3:") {
            server.create_bucket(BUCKET)?;
        }
        show(server);
    }
    println!("\nCtrl-C stops them.");
    signals.await;
    Ok(())
}

/// Returns the named services, even those that the environment skips; without names, the everyday
/// services that the environment does not skip.
fn chosen(arguments: &Arguments) -> Result<Vec<Service>, Error> {
    if !arguments.services.is_empty() {
        return Ok(arguments.services.clone());
    }
    let mut services = Vec::new();
    for service in Service::everyday() {
        if service.wanted()? {
            services.push(service);
        } else {
            println!("{service}: skipped (AFT_SKIP_SERVICES)");
        }
    }
    Ok(services)
}

/// Fetches every service, all at the same time: much of it is waiting for downloads, and for tools
/// that use one core. A failure does not stop the others. The first failure in the order of
/// `services` is the result; the others are printed.
fn fetch(services: &[Service]) -> Result<(), Error> {
    let home = Home::from_environment();
    std::thread::scope(|scope| {
        let fetches: Vec<_> = services
            .iter()
            .map(|service| {
                let home = &home;
                scope.spawn(move || {
                    let fetched = service.fetch(home, &|line| println!("{line}"))?;
                    match fetched {
                        Fetched::Before => println!("{service}: is in {}", home.path().display()),
                        Fetched::Now(took) => println!("{service}: made in {:.1} s", took.as_secs_f64()),
                    }
                    Ok(())
                })
            })
            .collect();
        let mut result = Ok(());
        for fetch in fetches {
            match fetch.join().expect("a fetch does not panic") {
                Err(why) if result.is_ok() => result = Err(why),
                Err(why) => eprintln!("{why}"),
                Ok(()) => {}
            }
        }
        result
    })
}

/// Returns a future that ends at Ctrl-C or at a supervisor's SIGTERM.
fn signals() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Prints the server's address and settings, as lines to copy into a shell.
fn show(server: &Server) {
    println!("\n{} at 127.0.0.1:{}:", server.service(), server.port());
    for (name, value) in server.environment() {
        println!("  export {name}={value}");
    }
    if !server.service().holds_stores() {
        return;
    }
    let store = server.store_url();
    if store.starts_with("dynamodb:") {
        println!("  aft store init '{store}'");
    }
    println!("  aft serve --store '{store}'");
}
