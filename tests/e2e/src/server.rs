//! `aft serve` as a child process.
//!
//! Its output is read all the time (a full pipe would block it) and kept, so that a failing test
//! can show it.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::{binary, wall_clock};

/// The longest time until a server listens: it reads what was left unpublished, on a machine that
/// is shared.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// The longest time until an expected line arrives here.
const LINE_TIME_MAX: Duration = Duration::from_secs(10);
/// The number of output lines that are kept: more than a test's server prints, at any log level.
const LOG_LINES_MAX: usize = 100_000;
/// The number of output lines that are shown: the last ones show the reason.
const SHOWN_LINES_MAX: usize = 200;

/// A running server. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    log: Log,
}

impl Server {
    /// Starts a server on `store`, at a free port, and waits until it listens.
    ///
    /// # Panics
    /// If it does not come to listen; the message holds its output.
    pub fn start(store: &str) -> Server {
        Server::start_with(store, &[])
    }

    /// Starts a server with further arguments.
    ///
    /// # Panics
    /// If [`Server::start`] panics.
    pub fn start_with(store: &str, more: &[&str]) -> Server {
        Starting::spawn(store, more).listening()
    }

    /// Starts a server with further arguments and further variables in its environment.
    ///
    /// # Panics
    /// If [`Server::start`] panics.
    pub fn start_in(store: &str, more: &[&str], environment: &[(&str, &str)]) -> Server {
        Starting::spawn_in(store, more, environment).listening()
    }

    /// Starts a server that may open only `files` files.
    ///
    /// # Panics
    /// If [`Server::start`] panics, or if the program prlimit is missing.
    pub fn start_with_files(store: &str, files: u32) -> Server {
        let serve = binary::command(&["serve", "--store", store, "--listen", "127.0.0.1:0"]);
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={files}")).arg(serve.get_program()).args(serve.get_args());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Starting::spawn_command(command).listening()
    }

    /// Starts a server on a store whose earlier servers had other times and have all ended: the
    /// times that nodes share are changed first.
    ///
    /// # Panics
    /// If [`Server::start`] panics, or if the times cannot be changed.
    pub fn start_with_other_times(store: &str, more: &[&str], environment: &[(&str, &str)]) -> Server {
        // A local store is held by one process, so no times are shared.
        if !store.starts_with("local:") {
            let change = [&["store", "init", store, "--change-times"], more].concat();
            let changed = binary::run_in(&change, environment);
            assert_eq!(changed.code, Some(0), "{changed:#?}");
        }
        Server::start_in(store, more, environment)
    }

    /// Starts a server on the local store in `directory`.
    ///
    /// # Panics
    /// If [`Server::start`] panics.
    pub fn on(directory: &Path) -> Server {
        Server::start(&local(directory))
    }

    /// Returns the address at which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL of its S3 endpoint.
    ///
    /// # Panics
    /// If it does not say in time that it serves one.
    pub async fn s3_url(&self) -> String {
        let line = self.says("listening for S3 on ").await;
        line.rsplit(' ').next().expect("a line has words").to_owned()
    }

    /// Returns the peak resident memory of its process, in bytes.
    ///
    /// # Panics
    /// If the process has ended.
    pub fn resident_peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("a running process has a status");
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a status has the peak");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("the peak is a number of kB");
        kib << 10
    }

    /// Returns the last lines that it printed.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Returns all lines that it printed, in order.
    pub fn log_lines(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Waits for a line that contains `text`, and returns the first. Standard error has a pipe of
    /// its own, so a line may arrive after standard output or an answer that implies it.
    ///
    /// # Panics
    /// If no such line comes in time.
    pub async fn says(&self, text: &str) -> String {
        let deadline = Instant::now() + LINE_TIME_MAX;
        loop {
            if let Some(line) = self.log_lines().into_iter().find(|line| line.contains(text)) {
                return line;
            }
            assert!(Instant::now() < deadline, "no line says {text:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Kills the server with SIGKILL.
    ///
    /// # Panics
    /// If it had ended already: only a test may end a server.
    pub fn kill(mut self) {
        let early = self.child.try_wait().expect("a child can be waited for");
        assert!(early.is_none(), "the server ended by itself ({early:?}):\n{}", self.log());
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
        wall_clock::forget(self.child.id());
    }

    /// Stops the server with SIGSTOP: its connections stay open, and it does nothing.
    /// [`Server::kill`] still works.
    ///
    /// # Panics
    /// If it does not stop.
    pub fn pause(&self) {
        send("STOP", self.child.id());
        let deadline = Instant::now() + LINE_TIME_MAX;
        while !self.is_stopped() {
            assert!(Instant::now() < deadline, "the server does not stop:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets the server continue after [`Server::pause`].
    ///
    /// # Panics
    /// If the signal cannot be sent.
    pub fn resume(&self) {
        send("CONT", self.child.id());
    }

    /// Returns true if all its threads are stopped.
    fn is_stopped(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let mut tasks = tasks.expect("a running process has threads").flatten();
        tasks.all(|task| {
            let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
            // A thread that has ended in the meantime counts as stopped.
            status.is_empty() || status.contains("State:\tT")
        })
    }

    /// Sends SIGTERM.
    ///
    /// # Panics
    /// If it cannot be sent.
    pub fn terminate(&self) {
        send("TERM", self.child.id());
    }

    /// Sends SIGHUP.
    ///
    /// # Panics
    /// If it cannot be sent.
    pub fn hang_up(&self) {
        send("HUP", self.child.id());
    }

    /// Waits for its end; none if it still runs after `at_most`.
    pub fn wait(&mut self, at_most: Duration) -> Option<ExitStatus> {
        binary::wait(&mut self.child, at_most)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        wall_clock::forget(self.child.id());
        if std::thread::panicking() {
            eprintln!("--- the server's last lines\n{}", self.log());
        }
    }
}

/// Sends the signal `signal` (such as `TERM`) to the child `pid`.
///
/// # Panics
/// If it cannot be sent.
pub fn send(signal: &str, pid: u32) {
    let (signal, pid) = (format!("-{signal}"), pid.to_string());
    let sent =
        Command::new("sh").args(["-c", "kill \"$0\" \"$1\"", &signal, &pid]).status().expect("sh starts");
    assert!(sent.success(), "kill {signal} {pid}: {sent}");
}

/// A server that was spawned and does not listen yet. Killed when dropped.
#[derive(Debug)]
pub struct Starting {
    /// None once [`Starting::listening`] has taken it.
    child: Option<Child>,
    lines: Receiver<SocketAddr>,
    log: Log,
}

impl Starting {
    /// Spawns a server on `store`, at a free port unless `more` has `--listen`.
    ///
    /// # Panics
    /// If the binary cannot be started.
    pub fn spawn(store: &str, more: &[&str]) -> Starting {
        Starting::spawn_in(store, more, &[])
    }

    /// Spawns a server with further variables in its environment.
    ///
    /// # Panics
    /// If [`Starting::spawn`] panics.
    pub fn spawn_in(store: &str, more: &[&str], environment: &[(&str, &str)]) -> Starting {
        let anywhere: &[&str] = if more.contains(&"--listen") { &[] } else { &["--listen", "127.0.0.1:0"] };
        let mut command = binary::command(&[&["serve", "--store", store], anywhere, more].concat());
        command.envs(environment.iter().copied());
        Starting::spawn_command(command)
    }

    fn spawn_command(mut command: Command) -> Starting {
        let mut child = command.spawn().expect("the binary starts");
        let log = Log::default();
        let (found, lines) = channel();
        read(child.stdout.take().expect("piped"), log.clone(), Some(found));
        read(child.stderr.take().expect("piped"), log.clone(), None);
        Starting { child: Some(child), lines, log }
    }

    /// Waits until it listens.
    ///
    /// # Panics
    /// If it does not come to listen; the message holds its output.
    pub fn listening(mut self) -> Server {
        match self.lines.recv_timeout(START_TIME_MAX) {
            Ok(address) => {
                let child = self.child.take().expect("taken here only, by value");
                Server { child, address, log: self.log.clone() }
            }
            Err(why) => panic!("the server does not listen ({why}); it said:\n{}", self.log.text()),
        }
    }

    /// Kills the server with SIGKILL.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
            wall_clock::forget(child.id());
        }
    }
}

/// Returns the URL of the local store in `directory`.
pub fn local(directory: &Path) -> String {
    format!("local:{}", directory.display())
}

/// The last lines of a process.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<std::collections::VecDeque<String>>>);

impl Log {
    fn push(&self, line: String) {
        let mut lines = self.0.lock().expect("no thread panics while it holds the lock");
        if lines.len() == LOG_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no thread panics while it holds the lock").iter().cloned().collect()
    }

    fn text(&self) -> String {
        let lines = self.lines();
        let shown = lines.len().saturating_sub(SHOWN_LINES_MAX);
        lines[shown..].iter().map(|line| format!("    {line}\n")).collect()
    }
}

/// Starts a thread that reads `from` to its end, line by line, into the log, and sends the first
/// address that is printed to `found`.
fn read(from: impl Read + Send + 'static, log: Log, mut found: Option<Sender<SocketAddr>>) {
    std::thread::spawn(move || {
        let mut lines = BufReader::new(from);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            let address = text.split_once("listening on http").and_then(|(_, rest)| {
                let (_, rest) = rest.split_once("://")?;
                rest.split_whitespace().next().and_then(|address| address.parse().ok())
            });
            log.push(text);
            if let Some(address) = address
                && let Some(found) = found.take()
            {
                // A closed channel means that the start was abandoned.
                let _ = found.send(address);
            }
            line.clear();
        }
    });
}
