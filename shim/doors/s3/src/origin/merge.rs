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

use aft_core::ids::AttemptId;
use aft_core::message::{ListKeys, Refusal};
use aft_desk::Opened;
use aft_node::Page;

use crate::call::{Call, Runs};
use crate::failure::Result;
use crate::object::name;
use crate::operations::list::{Asked, Listed, Listing, listed_of};
use crate::origin::mapping::hidden;
use crate::origin::{Bucket, PlainEntry, PlainPage, PlainRange};

/// The most pages of the origin for one page of the answer. If most of their objects are hidden,
/// the page is short then, and says that there are more.
const PAGES_MAX: usize = 16;
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

impl Stored {
    /// Returns the texts of all keys and prefixes.
    fn texts(&self) -> BTreeSet<&str> {
        let keys = self.page.keys.iter().map(|listed| listed.key.as_str());
        keys.chain(self.page.prefixes.iter().map(String::as_str)).collect()
    }
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
        let mut origin = self.origin_side(bucket, &range).await?;
        let mut pages = 1;
        loop {
            let until = origin.lines.keys().next_back().cloned();
            let stored = self.list_stored(bucket, &range, until.as_deref()).await?;
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
            if lines.len() > limit as usize || (lines.len() == limit as usize && cut.is_some()) {
                lines.truncate(limit as usize);
                let next = lines.last().map(|(text, _)| text.clone());
                return Ok(listing(lines, next, max_keys));
            }
            match &origin.end {
                // Most of the origin's page is hidden: the page would be short, or empty.
                Some(end)
                    if cut.as_ref() == Some(end) && lines.len() < limit as usize && pages < PAGES_MAX =>
                {
                    let more = PlainRange { after: end.clone(), limit: PAGE_LEN, ..range.clone() };
                    let more = self.origin_side(bucket, &more).await?;
                    origin.lines.extend(more.lines);
                    origin.end = more.end;
                    pages += 1;
                }
                _ => return Ok(listing(lines, cut, max_keys)),
            }
        }
    }

    /// Lists a range of the origin.
    async fn origin_side(&self, bucket: &Bucket, range: &PlainRange) -> Result<Side> {
        let page = bucket.origin.list(range.clone()).await.map_err(|trouble| bucket.failure(trouble))?;
        Ok(Side::of_origin(page, &range.after))
    }

    /// Lists a range of a bucket in the store, and the keys that it has deleted there through
    /// `until`, in one transaction.
    async fn list_stored(&self, bucket: &Bucket, range: &PlainRange, until: Option<&str>) -> Result<Stored> {
        let mut runs = Runs::default();
        loop {
            let stored = match self.within {
                Some(attempt) => return self.list_within(attempt, bucket, range, until).await,
                None => self.list_alone(bucket, range, until).await,
            };
            if let Some(stored) = runs.end(stored).await {
                return stored;
            }
        }
    }

    async fn list_alone(&self, bucket: &Bucket, range: &PlainRange, until: Option<&str>) -> Result<Stored> {
        let ready = Call::reading().prepare(&self.caller, None)?;
        let open = match ready.open(&self.caller, Vec::new()).await? {
            Opened::Open { open, .. } => open,
            Opened::Replayed(replayed) => unreachable!("a request without an ID has no {replayed:?}"),
        };
        // The transaction has nothing to commit: dropping it ends it.
        self.list_in(open.attempt(), bucket, range, until).await
    }

    /// Lists in a longer transaction.
    async fn list_within(
        &self,
        attempt: AttemptId,
        bucket: &Bucket,
        range: &PlainRange,
        until: Option<&str>,
    ) -> Result<Stored> {
        let stored = self.list_in(attempt, bucket, range, until).await?;
        if bucket.mapping.mirror {
            let now = Box::pin(self.alone().list_stored(bucket, range, until)).await?;
            let is_older = now.texts().difference(&stored.texts()).next().is_some()
                || now.hidden.difference(&stored.hidden).next().is_some();
            if is_older {
                let key = crate::object::marker(&bucket.name);
                return Err(Refusal::SnapshotGone(key).into());
            }
        }
        Ok(stored)
    }

    async fn list_in(
        &self,
        attempt: AttemptId,
        bucket: &Bucket,
        range: &PlainRange,
        until: Option<&str>,
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
        let (mut gone, mut from) = (BTreeSet::new(), Some(after.clone()));
        let Some(until) = until else { return Ok(Stored { page, hidden: gone }) };
        let first = hidden(&bucket.name, "");
        // Below a common prefix at the end, too.
        let is_in = |key: &str| key <= until || key.starts_with(until);
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
