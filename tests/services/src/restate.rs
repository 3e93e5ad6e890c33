//! Restate, a server for durable execution (BSL-1.1), and its SDK for Node (MIT): installed with
//! npm, and run as separate programs by the figures alone.
//!
//! One node with its default settings: an acknowledged write is in the node's own log, which is
//! fsynced. Only the ingress has a port. The admin interface is the socket `one/admin.sock` in the
//! data directory.
//!
//! Traps:
//! * One of the packages has a script that reports its installation, so npm runs no scripts.
//! * The server sends telemetry to its vendor unless that is disabled. At its start it calls an
//!   outside host all the same, and continues without an answer.
//! * The SDK uses `Promise.withResolvers`, which Node 20 does not have: code that runs the SDK on
//!   it has to add it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::service::Recipe;
use crate::{Error, Service, health, tool};

const VERSION: &str = "1.7.12";
const SDK_VERSION: &str = "1.17.2";
const SERVER: &str = "@restatedev/restate-server";
const SDK: &str = "@restatedev/restate-sdk";
/// The oldest version of Node on which the SDK runs.
const NODE_MIN: u32 = 20;

const WHY: &str = "Restate's server and its SDK are packages of npm";
const INSTALL: &str = "install Node >= 20 with npm, on Linux";

/// Restate's recipe.
#[derive(Debug)]
pub(crate) struct Restate;

impl Recipe for Restate {
    fn stamp(&self, _: &Path) -> String {
        format!("{SERVER}@{VERSION} {SDK}@{SDK_VERSION} on {}\n", machine())
    }

    fn version(&self, _: &Path) -> String {
        format!("{VERSION} (SDK {SDK_VERSION})")
    }

    fn program(&self, directory: &Path) -> PathBuf {
        directory.join(format!("node_modules/{SERVER}-linux-{}/bin/restate-server", machine()))
    }

    fn make(&self, directory: &Path, say: &dyn Fn(&str)) -> Result<(), Error> {
        let refused =
            |what: String| Err(Error::Tool { service: Service::Restate, what, why: WHY, install: INSTALL });
        let Some(said) = tool::ask("node", &["--version"]) else {
            return refused("node is not installed".to_owned());
        };
        if version(&said).is_none_or(|version| version < NODE_MIN) {
            return refused(format!("node {said} is too old"));
        }
        if tool::ask("npm", &["--version"]).is_none() {
            return refused("npm is not installed".to_owned());
        }
        let place = format!("--prefix={}", directory.display());
        let (server, sdk) = (format!("{SERVER}@{VERSION}"), format!("{SDK}@{SDK_VERSION}"));
        let arguments = [
            "install",
            &place,
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--no-update-notifier",
            "--save-exact",
            &server,
            &sdk,
        ];
        tool::run(Service::Restate, Path::new("npm"), &arguments, &[], say)?;
        // npm reports no error if there is no server for this architecture.
        match self.program(directory).is_file() {
            true => Ok(()),
            false => refused(format!("there is no server of Restate for {}", std::env::consts::ARCH)),
        }
    }

    fn serve(&self, command: &mut Command, data: &Path, port: u16) {
        command.args(["--no-logo", "--node-name", "one", "--log-filter", "warn"]);
        command.args(["--log-disable-ansi-codes", "true", "--base-dir"]).arg(data);
        command
            .env("RESTATE_LISTEN_MODE", "unix")
            .env("RESTATE_INGRESS__LISTEN_MODE", "tcp")
            .env("RESTATE_INGRESS__BIND_ADDRESS", format!("127.0.0.1:{port}"))
            .env("RESTATE_ADMIN__LISTEN_MODE", "unix")
            .env("RESTATE_ADMIN__DISABLE_WEB_UI", "true")
            .env("RESTATE_DISABLE_TELEMETRY", "true")
            .env("DO_NOT_TRACK", "1");
    }

    fn answers(&self, port: u16) -> bool {
        health::is_ok(port, "/restate/health")
    }

    fn store_url(&self, _: u16) -> String {
        panic!("Restate cannot hold a store of AFT")
    }
}

/// Returns npm's name for this machine's architecture.
fn machine() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Returns the first number of a version such as `v20.20.2`.
fn version(said: &str) -> Option<u32> {
    said.strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_are_read() {
        for (said, expect) in [("v20.20.2", Some(20)), ("v18.0.0", Some(18)), ("20", None), ("", None)] {
            assert_eq!(version(said), expect, "{said}");
        }
    }
}
