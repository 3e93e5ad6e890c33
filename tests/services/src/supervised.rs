//! A process that never outlives this one, however this one ends.
//!
//! ```text
//! us ──pipe──► watcher (a shell that reads)        both in a process group of their own
//!   └─child──► the program (exec'd by that shell's parent, so its pid is our child's)
//! ```
//!
//! If we die, by SIGKILL too, the kernel closes the pipe, the watcher's read ends, and it kills the
//! program and itself. The watcher starts before the program does, so the program never runs
//! without it. The separate process group keeps a terminal's Ctrl-C from the program: we decide
//! when it ends. A process ID is killed only while our child or the watcher still holds it, so it
//! cannot have been reused for another process.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::log::Log;

/// The shell script of both. `$1` is a directory that is removed with the program, or empty; the
/// rest is the program's command line. The pause lets the dying program close its files.
const SCRIPT: &str = r#"
left=$1; shift
exec 3<&0
{ read -r _ <&3; kill -9 $$; if [ -n "$left" ]; then sleep 0.2; rm -rf "$left"; fi; kill -9 -$$; } >/dev/null 2>&1 &
exec "$@" 3<&- </dev/null
"#;

/// Returns a command for [`Supervised::spawn`], to which the caller adds arguments and environment.
/// If this process dies before it drops the [`Supervised`], the watcher removes `left`.
pub(crate) fn command(program: &Path, left: Option<&Path>) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", SCRIPT, "supervised"]).arg(left.unwrap_or(Path::new(""))).arg(program);
    command
}

/// A running process. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Supervised {
    child: Child,
    /// The watcher's standard input: the watcher acts when it is closed.
    pipe: Option<ChildStdin>,
    readers: Vec<JoinHandle<()>>,
}

impl Supervised {
    /// Starts the process and collects its output in `log`.
    pub(crate) fn spawn(mut command: Command, log: &Log) -> io::Result<Supervised> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        // Taken out of the child: `Child::wait` would close it, and that is the watcher's signal.
        let pipe = child.stdin.take();
        assert!(pipe.is_some(), "standard input was piped");
        let readers = vec![
            log.follow(child.stdout.take().expect("standard output was piped")),
            log.follow(child.stderr.take().expect("standard error was piped")),
        ];
        Ok(Supervised { child, pipe, readers })
    }

    /// Returns the exit status if the process has ended.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Sends the program a signal; not the watcher, which must run while the program is stopped.
    pub(crate) fn signal(&mut self, signal: Signal) -> io::Result<()> {
        match self.ended()? {
            Some(status) => Err(io::Error::other(format!("it has ended ({status})"))),
            // It has not been reaped yet, so the process ID is still its own.
            None => kill_process(self.pid(), signal).map_err(io::Error::from),
        }
    }

    /// Returns true if a signal has stopped all its threads. Each stops by itself, a moment after
    /// the signal.
    pub(crate) fn is_stopped(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        tasks.into_iter().flatten().flatten().all(|task| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // A thread that has ended in the meantime counts as stopped.
            stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().starts_with('T') || rest.is_empty())
        })
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // The program may have ended and been reaped; the group's ID lives as long as the watcher,
        // which lives as long as our pipe.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let _ = self.child.wait();
        drop(self.pipe.take());
        for reader in self.readers.drain(..) {
            // A reader that panicked has only lost lines of a log.
            let _ = reader.join();
        }
    }
}
