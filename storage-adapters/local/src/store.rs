//! The store: names to keys, bodies to the tree or to files, calls to the committer or to reads.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use aft_store::{
    Capabilities, Created, Error, GroupPage, ItemPage, Name, Replaced, Result, Space, Store, Tag,
};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::bodies::Bodies;
use crate::committer::{Change, Committer, NewBody, Poison, QUEUE_LEN_MAX, Request, WriteMode, refused};
use crate::home::Home;
use crate::reads::Reads;
use crate::tree::Tree;
use crate::value::Body;
use crate::{OpenError, key};

/// The largest body.
const BODY_BYTES_MAX: usize = 16 << 20;
/// The size of a part of a large value.
const BLOB_PART_BYTES: usize = 8 << 20;
/// Bodies beyond this size are files of their own: from here on, a file's two syncs cost less than writing the body to the journal, to a
/// table, and through compactions.
const INLINE_BYTES_MAX: usize = 64 << 10;
const _: () = assert!(BLOB_PART_BYTES <= BODY_BYTES_MAX && INLINE_BYTES_MAX < BLOB_PART_BYTES);
/// The most body files being written at once: each holds its body in memory, and the disk gains nothing from more.
const FILE_WRITES_MAX: usize = 8;
/// A write that is not answered by then is stuck behind a disk that does not answer, or behind compactions that cannot keep up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a read looks again when the file of its body goes away under it. Each time somebody overwrote the name meanwhile.
const BODY_READS_MAX: usize = 16;

/// How to open a [`LocalStore`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Memory for blocks of the tree, in bytes.
    pub cache_bytes: u64,
    /// Size at which the tree's memory table is written out, in bytes, as the tree counts them: a table of small entries takes up to half as much again.
    /// One is filled while up to four are written out; then writes wait. Decided when the directory is made.
    pub memtable_bytes: u64,
    /// Keep larger values apart from the tables, so that compactions do not move them. Decided when the directory is made.
    pub separate_values: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { cache_bytes: 128 << 20, memtable_bytes: 64 << 20, separate_values: true }
    }
}

/// The embedded durable store: one directory, one process. A clone shares it; the last one to go closes it, which waits for the
/// writes under way.
#[derive(Debug, Clone)]
pub struct LocalStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    tree: Arc<Tree>,
    is_new: bool,
    bodies: Arc<Bodies>,
    reads: Arc<Reads>,
    file_writes: Semaphore,
    poison: Arc<Poison>,
    /// `None` once it is being closed.
    requests: Option<mpsc::Sender<Request>>,
    committer: Option<JoinHandle<()>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(committer) = self.committer.take()
            && committer.join().is_err()
        {
            tracing::error!("the committer had panicked");
        }
    }
}

impl LocalStore {
    /// Opens the store in a directory, making it if the directory is empty or not there. Reads the journals; so it may take seconds after a
    /// crash, and blocks: call it before the event loop, or from a thread that may block.
    ///
    /// # Errors
    /// If the directory holds something else, was written by a newer version, is held by another process, or has lost or damaged
    /// acknowledged data.
    pub fn open(dir: impl AsRef<Path>, options: &Options) -> std::result::Result<LocalStore, OpenError> {
        let home = Home::take(dir.as_ref())?;
        let is_new = home.is_new;
        let (tree, link, acked) = Tree::open(home, options)?;
        let in_use = |id| {
            let held = tree.holds(&key::file(id));
            held.map_err(|error| OpenError::damaged(tree.dir(), error.to_string()))
        };
        let bodies = Arc::new(Bodies::open(tree.bodies_dir(), in_use)?);
        let (tree, poison) = (Arc::new(tree), Arc::new(Poison::new()));
        let committer =
            Committer { tree: tree.clone(), bodies: bodies.clone(), acked, link, poison: poison.clone() };
        let (requests, queue) = mpsc::channel(QUEUE_LEN_MAX);
        let committer = std::thread::Builder::new()
            .name("aft-committer".to_owned())
            .spawn(move || committer.run(queue))
            .map_err(|source| OpenError::Io { what: "cannot start the committer".to_owned(), source })?;
        let inner = Inner {
            tree,
            is_new,
            bodies,
            reads: Arc::new(Reads::new()),
            file_writes: Semaphore::new(FILE_WRITES_MAX),
            poison,
            requests: Some(requests),
            committer: Some(committer),
        };
        Ok(LocalStore { inner: Arc::new(inner) })
    }

    /// Whether this opening has made the store.
    pub fn is_new(&self) -> bool {
        self.inner.is_new
    }

    async fn change(&self, change: Change) -> Result<bool> {
        let (answer, answered) = oneshot::channel();
        let requests = self.inner.requests.as_ref().expect("open until the last clone goes");
        match requests.try_send(Request { change, answer }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return Err(Error::Busy(format!("{}: {QUEUE_LEN_MAX} writes are waiting", self.url())));
            }
            Err(TrySendError::Closed(_)) => return Err(self.stopped()),
        }
        match tokio::time::timeout(WRITE_TIMEOUT, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(Error::NoAnswer(format!("{}: the committer stopped", self.url()))),
            Err(_) => {
                let what = format!("{}: not written within {} s", self.url(), WRITE_TIMEOUT.as_secs());
                Err(Error::NoAnswer(what))
            }
        }
    }

    fn stopped(&self) -> Error {
        refused(self.inner.poison.get().map_or("the committer stopped", String::as_str))
    }

    async fn write(&self, name: &Name, body: Bytes, mode: WriteMode) -> Result<bool> {
        if body.len() > BODY_BYTES_MAX {
            let what = format!(
                "{}: body of {} bytes for {name}; the most is {BODY_BYTES_MAX}",
                self.url(),
                body.len()
            );
            return Err(Error::Refused(what));
        }
        let body = match body.len() <= INLINE_BYTES_MAX {
            true => NewBody::Inline(body),
            false => self.write_file(name, body).await?,
        };
        self.change(Change::Write { key: key::of(name), body, mode }).await
    }

    async fn write_file(&self, name: &Name, body: Bytes) -> Result<NewBody> {
        if self.inner.poison.get().is_some() {
            return Err(self.stopped());
        }
        let _permit = self.inner.file_writes.acquire().await.expect("never closed");
        let bodies = self.inner.bodies.clone();
        let written = tokio::task::spawn_blocking(move || bodies.write(&body)).await;
        match written {
            Ok(Ok(file)) => Ok(NewBody::File(file)),
            // Nothing refers to the file, so the call has no effect, and never will.
            Ok(Err(error)) => {
                Err(Error::Refused(format!("{}: cannot write the body of {name}: {error}", self.url())))
            }
            Err(_) => Err(Error::NoAnswer(format!("{}: the runtime is shutting down", self.url()))),
        }
    }
}

/// The tag as callers see it.
fn tag(tag: u64) -> Tag {
    Tag(Bytes::copy_from_slice(&tag.to_be_bytes()))
}

/// The tag as the tree holds it; `None` if no content of this store ever had it.
fn number(tag: &Tag) -> Option<u64> {
    tag.0[..].try_into().ok().map(u64::from_be_bytes)
}

fn replaced(held: bool) -> Replaced {
    if held { Replaced::Replaced } else { Replaced::Changed }
}

#[async_trait]
impl Store for LocalStore {
    fn url(&self) -> String {
        format!("local:{}", self.inner.tree.dir().display())
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

    async fn get(&self, name: &Name) -> Result<Option<(Bytes, Tag)>> {
        let key: Arc<[u8]> = key::of(name).into();
        for _ in 0..BODY_READS_MAX {
            let (tree, at) = (self.inner.tree.clone(), key.clone());
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
                Some(Err(what)) => return Err(self.inner.tree.damaged(&key, &what)),
                // Overwritten or deleted since the entry was read: look again. Still the same entry: the file is lost.
                None => {
                    let (tree, at) = (self.inner.tree.clone(), key.clone());
                    let again = self.inner.reads.run(move || tree.get(&at)).await?;
                    if again.is_some_and(|again| again.tag == value.tag) {
                        return Err(self.inner.tree.damaged(&key, "the file of its body is missing"));
                    }
                }
            }
        }
        Err(Error::NoAnswer(format!("{}: {name} is overwritten faster than it can be read", self.url())))
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
        let (group, after, tree) = (group.to_vec(), after.map(<[u8]>::to_vec), self.inner.tree.clone());
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
        let (prefix, after, tree) = (prefix.to_vec(), after.map(<[u8]>::to_vec), self.inner.tree.clone());
        self.inner.reads.run_away(move || tree.groups(space, &prefix, after.as_deref(), limit)).await
    }
}
