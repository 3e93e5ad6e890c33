//! Goal: the value cache takes no more memory than its bound. Method: an allocator that counts, and
//! nodes on a store that keeps nothing. The cache's memory is the difference between two nodes with
//! the same load, one of them without a cache. This file has one test, since the allocator counts
//! for the whole process.

#![expect(clippy::unwrap_used, reason = "a failed test says where")]

use std::alloc::System;
use std::sync::Arc;
use std::time::Duration;

use aft_core::ids::Key;
use aft_core::message::{Batch, Begin, CommitArgs, Op};
use aft_core::record::{Location, Value};
use aft_node::{NodeSettings, fresh_begin, start};
use aft_store::{
    Capabilities, Created, Error, GroupPage, ItemPage, Name, Replaced, Result, Space, Store, Tag,
};
use bytes::Bytes;
use cap::Cap;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const CACHE_BYTES_MAX: u64 = 4 << 20;
const PAUSE: Duration = Duration::from_millis(100);

/// A store that acknowledges everything and keeps nothing.
#[derive(Debug)]
struct Nowhere;

#[async_trait::async_trait]
impl Store for Nowhere {
    fn url(&self) -> String {
        "nowhere:".into()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            delete_if: true,
            exclusive: true,
            grace_ms: 0,
            body_bytes_max: 16 << 20,
            blob_part_bytes: 8 << 20,
            durability: "gone at once",
        }
    }

    async fn get(&self, _: &Name) -> Result<Option<(Bytes, Tag)>> {
        Ok(None)
    }

    async fn put(&self, _: &Name, _: Bytes) -> Result<()> {
        Ok(())
    }

    async fn create(&self, _: &Name, _: Bytes) -> Result<Created> {
        Ok(Created::Created)
    }

    async fn replace(&self, _: &Name, _: &Tag, _: Bytes) -> Result<Replaced> {
        Ok(Replaced::Changed)
    }

    async fn delete(&self, _: &[Name]) -> Result<()> {
        Ok(())
    }

    async fn delete_if(&self, _: &Name, _: &Tag) -> Result<Replaced> {
        Err(Error::Refused("nothing is kept here".into()))
    }

    async fn list(&self, _: Space, _: &[u8], _: Option<&[u8]>, _: usize) -> Result<ItemPage> {
        Ok(ItemPage::default())
    }

    async fn groups(&self, _: Space, _: &[u8], _: Option<&[u8]>, _: usize) -> Result<GroupPage> {
        Ok(GroupPage::default())
    }
}

/// Returns the allocated bytes of a node after `commits` commits of one value each, and the bytes
/// that its cache reports.
async fn taken(cache_bytes_max: u64, commits: usize, value_bytes: usize) -> (usize, u64) {
    let before = ALLOCATOR.allocated();
    let store = Arc::new(Nowhere);
    let mut settings = NodeSettings::new(&store.capabilities());
    settings.value_cache_bytes_max = cache_bytes_max;
    settings.core.index_bytes_max = 1 << 20;
    let node = start(store, settings).await.unwrap();
    for commit in 0..commits {
        // A slice of a body, as the door hands it in.
        let body = Bytes::from(vec![7; value_bytes + 1_000]);
        let value = Value {
            location: Location::Inline(body.slice(..value_bytes)),
            size: value_bytes as u64,
            etag: Bytes::new(),
            attributes: Bytes::new(),
        };
        let ops = vec![Op::Put(Key::parse(&format!("bench/{commit:08}")).unwrap(), value)];
        let begin = Begin { batch: Batch { ops, commit: Some(CommitArgs::default()) }, ..fresh_begin() };
        node.begin(Box::new(begin)).await.unwrap();
    }
    // Wait until all calls have ended and the gauges are set.
    tokio::time::sleep(PAUSE).await;
    let taken = (ALLOCATOR.allocated().saturating_sub(before), node.stats().value_cache_bytes);
    node.drain(Duration::ZERO).await;
    drop(node);
    // The cache frees its memory a little later.
    tokio::time::sleep(PAUSE).await;
    taken
}

#[tokio::test]
async fn the_value_cache_stays_within_its_bound() {
    for (commits, value_bytes) in [(15_000, 16), (10_000, 256), (2_000, 4_096), (150, 200_000)] {
        let (with, says) = taken(CACHE_BYTES_MAX, commits, value_bytes).await;
        let (without, _) = taken(0, commits, value_bytes).await;
        let takes = with.saturating_sub(without);
        println!("{value_bytes} bytes a value: takes {takes}, reports {says}");
        assert!(says <= CACHE_BYTES_MAX);
        // The value that was evicted last may not be freed yet.
        let most = CACHE_BYTES_MAX as usize + value_bytes;
        assert!(takes <= most, "{value_bytes} bytes a value: takes {takes}");
        assert!(2 * takes as u64 >= says, "{value_bytes} bytes a value: takes {takes}, reports {says}");
    }
}
