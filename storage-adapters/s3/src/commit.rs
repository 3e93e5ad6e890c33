//! The writes of one commit: a PUT for each piece, many at once.
//!
//! ```text
//!   PUT record (If-None-Match: *) ─┐
//!   PUT entry                     ─┤  up to 64 in flight;
//!   PUT entry                     ─┤  n entries take about ⌈(n + 1) / 64⌉ round trips
//!   …                             ─┘
//! ```
//!
//! The record is sent first. If its name turns out to be taken, this commit has lost, and the
//! entries that are not sent yet are skipped: nobody needs them, and a sweep would have to delete
//! them.

use std::sync::atomic::{AtomicBool, Ordering};

use aft_store::{Committed, Created, Name, Result, Store as _, Writes};
use bytes::Bytes;
use futures::StreamExt as _;

use crate::S3Store;

/// The number of requests of one commit in flight at once. A store sends 256 for all its callers,
/// so four large commits fill it; a commit of 1,000 keys takes 16 round trips.
const COMMIT_REQUESTS_MAX: usize = 64;

/// A piece to write; an entry has its index among the puts.
enum Piece {
    Record(Name, Bytes),
    Entry(usize, Name, Bytes),
}

/// The outcome of a piece's write.
enum Done {
    Record(Result<Created>),
    Entry(usize, Result<()>),
}

/// Writes the pieces of a commit, and returns the outcome of each.
pub(crate) async fn commit(store: &S3Store, writes: Writes) -> Committed {
    let Writes { create, puts } = writes;
    let mut committed = Committed { created: None, puts: vec![Ok(()); puts.len()] };
    let (has_record, taken) = (create.is_some(), AtomicBool::new(false));
    let record = create.map(|(name, body)| Piece::Record(name, body));
    let entries = puts.into_iter().enumerate().map(|(at, (name, body))| Piece::Entry(at, name, body));
    // The pieces are started in this order, so the record is the first to queue for a permit.
    let pieces = futures::stream::iter(record.into_iter().chain(entries));
    let done = pieces.map(|piece| write(store, piece, &taken)).buffer_unordered(COMMIT_REQUESTS_MAX);
    let mut done = std::pin::pin!(done);
    while let Some(done) = done.next().await {
        match done {
            Done::Record(created) => committed.created = Some(created),
            Done::Entry(at, outcome) => committed.puts[at] = outcome,
        }
    }
    assert_eq!(committed.created.is_some(), has_record, "only a commit with a record has its outcome");
    committed
}

/// Writes a piece. An entry that starts after the record's name was found to be taken is skipped,
/// and reported as done; those in flight by then continue.
async fn write(store: &S3Store, piece: Piece, taken: &AtomicBool) -> Done {
    match piece {
        Piece::Record(name, body) => {
            let created = store.create(&name, body).await;
            taken.store(created == Ok(Created::Exists), Ordering::Relaxed);
            Done::Record(created)
        }
        Piece::Entry(at, ..) if taken.load(Ordering::Relaxed) => Done::Entry(at, Ok(())),
        Piece::Entry(at, name, body) => Done::Entry(at, store.put(&name, body).await),
    }
}
