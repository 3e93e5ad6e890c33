//! Scans of a store, compared with its groups and their items, and with the names that were
//! written.

use std::collections::BTreeSet;
use std::time::Duration;

use aft_store::{Error, Name, Position, Result, ScanPage, Scanned, Space, Store};
use bytes::Bytes;
use futures::StreamExt as _;

/// The number of calls in flight while a store is filled.
const AT_ONCE: usize = 16;
/// The number of repeats of a call without an answer, and the pause before each.
const TRIES_MAX: usize = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// Makes a call that is safe to repeat, and retries it a few times: with thousands of requests, a
/// server on a busy machine loses a connection now and then.
async fn patiently<T>(call: impl AsyncFn() -> Result<T>) -> T {
    for _ in 0..TRIES_MAX {
        match call().await {
            Ok(outcome) => return outcome,
            Err(Error::NoAnswer(_) | Error::Busy(_)) => tokio::time::sleep(PAUSE).await,
            Err(other) => panic!("{other}"),
        }
    }
    call().await.expect("the server runs")
}

/// Returns every name of a space whose group starts with `prefix` and that comes after `after`, by
/// scans of at most `limit` names; and the number of pages.
///
/// # Panics
/// If a page violates the contract: it has too many names, or is empty although more follow.
pub async fn scan_all(
    store: &dyn Store,
    space: Space,
    prefix: &[u8],
    after: Option<Position>,
    limit: usize,
) -> (Vec<Scanned>, usize) {
    let (mut found, mut after) = (Vec::<Scanned>::new(), after);
    for pages in 1.. {
        let page = patiently(async || store.scan(space, prefix, after.as_ref(), limit).await).await;
        assert!(page.names.len() <= limit, "{} names in a page of {limit}", page.names.len());
        assert!(!page.more || !page.names.is_empty(), "an empty page says that more follow");
        found.extend(page.names);
        let Some(last) = found.last().filter(|_| page.more) else { return (found, pages) };
        after = Some(Position { group: last.group.clone(), item: Some(last.item.clone()) });
    }
    unreachable!("a scan ends")
}

/// The names and the damage that were found by one way of paging through a space ([`both_ways`]).
#[derive(Debug)]
pub struct Way {
    /// The method, and the size of its pages.
    how: String,
    /// The group of every name, or every group, in the order of the pages.
    groups: Vec<Bytes>,
    /// The descriptions of unreadable names, from all pages.
    damaged: BTreeSet<String>,
}

/// Reads a whole space in pages of at most `limit`, by its names and by its groups.
///
/// # Panics
/// If a page cannot be read.
pub async fn both_ways(store: &dyn Store, space: Space, limit: usize) -> [Way; 2] {
    let way = |verb| Way { how: format!("{verb} by {limit}"), groups: Vec::new(), damaged: BTreeSet::new() };
    let (mut scan, mut groups) = (way("scan"), way("groups"));
    let mut after = None;
    loop {
        let page = store.scan(space, b"", after.as_ref(), limit).await.expect("a page");
        scan.damaged.extend(page.damaged.into_texts("this page"));
        scan.groups.extend(page.names.iter().map(|name| name.group.clone()));
        let Some(last) = page.names.last().filter(|_| page.more) else { break };
        after = Some(Position { group: last.group.clone(), item: Some(last.item.clone()) });
    }
    loop {
        let after = groups.groups.last().cloned();
        let page = store.groups(space, b"", after.as_deref(), limit).await.expect("a page");
        groups.damaged.extend(page.damaged.into_texts("this page"));
        groups.groups.extend(page.groups);
        if !page.more {
            return [scan, groups];
        }
    }
}

impl Way {
    /// Checks that exactly `groups` were found, and that each of `words` occurs in the description
    /// of an unreadable name.
    ///
    /// # Panics
    /// If one of these does not hold.
    pub fn check(&self, groups: &[String], words: &[&str]) {
        let Way { how, groups: found, damaged } = self;
        assert_eq!(found, groups, "{how}");
        for word in words {
            assert!(damaged.iter().any(|text| text.contains(word)), "{how}: no {word} in {damaged:#?}");
        }
    }
}

/// Writes `names` with their bodies, several at a time.
///
/// # Panics
/// If one cannot be written.
pub async fn put_all(store: &dyn Store, names: impl IntoIterator<Item = (Name, Bytes)>) {
    let put = async |(name, body): (Name, Bytes)| {
        patiently(async || store.put(&name, body.clone()).await).await;
    };
    futures::stream::iter(names).map(put).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

/// Returns groups that a careless layout would order wrongly or lose: next to possible separators,
/// around the lengths at which names are cut, and longer than any store's own limit.
fn awkward_groups() -> Vec<Bytes> {
    let short = ["a", "a!", "a!/", "a+", "a-", "a.", "a/", "a/b", "a0", "ab", "a~", "b", "ä", "äb", "é/ü"];
    let mut groups: Vec<Bytes> = short.map(Bytes::from).to_vec();
    groups.extend(
        [&b"a\x00"[..], b"a\x00\x01", b"a\x00\xff", b"a\x01", b"\x00", b"\xff", b"\xff\xff"].map(Bytes::from),
    );
    groups.push(Bytes::from("日本語/キー/😀"));
    for len in [159, 160, 161, 319, 320, 321, 479, 480, 481, 733, 734, 735, 800, 1_088] {
        groups.push(vec![b'a'; len].into());
    }
    // Longer than every limit, with a long common start; and one between them that is just within.
    for end in ["", "!", "/", "0", "z", "ä", "\0"] {
        groups.push(Bytes::from("m".repeat(760) + end));
        groups.push(Bytes::from("日".repeat(300) + end));
    }
    groups.push(Bytes::from("m".repeat(480)));
    groups.push(Bytes::from("m".repeat(480) + "!"));
    groups.push(Bytes::from("m".repeat(481)));
    groups.push(Bytes::from("n"));
    groups.sort();
    groups.dedup();
    groups
}

/// Checks that scans of a space return what was written to it, in order: all names and those of a
/// prefix, from the start and from many places, in pages of several sizes; and that groups and
/// lists return the same. Returns the result of one scan of everything.
///
/// # Panics
/// If names differ.
pub async fn check_scans(store: &dyn Store, space: Space) -> Vec<Scanned> {
    let items = [&b""[..], b"\x00", b"!", b"\xff", &[b'i'; Name::ITEM_BYTES_MAX]].map(Bytes::from);
    let mut names: Vec<(Bytes, Bytes)> = Vec::new();
    for (i, group) in awkward_groups().iter().enumerate() {
        names.extend(items.iter().take(1 + i % items.len()).map(|item| (group.clone(), item.clone())));
    }
    names.sort();
    let all = names.iter().map(|(group, item)| {
        (Name::new(space, group.clone(), item.clone()), Bytes::from(format!("{} bytes", group.len())))
    });
    put_all(store, all).await;
    assert_same(&by_groups(store, space).await, &names, "by groups and lists");

    let (whole, _) = scan_all(store, space, b"", None, 1_000).await;
    assert_same(&pairs(&whole), &names, "in one page");
    for limit in [1, 7, 64] {
        let (found, _) = scan_all(store, space, b"", None, limit).await;
        assert_same(&pairs(&found), &names, &format!("in pages of {limit}"));
    }
    let (m, long) = ("m".repeat(760), "日".repeat(300));
    for prefix in ["a", "a!", "a/", "aa", "m", &m[..480], &m, "日", &long[..600], &long, "x"] {
        let expect = selected(&names, |(group, _)| group.starts_with(prefix.as_bytes()));
        for limit in [3, 1_000] {
            let (found, _) = scan_all(store, space, prefix.as_bytes(), None, limit).await;
            assert_same(
                &pairs(&found),
                &expect,
                &format!("{} bytes of {:?} by {limit}", prefix.len(), prefix.get(..3)),
            );
        }
        // From places before, within and after the prefix.
        for after in ["A", "a!", &m, "z"] {
            let from = Position { group: Bytes::from(after.to_owned()), item: None };
            let rest = selected(&expect, |(group, _)| *group > from.group);
            let (found, _) = scan_all(store, space, prefix.as_bytes(), Some(from), 1_000).await;
            assert_same(&pairs(&found), &rest, &format!("{:?} after {:?}", prefix.get(..3), after.get(..3)));
        }
    }
    // From names here and there, and from places between names.
    for (group, item) in names.iter().step_by(5) {
        let next: Bytes = [item, &b"\x00"[..]].concat().into();
        for last in [item.clone(), next] {
            let rest = selected(&names, |(g, i)| (g, i) > (group, &last));
            let after = Position { group: group.clone(), item: Some(last) };
            let page = patiently(async || store.scan(space, b"", Some(&after), 5).await).await;
            check_page(&page, &rest, &after);
        }
    }
    // From whole groups, and from places between groups.
    for group in awkward_groups().into_iter().step_by(2) {
        for last in [group.clone(), [&group[..group.len() - 1], b"?"].concat().into()] {
            let rest = selected(&names, |(g, _)| *g > last);
            let after = Position { group: last, item: None };
            let page = patiently(async || store.scan(space, b"", Some(&after), 5).await).await;
            check_page(&page, &rest, &after);
        }
    }
    whole
}

/// Checks scans whose pages end within a group: groups with more items than a page, and with names
/// that are longer than any store's own limit.
///
/// # Panics
/// If names differ.
pub async fn check_crowded_scans(store: &dyn Store) {
    let mut names = Vec::new();
    for (end, len) in [("a", 40), ("b", 40), ("c", 130), ("d", 40), ("e", 40), ("f", 40), ("g", 40)] {
        let group = Bytes::from("m".repeat(760) + end);
        names.extend((0..len).map(|i: u32| (group.clone(), Bytes::copy_from_slice(&i.to_be_bytes()))));
    }
    names.push((Bytes::from("z"), Bytes::from("last")));
    let all = names
        .iter()
        .map(|(group, item)| (Name::new(Space::Version, group.clone(), item.clone()), Bytes::from("body")));
    put_all(store, all).await;
    for limit in [50, 129, 200, 1_000] {
        let (found, _) = scan_all(store, Space::Version, b"", None, limit).await;
        assert_same(&pairs(&found), &names, &format!("in pages of {limit}"));
    }
}

/// Checks that a page is the start of the names after a place, and is not empty before the end.
fn check_page(page: &ScanPage, rest: &[(Bytes, Bytes)], after: &Position) {
    let len = page.names.len();
    let start = &rest[..rest.len().min(len.max(1))];
    let item = after.item.as_ref().map(Bytes::len);
    let group = after.group[..after.group.len().min(8)].escape_ascii();
    let what = format!("after {group}…[{}] and an item of {item:?}", after.group.len());
    assert_same(&pairs(&page.names), start, &what);
}

/// Compares names with the expected ones, and shows where they first differ.
fn assert_same(found: &[(Bytes, Bytes)], expect: &[(Bytes, Bytes)], what: &str) {
    let Some(at) = (0..found.len().max(expect.len())).find(|at| found.get(*at) != expect.get(*at)) else {
        return;
    };
    let short = |bytes: &Bytes| format!("{}…[{}]", bytes[..bytes.len().min(8)].escape_ascii(), bytes.len());
    let shown = |names: &[(Bytes, Bytes)]| {
        let name = names.get(at).map(|(group, item)| format!("{}/{}", short(group), short(item)));
        name.unwrap_or_else(|| "nothing".to_owned())
    };
    panic!("{what}: name {at} is {}, not {}", shown(found), shown(expect));
}

fn pairs(scanned: &[Scanned]) -> Vec<(Bytes, Bytes)> {
    scanned.iter().map(|one| (one.group.clone(), one.item.clone())).collect()
}

fn selected(names: &[(Bytes, Bytes)], wanted: impl Fn(&&(Bytes, Bytes)) -> bool) -> Vec<(Bytes, Bytes)> {
    names.iter().filter(wanted).cloned().collect()
}

/// Returns the names of a space by its groups and their items, page by page.
async fn by_groups(store: &dyn Store, space: Space) -> Vec<(Bytes, Bytes)> {
    let (mut found, mut last) = (Vec::new(), None::<Bytes>);
    loop {
        let page = patiently(async || store.groups(space, b"", last.as_deref(), 100).await).await;
        for group in &page.groups {
            let items = patiently(async || store.list(space, group, None, 100).await).await;
            assert!(!items.more, "few items a group");
            found.extend(items.items.into_iter().map(|item| (group.clone(), item)));
        }
        match page.groups.last() {
            Some(group) if page.more => last = Some(group.clone()),
            Some(_) | None => return found,
        }
    }
}
