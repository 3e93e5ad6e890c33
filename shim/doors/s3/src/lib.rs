//! The S3 door: ordinary S3 clients, and every call a transaction or a part of one.
//!
//! ```text
//!   aft-net ─► door ─────────► protocol ─► operations ─► aft-desk ─► node
//!              (head, caller)  (s3s: signatures, XML)
//!              └ unchecked     └ endpoint: a call taken apart, an answer put together
//!                (no signature to check: decode the framing)
//! ```
//!
//! * [`Door`], [`serve`] (`door`) – the layer around every call. [`Settings`] – its bounds.
//! * `unchecked` – calls whose signature is not checked; `signed` – what the check of a signature
//!   by the protocol's library leaves out. `form` – forms of browsers.
//! * `prepare` – what S3 reads more leniently than the protocol's library; `finish` – what it
//!   writes besides.
//! * `protocol` – the only module that names the crate `s3s`.
//! * `call` – a call, and the transaction that it belongs to; the runs of one of its own.
//! * `operations` – what the operations do, without the protocol's types.
//! * `object`, `attributes`, `conditions`, `checksum`, `body` – their parts.
//! * [`objects`] – the operations without the protocol, for import and export.
//! * [`origin`] – buckets that read through to one outside the store; [`mirror`](mirror()) – writes
//!   commits to it.
//! * [`upkeep`] – deletes the parts of uploads that nothing needs any more.
//! * `failure` – the one place that maps errors to codes of the protocol.
//!
//! This crate has no protocol decision about transactions, no durable format, no rights and quotas
//! (see the desk) and no sockets (see `aft-net`).

mod attributes;
mod body;
mod call;
mod checksum;
mod conditions;
mod door;
mod failure;
mod finish;
mod form;
mod mirror;
mod object;
pub mod objects;
mod operations;
pub mod origin;
mod prepare;
mod protocol;
mod settings;
mod signed;
mod unchecked;
mod upkeep;
mod url_text;

pub use door::{Door, router, serve};
pub use mirror::mirror;
pub use operations::buckets::{check_own_buckets, create_buckets};
pub use settings::Settings;
pub use upkeep::upkeep;
