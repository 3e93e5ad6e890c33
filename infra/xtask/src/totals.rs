//! Counts tests from the line that every Rust test program ends with.
//!
//! ```text
//! test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s
//! ```

use std::fmt;

/// How many tests passed, failed and were skipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Totals {
    /// Adds what `line` tells; a line that is no result tells nothing.
    pub(crate) fn read(&mut self, line: &str) {
        let Some(result) = line.trim_start().strip_prefix("test result: ") else { return };
        let Some((_verdict, counts)) = result.split_once(". ") else { return };
        for count in counts.split(';') {
            let Some((number, what)) = count.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 { write!(f, ", {} skipped", self.skipped) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], expect: &str) {
        let mut totals = Totals::default();
        for line in lines {
            totals.read(line);
        }
        assert_eq!(totals.to_string(), expect, "{lines:?}");
    }

    #[test]
    fn results_are_added_up() {
        check(&[], "0 passed, 0 failed");
        check(
            &[
                "running 3 tests",
                "test a ... ok",
                "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s",
                "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.02s",
            ],
            "4 passed, 2 failed",
        );
        check(
            &[
                "test result: ok. 0 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            ],
            "0 passed, 0 failed, 2 skipped",
        );
    }

    #[test]
    fn other_lines_tell_nothing() {
        check(
            &["test result: ", "test result: ok", "9 passed", "test x ... ok. 4 passed; 1 failed"],
            "0 passed, 0 failed",
        );
    }
}
