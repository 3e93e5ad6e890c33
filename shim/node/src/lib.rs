//! The driver: one event loop that owns the state machine.
