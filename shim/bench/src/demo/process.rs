//! The demo's processes: functions, and the server under test. Each is killed when its owner here
//! is dropped.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::demo::order::{Ended, Order, Said};
use crate::error::{Error, Result};

/// The longest time that a function may take to exit after its last message.
const FUNCTION_END_MAX: Duration = Duration::from_secs(5);
/// The longest time until the server reports its address. It recovers what it finds in the store,
/// which is empty.
const SERVER_START_MAX: Duration = Duration::from_secs(30);
/// The longest time for the server to drain. Transactions of killed functions are still open, and
/// nobody waits for them.
const SERVER_STOP_MAX: Duration = Duration::from_secs(2);
/// The text in the server's output that precedes its address when it is ready.
const LISTENING: &str = "listening on http://";
/// The maximum number of bytes of a process's error output that a message repeats.
const COMPLAINT_BYTES_MAX: u64 = 2_000;

fn command(program: &Path, order: &Order) -> Command {
    let order = serde_json::to_string(order).expect("an order consists of strings and numbers");
    let mut command = Command::new(program);
    command.arg("demo-function").arg(order).kill_on_drop(true);
    command
}

/// A running function.
#[derive(Debug)]
pub(crate) struct Function {
    child: Child,
    input: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
}

impl Function {
    /// Starts a process that carries out `order`.
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

    /// Waits for the next message of the function. A process that ends without one has failed.
    pub(crate) async fn next(&mut self) -> Said {
        let line = self.said.next_line().await.ok().flatten();
        let said = line.and_then(|line| serde_json::from_str(&line).ok());
        said.unwrap_or_else(|| Said::Ended(Ended::Retry("function_failed".into())))
    }

    /// Kills the process with SIGKILL, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        // It may have ended by itself.
        let _ = self.child.kill().await;
    }

    /// Pauses the process with SIGSTOP, at any point of its work.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Continues the process with SIGCONT, and lets it go on from the point where it holds.
    pub(crate) async fn go_on(&mut self) {
        self.signal(Signal::CONT);
        // If the process is gone, `next` reports that.
        let _ = self.input.write_all(b"\n").await;
        let _ = self.input.flush().await;
    }

    /// Waits until the process is gone, which should be soon after its last message; kills it
    /// otherwise.
    pub(crate) async fn end(mut self) {
        if timeout(FUNCTION_END_MAX, self.child.wait()).await.is_err() {
            self.kill().await;
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid {
            // The process has not been waited for, so its number cannot belong to another process.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Returns the order to become `aft` with `arguments`.
fn become_program(arguments: &[&str]) -> Order {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    Order::Become { parent: std::process::id(), arguments }
}

/// Runs `aft` with `arguments` until it exits.
///
/// # Errors
/// Returns an error if `aft` cannot be started, takes too long, or fails; with its error output.
pub(crate) async fn aft(program: &Path, arguments: &[&str]) -> Result<()> {
    let output = command(program, &become_program(arguments)).stdin(Stdio::null()).output();
    let output =
        timeout(SERVER_START_MAX, output).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    let output = output.map_err(Error::io(format!("cannot run {}", program.display())))?;
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

/// Checks that `program` carries out orders.
///
/// # Errors
/// Returns an error if it does not, with its error output.
pub(crate) async fn probe(program: &Path) -> Result<()> {
    let failed = || Error::io(format!("cannot start {}", program.display()));
    let output = command(program, &Order::Ping).stdin(Stdio::null()).output();
    let output =
        timeout(SERVER_START_MAX, output).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    let output = output.map_err(failed())?;
    let line = String::from_utf8_lossy(&output.stdout);
    match serde_json::from_str(line.trim()) {
        Ok(Said::Ended(Ended::Done)) => Ok(()),
        Ok(_) | Err(_) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(failed()(std::io::Error::other(format!(
                "it does not answer as `aft demo-function` does: {said}"
            ))))
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
    /// Starts `aft serve` over `store`, on a free port, with the settings file `settings`.
    ///
    /// # Errors
    /// Returns an error if the server ends, or does not report its address in time; with its error
    /// output.
    pub(crate) async fn start(program: &Path, store: &str, settings: &Path) -> Result<Shim> {
        let settings = settings.to_string_lossy();
        let arguments = ["serve", "--store", store, "--listen", "127.0.0.1:0", "--config", &settings];
        // Start through an order, so that the server dies with the demo.
        let mut child = command(program, &become_program(&arguments))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::io(format!("cannot start {}", program.display())))?;
        let output = child.stdout.take().expect("the output is piped");
        let mut said = BufReader::new(output).lines();
        let mut complaints = child.stderr.take().expect("the error output is piped");
        match timeout(SERVER_START_MAX, listening(&mut said)).await {
            Ok(Some(url)) => {
                // Keep reading both outputs, or the server would block on a full pipe.
                tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut complaints, &mut tokio::io::sink()).await;
                });
                Ok(Shim { child, url })
            }
            Ok(None) | Err(_) => {
                // Kill the server first, so that its error output ends.
                let _ = child.kill().await;
                let mut text = String::new();
                let _ = complaints.take(COMPLAINT_BYTES_MAX).read_to_string(&mut text).await;
                let problem = format!("it did not report its address: {}", text.trim());
                Err(Error::Server { url: "aft serve".into(), problem })
            }
        }
    }

    /// Returns the server's URL, `http://HOST:PORT`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Asks the server to drain and exit, and waits; kills it if that takes too long.
    pub(crate) async fn stop(mut self) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(SERVER_STOP_MAX, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }

    /// Kills the server with SIGKILL, and waits until it is gone. Nothing acknowledged is lost by
    /// that.
    pub(crate) async fn kill(mut self) {
        // It may have ended by itself.
        let _ = self.child.kill().await;
    }
}

/// Reads lines until one holds the server's address, and returns its URL. `None`: the output ended.
async fn listening(said: &mut Lines<BufReader<ChildStdout>>) -> Option<String> {
    while let Some(line) = said.next_line().await.ok()? {
        if let Some((_, address)) = line.split_once(LISTENING) {
            let address = address.split(|c: char| c.is_whitespace() || c == '"').next()?;
            return Some(format!("http://{address}"));
        }
    }
    None
}
