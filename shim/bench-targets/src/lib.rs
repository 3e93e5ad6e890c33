//! Concrete stores as targets of the load generator, with the transactions that they have of their
//! own.
//!
//! * [`memory`], [`dynamodb`] – the stores that have transactions. Any other store becomes a
//!   target by [`StoreTarget::from`].
//! * [`slowed`] – any target, with the latency of a store elsewhere.
//!
//! Two programs need this, `aft bench` and the figures, and neither of the crates that it joins
//! could have it: `aft-bench` names no concrete store, and the stores do not know the benchmark.

mod transactions;

use std::sync::Arc;

use aft_bench::Transactions;
use aft_bench::standard::StoreTarget;
use aft_store_dynamodb::DynamoDbStore;
use aft_store_faulty::{Faults, FaultyStore, Latency};
use aft_store_memory::MemoryStore;

use crate::transactions::{DynamoDbTransactions, MemoryTransactions, SlowTransactions};

/// Returns a store in memory with its own transactions.
pub fn memory(store: MemoryStore) -> StoreTarget {
    let transactions = Arc::new(MemoryTransactions(store.clone()));
    StoreTarget { store: Arc::new(store), transactions: Some(transactions) }
}

/// Returns a store on DynamoDB with its own transactions.
pub fn dynamodb(store: DynamoDbStore) -> StoreTarget {
    let transactions = Arc::new(DynamoDbTransactions(store.clone()));
    StoreTarget { store: Arc::new(store), transactions: Some(transactions) }
}

/// Returns `target` with `latency` on every call and on every transaction of its own. The delays
/// are drawn from `seed`.
pub fn slowed(target: StoreTarget, latency: Latency, seed: u64) -> StoreTarget {
    let slow = FaultyStore::new(target.store, seed, Faults::latency_only(latency));
    let transactions = target
        .transactions
        .map(|inner| Arc::new(SlowTransactions { inner, slow: slow.clone() }) as Arc<dyn Transactions>);
    StoreTarget { store: Arc::new(slow), transactions }
}
