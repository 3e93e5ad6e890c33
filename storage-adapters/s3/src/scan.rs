//! The names of a space across groups, in order: one flat listing a page.
//!
//! Keys are in the order of (group, item), so a page of a listing without a delimiter *is* a page
//! of the scan, and costs one request. The exception are groups whose names end in a digest
//! (`layout`). They lie where they belong, in a directory that holds nothing else, but in no order
//! among each other:
//!
//! * A directory that lies whole within the page is sorted in memory, after one GET for each group
//!   in it, which gives the group's name.
//! * One that does not ends the page before it. Where the page begins with it, all of its digests
//!   are looked at, a thousand at a time, and the lowest groups that the page has room for are read
//!   group by group: two requests for each group, one more for each of those that the page shows
//!   and that was resolved before. That is the price of more than a page of names that share their
//!   first 480 characters.
//!
//! Of names nothing is remembered between pages: one that goes on within such a directory looks at
//! it again. Which group a digest stands for is remembered (`groups`), and so are small bodies
//! (`remembered`).

use std::cmp::Ordering;
use std::collections::BTreeMap;

use aft_store::{Damage, Error, Position, Result, ScanPage, Scanned, Space};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::groups::{RESOLVES_AT_ONCE, Resolved, digests, foreign, group_in, resolve};
use crate::layout::{self, GROUP_SEGMENTS_MAX, Layout, Path, Read, past};
use crate::link::{BATCH_MAX, Link, Object, Page};

/// Names of each group that are listed before its place among the others is known. Most have fewer,
/// and then need no further request; of a thousand groups these are 100,000 names, some 20 MB.
const FIRST_NAMES_MAX: usize = 100;

/// The names that a scan looks for.
struct Scan<'a> {
    link: &'a Link,
    layout: &'a Layout,
    space: Space,
    prefix: &'a [u8],
    after: Option<&'a Position>,
}

/// Items of one group, each with its object.
type Items = Vec<(Bytes, Object)>;

/// A page of the names of groups that start with `prefix`, those after `after`.
pub(crate) async fn page(
    link: &Link,
    layout: &Layout,
    space: Space,
    prefix: &[u8],
    after: Option<&Position>,
    limit: usize,
) -> Result<ScanPage> {
    let Some(after) = Position::within(prefix, after) else { return Ok(ScanPage::default()) };
    if space == Space::Version && prefix.is_empty() && after.is_none() {
        link.remembered.begin_pass();
    }
    let page = Scan { link, layout, space, prefix, after }.page(limit).await?;
    page.check_invariants(limit);
    Ok(page)
}

impl Scan<'_> {
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
                // A page may give nothing: the neighbours of a prefix, the directories that some
                // programs make, names of digests up to `after`.
                if listed.more && names.is_empty() {
                    from = Some(self.end_of(&listed, &below)?);
                    continue;
                }
                return Ok(ScanPage { names, more: listed.more, damaged });
            };
            // What was found comes before the directory; the next page begins with it.
            if !names.is_empty() {
                return Ok(ScanPage { names, more: true, damaged });
            }
            let more = self.take_directory(&full, limit, &mut names, &mut damaged).await?;
            if more || names.len() == limit {
                return Ok(ScanPage { names, more: true, damaged });
            }
            let behind = past(&self.layout.directory(self.space, &full));
            if !behind.starts_with(&below) {
                // All that starts with the prefix lies in that directory.
                return Ok(ScanPage { names, more: false, damaged });
            }
            from = Some(behind);
        }
    }

    /// The key after which a listing goes on.
    fn start(&self, after: &Position) -> String {
        let (layout, space) = (self.layout, self.space);
        if layout::is_hashed(space, &after.group) {
            // Its directory is in no order: all of it is looked at again.
            return layout.directory(space, &Path::of(space, &after.group).full);
        }
        let group = layout.group(space, &after.group);
        match &after.item {
            Some(item) => group + &layout::item(item),
            None => past(&group),
        }
    }

    /// Adds the names of a page of the listing. Stops at a directory of digests that goes on
    /// behind the page, and returns its segments.
    async fn take_page(
        &self,
        page: &Page,
        names: &mut Vec<Scanned>,
        damaged: &mut Damage,
    ) -> Result<Option<Vec<String>>> {
        let mut objects = page.objects.as_slice();
        while let Some(object) = objects.first() {
            // A directory itself, as some programs make it, holds nothing.
            if object.key.ends_with('/') {
                objects = &objects[1..];
                continue;
            }
            match self.layout.read(self.space, &object.key) {
                Some(Read::Whole { group, item }) => {
                    // The end of a prefix's text may stand for its neighbours as well.
                    if group.starts_with(self.prefix) {
                        assert!(self.is_asked_for(&group, &item), "a listing goes on after its start");
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

    /// The names of a whole directory of digests that are asked for, in order.
    async fn sorted(&self, objects: &[Object], damaged: &mut Damage) -> Result<Vec<Scanned>> {
        // A group's objects are neighbours: their keys have the digest in common.
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

    /// Adds names of a directory of digests that does not fit a page, up to `limit` of them; says
    /// whether it has more.
    async fn take_directory(
        &self,
        full: &[String],
        limit: usize,
        names: &mut Vec<Scanned>,
        damaged: &mut Damage,
    ) -> Result<bool> {
        let mut behind: Option<Bytes> = None;
        loop {
            // The first names of each group, where they were read to resolve it.
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
                    // Each has a name at least.
                    if lowest.len() > limit {
                        lowest.pop_last();
                        dropped = true;
                    }
                }
                let Some(next) = next else { break };
                after = Some(next);
            }
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
                // Where the last page stopped within this group, it may be far behind its start.
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
            // Groups of which no name can be read give none.
            if !dropped || !names.is_empty() {
                return Ok(dropped);
            }
        }
    }

    /// The group whose name ends in this digest, and its first names where they had to be read.
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

    /// The group whose name ends in this digest, by its first object or any other.
    async fn group(&self, digest: &str, first: &str) -> Result<Resolved> {
        let (link, layout, space) = (self.link, self.layout, self.space);
        match group_in(link, layout, space, digest, first).await? {
            Resolved::Group(group) => Ok(Resolved::Group(group)),
            Resolved::Gone | Resolved::Damaged(_) => resolve(link, layout, space, digest).await,
        }
    }

    /// A name that was found, with its body where that is remembered.
    fn scanned(&self, group: Bytes, item: Bytes, object: &Object) -> Scanned {
        let Object { key, written_ms, tag } = object;
        let body = tag.as_ref().and_then(|tag| self.link.remembered.get(key, tag));
        Scanned { group, item, body, written_ms: *written_ms }
    }

    /// Says whether a group lies wholly at or before the place after which to go on.
    fn is_past(&self, group: &Bytes) -> bool {
        self.after.is_some_and(|after| match group.cmp(&after.group) {
            Ordering::Less => true,
            Ordering::Equal => after.item.is_none(),
            Ordering::Greater => false,
        })
    }

    fn is_asked_for(&self, group: &Bytes, item: &Bytes) -> bool {
        group.starts_with(self.prefix) && self.after.is_none_or(|after| after.is_before(group, item))
    }

    async fn list(&self, below: &str, from: Option<&str>, limit: usize) -> Result<Page> {
        let page = self.link.list(below, false, from, limit).await;
        page.map_err(|failure| failure.into_error(&self.link.asked("scan", below)))
    }

    /// The key to go on from after a page that says that more follow.
    fn end_of(&self, page: &Page, below: &str) -> Result<String> {
        page.end().ok_or_else(|| {
            let text = format!("{}: an empty page of {below} says that more follow", self.link.url);
            Error::NoAnswer(text)
        })
    }
}
