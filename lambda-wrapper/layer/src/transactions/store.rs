//! Stores by their URL, opened without a request.

use std::sync::Arc;

use aft_store::Store;
use aft_store_dynamodb::DynamoDbStore;
use aft_store_memory::MemoryStore;
use aft_store_s3::S3Store;
use aft_store_split::{Halves, SplitStore};

/// The stores that the layer can use, for messages.
const KNOWN: &str = "dynamodb://TABLE/PREFIX?region=R (with large values in a bucket: \
                     &blobs=s3://BUCKET/PREFIX), s3://BUCKET/PREFIX?region=R, and memory: for tests";

/// Opens the store at a URL, and finds out what it can do: for sweeps, which delete.
///
/// # Errors
/// Returns an error if the layer does not know the URL, or if the store cannot be used; the text
/// names the remedy.
pub(crate) async fn open(url: &str) -> Result<Arc<dyn Store>, String> {
    if let Some(Halves { records, blobs }) = halves(url)? {
        // Boxed because the futures are large.
        let (records, blobs) = (Box::pin(open(&records)).await?, Box::pin(open(&blobs)).await?);
        return Ok(Arc::new(SplitStore::new(records, blobs)));
    }
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
    if let Some(Halves { records, blobs }) = halves(url)? {
        // Boxed because the futures are large.
        let (records, blobs) = (Box::pin(attach(&records)).await?, Box::pin(attach(&blobs)).await?);
        return Ok(Arc::new(SplitStore::new(records, blobs)));
    }
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

/// Returns the URLs of the two stores of which the store at a URL is made; `None` if it is one.
fn halves(url: &str) -> Result<Option<Halves>, String> {
    if !url.starts_with("dynamodb:") {
        return Ok(None);
    }
    // The URL is not repeated, since it is wrong and may have anything in it.
    let halves = Halves::of(url).map_err(|why| format!("AFT_STORE: {why}"))?;
    match &halves {
        Some(Halves { blobs, .. }) if !blobs.starts_with("s3://") => Err(
            "AFT_STORE: large values may lie in a bucket: write blobs=s3://BUCKET/PREFIX, or leave blobs= out"
                .into(),
        ),
        _ => Ok(halves),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_values_lie_in_a_bucket() {
        let check = |url: &str, part: &str| {
            let why = halves(url).unwrap_err();
            assert!(
                why.starts_with("AFT_STORE: ") && why.contains(part) && !why.contains("hunter2"),
                "{why}"
            );
        };
        check("dynamodb://t?blobs=redis://:hunter2@h", "blobs=s3://BUCKET/PREFIX");
        check("dynamodb://t?blobs=s3://hunter2&blobs=s3://b", "twice");
        assert_eq!(halves("s3://b?blobs=s3://c"), Ok(None), "the store itself rejects the parameter");
        let found = halves("dynamodb://t?region=r&blobs=s3://b/p").unwrap().expect("there are two");
        assert_eq!((found.records.as_str(), found.blobs.as_str()), ("dynamodb://t?region=r", "s3://b/p"));
    }
}
