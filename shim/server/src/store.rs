//! `aft store`: prepares and examines stores.

use std::process::ExitCode;

use aft_core::message::Isolation;
use aft_core::settings::Levels;
use aft_node::{NewStore, Opened, StoreTimeouts, change_levels, change_times, init_split, open_store};
use aft_store::conformance::probe;
use aft_store::{Capabilities, Store};

use crate::commands::{PrefixLevel, StoreAction, StoreArguments};
use crate::output::{Output, note};
use crate::serve::{node_settings, probe as probe_races};
use crate::settings::Settings;
use crate::stores::Place;
use crate::{BAD, Failed, logging, output, store_show, stores};

pub(crate) async fn run(arguments: StoreArguments) -> Result<ExitCode, Failed> {
    logging::start_quiet()?;
    let mut output = Output::default();
    match arguments.action {
        StoreAction::Init {
            url,
            among_others,
            config,
            change_times: changes,
            isolation,
            test_time_divisor,
        } => {
            let settings = Settings::load(config.as_deref())?;
            let asked = asked_levels(&isolation)?;
            // Wrong arguments are rejected above, before anything is made.
            let (store, place) = stores::init(&url, among_others).await?;
            let capabilities = store.capabilities();
            if capabilities.exclusive && !asked.is_empty() {
                return Err(format!(
                    "{}: one process holds this store, and every transaction chooses its level there: leave \
                     --isolation out, and name the level when a transaction begins",
                    store.url()
                ));
            }
            match &place {
                Place::Bucket(prepared) => {
                    output.line(of_bucket(prepared));
                    if !prepared.others.is_empty() || prepared.other_store.is_some() {
                        note(format_args!(
                            "warning: there are other things beside the store or around it: nothing else may write where it is"
                        ));
                    }
                    let there = if prepared.store_was_there { ": a store was there already" } else { "" };
                    output.line(format_args!("{} is ready{there}", store.url()));
                }
                Place::Table(prepared) => {
                    output.line(of_table(prepared));
                    output.line(format_args!("{} is ready", store.url()));
                }
                // It is ready once it has claimed its place in the bucket.
                Place::TableAndBucket { table, bucket, .. } => {
                    output.line(of_table(table));
                    output.line(of_bucket(bucket));
                }
                Place::ByItself => {
                    // Shown as it was given, which may differ from the store's own form, unless it
                    // contains a password.
                    let shown = if url.contains('@') { store.url() } else { url };
                    output.line(format_args!(
                        "{shown} is ready (nothing needs to be made: the first process that opens it makes it)"
                    ))
                }
            }
            // The description that a new store keeps: the verdict of the races, the times of its
            // nodes, and the levels of its keys.
            let race = probe_races(&store, &capabilities).await?;
            let limit = StoreTimeouts::default().read;
            let divisor = settings.time_divisor(test_time_divisor);
            let times = node_settings(&capabilities, &settings, divisor)?.times();
            let times = times.map_err(|why| why.to_string())?;
            let mut levels = levels_of_new(&capabilities);
            asked.iter().for_each(|(prefix, level)| levels.set(prefix.clone(), *level));
            let new = NewStore { race, times, levels };
            let opened = match &place {
                Place::TableAndBucket { blobs, .. } => {
                    // Two stores may want the same place at once, and one must get it.
                    probe_races(blobs, &blobs.capabilities()).await?;
                    let opened = init_split(&*store, &**blobs, &new, limit).await;
                    if opened.is_ok() {
                        output.line(format_args!("{} is ready", store.url()));
                    }
                    opened
                }
                Place::Bucket(_) | Place::Table(_) | Place::ByItself => {
                    open_store(&*store, &new, limit).await
                }
            };
            match opened.map_err(|why| why.to_string())? {
                // The levels come first: if a prefix holds keys, nothing is changed.
                Opened::Marked { about, is_new, .. } => {
                    let levels = set_levels(&*store, &asked, &about.levels).await?;
                    let identity = store_show::hex(&about.identity);
                    let made = if is_new { "made now" } else { "made before" };
                    output.line(format_args!(
                        "  identity             {identity} ({made}, by {})",
                        about.program
                    ));
                    let shared = if changes { Some(times) } else { about.times };
                    if changes {
                        change_times(&*store, times, limit).await.map_err(|why| why.to_string())?;
                    }
                    // A server whose settings differ from the store's times may not work on it.
                    if let Some(shared) = shared {
                        output.line(format_args!("  all nodes have       {shared}"));
                        if let Some(why) = shared.refusal(&times, true).filter(|_| !capabilities.exclusive) {
                            note(format_args!(
                                "warning: a node with these settings does not work on the store: {why}"
                            ));
                        }
                    }
                    match capabilities.exclusive {
                        true => output.line("  levels               chosen by each transaction"),
                        false => output.line(format_args!("  levels               {levels}")),
                    }
                }
                // The description is lost or damaged, so no level can be set.
                Opened::Unmarked(why) if !asked.is_empty() => return Err(why),
                Opened::Unmarked(why) => note(format_args!("warning: {why}")),
            }
            output.line(format_args!("  acknowledged means   {}", capabilities.durability));
            output.line(format_args!("  one process only     {}", yes_or_no(capabilities.exclusive)));
            output.line(format_args!("  deletes by tag       {}", yes_or_no(capabilities.delete_if)));
            output.line(format_args!("  largest object       {} bytes", capabilities.body_bytes_max));
            output.line(format_args!("  parts of values      {} bytes", capabilities.blob_part_bytes));
            if let Some(place) = store.blobs_place() {
                output.line(format_args!("  large values         in {place}"));
            }
            output.line(format_args!(
                "  late calls           for up to {} s",
                capabilities.grace_ms.div_ceil(1_000)
            ));
            output.end().map(|()| ExitCode::SUCCESS)
        }
        StoreAction::Show { url, json } => store_show::run(&url, json).await,
        StoreAction::Probe { url } => {
            let mut has_passed = true;
            for store in stores::open_to_probe(&url).await? {
                let report = probe(store).await;
                output::print(&report)?;
                has_passed &= report.passed();
            }
            Ok(if has_passed { ExitCode::SUCCESS } else { ExitCode::from(BAD) })
        }
    }
}

fn of_table(prepared: &aft_store_dynamodb::Prepared) -> String {
    let aft_store_dynamodb::Prepared { table, table_is_new } = prepared;
    match table_is_new {
        true => format!("made the table {table} (on-demand)"),
        false => format!("the table {table} was there already"),
    }
}

fn of_bucket(prepared: &aft_store_s3::Prepared) -> String {
    let aft_store_s3::Prepared { bucket, region, .. } = prepared;
    match prepared.bucket_is_new {
        true => format!("made the bucket {bucket} in the region {region}"),
        false => format!("the bucket {bucket} was there already"),
    }
}

/// Returns the levels of a new store if none are given: the stronger promise, since a level that is
/// weaker than the caller thinks shows only in wrong data. Where one process holds the store,
/// transactions choose.
pub(crate) fn levels_of_new(capabilities: &Capabilities) -> Levels {
    match capabilities.exclusive {
        true => Levels::default(),
        false => Levels::everywhere(Isolation::Serializable),
    }
}

/// Returns the levels that were asked for, one for each prefix.
///
/// # Errors
/// Returns an error if a prefix is given two different levels.
fn asked_levels(isolation: &[PrefixLevel]) -> Result<Vec<(String, Isolation)>, Failed> {
    let mut asked = std::collections::BTreeMap::new();
    for PrefixLevel { prefix, level } in isolation {
        if asked.insert(prefix.clone(), *level).is_some_and(|other| other != *level) {
            return Err(format!("--isolation gives the prefix {prefix:?} two levels: give it one"));
        }
    }
    Ok(asked.into_iter().collect())
}

/// Sets the levels that were asked for in an existing store, and returns all of its levels.
///
/// # Errors
/// Returns an error if they cannot be set, as for a prefix that holds keys.
async fn set_levels(
    store: &dyn Store,
    asked: &[(String, Isolation)],
    before: &Levels,
) -> Result<Levels, Failed> {
    if asked.is_empty() {
        return Ok(before.clone());
    }
    let after = change_levels(store, asked, StoreTimeouts::default().read).await;
    let after = after.map_err(|why| why.to_string())?;
    if after != *before {
        note(format_args!(
            "warning: the levels have changed, and nodes learn them when they start: restart every node on the store \
             before it writes again"
        ));
    }
    Ok(after)
}

pub(crate) fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}
