//! `aft serve` on a store that is a real server of the tests' own.

use aft_services::{Server as Service, Service as Kind};

use crate::server::Server;

/// An empty store on a real server, which ends with this value.
#[derive(Debug)]
pub struct RealStore {
    /// The server.
    pub service: Service,
}

impl RealStore {
    /// A fresh server, with an empty bucket where there are buckets; none if the service is to be skipped.
    ///
    /// # Panics
    /// If the server cannot be had, with what to do about it.
    pub fn start(kind: Kind) -> Option<RealStore> {
        let service = kind.start_or_skip()?;
        if service.store_url().is_none() {
            service.create_bucket("aft").expect("a fresh server takes a bucket");
        }
        Some(RealStore { service })
    }

    /// The store's URL.
    pub fn url(&self) -> String {
        self.service.store_url().unwrap_or_else(|| {
            format!("s3://aft/e2e?endpoint={}&region={}", self.service.endpoint(), self.service.region())
        })
    }

    /// What a process that opens the store needs in its environment.
    pub fn environment(&self) -> Vec<(&'static str, &'static str)> {
        if self.service.store_url().is_some() {
            return Vec::new();
        }
        vec![
            ("AWS_ACCESS_KEY_ID", self.service.access_key()),
            ("AWS_SECRET_ACCESS_KEY", self.service.secret_key()),
        ]
    }

    /// Starts `aft serve` on it.
    ///
    /// # Panics
    /// As [`Server::start`].
    pub fn serve(&self, more: &[&str]) -> Server {
        Server::start_in(&self.url(), more, &self.environment())
    }
}
