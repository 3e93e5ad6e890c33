//! Places to import from: a bucket, a directory, or either with the manifest of an export.

use aft_door_s3::objects::{TagSum, md5_in, parts_in};
use aft_format::{Attributes, Checksum};
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _, iter};

use crate::files::{Files, FoundFile, Walked};
use crate::link::{Failure, Got, Link, OF_TRANSFERS, Part};
use crate::manifest::{self, Header, Line};
use crate::names::{MANIFEST, PARTIAL, WRITING};
use crate::{Failed, Place};

/// The number of parts of one object whose sizes are asked for at once.
const LOOKS_AT_ONCE: usize = 4;
/// The text for a place with a partial manifest.
const NEVER_ENDED: &str = "it holds an export that did not end: run aft export again, and import it then";

/// A place to import from.
#[derive(Debug)]
pub(crate) struct Source {
    store: Store,
    /// The objects, if a manifest or a walk has listed them.
    listed: Option<Vec<Item>>,
    /// The name of the bucket that the place suggests.
    pub(crate) bucket: Option<String>,
    /// The names of everything there that is neither a file nor a folder.
    pub(crate) others: Vec<String>,
}

#[derive(Debug)]
enum Store {
    Bucket(Link),
    Directory(Files),
}

/// An object to import.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) key: String,
    /// The name at the source.
    name: String,
    pub(crate) size: u64,
    /// The entity tag, without quotes; `None` if the bytes have to be read to know it.
    pub(crate) etag: Option<String>,
    /// The line of a manifest.
    line: Option<Box<Line>>,
}

/// The parts of an object, and the tag that its bytes must have.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shape {
    /// The tag; `None` if nothing is known that the bytes can be compared with.
    pub(crate) etag: Option<String>,
    /// The sizes of the parts of which the tag is made; empty if it is the MD5 of all bytes.
    pub(crate) parts: Vec<u64>,
    /// The checksum of an object in parts.
    pub(crate) checksum: Option<Checksum>,
}

impl Source {
    /// Opens a place.
    ///
    /// # Errors
    /// Returns an error if it cannot be read, or holds an export that did not end.
    pub(crate) async fn open(place: &Place) -> Result<Source, Failed> {
        let (store, bucket) = match place {
            Place::Directory(path) => {
                let name = path.canonicalize().ok();
                let name = name.and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
                (Store::Directory(Files::open(path)?), name)
            }
            Place::Bucket { url, bucket, prefix } => {
                (Store::Bucket(Link::open(url, prefix, OF_TRANSFERS).await?), Some(bucket.clone()))
            }
        };
        let mut source = Source { store, listed: None, bucket, others: Vec::new() };
        if let Some((header, lines)) = source.manifest().await.map_err(|why| format!("{place}: {why}"))? {
            source.bucket = Some(header.bucket);
            source.listed = Some(lines.into_iter().map(Item::of_line).collect());
        } else if let Store::Directory(files) = &source.store {
            let Walked { files: found, others } = files.walk()?;
            let is_own = |name: &str| name.split('/').next() == Some(WRITING);
            let found = found.into_iter().filter(|(name, _)| !is_own(name));
            source.listed = Some(found.map(|(name, file)| Item::of_file(name, &file)).collect());
            source.others = others;
        }
        Ok(source)
    }

    async fn manifest(&self) -> Result<Option<(Header, Vec<Line>)>, Failed> {
        let (whole, partial) = match &self.store {
            Store::Bucket(link) => (link.text(MANIFEST).await?, link.text(PARTIAL).await?),
            Store::Directory(files) => (files.manifest(false)?, files.manifest(true)?),
        };
        // An object of somebody else may have the same name.
        let is_ours = |text: &String| manifest::is_manifest(text);
        match (whole.filter(is_ours), partial.filter(is_ours)) {
            (_, Some(_)) => Err(NEVER_ENDED.into()),
            (None, None) => Ok(None),
            (Some(text), None) => {
                let (header, lines) = manifest::read(&text, false)?;
                if matches!(self.store, Store::Directory(_)) {
                    manifest::check_names(&lines)?;
                }
                Ok(Some((header, lines)))
            }
        }
    }

    /// Returns a page of the objects. `after` is what the page before returned.
    ///
    /// # Errors
    /// Returns an error if the place cannot be listed.
    pub(crate) async fn page(&self, after: Option<String>) -> Result<(Vec<Item>, Option<String>), Failed> {
        match (&self.listed, &self.store) {
            (Some(items), _) => Ok((items.clone(), None)),
            (None, Store::Bucket(link)) => {
                let (listed, next) = link.list(after).await?;
                let items = listed.into_iter().map(|object| Item {
                    key: object.name.clone(),
                    name: object.name,
                    size: object.size,
                    etag: Some(object.etag),
                    line: None,
                });
                Ok((items.collect(), next))
            }
            (None, Store::Directory(_)) => unreachable!("a directory is listed when it is opened"),
        }
    }

    /// Looks at an object again, which has changed since it was listed.
    ///
    /// # Errors
    /// Returns an error if it is not what a manifest says, or not there.
    pub(crate) async fn again(&self, item: &Item) -> Result<Item, Failure> {
        match (&self.store, &item.line) {
            (Store::Bucket(link), None) => {
                let head = link.head(&item.name, None).await?;
                Ok(Item { size: head.size, etag: Some(head.etag), ..item.clone() })
            }
            (Store::Directory(files), None) => {
                let found = files.look(&item.name).map_err(Failure::Failed)?.ok_or(Failure::Missing)?;
                Ok(Item { size: found.size, etag: None, ..item.clone() })
            }
            (_, Some(_)) => Err(Failure::Failed("it is not what the manifest says".into())),
        }
    }

    /// Returns the entity tag that an object has or, for a file, would have.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub(crate) async fn etag_of(&self, item: &Item) -> Result<String, Failure> {
        if let Some(etag) = &item.etag {
            return Ok(etag.clone());
        }
        let mut bytes = self.read(item, 0, item.size).await?;
        let mut sum = TagSum::new(&[]);
        while let Some(piece) = bytes.try_next().await.map_err(Failure::Failed)? {
            sum.update(&piece);
        }
        Ok(sum.finish().expect("bytes without parts have a tag"))
    }

    /// Returns the parts of an object, and the tag that its bytes must have.
    ///
    /// # Errors
    /// Returns an error if the source does not answer, or the object has changed.
    pub(crate) async fn shape(&self, item: &Item, etag: &str) -> Result<Shape, Failure> {
        if let Some(line) = &item.line {
            let known = match line.parts.is_empty() {
                // Values of the native API have no MD5 as their tag; the export computed one.
                true => md5_in(etag)
                    .map(|_| etag.to_owned())
                    .or_else(|| line.stored_etag.clone().filter(|stored| md5_in(stored).is_some())),
                false => Some(etag.to_owned()),
            };
            return Ok(Shape {
                etag: known,
                parts: line.parts.clone(),
                checksum: line.attributes().checksum,
            });
        }
        let Some(count) = parts_in(etag) else {
            return Ok(Shape { etag: md5_in(etag).map(|_| etag.to_owned()), ..Shape::default() });
        };
        let Store::Bucket(link) = &self.store else { unreachable!("a file's tag is an MD5") };
        let first = link.head(&item.name, Some(1)).await?;
        if first.etag != etag {
            return Err(Failure::Changed);
        }
        // Some servers make such tags of something else, and say so by naming no parts.
        if first.parts != count {
            return Ok(Shape::default());
        }
        let size = |number| async move {
            let head = link.head(&item.name, Some(number)).await?;
            if head.etag == etag { Ok(head.size) } else { Err(Failure::Changed) }
        };
        let rest: Vec<u64> = iter(2..=count).map(size).buffered(LOOKS_AT_ONCE).try_collect().await?;
        let parts: Vec<u64> = std::iter::once(first.size).chain(rest).collect();
        // A server that does not know parts answers with the whole object each time.
        if parts.iter().sum::<u64>() != item.size {
            return Ok(Shape::default());
        }
        let whole = link.head(&item.name, None).await?;
        // The answer for a part has the checksum of that part.
        let checksum = whole.checksum.filter(|sum| sum.parts == 0 || sum.parts == count);
        Ok(Shape { etag: Some(etag.to_owned()), parts, checksum })
    }

    /// Requests an object, or the part of it with an index.
    ///
    /// # Errors
    /// Returns [`Failure::Changed`] if it has another entity tag.
    pub(crate) async fn get(
        &self,
        item: &Item,
        etag: &str,
        parts: &[u64],
        at: Option<usize>,
    ) -> Result<Got, Failure> {
        let from: u64 = at.map_or(0, |at| parts[..at].iter().sum());
        let size = at.map_or(item.size, |at| parts[at]);
        let attributes = item.line.as_ref().map(|line| line.attributes());
        if let Store::Bucket(link) = &self.store {
            let stored = item.line.as_ref().and_then(|line| line.stored_etag.as_deref());
            let part = match (at, &item.line) {
                (None, _) => Part::Whole,
                (Some(at), None) => Part::Number(u32::try_from(at + 1).expect("at most 10,000 parts")),
                (Some(_), Some(_)) => Part::Bytes(from, size),
            };
            let got = link.get(&item.name, part, stored.unwrap_or(etag)).await?;
            if got.size != size {
                return Err(Failure::Changed);
            }
            return Ok(match attributes {
                // The manifest has all that the object has, and more.
                Some(attributes) => Got { attributes, has_tags: false, is_encrypted: false, ..got },
                None => got,
            });
        }
        let bytes = self.read(item, from, size).await?;
        Ok(Got {
            size,
            etag: etag.to_owned(),
            attributes: attributes.unwrap_or_default(),
            has_tags: false,
            is_encrypted: false,
            bytes,
        })
    }

    /// Returns the attributes of an object, with its tags.
    ///
    /// # Errors
    /// Returns an error if the tags cannot be read.
    pub(crate) async fn attributes(&self, item: &Item, got: &Got) -> Result<Attributes, Failure> {
        let mut attributes = got.attributes.clone();
        if let (Store::Bucket(link), true) = (&self.store, got.has_tags) {
            attributes.tags = link.tags(&item.name).await?;
        }
        Ok(attributes)
    }

    /// Reads bytes of a file.
    async fn read(
        &self,
        item: &Item,
        from: u64,
        size: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, String>>, Failure> {
        let Store::Directory(files) = &self.store else { unreachable!("a bucket has no files") };
        match files.look(&item.name).map_err(Failure::Failed)? {
            None => Err(Failure::Missing),
            Some(found) if found.size != item.size => Err(Failure::Changed),
            Some(_) => files.read(&item.name, from, size).await.map_err(Failure::Failed),
        }
    }
}

impl Item {
    fn of_line(line: Line) -> Item {
        Item {
            key: line.key.clone(),
            name: line.name().to_owned(),
            size: line.size,
            etag: Some(line.etag.clone()),
            line: Some(Box::new(line)),
        }
    }

    fn of_file(name: String, found: &FoundFile) -> Item {
        Item { key: name.clone(), name, size: found.size, etag: None, line: None }
    }
}
