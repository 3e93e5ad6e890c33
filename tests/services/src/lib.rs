//! Real servers for the tests: third-party programs, built or downloaded once, started as separate
//! processes on loopback, and killed, paused and restarted by the tests.
//!
//! ```no_run
//! use aft_services::Service;
//!
//! // None if AFT_SKIP_SERVICES names it (the test then counts as skipped). A panic, with a message
//! // that says what to do, if it was not fetched or does not start.
//! let Some(mut server) = Service::Minio.start_or_skip() else { return };
//! server.create_bucket("aft").expect("a fresh server takes a bucket");
//! println!("{} {} {}", server.endpoint(), server.access_key(), server.secret_key());
//! server.kill(); // SIGKILL
//! server.restart().expect("its data is still there");
//! ```
//!
//! * [`service`] – the list of services. Each has a file with its version, how it is made and how
//!   it is started: [`minio`], [`moto`], [`redis`], [`dynamodb`], and for the long tests [`ceph`].
//!   The figures compare AFT with others: [`etcd`], [`restate`], [`powertools`] (a library, not a
//!   server).
//! * [`home`] – the directory in which they are kept; [`fetch`] – brings them there, once; [`tool`]
//!   – the programs that make them.
//! * [`program`] – a program of the project or of the test, which is run in the same way.
//! * [`server`] – a running service; [`supervised`] – its process, which never outlives ours;
//!   [`port`], [`health`], [`log`].
//! * [`skip`] – `AFT_SKIP_SERVICES`.
//!
//! Tests never fetch: `cargo xtask test` does it first, as a separate step. Not for production: one
//! drive, well-known keys.

mod ceph;
mod dynamodb;
mod error;
mod etcd;
mod fetch;
mod health;
mod home;
mod lambda_runtimes;
mod log;
mod minio;
mod moto;
mod port;
mod powertools;
mod program;
mod redis;
mod restate;
mod s3_clients;
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
