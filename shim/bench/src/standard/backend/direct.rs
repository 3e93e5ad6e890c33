//! Straight at the store, without the shim: every write is visible at once under a plain name, and nothing holds a transaction together.
//!
//! The names lie in the space of commit records, where nothing enumerates them and no record's name (a hash) can meet them; so a value takes
//! the same path through an adapter, with the same durability, as the shim's records do. They are deleted after the run.

use std::sync::Arc;

use aft_store::{Name, Space, Store};

use super::{Effect, Ran, Refused, Work, seen};
use crate::standard::detect::{Order, Seen};

/// Names deleted in one call.
const DELETE_LEN_MAX: u32 = 100;

/// One client's access to the store.
#[derive(Debug)]
pub(crate) struct DirectBackend {
    store: Arc<dyn Store>,
    run: u64,
}

impl DirectBackend {
    pub(crate) fn new(store: Arc<dyn Store>, run: u64) -> DirectBackend {
        DirectBackend { store, run }
    }

    pub(crate) async fn run(&mut self, work: Work<'_>) -> Result<Ran, Refused> {
        for (key, value) in work.puts {
            self.store.put(&name(self.run, key), value).await.map_err(refused)?;
        }
        let mut reads = Vec::with_capacity(work.gets.len());
        for key in work.gets {
            reads.push(match self.store.get(&name(self.run, *key)).await.map_err(refused)? {
                None => Seen::ABSENT,
                // Nobody orders plain writes: their writers' clocks have to do, as in the paper.
                Some((bytes, _)) => {
                    seen(self.run, |of| Order::new(of.time_ns, u128::from(of.attempt)), &bytes)
                }
            });
        }
        Ok(Ran { reads, committed: None })
    }
}

fn name(run: u64, key: u32) -> Name {
    Name::new(Space::Commit, format!("bench-direct/{run:016x}/{key:08}"), "")
}

/// A plain function that meets an error fails, and what it wrote stays.
fn refused(why: aft_store::Error) -> Refused {
    match why {
        aft_store::Error::NoAnswer(_) => Refused::new("no_answer", Effect::NothingRetry),
        aft_store::Error::Busy(_) => Refused::new("busy", Effect::NothingRetry),
        aft_store::Error::Refused(_) => Refused::new("refused", Effect::Nothing),
        aft_store::Error::Damaged(_) => Refused::new("damaged", Effect::Nothing),
    }
}

/// Deletes what the run left.
pub(crate) async fn clean_up(store: &dyn Store, run: u64, keys: usize) -> aft_store::Result<()> {
    let keys = u32::try_from(keys).expect("options bound the keys");
    for first in (0..keys).step_by(DELETE_LEN_MAX as usize) {
        let names: Vec<Name> =
            (first..first.saturating_add(DELETE_LEN_MAX).min(keys)).map(|key| name(run, key)).collect();
        store.delete(&names).await?;
    }
    Ok(())
}
