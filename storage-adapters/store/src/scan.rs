//! The default scan, for stores without one of their own: lists the groups, then the items of each.
//!
//! A page costs one call of [`Store::groups`], and one of [`Store::list`] for each group, so this
//! suits stores whose requests cost nothing, and tests. Names may be written and deleted between
//! two of these calls. As with every paged listing, a name that exists all the time is found.

use bytes::Bytes;

use crate::{Damage, Heads, Position, Result, ScanPage, Scanned, Space, Store};

impl Heads {
    /// Returns the common prefix of a group that starts with `prefix`, if it has one.
    pub fn common_prefix<'a>(&self, prefix: &[u8], group: &'a [u8]) -> Option<&'a [u8]> {
        assert!(group.starts_with(prefix), "a scan keeps to its prefix");
        assert!(!self.delimiter.is_empty(), "a delimiter is not empty");
        let rest = &group[prefix.len()..];
        let at = rest.windows(self.delimiter.len()).position(|text| text == &self.delimiter[..])?;
        Some(&group[..prefix.len() + at + self.delimiter.len()])
    }

    /// Begins to pick the heads among the groups of a scan of `prefix`.
    pub fn pick<'a>(&'a self, prefix: &'a [u8]) -> Picking<'a> {
        assert!(self.each > 0, "a common prefix has a head at least");
        Picking { heads: self, prefix, group: Bytes::new(), common: None, count: 0 }
    }
}

/// The heads among the groups of a scan, picked in the scan's order.
#[derive(Debug)]
pub struct Picking<'a> {
    heads: &'a Heads,
    prefix: &'a [u8],
    /// The last group.
    group: Bytes,
    /// Its common prefix.
    common: Option<Bytes>,
    /// The number of groups with that common prefix so far.
    count: usize,
}

impl Picking<'_> {
    /// Returns true if a group is a head: it has no common prefix, or is one of the first with it.
    pub fn takes(&mut self, group: &Bytes) -> bool {
        if self.group != *group {
            let common = self.heads.common_prefix(self.prefix, group).map(<[u8]>::len);
            let common = common.map(|len| group.slice(..len));
            self.count = if common.is_some() && common == self.common { self.count + 1 } else { 1 };
            (self.common, self.group) = (common, group.clone());
        }
        self.common.is_none() || self.count <= self.heads.each
    }

    /// Returns the common prefix of the last group.
    pub fn common_prefix(&self) -> Option<&[u8]> {
        self.common.as_deref()
    }
}

/// Returns one page of a scan, as [`Store::scan`] specifies it.
pub(crate) async fn scan_by_groups<S: Store + ?Sized>(
    store: &S,
    space: Space,
    prefix: &[u8],
    after: Option<&Position>,
    limit: usize,
) -> Result<ScanPage> {
    assert!(limit > 0, "a page holds at least one name");
    let (mut names, mut damaged): (Vec<Scanned>, Damage) = Default::default();
    // First comes the rest of the group in which the page begins. If that group lacks the prefix,
    // none of its items match, but later groups may.
    if let Some(Position { group, item: Some(item) }) = after
        && group.starts_with(prefix)
    {
        let page = store.list(space, group, Some(item), limit).await?;
        add(&mut names, group, page.items);
        damaged.append(page.damaged);
        if page.more || names.len() >= limit {
            return Ok(ScanPage { more: !names.is_empty(), names, damaged });
        }
    }
    let mut after = after.map(|after| after.group.clone());
    loop {
        // Each group has at least one item, so the page needs no more groups than it lacks names.
        let page = store.groups(space, prefix, after.as_deref(), limit - names.len()).await?;
        let last = page.groups.last().cloned();
        damaged.append(page.damaged);
        for group in page.groups {
            let items = store.list(space, &group, None, limit - names.len()).await?;
            add(&mut names, &group, items.items);
            damaged.append(items.damaged);
            if items.more || names.len() >= limit {
                // The page is full. More follow in this group, in a later group of this page, or in
                // later pages.
                let more = items.more || page.more || last.is_some_and(|last| last != group);
                return Ok(ScanPage { more: more && !names.is_empty(), names, damaged });
            }
        }
        if !page.more || last.is_none() {
            return Ok(ScanPage { names, more: false, damaged });
        }
        after = last;
    }
}

fn add(names: &mut Vec<Scanned>, group: &Bytes, items: Vec<Bytes>) {
    let scanned = |item| Scanned { group: group.clone(), item, body: None, written_ms: None };
    names.extend(items.into_iter().map(scanned));
}

#[cfg(test)]
mod tests {
    //! Goal: the pages of a scan hold the right names, in order. Method: random scans over random
    //! names are compared with a filter over the sorted names.

    use std::collections::BTreeSet;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use async_trait::async_trait;
    use proptest::prelude::*;

    use super::*;
    use crate::{Capabilities, Created, GroupPage, ItemPage, Name, Replaced, Tag};

    const SPACE: Space = Space::Version;

    /// A store that can only list, and whose pages hold at most `page_len_max` names.
    #[derive(Debug)]
    struct Listed {
        names: BTreeSet<(Bytes, Bytes)>,
        page_len_max: usize,
    }

    /// Returns the first `limit` names of `found`, and true if there are more.
    fn page(found: impl Iterator<Item = Bytes>, limit: usize) -> (Vec<Bytes>, bool) {
        let mut found = found.peekable();
        let page = found.by_ref().take(limit).collect();
        (page, found.peek().is_some())
    }

    #[async_trait]
    impl Store for Listed {
        fn url(&self) -> String {
            "listed:".to_owned()
        }

        fn capabilities(&self) -> Capabilities {
            unreachable!("a scan does not use the capabilities")
        }

        async fn get(&self, _: &Name) -> Result<Option<(Bytes, Tag)>> {
            unreachable!("a scan gets nothing")
        }

        async fn put(&self, _: &Name, _: Bytes) -> Result<()> {
            unreachable!("a scan writes nothing")
        }

        async fn create(&self, _: &Name, _: Bytes) -> Result<Created> {
            unreachable!("a scan writes nothing")
        }

        async fn replace(&self, _: &Name, _: &Tag, _: Bytes) -> Result<Replaced> {
            unreachable!("a scan writes nothing")
        }

        async fn delete(&self, _: &[Name]) -> Result<()> {
            unreachable!("a scan writes nothing")
        }

        async fn delete_if(&self, _: &Name, _: &Tag) -> Result<Replaced> {
            unreachable!("a scan writes nothing")
        }

        async fn list(
            &self,
            space: Space,
            group: &[u8],
            after: Option<&[u8]>,
            limit: usize,
        ) -> Result<ItemPage> {
            assert!(space == SPACE && limit > 0, "{space:?}, limit {limit}");
            let items = self.names.iter().filter(|(of, _)| of == group).map(|(_, item)| item.clone());
            let items = items.filter(|item| after.is_none_or(|after| item[..] > *after));
            let (items, more) = page(items, limit.min(self.page_len_max));
            Ok(ItemPage { items, more, damaged: Damage::default() })
        }

        async fn groups(
            &self,
            space: Space,
            prefix: &[u8],
            after: Option<&[u8]>,
            limit: usize,
        ) -> Result<GroupPage> {
            assert!(space == SPACE && limit > 0, "{space:?}, limit {limit}");
            let groups: BTreeSet<Bytes> = self.names.iter().map(|(group, _)| group.clone()).collect();
            let groups = groups
                .into_iter()
                .filter(|group| group.starts_with(prefix) && after.is_none_or(|after| group[..] > *after));
            let (groups, more) = page(groups, limit.min(self.page_len_max));
            Ok(GroupPage { groups, more, damaged: Damage::default() })
        }
    }

    /// Returns the result of a call that must complete on its first poll.
    fn at_once<T>(call: impl Future<Output = T>) -> T {
        match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("a call did not complete on its first poll"),
        }
    }

    fn is_after(name: &(Bytes, Bytes), after: &Position) -> bool {
        match &after.item {
            Some(item) => (&name.0, &name.1) > (&after.group, item),
            None => name.0 > after.group,
        }
    }

    /// Generates byte strings that are often equal, often prefixes of each other, and often at the
    /// ends of the byte order.
    fn bytes(len: std::ops::Range<usize>) -> impl Strategy<Value = Bytes> {
        let byte = prop_oneof![Just(0x00), Just(b'a'), Just(b'b'), Just(0xff)];
        prop::collection::vec(byte, len).prop_map(Bytes::from)
    }

    proptest! {
        #[test]
        fn the_pages_of_a_scan_hold_the_sorted_names(
            names in prop::collection::btree_set((bytes(1..4), bytes(0..3)), 0..24),
            prefix in bytes(0..3),
            after in prop::option::of((bytes(1..4), prop::option::of(bytes(0..3)))),
            limit in 1_usize..12,
            page_len_max in 1_usize..12,
        ) {
            let mut after = after.map(|(group, item)| Position { group, item });
            let expected = names.iter().filter(|name| {
                name.0.starts_with(&prefix) && after.as_ref().is_none_or(|after| is_after(name, after))
            });
            let expected: Vec<(Bytes, Bytes)> = expected.cloned().collect();
            let store = Listed { names, page_len_max };
            let mut found: Vec<(Bytes, Bytes)> = Vec::new();
            loop {
                let page = at_once(scan_by_groups(&store, SPACE, &prefix, after.as_ref(), limit));
                let ScanPage { names, more, damaged: _ } = page.expect("nothing fails here");
                prop_assert!(names.len() <= limit);
                prop_assert!(!more || !names.is_empty(), "an empty page says that more follow");
                // A page is full, unless the store's own pages are shorter.
                if page_len_max >= limit {
                    prop_assert_eq!(names.len(), limit.min(expected.len() - found.len()));
                }
                found.extend(names.into_iter().map(|name| (name.group, name.item)));
                prop_assert!(expected.starts_with(&found), "{:?} of {:?}", found, expected);
                if !more {
                    break;
                }
                let (group, item) = found.last().cloned().expect("the page was not empty");
                after = Some(Position { group, item: Some(item) });
            }
            prop_assert_eq!(found, expected);
        }
    }
}
