//! Goal: the conformance suite finds what it is there to find. Method: stores that break the contract, each in one way that a real store or
//! a careless adapter breaks it; the suite must fail on each, in the check that is about it, both on fresh stores and as a guest.

use std::sync::Arc;

use aft_store::{
    Capabilities, Created, GroupPage, ItemPage, Name, Replaced, Result, Space, Store, Tag, conformance,
};
use aft_store_memory::MemoryStore;
use async_trait::async_trait;
use bytes::Bytes;

/// The ways to break the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
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
}

const ALL: [Bug; 19] = [
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
];

impl Bug {
    /// A check that must fail.
    fn found_by(self) -> &'static str {
        match self {
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
        }
    }

    /// Whether the race probe alone, which runs before a node serves, must find it.
    fn found_by_race_probe(self) -> bool {
        use Bug::*;
        matches!(
            self,
            CreateRaces | CreateIgnoresExistence | CreateLoserOverwrites | ReplaceRaces | ReplaceIgnoresTag
        )
    }
}

#[derive(Debug)]
struct Broken {
    inner: MemoryStore,
    bug: Bug,
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

    async fn get(&self, name: &Name) -> Result<Option<(Bytes, Tag)>> {
        let found = self.inner.get(&self.name(name)).await?;
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
    Arc::new(Broken { inner: MemoryStore::new(), bug })
}

/// The failures of a report must contain the check that is about the bug.
fn check(bug: Bug, report: &conformance::Report) {
    let found = report.failures().any(|(name, _)| name == bug.found_by());
    assert!(found, "{bug:?} was not found by {}:\n{report}", bug.found_by());
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
