//! `aft serve` on a store that is a real server, started for the test.

use aft_services::{Server as Service, Service as Kind};

use crate::binary;
use crate::server::Server;

/// An empty store on a real server. Dropping it ends the server.
#[derive(Debug)]
pub struct RealStore {
    /// The server.
    pub service: Service,
}

impl RealStore {
    /// Starts a server with an empty store. Returns none if the service is to be skipped.
    ///
    /// # Panics
    /// If the service was not fetched or does not start; the message says what to do.
    pub fn start(kind: Kind) -> Option<RealStore> {
        let store = RealStore { service: kind.start_or_skip()? };
        match kind {
            Kind::Minio | Kind::Moto | Kind::Ceph => {
                store.service.create_bucket("aft").expect("a fresh server takes a bucket");
            }
            Kind::DynamoDb => {
                // Only the table is needed: the first `aft serve` makes the store, with its own
                // times.
                let beside = store.url().replacen("aft?", "aft/beside?", 1);
                assert_ne!(beside, store.url(), "the table is called aft");
                let made = binary::run_in(&["store", "init", &beside], &store.environment());
                assert_eq!(made.code, Some(0), "{made:#?}");
            }
            Kind::Redis => {}
            Kind::Etcd | Kind::Restate | Kind::Powertools | Kind::S3Clients | Kind::LambdaRuntimes => {
                panic!("{kind} cannot hold a store of AFT")
            }
        }
        Some(store)
    }

    /// Starts a server with an empty store that is initialised with the default times, and whose
    /// keys are all read atomic: for tests of what that level costs or allows.
    ///
    /// # Panics
    /// If [`RealStore::start`] panics, or if the store cannot be initialised.
    pub fn start_read_atomic(kind: Kind) -> Option<RealStore> {
        let store = RealStore::start(kind)?;
        let made = ["store", "init", &store.url(), "--isolation", "=read_atomic"];
        let made = binary::run_in(&made, &store.environment());
        assert_eq!(made.code, Some(0), "{made:#?}");
        Some(store)
    }

    /// Returns the store's URL.
    pub fn url(&self) -> String {
        self.service.store_url()
    }

    /// Returns the environment variables that a process needs to open the store.
    pub fn environment(&self) -> Vec<(&'static str, &'static str)> {
        self.service.environment()
    }

    /// Starts `aft serve` on the store; `more` are further arguments.
    ///
    /// # Panics
    /// If [`Server::start`] panics.
    pub fn serve(&self, more: &[&str]) -> Server {
        Server::start_in(&self.url(), more, &self.environment())
    }
}
