//! Durable and peer formats, and the HTTP API's types.

pub mod durable;
pub mod http;
