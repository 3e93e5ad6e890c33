//! The network side of a door: from a listener to whole requests, and from replies to the socket.
//!
//! ```text
//!   listener ─► TLS, if any ─► stall guard ─► HTTP/1.1 or HTTP/2 ─► the door's router
//!   (connections at once)      (closes on a   (head limits)       │
//!                               peer that                         ├─ body: bounded bytes and time
//!                               reads nothing)                    └─ reply: large ones in pieces
//! ```
//!
//! * [`serve`] (`listener`) – accepts connections until it is stopped, then finishes the calls in
//!   flight. [`Settings`] – every bound, with its reason.
//! * `places` – the bounds on connections, for all peers and for one, and the one that leaves if
//!   they run out.
//! * [`Tls`], [`TlsMaterial`], [`Peer`] (`tls`) – certificates, replaced while connections stay
//!   open.
//! * [`body`] – request bodies within a size, a time and a budget for all; the rest of a rejected
//!   body is read, so that its client can read the answer.
//! * [`browser`] – keeps web pages out of a server that asks for no credentials.
//! * [`reply`] – large replies that hold their share of memory until the last byte has left.
//! * `stall` – ends connections whose peer reads nothing.
//!
//! This crate knows no caller, no transaction and no protocol of a door. The budget for memory is a
//! trait ([`body::Budget`]); doors share one.

pub mod body;
pub mod browser;
mod listener;
mod places;
pub mod reply;
mod settings;
mod stall;
mod tls;

pub use listener::{header_bytes, serve};
pub use settings::Settings;
pub use tls::{CertificateTime, Peer, Tls, TlsError, TlsMaterial, certificate_time};
