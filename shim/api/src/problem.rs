//! Every refusal, as RFC 9457 problem details.
//!
//! `code` says what happened and is stable; `action` says what the caller must do, which is all that most callers need.

use serde::{Deserialize, Serialize};

/// The content type of a problem; always JSON, whatever the request was.
pub const PROBLEM_CONTENT_TYPE: &str = "application/problem+json";

/// A refusal. Members that do not apply are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A reference to the code's documentation in the server's OpenAPI document.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time, and the remedy.
    pub detail: String,
    /// What happened, for programs.
    pub code: Code,
    /// What the caller must do.
    pub action: Action,
    /// The transaction, as its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
    /// Where to ask whether the request committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look_up: Option<String>,
    /// When to try again, in milliseconds from now: before, it is no use. Of `in_progress`: when the other attempt ends at the latest. The header
    /// `Retry-After` says the same in whole seconds, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The byte of the body or key at which something is wrong, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
    /// The limit that was passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// By what: at least this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual: Option<u64>,
}

impl Problem {
    /// A problem with its code's title, status and action.
    pub fn new(code: Code, detail: impl Into<String>) -> Problem {
        Problem {
            kind: format!("/openapi.json#/components/responses/{}", code.as_str()),
            title: code.title().into(),
            status: code.status(),
            detail: detail.into(),
            code,
            action: code.action(),
            transaction: None,
            look_up: None,
            retry_after_ms: None,
            position: None,
            limit: None,
            actual: None,
        }
    }
}

/// What the caller must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing was committed: run the request again, as a new attempt.
    Retry,
    /// Whether it committed is not known: look the request up, or commit again.
    Unknown,
    /// The request ID is in use: by an open attempt (try again later) or by another payload (a mistake).
    Conflict,
    /// The call is wrong as it stands; sending it again is no use.
    Invalid,
    /// What the call names does not exist.
    NotFound,
    /// Present credentials that allow the call.
    Unauthorized,
    /// Somebody has to mend the server or its store.
    Internal,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $action:ident, $title:literal;)*) => {
        /// What happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// The code as text.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// The HTTP status. Never 500: an unkind world has a name, and a broken invariant ends the process.
            pub const fn status(self) -> u16 {
                match self { $(Code::$name => $status,)* }
            }

            /// What the caller must do.
            pub const fn action(self) -> Action {
                match self { $(Code::$name => Action::$action,)* }
            }

            /// The code in words.
            pub const fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// No compatible version of a key remains.
    SnapshotGone = "snapshot_gone", 409, Retry, "The transaction's snapshot is no longer kept";
    /// Another transaction has written what this one read.
    Conflict = "conflict", 409, Retry, "Another transaction came first";
    /// A condition of the call does not hold.
    ConditionFailed = "condition_failed", 412, Invalid, "A condition does not hold";
    /// The transaction's time ran out, or its node dropped it.
    Lost = "lost", 409, Retry, "The transaction was lost before it committed";
    /// A bound of the server is reached.
    Overloaded = "overloaded", 429, Retry, "The server is at a bound";
    /// The node starts, drains or has stopped.
    NotServing = "not_serving", 503, Retry, "The node does not serve now";
    /// The store did not do what was needed in time.
    StoreUnavailable = "store_unavailable", 503, Retry, "The store did not answer in time";
    /// A commit may have been stored and not been acknowledged.
    Unknown = "unknown", 503, Unknown, "Whether the transaction committed is not known";
    /// Another attempt of the request is open.
    InProgress = "in_progress", 409, Conflict, "Another attempt of the request is open";
    /// The request ID was used with another payload.
    KeyReused = "key_reused", 422, Conflict, "The request ID was used with another payload";
    /// The request committed long ago; its result is no longer kept.
    ResultGone = "result_gone", 410, Conflict, "The request committed; its result is no longer kept";
    /// The transaction has ended, or is committing.
    Ended = "ended", 409, Invalid, "The transaction has ended";
    /// The call breaks a rule.
    Invalid = "invalid", 400, Invalid, "The call is not valid";
    /// Something in the call is longer than it may be.
    TooLarge = "too_large", 413, Invalid, "The call passes a limit";
    /// The range asked for begins after the value's end.
    RangeNotSatisfiable = "range_not_satisfiable", 416, Invalid, "The range is beyond the value's end";
    /// The call's headers are longer than they may be.
    HeadersTooLarge = "headers_too_large", 431, Invalid, "The call's headers pass a limit";
    /// The body's content type is not one that the call takes.
    UnsupportedMediaType = "unsupported_media_type", 415, Invalid, "The body's content type is not supported";
    /// The body did not come in time.
    BodyTimeout = "body_timeout", 408, Retry, "The body did not come in time";
    /// The path is known, the method is not for it.
    MethodNotAllowed = "method_not_allowed", 405, Invalid, "The method is not for this path";
    /// No such path.
    NoSuchPath = "no_such_path", 404, NotFound, "There is no such path";
    /// No such transaction or request.
    NotFound = "not_found", 404, NotFound, "No such transaction or request";
    /// The key has no value in this transaction's snapshot.
    Absent = "absent", 404, NotFound, "The key has no value";
    /// Credentials are missing, unknown or expired.
    Unauthorized = "unauthorized", 401, Unauthorized, "The call is not authorized";
    /// The credential is known, and does not allow the call.
    Forbidden = "forbidden", 403, Unauthorized, "The credential does not allow the call";
    /// The store holds something damaged or foreign. Not a server error in the sense of 500: the server is well and says what it found.
    Damaged = "damaged", 503, Internal, "The store holds something damaged";
}
