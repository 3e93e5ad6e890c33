//! Goal: the durable formats keep what they are given, keep the documented order, find damage, and never change by accident.
//! Method: property tests over generated names and bodies, mutations of valid bytes, arbitrary bytes, and golden files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in helpers too")]

#[path = "durable/fuzz.rs"]
mod fuzz;
#[path = "durable/generate.rs"]
mod generate;
#[path = "durable/golden.rs"]
mod golden;
#[path = "durable/order.rs"]
mod order;
#[path = "durable/round_trip.rs"]
mod round_trip;
#[path = "durable/tokens.rs"]
mod tokens;
