//! Store URLs: the only place that knows which stores there are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aft_bench::standard::StoreTarget;
use aft_core::record::Format;
use aft_format::About;
use aft_node::{StoreTimeouts, read_description};
use aft_store::{Error, Store};
use aft_store_dynamodb::DynamoDbStore;
use aft_store_local::LocalStore;
use aft_store_memory::MemoryStore;
use aft_store_redis::RedisStore;
use aft_store_s3::S3Store;
use tracing::{debug, info, warn};

use crate::Failed;
use crate::settings::REDIS_PASSWORD;
use crate::settings::table::Components;

/// The schemes of stores that are planned.
const PLANNED: &[&str] = &["anna"];
const KNOWN: &str = "memory: (gone with the process), local:DIR (a directory on this machine), s3://BUCKET/PREFIX?endpoint=URL&region=R (Amazon S3, MinIO), dynamodb://TABLE/PREFIX?endpoint=URL&region=R (Amazon DynamoDB) and redis://HOST:PORT/PREFIX";

/// The most tries to open a store that does not answer, and the pause after the first: under a
/// second in all, so that a wrong address is still reported soon.
const OPEN_TRIES_MAX: usize = 4;
const OPEN_PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest time of an opening that is repeated.
const OPEN_AGAIN_WITHIN: Duration = Duration::from_secs(2);

/// Opens a store with the defaults.
///
/// # Errors
/// Returns an error as [`open_with`] does.
pub(crate) async fn open(url: &str) -> Result<Arc<dyn Store>, Failed> {
    open_with(url, &Components::default()).await
}

/// Opens a store.
///
/// # Errors
/// Returns an error if this version does not know the URL, or if the store cannot be opened; the
/// text names it.
pub(crate) async fn open_with(url: &str, settings: &Components) -> Result<Arc<dyn Store>, Failed> {
    Ok(open_target(url, settings).await?.store)
}

/// Opens a store with the defaults, and its own transactions, for `aft bench`.
///
/// # Errors
/// Returns an error as [`open_with`] does.
pub(crate) async fn open_for_bench(url: &str) -> Result<StoreTarget, Failed> {
    open_target(url, &Components::default()).await
}

async fn open_target(url: &str, settings: &Components) -> Result<StoreTarget, Failed> {
    let opened: Result<Arc<dyn Store>, Failed> = match url.split_once(':') {
        Some(("memory", "")) => {
            return Ok(aft_bench_targets::memory(MemoryStore::new()));
        }
        Some(("memory", rest)) => {
            Err(format!("store {url:?}: nothing may follow memory:, but {rest:?} does; write memory:"))
        }
        Some(("local", "")) => Err("store \"local:\" names no directory: write local:DIR".into()),
        Some(("local", dir)) => {
            let (dir, options) = (dir.to_owned(), settings.local.clone());
            let open = move || LocalStore::open(dir, &options);
            let opened =
                tokio::task::spawn_blocking(open).await.map_err(|why| format!("store {url:?}: {why}"))?;
            let store = opened.map_err(|why| format!("store {url:?}: {why}"))?;
            if store.is_new() {
                info!("made a new store: {}", store.url());
            }
            Ok(Arc::new(store))
        }
        Some(("s3", _)) => {
            // Boxed because the future is large, and is awaited once.
            let options = s3_options(&settings.s3);
            let silent = |why: &_| matches!(why, aft_store_s3::OpenError::Store(Error::NoAnswer(_)));
            let opened = patiently(|| S3Store::open(url, &options), silent).await;
            let store = opened.map_err(|why| why.to_string())?;
            if let Some(caution) = store.caution() {
                warn!("{caution}");
            }
            Ok(Arc::new(store))
        }
        Some(("redis" | "rediss", _)) => {
            let options = redis_options();
            let silent = |why: &_| matches!(why, aft_store_redis::OpenError::Store(Error::NoAnswer(_)));
            let opened = patiently(|| RedisStore::open(url, &options), silent).await;
            let store = opened.map_err(|why| why.to_string())?;
            for caution in store.cautions() {
                warn!("{caution}");
            }
            Ok(Arc::new(store))
        }
        Some(("dynamodb", _)) => {
            let options = dynamodb_options(&settings.dynamodb);
            let silent = |why: &_| matches!(why, aft_store_dynamodb::OpenError::Store(Error::NoAnswer(_)));
            let opened = patiently(|| DynamoDbStore::open(url, &options), silent).await;
            return opened.map(aft_bench_targets::dynamodb).map_err(|why| why.to_string());
        }
        Some((scheme, _)) if PLANNED.contains(&scheme) => Err(format!(
            "store {:?}: {scheme} is planned, and no version has it yet; the stores are {KNOWN}",
            shown(url)
        )),
        _ => Err(format!("store {:?} has no known scheme: the stores are {KNOWN}", shown(url))),
    };
    opened.map(StoreTarget::from)
}

/// Opens a store, again after an opening that got no answer: one connection that breaks off says
/// nothing against a store. An opening that took long is not repeated, since nobody answers there.
async fn patiently<T, E, F>(open: impl Fn() -> F, silent: impl Fn(&E) -> bool) -> Result<T, E>
where
    E: std::fmt::Display,
    F: Future<Output = Result<T, E>>,
{
    let mut pause = OPEN_PAUSE_FIRST;
    for _ in 1..OPEN_TRIES_MAX {
        let start = Instant::now();
        // Boxed because the future is large.
        match Box::pin(open()).await {
            Err(why) if silent(&why) && start.elapsed() < OPEN_AGAIN_WITHIN => {
                debug!(%why, "the store did not answer while it was opened; trying again");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            opened => return opened,
        }
    }
    Box::pin(open()).await
}

/// Opens an existing store with its description: no directory is made for it, and nothing is
/// written.
///
/// # Errors
/// Returns an error as [`open_with`] does, and if there is no store at the URL. A store in memory
/// never is: this process has none.
pub(crate) async fn open_made(url: &str, settings: &Components) -> Result<Made, Failed> {
    if url == "memory:" {
        return Err(
            "store memory: lives in the process that opens it and ends with that process, so this command would \
             find only an empty one of its own; ask the server that holds it: its /readyz and /metrics, or \
             aft request show"
                .into(),
        );
    }
    if let Some(("local", dir)) = url.split_once(':').filter(|(_, dir)| !dir.is_empty()) {
        let holds_something = std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
        if !holds_something {
            return Err(missing(url));
        }
    }
    let store = open_with(url, settings).await?;
    let read = read_description(&*store, StoreTimeouts::default().read).await;
    match read.map_err(|why| why.to_string())? {
        Some((format, about)) => Ok(Made { store, format, about }),
        None => Err(missing(&store.url())),
    }
}

fn missing(url: &str) -> Failed {
    format!(
        "{url}: there is no store here, and none was made. Is the URL right? A store that is to be new is made by \
         `aft store init {url}`"
    )
}

/// An existing store.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) format: Arc<Format>,
    /// The store's description of itself.
    pub(crate) about: Box<About>,
}

/// Returns a URL that was given for a message, without the part before an `@`, which may be a
/// password.
pub(crate) fn shown(url: &str) -> String {
    let Some((_, place)) = url.rsplit_once('@') else { return url.to_owned() };
    match url.split_once("://") {
        Some((scheme, _)) if !scheme.contains('@') => format!("{scheme}://…@{place}"),
        _ => format!("…@{place}"),
    }
}

/// Opens a store for `aft store init`, and makes it first if opening alone would not.
///
/// # Errors
/// Returns an error as [`open_with`] does, and if the store cannot be made.
pub(crate) async fn init(url: &str, among_others: bool) -> Result<(Arc<dyn Store>, Place), Failed> {
    match url.split_once(':') {
        Some(("s3", _)) => {
            let made = Box::pin(S3Store::init(url, &aft_store_s3::Options::default(), among_others)).await;
            let (store, prepared) = made.map_err(|why| why.to_string())?;
            Ok((Arc::new(store), Place::Bucket(prepared)))
        }
        Some(("dynamodb", _)) => {
            let options = aft_store_dynamodb::Options::default();
            let made = Box::pin(DynamoDbStore::init(url, &options)).await;
            let (store, prepared) = made.map_err(|why| why.to_string())?;
            Ok((Arc::new(store), Place::Table(prepared)))
        }
        _ => Ok((open(url).await?, Place::ByItself)),
    }
}

/// The place of a store, and the way in which it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A bucket, which `aft store init` makes if it does not exist.
    Bucket(aft_store_s3::Prepared),
    /// A table, which `aft store init` makes if it does not exist.
    Table(aft_store_dynamodb::Prepared),
    /// Another kind of store, which the first process that opens it makes.
    ByItself,
}

fn s3_options(prices: &aft_store_s3::Prices) -> aft_store_s3::Options {
    let mut options = aft_store_s3::Options::default();
    options.prices = *prices;
    options
}

/// Returns the options of a store on Redis. The password may be in the environment, because
/// everyone who can list processes sees one on a command line.
fn redis_options() -> aft_store_redis::Options {
    match std::env::var(REDIS_PASSWORD) {
        Ok(password) if !password.is_empty() => aft_store_redis::Options::with_password(password),
        Ok(_) | Err(_) => aft_store_redis::Options::default(),
    }
}

fn dynamodb_options(prices: &aft_store_dynamodb::Prices) -> aft_store_dynamodb::Options {
    let mut options = aft_store_dynamodb::Options::default();
    options.prices = *prices;
    options
}

#[cfg(test)]
mod tests {
    use super::{open, shown};

    #[test]
    fn messages_hide_what_may_be_a_password() {
        for (url, text) in [
            ("bogus:somewhere", "bogus:somewhere"),
            ("REDIS://:hunter2@h:1/aft", "REDIS://…@h:1/aft"),
            (" redis://me:hunter2@h", " redis://…@h"),
            (":hunter2@h:1", "…@h:1"),
            ("unix://me:hunt@er2@/run/redis", "unix://…@/run/redis"),
        ] {
            assert_eq!(shown(url), text);
        }
    }

    #[tokio::test]
    async fn a_mistyped_scheme_reveals_no_password() {
        for url in [
            "REDIS://:hunter2@h",
            "valkey://:hunter2@h",
            "anna://hunter2@h",
            "S3://AKIA:hunter2@b",
            "http://:hunter2@h:1",
        ] {
            let why = open(url).await.unwrap_err();
            assert!(!why.contains("hunter2") && why.contains("redis://HOST"), "{why}");
        }
    }
}
