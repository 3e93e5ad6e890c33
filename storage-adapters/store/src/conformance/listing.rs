//! Checks of listings: order, pages and prefixes.
//!
//! A page may be shorter than its limit and still say that more follow. So every check follows the
//! pages to the end. Each page must be in order, within its limit, and not empty if it says that
//! more follow.

use bytes::Bytes;

use super::Outcome;
use super::contract::{AWKWARD, ensure};
use super::scratch::Scratch;
use crate::{Name, Space};

/// A page of items or of groups.
struct Page {
    found: Vec<Bytes>,
    more: bool,
}

/// Appends a page to `found`. Returns true if another page is to be read.
fn take(found: &mut Vec<Bytes>, page: Page, after: Option<&Bytes>, limit: usize) -> Outcome<bool> {
    let Page { found: page, more } = page;
    ensure!(page.len() <= limit, "a page of {} although the limit was {limit}", page.len());
    ensure!(!(more && page.is_empty()), "an empty page says that more follow, after {after:?}");
    ensure!(page.is_sorted_by(|a, b| a < b), "a page is out of byte order: {page:?}");
    let follows = page.first().zip(after).is_none_or(|(first, after)| first > after);
    ensure!(follows, "a page after {after:?} starts with {:?}", page.first());
    found.extend(page);
    Ok(more)
}

/// Returns every item of a group, read in pages of at most `limit`.
pub(super) async fn all_items(s: &Scratch, space: Space, group: &[u8], limit: usize) -> Outcome<Vec<Bytes>> {
    items_after(s, space, group, None, limit).await
}

async fn items_after(
    s: &Scratch,
    space: Space,
    group: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Outcome<Vec<Bytes>> {
    let (mut found, mut after) = (Vec::new(), after.map(Bytes::copy_from_slice));
    loop {
        let page = s.list(space, group, after.as_deref(), limit).await?;
        let page = Page { found: page.items, more: page.more };
        if !take(&mut found, page, after.as_ref(), limit)? {
            return Ok(found);
        }
        after = found.last().cloned();
    }
}

/// Returns every group with a prefix, read in pages of at most `limit`. The groups are full,
/// scratch prefix included.
pub(super) async fn all_groups(
    s: &Scratch,
    space: Space,
    prefix: &[u8],
    limit: usize,
) -> Outcome<Vec<Bytes>> {
    groups_after(s, space, prefix, None, limit).await
}

async fn groups_after(
    s: &Scratch,
    space: Space,
    prefix: &[u8],
    after: Option<Bytes>,
    limit: usize,
) -> Outcome<Vec<Bytes>> {
    let (mut found, mut after) = (Vec::new(), after);
    loop {
        let page = s.groups(space, prefix, after.as_deref(), limit).await?;
        let page = Page { found: page.groups, more: page.more };
        if !take(&mut found, page, after.as_ref(), limit)? {
            return Ok(found);
        }
        after = found.last().cloned();
    }
}

pub(super) async fn items_come_in_byte_order(s: &Scratch) -> Outcome {
    for &space in s.spaces {
        // Written from last to first, so that a store that lists in order of arrival is found.
        let names: Vec<Name> = AWKWARD.iter().rev().map(|item| s.name_in(space, b"order", item)).collect();
        s.put_all(&names).await?;
        // Groups next to this one, whose items must not be listed.
        s.put(&s.name_in(space, b"orde", b"before"), "").await?;
        s.put(&s.name_in(space, b"order\x00", b"after"), "").await?;
        s.put(&s.name_in(space, b"orderr", b"after"), "").await?;
        let items = all_items(s, space, b"order", 100).await?;
        ensure!(items == AWKWARD, "{space:?}: items are listed as {items:?}");
    }
    Ok(())
}

pub(super) async fn items_are_paged(s: &Scratch) -> Outcome {
    const ITEMS: usize = 12;
    let items: Vec<Bytes> = (0..ITEMS).map(|i| format!("item-{i:02}").into()).collect();
    let names: Vec<Name> = items.iter().map(|item| s.name(b"pages", item)).collect();
    s.put_all(&names).await?;
    let space = s.spaces[0];
    for limit in [1, 2, 3, 5, ITEMS - 1, ITEMS, ITEMS + 1, usize::MAX] {
        let paged = all_items(s, space, b"pages", limit).await?;
        ensure!(paged == items, "in pages of {limit}: {paged:?}");
    }
    for (i, item) in items.iter().enumerate() {
        let rest = items_after(s, space, b"pages", Some(item), 4).await?;
        ensure!(rest == items[i + 1..], "after {item:?}: {rest:?}");
        let between = [&item[..], b"+"].concat();
        let rest = items_after(s, space, b"pages", Some(&between), 4).await?;
        ensure!(rest == items[i + 1..], "after a name between two items, {between:?}: {rest:?}");
    }
    let rest = items_after(s, space, b"pages", Some(b""), 4).await?;
    ensure!(rest == items, "after the empty name, which does not exist: {rest:?}");
    let rest = items_after(s, space, b"pages", Some(b"\xff"), 4).await?;
    ensure!(rest.is_empty(), "after everything: {rest:?}");
    Ok(())
}

pub(super) async fn groups_come_in_byte_order_and_are_paged(s: &Scratch) -> Outcome {
    let space = s.spaces[0];
    let groups: Vec<Bytes> = AWKWARD.iter().map(|group| s.group(group)).collect();
    for (i, group) in groups.iter().enumerate().rev() {
        // Groups of one item and of several, so that a listing has to skip.
        let items = [&b"\xff"[..], b"", b"\x00", b"z"];
        for item in &items[..1 + i % items.len()] {
            s.put(&Name::new(space, group.clone(), Bytes::copy_from_slice(item)), "").await?;
        }
    }
    for limit in [1, 2, 7, groups.len() - 1, groups.len(), groups.len() + 1, usize::MAX] {
        let paged = all_groups(s, space, b"", limit).await?;
        ensure!(paged == groups, "in pages of {limit}: {paged:?}");
    }
    for (i, group) in groups.iter().enumerate() {
        let rest = groups_after(s, space, b"", Some(group.clone()), 5).await?;
        ensure!(rest == groups[i + 1..], "after {group:?}: {rest:?}");
    }
    // A position between two groups that is not a group itself.
    let between: Bytes = [&groups[0][..], b"\x00\x00\x00"].concat().into();
    let rest = groups_after(s, space, b"", Some(between.clone()), 5).await?;
    let expected: Vec<Bytes> = groups.iter().filter(|group| **group > between).cloned().collect();
    ensure!(rest == expected, "after {between:?}, which is not a group: {rest:?}");
    Ok(())
}

/// Groups that are prefixes of each other, also at the ends of the byte order.
pub(super) const PREFIXED: [&[u8]; 16] = [
    b"a",
    b"a\x00",
    b"a\x00\x00",
    b"a\x00\xff",
    b"a\x01",
    b"a/b",
    b"ab",
    b"a\xfe\xff",
    b"a\xff",
    b"a\xff\x00",
    b"a\xff\xff",
    b"a\xff\xff\x01",
    b"b",
    b"\xff",
    b"\xff\xff",
    b"\xff\xff\xff",
];
/// Prefixes of some of [`PREFIXED`], of all and of none.
pub(super) const PREFIXES: [&[u8]; 15] = [
    b"",
    b"a",
    b"a\x00",
    b"a\x00\xff",
    b"a/",
    b"a\xff",
    b"a\xff\xff",
    b"a\xff\xff\xff",
    b"\xff",
    b"\xff\xff",
    b"\xff\xff\xff",
    b"\xff\xff\xff\xff",
    b"b",
    b"bb",
    b"aa",
];

pub(super) async fn groups_are_chosen_by_prefix(s: &Scratch) -> Outcome {
    let space = s.spaces[0];
    let names: Vec<Name> = PREFIXED.iter().map(|group| s.name(group, b"a\xff")).collect();
    s.put_all(&names).await?;
    for prefix in PREFIXES {
        let mut expected: Vec<Bytes> =
            PREFIXED.iter().filter(|group| group.starts_with(prefix)).map(|group| s.group(group)).collect();
        expected.sort();
        for limit in [1, 2, 100] {
            let found = all_groups(s, space, prefix, limit).await?;
            let prefix = prefix.escape_ascii();
            ensure!(found == expected, "prefix {prefix} in pages of {limit}: {found:?}, not {expected:?}");
        }
        // The values of `after` are before, at and behind the prefix.
        for after in [&b"A"[..], b"a", b"a\xff", b"a\xff\xff\xff", b"\xff\xff", b"\xff\xff\xff\xff"] {
            let after = s.group(after);
            let rest: Vec<Bytes> = expected.iter().filter(|group| **group > after).cloned().collect();
            let found = groups_after(s, space, prefix, Some(after.clone()), 3).await?;
            let prefix = prefix.escape_ascii();
            ensure!(found == rest, "prefix {prefix} after {after:?}: {found:?}, not {rest:?}");
        }
    }
    Ok(())
}

pub(super) async fn groups_come_and_go_with_their_items(s: &Scratch) -> Outcome {
    for &space in s.spaces {
        let one = s.name_in(space, b"come and go", b"1");
        let two = s.name_in(space, b"come and go", b"2");
        let expect = async |there: bool, when: &str| {
            let groups = all_groups(s, space, b"come and go", 10).await?;
            ensure!(groups.is_empty() != there, "{space:?}: {when} the groups are {groups:?}");
            Ok(())
        };
        expect(false, "before the first item").await?;
        s.create(&one, "").await?;
        expect(true, "after a create").await?;
        s.put(&two, "").await?;
        s.delete(std::slice::from_ref(&one)).await?;
        expect(true, "with one item left").await?;
        s.delete(std::slice::from_ref(&two)).await?;
        expect(false, "without items").await?;
        s.put(&one, "").await?;
        expect(true, "after a put").await?;
        if s.store.capabilities().delete_if {
            let (_, tag) = s.get_some(&one).await?;
            s.delete_if(&one, &tag).await?;
            expect(false, "after delete_if of the last item").await?;
        }
    }
    Ok(())
}
