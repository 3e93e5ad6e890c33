//! Measures calls a second on one thread, in a store of a million records.
//!
//! `cargo run --release -p aft-store-memory --example call_rate`

use std::time::Instant;

use aft_store::{Name, Space, Store};
use aft_store_memory::MemoryStore;
use bytes::Bytes;

const OBJECTS: u64 = 1_000_000;

fn record(i: u64) -> Name {
    // Spread over the key space, as hashes of request IDs are.
    Name::new(Space::Commit, format!("{:016x}", i.wrapping_mul(0x9E37_79B9_7F4A_7C15)), "")
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let store = MemoryStore::new();
        let body = Bytes::from(vec![7; 100]);
        let names: Vec<Name> = (0..OBJECTS).map(record).collect();
        let resident = resident_bytes();
        let start = Instant::now();
        for name in &names {
            store.create(name, body.clone()).await?;
        }
        let rate = |start: Instant| OBJECTS as f64 / start.elapsed().as_secs_f64() / 1e6;
        println!("create {:.2} M/s", rate(start));
        println!("{} bytes per object, without its body", (resident_bytes() - resident) / OBJECTS);
        let start = Instant::now();
        for name in &names {
            store.get(name).await?;
        }
        println!("get    {:.2} M/s", rate(start));
        let start = Instant::now();
        for name in &names[..1000] {
            for _ in 0..1000 {
                store.put(name, body.clone()).await?;
            }
        }
        println!("put    {:.2} M/s (1000 hot names)", rate(start));
        Ok(())
    })
}
