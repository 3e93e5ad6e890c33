//! A running server with a table of DynamoDB.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aft_services::{Server, Service};
use aft_store::Store;
use aft_store_dynamodb::{DynamoDbStore, OpenError, Options};

/// The table's name.
const NAME: &str = "aft";

/// A server of its own with a table.
#[derive(Debug)]
pub struct Table {
    /// The server.
    pub server: Server,
    prefixes: AtomicUsize,
}

impl Table {
    /// Starts a server and makes the table; none if the environment leaves the service out.
    ///
    /// # Panics
    /// If the service was not fetched or does not start, or the table cannot be made.
    pub async fn start(service: Service) -> Option<Table> {
        let server = tokio::task::spawn_blocking(move || service.start_or_skip());
        let server = server.await.expect("it does not panic")?;
        let table = Table { server, prefixes: AtomicUsize::new(0) };
        DynamoDbStore::init(&table.url("first"), &table.options())
            .await
            .expect("a fresh server takes a table");
        Some(table)
    }

    /// Returns the URL of a store under `prefix`.
    pub fn url(&self, prefix: &str) -> String {
        self.url_by(&self.server.endpoint(), prefix)
    }

    /// Returns the URL of a store under `prefix` at another endpoint, such as that of a
    /// [`crate::Front`].
    pub fn url_by(&self, endpoint: &str, prefix: &str) -> String {
        format!("dynamodb://{NAME}/{prefix}?endpoint={endpoint}&region={}", self.server.region())
    }

    /// Returns options with the server's keys.
    pub fn options(&self) -> Options {
        Options::with_keys(self.server.access_key(), self.server.secret_key())
    }

    /// Opens the store at `url` with the server's keys.
    ///
    /// # Errors
    /// The errors of [`DynamoDbStore::open`].
    pub async fn open(&self, url: &str) -> Result<Arc<DynamoDbStore>, OpenError> {
        DynamoDbStore::open(url, &self.options()).await.map(Arc::new)
    }

    /// Opens an empty store under a prefix of its own.
    ///
    /// # Panics
    /// If it cannot be opened.
    pub async fn fresh(&self) -> Arc<dyn Store> {
        let prefix = format!("fresh/{}", self.prefixes.fetch_add(1, Ordering::Relaxed));
        self.open_now(&self.url(&prefix)).await
    }

    /// Opens an empty store in a table of its own. For moto, which reads the whole table for each
    /// page, so that what earlier checks left would make each check slower than the one before.
    ///
    /// # Panics
    /// If the table cannot be made, or the store cannot be opened.
    pub async fn fresh_in_its_own(&self) -> Arc<dyn Store> {
        let number = self.prefixes.fetch_add(1, Ordering::Relaxed);
        let (endpoint, region) = (self.server.endpoint(), self.server.region());
        let url = format!("dynamodb://{NAME}-{number}/fresh?endpoint={endpoint}&region={region}");
        DynamoDbStore::init(&url, &self.options()).await.expect("the server takes a further table");
        self.open_now(&url).await
    }

    async fn open_now(&self, url: &str) -> Arc<dyn Store> {
        let opened = self.open(url).await;
        opened.unwrap_or_else(|why| panic!("{why}\n{}", self.server.log_tail()))
    }
}
