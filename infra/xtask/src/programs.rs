//! The workspace's test programs: built by cargo, run here, several at a time.
//!
//! Cargo runs test programs one after another. Most of the long ones wait for real servers, for
//! timeouts and for killed processes, so that on a machine with two cores a run takes about half
//! the time if two programs run at once.
//!
//! A program writes to a file of its own in `target/test-output`, which can be read while it runs,
//! and which is printed in one piece at its end.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::step::{self, Outcome};
use crate::totals::Totals;

/// The number of programs that run at the same time. Each runs its tests one after the other, so
/// that the load is that of one program with two threads: a store that is killed and restarted
/// under more of it misses the time limits of its test.
const AT_ONCE: usize = 2;

/// The number of programs that the summary names with their times.
const LONGEST_SHOWN: usize = 15;

/// The programs that take longest, which start first: a long program that starts last runs alone.
/// Each is a package and a target.
const LONGEST: [(&str, &str); 13] = [
    ("aft-store-tests", "dynamodb"),
    ("aft-layer", "lambda"),
    ("aft-simulation", "small_worlds"),
    ("aft-e2e", "faults"),
    ("aft-e2e", "s3"),
    ("aft-e2e", "client"),
    ("aft-store-tests", "split"),
    ("aft-e2e", "kill"),
    ("aft-e2e", "large_values"),
    ("aft-e2e", "clients"),
    ("aft-store-tests", "conformance"),
    ("aft-e2e", "situations"),
    ("aft-e2e", "transfers"),
];

/// A test program that cargo has built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// The name of its package.
    package: String,
    /// The name of its target: that of the library, of the binary, or of a file in `tests/`.
    target: String,
    /// The file to run.
    path: PathBuf,
    /// The folder of its package, in which it runs.
    folder: PathBuf,
}

impl Program {
    /// Returns the program that a line of cargo's JSON messages tells of, if it tells of one.
    fn read(line: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(line).ok()?;
        if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
            return None;
        }
        let manifest = Path::new(message["manifest_path"].as_str()?);
        let folder = manifest.parent().expect("a manifest lies in a folder").to_owned();
        Some(Self {
            package: package(message["package_id"].as_str()?),
            target: message["target"]["name"].as_str()?.to_owned(),
            path: message["executable"].as_str()?.into(),
            folder,
        })
    }

    /// Returns where the program stands in the order of starting; smaller is earlier.
    fn rank(&self) -> usize {
        let is_this = |&(package, target): &(&str, &str)| package == self.package && target == self.target;
        LONGEST.iter().position(is_this).unwrap_or(LONGEST.len())
    }

    /// Returns the program's name for people.
    fn name(&self) -> String {
        format!("{} {}", self.package, self.target)
    }

    /// Runs the program to its end with its output in the file `output`, and returns whether it
    /// succeeded.
    fn run(&self, output: &Path) -> io::Result<bool> {
        let file = File::create(output)?;
        let status = Command::new(&self.path)
            .current_dir(&self.folder)
            .env("CARGO", std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .env("CARGO_MANIFEST_DIR", &self.folder)
            .env("RUST_TEST_THREADS", std::env::var_os("RUST_TEST_THREADS").unwrap_or_else(|| "1".into()))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .status()?;
        Ok(status.success())
    }
}

/// Returns a package's name from cargo's package ID: `path+file:///folder/name#0.1.0` or
/// `path+file:///folder#name@0.1.0`.
fn package(id: &str) -> String {
    let (before, after) = id.rsplit_once('#').unwrap_or((id, ""));
    match after.split_once('@') {
        Some((name, _version)) => name.to_owned(),
        None => before.rsplit('/').next().unwrap_or(before).to_owned(),
    }
}

/// Builds the workspace's test programs, and returns those that were built.
pub(crate) fn build() -> (Outcome, Vec<Program>) {
    let mut command = step::cargo(["test", "--workspace", "--locked", "--no-run", "--no-fail-fast"]);
    command.arg("--message-format=json-render-diagnostics");
    let mut programs = Vec::new();
    let outcome = step::read_lines("Build every test", command, |line| programs.extend(Program::read(line)));
    programs.sort_by_key(Program::rank);
    (outcome, programs)
}

/// Runs test programs, [`AT_ONCE`] at a time, and counts their tests in `totals`.
pub(crate) fn run(programs: Vec<Program>, totals: &mut Totals) -> Outcome {
    let folder = step::target().join("test-output");
    println!("\n=== Run every test: the output of what still runs is in {}", folder.display());
    let start = Instant::now();
    std::fs::create_dir_all(&folder).expect("a folder can be made in the target folder");
    let waiting = Mutex::new(programs.into_iter());
    let ended = Mutex::new(Ended { totals, times: Vec::new(), failed: Vec::new() });
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    // In a statement of its own, so that the lock is not held while a program runs.
                    let next = waiting.lock().expect("no thread panics here").next();
                    let Some(program) = next else { return };
                    let output = folder.join(format!("{}.txt", program.name().replace(' ', "-")));
                    let start = Instant::now();
                    let ok = program.run(&output);
                    ended.lock().expect("no thread panics here").add(&program, start.elapsed(), ok, &output);
                }
            });
        }
    });
    let Ended { times, failed, .. } = ended.into_inner().expect("no thread panics here");
    summarise(times, &failed);
    Outcome { title: "Run every test".to_owned(), ok: failed.is_empty(), took: start.elapsed() }
}

/// The programs that have ended.
struct Ended<'t> {
    totals: &'t mut Totals,
    /// The time that each program took, with its name.
    times: Vec<(Duration, String)>,
    /// The names of the programs that failed.
    failed: Vec<String>,
}

impl Ended<'_> {
    /// Adds a program that ended with the result `ok`, and prints its output.
    fn add(&mut self, program: &Program, took: Duration, ok: io::Result<bool>, output: &Path) {
        let name = program.name();
        println!("\n--- {name} ({:.1} s)", took.as_secs_f64());
        let printed = std::fs::read(output).unwrap_or_default();
        // A closed terminal is no reason to stop the tests: the exit status still reports the
        // result.
        let _ = io::stdout().write_all(&printed);
        for line in String::from_utf8_lossy(&printed).lines() {
            self.totals.read(line);
        }
        let ok = ok.unwrap_or_else(|error| {
            println!("cannot run {}: {error}", program.path.display());
            false
        });
        if !ok {
            self.failed.push(name.clone());
        }
        self.times.push((took, name));
    }
}

/// Prints the programs that took longest and those that failed.
fn summarise(mut times: Vec<(Duration, String)>, failed: &[String]) {
    times.sort_by(|a, b| b.cmp(a));
    println!("\n--- the longest of {} test programs", times.len());
    for (took, name) in times.iter().take(LONGEST_SHOWN) {
        println!("{:>7.1} s  {name}", took.as_secs_f64());
    }
    for name in failed {
        println!("FAILED: {name}: cargo test --package {}", name.replace(' ', " --test "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_program_is_read_from_its_message() {
        let line = r#"{"reason":"compiler-artifact","package_id":"path+file:///r/tests/e2e#aft-e2e@0.1.0",
            "manifest_path":"/r/tests/e2e/Cargo.toml","target":{"name":"serve"},"profile":{"test":true},
            "executable":"/r/target/debug/deps/serve-1"}"#;
        let program = Program::read(line).expect("it is a test program");
        assert_eq!(program.name(), "aft-e2e serve");
        assert_eq!(program.path, Path::new("/r/target/debug/deps/serve-1"));
        assert_eq!(program.folder, Path::new("/r/tests/e2e"));
    }

    #[test]
    fn other_messages_are_no_test_programs() {
        for line in [
            "",
            "not JSON",
            r#"{"reason":"build-finished","success":true}"#,
            r#"{"reason":"compiler-artifact","package_id":"path+file:///r/shim/server#aft@0.1.0",
                "manifest_path":"/r/shim/server/Cargo.toml","target":{"name":"aft"},
                "profile":{"test":false},"executable":"/r/target/debug/aft"}"#,
        ] {
            assert_eq!(Program::read(line), None, "{line}");
        }
    }

    #[test]
    fn a_package_has_its_own_name_or_that_of_its_folder() {
        assert_eq!(package("path+file:///r/shim/node#aft-node@0.1.0"), "aft-node");
        assert_eq!(package("path+file:///r/infra/xtask#0.1.0"), "xtask");
    }
}
