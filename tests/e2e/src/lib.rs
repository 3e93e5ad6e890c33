//! The harness of the end-to-end tests: real processes, real sockets, signals.
//!
//! * [`binary`] – finds the binary `aft`, and runs one of its commands to the end.
//! * [`server`] – `aft serve` as a child process: start, kill -9, SIGTERM, restart on the same
//!   directory.
//! * [`real_store`] – the same on a store that is a real server.
//! * [`versions`] – the versions of commits, as stamps of a history.
//! * [`wall_clock`] – a wall clock that is wrong, for those processes.
//! * [`client`] – HTTP with the API's own types.
//!
//! The harness does not decide what is right: the tests do, and `aft-history`.

pub mod binary;
pub mod client;
pub mod real_store;
pub mod server;
pub mod versions;
pub mod wall_clock;
