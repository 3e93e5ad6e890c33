//! Checks of scans: the names of a space across its groups.
//!
//! As with listings, every check follows the pages to the end. Each page must be in order, within
//! its limit, behind the page before, and not empty if it says that more follow. Each scan has the
//! scratch prefix, so it finds only the checks' own names.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::Outcome;
use super::contract::{AWKWARD, LARGE_BODY_BYTES, body, ensure};
use super::listing::{PREFIXED, PREFIXES, all_groups, all_items};
use super::scratch::Scratch;
use crate::{Heads, Name, Position, Scanned, Space, Writes};

/// A group and an item; scans are in the order of these.
type Place = (Bytes, Bytes);

fn place(found: &Scanned) -> Place {
    (found.group.clone(), found.item.clone())
}

fn after_item((group, item): &Place) -> Position {
    Position { group: group.clone(), item: Some(item.clone()) }
}

fn after_group(group: &Bytes) -> Position {
    Position { group: group.clone(), item: None }
}

/// Returns true if a name comes after a position.
fn follows((group, item): &Place, after: &Position) -> bool {
    match &after.item {
        Some(after_item) => (group, item) > (&after.group, after_item),
        None => *group > after.group,
    }
}

/// Returns everything that a scan finds, in pages of at most `limit` names. The scratch prefix is
/// added to `prefix`; `after` is a full position.
async fn scan_all(
    s: &Scratch,
    space: Space,
    prefix: &[u8],
    after: Option<Position>,
    limit: usize,
) -> Outcome<Vec<Scanned>> {
    let full_prefix = s.group(prefix);
    let (mut found, mut after) = (Vec::new(), after);
    loop {
        let page = s.scan(space, prefix, after.as_ref(), limit).await?;
        let places: Vec<Place> = page.names.iter().map(place).collect();
        ensure!(places.len() <= limit, "a page of {} although the limit was {limit}", places.len());
        ensure!(!(page.more && places.is_empty()), "an empty page says that more follow, after {after:?}");
        ensure!(places.is_sorted_by(|a, b| a < b), "a page is out of byte order: {places:?}");
        let first = places.first().zip(after.as_ref());
        ensure!(
            first.is_none_or(|(first, after)| follows(first, after)),
            "a page after {after:?} starts with {:?}",
            places.first()
        );
        let strange = places.iter().find(|(group, _)| !group.starts_with(&full_prefix));
        ensure!(strange.is_none(), "a scan of {} found {strange:?}", full_prefix.escape_ascii());
        after = places.last().map(after_item);
        found.extend(page.names);
        if !page.more {
            return Ok(found);
        }
    }
}

async fn places_after(
    s: &Scratch,
    space: Space,
    prefix: &[u8],
    after: Option<Position>,
    limit: usize,
) -> Outcome<Vec<Place>> {
    Ok(scan_all(s, space, prefix, after, limit).await?.iter().map(place).collect())
}

/// Returns the same names, listed by groups and their items.
async fn by_groups(s: &Scratch, space: Space, prefix: &[u8]) -> Outcome<Vec<Place>> {
    let mut places = Vec::new();
    for group in all_groups(s, space, prefix, usize::MAX).await? {
        let own = group.strip_prefix(&s.group(b"")[..]).ok_or("a group without the prefix asked for")?;
        let items = all_items(s, space, own, usize::MAX).await?;
        places.extend(items.into_iter().map(|item| (group.clone(), item)));
    }
    Ok(places)
}

fn sorted_places(names: &[Name]) -> Vec<Place> {
    let mut places: Vec<Place> = names.iter().map(|name| (name.group.clone(), name.item.clone())).collect();
    places.sort();
    places
}

/// Returns the items of the `i`-th group: one to four, with the empty item and the ends of the
/// order among them, not sorted by length.
fn items_of(i: usize) -> &'static [&'static [u8]] {
    const ITEMS: [&[u8]; 4] = [b"\xff", b"", b"\x00b", b"a"];
    &ITEMS[..1 + i % ITEMS.len()]
}

pub(super) async fn scans_come_in_byte_order(s: &Scratch) -> Outcome {
    for &space in s.spaces {
        // Written from last to first, so that a store that lists in order of arrival is found.
        let groups = AWKWARD.iter().enumerate().rev();
        let names = groups.flat_map(|(i, group)| items_of(i).iter().map(move |item| (group, item)));
        let names: Vec<Name> = names.map(|(group, item)| s.name_in(space, group, item)).collect();
        s.put_all(&names).await?;
        let expected = sorted_places(&names);
        for limit in [7, 1000] {
            let found = places_after(s, space, b"", None, limit).await?;
            ensure!(found == expected, "{space:?} in pages of {limit}: a scan found {found:?}");
        }
    }
    Ok(())
}

/// Returns the names of a few groups that are prefixes of each other, with one item or several.
fn paged_names(s: &Scratch, space: Space) -> Vec<Name> {
    let groups: [&[u8]; 6] = [b"p", b"p\x00", b"p\x00\xff", b"pa", b"pb", b"p\xff"];
    let names = groups
        .iter()
        .enumerate()
        .flat_map(|(i, group)| items_of(i).iter().map(move |item| s.name_in(space, group, item)));
    names.collect()
}

pub(super) async fn scans_are_paged(s: &Scratch) -> Outcome {
    let space = s.spaces[0];
    let names = paged_names(s, space);
    s.put_all(&names).await?;
    let expected = sorted_places(&names);
    let listed = by_groups(s, space, b"p").await?;
    ensure!(listed == expected, "by groups and items: {listed:?}");
    for limit in (1..=names.len() + 1).chain([usize::MAX]) {
        let paged = places_after(s, space, b"p", None, limit).await?;
        ensure!(paged == expected, "in pages of {limit}: {paged:?}, not {expected:?}");
    }
    Ok(())
}

pub(super) async fn scans_resume_anywhere(s: &Scratch) -> Outcome {
    let space = s.spaces[0];
    let names = paged_names(s, space);
    s.put_all(&names).await?;
    let all = sorted_places(&names);
    let mut positions: Vec<Position> = all.iter().map(after_item).collect();
    positions.extend(all.iter().map(|(group, _)| after_group(group)));
    // Positions of items and groups that never existed, close to those that do.
    for (group, item) in &all {
        positions.push(after_item(&(group.clone(), [&item[..], b"+"].concat().into())));
        positions.push(after_item(&([&group[..], b"+"].concat().into(), item.clone())));
        positions.push(after_group(&[&group[..], b"+"].concat().into()));
    }
    // Positions before all names and behind all names, with the prefix and without it.
    for group in [&b"o"[..], b"p", b"p\xff\xff", b"q"] {
        positions.push(after_item(&(s.group(group), Bytes::new())));
        positions.push(after_group(&s.group(group)));
    }
    for position in positions {
        let expected: Vec<Place> = all.iter().filter(|place| follows(place, &position)).cloned().collect();
        for limit in [1, 5] {
            let rest = places_after(s, space, b"p", Some(position.clone()), limit).await?;
            ensure!(rest == expected, "after {position:?} in pages of {limit}: {rest:?}, not {expected:?}");
        }
    }
    Ok(())
}

pub(super) async fn scans_resume_after_what_is_gone(s: &Scratch) -> Outcome {
    let space = s.spaces[0];
    let mut names = paged_names(s, space);
    s.put_all(&names).await?;
    names.sort();
    let all = sorted_places(&names);
    for (i, name) in names.iter().enumerate() {
        // The names before this one exist, so that a scan that starts over is found.
        s.delete(std::slice::from_ref(name)).await?;
        let rest = places_after(s, space, b"p", Some(after_item(&all[i])), 3).await?;
        ensure!(rest == all[i + 1..], "after {name}, which is gone: {rest:?}");
        s.put(name, "").await?;
    }
    // The same with a whole group deleted.
    for group in names.chunk_by(|a, b| a.group == b.group) {
        s.delete(group).await?;
        let gone = &group[0].group;
        let expected: Vec<Place> = all.iter().filter(|place| place.0 > *gone).cloned().collect();
        let last = after_item(&(gone.clone(), group[group.len() - 1].item.clone()));
        for after in [after_group(gone), last] {
            let rest = places_after(s, space, b"p", Some(after.clone()), 3).await?;
            ensure!(rest == expected, "after {after:?}, whose group is gone: {rest:?}");
        }
        s.put_all(group).await?;
    }
    Ok(())
}

pub(super) async fn scans_are_chosen_by_prefix(s: &Scratch) -> Outcome {
    let space = s.spaces[0];
    let names = PREFIXED
        .iter()
        .enumerate()
        .flat_map(|(i, group)| items_of(i).iter().map(move |item| s.name_in(space, group, item)));
    let names: Vec<Name> = names.collect();
    s.put_all(&names).await?;
    let all = sorted_places(&names);
    for prefix in PREFIXES {
        let full = s.group(prefix);
        let expected: Vec<Place> =
            all.iter().filter(|(group, _)| group.starts_with(&full)).cloned().collect();
        for limit in [2, 100] {
            let found = places_after(s, space, prefix, None, limit).await?;
            let prefix = prefix.escape_ascii();
            ensure!(found == expected, "prefix {prefix} in pages of {limit}: {found:?}, not {expected:?}");
        }
        // The positions are before, at and behind the prefix.
        for after in [&b"A"[..], b"a", b"a\xff", b"a\xff\xff\xff", b"\xff\xff", b"\xff\xff\xff\xff"] {
            let group = s.group(after);
            for after in [after_group(&group), after_item(&(group.clone(), b"\x00".as_slice().into()))] {
                let rest: Vec<Place> =
                    expected.iter().filter(|place| follows(place, &after)).cloned().collect();
                let found = places_after(s, space, prefix, Some(after.clone()), 3).await?;
                let prefix = prefix.escape_ascii();
                ensure!(found == rest, "prefix {prefix} after {after:?}: {found:?}, not {rest:?}");
            }
        }
    }
    Ok(())
}

/// Groups with common prefixes of every kind: with one group and with many, which extend each
/// other, without one, and with the delimiter as the whole rest.
const ROLLED_UP: [&[u8]; 14] = [
    b"h",
    b"h--",
    b"h--a",
    b"h-a",
    b"ha--",
    b"ha--\x00",
    b"ha--a",
    b"ha--a--b",
    b"ha--b",
    b"ha-b--a",
    b"hb",
    b"h\xff--a",
    b"h\xff--b",
    b"h\xff--c",
];

/// Returns the heads among places, by counting what comes before each of them.
fn heads_of(places: &[Place], start: usize, delimiter: &[u8], each: usize) -> Vec<Place> {
    let common = |group: &Bytes| {
        let at = (start..group.len()).find(|at| group[*at..].starts_with(delimiter))?;
        Some(group.slice(..at + delimiter.len()))
    };
    let is_head = |(group, _): &&Place| {
        let Some(of) = common(group) else { return true };
        let before = places.iter().map(|(other, _)| other).filter(|other| *other < group);
        let before: BTreeSet<&Bytes> = before.filter(|other| common(other).as_ref() == Some(&of)).collect();
        before.len() < each
    };
    places.iter().filter(is_head).cloned().collect()
}

pub(super) async fn scans_of_heads_leave_others_out(s: &Scratch) -> Outcome {
    let space = s.spaces[0];
    let names = ROLLED_UP
        .iter()
        .enumerate()
        .flat_map(|(i, group)| items_of(i).iter().map(move |item| s.name_in(space, group, item)));
    let names: Vec<Name> = names.collect();
    s.put_all(&names).await?;
    let all = sorted_places(&names);
    let start = s.group(b"h").len();
    let ends = all.iter().flat_map(|place| [after_item(place), after_group(&place.0)]);
    let positions: Vec<Option<Position>> = std::iter::once(None).chain(ends.map(Some)).collect();
    for (delimiter, each) in [(&b"--"[..], 1), (b"--", 2), (b"a", 1), (b"--", 100)] {
        let heads = Heads { delimiter: Bytes::from_static(delimiter), each };
        for (after, limit) in positions.iter().flat_map(|after| [(after, 1_000), (after, 3)]) {
            let page = s.scan_heads(space, b"h", after.as_ref(), &heads, limit).await?;
            let found: Vec<Place> = page.names.iter().map(place).collect();
            let behind = |place: &&Place| after.as_ref().is_none_or(|after| follows(place, after));
            let behind: Vec<Place> = all.iter().filter(behind).cloned().collect();
            let expected = heads_of(&behind, start, delimiter, each);
            ensure!(
                found.len() <= limit && expected.starts_with(&found),
                "{heads:?} after {after:?}, at most {limit}: {found:?}, not {expected:?}"
            );
            ensure!(
                found.len() == expected.len() || page.more && !found.is_empty(),
                "{heads:?} after {after:?}, at most {limit}: {found:?} is the end, not {expected:?}"
            );
        }
    }
    Ok(())
}

pub(super) async fn scans_keep_spaces_apart(s: &Scratch) -> Outcome {
    let names_in = |space: Space| {
        let own = space.as_str().as_bytes();
        [s.name_in(space, b"in all", b""), s.name_in(space, b"in all", own), s.name_in(space, own, b"x")]
    };
    for &space in s.spaces {
        s.put_all(&names_in(space)).await?;
    }
    for &space in s.spaces {
        let found = places_after(s, space, b"", None, 2).await?;
        ensure!(found == sorted_places(&names_in(space)), "{space:?} scans as {found:?}");
    }
    Ok(())
}

pub(super) async fn scans_bring_the_right_bodies(s: &Scratch) -> Outcome {
    let largest = s.store.capabilities().body_bytes_max.min(LARGE_BODY_BYTES);
    let sizes = [0, 1, 300, 3000, 65_537, largest];
    let mut brought = 0;
    let versions = [Space::Version].into_iter().filter(|space| s.spaces.contains(space));
    for space in s.races.iter().copied().chain(versions) {
        let mut bodies = BTreeMap::new();
        for size in sizes.into_iter().filter(|&size| size <= largest) {
            for (n, group) in [&b"bodies"[..], b"bodies of others"].into_iter().enumerate() {
                let name = s.name_in(space, group, format!("{size:07}").as_bytes());
                let (older, newer) = (body(size / 2, n as u64), body(size, 7 + n as u64));
                // Overwritten, so that a scan that brings a stale body is found.
                s.put(&name, older).await?;
                s.put(&name, newer.clone()).await?;
                bodies.insert((name.group, name.item), newer);
            }
        }
        for limit in [3, 100] {
            let found = scan_all(s, space, b"bodies", None, limit).await?;
            ensure!(found.len() == bodies.len(), "a scan found {} of {} names", found.len(), bodies.len());
            for found in found {
                // A scan may leave out any body, but may not bring a wrong one.
                let Some(body) = &found.body else { continue };
                brought += 1;
                let right = bodies.get(&place(&found)) == Some(body);
                ensure!(
                    right,
                    "{space:?}: a scan brought {} other bytes for {:?}",
                    body.len(),
                    place(&found)
                );
            }
        }
    }
    if brought == 0 {
        s.skip("the store's scans bring no bodies");
    }
    Ok(())
}

pub(super) async fn scans_show_what_was_written(s: &Scratch) -> Outcome {
    for &space in s.spaces {
        let [one, two, three] = [b"1", b"2", b"3"].map(|item| s.name_in(space, b"come and go", item));
        let expect = async |expected: &[&Name], when: &str| {
            let expected: Vec<Place> =
                expected.iter().map(|name| (name.group.clone(), name.item.clone())).collect();
            let found = places_after(s, space, b"come and go", None, 10).await?;
            ensure!(found == expected, "{space:?}: {when} a scan finds {found:?}");
            Ok(())
        };
        expect(&[], "before the first item").await?;
        s.create(&two, "").await?;
        expect(&[&two], "after a create").await?;
        s.put(&one, "").await?;
        expect(&[&one, &two], "after a put").await?;
        s.delete(std::slice::from_ref(&two)).await?;
        expect(&[&one], "after a delete").await?;
        let create = Some((two.clone(), Bytes::from("record")));
        s.commit(&Writes { create, puts: vec![(three.clone(), Bytes::new())] }).await?;
        expect(&[&one, &two, &three], "after a commit").await?;
        s.delete(&[one, two, three]).await?;
        expect(&[], "without items").await?;
    }
    Ok(())
}
