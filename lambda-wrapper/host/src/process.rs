//! The processes of an environment: one process group, which ends as a whole.
//!
//! The group's leader is a shell that does nothing but read from a pipe whose other end the host
//! has. If the host ends in whatever way, the pipe closes and the shell kills its group. The host
//! does not reap the leader before it has killed the group, so the group's number cannot be another
//! group's meanwhile.
//!
//! The leader is stopped with its group. The kernel lets a stopped group go on (SIGHUP, SIGCONT)
//! when the host dies.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

use crate::machine::invocation::Exit;

/// The leader's program. A signal that is meant for the others must not end it.
const LEADER: &str = "trap '' HUP INT QUIT TERM USR1 USR2; read -r line; kill -KILL 0";

/// A process group that this host has started.
#[derive(Debug)]
pub(crate) struct Group {
    id: Pid,
    /// The leader, until the group has been killed.
    leader: Mutex<Option<Child>>,
}

/// A program to start.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    pub(crate) command: &'a [String],
    pub(crate) directory: &'a Path,
    pub(crate) variables: &'a BTreeMap<String, String>,
}

/// A process in a group.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: tokio::process::Child,
    /// The handle for signals, which means this process and no later one with its number.
    pub(crate) handle: OwnedFd,
}

impl Group {
    /// Starts a group with its leader alone.
    pub(crate) fn start() -> io::Result<Self> {
        let mut shell = std::process::Command::new("/bin/sh");
        shell.args(["-c", LEADER]).env_clear().process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let leader = shell.spawn()?;
        Ok(Self { id: Pid::from_child(&leader), leader: Mutex::new(Some(leader)) })
    }

    /// Returns the group's number.
    pub(crate) fn id(&self) -> i32 {
        self.id.as_raw_nonzero().get()
    }

    /// Starts a program in the group.
    pub(crate) fn spawn(&self, program: &Program<'_>) -> io::Result<Process> {
        let (first, arguments) = program.command.split_first().expect("a command has a program");
        // Held over the start, so that no process joins a group that has been killed.
        let leader = self.leader.lock().unwrap_or_else(PoisonError::into_inner);
        if leader.is_none() {
            return Err(io::Error::other("the environment has been killed"));
        }
        let mut command = tokio::process::Command::new(in_directory(first, program.directory));
        command.args(arguments).current_dir(program.directory).env_clear().envs(program.variables);
        command.process_group(self.id());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn()?;
        let number = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let number = number.expect("a process that was not waited for has a number");
        let handle = pidfd_open(number, PidfdFlags::empty())?;
        Ok(Process { child, handle })
    }

    /// Stops every process of the group (SIGSTOP).
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets every process of the group go on (SIGCONT).
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills every process of the group (SIGKILL). There is no group afterwards.
    pub(crate) fn kill(&self) {
        let mut leader = self.leader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut leader) = leader.take() {
            // The leader is not reaped, so its group exists, and is ours.
            let _ = kill_process_group(self.id, Signal::KILL);
            let _ = leader.wait();
        }
    }

    fn signal(&self, signal: Signal) {
        let leader = self.leader.lock().unwrap_or_else(PoisonError::into_inner);
        if leader.is_some() {
            let _ = kill_process_group(self.id, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal to a process, unless it has ended.
pub(crate) fn signal(handle: &OwnedFd, signal: Signal) {
    let _ = pidfd_send_signal(handle, signal);
}

/// Returns the end of a process, as far as it is known.
pub(crate) fn exit(status: io::Result<ExitStatus>) -> Exit {
    let Ok(status) = status else { return Exit::Unknown };
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Status(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Unknown,
    }
}

/// Returns the path of a program. One with a `/` is relative to `directory`; one without is looked
/// up in `PATH`.
fn in_directory(program: &str, directory: &Path) -> PathBuf {
    let path = Path::new(program);
    let is_path = path.parent().is_some_and(|parent| parent.as_os_str() != OsStr::new(""));
    if is_path { directory.join(path) } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_up_or_relative_to_the_directory() {
        let check = |program, expect| {
            assert_eq!(in_directory(program, Path::new("/code")), Path::new(expect), "{program}");
        };
        check("python3", "python3");
        check("./run", "/code/./run");
        check("bin/run", "/code/bin/run");
        check("/usr/bin/env", "/usr/bin/env");
    }

    #[tokio::test]
    async fn a_killed_group_takes_no_process() {
        let group = Group::start().unwrap();
        let command = ["sleep".to_owned(), "60".to_owned()];
        let variables = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
        let program = Program { command: &command, directory: Path::new("/"), variables: &variables };
        let mut process = group.spawn(&program).unwrap();
        group.stop();
        group.kill();
        assert_eq!(exit(process.child.wait().await), Exit::Signal(9));
        assert!(group.spawn(&program).unwrap_err().to_string().contains("has been killed"));
        signal(&process.handle, Signal::TERM);
        group.resume();
    }
}
