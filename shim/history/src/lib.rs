//! Histories and the read-atomic checker.
