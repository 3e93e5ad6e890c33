//! Goal: a transaction costs the requests and the units that the docs of the store on DynamoDB
//! promise, and the meter counts the requests that are sent. Method: a node over DynamoDB Local
//! behind a front that counts, and delays every request, so that concurrent requests are seen to be
//! concurrent. The units are those that the server reports.

use std::time::{Duration, Instant};

use aft_node::Begun;
use aft_services::Service;
use aft_store::{Committed, Created, Name, Space, Store, Writes};
use aft_store_dynamodb::{Consumed, DynamoDbStore};
use aft_store_tests::{
    Act, Front, Seen, Table, at_once, counted, expect, node, put, put_all, put_small, read, read_fresh, run,
    run_named, scan_all, take_settled, when_time_is_known, writes,
};
use bytes::Bytes;

/// The delay of each request in the front: well above the time that sending one takes.
const HELD: Duration = Duration::from_millis(150);
const KEYS: usize = 10;
/// The time above which an opening must have repeated calls, because the server did not answer in
/// time.
const OPENING_MAX: Duration = Duration::from_secs(3);
/// The queries with which a node checks that a store is empty: the spaces of this version and of
/// the first, in eight partitions each.
const LOOKED: [(&str, usize); 8] = [
    ("Query intent", 8),
    ("Query collect", 8),
    ("Query marker", 8),
    ("Query node", 8),
    ("Query version", 8),
    ("Query blob", 8),
    ("Query commit", 8),
    ("Query store", 8),
];

/// Returns the cost of a store since `before`: units written, units read, dollars.
fn since(store: &DynamoDbStore, before: (Consumed, f64)) -> (f64, f64, f64) {
    let (now, dollars) = so_far(store);
    (now.write_units - before.0.write_units, now.read_units - before.0.read_units, dollars - before.1)
}

fn so_far(store: &DynamoDbStore) -> (Consumed, f64) {
    (store.consumed(), store.costs().expect("it charges").dollars)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_costs_the_documented_requests() {
    let Some(table) = Table::start(Service::DynamoDb).await else { return };
    let front = Front::start(&table.server.endpoint(), |_| Act::Late(HELD)).await;
    let url = table.url_by(&front.endpoint(), "p");
    let store = table.open(&url).await.expect("the server runs");
    // The calls with which a store is opened (decision 0011).
    expect(
        &front.take(),
        &[
            ("DescribeTable other", 1),
            ("PutItem probe", 1),
            ("GetItem probe", 1),
            ("Query probe", 1),
            ("DeleteItem probe", 1),
            ("BatchWriteItem probe", 1),
        ],
    );

    // A node that opens an empty store looks for its description, for anything else in the eight
    // partitions of each space of either version, creates the description, and reads it back.
    let opening = Instant::now();
    let writer = node(store.clone()).await;
    let (took, seen) = (opening.elapsed(), front.take());
    let once = [&[("GetItem store", 2), ("PutItem store", 1)][..], &LOOKED].concat();
    if took < OPENING_MAX {
        expect(&seen, &once);
    } else {
        println!("the server was slow, {took:?}: {:?}", counted(&seen));
        assert!(counted(&seen).keys().all(|what| once.iter().any(|(known, _)| known == what)));
    }

    // The first commit of a node, of 10 small writes. The node reads the mark, and at the same time
    // asks for the time. One answer of a server that reports whole seconds leaves the bounds wide,
    // so the written keys are listed. Then record and entries go in one round trip.
    let before = so_far(&store);
    let reply = run(&writer, (0..KEYS).map(put_small).collect()).await;
    let acknowledged = Instant::now();
    assert!(matches!(reply, Begun::Committed { .. }), "{reply:?}");
    // The node knows the value that it wrote, and has just listed the key, so a read costs nothing.
    assert_eq!(read(&writer, 3).await, "value 3");
    // Nothing is sent after the answer but one more request for the time, if the bounds are still
    // wide.
    let (seen, asked) = take_settled(&front).await;
    assert!((2..=3).contains(&asked), "{asked}");
    let pieces = [("PutItem commit", 1), ("BatchWriteItem version", 1)];
    expect(&seen, &[&[("Query version", KEYS)][..], &pieces].concat());
    let of = |does: fn(&str) -> bool| -> Vec<Seen> {
        seen.iter().filter(|one| does(&one.what())).cloned().collect()
    };
    let pieces = of(|what| what.contains("Put") || what.contains("Batch"));
    assert_eq!(at_once(&of(|what| what.starts_with("Query"))), KEYS, "one round trip");
    assert_eq!(at_once(&pieces), 2, "one round trip");
    assert!(pieces.iter().all(|one| one.to < acknowledged), "all is durable before the answer");
    let (writes, reads, dollars) = since(&store, before);
    println!("commit of {KEYS} small writes: {writes} write units, {reads} read units, {dollars} dollars");
    // DynamoDB Local counts no units for a query that finds nothing.
    assert_eq!((writes, reads), (1.0 + KEYS as f64, asked as f64));
    assert!((dollars - (11.0 * 0.625e-6 + reads * 0.125e-6)).abs() < 1e-12, "{dollars}");

    // A fresh read lists again, and finds nothing newer.
    assert_eq!(read_fresh(&writer, 3).await, "value 3");
    expect(&front.take(), &[("Query version", 1)]);

    // A cold node reads the description, then with the first request the mark, the key's newest
    // version, and its record; after that, nothing.
    let cold = table.open(&url).await.expect("the server runs");
    front.take();
    let reader = node(cold.clone()).await;
    expect(&front.take(), &[("GetItem store", 1)]);
    assert_eq!(read(&reader, 4).await, "value 4");
    expect(&front.take(), &[("GetItem store", 1), ("Query version", 1), ("GetItem commit", 1)]);
    assert_eq!(read(&reader, 4).await, "value 4");
    expect(&front.take(), &[]);

    // From then on a cold read costs a listing and the record.
    run(&writer, vec![put_small(20), put_small(21)]).await;
    take_settled(&front).await;
    let before = so_far(&cold);
    assert_eq!(read(&reader, 20).await, "value 20");
    expect(&front.take(), &[("Query version", 1), ("GetItem commit", 1)]);
    let (writes, reads, dollars) = since(&cold, before);
    println!("cold read: {writes} write units, {reads} read units, {dollars} dollars");
    assert_eq!((writes, reads), (0.0, 2.0));
    assert!((dollars - 0.25e-6).abs() < 1e-12, "{dollars}");
}

/// Repeats commits until the bounds of the store's time are as narrow as a round trip, which they
/// become because second boundaries fall between answers: then no written key is listed first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_knows_the_time_sends_only_its_writes() {
    let Some(table) = Table::start(Service::DynamoDb).await else { return };
    let front = Front::start(&table.server.endpoint(), |_| Act::Pass).await;
    let store = table.open(&table.url_by(&front.endpoint(), "p")).await.expect("the server runs");
    let writer = node(store.clone()).await;
    // One unit per write, for commits of one key, in which the entry is the commit; of two; of ten.
    for (n, requests) in [
        (1, &[("PutItem version", 1)][..]),
        (2, &[("PutItem commit", 1), ("BatchWriteItem version", 1)]),
        (KEYS, &[("PutItem commit", 1), ("BatchWriteItem version", 1)]),
    ] {
        let (before, seen) = when_time_is_known(&front, async || {
            let before = so_far(&store);
            run(&writer, (0..n).map(put_small).collect()).await;
            before
        })
        .await;
        expect(&seen, requests);
        let (rest, asked) = take_settled(&front).await;
        expect(&rest, &[]);
        let (writes, reads, dollars) = since(&store, before);
        println!("commit of {n}: {writes} write units, {reads} read units, {dollars} dollars");
        let record = if n == 1 { 0.0 } else { 1.0 };
        assert_eq!((writes, reads), (record + n as f64, asked as f64));
    }
    // Two values of 4 KiB: their 8 KiB with the names are a record of 9 units, and two versions are
    // 2.
    let large = |number| put(number, Bytes::from(vec![7; 4096]));
    let before = so_far(&store);
    run(&writer, (20..22).map(large).collect()).await;
    let (writes, _, _) = since(&store, before);
    println!("commit of 2 writes of 4 KiB: {writes} write units");
    assert_eq!(writes, 11.0);
    // With a request ID the record is looked up first, and the commit of a single key has a record,
    // too.
    let mut id = 0;
    let (_, seen) = when_time_is_known(&front, async || {
        id += 1;
        run_named(&writer, id, vec![put_small(1)]).await
    })
    .await;
    expect(&seen, &[("GetItem commit", 1), ("PutItem commit", 1), ("PutItem version", 1)]);
    // The same request again finds its result.
    let again = run_named(&writer, id, vec![put_small(1)]).await;
    assert!(matches!(again, Begun::Replayed(_)), "{again:?}");
    let (seen, _) = take_settled(&front).await;
    assert!(seen.len() <= 1 && seen.iter().all(|one| one.what() == "GetItem commit"), "{:?}", counted(&seen));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_names_are_deleted_in_few_requests() {
    let Some(table) = Table::start(Service::DynamoDb).await else { return };
    let front = Front::start(&table.server.endpoint(), |_| Act::Pass).await;
    let store = table.open(&table.url_by(&front.endpoint(), "p")).await.expect("the server runs");
    front.take();
    let mut names: Vec<Name> =
        (0..51_u32).map(|i| Name::new(Space::Version, "k", i.to_be_bytes().to_vec())).collect();
    // A repeated name is sent once: DynamoDB rejects a batch that contains an item twice.
    names.push(names[0].clone());
    store.delete(&names).await.expect("the server runs");
    expect(&front.take(), &[("BatchWriteItem version", 3)]);
    store.delete(&names[..1]).await.expect("the server runs");
    expect(&front.take(), &[("DeleteItem version", 1)]);
    store.delete(&[]).await.expect("the server runs");
    expect(&front.take(), &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_puts_share_batches() {
    let Some(table) = Table::start(Service::DynamoDb).await else { return };
    let front = Front::start(&table.server.endpoint(), |_| Act::Late(HELD)).await;
    let store = table.open(&table.url_by(&front.endpoint(), "p")).await.expect("the server runs");
    front.take();
    let before = so_far(&store);
    // The last item is put three times: a batch may contain it once.
    let name = |i: u32| Name::new(Space::Version, "k", i.min(97).to_be_bytes().to_vec());
    let put = async |i: u32| store.put(&name(i), Bytes::from(i.to_string())).await.expect("the server runs");
    futures::future::join_all((0..100).map(put)).await;
    // 4 alone, then batches of 25, 25, 25 and 19; and two more of the last item.
    expect(&front.take(), &[("PutItem version", 6), ("BatchWriteItem version", 4)]);
    for i in 0..97 {
        let (body, _) = store.get(&name(i)).await.unwrap().expect("it was put");
        assert_eq!(body, i.to_string());
    }
    let (last, _) = store.get(&name(99)).await.unwrap().expect("it was put");
    assert!(["97", "98", "99"].contains(&std::str::from_utf8(&last).expect("a number")));
    assert_eq!(since(&store, before).0, 100.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowded_group_is_skipped() {
    let Some(table) = Table::start(Service::DynamoDb).await else { return };
    let front = Front::start(&table.server.endpoint(), |_| Act::Pass).await;
    let store = table.open(&table.url_by(&front.endpoint(), "p")).await.expect("the server runs");
    let write = |group: &'static str, item: u32| {
        let (store, name) = (store.clone(), Name::new(Space::Version, group, item.to_be_bytes().to_vec()));
        tokio::spawn(async move { store.put(&name, Bytes::new()).await.expect("the server runs") })
    };
    let crowd = (0..120).map(|item| ("b", item)).chain(["a", "c", "d"].map(|group| (group, 0)));
    // A few at a time: the server executes one write after the other, and each waits for those
    // before it.
    for some in crowd.collect::<Vec<_>>().chunks(10) {
        let writes: Vec<_> = some.iter().map(|(group, item)| write(group, *item)).collect();
        for write in writes {
            write.await.expect("it does not panic");
        }
    }
    front.take();
    let page = store.groups(Space::Version, b"", None, 10).await.expect("the server runs");
    assert_eq!((&page.groups[..], page.more), (&["a", "b", "c", "d"].map(Bytes::from)[..], false));
    let seen = counted(&front.take());
    // One query per partition, and one to continue after the crowded group.
    assert!(seen["Query version"] <= 10, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_costs_one_query_per_partition() {
    let Some(table) = Table::start(Service::DynamoDb).await else { return };
    let front = Front::start(&table.server.endpoint(), |_| Act::Pass).await;
    let store = table.open(&table.url_by(&front.endpoint(), "p")).await.expect("the server runs");
    // A thousand keys, each committed alone: the entry has the record as its body.
    let groups: Vec<Bytes> = (0..1_000).map(|i| Bytes::from(format!("stock/tea {i:04}"))).collect();
    let record = Bytes::from(vec![b'r'; 200]);
    let entry = |group: &Bytes| (Name::new(Space::Version, group.clone(), [7; 40].to_vec()), record.clone());
    put_all(&*store, groups.iter().map(entry)).await;
    let cold = table.open(&table.url_by(&front.endpoint(), "p")).await.expect("the server runs");
    front.take();
    let before = so_far(&cold);
    let (found, pages) = scan_all(&*cold, Space::Version, b"stock/", None, 1_000).await;
    assert!(found.iter().map(|one| &one.group).eq(&groups));
    assert!(found.iter().all(|one| one.body.as_ref() == Some(&record)));
    let seen = counted(&front.take());
    let (_, reads, _) = since(&cold, before);
    println!("1,000 keys: {pages} pages, {} queries, {reads} units", seen["Query version"]);
    assert!(seen.len() == 1 && seen["Query version"] <= 24, "{seen:?}");
    // A small page reads few items.
    let page = cold.scan(Space::Version, b"", None, 10).await.expect("the server runs");
    assert!((5..=10).contains(&page.names.len()) && page.more, "{page:?}");
    let queries = counted(&front.take())["Query version"];
    assert!((8..=16).contains(&queries), "{queries}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_of_a_crowded_group_continues_in_its_partition() {
    let Some(table) = Table::start(Service::DynamoDb).await else { return };
    let front = Front::start(&table.server.endpoint(), |_| Act::Pass).await;
    let store = table.open(&table.url_by(&front.endpoint(), "p")).await.expect("the server runs");
    let items: Vec<Bytes> = (0..600_u32).map(|i| Bytes::copy_from_slice(&i.to_be_bytes())).collect();
    let entry = |item: &Bytes| (Name::new(Space::Version, "crowd", item.clone()), Bytes::new());
    put_all(&*store, items.iter().map(entry)).await;
    front.take();
    let (found, pages) = scan_all(&*store, Space::Version, b"", None, 500).await;
    assert!(found.iter().map(|one| &one.item).eq(&items));
    let seen = counted(&front.take());
    println!("600 versions of one key: {pages} pages, {} queries", seen["Query version"]);
    assert!(pages == 2 && seen["Query version"] <= 20, "{pages} pages, {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_costs_a_put_and_concurrent_batches() {
    let Some(table) = Table::start(Service::DynamoDb).await else { return };
    let front = Front::start(&table.server.endpoint(), |_| Act::Late(HELD)).await;
    let store = table.open(&table.url_by(&front.endpoint(), "p")).await.expect("the server runs");
    front.take();
    for (n, request, entries) in [
        (1, "one", ("PutItem version", 1)),
        (2, "two", ("BatchWriteItem version", 1)),
        (10, "ten", ("BatchWriteItem version", 1)),
        (25, "many", ("BatchWriteItem version", 1)),
        (100, "more", ("BatchWriteItem version", 4)),
    ] {
        let before = so_far(&store);
        let committed = store.commit(writes(request, "winner", n)).await;
        assert_eq!(committed, Committed { created: Some(Ok(Created::Created)), puts: vec![Ok(()); n] });
        let seen = front.take();
        expect(&seen, &[("PutItem commit", 1), entries]);
        assert_eq!(at_once(&seen), 1 + entries.1, "one round trip");
        let (writes, reads, _) = since(&store, before);
        assert_eq!((writes, reads), (1.0 + n as f64, 0.0));
    }
    let last = Name::new(Space::Version, "stock/tea 99", "winner");
    assert_eq!(store.get(&last).await.unwrap().expect("it was put").0, "winner 99");
    front.take();
    // A commit without a record, and an empty one.
    let entry = Writes { create: None, ..writes("none", "alone", 1) };
    assert_eq!(store.commit(entry).await, Committed { created: None, puts: vec![Ok(())] });
    expect(&front.take(), &[("PutItem version", 1)]);
    assert_eq!(store.commit(Writes::default()).await, Committed { created: None, puts: Vec::new() });
    expect(&front.take(), &[]);
    // Large entries are sent alone, all at the same time.
    let mut large = writes("large", "winner", 3);
    large.puts[1].1 = Bytes::from(vec![7; 20_000]);
    let committed = store.commit(large).await;
    assert!(committed.puts.iter().all(Result::is_ok), "{committed:?}");
    let seen = front.take();
    expect(&seen, &[("PutItem commit", 1), ("PutItem version", 1), ("BatchWriteItem version", 1)]);
    assert_eq!(at_once(&seen), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_share_requests_and_losers_stop() {
    let Some(table) = Table::start(Service::DynamoDb).await else { return };
    let front = Front::start(&table.server.endpoint(), |_| Act::Late(HELD)).await;
    let store = table.open(&table.url_by(&front.endpoint(), "p")).await.expect("the server runs");
    front.take();
    // 40 concurrent commits of two entries each: four batches of two, the rest together.
    let commit = async |i: usize| {
        let record = (Name::new(Space::Commit, format!("request {i}"), ""), Bytes::new());
        let puts = (0..2).map(|k| (Name::new(Space::Version, format!("key {i} {k}"), "i"), Bytes::new()));
        let committed = store.commit(Writes { create: Some(record), puts: puts.collect() }).await;
        assert!(committed.puts.iter().all(Result::is_ok), "{committed:?}");
    };
    futures::future::join_all((0..40).map(commit)).await;
    let seen = counted(&front.take());
    println!("40 commits of two entries: {seen:?}");
    assert!(seen["PutItem commit"] == 40 && seen["BatchWriteItem version"] <= 12, "{seen:?}");

    // A commit that loses does not send the batches that were not in flight when it learned that:
    // 80 batches are more than are sent at the same time.
    let won = store.commit(writes("request", "winner", 1)).await;
    assert_eq!(won.created, Some(Ok(Created::Created)));
    front.take();
    let lost = store.commit(writes("request", "loser", 2_000)).await;
    assert_eq!(lost, Committed { created: Some(Ok(Created::Exists)), puts: vec![Ok(()); 2_000] });
    let seen = counted(&front.take());
    println!("a lost commit of 2,000 entries: {seen:?}");
    assert!(seen["PutItem commit"] == 1 && seen["BatchWriteItem version"] < 80, "{seen:?}");
}
