//! The items of a group and the groups of a space, in order: a merge over partitions.
//!
//! Each partition has a cursor, with the entries found so far and the key at which to continue. A
//! page takes the lowest entry of all cursors, as long as every cursor that is not at its end has
//! an entry; those without one read on, all at the same time.
//!
//! A cursor over groups reads a page of keys and continues *after the last group on it*: a group
//! with a million items costs one page. Cut groups with the same start, their first
//! [`GROUP_BYTES_MAX`](crate::layout) bytes, are not sorted. So a cursor that meets such a start
//! reads all of them, and takes the lowest that a page has room for; the next page reads all of
//! them again.

use std::collections::{BTreeSet, VecDeque};

use aft_store::{Damage, Error, GroupPage, ItemPage, Result, Space};
use bytes::Bytes;
use futures::future::join_all;

use crate::layout::{self, Layout, PARTITIONS, Told};
use crate::link::{Columns, Link, PAGE_MAX, Row};

/// The number of rounds of queries after which a call returns the entries found so far: they take a
/// few hundred milliseconds, far less than a caller's timeout.
const ROUNDS_MAX: usize = 16;
/// The number of attempts for one partition in a round, while calls for others are answered.
const CALLS_MAX: usize = 3;
/// The number of keys in a page over cut groups with the same start: these take 2 KB each.
const CUT_PAGE_MAX: usize = 100;
/// The number of keys in a page over groups: about 4 KB, which cost one read unit.
const GROUP_PAGE_MAX: usize = 40;

/// The entries that a listing looks for.
enum Wanted<'a> {
    /// The items of `group`, whose keys start with `start`.
    Items { start: Vec<u8>, group: &'a [u8] },
    /// The groups with the prefix `prefix`, after the group `after`.
    Groups { prefix: &'a [u8], after: Option<&'a [u8]> },
}

/// A partition, and how far it has been read.
struct Cursor {
    partition: String,
    /// The sort key at which to continue; `None` at the end.
    from: Option<Vec<u8>>,
    /// The entries that were read and not taken, in order.
    found: VecDeque<Bytes>,
    /// The last group taken of the cut groups whose start is at `from`, if there are more of them.
    cut_after: Option<Bytes>,
    /// The foreign items met since this was last taken.
    damaged: Damage,
}

/// Returns a page of up to `limit` items of a group that come after `after`.
pub(crate) async fn items(
    link: &Link,
    layout: &Layout,
    space: Space,
    group: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<ItemPage> {
    let start = layout::start(group);
    let from = after.map_or_else(|| start.clone(), |after| layout::after_item(group, after));
    let to = layout::past(&start);
    let cursors = cursors(layout.partitions_of(space, group), &from);
    // Read one more than requested: it shows whether more follow.
    let len = limit.saturating_add(1).min(PAGE_MAX);
    let wanted = Wanted::Items { start, group };
    let (items, more, damaged) = merge(link, &wanted, cursors, &to, len, limit).await?;
    Ok(ItemPage { items, more, damaged })
}

/// Returns a page of up to `limit` groups that start with `prefix` and come after `after`.
pub(crate) async fn groups(
    link: &Link,
    layout: &Layout,
    space: Space,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<GroupPage> {
    let start = layout::prefix_start(prefix);
    let from = match after {
        // `after` lies behind all groups with this prefix. If it lies before them (below), the page
        // begins with the first of them.
        Some(after) if after > prefix && !after.starts_with(prefix) => return Ok(GroupPage::default()),
        Some(after) if after >= prefix && !after.is_empty() => layout::after_group(after).max(start.clone()),
        // The lowest key to query from, since DynamoDB takes no empty sort key.
        Some(_) | None if start.is_empty() => vec![0],
        Some(_) | None => start.clone(),
    };
    let to = layout::past(&start);
    let cursors = cursors(layout.partitions(space), &from);
    let len = (limit / PARTITIONS).saturating_add(2).min(GROUP_PAGE_MAX);
    let wanted = Wanted::Groups { prefix, after };
    let (groups, more, damaged) = merge(link, &wanted, cursors, &to, len, limit).await?;
    Ok(GroupPage { groups, more, damaged })
}

/// Returns a cursor at `from` for each partition.
fn cursors(partitions: Vec<String>, from: &[u8]) -> Vec<Cursor> {
    let cursor = |partition| Cursor {
        partition,
        from: Some(from.to_vec()),
        found: VecDeque::new(),
        cut_after: None,
        damaged: Damage::default(),
    };
    partitions.into_iter().map(cursor).collect()
}

/// Merges the cursors up to the sort key `to` into at most `limit` entries; each query asks for
/// `len` keys. Also returns true if more entries follow.
async fn merge(
    link: &Link,
    wanted: &Wanted<'_>,
    mut cursors: Vec<Cursor>,
    to: &[u8],
    len: usize,
    limit: usize,
) -> Result<(Vec<Bytes>, bool, Damage)> {
    let (mut merged, mut damaged) = (Vec::new(), Damage::default());
    for round in 0.. {
        let mut left: Vec<&mut Cursor> =
            cursors.iter_mut().filter(|cursor| cursor.found.is_empty()).collect();
        // Every cursor without an entry must read on, since its next entry may be the lowest.
        let mut tries = 0;
        while !left.is_empty() {
            let calls = left.iter_mut().map(|cursor| cursor.look_further(link, wanted, to, len, limit));
            let outcomes = join_all(calls).await;
            tries += 1;
            left = unanswered(left, outcomes, tries, &mut Vec::new())?;
        }
        cursors.iter_mut().for_each(|cursor| damaged.append(std::mem::take(&mut cursor.damaged)));
        while merged.len() < limit && !cursors.iter().any(Cursor::is_behind) {
            let lowest = cursors.iter().filter_map(|cursor| cursor.found.front()).min().cloned();
            let Some(lowest) = lowest else { return Ok((merged, false, damaged)) };
            // Several partitions may have the same entry, such as a group whose items are spread.
            for cursor in &mut cursors {
                if cursor.found.front() == Some(&lowest) {
                    cursor.found.pop_front();
                }
            }
            merged.push(lowest);
        }
        if merged.len() == limit || (round >= ROUNDS_MAX && !merged.is_empty()) {
            let more = cursors.iter().any(|cursor| cursor.from.is_some() || !cursor.found.is_empty());
            return Ok((merged, more, damaged));
        }
    }
    unreachable!("the loop returns when a page is complete")
}

impl Cursor {
    /// Returns true if it must read on before the lowest entry of all cursors is known.
    fn is_behind(&self) -> bool {
        self.found.is_empty() && self.from.is_some()
    }

    /// Reads the next page of `len` keys, up to the sort key `to`. Of cut groups with the same
    /// start, takes at most `keep`. A call that fails can be repeated.
    async fn look_further(
        &mut self,
        link: &Link,
        wanted: &Wanted<'_>,
        to: &[u8],
        len: usize,
        keep: usize,
    ) -> Result<()> {
        let Some(from) = self.from.clone().filter(|from| from.as_slice() <= to) else {
            self.from = None;
            return Ok(());
        };
        let page = link.query(&self.partition, &from, to, len, Columns::Names).await?;
        match wanted {
            Wanted::Items { start, group } => {
                self.from = page.more.then(|| next(&page.rows));
                for Row { sort, group: whole, .. } in &page.rows {
                    // The start holds a digest of a cut group. Its items must also carry the group
                    // itself.
                    let known = sort.starts_with(start)
                        && (!layout::is_cut(group) || whole.as_deref() == Some(*group));
                    match layout::read(sort) {
                        Some(Told::Whole { item, .. } | Told::Cut { item, .. }) if known => {
                            self.found.push_back(Bytes::copy_from_slice(item));
                        }
                        Some(_) | None => self.damaged.add(|| foreign(link, &self.partition, sort)),
                    }
                }
            }
            Wanted::Groups { prefix, after } => {
                let last = page.rows.last().map(|row| row.sort.as_slice());
                // Continue behind all items of the last group: the rest of them would only repeat
                // it.
                self.from = match last.map(|last| (layout::read(last), last)) {
                    Some((Some(Told::Whole { group, .. }), _)) if page.more => {
                        Some(layout::past(&layout::start(&group)))
                    }
                    // A foreign item, of no known group: only the item itself can be skipped.
                    Some((None, last)) if page.more => Some(layout::after(last)),
                    Some(_) | None => None,
                };
                for Row { sort, .. } in &page.rows {
                    match layout::read(sort) {
                        Some(Told::Whole { group, .. }) => {
                            let group = Bytes::from(group);
                            if group.starts_with(prefix) && self.found.back() != Some(&group) {
                                self.found.push_back(group);
                            }
                        }
                        Some(Told::Cut { bucket, .. }) => {
                            if self.found.is_empty() {
                                // Come back here if the call below fails, or if there are more.
                                self.from = Some(bucket.to_vec());
                                let taken = self.cut_after.as_ref();
                                let wanted = |group: &Bytes| {
                                    group.starts_with(prefix)
                                        && after.is_none_or(|after| group > after)
                                        && taken.is_none_or(|taken| group > taken)
                                };
                                let damaged = &mut self.damaged;
                                let groups =
                                    cut(link, &self.partition, bucket, keep, wanted, damaged).await?;
                                match groups.more {
                                    true => self.cut_after = groups.lowest.last().cloned(),
                                    false => (self.from, self.cut_after) = (Some(layout::past(bucket)), None),
                                }
                                self.found = groups.lowest.into_iter().collect();
                            } else {
                                // Not yet: the groups found so far come before these.
                                self.from = Some(bucket.to_vec());
                            }
                            break;
                        }
                        None => self.damaged.add(|| foreign(link, &self.partition, sort)),
                    }
                }
            }
        }
        Ok(())
    }
}

/// Takes the outcomes of a call for each of `asked`: adds the results to `answers`, and returns
/// those whose call must be repeated, since it was not answered although others were. A call that
/// fails leaves its place unchanged.
///
/// # Errors
/// The error of a call if it is not worth a retry, if no call was answered, or after [`CALLS_MAX`]
/// `tries`. The caller reports it.
pub(crate) fn unanswered<'a, P, T>(
    asked: Vec<&'a mut P>,
    outcomes: Vec<Result<T>>,
    tries: usize,
    answers: &mut Vec<T>,
) -> Result<Vec<&'a mut P>> {
    assert!(asked.len() == outcomes.len() && tries > 0, "each call has an outcome");
    let (all, mut left, mut failed) = (asked.len(), Vec::new(), None);
    for (place, outcome) in asked.into_iter().zip(outcomes) {
        match outcome {
            Ok(answer) => answers.push(answer),
            Err(error @ (Error::NoAnswer(_) | Error::Busy(_))) => {
                failed = Some(error);
                left.push(place);
            }
            Err(error) => return Err(error),
        }
    }
    match failed {
        Some(error) if left.len() == all || tries == CALLS_MAX => Err(error),
        Some(_) | None => Ok(left),
    }
}

/// Returns the first key after a page that is not the last.
pub(crate) fn next(rows: &[Row]) -> Vec<u8> {
    let Row { sort: last, .. } = rows.last().expect("only the last page may be empty");
    layout::after(last)
}

/// The cut groups of a partition that share their start.
pub(crate) struct CutGroups {
    /// The lowest of the wanted groups, in order.
    pub(crate) lowest: BTreeSet<Bytes>,
    /// True if there are more wanted groups behind them.
    pub(crate) more: bool,
}

/// Returns the lowest cut groups of a partition that have the start `bucket` and are `wanted`, at
/// most `keep` of them. Digests are not in the groups' order, so all groups with the start are
/// read, a page of keys at a time; a group with more items than a page costs one page.
pub(crate) async fn cut(
    link: &Link,
    partition: &str,
    bucket: &[u8],
    keep: usize,
    wanted: impl Fn(&Bytes) -> bool,
    damaged: &mut Damage,
) -> Result<CutGroups> {
    assert!(keep > 0, "a page has room for a group");
    let (mut lowest, mut more) = (BTreeSet::new(), false);
    let (mut from, to) = (bucket.to_vec(), layout::past(bucket));
    loop {
        let page = link.query(partition, &from, &to, CUT_PAGE_MAX, Columns::Names).await?;
        // If the page ends within a group, the rest of the group is skipped.
        let mut next = page.more.then(|| next(&page.rows));
        for Row { sort, group, .. } in page.rows {
            let start = match layout::read(&sort) {
                Some(Told::Cut { start, .. }) => Some(start),
                Some(Told::Whole { .. }) | None => None,
            };
            let Some(group) = group.filter(|group| start == Some(&layout::start(group)[..])) else {
                damaged.add(|| foreign(link, partition, &sort));
                continue;
            };
            let behind = layout::past(&layout::start(&group));
            next = next.map(|next| if next > behind { next } else { behind });
            if wanted(&group) && lowest.insert(group) && lowest.len() > keep {
                lowest.pop_last();
                more = true;
            }
        }
        match next.filter(|next| *next <= to) {
            Some(next) => from = next,
            None => return Ok(CutGroups { lowest, more }),
        }
    }
}

/// Returns the text about a foreign item where only AFT writes.
pub(crate) fn foreign(link: &Link, partition: &str, sort: &[u8]) -> String {
    format!(
        "{}: {partition}:{} was not written by AFT; keep other items out of this table",
        link.url,
        sort.escape_ascii()
    )
}
