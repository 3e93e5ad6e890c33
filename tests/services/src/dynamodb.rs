//! DynamoDB Local, Amazon's own: fetched with Maven, and run as a separate program by tests alone.
//! Its licence forbids redistributing it or building it into anything, so no part of it is in this
//! repository.
//!
//! The home holds `dynamodb.py` beside the jars: it makes the socket at 127.0.0.1, enters a network
//! namespace, and execs java. The data is in files (SQLite), and acknowledged writes survive a
//! SIGKILL.
//!
//! Traps:
//! * It listens at every address of the machine and has no setting for that, which is why it runs
//!   in a namespace.
//! * It checks no signature, but an access key must consist of letters and digits.
//! * It answers 400 to a GET, as to every request that is not signed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::server::REGION;
use crate::service::{Keys, Recipe};
use crate::{Error, Service, health, tool};

const SCRIPT: &str = include_str!("dynamodb.py");

/// The version that Maven fetches, with all its dependencies.
const VERSION: &str = "2.6.1";
const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>aft</groupId>
  <artifactId>dynamodb-local</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>com.amazonaws</groupId>
      <artifactId>DynamoDBLocal</artifactId>
      <version>VERSION</version>
    </dependency>
  </dependencies>
</project>
"#;
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

const WHY: &str =
    "DynamoDB Local is a Java program, fetched by Maven and started by Python in a network namespace";
const INSTALL: &str = "apt-get install --no-install-recommends default-jre-headless maven python3 util-linux";
const INSTALL_NAMESPACE: &str = "run as root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1; a container needs CAP_SYS_ADMIN)";

/// A file system in memory that every Linux has; in a container it may be small.
const MEMORY: &str = "/dev/shm";
/// The free space that is required in [`MEMORY`]: far more than a test writes.
const MEMORY_BYTES_MIN: u64 = 1 << 30;

const KEYS: Keys = Keys { access: "afttests", secret: "afttestssecret" };

fn pom_text() -> String {
    POM.replace("VERSION", VERSION)
}

/// DynamoDB Local's recipe.
#[derive(Debug)]
pub(crate) struct DynamoDb;

impl Recipe for DynamoDb {
    fn stamp(&self, _: &Path) -> String {
        format!("{}{SCRIPT}", pom_text())
    }

    fn version(&self, _: &Path) -> String {
        VERSION.to_owned()
    }

    fn program(&self, directory: &Path) -> PathBuf {
        directory.join("server")
    }

    fn make(&self, directory: &Path, say: &dyn Fn(&str)) -> Result<(), Error> {
        let refused =
            |what: String, install| Err(Error::Tool { service: Service::DynamoDb, what, why: WHY, install });
        for (program, question) in [("java", "-version"), ("mvn", "--version"), ("unshare", "--version")] {
            if tool::ask(program, &[question]).is_none() {
                return refused(format!("{program} is not installed"), INSTALL);
            }
        }
        // The interpreter itself, not a wrapper that looks for it in the home of the user who runs
        // it.
        let Some(python) = tool::ask("python3", &["-c", "import sys; print(sys.executable)"]) else {
            return refused("python3 is not installed".to_owned(), INSTALL);
        };
        let (program, pom, jars) =
            (self.program(directory), directory.join("pom.xml"), directory.join("lib"));
        let write = |path: &Path, text: &str| {
            fs::write(path, text).map_err(Error::io(format!("cannot write {}", path.display())))
        };
        write(&pom, &pom_text())?;
        write(&program, &format!("#!{python}\n{SCRIPT}"))?;
        fs::set_permissions(&program, Permissions::from_mode(0o755))
            .map_err(Error::io(format!("cannot make {} a program", program.display())))?;
        // The script tries every way to make a namespace: better to fail here than at a test's
        // start.
        if tool::ask(&program.display().to_string(), &["check"]).is_none() {
            return refused("no network namespace can be made".to_owned(), INSTALL_NAMESPACE);
        }
        let (file, output) =
            (format!("--file={}", pom.display()), format!("-DoutputDirectory={}", jars.display()));
        let arguments = ["--batch-mode", &file, COPY, "-DincludeScope=runtime", &output];
        tool::run(Service::DynamoDb, Path::new("mvn"), &arguments, &[], say)
    }

    fn serve(&self, command: &mut Command, data: &Path, port: u16) {
        command.arg(data).arg(port.to_string());
    }

    /// Returns a directory in memory if there is enough room. The server syncs each write: about
    /// fifty a second on a disk, and four times as many in memory. A SIGKILL loses nothing in
    /// either place.
    fn data_root(&self) -> PathBuf {
        let room = rustix::fs::statvfs(MEMORY).is_ok_and(|fs| fs.f_bavail * fs.f_frsize >= MEMORY_BYTES_MIN);
        let writable = room && tempfile::tempfile_in(MEMORY).is_ok();
        if writable { PathBuf::from(MEMORY) } else { std::env::temp_dir() }
    }

    /// Returns true if an unsigned GET is answered 400, which a running server does.
    fn answers(&self, port: u16) -> bool {
        health::status(port, "GET", "/").is_ok_and(|status| status == 400)
    }

    fn keys(&self) -> Option<Keys> {
        Some(KEYS)
    }

    fn store_url(&self, port: u16) -> String {
        format!("dynamodb://aft?endpoint=http://127.0.0.1:{port}&region={REGION}")
    }
}
