//! The transactions that some stores have of their own, as [`Transactions`] of the benchmark.

use std::sync::Arc;

use aft_bench::Transactions;
use aft_store::{Name, Result, Store};
use aft_store_dynamodb::DynamoDbStore;
use aft_store_faulty::FaultyStore;
use aft_store_memory::MemoryStore;
use async_trait::async_trait;
use bytes::Bytes;

/// The transactions of the store in memory.
#[derive(Debug)]
pub(crate) struct MemoryTransactions(pub(crate) MemoryStore);

#[async_trait]
impl Transactions for MemoryTransactions {
    async fn transact_get(&self, names: &[Name]) -> Result<Vec<Option<Bytes>>> {
        Ok(self.0.transact_get(names))
    }

    async fn transact_put(&self, bodies: Vec<(Name, Bytes)>) -> Result<()> {
        self.0.transact_put(bodies)
    }
}

/// The transactions of DynamoDB.
#[derive(Debug)]
pub(crate) struct DynamoDbTransactions(pub(crate) DynamoDbStore);

#[async_trait]
impl Transactions for DynamoDbTransactions {
    async fn transact_get(&self, names: &[Name]) -> Result<Vec<Option<Bytes>>> {
        self.0.transact_get(names).await
    }

    async fn transact_put(&self, bodies: Vec<(Name, Bytes)>) -> Result<()> {
        self.0.transact_put(bodies).await
    }
}

/// The transactions of a store that is slowed down.
#[derive(Debug)]
pub(crate) struct SlowTransactions {
    /// The transactions of the store inside.
    pub(crate) inner: Arc<dyn Transactions>,
    /// The store that injects the delays.
    pub(crate) slow: FaultyStore<dyn Store>,
}

#[async_trait]
impl Transactions for SlowTransactions {
    async fn transact_get(&self, names: &[Name]) -> Result<Vec<Option<Bytes>>> {
        self.slow.around_read(self.inner.transact_get(names)).await
    }

    async fn transact_put(&self, bodies: Vec<(Name, Bytes)>) -> Result<()> {
        let inner = self.inner.clone();
        let put = move || {
            let (inner, bodies) = (inner.clone(), bodies.clone());
            async move { inner.transact_put(bodies).await }
        };
        self.slow.around_write(put).await
    }
}
