//! A bucket outside the store as the origin of one of the endpoint's.

use std::ops::Range;
use std::sync::Mutex;
use std::time::Instant;

use aft_door_s3::origin::{
    Expect, MARK, Mapped, Origin, Outgoing, Plain, PlainEntry, PlainPage, PlainRange, Trouble,
};
use aft_format::Attributes;
use async_trait::async_trait;
use aws_sdk_s3::types::{ChecksumMode, EncodingType};
use bytes::Bytes;
use futures::stream::BoxStream;

use super::*;
use crate::Place;
use crate::sending::{Content, Room, send};

/// The time for which a bucket that was there counts as being there.
const SEEN_FOR: Duration = Duration::from_secs(10);
/// The memory for the bodies of mirrored objects, in MiB.
const BODIES_MIB_MAX: usize = 64;

/// The requests to an origin.
#[derive(Debug)]
struct Outside {
    link: Link,
    room: Room,
    /// The instant at which the bucket was there.
    seen: Mutex<Option<Instant>>,
}

/// Opens the bucket that is the origin of one of the endpoint's, and asks it for a listing.
///
/// # Errors
/// Returns an error if the place is a directory, or if there are no credentials for its bucket.
pub async fn open_origin(bucket: &str, place: &Place, mirror: bool) -> Result<Mapped, Failed> {
    let Place::Bucket { url, prefix, .. } = place else {
        return Err(format!(
            "{place}: an origin is a bucket: write s3://BUCKET/PREFIX?endpoint=URL&region=R"
        ));
    };
    let link = Link::open(url, prefix, OF_SERVERS).await?;
    let origin = Outside { link, room: Room::new(BODIES_MIB_MAX), seen: Mutex::new(None) };
    let first = PlainRange { limit: 1, ..PlainRange::default() };
    let silent = match origin.list(first).await {
        Ok(_) => None,
        Err(Trouble::Failed(why)) => Some(why),
        Err(Trouble::Changed) => unreachable!("a listing expects nothing"),
    };
    let (path, query) = url.split_once('?').map_or((url.as_str(), None), |(path, query)| (path, Some(query)));
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let place = format!("{path}/{prefix}{query}");
    let origin = std::sync::Arc::new(origin);
    Ok(Mapped { bucket: bucket.to_owned(), place, mirror, origin, silent })
}

impl Outside {
    /// Checks that the bucket exists: the answer to a look at an object does not say whether the
    /// bucket or the object is missing.
    async fn need_bucket(&self) -> Result<(), Trouble> {
        let seen = *self.seen.lock().expect("nothing panics while it holds the time");
        if seen.is_some_and(|seen| seen.elapsed() < SEEN_FOR) {
            return Ok(());
        }
        let request = self.link.client.head_bucket().bucket(&self.link.bucket);
        match Box::pin(request.send()).await.map_err(|error| self.link.failed("a look at the bucket", &error))
        {
            Ok(_) => {
                *self.seen.lock().expect("as above") = Some(Instant::now());
                Ok(())
            }
            Err(Failure::Missing) => {
                let bucket = &self.link.bucket;
                Err(Trouble::Failed(format!(
                    "the bucket {bucket} does not exist: make it, or check its name"
                )))
            }
            Err(failure) => Err(trouble(failure)),
        }
    }
}

fn trouble(failure: Failure) -> Trouble {
    match failure {
        Failure::Changed | Failure::Missing => Trouble::Changed,
        Failure::Failed(why) => Trouble::Failed(why),
    }
}

/// Takes the mark out of an object's metadata.
fn take_mark(attributes: &mut Attributes) -> Option<String> {
    let at = attributes.metadata.iter().position(|pair| pair.name == MARK)?;
    Some(attributes.metadata.remove(at).value)
}

fn ms(time: Option<&aws_sdk_s3::primitives::DateTime>) -> u64 {
    time.and_then(|time| time.to_millis().ok()).and_then(|ms| u64::try_from(ms).ok()).unwrap_or_default()
}

#[async_trait]
impl Origin for Outside {
    async fn head(&self, key: &str) -> Result<Option<Plain>, Trouble> {
        let link = &self.link;
        let request = link.client.head_object().bucket(&link.bucket).key(link.key(key));
        let output = Box::pin(request.checksum_mode(ChecksumMode::Enabled).send()).await;
        let output = match output.map_err(|error| link.failed("a look at an object", &error)) {
            Ok(output) => output,
            Err(Failure::Missing) => {
                self.need_bucket().await?;
                return Ok(None);
            }
            Err(failure) => return Err(trouble(failure)),
        };
        if output.e_tag().is_none_or(str::is_empty) {
            let why = format!("the bucket {} answers without an entity tag: is it S3?", link.bucket);
            return Err(Trouble::Failed(why));
        }
        let mut attributes = attributes_of!(output);
        if output.tag_count().is_some_and(|count| count > 0) {
            attributes.tags = match link.tags(key).await {
                Ok(tags) => tags,
                // It was deleted meanwhile.
                Err(Failure::Missing) => return Ok(None),
                Err(failure) => return Err(trouble(failure)),
            };
        }
        Ok(Some(Plain {
            size: u64::try_from(output.content_length().unwrap_or_default()).unwrap_or_default(),
            etag: bare(output.e_tag()),
            modified_ms: ms(output.last_modified()),
            mark: take_mark(&mut attributes),
            attributes,
        }))
    }

    async fn get(
        &self,
        key: &str,
        etag: &str,
        range: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes, String>>, Trouble> {
        let len = range.as_ref().map(|range| range.end - range.start);
        let part = range.map_or(Part::Whole, |range| Part::Bytes(range.start, range.end - range.start));
        let got = self.link.get(key, part, etag).await.map_err(trouble)?;
        // Not every server compares the tag, or knows ranges.
        match got.etag == etag && len.is_none_or(|len| len == got.size) {
            true => Ok(got.bytes),
            false => Err(Trouble::Changed),
        }
    }

    async fn part(&self, key: &str, etag: &str, number: u32) -> Result<Option<Range<u64>>, Trouble> {
        let link = &self.link;
        let request = link.client.head_object().bucket(&link.bucket).key(link.key(key));
        let request = request.part_number(i32::try_from(number).unwrap_or(i32::MAX));
        let output = Box::pin(request.if_match(format!("\"{etag}\"")).send()).await;
        let output = match output {
            Ok(output) => output,
            Err(error) if error.raw_response().is_some_and(|response| response.status().as_u16() == 416) => {
                return Ok(None);
            }
            Err(error) => return Err(trouble(link.failed("a look at a part", &error))),
        };
        let size = u64::try_from(output.content_length().unwrap_or_default()).unwrap_or_default();
        // Without a range the answer is about the whole object.
        let start = output.content_range().and_then(|range| {
            let (start, _) = range.strip_prefix("bytes ")?.split_once('-')?;
            start.parse().ok()
        });
        Ok(Some(start.map_or(0..size, |start: u64| start..start + size)))
    }

    async fn list(&self, range: PlainRange) -> Result<PlainPage, Trouble> {
        let PlainRange { prefix, delimiter, after, limit } = range;
        let link = &self.link;
        let request =
            link.client.list_objects_v2().bucket(&link.bucket).prefix(format!("{}{prefix}", link.prefix));
        // XML has no way to write most control characters.
        let request = request.encoding_type(EncodingType::Url).set_delimiter(delimiter);
        let request = request.max_keys(i32::try_from(limit).unwrap_or(i32::MAX));
        // The prefix itself is no object here, as some programs make it for an empty folder.
        let after = format!("{}{after}", link.prefix);
        let request = request.set_start_after(Some(after).filter(|after| !after.is_empty()));
        let output = Box::pin(request.send()).await;
        let output = output.map_err(|error| trouble(link.failed("a listing", &error)))?;
        let is_encoded = output.encoding_type() == Some(&EncodingType::Url);
        let text = |key: Option<&str>| {
            let key = key.unwrap_or_default();
            let key = if is_encoded { decoded(key) } else { Some(key.to_owned()) };
            let name = key.as_deref().and_then(|key| key.strip_prefix(&link.prefix)).map(str::to_owned);
            name.ok_or_else(|| {
                Trouble::Failed(format!("the bucket {} lists a key that was not asked for", link.bucket))
            })
        };
        let mut objects = Vec::with_capacity(output.contents().len());
        for object in output.contents() {
            let size = u64::try_from(object.size().unwrap_or_default()).unwrap_or_default();
            let (key, modified_ms) = (text(object.key())?, ms(object.last_modified()));
            objects.push(PlainEntry { key, size, etag: bare(object.e_tag()), modified_ms });
        }
        let prefixes = output.common_prefixes().iter().map(|common| text(common.prefix()));
        let prefixes = prefixes.collect::<Result<Vec<String>, Trouble>>()?;
        Ok(PlainPage { objects, prefixes, more: output.is_truncated() == Some(true) })
    }

    async fn put(&self, key: &str, expect: Expect, outgoing: Outgoing) -> Result<String, Trouble> {
        let Outgoing { attributes, mark, size, parts, bytes } = outgoing;
        let write = Write { about: &attributes, mark: Some(&mark), expect: Some(&expect) };
        let content =
            Content { size, parts, bytes: bytes.map(|piece| piece.map_err(Failure::Failed)).boxed() };
        let check = |written: u64, _| match written == size {
            true => Ok(()),
            false => Err(Failure::Failed(format!("the store has {written} bytes of {size}: it is damaged"))),
        };
        let sent = send(&self.link, &self.room, key, &write, content, check).await.map_err(trouble)?;
        match (sent.theirs, sent.computed) {
            (Some(theirs), Some(computed)) if theirs != computed => Err(Trouble::Failed(format!(
                "the bucket has it with the entity tag {theirs}, and its bytes have {computed}"
            ))),
            (Some(theirs), _) => Ok(theirs),
            // The tag of an encrypted object is known to the server alone.
            (None, _) => match self.head(key).await? {
                Some(there) if there.mark.as_deref() == Some(mark.as_str()) => Ok(there.etag),
                Some(_) | None => Err(Trouble::Changed),
            },
        }
    }

    async fn delete(&self, key: &str, etag: &str) -> Result<(), Trouble> {
        let link = &self.link;
        let request = link.client.delete_object().bucket(&link.bucket).key(link.key(key));
        let output = Box::pin(request.if_match(format!("\"{etag}\"")).send()).await;
        match output.map_err(|error| link.failed("a deletion", &error)) {
            Ok(_) | Err(Failure::Missing) => Ok(()),
            Err(failure) => Err(trouble(failure)),
        }
    }
}
