//! What one commit writes: a PUT for each piece, many at once.
//!
//! ```text
//!   PUT record (If-None-Match: *) ─┐
//!   PUT entry                     ─┤  up to 64 under way;
//!   PUT entry                     ─┤  n entries take ⌈(n + 1) / 64⌉ round trips or so
//!   …                             ─┘
//! ```
//!
//! The record goes first. Where its name turns out to be taken, this commit has lost, and the entries
//! that were not sent yet stay away: nobody needs them, and somebody would have to delete them.

use std::sync::atomic::{AtomicBool, Ordering};

use aft_store::{Committed, Created, Name, Result, Store as _, Writes};
use bytes::Bytes;
use futures::StreamExt as _;

use crate::S3Store;

/// Requests of one commit under way at once. A store takes 256 of all its callers, so four large
/// commits fill it; a commit of 1,000 keys takes 16 round trips.
const COMMIT_REQUESTS_MAX: usize = 64;

/// A piece that is to be written; an entry with its place among the puts.
enum Piece {
    Record(Name, Bytes),
    Entry(usize, Name, Bytes),
}

/// The outcome of a piece.
enum Done {
    Record(Result<Created>),
    Entry(usize, Result<()>),
}

pub(crate) async fn commit(store: &S3Store, writes: Writes) -> Committed {
    let Writes { create, puts } = writes;
    let mut committed = Committed { created: None, puts: vec![Ok(()); puts.len()] };
    let (has_record, taken) = (create.is_some(), AtomicBool::new(false));
    let record = create.map(|(name, body)| Piece::Record(name, body));
    let entries = puts.into_iter().enumerate().map(|(at, (name, body))| Piece::Entry(at, name, body));
    // Started in this order: the record is the first that asks for a turn at the link.
    let pieces = futures::stream::iter(record.into_iter().chain(entries));
    let done = pieces.map(|piece| write(store, piece, &taken)).buffer_unordered(COMMIT_REQUESTS_MAX);
    let mut done = std::pin::pin!(done);
    while let Some(done) = done.next().await {
        match done {
            Done::Record(created) => committed.created = Some(created),
            Done::Entry(at, outcome) => committed.puts[at] = outcome,
        }
    }
    assert_eq!(committed.created.is_some(), has_record, "a record has an outcome, and nothing else has");
    committed
}

/// Writes a piece. An entry looks as it starts whether the record's name is taken: those that are
/// under way by then go on.
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
