//! Who gets in: credentials, what each may do, and how much.
//!
//! ```text
//!   head of a call ─► Access::caller ─► Caller ─► keys, openings, bodies, listings, look-ups
//!                     (token or         (what every handler of the API takes: without one
//!                      certificate)      there is no key and no transaction to speak of)
//! ```
//!
//! * [`Access`] (`access`) – none configured, or a book of credentials that can be exchanged while connections stay open.
//! * [`Credential`], [`Rights`], [`Right`], [`Limits`], [`Book`], [`TokenHash`], [`Secret`] (`credential`, `secret`) – what a credentials file says.
//! * `caller` – a call's credential beside the doors: the one way to a key, to an opening, and to the bound for bodies.
//! * `attempts` – binds a transaction's token to the credential that opened it, without remembering either.
//! * `usage` – open transactions, calls and bytes of a credential, against its limits.
//!
//! Why it is so, and what it does not keep from whom: docs/decisions/0009.
//!
//! What is not here: no file format (the binary's), no TLS (`tls`), no access keys of the S3 endpoint yet.

mod access;
mod attempts;
mod caller;
mod credential;
mod secret;
mod usage;

pub use access::Access;
pub(crate) use access::Peer;
pub(crate) use caller::{Caller, Place};
pub(crate) use credential::Tenant;
pub use credential::{
    Book, BookError, CREDENTIALS_MAX, Credential, Limits, NAME_BYTES_MAX, PREFIX_BYTES_MAX, Right, Rights,
    TOKENS_MAX,
};
pub use secret::{Secret, TokenHash};
pub(crate) use usage::{Load, Quota};
