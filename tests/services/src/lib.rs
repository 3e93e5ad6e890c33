//! Real servers for the tests: programs of other people, built or downloaded once, started as separate processes on loopback, and
//! killed, paused and restarted by whoever tests against them.
//!
//! ```no_run
//! use aft_services::Service;
//!
//! // None if AFT_SKIP_SERVICES names it (the test then counts as skipped); a panic that says what to do if it cannot be had.
//! let Some(mut server) = Service::Minio.start_or_skip() else { return };
//! server.create_bucket("aft").expect("a fresh server takes a bucket");
//! println!("{} {} {}", server.endpoint(), server.access_key(), server.secret_key());
//! server.kill(); // SIGKILL
//! server.restart().expect("its data is still there");
//! ```
//!
//! * [`service`] – which there are; one file each has its version, its making and its start: [`minio`], [`moto`], [`redis`], [`dynamodb`], and for the long tests
//!   [`ceph`]. The figures compare AFT with others: [`etcd`], [`restate`], [`powertools`] (a library, no server).
//! * [`home`] – where they are kept; [`fetch`] – how they come there, once; [`tool`] – the programs that make them.
//! * [`program`] – a program of ours or of the reader's that lives as a service does.
//! * [`server`] – one that runs; [`supervised`] – its process, that never outlives ours; [`port`], [`health`], [`log`].
//! * [`skip`] – `AFT_SKIP_SERVICES`.
//!
//! Fetching is never done by a test: `cargo xtask test` does it first, as a step of its own. Not for production: one drive, known keys.

mod ceph;
mod dynamodb;
mod error;
mod etcd;
mod fetch;
mod health;
mod home;
mod log;
mod minio;
mod moto;
mod port;
mod powertools;
mod program;
mod redis;
mod restate;
mod server;
mod service;
mod skip;
mod supervised;
mod tool;

pub use error::Error;
pub use fetch::Fetched;
pub use home::Home;
pub use program::Program;
pub use server::Server;
pub use service::Service;
