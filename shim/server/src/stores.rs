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
use aft_store_split::{Halves, SplitStore};
use tracing::{debug, info, warn};

use crate::Failed;
use crate::settings::REDIS_PASSWORD;
use crate::settings::table::Components;

/// The schemes of stores that are planned.
const PLANNED: &[&str] = &["anna"];
const KNOWN: &str = "memory: (gone with the process), local:DIR (a directory on this machine), s3://BUCKET/PREFIX?endpoint=URL&region=R (Amazon S3, MinIO), dynamodb://TABLE/PREFIX?endpoint=URL&region=R (Amazon DynamoDB; with &blobs=s3://BUCKET/PREFIX its large values lie in a bucket) and redis://HOST:PORT/PREFIX (with TLS: rediss://HOST:PORT/PREFIX?ca=FILE)";

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
        Some(("memory", _)) => Err(format!(
            "store {:?}: nothing may follow memory:, but something does; write memory:",
            shown(url)
        )),
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
            let store = open_bucket(url, settings).await?;
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
            let Some(halves) = halves(url)? else {
                return open_table(url, settings).await.map(aft_bench_targets::dynamodb);
            };
            let (records, blobs) = open_halves(&halves, settings).await?;
            let store = SplitStore::new(Arc::new(records.clone()), blobs);
            // The transactions are the table's own.
            return Ok(StoreTarget { store: Arc::new(store), ..aft_bench_targets::dynamodb(records) });
        }
        Some((scheme, _)) if PLANNED.contains(&scheme) => Err(format!(
            "store {:?}: {scheme} is planned, and no version has it yet; the stores are {KNOWN}",
            shown(url)
        )),
        _ => Err(format!("store {:?} has no known scheme: the stores are {KNOWN}", shown(url))),
    };
    opened.map(StoreTarget::from)
}

async fn open_table(url: &str, settings: &Components) -> Result<DynamoDbStore, Failed> {
    let options = dynamodb_options(&settings.dynamodb);
    let silent = |why: &_| matches!(why, aft_store_dynamodb::OpenError::Store(Error::NoAnswer(_)));
    let opened = patiently(|| DynamoDbStore::open(url, &options), silent).await;
    opened.map_err(|why| why.to_string())
}

async fn open_bucket(url: &str, settings: &Components) -> Result<S3Store, Failed> {
    let options = s3_options(&settings.s3);
    let silent = |why: &_| matches!(why, aft_store_s3::OpenError::Store(Error::NoAnswer(_)));
    let opened = patiently(|| S3Store::open(url, &options), silent).await;
    opened.map_err(|why| why.to_string())
}

/// Returns the URLs of the two stores of which the store at a URL is made; `None` if it is one.
///
/// # Errors
/// Returns an error if the second URL cannot be read, or is not that of a bucket.
pub(crate) fn halves(url: &str) -> Result<Option<Halves>, Failed> {
    if !url.starts_with("dynamodb:") {
        // Others have no such parameter, and the name of a directory may contain one.
        return Ok(None);
    }
    let named = |why: String| format!("store {:?}: {why}", shown(url));
    let halves = Halves::of(url).map_err(|why| named(why.to_string()))?;
    if halves.as_ref().is_some_and(|halves| !halves.blobs.starts_with("s3://")) {
        return Err(named("large values may lie in a bucket: write blobs=s3://BUCKET/PREFIX".into()));
    }
    Ok(halves)
}

/// Opens the two stores of which a store is made: that of records, and that of parts of large
/// values.
async fn open_halves(
    halves: &Halves,
    settings: &Components,
) -> Result<(DynamoDbStore, Arc<dyn Store>), Failed> {
    let records = open_table(&halves.records, settings).await?;
    // No caution: the node that opens the store knows whether this is the place of its parts.
    let blobs = open_bucket(&halves.blobs, settings).await?;
    Ok((records, Arc::new(blobs)))
}

/// Opens the stores that a probe of the store at `url` has to look at: the store itself, and also
/// the one that has its parts of large values.
///
/// # Errors
/// Returns an error as [`open_with`] does.
pub(crate) async fn open_to_probe(url: &str) -> Result<Vec<Arc<dyn Store>>, Failed> {
    match halves(url)? {
        None => Ok(vec![open(url).await?]),
        Some(halves) => {
            let (records, blobs) = open_halves(&halves, &Components::default()).await?;
            Ok(vec![Arc::new(SplitStore::new(Arc::new(records), blobs.clone())), blobs])
        }
    }
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
    // The @ of a URL within a URL may be escaped. No store's URL needs one.
    if let Some((scheme @ ("dynamodb" | "s3"), rest)) = url.split_once("://")
        && rest.to_ascii_lowercase().contains("%40")
    {
        return format!("{scheme}://…");
    }
    // The name of a directory may have an @, and has no password.
    let Some((_, place)) = url.rsplit_once('@').filter(|_| !url.starts_with("local:")) else {
        return url.to_owned();
    };
    match url.split_once("://") {
        Some((scheme, _)) if !scheme.contains('@') => format!("{scheme}://…@{place}"),
        _ => match url.split_once(':') {
            Some((scheme @ ("memory" | "redis" | "rediss" | "s3" | "dynamodb"), _)) => {
                format!("{scheme}:…@{place}")
            }
            _ => format!("…@{place}"),
        },
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
            let halves = halves(url)?;
            let records = halves.as_ref().map_or(url, |halves| &halves.records);
            // The bucket comes first: it is there already where a mistake is most likely.
            let blobs = match &halves {
                Some(halves) => {
                    let options = aft_store_s3::Options::default();
                    let made = Box::pin(S3Store::init(&halves.blobs, &options, among_others)).await;
                    Some(made.map_err(|why| why.to_string())?)
                }
                None => None,
            };
            let made = Box::pin(DynamoDbStore::init(records, &aft_store_dynamodb::Options::default())).await;
            let (store, table) = made.map_err(|why| why.to_string())?;
            Ok(match blobs {
                None => (Arc::new(store), Place::Table(table)),
                Some((blobs, bucket)) => {
                    let blobs: Arc<dyn Store> = Arc::new(blobs);
                    let split = SplitStore::new(Arc::new(store), blobs.clone());
                    (Arc::new(split), Place::TableAndBucket { table, bucket, blobs })
                }
            })
        }
        _ => Ok((open(url).await?, Place::ByItself)),
    }
}

/// The place of a store, and the way in which it was made.
#[derive(Debug)]
pub(crate) enum Place {
    /// A bucket, which `aft store init` makes if it does not exist.
    Bucket(aft_store_s3::Prepared),
    /// A table, which `aft store init` makes if it does not exist.
    Table(aft_store_dynamodb::Prepared),
    /// A table, and a bucket for the parts of large values.
    TableAndBucket {
        table: aft_store_dynamodb::Prepared,
        bucket: aft_store_s3::Prepared,
        /// The store of the parts alone.
        blobs: Arc<dyn Store>,
    },
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
    use super::{open, open_made, shown};
    use crate::settings::table::Components;

    #[test]
    fn messages_hide_what_may_be_a_password() {
        for (url, text) in [
            ("bogus:somewhere", "bogus:somewhere"),
            ("local:/srv/a@b", "local:/srv/a@b"),
            ("memory:me:hunter2@h", "memory:…@h"),
            ("dynamodb://t?blobs=s3://me:hunter2@b", "dynamodb://…@b"),
            ("dynamodb://t?blobs=s3%3A%2F%2Fme:hunter2%40b", "dynamodb://…"),
            ("dynamodb://t?region=r&blobs=s3://b/p", "dynamodb://t?region=r&blobs=s3://b/p"),
            ("REDIS://:hunter2@h:1/aft", "REDIS://…@h:1/aft"),
            (" redis://me:hunter2@h", " redis://…@h"),
            (":hunter2@h:1", "…@h:1"),
            ("unix://me:hunt@er2@/run/redis", "unix://…@/run/redis"),
        ] {
            assert_eq!(shown(url), text);
        }
    }

    /// Every scheme, well formed or not, with a password where one may be; nothing listens there.
    #[tokio::test]
    async fn no_error_repeats_a_password() {
        let passwords =
            ["hunter2", "hunter2%3F", "hunter2/x", "hunter2:x", "hunter2?x", "hunter2#x", "a@hunter2"];
        let places =
            ["127.0.0.1:1", "127.0.0.1:1/p?db=1", "h:port", "", "[::1", "127.0.0.1:1/%zz", "h?x=y", "b/p/"];
        let mut count = 0;
        for password in passwords {
            for place in places {
                let mut urls: Vec<String> = ["s3", "dynamodb", "memory", "anna", "http", "REDIS"]
                    .map(|scheme| format!("{scheme}://me:{password}@{place}"))
                    .into();
                urls.push(format!("redis:me:{password}@{place}"));
                urls.push(format!("redis://:{password}@{place}&password={password}@"));
                urls.push(format!("s3://bucket/p?region=r&endpoint=http://me:{password}@{place}"));
                urls.push(format!("dynamodb://table/p?region=r&endpoint=http://me:{password}@{place}"));
                urls.push(format!("dynamodb://table/p?region=r&blobs=s3://me:{password}@{place}"));
                urls.push(format!("dynamodb://table/p?region=r&blobs=s3://me:{password}%40{place}"));
                // Opening one that is well formed takes a second, so not every password has its
                // turn.
                if !place.starts_with("127") || password == "hunter2%3F" {
                    urls.push(format!("redis://me:{password}@{place}"));
                    urls.push(format!("rediss://me:{password}@{place}"));
                }
                for url in urls {
                    assert!(!shown(&url).contains("hunter2"), "{url} is shown as {}", shown(&url));
                    let why = open(&url).await.expect_err("nothing listens there");
                    assert!(!why.contains("hunter2"), "{url}: {why}");
                    count += 1;
                }
            }
        }
        assert!(count > 500, "only {count} URLs");
        let settings = Components::default();
        for url in ["memory://me:hunter2@h", "redis://me:hunter2@127.0.0.1:1", "s3://me:hunter2@b"] {
            let why = open_made(url, &settings).await.expect_err("nothing listens there");
            assert!(!why.contains("hunter2"), "{url}: {why}");
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
