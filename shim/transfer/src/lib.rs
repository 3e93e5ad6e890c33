//! Import and export: existing objects become versions of a store, and the committed state of a
//! bucket becomes plain objects again, as one snapshot.
//!
//! ```text
//!   a bucket or directory ─► import ─► aft-door-s3::objects ─► export ─► a bucket or directory
//!     link · files             source     (transactions)         plan      link · files
//! ```
//!
//! * [`import`] – brings objects in; `import/source` – where they are.
//! * [`export`] – writes a snapshot; `export/plan` – names, and what has changed since the last
//!   one; `export/target` – where it goes.
//! * [`Place`] (`place`) – a bucket or a directory, as the command line names it. `link` – requests
//!   to a bucket; `files` – a directory; `sending` – an object in the requests that keep its tag.
//! * [`open_origin`] – a bucket through which one of the S3 endpoint's reads (`link/origin`).
//! * `manifest` – the list of an export's objects, with everything that a plain file cannot hold.
//!   `names` – keys as names of files.
//! * `progress` – a bar on a terminal.
//!
//! This crate takes no decision about transactions and knows no store: the operations of the S3
//! door do the reading and writing.

pub mod export;
mod files;
pub mod import;
mod link;
mod manifest;
mod names;
mod place;
mod progress;
mod sending;

pub use link::open_origin;
pub use place::Place;

/// The reason why a transfer failed or was rejected, for people, with the remedy.
pub type Failed = String;

/// The number of objects that are transferred at once: enough to hide the latency of a store and
/// of a bucket. Each holds a few parts of 8 MiB in memory.
const OBJECTS_AT_ONCE: usize = 8;

/// Returns the text for an object in a message: its key, and the reason.
fn of_key(key: &str, why: impl std::fmt::Display) -> String {
    format!("{key:?}: {why}")
}
