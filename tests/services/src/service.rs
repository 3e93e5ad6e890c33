//! The list of services, and the interface of each one's file.
//!
//! To add one: a variant, its name, and a file with its [`Recipe`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use crate::ceph::Ceph;
use crate::dynamodb::DynamoDb;
use crate::etcd::Etcd;
use crate::fetch::{self, Fetched};
use crate::lambda_runtimes::LambdaRuntimes;
use crate::minio::Minio;
use crate::moto::Moto;
use crate::powertools::Powertools;
use crate::redis::Redis;
use crate::restate::Restate;
use crate::s3_clients::S3Clients;
use crate::server::REGION;
use crate::{Error, Home, Server, skip};

/// A third-party server that the tests run against, or with which the figures compare AFT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// MinIO: S3, on disk. Its creates decide atomically.
    Minio,
    /// moto: S3 and DynamoDB, in memory. It checks no signature and loses everything when it ends.
    Moto,
    /// Redis, on disk: acknowledged writes are fsynced.
    Redis,
    /// DynamoDB Local: Amazon's own, on disk. Its conditions decide atomically.
    DynamoDb,
    /// Ceph's radosgw: S3, on disk. Its creates decide atomically. For the long tests: fetched only
    /// by name.
    Ceph,
    /// etcd, with which AFT is compared, on disk. For the figures: fetched only by name.
    Etcd,
    /// Restate and its SDK for Node, with which AFT is compared, on disk. For the figures.
    Restate,
    /// Powertools for AWS Lambda, with which AFT is compared: not a server, but a Python that has
    /// the library. For the figures.
    Powertools,
    /// Clients of S3 in Python and JavaScript: not a server, but a Python that has boto3, beside
    /// packages of npm.
    S3Clients,
    /// The runtime clients of AWS Lambda: not a server, but a Python that has the one for Python,
    /// boto3, and cfn-lint.
    LambdaRuntimes,
}

/// Every service.
pub(crate) const ALL: [Service; 10] = [
    Service::Minio,
    Service::Moto,
    Service::Redis,
    Service::DynamoDb,
    Service::S3Clients,
    Service::LambdaRuntimes,
    Service::Ceph,
    Service::Etcd,
    Service::Restate,
    Service::Powertools,
];

/// The description of one service: how it is made and started.
pub(crate) trait Recipe {
    /// Returns a text that changes whenever something else would be fetched. `directory` is the
    /// folder in which the service is kept.
    fn stamp(&self, directory: &Path) -> String;

    /// Returns the version, which the figures print beside their numbers.
    fn version(&self, directory: &Path) -> String;

    /// Returns the program of a service that was fetched into `directory`. It may start others, as
    /// long as they stay in its process group and end with it.
    fn program(&self, directory: &Path) -> PathBuf;

    /// Makes the service in `directory`, which is empty. `say` is called with lines of progress.
    fn make(&self, directory: &Path, say: &dyn Fn(&str)) -> Result<(), Error>;

    /// Adds the arguments and the environment with which the program serves `data` at 127.0.0.1 and
    /// `port`.
    fn serve(&self, command: &mut Command, data: &Path, port: u16);

    /// Returns the directory in which the data directory is made.
    fn data_root(&self) -> PathBuf {
        std::env::temp_dir()
    }

    /// Returns true if requests at 127.0.0.1 and `port` are served now: never too early, and from
    /// then on always.
    fn answers(&self, port: u16) -> bool;

    /// Creates an empty bucket, if the service has buckets.
    fn create_bucket(&self, _data: &Path, _port: u16, name: &str) -> Result<(), Error> {
        panic!("the bucket {name}: only services that speak S3 have buckets")
    }

    /// Returns the URL of a store on the server. Buckets and tables have to be made first.
    fn store_url(&self, port: u16) -> String {
        format!("s3://aft?endpoint=http://127.0.0.1:{port}&region={REGION}")
    }

    /// Returns the keys with which the server was started, if requests are signed.
    fn keys(&self) -> Option<Keys> {
        None
    }
}

/// The keys with which a client signs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys {
    pub(crate) access: &'static str,
    pub(crate) secret: &'static str,
}

impl Service {
    /// Returns the services that everyday tests run against: those that are meant where none is
    /// named.
    pub fn everyday() -> [Service; 6] {
        use Service::{DynamoDb, LambdaRuntimes, Minio, Moto, Redis, S3Clients};
        [Minio, Moto, Redis, DynamoDb, S3Clients, LambdaRuntimes]
    }

    /// Returns the service's name on command lines and in `AFT_SKIP_SERVICES`.
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
            Service::S3Clients => "s3-clients",
            Service::LambdaRuntimes => "lambda-runtimes",
        }
    }

    /// Returns true if tests against the service are to run: `AFT_SKIP_SERVICES` does not name it.
    ///
    /// # Errors
    /// [`Error::Unknown`] if that variable names something that is not a service. Otherwise a
    /// misspelt name would fail much later, for another reason.
    pub fn wanted(self) -> Result<bool, Error> {
        Ok(!skip::read()?.contains(&self))
    }

    /// Makes the service in `home`, unless it is there. Only one process at a time makes it; `say`
    /// is called with lines of progress.
    ///
    /// # Errors
    /// [`Error::Tool`] or [`Error::ToolFailed`] if a tool is missing or fails, [`Error::Io`] if the
    /// home cannot be written.
    pub fn fetch(self, home: &Home, say: &dyn Fn(&str)) -> Result<Fetched, Error> {
        fetch::fetch(self, home, say)
    }

    /// Returns the service's program, for callers that start it without a [`Server`], as is
    /// necessary for a library.
    ///
    /// # Errors
    /// [`Error::NotFetched`] if the service was not fetched.
    pub fn program(self, home: &Home) -> Result<PathBuf, Error> {
        if !home.has(self) {
            return Err(Error::NotFetched { service: self, home: home.path().to_owned() });
        }
        Ok(self.recipe().program(&home.of(self)))
    }

    /// Returns the version that is in `home`.
    pub fn version(self, home: &Home) -> String {
        self.recipe().version(&home.of(self))
    }

    /// Returns true if there is a server to start. A library has none.
    pub fn serves(self) -> bool {
        !matches!(self, Service::Powertools | Service::S3Clients | Service::LambdaRuntimes)
    }

    /// Returns true if the service can hold a store of AFT; those with which AFT is compared
    /// cannot.
    pub fn holds_stores(self) -> bool {
        self.serves() && !matches!(self, Service::Etcd | Service::Restate)
    }

    /// Starts the service at a free port of 127.0.0.1 with an empty data directory of its own, and
    /// waits until it serves. Blocks.
    ///
    /// # Errors
    /// [`Error::NotFetched`] if it was not fetched; [`Error::Ended`] or [`Error::NotReady`] if it
    /// does not come to serve.
    pub fn start(self) -> Result<Server, Error> {
        Server::start(self, &Home::from_environment())
    }

    /// Starts the service for a test. Returns none if `AFT_SKIP_SERVICES` names it, and then prints
    /// a line by which the totals count the test as skipped.
    ///
    /// # Panics
    /// If it was not fetched or does not start; the message says what to do.
    pub fn start_or_skip(self) -> Option<Server> {
        if self.skipped() {
            return None;
        }
        Some(self.start().unwrap_or_else(|why| panic!("{why}")))
    }

    /// Returns true if the running test is to leave the service out, and then prints a line by
    /// which the totals count the test as skipped.
    ///
    /// # Panics
    /// If [`Service::wanted`] fails.
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
            Service::S3Clients => &S3Clients,
            Service::LambdaRuntimes => &LambdaRuntimes,
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
            "there is no service named \"minoi\"; there are minio, moto, redis, dynamodb, s3-clients, lambda-runtimes, ceph, etcd, restate, powertools"
        );
    }
}
