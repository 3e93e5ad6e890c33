//! A store of one kind with its server, and what runs on it: plain access, and `aft` over HTTP.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aft_bench::standard::{Dataset, Length, Options, Prepare, Target, Way, Workload};
use aft_doors::{Doors, Meters};
use aft_node::{NodeHandle, NodeSettings};
use aft_services::Server;
use aft_store::Store;
use aft_store_faulty::{Faults, FaultyStore};
use aft_store_local::LocalStore;
use aft_store_memory::MemoryStore;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::counts::hasten;
use crate::data::Speed;
use crate::plan::{Kind, Serve, prepared_keys};
use crate::stores;

/// Why nothing can be measured, for people.
pub(crate) type Failed = String;

/// How long a node may take to end. What it has not published by then nobody needs.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// The times of the figure about collecting, in milliseconds: versions go some 12 seconds after they were superseded, where they usually stay for
/// half an hour and more. The error of time is the usual one. A sweep comes every four seconds, 900 times as often as usual: what it costs to list
/// a key is borne by the versions of four seconds, not of an hour.
const COLLECT_DEADLINE_MS: u64 = 1_000;
const COLLECT_GRACE_MS: u64 = 3_000;
const COLLECT_RECHECK_MS: u64 = 1_000;
const COLLECT_PUT_LIMIT_MS: u64 = 500;
const COLLECT_INTERVAL_MS: u64 = 4_000;
/// A server that is alone on its store need not list a key again for so long: longer than all of this takes.
const ALONE_MS: u64 = 3_600_000;
/// Clients that prepare the keys.
const PREPARE_CLIENTS: usize = 32;

/// A kind of store, served.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) kind: Kind,
    pub(crate) service: Option<Server>,
    pub(crate) folder: TempDir,
    pub(crate) seed: u64,
    meters: Meters,
    /// The next run's number on the datasets, all of them.
    nth: u16,
    /// For which purposes the keys were written.
    written: Vec<&'static str>,
}

/// A node and its doors, in this process: on the same two cores as the load, as a server beside it would be.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) url: String,
    node: NodeHandle,
    stop: Option<oneshot::Sender<()>>,
    doors: tokio::task::JoinHandle<()>,
}

/// The values of all runs of this program.
const DATASET: u64 = 0x6166_745f_6669_6773;

impl Site {
    /// Starts what serves the store.
    ///
    /// # Errors
    /// If its server cannot be had.
    pub(crate) async fn start(kind: Kind, seed: u64, meters: Meters) -> Result<Site, Failed> {
        let service = match kind.service() {
            None => None,
            Some(service) => {
                let started = tokio::task::spawn_blocking(move || service.start()).await;
                let server = started.map_err(|why| why.to_string())?.map_err(|why| why.to_string())?;
                Some(server)
            }
        };
        let folder = tempfile::tempdir().map_err(|why| format!("cannot make a directory: {why}"))?;
        let site = Site { kind, service, folder, seed, meters, nth: 0, written: Vec::new() };
        stores::prepare(&site).await?;
        Ok(site)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The number of a run.
    pub(crate) fn dataset(&mut self) -> Dataset {
        self.nth += 1;
        Dataset { id: DATASET, nth: self.nth }
    }

    /// Whether this is the first time that it is asked for this purpose.
    pub(crate) fn first_time(&mut self, purpose: &'static str) -> bool {
        let first = !self.written.contains(&purpose);
        if first {
            self.written.push(purpose);
        }
        first
    }

    /// Opens the store for one purpose, at a speed. Purposes do not see each other's data.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(crate) async fn open(&self, purpose: &str, speed: Speed) -> Result<Arc<dyn Store>, Failed> {
        let store: Arc<dyn Store> = match self.kind {
            Kind::Memory => Arc::new(MemoryStore::new()),
            Kind::Local => {
                let folder = self.path().join(purpose);
                let opened =
                    tokio::task::spawn_blocking(move || LocalStore::open(folder, &Default::default()));
                Arc::new(opened.await.map_err(|why| why.to_string())?.map_err(|why| why.to_string())?)
            }
            Kind::S3 | Kind::DynamoDb | Kind::Redis => stores::open(self, purpose).await?,
        };
        Ok(match (speed, self.kind.latency()) {
            (Speed::Cloud, Some(latency)) => {
                Arc::new(FaultyStore::new(store, self.seed, Faults::latency_only(latency)))
            }
            _ => store,
        })
    }

    /// Starts a server on a store and waits until it serves.
    ///
    /// # Errors
    /// If it does not come to serve.
    pub(crate) async fn serve(&self, store: Arc<dyn Store>, how: Serve) -> Result<Served, Failed> {
        let mut settings = NodeSettings::new(&store.capabilities());
        // A store that is only made slow states a grace of a second or so.
        if settings.core.grace_ms > 0 {
            settings.core.skew_max_ms = settings.core.skew_max_ms.min(settings.core.grace_ms / 2);
        }
        match how {
            Serve::Usual => {}
            Serve::Alone => settings.core.recheck_after_ms = ALONE_MS,
            Serve::NoCache => {
                settings.core.recheck_after_ms = ALONE_MS;
                settings.value_cache_bytes_max = 0;
            }
            Serve::Collecting | Serve::NotCollecting => {
                let core = &mut settings.core;
                (core.timeout_default_ms, core.timeout_max_ms) = (COLLECT_DEADLINE_MS, COLLECT_DEADLINE_MS);
                // No call is late here; what a store allows for would put off all collecting until after the measurement.
                if core.grace_ms > 0 {
                    core.grace_ms = COLLECT_GRACE_MS;
                }
                core.recheck_after_ms = COLLECT_RECHECK_MS;
                core.put_limit_ms = COLLECT_PUT_LIMIT_MS;
                core.sweep_interval_ms = COLLECT_INTERVAL_MS;
                core.retention_default_ms = 0;
                // A record is looked at when its retention may have passed, as it is once a day.
                core.look_at_all_ms = COLLECT_INTERVAL_MS;
            }
            Serve::Counted | Serve::CountedSweeper => settings.time_divisor = hasten(&mut settings.core),
        }
        let node = aft_node::start(store, settings).await.map_err(|why| why.to_string())?;
        node.maintain(matches!(how, Serve::Collecting | Serve::CountedSweeper)).await;
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(|why| format!("cannot listen: {why}"))?;
        let address = listener.local_addr().map_err(|why| why.to_string())?;
        let (stop, stopped) = oneshot::channel::<()>();
        let doors = Doors::new(node.clone(), aft_doors::Settings::default(), self.meters.clone());
        let doors = tokio::spawn(aft_doors::serve(listener, doors, async { drop(stopped.await) }));
        Ok(Served { url: format!("http://{address}"), node, stop: Some(stop), doors })
    }

    /// Writes the keys, once with AFT and once without; not timed.
    ///
    /// # Errors
    /// If a key cannot be written.
    pub(crate) async fn write_keys(&mut self, target: Target, way: Way) -> Result<(), Failed> {
        self.keys(target, way, Prepare::Write).await
    }

    /// Reads the keys, so that a node knows them, as one that has run for a while does.
    ///
    /// # Errors
    /// If a key cannot be read.
    pub(crate) async fn read_keys(&mut self, served: &Served) -> Result<(), Failed> {
        self.keys(Target::Server { url: served.url.clone() }, Way::Shim, Prepare::Read).await
    }

    async fn keys(&mut self, target: Target, way: Way, prepare: Prepare) -> Result<(), Failed> {
        let options = Options {
            target,
            way,
            workload: Workload {
                functions: 1,
                reads: 1,
                writes: 0,
                keys: prepared_keys(self.kind),
                prepare,
                ..Workload::default()
            },
            length: Length::Transactions(1),
            clients: PREPARE_CLIENTS,
            seed: Some(self.seed),
            dataset: Some(self.dataset()),
            ..Options::default()
        };
        aft_bench::standard::run(options).await.map_err(|why| why.to_string())?;
        Ok(())
    }
}

impl Served {
    /// Its node.
    pub(crate) fn node(&self) -> &NodeHandle {
        &self.node
    }

    /// Ends the node and its doors.
    pub(crate) async fn end(mut self) {
        self.node.drain(DRAIN_MAX).await;
        drop(self.stop.take());
        // It ends by itself once told; that it panicked would have been seen in its answers.
        let _ = self.doors.await;
    }
}
