//! The names of a space across groups, in order, with their bodies: a merge of one query for each
//! partition.
//!
//! ```text
//!   PREFIX/version/0   a·1   a·2   d·1 ─┐
//!   PREFIX/version/1   b·1   e·1       ─┼─► a·1 a·2 b·1 c·1 …, up to the first key behind which a
//!   …                                   │   partition was not read yet
//!   PREFIX/version/7   c·1   f·1       ─┘
//! ```
//!
//! Each partition is queried for its share of the page and a little more, since keys are spread
//! evenly. When the rows read from a partition are used up, the page ends if it is half full;
//! otherwise that partition is queried again. Rows that were read and not returned are read again
//! by the next page: nothing is cached between pages.
//!
//! Cut groups (`layout`) with the same start are not sorted. If all of them are on one page of
//! rows, they are sorted in memory, since each item carries its group. Otherwise all groups with
//! the start are read, and the lowest that the page has room for are then read group by group.

use std::collections::VecDeque;

use aft_store::{Damage, Position, Result, ScanPage, Scanned, Space};
use bytes::Bytes;
use futures::future::{join_all, try_join_all};

use crate::layout::{self, Layout, Told};
use crate::link::{Columns, Link, PAGE_MAX, Page, Row};
use crate::listing::{cut, foreign, next, unanswered};

/// The number of rounds of queries after which a call returns the names found so far: they take a
/// few hundred milliseconds, far less than a caller's timeout.
const ROUNDS_MAX: usize = 16;
/// The number of cut groups of one partition that are read at once.
const CUT_AT_ONCE: usize = 16;
/// The size of bodies after which a page ends early. A round reads at most 8 MB, so this and the
/// number of rounds bound the size of a page.
const PAGE_BYTES: usize = 4 << 20;

/// The arguments of a scan, and the sort key up to which it reads.
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
    /// The names that were read and not taken, in order.
    found: VecDeque<Scanned>,
    /// The cut groups to read before continuing at `from`, in order, each with the sort key from
    /// which to read it.
    groups: VecDeque<(Bytes, Vec<u8>)>,
    /// The last of those groups, if there are more with their start, which is at `from`.
    cut_after: Option<Bytes>,
    /// The sort key at which to continue; `None` at the end.
    from: Option<Vec<u8>>,
    /// The foreign items met since this was last taken.
    damaged: Damage,
}

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
    let start = layout::prefix_start(prefix);
    let from = match after {
        Some(Position { group, item: Some(item) }) if !layout::is_cut(group) => {
            layout::after_item(group, item)
        }
        // Groups with the same start as a cut one are read again.
        Some(Position { group, .. }) => layout::after_group(group),
        None => start.clone(),
    };
    // The lowest key to query from, since DynamoDB takes no empty sort key.
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

/// Returns the columns to query. Bodies cost nothing extra, so they are included. The exception is
/// parts of large values: they would fill the pages, and callers that list them do not need them.
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

/// Returns the number of names to query each of `partitions` for, so that together they most likely
/// return `len` names.
fn share(len: usize, partitions: usize) -> usize {
    assert!(partitions > 0, "there is a partition to query");
    let even = len.div_ceil(partitions);
    (even + even / 8 + 2).min(len)
}

impl Scan<'_> {
    /// Merges the cursors into a page of at most `limit` names.
    async fn merge(&self, mut cursors: Vec<Cursor>, limit: usize) -> Result<ScanPage> {
        let (mut names, mut damaged, mut bytes) = (Vec::<Scanned>::new(), Damage::default(), 0);
        for round in 0.. {
            // Every cursor without a name must read on, since its next name may be the lowest.
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
            // The lowest name of all is known as long as no cursor may have a lower one that is not
            // read yet.
            while names.len() < limit && !cursors.iter().any(Cursor::is_behind) {
                let firsts =
                    cursors.iter().enumerate().filter_map(|(at, cursor)| Some((cursor.first()?, at)));
                let Some((_, lowest)) = firsts.min() else {
                    return Ok(ScanPage { names, more: false, damaged });
                };
                let name = cursors[lowest].found.pop_front().expect("it has a first name");
                match names.last() {
                    // Two partitions hold the same name only if another program wrote one of them.
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
        unreachable!("the loop returns when a page is complete")
    }

    /// Returns the text about a name that two partitions hold.
    fn twice(&self, partition: &str, name: &Scanned) -> String {
        let Scanned { group, item, .. } = name;
        let (url, group, item) = (&self.link.url, group.escape_ascii(), item.escape_ascii());
        format!("{url}: {partition} holds {group}/{item}, which another partition holds as well")
    }

    /// Returns true if the name matches the prefix and comes after the position `after`.
    fn is_asked_for(&self, group: &[u8], item: &[u8]) -> bool {
        group.starts_with(self.prefix) && self.after.is_none_or(|after| after.is_before(group, item))
    }

    /// Returns the name and body in a row; `None` if AFT does not write such an item.
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
    /// Returns true if it must read on before the lowest name of all cursors is known.
    fn is_behind(&self) -> bool {
        self.found.is_empty() && (self.from.is_some() || !self.groups.is_empty())
    }

    /// Returns the first name that was not taken.
    fn first(&self) -> Option<(&Bytes, &Bytes)> {
        self.found.front().map(place)
    }

    /// Returns the name and body in a row, if they are requested; records a foreign item as damage.
    fn take(&mut self, scan: &Scan<'_>, row: Row) -> Option<Scanned> {
        let sort = row.sort.clone();
        let Some(found) = scan.read(row) else {
            self.damaged.add(|| foreign(scan.link, &self.partition, &sort));
            return None;
        };
        scan.is_asked_for(&found.group, &found.item).then_some(found)
    }

    /// Reads about `len` more items, and returns the size of their bodies. It may find nothing
    /// without being at its end. A call that fails can be repeated.
    async fn look_further(&mut self, scan: &Scan<'_>, len: usize) -> Result<usize> {
        assert!(self.is_behind(), "names that were found are taken first");
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
            // A run of cut groups with the same start, which are not sorted.
            let bucket = bucket.to_vec();
            let mut run = vec![row];
            while let Some(row) = rows.next_if(|row| row.sort.starts_with(&bucket)) {
                run.push(row);
            }
            if rows.peek().is_some() || !page.more {
                // All groups with this start are on the page: sort them here.
                let run = run.into_iter().filter_map(|row| self.take(scan, row));
                let mut run: Vec<Scanned> = run.collect();
                if let Some(taken) = self.cut_after.take() {
                    run.retain(|name| name.group > taken);
                }
                run.sort_by(|a, b| place(a).cmp(&place(b)));
                self.found.extend(run);
            } else if self.found.is_empty() {
                // Come back here if the call below fails, or if there are more.
                self.from = Some(bucket.clone());
                if !self.take_cut_groups(scan, &bucket, len).await? {
                    self.from = Some(layout::past(&bucket));
                }
            } else {
                // Not yet: the names found so far come before these.
                self.from = Some(bucket);
            }
        }
        assert!(self.found.iter().is_sorted_by(|a, b| place(a) < place(b)));
        Ok(bytes)
    }

    /// Takes the lowest requested cut groups with the start `bucket`, at most `keep`. Returns true
    /// if there are more.
    async fn take_cut_groups(&mut self, scan: &Scan<'_>, bucket: &[u8], keep: usize) -> Result<bool> {
        // The sort key from which to read a group; `None` if all of it lies before the scan's
        // start.
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

    /// Reads on in the first few of the cut groups at once, and returns the size of the bodies.
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
            // If a group has more items, the groups behind it were read too early, and are read
            // again later.
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
