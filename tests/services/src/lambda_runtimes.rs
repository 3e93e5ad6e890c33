//! The runtime clients of AWS Lambda, with the SDKs that handlers use. They are not a server: the
//! program is the Python.
//!
//! In a virtual environment: the runtime interface client for Python, boto3 (Apache-2.0), and
//! cfn-lint (MIT-0), which checks the template of `infra/sam`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::service::Recipe;
use crate::{Error, Service, tool};

const VERSION: &str = "awslambdaric 4.2.2, boto3 1.44.8, cfn-lint 1.51.0";
const PYTHON: [&str; 5] =
    ["--only-binary=:all:", "awslambdaric==4.2.2", "boto3==1.44.8", "botocore==1.44.8", "cfn-lint==1.51.0"];
const WHY: &str = "the Lambda layer is tested with the runtime clients of AWS";
const INSTALL: &str = "install python3 (3.10 or newer) and python3-venv";

/// The runtime clients' recipe.
#[derive(Debug)]
pub(crate) struct LambdaRuntimes;

impl Recipe for LambdaRuntimes {
    /// Returns the packages and the place: a virtual environment contains its own path, so it has
    /// to be made again after a move.
    fn stamp(&self, directory: &Path) -> String {
        format!("{} in {}", PYTHON.join(" "), directory.display())
    }

    fn version(&self, _: &Path) -> String {
        VERSION.to_owned()
    }

    fn program(&self, directory: &Path) -> PathBuf {
        directory.join("bin/python")
    }

    fn make(&self, directory: &Path, say: &dyn Fn(&str)) -> Result<(), Error> {
        tool::make_python(Service::LambdaRuntimes, directory, &PYTHON, WHY, INSTALL, say)
    }

    fn serve(&self, _: &mut Command, _: &Path, _: u16) {
        panic!("the runtime clients are not a server and cannot be started; use `Service::program`")
    }

    fn answers(&self, _: u16) -> bool {
        panic!("the runtime clients are not a server")
    }

    fn store_url(&self, _: u16) -> String {
        panic!("the runtime clients are not a server")
    }
}
