//! The native door: the HTTP API, from the router to the desk and back.
//!
//! ```text
//!   aft-net ──► router ──► calls::{transactions, keys, listing, requests, …} ──► aft-desk ──► node
//!               (routes,     (decode)                                               │
//!                meters)  ◄── problem documents, JSON or protobuf, raw values ◄─────┘
//! ```
//!
//! * [`Door`] – the parts that the handlers share: the desk, the network's settings, the meters.
//! * [`router`] – the API as a service; [`ROUTES`] – its calls; [`OPENAPI`] – the same for clients.
//! * [`serve`] – serves the API on a listener until it is stopped.
//! * [`Meters`] – Prometheus metrics.
//! * `calls` – the handlers, one file for each kind of call. Each takes a `Caller`; without one it
//!   can use no key, no transaction and no request.
//! * `failure` – the one place that maps errors to codes and messages.
//!
//! # Never a 500
//! Every input of a client and every failure of the store has a code of its own (`aft_api::Code`).
//! What remains is a broken invariant, which panics: the connection is closed, and the node logs
//! the reason. Two answers come from the HTTP library and have no body: 400 for bytes that are not
//! HTTP, and 431 or 414 for a head beyond 64 KiB or 100 lines.
//!
//! This crate has no protocol decision, no durable format, no rights and quotas (see the desk) and
//! no sockets (see `aft-net`).

mod auth;
mod body;
mod caller;
mod calls;
mod failure;
mod meters;
mod names_in_query;
mod openapi;
mod path;
mod process;
mod router;
mod settings;

pub use meters::Meters;
pub use openapi::OPENAPI;
pub use router::{Door, ROUTES, router, serve};
