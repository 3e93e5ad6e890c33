//! A program that is none of the services and lives as they do: it never outlives this process,
//! and the last lines that it prints are kept.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Error;
use crate::log::Log;
use crate::supervised::{self, Supervised};

/// The pause between two looks for a line.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A running program. Killed when dropped, and when this process dies.
///
/// Every call blocks: in async code, wrap it in `spawn_blocking`.
#[derive(Debug)]
pub struct Program {
    /// Its name in messages.
    name: String,
    process: Supervised,
    log: Log,
}

impl Program {
    /// Starts it with this environment and nothing else of ours but the search path.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(
        program: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
        folder: &Path,
    ) -> Result<Program, Error> {
        let mut command = supervised::command(program, None);
        command.env_clear().env("HOME", folder).current_dir(folder).args(arguments);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        command.envs(environment.iter().copied());
        let log = Log::default();
        let process = Supervised::spawn(command, &log)
            .map_err(Error::io(format!("cannot start {}", program.display())))?;
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        Ok(Program { name, process, log })
    }

    /// Waits for a line that has `words`, and returns what follows them.
    ///
    /// # Errors
    /// If it ends before, or has not printed them after `patience`; with its last lines.
    pub fn says(&mut self, words: &str, patience: Duration) -> Result<String, Error> {
        let start = Instant::now();
        loop {
            let ended = self.process.ended().map_err(Error::io("cannot wait for a child"))?;
            if let Some(rest) = self.log.after(words) {
                return Ok(rest);
            }
            // Its last lines may come after its end, since others read them.
            if let Some(status) = ended
                && start.elapsed() > Duration::from_secs(1)
            {
                let (program, how) = (self.name.clone(), format!("ended ({status})"));
                return Err(Error::Silent { program, how, words: words.to_owned(), said: self.log.text() });
            }
            if start.elapsed() > patience {
                let (program, how) = (self.name.clone(), format!("runs since {patience:?}"));
                return Err(Error::Silent { program, how, words: words.to_owned(), said: self.log.text() });
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        let folder = std::env::temp_dir();
        Program::start(Path::new("/bin/sh"), &["-c", script], &[("WHAT", "tea")], &folder)
            .expect("a shell starts")
    }

    #[test]
    fn what_it_says_is_found_while_it_runs_and_after_its_end() {
        let mut runs = shell("echo \"port 17 $WHAT\"; sleep 60");
        let said = runs.says("port ", Duration::from_secs(10)).expect("it says so");
        assert_eq!(said, "17 tea");
        let mut ended = shell("echo port 18");
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(ended.says("port ", Duration::from_secs(10)).expect("it said so"), "18");
    }

    #[test]
    fn what_it_does_not_say_is_told_with_what_it_said() {
        let why = shell("echo oh no; exit 3").says("port ", Duration::from_secs(10));
        let why = why.expect_err("it ended").to_string();
        assert!(why.contains("oh no") && why.contains("exit status: 3"), "{why}");
        let why = shell("echo wait; sleep 60").says("port ", Duration::from_millis(300));
        let why = why.expect_err("it says nothing").to_string();
        assert!(why.contains("wait") && why.contains("300ms"), "{why}");
    }
}
