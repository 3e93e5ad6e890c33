//! The backend for the store's own transactions, as the paper ran them beside the shim: one for the
//! reads of each function, and one for all writes after the last function. A function that reads
//! what its request has written finds it in memory, as a real program would.

use std::sync::Arc;

use aft_store::{Error, Name};
use bytes::Bytes;

use super::direct::{name, plain, refused};
use super::{Ran, Refused, Work};
use crate::standard::detect::Seen;
use crate::transactions::Transactions;

/// One client's access to the store.
#[derive(Debug)]
pub(crate) struct TransactionsBackend {
    transactions: Arc<dyn Transactions>,
    run: u64,
    /// The writes of the attempt in flight, each key once.
    puts: Vec<(u32, Bytes)>,
}

impl TransactionsBackend {
    pub(crate) fn new(transactions: Arc<dyn Transactions>, run: u64) -> TransactionsBackend {
        TransactionsBackend { transactions, run, puts: Vec::new() }
    }

    pub(crate) async fn run(&mut self, work: Work<'_>) -> Result<Ran, Refused> {
        if work.first {
            // Forget the writes of an earlier attempt that failed.
            self.puts.clear();
        }
        for (key, value) in work.puts {
            // The store's transactions take each key once: the last write counts.
            self.puts.retain(|(other, _)| *other != key);
            self.puts.push((key, value));
        }
        let reads = self.read(work.gets).await.map_err(refused)?;
        if work.last && !self.puts.is_empty() {
            let puts = self.puts.drain(..).map(|(key, value)| (name(self.run, key), value)).collect();
            self.transactions.transact_put(puts).await.map_err(refused)?;
        }
        Ok(Ran { reads, committed: None })
    }

    async fn read(&self, gets: &[u32]) -> Result<Vec<Seen>, Error> {
        let own = |key: u32| self.puts.iter().find(|(other, _)| *other == key).map(|(_, value)| value);
        // Ask the store only for keys that the attempt has not written, each once.
        let mut asked: Vec<u32> = gets.iter().copied().filter(|key| own(*key).is_none()).collect();
        asked.sort_unstable();
        asked.dedup();
        let names: Vec<Name> = asked.iter().map(|key| name(self.run, *key)).collect();
        let found =
            if names.is_empty() { Vec::new() } else { self.transactions.transact_get(&names).await? };
        assert_eq!(found.len(), names.len(), "the store answers for each name");
        let seen = |key: &u32| match own(*key) {
            Some(value) => plain(self.run, value),
            None => {
                let nth =
                    asked.binary_search(key).expect("every key that is not the attempt's own was requested");
                found[nth].as_ref().map_or(Seen::ABSENT, |bytes| plain(self.run, bytes))
            }
        };
        Ok(gets.iter().map(seen).collect())
    }
}
