//! moto, S3 and DynamoDB (and much more of AWS) in one Python process (Apache-2.0): installed with
//! pip into a virtual environment.
//!
//! Everything is in memory, so a restart loses it. No signature is checked. It supports more
//! conditional requests than other servers do.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::service::{Keys, Recipe};
use crate::{Error, Service, health, tool};

const PACKAGE: &str = "moto[server]==5.2.1";

const WHY: &str = "moto runs in a virtual environment of Python";
const INSTALL: &str = "install python3 and python3-venv";

/// Arbitrary keys: no signature is checked.
const KEYS: Keys = Keys { access: "aft-tests", secret: "aft-tests-secret" };

/// moto's recipe.
#[derive(Debug)]
pub(crate) struct Moto;

impl Recipe for Moto {
    /// Returns the version and the place: a virtual environment contains its own path, so it has to
    /// be made again after a move.
    fn stamp(&self, directory: &Path) -> String {
        format!("{PACKAGE} in {}\n", directory.display())
    }

    fn version(&self, _: &Path) -> String {
        PACKAGE.rsplit_once("==").map_or(PACKAGE, |(_, version)| version).to_owned()
    }

    fn program(&self, directory: &Path) -> PathBuf {
        directory.join("bin/python")
    }

    fn make(&self, directory: &Path, say: &dyn Fn(&str)) -> Result<(), Error> {
        tool::make_python(Service::Moto, directory, &[PACKAGE], WHY, INSTALL, say)
    }

    fn serve(&self, command: &mut Command, _: &Path, port: u16) {
        command.args(["-m", "moto.server", "--host", "127.0.0.1", "--port", &port.to_string()]);
    }

    fn answers(&self, port: u16) -> bool {
        health::is_ok(port, "/moto-api/")
    }

    fn create_bucket(&self, _: &Path, port: u16, name: &str) -> Result<(), Error> {
        let what = format!("make the bucket {name}");
        match health::status(port, "PUT", &format!("/{name}")) {
            Ok(200) => Ok(()),
            Ok(status) => Err(Error::Refused { service: Service::Moto, what, how: status.to_string() }),
            Err(why) => Err(Error::io(format!("cannot {what}"))(why)),
        }
    }

    fn keys(&self) -> Option<Keys> {
        Some(KEYS)
    }
}
