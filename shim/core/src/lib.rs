//! The AFT protocol as a pure state machine.
