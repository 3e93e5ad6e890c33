//! The last lines that a process printed: read all the time, since a full pipe would block the
//! process, and kept to show why something failed.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

/// The number of lines that are kept: enough for a stack trace.
const LINES_MAX: usize = 200;
/// The number of bytes that are kept of a line.
const LINE_LEN_MAX: usize = 1_000;

/// The last lines, shared by the threads that read a process's pipes and the callers that show its
/// lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<VecDeque<String>>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        self.lines().iter().map(|line| format!("    {line}\n")).collect()
    }

    pub(crate) fn last(&self) -> Option<String> {
        self.lines().back().cloned()
    }

    /// Returns the text after `words` in the last line that contains them.
    pub(crate) fn after(&self, words: &str) -> Option<String> {
        let lines = self.lines();
        let found = lines.iter().rev().find_map(|line| line.split_once(words));
        found.map(|(_, rest)| rest.to_owned())
    }

    /// Starts a thread that reads `pipe` to its end.
    pub(crate) fn follow(&self, pipe: impl Read + Send + 'static) -> JoinHandle<()> {
        let log = self.clone();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(pipe);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                line.truncate(LINE_LEN_MAX);
                log.push(String::from_utf8_lossy(&line).trim_end().to_owned());
                line.clear();
            }
        })
    }

    fn push(&self, line: String) {
        let mut lines = self.lines();
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lock().expect("no thread panics while it holds the lock")
    }
}
