//! The types of the native HTTP API, shared by clients and the door, in JSON and in protobuf.
//!
//! * [`Begin`], [`Batch`], [`Op`], [`Commit`] – requests.
//! * [`Reply`], [`Read`], [`Listing`], [`Request`] – replies.
//! * [`Problem`], [`Code`], [`Action`] – every error, as RFC 9457 problem details.
//! * [`Format`] – the two encodings, by content type. One set of types serves both: in JSON, bytes
//!   are base64 text and absent fields are left out; in protobuf, bytes are bytes, so that calls
//!   with several values need no base64. Problems are always JSON.
//! * [`header`] – names of headers.
//! * [`merge_sessions`] – one session token for two of one client.
//!
//! Unknown JSON fields are rejected in requests (a misspelt `retention_s` is a mistake) and ignored
//! in replies (an older client may talk to a newer server).

mod base64_text;
mod format;
pub mod header;
mod operation;
mod problem;
mod reply;
mod request;
mod session;
#[cfg(test)]
mod tests;
mod time;

pub use format::{Format, Malformed, RequestBody};
pub use operation::{Add, OPS_LEN_MAX, Op, OpIf, OpKind, Put};
pub use problem::{Action, Code, PROBLEM_CONTENT_TYPE, Problem};
pub use reply::{Listed, Listing, Read, Reply, Request};
pub use request::{Batch, Begin, Commit, IfOpen, Isolation};
pub use session::{MERGED_COVER_MS, UnreadableSession, merge_sessions};
pub use time::rfc3339;
