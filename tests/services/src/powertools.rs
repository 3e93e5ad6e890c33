//! Powertools for AWS Lambda (MIT-0) with boto3 (Apache-2.0): a Python library, installed with pip
//! into a virtual environment for the figures alone. It is not a server: its program is the Python
//! that runs functions.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::service::Recipe;
use crate::{Error, Service, tool};

const VERSION: &str = "3.37.0";
/// Every package with its version, so that two machines have the same.
const PACKAGES: [&str; 9] = [
    "aws-lambda-powertools==3.37.0",
    "boto3==1.44.8",
    "botocore==1.44.8",
    "jmespath==1.1.0",
    "python-dateutil==2.9.0.post0",
    "s3transfer==0.19.3",
    "six==1.17.0",
    "typing_extensions==4.16.0",
    "urllib3==2.8.0",
];

const WHY: &str = "Powertools runs in a virtual environment of Python";
const INSTALL: &str = "install python3 (3.10 or newer) and python3-venv";

/// Powertools' recipe.
#[derive(Debug)]
pub(crate) struct Powertools;

impl Recipe for Powertools {
    /// Returns the packages and the place: a virtual environment contains its own path, so it has
    /// to be made again after a move.
    fn stamp(&self, directory: &Path) -> String {
        format!("{} in {}\n", PACKAGES.join(" "), directory.display())
    }

    fn version(&self, _: &Path) -> String {
        VERSION.to_owned()
    }

    fn program(&self, directory: &Path) -> PathBuf {
        directory.join("bin/python")
    }

    fn make(&self, directory: &Path, say: &dyn Fn(&str)) -> Result<(), Error> {
        tool::make_python(Service::Powertools, directory, &PACKAGES, WHY, INSTALL, say)
    }

    fn serve(&self, _: &mut Command, _: &Path, _: u16) {
        panic!("Powertools is not a server and cannot be started; use `Service::program`")
    }

    fn answers(&self, _: u16) -> bool {
        panic!("Powertools is not a server")
    }

    fn store_url(&self, _: u16) -> String {
        panic!("Powertools is not a server")
    }
}
