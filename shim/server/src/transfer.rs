//! `aft import` and `aft export`: runs a node of its own on the store, and moves objects through
//! it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aft_access::Access;
use aft_desk::Desk;
use aft_door_s3::objects::Objects;
use aft_node::{NodeHandle, NodeSettings, Opened};
use aft_store::Store;
use aft_transfer::Place;
use clap::Args;

use crate::output::print;
use crate::serve::{node_settings, probe};
use crate::settings::Settings;
use crate::settings::table::Components;
use crate::stores::Made;
use crate::{BAD, Failed, logging, stores};

/// The time that a node has to end what it is doing.
const DRAIN: Duration = Duration::from_secs(30);
/// The most objects of a snapshot. The process serves nobody else, so that the bounds of a server
/// do not fit: each object takes about a kilobyte of memory.
const SNAPSHOT_LEN_MAX: usize = 50_000_000;
/// The memory of the snapshot's transaction, which is as much as the machine has.
const SNAPSHOT_BYTES_MAX: usize = 64 << 30;

/// Bring existing objects of a bucket or a directory into a store, as versions.
///
/// The key of an object is its key below the prefix, or its path below the directory. Content
/// headers, metadata and tags come along. Each object is verified before it is committed: its bytes
/// must make its entity tag, also that of an upload in parts, and its checksum. Where a tag is no
/// digest, as with encryption by KMS, the object counts as not verified.
///
/// Objects that the bucket has already are skipped, so an interrupted import continues when it runs
/// again. An object that differs is replaced if an import wrote it, and left as it is if
/// not. A directory or prefix that aft export wrote is restored with all that its manifest has.
///
/// The exit code is 0 if the bucket has every object of the source, and 1 if some are left.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aft import 's3://photos?region=eu-west-1' --store local:./data
  aft import 's3://photos/2026?endpoint=http://127.0.0.1:9000' \\
    --bucket archive --store 's3://aft/store?region=eu-west-1'
  aft import ./backup --bucket photos --store local:./data

A store local:DIR belongs to one process, so stop its server first. On other stores servers may go \
on. Run one import into a bucket at a time.")]
pub(crate) struct ImportArguments {
    /// Import from here: s3://BUCKET/PREFIX?endpoint=URL&region=R, with credentials as for a store,
    /// or a directory
    pub(crate) source: String,
    /// Import into this store: local:DIR, s3://BUCKET/PREFIX?endpoint=URL&region=R,
    /// dynamodb://TABLE/PREFIX?region=R&blobs=URL or redis[s]://HOST:PORT/PREFIX
    #[arg(long, value_name = "URL")]
    pub(crate) store: String,
    /// Import into this bucket, which is made if it is missing [default: the name of the source's,
    /// of the exported one, or of the directory]
    #[arg(long, value_name = "NAME")]
    pub(crate) bucket: Option<String>,
    /// Replace objects that differ from the source and that no import wrote
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Import objects whose bytes do not make their entity tag, and count them as not verified
    #[arg(long)]
    pub(crate) accept_any_etag: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Read this settings file [default: aft.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Divide all of the protocol's times by N; for tests only
    #[arg(long, value_name = "N", hide = true)]
    pub(crate) test_time_divisor: Option<u64>,
}

/// Write the latest committed state of a bucket as plain objects or files, in one snapshot.
///
/// One transaction reads everything, so of a commit that wrote several keys the export has all of
/// the writes, or what superseded them. The manifest aft-manifest.jsonl is written last: a header,
/// and for each object a line with key, version, entity tag, headers, metadata and tags. While an
/// export runs, or if it failed, aft-manifest.partial.jsonl is in its place.
///
/// A later export to the same place writes what has changed, and removes what is gone. Files and
/// objects that no export wrote are never touched.
///
/// On a store that several servers share, the snapshot ends with the time of a transaction
/// ([node] timeout_max_ms: 15 minutes, on Redis one). If not all of it is read by then, the export
/// fails. Run it again: what was written and is unchanged is skipped.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aft export photos ./backup --store local:./data
  aft export photos 's3://archive/photos?region=eu-west-1' \\
    --store 's3://aft/store?region=eu-west-1'

A store local:DIR belongs to one process, so stop its server first. On other stores servers may go \
on.

Names of files: a key is its own path, except for what a file system does not take. A percent sign \
and control characters are written as % and two digits; a part that is empty is %-, and . and .. \
are %2E and %2E%2E; a part of more than 250 bytes goes on in a folder whose name ends in %+; a key \
that is also a folder of others ends in %=. The manifest has both.")]
pub(crate) struct ExportArguments {
    /// Export this bucket
    pub(crate) bucket: String,
    /// Write here: s3://BUCKET/PREFIX?endpoint=URL&region=R, with credentials as for a store, or a
    /// directory, which is made if it is missing
    pub(crate) destination: String,
    /// Export from this store: local:DIR, s3://BUCKET/PREFIX?endpoint=URL&region=R,
    /// dynamodb://TABLE/PREFIX?region=R&blobs=URL or redis[s]://HOST:PORT/PREFIX
    #[arg(long, value_name = "URL")]
    pub(crate) store: String,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Read this settings file [default: aft.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Divide all of the protocol's times by N; for tests only
    #[arg(long, value_name = "N", hide = true)]
    pub(crate) test_time_divisor: Option<u64>,
}

pub(crate) async fn import(arguments: ImportArguments) -> Result<ExitCode, Failed> {
    logging::start_quiet()?;
    let place = Place::parse(&arguments.source)?;
    let settings = Settings::load(arguments.config.as_deref())?;
    let mut components = Components::default();
    settings.apply(&mut components);
    if arguments.store == "memory:" {
        return Err("store memory: ends with this command, and all that was imported with it".into());
    }
    let store = stores::open_with(&arguments.store, &components).await.map_err(stop_the_server)?;
    let capabilities = store.capabilities();
    // An import commits, so the store must keep the contract.
    let race = probe(&store, &capabilities).await?;
    let divisor = settings.time_divisor(arguments.test_time_divisor);
    let node = NodeSettings { race, ..node_settings(&capabilities, &settings, divisor)? };
    let (node, objects) = start(store, node, components).await?;
    if let Opened::Unmarked(why) = node.opened() {
        return Err(why.clone());
    }
    let options = aft_transfer::import::Options {
        bucket: arguments.bucket,
        overwrite: arguments.overwrite,
        any_etag: arguments.accept_any_etag,
    };
    let report = aft_transfer::import::run(objects, &place, options).await;
    node.drain(DRAIN).await;
    let report = report?;
    match arguments.json {
        true => print(json(&report))?,
        false => print(&report)?,
    }
    Ok(if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::from(BAD) })
}

pub(crate) async fn export(arguments: ExportArguments) -> Result<ExitCode, Failed> {
    logging::start_quiet()?;
    let place = Place::parse(&arguments.destination)?;
    let settings = Settings::load(arguments.config.as_deref())?;
    let mut components = Components::default();
    settings.apply(&mut components);
    // A misspelt URL would make a store, and export nothing from it.
    let made = stores::open_made(&arguments.store, &components).await.map_err(stop_the_server)?;
    let Made { store, .. } = made;
    let url = store.url();
    let divisor = settings.time_divisor(arguments.test_time_divisor);
    let capabilities = store.capabilities();
    let mut node = node_settings(&capabilities, &settings, divisor)?;
    node.core.read_set_len_max = SNAPSHOT_LEN_MAX;
    node.core.transactions_bytes_max = SNAPSHOT_BYTES_MAX;
    if capabilities.exclusive {
        // Nobody else is there to remove anything or to wait for this transaction, which writes
        // nothing. On other stores all nodes have the same times.
        node.core.timeout_max_ms = node.core.timeout_max_limit_ms();
    }
    let (node, objects) = start(store, node, components).await?;
    let options = aft_transfer::export::Options { store: url, bucket: arguments.bucket, began: now() };
    let report = aft_transfer::export::run(&objects, &place, options).await;
    node.drain(DRAIN).await;
    let report = report?;
    match arguments.json {
        true => print(json(&report))?,
        false => print(&report)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts a node that serves only this process.
async fn start(
    store: Arc<dyn Store>,
    settings: NodeSettings,
    components: Components,
) -> Result<(NodeHandle, Objects), Failed> {
    let node = aft_node::start(store, settings).await.map_err(|why| why.to_string())?;
    let desk = Desk::new(node.clone(), Arc::new(Access::open()), components.desk);
    Ok((node, Objects::of_server(&desk)))
}

/// Adds the remedy to the error of a store that a server holds.
fn stop_the_server(why: Failed) -> Failed {
    match why.contains("another process holds the lock") {
        true => {
            format!("{why}. One process holds such a store, so its server must be stopped for this command")
        }
        false => why,
    }
}

fn json(report: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(report).expect("a report has text keys")
}

/// Returns the time, in UTC.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    aft_api::rfc3339(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
