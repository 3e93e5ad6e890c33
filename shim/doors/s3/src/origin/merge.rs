//! Listings of a bucket with an origin: what the store has, and what only the origin has.
//!
//! The origin is listed *first*, and then the store, in one transaction with the keys that the
//! bucket has deleted. The mirror changes the origin only after the commit that it carries out. So
//! a fresh transaction that begins after the origin's answer sees the versions of all mirrored
//! objects in it, and they win. A longer transaction may read an older state. There, a listing
//! fails if a key of its range has changed since and there is a mirror, because version 0 of that
//! key may be gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aft_core::ids::{AttemptId, Key};
use aft_core::message::{Found, ListKeys, ListedKey};
use aft_desk::Opened;
use aft_node::Page;

use crate::call::{Call, Runs};
use crate::failure::{Failure, Result};
use crate::object::name;
use crate::operations::list::{Asked, Listed, Listing, listed_of};
use crate::origin::mapping::hidden;
use crate::origin::{Bucket, PlainEntry, PlainPage, PlainRange};

/// The most pages of the origin for one page of the answer. If most of their objects are hidden,
/// the page is short then, and says that there are more.
const PAGES_MAX: usize = 64;
/// The keys of one page of those that the bucket has deleted, and of the keys below a prefix.
const PAGE_LEN: u32 = 1_000;

/// A line of a listing: an object, or a common prefix.
type Line = Option<Listed>;

/// A page of one side, by its texts.
#[derive(Debug, Default)]
struct Side {
    lines: BTreeMap<String, Line>,
    /// The last text of the page, if there are more: nothing is known beyond it.
    end: Option<String>,
}

impl Side {
    fn new(lines: BTreeMap<String, Line>, more: bool) -> Side {
        let end = lines.keys().next_back().filter(|_| more).cloned();
        Side { lines, end }
    }

    /// Returns true if the page says something about a text.
    fn covers(&self, text: &str) -> bool {
        self.end.as_deref().is_none_or(|end| text <= end)
    }

    /// Returns the page of the store.
    fn of_store(page: &Page, bucket: &str) -> Side {
        let first = name(bucket, "");
        let of_bucket = |text: &str| text.strip_prefix(&first).expect("a listing has its prefix").to_owned();
        let keys = page.keys.iter().map(|listed| {
            let listed = listed_of(listed, &first);
            (listed.key.clone(), Some(listed))
        });
        let prefixes = page.prefixes.iter().map(|prefix| (of_bucket(prefix), None));
        Side::new(keys.chain(prefixes).collect(), page.next.is_some())
    }

    /// Returns the page of the origin.
    fn of_origin(page: PlainPage, after: &str) -> Side {
        let object = |PlainEntry { key, size, etag, modified_ms }: PlainEntry| {
            (key.clone(), Some(Listed { key, size, etag, modified_ms }))
        };
        let objects = page.objects.into_iter().map(object);
        let prefixes = page.prefixes.into_iter().map(|prefix| (prefix, None));
        let mut side = Side::new(objects.chain(prefixes).collect(), page.more);
        // A common prefix around the cursor was shown on an earlier page; servers differ here.
        side.lines.retain(|text, line| match line {
            Some(_) => text.as_str() > after,
            None => !after.starts_with(text.as_str()),
        });
        side
    }
}

/// Merges the pages of both sides, up to where both are known: what the store has wins, and what is
/// hidden is left out.
fn merge(
    store: &Side,
    origin: &Side,
    is_hidden: impl Fn(&str) -> bool,
) -> (Vec<(String, Line)>, Option<String>) {
    let cut = [&store.end, &origin.end].into_iter().flatten().min().cloned();
    let mut lines = origin.lines.clone();
    lines.retain(|text, _| !is_hidden(text));
    lines.extend(store.lines.clone());
    let is_known = |text: &str| cut.as_deref().is_none_or(|cut| text <= cut);
    let lines = lines.into_iter().filter(|(text, _)| is_known(text)).collect();
    (lines, cut)
}

/// The store's state of a range of a bucket, in one transaction.
struct Stored {
    page: Page,
    /// The keys of the range that the bucket has deleted.
    hidden: BTreeSet<String>,
}

/// The keys that a bucket has deleted, as far as a listing needs them.
#[derive(Debug, Clone, Copy)]
enum Hidden<'a> {
    None,
    /// Through a text, and below it if it is a common prefix.
    Through(&'a str),
    All,
}

impl Call {
    /// Lists objects of a bucket with an origin.
    pub(crate) async fn list_merged(
        &self,
        bucket: &Arc<Bucket>,
        asked: &Asked,
        limit: u32,
    ) -> Result<Listing> {
        let max_keys = i32::try_from(limit).expect("a page is short");
        let delimiter = asked.delimiter.clone().filter(|delimiter| !delimiter.is_empty());
        let after = asked.after.clone().unwrap_or_default();
        let range = PlainRange { prefix: asked.prefix.clone(), delimiter, after, limit };
        // One more shows whether there are more. A page of the origin has at most as many as one of
        // ours, so after a page of that length the origin's word counts.
        let looked = (limit + 1).min(PAGE_LEN);
        let first = PlainRange { limit: looked, after: behind(&range), ..range.clone() };
        let mut origin = self.origin_side(bucket, &first).await?;
        let mut pages = 1;
        loop {
            let last = origin.lines.keys().next_back();
            let needed = match (&origin.end, last) {
                (Some(end), _) => Hidden::Through(end),
                // What the mirror has deleted is not in the origin's page: a longer transaction
                // has to know.
                (None, _) if self.within.is_some() && bucket.mapping.mirror => Hidden::All,
                (None, Some(last)) => Hidden::Through(last),
                (None, None) => Hidden::None,
            };
            let stored = self.list_stored(bucket, &range, needed).await?;
            let store = Side::of_store(&stored.page, &bucket.name);
            let mut gone = stored.hidden;
            for prefix in origin.lines.iter().filter(|(_, line)| line.is_none()).map(|(prefix, _)| prefix) {
                let has_hidden =
                    gone.range(prefix.clone()..).next().is_some_and(|key| key.starts_with(prefix));
                if has_hidden
                    && !store.lines.contains_key(prefix)
                    && !self.has_visible(bucket, prefix, &gone).await?
                {
                    gone.insert(prefix.clone());
                }
            }
            let (mut lines, cut) = merge(&store, &origin, |text| gone.contains(text));
            let is_open = cut.is_some() && cut == origin.end && pages < PAGES_MAX;
            let is_full = lines.len() == limit as usize && cut.is_some() && (looked == limit || !is_open);
            if lines.len() > limit as usize || is_full {
                lines.truncate(limit as usize);
                let next = lines.last().map(|(text, _)| text.clone());
                return Ok(listing(lines, next, max_keys));
            }
            match origin.end.take().filter(|_| is_open) {
                // Some of the origin's page is hidden: the page would be short, or empty.
                Some(end) => {
                    let more = PlainRange { after: end, limit: PAGE_LEN, ..range.clone() };
                    let more = PlainRange { after: behind(&more), ..more };
                    let more = self.origin_side(bucket, &more).await?;
                    origin.lines.extend(more.lines);
                    origin.end = more.end;
                    pages += 1;
                }
                None => return Ok(listing(lines, cut, max_keys)),
            }
        }
    }

    /// Lists a range of the origin.
    async fn origin_side(&self, bucket: &Bucket, range: &PlainRange) -> Result<Side> {
        let page = bucket.origin.list(range.clone()).await.map_err(|trouble| bucket.failure(trouble))?;
        Ok(Side::of_origin(page, &range.after))
    }

    /// Lists a range of a bucket in the store, and the keys that it has deleted there, in one
    /// transaction.
    async fn list_stored(&self, bucket: &Bucket, range: &PlainRange, needed: Hidden<'_>) -> Result<Stored> {
        let mut runs = Runs::default();
        loop {
            let stored = match self.within {
                Some(attempt) => return self.list_within(attempt, bucket, range, needed).await,
                None => self.list_alone(bucket, range, needed).await,
            };
            if let Some(stored) = runs.end(stored).await {
                return stored;
            }
        }
    }

    async fn list_alone(&self, bucket: &Bucket, range: &PlainRange, needed: Hidden<'_>) -> Result<Stored> {
        let ready = Call::reading().prepare(&self.caller, None)?;
        let open = match ready.open(&self.caller, Vec::new()).await? {
            Opened::Open { open, .. } => open,
            Opened::Replayed(replayed) => unreachable!("a request without an ID has no {replayed:?}"),
        };
        // The transaction has nothing to commit: dropping it ends it.
        self.list_in(open.attempt(), bucket, range, needed).await
    }

    /// Lists in a longer transaction.
    async fn list_within(
        &self,
        attempt: AttemptId,
        bucket: &Bucket,
        range: &PlainRange,
        needed: Hidden<'_>,
    ) -> Result<Stored> {
        let stored = self.list_in(attempt, bucket, range, needed).await?;
        if bucket.mapping.mirror {
            let now = Box::pin(self.alone().list_stored(bucket, range, needed)).await?;
            self.need_current(attempt, bucket, (&stored, &now)).await?;
        }
        Ok(stored)
    }

    /// Checks that what a longer transaction has listed is not older than what the mirror may have
    /// carried out at the origin: `now` is the state after that.
    async fn need_current(
        &self,
        attempt: AttemptId,
        bucket: &Bucket,
        (stored, now): (&Stored, &Stored),
    ) -> Result<()> {
        let changed = || {
            let why = "a key of the listed range was changed since this transaction began, and the bucket's mirror may \
                       have carried that out at its origin";
            Err(Failure::behind_origin(why))
        };
        if now.hidden.difference(&stored.hidden).next().is_some() {
            return changed();
        }
        let (before, after) =
            (Side::of_store(&stored.page, &bucket.name), Side::of_store(&now.page, &bucket.name));
        let is_new = |text: &&String| !before.lines.contains_key(*text) && before.covers(text);
        for (text, line) in after.lines.iter().filter(|(text, _)| is_new(text)) {
            // The transaction itself may have deleted it, and then its own state decides.
            let keys = match line {
                Some(_) => vec![text.clone()],
                None => {
                    let ask = ListKeys {
                        prefix: name(&bucket.name, text),
                        after: None,
                        limit: PAGE_LEN,
                        delimiter: None,
                    };
                    let page = self.alone().page(ask).await?;
                    if page.next.is_some() {
                        return changed();
                    }
                    let first = name(&bucket.name, "");
                    let key = |listed: &ListedKey| listed.key.as_str()[first.len()..].to_owned();
                    page.keys.iter().map(key).collect()
                }
            };
            for key in keys {
                let key = Key::parse(&name(&bucket.name, &key)).expect("a listing shows keys");
                if !matches!(self.caller.read(attempt, key).await?.found, Found::Own(_)) {
                    return changed();
                }
            }
        }
        Ok(())
    }

    async fn list_in(
        &self,
        attempt: AttemptId,
        bucket: &Bucket,
        range: &PlainRange,
        needed: Hidden<'_>,
    ) -> Result<Stored> {
        let PlainRange { prefix, delimiter, after, limit } = range;
        // The bucket's marker comes before all its objects, and is none of them.
        let ask = ListKeys {
            prefix: name(&bucket.name, prefix),
            after: Some(name(&bucket.name, after)),
            limit: *limit,
            delimiter: delimiter.clone(),
        };
        let page = self.caller.list(attempt, ask).await?;
        let mut gone = BTreeSet::new();
        let first = hidden(&bucket.name, "");
        let mut from = match needed {
            Hidden::None => None,
            Hidden::Through(_) | Hidden::All => Some(after.clone()),
        };
        let is_in = |key: &str| match needed {
            Hidden::Through(until) => key <= until || key.starts_with(until),
            Hidden::None | Hidden::All => true,
        };
        while let Some(after) = from.take() {
            let ask = ListKeys {
                prefix: format!("{first}{prefix}"),
                after: Some(format!("{first}{after}")),
                limit: PAGE_LEN,
                delimiter: None,
            };
            let page = self.caller.list(attempt, ask).await?;
            let of_bucket = |text: &str| text[first.as_str().len()..].to_owned();
            gone.extend(
                page.keys.iter().map(|listed| of_bucket(listed.key.as_str())).filter(|key| is_in(key)),
            );
            from = page.next.as_deref().map(of_bucket).filter(|next| is_in(next));
        }
        Ok(Stored { page, hidden: gone })
    }

    /// Returns true if the origin has a key below a prefix that the bucket has not deleted.
    async fn has_visible(&self, bucket: &Bucket, prefix: &str, gone: &BTreeSet<String>) -> Result<bool> {
        let mut after = String::new();
        loop {
            let range = PlainRange { prefix: prefix.to_owned(), delimiter: None, after, limit: PAGE_LEN };
            let page = bucket.origin.list(range).await.map_err(|trouble| bucket.failure(trouble))?;
            if page.objects.iter().any(|object| !gone.contains(&object.key)) {
                return Ok(true);
            }
            match page.objects.last().filter(|_| page.more) {
                Some(last) => after = last.key.clone(),
                None => return Ok(false),
            }
        }
    }
}

/// Returns the text after which the origin's listing begins. Servers differ in whether they show a
/// common prefix again in which the cursor is, so all keys of it are skipped.
fn behind(range: &PlainRange) -> String {
    let PlainRange { prefix, delimiter: Some(delimiter), after, .. } = range else {
        return range.after.clone();
    };
    let rest = after.strip_prefix(prefix.as_str()).unwrap_or_default();
    match rest.find(delimiter.as_str()) {
        Some(at) => format!("{}{}", &after[..prefix.len() + at + delimiter.len()], char::MAX),
        None => after.clone(),
    }
}

fn listing(lines: Vec<(String, Line)>, next: Option<String>, max_keys: i32) -> Listing {
    let mut listing = Listing { next, max_keys, ..Listing::default() };
    for (text, line) in lines {
        match line {
            Some(listed) => listing.objects.push(listed),
            None => listing.prefixes.push(text),
        }
    }
    listing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(texts: &[&str], end: Option<&str>) -> Side {
        let line = |text: &&str| {
            let listed = Listed { key: (*text).to_owned(), ..Listed::default() };
            ((*text).to_owned(), (!text.ends_with('/')).then_some(listed))
        };
        Side { lines: texts.iter().map(line).collect(), end: end.map(str::to_owned) }
    }

    #[test]
    fn pages_are_merged_up_to_where_both_are_known() {
        let texts = |(lines, cut): (Vec<(String, Line)>, Option<String>)| {
            (lines.into_iter().map(|(text, _)| text).collect::<Vec<_>>().join(" "), cut.unwrap_or_default())
        };
        let nothing = |_: &str| false;
        let merged = merge(&side(&["a", "c/"], None), &side(&["a", "b", "c/", "d"], None), nothing);
        assert_eq!(texts(merged), ("a b c/ d".into(), String::new()));
        let merged = merge(&side(&["a", "c"], Some("c")), &side(&["b", "d"], None), nothing);
        assert_eq!(texts(merged), ("a b c".into(), "c".into()));
        let merged = merge(&side(&["z"], None), &side(&["b", "d"], Some("d")), nothing);
        assert_eq!(texts(merged), ("b d".into(), "d".into()));
        // What the store has is never hidden.
        let merged = merge(&side(&["a"], None), &side(&["a", "b", "c"], None), |text| text <= "b");
        assert_eq!(texts(merged), ("a c".into(), String::new()));
    }

    #[test]
    fn the_origin_is_listed_behind_a_common_prefix() {
        for (prefix, delimiter, after, expected) in [
            ("", Some("/"), "a", "a"),
            ("", Some("/"), "a/", "a/\u{10ffff}"),
            ("", Some("/"), "a/b/c", "a/\u{10ffff}"),
            ("a/", Some("/"), "a/b", "a/b"),
            ("a/", Some("/"), "a/b/c", "a/b/\u{10ffff}"),
            ("", None, "a/b", "a/b"),
        ] {
            let delimiter = delimiter.map(str::to_owned);
            let range = PlainRange { prefix: prefix.into(), delimiter, after: after.into(), limit: 1 };
            assert_eq!(behind(&range), expected, "{range:?}");
        }
    }

    #[test]
    fn a_common_prefix_around_the_cursor_is_not_shown_again() {
        let page = |prefixes: &[&str]| PlainPage {
            prefixes: prefixes.iter().map(|prefix| (*prefix).to_owned()).collect(),
            ..PlainPage::default()
        };
        for (after, shown) in [("", "a/ b/"), ("a/", "b/"), ("a/x", "b/"), ("a", "a/ b/")] {
            let side = Side::of_origin(page(&["a/", "b/"]), after);
            let texts: Vec<&str> = side.lines.keys().map(String::as_str).collect();
            assert_eq!(texts.join(" "), shown, "after {after:?}");
        }
    }
}
