//! The objects of a store, for programs that move them as a whole: import and export. They are the
//! operations of the endpoint, without its protocol, on behalf of the server itself.
//!
//! * [`Objects`] – looks objects up and writes them; [`Incoming`], [`Expected`] (`arriving`) – the
//!   bytes of one, and the digests that they must have; [`Only`] – the condition of a write.
//! * `uploads` – objects in parts, each part in a transaction of its own.
//! * [`Snapshot`] (`snapshot`) – one transaction that lists and reads.
//! * [`TagSum`] (`tag`) – entity tags as S3 makes them.

mod arriving;
mod snapshot;
mod tag;
mod uploads;

pub use arriving::{Expected, Incoming};
pub use snapshot::{Entry, Found, Page, Snapshot};
pub use tag::{TagSum, md5_in, parts_in};
pub use uploads::Upload;

use std::fmt;
use std::sync::Arc;

use aft_access::Right;
use aft_desk::{Desk, large};
use aft_format::Attributes;

use crate::call::Call;
use crate::checksum::Verified;
use crate::conditions::{Conditions, Tag};
use crate::failure::{Failure, Result};
use crate::object::Object;
use crate::objects::arriving::Arrival;
use crate::operations::tags;
use crate::operations::write::{Target, Written};
use crate::origin::mapping::Kind;

/// A failure of an operation on objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The code of the S3 protocol.
    pub code: &'static str,
    /// The explanation and the remedy, for people.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Failure> for Problem {
    fn from(Failure { code, message, .. }: Failure) -> Problem {
        Problem { code, message }
    }
}

/// The condition of a write on the object that its key has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Only {
    /// There is none.
    IfAbsent,
    /// It has this entity tag, without quotes.
    IfTag(String),
}

/// The objects of a store.
#[derive(Debug, Clone)]
pub struct Objects {
    call: Call,
}

/// An object that a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// The size in bytes.
    pub size: u64,
    /// The entity tag, without quotes.
    pub etag: String,
    /// The attributes.
    pub attributes: Attributes,
}

impl Objects {
    /// Returns the objects of the desk's store, with every right.
    pub fn of_server(desk: &Arc<Desk>) -> Objects {
        Objects { call: Call::of_server(desk) }
    }

    /// Makes a bucket if it does not exist. Returns true if it was made.
    ///
    /// # Errors
    /// Returns a problem if the text is no name of a bucket or that of one with an origin, or the
    /// node's refusal.
    pub async fn make_bucket(&self, bucket: &str) -> std::result::Result<bool, Problem> {
        let is_new = self.call.create_if_missing(bucket).await?;
        match self.call.need_bucket(bucket).await? {
            Kind::Own => Ok(is_new),
            Kind::Mapped(mapping) => {
                let why = format!(
                    "the bucket {bucket:?} reads through to {}, whose objects would be hidden, or with a mirror \
                     overwritten: import into a bucket of its own",
                    mapping.place
                );
                Err(Failure::new("InvalidBucketState", 409, why).into())
            }
        }
    }

    /// Looks an object up, without its bytes; `None` if there is none.
    ///
    /// # Errors
    /// Returns a problem if the key cannot be that of an object, or the node's refusal.
    pub async fn look(&self, bucket: &str, key: &str) -> std::result::Result<Option<Looked>, Problem> {
        let key = self.call.key(bucket, key, Right::Read)?;
        let object = Object::of(self.call.read(key).await?)?;
        Ok(object.map(|object| Looked { size: object.size(), etag: object.etag(), attributes: object.about }))
    }

    /// Writes an object, whose bytes are verified before they are committed.
    ///
    /// # Errors
    /// Returns a problem with the code `BadDigest` if the bytes do not have the digests that they
    /// must have, and `PreconditionFailed` if the condition does not hold. Nothing was written
    /// then.
    pub async fn put(
        &self,
        (bucket, key): (&str, &str),
        only: Only,
        attributes: Attributes,
        incoming: Incoming,
    ) -> std::result::Result<(), Problem> {
        let target = self.target(bucket, key, only)?;
        let to = target.checked(&self.call)?;
        let about = checked(attributes)?;
        let is_small = incoming.size <= self.call.caller.node().inline_value_bytes_max() as u64;
        let arrival = Arrival::new(incoming, None);
        if is_small {
            let (bytes, verified) = arrival.whole().await?;
            self.call.put_whole(&target, &to, about, bytes, verified).await?;
            return Ok(());
        }
        let verified = arrival.verified();
        let stored = |stored: &large::Stored| {
            let Verified { etag, checksum } = verified.get().expect("all bytes were stored").clone();
            let about = Attributes { checksum: checksum.clone(), ..about };
            let op = stored.put(to.clone(), etag.clone(), about.to_bytes());
            (op, Written { etag, checksum, modified_ms: 0 })
        };
        self.call.store(&target, &to, arrival, stored).await?;
        Ok(())
    }

    /// Returns the key of a write, with its condition.
    fn target(&self, bucket: &str, key: &str, only: Only) -> Result<Target> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        let mut target = Target { bucket, key, conditions: Conditions::default() };
        // Where keys are read atomic, no write can be conditional.
        if self.call.caller.node().is_checked(&target.checked(&self.call)?) {
            target.conditions = match only {
                Only::IfAbsent => Conditions { if_none_match: Some(Tag::Any), ..Conditions::default() },
                Only::IfTag(tag) => Conditions { if_match: Some(Tag::Is(tag)), ..Conditions::default() },
            };
        }
        Ok(target)
    }
}

/// Checks attributes that come from another place.
fn checked(attributes: Attributes) -> Result<Attributes> {
    let tags = tags::checked(attributes.tags)?;
    // These belong to the version that is written.
    Ok(Attributes { tags, checksum: None, modified_ms: None, upload: None, ..attributes })
}
