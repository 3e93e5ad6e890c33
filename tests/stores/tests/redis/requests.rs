//! The requests that a transaction costs, as the server counts them.

use std::sync::Arc;
use std::time::Duration;

use aft_node::Begun;
use aft_node::NodeHandle;
use aft_services::Server;
use aft_store::Store as _;
use aft_store_redis::RedisStore;
use aft_store_tests::{put_small, read, read_fresh, run, run_named};

use crate::{admin, open, server, tell, url};

const KEYS: usize = 10;
/// A time in which anything that a node might send after its answer would arrive.
const LATER: Duration = Duration::from_millis(300);

/// Returns the number of calls of EVALSHA, GET and ZRANGEBYLEX so far, those inside scripts
/// included: each write has a GET of the identity.
pub(crate) fn calls(admin: &mut redis::Connection) -> [usize; 3] {
    let stats: String = tell(admin, "INFO commandstats");
    ["evalsha", "get", "zrangebylex"].map(|command| {
        let start = format!("cmdstat_{command}:calls=");
        let line = stats.lines().find_map(|line| line.strip_prefix(&start));
        line.map_or(0, |rest| rest.split(',').next().and_then(|count| count.parse().ok()).expect("a count"))
    })
}

async fn node(server: &Server) -> (NodeHandle, Arc<RedisStore>) {
    let store = open(&url(server)).await;
    (aft_store_tests::node(store.clone()).await, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_costs_the_documented_requests() {
    let Some(server) = server() else { return };
    let mut admin = admin(&server);
    let (writer, store) = node(&server).await;
    // Ten keys, in the first commit of a node: a GET for the mark and, beside it, one for the time,
    // each followed by one of the identity; and one script for the record and its entries, which
    // checks the identity itself. Redis's time is so precise that no written key is listed first.
    let mut grown = Grown::new(&mut admin, &store);
    let reply = run(&writer, (0..KEYS).map(put_small).collect()).await;
    assert!(matches!(reply, Begun::Committed { .. }), "{reply:?}");
    assert_eq!(grown.calls(&mut admin), [1, 2 * 2 + 1, 0]);
    assert_eq!(grown.counted(&store), [1, 2, 0]);
    // Nothing is sent after the answer.
    tokio::time::sleep(LATER).await;
    assert_eq!(grown.calls(&mut admin), [0, 0, 0]);

    // From then on a commit is one script: of ten keys, of two, and of one without a request ID.
    // With a request ID, the record is looked up first.
    for n in [KEYS, 2, 1] {
        run(&writer, (0..n).map(put_small).collect()).await;
        assert_eq!(grown.calls(&mut admin), [1, 1, 0], "{n} keys");
        assert_eq!(grown.counted(&store), [1, 0, 0], "{n} keys");
    }
    run_named(&writer, 17, vec![put_small(1)]).await;
    assert_eq!(grown.calls(&mut admin), [1, 2 + 1, 0]);
    assert_eq!(grown.counted(&store), [1, 1, 0]);
    assert_eq!(store.costs().expect("it counts").dollars, 0.0);

    // Another process, which knows nothing: the mark, a listing and the record, each followed by
    // the identity; then nothing.
    let (reader, store) = node(&server).await;
    let mut grown = Grown::new(&mut admin, &store);
    assert_eq!(read(&reader, 4).await, "value 4");
    assert_eq!(grown.calls(&mut admin), [0, 2 + 1 + 2, 1]);
    assert_eq!(grown.counted(&store), [0, 2, 1]);
    assert_eq!(read(&reader, 4).await, "value 4");
    assert_eq!(grown.calls(&mut admin), [0, 0, 0]);
    // A fresh read lists again.
    assert_eq!(read_fresh(&reader, 4).await, "value 4");
    assert_eq!(grown.calls(&mut admin), [0, 1, 1]);
    assert_eq!(grown.counted(&store), [0, 0, 1]);
}

/// The requests since the last query.
struct Grown {
    calls: [usize; 3],
    counted: [usize; 3],
}

impl Grown {
    fn new(admin: &mut redis::Connection, store: &RedisStore) -> Grown {
        Grown { calls: calls(admin), counted: counted(store) }
    }

    /// Returns the server's counts: scripts, GETs, and listings.
    fn calls(&mut self, admin: &mut redis::Connection) -> [usize; 3] {
        grow(&mut self.calls, calls(admin))
    }

    /// Returns the store's counts: scripts, reads of bodies, and listings.
    fn counted(&mut self, store: &RedisStore) -> [usize; 3] {
        grow(&mut self.counted, counted(store))
    }
}

fn grow(before: &mut [usize; 3], now: [usize; 3]) -> [usize; 3] {
    let grown = std::array::from_fn(|class| now[class] - before[class]);
    *before = now;
    grown
}

fn counted(store: &RedisStore) -> [usize; 3] {
    let costs = store.costs().expect("it counts");
    ["script", "get", "list"].map(|class| {
        costs.requests.iter().find(|of| of.class == class).expect("it is a class").count as usize
    })
}
