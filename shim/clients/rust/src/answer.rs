//! What an answer means.

use aft_api::{Action, Malformed, Problem, header};
use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;

use crate::error::Error;
use crate::transport::{Answer, NoAnswer};

/// Why a call has no reply of its kind.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The call had no effect, and will have none.
    NotSent(String),
    /// The call may have had its effect, or may still have it.
    NoAnswer(String),
    /// The server said no.
    Refused(Error),
}

impl Fault {
    /// As an error of a call that cannot commit.
    pub(crate) fn harmless(self) -> Error {
        match self {
            Fault::NotSent(why) | Fault::NoAnswer(why) => Error::unavailable(why),
            Fault::Refused(error) => error,
        }
    }

    /// As an error of a call that commits.
    pub(crate) fn committing(self) -> Error {
        match self {
            Fault::NotSent(why) => Error::unavailable(why),
            Fault::NoAnswer(why) => Error::unknown(why),
            Fault::Refused(error) => error,
        }
    }
}

/// What a problem says at least, if its code is of a newer server.
#[derive(Deserialize)]
struct Newer {
    code: String,
    action: Action,
    #[serde(default)]
    detail: String,
}

/// A success as it came, or why there is none.
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

/// An answer that is not the API's: of a proxy that may have passed the call on, or of the HTTP library, which refuses before it reads.
fn foreign(answer: &Answer) -> Fault {
    let text = format!("status {} without a problem document", answer.status);
    match answer.status {
        StatusCode::BAD_REQUEST | StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            Fault::Refused(Error::invalid(text))
        }
        _ => Fault::NoAnswer(text),
    }
}

/// A success that is no reply of its call's kind. The call may have had its effect.
pub(crate) fn malformed(why: Malformed) -> Fault {
    Fault::NoAnswer(format!("an answer that is no reply: {why}"))
}

/// A header of an answer, as text.
pub(crate) fn text(answer: &Answer, name: &str) -> Option<String> {
    answer.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// The session token of an answer.
pub(crate) fn session(answer: &Answer) -> Option<String> {
    text(answer, header::SESSION)
}

/// Bytes that may be left out.
pub(crate) fn or_empty(bytes: Option<Bytes>) -> Bytes {
    bytes.unwrap_or_default()
}
