//! Clients of S3 that nobody here wrote. They are not a server: the program is the Python.
//!
//! * In a virtual environment: boto3, the CRT and the command line of AWS (Apache-2.0), smart_open
//!   (MIT), PyArrow (Apache-2.0), and DuckDB with its extension `httpfs` (MIT).
//! * In a folder of their own, [`S3FS`]: s3fs (BSD-3-Clause) and what it needs, which is another
//!   botocore than boto3's.
//! * From npm, beside them: the JavaScript SDK of AWS (Apache-2.0).
//! * [`GO_PROGRAM`], the tests' program with the Go SDK of AWS (Apache-2.0).
//!
//! DuckDB downloads extensions from a host of its own. A wheel has the same file instead, and
//! DuckDB checks its makers' signature of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::service::Recipe;
use crate::tool::GoVersion;
use crate::{Error, Service, tool};

const VERSION: &str = "boto3 1.44.8, AWS CLI 1.46.3, SDK for JavaScript 3.1169.0, SDK for Go 1.114.10 of S3";
const PYTHON: [&str; 9] = [
    "--only-binary=:all:",
    "boto3==1.44.8",
    "botocore==1.44.8",
    "awscrt==0.34.1",
    "awscli==1.46.3",
    "smart_open==9.0.2",
    "pyarrow==26.0.1",
    "duckdb==1.5.5",
    "duckdb-extension-httpfs==1.5.5",
];
const OF_S3FS: [&str; 5] = [
    "--only-binary=:all:",
    "s3fs==2026.9.0",
    "fsspec==2026.9.0",
    "aiobotocore==3.10.0",
    "botocore==1.43.117",
];
const JAVASCRIPT: [&str; 2] = ["@aws-sdk/client-s3@3.1169.0", "@aws-sdk/s3-request-presigner@3.1169.0"];

/// The folder with s3fs, below the service's own.
const S3FS: &str = "s3fs";
/// The program with the Go SDK, below the service's folder.
const GO_PROGRAM: &str = "bin/go-clients";
/// The sources of that program: the stamp contains them, so that a change builds it again.
const GO_SOURCES: [&str; 3] = [
    include_str!("../../e2e/tests/s3_clients/go/go.mod"),
    include_str!("../../e2e/tests/s3_clients/go/go.sum"),
    include_str!("../../e2e/tests/s3_clients/go/main.go"),
];
/// The folder of those sources, below the one of this crate.
const GO_FOLDER: &str = "../e2e/tests/s3_clients/go";
/// The oldest version of Go that the SDK's go.mod allows.
const GO_MIN: GoVersion = (1, 24);

const WHY: &str = "the S3 endpoint is tested with SDKs of AWS and other clients";
const INSTALL: &str = "install python3 (3.10 or newer), python3-venv, Node >= 20 with npm, and Go >= 1.24";

/// The clients' recipe.
#[derive(Debug)]
pub(crate) struct S3Clients;

impl Recipe for S3Clients {
    /// Returns the packages, the sources and the place: a virtual environment contains its own
    /// path, so it has to be made again after a move.
    fn stamp(&self, directory: &Path) -> String {
        let packages = [&PYTHON[..], &OF_S3FS, &JAVASCRIPT].concat().join(" ");
        format!("{packages} in {}\n{}", directory.display(), GO_SOURCES.concat())
    }

    fn version(&self, _: &Path) -> String {
        VERSION.to_owned()
    }

    fn program(&self, directory: &Path) -> PathBuf {
        directory.join("bin/python")
    }

    fn make(&self, directory: &Path, say: &dyn Fn(&str)) -> Result<(), Error> {
        let service = Service::S3Clients;
        tool::require_go(service, GO_MIN, WHY, INSTALL)?;
        if tool::ask("npm", &["--version"]).is_none() {
            let what = "npm is not installed".to_owned();
            return Err(Error::Tool { service, what, why: WHY, install: INSTALL });
        }
        tool::make_python(service, directory, &PYTHON, WHY, INSTALL, say)?;
        tool::add_python(service, directory, S3FS, &OF_S3FS, say)?;
        let place = format!("--prefix={}", directory.display());
        let quietly = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--save-exact"];
        let arguments = [&["install", &place][..], &quietly, &JAVASCRIPT].concat();
        tool::run(service, Path::new("npm"), &arguments, &[], say)?;
        // go.sum has the checksum of each module: the proxy cannot give others.
        let from = format!("-C={}", Path::new(env!("CARGO_MANIFEST_DIR")).join(GO_FOLDER).display());
        let to = format!("-o={}", directory.join(GO_PROGRAM).display());
        let environment = [
            ("CGO_ENABLED", Path::new("0")),
            ("GOTOOLCHAIN", Path::new("local")),
            ("GOWORK", Path::new("off")),
        ];
        let arguments = ["build", &from, "-v", "-mod=readonly", "-trimpath", "-ldflags=-s -w", &to, "."];
        tool::run_go(service, &arguments, &environment, say)
    }

    fn serve(&self, _: &mut Command, _: &Path, _: u16) {
        panic!("the clients are not a server and cannot be started; use `Service::program`")
    }

    fn answers(&self, _: u16) -> bool {
        panic!("the clients are not a server")
    }

    fn store_url(&self, _: u16) -> String {
        panic!("the clients are not a server")
    }
}
