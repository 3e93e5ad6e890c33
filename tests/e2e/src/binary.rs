//! The binary `aft`: finds it, and runs one of its commands to the end.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The longest time that a command may run unless a test sets another: far above what any command
/// takes, on a machine that is shared.
const RUN_TIME_MAX: Duration = Duration::from_secs(120);

/// Returns the path of the binary: `AFT_BIN`, or the one that cargo put beside the test programs.
///
/// # Panics
/// If there is no such file; the message says what to do.
pub fn aft() -> PathBuf {
    if let Some(path) = std::env::var_os("AFT_BIN") {
        let path = PathBuf::from(path);
        assert!(
            path.is_file(),
            "AFT_BIN names {}, which does not exist or is not a file; build it, or unset AFT_BIN",
            path.display()
        );
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

/// The result of a command that has ended.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The text that it wrote to standard output.
    pub stdout: String,
    /// The text that it wrote to standard error.
    pub stderr: String,
}

impl Ran {
    /// Returns standard output as one JSON value.
    ///
    /// # Panics
    /// If the command failed, or its output is not JSON.
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, Some(0), "{self:#?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|why| panic!("not JSON ({why}): {self:#?}"))
    }

    /// Asserts that the command rejected its input: it ended by itself with an exit code other than
    /// 0, did not panic, and its output contains all of `words`.
    ///
    /// # Panics
    /// If one of these does not hold.
    pub fn assert_refused(&self, words: &[&str]) {
        let said = format!("{}{}", self.stdout, self.stderr);
        assert!(
            self.code.is_some_and(|code| code != 0),
            "expected the command to fail with an exit code: {self:#?}"
        );
        assert!(!said.contains("panicked"), "expected an error message and found a panic: {self:#?}");
        for word in words {
            assert!(said.contains(word), "expected the word {word:?}: {self:#?}");
        }
    }
}

/// Runs `aft` with `arguments` to its end.
///
/// # Panics
/// If it cannot be started or does not end in time.
pub fn run<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Ran {
    finish(command(arguments).stdin(Stdio::null()), RUN_TIME_MAX)
}

/// Runs `aft` with `arguments`, and with `environment` added to its environment, to its end.
///
/// # Panics
/// If it cannot be started or does not end in time.
pub fn run_in<S: AsRef<std::ffi::OsStr>>(arguments: &[S], environment: &[(&str, &str)]) -> Ran {
    finish(command(arguments).envs(environment.iter().copied()).stdin(Stdio::null()), RUN_TIME_MAX)
}

/// Runs `command` to its end.
///
/// # Panics
/// If it cannot be started or does not end within `time_max`.
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

/// Returns a command that runs `aft` with `arguments`, no settings in its environment, and its
/// output piped.
pub fn command<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(aft());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AFT_") {
            command.env_remove(name);
        }
    }
    // Keeps it from reading a settings file in the folder in which the tests run.
    command.current_dir(std::env::temp_dir());
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Returns true if `AFT_SKIP_SERVICES` has this name. The test then counts as skipped.
pub fn is_skipped(name: &str) -> bool {
    let skipped = std::env::var("AFT_SKIP_SERVICES").unwrap_or_default();
    let skipped = skipped.split(',').any(|other| other.trim() == name);
    if skipped {
        let thread = std::thread::current();
        let line = format!("skipped: {}: {name} (AFT_SKIP_SERVICES)\n", thread.name().unwrap_or("a test"));
        let mut out = std::io::stdout().lock();
        // Not `println!`, whose output the test harness captures while the test passes; `cargo
        // xtask test` counts the line.
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
    skipped
}

/// Waits for a child's end; none if it still runs after `at_most`.
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
        // The output before an error is worth showing; the error itself (a closed pipe) adds
        // nothing.
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
