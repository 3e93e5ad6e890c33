//! The steps of an attempt, and the points at which it can die.
//!
//! The steps are common to all ways. An attempt can also die at a step where its way does nothing
//! (plain functions claim nothing).

use crate::exactly_once::counter::Counter;
use crate::platform::fate::Point;

/// The steps of an attempt, in order. Each is one call, except a claim that meets another attempt's
/// record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Plain: nothing. Record: create the record, or take it over. Shim: begin the transaction.
    Claim,
    /// Read a counter.
    Read(Counter),
    /// Write a counter, incremented by one.
    Write(Counter),
    /// Plain: nothing. Record: mark the record as done. Shim: commit.
    Finish,
}

/// The point of an attempt's death, relative to a step's call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The call is not made.
    Before,
    /// The call is made, but its answer is not seen.
    After,
}

impl Point for (Step, Side) {
    const ALL: &'static [(Step, Side)] = &[
        (Step::Claim, Side::Before),
        (Step::Claim, Side::After),
        (Step::Read(Counter::A), Side::Before),
        (Step::Read(Counter::A), Side::After),
        (Step::Write(Counter::A), Side::Before),
        (Step::Write(Counter::A), Side::After),
        (Step::Read(Counter::B), Side::Before),
        (Step::Read(Counter::B), Side::After),
        (Step::Write(Counter::B), Side::Before),
        (Step::Write(Counter::B), Side::After),
        (Step::Finish, Side::Before),
        (Step::Finish, Side::After),
    ];
}
