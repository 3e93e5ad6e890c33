//! `aft serve`: runs a node over a store, behind the doors.
//!
//! ```text
//!   settings ─► loopback? ─► store ─► race probe ─► listen ─► node opens it ─► "listening on …"
//!                                                                                     │ signal
//!                        exit 0 ◄─ calls end ◄─ node drained (or its deadline) ◄──────┘
//!                                                                     second signal: exit at once
//! ```

use std::io::Write as _;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use aft_desk::Desk;
use aft_door_native::{Door, Meters};
use aft_door_s3::origin::Origins;
use aft_format::Race;
use aft_node::{NodeHandle, NodeSettings, State};
use aft_store::conformance::race_probe;
use aft_store::{Capabilities, Store};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::commands::{ServeArguments, Switch};
use crate::descriptors::Descriptors;
use crate::entry::Entry;
use crate::settings::Settings;
use crate::settings::table::Components;
use crate::tls_files::TlsFiles;
use crate::{Failed, buckets, logging, memory, store, stores};

const LISTEN: &str = "127.0.0.1:7400";
/// The default filter of logs: of the embedded store's tree only warnings. The client of cloud
/// stores warns with dumps of its own types, and its errors come back to us: the stores say in
/// words what failed.
pub(crate) const FILTER: &str = "info,fjall=warn,lsm_tree=warn,aws=error,s3s=off";
/// The races before serving: enough to catch a store without create-if-absent at once, and over
/// within a second or two on a store in a cloud.
const PROBE_WRITERS: usize = 8;
const PROBE_ROUNDS: usize = 2;
/// The interval at which the node's state is checked: if it has stopped by itself, the process
/// ends.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);
/// The exit code after a second signal, as if SIGINT had not been caught.
const CUT_OFF: i32 = 130;

pub(crate) async fn run(arguments: ServeArguments) -> Result<ExitCode, Failed> {
    // The shares of all memory are computed before any component gets its settings.
    let mut settings = Settings::load(arguments.config.as_deref())?;
    memory::share(&mut settings)?;
    let mut components = Components::default();
    settings.apply(&mut components);
    // A flag wins over the settings.
    let format = arguments.log_format.unwrap_or(components.log.format);
    logging::start(format, components.log.filter.as_deref().unwrap_or(FILTER))?;
    match settings.file() {
        Some(file) => info!("read the settings file {}", file.display()),
        None => info!("there is no settings file ./aft.toml, and --config names none"),
    }
    let from = components.serve.clone();
    let credentials = arguments.credentials.clone().or(from.credentials);
    let listen = arguments.listen.as_deref().or(from.listen.as_deref()).unwrap_or(LISTEN);
    // Everything that can be rejected without a store is rejected before one is opened or made.
    let listen = address("--listen", listen, credentials.is_some())?;
    let s3_listen = arguments.s3_listen.as_deref().or(from.s3_listen.as_deref());
    let s3_listen = match s3_listen {
        Some(text) => Some(address("--s3-listen", text, credentials.is_some())?),
        None => None,
    };
    let buckets = names(&arguments.bucket, from.s3_buckets.as_deref());
    components.s3_door.domains = names(&arguments.s3_domain, from.s3_domains.as_deref());
    if s3_listen.is_none() && !(buckets.is_empty() && components.s3_door.domains.is_empty()) {
        return Err(
            "there are buckets or domains of an S3 endpoint, and none is served: give --s3-listen as well"
                .into(),
        );
    }
    let tls_files = TlsFiles::new(
        arguments.tls_certificate.clone().or(from.tls_certificate),
        arguments.tls_key.clone().or(from.tls_key),
        arguments.tls_client_ca.clone().or(from.tls_client_ca),
    )?;
    let url = arguments.store.as_deref().or(from.store.as_deref());
    let url = url.ok_or("no store is named: name one, as in aft serve --store local:./data")?;
    let time_divisor = settings.time_divisor(arguments.test_time_divisor);
    // Listen for signals before anything that takes long.
    let mut signals = Signals::new()?;

    let meters = Meters::install();
    let exposed = [Some(listen), s3_listen].into_iter().flatten().find(|address| !address.ip().is_loopback());
    if let (Some(listen), None) = (exposed, &tls_files) {
        warn!(
            "listening on {listen} without TLS: tokens and values cross the network unencrypted; give --tls-certificate and --tls-key, or put a proxy with TLS before the server"
        );
    }
    let nodes = arguments.nodes.unwrap_or(from.nodes);
    if nodes.get() > 1 && (url.starts_with("local:") || url.starts_with("memory:")) {
        // Rejected here, before the store is made.
        return Err(format!(
            "--nodes {nodes} is not possible on {url}: one process holds this store, and a single node must know of every commit there; leave --nodes out, or use a store that several servers may share (s3:, dynamodb:, redis:)"
        ));
    }
    Descriptors::raise()?.bound(&mut components.net, &mut components.local);
    if s3_listen.is_some() {
        // Each of two doors has half of the connections.
        let net = &mut components.net;
        net.connections_max = (net.connections_max / 2).max(1);
        net.connections_per_peer_max = net.connections_per_peer_max.min(net.connections_max);
    }
    // Each step is announced, since any of them may take long on a store that answers slowly.
    info!("opening the store {}", stores::shown(url));
    let store = stores::open_with(url, &components).await?;
    // The URL to show from here on, since the given one may contain a password.
    let shown = if url.contains('@') { store.url() } else { url.to_owned() };
    let capabilities = store.capabilities();
    // A store that lets two creates win must never serve: exactly-once would silently fail.
    if !capabilities.exclusive {
        info!("probing the store {shown}: of several writers that create one object, one must win");
    }
    let race = probe(&store, &capabilities).await?;
    // The defaults of a node depend on the store, so its settings are known only now.
    let mut node_settings = node_settings(&capabilities, &settings, time_divisor)?;
    node_settings.race = race;
    let maintain = arguments.maintain.unwrap_or(from.maintain);
    node_settings.maintain = maintain == Switch::On;
    let entry = Entry::open(credentials, tls_files, &node_settings, &components.desk)?;
    // An address that is in use is reported before the node starts.
    let (listener, listen) = listen_on("--listen", listen).await?;
    let s3_listener = match s3_listen {
        Some(address) => Some(listen_on("--s3-listen", address).await?),
        None => None,
    };
    // The node reads the store's description, and makes it on a new store.
    info!("reading the description of the store {shown}");
    let node = aft_node::start_several(store, node_settings, nodes).await.map_err(|why| why.to_string())?;

    let (stop, stopped) = watch::channel(());
    let desk = Desk::new(node.clone(), entry.access.clone(), components.desk);
    let tls = entry.tls.as_ref().map(|(tls, _)| tls.clone());
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut here = format!("{scheme}://{listen}");
    let mut serving = JoinSet::new();
    if let Some((listener, listen)) = s3_listener {
        here.push_str(&format!("\nlistening for S3 on {scheme}://{listen}"));
        if desk.is_open() {
            info!("the S3 endpoint accepts any signature unchecked, because there are no credentials");
        }
        let (own, mapped) = buckets::split(&buckets, url).await?;
        let made = aft_door_s3::create_buckets(&desk, &own).await;
        made.map_err(|why| format!("cannot make the buckets of the S3 endpoint: {why}"))?;
        let origins = Origins::open(&desk, mapped).await;
        let origins = origins.map_err(|why| format!("cannot serve the buckets of the S3 endpoint: {why}"))?;
        // This task ends with the process.
        tokio::spawn(aft_door_s3::mirror(desk.clone(), origins.clone()));
        tokio::spawn(origins.clone().watch(desk.clone()));
        if maintain == Switch::On {
            // This task ends with the process.
            tokio::spawn(aft_door_s3::upkeep(desk.clone()));
        }
        let door = aft_door_s3::Door::new(desk.clone(), components.net.clone(), components.s3_door, origins);
        serving.spawn(aft_door_s3::serve(listener, door, tls.clone(), until_dropped(stopped.clone())));
    }
    let door = Door::new(desk, components.net, meters);
    serving.spawn(aft_door_native::serve(listener, door, tls, until_dropped(stopped)));
    // This task ends with the process.
    tokio::spawn(entry.follow()?);
    let drain = from.drain;
    // Serve until a signal, or until the node stops by itself.
    let ended = tokio::select! {
        ended = until_stopped(&node, &here, &shown, &capabilities) => Err(ended),
        () = signals.next() => Ok(()),
    };
    let code = match ended {
        Ok(()) => {
            info!(
                deadline_s = drain.as_secs(),
                "draining: open transactions finish or time out; a second signal ends the process at once"
            );
            // Calls are still served, so that open transactions can finish.
            let drained = tokio::select! {
                drained = node.drain(drain) => drained,
                () = signals.next() => cut_off(),
            };
            if drained.cut_off > 0 {
                warn!(
                    transactions = drained.cut_off,
                    "transactions were still open at the deadline and have no effect"
                );
            }
            ExitCode::SUCCESS
        }
        Err(why) => crate::failed(&why),
    };
    drop(stop);
    tokio::select! {
        _ = serving.join_all() => {}
        () = signals.next() => cut_off(),
    }
    Ok(code)
}

/// Waits until the sender is dropped.
async fn until_dropped(mut stopped: watch::Receiver<()>) {
    // Nothing is ever sent, so the only change is the end.
    let _ = stopped.changed().await;
}

/// Listens on an address, and returns the one that it got.
async fn listen_on(flag: &str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), Failed> {
    let listener = TcpListener::bind(address).await;
    let listener = listener
        .map_err(|why| format!("cannot listen on {address}: {why}; choose another address with {flag}"))?;
    let address = listener.local_addr();
    let address = address.map_err(|why| format!("cannot read the address listened on: {why}"))?;
    Ok((listener, address))
}

/// Returns the names that flags give, or else those of a setting, which separates them by commas.
fn names(flags: &[String], setting: Option<&str>) -> Vec<String> {
    match flags.is_empty() {
        false => flags.to_vec(),
        true => {
            let names = setting.unwrap_or_default().split(',').map(str::trim);
            names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
        }
    }
}

/// Prints the address, waits until the node stops by itself, and returns the reason.
async fn until_stopped(node: &NodeHandle, here: &str, url: &str, capabilities: &Capabilities) -> Failed {
    // The reader of standard output may have left.
    let _ = writeln!(
        std::io::stdout(),
        "aft {} serves {url} (acknowledged means: {})\nlistening on {here}",
        env!("CARGO_PKG_VERSION"),
        capabilities.durability
    );
    while node.ready() != State::Stopped {
        // A supervisor starts the server again, which opens the store from the beginning.
        if let Some(why) = node.store_ended() {
            return format!("the store does not work until it is opened again: {why}");
        }
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
    "the node has stopped by itself, for the reason in its log; nothing that was acknowledged is lost: start the server again"
        .into()
}

/// Ends the process at once.
fn cut_off() -> ! {
    warn!("a second signal: ending at once");
    std::process::exit(CUT_OFF)
}

/// Returns the address to listen on.
///
/// # Errors
/// Returns an error if `text` is not an address, or if it is not loopback and callers are not
/// authenticated (`guarded`).
fn address(flag: &str, text: &str, guarded: bool) -> Result<SocketAddr, Failed> {
    let mut addresses = text
        .to_socket_addrs()
        .map_err(|why| format!("{flag} {text:?} is not an ADDRESS:PORT, such as 127.0.0.1:7400: {why}"))?;
    let address = addresses.next().ok_or_else(|| format!("{flag} {text:?} names no address"))?;
    if address.ip().is_loopback() || guarded {
        return Ok(address);
    }
    Err(format!(
        "cannot listen on {address} without authentication: everyone who reaches the port could read and write everything; give --credentials FILE (aft credentials add makes one), or use a loopback address (127.0.0.1:{})",
        address.port()
    ))
}

/// Tests that the store's create-if-absent has one winner, and returns the verdict, which a new
/// store keeps. A store that only this process can reach is not tested: its adapter was.
///
/// # Errors
/// Returns an error with the report if two writers won.
pub(crate) async fn probe(store: &Arc<dyn Store>, capabilities: &Capabilities) -> Result<Race, Failed> {
    if capabilities.exclusive {
        return Ok(Race::Exclusive);
    }
    let report = race_probe(store.clone(), PROBE_WRITERS, PROBE_ROUNDS).await;
    if report.passed() {
        return Ok(Race::Passed { writers: PROBE_WRITERS as u32, rounds: PROBE_ROUNDS as u32 });
    }
    Err(format!(
        "the store is rejected, because it does not keep the contract that exactly-once needs:\n{report}"
    ))
}

/// The longest time that a server may be behind others on its store: a minute. Clients that merge
/// session tokens rely on it, since they do not know a server's settings.
const RECHECK_AFTER_MAX_MS: u64 = aft_format::MERGED_COVER_MS;
const _: () = assert!(aft_api::MERGED_COVER_MS == aft_format::MERGED_COVER_MS);

/// Returns a node's settings on a store. A new store gets the levels that they name.
///
/// # Errors
/// Returns an error if a setting is impossible on the store; the text names it.
pub(crate) fn node_settings(
    capabilities: &Capabilities,
    settings: &Settings,
    time_divisor: u64,
) -> Result<NodeSettings, Failed> {
    // The defaults depend on the store, so the settings are applied to those of this one.
    let mut components = Components::over(capabilities);
    settings.apply(&mut components);
    let mut node = components.node;
    node.time_divisor = time_divisor;
    node.core.levels = store::levels_of_new(capabilities);
    if node.core.grace_ms > 0 && node.core.skew_max_ms >= node.core.grace_ms {
        return Err(format!(
            "the setting node.skew_max_ms is {}: it must be less than the {} ms by which a call to this store may come late",
            node.core.skew_max_ms, node.core.grace_ms
        ));
    }
    moved(settings, "recheck_after_ms", &mut node.core.recheck_after_ms, 1, RECHECK_AFTER_MAX_MS);
    let limit = node.core.timeout_max_limit_ms();
    if node.core.timeout_max_ms > limit {
        return Err(format!(
            "the setting node.timeout_max_ms is {}: at most {limit} is possible over this store, since with more a request could be repeated after its record is gone",
            node.core.timeout_max_ms
        ));
    }
    // Defaults beyond their bounds are moved, in the order of their dependence on each other.
    let least = node.core.retention_min_ms();
    let most = node.core.retention_max_ms;
    moved(settings, "retention_default_ms", &mut node.core.retention_default_ms, least, most);
    let most = node.core.timeout_max_ms;
    moved(settings, "timeout_default_ms", &mut node.core.timeout_default_ms, 1, most);
    // No commit continues for longer than its transaction may last.
    moved(settings, "commit_patience_ms", &mut node.core.commit_patience_ms, 1, most);
    Ok(node)
}

/// Moves a time of a node to the nearer bound, as the node would for each transaction, and warns if
/// the setting was given.
fn moved(settings: &Settings, name: &str, time_ms: &mut u64, least: u64, most: u64) {
    let used = (*time_ms).clamp(least, most);
    if settings.is_set("node", name) && used != *time_ms {
        warn!("the setting node.{name} is {time_ms}, which is not from {least} to {most}: {used} is used");
    }
    *time_ms = used;
}

/// The signals that end a process: SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Signals, Failed> {
        let of = |kind| signal(kind).map_err(|why| format!("cannot listen for signals: {why}"));
        Ok(Signals { terminate: of(SignalKind::terminate())?, interrupt: of(SignalKind::interrupt())? })
    }

    /// Waits for the next signal of either kind.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use aft_store::Store as _;
    use aft_store_memory::MemoryStore;

    use super::{address, node_settings};
    use crate::settings::Settings;

    #[test]
    fn without_credentials_only_loopback_is_accepted() {
        for text in ["127.0.0.1:0", "127.9.9.9:80", "[::1]:7400"] {
            assert!(address("--listen", text, false).is_ok(), "{text}");
        }
        for text in ["0.0.0.0:7400", "[::]:7400", "192.0.2.1:7400"] {
            let why = address("--listen", text, false).unwrap_err();
            assert!(why.contains("authentication") && why.contains("--credentials"), "{text}");
            assert!(address("--listen", text, true).is_ok(), "{text}");
        }
        let why = address("--listen", "7400", true).unwrap_err();
        assert!(why.contains("ADDRESS:PORT") && why.contains("127.0.0.1:7400"), "{why}");
    }

    #[test]
    fn a_default_beyond_its_bounds_is_moved() {
        let capabilities = MemoryStore::new().capabilities();
        let used = |ms| {
            let mut settings = Settings::default();
            settings.set("node", "retention_default_ms", ms);
            settings.set("node", "timeout_default_ms", ms);
            let core = node_settings(&capabilities, &settings, 1).unwrap().core;
            (core.retention_default_ms, core.timeout_default_ms)
        };
        let defaults = node_settings(&capabilities, &Settings::default(), 1).unwrap().core;
        let odd = |ms| {
            let mut settings = Settings::default();
            settings.set("node", "commit_patience_ms", ms);
            settings.set("node", "recheck_after_ms", ms);
            let core = node_settings(&capabilities, &settings, 1).unwrap().core;
            (core.commit_patience_ms, core.recheck_after_ms)
        };
        assert_eq!(odd(1), (1, 1));
        assert_eq!(odd(u64::MAX), (defaults.timeout_max_ms, super::RECHECK_AFTER_MAX_MS));
        assert_eq!(used(1), (defaults.retention_min_ms(), 1));
        assert_eq!(used(u64::MAX), (defaults.retention_max_ms, defaults.timeout_max_ms));
        assert_eq!(used(defaults.retention_min_ms()).0, defaults.retention_min_ms());
    }

    #[test]
    fn an_impossible_timeout_is_rejected_by_name() {
        let capabilities = MemoryStore::new().capabilities();
        let with = |ms| {
            let mut settings = Settings::default();
            settings.set("node", "timeout_max_ms", ms);
            node_settings(&capabilities, &settings, 1)
        };
        let limit = with(1).unwrap().core.timeout_max_limit_ms();
        assert_eq!(with(limit).unwrap().core.check(), Ok(()));
        for ms in [limit + 1, 9_999_999_999, u64::MAX] {
            let why = with(ms).unwrap_err();
            for part in ["node.timeout_max_ms", &ms.to_string(), &limit.to_string()] {
                assert!(why.contains(part), "{part:?} is missing in {why}");
            }
        }
    }
}
