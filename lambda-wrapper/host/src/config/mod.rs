//! The functions that a host runs, and its own settings.
//!
//! A program fills these structs, or [`Config::read`] takes them from a `functions.toml`
//! (`parse`). `check` holds them within Lambda's limits in both cases.

mod check;
mod parse;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use check::EXTENSIONS_MAX;

/// The variable `PATH` that Lambda gives its processes, apart from folders that only Amazon Linux
/// has.
pub(crate) const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/opt/bin";

/// A host's settings and functions.
#[derive(Debug, Clone)]
pub struct Config {
    /// The functions, each with a name of its own.
    pub functions: Vec<Function>,
    /// The address of the Invoke API. Only a loopback address is accepted, since nobody's
    /// signature is checked. Port 0 takes a free port.
    pub listen: SocketAddr,
    /// The region in ARNs and in the processes' variables.
    pub region: String,
    /// The account in ARNs: twelve digits.
    pub account: String,
    /// The variable `PATH` of the processes, in which a command's program is looked up. If it is
    /// not given, it is Lambda's. A function's own variable comes before both.
    pub path: Option<String>,
    /// The time after which an idle environment is ended.
    pub idle: Duration,
    /// The time that an invocation waits for an environment which has answered its last event and
    /// has not asked for the next one, before another environment is started.
    pub settle: Duration,
    /// The time that an environment has to start. Lambda's is 10 s; it tries once more, within the
    /// function's timeout.
    pub init: Duration,
    /// The time that external extensions have to end. The runtime has the first 30 % of it.
    /// Lambda's is 2 s.
    pub shutdown: Duration,
    /// The divisor of the pauses before events are retried, for tests. Lambda's are 1 min and
    /// 2 min after errors, and 1 s to 5 min after throttling.
    pub pause_divisor: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            functions: Vec::new(),
            listen: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)),
            region: "us-east-1".to_owned(),
            account: "123456789012".to_owned(),
            path: None,
            idle: Duration::from_secs(300),
            settle: Duration::from_secs(1),
            init: Duration::from_secs(10),
            shutdown: Duration::from_secs(2),
            pause_divisor: 1,
        }
    }
}

impl Config {
    /// Returns the settings of a host that runs `functions`.
    #[must_use]
    pub fn of(functions: Vec<Function>) -> Self {
        Self { functions, ..Self::default() }
    }

    /// Reads a `functions.toml`. Relative paths in it start at its folder.
    ///
    /// # Errors
    /// Returns an error that names the file, the field and the remedy, if the file cannot be read
    /// or says something that cannot be done.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        parse::read(path)
    }

    /// Checks every value against Lambda's limits.
    ///
    /// # Errors
    /// Returns an error that names the function, the field and the remedy.
    pub fn check(&self) -> Result<(), ConfigError> {
        check::check(self)
    }
}

/// A function.
#[derive(Debug, Clone)]
pub struct Function {
    /// Its name: letters, digits, `-` and `_`.
    pub name: String,
    /// The runtime's program and its arguments, such as
    /// `["python3", "-m", "awslambdaric", "handler.handler"]`. A relative program with a `/`
    /// starts at `directory`.
    pub command: Vec<String>,
    /// The folder of its code, in which the runtime is started: `LAMBDA_TASK_ROOT`.
    pub directory: PathBuf,
    /// The handler, for runtimes that read `_HANDLER`.
    pub handler: String,
    /// Its variables. Credentials reach it only through here.
    pub environment: BTreeMap<String, String>,
    /// The time that an invocation has.
    pub timeout: Duration,
    /// Its memory, in MiB. The host passes it on as a variable and limits nothing.
    pub memory_mb: u32,
    /// The maximum number of environments that hold its invocations at once.
    pub concurrency: u32,
    /// The number of invocations that one environment handles at once, as on Lambda Managed
    /// Instances: `AWS_LAMBDA_MAX_CONCURRENCY`. Its environments then are never frozen, and code
    /// goes on after a timeout, whatever `freeze` and `on_timeout` say. If it is not given, an
    /// environment handles one invocation at a time.
    pub max_concurrency: Option<u32>,
    /// The number of times that an event is retried after an error.
    pub retries: u8,
    /// The age at which an event is dropped.
    pub event_age: Duration,
    /// True if an idle environment is stopped (SIGSTOP) until its next event.
    pub freeze: bool,
    /// The fate of an environment whose invocation has timed out.
    pub on_timeout: OnTimeout,
    /// Programs of external extensions, which are started before the runtime. Each registers under
    /// its file name.
    pub extensions: Vec<PathBuf>,
    /// A program that is run in the runtime's place, with the runtime's command as its arguments:
    /// `AWS_LAMBDA_EXEC_WRAPPER`.
    pub wrapper: Option<PathBuf>,
}

impl Function {
    /// Returns a function with Lambda's defaults, whose code is in the current folder.
    #[must_use]
    pub fn new(name: &str, command: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            directory: PathBuf::from("."),
            handler: "handler.handler".to_owned(),
            environment: BTreeMap::new(),
            timeout: Duration::from_secs(3),
            memory_mb: 128,
            concurrency: 10,
            max_concurrency: None,
            retries: 2,
            event_age: Duration::from_secs(6 * 60 * 60),
            freeze: false,
            on_timeout: OnTimeout::Kill,
            extensions: Vec::new(),
            wrapper: None,
        }
    }
}

/// The fate of an environment whose invocation has timed out. In production it may be either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnTimeout {
    /// Its processes are killed before the caller hears of the timeout.
    Kill,
    /// It runs on as a zombie, and other invocations get other environments. It is used again if it
    /// asks for its next event.
    Continue,
}

/// A configuration that cannot be used. The message names the place and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ConfigError {
    place: String,
    problem: String,
}

impl ConfigError {
    fn new(place: impl Into<String>, problem: impl Into<String>) -> Self {
        let (place, problem) = (place.into(), problem.into());
        assert!(!place.is_empty() && !problem.is_empty(), "a message names a place and a problem");
        Self { place, problem }
    }

    /// Returns this error with the file before its place.
    fn in_file(self, file: &str) -> Self {
        Self { place: format!("{file}: {}", self.place), ..self }
    }
}
