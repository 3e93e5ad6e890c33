//! Store URLs: the one place that knows which stores there are.

use std::sync::Arc;

use aft_store::Store;
use aft_store_dynamodb::DynamoDbStore;
use aft_store_local::LocalStore;
use aft_store_memory::MemoryStore;
use aft_store_redis::RedisStore;
use aft_store_s3::S3Store;
use tracing::{info, warn};

use crate::Failed;
use crate::settings::REDIS_PASSWORD;
use crate::settings::table::Components;

/// Schemes that other versions have.
const ELSEWHERE: &[&str] = &["anna"];
const KNOWN: &str = "memory: (gone with the process), local:DIR (a directory on this machine), s3://BUCKET/PREFIX?endpoint=URL&region=R (Amazon S3, MinIO), dynamodb://TABLE/PREFIX?endpoint=URL&region=R (Amazon DynamoDB) and redis://HOST:PORT/PREFIX";

/// Opens a store with the defaults.
///
/// # Errors
/// As [`open_with`].
pub(crate) async fn open(url: &str) -> Result<Arc<dyn Store>, Failed> {
    open_with(url, &Components::default()).await
}

/// Opens a store.
///
/// # Errors
/// If this version does not know the URL, or the store cannot be opened; the text names it.
pub(crate) async fn open_with(url: &str, settings: &Components) -> Result<Arc<dyn Store>, Failed> {
    match url.split_once(':') {
        Some(("memory", "")) => Ok(Arc::new(MemoryStore::new())),
        Some(("memory", rest)) => Err(format!("store {url:?}: nothing follows memory:, not {rest:?}")),
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
            // Boxed: it is large, and waited for once.
            let opened = Box::pin(S3Store::open(url, &s3_options(&settings.s3))).await;
            let store = opened.map_err(|why| why.to_string())?;
            if let Some(caution) = store.caution() {
                warn!("{caution}");
            }
            Ok(Arc::new(store))
        }
        Some(("redis" | "rediss", _)) => {
            let opened = Box::pin(RedisStore::open(url, &redis_options())).await;
            let store = opened.map_err(|why| why.to_string())?;
            for caution in store.cautions() {
                warn!("{caution}");
            }
            Ok(Arc::new(store))
        }
        Some(("dynamodb", _)) => {
            let options = dynamodb_options(&settings.dynamodb);
            let opened = Box::pin(DynamoDbStore::open(url, &options)).await;
            Ok(Arc::new(opened.map_err(|why| why.to_string())?))
        }
        Some((scheme, _)) if ELSEWHERE.contains(&scheme) => {
            Err(format!("store {:?}: {scheme} is not built into this version, which has {KNOWN}", shown(url)))
        }
        _ => Err(format!("store {:?} has no scheme that is known: there are {KNOWN}", shown(url))),
    }
}

/// Opens a store that is there: no directory is made for it.
///
/// # Errors
/// As [`open_with`], and if there is no directory, or nothing in it.
pub(crate) async fn open_made(url: &str) -> Result<Arc<dyn Store>, Failed> {
    if let Some(("local", dir)) = url.split_once(':').filter(|(_, dir)| !dir.is_empty()) {
        let holds_something = std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
        if !holds_something {
            return Err(format!("store {url:?}: there is no store in {dir}: aft store init {url} makes one"));
        }
    }
    open(url).await
}

/// A URL of no kind that is known, for a message: what stands before an @ may be a password.
fn shown(url: &str) -> String {
    let Some((_, place)) = url.rsplit_once('@') else { return url.to_owned() };
    match url.split_once("://") {
        Some((scheme, _)) if !scheme.contains('@') => format!("{scheme}://…@{place}"),
        _ => format!("…@{place}"),
    }
}

/// Opens a store for `aft store init`: where opening does not make it, it is made.
///
/// # Errors
/// As [`open_with`], and if it cannot be made.
pub(crate) async fn init(url: &str, among_others: bool) -> Result<(Arc<dyn Store>, Made), Failed> {
    match url.split_once(':') {
        Some(("s3", _)) => {
            let made = Box::pin(S3Store::init(url, &aft_store_s3::Options::default(), among_others)).await;
            let (store, prepared) = made.map_err(|why| why.to_string())?;
            Ok((Arc::new(store), Made::Bucket(prepared)))
        }
        Some(("dynamodb", _)) => {
            let options = aft_store_dynamodb::Options::default();
            let made = Box::pin(DynamoDbStore::init(url, &options)).await;
            let (store, prepared) = made.map_err(|why| why.to_string())?;
            Ok((Arc::new(store), Made::Table(prepared)))
        }
        _ => Ok((open(url).await?, Made::ByItself)),
    }
}

/// Who makes a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Made {
    /// `aft store init`, if it was not there: a bucket.
    Bucket(aft_store_s3::Prepared),
    /// The same: a table.
    Table(aft_store_dynamodb::Prepared),
    /// Whoever opens it first.
    ByItself,
}

fn s3_options(prices: &aft_store_s3::Prices) -> aft_store_s3::Options {
    let mut options = aft_store_s3::Options::default();
    options.prices = *prices;
    options
}

/// A password on a command line is everybody's who can list processes: so it may stand in the environment.
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
    fn secrets_are_not_shown() {
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
    async fn a_mistyped_scheme_tells_no_secret() {
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
