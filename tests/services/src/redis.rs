//! Redis (BSD-3-Clause up to 7.2): Debian's, either as installed, or from packages that are
//! unpacked into the home without root.
//!
//! One server with an append-only file, fsynced before each answer: acknowledged writes survive a
//! SIGKILL, and would survive a crash of the machine.
//!
//! Traps:
//! * Debian's `redis-tools` holds the server too: `redis-check-rdb` is the same program, which acts
//!   by the name under which it is run. The package `redis-server` adds a daemon, which is not
//!   wanted here.
//! * Since 7.4 Redis has another licence. Valkey continues under the old one, and is in Debian from
//!   13 on.
//! * While it reads its file it accepts connections, and answers `LOADING` to nearly everything.

use std::fs::{self, Permissions};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::service::Recipe;
use crate::{Error, Service, tool};

/// The names under which the program may be installed.
const INSTALLED: [&str; 2] = ["redis-server", "redis-check-rdb"];

/// Fetches the packages and unpacks them below the directory `$1`: the program, and the libraries
/// that not every machine has.
const UNPACK: &str = r#"
set -e
cd "$1"
apt-get -q download redis-tools libjemalloc2 liblzf1 libatomic1
for package in *.deb; do dpkg-deb -x "$package" root; rm "$package"; done
"#;

/// Starts the unpacked program, under the name that makes it a server.
const SCRIPT: &str = r#"#!/bin/sh
here=$(dirname "$(readlink -f "$0")")/root/usr
LD_LIBRARY_PATH=$(echo "$here"/lib/*-linux-gnu*) exec "$here/bin/redis-server" "$@"
"#;

const WHY: &str = "Redis is run from Debian's packages";
const INSTALL: &str =
    "apt-get install --no-install-recommends redis-tools (which holds the server, and starts nothing)";

/// The longest time for which the server may be silent: long for a busy machine, short compared
/// with the deadline of a start.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Redis's recipe.
#[derive(Debug)]
pub(crate) struct Redis;

impl Recipe for Redis {
    fn stamp(&self, _: &Path) -> String {
        format!("redis-tools\n{SCRIPT}")
    }

    fn version(&self, directory: &Path) -> String {
        let said = self.program(directory).to_str().and_then(|program| tool::ask(program, &["--version"]));
        let version = said.as_deref().and_then(|said| said.split("v=").nth(1)?.split(' ').next());
        version.unwrap_or("of unknown version").to_owned()
    }

    fn program(&self, directory: &Path) -> PathBuf {
        directory.join("redis-server")
    }

    fn make(&self, directory: &Path, say: &dyn Fn(&str)) -> Result<(), Error> {
        let program = self.program(directory);
        let cannot = || format!("cannot make {}", program.display());
        // The name decides what the program does: an installed one is linked to as `redis-server`.
        if let Some(installed) = INSTALLED.into_iter().find_map(installed) {
            symlink(installed, &program).map_err(Error::io(cannot()))?;
        } else {
            if tool::ask("apt-get", &["--version"]).is_none() {
                let what = "neither redis-server nor apt-get is installed".to_owned();
                return Err(Error::Tool { service: Service::Redis, what, why: WHY, install: INSTALL });
            }
            let place = directory.display().to_string();
            tool::run(Service::Redis, Path::new("/bin/sh"), &["-c", UNPACK, "unpack", &place], &[], say)?;
            let bin = directory.join("root/usr/bin");
            symlink("redis-check-rdb", bin.join("redis-server"))
                .and_then(|()| fs::write(&program, SCRIPT))
                .and_then(|()| fs::set_permissions(&program, Permissions::from_mode(0o755)))
                .map_err(Error::io(cannot()))?;
        }
        // A package that unpacks may still lack a library here: start it once.
        match Command::new(&program).arg("--version").output() {
            Ok(output) if output.stdout.starts_with(b"Redis server v=") => Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let what = format!("redis-server does not start here ({})", said.trim());
                Err(Error::Tool { service: Service::Redis, what, why: WHY, install: INSTALL })
            }
            Err(why) => Err(Error::io(format!("cannot start {}", program.display()))(why)),
        }
    }

    fn serve(&self, command: &mut Command, data: &Path, port: u16) {
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no"]);
        command.arg("--dir").arg(data);
        // No snapshots beside the file: a restart finds exactly what was fsynced.
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
    }

    fn answers(&self, port: u16) -> bool {
        ping(port).is_ok_and(|answer| answer == "+PONG\r\n")
    }

    fn store_url(&self, port: u16) -> String {
        format!("redis://127.0.0.1:{port}/aft")
    }
}

/// Sends `PING` in Redis's inline protocol, and returns the line that is answered.
fn ping(port: u16) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), SILENCE_MAX)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while answer.last() != Some(&b'\n') && stream.read(&mut byte)? == 1 {
        answer.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Returns the path of the program `name` if it is on the search path.
fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|program| program.is_file())
}
