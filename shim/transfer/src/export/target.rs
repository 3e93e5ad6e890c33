//! Places to export to: a directory, or a bucket.

use std::collections::{BTreeMap, HashMap};

use aft_door_s3::objects::{TagSum, md5_in};
use aft_format::Attributes;
use bytes::Bytes;
use futures::stream::StreamExt as _;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::files::Files;
use crate::link::{self, Link, Listed, Write};
use crate::manifest::{self, Header, Line};
use crate::names::{self, MANIFEST, PARTIAL};
use crate::sending::{Content, Room, md5_of, send};
use crate::{Failed, Place};

/// The memory for all bodies at once, in MiB.
const BODIES_MIB_MAX: usize = 256;
/// The pause between two writes of the partial manifest to a bucket, as a multiple of the time that
/// a write takes, and its least.
const PAUSE_TIMES: u32 = 20;
const PAUSE_MIN: std::time::Duration = std::time::Duration::from_secs(10);

/// A place to export to.
#[derive(Debug)]
pub(super) struct Target {
    store: Store,
    /// The lines of the manifest before, by their names.
    pub(super) known: BTreeMap<String, Line>,
    /// The bucket of that manifest.
    pub(super) known_bucket: Option<String>,
}

#[derive(Debug)]
enum Store {
    Directory(Files),
    Bucket(Box<Bucket>),
}

#[derive(Debug)]
struct Bucket {
    link: Link,
    /// The objects that were there when the export began.
    there: HashMap<String, Listed>,
    /// The memory for bodies.
    room: Room,
    partial: Mutex<Option<Saved>>,
}

/// The partial manifest of a bucket.
#[derive(Debug)]
struct Saved {
    header: Header,
    lines: BTreeMap<String, Line>,
    next: Instant,
}

/// The reason why an object was not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The snapshot has ended.
    Snapshot,
    /// Anything else.
    Failed(Failed),
}

impl From<Failed> for Stopped {
    fn from(why: Failed) -> Stopped {
        Stopped::Failed(why)
    }
}

impl From<link::Failure> for Stopped {
    fn from(failure: link::Failure) -> Stopped {
        Stopped::Failed(failure.into_text())
    }
}

impl Target {
    /// Opens a place, and reads the manifest that is there.
    ///
    /// # Errors
    /// Returns an error if it cannot be written, or holds a manifest that cannot be read.
    pub(super) async fn open(place: &Place) -> Result<Target, Failed> {
        let store = match place {
            Place::Directory(path) => Store::Directory(Files::make(path)?),
            Place::Bucket { url, prefix, .. } => {
                let link = Link::open(url, prefix, link::OF_TRANSFERS).await?;
                let (mut there, mut next) = (HashMap::new(), None);
                loop {
                    let (objects, following) = link.list(next).await?;
                    there.extend(objects.into_iter().map(|object| (object.name.clone(), object)));
                    if following.is_none() {
                        break;
                    }
                    next = following;
                }
                Store::Bucket(Box::new(Bucket {
                    link,
                    there,
                    room: Room::new(BODIES_MIB_MAX),
                    partial: Mutex::default(),
                }))
            }
        };
        let mut target = Target { store, known: BTreeMap::new(), known_bucket: None };
        let known = target.manifest().await.map_err(|why| format!("{place}: {why}"))?;
        if let Some((header, lines)) = known {
            target.known_bucket = Some(header.bucket);
            target.known = lines.into_iter().map(|line| (line.name().to_owned(), line)).collect();
        }
        Ok(target)
    }

    async fn manifest(&self) -> Result<Option<(Header, Vec<Line>)>, Failed> {
        let text = |partial| async move {
            match &self.store {
                Store::Directory(files) => files.manifest(partial),
                Store::Bucket(bucket) => bucket.link.text(if partial { PARTIAL } else { MANIFEST }).await,
            }
        };
        // A partial one is newer: it is written before the whole one is removed, and removed after
        // the next one was written.
        let (text, partial) = match text(true).await? {
            Some(text) => (text, true),
            None => match text(false).await? {
                Some(text) => (text, false),
                None => return Ok(None),
            },
        };
        let (header, lines) = manifest::read(&text, partial)?;
        if matches!(self.store, Store::Directory(_)) {
            manifest::check_names(&lines)?;
        }
        Ok(Some((header, lines)))
    }

    /// Returns the names of keys here, in the same order.
    pub(super) fn names<'a>(&self, keys: impl Iterator<Item = &'a str>) -> Vec<String> {
        match &self.store {
            Store::Directory(_) => names::of_keys(keys),
            Store::Bucket(_) => keys.map(names::in_bucket).collect(),
        }
    }

    /// Returns true if an object is still what its line says.
    pub(super) fn is_there(&self, line: &Line) -> bool {
        match &self.store {
            Store::Directory(files) => files.look(line.name()).is_ok_and(|found| {
                found.is_some_and(|file| file.size == line.size && file.is_of(line.modified_ms))
            }),
            Store::Bucket(bucket) => bucket.there.get(line.name()).is_some_and(|object| {
                object.size == line.size && object.etag == *line.stored_etag.as_ref().unwrap_or(&line.etag)
            }),
        }
    }

    /// Checks that nothing of somebody else is under a name.
    ///
    /// # Errors
    /// Returns an error if there is.
    pub(super) fn check_free(&self, name: &str) -> Result<(), Failed> {
        if self.known.contains_key(name) {
            return Ok(());
        }
        let is_taken = match &self.store {
            Store::Directory(files) => files.is_taken(name)? && !self.is_ours_above_or_below(name),
            Store::Bucket(bucket) => bucket.there.contains_key(name),
        };
        match is_taken {
            false => Ok(()),
            true => Err(format!(
                "{name:?} is there, and no export wrote it: nothing was written; move it elsewhere, or choose another \
                 place"
            )),
        }
    }

    /// Returns true if a name is a folder of files of ours, or one of its folders is such a file.
    fn is_ours_above_or_below(&self, name: &str) -> bool {
        let folder = format!("{name}/");
        let below = self.known.range(folder.clone()..).next();
        let is_below = below.is_some_and(|(other, _)| other.starts_with(&folder));
        is_below || name.match_indices('/').any(|(at, _)| self.known.contains_key(&name[..at]))
    }

    /// Begins to write: from here on until the end, the place has a partial manifest.
    ///
    /// # Errors
    /// Returns an error if it cannot be written.
    pub(super) async fn begin(&self, header: Header, lines: Vec<Line>) -> Result<(), Failed> {
        let text = manifest::to_text(&header, &lines);
        match &self.store {
            Store::Directory(files) => files.set_manifest(&text, true).await,
            Store::Bucket(bucket) => {
                let lines = lines.into_iter().map(|line| (line.name().to_owned(), line)).collect();
                bucket.put_text(PARTIAL, text).await?;
                *bucket.partial.lock().await =
                    Some(Saved { header, lines, next: Instant::now() + PAUSE_MIN });
                bucket.link.delete(MANIFEST).await
            }
        }
    }

    /// Writes an object. Adds to `line` what is only known then.
    ///
    /// # Errors
    /// Returns the reason why it was not written.
    pub(super) async fn write(
        &self,
        line: &mut Line,
        about: &Attributes,
        content: Content<Stopped>,
    ) -> Result<(), Stopped> {
        let stored = match &self.store {
            Store::Directory(files) => write_file(files, line, content).await?,
            Store::Bucket(bucket) => bucket.write(line, about, content).await?,
        };
        line.stored_etag = stored.filter(|stored| *stored != line.etag);
        self.save(line).await?;
        Ok(())
    }

    /// Notes an object in the partial manifest.
    async fn save(&self, line: &Line) -> Result<(), Failed> {
        match &self.store {
            Store::Directory(files) => files.add_to_partial(&line.to_text()),
            Store::Bucket(bucket) => {
                let mut partial = bucket.partial.lock().await;
                let saved = partial.as_mut().expect("the export has begun");
                saved.lines.insert(line.name().to_owned(), line.clone());
                if Instant::now() < saved.next {
                    return Ok(());
                }
                bucket.save(saved).await
            }
        }
    }

    /// Notes all objects so far, before a failure is reported.
    pub(super) async fn give_up(&self) {
        if let Store::Bucket(bucket) = &self.store
            && let Some(saved) = bucket.partial.lock().await.as_mut()
        {
            // If this fails, more objects are written again.
            let _ = bucket.save(saved).await;
        }
    }

    /// Removes an object of ours.
    ///
    /// # Errors
    /// Returns an error if it cannot be removed.
    pub(super) async fn remove(&self, name: &str) -> Result<(), Failed> {
        match &self.store {
            Store::Directory(files) => files.remove(name),
            Store::Bucket(bucket) => bucket.link.delete(name).await,
        }
    }

    /// Ends the export: the whole manifest takes the place of the partial one.
    ///
    /// # Errors
    /// Returns an error if it cannot be written.
    pub(super) async fn end(&self, header: &Header, lines: &[Line]) -> Result<(), Failed> {
        let text = manifest::to_text(header, lines);
        match &self.store {
            Store::Directory(files) => {
                files.set_manifest(&text, false).await?;
                files.end();
                Ok(())
            }
            Store::Bucket(bucket) => {
                bucket.put_text(MANIFEST, text).await?;
                bucket.link.delete(PARTIAL).await
            }
        }
    }
}

/// Writes a file, and compares its bytes with its tag. Returns the MD5 of the bytes if the tag is
/// made of something else.
async fn write_file(
    files: &Files,
    line: &Line,
    content: Content<Stopped>,
) -> Result<Option<String>, Stopped> {
    let Content { size, parts, mut bytes } = content;
    let mut sum = TagSum::new(&parts);
    let mut written = 0;
    let mut writing = files.begin().await?;
    while let Some(piece) = bytes.next().await {
        let piece = piece?;
        sum.update(&piece);
        written += piece.len() as u64;
        writing.write(&piece).await?;
    }
    let tag = check(line, size, written, &parts, sum)?;
    files.finish(writing, line.name(), line.modified_ms).await?;
    Ok(Some(tag))
}

/// Compares the bytes of an object with its size and tag, and returns the tag that they make.
fn check(line: &Line, size: u64, written: u64, parts: &[u64], sum: TagSum) -> Result<String, Failed> {
    let tag = sum.finish();
    let is_digest = !parts.is_empty() || md5_in(&line.etag).is_some();
    match tag {
        Some(tag) if size == written && (tag == line.etag || !is_digest) => Ok(tag),
        _ => Err(format!(
            "the store has {written} bytes that are not those of its entity tag {} and its size {size}: it is damaged",
            line.etag
        )),
    }
}

impl Bucket {
    async fn put_text(&self, name: &str, text: String) -> Result<(), Failed> {
        let bytes = Bytes::from(text);
        let md5 = md5_of(&bytes);
        let about = Attributes { content_type: Some("application/jsonl".into()), ..Attributes::default() };
        let write = Write { about: &about, mark: None, expect: None };
        self.link.put(name, bytes, md5, &write).await.map(drop).map_err(link::Failure::into_text)
    }

    async fn save(&self, saved: &mut Saved) -> Result<(), Failed> {
        let since = Instant::now();
        let lines: Vec<Line> = saved.lines.values().cloned().collect();
        self.put_text(PARTIAL, manifest::to_text(&saved.header, &lines)).await?;
        saved.next = Instant::now() + PAUSE_MIN.max(since.elapsed() * PAUSE_TIMES);
        Ok(())
    }

    /// Writes an object, and compares the tag that the server returns. Returns that tag.
    async fn write(
        &self,
        line: &Line,
        about: &Attributes,
        content: Content<Stopped>,
    ) -> Result<Option<String>, Stopped> {
        let parts = content.parts.clone();
        let check =
            |written, sum| check(line, line.size, written, &parts, sum).map(drop).map_err(Stopped::from);
        let write = Write { about, mark: None, expect: None };
        let sent = send(&self.link, &self.room, line.name(), &write, content, check).await?;
        match (sent.theirs, sent.computed) {
            (Some(tag), Some(expected)) if tag != expected => Err(Stopped::Failed(format!(
                "the bucket has it with the entity tag {tag}, and its bytes have {expected}"
            ))),
            (tag, _) => Ok(tag),
        }
    }
}
