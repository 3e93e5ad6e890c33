//! The layer under a local Lambda, with the runtime client of AWS for Python and handlers that know
//! nothing of it.
//!
//! Run it alone with `cargo test -p aft-layer --test lambda`. It needs the services
//! `lambda-runtimes`, `minio` and `dynamodb`, and the server: `cargo build -p aft`.

mod calls;
mod conformance;
mod levels;
mod managed;
mod orders;
mod records;
mod requests;
mod scene;
mod torture;
