//! Goal: the conformance suite finds stores that break the contract. Method: stores that each break
//! it in one way, as a real store or a careless adapter might. The suite must fail on each, in the
//! check for that promise, both on fresh stores and as a guest.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aft_store::{
    Capabilities, Committed, Created, GroupPage, Heads, ItemPage, Name, Position, Replaced, Result, ScanPage,
    Scanned, Space, Store, TIMES_KEPT_MAX, Tag, TimeHeard, Writes, conformance,
};
use aft_store_memory::MemoryStore;
use async_trait::async_trait;
use bytes::Bytes;

/// The ways in which [`Broken`] breaks the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// Keeps to the contract.
    None,
    /// Looks for the name, then puts: two writers may both win.
    CreateRaces,
    /// Overwrites, like an S3-compatible server that does not know `If-None-Match`.
    CreateIgnoresExistence,
    /// Answers correctly, but writes the loser's body.
    CreateLoserOverwrites,
    /// Checks the tag, then puts: two writers may both win.
    ReplaceRaces,
    /// Overwrites, like a server that does not know `If-Match`.
    ReplaceIgnoresTag,
    /// Deletes, like a server that does not know `If-Match` on deletes.
    DeleteIfIgnoresTag,
    /// Uses the body's length as the tag.
    TagsCollide,
    /// Says of every page that it is the last.
    ListDropsSecondPage,
    /// Takes `after` as inclusive.
    ListRepeatsAfter,
    /// Sorts items by length.
    ItemsUnordered,
    /// Lists groups in reverse order.
    GroupsUnordered,
    /// Computes the end of a prefix's range by adding one to the last byte, which overflows.
    PrefixEndWraps,
    /// Joins group and item with a slash.
    NamesAreJoined,
    /// Converts names to UTF-8, lossily.
    NamesAreLossy,
    /// Ignores the space of a name.
    SpacesMix,
    /// Cuts a batch of deletes at 1000 names.
    DeleteStopsAtBatch,
    /// Takes an empty body for a missing object.
    EmptyBodyIsNone,
    /// Cuts bodies at 64 KiB.
    BodiesAreCut,
    /// Passes on the second piece of a body first.
    PiecesAreSwapped,
    /// Does not write the last entry, and answers as if it did.
    CommitDropsLastPut,
    /// Creates entries if they are absent, and does not overwrite.
    CommitPutsOnlyCreate,
    /// Answers correctly, but writes the loser's record.
    CommitOverwritesTaken,
    /// Takes a record of the same bytes for one written by this call.
    CommitForgetsOwnRecord,
    /// Does not write the entries of a commit without a record.
    CommitNeedsRecord,
    /// Cuts a commit at 100 entries.
    CommitStopsAtBatch,
    /// Cuts the bodies of a commit at 64 KiB.
    CommitCutsBodies,
    /// Writes the pieces that fit, but answers that all entries were refused if one was.
    CommitAnswersAsOne,
    /// Answers for a refused entry as if it were written.
    CommitRefusesNothing,
    /// Looks for the record, then puts it.
    CommitRaces,
    /// Sorts the items of a group by length.
    ScanItemsUnordered,
    /// Sorts names by group and item joined.
    ScanOrdersJoinedNames,
    /// Leaves out empty items.
    ScanSkipsEmptyItems,
    /// Says of every page that it is the last.
    ScanDropsSecondPage,
    /// Starts a page with the name after which it should start.
    ScanRepeatsAfter,
    /// Starts a page with the next group, and skips the rest of the last one.
    ScanSkipsRestOfGroup,
    /// Returns one name more than the limit.
    ScanExceedsLimit,
    /// Starts again inside a group if the page should start after all of its items.
    ScanRepeatsGroup,
    /// Starts a page with the whole group if the item after which it should start is gone.
    ScanLosesThePlace,
    /// Computes the end of a prefix's range as [`Bug::PrefixEndWraps`] does.
    ScanPrefixEndWraps,
    /// Finds only the group that equals the prefix.
    ScanPrefixIsAGroup,
    /// Scans the first space, whichever was asked for.
    ScanSpacesMix,
    /// Returns each name with the body of the name before it.
    ScanBodiesAreNeighbours,
    /// Leaves out groups without a common prefix.
    ScanHeadsNeedPrefix,
    /// Still finds deleted names.
    ScanShowsDeleted,
    /// Does not find committed names.
    ScanMissesCommits,
    /// Reports answers as received before their requests were sent.
    TimesRunBackwards,
    /// Returns times again after they were taken.
    TimesRepeat,
    /// Keeps times without a bound until they are taken.
    TimesPileUp,
}

const ALL: [Bug; 48] = [
    Bug::CreateRaces,
    Bug::CreateIgnoresExistence,
    Bug::CreateLoserOverwrites,
    Bug::ReplaceRaces,
    Bug::ReplaceIgnoresTag,
    Bug::DeleteIfIgnoresTag,
    Bug::TagsCollide,
    Bug::ListDropsSecondPage,
    Bug::ListRepeatsAfter,
    Bug::ItemsUnordered,
    Bug::GroupsUnordered,
    Bug::PrefixEndWraps,
    Bug::NamesAreJoined,
    Bug::NamesAreLossy,
    Bug::SpacesMix,
    Bug::DeleteStopsAtBatch,
    Bug::EmptyBodyIsNone,
    Bug::BodiesAreCut,
    Bug::PiecesAreSwapped,
    Bug::CommitDropsLastPut,
    Bug::CommitPutsOnlyCreate,
    Bug::CommitOverwritesTaken,
    Bug::CommitForgetsOwnRecord,
    Bug::CommitNeedsRecord,
    Bug::CommitStopsAtBatch,
    Bug::CommitCutsBodies,
    Bug::CommitAnswersAsOne,
    Bug::CommitRefusesNothing,
    Bug::CommitRaces,
    Bug::ScanItemsUnordered,
    Bug::ScanOrdersJoinedNames,
    Bug::ScanSkipsEmptyItems,
    Bug::ScanDropsSecondPage,
    Bug::ScanRepeatsAfter,
    Bug::ScanSkipsRestOfGroup,
    Bug::ScanExceedsLimit,
    Bug::ScanRepeatsGroup,
    Bug::ScanLosesThePlace,
    Bug::ScanPrefixEndWraps,
    Bug::ScanPrefixIsAGroup,
    Bug::ScanSpacesMix,
    Bug::ScanBodiesAreNeighbours,
    Bug::ScanHeadsNeedPrefix,
    Bug::ScanShowsDeleted,
    Bug::ScanMissesCommits,
    Bug::TimesRunBackwards,
    Bug::TimesRepeat,
    Bug::TimesPileUp,
];

impl Bug {
    /// Returns the check that must fail.
    fn found_by(self) -> &'static str {
        match self {
            Bug::None => unreachable!("a store without a bug has no failing check"),
            Bug::CreateRaces => "one_create_wins",
            Bug::CreateIgnoresExistence | Bug::CreateLoserOverwrites => "create_writes_only_once",
            Bug::ReplaceRaces => "one_replace_wins_per_tag",
            Bug::ReplaceIgnoresTag => "replace_needs_the_tag",
            Bug::DeleteIfIgnoresTag => "delete_if_needs_the_tag",
            Bug::TagsCollide => "tags_tell_contents_apart",
            Bug::ListDropsSecondPage | Bug::ListRepeatsAfter => "items_are_paged",
            Bug::ItemsUnordered => "items_come_in_byte_order",
            Bug::GroupsUnordered => "groups_come_in_byte_order_and_are_paged",
            Bug::PrefixEndWraps => "groups_are_chosen_by_prefix",
            Bug::NamesAreJoined | Bug::NamesAreLossy => "names_are_arbitrary_bytes",
            Bug::SpacesMix => "spaces_do_not_mix",
            Bug::DeleteStopsAtBatch => "delete_takes_many_names",
            Bug::EmptyBodyIsNone => "empty_bodies_and_items",
            Bug::BodiesAreCut | Bug::PiecesAreSwapped => "bodies_reach_their_bound",
            Bug::CommitDropsLastPut | Bug::CommitPutsOnlyCreate => "commit_writes_every_piece",
            Bug::CommitOverwritesTaken | Bug::CommitForgetsOwnRecord => {
                "commit_of_a_taken_name_overwrites_nothing"
            }
            Bug::CommitNeedsRecord => "commit_of_entries_alone",
            Bug::CommitStopsAtBatch => "commit_takes_many_entries",
            Bug::CommitCutsBodies => "commit_bodies_reach_their_bound",
            Bug::CommitAnswersAsOne | Bug::CommitRefusesNothing => "commit_answers_for_each_piece",
            Bug::CommitRaces => "one_commit_wins",
            Bug::ScanItemsUnordered | Bug::ScanOrdersJoinedNames | Bug::ScanSkipsEmptyItems => {
                "scans_come_in_byte_order"
            }
            Bug::ScanDropsSecondPage
            | Bug::ScanRepeatsAfter
            | Bug::ScanSkipsRestOfGroup
            | Bug::ScanExceedsLimit => "scans_are_paged",
            Bug::ScanRepeatsGroup => "scans_resume_anywhere",
            Bug::ScanLosesThePlace => "scans_resume_after_what_is_gone",
            Bug::ScanPrefixEndWraps | Bug::ScanPrefixIsAGroup => "scans_are_chosen_by_prefix",
            Bug::ScanSpacesMix => "scans_keep_spaces_apart",
            Bug::ScanBodiesAreNeighbours => "scans_bring_the_right_bodies",
            Bug::ScanHeadsNeedPrefix => "scans_of_heads_leave_others_out",
            Bug::ScanShowsDeleted | Bug::ScanMissesCommits => "scans_show_what_was_written",
            Bug::TimesRunBackwards | Bug::TimesRepeat | Bug::TimesPileUp => "times_heard_are_sound",
        }
    }

    /// Returns true if the race probe alone, which runs before a node serves, must find the bug.
    fn found_by_race_probe(self) -> bool {
        use Bug::*;
        matches!(
            self,
            CreateRaces
                | CreateIgnoresExistence
                | CreateLoserOverwrites
                | ReplaceRaces
                | ReplaceIgnoresTag
                | CommitRaces
                | CommitOverwritesTaken
                | CommitDropsLastPut
        )
    }
}

/// A store in memory with one bug.
#[derive(Debug)]
struct Broken {
    inner: MemoryStore,
    bug: Bug,
    deleted: Mutex<BTreeSet<Name>>,
    committed: Mutex<BTreeSet<Name>>,
    times: Mutex<Vec<TimeHeard>>,
}

impl Broken {
    fn is(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    /// Returns the name under which the bug stores `name`.
    fn name(&self, name: &Name) -> Name {
        let mut name = name.clone();
        if self.is(Bug::SpacesMix) {
            name.space = Space::Commit;
        }
        if self.is(Bug::NamesAreLossy) {
            name.item = String::from_utf8_lossy(&name.item).into_owned().into();
        }
        if self.is(Bug::NamesAreJoined) {
            let joined = [&name.group[..], b"/", &name.item].concat();
            let cut = joined.iter().position(|&byte| byte == b'/').unwrap_or(0).max(1);
            name.item = Bytes::copy_from_slice(&joined[(cut + 1).min(joined.len())..]);
            name.group = Bytes::copy_from_slice(&joined[..cut]);
            name.item.truncate(Name::ITEM_BYTES_MAX);
        }
        name
    }

    /// Records a time, as carried by the answer of a server.
    fn hear(&self, sent: Instant) {
        let received = match self.is(Bug::TimesRunBackwards) {
            true => sent.checked_sub(Duration::from_millis(1)).unwrap(),
            false => Instant::now(),
        };
        let mut times = self.times.lock().unwrap();
        if times.len() == TIMES_KEPT_MAX && !self.is(Bug::TimesPileUp) {
            times.remove(0);
        }
        times.push(TimeHeard { sent, received, at_ms: 1_700_000_000_000, span_ms: 1000 });
    }

    /// Looks for the record of a commit, then puts it.
    async fn commit_racing(&self, name: &Name, body: Bytes) -> Result<Created> {
        if self.inner.get(name).await?.is_some() {
            return Ok(Created::Exists);
        }
        tokio::task::yield_now().await;
        self.inner.put(name, body).await.map(|()| Created::Created)
    }

    /// Breaks a page of names, for the bugs that need no more than the page.
    fn break_page(&self, space: Space, after: Option<&Position>, limit: usize, page: &mut ScanPage) {
        let names = &mut page.names;
        match self.bug {
            Bug::ScanItemsUnordered => {
                names.sort_by_key(|found| (found.group.clone(), found.item.len()));
            }
            Bug::ScanOrdersJoinedNames => {
                names.sort_by_key(|found| [&found.group[..], &found.item].concat());
            }
            Bug::ScanSkipsEmptyItems => names.retain(|found| !found.item.is_empty()),
            Bug::ScanDropsSecondPage => page.more = false,
            Bug::ScanRepeatsAfter => {
                if let Some(Position { group, item: Some(item) }) = after {
                    let (group, item) = (group.clone(), item.clone());
                    names.insert(0, Scanned { group, item, body: None, written_ms: None });
                    names.truncate(limit);
                }
            }
            Bug::ScanBodiesAreNeighbours => {
                let bodies: Vec<_> = names.iter().map(|found| found.body.clone()).collect();
                names.iter_mut().skip(1).zip(bodies).for_each(|(found, body)| found.body = body);
            }
            Bug::ScanMissesCommits => {
                let committed = self.committed.lock().unwrap();
                names.retain(|found| {
                    !committed.contains(&Name::new(space, found.group.clone(), found.item.clone()))
                });
            }
            _ => {}
        }
        page.more &= !page.names.is_empty();
    }

    fn body(&self, body: Bytes) -> Bytes {
        match self.is(Bug::BodiesAreCut) {
            true => body.slice(..body.len().min(65_536)),
            false => body,
        }
    }
}

#[async_trait]
impl Store for Broken {
    fn url(&self) -> String {
        format!("broken:{:?}", self.bug)
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn times_heard(&self) -> Vec<TimeHeard> {
        let mut times = self.times.lock().unwrap();
        if self.is(Bug::TimesRepeat) { times.clone() } else { std::mem::take(&mut times) }
    }

    async fn commit(&self, writes: Writes) -> Committed {
        let create = writes.create.map(|(name, body)| (self.name(&name), self.body(body)));
        let puts = writes.puts.into_iter().map(|(name, body)| (self.name(&name), self.body(body)));
        let mut writes = Writes { create, puts: puts.collect() };
        let all_puts = writes.puts.len();
        self.committed.lock().unwrap().extend(writes.puts.iter().map(|(name, _)| name.clone()));
        match self.bug {
            Bug::CommitDropsLastPut => drop(writes.puts.pop()),
            Bug::CommitStopsAtBatch => writes.puts.truncate(100),
            Bug::CommitNeedsRecord if writes.create.is_none() => writes.puts.clear(),
            Bug::CommitCutsBodies => {
                let bodies = writes.create.iter_mut().chain(&mut writes.puts).map(|(_, body)| body);
                bodies.for_each(|body| body.truncate(65_536));
            }
            Bug::CommitPutsOnlyCreate => {
                let mut absent = Vec::new();
                for (name, body) in std::mem::take(&mut writes.puts) {
                    if self.inner.get(&name).await.unwrap().is_none() {
                        absent.push((name, body));
                    }
                }
                writes.puts = absent;
            }
            _ => {}
        }
        // A racing commit writes its record apart from the entries.
        let record = writes.create.clone();
        let racing = writes.create.take_if(|_| self.is(Bug::CommitRaces));
        let mut committed = self.inner.commit(writes).await;
        // Entries that the bug dropped answer as if they were written.
        committed.puts.resize(all_puts, Ok(()));
        if let Some((name, body)) = racing {
            committed.created = Some(self.commit_racing(&name, body).await);
        }
        match (self.bug, record) {
            (Bug::CommitOverwritesTaken, Some((name, body))) => {
                // A body that is too large overwrites nothing.
                let _refused = self.inner.put(&name, body).await;
            }
            (Bug::CommitForgetsOwnRecord, Some((name, body))) => {
                let held = self.inner.get(&name).await.unwrap();
                if held.is_some_and(|(held, _)| held == body) {
                    committed.created = Some(Ok(Created::Created));
                }
            }
            (Bug::CommitAnswersAsOne, _) => {
                if let Some(refused) = committed.puts.iter().find_map(|put| put.clone().err()) {
                    committed.puts.fill(Err(refused));
                }
            }
            (Bug::CommitRefusesNothing, _) => committed.puts.fill(Ok(())),
            _ => {}
        }
        committed
    }

    async fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&Position>,
        limit: usize,
    ) -> Result<ScanPage> {
        let mixed = self.is(Bug::SpacesMix) || self.is(Bug::ScanSpacesMix);
        let space = if mixed { Space::Commit } else { space };
        let mut after = after.cloned();
        // Bugs that change the position from which the scan starts.
        match (self.bug, &mut after) {
            (Bug::ScanPrefixEndWraps, _) if prefix.last() == Some(&0xff) => return Ok(ScanPage::default()),
            (Bug::ScanSkipsRestOfGroup, Some(after)) => after.item = None,
            (Bug::ScanRepeatsGroup, Some(after @ Position { item: None, .. })) => {
                after.item = Some(Bytes::new());
            }
            (Bug::ScanLosesThePlace, Some(Position { group, item: Some(item) })) => {
                let name = Name::new(space, group.clone(), item.clone());
                if self.inner.get(&name).await?.is_none() {
                    *item = Bytes::new();
                }
            }
            _ => {}
        }
        let asked = if self.is(Bug::ScanExceedsLimit) { limit.saturating_add(1) } else { limit };
        let mut page = self.inner.scan(space, prefix, after.as_ref(), asked).await?;
        match self.bug {
            Bug::ScanPrefixIsAGroup if !prefix.is_empty() => page.names.retain(|found| found.group == prefix),
            Bug::ScanShowsDeleted => {
                let deleted = self.deleted.lock().unwrap();
                let deleted = deleted.iter().filter(|name| name.space == space);
                let deleted = deleted.filter(|name| name.group.starts_with(prefix));
                page.names.extend(deleted.map(|name| Scanned {
                    group: name.group.clone(),
                    item: name.item.clone(),
                    body: None,
                    written_ms: None,
                }));
                page.names.sort_by_key(|found| (found.group.clone(), found.item.clone()));
            }
            _ => {}
        }
        self.break_page(space, after.as_ref(), limit, &mut page);
        Ok(page)
    }

    async fn scan_heads(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&Position>,
        heads: &Heads,
        limit: usize,
    ) -> Result<ScanPage> {
        let mut page = self.scan(space, prefix, after, limit).await?;
        let mut picking = heads.pick(prefix);
        page.names.retain(|name| picking.takes(&name.group));
        if self.is(Bug::ScanHeadsNeedPrefix) {
            page.names.retain(|name| heads.common_prefix(prefix, &name.group).is_some());
        }
        Ok(page)
    }

    async fn get(&self, name: &Name) -> Result<Option<(Bytes, Tag)>> {
        let sent = Instant::now();
        let found = self.inner.get(&self.name(name)).await?;
        self.hear(sent);
        Ok(found.filter(|(body, _)| !(self.is(Bug::EmptyBodyIsNone) && body.is_empty())).map(
            |(body, tag)| {
                let tag = match self.is(Bug::TagsCollide) {
                    true => Tag(body.len().to_string().into()),
                    false => tag,
                };
                (body, tag)
            },
        ))
    }

    async fn get_pieces(&self, name: &Name, take: &mut (dyn FnMut(Bytes) + Send)) -> Result<Option<Tag>> {
        let Some((mut body, tag)) = self.get(name).await? else { return Ok(None) };
        let end = body.split_off(body.len() / 2);
        let (first, second) = if self.is(Bug::PiecesAreSwapped) { (end, body) } else { (body, end) };
        take(first);
        take(second);
        Ok(Some(tag))
    }

    async fn put(&self, name: &Name, body: Bytes) -> Result<()> {
        self.inner.put(&self.name(name), self.body(body)).await
    }

    async fn create(&self, name: &Name, body: Bytes) -> Result<Created> {
        let (name, body) = (self.name(name), self.body(body));
        match self.bug {
            Bug::CreateRaces => {
                if self.inner.get(&name).await?.is_some() {
                    return Ok(Created::Exists);
                }
                tokio::task::yield_now().await;
                self.inner.put(&name, body).await.map(|()| Created::Created)
            }
            Bug::CreateIgnoresExistence => self.inner.put(&name, body).await.map(|()| Created::Created),
            Bug::CreateLoserOverwrites => {
                let created = self.inner.create(&name, body.clone()).await?;
                self.inner.put(&name, body).await.map(|()| created)
            }
            _ => self.inner.create(&name, body).await,
        }
    }

    async fn replace(&self, name: &Name, tag: &Tag, body: Bytes) -> Result<Replaced> {
        let (name, body) = (self.name(name), self.body(body));
        match self.bug {
            Bug::ReplaceRaces => {
                let holds = self.inner.get(&name).await?.is_some_and(|(_, held)| held == *tag);
                tokio::task::yield_now().await;
                match holds {
                    true => self.inner.put(&name, body).await.map(|()| Replaced::Replaced),
                    false => Ok(Replaced::Changed),
                }
            }
            Bug::ReplaceIgnoresTag => self.inner.put(&name, body).await.map(|()| Replaced::Replaced),
            _ => self.inner.replace(&name, tag, body).await,
        }
    }

    async fn delete(&self, names: &[Name]) -> Result<()> {
        let names: Vec<Name> = names.iter().map(|name| self.name(name)).collect();
        self.deleted.lock().unwrap().extend(names.iter().cloned());
        let taken = if self.is(Bug::DeleteStopsAtBatch) { names.len().min(1000) } else { names.len() };
        self.inner.delete(&names[..taken]).await
    }

    async fn delete_if(&self, name: &Name, tag: &Tag) -> Result<Replaced> {
        match self.is(Bug::DeleteIfIgnoresTag) {
            true => self.inner.delete(std::slice::from_ref(name)).await.map(|()| Replaced::Replaced),
            false => self.inner.delete_if(&self.name(name), tag).await,
        }
    }

    async fn list(&self, space: Space, group: &[u8], after: Option<&[u8]>, limit: usize) -> Result<ItemPage> {
        let space = if self.is(Bug::SpacesMix) { Space::Commit } else { space };
        let mut page = self.inner.list(space, group, after, limit).await?;
        match self.bug {
            Bug::ListDropsSecondPage => page.more = false,
            Bug::ItemsUnordered => page.items.sort_by_key(|item| item.len()),
            Bug::ListRepeatsAfter => {
                if let Some(after) = after {
                    page.items.insert(0, Bytes::copy_from_slice(after));
                    page.items.truncate(limit);
                }
            }
            _ => {}
        }
        Ok(page)
    }

    async fn groups(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<GroupPage> {
        let space = if self.is(Bug::SpacesMix) { Space::Commit } else { space };
        let mut page = self.inner.groups(space, prefix, after, limit).await?;
        match self.bug {
            Bug::GroupsUnordered => page.groups.reverse(),
            Bug::PrefixEndWraps if prefix.last() == Some(&0xff) => page = GroupPage::default(),
            _ => {}
        }
        Ok(page)
    }
}

fn broken(bug: Bug) -> Arc<dyn Store> {
    let (deleted, committed, times) = (Mutex::default(), Mutex::default(), Mutex::default());
    Arc::new(Broken { inner: MemoryStore::shared(), bug, deleted, committed, times })
}

/// Checks that the report of a broken store has a failure of the check that must find the bug.
fn check(bug: Bug, report: &conformance::Report) {
    let found = report.failures().any(|(name, _)| name == bug.found_by());
    assert!(found, "{bug:?} was not found by {}:\n{report}", bug.found_by());
}

/// Shows that the suite finds the bugs and nothing about the store around them.
#[tokio::test]
async fn without_a_bug_nothing_is_found() {
    conformance::run(async || broken(Bug::None)).await.assert_passed();
    conformance::probe(broken(Bug::None)).await.assert_passed();
}

/// Shows that each check of commits, scans and times finds at least one bug.
#[tokio::test]
async fn every_check_of_commits_and_scans_finds_a_bug() {
    let report = conformance::probe(broken(Bug::None)).await;
    let found_by: BTreeSet<&str> = ALL.iter().map(|bug| bug.found_by()).collect();
    let about = ["commit", "scan", "times"];
    let checks = report.checks.iter().map(|check| check.name);
    let (about, others): (Vec<_>, Vec<_>) =
        checks.partition(|name| about.iter().any(|what| name.contains(what)));
    assert!(about.len() >= 16 && !others.is_empty(), "{about:?}");
    let without: Vec<_> = about.into_iter().filter(|name| !found_by.contains(name)).collect();
    assert!(without.is_empty(), "no bug is planted for {without:?}");
}

#[tokio::test]
async fn every_planted_bug_is_found_on_fresh_stores() {
    for bug in ALL {
        check(bug, &conformance::run(async || broken(bug)).await);
    }
}

#[tokio::test]
async fn every_planted_bug_is_found_by_a_probe() {
    for bug in ALL {
        check(bug, &conformance::probe(broken(bug)).await);
    }
}

#[tokio::test]
async fn the_race_probe_finds_stores_that_cannot_create() {
    for bug in ALL {
        let report = conformance::race_probe(broken(bug), 32, 4).await;
        if bug.found_by_race_probe() {
            assert!(!report.passed(), "the race probe did not find {bug:?}:\n{report}");
        }
    }
}
