//! The callers of a server: credentials, the rights of each, and its limits.
//!
//! ```text
//!   a call's head ─► a door ─► Access::tenant ─► Tenant ─► rights, prefix, limits
//!                    (token or certificate, as its protocol carries them)
//! ```
//!
//! * [`Access`], [`Presented`] (`access`) – open to every caller, or guarded by a book of
//!   credentials that can be replaced while connections stay open.
//! * [`Credential`], [`Rights`], [`Right`], [`Limits`], [`Book`] (`credential`) – one caller, and
//!   the index of all.
//! * [`TokenHash`], [`Secret`], [`AccessKey`] (`secret`) – bearer tokens, and access keys of the S3
//!   endpoint, in types whose debug output hides them.
//! * [`Tenant`], [`Load`], [`Quota`] (`usage`) – the calls, bytes and open work of a credential,
//!   counted against its limits.
//! * `seal` – binds an ID to the credential that drew it, without storing either.
//! * [`Denied`], [`Unauthorized`] (`denied`) – every reason to deny a call.
//! * [`file`] – the credentials file.
//!
//! `docs/decisions/0009` has the reasons, and the threats that this does not protect against.
//!
//! This crate knows no transaction, no key type, no HTTP and no TLS. Open work is named by sixteen
//! opaque bytes, so that other servers can use the crate as well.

mod access;
mod credential;
mod denied;
pub mod file;
mod seal;
mod secret;
mod usage;

pub use access::{Access, Presented};
pub use credential::{
    Book, BookError, CREDENTIALS_MAX, Credential, Limits, NAME_BYTES_MAX, PREFIX_BYTES_MAX, Right, Rights,
    TOKENS_MAX, Tenant,
};
pub use denied::{Denied, Unauthorized};
pub use secret::{AccessKey, Secret, TokenHash};
pub use usage::{Load, Quota};
