//! The programs that make services (go, python3): checked before they are needed, and run with a
//! line of progress now and then.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::log::Log;
use crate::supervised::{self, Supervised};
use crate::{Error, Service};

/// The pause between two lines of progress: short enough that a person keeps waiting.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// The number of characters of the tool's last line that are shown.
const PROGRESS_LEN_MAX: usize = 100;
/// The pause between two checks for the tool's end.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The longest time that a tool may run: many times what the longest takes on two shared cores. A
/// download that hangs must not hang the tests for ever.
const TIME_MAX: Duration = Duration::from_secs(30 * 60);

/// Runs `program` and returns its standard output; none if it cannot be started or fails.
pub(crate) fn ask(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The first two numbers of a version of Go.
pub(crate) type GoVersion = (u32, u32);

/// Checks that Go is installed.
///
/// # Errors
/// [`Error::Tool`] if it is not, or if it is older than `min`.
pub(crate) fn require_go(
    service: Service,
    min: GoVersion,
    why: &'static str,
    install: &'static str,
) -> Result<(), Error> {
    let refused = |what| Error::Tool { service, what, why, install };
    let said = ask("go", &["env", "GOVERSION"]).ok_or_else(|| refused("go is not installed".to_owned()))?;
    match go_version(&said) {
        Some(version) if version >= min => Ok(()),
        _ => Err(refused(format!("{said} is too old"))),
    }
}

/// Returns the first two numbers of a version such as `go1.24.8`.
fn go_version(said: &str) -> Option<GoVersion> {
    let mut numbers = said.strip_prefix("go")?.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Runs Go to its end. Its compiler may let its memory grow to five times what is in use before it
/// collects garbage: that is a sixth less processor time than with Go's default.
///
/// # Errors
/// [`Error::ToolFailed`] as [`run`] does.
pub(crate) fn run_go(
    service: Service,
    arguments: &[&str],
    environment: &[(&str, &Path)],
    say: &dyn Fn(&str),
) -> Result<(), Error> {
    let environment = [environment, &[("GOGC", Path::new("400"))]].concat();
    run(service, Path::new("go"), arguments, &environment, say)
}

/// Makes a virtual environment of Python in `directory`, with `packages`.
///
/// # Errors
/// [`Error::Tool`] if Python or a module that makes environments is missing; [`Error::ToolFailed`]
/// if a tool fails.
pub(crate) fn make_python(
    service: Service,
    directory: &Path,
    packages: &[&str],
    why: &'static str,
    install: &'static str,
    say: &dyn Fn(&str),
) -> Result<(), Error> {
    // Debian has python3 without the two modules that make a virtual environment.
    let what = match ask("python3", &["-c", "import venv, ensurepip"]) {
        Some(_) => None,
        None if ask("python3", &["--version"]).is_some() => {
            Some("python3 lacks the module venv or ensurepip")
        }
        None => Some("python3 is not installed"),
    };
    if let Some(what) = what {
        return Err(Error::Tool { service, what: what.to_owned(), why, install });
    }
    let path = directory.display().to_string();
    run(service, Path::new("python3"), &["-m", "venv", &path], &[], say)?;
    pip_install(service, directory, packages, say)
}

/// Adds `packages`, and what they need, to the virtual environment in `directory`, in its folder
/// `name`: for packages that need other versions than the environment has. Programs find them if
/// `PYTHONPATH` names the folder.
///
/// # Errors
/// [`Error::ToolFailed`] if pip fails.
pub(crate) fn add_python(
    service: Service,
    directory: &Path,
    name: &str,
    packages: &[&str],
    say: &dyn Fn(&str),
) -> Result<(), Error> {
    let target = format!("--target={}", directory.join(name).display());
    pip_install(service, directory, &[&[target.as_str()], packages].concat(), say)
}

/// Runs `pip install` in the virtual environment in `directory`.
fn pip_install(
    service: Service,
    directory: &Path,
    arguments: &[&str],
    say: &dyn Fn(&str),
) -> Result<(), Error> {
    let quietly = ["--no-input", "--disable-pip-version-check", "--progress-bar=off"];
    let arguments = [&["-m", "pip", "install"], &quietly[..], arguments].concat();
    run(service, &directory.join("bin/python"), &arguments, &[], say)
}

/// Runs a tool to its end. The tool, and the processes that it starts, die with this process.
///
/// # Errors
/// [`Error::ToolFailed`] with the tool's last lines if it fails or takes longer than [`TIME_MAX`].
pub(crate) fn run(
    service: Service,
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &Path)],
    say: &dyn Fn(&str),
) -> Result<(), Error> {
    let line = format!("{} {}", program.display(), arguments.join(" "));
    say(&format!("{service}: {line}"));
    let mut command = supervised::command(program, None);
    command.args(arguments).envs(environment.iter().copied());
    let log = Log::default();
    let mut process = Supervised::spawn(command, &log).map_err(Error::io(format!("cannot start {line}")))?;
    let start = Instant::now();
    let mut told = start;
    let failed =
        |how: String| Err(Error::ToolFailed { service, command: line.clone(), how, said: log.text() });
    loop {
        match process.ended().map_err(Error::io(format!("cannot wait for {line}")))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => {
                // The drop kills the rest of the group, so that the readers reach the end and the
                // log is complete.
                drop(process);
                return failed(format!("failed ({status})"));
            }
            None if start.elapsed() > TIME_MAX => return failed(format!("still ran after {TIME_MAX:?}")),
            None => {}
        }
        if told.elapsed() >= PROGRESS_INTERVAL {
            told = Instant::now();
            let last: String = log.last().unwrap_or_default().chars().take(PROGRESS_LEN_MAX).collect();
            say(&format!("{service}: {:>4} s  {last}", start.elapsed().as_secs()));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_go_are_read() {
        for (said, expect) in [
            ("go1.24.8", Some((1, 24))),
            ("go1.19", Some((1, 19))),
            ("go1.25rc1", Some((1, 25))),
            ("go2.0 X:nocoverageredesign", Some((2, 0))),
            ("devel go1.27-abc", None),
            ("", None),
        ] {
            assert_eq!(go_version(said), expect, "{said}");
        }
    }
}
