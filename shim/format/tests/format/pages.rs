//! Pages: the core sees every readable name once and in order, and every damaged one as text,
//! whatever the pages are.

use std::collections::{BTreeSet, btree_set};

use aft_core::ids::{AttemptId, Hlc, Key, RequestHash, TxnId};
use aft_core::record::{BlobGroup, Kind, Meta, VersionEntry};
use aft_core::store::{Answer, Body, Found, FoundRecord, Group, Heads, Name, Place, Scan};
use aft_format::{Ask, Listing, Scanning, encode_name, encode_object};
use aft_store::{Damage, GroupPage, ItemPage, Position, ScanPage, Scanned, Space};
use bytes::Bytes;
use proptest::collection::{btree_set as set_of, vec};
use proptest::prelude::*;

use crate::generate;

/// A space of a store: names in order.
type Stored = BTreeSet<(Bytes, Bytes)>;

/// A page of a scan, as the seam documents it.
fn scan(stored: &Stored, prefix: &[u8], after: Option<&Position>, limit: usize) -> ScanPage {
    let behind = |(group, item): &&(Bytes, Bytes)| match after {
        None => true,
        Some(Position { group: of, item: Some(after) }) => (group, item) > (of, after),
        Some(Position { group: of, item: None }) => group > of,
    };
    let mut names: Vec<Scanned> = stored
        .iter()
        .filter(|(group, _)| group.starts_with(prefix))
        .filter(behind)
        .take(limit + 1)
        .map(|(group, item)| Scanned {
            group: group.clone(),
            item: item.clone(),
            body: None,
            written_ms: None,
        })
        .collect();
    let more = names.len() > limit;
    names.truncate(limit);
    ScanPage { names, more, ..ScanPage::default() }
}

fn groups(stored: &Stored, after: Option<&Bytes>, limit: usize) -> GroupPage {
    let groups: BTreeSet<&Bytes> = stored.iter().map(|(group, _)| group).collect();
    let mut groups: Vec<Bytes> = groups
        .into_iter()
        .filter(|group| after.is_none_or(|after| *group > after))
        .take(limit + 1)
        .cloned()
        .collect();
    let more = groups.len() > limit;
    groups.truncate(limit);
    GroupPage { groups, more, ..GroupPage::default() }
}

/// Takes a page without entries of checked keys.
fn take(listing: &mut Listing, page: ItemPage) -> bool {
    assert!(listing.take(page).is_empty(), "nothing else has a body");
    listing.resolve(Vec::new()).expect("nothing goes")
}

/// Takes a page without entries of checked keys.
fn take_names(scanning: &mut Scanning, page: ScanPage) -> bool {
    assert!(scanning.take_names(page).is_empty(), "nothing else has a body");
    scanning.resolve(Vec::new()).expect("nothing goes")
}

/// Answers one call of the core, as a driver does.
fn scanned(stored: &Stored, of: &Scan, limit: usize) -> Answer {
    let mut scanning = Scanning::new(of);
    for _ in 0..=stored.len() {
        let on = match scanning.ask() {
            Ask::Nothing => false,
            Ask::Names { space: _, prefix, after, heads: _ } => {
                let page = scan(stored, prefix, after.as_ref(), limit);
                let wanted = scanning.take_names(page);
                assert!(wanted.is_empty(), "nothing else has a body");
                scanning.resolve(Vec::new()).expect("nothing goes")
            }
            Ask::Groups { space: _, after } => {
                let page = groups(stored, after.as_ref(), limit);
                scanning.take_groups(page)
            }
        };
        if !on {
            return scanning.answer();
        }
    }
    panic!("the same page is asked for again");
}

/// Everything that the core sees of a scan, going on after the last name of each page.
fn walk<T: Clone>(
    stored: &Stored,
    limit: usize,
    question: impl Fn(Option<&T>) -> Scan,
    names: impl Fn(Found) -> Vec<T>,
) -> (Vec<T>, BTreeSet<String>) {
    let (mut all, mut texts) = (Vec::<T>::new(), BTreeSet::new());
    loop {
        let Answer::Scanned { found, damaged, more, .. } = scanned(stored, &question(all.last()), limit)
        else {
            panic!("a scan was answered otherwise");
        };
        let found = names(found);
        assert!(!more || !found.is_empty(), "more follow without a name to go on from");
        all.extend(found);
        texts.extend(damaged);
        assert!(all.len() <= stored.len(), "a cursor leads back");
        if !more {
            return (all, texts);
        }
    }
}

fn of_versions(found: Found) -> Vec<(Key, VersionEntry)> {
    let Found::Versions(found) = found else { panic!("{found:?}") };
    found
}

fn place(of: &(Key, VersionEntry)) -> Place {
    Place { key: of.0.to_string(), entry: Some(of.1.clone()) }
}

fn stored_of(name: &Name) -> (Bytes, Bytes) {
    let name = encode_name(name);
    (name.group, name.item)
}

/// Names that no object has, between those that are. Their groups are short: any 32 bytes are a
/// hash, and any 56 the group of some blobs.
fn junk() -> impl Strategy<Value = BTreeSet<(Bytes, Bytes)>> {
    let group =
        prop_oneof!["[a-c/]{1,4}".prop_map(Bytes::from), vec(any::<u8>(), 1..5).prop_map(Bytes::from),];
    let item = vec(prop_oneof![3 => Just(1_u8), 1 => any::<u8>()], 0..12).prop_map(Bytes::from);
    set_of((group, item), 0..12)
}

/// Keys, texts that are longer than keys, and the empty text.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => generate::key().prop_map(|key| key.to_string()),
        2 => "k{1000,1200}\\PC{0,3}",
        1 => Just(String::new()),
    ]
}

proptest! {
    #[test]
    fn scans_of_versions(
        entries in vec((generate::key(), generate::entry()), 0..12),
        junk in junk(),
        limit in 1_usize..5,
        prefix in prop_oneof![Just(String::new()), "[a-c/]{1,2}"],
    ) {
        let readable: Stored = entries
            .iter()
            .map(|(key, entry)| stored_of(&Name::Version(key.clone(), entry.clone())))
            .collect();
        let stored: Stored = readable.iter().cloned().chain(junk.iter().cloned()).collect();
        let question = |after: Option<&(Key, VersionEntry)>| Scan::Versions {
            prefix: prefix.clone(),
            after: after.map(place),
            heads: None,
        };
        let (all, texts) = walk(&stored, limit, question, of_versions);
        let seen: Vec<(Bytes, Bytes)> =
            all.into_iter().map(|(key, entry)| stored_of(&Name::Version(key, entry))).collect();
        let with_prefix = |(group, _): &&(Bytes, Bytes)| group.starts_with(prefix.as_bytes());
        prop_assert_eq!(seen, readable.iter().filter(with_prefix).cloned().collect::<Vec<_>>());
        prop_assert_eq!(texts.len(), junk.iter().filter(with_prefix).count());
        prop_assert!(texts.iter().all(|text| text.starts_with("version/")));
    }

    /// A place is exclusive, and splits the names where the typed order does: newest first within a
    /// key.
    #[test]
    fn places_split_the_names(
        entries in vec((generate::key(), generate::entry()), 0..12),
        key in texts(),
        entry in proptest::option::of(generate::entry()),
    ) {
        let entry = entry.filter(|_| Key::parse(&key).is_ok());
        let stored: Stored =
            entries.iter().map(|(key, entry)| stored_of(&Name::Version(key.clone(), entry.clone()))).collect();
        let after = Place { key: key.clone(), entry: entry.clone() };
        let of = Scan::Versions { prefix: String::new(), after: Some(after), heads: None };
        let Answer::Scanned { found, .. } = scanned(&stored, &of, 100) else { panic!("a scan was answered otherwise") };
        let seen: BTreeSet<(Key, VersionEntry)> = of_versions(found).into_iter().collect();
        for (of, entry_of) in entries {
            let behind = match (of.as_str().cmp(&key), &entry) {
                (std::cmp::Ordering::Less, _) | (std::cmp::Ordering::Equal, None) => false,
                (std::cmp::Ordering::Greater, _) => true,
                (std::cmp::Ordering::Equal, Some(entry)) if entry_of.txn == entry.txn => continue,
                (std::cmp::Ordering::Equal, Some(entry)) => entry_of.txn < entry.txn,
            };
            prop_assert_eq!(seen.contains(&(of.clone(), entry_of.clone())), behind, "{} {:?}", of, entry_of);
        }
    }

    #[test]
    fn listings(
        entries in vec(generate::entry(), 0..12),
        junk in set_of(vec(prop_oneof![3 => Just(1_u8), 1 => any::<u8>()], 0..12).prop_map(Bytes::from), 0..12),
        limit in 1_usize..5,
    ) {
        let key = Key::parse("k").unwrap();
        let name = |entry: &VersionEntry| Name::Version(key.clone(), entry.clone());
        let readable: BTreeSet<Bytes> = entries.iter().map(|entry| encode_name(&name(entry)).item).collect();
        let stored: BTreeSet<Bytes> = readable.iter().chain(&junk).cloned().collect();
        let (mut all, mut texts) = (Vec::<Name>::new(), BTreeSet::new());
        loop {
            let mut listing = Listing::new(Group::Versions(key.clone()), all.last());
            prop_assert_eq!((listing.space(), listing.group()), (Space::Version, &b"k"[..]));
            let mut asked = 1;
            loop {
                let next = page(stored.iter(), listing.after(), limit);
                if !take(&mut listing, next) {
                    break;
                }
                asked += 1;
                prop_assert!(asked <= stored.len(), "the same page is asked for again");
            }
            let answer = listing.answer();
            let Answer::Listed { names, damaged, more } = answer else { panic!("{answer:?}") };
            prop_assert!(!more || !names.is_empty());
            all.extend(names);
            texts.extend(damaged);
            prop_assert!(all.len() <= stored.len(), "a cursor leads back");
            if !more {
                break;
            }
        }
        let seen: Vec<Bytes> = all.iter().map(|name| encode_name(name).item).collect();
        prop_assert_eq!(seen, readable.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(texts.len(), junk.len());
    }

    #[test]
    fn scans_of_records_blobs_and_damage(
        hashes in set_of(generate::hash(), 0..8),
        blobs in set_of(generate::blob_name(), 0..8),
        junk in junk(),
        limit in 1_usize..5,
    ) {
        let mix = |names: Vec<Name>| -> Stored { names.iter().map(stored_of).chain(junk.iter().cloned()).collect() };
        let sorted = || hashes.iter().copied().collect::<Vec<RequestHash>>();

        let commits = mix(hashes.iter().map(|hash| Name::Commit(*hash)).collect());
        let question = |after: Option<&FoundRecord>| Scan::Commits { after: after.map(|found| found.hash) };
        let (all, texts) = walk(&commits, limit, question, |found| match found {
            Found::Commits(found) => found,
            other => panic!("{other:?}"),
        });
        prop_assert_eq!(all.iter().map(|found| found.hash).collect::<Vec<_>>(), sorted());
        prop_assert_eq!(texts.len(), junk.len());

        let blobs_stored = mix(blobs.iter().cloned().collect());
        let question = |after: Option<&BlobGroup>| Scan::Blobs { after: after.copied() };
        let (all, texts) = walk(&blobs_stored, limit, question, |found| match found {
            Found::Blobs(found) => found,
            other => panic!("{other:?}"),
        });
        let group = |name: &Name| match name {
            Name::Blob { group, .. } => *group,
            other => panic!("{other:?}"),
        };
        let expect: BTreeSet<BlobGroup> = blobs.iter().map(group).collect();
        prop_assert_eq!(all, expect.into_iter().collect::<Vec<_>>());
        let junk_groups: BTreeSet<&Bytes> = junk.iter().map(|(group, _)| group).collect();
        prop_assert_eq!(texts.len(), junk_groups.len());

        let damaged = mix(hashes.iter().map(|hash| Name::Damaged(*hash)).collect());
        let question = |after: Option<&RequestHash>| Scan::Damaged { after: after.copied() };
        let (all, _) = walk(&damaged, limit, question, |found| match found {
            Found::Damaged(found) => found,
            other => panic!("{other:?}"),
        });
        prop_assert_eq!(all, sorted());
    }
}

fn page(stored: btree_set::Iter<'_, Bytes>, after: Option<&[u8]>, limit: usize) -> ItemPage {
    let behind = |item: &&Bytes| after.is_none_or(|after| &item[..] > after);
    let mut items: Vec<Bytes> = stored.filter(behind).take(limit + 1).cloned().collect();
    let more = items.len() > limit;
    items.truncate(limit);
    ItemPage { items, more, ..ItemPage::default() }
}

/// The newest entries of a checked key, and what a listing does about those that go meanwhile.
mod locks {
    use super::*;
    use aft_core::ids::{AttemptId, Hlc, TxnId};
    use aft_core::record::{Kind, Meta};

    fn txn(time: u64) -> TxnId {
        TxnId { time: Hlc(time), attempt: AttemptId([time as u8; 16]) }
    }

    /// The entry that follows the version of one time and is that of another.
    fn lock(before: u64, time: u64) -> VersionEntry {
        let before = if before == 0 { TxnId::ZERO } else { txn(before) };
        let meta = Meta { kind: Kind::Tombstone, size: 0, etag: Bytes::new() };
        let hash = RequestHash([time as u8; 32]);
        VersionEntry { txn: txn(time), hash, meta, cowritten: 2, whole: false, follows: Some(before) }
    }

    fn key() -> Key {
        Key::parse("k").unwrap()
    }

    fn body(entry: &VersionEntry) -> Bytes {
        encode_object(&entry.name(&key()), &entry.body()).1
    }

    fn items(entries: &[VersionEntry], more: bool) -> ItemPage {
        let items = entries.iter().map(|entry| encode_name(&entry.name(&key())).item).collect();
        ItemPage { items, more, ..ItemPage::default() }
    }

    fn listed(listing: Listing) -> (Vec<VersionEntry>, bool) {
        let Answer::Listed { names, damaged, more } = listing.answer() else { panic!("not a listing") };
        assert!(damaged.is_empty(), "{damaged:?}");
        let entry = |name| match name {
            Name::Version(of, entry) if of == key() => entry,
            other => panic!("{other:?}"),
        };
        (names.into_iter().map(entry).collect(), more)
    }

    #[test]
    fn a_first_page_wants_the_newest_two_bodies() {
        let all = [lock(30, 40), lock(20, 30), lock(10, 20)];
        let mut listing = Listing::new(Group::Versions(key()), None);
        let wanted = listing.take(items(&all, false));
        let names: Vec<_> = all[..2].iter().map(|entry| encode_name(&entry.name(&key()))).collect();
        assert_eq!(wanted, names);
        let bodies = all[..2].iter().map(|entry| Some(body(entry))).collect();
        assert_eq!(listing.resolve(bodies), Ok(false));
        assert_eq!(listed(listing), (all[..2].to_vec(), true));
        // The next page goes on behind them.
        let after = Name::Version(key(), all[1].clone());
        let mut listing = Listing::new(Group::Versions(key()), Some(&after));
        assert_eq!(listing.after(), Some(&encode_name(&all[1].name(&key())).item[..]));
        assert_eq!(listing.take(items(&all[2..], false)).len(), 1);
        assert_eq!(listing.resolve(vec![Some(body(&all[2]))]), Ok(false));
        assert_eq!(listed(listing), (all[2..].to_vec(), false));
    }

    /// A dead entry follows a deletion that is gone; the version below it began again.
    #[test]
    fn entries_come_by_their_own_time() {
        let (dead, version) = (lock(30, 40), lock(0, 50));
        let mut listing = Listing::new(Group::Versions(key()), None);
        listing.take(items(&[dead.clone(), version.clone()], false));
        assert_eq!(listing.resolve(vec![Some(body(&dead)), Some(body(&version))]), Ok(false));
        assert_eq!(listed(listing), (vec![version, dead], false));
    }

    /// A server that ran while the key's level changed has written it at the old one.
    #[test]
    fn entries_of_both_levels_come_by_their_time() {
        let plain = |ms| VersionEntry { follows: None, ..lock(0, ms) };
        let all = [plain(50), lock(20, 60), plain(20)];
        let mut listing = Listing::new(Group::Versions(key()), None);
        let mut items = items(&all, false);
        items.items.sort();
        listing.take(items);
        assert_eq!(listing.resolve(vec![Some(body(&all[1]))]), Ok(false));
        let (found, _) = listed(listing);
        assert_eq!(found.iter().map(|entry| entry.txn.time.0).collect::<Vec<_>>(), [60, 50, 20]);
    }

    #[test]
    fn what_goes_before_its_body_is_got_is_listed_again() {
        let (newer, older) = (lock(30, 40), lock(0, 30));
        let free = encode_object(&older.name(&key()), &Body::Free).1;
        let mut listing = Listing::new(Group::Versions(key()), None);
        listing.take(items(std::slice::from_ref(&older), false));
        assert_eq!(listing.resolve(vec![None]), Ok(true), "something may have come that was not listed");
        assert_eq!(listing.after(), None);
        // It is free now, and was it when it was listed?
        listing.take(items(std::slice::from_ref(&older), false));
        assert_eq!(listing.resolve(vec![Some(free.clone())]), Ok(true));
        listing.take(items(&[newer.clone(), older], false));
        assert_eq!(listing.resolve(vec![Some(body(&newer)), Some(free)]), Ok(false));
        assert_eq!(listed(listing), (vec![newer], false));
    }

    #[test]
    fn a_key_whose_entries_go_all_the_time_is_no_end() {
        let mut listing = Listing::new(Group::Versions(key()), None);
        let again = |_| {
            listing.take(items(&[lock(0, 30)], false));
            listing.resolve(vec![None])
        };
        let ended = (0..100).map(again).find(|outcome| *outcome != Ok(true));
        assert!(matches!(ended, Some(Err(aft_store::Error::Busy(_)))), "{ended:?}");
    }

    #[test]
    fn a_scan_ends_before_a_key_that_has_changed() {
        let scanned = |key: &str, entry: &VersionEntry, brings: bool| {
            let (at, body) = encode_object(&entry.name(&Key::parse(key).unwrap()), &entry.body());
            Scanned { group: at.group, item: at.item, body: brings.then_some(body), written_ms: None }
        };
        let names = vec![scanned("a", &lock(0, 10), true), scanned("b", &lock(0, 20), false)];
        let page = || ScanPage { names: names.clone(), more: false, damaged: Damage::default() };
        let mut scanning = Scanning::new(&Scan::Versions { prefix: String::new(), after: None, heads: None });
        assert_eq!(scanning.take_names(page()).len(), 1);
        assert_eq!(scanning.resolve(vec![None]), Ok(false));
        let found = vec![(Key::parse("a").unwrap(), lock(0, 10))];
        let expect = Answer::Scanned {
            found: Found::Versions(found),
            damaged: Vec::new(),
            unread: Vec::new(),
            more: true,
        };
        assert_eq!(scanning.answer(), expect);
        // It is the first of a page: the page is asked for again.
        let after = Some(Place { key: "a".into(), entry: None });
        let mut scanning = Scanning::new(&Scan::Versions { prefix: String::new(), after, heads: None });
        let only = ScanPage { names: names[1..].to_vec(), ..ScanPage::default() };
        let before = scanning.ask().clone();
        scanning.take_names(only);
        assert_eq!(scanning.resolve(vec![None]), Ok(true));
        assert_eq!(*scanning.ask(), before);
        scanning.take_names(ScanPage::default());
        assert_eq!(scanning.resolve(Vec::new()), Ok(false));
    }
}

/// Goes through the pages of heads, and returns the keys that the answer shows and those that are
/// unread.
fn heads_shown(pages: Vec<(ScanPage, Vec<Option<Bytes>>)>) -> (Vec<String>, usize) {
    let heads = Heads { delimiter: "/".into(), each: 1 };
    let of = Scan::Versions { prefix: String::new(), after: None, heads: Some(heads) };
    let mut scanning = Scanning::new(&of);
    let last = pages.len() - 1;
    for (number, (page, bodies)) in pages.into_iter().enumerate() {
        let Ask::Names { heads, .. } = scanning.ask() else { panic!("names are asked for") };
        assert_eq!(heads.is_some(), number == 0, "a page that is asked for again is whole");
        assert_eq!(scanning.take_names(page).len(), bodies.len());
        assert_eq!(scanning.resolve(bodies), Ok(number < last), "page {number} of {last}");
    }
    let Answer::Scanned { found: Found::Versions(found), unread, .. } = scanning.answer() else {
        panic!("no scan of versions")
    };
    (found.into_iter().map(|(key, _)| key.as_str().to_owned()).collect(), unread.len())
}

/// The store counts every group; the core counts keys that it sees. Where a group has no key to
/// see, the page is asked for again as a whole.
#[test]
fn a_page_of_heads_without_a_key_of_each_group_is_read_as_a_whole() {
    let follows = Some(TxnId::ZERO);
    let meta = Meta { kind: Kind::Inline, size: 0, etag: Bytes::new() };
    let txn = TxnId { time: Hlc(5), attempt: AttemptId([0; 16]) };
    let entry = VersionEntry { txn, hash: RequestHash([1; 32]), meta, cowritten: 2, whole: false, follows };
    let scanned = |key: &str, body: Option<Body>| {
        let (at, body) = encode_object(
            &entry.name(&Key::parse(key).expect("a key")),
            &body.unwrap_or_else(|| entry.body()),
        );
        Scanned { group: at.group, item: at.item, body: Some(body), written_ms: None }
    };
    let page = |names: Vec<Scanned>| (ScanPage { names, ..ScanPage::default() }, Vec::new());
    let junk = |key: &'static str| Scanned {
        group: key.into(),
        item: Bytes::from_static(b"no entry"),
        body: None,
        written_ms: None,
    };
    let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let whole = vec![scanned("a/1", None), scanned("b/1", None)];
    assert_eq!(heads_shown(vec![page(whole)]), (of(&["a/1", "b/1"]), 0));
    // A name that cannot be read.
    let all = || vec![scanned("a/1", None), junk("b/0"), scanned("b/1", None)];
    let heads = vec![scanned("a/1", None), junk("b/0")];
    assert_eq!(heads_shown(vec![page(heads), page(all())]), (of(&["a/1", "b/1"]), 0));
    // An entry that counts as none.
    let free = || scanned("b/0", Some(Body::Free));
    let heads = vec![scanned("a/1", None), free()];
    let all = vec![scanned("a/1", None), free(), scanned("b/1", None)];
    assert_eq!(heads_shown(vec![page(heads), page(all)]), (of(&["a/1", "b/1"]), 0));
    // A body that cannot be read makes its key unread, and the core counts it.
    let mut broken = scanned("b/0", None);
    broken.body = None;
    let heads = ScanPage { names: vec![scanned("a/1", None), broken], ..ScanPage::default() };
    let bodies = vec![Some(Bytes::from_static(b"no body"))];
    assert_eq!(heads_shown(vec![(heads, bodies)]), (of(&["a/1"]), 1));
}

/// A body that a listing brings along is read; one that cannot be is left for a get, which says so.
#[test]
fn bodies_of_listed_records() {
    let stub = aft_core::record::Stub { txn: aft_core::ids::TxnId::ZERO, hash: RequestHash([1; 32]) };
    let (at, body) = encode_object(&Name::Commit(stub.hash), &Body::Stub(stub));
    let mut scanning = Scanning::new(&Scan::Commits { after: None });
    let name = |group: Bytes, body: &Bytes| Scanned {
        group,
        item: Bytes::new(),
        body: Some(body.clone()),
        written_ms: Some(7),
    };
    let other = encode_name(&Name::Commit(RequestHash([2; 32]))).group;
    let names = vec![name(at.group, &body), name(other, &body)];
    assert!(!take_names(&mut scanning, ScanPage { names, ..ScanPage::default() }));
    let found = |byte, body| FoundRecord { hash: RequestHash([byte; 32]), body, written_ms: Some(7) };
    let expect = Found::Commits(vec![found(1, Some(Body::Stub(stub))), found(2, None)]);
    assert_eq!(
        scanning.answer(),
        Answer::Scanned { found: expect, damaged: Vec::new(), unread: Vec::new(), more: false }
    );
}

#[test]
fn a_prefix_longer_than_every_key_finds_nothing() {
    let of = Scan::Versions { prefix: "k".repeat(Key::BYTES_MAX + 1), after: None, heads: None };
    assert_eq!(*Scanning::new(&of).ask(), Ask::Nothing);
    let none = Answer::Scanned {
        found: Found::Versions(Vec::new()),
        damaged: Vec::new(),
        unread: Vec::new(),
        more: false,
    };
    assert_eq!(Scanning::new(&of).answer(), none);
}

/// A million damaged names are one answer of a few texts.
#[test]
fn texts_of_damaged_names_are_bounded() {
    let mut listing = Listing::new(Group::Versions(Key::parse("k").unwrap()), None);
    let items = |from: u32| (from..from + 1_000).map(|at| Bytes::copy_from_slice(&at.to_be_bytes()));
    for page in 0..10 {
        let items = items(page * 1_000).collect();
        assert!(take(&mut listing, ItemPage { items, more: true, ..ItemPage::default() }));
    }
    assert!(!take(&mut listing, ItemPage::default()));
    let Answer::Listed { names, damaged, more } = listing.answer() else { panic!("not a listing") };
    assert!(names.is_empty() && !more);
    assert_eq!(damaged.len(), 101);
    assert_eq!(damaged[100], "version: 9900 more names that cannot be read");
}

/// Checks that names which a store could not read reach the core beside those that it could.
#[test]
fn what_a_store_cannot_name_is_damage_beside_the_rest() {
    let met = || {
        let mut damaged = Damage::default();
        damaged.add(|| "a store: x is nothing of ours".to_owned());
        damaged
    };
    let expect = ["a store: x is nothing of ours"];
    let mut listing = Listing::new(Group::Versions(Key::parse("k").unwrap()), None);
    assert!(!take(&mut listing, ItemPage { damaged: met(), ..ItemPage::default() }));
    let Answer::Listed { names, damaged, more: false } = listing.answer() else { panic!("not a listing") };
    assert!(names.is_empty() && damaged == expect, "{names:?}, {damaged:?}");

    let mut scanning = Scanning::new(&Scan::Commits { after: None });
    let group = encode_name(&Name::Commit(RequestHash([2; 32]))).group;
    let names = vec![Scanned { group, item: Bytes::new(), body: None, written_ms: None }];
    assert!(!take_names(&mut scanning, ScanPage { names, damaged: met(), more: true }));
    let Answer::Scanned { found, damaged, more: true, .. } = scanning.answer() else { panic!("not a scan") };
    assert!(matches!(found, Found::Commits(found) if found.len() == 1));
    assert_eq!(damaged, expect);

    let mut scanning = Scanning::new(&Scan::Blobs { after: None });
    assert!(!scanning.take_groups(GroupPage { damaged: met(), ..GroupPage::default() }));
    let Answer::Scanned { damaged, more: false, .. } = scanning.answer() else { panic!("not a scan") };
    assert_eq!(damaged, expect);
}

#[test]
#[should_panic(expected = "is not of")]
fn a_cursor_is_of_its_group() {
    let group =
        BlobGroup { attempt: aft_core::ids::AttemptId([1; 16]), hash: RequestHash([1; 32]), reserved_ms: 1 };
    let name = Name::Blob { group: BlobGroup { reserved_ms: 2, ..group }, number: 0, part: 0 };
    Listing::new(Group::Blobs(group), Some(&name));
}
