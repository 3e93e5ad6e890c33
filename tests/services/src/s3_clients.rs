//! Clients of S3 that nobody here wrote: boto3 and the CRT of AWS (Apache-2.0), installed with pip
//! into a virtual environment, and the JavaScript SDK of AWS (Apache-2.0), installed with npm
//! beside it. They are not a server: the program is the Python.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::service::Recipe;
use crate::{Error, Service, tool};

const VERSION: &str = "boto3 1.44.8, SDK for JavaScript 3.1169.0";
const PYTHON: [&str; 3] = ["boto3==1.44.8", "botocore==1.44.8", "awscrt==0.34.1"];
const JAVASCRIPT: [&str; 2] = ["@aws-sdk/client-s3@3.1169.0", "@aws-sdk/s3-request-presigner@3.1169.0"];

const WHY: &str = "the S3 endpoint is tested with boto3 and the JavaScript SDK of AWS";
const INSTALL: &str = "install python3 (3.10 or newer), python3-venv, and Node >= 20 with npm";

/// The clients' recipe.
#[derive(Debug)]
pub(crate) struct S3Clients;

impl Recipe for S3Clients {
    /// Returns the packages and the place: a virtual environment contains its own path, so it has
    /// to be made again after a move.
    fn stamp(&self, directory: &Path) -> String {
        format!("{} {} in {}\n", PYTHON.join(" "), JAVASCRIPT.join(" "), directory.display())
    }

    fn version(&self, _: &Path) -> String {
        VERSION.to_owned()
    }

    fn program(&self, directory: &Path) -> PathBuf {
        directory.join("bin/python")
    }

    fn make(&self, directory: &Path, say: &dyn Fn(&str)) -> Result<(), Error> {
        tool::make_python(Service::S3Clients, directory, &PYTHON, WHY, INSTALL, say)?;
        if tool::ask("npm", &["--version"]).is_none() {
            let what = "npm is not installed".to_owned();
            return Err(Error::Tool { service: Service::S3Clients, what, why: WHY, install: INSTALL });
        }
        let place = format!("--prefix={}", directory.display());
        let quietly = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--save-exact"];
        let arguments = [&["install", &place][..], &quietly, &JAVASCRIPT].concat();
        tool::run(Service::S3Clients, Path::new("npm"), &arguments, &[], say)
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
