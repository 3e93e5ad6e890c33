//! The names of a space across groups, in order: each page is one flat listing.
//!
//! Keys are in the order of (group, item), so a page of a listing without a delimiter *is* a page
//! of the scan, and costs one request. The exception is groups whose names end in a digest
//! (`layout`). Their directory holds nothing else and is in its place in the order, but within it
//! the groups are not sorted:
//!
//! * A directory that fits within the page is sorted in memory, after one GET for each group in it,
//!   which gives the group's name.
//! * One that does not fit ends the page before it. If the page begins with it, all of its digests
//!   are listed, a thousand at a time, and the lowest groups that the page has room for are read
//!   group by group: two requests for each group, and one more for each group on the page that had
//!   been resolved before. That is the price of more than a page of names that share their first
//!   480 characters.
//!
//! Names are not cached between pages: a page that continues within such a directory lists it
//! again. The groups of digests are cached (`groups`), and so are small bodies (`remembered`).

use std::cmp::Ordering;
use std::collections::BTreeMap;

use aft_store::{Damage, Error, Position, Result, ScanPage, Scanned, Space};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::groups::{RESOLVES_AT_ONCE, Resolved, digests, foreign, group_in, resolve};
use crate::layout::{self, GROUP_SEGMENTS_MAX, Layout, Path, Read, past};
use crate::link::{BATCH_MAX, Link, Object, Page};

/// The number of names of each group that are listed before its place among the others is known.
/// Most groups have fewer, and need no further request. For a thousand groups these are 100,000
/// names, about 20 MB.
const FIRST_NAMES_MAX: usize = 100;

/// The arguments of a scan.
struct Scan<'a> {
    link: &'a Link,
    layout: &'a Layout,
    space: Space,
    prefix: &'a [u8],
    after: Option<&'a Position>,
}

/// The items of one group, each with its object.
type Items = Vec<(Bytes, Object)>;

/// Returns a page of up to `limit` names of groups that start with `prefix`, after the position
/// `after`.
pub(crate) async fn page(
    link: &Link,
    layout: &Layout,
    space: Space,
    prefix: &[u8],
    after: Option<&Position>,
    limit: usize,
) -> Result<ScanPage> {
    let Some(after) = Position::within(prefix, after) else { return Ok(ScanPage::default()) };
    // A sweep begins: what two of them have not shown is dropped from the cache.
    if space == Space::Version && prefix.is_empty() && after.is_none() {
        link.remembered.begin_pass();
    }
    let page = Scan { link, layout, space, prefix, after }.page(limit).await?;
    page.check_invariants(limit);
    Ok(page)
}

impl Scan<'_> {
    /// Lists flat pages until one gives names, and reads directories of digests group by group.
    async fn page(&self, limit: usize) -> Result<ScanPage> {
        let limit = limit.min(BATCH_MAX);
        let Path { full, last } = Path::of_prefix(self.space, self.prefix);
        let mut below = self.layout.directory(self.space, &full);
        if full.len() < GROUP_SEGMENTS_MAX {
            below.push_str(&last);
        }
        let (mut names, mut damaged): (Vec<Scanned>, Damage) = Default::default();
        let mut from = self.after.map(|after| self.start(after));
        loop {
            let listed = self.list(&below, from.as_deref(), limit - names.len()).await?;
            let crowded = self.take_page(&listed, &mut names, &mut damaged).await?;
            let Some(full) = crowded else {
                // A page may give no names: it may hold neighbours of the prefix, directories that
                // other programs created, or names of digests up to `after`.
                if listed.more && names.is_empty() {
                    from = Some(self.end_of(&listed, &below)?);
                    continue;
                }
                return Ok(ScanPage { names, more: listed.more, damaged });
            };
            // The names found come before the directory; the next page begins with it.
            if !names.is_empty() {
                return Ok(ScanPage { names, more: true, damaged });
            }
            let more = self.take_directory(&full, limit, &mut names, &mut damaged).await?;
            if more || names.len() == limit {
                return Ok(ScanPage { names, more: true, damaged });
            }
            let behind = past(&self.layout.directory(self.space, &full));
            if !behind.starts_with(&below) {
                // Everything with the prefix lies in that directory.
                return Ok(ScanPage { names, more: false, damaged });
            }
            from = Some(behind);
        }
    }

    /// Returns the key after which a listing continues.
    fn start(&self, after: &Position) -> String {
        let (layout, space) = (self.layout, self.space);
        if layout::is_hashed(space, &after.group) {
            // Its directory is not sorted: all of it is listed again.
            return layout.directory(space, &Path::of(space, &after.group).full);
        }
        let group = layout.group(space, &after.group);
        match &after.item {
            Some(item) => group + &layout::item(item),
            None => past(&group),
        }
    }

    /// Adds the names of a page of the listing. Stops at a directory of digests that continues
    /// beyond the page, and returns its segments.
    async fn take_page(
        &self,
        page: &Page,
        names: &mut Vec<Scanned>,
        damaged: &mut Damage,
    ) -> Result<Option<Vec<String>>> {
        let mut objects = page.objects.as_slice();
        while let Some(object) = objects.first() {
            // A directory's own empty object, as some programs create it, is harmless.
            if object.key.ends_with('/') {
                objects = &objects[1..];
                continue;
            }
            match self.layout.read(self.space, &object.key) {
                Some(Read::Whole { group, item }) => {
                    // The encoded prefix may match neighbours as well.
                    if group.starts_with(self.prefix) {
                        assert!(self.is_asked_for(&group, &item), "a listing continues after its start");
                        names.push(self.scanned(group, item, object));
                    }
                    objects = &objects[1..];
                }
                Some(Read::Hashed { full, .. }) => {
                    let directory = self.layout.directory(self.space, &full);
                    let len = objects.iter().take_while(|one| one.key.starts_with(&directory)).count();
                    let (inside, behind) = objects.split_at(len);
                    if behind.is_empty() && page.more {
                        return Ok(Some(full));
                    }
                    names.append(&mut self.sorted(inside, damaged).await?);
                    objects = behind;
                }
                None => {
                    damaged.add(|| foreign(self.link, &object.key));
                    objects = &objects[1..];
                }
            }
        }
        Ok(None)
    }

    /// Returns the requested names of a complete directory of digests, in order.
    async fn sorted(&self, objects: &[Object], damaged: &mut Damage) -> Result<Vec<Scanned>> {
        // Gather the objects by group: those of one group are adjacent, since their keys share the
        // digest.
        let mut groups: Vec<(String, String, Items)> = Vec::new();
        for object in objects.iter().filter(|object| !object.key.ends_with('/')) {
            let Some(Read::Hashed { digest_len, item, .. }) = self.layout.read(self.space, &object.key)
            else {
                damaged.add(|| foreign(self.link, &object.key));
                continue;
            };
            let digest = &object.key[..digest_len];
            match groups.last_mut() {
                Some((last, _, items)) if *last == digest => items.push((item, object.clone())),
                Some(_) | None => {
                    groups.push((digest.to_owned(), object.key.clone(), vec![(item, object.clone())]));
                }
            }
        }
        // Resolve every digest; only then can the names be sorted by group.
        let groups = futures::stream::iter(groups).map(|(digest, first, items)| async move {
            Ok::<_, Error>((self.group(&digest, &first).await?, items))
        });
        let groups: Vec<(Resolved, Items)> = groups.buffer_unordered(RESOLVES_AT_ONCE).try_collect().await?;
        let mut names = Vec::with_capacity(objects.len());
        for (resolved, items) in groups {
            let Some(group) = resolved.or_damage(damaged) else { continue };
            let items = items.into_iter().filter(|(item, _)| self.is_asked_for(&group, item));
            names.extend(items.map(|(item, object)| self.scanned(group.clone(), item, &object)));
        }
        names.sort_by(|a, b| (&a.group, &a.item).cmp(&(&b.group, &b.item)));
        Ok(names)
    }

    /// Adds names of a directory of digests that does not fit in a page, up to `limit` in all.
    /// Returns true if it has more.
    async fn take_directory(
        &self,
        full: &[String],
        limit: usize,
        names: &mut Vec<Scanned>,
        damaged: &mut Damage,
    ) -> Result<bool> {
        let mut behind: Option<Bytes> = None;
        loop {
            // The lowest groups so far, each with its first names if resolving it has read them.
            let (mut lowest, mut dropped, mut after) = (BTreeMap::<Bytes, Option<Page>>::new(), false, None);
            loop {
                let (listed, next) =
                    digests(self.link, self.layout, self.space, full, after.as_deref(), damaged).await?;
                let resolved =
                    futures::stream::iter(listed).map(|digest| async move { self.first(&digest).await });
                let resolved: Vec<(Resolved, Option<Page>)> =
                    resolved.buffer_unordered(RESOLVES_AT_ONCE).try_collect().await?;
                for (resolved, page) in resolved {
                    let Some(group) = resolved.or_damage(damaged) else { continue };
                    let is_behind = behind.as_ref().is_some_and(|behind| group <= *behind);
                    if !group.starts_with(self.prefix) || self.is_past(&group) || is_behind {
                        continue;
                    }
                    lowest.insert(group, page);
                    // Every group has at least one name, so no more than `limit` groups fit.
                    if lowest.len() > limit {
                        lowest.pop_last();
                        dropped = true;
                    }
                }
                let Some(next) = next else { break };
                after = Some(next);
            }
            // If none of these groups gives a name, the next round looks for the groups behind
            // them.
            behind = lowest.last_key_value().map(|(last, _)| last.clone());
            let pages = futures::stream::iter(lowest).map(|(group, page)| async move {
                let page = match page {
                    Some(page) => page,
                    None => {
                        let digest = self.layout.group(self.space, &group);
                        self.list(&digest, None, FIRST_NAMES_MAX).await?
                    }
                };
                Ok::<_, Error>((group, page))
            });
            let mut pages = pages.buffered(RESOLVES_AT_ONCE);
            while let Some((group, mut page)) = pages.try_next().await? {
                let digest = self.layout.group(self.space, &group);
                // The last page stopped within this group, perhaps far behind its first names:
                // continue there.
                if page.more
                    && let Some(Position { group: last, item: Some(item) }) = self.after
                    && *last == group
                {
                    let from = format!("{digest}{}", layout::item(item));
                    page = self.list(&digest, Some(&from), limit).await?;
                }
                loop {
                    for object in page.objects.iter().filter(|object| object.key != digest) {
                        let text = &object.key[digest.len()..];
                        let Some(item) = layout::decode_item(text) else {
                            damaged.add(|| foreign(self.link, &object.key));
                            continue;
                        };
                        if !self.is_asked_for(&group, &item) {
                            continue;
                        }
                        if names.len() == limit {
                            return Ok(true);
                        }
                        names.push(self.scanned(group.clone(), item, object));
                    }
                    if !page.more {
                        break;
                    }
                    let from = self.end_of(&page, &digest)?;
                    page = self.list(&digest, Some(&from), limit).await?;
                }
            }
            // Unless all names of these groups were unreadable, this page is complete.
            if !dropped || !names.is_empty() {
                return Ok(dropped);
            }
        }
    }

    /// Resolves a digest to its group, and returns the group's first names if they had to be read.
    async fn first(&self, digest: &str) -> Result<(Resolved, Option<Page>)> {
        if let Some(group) = self.link.resolved.get(digest) {
            return Ok((Resolved::Group(group), None));
        }
        let page = self.list(digest, None, FIRST_NAMES_MAX).await?;
        let Some(first) = page.objects.iter().find(|object| object.key != digest) else {
            return Ok((Resolved::Gone, None));
        };
        let resolved = self.group(digest, &first.key).await?;
        Ok((resolved, Some(page)))
    }

    /// Resolves a digest to its group, by the object `first` or, if that fails, by any other.
    async fn group(&self, digest: &str, first: &str) -> Result<Resolved> {
        let (link, layout, space) = (self.link, self.layout, self.space);
        match group_in(link, layout, space, digest, first).await? {
            Resolved::Group(group) => Ok(Resolved::Group(group)),
            Resolved::Gone | Resolved::Damaged(_) => resolve(link, layout, space, digest).await,
        }
    }

    /// Returns a name that was found, with its body if that is cached.
    fn scanned(&self, group: Bytes, item: Bytes, object: &Object) -> Scanned {
        let Object { key, written_ms, tag } = object;
        let body = tag.as_ref().and_then(|tag| self.link.remembered.get(key, tag));
        Scanned { group, item, body, written_ms: *written_ms }
    }

    /// Returns true if all of a group lies at or before the position `after`.
    fn is_past(&self, group: &Bytes) -> bool {
        self.after.is_some_and(|after| match group.cmp(&after.group) {
            Ordering::Less => true,
            Ordering::Equal => after.item.is_none(),
            Ordering::Greater => false,
        })
    }

    /// Returns true if the name matches the prefix and comes after the position `after`.
    fn is_asked_for(&self, group: &Bytes, item: &Bytes) -> bool {
        group.starts_with(self.prefix) && self.after.is_none_or(|after| after.is_before(group, item))
    }

    async fn list(&self, below: &str, from: Option<&str>, limit: usize) -> Result<Page> {
        let page = self.link.list(below, false, from, limit).await;
        page.map_err(|failure| failure.into_error(&self.link.asked("scan", below)))
    }

    /// Returns the key at which to continue after a page that is not the last.
    fn end_of(&self, page: &Page, below: &str) -> Result<String> {
        page.end().ok_or_else(|| {
            let text =
                format!("{}: the listing of {below} has an empty page that is not the last", self.link.url);
            Error::NoAnswer(text)
        })
    }
}
