//! Restate, a server for durable execution (BSL-1.1), and its SDK for Node (MIT): installed with
//! npm, and run as separate programs by the figures alone.
//!
//! One node with its usual settings: what it has acknowledged is in a log of its own that is
//! fsynced. Only the ingress has a port. What administers it is the socket `one/admin.sock` in its
//! data.
//!
//! Traps:
//! * One of the packages has a script that reports its installation: scripts are not run.
//! * The server tells its makers that it runs, unless it is asked not to. At its start it calls a
//!   host outside all the same, and does without the answer.
//! * The SDK uses `Promise.withResolvers`, which Node 20 does not have: who serves it there adds
//!   it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::service::Recipe;
use crate::{Error, Service, health, tool};

const VERSION: &str = "1.7.12";
const SDK_VERSION: &str = "1.17.2";
const SERVER: &str = "@restatedev/restate-server";
const SDK: &str = "@restatedev/restate-sdk";
/// The oldest Node that the SDK runs on.
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
        panic!("Restate: no store of AFT is on it")
    }
}

/// Returns the name that npm has for this kind of processor.
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
