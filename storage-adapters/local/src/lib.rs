//! The embedded durable store: a directory on a local disk, kept in an LSM tree (fjall).
//!
//! * [`LocalStore`] – the store; [`Options`] – its settings; [`OpenError`] – the reasons for which
//!   a directory is not opened.
//!
//! The lock on the directory, the chain of batches and the check of the journals are in
//! [`aft_disk`].
//!
//! # Requests and cost
//! A write costs its share of one sync: one thread merges all queued writes into one batch. A
//! commit of any number of small pieces is one change of one batch. So it shares one sync with
//! everything else that arrived meanwhile, and it exists whole or not at all: a record never exists
//! without its entries. A commit whose record exists writes nothing; if any piece is refused, all
//! are. A body over 64 KiB is a file of its own, which takes two syncs of its own. A read takes
//! microseconds if its blocks are in memory. A page of a scan is one walk over up to 512 names,
//! without bodies.
//!
//! # What an acknowledgement means
//! A write is acknowledged once the journal is synced to the disk (`fdatasync`). A read returns
//! durable data only: see `tree`.
//!
//! # Full disks and other troubles that pass
//! Before a batch or a body's file is written, the store looks at the free room. Below a reserve it
//! rejects the write with `Refused`, which says how much is free and what to do: nothing was
//! written, reads go on, and so do writes as soon as there is room. Deletions and notes of upkeep
//! may use half of the reserve. See `reserve` for its size.
//!
//! If the tree fails nevertheless (a full disk, used-up descriptors, an error of a sync), the
//! writes in flight end in `NoAnswer`, and later ones in `Busy` or `Refused`, which have no effect.
//! Reads go on. When room and descriptors are back, the tree is opened again, with the checks of
//! any open; reads wait meanwhile, for 5 seconds at most. A write that ended in `NoAnswer` has an
//! effect only if reads found it at once, or if the process dies before the tree is open again. See
//! `heal`.
//!
//! If the tree cannot be opened again, or fails at its first commit again and again, the store
//! ends: writes are refused with the reason that [`ended`](aft_store::Store::ended) returns, and so
//! are reads if no tree is open. Then the process must be restarted.
//!
//! # Who can read it
//! A new store's directories and its own files can be used by their owner only. The tree makes its
//! files as the process's umask says, in such a directory. A directory that existed before keeps
//! its mode.
//!
//! # Which damage is found, and when
//! Found at open, which then fails and names the file and the place; also when the tree is opened
//! again, which then ends the store:
//! * flipped or overwritten bytes in a journal, anywhere before the end of its last acknowledged
//!   batch;
//! * a journal that is cut short, zeroed or missing, if it held an acknowledged batch that the
//!   tables do not have;
//! * damage to the metadata of tables;
//! * a missing table, value log or manifest.
//!
//! Found at the read of the object, which then fails with `Damaged` and names the object:
//! * flipped bytes in a table, a value log or a body file;
//! * a missing body file;
//! * a value under another name.
//!
//! Not found, or not always:
//! * after a *power cut*, a lost or damaged end of the journal, in the batches acknowledged since
//!   `ACKED` was last written back (seconds). It is found only if whole batches follow it;
//!   otherwise it looks like a torn end, and is cut off;
//! * another version of a value under its own name in a table;
//! * an older copy in place of the whole directory;
//! * the removal of the file `ACKED`. The open logs a warning, and this one time does not see a
//!   lost end of the journal.
//!
//! Deliberate changes are not found either, since checksums are not signatures. Nor is a disk that
//! acknowledges syncs without doing them, beyond what the lists say.
//!
//! # What it is not
//! It is not shared: one process at a time opens a directory. And it is not fast at listing names
//! beside many that were just deleted: an LSM tree walks over deletions until they are compacted
//! away.

mod bodies;
mod committer;
mod heal;
mod home;
mod key;
mod reads;
mod reserve;
mod slot;
mod store;
mod tree;
mod value;

pub use aft_disk::OpenError;
pub use store::{LocalStore, Options};
