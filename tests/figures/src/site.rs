//! A store of one kind with its server, for plain access and for `aft` over HTTP.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aft_access::Access;
use aft_bench::standard::{Dataset, Length, Options, Prepare, StoreTarget, Target, Way, Workload};
use aft_desk::Desk;
use aft_door_native::{Door, Meters};
use aft_node::{NodeHandle, NodeSettings};
use aft_services::Server;
use aft_store::Store;
use aft_store_local::LocalStore;
use aft_store_memory::MemoryStore;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::counts::hasten;
use crate::data::Speed;
use crate::plan::{Kind, Serve, prepared_keys};
use crate::stores;

/// The reason why something could not be measured, for people.
pub(crate) type Failed = String;

/// The time that a node may take to end. No later measurement needs what it has not done by then.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// The times of the figure about collecting, in milliseconds: versions go some 12 seconds after
/// they were superseded, where they usually stay for half an hour or more. The error of the store's
/// time is the usual one. A sweep comes every four seconds, 900 times as often as usual, so the
/// cost of listing a key is shared by the versions of four seconds, not by those of an hour.
const COLLECT_DEADLINE_MS: u64 = 1_000;
const COLLECT_GRACE_MS: u64 = 3_000;
const COLLECT_RECHECK_MS: u64 = 1_000;
const COLLECT_PUT_LIMIT_MS: u64 = 500;
const COLLECT_INTERVAL_MS: u64 = 4_000;
/// The time after which a server that is alone on its store lists a key again: longer than the
/// whole run takes.
const ALONE_MS: u64 = 3_600_000;
/// The number of clients that prepare the keys.
const PREPARE_CLIENTS: usize = 32;

/// A kind of store, with the server that provides it.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) kind: Kind,
    pub(crate) service: Option<Server>,
    pub(crate) folder: TempDir,
    pub(crate) seed: u64,
    meters: Meters,
    /// The number of the last dataset that was given out.
    nth: u16,
    /// The purposes whose keys are written already.
    written: Vec<&'static str>,
}

/// A node and its doors in this process. They share the two cores with the load, as a server
/// process on this machine would.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) url: String,
    node: NodeHandle,
    stop: Option<oneshot::Sender<()>>,
    doors: tokio::task::JoinHandle<()>,
}

/// The identity of the values that all runs of this program write.
const DATASET: u64 = 0x6166_745f_6669_6773;

impl Site {
    /// Starts the server of the store, if it has one, and prepares the store.
    ///
    /// # Errors
    /// Returns why the server cannot be installed or started.
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

    /// Returns a dataset with a new number, for the next run.
    pub(crate) fn dataset(&mut self) -> Dataset {
        self.nth += 1;
        Dataset { id: DATASET, nth: self.nth }
    }

    /// Returns true at the first call for `purpose`, and remembers it.
    pub(crate) fn first_time(&mut self, purpose: &'static str) -> bool {
        let first = !self.written.contains(&purpose);
        if first {
            self.written.push(purpose);
        }
        first
    }

    /// Opens the store for one purpose at one speed. Purposes do not see each other's data.
    ///
    /// # Errors
    /// Returns why the store cannot be opened.
    pub(crate) async fn open(&self, purpose: &str, speed: Speed) -> Result<Arc<dyn Store>, Failed> {
        Ok(self.open_target(purpose, speed).await?.store)
    }

    /// Opens the store like [`Site::open`], with its own transactions if it has them.
    ///
    /// # Errors
    /// Returns why the store cannot be opened.
    pub(crate) async fn open_target(&self, purpose: &str, speed: Speed) -> Result<StoreTarget, Failed> {
        let target = match self.kind {
            Kind::Memory => StoreTarget::from(Arc::new(MemoryStore::new()) as Arc<dyn Store>),
            Kind::Local => {
                let folder = self.path().join(purpose);
                let opened =
                    tokio::task::spawn_blocking(move || LocalStore::open(folder, &Default::default()));
                let store = opened.await.map_err(|why| why.to_string())?.map_err(|why| why.to_string())?;
                StoreTarget::from(Arc::new(store) as Arc<dyn Store>)
            }
            Kind::S3 | Kind::DynamoDb | Kind::Redis => stores::open(self, purpose).await?,
        };
        Ok(match (speed, self.kind.latency()) {
            (Speed::Cloud, Some(latency)) => aft_bench_targets::slowed(target, latency, self.seed),
            _ => target,
        })
    }

    /// Starts a server on a store, and returns when it accepts connections.
    ///
    /// # Errors
    /// Returns why the node cannot be started, or why the server cannot listen.
    pub(crate) async fn serve(&self, store: Arc<dyn Store>, how: Serve) -> Result<Served, Failed> {
        let mut settings = NodeSettings::new(&store.capabilities());
        // A store that is artificially slow states a grace of about a second, and the error of time
        // must stay below it.
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
                // No call is late here. The grace that a store usually needs would delay all
                // collecting until after the measurement.
                if core.grace_ms > 0 {
                    core.grace_ms = COLLECT_GRACE_MS;
                }
                core.recheck_after_ms = COLLECT_RECHECK_MS;
                core.put_limit_ms = COLLECT_PUT_LIMIT_MS;
                core.sweep_interval_ms = COLLECT_INTERVAL_MS;
                core.retention_default_ms = 0;
                // Every sweep looks at all records, which usually happens once a day: their
                // retention passes at once here.
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
        let desk = Desk::new(node.clone(), Arc::new(Access::open()), aft_desk::Settings::default());
        let door = Door::new(desk, aft_net::Settings::default(), self.meters.clone());
        let doors = tokio::spawn(aft_door_native::serve(listener, door, None, async { drop(stopped.await) }));
        Ok(Served { url: format!("http://{address}"), node, stop: Some(stop), doors })
    }

    /// Writes the keys, through AFT or plain, without measuring it.
    ///
    /// # Errors
    /// Returns why a key could not be written.
    pub(crate) async fn write_keys(&mut self, target: Target, way: Way) -> Result<(), Failed> {
        self.keys(target, way, Prepare::Write).await
    }

    /// Reads the keys, so that the node knows them like one that has run for a while.
    ///
    /// # Errors
    /// Returns why a key could not be read.
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
    /// Returns the node.
    pub(crate) fn node(&self) -> &NodeHandle {
        &self.node
    }

    /// Ends the node and its doors.
    pub(crate) async fn end(mut self) {
        self.node.drain(DRAIN_MAX).await;
        drop(self.stop.take());
        // The doors end when `stop` is dropped. If they had panicked, the load would have seen it.
        let _ = self.doors.await;
    }
}
