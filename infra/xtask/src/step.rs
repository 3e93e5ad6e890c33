//! One step of a task: a child process with a heading, whose output is passed on as it arrives.
//!
//! A step streams its output instead of capturing it, so a long build or test always shows what it
//! is doing.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// A step that ran to its end.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The step's heading.
    pub(crate) title: String,
    /// True if the step's process exited with status 0.
    pub(crate) ok: bool,
    /// The time that the step took.
    pub(crate) took: Duration,
}

impl Outcome {
    /// Returns the step's line in a summary.
    pub(crate) fn line(&self) -> String {
        let verdict = if self.ok { "ok" } else { "FAILED" };
        format!("{verdict:>8}  {:>7.1} s  {}", self.took.as_secs_f64(), self.title)
    }
}

/// Returns the workspace's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("infra/xtask lies two folders below the root").to_owned()
}

/// Returns the folder that cargo builds in.
pub(crate) fn target() -> PathBuf {
    root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// Returns a command that runs cargo with `arguments` in the workspace's root. It is the cargo that
/// runs this program, if there is one.
pub(crate) fn cargo<I: IntoIterator<Item: AsRef<OsStr>>>(arguments: I) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Runs a step; the child writes directly to this process's output.
pub(crate) fn run(title: &str, command: Command) -> Outcome {
    heading(title, &command);
    let start = Instant::now();
    let ok = status(command);
    Outcome { title: title.to_owned(), ok, took: start.elapsed() }
}

/// A step that runs beside others.
#[derive(Debug)]
pub(crate) struct Running {
    title: String,
    child: std::io::Result<Child>,
    start: Instant,
}

/// Starts a step that runs beside others; the child writes directly to this process's output.
pub(crate) fn start(title: &str, mut command: Command) -> Running {
    heading(title, &command);
    let child = command.stdin(Stdio::null()).spawn();
    if let Err(error) = &child {
        cannot_start(&command, error);
    }
    Running { title: title.to_owned(), child, start: Instant::now() }
}

impl Running {
    /// Waits for the step's end. Its time includes that of the steps beside it.
    pub(crate) fn finish(self) -> Outcome {
        let ok = self.child.and_then(|mut child| child.wait()).is_ok_and(|status| status.success());
        Outcome { title: self.title, ok, took: self.start.elapsed() }
    }
}

/// Replaces this process with `command`; returns only if the command cannot be started.
pub(crate) fn replace(title: &str, mut command: Command) -> ExitCode {
    heading(title, &command);
    let error = command.exec();
    cannot_start(&command, &error);
    ExitCode::FAILURE
}

/// Runs a step and calls `each_line` with every line of its standard output, which is not passed
/// on.
pub(crate) fn read_lines(title: &str, mut command: Command, mut each_line: impl FnMut(&str)) -> Outcome {
    heading(title, &command);
    let start = Instant::now();
    let ok = match command.stdout(Stdio::piped()).spawn() {
        Err(error) => cannot_start(&command, &error),
        Ok(mut child) => {
            let lines = BufReader::new(child.stdout.take().expect("its standard output was piped"));
            for line in lines.lines().map_while(Result::ok) {
                each_line(&line);
            }
            child.wait().is_ok_and(|status| status.success())
        }
    };
    Outcome { title: title.to_owned(), ok, took: start.elapsed() }
}

fn status(mut command: Command) -> bool {
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => cannot_start(&command, &error),
    }
}

fn cannot_start(command: &Command, error: &std::io::Error) -> bool {
    eprintln!("cannot start {}: {error}", command.get_program().to_string_lossy());
    false
}

fn heading(title: &str, command: &Command) {
    let program = Path::new(command.get_program()).file_stem().unwrap_or_default().to_string_lossy();
    let arguments: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    println!("\n=== {title}: {program} {}", arguments.join(" "));
}
