//! What a transaction costs, by the server's own counts.

use std::time::Duration;

use aft_core::ids::Key;
use aft_core::message::{Batch, Begin, CommitArgs, Found, Op, Reply, Verb};
use aft_core::record::{Location, Value, Write};
use aft_node::{NodeHandle, NodeSettings, fresh_begin};
use aft_services::Server;
use aft_store::{Costs, Store as _};
use bytes::Bytes;

use crate::{admin, open, server, tell, url};

const KEYS: usize = 10;

/// Calls of a command so far; those inside scripts count too, but none is one of these.
fn calls(admin: &mut redis::Connection) -> [usize; 3] {
    let stats: String = tell(admin, "INFO commandstats");
    ["evalsha", "get", "zrangebylex"].map(|command| {
        let start = format!("cmdstat_{command}:calls=");
        let line = stats.lines().find_map(|line| line.strip_prefix(&start));
        line.map_or(0, |rest| rest.split(',').next().and_then(|count| count.parse().ok()).expect("a count"))
    })
}

fn counted(costs: &Costs, class: &str) -> usize {
    costs.requests.iter().find(|of| of.class == class).expect("it is a class").count as usize
}

fn key(number: usize) -> Key {
    Key::parse(&format!("stock/tea {number}")).expect("the text is short and not empty")
}

fn put(number: usize) -> Op {
    let bytes = Bytes::from(format!("value {number}"));
    let size = bytes.len() as u64;
    let value =
        Value { location: Location::Inline(bytes), size, etag: Bytes::new(), attributes: Bytes::new() };
    Op::Put(key(number), value)
}

async fn node(server: &Server) -> (NodeHandle, std::sync::Arc<aft_store_redis::RedisStore>) {
    let store = open(&url(server)).await;
    let settings = NodeSettings::new(&store.capabilities());
    let node = aft_node::start(store.clone(), settings).await.expect("the defaults are fine");
    node.recovered().await;
    (node, store)
}

async fn run(node: &NodeHandle, ops: Vec<Op>) -> Reply {
    let batch = Batch { ops, commit: Some(CommitArgs::default()) };
    node.ask(Verb::Begin(Box::new(Begin { batch, ..fresh_begin() }))).await.expect("nothing is in the way")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_costs_what_it_should() {
    let Some(server) = server() else { return };
    let mut admin = admin(&server);
    let (writer, store) = node(&server).await;
    let before = calls(&mut admin);
    let costs_before = store.costs().expect("it counts");

    // Ten keys: record and intent, then one entry for each key.
    let reply = run(&writer, (0..KEYS).map(put).collect()).await;
    assert!(matches!(reply, Reply::Begun { committed: Some(_), .. }), "{reply:?}");
    while writer.stats().published == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let after = calls(&mut admin);
    assert_eq!([after[0] - before[0], after[1] - before[1], after[2] - before[2]], [2 + KEYS, 0, 0]);
    let costs = store.costs().expect("it counts");
    assert_eq!(counted(&costs, "script") - counted(&costs_before, "script"), 2 + KEYS);
    assert_eq!(costs.dollars, 0.0);

    // Another process, which knows nothing: a listing and the record; then nothing.
    let (reader, store) = node(&server).await;
    let before = calls(&mut admin);
    for _ in 0..2 {
        let Reply::Begun { reads, .. } = run(&reader, vec![Op::Get(key(4))]).await else {
            panic!("a fresh request is not replayed")
        };
        match &reads[0].found {
            Found::Version(_, Write::Put(Value { location: Location::Inline(bytes), .. })) => {
                assert_eq!(bytes, "value 4");
            }
            other => panic!("{other:?}"),
        }
        let after = calls(&mut admin);
        assert_eq!([after[0] - before[0], after[1] - before[1], after[2] - before[2]], [0, 1, 1]);
    }
    let costs = store.costs().expect("it counts");
    assert_eq!((counted(&costs, "get"), counted(&costs, "list")), (1, 1));
}
