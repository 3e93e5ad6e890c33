//! Tests of the native API as a client sees it: a real node over a store in memory, behind real
//! doors, over a real socket.

mod api;
mod bad_inputs;
mod conditions;
mod credentials;
mod fuzz;
mod large_values;
mod openapi;
mod stalled_readers;
mod support;
mod tls;
mod walk;
mod web_pages;
