//! The store: an ordered map for each space and one counter for tags, all under one lock.
//!
//! There is one lock and no shards, since the callers are single-threaded event loops, and a call
//! holds the lock for less than a microsecond. Nothing awaits while the lock is held.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use aft_store::{
    Capabilities, Committed, Created, Error, GroupPage, Heads, ItemPage, Name, Position, Replaced, Result,
    ScanPage, Space, Store, Tag, TimeHeard, Writes,
};
use async_trait::async_trait;
use bytes::Bytes;

use crate::objects::{Object, Objects};

/// The largest body, in bytes: the same as in the embedded store, so that tests on this store meet
/// the same bound.
const BODY_BYTES_MAX: usize = 16 << 20;
/// The size of a part of a large value, in bytes: the same as in the embedded store.
const BLOB_PART_BYTES: usize = 8 << 20;

/// A store in memory. A clone shares the objects but has its own capabilities.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    capabilities: Capabilities,
    /// The size of each piece but the last of a body that is read in pieces, in bytes.
    piece_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    spaces: [Objects; Space::ALL.len()],
    /// The number of the newest content; greater than that of every object.
    newest: u64,
}

impl State {
    fn objects(&self, space: Space) -> &Objects {
        &self.spaces[space as usize - 1]
    }

    fn objects_mut(&mut self, space: Space) -> &mut Objects {
        &mut self.spaces[space as usize - 1]
    }

    fn find(&self, name: &Name) -> Option<&Object> {
        self.objects(name.space).get(&name.group, &name.item)
    }

    fn insert(&mut self, name: &Name, body: Bytes) {
        self.newest += 1;
        let object = Object { body, version: self.newest };
        self.objects_mut(name.space).insert(&name.group, &name.item, object);
    }

    fn remove(&mut self, name: &Name) {
        self.objects_mut(name.space).remove(&name.group, &name.item);
    }

    fn holds(&self, name: &Name, tag: &Tag) -> bool {
        self.find(name).is_some_and(|object| tag.0[..] == object.version.to_be_bytes())
    }
}

impl MemoryStore {
    /// Makes an empty store, held by this process alone.
    pub fn new() -> MemoryStore {
        let capabilities = Capabilities {
            delete_if: true,
            exclusive: true,
            grace_ms: 0,
            body_bytes_max: BODY_BYTES_MAX,
            blob_part_bytes: BLOB_PART_BYTES,
            durability: "in memory only",
        };
        MemoryStore { state: Arc::default(), capabilities, piece_bytes: usize::MAX }
    }

    /// Makes an empty store that several nodes of one process share: like [`MemoryStore::new`], but
    /// not exclusive. Give each node a clone.
    pub fn shared() -> MemoryStore {
        let mut store = MemoryStore::new();
        store.capabilities.exclusive = false;
        store
    }

    /// Returns a handle on the same objects with other capabilities, for tests that imitate another
    /// store. Of these, the bound on bodies and a lack of [`Store::delete_if`] are enforced.
    ///
    /// # Panics
    /// Panics if a part of a large value is larger than the largest body.
    pub fn with_capabilities(self, capabilities: Capabilities) -> MemoryStore {
        assert!(
            capabilities.blob_part_bytes <= capabilities.body_bytes_max,
            "a part of a large value must fit into a body"
        );
        MemoryStore { capabilities, ..self }
    }

    /// Returns a handle on the same objects whose [`Store::get_pieces`] passes on pieces of
    /// `piece_bytes` bytes, as from a server.
    ///
    /// # Panics
    /// Panics if `piece_bytes` is 0.
    pub fn in_pieces(self, piece_bytes: usize) -> MemoryStore {
        assert!(piece_bytes > 0, "a piece must hold at least one byte");
        MemoryStore { piece_bytes, ..self }
    }

    /// Returns every object, ordered by space, group and item. For auditors.
    pub fn objects(&self) -> Vec<(Name, Bytes)> {
        let state = self.state();
        let mut all = Vec::new();
        for space in Space::ALL {
            state.objects(space).each(|group, item, object| {
                let name = Name::new(space, Bytes::copy_from_slice(group), Bytes::copy_from_slice(item));
                all.push((name, object.body.clone()));
            });
        }
        all
    }

    /// Returns the bodies under `names` as of one moment, in the order of `names`, like the
    /// transactions that some stores have of their own.
    pub fn transact_get(&self, names: &[Name]) -> Vec<Option<Bytes>> {
        let state = self.state();
        names.iter().map(|name| state.find(name).map(|object| object.body.clone())).collect()
    }

    /// Writes all of `bodies` at one moment or none of them, like the transactions that some stores
    /// have of their own.
    ///
    /// # Errors
    /// Returns [`Error::Refused`] if a body is larger than [`Capabilities::body_bytes_max`].
    /// Nothing is written then; do not retry it with the same bodies.
    ///
    /// # Panics
    /// Panics if a name occurs twice.
    pub fn transact_put(&self, bodies: Vec<(Name, Bytes)>) -> Result<()> {
        let writes = Writes { create: None, puts: bodies };
        writes.assert_distinct();
        // All bodies are checked before the first is written, so that a refusal writes nothing.
        writes.puts.iter().try_for_each(|(name, body)| self.fits(name, body))?;
        let mut state = self.state();
        writes.puts.into_iter().for_each(|(name, body)| state.insert(&name, body));
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no call panics while it holds the lock")
    }

    fn fits(&self, name: &Name, body: &Bytes) -> Result<()> {
        let max = self.capabilities.body_bytes_max;
        if body.len() <= max {
            return Ok(());
        }
        Err(Error::Refused(format!(
            "{}: body of {} bytes for {name}; the most is {max}",
            self.url(),
            body.len()
        )))
    }
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn url(&self) -> String {
        "memory:".to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    /// Returns the process's own clock, to the millisecond, if several nodes share the store.
    fn times_heard(&self) -> Vec<TimeHeard> {
        if self.capabilities.exclusive {
            return Vec::new();
        }
        let sent = Instant::now();
        let at = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set to a time after 1970");
        vec![TimeHeard { sent, received: Instant::now(), at_ms: at.as_millis() as u64, span_ms: 1 }]
    }

    async fn commit(&self, writes: Writes) -> Committed {
        writes.assert_distinct();
        let Writes { create, puts } = writes;
        let mut state = self.state();
        let created = match create {
            None => None,
            Some((name, body)) => match self.fits(&name, &body) {
                Err(error) => Some(Err(error)),
                // The entries of a losing commit are dead, so they are not written.
                Ok(()) if state.find(&name).is_some() => {
                    return Committed { created: Some(Ok(Created::Exists)), puts: vec![Ok(()); puts.len()] };
                }
                Ok(()) => {
                    state.insert(&name, body);
                    Some(Ok(Created::Created))
                }
            },
        };
        let put = |(name, body): (Name, Bytes)| {
            self.fits(&name, &body)?;
            state.insert(&name, body);
            Ok(())
        };
        Committed { created, puts: puts.into_iter().map(put).collect() }
    }

    async fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&Position>,
        limit: usize,
    ) -> Result<ScanPage> {
        assert!(limit > 0, "a page holds at least one name");
        Ok(self.state().objects(space).scan(prefix, after, None, limit))
    }

    async fn scan_heads(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&Position>,
        heads: &Heads,
        limit: usize,
    ) -> Result<ScanPage> {
        assert!(limit > 0, "a page holds at least one name");
        Ok(self.state().objects(space).scan(prefix, after, Some(heads), limit))
    }

    async fn get(&self, name: &Name) -> Result<Option<(Bytes, Tag)>> {
        let state = self.state();
        let tagged = |object: &Object| {
            (object.body.clone(), Tag(Bytes::copy_from_slice(&object.version.to_be_bytes())))
        };
        Ok(state.find(name).map(tagged))
    }

    async fn get_pieces(&self, name: &Name, take: &mut (dyn FnMut(Bytes) + Send)) -> Result<Option<Tag>> {
        let Some((mut body, tag)) = self.get(name).await? else { return Ok(None) };
        while !body.is_empty() {
            take(body.split_to(body.len().min(self.piece_bytes)));
        }
        Ok(Some(tag))
    }

    async fn put(&self, name: &Name, body: Bytes) -> Result<()> {
        self.fits(name, &body)?;
        self.state().insert(name, body);
        Ok(())
    }

    async fn create(&self, name: &Name, body: Bytes) -> Result<Created> {
        self.fits(name, &body)?;
        let mut state = self.state();
        if state.find(name).is_some() {
            return Ok(Created::Exists);
        }
        state.insert(name, body);
        Ok(Created::Created)
    }

    async fn replace(&self, name: &Name, tag: &Tag, body: Bytes) -> Result<Replaced> {
        self.fits(name, &body)?;
        let mut state = self.state();
        if !state.holds(name, tag) {
            return Ok(Replaced::Changed);
        }
        state.insert(name, body);
        Ok(Replaced::Replaced)
    }

    async fn delete(&self, names: &[Name]) -> Result<()> {
        let mut state = self.state();
        names.iter().for_each(|name| state.remove(name));
        Ok(())
    }

    async fn delete_if(&self, name: &Name, tag: &Tag) -> Result<Replaced> {
        if !self.capabilities.delete_if {
            return Err(Error::Refused(format!("{} has no conditional delete ({name})", self.url())));
        }
        let mut state = self.state();
        if !state.holds(name, tag) {
            return Ok(Replaced::Changed);
        }
        state.remove(name);
        Ok(Replaced::Replaced)
    }

    async fn list(&self, space: Space, group: &[u8], after: Option<&[u8]>, limit: usize) -> Result<ItemPage> {
        assert!(limit > 0, "a page holds at least one item");
        Ok(self.state().objects(space).list(group, after, limit))
    }

    async fn groups(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<GroupPage> {
        assert!(limit > 0, "a page holds at least one group");
        Ok(self.state().objects(space).groups(prefix, after, limit))
    }
}
