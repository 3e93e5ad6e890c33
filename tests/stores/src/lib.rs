//! What the tests of stores against real servers have in common.
//!
//! * [`Bucket`] – a running server with an empty bucket, and stores on it.
//! * [`Table`] – a running server with a table of DynamoDB, and stores on it.
//! * [`Front`] – an HTTP server before another one, that counts, and breaks what it is told to break.
//! * [`aft`] – the binary, with the credentials of a server.

mod binary;
mod bucket;
mod front;
mod table;

pub use binary::{Ran, Serving, aft, aft_in, serve};
pub use bucket::Bucket;
pub use front::{Act, Front, Rewrite, RewriteAnswer, Seen};
pub use table::Table;
