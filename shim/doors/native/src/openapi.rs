//! The API for clients: kept by hand in `openapi.json`, and held against the routes, codes and types by `tests/native/openapi.rs`.

/// The OpenAPI 3.1 document, as `/openapi.json` serves it.
pub const OPENAPI: &str = include_str!("openapi.json");
