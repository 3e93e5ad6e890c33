//! Answers of the server, turned into replies and errors.

use aft_api::{Action, Format, Malformed, Problem, header};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use serde::Deserialize;

use crate::error::Error;
use crate::foreign::foreign;
use crate::transport::{Answer, NoAnswer};

/// The reason why a call has no reply of its kind.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The call had no effect, and will have none.
    NotSent(String),
    /// The call may have had its effect, or may still have it.
    NoAnswer(String),
    /// Something that is not AFT answered with a success: the call may have had its effect, and
    /// another try would be answered like this one.
    Strange(String),
    /// The server rejected the call.
    Refused(Error),
}

impl Fault {
    /// Converts this into the error of a call that cannot commit.
    pub(crate) fn harmless(self) -> Error {
        match self {
            Fault::NotSent(why) | Fault::NoAnswer(why) => Error::unavailable(why),
            Fault::Strange(why) => Error::permanent(why),
            Fault::Refused(error) => error,
        }
    }

    /// Converts this into the error of a call that commits.
    pub(crate) fn committing(self) -> Error {
        match self {
            Fault::NotSent(why) => Error::unavailable(why),
            Fault::NoAnswer(why) | Fault::Strange(why) => Error::unknown(why),
            Fault::Refused(error) => error,
        }
    }

    /// Returns true if the call may have had its effect.
    pub(crate) fn may_have_effect(&self) -> bool {
        matches!(self, Fault::NoAnswer(_) | Fault::Strange(_))
    }
}

/// The fields that a problem has at least, if its code belongs to a newer server.
#[derive(Deserialize)]
struct Newer {
    code: String,
    action: Action,
    #[serde(default)]
    detail: String,
}

/// Returns the answer if it is a success, and the reason otherwise.
pub(crate) fn accepted(answer: Result<Answer, NoAnswer>) -> Result<Answer, Fault> {
    let answer = answer.map_err(Fault::from)?;
    if answer.status.is_success() {
        return Ok(answer);
    }
    Err(rejected(&answer))
}

/// Returns the reason that an answer gives, which is not a success.
pub(crate) fn rejected(answer: &Answer) -> Fault {
    if let Ok(problem) = serde_json::from_slice::<Problem>(&answer.body) {
        return Fault::Refused(Error::refused(problem));
    }
    if let Ok(newer) = serde_json::from_slice::<Newer>(&answer.body) {
        return Fault::Refused(Error::refused_newly(newer.action, &newer.code, &newer.detail));
    }
    foreign(answer)
}

impl From<NoAnswer> for Fault {
    fn from(why: NoAnswer) -> Fault {
        match why {
            NoAnswer::NotSent(why) => Fault::NotSent(why),
            NoAnswer::Refused(why) => Fault::Refused(Error::permanent(why)),
            NoAnswer::Invalid(why) => Fault::Refused(Error::invalid(why)),
            NoAnswer::Broken(why) => Fault::NoAnswer(why),
        }
    }
}

/// Decodes a reply in protobuf. Anything else is not AFT's, whatever its status.
pub(crate) fn reply<T>(
    answer: &Answer,
    decode: impl FnOnce(&Bytes) -> Result<T, Malformed>,
) -> Result<T, Fault> {
    let content_type = text(answer, CONTENT_TYPE.as_str()).unwrap_or_default();
    if Format::of_content_type(&content_type) != Some(Format::Protobuf) {
        return Err(foreign(answer));
    }
    decode(&answer.body).map_err(|why| Fault::Strange(format!("the answer is not a valid reply: {why}")))
}

/// Returns the answer if it holds a value: AFT names the version with each.
pub(crate) fn with_version(answer: Answer) -> Result<Answer, Fault> {
    match answer.headers.contains_key(header::VERSION) {
        true => Ok(answer),
        false => Err(foreign(&answer)),
    }
}

/// Returns the answer if it acknowledges a call without a reply.
pub(crate) fn empty(answer: Answer) -> Result<(), Fault> {
    match answer.status {
        StatusCode::NO_CONTENT => Ok(()),
        _ => Err(foreign(&answer)),
    }
}

/// Returns a header of an answer, as text.
pub(crate) fn text(answer: &Answer, name: &str) -> Option<String> {
    answer.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Returns the session token of an answer.
pub(crate) fn session(answer: &Answer) -> Option<String> {
    text(answer, header::SESSION)
}

/// Returns the bytes, or empty bytes if they were left out.
pub(crate) fn or_empty(bytes: Option<Bytes>) -> Bytes {
    bytes.unwrap_or_default()
}
