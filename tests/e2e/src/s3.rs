//! `aft serve` on a real S3 server of the tests' own.

use aft_services::{Server as Service, Service as Kind};

use crate::server::Server;

/// A bucket on a real server, which ends with this value.
#[derive(Debug)]
pub struct S3 {
    /// The server.
    pub service: Service,
}

impl S3 {
    /// A fresh server with an empty bucket; none if the service is to be skipped.
    ///
    /// # Panics
    /// If the server cannot be had, with what to do about it.
    pub fn start(kind: Kind) -> Option<S3> {
        let service = kind.start_or_skip()?;
        service.create_bucket("aft").expect("a fresh server takes a bucket");
        Some(S3 { service })
    }

    /// The store's URL.
    pub fn url(&self) -> String {
        format!("s3://aft/e2e?endpoint={}&region={}", self.service.endpoint(), self.service.region())
    }

    /// What a process that opens the store needs in its environment.
    pub fn environment(&self) -> [(&'static str, &'static str); 2] {
        [
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
