//! Stores by their URL, opened without a request.

use std::sync::Arc;

use aft_store::Store;
use aft_store_dynamodb::DynamoDbStore;
use aft_store_memory::MemoryStore;
use aft_store_s3::S3Store;

/// The stores that the layer can use, for messages.
const KNOWN: &str = "dynamodb://TABLE/PREFIX?region=R, s3://BUCKET/PREFIX?region=R, and memory: for tests";

/// Opens the store at a URL, and finds out what it can do: for sweeps, which delete.
///
/// # Errors
/// Returns an error if the layer does not know the URL, or if the store cannot be used; the text
/// names the remedy.
pub(crate) async fn open(url: &str) -> Result<Arc<dyn Store>, String> {
    match url.split_once(':') {
        Some(("s3", _)) => {
            let store = S3Store::open(url, &aft_store_s3::Options::default()).await;
            Ok(Arc::new(store.map_err(|why| format!("AFT_STORE: {why}"))?))
        }
        Some(("dynamodb", _)) => {
            let store = DynamoDbStore::open(url, &aft_store_dynamodb::Options::default()).await;
            Ok(Arc::new(store.map_err(|why| format!("AFT_STORE: {why}"))?))
        }
        _ => Err(format!("AFT_STORE is {url:?}: only stores in a table or a bucket are swept from here")),
    }
}

/// Makes the store at a URL. No store is asked for anything yet.
///
/// # Errors
/// Returns an error if the layer does not know the URL, or if there are no credentials for it; the
/// text names the remedy.
pub(super) async fn attach(url: &str) -> Result<Arc<dyn Store>, String> {
    match url.split_once(':') {
        Some(("memory", "")) => Ok(Arc::new(MemoryStore::new())),
        Some(("s3", _)) => {
            let store = S3Store::attach(url, &aft_store_s3::Options::default()).await;
            Ok(Arc::new(store.map_err(|why| format!("AFT_STORE: {why}"))?))
        }
        Some(("dynamodb", _)) => {
            let store = DynamoDbStore::attach(url, &aft_store_dynamodb::Options::default()).await;
            Ok(Arc::new(store.map_err(|why| format!("AFT_STORE: {why}"))?))
        }
        _ => Err(format!("AFT_STORE is {url:?}: the layer can use {KNOWN}")),
    }
}
