//! The objects of one space, in order.
//!
//! Millions of groups hold exactly one object (commit records), some hold thousands (the versions
//! of a hot key). A map of maps would spend a B-tree node, about 600 bytes, on each group of one.
//! So such a group is kept inline:
//!
//! ```text
//! groups: BTreeMap ── "key-a" ── One ("item", object)
//!                  └─ "key-b" ── Many(BTreeMap ── "item-1" ── object
//!                                              └─ "item-2" ── object)
//! ```
//!
//! The tree's nodes hold the first eight bytes of each key ([`Key`]). So a walk touches one or two
//! cache lines for each node, not one for each comparison.
//!
//! This is not a cache and has no bound: it holds all that was written.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use aft_store::{GroupPage, Heads, ItemPage, Position, ScanPage, Scanned};
use bytes::Bytes;

/// A body, and the number of this content, which is never used for another one.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) body: Bytes,
    pub(crate) version: u64,
}

/// A group or an item, in byte order. With a million keys, a walk takes about 35 cache misses
/// without `head`, and 6 with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    /// The first eight bytes, a shorter key filled up with zeros. If two heads differ, their order
    /// is the order of the keys.
    head: u64,
    full: Box<[u8]>,
}

impl Key {
    fn new(full: &[u8]) -> Key {
        let mut head = [0; 8];
        let len = full.len().min(8);
        head[..len].copy_from_slice(&full[..len]);
        Key { head: u64::from_be_bytes(head), full: full.into() }
    }
}

/// The items of one group. Never empty: a group is removed with its last item.
#[derive(Debug)]
enum Group {
    /// A single item, inline. A group that grew does not return to this form, since it is likely to
    /// grow again.
    One(Key, Object),
    /// A tree of items: at least one now, and two or more at some time before.
    Many(BTreeMap<Key, Object>),
}

impl Group {
    /// Returns the items after `after`, or all items, in order.
    fn after(&self, after: Option<&[u8]>) -> impl Iterator<Item = (&Key, &Object)> {
        let (one, many) = match self {
            Group::One(item, object) => {
                let follows = after.is_none_or(|after| *item.full > *after);
                (follows.then_some((item, object)), None)
            }
            Group::Many(items) => {
                let start = after.map_or(Bound::Unbounded, |after| Bound::Excluded(Key::new(after)));
                (None, Some(items.range((start, Bound::Unbounded))))
            }
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

/// The objects of one space.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    groups: BTreeMap<Key, Group>,
}

impl Objects {
    pub(crate) fn get(&self, group: &[u8], item: &[u8]) -> Option<&Object> {
        match self.groups.get(&Key::new(group))? {
            Group::One(held, object) => (*held.full == *item).then_some(object),
            Group::Many(items) => items.get(&Key::new(item)),
        }
    }

    pub(crate) fn insert(&mut self, group: &[u8], item: &[u8], object: Object) {
        let (group, item) = (Key::new(group), Key::new(item));
        match self.groups.entry(group) {
            Entry::Vacant(vacant) => drop(vacant.insert(Group::One(item, object))),
            Entry::Occupied(mut occupied) => match occupied.get_mut() {
                Group::Many(items) => drop(items.insert(item, object)),
                Group::One(held, old) if *held == item => *old = object,
                // A second item: the group moves from the inline form to a tree.
                one @ Group::One(..) => {
                    let many = Group::Many(BTreeMap::from([(item, object)]));
                    let Group::One(held, old) = std::mem::replace(one, many) else {
                        unreachable!("matched just above");
                    };
                    let Group::Many(items) = one else { unreachable!("replaced just above") };
                    items.insert(held, old);
                }
            },
        }
    }

    pub(crate) fn remove(&mut self, group: &[u8], item: &[u8]) {
        let group = Key::new(group);
        let empty = match self.groups.get_mut(&group) {
            None => false,
            Some(Group::One(held, _)) => *held.full == *item,
            Some(Group::Many(items)) => {
                items.remove(&Key::new(item));
                items.is_empty()
            }
        };
        if empty {
            self.groups.remove(&group);
        }
    }

    pub(crate) fn list(&self, group: &[u8], after: Option<&[u8]>, limit: usize) -> ItemPage {
        let mut page = ItemPage::default();
        let items = self.groups.get(&Key::new(group)).into_iter().flat_map(|items| items.after(after));
        for (item, _) in items {
            if page.items.len() == limit {
                page.more = true;
                break;
            }
            page.items.push(Bytes::copy_from_slice(&item.full));
        }
        page
    }

    pub(crate) fn groups(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> GroupPage {
        let start = match after {
            // The walk starts at the later one of `after` and `prefix`.
            Some(after) if after >= prefix => Bound::Excluded(Key::new(after)),
            Some(_) | None => Bound::Included(Key::new(prefix)),
        };
        let mut page = GroupPage::default();
        for (group, _) in self.groups.range((start, Bound::Unbounded)) {
            if !group.full.starts_with(prefix) {
                break;
            }
            if page.groups.len() == limit {
                page.more = true;
                break;
            }
            page.groups.push(Bytes::copy_from_slice(&group.full));
        }
        page
    }

    pub(crate) fn scan(
        &self,
        prefix: &[u8],
        after: Option<&Position>,
        heads: Option<&Heads>,
        limit: usize,
    ) -> ScanPage {
        let mut start = match after {
            // The walk starts at the later one of `after` and `prefix`; in the middle of a group,
            // at that group.
            Some(Position { group, item }) if group[..] >= *prefix => match item {
                Some(_) => Bound::Included(Key::new(group)),
                None => Bound::Excluded(Key::new(group)),
            },
            Some(_) | None => Bound::Included(Key::new(prefix)),
        };
        let mut picking = heads.map(|heads| heads.pick(prefix));
        let mut page = ScanPage::default();
        // Each turn walks until a group that is left out, and goes on behind its common prefix.
        'seek: loop {
            for (group, items) in self.groups.range((start, Bound::Unbounded)) {
                if !group.full.starts_with(prefix) {
                    break;
                }
                // The page begins inside this group: skip the items up to `after`.
                let left_at = after.filter(|after| after.group == *group.full);
                let left_at = left_at.and_then(|after| after.item.as_deref());
                let mut items = items.after(left_at).peekable();
                if items.peek().is_none() {
                    continue;
                }
                let group = Bytes::copy_from_slice(&group.full);
                if let Some(picking) = &mut picking
                    && !picking.takes(&group)
                {
                    let common = picking.common_prefix().expect("a group without one is taken");
                    let Some(behind) = behind(common) else { break };
                    start = Bound::Included(Key::new(&behind));
                    continue 'seek;
                }
                for (item, object) in items {
                    if page.names.len() == limit {
                        page.more = true;
                        return page;
                    }
                    page.names.push(Scanned {
                        group: group.clone(),
                        item: Bytes::copy_from_slice(&item.full),
                        body: Some(object.body.clone()),
                        written_ms: None,
                    });
                }
            }
            return page;
        }
    }

    /// Calls `visit` for every object with its group and item, in order.
    pub(crate) fn each(&self, mut visit: impl FnMut(&[u8], &[u8], &Object)) {
        for (group, items) in &self.groups {
            match items {
                Group::One(item, object) => visit(&group.full, &item.full, object),
                Group::Many(items) => {
                    items.iter().for_each(|(item, object)| visit(&group.full, &item.full, object));
                }
            }
        }
    }
}

/// Returns the first text after all that start with `prefix`, if there is one.
fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut text = prefix.to_vec();
    while text.pop_if(|last| *last == 0xff).is_some() {}
    *text.last_mut()? += 1;
    Some(text)
}
