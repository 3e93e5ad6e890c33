//! The demo's processes: functions, and the server under test. None outlives its owner here.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::demo::order::{Ended, Order, Said};
use crate::error::{Error, Result};

/// How long a function may take to leave.
const FUNCTION_END_MAX: Duration = Duration::from_secs(5);
/// How long the server may take until it says where it listens: it recovers what it finds, which is nothing.
const SERVER_START_MAX: Duration = Duration::from_secs(30);
/// How long it may take to drain. Transactions of functions that were killed are still open; nobody waits for those.
const SERVER_STOP_MAX: Duration = Duration::from_secs(2);
/// What the server says when it is ready.
const LISTENING: &str = "listening on http://";
/// How much of what a process says about a failure is passed on.
const COMPLAINT_BYTES_MAX: u64 = 2_000;

fn command(program: &Path, order: &Order) -> Command {
    let order = serde_json::to_string(order).expect("an order is texts and numbers");
    let mut command = Command::new(program);
    command.arg("demo-function").arg(order).kill_on_drop(true);
    command
}

/// A function under way.
#[derive(Debug)]
pub(crate) struct Function {
    child: Child,
    input: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Function {
    /// Starts a process for an order.
    pub(crate) fn start(program: &Path, order: &Order) -> std::io::Result<Function> {
        let mut child = command(program, order)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let input = child.stdin.take().expect("the input is piped");
        let output = child.stdout.take().expect("the output is piped");
        Ok(Function { child, input, said: BufReader::new(output).lines() })
    }

    /// The next thing that it says. A process that ends without a word has failed.
    pub(crate) async fn next(&mut self) -> Said {
        let line = self.said.next_line().await.ok().flatten();
        let said = line.and_then(|line| serde_json::from_str(&line).ok());
        said.unwrap_or_else(|| Said::Ended(Ended::Retry("function_failed".into())))
    }

    /// Kills it, as `kill -9` does, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        // It may have ended by itself.
        let _ = self.child.kill().await;
    }

    /// Takes the processor away from it, in the middle of whatever it does.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Gives the processor back, and lets it go on from where it waits.
    pub(crate) async fn go_on(&mut self) {
        self.signal(Signal::CONT);
        // If it is gone, `next` tells.
        let _ = self.input.write_all(b"\n").await;
        let _ = self.input.flush().await;
    }

    /// Waits until it is gone, which it is at once when it has said that it ended; else it is killed.
    pub(crate) async fn end(mut self) {
        if timeout(FUNCTION_END_MAX, self.child.wait()).await.is_err() {
            self.kill().await;
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid {
            // The process is not yet waited for, so the number is still its own.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Returns the order to become the program with these arguments.
fn become_program(arguments: &[&str]) -> Order {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    Order::Become { parent: std::process::id(), arguments }
}

/// Runs `aft` with these arguments to its end.
///
/// # Errors
/// If it fails, with what it said.
pub(crate) async fn aft(program: &Path, arguments: &[&str]) -> Result<()> {
    let output = command(program, &become_program(arguments)).stdin(Stdio::null()).output();
    let output =
        timeout(SERVER_START_MAX, output).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    let output = output.map_err(Error::io(format!("running {}", program.display())))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(Error::Options(format!(
                "aft {} failed: {said}",
                arguments[..2.min(arguments.len())].join(" ")
            )))
        }
    }
}

/// Whether the program carries out orders at all.
///
/// # Errors
/// If it does not, with what it said.
pub(crate) async fn probe(program: &Path) -> Result<()> {
    let failed = || Error::io(format!("starting {}", program.display()));
    let output = command(program, &Order::Ping).stdin(Stdio::null()).output();
    let output =
        timeout(SERVER_START_MAX, output).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    let output = output.map_err(failed())?;
    let line = String::from_utf8_lossy(&output.stdout);
    match serde_json::from_str(line.trim()) {
        Ok(Said::Ended(Ended::Done)) => Ok(()),
        Ok(_) | Err(_) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(failed()(std::io::Error::other(format!("it does not carry out demo-function: {said}"))))
        }
    }
}

/// The server under test.
#[derive(Debug)]
pub(crate) struct Shim {
    child: Child,
    url: String,
}

impl Shim {
    /// Starts `aft serve` over a store, on a free port, with this file of settings.
    ///
    /// # Errors
    /// If it ends, or does not say where it listens; with what it said.
    pub(crate) async fn start(program: &Path, store: &str, settings: &Path) -> Result<Shim> {
        let settings = settings.to_string_lossy();
        let arguments = ["serve", "--store", store, "--listen", "127.0.0.1:0", "--config", &settings];
        let mut child = command(program, &become_program(&arguments))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::io(format!("starting {}", program.display())))?;
        let output = child.stdout.take().expect("the output is piped");
        let mut said = BufReader::new(output).lines();
        let mut complaints = child.stderr.take().expect("the error output is piped");
        match timeout(SERVER_START_MAX, listening(&mut said)).await {
            Ok(Some(url)) => {
                // Read on, or the server would wait for us to read.
                tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut complaints, &mut tokio::io::sink()).await;
                });
                Ok(Shim { child, url })
            }
            Ok(None) | Err(_) => {
                let _ = child.kill().await;
                let mut text = String::new();
                let _ = complaints.take(COMPLAINT_BYTES_MAX).read_to_string(&mut text).await;
                let problem = format!("it did not say where it listens: {}", text.trim());
                Err(Error::Server { url: "aft serve".into(), problem })
            }
        }
    }

    /// `http://HOST:PORT`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Asks it to drain and leave, and waits; kills it if it does not.
    pub(crate) async fn stop(mut self) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(SERVER_STOP_MAX, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }

    /// Kills it, as `kill -9` does, and waits until it is gone: it owes nothing.
    pub(crate) async fn kill(mut self) {
        // It may have ended by itself.
        let _ = self.child.kill().await;
    }
}

/// Reads lines until one says where the server listens.
async fn listening(said: &mut Lines<BufReader<ChildStdout>>) -> Option<String> {
    while let Some(line) = said.next_line().await.ok()? {
        if let Some((_, address)) = line.split_once(LISTENING) {
            let address = address.split(|c: char| c.is_whitespace() || c == '"').next()?;
            return Some(format!("http://{address}"));
        }
    }
    None
}
