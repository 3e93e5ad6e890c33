//! Answers of the server, turned into replies and errors.

use aft_api::{Action, Malformed, Problem, header};
use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;

use crate::error::Error;
use crate::transport::{Answer, NoAnswer};

/// The reason why a call has no reply of its kind.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The call had no effect, and will have none.
    NotSent(String),
    /// The call may have had its effect, or may still have it.
    NoAnswer(String),
    /// The server rejected the call.
    Refused(Error),
}

impl Fault {
    /// Converts this into the error of a call that cannot commit.
    pub(crate) fn harmless(self) -> Error {
        match self {
            Fault::NotSent(why) | Fault::NoAnswer(why) => Error::unavailable(why),
            Fault::Refused(error) => error,
        }
    }

    /// Converts this into the error of a call that commits.
    pub(crate) fn committing(self) -> Error {
        match self {
            Fault::NotSent(why) => Error::unavailable(why),
            Fault::NoAnswer(why) => Error::unknown(why),
            Fault::Refused(error) => error,
        }
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
    let answer = match answer {
        Ok(answer) => answer,
        Err(NoAnswer::NotSent(why)) => return Err(Fault::NotSent(why)),
        Err(NoAnswer::Broken(why)) => return Err(Fault::NoAnswer(why)),
    };
    if answer.status.is_success() {
        return Ok(answer);
    }
    if let Ok(problem) = serde_json::from_slice::<Problem>(&answer.body) {
        return Err(Fault::Refused(Error::refused(problem)));
    }
    if let Ok(newer) = serde_json::from_slice::<Newer>(&answer.body) {
        return Err(Fault::Refused(Error::refused_newly(newer.action, &newer.code, &newer.detail)));
    }
    Err(foreign(&answer))
}

/// Converts an error without a problem document. It comes from a proxy, which may have passed the
/// call on, or from the server's HTTP library, which rejects a call with these three statuses
/// before it is read.
fn foreign(answer: &Answer) -> Fault {
    let text =
        format!("the answer has status {} and no problem document; it may come from a proxy", answer.status);
    match answer.status {
        StatusCode::BAD_REQUEST | StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            Fault::Refused(Error::invalid(text))
        }
        _ => Fault::NoAnswer(text),
    }
}

/// Converts a success whose body is not a reply of the call's kind. The call may have had its
/// effect.
pub(crate) fn malformed(why: Malformed) -> Fault {
    Fault::NoAnswer(format!("the answer is not a valid reply: {why}"))
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
