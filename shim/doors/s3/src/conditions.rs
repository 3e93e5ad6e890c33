//! Conditions of reads and writes (RFC 9110, section 13), as far as S3 has them.

use aft_desk::Version;

use crate::failure::{Failure, Result};
use crate::object::Object;

/// An entity tag in a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tag {
    /// `*`: any object.
    Any,
    /// The tag, without quotes.
    Is(String),
    /// The version itself, which another one with the same bytes is not.
    Version(Version),
}

impl Tag {
    fn matches(&self, object: &Object) -> bool {
        match self {
            Tag::Any => true,
            Tag::Is(tag) => *tag == object.etag(),
            Tag::Version(version) => *version == object.version,
        }
    }
}

/// The conditions of a call. Times are in seconds since the epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    pub(crate) if_match: Option<Tag>,
    pub(crate) if_none_match: Option<Tag>,
    pub(crate) if_modified_since: Option<i64>,
    pub(crate) if_unmodified_since: Option<i64>,
}

/// The outcome of the conditions of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// The object is to be sent.
    Yes,
    /// The client has the object already.
    NotModified,
}

impl Conditions {
    /// Returns true if there is any.
    pub(crate) fn any(&self) -> bool {
        *self != Conditions::default()
    }

    /// Returns true if any of them is on the tag of an object, which tells about its bytes.
    pub(crate) fn names_tag(&self) -> bool {
        let is_tag = |tag: &Option<Tag>| matches!(tag, Some(Tag::Is(_)));
        is_tag(&self.if_match) || is_tag(&self.if_none_match)
    }

    /// Evaluates the conditions of a read. A condition on the tag decides before one on the time.
    pub(crate) fn of_read(&self, object: &Object, now_ms: u64) -> Result<Holds> {
        let modified = i64::try_from(object.modified_ms(now_ms) / 1_000).unwrap_or(i64::MAX);
        match (&self.if_match, self.if_unmodified_since) {
            (Some(tag), _) if !tag.matches(object) => return Err(Failure::precondition_failed("If-Match")),
            (None, Some(since)) if modified > since => {
                return Err(Failure::precondition_failed("If-Unmodified-Since"));
            }
            _ => {}
        }
        match (&self.if_none_match, self.if_modified_since) {
            (Some(tag), _) if tag.matches(object) => Ok(Holds::NotModified),
            (None, Some(since)) if modified <= since => Ok(Holds::NotModified),
            _ => Ok(Holds::Yes),
        }
    }

    /// Evaluates the conditions on the source of a copy, where an object that has not changed is a
    /// failure as well.
    pub(crate) fn of_source(&self, object: &Object, now_ms: u64) -> Result<()> {
        match self.of_read(object, now_ms)? {
            Holds::Yes => Ok(()),
            Holds::NotModified => Err(Failure::precondition_failed("on the source of the copy")),
        }
    }

    /// Evaluates the conditions of a write on what its key holds.
    pub(crate) fn of_write(&self, key: &str, object: Option<&Object>) -> Result<()> {
        if let Some(tag) = &self.if_none_match {
            if *tag != Tag::Any {
                return Err(Failure::not_implemented("If-None-Match with an entity tag, in a write,"));
            }
            if object.is_some() {
                return Err(Failure::precondition_failed("If-None-Match"));
            }
        }
        match (&self.if_match, object) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(Failure::no_such_key(key)),
            (Some(tag), Some(object)) if tag.matches(object) => Ok(()),
            (Some(_), Some(_)) => Err(Failure::precondition_failed("If-Match")),
        }
    }
}
