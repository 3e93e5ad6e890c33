//! What the checks found.

use std::fmt;

use super::{Outcome, Scratch};

/// The verdict of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The store keeps to the contract here.
    Passed,
    /// It does not; the text says what happened.
    Failed(String),
    /// The store does not claim to be able to do this.
    Skipped(&'static str),
}

/// One check and its verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked, as a statement that holds if it passed.
    pub name: &'static str,
    /// Whether it does.
    pub verdict: Verdict,
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
    /// Whether no check failed.
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The checks that failed, with the reason.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.checks.iter().filter_map(|check| match &check.verdict {
            Verdict::Failed(reason) => Some((check.name, reason.as_str())),
            Verdict::Passed | Verdict::Skipped(_) => None,
        })
    }

    /// Panics with the whole report unless every check passed: for tests.
    pub fn assert_passed(&self) {
        assert!(self.passed(), "{self}");
    }

    pub(super) fn add(&mut self, name: &'static str, outcome: Outcome, scratch: &Scratch) {
        let verdict = match (outcome, scratch.take_skipped()) {
            (Err(reason), _) => Verdict::Failed(reason),
            (Ok(()), Some(why)) => Verdict::Skipped(why),
            (Ok(()), None) => Verdict::Passed,
        };
        self.checks.push(Check { name, verdict });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "store {}", self.url)?;
        for Check { name, verdict } in &self.checks {
            let statement = name.replace('_', " ");
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
