//! `aft serve` on a store that is a real server of the tests' own.

use aft_services::{Server as Service, Service as Kind};

use crate::binary;
use crate::server::Server;

/// An empty store on a real server, which ends with this value.
#[derive(Debug)]
pub struct RealStore {
    /// The server.
    pub service: Service,
}

impl RealStore {
    /// A fresh server with an empty store; none if the service is to be skipped.
    ///
    /// # Panics
    /// If the server cannot be had, with what to do about it.
    pub fn start(kind: Kind) -> Option<RealStore> {
        let store = RealStore { service: kind.start_or_skip()? };
        match kind {
            Kind::Minio | Kind::Moto | Kind::Ceph => {
                store.service.create_bucket("aft").expect("a fresh server takes a bucket");
            }
            Kind::DynamoDb => {
                // The table alone: the first server makes the store, with its times.
                let beside = store.url().replacen("aft?", "aft/beside?", 1);
                assert_ne!(beside, store.url(), "the table is called aft");
                let made = binary::run_in(&["store", "init", &beside], &store.environment());
                assert_eq!(made.code, Some(0), "{made:#?}");
            }
            Kind::Redis => {}
            Kind::Etcd | Kind::Restate | Kind::Powertools => panic!("no store of this project is on {kind}"),
        }
        Some(store)
    }

    /// The same, with a store that is made now, with the usual times, and whose keys are all read
    /// atomic: for tests of what that level costs or allows.
    ///
    /// # Panics
    /// As [`RealStore::start`], and if the store cannot be made.
    pub fn start_read_atomic(kind: Kind) -> Option<RealStore> {
        let store = RealStore::start(kind)?;
        let made = ["store", "init", &store.url(), "--isolation", "=read_atomic"];
        let made = binary::run_in(&made, &store.environment());
        assert_eq!(made.code, Some(0), "{made:#?}");
        Some(store)
    }

    /// The store's URL.
    pub fn url(&self) -> String {
        self.service.store_url()
    }

    /// What a process that opens the store needs in its environment.
    pub fn environment(&self) -> Vec<(&'static str, &'static str)> {
        self.service.environment()
    }

    /// Starts `aft serve` on it.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub fn serve(&self, more: &[&str]) -> Server {
        Server::start_in(&self.url(), more, &self.environment())
    }
}
