//! Goal: the durable formats keep what they are given, keep the documented order, find damage, and
//! never change by accident. Method: property tests over generated names and bodies, mutations of
//! valid bytes, arbitrary bytes, golden files, and a small driver over a store in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in helpers too")]

#[path = "format/about.rs"]
mod about;
#[path = "format/driver.rs"]
mod driver;
#[path = "format/fuzz.rs"]
mod fuzz;
#[path = "format/generate.rs"]
mod generate;
#[path = "format/golden.rs"]
mod golden;
#[path = "format/order.rs"]
mod order;
#[path = "format/pages.rs"]
mod pages;
#[path = "format/round_trip.rs"]
mod round_trip;
#[path = "format/tokens.rs"]
mod tokens;
