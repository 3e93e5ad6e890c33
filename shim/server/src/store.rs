//! `aft store`: prepare and examine stores.

use std::process::ExitCode;

use aft_node::{Opened, StoreTimeouts, change_times, open_store};
use aft_store::conformance::probe;

use crate::commands::{StoreAction, StoreArguments};
use crate::serve::{node_settings, probe as probe_races, time_divisor};
use crate::settings::Settings;
use crate::stores::Made;
use crate::{BAD, Failed, logging, stores};

pub(crate) async fn run(arguments: StoreArguments) -> Result<ExitCode, Failed> {
    logging::start_quiet()?;
    match arguments.action {
        StoreAction::Init { url, among_others, config, change_times: changes, test_time_divisor } => {
            let settings = Settings::load(config.as_deref())?;
            let (store, made) = stores::init(&url, among_others).await?;
            let capabilities = store.capabilities();
            match made {
                Made::Bucket(prepared) => {
                    let aft_store_s3::Prepared { bucket, region, .. } = &prepared;
                    match prepared.bucket_is_new {
                        true => println!("made the bucket {bucket} in the region {region}"),
                        false => println!("the bucket {bucket} was there already"),
                    }
                    if !prepared.others.is_empty() || prepared.other_store.is_some() {
                        eprintln!(
                            "warning: other things stand beside the store, or around it: nobody else may write where it is"
                        );
                    }
                    let there = if prepared.store_was_there { ": a store was there already" } else { "" };
                    println!("{} is ready{there}", store.url());
                }
                Made::Table(aft_store_dynamodb::Prepared { table, table_is_new }) => {
                    match table_is_new {
                        true => println!("made the table {table} (on-demand)"),
                        false => println!("the table {table} was there already"),
                    }
                    println!("{} is ready", store.url());
                }
                Made::ByItself => {
                    // As it was given where the store's own form is another; but not with a password.
                    let shown = if url.contains('@') { store.url() } else { url };
                    println!("{shown} is ready (nothing needs to be made: it makes itself when it is opened)")
                }
            }
            let race = probe_races(&store, &capabilities).await?;
            let limit = StoreTimeouts::default().read;
            let divisor = time_divisor(test_time_divisor, &settings);
            let times = node_settings(&capabilities, &settings, divisor)?.times();
            let times = times.map_err(|why| why.to_string())?;
            match open_store(&*store, race, times, limit).await.map_err(|why| why.to_string())? {
                Opened::Marked { about, is_new, .. } => {
                    let identity: String = about.identity.iter().map(|byte| format!("{byte:02x}")).collect();
                    let made = if is_new { "made now" } else { "made before" };
                    println!("  identity             {identity} ({made}, by {})", about.program);
                    let shared = if changes { Some(times) } else { about.times };
                    if changes {
                        change_times(&*store, times, limit).await.map_err(|why| why.to_string())?;
                    }
                    if let Some(shared) = shared {
                        println!("  all nodes have       {shared}");
                        if let Some(why) = shared.refusal(&times, true).filter(|_| !capabilities.exclusive) {
                            eprintln!(
                                "warning: a node with these settings does not work on the store: {why}"
                            );
                        }
                    }
                }
                Opened::Unmarked(why) => eprintln!("warning: {why}"),
            }
            println!("  acknowledged means   {}", capabilities.durability);
            println!("  one process only     {}", yes_or_no(capabilities.exclusive));
            println!("  deletes by tag       {}", yes_or_no(capabilities.delete_if));
            println!("  largest object       {} bytes", capabilities.body_bytes_max);
            println!("  parts of values      {} bytes", capabilities.blob_part_bytes);
            println!("  late calls           for up to {} s", capabilities.grace_ms.div_ceil(1_000));
            Ok(ExitCode::SUCCESS)
        }
        StoreAction::Probe { url } => {
            let report = probe(stores::open(&url).await?).await;
            println!("{report}");
            Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::from(BAD) })
        }
    }
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}
