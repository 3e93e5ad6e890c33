//! The groups of a space, in order: a depth-first walk over the directories of the layout.
//!
//! A directory holds groups (`…!/`) and, where groups are longer than a segment, directories of
//! their own (`…+/`), all in the order of the groups. The walk keeps a stack of the places at which
//! to continue, so that a page can start after any group: the place after that group in its
//! directory, then the place after that directory in its parent, and so on.
//!
//! Groups whose names end in a digest share [`GROUP_SEGMENTS_MAX`] full segments, 480 characters
//! (some 160 to 480 bytes of a key), and are not sorted within their directory. A page therefore
//! lists all digests in it, a thousand at a time, resolves each by reading one object, and keeps
//! the lowest groups that it has room for. Resolved digests are cached, since a digest always means
//! the same group: if a page takes longer than its caller waits, the next attempt gets further.

use std::collections::BTreeSet;

use aft_store::{Damage, Error, GroupPage, Result, Space};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::layout::{
    self, Entry, GROUP_SEGMENTS_MAX, Layout, Path, SEAL_BYTES_MAX, after_directory, after_group, past,
};
use crate::link::{BATCH_MAX, Link, Page};

/// The number of listings after which a call returns the groups found so far: they take a few
/// hundred milliseconds, far less than a caller's timeout.
const LISTINGS_MAX: usize = 16;
/// The number of digests that are resolved at once.
pub(crate) const RESOLVES_AT_ONCE: usize = 32;
/// The number of a digest's objects that are read until one shows its group. More do not help: if
/// that many are foreign, other programs write there.
const RESOLVE_OBJECTS: usize = 4;
/// The number of attempts to resolve a digest whose objects are deleted between listing and
/// reading.
const RESOLVES_MAX: usize = 4;

/// A place in the tree at which the walk continues.
struct Place {
    /// The full segments of the directory.
    full: Vec<String>,
    /// The start that the names of the directory's entries must have.
    start: String,
    /// The key after which to continue; `None` at the directory's start.
    after: Option<String>,
    /// The group after which to continue, in a directory of digests.
    after_hashed: Option<Bytes>,
}

/// Returns a page of up to `limit` groups that start with `prefix` and come after `after`.
pub(crate) async fn page(
    link: &Link,
    layout: &Layout,
    space: Space,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<GroupPage> {
    let mut places = match after {
        // `after` lies behind all groups with this prefix. If it lies before them (below), the page
        // begins with the first of them.
        Some(after) if after > prefix && !after.starts_with(prefix) => return Ok(GroupPage::default()),
        Some(after) if after >= prefix => places_after(layout, space, prefix, after),
        Some(_) | None => {
            let Path { full, last } = Path::of_prefix(space, prefix);
            vec![Place { full, start: last, after: None, after_hashed: None }]
        }
    };
    let (mut groups, mut damaged) = (Vec::new(), Damage::default());
    let mut listings = 0;
    while let Some(place) = places.pop() {
        if groups.len() == limit || (listings >= LISTINGS_MAX && !groups.is_empty()) {
            return Ok(GroupPage { groups, more: true, damaged });
        }
        listings += 1;
        let room = limit - groups.len();
        if place.full.len() == GROUP_SEGMENTS_MAX {
            let wanted = |group: &Bytes| {
                group.starts_with(prefix) && place.after_hashed.as_ref().is_none_or(|after| group > after)
            };
            // Ask for one more than fits: it shows that more follow.
            let found = hashed(link, layout, space, &place.full, room + 1, wanted, &mut damaged).await?;
            let more = found.len() > room;
            groups.extend(found.into_iter().take(room));
            if more {
                return Ok(GroupPage { groups, more: true, damaged });
            }
            continue;
        }
        let directory = layout.directory(space, &place.full);
        let from = format!("{directory}{}", place.start);
        let page = list(link, &from, place.after.as_deref(), room).await?;
        let mut next = if page.more { page.end() } else { None };
        loose(link, &page, &mut damaged);
        let mut below = None;
        for found in page.directories {
            let segment = found[directory.len()..].trim_end_matches('/');
            match layout::entry(space, &place.full, segment) {
                Some(Entry::Group(Some(group))) => {
                    // The dense encoding of a prefix lacks its last bits, so other groups may match
                    // it.
                    if group.starts_with(prefix) {
                        groups.push(group);
                    }
                }
                Some(Entry::Directory) => {
                    // The subdirectory's groups come before the rest of this directory: visit it
                    // first.
                    next = Some(past(&found));
                    below = Some(segment.trim_end_matches('+').to_owned());
                    break;
                }
                Some(Entry::Group(None)) | None => damaged.add(|| foreign(link, &found)),
            }
        }
        // The rest of this directory goes below its subdirectory on the stack.
        let mut full = place.full.clone();
        if next.is_some() {
            places.push(Place { after: next, ..place });
        }
        if let Some(segment) = below {
            full.push(segment);
            places.push(Place { full, start: String::new(), after: None, after_hashed: None });
        }
    }
    Ok(GroupPage { groups, more: false, damaged })
}

/// Returns the places at which to continue after the group `after`, which starts with `prefix`. The
/// deepest one is last, so that it is popped first.
fn places_after(layout: &Layout, space: Space, prefix: &[u8], after: &[u8]) -> Vec<Place> {
    let (top, path) = (Path::of_prefix(space, prefix), Path::of(space, after));
    // The prefix restricts only the directory in which its own last segment lies; below, every
    // entry has the prefix.
    let start = |depth| if depth == top.full.len() { top.last.clone() } else { String::new() };
    let mut places = Vec::new();
    for depth in top.full.len()..path.full.len() {
        let full = path.full[..depth].to_vec();
        let next = after_directory(&layout.directory(space, &full), &path.full[depth]);
        places.push(Place { full, start: start(depth), after: Some(next), after_hashed: None });
    }
    let start = start(path.full.len());
    places.push(if path.full.len() == GROUP_SEGMENTS_MAX {
        Place { full: path.full, start, after: None, after_hashed: Some(Bytes::copy_from_slice(after)) }
    } else {
        let next = after_group(&layout.directory(space, &path.full), &path.last);
        Place { full: path.full, start, after: Some(next), after_hashed: None }
    });
    places
}

/// Returns the lowest groups of a directory of digests that are `wanted`, at most `keep` of them.
async fn hashed(
    link: &Link,
    layout: &Layout,
    space: Space,
    full: &[String],
    keep: usize,
    wanted: impl Fn(&Bytes) -> bool,
    damaged: &mut Damage,
) -> Result<BTreeSet<Bytes>> {
    let (mut lowest, mut after) = (BTreeSet::new(), None);
    loop {
        let (digests, next) = digests(link, layout, space, full, after.as_deref(), damaged).await?;
        let resolved = futures::stream::iter(digests);
        let resolved = resolved.map(|digest| async move { resolve(link, layout, space, &digest).await });
        let resolved: Vec<Resolved> = resolved.buffer_unordered(RESOLVES_AT_ONCE).try_collect().await?;
        for group in resolved.into_iter().filter_map(|resolved| resolved.or_damage(damaged)) {
            if wanted(&group) && lowest.insert(group) && lowest.len() > keep {
                lowest.pop_last();
            }
        }
        let Some(next) = next else { return Ok(lowest) };
        after = Some(next);
    }
}

/// Returns a page of the group directories in a directory of digests, and the key at which to
/// continue; `None` after the last page.
pub(crate) async fn digests(
    link: &Link,
    layout: &Layout,
    space: Space,
    full: &[String],
    after: Option<&str>,
    damaged: &mut Damage,
) -> Result<(Vec<String>, Option<String>)> {
    let directory = layout.directory(space, full);
    let page = list(link, &directory, after, BATCH_MAX).await?;
    let next = if page.more { page.end() } else { None };
    loose(link, &page, damaged);
    let mut digests = page.directories;
    digests.retain(|digest| {
        let segment = digest[directory.len()..].trim_end_matches('/');
        match layout::entry(space, full, segment) {
            Some(Entry::Group(None)) => true,
            Some(Entry::Group(Some(_)) | Entry::Directory) | None => {
                damaged.add(|| foreign(link, digest));
                false
            }
        }
    });
    Ok((digests, next))
}

/// Adds the objects that lie beside the directories of a page as damage: AFT writes none there.
fn loose(link: &Link, page: &Page, damaged: &mut Damage) {
    // A directory's own empty object, as some programs create it, is harmless.
    for object in page.objects.iter().filter(|object| !object.key.ends_with('/')) {
        damaged.add(|| foreign(link, &object.key));
    }
}

/// The result of resolving a digest to its group.
#[derive(Debug)]
pub(crate) enum Resolved {
    /// The group.
    Group(Bytes),
    /// No objects: all of them were deleted.
    Gone,
    /// No readable object; the text names one of them.
    Damaged(String),
}

impl Resolved {
    /// Returns the group, if it is known; adds an unreadable object to `damaged`.
    pub(crate) fn or_damage(self, damaged: &mut Damage) -> Option<Bytes> {
        match self {
            Resolved::Group(group) => Some(group),
            Resolved::Gone => None,
            Resolved::Damaged(text) => {
                damaged.add(|| text);
                None
            }
        }
    }
}

/// Resolves a digest to its group by any of its first objects. `digest` is the group's directory.
pub(crate) async fn resolve(link: &Link, layout: &Layout, space: Space, digest: &str) -> Result<Resolved> {
    if let Some(group) = link.resolved.get(digest) {
        return Ok(Resolved::Group(group));
    }
    for _ in 0..RESOLVES_MAX {
        let items = link.list(digest, false, None, RESOLVE_OBJECTS).await;
        let items = items.map_err(|failure| failure.into_error(&link.asked("list", digest)))?;
        let mut broken = None;
        let objects = items.objects.iter().filter(|object| object.key != digest);
        let keys: Vec<&str> = objects.map(|object| object.key.as_str()).collect();
        for key in &keys {
            match group_in(link, layout, space, digest, key).await? {
                Resolved::Group(group) => return Ok(Resolved::Group(group)),
                Resolved::Gone => {}
                Resolved::Damaged(text) => broken = broken.or(Some(text)),
            }
        }
        // Every object that was listed has been deleted meanwhile, so list again, unless none was
        // listed at all.
        match broken {
            Some(text) => return Ok(Resolved::Damaged(text)),
            None if keys.is_empty() => return Ok(Resolved::Gone),
            None => {}
        }
    }
    Err(Error::NoAnswer(format!(
        "{}: the objects below {digest} are deleted faster than they can be read; try again later",
        link.url
    )))
}

/// Returns the group that the object `key` begins with, if it belongs below the directory `digest`.
pub(crate) async fn group_in(
    link: &Link,
    layout: &Layout,
    space: Space,
    digest: &str,
    key: &str,
) -> Result<Resolved> {
    let Some(start) = link.get_start(key, SEAL_BYTES_MAX).await? else { return Ok(Resolved::Gone) };
    Ok(match layout::unseal(start) {
        Some((group, _)) if !group.is_empty() && layout.group(space, &group) == digest => {
            link.resolved.put(digest, &group);
            Resolved::Group(group)
        }
        Some(_) | None => Resolved::Damaged(format!("{}: {key} does not begin with its group", link.url)),
    })
}

async fn list(link: &Link, from: &str, after: Option<&str>, limit: usize) -> Result<Page> {
    let page = link.list(from, true, after, limit).await;
    page.map_err(|failure| failure.into_error(&link.asked("groups", from)))
}

/// Returns the text about a foreign object where only AFT writes.
pub(crate) fn foreign(link: &Link, key: &str) -> String {
    format!("{}: {key} was not written by AFT; keep other objects out of this prefix", link.url)
}
