//! A reader: reads sets of shared keys in one transaction, in one call or two, and a ledger entry
//! that was acknowledged before.

use std::sync::Arc;
use std::time::Duration;

use aft_api::{Action, Batch, Begin, Code, Op, Reply};
use aft_e2e::client::{CallError, Client, Result};
use aft_history::TransactionId;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::book::{Acknowledged, Book, parse_value, value_of};

/// The pause after a call that failed.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) async fn run(book: Arc<Book>, mut rng: StdRng) {
    let client = Client::new(book.address());
    while !book.is_stopped() {
        let reader = book.begin(None);
        match read(&book, &client, reader, &mut rng).await {
            Ok(()) => book.finished(reader),
            Err(why) => {
                book.aborted(reader);
                if let CallError::Refused(problem) = why {
                    let expected = matches!(problem.action, Action::Retry | Action::Unknown);
                    assert!(expected || problem.code == Code::NotFound, "{problem:?}");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn read(book: &Book, client: &Client, reader: TransactionId, rng: &mut StdRng) -> Result<()> {
    // Chosen before the transaction opens, so the transaction must see it.
    let seen = book.any_acknowledged(rng);
    let count = rng.random_range(2..=5);
    let keys = book.draw(rng, count);
    let (first, second) = keys.split_at(rng.random_range(0..=keys.len()));
    let fresh = rng.random_bool(0.5);
    let begin = Begin { ops: gets(first), fresh, ..Begin::default() };
    let opened = client.at(book.address()).begin(&begin).await?;
    note(book, reader, &opened);
    let transaction = opened.transaction.as_deref().expect("an open transaction has a token");
    if rng.random_bool(0.5) {
        // Lets other transactions commit in between.
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..10))).await;
    }
    let mut ops = gets(second);
    ops.extend(seen.iter().map(|seen| Op::get(&seen.ledger)));
    let batch = Batch { ops, commit: Some(true), result: None };
    let reply = client.at(book.address()).batch(transaction, &batch).await?;
    note(book, reader, &reply);
    if let Some(seen) = seen
        && (fresh || !book.is_shared())
    {
        check_seen(&seen, &reply);
    }
    Ok(())
}

fn gets(keys: &[String]) -> Vec<Op> {
    keys.iter().map(Op::get).collect()
}

fn note(book: &Book, reader: TransactionId, reply: &Reply) {
    for read in &reply.results {
        book.read(reader, &read.key, read.value.as_ref());
    }
}

/// Checks that the last read found `seen`, which had been acknowledged before the transaction
/// opened: on the only node that there is, or in a fresh transaction.
fn check_seen(seen: &Acknowledged, reply: &Reply) {
    let read = reply.results.last().and_then(|read| read.value.as_ref());
    let read = read.map(|value| parse_value(&seen.ledger, value));
    assert_eq!(read, Some(value_of(seen.winner)), "{seen:?}, acknowledged before this transaction opened");
}
