//! The tree: opening it, reading from it, and committing a batch to it.
//!
//! One keyspace holds all spaces, so that one order of flushes and one chain cover everything.
//!
//! A read finds durable data only. fjall 3 commits a batch in this order, under its journal lock
//! (`batch/mod.rs`, `commit`): write to the journal, sync it, then apply to the memtable. A batch
//! whose sync fails is never applied, and the database refuses writes from then on. So what a read
//! finds is durable, and acknowledged or about to be: a crash cannot remove it.

use std::io::ErrorKind;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aft_disk::{Acked, Digest, Home, Journals, Link, open_files};
use aft_store::{Error, GroupPage, Heads, ItemPage, Name, Position, Result, ScanPage, Scanned, Space};
use bytes::Bytes;
use fjall::config::PinningPolicy;
use fjall::{AbstractTree, CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::home::{BODIES, TREE};
use crate::value::{self, Body, Value};
use crate::{OpenError, Options, key};

const KEYSPACE: &str = "store";
/// The most items or groups of one page, even if the caller's limit is higher: a page is read in
/// one go, and should not occupy a thread for more than about a millisecond.
const PAGE_LEN_MAX: usize = 512;
/// The most keys that a listing of groups steps over before it seeks to the next group: a seek
/// costs as much as a few steps.
const STEPS_BEFORE_SEEK: usize = 4;

/// The most sealed memory tables before a batch. The tree halts a commit at four of them until one
/// is written out, without an end if its threads have failed; one batch may add two, the table that
/// was full before and the one that it fills.
const SEALED_MAX: usize = 1;
/// The most runs of the first level before a batch. The tree halts a commit at 30 of them until
/// they are merged, also without an end; each sealed table may become one meanwhile.
const RUNS_MAX: usize = 25;
/// The pause between looks at whether the tree can take a batch.
const WAY_PAUSE: Duration = Duration::from_millis(2);
/// The time for which a closed tree may keep files open. Its threads end in milliseconds.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(10);
/// The pause between looks at whether a closed tree keeps files open, and the pause instead of them
/// where the system does not say.
const CLOSE_PAUSE: Duration = Duration::from_millis(1);
const CLOSE_BLIND: Duration = Duration::from_millis(200);

/// The tree. Closed when dropped, which waits for its threads.
pub(crate) struct Tree {
    keyspace: Keyspace,
    database: Database,
    /// Last: the directory is released after the database is closed, unless another one holds it.
    home: Arc<Home>,
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").field("home", &self.home).finish_non_exhaustive()
    }
}

/// Opens the database in `path` and its keyspace, and makes them if they do not exist.
fn database(path: &Path, options: &Options) -> fjall::Result<(Database, Keyspace)> {
    let database = Database::builder(path)
        .cache_size(options.cache_bytes)
        // The check of the journals at open does not decompress.
        .journal_compression(CompressionType::None)
        .manual_journal_persist(true)
        .max_cached_files(Some(options.open_files.max(OPEN_FILES_MIN)))
        .open()?;
    let keyspace = database.keyspace(KEYSPACE, || {
        KeyspaceCreateOptions::default()
            .max_memtable_size(options.memtable_bytes)
            .filter_block_pinning_policy(PinningPolicy::all(true))
            .with_kv_separation(
                options
                    .separate_values
                    .then(|| fjall::KvSeparationOptions::default().separation_threshold(SEPARATED_BYTES_MIN)),
            )
            .manual_journal_persist(true)
    })?;
    Ok((database, keyspace))
}

/// The least number of files that the tree can be told to keep open.
const OPEN_FILES_MIN: usize = 10;

/// The files without which the tree takes the rest for the remains of an interrupted creation: it
/// would make an empty database, or delete all tables. Keyspace 0 is the tree's own list of
/// keyspaces, 1 is ours.
const PARTS_THAT_MUST_BE_THERE: [&str; 3] = ["version", "keyspaces/0/current", "keyspaces/1/current"];

/// The smallest value, in bytes, that lies in a value log and not in a table, so that compactions
/// move small entries only.
const SEPARATED_BYTES_MIN: u32 = 2048;

/// Returns a function that maps an error of the tree. Data that is missing, cut short or invalid is
/// damage; other errors of the file system are not.
fn failed(dir: &Path) -> impl Fn(fjall::Error) -> OpenError {
    move |error| match error {
        fjall::Error::Io(source) | fjall::Error::Storage(fjall::LsmError::Io(source))
            if !matches!(
                source.kind(),
                ErrorKind::NotFound | ErrorKind::UnexpectedEof | ErrorKind::InvalidData
            ) =>
        {
            OpenError::Io { what: format!("cannot open the tree in {}", dir.display()), source }
        }
        fjall::Error::Locked => OpenError::Held { dir: dir.to_owned(), pid: "unknown".to_owned() },
        error => OpenError::damaged(dir, format!("the tree does not open: {error}")),
    }
}

impl Tree {
    /// Opens the tree in a directory, and makes it if the directory is new. Checks that all
    /// acknowledged batches are there.
    pub(crate) fn open(
        home: &Arc<Home>,
        options: &Options,
    ) -> std::result::Result<(Tree, Link, Acked), OpenError> {
        let (acked, acked_number) = Acked::open(home)?;
        if home.is_new() {
            let (tree, link) = Tree::make(home, options)?;
            let durable = acked.advance(link.number).and_then(|()| acked.sync());
            durable.map_err(OpenError::io("cannot write the file ACKED in", tree.home.dir()))?;
            tree.home.mark_complete()?;
            return Ok((tree, link, acked));
        }
        home.refuse_if_known_damaged()?;
        let (dir, path) = (home.dir().to_owned(), home.part(TREE));
        for part in PARTS_THAT_MUST_BE_THERE.map(|part| path.join(part)) {
            match part.try_exists() {
                Ok(true) => {}
                Ok(false) => return Err(OpenError::damaged(&dir, format!("{} is missing", part.display()))),
                Err(error) => return Err(OpenError::io("cannot find", &part)(error)),
            }
        }
        // Before the database is opened, which drops what it cannot read in the journals.
        let journals = Journals::check(home, TREE, &key::CHAIN, acked_number)?;
        let (database, keyspace) = database(&path, options).map_err(failed(&dir))?;
        let tree = Tree { keyspace, database, home: home.clone() };
        let link = tree.check(journals, acked_number)?;
        Ok((tree, link, acked))
    }

    /// Opens the tree again in the process that has closed it, after a failure. `last` is the
    /// newest batch that is in the tree, as this process knows. A batch after it, whose commit
    /// failed, is cut off: no read has found it.
    ///
    /// # Errors
    /// Returns the errors of [`Tree::open`], and [`OpenError::Damaged`] if the tree does not end
    /// with `last`. After [`OpenError::Io`] it may be called again.
    pub(crate) fn reopen(
        home: &Arc<Home>,
        options: &Options,
        last: Link,
    ) -> std::result::Result<(Tree, Acked), OpenError> {
        assert!(!home.is_new() && last.number > 0, "a tree that was never open is opened again");
        Journals::cut_after(home, TREE, &key::CHAIN, last.number)?;
        let (tree, link, acked) = Tree::open(home, options)?;
        if link != last {
            let what = format!("the tree ends with batch {link:?}, but this process wrote {last:?}");
            return Err(home.note_damage(&what));
        }
        // Reads find this batch, so it counts as acknowledged even if recording that failed.
        acked.advance(last.number).map_err(OpenError::io("cannot write the file ACKED in", home.dir()))?;
        Ok((tree, acked))
    }

    /// Closes the tree, and waits until none of its files is open. Its journal would write what it
    /// still holds of a failed batch when it is closed, and must not do so when the next tree has
    /// it open.
    ///
    /// # Errors
    /// Returns a text if files stay open. The directory cannot be opened again in this process.
    pub(crate) fn close(self) -> std::result::Result<(), String> {
        let Tree { keyspace, database, home } = self;
        let part = home.part(TREE);
        drop(keyspace);
        drop(database);
        let since = Instant::now();
        loop {
            match open_files(&part) {
                Ok(Some(0)) => return Ok(()),
                Ok(None) => {
                    std::thread::sleep(CLOSE_BLIND);
                    return Ok(());
                }
                // Counting takes a descriptor itself.
                Ok(Some(_)) | Err(_) if since.elapsed() < CLOSE_TIME_MAX => {}
                Ok(Some(open)) => return Err(format!("{open} files of the tree stay open")),
                Err(error) => return Err(format!("cannot see whether the tree is closed: {error}")),
            }
            std::thread::sleep(CLOSE_PAUSE);
        }
    }

    /// Makes the tree of a new directory, with the first link of the chain in it.
    fn make(home: &Arc<Home>, options: &Options) -> std::result::Result<(Tree, Link), OpenError> {
        let dir = home.dir().to_owned();
        let (database, keyspace) = database(&home.part(TREE), options).map_err(failed(&dir))?;
        let tree = Tree { keyspace, database, home: home.clone() };
        let link = tree.commit(Link::default(), std::iter::empty()).map_err(failed(&dir))?;
        Ok((tree, link))
    }

    /// Checks that all acknowledged batches are there, and returns the newest link.
    ///
    /// # Errors
    /// Returns [`OpenError::Damaged`] if any is missing, and records it for the next open, which
    /// might not find it again.
    fn check(&self, journals: Journals, acked: Option<u64>) -> std::result::Result<Link, OpenError> {
        let failed = failed(self.home.dir());
        let newest = self.keyspace.get(key::CHAIN).map_err(&failed)?;
        let Some(link) = newest.and_then(|link| Link::decode(&link)) else {
            return Err(self.home.note_damage("the commit chain is missing from the tree"));
        };
        // The newest link in the tables alone, without what was replayed from the journals.
        let flushed = match self.keyspace.tree.get_highest_persisted_seqno() {
            None => None,
            Some(seqno) => {
                self.keyspace.tree.get(key::CHAIN, seqno + 1).map_err(|error| failed(error.into()))?
            }
        };
        let flushed = flushed.and_then(|link| Link::decode(&link)).map_or(0, |link| link.number);
        // The journals must continue where the tables end, the tree must have taken over all of
        // them, and it must reach the newest acknowledged batch.
        if let Some(first) = journals.first
            && first.number > flushed + 1
        {
            let what = format!(
                "the oldest journal starts with batch {}, but the tables end with batch {flushed}; a journal is missing",
                first.number
            );
            return Err(self.home.note_damage(&what));
        }
        if let Some(last) = journals.last.filter(|last| last.number > link.number) {
            let what = format!(
                "the journals end with batch {}, but the tree took over batches up to {} only",
                last.number, link.number
            );
            return Err(self.home.note_damage(&what));
        }
        if let Some(acked) = acked.filter(|&acked| acked > link.number) {
            let what = format!(
                "batches up to {acked} had been acknowledged, but the tree ends with batch {}",
                link.number
            );
            return Err(self.home.note_damage(&what));
        }
        Ok(link)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.home.dir()
    }

    pub(crate) fn bodies_dir(&self) -> PathBuf {
        self.home.part(BODIES)
    }

    /// Waits until the tree can take a batch without a halt.
    ///
    /// # Errors
    /// Returns [`fjall::Error::Poisoned`] if a thread of the tree has failed, or a commit. No batch
    /// can be committed to this tree any more.
    pub(crate) fn make_way(&self) -> fjall::Result<()> {
        loop {
            // Nothing is buffered between commits, so this only looks for a failure.
            self.database.persist(PersistMode::Buffer)?;
            let tree = &self.keyspace.tree;
            if tree.sealed_memtable_count() <= SEALED_MAX && tree.l0_run_count() <= RUNS_MAX {
                return Ok(());
            }
            std::thread::sleep(WAY_PAUSE);
        }
    }

    /// Writes `items` as one batch, atomically, and syncs it. Returns its link.
    ///
    /// # Errors
    /// Returns [`fjall::Error::Poisoned`] if the tree had failed before; nothing is written then.
    /// After other errors the batch may or may not survive the process. Reads do not find it, and
    /// every later commit fails.
    pub(crate) fn commit(
        &self,
        last: Link,
        items: impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
    ) -> fjall::Result<Link> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        let mut digest = Digest::after(last.number, last.digest);
        for (key, value) in items {
            digest.add(&key, value.as_deref());
            match value {
                Some(value) => batch.insert(&self.keyspace, key, value),
                None => batch.remove(&self.keyspace, key),
            }
        }
        let link = Link { number: last.number + 1, previous: last.digest, digest: digest.finish() };
        batch.insert(&self.keyspace, key::CHAIN, link.encode());
        batch.commit()?;
        Ok(link)
    }

    /// Returns the value under a name's key.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        let found = self.keyspace.get(key).map_err(|error| self.unreadable(key, &error))?;
        let decode = |value: fjall::UserValue| {
            value::decode(key, &value).map_err(|what| self.damaged(key, &format!("{what}, in the tree")))
        };
        found.map(decode).transpose()
    }

    /// Returns the number of the file that holds the body under a name's key, if one does. Reads
    /// the value only if its length is that of a reference, so most bodies are not read.
    pub(crate) fn file_of(&self, key: &[u8]) -> Result<Option<u64>> {
        let len = self.keyspace.size_of(key).map_err(|error| self.unreadable(key, &error))?;
        if len.is_none_or(|len| len as usize != value::FILE_REF_BYTES) {
            return Ok(None);
        }
        match self.get(key) {
            Ok(Some(Value { body: Body::File(file), .. })) => Ok(Some(file.id)),
            Ok(Some(Value { body: Body::Inline(_), .. }) | None) => Ok(None),
            // A damaged value can be replaced. Its file, if it had one, stays.
            Err(Error::Damaged(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns true if any body is in a file.
    pub(crate) fn any_file(&self) -> std::result::Result<bool, OpenError> {
        let first = self.keyspace.prefix(key::FILES).next();
        match first.map(fjall::Guard::key).transpose() {
            Ok(first) => Ok(first.is_some()),
            Err(error) => Err(failed(self.home.dir())(error)),
        }
    }

    /// Returns true if the tree holds this key.
    pub(crate) fn holds(&self, key: &[u8]) -> Result<bool> {
        self.keyspace.contains_key(key).map_err(|error| self.unreadable(key, &error))
    }

    pub(crate) fn list(
        &self,
        space: Space,
        group: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<ItemPage> {
        let limit = limit.min(PAGE_LEN_MAX);
        let start = key::group_start(space, group);
        let item_at = start.len();
        let from = match after {
            Some(after) => Bound::Excluded([&start[..], after].concat()),
            None => Bound::Included(start),
        };
        let mut page = ItemPage::default();
        for entry in self.keyspace.range((from, Bound::Excluded(key::group_end(space, group)))) {
            let found = entry.key().map_err(|error| self.unreadable(group, &error))?;
            if page.items.len() == limit {
                page.more = true;
                break;
            }
            page.items.push(Bytes::copy_from_slice(&found[item_at..]));
        }
        Ok(page)
    }

    pub(crate) fn groups(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<GroupPage> {
        let limit = limit.min(PAGE_LEN_MAX);
        let start = key::groups_start(space, prefix);
        let mut from = match after {
            Some(after) => key::group_end(space, after).max(start.clone()),
            None => start.clone(),
        };
        let mut page = GroupPage::default();
        // Each turn seeks once, then steps on as long as the next group is near.
        'seek: loop {
            let mut steps = 0;
            for entry in self.keyspace.range(from.clone()..) {
                let found = entry.key().map_err(|error| self.unreadable(&from, &error))?;
                if !found.starts_with(&start) {
                    return Ok(page);
                }
                // Still an item of the group before.
                if found[..] < from[..] {
                    steps += 1;
                    if steps > STEPS_BEFORE_SEEK {
                        continue 'seek;
                    }
                    continue;
                }
                if page.groups.len() == limit {
                    page.more = true;
                    return Ok(page);
                }
                let Some((group, _)) = key::parts(&found) else {
                    page.damaged.add(|| self.no_name(&found));
                    from = [&found[..], &[0]].concat();
                    continue;
                };
                from = key::group_end(space, &group);
                page.groups.push(group);
                steps = 0;
            }
            return Ok(page);
        }
    }

    pub(crate) fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&Position>,
        heads: Option<&Heads>,
        limit: usize,
    ) -> Result<ScanPage> {
        let limit = limit.min(PAGE_LEN_MAX);
        let (start, end) = (key::groups_start(space, prefix), key::groups_end(space, prefix));
        let from = match after {
            Some(Position { group, item: Some(item) }) => {
                Bound::Excluded([&key::group_start(space, group)[..], item].concat())
            }
            Some(Position { group, item: None }) => Bound::Included(key::group_end(space, group)),
            None => Bound::Included(start.clone()),
        };
        // A position before the prefix starts the walk at the prefix; one behind it leaves nothing.
        let from = match from {
            Bound::Included(at) | Bound::Excluded(at) if at < start => Bound::Included(start),
            Bound::Included(at) | Bound::Excluded(at) if at >= end => return Ok(ScanPage::default()),
            from => from,
        };
        let mut from = from;
        let mut picking = heads.map(|heads| heads.pick(prefix));
        let mut page = ScanPage::default();
        // The group of the name before, and the prefix of its items' keys: most names need no new
        // group.
        let mut current: Option<(Vec<u8>, Bytes)> = None;
        // Each turn walks until a group that is left out, and seeks behind its common prefix.
        'seek: loop {
            for entry in self.keyspace.range((from, Bound::Excluded(end.clone()))) {
                let found = entry.key().map_err(|error| self.unreadable(prefix, &error))?;
                let (group_start, group) = match current.take() {
                    Some(current) if found.starts_with(&current.0) => current,
                    Some(_) | None => match key::parts(&found) {
                        Some((group, _)) => (key::group_start(space, &group), group),
                        None => {
                            page.damaged.add(|| self.no_name(&found));
                            continue;
                        }
                    },
                };
                if let Some(picking) = &mut picking
                    && !picking.takes(&group)
                {
                    let common = picking.common_prefix().expect("a group without one is taken");
                    let behind = key::groups_end(space, common);
                    if behind >= end {
                        break;
                    }
                    from = Bound::Included(behind);
                    continue 'seek;
                }
                if page.names.len() == limit {
                    page.more = true;
                    break;
                }
                page.names.push(Scanned {
                    group: group.clone(),
                    item: Bytes::copy_from_slice(&found[group_start.len()..]),
                    body: None,
                    written_ms: None,
                });
                current = Some((group_start, group));
            }
            return Ok(page);
        }
    }

    /// Maps an error of the tree at `key`: errors of the file system may pass, others are damage.
    fn unreadable(&self, key: &[u8], error: &fjall::Error) -> Error {
        match error {
            fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => Error::NoAnswer(
                format!("local:{}: cannot read {}: {error}", self.dir().display(), shown(key)),
            ),
            error => self.damaged(key, &format!("the tree cannot be read at this key: {error}")),
        }
    }

    fn damaged(&self, key: &[u8], what: &str) -> Error {
        damaged(self.dir(), key, what)
    }

    fn no_name(&self, key: &[u8]) -> String {
        with_place(self.dir(), key, "the tree holds a key that is not a name")
    }
}

/// Returns the error for damage to what the store in `dir` holds under a key.
pub(crate) fn damaged(dir: &Path, key: &[u8], what: &str) -> Error {
    Error::Damaged(with_place(dir, key, what))
}

fn with_place(dir: &Path, key: &[u8], what: &str) -> String {
    format!("local:{}: {}: {what}", dir.display(), shown(key))
}

fn shown(key: &[u8]) -> String {
    key::name(key).map_or_else(|| key.escape_ascii().to_string(), |name: Name| name.to_string())
}
