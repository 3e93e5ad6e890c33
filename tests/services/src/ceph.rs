//! Ceph's radosgw, an S3 server that shares no code with the others (LGPL): from Debian's packages,
//! on a cluster of one node.
//!
//! For the long tests only: it needs many packages, and a start takes ten seconds. The home holds
//! `ceph.sh`, which starts the monitor, the OSD and radosgw, and then execs radosgw: a signal to
//! the program reaches radosgw, and the other two end with it. It decides `If-None-Match: *`
//! atomically, and acknowledged writes survive a SIGKILL of all three.
//!
//! Traps of version 16.2 (Debian 12):
//! * `PUT` compares `If-Match` with the ETag without its quotes. With the quotes, which the
//!   standard requires, nothing ever matches and every answer is 412.
//! * `PUT` of an existing bucket answers 200 to its owner.
//! * The OSD opens its file with `O_DIRECT`, so the temporary directory must not be on a file
//!   system without it (such as an older tmpfs).
//! * A signature needs the header `x-amz-content-sha256`, which curl sends only on request.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::service::{Keys, Recipe};
use crate::{Error, Service, health, tool};

const SCRIPT: &str = include_str!("ceph.sh");

/// The programs that the script runs, except those that every Debian has.
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

    /// Checks that the packages are installed, and writes the script. It installs nothing: that is
    /// up to the machine's owner.
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

    /// Returns true if an anonymous listing of buckets answers 200. radosgw listens only once it
    /// has read its pools.
    fn answers(&self, port: u16) -> bool {
        health::is_ok(port, "/")
    }

    /// Creates the bucket with curl, which signs the request: anonymous callers may not create one.
    fn create_bucket(&self, _: &Path, port: u16, name: &str) -> Result<(), Error> {
        let what = format!("make the bucket {name}");
        let refused = |how| Err(Error::Refused { service: Service::Ceph, what: what.clone(), how });
        // radosgw answers 200 to the owner's second PUT, so an existing bucket has to be looked
        // for.
        match health::status(port, "GET", &format!("/{name}")) {
            Ok(404) => {}
            Ok(status) => return refused(format!("it already exists ({status})")),
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
