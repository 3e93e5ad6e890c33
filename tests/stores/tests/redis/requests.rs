//! The requests of a transaction, by the server's own counts.

use std::sync::Arc;

use aft_core::message::Reply;
use aft_node::NodeHandle;
use aft_services::Server;
use aft_store::{Costs, Store as _};
use aft_store_redis::RedisStore;
use aft_store_tests::{put_small, read, run};

use crate::{admin, open, server, tell, url};

const KEYS: usize = 10;

/// Calls of a command so far, those inside scripts as well: GET of the identity, in each write.
pub(crate) fn calls(admin: &mut redis::Connection) -> [usize; 3] {
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

async fn node(server: &Server) -> (NodeHandle, Arc<RedisStore>) {
    let store = open(&url(server)).await;
    (aft_store_tests::node(store.clone()).await, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_costs_what_it_should() {
    let Some(server) = server() else { return };
    let mut admin = admin(&server);
    let (writer, store) = node(&server).await;
    let before = calls(&mut admin);
    let costs_before = store.costs().expect("it counts");

    // Ten keys: record and intent, then one entry for each key.
    let reply = run(&writer, (0..KEYS).map(put_small).collect()).await;
    assert!(matches!(reply, Reply::Begun { committed: Some(_), .. }), "{reply:?}");
    let after = calls(&mut admin);
    assert_eq!([after[0] - before[0], after[1] - before[1], after[2] - before[2]], [2 + KEYS, 2 + KEYS, 0]);
    let costs = store.costs().expect("it counts");
    assert_eq!(counted(&costs, "script") - counted(&costs_before, "script"), 2 + KEYS);
    assert_eq!(costs.dollars, 0.0);

    // Another process, which knows nothing: a listing and the record, each followed by the
    // identity; then nothing.
    let (reader, store) = node(&server).await;
    let before = calls(&mut admin);
    for _ in 0..2 {
        assert_eq!(read(&reader, 4).await, "value 4");
        let after = calls(&mut admin);
        assert_eq!([after[0] - before[0], after[1] - before[1], after[2] - before[2]], [0, 3, 1]);
    }
    let costs = store.costs().expect("it counts");
    assert_eq!((counted(&costs, "get"), counted(&costs, "list")), (1, 1));
}
