//! The embedded durable store: a directory on a local disk, on an LSM tree (fjall).
//!
//! * [`LocalStore`] – the store; [`Options`] – how to open it; [`OpenError`] – why it refused.
//!
//! # Requests and cost
//! A write costs its share of one sync: one thread merges all that is queued into one batch. A
//! commit of any number of small pieces is one change of one batch, so one sync for it and for
//! everything else that arrived meanwhile, and it is there whole or not at all: a record is never
//! there without its entries. A commit whose record exists writes nothing; if any piece is refused,
//! all are. A body beyond 64 KiB is a file of its own, with two syncs of its own. A read costs
//! microseconds when its blocks are in memory. A page of a scan is one walk of up to 512 names,
//! without bodies.
//!
//! # What an acknowledgement means
//! The journal is synced to the disk (`fdatasync`). What a read returns is always durable: see `tree`.
//!
//! # Which damage is found, and when
//! | damage | found |
//! |---|---|
//! | flipped or overwritten bytes in a journal, anywhere before the end of its last acknowledged batch | at open: refused, with file and place |
//! | a journal cut short, zeroed, or missing | at open: refused, if an acknowledged batch was in it that the tables do not have |
//! | the end of the journal lost or damaged after a *power cut*, in the batches acknowledged since `ACKED` was last written back (seconds) | only if whole batches follow it; else it looks like a torn end, and is cut off |
//! | flipped bytes in a table, a value log or a body file | when it is read: `Damaged`, naming the object; table metadata at open |
//! | a missing table, value log or manifest | at open: refused |
//! | a missing body file | when it is read: `Damaged` |
//! | a value under another name, or another version of a value under its own name in a table | the former when it is read; the latter not |
//! | the whole directory replaced by an older copy | not |
//! | the file `ACKED` removed | a warning; for that one open, a lost end of the journal goes unseen |
//!
//! Not adversaries: checksums are not signatures. And not a disk that acknowledges syncs that it did not do, beyond what the table says.
//!
//! # What it is not
//! Shared: one process a directory. Fast to list over what was just deleted: an LSM tree walks over deletions until they are
//! compacted away.

mod bodies;
mod chain;
mod checksum;
mod committer;
mod error;
mod home;
mod journal;
mod key;
mod reads;
mod store;
mod tree;
mod value;

pub use error::OpenError;
pub use store::{LocalStore, Options};
