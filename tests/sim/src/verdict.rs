//! Verdicts of judges: fine so far, or a promise was broken.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The rule that a panic breaks.
pub const ASSERTION: &str = "an assertion of the core";

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule that was broken, in the words of the protocol.
    pub rule: &'static str,
    /// The details: what happened, and to which things.
    pub text: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.rule, self.text)
    }
}

/// The result of a judgement: fine so far, or a promise was broken.
pub type Verdict = Result<(), Violation>;

/// Returns a violation of `rule` as an error.
///
/// # Errors
///
/// Always returns the violation.
pub fn broken<T>(rule: &'static str, text: String) -> Result<T, Violation> {
    Err(Violation { rule, text })
}

/// Runs a part of a simulation, and turns a panic into a violation of [`ASSERTION`]: the core's
/// assertions are findings like any other.
///
/// # Errors
///
/// Returns the violation that `run` returned, or the one that its panic was turned into.
pub fn guarded<T>(run: impl FnOnce() -> Result<T, Violation>) -> Result<T, Violation> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "a panic without a message".into());
        broken(ASSERTION, text)
    })
}

#[cfg(test)]
mod tests {
    use super::{ASSERTION, broken, guarded};

    #[test]
    fn a_panic_becomes_a_violation_with_its_message() {
        let violation = guarded::<()>(|| panic!("{} is odd", 3)).expect_err("it panicked");
        assert_eq!((violation.rule, violation.text.as_str()), (ASSERTION, "3 is odd"));
        let violation = guarded::<()>(|| panic!("odd")).expect_err("it panicked");
        assert_eq!((violation.rule, violation.text.as_str()), (ASSERTION, "odd"));
    }

    #[test]
    fn a_result_passes_through() {
        assert_eq!(guarded(|| Ok(7)), Ok(7));
        let violation = guarded::<()>(|| broken("a rule", "why".into())).expect_err("it is broken");
        assert_eq!(violation.to_string(), "a rule: why");
    }
}
