//! Parent mode: serves the local endpoints, and runs the function's runtime below itself. For
//! container images, for runtimes without exec wrappers, and on one's own machine.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::layer::Layer;
use crate::{Settings, environment};

/// Runs the command until it ends, and returns its exit code: 128 and the signal's number if a
/// signal ended it, as shells do.
///
/// # Errors
/// Returns the reason why the layer or the command cannot start.
pub async fn run(settings: Settings, command: Vec<OsString>) -> Result<u8, String> {
    let (layer, endpoints) = Layer::start(settings).await?;
    let (program, arguments) = command.split_first().expect("the role has a command");
    let mut child = Command::new(program);
    child.args(arguments).envs(environment::variables(&endpoints, |name| std::env::var(name).ok()));
    child.kill_on_drop(true);
    // Signals are listened for before there is anybody to pass them on to.
    let listen = |kind| signal(kind).map_err(|why| format!("cannot listen for signals: {why}"));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut child =
        child.spawn().map_err(|why| format!("cannot start {}: {why}", program.to_string_lossy()))?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let pass_on = |signal| {
        // The child may have ended at this moment.
        if let Some(pid) = pid {
            let _ = kill_process(pid, signal);
        }
    };
    let ended = loop {
        tokio::select! {
            ended = child.wait() => break ended,
            _ = terminate.recv() => pass_on(Signal::TERM),
            _ = interrupt.recv() => pass_on(Signal::INT),
        }
    };
    let ended = ended.map_err(|why| format!("cannot wait for {}: {why}", program.to_string_lossy()))?;
    info!(status = %ended, "aft: the runtime has ended");
    layer.abort_all().await;
    Ok(code_of(ended))
}

fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
