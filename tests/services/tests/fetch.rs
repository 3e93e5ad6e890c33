//! Goal: a service is made once, by one process, completely or not at all; and a missing tool or
//! service is reported with what to do. Method: the program against an empty home and a search path
//! with the test's own tools: shell scripts that behave as `go` does.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aft_services::Service;
use tempfile::TempDir;

/// A home to fetch to, and a search path.
struct Place {
    root: TempDir,
}

impl Place {
    fn new() -> Place {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(root.path().join("bin")).expect("a directory");
        Place { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Puts a script on the search path.
    fn tool(&self, name: &str, script: &str) -> &Place {
        let path = self.path("bin").join(name);
        std::fs::write(&path, format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its owner may");
        self
    }

    /// Puts a `go` of this `version` on the search path; `install` is the script of its `go
    /// install`.
    fn go(&self, version: &str, install: &str) -> &Place {
        self.tool("go", &format!("[ \"$1\" = env ] && {{ echo {version}; exit; }}\n{install}"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aft-services"));
        command
            .args(arguments)
            .env("PATH", self.path("bin"))
            .env("AFT_SERVICES_DIR", self.path("services"))
            .env_remove("AFT_SKIP_SERVICES")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the program and checks that it succeeds or fails, and that its output contains all of
    /// `words`.
    fn check(&self, arguments: &[&str], ok: bool, words: &[&str]) {
        check(self.command(arguments), ok, words);
    }
}

fn check(mut command: Command, ok: bool, words: &[&str]) {
    let output = command.output().expect("the program starts");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.success(), ok, "{said}");
    assert!(output.status.code().is_some(), "ended by a signal ({}): {said}", output.status);
    for word in words {
        assert!(said.contains(word), "expected {word:?} in: {said}");
    }
}

/// A successful `go install`.
const GOOD: &str = "echo made >> \"$GOBIN/../made\"; echo '#!/bin/sh' > \"$GOBIN/minio\"";

#[test]
fn a_missing_tool_is_named_with_what_to_do() {
    let place = Place::new();
    let go = "MinIO is built from source by `go install`; install Go >= 1.24, or set AFT_SKIP_SERVICES=minio";
    place.check(&["--fetch", "minio"], false, &["go is not installed", go]);
    place.go("go1.19", GOOD).check(&["--fetch", "minio"], false, &["go1.19 is too old", go]);
    let go = "etcd is built from source by `go build`; install Go >= 1.26, or set AFT_SKIP_SERVICES=etcd";
    place.check(&["--fetch", "etcd"], false, &["go1.19 is too old", go]);
    let node = "install Node >= 20 with npm, on Linux, or set AFT_SKIP_SERVICES=restate";
    place.check(&["--fetch", "restate"], false, &["node is not installed", node]);
    place.tool("node", "echo v18.2.0").check(&["--fetch", "restate"], false, &["v18.2.0 is too old", node]);
    place.tool("node", "echo v22.2.0").check(&["--fetch", "restate"], false, &["npm is not installed", node]);
    place.check(&["--fetch", "powertools"], false, &["python3 is not installed", "python3-venv"]);
    let python = "install python3 and python3-venv, or set AFT_SKIP_SERVICES=moto";
    place.check(&["--fetch", "moto"], false, &["python3 is not installed", python]);
    place.tool("python3", "[ \"$1\" = --version ]");
    place.check(&["--fetch", "moto"], false, &["python3 lacks the module venv or ensurepip", python]);
    let java = "DynamoDB Local is a Java program, fetched by Maven and started by Python in a network namespace; apt-get install --no-install-recommends default-jre-headless maven python3 util-linux, or set AFT_SKIP_SERVICES=dynamodb";
    place.check(&["--fetch", "dynamodb"], false, &["java is not installed", java]);
    place.tool("java", "").tool("mvn", "").tool("unshare", "[ \"$1\" = --version ]");
    // A python3 whose interpreter fails at everything.
    place.tool("python3", "echo /bin/false");
    let namespace =
        ["no network namespace can be made", "user namespaces", "or set AFT_SKIP_SERVICES=dynamodb"];
    place.check(&["--fetch", "dynamodb"], false, &namespace);
    place.tool("python3", "[ \"$1\" = --version ]");
    let ceph = "Ceph is run from Debian's packages; apt-get install --no-install-recommends radosgw ceph-mon ceph-osd ceph-common ceph-base, or set AFT_SKIP_SERVICES=ceph";
    place.check(&["--fetch", "ceph"], false, &["radosgw is not installed", ceph]);
    // A service that cannot be made does not keep the others from being made, and every failure is
    // reported.
    place.go("go1.24.0", GOOD).check(&["--fetch"], false, &["minio: made in", "python3 lacks"]);
    place.check(
        &["--fetch", "minoi"],
        false,
        &["there are minio, moto, redis, dynamodb, s3-clients, lambda-runtimes, ceph"],
    );
}

#[test]
fn a_complete_service_is_not_made_again() {
    let place = Place::new();
    place.go("go1.26.8", GOOD);
    place.check(&["--fetch", "minio"], true, &["minio: go install", "minio: made in"]);
    // Without the tool: it is not needed any more.
    std::fs::remove_file(place.path("bin/go")).expect("it is there");
    let start = Instant::now();
    place.check(&["--fetch", "minio"], true, &["minio: is in"]);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    // A service with another stamp or without its program is made again, and the remains of a
    // failed attempt are removed.
    place.go("go1.26.8", GOOD);
    for spoil in [
        |stamp: &Path| std::fs::write(stamp, "an older version"),
        |stamp: &Path| std::fs::remove_file(stamp),
        |stamp: &Path| std::fs::remove_file(stamp.with_file_name("minio")),
    ] {
        let rest = place.path("services/minio/rest");
        std::fs::write(&rest, "").expect("a file");
        spoil(&place.path("services/minio/stamp")).expect("it is there");
        place.check(&["--fetch", "minio"], true, &["minio: made in"]);
        assert!(!rest.exists());
    }
}

#[test]
fn a_tool_that_fails_is_quoted() {
    let place = Place::new();
    place.go("go1.24.8", "echo one; echo the proxy is away >&2; exit 3");
    let words = ["`go install", "failed (exit status: 3)", "    one\n", "    the proxy is away\n"];
    place.check(&["--fetch", "minio"], false, &words);
    // The failed attempt does not count as made.
    place.check(&["--fetch", "minio"], false, &words);
}

#[test]
fn two_processes_at_once_make_a_service_once() {
    let place = Place::new();
    place.go("go1.24.8", &format!("sleep 1; {GOOD}"));
    let run = || place.command(&["--fetch", "minio"]).spawn().expect("the program starts");
    let outputs = [run(), run()].map(|child| child.wait_with_output().expect("it ends"));
    assert!(outputs.iter().all(|output| output.status.success()), "{outputs:?}");
    assert_eq!(std::fs::read_to_string(place.path("services/made")).expect("made"), "made\n");
}

/// Runs in a process of its own when the test below starts it, and also as an ordinary test.
#[test]
fn a_started_service_answers() {
    let Some(server) = Service::Moto.start_or_skip() else { return };
    assert!(server.answers());
}

#[test]
fn a_test_is_skipped_only_on_demand_and_says_so() {
    let place = Place::new();
    let test = |skip: &str| {
        let mut command = Command::new(std::env::current_exe().expect("a test program knows where it is"));
        command
            .args(["--exact", "a_started_service_answers"])
            .env("AFT_SERVICES_DIR", place.path("services"))
            .env("AFT_SKIP_SERVICES", skip);
        command
    };
    let line = "skipped: a_started_service_answers: moto (AFT_SKIP_SERVICES)\n";
    check(test("minio, moto"), true, &[line, "1 passed"]);
    // Without the skip, and with a misspelt one, the test fails instead.
    let unfetched =
        ["moto is not in", "run `cargo xtask services --fetch moto` first", "set AFT_SKIP_SERVICES=moto"];
    for skip in ["", "minio"] {
        check(test(skip), false, &unfetched);
    }
    check(test("mooto"), false, &["AFT_SKIP_SERVICES: there is no service named \"mooto\""]);

    // The program leaves the same services out, and says so.
    let mut all = place.command(&["--fetch"]);
    all.env("AFT_SKIP_SERVICES", "minio,moto,redis,dynamodb,s3-clients,lambda-runtimes");
    check(
        all,
        true,
        &[
            "minio: skipped (AFT_SKIP_SERVICES)",
            "moto: skipped (AFT_SKIP_SERVICES)",
            "redis: skipped (AFT_SKIP_SERVICES)",
            "dynamodb: skipped (AFT_SKIP_SERVICES)",
            "s3-clients: skipped (AFT_SKIP_SERVICES)",
            "lambda-runtimes: skipped (AFT_SKIP_SERVICES)",
        ],
    );
}
