//! The HTTP API's types, as clients and doors speak them.

pub mod http;
