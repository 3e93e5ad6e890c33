//! HTTP doors: the native API, from the socket to the node and back.
//!
//! ```text
//!   listener ──► router ──► native::{transactions, keys, listing, requests} ──► NodeHandle::ask
//!   (limits)   (routes,     (decode, resolve large values)                         │
//!               meters)  ◄── problem documents, JSON or protobuf, raw values ◄─────┘
//! ```
//!
//! * [`Doors`] – what the handlers share: the node, the settings. [`Settings`] – every bound, with its reason.
//! * [`router`] – the API as a service; [`ROUTES`] – what it consists of; [`OPENAPI`] – the same for clients.
//! * [`serve`] – serves it on a listener (`aft-net`) until told to stop.
//! * [`Meters`] – Prometheus.
//!
//! # A client that goes away
//! loses nothing that was acknowledged. A call whose client has disconnected is dropped where it waits: a verb that the node has taken is
//! carried out all the same, so a commit stands or falls as a whole, and the request's ID tells which; a transaction that nobody heard of
//! is aborted; one that is left open ends by its deadline.
//!
//! # A client that does not read
//! holds what was to be sent to it: a large reply within the bound for all large bodies (`share`), and for a time (`aft-net`).
//!
//! # Never a 500
//! Whatever a client sends and whatever the store does has a code of its own (`aft_api::Code`). What remains is a broken invariant,
//! which panics: the connection is cut, and the node says why in its log. Two answers come from the HTTP library and have no body: 400 for bytes that
//! are no HTTP, and 431 or 414 for a head beyond 64 KiB or 100 lines.
//!
//! # Who gets in
//! is in `aft-access`: every handler of the API takes a `Caller`, which has a tenant; without one there is no key, no transaction and no request to
//! speak of. Without credentials everybody is the tenant `local`, and the binary binds to loopback.
//!
//! What is not here: no protocol decision, no durable format, no file of credentials (the binary's).

mod arriving;
mod auth;
mod body;
mod caller;
mod failure;
mod meters;
mod native;
mod openapi;
mod path;
mod router;
mod settings;
mod share;

pub use meters::Meters;
pub use openapi::OPENAPI;
pub use router::{Doors, ROUTES, router, serve};
pub use settings::Settings;
