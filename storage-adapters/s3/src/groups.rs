//! The groups of a space, in order: a walk over the directories of the layout, deepest first.
//!
//! A directory holds groups (`…!/`) and, where groups are longer than a segment, directories of their own (`…+/`), all in the order of the
//! groups. The walk keeps a stack of places to go on from, so that a page can start after any group: the place after it in its directory, the place after that directory
//! in the one above, and so on.
//!
//! The directory of groups whose names end in a digest is taken at once: each digest is resolved by reading one object, and the groups are
//! sorted in memory. They share [`GROUP_SEGMENTS_MAX`] full segments, 480 characters (some 160 to 480 bytes of a key); more than [`HASHED_MAX`] of them are refused.

use aft_store::{Error, GroupPage, Result, Space};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::layout::{
    self, Entry, GROUP_SEGMENTS_MAX, Layout, Path, SEAL_BYTES_MAX, after_directory, after_group, past,
};
use crate::link::{Link, Page};

/// Listings of one call, after which it answers with what it has: some hundred milliseconds' worth, far below a caller's time-out.
const LISTINGS_MAX: usize = 16;
/// Groups with the same long start: two requests each whenever they are listed.
const HASHED_MAX: usize = 1_000;
/// Digests resolved at once.
pub(crate) const RESOLVES_AT_ONCE: usize = 32;
/// How often a digest whose object goes away under the reading is looked at again. Each time somebody deleted it meanwhile.
const RESOLVES_MAX: usize = 4;

/// A place to go on from.
struct Place {
    full: Vec<String>,
    /// What names of the directory's entries must start with.
    start: String,
    after: Option<String>,
    /// In a directory of digests: the group after which to go on.
    after_hashed: Option<Bytes>,
}

/// A page of the groups that start with `prefix`, those after `after`.
pub(crate) async fn page(
    link: &Link,
    layout: &Layout,
    space: Space,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<GroupPage> {
    let mut places = match after {
        // All that start with a prefix come after what is before it, and before what is after it and does not start so.
        Some(after) if after > prefix && !after.starts_with(prefix) => return Ok(GroupPage::default()),
        Some(after) if after >= prefix => places_after(layout, space, prefix, after),
        Some(_) | None => {
            let Path { full, last } = Path::of_prefix(space, prefix);
            vec![Place { full, start: last, after: None, after_hashed: None }]
        }
    };
    let mut groups = Vec::new();
    let mut listings = 0;
    while let Some(place) = places.pop() {
        if groups.len() == limit || (listings >= LISTINGS_MAX && !groups.is_empty()) {
            return Ok(GroupPage { groups, more: true });
        }
        listings += 1;
        let room = limit - groups.len();
        if place.full.len() == GROUP_SEGMENTS_MAX {
            let mut found = hashed(link, layout, space, &place.full).await?;
            found.retain(|group| {
                group.starts_with(prefix) && place.after_hashed.as_ref().is_none_or(|after| group > after)
            });
            found.sort();
            if found.len() > room {
                groups.extend(found.drain(..room));
                return Ok(GroupPage { groups, more: true });
            }
            groups.append(&mut found);
            continue;
        }
        let directory = layout.directory(space, &place.full);
        let from = format!("{directory}{}", place.start);
        let page = list(link, &from, place.after.as_deref(), room).await?;
        let mut next = if page.more { page.end() } else { None };
        let mut below = None;
        for found in page.directories {
            let segment = found[directory.len()..].trim_end_matches('/');
            match layout::entry(space, &place.full, segment) {
                Some(Entry::Group(Some(group))) => {
                    // A dense prefix lacks its last bits: there may be neighbours.
                    if group.starts_with(prefix) {
                        groups.push(group);
                    }
                }
                Some(Entry::Directory) => {
                    // What is in it comes before the rest of this one.
                    next = Some(past(&found));
                    below = Some(segment.trim_end_matches('+').to_owned());
                    break;
                }
                Some(Entry::Group(None)) | None => return Err(foreign(link, &found)),
            }
        }
        let mut full = place.full.clone();
        if next.is_some() {
            places.push(Place { after: next, ..place });
        }
        if let Some(segment) = below {
            full.push(segment);
            places.push(Place { full, start: String::new(), after: None, after_hashed: None });
        }
    }
    Ok(GroupPage { groups, more: false })
}

/// Where to go on after a group that starts with `prefix`: the deepest place last.
fn places_after(layout: &Layout, space: Space, prefix: &[u8], after: &[u8]) -> Vec<Place> {
    let (top, path) = (Path::of_prefix(space, prefix), Path::of(space, after));
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

/// All groups of a directory of digests, in no order.
async fn hashed(link: &Link, layout: &Layout, space: Space, full: &[String]) -> Result<Vec<Bytes>> {
    let digests = futures::stream::iter(digests(link, layout, space, full).await?);
    let resolved = digests.map(|digest| async move { resolve(link, layout, space, &digest).await });
    let resolved: Vec<Option<Bytes>> = resolved.buffer_unordered(RESOLVES_AT_ONCE).try_collect().await?;
    Ok(resolved.into_iter().flatten().collect())
}

/// The directories of the groups in a directory of digests.
///
/// # Errors
/// [`Error::Refused`] if there are more than [`HASHED_MAX`]: the keys must be shortened.
pub(crate) async fn digests(
    link: &Link,
    layout: &Layout,
    space: Space,
    full: &[String],
) -> Result<Vec<String>> {
    let directory = layout.directory(space, full);
    let page = list(link, &directory, None, HASHED_MAX).await?;
    if page.more {
        return Err(Error::Refused(format!(
            "{}: more than {HASHED_MAX} groups of {} share the long start {directory}, and cannot be listed; shorten the keys",
            link.url,
            space.as_str()
        )));
    }
    for digest in &page.directories {
        let segment = digest[directory.len()..].trim_end_matches('/');
        match layout::entry(space, full, segment) {
            Some(Entry::Group(None)) => {}
            Some(Entry::Group(Some(_)) | Entry::Directory) | None => return Err(foreign(link, digest)),
        }
    }
    Ok(page.directories)
}

/// The group whose name ends in this digest; `None` if it has no items any more.
pub(crate) async fn resolve(
    link: &Link,
    layout: &Layout,
    space: Space,
    digest: &str,
) -> Result<Option<Bytes>> {
    for _ in 0..RESOLVES_MAX {
        let items = link.list(digest, false, None, 1).await;
        let items = items.map_err(|failure| failure.into_error(&link.asked("list", digest)))?;
        let Some(item) = items.objects.first() else { return Ok(None) };
        if let Some(group) = group_in(link, layout, space, digest, &item.key).await? {
            return Ok(Some(group));
        }
    }
    Err(Error::NoAnswer(format!("{}: the items of {digest} go faster than they can be read", link.url)))
}

/// The group that an object below this digest begins with; `None` if the object has gone.
pub(crate) async fn group_in(
    link: &Link,
    layout: &Layout,
    space: Space,
    digest: &str,
    key: &str,
) -> Result<Option<Bytes>> {
    let Some(start) = link.get_start(key, SEAL_BYTES_MAX).await? else { return Ok(None) };
    match layout::unseal(start) {
        Some((group, _)) if !group.is_empty() && layout.group(space, &group) == digest => Ok(Some(group)),
        Some(_) | None => Err(Error::Damaged(format!("{}: {key} does not begin with its group", link.url))),
    }
}

async fn list(link: &Link, from: &str, after: Option<&str>, limit: usize) -> Result<Page> {
    let page = link.list(from, true, after, limit).await;
    page.map_err(|failure| failure.into_error(&link.asked("groups", from)))
}

/// Something stands where only this program writes.
pub(crate) fn foreign(link: &Link, key: &str) -> Error {
    Error::Damaged(format!(
        "{}: {key} is nothing that is written here: keep other objects out of this prefix",
        link.url
    ))
}
