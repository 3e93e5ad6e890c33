//! Items of a group and groups of a space, in order: a merge over partitions.
//!
//! Each partition has a cursor with what was found and a place to go on from. A page is made from
//! the lowest that any cursor has, as long as every cursor that is not at its end has something;
//! those that have nothing look further, all at the same time.
//!
//! A cursor over groups reads a page of keys and goes on *after the last group on it*: a group with
//! a million items costs one page. Groups that are cut are in no order among those with the same
//! start: their first [`GROUP_BYTES_MAX`](crate::layout) bytes. So a cursor that comes to such a
//! start looks at all of them, and takes the lowest that a page has room for; the next page looks
//! at all of them again.

use std::collections::{BTreeSet, VecDeque};

use aft_store::{Damage, Error, GroupPage, ItemPage, Result, Space};
use bytes::Bytes;
use futures::future::join_all;

use crate::layout::{self, Layout, PARTITIONS, Told};
use crate::link::{Columns, Link, PAGE_MAX, Row};

/// Rounds of queries of one call, after which it answers with what it has: some hundred
/// milliseconds' worth, far below a caller's time-out.
const ROUNDS_MAX: usize = 16;
/// Calls for one partition in a round, where others are answered.
const CALLS_MAX: usize = 3;
/// Keys in a page over cut groups with the same start: these take 2 KB each.
const CUT_PAGE_MAX: usize = 100;
/// Keys in a page over groups: 4 KB or so, which a partition gives for a read unit.
const GROUP_PAGE_MAX: usize = 40;

/// What is looked for.
enum Wanted<'a> {
    /// Items, whose keys start so.
    Items { start: Vec<u8>, group: &'a [u8] },
    /// Groups with this prefix, those after another one.
    Groups { prefix: &'a [u8], after: Option<&'a [u8]> },
}

struct Cursor {
    partition: String,
    /// Where to go on; `None` at the end.
    from: Option<Vec<u8>>,
    found: VecDeque<Bytes>,
    /// The last group that was taken of those that share their start at `from`, where there are
    /// more.
    cut_after: Option<Bytes>,
    /// Objects met that are nothing of ours, since this was last taken.
    damaged: Damage,
}

/// The items of a group after `after`.
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
    // One more than asked for shows whether there is more.
    let len = limit.saturating_add(1).min(PAGE_MAX);
    let wanted = Wanted::Items { start, group };
    let (items, more, damaged) = merge(link, &wanted, cursors, &to, len, limit).await?;
    Ok(ItemPage { items, more, damaged })
}

/// The groups of a space with this prefix after `after`.
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
        // All that start with a prefix come after what is before it, and before what is after it
        // and does not start so.
        Some(after) if after > prefix && !after.starts_with(prefix) => return Ok(GroupPage::default()),
        Some(after) if after >= prefix && !after.is_empty() => layout::after_group(after).max(start.clone()),
        // No sort key is empty, and none is lower.
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
            // A group whose items are spread has some in several partitions.
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
    unreachable!("rounds end by what they find")
}

impl Cursor {
    /// Whether it must look further before anything is lowest.
    fn is_behind(&self) -> bool {
        self.found.is_empty() && self.from.is_some()
    }

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
                self.from = match last.map(|last| (layout::read(last), last)) {
                    Some((Some(Told::Whole { group, .. }), _)) if page.more => {
                        Some(layout::past(&layout::start(&group)))
                    }
                    // Nothing of ours: which group it would be of is not known.
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
                                // Where to go on if this is not answered, or if there are more.
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
                                // Next time: what was found comes before it.
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

/// Takes the outcomes of a call for each of `asked`, and returns those whose call is to be made
/// again: it was not answered, and others were. A call that fails leaves its place as it was.
///
/// # Errors
/// The error of a call, if it is final, if no call was answered, or after [`CALLS_MAX`] `tries`.
pub(crate) fn unanswered<'a, P, T>(
    asked: Vec<&'a mut P>,
    outcomes: Vec<Result<T>>,
    tries: usize,
    answers: &mut Vec<T>,
) -> Result<Vec<&'a mut P>> {
    assert!(asked.len() == outcomes.len() && tries > 0, "each has its outcome");
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

/// The first key after a page that is not at its end.
pub(crate) fn next(rows: &[Row]) -> Vec<u8> {
    let Row { sort: last, .. } = rows.last().expect("a page that says that more follow is not empty");
    layout::after(last)
}

/// Groups of a partition that are cut and share their start.
pub(crate) struct CutGroups {
    /// The lowest of those that are wanted, in order.
    pub(crate) lowest: BTreeSet<Bytes>,
    /// Others come behind them.
    pub(crate) more: bool,
}

/// The lowest groups of a partition that are cut, have this start and are `wanted`, at most `keep`
/// of them. Digests are in no order, so all groups with the start are looked at, a page of keys at
/// a time: a group with more items than a page costs one.
pub(crate) async fn cut(
    link: &Link,
    partition: &str,
    bucket: &[u8],
    keep: usize,
    wanted: impl Fn(&Bytes) -> bool,
    damaged: &mut Damage,
) -> Result<CutGroups> {
    assert!(keep > 0, "a page has room");
    let (mut lowest, mut more) = (BTreeSet::new(), false);
    let (mut from, to) = (bucket.to_vec(), layout::past(bucket));
    loop {
        let page = link.query(partition, &from, &to, CUT_PAGE_MAX, Columns::Names).await?;
        // Where the page ends within a group, the rest of it is passed over.
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

/// The text about something that lies where only this program writes.
pub(crate) fn foreign(link: &Link, partition: &str, sort: &[u8]) -> String {
    format!(
        "{}: {partition}:{} is nothing that is written here: keep other items out of this table",
        link.url,
        sort.escape_ascii()
    )
}
