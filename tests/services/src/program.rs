//! A program that is not a service but is run like one: it never outlives this process, and the
//! last lines that it prints are kept.

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
    /// The program's name in messages.
    name: String,
    process: Supervised,
    log: Log,
}

impl Program {
    /// Starts `program` in `folder`, with `environment` and nothing of ours but the search path.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be started.
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

    /// Waits for a line that contains `words`, and returns the text after them.
    ///
    /// # Errors
    /// [`Error::Silent`] if the program ends before, or has not printed `words` after `patience`.
    /// The message holds its last lines.
    pub fn says(&mut self, words: &str, patience: Duration) -> Result<String, Error> {
        let start = Instant::now();
        loop {
            let ended = self.process.ended().map_err(Error::io("cannot wait for a child"))?;
            if let Some(rest) = self.log.after(words) {
                return Ok(rest);
            }
            // Other threads read its output, so its last lines may arrive after its end.
            if let Some(status) = ended
                && start.elapsed() > Duration::from_secs(1)
            {
                let (program, how) = (self.name.clone(), format!("ended ({status})"));
                return Err(Error::Silent { program, how, words: words.to_owned(), said: self.log.text() });
            }
            if start.elapsed() > patience {
                let (program, how) = (self.name.clone(), format!("has run for {patience:?}"));
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
    fn a_printed_line_is_found_while_the_program_runs_and_after_its_end() {
        let mut runs = shell("echo \"port 17 $WHAT\"; sleep 60");
        let said = runs.says("port ", Duration::from_secs(10)).expect("it says so");
        assert_eq!(said, "17 tea");
        let mut ended = shell("echo port 18");
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(ended.says("port ", Duration::from_secs(10)).expect("it said so"), "18");
    }

    #[test]
    fn a_missing_line_is_an_error_that_quotes_the_output() {
        let why = shell("echo oh no; exit 3").says("port ", Duration::from_secs(10));
        let why = why.expect_err("it ended").to_string();
        assert!(why.contains("oh no") && why.contains("exit status: 3"), "{why}");
        let why = shell("echo wait; sleep 60").says("port ", Duration::from_millis(300));
        let why = why.expect_err("it says nothing").to_string();
        assert!(why.contains("wait") && why.contains("300ms"), "{why}");
    }
}
