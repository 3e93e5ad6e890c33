//! Counts tests from the line with which every Rust test program ends.
//!
//! ```text
//! test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s
//! ```
//!
//! A test that leaves a service out returns early, and its program counts it as passed. It prints
//! the following line (`tests/services/src/skip.rs`), and is counted as skipped here:
//!
//! ```text
//! skipped: a_store_that_is_killed: minio (AFT_SKIP_SERVICES)
//! ```

use std::collections::BTreeSet;
use std::fmt;

/// The numbers of tests that passed, failed and were skipped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    /// The services that tests left out, each as `test: service (reason)`.
    left_out: BTreeSet<String>,
    /// The tests of the current program that left a service out and have not failed since.
    returned_early: BTreeSet<String>,
}

impl Totals {
    /// Returns the services that tests left out, each as `test: service (reason)`.
    pub(crate) fn left_out(&self) -> impl Iterator<Item = &str> {
        self.left_out.iter().map(String::as_str)
    }

    /// Counts the result in `line`; a line without a result changes nothing.
    pub(crate) fn read(&mut self, line: &str) {
        let line = line.trim_start();
        if let Some(result) = line.strip_prefix("test result: ") {
            self.read_result(result);
            return;
        }
        // A test's name and its verdict are printed separately, and the test's own output may come
        // between them.
        let (test, said) = match line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) {
            Some((test, said)) => (Some(test), said),
            None => (None, line),
        };
        if let Some(left_out) = said.strip_prefix("skipped: ") {
            if let Some((test, _)) = left_out.split_once(": ") {
                self.left_out.insert(left_out.to_owned());
                self.returned_early.insert(test.to_owned());
            }
        } else if let (Some(test), "FAILED") = (test, said) {
            self.returned_early.remove(test);
        }
    }

    fn read_result(&mut self, result: &str) {
        let Some((_verdict, counts)) = result.split_once(". ") else { return };
        let early = std::mem::take(&mut self.returned_early).len() as u64;
        for count in counts.split(';') {
            let Some((number, what)) = count.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => {
                    let early = early.min(number);
                    self.passed += number - early;
                    self.skipped += early;
                }
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
    fn a_test_that_left_a_service_out_is_skipped() {
        let result =
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s";
        // Two services of one test are one skipped test.
        check(
            &["skipped: a::b: minio (AFT_SKIP_SERVICES)", "skipped: a::b: moto (AFT_SKIP_SERVICES)", result],
            "2 passed, 0 failed, 1 skipped",
        );
        // A line between the name and the verdict. The next program's tests are not affected.
        check(
            &["test c ... skipped: c: minio (AFT_SKIP_SERVICES)", "ok", result, result],
            "5 passed, 0 failed, 1 skipped",
        );
        // A test that left a service out and then failed counts as failed.
        let result = "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s";
        check(&["skipped: d: moto (AFT_SKIP_SERVICES)", "test d ... FAILED", result], "1 passed, 1 failed");
    }

    #[test]
    fn other_lines_are_not_counted() {
        check(
            &[
                "test result: ",
                "test result: ok",
                "9 passed",
                "test x ... ok. 4 passed; 1 failed",
                "skipped: ",
                "x skipped: y: z",
            ],
            "0 passed, 0 failed",
        );
    }
}
