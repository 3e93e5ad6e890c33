//! MinIO, an S3 server (AGPL-3.0): built from source with `go install`, the only way that the
//! vendor offers, and run as a separate program by tests alone.
//!
//! One drive in a directory. It decides `If-None-Match: *` atomically, and acknowledged writes
//! survive a SIGKILL.
//!
//! Traps:
//! * It listens on `[::1]` as well as on the given `127.0.0.1`; nowhere else.
//! * `/minio/health/live` answers 200 before requests are served; `/minio/health/cluster` does not.
//! * Names are paths. While an object `k` exists, listings hide every `k/…`, although a get finds
//!   each of them. A part between slashes that is empty, `.`, `..`, or longer than 255 bytes is
//!   rejected with 400.
//! * `DELETE` ignores `If-Match`; `PUT` honours it.
//! * The check against drives on the root disk does not apply to a single drive, so `MINIO_CI_CD`,
//!   which would also change how deleted data is removed, is not needed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::service::{Keys, Recipe};
use crate::tool::GoVersion;
use crate::{Error, Service, health, tool};

/// The last version. The repository is archived, and its tags are not Go versions.
const MODULE: &str = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c";
/// Flags that leave symbols and this machine's paths out of the program.
const FLAGS: [&str; 2] = ["-trimpath", "-ldflags=-s -w"];
/// The oldest version of Go that its go.mod allows.
const GO_MIN: GoVersion = (1, 24);

const WHY: &str = "MinIO is built from source by `go install`";
const INSTALL: &str = "install Go >= 1.24";

/// Letters and digits alone, as DynamoDB Local wants them: tests use both with one pair.
const KEYS: Keys = Keys { access: "afttests", secret: "aft-tests-secret" };

/// MinIO's recipe.
#[derive(Debug)]
pub(crate) struct Minio;

impl Recipe for Minio {
    fn stamp(&self, _: &Path) -> String {
        format!("{MODULE} {}\n", FLAGS.join(" "))
    }

    fn version(&self, _: &Path) -> String {
        MODULE.rsplit_once('@').map_or(MODULE, |(_, version)| version).to_owned()
    }

    fn program(&self, directory: &Path) -> PathBuf {
        directory.join("minio")
    }

    fn make(&self, directory: &Path, say: &dyn Fn(&str)) -> Result<(), Error> {
        tool::require_go(Service::Minio, GO_MIN, WHY, INSTALL)?;
        // -v prints every package that is compiled: the only progress to be seen in the minutes
        // that this takes.
        let arguments = ["install", "-v", FLAGS[0], FLAGS[1], MODULE];
        let environment = [("GOBIN", directory), ("CGO_ENABLED", Path::new("0"))];
        tool::run_go(Service::Minio, &arguments, &environment, say)
    }

    fn serve(&self, command: &mut Command, data: &Path, port: u16) {
        command
            .args(["server", "--address", &format!("127.0.0.1:{port}")])
            .arg(drive(data))
            .env("MINIO_ROOT_USER", KEYS.access)
            .env("MINIO_ROOT_PASSWORD", KEYS.secret)
            .env("MINIO_BROWSER", "off")
            // Keeps the server from looking for a newer version of itself.
            .env("MINIO_UPDATE", "off");
    }

    fn answers(&self, port: u16) -> bool {
        health::is_ok(port, "/minio/health/cluster")
    }

    /// Creates the bucket: a folder on the server's drive is one.
    fn create_bucket(&self, data: &Path, _: u16, name: &str) -> Result<(), Error> {
        std::fs::create_dir(drive(data).join(name))
            .map_err(Error::io(format!("cannot make the bucket {name}")))
    }

    fn keys(&self) -> Option<Keys> {
        Some(KEYS)
    }
}

/// Returns the server's drive, a folder beside the files that it keeps in its home directory.
fn drive(data: &Path) -> PathBuf {
    data.join("drive")
}
