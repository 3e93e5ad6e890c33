//! The description of the API for clients. `openapi.json` is written by hand, and
//! `tests/native/openapi.rs` compares it with the routes, codes and types.

/// The OpenAPI 3.1 document, as `/openapi.json` serves it.
pub const OPENAPI: &str = include_str!("openapi.json");
