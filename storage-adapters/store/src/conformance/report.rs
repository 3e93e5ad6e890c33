//! The report of a run: the checks and their verdicts.

use std::fmt;
use std::time::{Duration, Instant};

use super::{Outcome, Scratch};

/// The verdict of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The store keeps to the contract here.
    Passed,
    /// The store breaks the contract here; the text says how.
    Failed(String),
    /// The check does not apply to this store; the text says why.
    Skipped(&'static str),
}

/// A check and its verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The name of the check: a statement that is true if it passed, with `_` for spaces.
    pub name: &'static str,
    /// The verdict on the statement.
    pub verdict: Verdict,
    /// The time that the check took.
    pub took: Duration,
}

/// The verdicts of all checks, in the order in which they ran.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The store that was checked.
    pub url: String,
    /// The checks.
    pub checks: Vec<Check>,
}

impl Report {
    /// Returns true if no check failed.
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// Returns the checks that failed, with the reason.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.checks.iter().filter_map(|check| match &check.verdict {
            Verdict::Failed(reason) => Some((check.name, reason.as_str())),
            Verdict::Passed | Verdict::Skipped(_) => None,
        })
    }

    /// Panics with the whole report if a check failed. For tests.
    pub fn assert_passed(&self) {
        assert!(self.passed(), "{self}");
    }

    /// Adds the outcome of a check that began at `since` and has just ended.
    pub(super) fn add(&mut self, name: &'static str, outcome: Outcome, scratch: &Scratch, since: Instant) {
        let verdict = match (outcome, scratch.take_skipped()) {
            (Err(reason), _) => Verdict::Failed(reason),
            (Ok(()), Some(why)) => Verdict::Skipped(why),
            (Ok(()), None) => Verdict::Passed,
        };
        self.checks.push(Check { name, verdict, took: since.elapsed() });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "store {}", self.url)?;
        for Check { name, verdict, took } in &self.checks {
            let statement = match took.as_secs() {
                0 => name.replace('_', " "),
                seconds => format!("{} ({seconds} s)", name.replace('_', " ")),
            };
            match verdict {
                Verdict::Passed => writeln!(f, "  passed   {statement}")?,
                Verdict::Skipped(why) => writeln!(f, "  skipped  {statement}: {why}")?,
                Verdict::Failed(reason) => writeln!(f, "  FAILED   {statement}: {reason}")?,
            }
        }
        let (checks, failed) = (self.checks.len(), self.failures().count());
        write!(f, "{checks} checks, {failed} failed")
    }
}
