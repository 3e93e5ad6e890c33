//! Goal: the conformance suite finds what it is there to find. Method: stores that break the contract, each in one way that a real store or
//! a careless adapter breaks it; the suite must fail on each, in the check that is about it, both on fresh stores and as a guest.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aft_store::{
    Capabilities, Committed, Created, GroupPage, ItemPage, Name, Position, Replaced, Result, ScanPage,
    Scanned, Space, Store, TIMES_KEPT_MAX, Tag, TimeHeard, Writes, conformance,
};
use aft_store_memory::MemoryStore;
use async_trait::async_trait;
use bytes::Bytes;

/// The ways to break the contract, and the way not to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// Keeps to it.
    None,
    /// Checks, then puts: two writers may both win.
    CreateRaces,
    /// As S3-compatible servers that do not know `If-None-Match`.
    CreateIgnoresExistence,
    /// Answers as it should, but the loser's body stays.
    CreateLoserOverwrites,
    /// Checks the tag, then puts.
    ReplaceRaces,
    /// As servers that do not know `If-Match`.
    ReplaceIgnoresTag,
    /// As servers that do not know `If-Match` on deletes.
    DeleteIfIgnoresTag,
    /// Tags are the body's length.
    TagsCollide,
    /// Every page says that it is the last.
    ListDropsSecondPage,
    /// `after` is inclusive.
    ListRepeatsAfter,
    /// Items come in the order of their length.
    ItemsUnordered,
    /// Groups come in reverse.
    GroupsUnordered,
    /// The end of a prefix's range is computed by adding one to its last byte, which overflows.
    PrefixEndWraps,
    /// Group and item are joined by a slash.
    NamesAreJoined,
    /// Names are made UTF-8.
    NamesAreLossy,
    /// The space is not part of the name.
    SpacesMix,
    /// A batch of deletes is cut at 1000 names.
    DeleteStopsAtBatch,
    /// An empty body counts as no object.
    EmptyBodyIsNone,
    /// Bodies are cut at 64 KiB.
    BodiesAreCut,
    /// The second piece of a body comes first.
    PiecesAreSwapped,
    /// The last entry is not written, and answers as if it were.
    CommitDropsLastPut,
    /// Entries are created if they are absent.
    CommitPutsOnlyCreate,
    /// Answers as it should, but the record is the loser's.
    CommitOverwritesTaken,
    /// A record of the same bytes counts as written by this call.
    CommitForgetsOwnRecord,
    /// Without a record the entries are forgotten.
    CommitNeedsRecord,
    /// A commit is cut at 100 entries.
    CommitStopsAtBatch,
    /// Bodies are cut at 64 KiB when they are committed.
    CommitCutsBodies,
    /// All pieces are written that can be, and all are refused if one is.
    CommitAnswersAsOne,
    /// A piece that is refused answers as if it were written.
    CommitRefusesNothing,
    /// Looks for the record, then puts it.
    CommitRaces,
    /// Items of a group come in the order of their length.
    ScanItemsUnordered,
    /// Names are ordered as group and item in one.
    ScanOrdersJoinedNames,
    /// The empty item is not found.
    ScanSkipsEmptyItems,
    /// Every page says that it is the last.
    ScanDropsSecondPage,
    /// A page starts with the name after which it was asked for.
    ScanRepeatsAfter,
    /// A page starts with a group that no page has shown.
    ScanSkipsRestOfGroup,
    /// A page ends with a group, beyond its limit.
    ScanExceedsLimit,
    /// After all items of a group come those of the group again.
    ScanRepeatsGroup,
    /// A page starts with the group if the item after which it was asked for is gone.
    ScanLosesThePlace,
    /// As [`Bug::PrefixEndWraps`].
    ScanPrefixEndWraps,
    /// Only the group that is the prefix is found.
    ScanPrefixIsAGroup,
    /// Every scan is one of the first space.
    ScanSpacesMix,
    /// Each name has the body of the one before.
    ScanBodiesAreNeighbours,
    /// Deleted names are still found.
    ScanShowsDeleted,
    /// Committed names are not found.
    ScanMissesCommits,
    /// Answers came before their requests were sent.
    TimesRunBackwards,
    /// Times stay after they were taken.
    TimesRepeat,
    /// Times are kept until they are taken, however many.
    TimesPileUp,
}

const ALL: [Bug; 47] = [
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
    Bug::ScanShowsDeleted,
    Bug::ScanMissesCommits,
    Bug::TimesRunBackwards,
    Bug::TimesRepeat,
    Bug::TimesPileUp,
];

impl Bug {
    /// A check that must fail.
    fn found_by(self) -> &'static str {
        match self {
            Bug::None => unreachable!("nothing is to be found"),
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
            Bug::ScanShowsDeleted | Bug::ScanMissesCommits => "scans_show_what_was_written",
            Bug::TimesRunBackwards | Bug::TimesRepeat | Bug::TimesPileUp => "times_heard_are_sound",
        }
    }

    /// Whether the race probe alone, which runs before a node serves, must find it.
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

    /// Hears the store's time, as an answer of a server brings it.
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

    /// A commit whose record is looked for, then put.
    async fn commit_racing(&self, name: &Name, body: Bytes) -> Result<Created> {
        if self.inner.get(name).await?.is_some() {
            return Ok(Created::Exists);
        }
        tokio::task::yield_now().await;
        self.inner.put(name, body).await.map(|()| Created::Created)
    }

    /// A page of names, broken by the bugs that look at no more than that.
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
        let record = writes.create.clone();
        let racing = writes.create.take_if(|_| self.is(Bug::CommitRaces));
        let mut committed = self.inner.commit(writes).await;
        committed.puts.resize(all_puts, Ok(()));
        if let Some((name, body)) = racing {
            committed.created = Some(self.commit_racing(&name, body).await);
        }
        match (self.bug, record) {
            (Bug::CommitOverwritesTaken, Some((name, body))) => {
                // One that is too large overwrites nothing.
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

/// The failures of a report must contain the check that is about the bug.
fn check(bug: Bug, report: &conformance::Report) {
    let found = report.failures().any(|(name, _)| name == bug.found_by());
    assert!(found, "{bug:?} was not found by {}:\n{report}", bug.found_by());
}

/// The suite finds the bug, and not the store around it.
#[tokio::test]
async fn without_a_bug_nothing_is_found() {
    conformance::run(async || broken(Bug::None)).await.assert_passed();
    conformance::probe(broken(Bug::None)).await.assert_passed();
}

/// Each check of commits, scans and times has a bug that it finds.
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
