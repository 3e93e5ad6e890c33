//! The binary `aft`: where it is, and a run of one command to its end.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a command may run unless a test says otherwise: far above what any takes, on a machine that is shared.
const RUN_TIME_MAX: Duration = Duration::from_secs(120);

/// The binary: `AFT_BIN`, or the one that cargo put beside the test programs.
///
/// # Panics
/// If there is none, with what to do about it.
pub fn aft() -> PathBuf {
    if let Some(path) = std::env::var_os("AFT_BIN") {
        let path = PathBuf::from(path);
        assert!(path.is_file(), "AFT_BIN names {}, and there is no such file", path.display());
        return path;
    }
    let this = std::env::current_exe().expect("a test program knows where it is");
    // target/PROFILE/deps/this → target/PROFILE/aft
    let path =
        this.parent().and_then(Path::parent).expect("cargo puts tests into target/PROFILE/deps").join("aft");
    assert!(
        path.is_file(),
        "{} is missing: build it with `cargo build --locked --package aft`, or run everything with `cargo xtask test`",
        path.display()
    );
    path
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Ran {
    /// Standard output as one JSON value.
    ///
    /// # Panics
    /// If it is none, or the command failed.
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, Some(0), "{self:#?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|why| panic!("not JSON ({why}): {self:#?}"))
    }

    /// Asserts that the command refused: it ended by itself, with another code than 0, and says every one of `words`, without a panic.
    ///
    /// # Panics
    /// If it did not.
    pub fn assert_refused(&self, words: &[&str]) {
        let said = format!("{}{}", self.stdout, self.stderr);
        assert!(self.code.is_some_and(|code| code != 0), "expected a refusal: {self:#?}");
        assert!(!said.contains("panicked"), "a refusal is no panic: {self:#?}");
        for word in words {
            assert!(said.contains(word), "expected the word {word:?}: {self:#?}");
        }
    }
}

/// Runs `aft` with these arguments to its end.
///
/// # Panics
/// If it cannot be started or does not end in time.
pub fn run<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Ran {
    finish(command(arguments).stdin(Stdio::null()), RUN_TIME_MAX)
}

/// The same with more in its environment.
///
/// # Panics
/// If it does not end in time.
pub fn run_in<S: AsRef<std::ffi::OsStr>>(arguments: &[S], environment: &[(&str, &str)]) -> Ran {
    finish(command(arguments).envs(environment.iter().copied()).stdin(Stdio::null()), RUN_TIME_MAX)
}

/// Runs any command to its end, which must come within `time_max`.
///
/// # Panics
/// If it cannot be started or does not end in time.
pub fn finish(command: &mut Command, time_max: Duration) -> Ran {
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let stdout = collect(child.stdout.take().expect("piped"));
    let stderr = collect(child.stderr.take().expect("piped"));
    let code = wait(&mut child, time_max);
    let ran = |code| Ran {
        code,
        stdout: stdout.join().expect("the reader does not panic"),
        stderr: stderr.join().expect("the reader does not panic"),
    };
    match code {
        Some(status) => ran(status.code()),
        None => {
            child.kill().and_then(|()| child.wait()).expect("a child can be killed");
            panic!("still running after {time_max:?}: {:#?}", ran(None))
        }
    }
}

/// `aft` with these arguments, an environment without settings, and its output piped.
pub fn command<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(aft());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AFT_") {
            command.env_remove(name);
        }
    }
    // No settings file of the folder that the tests run in.
    command.current_dir(std::env::temp_dir());
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits for a child's end, at most so long.
///
/// # Panics
/// If it cannot be waited for.
pub fn wait(child: &mut Child, at_most: Duration) -> Option<std::process::ExitStatus> {
    let deadline = Instant::now() + at_most;
    loop {
        match child.try_wait().expect("a child can be waited for") {
            Some(status) => return Some(status),
            None if Instant::now() >= deadline => return None,
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is worth showing; the error itself (a closed pipe) tells nothing.
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
