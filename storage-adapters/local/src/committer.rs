//! The only thread that writes: it takes the queued changes, decides their conditions, commits them
//! as one batch with one sync, and answers.
//!
//! ```text
//! callers ─► queue (bounded) ─► take all ─► decide each on tree + batch ─► one batch, one sync
//!                                 ▲                                                │
//!                                 │                                          advance ACKED
//!                                 │                                                │
//!                                 └── meanwhile, the next changes queue up ◄── answer all
//! ```
//!
//! Since only this thread writes, the tree plus the changes of this batch *is* the state, and a
//! condition decided on it still holds when the batch is committed. A commit of many pieces is
//! decided as one: either all of them are in the batch or none, and the batch is written whole or
//! not at all. So a record never exists without its entries. No caller is answered before the sync,
//! not even the loser of a create, since the winner may be in the same batch.
//!
//! After an error of a commit the content of the disk is unknown, and a later sync that succeeds
//! would prove nothing (fsync reports an error once). So the tree takes no more writes; it is
//! closed and opened again, see `heal`. Until then this thread rejects what is queued, and reads go
//! on.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aft_disk::{Acked, Home, Link, OpenError, passes};
use aft_store::{Error, Result, Space};
use bytes::Bytes;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::Options;
use crate::bodies::{Bodies, NewFile};
use crate::heal::{Healer, Outcome};
use crate::key;
use crate::reserve::{Look, Purpose, Reserve};
use crate::slot::Slot;
use crate::tree::Tree;
use crate::value::{self, Body};

/// The most changes in the queue. Each but a large commit holds at most a body of the inline size,
/// so this bounds memory. A caller that finds the queue full gets `Busy`, and slows down.
pub(crate) const QUEUE_LEN_MAX: usize = 4096;
/// The most changes of one batch. It bounds the time for which the first of them waits until the
/// rest are decided.
const BATCH_LEN_MAX: usize = 1024;
/// The size at which a batch is committed, in bytes. Beyond it, writing the bytes costs as much as
/// the sync, and merging more gains nothing.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// The number of bodies at which a batch is committed: see the assertion below.
const BATCH_WRITES_MAX: u64 = 1 << 15;
/// The most pieces of one commit. The largest write set of a transaction has 10,000 keys.
pub(crate) const COMMIT_LEN_MAX: usize = 1 << 15;
/// The low bits of a tag, which hold the write's place in its batch. The others hold the batch's
/// number.
const TAG_PLACE_BITS: u32 = 16;
// A batch that is not full yet may take one more commit of the maximum length, and each of its
// writes needs a place.
const _: () = assert!(BATCH_WRITES_MAX + COMMIT_LEN_MAX as u64 <= 1 << TAG_PLACE_BITS);
const _: () = assert!(BATCH_LEN_MAX as u64 <= BATCH_WRITES_MAX);

/// The bytes of a batch in the journal beside its bodies, for each item: key, header and file
/// reference, rounded up.
const ITEM_BYTES: usize = 128;
/// The pause between looks at the queue while the tree has failed.
const TROUBLE_PAUSE: Duration = Duration::from_millis(5);

/// The condition under which a write takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteMode {
    Overwrite,
    IfAbsent,
    IfTag(u64),
}

/// A body to be written.
#[derive(Debug)]
pub(crate) enum NewBody {
    Inline(Bytes),
    File(NewFile),
}

/// A change of one name or of several.
#[derive(Debug)]
pub(crate) enum Change {
    Write {
        key: Vec<u8>,
        body: NewBody,
        mode: WriteMode,
    },
    Delete {
        keys: Vec<Vec<u8>>,
    },
    DeleteIf {
        key: Vec<u8>,
        tag: u64,
    },
    /// Writes all of the pieces if there is no record, or if the key of the record holds nothing.
    Commit {
        record: Option<(Vec<u8>, NewBody)>,
        entries: Vec<(Vec<u8>, NewBody)>,
    },
}

/// A change, and the channel for its answer: true if its condition held.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) change: Change,
    /// The memory of a large commit, kept until the commit is answered.
    pub(crate) room: Option<OwnedSemaphorePermit>,
    pub(crate) answer: oneshot::Sender<Result<bool>>,
}

/// The reason for which the store takes no more writes in this process, once there is one.
pub(crate) type Poison = OnceLock<String>;

pub(crate) struct Committer {
    pub(crate) slot: Arc<Slot>,
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) reserve: Arc<Reserve>,
    pub(crate) healer: Healer,
    pub(crate) acked: Acked,
    /// The newest batch that the tree shows to reads.
    pub(crate) link: Link,
    pub(crate) poison: Arc<Poison>,
    /// True if a body may be in a file: one was when the store was opened, or has been since.
    pub(crate) any_file: bool,
    /// The body files of batches whose commits failed, which the tree refers to or not.
    pub(crate) files_in_doubt: Vec<u64>,
}

/// The reason for which a batch was not made durable.
enum Failed {
    /// Nothing was written.
    NotWritten(Error),
    /// The batch may survive the process or not.
    InDoubt(String),
}

/// The tag of a name's content, and the file of its body if it is in one.
#[derive(Debug, Clone, Copy)]
struct Held {
    tag: u64,
    file: Option<u64>,
}

/// A batch that is being built.
#[derive(Default)]
struct Batch {
    /// The changes by key, so that a key changed twice is written once, with its last value.
    items: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// The contents that this batch gives to the names that it changes, by key.
    held: BTreeMap<Vec<u8>, Option<Held>>,
    bytes: usize,
    writes: u64,
    answers: Vec<(oneshot::Sender<Result<bool>>, Result<bool>)>,
    rooms: Vec<OwnedSemaphorePermit>,
    /// The files that entries of this batch refer to.
    new_files: Vec<NewFile>,
    /// The files that nothing refers to once the batch is committed.
    old_files: Vec<u64>,
    /// The room on the disk when the batch was begun. The inner `None` means that it is unknown.
    look: Option<Option<Look>>,
}

impl Committer {
    /// Returns a committer over a tree, its newest batch and its file `ACKED`, without a thread.
    pub(crate) fn new(
        home: Arc<Home>,
        options: &Options,
        tree: Tree,
        bodies: Arc<Bodies>,
        acked: Acked,
        link: Link,
    ) -> std::result::Result<Committer, OpenError> {
        let any_file = tree.any_file()?;
        let reserve = Arc::new(Reserve::new(home.dir(), options.memtable_bytes));
        let slot = Arc::new(Slot::new(tree));
        let healer = Healer::new(home, options.clone(), slot.clone(), reserve.clone());
        let (poison, files_in_doubt) = (Arc::default(), Vec::new());
        Ok(Committer { slot, bodies, reserve, healer, acked, link, poison, any_file, files_in_doubt })
    }

    /// Runs until every sender of requests is gone.
    pub(crate) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut queued = Vec::with_capacity(BATCH_LEN_MAX);
        loop {
            if self.healer.in_trouble() {
                if !self.bridge_trouble(&mut requests) {
                    break;
                }
                continue;
            }
            if requests.blocking_recv_many(&mut queued, BATCH_LEN_MAX) == 0 {
                break;
            }
            let mut batch = Batch::default();
            for Request { change, room, answer } in queued.drain(..) {
                let outcome = self.decide(&mut batch, change);
                batch.answers.push((answer, outcome));
                batch.rooms.extend(room);
                if batch.bytes >= BATCH_BYTES_MAX || batch.writes >= BATCH_WRITES_MAX {
                    self.commit(std::mem::take(&mut batch));
                }
            }
            self.commit(batch);
        }
        if let Err(error) = self.acked.sync() {
            tracing::warn!(%error, "cannot sync the file ACKED at the end");
        }
    }

    /// Rejects what is queued, and tries to open the tree again if it is time. Returns false if
    /// every sender of requests is gone.
    fn bridge_trouble(&mut self, requests: &mut mpsc::Receiver<Request>) -> bool {
        if self.healer.is_due() {
            self.heal();
        }
        while let Some(error) = self.rejection() {
            match requests.try_recv() {
                Ok(Request { answer, .. }) => drop(answer.send(Err(error))),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        if self.healer.in_trouble() {
            std::thread::sleep(TROUBLE_PAUSE);
        }
        true
    }

    /// Tries to open the tree again.
    fn heal(&mut self) {
        match self.healer.try_now(self.link) {
            Outcome::Healed(acked) => {
                self.acked = acked;
                let tree = self.tree();
                for id in std::mem::take(&mut self.files_in_doubt) {
                    // A file stays if the tree cannot say; the next open will look again.
                    if tree.holds(&key::file(id)) == Ok(false) {
                        self.bodies.remove(id);
                    }
                }
            }
            Outcome::NotYet => {}
            Outcome::Ended(why) => self.end(why),
        }
    }

    /// Ends the store if the tree has failed for a reason that does not pass.
    fn end_if(&mut self, failed: std::result::Result<(), String>) {
        if let Err(why) = failed {
            let dir = self.slot.dir().display();
            self.end(format!("local:{dir}: {why}"));
        }
    }

    /// Ends the store's writes for the life of this process.
    fn end(&mut self, why: String) {
        tracing::error!(dir = %self.slot.dir().display(), why, "the store takes no more writes");
        self.slot.end(&why);
        let set = self.poison.set(why);
        assert!(set.is_ok(), "a store that has ended wrote");
    }

    /// Returns the error for a write that cannot be given to the tree, if there is one.
    fn rejection(&self) -> Option<Error> {
        match self.poison.get() {
            Some(poison) => Some(refused(poison)),
            None => self.healer.rejection(),
        }
    }

    fn tree(&self) -> Arc<Tree> {
        self.slot.now().expect("nothing is decided or committed while the tree is not open")
    }

    /// Checks that a change leaves the reserve of the disk free.
    ///
    /// # Errors
    /// Returns [`Error::Refused`] if it does not. Nothing was added to the batch.
    fn fits(&self, batch: &mut Batch, bytes: usize, purpose: Purpose) -> Result<()> {
        let look = batch.look.get_or_insert_with(|| self.reserve.look());
        let all = (batch.bytes + ITEM_BYTES * batch.items.len() + bytes) as u64;
        match look {
            Some(look) if !look.allows(all, purpose) => Err(self.reserve.reject(look, bytes as u64)),
            Some(_) | None => Ok(()),
        }
    }

    /// Returns what a name holds, with the changes of the batch.
    fn held(&self, batch: &Batch, key: &[u8]) -> Result<Option<Held>> {
        if let Some(held) = batch.held.get(key) {
            return Ok(*held);
        }
        Ok(self.tree().get(key)?.map(|value| Held {
            tag: value.tag,
            file: match value.body {
                Body::Inline(_) => None,
                Body::File(file) => Some(file.id),
            },
        }))
    }

    /// Finds the file of a name's body, if it has one, for a change that replaces the body without
    /// a condition. Nothing is looked up before the store holds its first file.
    fn old_file(&self, batch: &Batch, key: &[u8]) -> Result<Option<u64>> {
        if !self.any_file {
            return Ok(None);
        }
        match batch.held.get(key) {
            Some(held) => Ok(held.and_then(|held| held.file)),
            None => self.tree().file_of(key),
        }
    }

    /// Adds a change to the batch if its condition holds. Returns true if it does.
    fn decide(&mut self, batch: &mut Batch, change: Change) -> Result<bool> {
        if let Some(error) = self.rejection() {
            return Err(error);
        }
        match change {
            Change::Write { key, body, mode } => {
                let replaced = match mode {
                    // A damaged old value is not an error here, so it can be overwritten.
                    WriteMode::Overwrite => Some(self.old_file(batch, &key)?),
                    WriteMode::IfAbsent => self.held(batch, &key)?.is_none().then_some(None),
                    WriteMode::IfTag(tag) => {
                        self.held(batch, &key)?.filter(|held| held.tag == tag).map(|held| held.file)
                    }
                };
                let Some(old_file) = replaced else { return Ok(false) };
                // Upkeep replaces records by shorter ones.
                let purpose = match mode {
                    WriteMode::IfTag(_) => Purpose::Upkeep,
                    WriteMode::Overwrite | WriteMode::IfAbsent => purpose(&key),
                };
                self.fits(batch, bytes(&key, &body), purpose)?;
                self.write(batch, key, old_file, body);
                Ok(true)
            }
            Change::Delete { keys } => {
                let bytes = keys.iter().map(|key| ITEM_BYTES + key.len()).sum();
                self.fits(batch, bytes, Purpose::Upkeep)?;
                for key in keys {
                    // A deletion is written even if the name does not exist: finding that out would
                    // cost more.
                    let old_file = self.old_file(batch, &key)?;
                    batch.remove(key, old_file);
                }
                Ok(true)
            }
            Change::DeleteIf { key, tag } => match self.held(batch, &key)? {
                Some(held) if held.tag == tag => {
                    self.fits(batch, ITEM_BYTES + key.len(), Purpose::Upkeep)?;
                    batch.remove(key, held.file);
                    Ok(true)
                }
                Some(_) | None => Ok(false),
            },
            Change::Commit { record, entries } => self.decide_commit(batch, record, entries),
        }
    }

    /// Adds a whole commit to the batch, or nothing if the record's name is taken.
    fn decide_commit(
        &mut self,
        batch: &mut Batch,
        record: Option<(Vec<u8>, NewBody)>,
        entries: Vec<(Vec<u8>, NewBody)>,
    ) -> Result<bool> {
        assert!(record.iter().len() + entries.len() <= COMMIT_LEN_MAX, "{} entries", entries.len());
        if let Some((key, _)) = &record
            && self.held(batch, key)?.is_some()
        {
            // The entries of a losing commit are dead, so they are not written.
            return Ok(false);
        }
        // Everything is looked up before anything is added, so that an error leaves the batch as it
        // was. No key occurs twice, so no write of this commit changes what another one replaces.
        let old_files = entries.iter().map(|(key, _)| self.old_file(batch, key));
        let old_files = old_files.collect::<Result<Vec<Option<u64>>>>()?;
        let all = record.iter().chain(&entries).map(|(key, body)| bytes(key, body)).sum();
        self.fits(batch, all, Purpose::Data)?;
        if let Some((key, body)) = record {
            self.write(batch, key, None, body);
        }
        for ((key, body), old_file) in entries.into_iter().zip(old_files) {
            self.write(batch, key, old_file, body);
        }
        Ok(true)
    }

    /// Adds a write to the batch. `old_file` is the file of the body that it replaces, if that had
    /// one.
    fn write(&mut self, batch: &mut Batch, key: Vec<u8>, old_file: Option<u64>, body: NewBody) {
        assert!(batch.writes < 1 << TAG_PLACE_BITS, "two writes of one batch would share a tag");
        let tag = (self.link.number + 1) << TAG_PLACE_BITS | batch.writes;
        batch.writes += 1;
        let (body, file) = match body {
            NewBody::Inline(body) => (Body::Inline(body), None),
            NewBody::File(new) => {
                let file = new.file;
                self.any_file = true;
                batch.new_files.push(new);
                // Marks the file as in use, so that the next open keeps it.
                batch.set(key::file(file.id).to_vec(), Some(Vec::new()));
                (Body::File(file), Some(file.id))
            }
        };
        batch.forget_file(old_file);
        let value = value::encode(&key, tag, &body);
        batch.held.insert(key.clone(), Some(Held { tag, file }));
        batch.set(key, Some(value));
    }

    /// Makes a batch durable, then answers its callers.
    fn commit(&mut self, batch: Batch) {
        let Batch { items, answers, rooms, new_files, old_files, .. } = batch;
        let committed = if items.is_empty() { Ok(()) } else { self.make_durable(items) };
        // The bodies of large commits are in the tree or dropped, so their memory is free.
        drop(rooms);
        match committed {
            Ok(()) => {
                // Entries in the journal refer to these files.
                new_files.into_iter().for_each(NewFile::keep);
                for (answer, outcome) in answers {
                    // An error means that the caller does not wait any more.
                    let _gone = answer.send(outcome);
                }
                old_files.into_iter().for_each(|id| self.bodies.remove(id));
            }
            // The new files are removed.
            Err(Failed::NotWritten(error)) => {
                for (answer, outcome) in answers {
                    let _gone = answer.send(outcome.and_then(|_| Err(error.clone())));
                }
            }
            Err(Failed::InDoubt(what)) => {
                self.files_in_doubt.extend(new_files.iter().map(|new| new.file.id));
                self.files_in_doubt.extend(old_files);
                new_files.into_iter().for_each(NewFile::keep);
                for (answer, outcome) in answers {
                    // The batch may survive the process or not. So every outcome is unknown but the
                    // errors.
                    let _gone = answer.send(outcome.and_then(|_| Err(Error::NoAnswer(what.clone()))));
                }
            }
        }
    }

    /// Commits a batch to the tree, and records it as acknowledged.
    fn make_durable(&mut self, items: BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> std::result::Result<(), Failed> {
        if let Some(error) = self.rejection() {
            return Err(Failed::NotWritten(error));
        }
        if self.tree().make_way().is_err() {
            // The tree failed by itself since the last batch. If the cause has passed, it is opened
            // again at once. The decisions of this batch hold on the new tree, which has the same
            // content.
            let failed = self.healer.failed_by_itself();
            self.end_if(failed);
            if self.healer.is_due() {
                self.heal();
            }
        }
        if let Some(error) = self.rejection() {
            return Err(Failed::NotWritten(error));
        }
        let committed = self.tree().commit(self.link, items.into_iter());
        let link = match committed {
            Ok(link) => link,
            // The tree failed between the look at it and the commit.
            Err(fjall::Error::Poisoned) => {
                let failed = self.healer.failed_by_itself();
                self.end_if(failed);
                let error = self.rejection().expect("the tree has failed");
                return Err(Failed::NotWritten(error));
            }
            Err(error) => {
                let is_room = matches!(&error, fjall::Error::Io(error) if passes(error));
                return Err(self.in_doubt(format!("a commit failed: {error}"), is_room));
            }
        };
        assert_eq!(link.number, self.link.number + 1, "one batch, one link");
        // Reads find the batch from here on, so it is never cut off.
        self.link = link;
        if let Err(error) = self.acked.advance(link.number) {
            return Err(self.in_doubt(format!("cannot write the file ACKED: {error}"), passes(&error)));
        }
        // A directory that is gone keeps nothing, whatever was synced to its files.
        if let Err(why) = self.healer.home().check_in_place() {
            self.end(why.clone());
            return Err(Failed::InDoubt(why));
        }
        self.healer.committed();
        Ok(())
    }

    /// Records that the tree has failed while it committed a batch.
    fn in_doubt(&mut self, cause: String, is_room: bool) -> Failed {
        let dir = self.slot.dir().display();
        let text = format!("local:{dir}: {cause}; the outcome of this write is unknown");
        let failed = self.healer.failed(cause, is_room);
        self.end_if(failed);
        Failed::InDoubt(text)
    }
}

/// Returns the purpose of a write under a key that does not depend on what the name holds.
fn purpose(key: &[u8]) -> Purpose {
    // Upkeep keeps its notes there.
    if key.first() == Some(&(Space::Store as u8)) { Purpose::Upkeep } else { Purpose::Data }
}

/// Returns the bytes that a write takes in the journal.
fn bytes(key: &[u8], body: &NewBody) -> usize {
    let inline = match body {
        NewBody::Inline(body) => body.len(),
        // Written already.
        NewBody::File(_) => 0,
    };
    ITEM_BYTES + key.len() + inline
}

impl Batch {
    fn set(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        self.items.insert(key, value);
    }

    fn remove(&mut self, key: Vec<u8>, old_file: Option<u64>) {
        self.forget_file(old_file);
        self.held.insert(key.clone(), None);
        self.set(key, None);
    }

    /// Takes a file out of use, to be removed after the commit.
    fn forget_file(&mut self, old_file: Option<u64>) {
        if let Some(id) = old_file {
            self.set(key::file(id).to_vec(), None);
            self.old_files.push(id);
        }
    }
}

pub(crate) fn refused(poison: &str) -> Error {
    Error::Refused(format!("the store takes no more writes since an earlier one failed: {poison}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home;

    /// Makes a committer without its thread, over a tree that holds damaged values under the keys
    /// in `rubbish`.
    fn committer(dir: &std::path::Path, rubbish: &[&str]) -> std::result::Result<Committer, OpenError> {
        let home = Arc::new(home::take(dir)?);
        let options = Options::default();
        let (tree, link, acked) = Tree::open(&home, &options)?;
        let rubbish = rubbish.iter().map(|key| (key.as_bytes().to_vec(), Some(b"rubbish".to_vec())));
        let link = tree.commit(link, rubbish).expect("there is room");
        let bodies = Arc::new(Bodies::open(tree.bodies_dir(), |_| Ok(true))?);
        Committer::new(home, &options, tree, bodies, acked, link)
    }

    fn piece(key: &str) -> (Vec<u8>, NewBody) {
        (key.as_bytes().to_vec(), NewBody::Inline(Bytes::from("body")))
    }

    /// Decides a commit of a record and two entries. Returns its outcome, and the number of items
    /// in the batch.
    fn decide(rubbish: &[&str]) -> (Result<bool>, usize) {
        let dir = tempfile::tempdir().expect("there is room");
        let mut committer = committer(dir.path(), rubbish).expect("a fresh directory");
        let mut batch = Batch::default();
        let entries = vec![piece("entry 1"), piece("entry 2")];
        let outcome = committer.decide_commit(&mut batch, Some(piece("record")), entries);
        (outcome, batch.items.len())
    }

    #[test]
    fn a_damaged_record_keeps_its_commit_out_of_the_batch() {
        let (outcome, taken) = decide(&["record"]);
        assert!(matches!(outcome, Err(Error::Damaged(_))), "{outcome:?}");
        assert_eq!(taken, 0);
    }

    #[test]
    fn a_damaged_entry_is_overwritten() {
        assert_eq!(decide(&["entry 2"]), (Ok(true), 3));
        assert_eq!(decide(&[]), (Ok(true), 3));
    }

    /// Commits one write of a small body.
    fn put(committer: &mut Committer, key: &str) {
        try_put(committer, key).expect("the tree takes writes");
    }

    fn try_put(committer: &mut Committer, key: &str) -> Result<()> {
        let mut batch = Batch::default();
        let (key, body) = piece(key);
        let write = Change::Write { key, body, mode: WriteMode::Overwrite };
        assert!(committer.decide(&mut batch, write)?, "an overwrite has no condition");
        committer.commit(batch);
        committer.rejection().map_or(Ok(()), Err)
    }

    fn holds(committer: &Committer, key: &str) -> bool {
        committer.tree().get(key.as_bytes()).expect("nothing is damaged").is_some()
    }

    /// Shows that a batch whose commit failed has no effect later, even if it is there as a whole:
    /// a caller may have read meanwhile that it had none.
    #[test]
    fn a_batch_whose_commit_failed_is_cut_off() {
        let dir = tempfile::tempdir().expect("there is room");
        let mut committer = committer(dir.path(), &[]).expect("a fresh directory");
        put(&mut committer, "before");
        let link = committer.link;
        // The committer does not hear of this batch.
        let failed = [(b"failed".to_vec(), Some(b"body".to_vec()))];
        committer.tree().commit(link, failed.into_iter()).expect("there is room");
        drop(committer.in_doubt("as a test says".to_owned(), true));
        committer.heal();
        assert!(!committer.healer.in_trouble() && committer.link == link);
        assert!(holds(&committer, "before") && !holds(&committer, "failed"));
        put(&mut committer, "after");
        drop(committer);
        let committer = self::committer(dir.path(), &[]).expect("nothing is damaged");
        assert!(holds(&committer, "before") && holds(&committer, "after") && !holds(&committer, "failed"));
    }

    /// Shows that a batch that reads have found stays, even if it could not be recorded as
    /// acknowledged.
    #[test]
    fn a_batch_that_reads_have_found_stays() {
        let dir = tempfile::tempdir().expect("there is room");
        let mut committer = committer(dir.path(), &[]).expect("a fresh directory");
        let shown = [(b"shown".to_vec(), Some(b"rubbish".to_vec()))];
        committer.link = committer.tree().commit(committer.link, shown.into_iter()).expect("there is room");
        drop(committer.in_doubt("as a test says".to_owned(), true));
        committer.heal();
        assert!(!committer.healer.in_trouble());
        assert!(committer.tree().holds(b"shown").expect("it can be read"));
        let acked = std::fs::read(dir.path().join("ACKED")).expect("it exists");
        assert_eq!(acked[..8], committer.link.number.to_le_bytes(), "it counts as acknowledged");
    }

    /// Shows that a process that dies while it opens the tree again loses nothing: between any two
    /// steps the directory is as after a crash.
    #[test]
    fn an_abandoned_reopening_loses_nothing() {
        for steps in 0..4 {
            let dir = tempfile::tempdir().expect("there is room");
            let mut committer = committer(dir.path(), &[]).expect("a fresh directory");
            put(&mut committer, "one");
            put(&mut committer, "two");
            let (link, home) = (committer.link, committer.healer.home().clone());
            let failed = [(b"failed".to_vec(), Some(b"body".to_vec()))];
            committer.tree().commit(link, failed.into_iter()).expect("there is room");
            let tree = committer.slot.take().expect("no read uses it");
            if steps > 0 {
                tree.close().expect("nothing uses it");
            } else {
                drop(tree);
            }
            if steps > 1 {
                aft_disk::Journals::cut_after(&home, "tree", &key::CHAIN, link.number).expect("one follows");
            }
            if steps > 2 {
                let (tree, _, acked) = Tree::open(&home, &Options::default()).expect("nothing is damaged");
                drop((tree, acked));
            }
            drop((committer, home));
            let committer = self::committer(dir.path(), &[]).expect("nothing is damaged");
            assert!(holds(&committer, "one") && holds(&committer, "two"), "after {steps} steps");
        }
    }

    /// Removes the directory under the store: what it syncs to the files that it has open is kept
    /// nowhere, so no write is acknowledged from then on.
    #[test]
    fn a_removed_directory_ends_the_store() {
        let dir = tempfile::tempdir().expect("there is room");
        let path = dir.path().join("store");
        let mut committer = committer(&path, &[]).expect("a fresh directory");
        put(&mut committer, "one");
        std::fs::remove_dir_all(&path).expect("it is ours");
        for what in ["two", "three"] {
            assert!(try_put(&mut committer, what).is_err(), "{what} was acknowledged");
        }
        let why = committer.poison.get().expect("the store has ended");
        assert!(why.contains("removed, moved or replaced"), "{why}");
    }

    /// Shows that damage that is found while the tree is opened again ends the store: writes and
    /// reads say why, and so does a later open.
    #[tokio::test]
    async fn damage_found_at_a_reopening_ends_the_store() {
        let dir = tempfile::tempdir().expect("there is room");
        let mut committer = committer(dir.path(), &[]).expect("a fresh directory");
        put(&mut committer, "one");
        put(&mut committer, "two");
        let journal = dir.path().join("tree/0.jnl");
        let mut bytes = std::fs::read(&journal).expect("it exists");
        bytes[40] ^= 0x10;
        std::fs::write(&journal, bytes).expect("there is room");
        drop(committer.in_doubt("as a test says".to_owned(), true));
        assert!(committer.slot.tree().await.is_ok(), "reads go on until the tree is closed");
        committer.heal();
        let why = committer.poison.get().expect("the store has ended").clone();
        assert!(why.contains("as a test says") && why.contains("0.jnl") && why.contains("restart"), "{why}");
        assert!(matches!(committer.rejection(), Some(Error::Refused(says)) if says.contains(&why)));
        assert!(matches!(committer.slot.tree().await, Err(Error::Refused(says)) if says == why));
        drop(committer);
        let again = self::committer(dir.path(), &[]);
        assert!(matches!(again, Err(OpenError::Damaged { .. })), "the damage is found again");
    }
}
