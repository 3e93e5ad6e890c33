//! etcd, a replicated key-value store (Apache-2.0): built from source out of Go's modules, and run
//! as a separate program by the figures alone.
//!
//! One member, with its usual settings: what it has acknowledged is fsynced to its log.
//!
//! Traps:
//! * `go install MODULE@VERSION` refuses it, since its `go.mod` replaces modules by folders beside
//!   it. A module of ours that asks for it is built instead: replacements of others do not count.
//! * It always listens for other members. Port 0 lets the kernel choose, and nobody ever asks
//!   there.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::service::Recipe;
use crate::tool::GoVersion;
use crate::{Error, Service, health, tool};

const MODULE: &str = "go.etcd.io/etcd/server/v3";
const VERSION: &str = "v3.7.3";
/// The version of Go that its go.mod asks for.
const GO_MIN: GoVersion = (1, 26);
/// Without symbols and paths of this machine.
const FLAGS: [&str; 2] = ["-trimpath", "-ldflags=-s -w"];
/// The module that asks for it; `go get` adds what it needs, with sums.
const GO_MOD: &str = "module aft-tests/etcd\n\ngo 1.26\n";

const WHY: &str = "etcd is built from source by `go build`";
const INSTALL: &str = "install Go >= 1.26";

/// The address of who never comes: other members.
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
        let go = |arguments: &[&str]| tool::run(Service::Etcd, Path::new("go"), arguments, &environment, say);
        go(&["get", &at, &format!("{MODULE}@{VERSION}")])?;
        // -v names every package that is compiled: the only sign of life in the minute that this
        // takes.
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
