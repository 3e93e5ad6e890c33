//! The writes of one commit: the record alone, since it has a condition, and its entries in
//! batches.
//!
//! ```text
//!   PutItem record (attribute_not_exists)  ─┐
//!   BatchWriteItem of 25 entries           ─┤  at once, up to 64 in flight
//!   BatchWriteItem of the rest             ─┘
//! ```
//!
//! Full batches are sent immediately. The rest, fewer than 25, is a request of its own while the
//! store is quiet; under load it shares requests with other callers' writes (`puts`). Large entries
//! are PutItems.
//!
//! The record is sent first. If its name turns out to be taken, this commit has lost, and the
//! entries that are not sent yet are skipped: nobody needs them, and deleting them would cost
//! money.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use aft_store::{Committed, Created, Name, Result, Store as _, Writes};
use bytes::Bytes;
use futures::StreamExt as _;

use crate::DynamoDbStore;
use crate::link::BATCH_MAX;
use crate::puts::{Put, is_small};

/// The number of requests of one commit in flight at once: a commit of 10,000 keys takes seven
/// round trips. A store sends 256 for all its callers.
const COMMIT_REQUESTS_MAX: usize = 64;

/// A part of a commit that is one request, or a part of a shared one.
enum Piece {
    Record(Name, Bytes),
    /// A large entry, with its index among the puts.
    Large(usize, Put),
    /// Up to [`BATCH_MAX`] small entries, each with its index among the puts.
    Small(Vec<(usize, Put)>),
}

/// The outcome of a piece's write.
enum Done {
    Record(Result<Created>),
    Entries(Vec<(usize, Result<()>)>),
}

/// Writes the pieces of a commit, and returns the outcome of each.
pub(crate) async fn commit(store: &DynamoDbStore, writes: Writes) -> Committed {
    let Writes { create, puts } = writes;
    let distinct: HashSet<&Name> = puts.iter().map(|(name, _)| name).collect();
    assert_eq!(distinct.len(), puts.len(), "a commit writes no name twice");
    let mut committed = Committed { created: None, puts: vec![Ok(()); puts.len()] };
    // Only small entries share requests. One that is too large for the store fails alone.
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for (at, (name, body)) in puts.into_iter().enumerate() {
        match store.put_of(&name, body) {
            Ok(put) if is_small(&put) => small.push((at, put)),
            Ok(put) => large.push(Piece::Large(at, put)),
            Err(refused) => committed.puts[at] = Err(refused),
        }
    }
    let mut pieces: Vec<Piece> = create.map(|(name, body)| Piece::Record(name, body)).into_iter().collect();
    let has_record = !pieces.is_empty();
    pieces.append(&mut large);
    while !small.is_empty() {
        let rest = small.split_off(small.len().min(BATCH_MAX));
        pieces.push(Piece::Small(std::mem::replace(&mut small, rest)));
    }
    let taken = AtomicBool::new(false);
    // The pieces are started in this order, so the record is the first to queue for a permit.
    let pieces = futures::stream::iter(pieces);
    let done = pieces.map(|piece| write(store, piece, &taken)).buffer_unordered(COMMIT_REQUESTS_MAX);
    let mut done = std::pin::pin!(done);
    while let Some(done) = done.next().await {
        match done {
            Done::Record(created) => committed.created = Some(created),
            Done::Entries(outcomes) => {
                for (at, outcome) in outcomes {
                    committed.puts[at] = outcome;
                }
            }
        }
    }
    assert_eq!(committed.created.is_some(), has_record, "only a commit with a record has its outcome");
    committed
}

/// Writes a piece. Entries that start after the record's name was found to be taken are skipped,
/// and count as done; those in flight by then continue.
async fn write(store: &DynamoDbStore, piece: Piece, taken: &AtomicBool) -> Done {
    match piece {
        Piece::Record(name, body) => {
            let created = store.create(&name, body).await;
            taken.store(created == Ok(Created::Exists), Ordering::Relaxed);
            Done::Record(created)
        }
        Piece::Large(..) | Piece::Small(_) if taken.load(Ordering::Relaxed) => Done::Entries(Vec::new()),
        Piece::Large(at, put) => Done::Entries(vec![(at, store.puts().put(put).await)]),
        Piece::Small(entries) => {
            let (at, puts): (Vec<usize>, Vec<Put>) = entries.into_iter().unzip();
            let outcomes = store.puts().put_together(puts).await;
            Done::Entries(at.into_iter().zip(outcomes).collect())
        }
    }
}
