//! The parts of an embedded store that are about its directory on a local disk and not about what
//! it stores: one process at a time, and no acknowledged batch is lost without notice.
//!
//! * [`Home`] – a directory that this process holds: its format, its lock, and known damage.
//!   [`Layout`] – the names in it.
//! * [`Link`], [`Digest`] – the numbers and digests that chain the batches of a journal.
//! * [`Acked`] – the number of the newest acknowledged batch.
//! * [`Journals`] – the check of the journals before the LSM tree opens them.
//! * [`Room`], [`descriptors_left`], [`open_files`] – what the file system and the process have
//!   left, for a store that waits for it.
//! * [`OpenError`] – the reasons for which a directory is not opened. [`passes`] – tells which
//!   errors of the file system end by themselves.
//! * [`xxh64`] – the checksum of all of these, for stored values as well.
//! * [`sync_dir`] – makes the entries of a directory durable. [`make_private_dir`],
//!   [`write_private`] – make a directory or a file that only its owner can use.
//!
//! The journals are those of the LSM tree fjall. This crate knows their layout in bytes only: the
//! store opens the tree, and writes each batch with a [`Link`] as its last item.
//!
//! It does not know what a store is, and nothing in it awaits: every call blocks.

mod acked;
mod chain;
mod checksum;
mod descriptors;
mod error;
mod home;
mod journal;
mod room;

pub use acked::Acked;
pub use chain::{Digest, Link};
pub use checksum::xxh64;
pub use descriptors::{descriptors_left, open_files};
pub use error::{OpenError, passes};
pub use home::{Home, Layout, make_private_dir, sync_dir, write_private};
pub use journal::Journals;
pub use room::Room;
