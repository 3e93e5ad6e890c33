//! A running server with an empty bucket.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aft_services::{Server, Service};
use aft_store::Store;
use aft_store_s3::{OpenError, Options, S3Store};

/// The bucket's name.
const NAME: &str = "aft";

/// A server of its own with a bucket.
#[derive(Debug)]
pub struct Bucket {
    /// The server.
    pub server: Server,
    prefixes: AtomicUsize,
}

impl Bucket {
    /// Starts a server with an empty bucket; none if the environment leaves the service out.
    pub fn start(service: Service) -> Option<Bucket> {
        let server = service.start_or_skip()?;
        server.create_bucket(NAME).expect("a fresh server takes a bucket");
        Some(Bucket { server, prefixes: AtomicUsize::new(0) })
    }

    /// Returns the URL of a store under `prefix`.
    pub fn url(&self, prefix: &str) -> String {
        self.url_by(&self.server.endpoint(), prefix)
    }

    /// Returns the URL of a store under `prefix` at another endpoint, such as that of a
    /// [`crate::Front`].
    pub fn url_by(&self, endpoint: &str, prefix: &str) -> String {
        format!("s3://{NAME}/{prefix}?endpoint={endpoint}&region={}", self.server.region())
    }

    /// Returns options with the server's keys.
    pub fn options(&self) -> Options {
        Options::with_keys(self.server.access_key(), self.server.secret_key())
    }

    /// Opens the store at `url` with the server's keys.
    ///
    /// # Errors
    /// The errors of [`S3Store::open`].
    pub async fn open(&self, url: &str) -> Result<Arc<S3Store>, OpenError> {
        S3Store::open(url, &self.options()).await.map(Arc::new)
    }

    /// Opens an empty store under a prefix of its own.
    pub async fn fresh(&self) -> Arc<dyn Store> {
        let prefix = format!("fresh/{}", self.prefixes.fetch_add(1, Ordering::Relaxed));
        let opened = self.open(&self.url(&prefix)).await;
        opened.unwrap_or_else(|why| panic!("{why}\n{}", self.server.log_tail()))
    }
}
