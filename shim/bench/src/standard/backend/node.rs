//! The backend for a node in this process: the same operations as the native API's calls, without
//! HTTP.

use aft_core::ids::{AttemptId, Key, TxnId};
use aft_core::message::{Batch, Begin, CommitArgs, Committed, Found, Op, Read, Refusal};
use aft_core::record::{Location, Value, Write};
use aft_node::{Begun, Ended, NodeHandle, fresh_attempt, fresh_begin};
use bytes::Bytes;

use super::{COMMIT_AGAIN_MAX, Effect, Ran, Refused, Work, proves_no_commit, seen};
use crate::standard::detect::{Order, Seen};
use crate::standard::load::pause;
use crate::standard::plan::key_name;

/// One client of the node.
#[derive(Debug)]
pub(crate) struct NodeBackend {
    node: NodeHandle,
    run: u64,
    /// The attempt in flight.
    attempt: AttemptId,
}

impl NodeBackend {
    pub(crate) fn new(node: NodeHandle, run: u64) -> NodeBackend {
        NodeBackend { node, run, attempt: fresh_attempt() }
    }

    pub(crate) async fn run(&mut self, work: Work<'_>) -> Result<Ran, Refused> {
        let (gets, last) = (work.gets.len(), work.last);
        let puts = work.puts.into_iter().map(|(key, value)| Op::Put(name(key), inline(value)));
        let ops = puts.chain(work.gets.iter().map(|key| Op::Get(name(*key)))).collect();
        let batch = Batch { ops, commit: last.then(CommitArgs::default) };
        // As over HTTP, the first function's call also opens the transaction. An attempt of a fresh
        // request is never replayed.
        let outcome = if work.first {
            let begin = Begin { batch, ..fresh_begin() };
            self.attempt = begin.attempt;
            self.node.begin(Box::new(begin)).await.map(|begun| match begun {
                Begun::Open { reads, .. } => (reads, None),
                Begun::Committed { reads, committed } => (reads, Some(committed)),
                Begun::Replayed(_) => panic!("an opening was answered {begun:?}"),
            })
        } else {
            self.node.run(self.attempt, batch).await.map(|ran| match ran {
                aft_node::Ran::Open { reads } => (reads, None),
                aft_node::Ran::Committed { reads, committed } => (reads, Some(committed)),
                aft_node::Ran::Replayed(_) => panic!("a batch was answered {ran:?}"),
            })
        };
        match outcome {
            Ok((reads, committed)) => {
                assert!(
                    reads.len() == gets && committed.is_some() == last,
                    "the reply to a batch is complete"
                );
                let reads = reads.into_iter().map(|read| self.seen(read)).collect();
                Ok(Ran { reads, committed: committed.and_then(|committed| place(&committed)) })
            }
            // Only a commit can leave its outcome open.
            Err(Refusal::Unknown(_) | Refusal::UnknownDamaged(..)) if last => self.commit_again().await,
            Err(refusal) => Err(refused(&refusal)),
        }
    }

    /// Repeats the commit until its outcome is known.
    async fn commit_again(&self) -> Result<Ran, Refused> {
        for nth in 0..COMMIT_AGAIN_MAX {
            tokio::time::sleep(pause(nth)).await;
            match self.node.commit(self.attempt, CommitArgs::default()).await {
                Ok(Ended::Committed(committed)) => {
                    return Ok(Ran { reads: Vec::new(), committed: place(&committed) });
                }
                Ok(Ended::Replayed(replayed)) => {
                    return Ok(Ran { reads: Vec::new(), committed: Some(order(&replayed.txn)) });
                }
                Err(refusal) => {
                    let refused = refused(&refusal);
                    if proves_no_commit(refused.code) {
                        return Err(refused);
                    }
                    if refused.effect == Effect::Nothing {
                        return Err(Refused { effect: Effect::Unknown, ..refused });
                    }
                    // The outcome is still unknown, or this call was rejected, which says nothing
                    // about the first one.
                }
            }
        }
        Err(Refused::new("unknown", Effect::Unknown))
    }

    fn seen(&self, read: Read) -> Seen {
        let (order, write) = match read.found {
            Found::Absent => return Seen::ABSENT,
            // For own writes the detector compares numbers, never places.
            Found::Own(write) => (Order::ABSENT, write),
            Found::Version(txn, write) => (order(&txn), write),
        };
        match write {
            Write::Put(Value { location: Location::Inline(bytes), .. }) => seen(self.run, |_| order, &bytes),
            // This load writes inline values only, so this one is not its own.
            Write::Put(Value { location: Location::Blob(_), .. }) | Write::Tombstone => Seen::ABSENT,
        }
    }
}

fn name(key: u32) -> Key {
    Key::parse(&key_name(key)).expect("the load's key names are short and not empty")
}

/// Returns a value that is stored inside the commit record.
pub(crate) fn inline(bytes: Bytes) -> Value {
    let size = bytes.len() as u64;
    Value { location: Location::Inline(bytes), size, etag: Bytes::new(), attributes: Bytes::new() }
}

fn place(committed: &Committed) -> Option<Order> {
    committed.txn.as_ref().map(order)
}

fn order(txn: &TxnId) -> Order {
    Order::new(txn.time.0, u128::from_be_bytes(txn.attempt.0))
}

/// Returns the failure with the code that the native API gives it.
pub(crate) fn refused(refusal: &Refusal) -> Refused {
    let (code, effect) = match refusal {
        Refusal::SnapshotGone(_) => ("snapshot_gone", Effect::NothingRetry),
        Refusal::Overloaded(_) => ("overloaded", Effect::NothingRetry),
        Refusal::Conflict(_) => ("conflict", Effect::NothingRetry),
        Refusal::ConditionFailed(_) => ("condition_failed", Effect::Nothing),
        Refusal::Lost => ("lost", Effect::NothingRetry),
        Refusal::StoreUnavailable(_) => ("store_unavailable", Effect::NothingRetry),
        Refusal::NotServing => ("not_serving", Effect::NothingRetry),
        Refusal::InProgress { .. } => ("in_progress", Effect::NothingRetry),
        Refusal::KeyReused => ("key_reused", Effect::Nothing),
        Refusal::ResultGone => ("result_gone", Effect::Nothing),
        Refusal::SessionLost(_) => ("session_lost", Effect::Nothing),
        Refusal::NotFound => ("not_found", Effect::Nothing),
        Refusal::Ended => ("ended", Effect::Nothing),
        Refusal::TooLarge(_) => ("too_large", Effect::Nothing),
        Refusal::Invalid(_) => ("invalid", Effect::Nothing),
        Refusal::Damaged(_) => ("damaged", Effect::Nothing),
        Refusal::Unknown(_) | Refusal::UnknownDamaged(..) => ("unknown", Effect::Unknown),
    };
    let retry_after_ms = match refusal {
        Refusal::InProgress { retry_after_ms } => Some(*retry_after_ms),
        _ => None,
    };
    Refused { code, effect, retry_after_ms }
}
