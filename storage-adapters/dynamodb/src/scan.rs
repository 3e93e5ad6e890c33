//! The names of a space across groups, in order, with their bodies: one query a partition, merged.
//!
//! ```text
//!   PREFIX/version/0   a·1   a·2   d·1 ─┐
//!   PREFIX/version/1   b·1   e·1       ─┼─► a·1 a·2 b·1 c·1 …, up to the first key behind which a
//!   …                                   │   partition was not read yet
//!   PREFIX/version/7   c·1   f·1       ─┘
//! ```
//!
//! Each partition is asked for its share of the page and a little more, since keys are spread
//! evenly. A partition that runs out ends the page, if that is half full; else it is asked again.
//! What was read and not given is read again by the next page: nothing is remembered between pages.
//!
//! Groups that are cut (`layout`) are in no order among those with the same start. Those that a
//! page shows whole are sorted in memory, since each item carries its group. Of others all with the
//! start are looked at, and the lowest that the page has room for are read group by group.

use std::collections::VecDeque;

use aft_store::{Damage, Position, Result, ScanPage, Scanned, Space};
use bytes::Bytes;
use futures::future::{join_all, try_join_all};

use crate::layout::{self, Layout, Told};
use crate::link::{Columns, Link, PAGE_MAX, Page, Row};
use crate::listing::{cut, foreign, next, unanswered};

/// Rounds of queries of one call, after which it answers with what it has: some hundred
/// milliseconds' worth, far below a caller's time-out.
const ROUNDS_MAX: usize = 16;
/// Cut groups of one partition that are read at once.
const CUT_AT_ONCE: usize = 16;
/// Bytes of bodies after which a page ends where it is: a round brings 8 MB at most, so this and
/// the rounds bound what a page holds.
const PAGE_BYTES: usize = 4 << 20;

/// The names that a scan looks for, and the sort key up to which it looks.
struct Scan<'a> {
    link: &'a Link,
    prefix: &'a [u8],
    after: Option<&'a Position>,
    to: Vec<u8>,
    columns: Columns,
}

/// A partition, and how far it has been read.
struct Cursor {
    partition: String,
    /// In order: what was read and not taken.
    found: VecDeque<Scanned>,
    /// Groups that are cut, in order, to be read before going on, each from a sort key on.
    groups: VecDeque<(Bytes, Vec<u8>)>,
    /// The last of those, where there are more with their start, which is at `from`.
    cut_after: Option<Bytes>,
    /// The sort key to go on from; `None` at the end.
    from: Option<Vec<u8>>,
    /// Objects met that are nothing of ours, since this was last taken.
    damaged: Damage,
}

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
    let start = layout::prefix_start(prefix);
    let from = match after {
        Some(Position { group, item: Some(item) }) if !layout::is_cut(group) => {
            layout::after_item(group, item)
        }
        // Of a cut one its neighbours are looked at again.
        Some(Position { group, .. }) => layout::after_group(group),
        None => start.clone(),
    };
    // No sort key is empty, and none is lower.
    let from = from.max(start.clone()).max(vec![0]);
    let cursor = |partition| {
        let (found, groups) = (VecDeque::new(), VecDeque::new());
        Cursor {
            partition,
            found,
            groups,
            cut_after: None,
            from: Some(from.clone()),
            damaged: Damage::default(),
        }
    };
    let cursors = layout.partitions(space).into_iter().map(cursor).collect();
    let scan = Scan { link, prefix, after, to: layout::past(&start), columns: columns(space) };
    let page = scan.merge(cursors, limit.min(PAGE_MAX)).await?;
    page.check_invariants(limit);
    Ok(page)
}

/// Bodies come for nothing, but for parts of large values: those are what a page would be full of,
/// and nobody who looks for their names wants them.
fn columns(space: Space) -> Columns {
    match space {
        Space::Blob => Columns::Names,
        Space::Commit
        | Space::Intent
        | Space::Version
        | Space::Collect
        | Space::Marker
        | Space::Node
        | Space::Lease
        | Space::Store => Columns::NamesAndBodies,
    }
}

/// The number of names to ask each of `partitions` for, so that together they most likely have
/// `len` names.
fn share(len: usize, partitions: usize) -> usize {
    assert!(partitions > 0, "somebody is asked");
    let even = len.div_ceil(partitions);
    (even + even / 8 + 2).min(len)
}

impl Scan<'_> {
    async fn merge(&self, mut cursors: Vec<Cursor>, limit: usize) -> Result<ScanPage> {
        let (mut names, mut damaged, mut bytes) = (Vec::<Scanned>::new(), Damage::default(), 0);
        for round in 0.. {
            let mut behind: Vec<&mut Cursor> = cursors.iter_mut().filter(|one| one.is_behind()).collect();
            let len = share(limit - names.len(), behind.len().max(1));
            let (mut tries, mut read) = (0, Vec::new());
            while !behind.is_empty() {
                let outcomes = join_all(behind.iter_mut().map(|one| one.look_further(self, len))).await;
                tries += 1;
                behind = unanswered(behind, outcomes, tries, &mut read)?;
            }
            bytes += read.into_iter().sum::<usize>();
            cursors.iter_mut().for_each(|one| damaged.append(std::mem::take(&mut one.damaged)));
            // The lowest of all is known as long as nobody has something lower that was not read.
            while names.len() < limit && !cursors.iter().any(Cursor::is_behind) {
                let firsts =
                    cursors.iter().enumerate().filter_map(|(at, cursor)| Some((cursor.first()?, at)));
                let Some((_, lowest)) = firsts.min() else {
                    return Ok(ScanPage { names, more: false, damaged });
                };
                let name = cursors[lowest].found.pop_front().expect("it has a first name");
                match names.last() {
                    // No two partitions hold one name, unless somebody else wrote one of them.
                    Some(last) if place(last) == place(&name) => {
                        damaged.add(|| self.twice(&cursors[lowest].partition, &name));
                    }
                    Some(_) | None => names.push(name),
                }
            }
            let ends = names.len() >= limit.div_ceil(2) || round >= ROUNDS_MAX || bytes >= PAGE_BYTES;
            if ends && !names.is_empty() {
                let more = cursors.iter().any(|one| one.is_behind() || !one.found.is_empty());
                return Ok(ScanPage { names, more, damaged });
            }
        }
        unreachable!("rounds end by what they find")
    }

    fn twice(&self, partition: &str, name: &Scanned) -> String {
        let Scanned { group, item, .. } = name;
        let (url, group, item) = (&self.link.url, group.escape_ascii(), item.escape_ascii());
        format!("{url}: {partition} holds {group}/{item}, which another partition holds as well")
    }

    fn is_asked_for(&self, group: &[u8], item: &[u8]) -> bool {
        group.starts_with(self.prefix) && self.after.is_none_or(|after| after.is_before(group, item))
    }

    /// The name and body in a row; `None` if it is nothing of ours.
    fn read(&self, row: Row) -> Option<Scanned> {
        let Row { sort, group, body } = row;
        if body.is_none() && self.columns == Columns::NamesAndBodies {
            return None;
        }
        let (group, item) = match layout::read(&sort)? {
            Told::Whole { group, item } => (Bytes::from(group), item),
            Told::Cut { start, item, .. } => (group.filter(|group| layout::start(group) == start)?, item),
        };
        Some(Scanned { group, item: Bytes::copy_from_slice(item), body, written_ms: None })
    }
}

impl Cursor {
    /// Says whether it must look further before anything is lowest.
    fn is_behind(&self) -> bool {
        self.found.is_empty() && (self.from.is_some() || !self.groups.is_empty())
    }

    /// The name that was found first and not taken.
    fn first(&self) -> Option<(&Bytes, &Bytes)> {
        self.found.front().map(place)
    }

    /// The name and body in a row, if they are asked for; what is nothing of ours is noted.
    fn take(&mut self, scan: &Scan<'_>, row: Row) -> Option<Scanned> {
        let sort = row.sort.clone();
        let Some(found) = scan.read(row) else {
            self.damaged.add(|| foreign(scan.link, &self.partition, &sort));
            return None;
        };
        scan.is_asked_for(&found.group, &found.item).then_some(found)
    }

    /// Reads on, by some `len` items; returns how many bytes of bodies came. It may find nothing
    /// and not be at its end.
    async fn look_further(&mut self, scan: &Scan<'_>, len: usize) -> Result<usize> {
        assert!(self.is_behind(), "what was found is taken first");
        if !self.groups.is_empty() {
            return self.look_in_groups(scan, len).await;
        }
        let Some(from) = self.from.clone().filter(|from| *from <= scan.to) else {
            self.from = None;
            return Ok(0);
        };
        let page = scan.link.query(&self.partition, &from, &scan.to, len, scan.columns).await?;
        self.from = page.more.then(|| next(&page.rows));
        let bytes = body_bytes(&page.rows);
        let mut rows = page.rows.into_iter().peekable();
        while let Some(row) = rows.next() {
            let Some(Told::Cut { bucket, .. }) = layout::read(&row.sort) else {
                let name = self.take(scan, row);
                self.found.extend(name);
                continue;
            };
            let bucket = bucket.to_vec();
            let mut run = vec![row];
            while let Some(row) = rows.next_if(|row| row.sort.starts_with(&bucket)) {
                run.push(row);
            }
            if rows.peek().is_some() || !page.more {
                // All with this start are on the page: their order is made here.
                let run = run.into_iter().filter_map(|row| self.take(scan, row));
                let mut run: Vec<Scanned> = run.collect();
                if let Some(taken) = self.cut_after.take() {
                    run.retain(|name| name.group > taken);
                }
                run.sort_by(|a, b| place(a).cmp(&place(b)));
                self.found.extend(run);
            } else if self.found.is_empty() {
                // Where to go on if this is not answered, or if there are more.
                self.from = Some(bucket.clone());
                if !self.take_cut_groups(scan, &bucket, len).await? {
                    self.from = Some(layout::past(&bucket));
                }
            } else {
                // Next time: what was found comes before it.
                self.from = Some(bucket);
            }
        }
        assert!(self.found.iter().is_sorted_by(|a, b| place(a) < place(b)));
        Ok(bytes)
    }

    /// Takes the lowest cut groups with this start that are asked for, at most `keep`; says whether
    /// there are more.
    async fn take_cut_groups(&mut self, scan: &Scan<'_>, bucket: &[u8], keep: usize) -> Result<bool> {
        let from = |group: &Bytes| match scan.after {
            Some(after) if *group < after.group => None,
            Some(Position { group: last, item }) if group == last => {
                Some(layout::after_item(group, item.as_ref()?))
            }
            Some(_) | None => Some(layout::start(group)),
        };
        let taken = self.cut_after.as_ref();
        let wanted = |group: &Bytes| {
            group.starts_with(scan.prefix) && taken.is_none_or(|taken| group > taken) && from(group).is_some()
        };
        let groups = cut(scan.link, &self.partition, bucket, keep, wanted, &mut self.damaged).await?;
        self.cut_after = groups.lowest.last().filter(|_| groups.more).cloned();
        let groups = groups.lowest.into_iter().filter_map(|group| from(&group).map(|from| (group, from)));
        self.groups = groups.collect();
        assert!(self.groups.iter().is_sorted(), "groups are read in order");
        Ok(self.cut_after.is_some())
    }

    /// Reads on in the first of the cut groups, some of them at once.
    async fn look_in_groups(&mut self, scan: &Scan<'_>, len: usize) -> Result<usize> {
        let at_once = self.groups.len().min(CUT_AT_ONCE);
        let partition = &self.partition;
        let queries = self.groups.iter().take(at_once).map(|(group, from)| async move {
            let to = layout::past(&layout::start(group));
            scan.link.query(partition, from, &to, len, scan.columns).await
        });
        let pages: Vec<Page> = try_join_all(queries).await?;
        let mut bytes = 0;
        for page in pages {
            // What comes behind a group that goes on is read again when its turn comes.
            let goes_on = page.more;
            match goes_on {
                true => self.groups[0].1 = next(&page.rows),
                false => drop(self.groups.pop_front()),
            }
            bytes += body_bytes(&page.rows);
            for row in page.rows {
                let name = self.take(scan, row);
                self.found.extend(name);
            }
            if goes_on {
                break;
            }
        }
        Ok(bytes)
    }
}

/// The place of a name in the order of names.
fn place(name: &Scanned) -> (&Bytes, &Bytes) {
    (&name.group, &name.item)
}

fn body_bytes(rows: &[Row]) -> usize {
    rows.iter().filter_map(|row| row.body.as_ref()).map(Bytes::len).sum()
}

#[cfg(test)]
mod tests {
    use super::share;
    use crate::layout::PARTITIONS;

    #[test]
    fn shares_cover_a_page_and_little_more() {
        for len in [1, 2, 7, 8, 9, 100, 1_000] {
            for partitions in 1..=PARTITIONS {
                let asked = share(len, partitions);
                assert!(asked * partitions >= len && asked <= len, "{asked} of {len} by {partitions}");
            }
        }
        assert_eq!((share(1_000, 8), share(1_000, 1), share(1, 8)), (142, 1_000, 1));
    }
}
