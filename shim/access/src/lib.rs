//! The callers of a server: credentials, the rights of each, and its limits.
//!
//! ```text
//!   a call's head ─► a door ─► Access::tenant ─► Tenant ─► rights, prefix, limits
//!                    (token or certificate, as its protocol carries them)
//! ```
//!
//! * [`Access`], [`Presented`] (`access`) – open to everybody, or guarded by a book of credentials
//!   that can be replaced while connections stay open.
//! * [`Credential`], [`Rights`], [`Right`], [`Limits`], [`Book`] (`credential`) – what is known of
//!   one caller, and of all.
//! * [`TokenHash`], [`Secret`] (`secret`) – bearer tokens, in types that do not show them.
//! * [`Tenant`], [`Load`], [`Quota`] (`usage`) – the calls, bytes and open work of a credential,
//!   counted against its limits.
//! * `seal` – binds an ID to the credential that drew it, without remembering either.
//! * [`Denied`], [`Unauthorized`] (`denied`) – every reason to turn a call away.
//! * [`file`] – the credentials file.
//!
//! The reasons, and what this does not protect from whom: decision 0009.
//!
//! What is not here: no transaction, no key type, no HTTP and no TLS. Open work is named by sixteen
//! opaque bytes, so that other servers can use this crate as well.

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
pub use secret::{Secret, TokenHash};
pub use usage::{Load, Quota};
