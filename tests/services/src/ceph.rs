//! Ceph's radosgw, an S3 server that shares no code with the others (LGPL): from Debian's packages, on a cluster of one node.
//!
//! For the long tests: its packages are many, and a start takes ten seconds. What is kept in the home is `ceph.sh`, which starts the
//! monitor, the OSD and radosgw, and becomes the last: a signal to the program is one to radosgw, and the others end with it. It decides
//! `If-None-Match: *` atomically, and what it has acknowledged survives a SIGKILL of all three.
//!
//! Traps of 16.2, Debian 12's:
//! * `PUT` compares `If-Match` with the ETag without its quotes; with them, as they belong there, nothing ever matches and all is 412.
//! * `PUT` of a bucket that is there answers 200 to its owner.
//! * The OSD opens its file with `O_DIRECT`: a temporary directory on a file system without that (an older tmpfs) will not do.
//! * A signature needs the header `x-amz-content-sha256`, which curl sends only if it is told to.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::service::{Keys, Recipe};
use crate::{Error, Service, health, tool};

const SCRIPT: &str = include_str!("ceph.sh");

/// What the script runs, but for what every Debian has.
const PROGRAMS: [&str; 7] =
    ["radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph", "ceph-authtool", "monmaptool"];

const WHY: &str = "Ceph is run from Debian's packages";
const INSTALL: &str =
    "apt-get install --no-install-recommends radosgw ceph-mon ceph-osd ceph-common ceph-base";

const KEYS: Keys = Keys { access: "aft-tests", secret: "aft-tests-secret" };

/// Ceph's recipe.
#[derive(Debug)]
pub(crate) struct Ceph;

impl Recipe for Ceph {
    fn stamp(&self, _: &Path) -> String {
        SCRIPT.to_owned()
    }

    fn version(&self, _: &Path) -> String {
        "16.2".to_owned()
    }

    fn program(&self, directory: &Path) -> PathBuf {
        directory.join("cluster")
    }

    /// Installs nothing: that is for whoever owns the machine.
    fn make(&self, directory: &Path, _: &dyn Fn(&str)) -> Result<(), Error> {
        let missing = PROGRAMS.into_iter().find(|program| tool::ask(program, &["--version"]).is_none());
        if let Some(missing) = missing {
            let what = format!("{missing} is not installed");
            return Err(Error::Tool { service: Service::Ceph, what, why: WHY, install: INSTALL });
        }
        let program = self.program(directory);
        fs::write(&program, SCRIPT)
            .and_then(|()| fs::set_permissions(&program, Permissions::from_mode(0o755)))
            .map_err(Error::io(format!("cannot write {}", program.display())))
    }

    fn serve(&self, command: &mut Command, data: &Path, port: u16) {
        command.arg(data).args([&port.to_string(), KEYS.access, KEYS.secret]);
    }

    /// A list of nobody's buckets. radosgw listens only when it has read its pools.
    fn answers(&self, port: u16) -> bool {
        health::is_ok(port, "/")
    }

    /// By curl, which signs: nobody without keys may make one.
    fn create_bucket(&self, _: &Path, port: u16, name: &str) -> Result<(), Error> {
        let what = format!("make the bucket {name}");
        let refused = |how| Err(Error::Refused { service: Service::Ceph, what: what.clone(), how });
        match health::status(port, "GET", &format!("/{name}")) {
            Ok(404) => {}
            Ok(status) => return refused(format!("it is there ({status})")),
            Err(why) => return Err(Error::io(format!("cannot {what}"))(why)),
        }
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--request", "PUT"])
            .args(["--aws-sigv4", "aws:amz:us-east-1:s3"])
            .args(["--user", &format!("{}:{}", KEYS.access, KEYS.secret)])
            .args(["--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"])
            .arg(format!("http://127.0.0.1:{port}/{name}"))
            .output()
            .map_err(Error::io("cannot start curl"))?;
        if output.status.success() {
            return Ok(());
        }
        refused(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    fn keys(&self) -> Option<Keys> {
        Some(KEYS)
    }
}
