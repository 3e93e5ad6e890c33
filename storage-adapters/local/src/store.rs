//! The store: maps names to keys, puts bodies into the tree or into files, and hands writes to the
//! committer and reads to the tree.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use aft_store::{
    Capabilities, Committed, Created, Error, GroupPage, Heads, ItemPage, Name, Position, Replaced, Result,
    ScanPage, Space, Store, Tag, Writes,
};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::bodies::Bodies;
use crate::committer::{
    COMMIT_LEN_MAX, Change, Committer, NewBody, Poison, QUEUE_LEN_MAX, Request, WriteMode, refused,
};
use crate::reads::Reads;
use crate::reserve::{Purpose, Reserve};
use crate::slot::Slot;
use crate::tree::{Tree, damaged};
use crate::value::Body;
use crate::{OpenError, home, key};

/// The largest body, in bytes.
const BODY_BYTES_MAX: usize = 16 << 20;
/// The size of a part of a large value, in bytes.
const BLOB_PART_BYTES: usize = 8 << 20;
/// The largest body that is kept in the tree, in bytes. A larger one is a file of its own, whose
/// two syncs cost less than writing the body to the journal, to a table, and through compactions.
const INLINE_BYTES_MAX: usize = 64 << 10;
const _: () = assert!(BLOB_PART_BYTES <= BODY_BYTES_MAX && INLINE_BYTES_MAX < BLOB_PART_BYTES);
/// The most body files written at once. Each holds its body in memory, and the disk gains nothing
/// from more.
const FILE_WRITES_MAX: usize = 8;
/// The most bytes of names and inline bodies of one commit: enough for the longest names of the
/// largest write set.
const COMMIT_BYTES_MAX: usize = 32 << 20;
/// The most bytes of large commits in the queue or being written. The queue's length does not bound
/// them.
const LARGE_COMMITS_BYTES_MAX: usize = 64 << 20;
const _: () = assert!(COMMIT_BYTES_MAX <= LARGE_COMMITS_BYTES_MAX);
/// The longest page of a scan, in names, that is read where gets are. A longer one belongs to a
/// caller that walks over the store, which should not delay the others.
const SHORT_SCAN_LEN_MAX: usize = 32;
/// The time after which a write is reported as without an answer. By then the disk does not
/// respond, or compactions cannot keep up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The most tries of a read whose body file disappears while it reads. Each time another call has
/// overwritten the name.
const BODY_READS_MAX: usize = 16;

/// The settings of a [`LocalStore`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The memory for cached blocks of the tree, in bytes.
    pub cache_bytes: u64,
    /// The size at which the tree's memory table is written out, in bytes, as the tree counts them:
    /// a table of small entries takes up to half as much again. One table is filled while another
    /// one is written out; if a third one is full by then, writes wait. Fixed when the directory is
    /// made. Four times as much stays free on the disk, if that is no more than an eighth of it.
    pub memtable_bytes: u64,
    /// True to keep larger values apart from the tables, so that compactions do not move them.
    /// Fixed when the directory is made.
    pub separate_values: bool,
    /// The number of files of the tree that are kept open, at least 10, rounded up to a multiple of
    /// four times the cores. Beside them the tree opens those that it reads or writes at the
    /// moment: up to about 20. A lower number costs an open for each read of a file that is not
    /// among them.
    pub open_files: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { cache_bytes: 128 << 20, memtable_bytes: 64 << 20, separate_values: true, open_files: 900 }
    }
}

/// The embedded durable store: one directory, one process. A clone shares it. Dropping the last
/// clone closes it, which waits for the writes in flight.
#[derive(Debug, Clone)]
pub struct LocalStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    slot: Arc<Slot>,
    reserve: Arc<Reserve>,
    is_new: bool,
    bodies: Arc<Bodies>,
    reads: Arc<Reads>,
    file_writes: Semaphore,
    /// The free memory for large commits, in units of [`INLINE_BYTES_MAX`].
    large_commits: Arc<Semaphore>,
    poison: Arc<Poison>,
    /// The queue of the committer; `None` once the store is being closed.
    requests: Option<mpsc::Sender<Request>>,
    committer: Option<JoinHandle<()>>,
}

/// Ends the store if the committer panics: nothing would be written or reopened any more.
struct EndOnPanic {
    slot: Arc<Slot>,
    poison: Arc<Poison>,
}

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let why =
                format!("local:{}: the committer panicked; restart the process", self.slot.dir().display());
            self.slot.end(&why);
            // An earlier reason stays.
            let _ended = self.poison.set(why);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The committer ends when the queue is closed and empty.
        drop(self.requests.take());
        if let Some(committer) = self.committer.take()
            && committer.join().is_err()
        {
            tracing::error!("the committer thread panicked");
        }
    }
}

impl LocalStore {
    /// Opens the store in `dir`, and makes it if `dir` is empty or does not exist. It reads the
    /// journals, so it blocks, and may take seconds after a crash: call it before the event loop
    /// starts, or from a thread that may block.
    ///
    /// # Errors
    /// Returns an error if the directory holds something else, was written by a newer version, is
    /// held by another process, or has lost or damaged acknowledged data. [`OpenError`] says what
    /// to do for each.
    pub fn open(dir: impl AsRef<Path>, options: &Options) -> std::result::Result<LocalStore, OpenError> {
        let home = Arc::new(home::take(dir.as_ref())?);
        let is_new = home.is_new();
        let (tree, link, acked) = Tree::open(&home, options)?;
        let in_use = |id| {
            let held = tree.holds(&key::file(id));
            held.map_err(|error| OpenError::damaged(tree.dir(), error.to_string()))
        };
        let bodies = Arc::new(Bodies::open(tree.bodies_dir(), in_use)?);
        let committer = Committer::new(home, options, tree, bodies.clone(), acked, link)?;
        let (slot, reserve, poison) =
            (committer.slot.clone(), committer.reserve.clone(), committer.poison.clone());
        let end = EndOnPanic { slot: slot.clone(), poison: poison.clone() };
        let (requests, queue) = mpsc::channel(QUEUE_LEN_MAX);
        let committer = std::thread::Builder::new()
            .name("aft-committer".to_owned())
            .spawn(move || {
                let _end = end;
                committer.run(queue);
            })
            .map_err(|source| OpenError::Io { what: "cannot start the committer".to_owned(), source })?;
        let inner = Inner {
            slot,
            reserve,
            is_new,
            bodies,
            reads: Arc::new(Reads::new()),
            file_writes: Semaphore::new(FILE_WRITES_MAX),
            large_commits: Arc::new(Semaphore::new(LARGE_COMMITS_BYTES_MAX / INLINE_BYTES_MAX)),
            poison,
            requests: Some(requests),
            committer: Some(committer),
        };
        Ok(LocalStore { inner: Arc::new(inner) })
    }

    /// Returns true if this call of [`LocalStore::open`] made the store.
    pub fn is_new(&self) -> bool {
        self.inner.is_new
    }

    async fn change(&self, change: Change) -> Result<bool> {
        self.change_with_room(change, None).await
    }

    /// Queues a change, with the memory of a large commit, and waits for its answer.
    async fn change_with_room(&self, change: Change, room: Option<OwnedSemaphorePermit>) -> Result<bool> {
        let (answer, answered) = oneshot::channel();
        let requests =
            self.inner.requests.as_ref().expect("the queue is open until the last clone is dropped");
        match requests.try_send(Request { change, room, answer }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return Err(Error::Busy(format!(
                    "{}: {QUEUE_LEN_MAX} writes are in the queue; retry later",
                    self.url()
                )));
            }
            Err(TrySendError::Closed(_)) => return Err(self.stopped()),
        }
        match tokio::time::timeout(WRITE_TIMEOUT, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Error::NoAnswer(format!("{}: the committer stopped", self.url()))),
            Err(_) => {
                let what = format!(
                    "{}: a write was not done within {} s; the disk may be stuck",
                    self.url(),
                    WRITE_TIMEOUT.as_secs()
                );
                Err(Error::NoAnswer(what))
            }
        }
    }

    fn stopped(&self) -> Error {
        refused(self.inner.poison.get().map_or("the committer stopped", String::as_str))
    }

    async fn write(&self, name: &Name, body: Bytes, mode: WriteMode) -> Result<bool> {
        self.fits(name, &body)?;
        let body = self.new_body(name, body).await?;
        self.change(Change::Write { key: key::of(name), body, mode }).await
    }

    /// Writes all of a commit, or nothing if the name of its record is taken. Returns true if it
    /// was free.
    async fn write_all(&self, writes: &Writes) -> Result<bool> {
        let Writes { create, puts } = writes;
        let (mut len, mut inline_bytes) = (0, 0);
        for (name, body) in create.iter().chain(puts) {
            self.fits(name, body)?;
            len += 1;
            inline_bytes += name.group.len() + name.item.len();
            inline_bytes += if body.len() <= INLINE_BYTES_MAX { body.len() } else { 0 };
        }
        if len > COMMIT_LEN_MAX || inline_bytes > COMMIT_BYTES_MAX {
            return Err(Error::Refused(format!(
                "{}: a commit of {len} names and {inline_bytes} bytes; the most is {COMMIT_LEN_MAX} names and \
                 {COMMIT_BYTES_MAX} bytes",
                self.url()
            )));
        }
        let room = self.room(inline_bytes)?;
        // Bodies that are files are written first, one after the other: only the record can be that
        // large, or the only entry. After an error, the files written so far are removed when their
        // handles are dropped.
        let record = match create {
            Some((name, body)) => Some((key::of(name), self.new_body(name, body.clone()).await?)),
            None => None,
        };
        let mut entries = Vec::with_capacity(puts.len());
        for (name, body) in puts {
            entries.push((key::of(name), self.new_body(name, body.clone()).await?));
        }
        self.change_with_room(Change::Commit { record, entries }, room).await
    }

    /// Reserves memory for a commit that holds more than one body of the inline size.
    ///
    /// # Errors
    /// Returns [`Error::Busy`] if large commits use up the memory already.
    fn room(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>> {
        let units = u32::try_from(bytes / INLINE_BYTES_MAX).expect("a commit is bounded");
        if units == 0 {
            return Ok(None);
        }
        match self.inner.large_commits.clone().try_acquire_many_owned(units) {
            Ok(room) => Ok(Some(room)),
            Err(_) => {
                let waiting = LARGE_COMMITS_BYTES_MAX >> 20;
                Err(Error::Busy(format!(
                    "{}: {waiting} MiB of large commits are in the queue; retry later",
                    self.url()
                )))
            }
        }
    }

    fn fits(&self, name: &Name, body: &Bytes) -> Result<()> {
        if body.len() <= BODY_BYTES_MAX {
            return Ok(());
        }
        let len = body.len();
        let what = format!("{}: body of {len} bytes for {name}; the most is {BODY_BYTES_MAX}", self.url());
        Err(Error::Refused(what))
    }

    /// Prepares a body to be committed: a large one is written to a file of its own.
    async fn new_body(&self, name: &Name, body: Bytes) -> Result<NewBody> {
        match body.len() <= INLINE_BYTES_MAX {
            true => Ok(NewBody::Inline(body)),
            false => self.write_file(name, body).await,
        }
    }

    async fn write_file(&self, name: &Name, body: Bytes) -> Result<NewBody> {
        if self.inner.poison.get().is_some() {
            return Err(self.stopped());
        }
        let _permit = self.inner.file_writes.acquire().await.expect("never closed");
        let (bodies, reserve) = (self.inner.bodies.clone(), self.inner.reserve.clone());
        let written = tokio::task::spawn_blocking(move || {
            let _claim = reserve.claim(body.len(), Purpose::Data)?;
            Ok(bodies.write(&body))
        });
        let written = match written.await {
            Ok(written) => Ok(written?),
            Err(error) => Err(error),
        };
        match written {
            Ok(Ok(file)) => Ok(NewBody::File(file)),
            // Nothing refers to the file, so the call has no effect, and never will.
            Ok(Err(error)) => {
                let action = if aft_disk::passes(&error) { "; free space or descriptors" } else { "" };
                Err(Error::Refused(format!(
                    "{}: cannot write the body of {name}: {error}{action}",
                    self.url()
                )))
            }
            Err(_) => Err(Error::NoAnswer(format!("{}: the runtime is shutting down", self.url()))),
        }
    }
}

/// Returns the form of a tag that callers see.
fn tag(tag: u64) -> Tag {
    Tag(Bytes::copy_from_slice(&tag.to_be_bytes()))
}

/// Returns the form of a tag that the tree holds; `None` if no content of this store ever had the
/// tag.
fn number(tag: &Tag) -> Option<u64> {
    tag.0[..].try_into().ok().map(u64::from_be_bytes)
}

fn replaced(held: bool) -> Replaced {
    if held { Replaced::Replaced } else { Replaced::Changed }
}

#[async_trait]
impl Store for LocalStore {
    fn url(&self) -> String {
        format!("local:{}", self.inner.slot.dir().display())
    }

    fn ended(&self) -> Option<String> {
        self.inner.poison.get().cloned()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            delete_if: true,
            exclusive: true,
            grace_ms: 0,
            body_bytes_max: BODY_BYTES_MAX,
            blob_part_bytes: BLOB_PART_BYTES,
            durability: "fsynced",
        }
    }

    /// Writes all pieces in one batch with one sync, or none of them. After an error each piece has
    /// that error. If the record's name is taken, the entries are not written.
    async fn commit(&self, writes: Writes) -> Committed {
        writes.assert_distinct();
        if writes.create.is_none() && writes.puts.is_empty() {
            return Committed { created: None, puts: Vec::new() };
        }
        match self.write_all(&writes).await {
            Ok(written) => {
                assert!(written || writes.create.is_some(), "entries alone have no condition");
                let created = if written { Created::Created } else { Created::Exists };
                let puts = vec![Ok(()); writes.puts.len()];
                Committed { created: writes.create.map(|_| Ok(created)), puts }
            }
            Err(error) => Committed::failed(&writes, &error),
        }
    }

    /// Reads one page in one walk over the tree. It has names alone, since bodies may lie
    /// elsewhere.
    async fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&Position>,
        limit: usize,
    ) -> Result<ScanPage> {
        assert!(limit > 0, "a page holds at least one name");
        let (prefix, after, tree) = (prefix.to_vec(), after.cloned(), self.inner.slot.tree().await?);
        let read = move || tree.scan(space, &prefix, after.as_ref(), None, limit);
        match limit <= SHORT_SCAN_LEN_MAX {
            true => self.inner.reads.run(read).await,
            false => self.inner.reads.run_away(read).await,
        }
    }

    /// Reads one page in one walk over the tree, which seeks behind each common prefix.
    async fn scan_heads(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&Position>,
        heads: &Heads,
        limit: usize,
    ) -> Result<ScanPage> {
        assert!(limit > 0, "a page holds at least one name");
        let (prefix, after, tree) = (prefix.to_vec(), after.cloned(), self.inner.slot.tree().await?);
        let heads = heads.clone();
        self.inner
            .reads
            .run_away(move || tree.scan(space, &prefix, after.as_ref(), Some(&heads), limit))
            .await
    }

    async fn get(&self, name: &Name) -> Result<Option<(Bytes, Tag)>> {
        let key: Arc<[u8]> = key::of(name).into();
        for _ in 0..BODY_READS_MAX {
            let (tree, at) = (self.inner.slot.tree().await?, key.clone());
            let Some(value) = self.inner.reads.run(move || tree.get(&at)).await? else { return Ok(None) };
            let file = match value.body {
                Body::Inline(body) => return Ok(Some((body, tag(value.tag)))),
                Body::File(file) => file,
            };
            let bodies = self.inner.bodies.clone();
            let failed = format!("{}: cannot read the body of {name}", self.url());
            let read =
                move || bodies.read(file).map_err(|error| Error::NoAnswer(format!("{failed}: {error}")));
            match self.inner.reads.run_away(read).await? {
                Some(Ok(body)) => return Ok(Some((body, tag(value.tag)))),
                Some(Err(what)) => return Err(damaged(self.inner.slot.dir(), &key, &what)),
                // The name was overwritten or deleted since its entry was read, so look again. If
                // the entry is still the same, the file is lost.
                None => {
                    let (tree, at) = (self.inner.slot.tree().await?, key.clone());
                    let again = self.inner.reads.run(move || tree.get(&at)).await?;
                    if again.is_some_and(|again| again.tag == value.tag) {
                        return Err(damaged(self.inner.slot.dir(), &key, "the file of its body is missing"));
                    }
                }
            }
        }
        Err(Error::NoAnswer(format!(
            "{}: {name} was overwritten {BODY_READS_MAX} times while it was read; retry",
            self.url()
        )))
    }

    async fn put(&self, name: &Name, body: Bytes) -> Result<()> {
        self.write(name, body, WriteMode::Overwrite).await.map(|held| assert!(held, "a put has no condition"))
    }

    async fn create(&self, name: &Name, body: Bytes) -> Result<Created> {
        let absent = self.write(name, body, WriteMode::IfAbsent).await?;
        Ok(if absent { Created::Created } else { Created::Exists })
    }

    async fn replace(&self, name: &Name, tag: &Tag, body: Bytes) -> Result<Replaced> {
        match number(tag) {
            Some(tag) => self.write(name, body, WriteMode::IfTag(tag)).await.map(replaced),
            None => Ok(Replaced::Changed),
        }
    }

    async fn delete(&self, names: &[Name]) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let keys = names.iter().map(key::of).collect();
        self.change(Change::Delete { keys }).await.map(|held| assert!(held, "a delete has no condition"))
    }

    async fn delete_if(&self, name: &Name, tag: &Tag) -> Result<Replaced> {
        match number(tag) {
            Some(tag) => self.change(Change::DeleteIf { key: key::of(name), tag }).await.map(replaced),
            None => Ok(Replaced::Changed),
        }
    }

    async fn list(&self, space: Space, group: &[u8], after: Option<&[u8]>, limit: usize) -> Result<ItemPage> {
        assert!(limit > 0, "a page holds at least one item");
        let (group, after, tree) = (group.to_vec(), after.map(<[u8]>::to_vec), self.inner.slot.tree().await?);
        self.inner.reads.run(move || tree.list(space, &group, after.as_deref(), limit)).await
    }

    async fn groups(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<GroupPage> {
        assert!(limit > 0, "a page holds at least one group");
        let (prefix, after, tree) =
            (prefix.to_vec(), after.map(<[u8]>::to_vec), self.inner.slot.tree().await?);
        self.inner.reads.run_away(move || tree.groups(space, &prefix, after.as_deref(), limit)).await
    }
}
