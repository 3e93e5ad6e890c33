//! A trace of the files that a call passes, for the test that follows the walks of ARCHITECTURE.md.
//!
//! [`room!`](crate::room) marks the files that are on the way of a call, here and in the crates
//! that drive the core. It is nothing unless a test turns the feature `rooms` on; then each mark is
//! noted in the order in which this thread passes it.

use std::cell::RefCell;

thread_local! {
    static PASSED: RefCell<Option<Vec<&'static str>>> = const { RefCell::new(None) };
}

/// Starts a trace on this thread.
pub fn start() {
    PASSED.with_borrow_mut(|passed| *passed = Some(Vec::new()));
}

/// Ends the trace, and returns the files that were passed, each as often as it was passed.
///
/// # Panics
/// Panics if no trace was started on this thread.
pub fn take() -> Vec<&'static str> {
    PASSED.take().expect("a trace was started on this thread")
}

/// Notes a file. Called by [`room!`](crate::room).
pub fn pass(file: &'static str) {
    PASSED.with_borrow_mut(|passed| {
        if let Some(passed) = passed {
            passed.push(file);
        }
    });
}
