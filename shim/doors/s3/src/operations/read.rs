//! GetObject and HeadObject, and the finding of an object for everything that reads one.

use std::ops::Range;

use aft_access::Right;
use aft_desk::{Held, large};
use aft_net::reply;
use axum::response::Response;
use bytes::Bytes;

use crate::call::{Call, Runs};
use crate::failure::{Failure, Result};
use crate::object::Object;

/// The part of an object that a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// From a byte to another one, inclusive, or to the end.
    Bytes(u64, Option<u64>),
    /// The last bytes.
    Last(u64),
    /// The part of a multipart upload with this number.
    Number(i32),
}

impl Part {
    /// Returns the bytes of an object of `size` bytes that was put as a whole; `None` for all of
    /// them.
    pub(crate) fn of(self, size: u64) -> Result<Option<Range<u64>>> {
        let beyond = || {
            let message = format!("the object has {size} bytes, and none of them is in the range");
            Failure::new("InvalidRange", 416, message)
        };
        match self {
            Part::Whole => Ok(None),
            Part::Bytes(first, _) if first >= size => Err(beyond()),
            Part::Bytes(first, last) => {
                Ok(Some(first..last.map_or(size, |last| last.saturating_add(1).min(size))))
            }
            Part::Last(0) => Err(beyond()),
            Part::Last(_) if size == 0 => Err(beyond()),
            Part::Last(bytes) => Ok(Some(size.saturating_sub(bytes)..size)),
            // An object that was put as a whole has one part.
            Part::Number(1) => Ok(Some(0..size)),
            Part::Number(number) => {
                let message = format!("the object has one part, and none with the number {number}");
                Err(Failure::new("InvalidPartNumber", 416, message))
            }
        }
    }
}

impl Call {
    /// Finds an object, without its bytes.
    pub(crate) async fn find(&self, bucket: &str, key: &str) -> Result<Object> {
        let object = self.key(bucket, key, Right::Read)?;
        let mut runs = Runs::default();
        loop {
            if let Some(object) = Object::of(self.read(object.clone()).await?)? {
                return Ok(object);
            }
            let through = self.through(bucket, key, None).await;
            let through = match self.within {
                Some(_) => through,
                None => match runs.end(through).await {
                    None => continue,
                    Some(through) => through,
                },
            };
            return match through? {
                Some(object) => Ok(object),
                None => Err(self.missing(bucket, key).await?),
            };
        }
    }

    /// Finds an object whose bytes will be sent. If that takes long, its transaction stays open
    /// meanwhile, so that the bytes are not collected.
    pub(crate) async fn find_to_send(&self, bucket: &str, key: &str) -> Result<(Object, Option<Held>)> {
        let object = self.find(bucket, key).await?;
        if self.within.is_some() || object.through.is_some() || !large::takes_long(&object.value) {
            return Ok((object, None));
        }
        let mut runs = Runs::default();
        let (read, held) = loop {
            let ready = Call::reading().prepare(&self.caller, Some(&object.key))?;
            let read = ready.read_held(&self.caller, object.key.clone()).await.map_err(Failure::from);
            if let Some(read) = runs.end(read).await {
                break read?;
            }
        };
        match Object::of(read)? {
            Some(object) => Ok((object, Some(held))),
            None => Err(self.missing(bucket, key).await?),
        }
    }

    /// Returns the failure of a call on an object that does not exist, or whose bucket does not.
    async fn missing(&self, bucket: &str, key: &str) -> Result<Failure> {
        Ok(match self.kind_of(bucket).await? {
            Some(_) => Failure::no_such_key(key),
            None => Failure::no_such_bucket(bucket),
        })
    }

    /// Returns the range of an object that a call asks for; `None` for all of it.
    pub(crate) async fn range_of(&self, object: &Object, part: Part) -> Result<Option<Range<u64>>> {
        if let (Part::Number(number), Some(through)) = (part, &object.through) {
            let range = through.part(number).await?;
            let why = format!("the object has no part with the number {number}");
            return range.map(Some).ok_or_else(|| Failure::new("InvalidPartNumber", 416, why));
        }
        let (Part::Number(number), Some(count)) = (part, object.parts()) else {
            return part.of(object.size());
        };
        let content = large::Content::of(&self.caller, &object.key, &object.value).await?;
        let range = usize::try_from(number - 1).ok().and_then(|at| content.piece(at));
        let missing = || {
            let why = format!("the object has {count} parts, and none with the number {number}");
            Failure::new("InvalidPartNumber", 416, why)
        };
        range.map(Some).ok_or_else(missing)
    }

    /// Returns a response with bytes of an object.
    pub(crate) async fn send(
        &self,
        object: &Object,
        range: Range<u64>,
        held: Option<Held>,
    ) -> Result<Response> {
        let len = range.end - range.start;
        self.caller.charge(usize::try_from(len).unwrap_or(usize::MAX));
        if object.through.is_none() {
            let content = large::Content::of(&self.caller, &object.key, &object.value).await?;
            if let Some(bytes) = content.in_memory(&range) {
                let share = self.caller.share(bytes.len())?;
                // Copied, because the bytes are a slice of a record, all of which a slow reader
                // would keep in memory.
                return Ok(reply::response(Bytes::copy_from_slice(&bytes), share));
            }
        }
        let download = self.download(object, range, held).await?;
        Ok(reply::stream(download.first, download.more, len, download.share))
    }
}

#[cfg(test)]
mod tests {
    use super::Part;

    #[test]
    fn parts_of_an_object_are_ranges() {
        for (part, size, range) in [
            (Part::Whole, 10, Ok(None)),
            (Part::Whole, 0, Ok(None)),
            (Part::Bytes(0, Some(0)), 10, Ok(Some(0..1))),
            (Part::Bytes(2, None), 10, Ok(Some(2..10))),
            (Part::Bytes(2, Some(99)), 10, Ok(Some(2..10))),
            (Part::Bytes(9, Some(u64::MAX)), 10, Ok(Some(9..10))),
            (Part::Bytes(10, None), 10, Err("InvalidRange")),
            (Part::Bytes(0, None), 0, Err("InvalidRange")),
            (Part::Last(3), 10, Ok(Some(7..10))),
            (Part::Last(99), 10, Ok(Some(0..10))),
            (Part::Last(0), 10, Err("InvalidRange")),
            (Part::Last(5), 0, Err("InvalidRange")),
            (Part::Number(1), 10, Ok(Some(0..10))),
            (Part::Number(2), 10, Err("InvalidPartNumber")),
        ] {
            assert_eq!(part.of(size).map_err(|failure| failure.code), range, "{part:?} of {size}");
        }
    }
}
