//! `aft serve` on a store that is a real server of the tests' own.

use aft_services::{Server as Service, Service as Kind};

use crate::binary;
use crate::server::Server;

/// A store on a real server, which ends with this value.
#[derive(Debug)]
pub struct Remote {
    /// The server.
    pub service: Service,
}

impl Remote {
    /// A fresh server with an empty store; none if the service is to be skipped.
    ///
    /// # Panics
    /// If the server cannot be had, with what to do about it.
    pub fn start(kind: Kind) -> Option<Remote> {
        let remote = Remote { service: kind.start_or_skip()? };
        match kind {
            Kind::Minio | Kind::Moto | Kind::Ceph => {
                remote.service.create_bucket("aft").expect("a fresh server takes a bucket");
            }
            Kind::DynamoDb => {
                let made = binary::run_in(&["store", "init", &remote.url()], &remote.environment());
                assert_eq!(made.code, Some(0), "{made:#?}");
            }
        }
        Some(remote)
    }

    /// The store's URL.
    pub fn url(&self) -> String {
        let (endpoint, region) = (self.service.endpoint(), self.service.region());
        match self.service.service() {
            Kind::Minio | Kind::Moto | Kind::Ceph => {
                format!("s3://aft/e2e?endpoint={endpoint}&region={region}")
            }
            Kind::DynamoDb => format!("dynamodb://aft/e2e?endpoint={endpoint}&region={region}"),
        }
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
