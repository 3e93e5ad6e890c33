//! Goal: a transaction costs the requests that the docs of the store on S3 promise, and the meter
//! counts the requests that are sent. Method: a node over MinIO behind a front that counts, and
//! delays every request, so that concurrent requests are seen to be concurrent.

use std::time::{Duration, Instant};

use aft_node::Begun;
use aft_services::Service;
use aft_store::{Committed, Costs, Created, Name, Position, Space, Store, Writes};
use aft_store_s3::S3Store;
use aft_store_tests::{
    Act, Bucket, Front, Seen, at_once, counted, expect, node, put_all, put_small, read, read_fresh, run,
    run_named, scan_all, take_settled, when_time_is_known, writes,
};
use bytes::Bytes;

/// The delay of each request in the front: well above the time that sending one takes.
const HELD: Duration = Duration::from_millis(150);
const KEYS: usize = 10;
/// The listings with which a node checks that a store is empty: the spaces of this version and of
/// the first.
const LOOKED: [(&str, usize); 8] = [
    ("LIST intent", 1),
    ("LIST collect", 1),
    ("LIST marker", 1),
    ("LIST node", 1),
    ("LIST version", 1),
    ("LIST blob", 1),
    ("LIST commit", 1),
    ("LIST store", 1),
];

fn count(costs: &Costs, class: &str) -> u64 {
    costs.requests.iter().find(|of| of.class == class).expect("it is a class").count
}

/// Returns the cost of a store since `before`: writes, reads, dollars.
fn since(store: &S3Store, before: &Costs) -> (u64, u64, f64) {
    let now = store.costs().expect("it charges");
    let grown = |class| count(&now, class) - count(before, class);
    (grown("put_post_list"), grown("get"), now.dollars - before.dollars)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_costs_the_documented_requests() {
    let Some(bucket) = Bucket::start(Service::Minio) else { return };
    let front = Front::start(&bucket.server.endpoint(), |_| Act::Late(HELD)).await;
    let url = bucket.url_by(&front.endpoint(), "p");
    let store = bucket.open(&url).await.expect("the server runs");
    // Opening looks at the bucket, at the start of the store and above it, and tries the format of
    // ETags and the deletions (decision 0007).
    let looked = [("LIST other", 2), ("LIST commit", 2), ("LIST store", 2)];
    let tried = [("PUT probe", 3), ("DELETE probe", 1), ("POST other", 1), ("GET probe", 1)];
    expect(&front.take(), &[&looked[..], &tried].concat());

    // A node that opens an empty store looks for its description, for anything else in each space
    // of either version, creates the description, and reads it back.
    let writer = node(store.clone()).await;
    expect(&front.take(), &[&[("GET store", 2), ("PUT store", 1)][..], &LOOKED].concat());

    // The first commit of a node, of 10 small writes. The node reads the mark, and at the same time
    // asks for the time. One answer of a server that reports whole seconds leaves the bounds wide,
    // so the written keys are listed. Then record and entries go in one round trip.
    let before = store.costs().expect("it charges");
    let reply = run(&writer, (0..KEYS).map(put_small).collect()).await;
    let acknowledged = Instant::now();
    assert!(matches!(reply, Begun::Committed { .. }), "{reply:?}");
    // The node knows the value that it wrote, and has just listed the key, so a read costs nothing.
    assert_eq!(read(&writer, 3).await, "value 3");
    // Nothing is sent after the answer but one more request for the time, if the bounds are still
    // wide.
    let (seen, asked) = take_settled(&front).await;
    assert!((2..=3).contains(&asked), "{asked}");
    expect(&seen, &[("LIST version", KEYS), ("PUT commit", 1), ("PUT version", KEYS)]);
    let of = |method: &str| -> Vec<Seen> {
        seen.iter().filter(|one| one.what().starts_with(method)).cloned().collect()
    };
    let (listings, pieces) = (of("LIST"), of("PUT"));
    assert_eq!([at_once(&listings), at_once(&pieces)], [KEYS, 1 + KEYS], "one round trip each");
    assert!(pieces.iter().all(|one| one.to < acknowledged), "all is durable before the answer");
    let (writes, reads, dollars) = since(&store, &before);
    assert_eq!((writes, reads), (1 + 2 * KEYS as u64, asked as u64));
    assert!((dollars - (21.0 * 5e-6 + reads as f64 * 0.4e-6)).abs() < 1e-12, "{dollars}");

    // A fresh read lists again, and finds nothing newer.
    assert_eq!(read_fresh(&writer, 3).await, "value 3");
    expect(&front.take(), &[("LIST version", 1)]);

    // A cold node reads the description, then with the first request the mark, the key's newest
    // version, and its record; after that, nothing.
    let cold = bucket.open(&url).await.expect("the server runs");
    front.take();
    let reader = node(cold.clone()).await;
    expect(&front.take(), &[("GET store", 1)]);
    let before = cold.costs().expect("it charges");
    assert_eq!(read(&reader, 4).await, "value 4");
    expect(&front.take(), &[("GET store", 1), ("LIST version", 1), ("GET commit", 1)]);
    let (writes, reads, dollars) = since(&cold, &before);
    assert_eq!((writes, reads), (1, 2));
    assert!((dollars - 5.8e-6).abs() < 1e-12, "{dollars}");
    assert_eq!(read(&reader, 4).await, "value 4");
    expect(&front.take(), &[]);
    // From then on a cold read costs a listing and the record, or only the listing if the record is
    // known.
    run(&writer, vec![put_small(20), put_small(21)]).await;
    take_settled(&front).await;
    let before = cold.costs().expect("it charges");
    assert_eq!(read(&reader, 20).await, "value 20");
    expect(&front.take(), &[("LIST version", 1), ("GET commit", 1)]);
    let (writes, reads, dollars) = since(&cold, &before);
    assert_eq!((writes, reads), (1, 1));
    assert!((dollars - 5.4e-6).abs() < 1e-12, "{dollars}");
    assert_eq!(read(&reader, 21).await, "value 21");
    expect(&front.take(), &[("LIST version", 1)]);
}

/// Repeats commits until the bounds of the store's time are as narrow as a round trip, which they
/// become because second boundaries fall between answers: then no written key is listed first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_knows_the_time_sends_only_its_writes() {
    let Some(bucket) = Bucket::start(Service::Minio) else { return };
    let front = Front::start(&bucket.server.endpoint(), |_| Act::Pass).await;
    let store = bucket.open(&bucket.url_by(&front.endpoint(), "p")).await.expect("the server runs");
    let writer = node(store.clone()).await;
    // Commits of one key, in which the entry is the commit; of two; of ten.
    for (n, requests) in [
        (1, &[("PUT version", 1)][..]),
        (2, &[("PUT commit", 1), ("PUT version", 2)]),
        (KEYS, &[("PUT commit", 1), ("PUT version", KEYS)]),
    ] {
        let (before, seen) = when_time_is_known(&front, async || {
            let before = store.costs().expect("it charges");
            run(&writer, (0..n).map(put_small).collect()).await;
            before
        })
        .await;
        expect(&seen, requests);
        let (rest, asked) = take_settled(&front).await;
        expect(&rest, &[]);
        let (writes, reads, dollars) = since(&store, &before);
        let pieces = requests.iter().map(|(_, count)| count).sum::<usize>();
        assert_eq!((writes, reads), (pieces as u64, asked as u64));
        assert!((dollars - (pieces as f64 * 5e-6 + reads as f64 * 0.4e-6)).abs() < 1e-12, "{dollars}");
    }
    // With a request ID the record is looked up first, and the commit of a single key has a record,
    // too.
    let mut id = 0;
    let (_, seen) = when_time_is_known(&front, async || {
        id += 1;
        run_named(&writer, id, vec![put_small(1)]).await
    })
    .await;
    expect(&seen, &[("GET commit", 1), ("PUT commit", 1), ("PUT version", 1)]);
    // The same request again finds its result.
    let again = run_named(&writer, id, vec![put_small(1)]).await;
    assert!(matches!(again, Begun::Replayed(_)), "{again:?}");
    let (seen, _) = take_settled(&front).await;
    assert!(seen.len() <= 1 && seen.iter().all(|one| one.what() == "GET commit"), "{:?}", counted(&seen));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_names_are_deleted_in_few_requests() {
    let Some(bucket) = Bucket::start(Service::Minio) else { return };
    let front = Front::start(&bucket.server.endpoint(), |_| Act::Pass).await;
    let store = bucket.open(&bucket.url_by(&front.endpoint(), "p")).await.expect("the server runs");
    front.take();
    let names: Vec<Name> =
        (0..1_001_u32).map(|i| Name::new(Space::Version, "k", i.to_be_bytes().to_vec())).collect();
    store.delete(&names).await.unwrap();
    expect(&front.take(), &[("POST other", 2)]);
    store.delete(&names[..1]).await.unwrap();
    expect(&front.take(), &[("DELETE version", 1)]);
    store.delete(&[]).await.unwrap();
    expect(&front.take(), &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_cost_a_request_a_page_and_two_for_each_hashed_one() {
    let Some(bucket) = Bucket::start(Service::Minio) else { return };
    let front = Front::start(&bucket.server.endpoint(), |_| Act::Pass).await;
    let store = bucket.open(&bucket.url_by(&front.endpoint(), "p")).await.expect("the server runs");
    let mut groups: Vec<Bytes> = (0..20).map(|i| Bytes::from(format!("a/{i:02}"))).collect();
    // Two that share three whole segments, and one of two segments.
    groups.extend(["1", "2"].map(|end| Bytes::from("b".repeat(600) + end)));
    groups.push(Bytes::from("c".repeat(200)));
    for group in &groups {
        store.put(&Name::new(Space::Version, group.clone(), "i"), Bytes::new()).await.unwrap();
    }
    front.take();
    let page = store.groups(Space::Version, b"a/", None, 10).await.unwrap();
    assert_eq!((&page.groups[..], page.more), (&groups[..10], true));
    expect(&front.take(), &[("LIST version", 1)]);
    let page = store.groups(Space::Version, b"", Some(&groups[9]), 100).await.unwrap();
    assert_eq!((&page.groups[..], page.more), (&groups[10..], false));
    // The space, three levels of b, two digests; the space again, c; the space to its end.
    let seen = counted(&front.take());
    assert!(seen["LIST version"] <= 11 && seen["GET version"] == 2, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_costs_a_request_for_a_thousand_names() {
    let Some(bucket) = Bucket::start(Service::Minio) else { return };
    let front = Front::start(&bucket.server.endpoint(), |_| Act::Pass).await;
    let store = bucket.open(&bucket.url_by(&front.endpoint(), "p")).await.expect("the server runs");
    // A thousand keys, each committed alone; and one more, so that there is a second page.
    let groups: Vec<Bytes> = (0..1_001).map(|i| Bytes::from(format!("stock/tea {i:04}"))).collect();
    let name = |group: &Bytes| (Name::new(Space::Version, group.clone(), "entry"), Bytes::new());
    put_all(&*store, groups[..1_000].iter().map(name)).await;
    front.take();
    let (found, pages) = scan_all(&*store, Space::Version, b"stock/", None, 1_000).await;
    assert!(found.iter().map(|one| &one.group).eq(&groups[..1_000]) && pages == 1, "{pages} pages");
    expect(&front.take(), &[("LIST version", 1)]);
    put_all(&*store, groups[1_000..].iter().map(name)).await;
    front.take();
    // A limit above a page's is reduced to it.
    let (found, pages) = scan_all(&*store, Space::Version, b"", None, usize::MAX).await;
    assert!(found.iter().map(|one| &one.group).eq(&groups) && pages == 2, "{pages} pages");
    expect(&front.take(), &[("LIST version", 2)]);
    let before = Position { group: groups[0].clone(), item: Some(Bytes::from("a")) };
    let page = store.scan(Space::Version, b"stock/", Some(&before), 10).await.unwrap();
    assert_eq!((page.names.len(), &page.names[0].group, page.more), (10, &groups[0], true));
    expect(&front.take(), &[("LIST version", 1)]);
    // A scan that cannot find anything sends no request.
    let behind = Position { group: Bytes::from("t"), item: None };
    let page = store.scan(Space::Version, b"stock/", Some(&behind), 10).await.unwrap();
    assert!(page.names.is_empty() && !page.more);
    expect(&front.take(), &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_costs_a_request_more_for_each_hashed_group() {
    let Some(bucket) = Bucket::start(Service::Minio) else { return };
    let front = Front::start(&bucket.server.endpoint(), |_| Act::Pass).await;
    let store = bucket.open(&bucket.url_by(&front.endpoint(), "p")).await.expect("the server runs");
    // Two groups that share three whole segments, with three items each; and others before and
    // after.
    let mut groups: Vec<Bytes> = ["a", "z"].map(Bytes::from).to_vec();
    groups.extend(["1", "2"].map(|end| Bytes::from("b".repeat(600) + end)));
    groups.sort();
    let items = ["1", "2", "3"].map(Bytes::from);
    let names: Vec<(Bytes, Bytes)> =
        groups.iter().flat_map(|group| items.iter().map(|item| (group.clone(), item.clone()))).collect();
    let name = |(group, item): &(Bytes, Bytes)| {
        (Name::new(Space::Version, group.clone(), item.clone()), Bytes::new())
    };
    put_all(&*store, names.iter().map(name)).await;
    front.take();
    let (found, pages) = scan_all(&*store, Space::Version, b"", None, 1_000).await;
    assert!(
        found.iter().map(|one| (&one.group, &one.item)).eq(names.iter().map(|(g, i)| (g, i))) && pages == 1
    );
    expect(&front.take(), &[("LIST version", 1), ("GET version", 2)]);
    // Pages of 4: the first ends before the directory, which does not fit into a page; then the
    // directory is read by group: one listing of itself, and one of each group.
    let page = store.scan(Space::Version, b"", None, 4).await.unwrap();
    assert_eq!((page.names.len(), page.more), (3, true));
    expect(&front.take(), &[("LIST version", 1)]);
    let after = Position { group: groups[0].clone(), item: None };
    let page = store.scan(Space::Version, b"", Some(&after), 4).await.unwrap();
    assert_eq!((page.names.len(), page.more), (4, true));
    // The first scan has found out which groups they are, so no digest is read.
    expect(&front.take(), &[("LIST version", 1 + 1 + 2)]);
}

/// Pages through more groups with a long common start than one listing holds: they come in order,
/// and the digest of each is resolved once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_long_names_than_a_page_are_paged() {
    let Some(bucket) = Bucket::start(Service::Minio) else { return };
    let front = Front::start(&bucket.server.endpoint(), |_| Act::Pass).await;
    let store = bucket.open(&bucket.url_by(&front.endpoint(), "p")).await.expect("the server runs");
    let mut groups: Vec<Bytes> = ["a", "z"].map(Bytes::from).to_vec();
    groups.extend((0..1_234).map(|end| Bytes::from("b".repeat(600) + &format!("{end:04}"))));
    groups.sort();
    let name = |group: &Bytes| (Name::new(Space::Version, group.clone(), "i"), Bytes::new());
    put_all(&*store, groups.iter().map(name)).await;
    front.take();
    // The first pass reads each digest once; later passes know them.
    for limit in [1_000, 700] {
        let (found, pages) = scan_all(&*store, Space::Version, b"", None, limit).await;
        assert!(found.iter().map(|one| &one.group).eq(&groups), "{} of {}", found.len(), groups.len());
        assert!(pages <= 5, "{pages} pages of {limit}");
    }
    assert_eq!(counted(&front.take())["GET version"], 1_234);
    for limit in [1_000, 50] {
        let (mut found, mut pages) = (Vec::<Bytes>::new(), 0);
        loop {
            let after = found.last().cloned();
            let page = store.groups(Space::Version, b"", after.as_deref(), limit).await.expect("a page");
            found.extend(page.groups);
            pages += 1;
            if !page.more {
                break;
            }
        }
        assert_eq!(found, groups, "groups by {limit}");
        assert!(pages <= groups.len() / limit + 3, "{pages} pages of {limit}");
    }
    // A prefix within the common start finds the groups below it.
    let prefix = [&groups[1][..], b"1"].concat();
    assert!(store.groups(Space::Version, &prefix[..602], None, 9).await.expect("a page").groups.len() == 9);
    assert!(!counted(&front.take()).contains_key("GET version"), "each was resolved before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_costs_a_request_a_piece_all_at_once() {
    let Some(bucket) = Bucket::start(Service::Minio) else { return };
    let front = Front::start(&bucket.server.endpoint(), |_| Act::Late(HELD)).await;
    let store = bucket.open(&bucket.url_by(&front.endpoint(), "p")).await.expect("the server runs");
    front.take();
    for n in [1, 2, 10] {
        let request = if n == 1 {
            "one"
        } else if n == 2 {
            "two"
        } else {
            "ten"
        };
        let committed = store.commit(writes(request, "winner", n)).await;
        assert_eq!(committed, Committed { created: Some(Ok(Created::Created)), puts: vec![Ok(()); n] });
        let seen = front.take();
        expect(&seen, &[("PUT commit", 1), ("PUT version", n)]);
        assert_eq!(at_once(&seen), n + 1, "one round trip");
    }
    let body = store.get(&Name::new(Space::Version, "stock/tea 9", "winner")).await.unwrap().unwrap().0;
    assert_eq!(body, "winner 9");
    front.take();
    // A commit without a record, and an empty one.
    let entry = Writes { create: None, ..writes("none", "alone", 1) };
    assert_eq!(store.commit(entry).await, Committed { created: None, puts: vec![Ok(())] });
    expect(&front.take(), &[("PUT version", 1)]);
    assert_eq!(store.commit(Writes::default()).await, Committed { created: None, puts: Vec::new() });
    expect(&front.take(), &[]);

    // 151 pieces go in three rounds, 64 at once.
    let committed = store.commit(writes("many", "winner", 150)).await;
    assert_eq!(committed.created, Some(Ok(Created::Created)));
    assert!(committed.puts.iter().all(Result::is_ok), "{committed:?}");
    let seen = front.take();
    expect(&seen, &[("PUT commit", 1), ("PUT version", 150)]);
    let together = at_once(&seen);
    println!("151 pieces: {together} requests at once");
    assert!((32..=64).contains(&together), "{together} at once");
    let record = seen.iter().find(|one| one.what() == "PUT commit").expect("it was counted");
    assert!(seen.iter().filter(|one| one.from > record.to).count() >= 64, "the record went first");
    // A commit that loses does not send the entries that were not in flight when it learned that.
    let lost = store.commit(writes("many", "loser", 150)).await;
    assert_eq!(lost, Committed { created: Some(Ok(Created::Exists)), puts: vec![Ok(()); 150] });
    let seen = counted(&front.take());
    println!("a lost commit of 150 entries sent {}", seen["PUT version"]);
    assert!(seen["PUT commit"] == 1 && seen["PUT version"] < 127, "{seen:?}");
    let record = store.get(&Name::new(Space::Commit, "many", "")).await.unwrap().unwrap().0;
    assert_eq!(record, "winner");
}

/// Scans after bodies were read: the scan returns the known body of each object that has not
/// changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unchanged_bodies_are_read_once() {
    let Some(bucket) = Bucket::start(Service::Minio) else { return };
    let front = Front::start(&bucket.server.endpoint(), |_| Act::Pass).await;
    let store = bucket.open(&bucket.url_by(&front.endpoint(), "p")).await.expect("the server runs");
    // The last group is stored under a digest, with the group in front of the body.
    let groups = [b"a".to_vec(), b"b".to_vec(), b"c".to_vec(), vec![b'd'; 700]];
    let names: Vec<Name> = groups.into_iter().map(|group| Name::new(Space::Version, group, "i")).collect();
    let body = |text: &str, name: &Name| Bytes::from(format!("{text} of {}", char::from(name.group[0])));
    for name in &names {
        store.put(name, body("first", name)).await.expect("the server runs");
    }
    let scan = || async {
        let page = store.scan(Space::Version, b"", None, 100).await.expect("the server runs");
        page.names.into_iter().map(|scanned| scanned.body).collect::<Vec<_>>()
    };
    assert_eq!(scan().await, vec![None; 4]);
    let firsts: Vec<_> = names.iter().map(|name| Some(body("first", name))).collect();
    assert_eq!(store.get_bodies(&names).await, Ok(firsts.clone()));
    front.take();
    assert_eq!(scan().await, firsts);
    let seen = front.take();
    assert!(!seen.iter().any(|seen| format!("{seen:?}").contains("GET version")), "{seen:?}");
    // A body that another store or this one has changed is read again, and a deleted object is not
    // returned.
    let other = bucket.open(&bucket.url("p")).await.expect("the server runs");
    other.put(&names[1], body("second", &names[1])).await.expect("the server runs");
    other.delete(std::slice::from_ref(&names[2])).await.expect("the server runs");
    assert_eq!(scan().await, [firsts[0].clone(), None, firsts[3].clone()]);
    assert_eq!(store.get_bodies(&names[1..3]).await, Ok(vec![Some(body("second", &names[1])), None]));
    assert_eq!(scan().await, [firsts[0].clone(), Some(body("second", &names[1])), firsts[3].clone()]);
}
