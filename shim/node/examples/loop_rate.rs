//! A benchmark of one event loop, in process, on the memory store: the number of transactions a
//! second, each with two reads and one write of 4 KiB.
//!
//! `cargo run --release -p aft-node --example loop_rate [SECONDS]`
//!
//! It measures two shapes of the same transaction (five calls; one call with a batch), and three
//! places for the loop: on the clients' only thread, as a task among the clients on two threads,
//! and on a thread of its own. The loop's share of the work is the same; the cost of switching
//! between threads differs.
//!
//! Then it measures one and two nodes of one process on a shared store, with one core for each node
//! and its clients. The figure to compare is the CPU time of a transaction: with as many cores as
//! nodes, throughput is the number of nodes divided by it.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aft_core::ids::Key;
use aft_core::message::{Batch, Begin, CommitArgs, Op, Refusal};
use aft_core::record::{Location, Value};
use aft_node::{Begun, NodeHandle, NodeSettings, fresh_begin, start, start_several};
use aft_store::Store;
use aft_store_memory::MemoryStore;
use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};

/// The number of concurrent clients.
const CLIENTS: u64 = 32;
/// The number of concurrent clients of each node on a shared store, where each commit waits for the
/// store's time: enough to keep its core busy.
const CLIENTS_OF_SHARED: u64 = 128;
/// The number of keys, which are read and written evenly.
const KEYS: u64 = 1_000;
/// The size of a value in bytes: that of the paper's evaluation.
const VALUE_BYTES: usize = 4 << 10;

#[derive(Debug, Clone, Copy)]
enum Shape {
    FiveCalls,
    OneCall,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// The loop is a task on the runtime of the clients, which has two threads.
    Task,
    /// The loop has a runtime with one thread, and the clients have another with one.
    Thread,
    /// Loop and clients share one thread: this gives the CPU time of a whole transaction.
    OneThread,
    /// This number of nodes runs on a shared store, with as many threads for them and the clients.
    Several(usize),
}

fn key(number: u64) -> Key {
    Key::parse(&format!("key/{:04}", number % KEYS)).expect("the text is short and not empty")
}

async fn transaction(node: &NodeHandle, shape: Shape, number: u64, bytes: &Bytes) -> Result<(), Refusal> {
    let step = |n: u64| key(number.wrapping_mul(7).wrapping_add(n.wrapping_mul(13)));
    let reads = [Op::Get(step(1)), Op::Get(step(2))];
    let value = Value {
        location: Location::Inline(bytes.clone()),
        size: bytes.len() as u64,
        etag: Bytes::new(),
        attributes: Bytes::new(),
    };
    let write = Op::Put(step(3), value);
    match shape {
        Shape::OneCall => {
            let ops = reads.into_iter().chain([write]).collect();
            let batch = Batch { ops, commit: Some(CommitArgs::default()) };
            node.begin(Box::new(Begin { batch, ..fresh_begin() })).await?;
        }
        Shape::FiveCalls => {
            let Begun::Open { attempt, .. } = node.begin(Box::new(fresh_begin())).await? else {
                panic!("a fresh request is not replayed")
            };
            for op in reads.into_iter().chain([write]) {
                node.run(attempt, Batch { ops: vec![op], commit: None }).await?;
            }
            node.commit(attempt, CommitArgs::default()).await?;
        }
    }
    Ok(())
}

fn runtime(threads: usize) -> Runtime {
    let mut builder = if threads == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.worker_threads(threads).enable_all().build().expect("a runtime starts")
}

/// Starts a node in its place, and returns it with the runtime of the clients.
fn place(place: Place) -> (NodeHandle, Runtime) {
    if let Place::Several(count) = place {
        let store = Arc::new(MemoryStore::shared());
        let settings = NodeSettings::new(&store.capabilities());
        let nodes = NonZeroUsize::new(count).expect("the count is at least one");
        let clients = runtime(count);
        return (
            clients.block_on(start_several(store, settings, nodes)).expect("the defaults are right"),
            clients,
        );
    }
    let store = Arc::new(MemoryStore::new());
    let settings = NodeSettings::new(&store.capabilities());
    let starting = async move { start(store, settings).await.expect("the defaults are right") };
    match place {
        Place::Task | Place::OneThread => {
            let clients = runtime(if matches!(place, Place::Task) { 2 } else { 1 });
            (clients.block_on(starting), clients)
        }
        Place::Several(_) => unreachable!("started above"),
        Place::Thread => {
            let (sender, receiver) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                runtime(1).block_on(async move {
                    let node = starting.await;
                    sender.send(node.clone()).expect("the main thread waits");
                    std::future::pending::<()>().await;
                });
            });
            (receiver.recv().expect("the node starts"), runtime(1))
        }
    }
}

/// Returns the CPU time of this process. Unlike elapsed time, it does not count other processes.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Runs the clients for `time`, prints the figures, and returns the CPU time of a transaction in
/// microseconds.
fn measure(shape: Shape, at: Place, time: Duration) -> f64 {
    let (node, clients) = place(at);
    let (done, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let bytes = Bytes::from(vec![7; VALUE_BYTES]);
    let (cpu, elapsed) = clients.block_on(async {
        let client = |client: u64| {
            let (node, bytes) = (node.clone(), bytes.clone());
            let (done, over) = (done.clone(), over.clone());
            tokio::spawn(async move {
                let mut number = client << 32;
                while !over.load(Ordering::Relaxed) {
                    number += 1;
                    transaction(&node, shape, number, &bytes).await.expect("the memory store does not fail");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let clients = match at {
            Place::Several(nodes) => nodes as u64 * CLIENTS_OF_SHARED,
            Place::Task | Place::Thread | Place::OneThread => CLIENTS,
        };
        let running: Vec<_> = (0..clients).map(client).collect();
        let (cpu, since) = (cpu_time(), Instant::now());
        tokio::time::sleep(time).await;
        over.store(true, Ordering::Relaxed);
        for client in running {
            client.await.expect("a client does not panic");
        }
        (cpu_time() - cpu, since.elapsed())
    });
    let done = done.load(Ordering::Relaxed);
    let stats = node.stats();
    let cpu_us = cpu.as_micros() as f64 / done as f64;
    println!(
        "{shape:?} {at:?}: {:.0} txn/s, {:.1} us of CPU each, {:.2} store calls each, cache hits {:.0} %",
        done as f64 / elapsed.as_secs_f64(),
        cpu_us,
        stats.calls_total() as f64 / done as f64,
        100.0 * stats.value_cache_hits as f64
            / (stats.value_cache_hits + stats.value_cache_misses).max(1) as f64,
    );
    cpu_us
}

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(3.0);
    for at in [Place::OneThread, Place::Task, Place::Thread] {
        for shape in [Shape::FiveCalls, Shape::OneCall] {
            measure(shape, at, Duration::from_secs_f64(seconds));
        }
    }
    for shape in [Shape::FiveCalls, Shape::OneCall] {
        let [one, two] =
            [1, 2].map(|nodes| measure(shape, Place::Several(nodes), Duration::from_secs_f64(seconds)));
        println!("{shape:?}: two nodes with a core each do {:.2} times what one does", 2.0 * one / two);
    }
}
