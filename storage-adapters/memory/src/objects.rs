//! The objects of one space, in order.
//!
//! Millions of groups hold exactly one object (commit records, markers), some hold thousands (the versions of a hot key). A map of
//! maps would spend a B-tree node, about 600 bytes, on each of the former. So a group of one is kept inline:
//!
//! ```text
//! groups: BTreeMap ── "key-a" ── One ("item", object)
//!                  └─ "key-b" ── Many(BTreeMap ── "item-1" ── object
//!                                              └─ "item-2" ── object)
//! ```
//!
//! This is not a cache and has no bound: its size is what its user wrote.

use std::collections::BTreeMap;
use std::ops::Bound;

use aft_store::{GroupPage, ItemPage};
use bytes::Bytes;

/// A body and the number that stands for this content of its name; never used again for another.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) body: Bytes,
    pub(crate) version: u64,
}

/// The items of one group. Never empty: a group goes with its last item.
#[derive(Debug)]
enum Group {
    /// Inline. A group that grew does not come back to this form: it will hold many again.
    One(Box<[u8]>, Object),
    /// Two or more at some time; at least one now.
    Many(BTreeMap<Box<[u8]>, Object>),
}

/// The objects of one space.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    groups: BTreeMap<Box<[u8]>, Group>,
}

impl Objects {
    pub(crate) fn get(&self, group: &[u8], item: &[u8]) -> Option<&Object> {
        match self.groups.get(group)? {
            Group::One(held, object) => (**held == *item).then_some(object),
            Group::Many(items) => items.get(item),
        }
    }

    pub(crate) fn insert(&mut self, group: &[u8], item: &[u8], object: Object) {
        match self.groups.get_mut(group) {
            None => {
                self.groups.insert(group.into(), Group::One(item.into(), object));
            }
            Some(Group::Many(items)) => match items.get_mut(item) {
                Some(held) => *held = object,
                None => {
                    items.insert(item.into(), object);
                }
            },
            Some(Group::One(held, old)) if **held == *item => *old = object,
            Some(one @ Group::One(..)) => {
                let many = Group::Many(BTreeMap::from([(item.into(), object)]));
                let Group::One(held, old) = std::mem::replace(one, many) else {
                    unreachable!("matched just above");
                };
                let Group::Many(items) = one else { unreachable!("replaced just above") };
                items.insert(held, old);
            }
        }
    }

    pub(crate) fn remove(&mut self, group: &[u8], item: &[u8]) {
        let empty = match self.groups.get_mut(group) {
            None => false,
            Some(Group::One(held, _)) => **held == *item,
            Some(Group::Many(items)) => {
                items.remove(item);
                items.is_empty()
            }
        };
        if empty {
            self.groups.remove(group);
        }
    }

    pub(crate) fn list(&self, group: &[u8], after: Option<&[u8]>, limit: usize) -> ItemPage {
        let mut page = ItemPage::default();
        match self.groups.get(group) {
            None => {}
            Some(Group::One(held, _)) => {
                let follows = after.is_none_or(|after| &**held > after);
                page.items.extend(follows.then(|| Bytes::copy_from_slice(held)));
            }
            Some(Group::Many(items)) => {
                let start = after.map_or(Bound::Unbounded, Bound::Excluded);
                for item in items.range::<[u8], _>((start, Bound::Unbounded)).map(|(item, _)| item) {
                    if page.items.len() == limit {
                        page.more = true;
                        break;
                    }
                    page.items.push(Bytes::copy_from_slice(item));
                }
            }
        }
        page
    }

    pub(crate) fn groups(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> GroupPage {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        let mut page = GroupPage::default();
        for (group, _) in self.groups.range::<[u8], _>((start, Bound::Unbounded)) {
            if !group.starts_with(prefix) {
                break;
            }
            if page.groups.len() == limit {
                page.more = true;
                break;
            }
            page.groups.push(Bytes::copy_from_slice(group));
        }
        page
    }

    /// Every object with its group and item, in order.
    pub(crate) fn each(&self, mut visit: impl FnMut(&[u8], &[u8], &Object)) {
        for (group, items) in &self.groups {
            match items {
                Group::One(item, object) => visit(group, item, object),
                Group::Many(items) => items.iter().for_each(|(item, object)| visit(group, item, object)),
            }
        }
    }
}
