//! etcd, a replicated key-value store (Apache-2.0): built from source as a Go module, and run as a
//! separate program by the figures alone.
//!
//! One member with its default settings: an acknowledged write is fsynced to its log.
//!
//! Traps:
//! * `go install MODULE@VERSION` rejects it, because its `go.mod` replaces modules by folders
//!   beside it. A module of ours that requires it is built instead: replacements in dependencies do
//!   not count.
//! * It always listens for other members. With port 0 the kernel chooses a port, which no test ever
//!   uses.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::service::Recipe;
use crate::tool::GoVersion;
use crate::{Error, Service, health, tool};

const MODULE: &str = "go.etcd.io/etcd/server/v3";
const VERSION: &str = "v3.7.3";
/// The oldest version of Go that its go.mod allows.
const GO_MIN: GoVersion = (1, 26);
/// Flags that leave symbols and this machine's paths out of the program.
const FLAGS: [&str; 2] = ["-trimpath", "-ldflags=-s -w"];
/// The module that requires it; `go get` adds the dependencies, with their checksums.
const GO_MOD: &str = "module aft-tests/etcd\n\ngo 1.26\n";

const WHY: &str = "etcd is built from source by `go build`";
const INSTALL: &str = "install Go >= 1.26";

/// The address for other members, which never connect.
const NO_PEERS: &str = "http://127.0.0.1:0";
const NAME: &str = "one";

/// etcd's recipe.
#[derive(Debug)]
pub(crate) struct Etcd;

impl Recipe for Etcd {
    fn stamp(&self, _: &Path) -> String {
        format!("{MODULE}@{VERSION} {}\n", FLAGS.join(" "))
    }

    fn version(&self, _: &Path) -> String {
        VERSION.to_owned()
    }

    fn program(&self, directory: &Path) -> PathBuf {
        directory.join("etcd")
    }

    fn make(&self, directory: &Path, say: &dyn Fn(&str)) -> Result<(), Error> {
        tool::require_go(Service::Etcd, GO_MIN, WHY, INSTALL)?;
        let module = directory.join("go.mod");
        std::fs::write(&module, GO_MOD).map_err(Error::io(format!("cannot write {}", module.display())))?;
        let at = format!("-C={}", directory.display());
        let environment = [
            ("CGO_ENABLED", Path::new("0")),
            ("GOTOOLCHAIN", Path::new("local")),
            ("GOWORK", Path::new("off")),
        ];
        let go = |arguments: &[&str]| tool::run_go(Service::Etcd, arguments, &environment, say);
        go(&["get", &at, &format!("{MODULE}@{VERSION}")])?;
        // -v prints every package that is compiled: the only progress to be seen in the minute that
        // this takes.
        go(&["build", &at, "-v", FLAGS[0], FLAGS[1], "-o=etcd", MODULE])
    }

    fn serve(&self, command: &mut Command, data: &Path, port: u16) {
        let clients = format!("http://127.0.0.1:{port}");
        command.args(["--name", NAME, "--log-level", "error", "--data-dir"]).arg(data.join("member"));
        command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
        command.args(["--listen-peer-urls", NO_PEERS, "--initial-advertise-peer-urls", NO_PEERS]);
        command.args(["--initial-cluster", &format!("{NAME}={NO_PEERS}")]);
    }

    fn answers(&self, port: u16) -> bool {
        health::is_ok(port, "/health")
    }

    fn store_url(&self, _: u16) -> String {
        panic!("etcd: no store of AFT is on it")
    }
}
