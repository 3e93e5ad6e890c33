//! The native API as a client meets it: a real node over a store in memory, behind real doors, over a real socket.

mod api;
mod bad_inputs;
mod conditions;
mod fuzz;
mod large_values;
mod openapi;
mod stalled_readers;
mod support;
mod tls;
mod who;
