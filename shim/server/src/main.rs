//! The binary `aft`.
fn main() {}
