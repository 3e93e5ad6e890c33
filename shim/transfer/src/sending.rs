//! Sends the bytes of an object to a bucket: in one request, or in the parts that it has, so that
//! it keeps its entity tag if it can.

use aft_door_s3::objects::{TagSum, md5_in};
use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt as _};
use tokio::sync::Semaphore;

use crate::Failed;
use crate::link::{Failure, Link, Write};

/// The largest object that is written to a bucket in one request, and the largest part of one that
/// is not: a body is in memory while it is sent, and again if it has to be.
const BODY_BYTES_MAX: u64 = 64 << 20;
/// The size of the parts of a larger object whose own parts are too large or too small. S3 allows
/// 10,000 parts.
const PART_BYTES: u64 = 32 << 20;
const PARTS_MAX: u64 = 10_000;
/// The least part of an object in a bucket.
const PART_BYTES_MIN: u64 = 5 << 20;

/// The memory for all bodies at once.
#[derive(Debug)]
pub(crate) struct Room {
    mib: Semaphore,
    mib_max: usize,
}

impl Room {
    /// Makes a room for `mib_max` MiB. A body that is larger waits for all of it.
    pub(crate) fn new(mib_max: usize) -> Room {
        assert!(mib_max > 0, "a body takes memory");
        Room { mib: Semaphore::new(mib_max), mib_max }
    }
}

/// The bytes of an object.
pub(crate) struct Content<E> {
    pub(crate) size: u64,
    /// The sizes of the parts of which its entity tag is made.
    pub(crate) parts: Vec<u64>,
    pub(crate) bytes: BoxStream<'static, Result<Bytes, E>>,
}

/// The entity tags of an object that was sent, without quotes.
pub(crate) struct Sent {
    /// That of the server; `None` if it is not made of MD5s.
    pub(crate) theirs: Option<String>,
    /// The one that the bytes make.
    pub(crate) computed: Option<String>,
}

/// Sends an object. `check` compares all bytes with what they must be, before the object takes
/// their place: it gets their number and the sum over the parts of the content.
///
/// # Errors
/// Returns the reason why the object was not written. What cannot be aborted then stays as an
/// upload that nobody completes.
pub(crate) async fn send<E: From<Failed> + From<Failure>>(
    link: &Link,
    room: &Room,
    name: &str,
    write: &Write<'_>,
    content: Content<E>,
    check: impl Fn(u64, TagSum) -> Result<(), E>,
) -> Result<Sent, E> {
    let Content { size, parts, bytes } = content;
    let pieces = pieces_of(size, &parts);
    let (mut sum, mut written) = (TagSum::new(&parts), 0);
    // The tag of the object as it is written, which may be in other parts.
    let mut theirs = TagSum::new(if pieces.len() > 1 || !parts.is_empty() { &pieces } else { &[] });
    let mut bodies = Bodies { bytes, rest: Bytes::new() };
    let mut upload = None;
    let result: Result<Option<String>, E> = async {
        let mut ended = Vec::new();
        for (number, piece) in (1..).zip(&pieces) {
            let mib = usize::try_from(piece.div_ceil(1 << 20)).unwrap_or(usize::MAX).clamp(1, room.mib_max);
            let permits = u32::try_from(mib).expect("it is clamped");
            let _room = room.mib.acquire_many(permits).await.expect("it is never closed");
            let body = bodies.take(*piece).await?;
            sum.update(&body);
            theirs.update(&body);
            written += body.len() as u64;
            let md5 = md5_of(&body);
            if pieces.len() == 1 && parts.is_empty() {
                // Compared before it is sent: a whole object is replaced in one step.
                check(written, sum.clone())?;
                return Ok(link.put(name, body, md5, write).await?);
            }
            let id = match &upload {
                Some(id) => id,
                None => upload.insert(link.begin_upload(name, write).await?),
            };
            ended.push(link.put_part(name, id, number, body, md5).await?);
        }
        check(written, sum.clone())?;
        let id = upload.as_ref().expect("an upload has a part");
        Ok(link.end_upload(name, id, ended, write).await?)
    }
    .await;
    if let (Err(_), Some(id)) = (&result, &upload) {
        link.abort_upload(name, id).await;
    }
    Ok(Sent { theirs: result?, computed: theirs.finish() })
}

/// Returns the sizes of the bodies in which an object is written: its own parts, if they can be,
/// so that it keeps its tag.
fn pieces_of(size: u64, parts: &[u64]) -> Vec<u64> {
    let can_be =
        |at: usize, bytes: u64| bytes <= BODY_BYTES_MAX && (bytes >= PART_BYTES_MIN || at + 1 == parts.len());
    if !parts.is_empty() && parts.iter().enumerate().all(|(at, bytes)| can_be(at, *bytes)) {
        return parts.to_vec();
    }
    if size <= BODY_BYTES_MAX && parts.is_empty() {
        return vec![size];
    }
    let part = PART_BYTES.max(size.div_ceil(PARTS_MAX)).min(size.max(1));
    let whole = usize::try_from(size / part).expect("at most 10,000 parts");
    let rest = size % part;
    let pieces = std::iter::repeat_n(part, whole);
    pieces.chain((rest > 0 || size == 0).then_some(rest)).collect()
}

/// The bytes of an object, in bodies of given sizes.
struct Bodies<E> {
    bytes: BoxStream<'static, Result<Bytes, E>>,
    /// The bytes that were read and not taken.
    rest: Bytes,
}

impl<E: From<Failed>> Bodies<E> {
    /// Takes the next `size` bytes, or fewer at the end.
    async fn take(&mut self, size: u64) -> Result<Bytes, E> {
        let size = usize::try_from(size).map_err(|_| E::from("a body is too large".to_owned()))?;
        let mut body = BytesMut::new();
        while body.len() < size {
            if self.rest.is_empty() {
                match self.bytes.next().await {
                    Some(piece) => self.rest = piece?,
                    None => break,
                }
            }
            let taken = self.rest.split_to(self.rest.len().min(size - body.len()));
            body.extend_from_slice(&taken);
        }
        Ok(body.freeze())
    }
}

/// Returns the MD5 of a body.
pub(crate) fn md5_of(bytes: &[u8]) -> [u8; 16] {
    let mut sum = TagSum::new(&[]);
    sum.update(bytes);
    sum.finish().as_deref().and_then(md5_in).expect("bytes without parts have an MD5")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_keep_their_parts_where_they_can() {
        const MIB: u64 = 1 << 20;
        for (size, parts, pieces) in [
            (0, &[][..], vec![0]),
            (64 * MIB, &[], vec![64 * MIB]),
            (65 * MIB, &[], vec![32 * MIB, 32 * MIB, MIB]),
            (11 * MIB, &[5 * MIB, 6 * MIB], vec![5 * MIB, 6 * MIB]),
            (6, &[6], vec![6]),
            (5 * MIB + 1, &[1, 5 * MIB], vec![5 * MIB + 1]),
            (100 * MIB, &[99 * MIB, MIB], vec![32 * MIB, 32 * MIB, 32 * MIB, 4 * MIB]),
        ] {
            assert_eq!(pieces_of(size, parts), pieces, "{size} {parts:?}");
        }
        let huge = pieces_of(5 << 40, &[]);
        assert!(huge.len() as u64 <= PARTS_MAX && huge.iter().sum::<u64>() == 5 << 40);
    }

    #[tokio::test]
    async fn bodies_are_cut_from_pieces() {
        let pieces =
            ["ab", "", "cdefg", "h"].map(|piece| Ok::<_, Failed>(Bytes::from_static(piece.as_bytes())));
        let bytes = futures::stream::iter(pieces).boxed();
        let mut bodies = Bodies { bytes, rest: Bytes::new() };
        for (size, body) in [(3, "abc"), (4, "defg"), (9, "h"), (1, "")] {
            assert_eq!(bodies.take(size).await.unwrap(), body);
        }
    }
}
