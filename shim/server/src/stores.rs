//! Store URLs: the one place that knows which stores there are.

use std::sync::Arc;

use aft_store::Store;
use aft_store_local::{LocalStore, Options};
use aft_store_memory::MemoryStore;

use crate::Failed;
use crate::settings::{Local, Number};

/// Schemes that other versions have.
const ELSEWHERE: &[&str] = &["s3", "dynamodb", "redis", "anna"];
const KNOWN: &str = "memory: (gone with the process) and local:DIR (a directory on this machine)";

/// Opens a store with the defaults.
///
/// # Errors
/// As [`open_with`].
pub(crate) async fn open(url: &str) -> Result<Arc<dyn Store>, Failed> {
    open_with(url, &Local::default()).await
}

/// Opens a store.
///
/// # Errors
/// If this version does not know the URL, or the store cannot be opened; the text names it.
pub(crate) async fn open_with(url: &str, local: &Local) -> Result<Arc<dyn Store>, Failed> {
    match url.split_once(':') {
        Some(("memory", "")) => Ok(Arc::new(MemoryStore::new())),
        Some(("memory", rest)) => Err(format!("store {url:?}: nothing follows memory:, not {rest:?}")),
        Some(("local", "")) => Err("store \"local:\" names no directory: write local:DIR".into()),
        Some(("local", dir)) => {
            let dir = dir.to_owned();
            let mut options = Options::default();
            if let Some(Number(bytes)) = local.cache_bytes_max {
                options.cache_bytes = bytes;
            }
            if let Some(Number(bytes)) = local.memtable_bytes_max {
                options.memtable_bytes = bytes;
            }
            let open = move || LocalStore::open(dir, &options);
            let opened =
                tokio::task::spawn_blocking(open).await.map_err(|why| format!("store {url:?}: {why}"))?;
            Ok(Arc::new(opened.map_err(|why| format!("store {url:?}: {why}"))?))
        }
        Some((scheme, _)) if ELSEWHERE.contains(&scheme) => {
            Err(format!("store {url:?}: {scheme} is not built into this version, which has {KNOWN}"))
        }
        _ => Err(format!("store {url:?} has no scheme that is known: there are {KNOWN}")),
    }
}
