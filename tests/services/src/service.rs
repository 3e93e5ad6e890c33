//! Which services there are, and what each file of one has to tell.
//!
//! A new one is a variant here, its name, and a file with its [`Recipe`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use crate::ceph::Ceph;
use crate::dynamodb::DynamoDb;
use crate::etcd::Etcd;
use crate::fetch::{self, Fetched};
use crate::minio::Minio;
use crate::moto::Moto;
use crate::powertools::Powertools;
use crate::redis::Redis;
use crate::restate::Restate;
use crate::server::REGION;
use crate::{Error, Home, Server, skip};

/// A server of other people that the tests run against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// MinIO: S3, on disk. Its creates decide atomically.
    Minio,
    /// moto: S3 and DynamoDB, in memory; it checks no signature and forgets everything when it ends.
    Moto,
    /// Redis, on disk: what it has acknowledged is fsynced.
    Redis,
    /// DynamoDB Local: Amazon's own, on disk. Its conditions decide atomically.
    DynamoDb,
    /// Ceph's radosgw: S3, on disk. Its creates decide atomically. For the long tests: made only if it is named.
    Ceph,
    /// etcd: what AFT is compared with, on disk. For the figures: made only if they are asked for.
    Etcd,
    /// Restate and its SDK for Node: what AFT is compared with, on disk. For the figures.
    Restate,
    /// Powertools for AWS Lambda: what AFT is compared with. No server, but a Python that has it. For the figures.
    Powertools,
}

/// Every service.
pub(crate) const ALL: [Service; 8] = [
    Service::Minio,
    Service::Moto,
    Service::Redis,
    Service::DynamoDb,
    Service::Ceph,
    Service::Etcd,
    Service::Restate,
    Service::Powertools,
];

/// What one service's file tells of it.
pub(crate) trait Recipe {
    /// What exactly is fetched: changes whenever something else would be. `directory` is where it is kept.
    fn stamp(&self, directory: &Path) -> String;

    /// Its version, for figures: a number without it says nothing.
    fn version(&self, directory: &Path) -> String;

    /// The program that a fetched service has, in its directory. It may start others, as long as they stay in its process group and end with it.
    fn program(&self, directory: &Path) -> PathBuf;

    /// Makes it in an empty directory.
    fn make(&self, directory: &Path, say: &dyn Fn(&str)) -> Result<(), Error>;

    /// Adds the arguments and the environment with which its program serves `data` at 127.0.0.1 and `port`.
    fn serve(&self, command: &mut Command, data: &Path, port: u16);

    /// Where its data directory is made.
    fn data_root(&self) -> PathBuf {
        std::env::temp_dir()
    }

    /// Whether requests at 127.0.0.1 and `port` are served, asked now: not before they are, and from then on.
    fn answers(&self, port: u16) -> bool;

    /// Makes an empty bucket, without a signature, where there are buckets.
    fn create_bucket(&self, _data: &Path, _port: u16, name: &str) -> Result<(), Error> {
        panic!("the bucket {name}: only services that speak S3 have buckets")
    }

    /// The URL of a store on it. Buckets and tables are to be made first.
    fn store_url(&self, port: u16) -> String {
        format!("s3://aft?endpoint=http://127.0.0.1:{port}&region={REGION}")
    }

    /// The keys that it was started with, where requests are signed.
    fn keys(&self) -> Option<Keys> {
        None
    }
}

/// What a client signs with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys {
    pub(crate) access: &'static str,
    pub(crate) secret: &'static str,
}

impl Service {
    /// Those that everyday tests run against, and that are meant where none is named.
    pub fn everyday() -> [Service; 4] {
        [Service::Minio, Service::Moto, Service::Redis, Service::DynamoDb]
    }

    /// Its name on command lines and in `AFT_SKIP_SERVICES`.
    pub fn name(self) -> &'static str {
        match self {
            Service::Minio => "minio",
            Service::Moto => "moto",
            Service::Redis => "redis",
            Service::DynamoDb => "dynamodb",
            Service::Ceph => "ceph",
            Service::Etcd => "etcd",
            Service::Restate => "restate",
            Service::Powertools => "powertools",
        }
    }

    /// Whether tests against it are to run: `AFT_SKIP_SERVICES` does not name it.
    ///
    /// # Errors
    /// If that variable names something that is no service: a misspelt skip would otherwise fail much later, with another reason.
    pub fn wanted(self) -> Result<bool, Error> {
        Ok(!skip::read()?.contains(&self))
    }

    /// Brings it to `home`, unless it is there. One process at a time; `say` gets a line now and then.
    ///
    /// # Errors
    /// If it cannot be had.
    pub fn fetch(self, home: &Home, say: &dyn Fn(&str)) -> Result<Fetched, Error> {
        fetch::fetch(self, home, say)
    }

    /// Returns its program, for who starts it without a [`Server`], as a library has to be.
    ///
    /// # Errors
    /// If it was not fetched.
    pub fn program(self, home: &Home) -> Result<PathBuf, Error> {
        if !home.has(self) {
            return Err(Error::NotFetched { service: self, home: home.path().to_owned() });
        }
        Ok(self.recipe().program(&home.of(self)))
    }

    /// Returns its version as it is in `home`.
    pub fn version(self, home: &Home) -> String {
        self.recipe().version(&home.of(self))
    }

    /// Returns true if there is a server to start: a library has none.
    pub fn serves(self) -> bool {
        self != Service::Powertools
    }

    /// Returns true if a store of AFT can be on it: not on what AFT is compared with.
    pub fn holds_stores(self) -> bool {
        !matches!(self, Service::Etcd | Service::Restate | Service::Powertools)
    }

    /// Starts it at a free port of 127.0.0.1 on an empty data directory of its own, and waits until it serves. Blocks.
    ///
    /// # Errors
    /// If it was not fetched, or does not come to serve.
    pub fn start(self) -> Result<Server, Error> {
        Server::start(self, &Home::from_environment())
    }

    /// The same for a test: none if it is to be skipped, which is printed such that the totals count the test as skipped.
    ///
    /// # Panics
    /// If it cannot be had, with what to do about it.
    pub fn start_or_skip(self) -> Option<Server> {
        if self.skipped() {
            return None;
        }
        Some(self.start().unwrap_or_else(|why| panic!("{why}")))
    }

    /// Whether the running test is to leave it out, which is then printed such that the totals count the test as skipped.
    ///
    /// # Panics
    /// As [`Service::wanted`] fails.
    pub fn skipped(self) -> bool {
        let wanted = self.wanted().unwrap_or_else(|why| panic!("AFT_SKIP_SERVICES: {why}"));
        if !wanted {
            skip::tell(self);
        }
        !wanted
    }

    pub(crate) fn recipe(self) -> &'static dyn Recipe {
        match self {
            Service::Minio => &Minio,
            Service::Moto => &Moto,
            Service::Redis => &Redis,
            Service::DynamoDb => &DynamoDb,
            Service::Ceph => &Ceph,
            Service::Etcd => &Etcd,
            Service::Restate => &Restate,
            Service::Powertools => &Powertools,
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Service {
    type Err = Error;

    fn from_str(name: &str) -> Result<Service, Error> {
        let found = ALL.into_iter().find(|service| service.name() == name);
        found.ok_or_else(|| Error::Unknown { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for service in ALL {
            assert_eq!(service.to_string().parse::<Service>().expect("its own name"), service);
        }
        let why = "minoi".parse::<Service>().expect_err("no such service").to_string();
        assert_eq!(
            why,
            "there is no service named \"minoi\"; there are minio, moto, redis, dynamodb, ceph, etcd, restate, powertools"
        );
    }
}
