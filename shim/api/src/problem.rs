//! Errors as RFC 9457 problem details.
//!
//! `code` says what happened and is stable; `action` says what the caller must do, which is all
//! that most callers need.

use serde::{Deserialize, Serialize};

/// The content type of a problem: always JSON, also if the request was protobuf.
pub const PROBLEM_CONTENT_TYPE: &str = "application/problem+json";

/// A problem document: the reply to a call that failed. Members that do not apply are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A reference to the code's documentation in the server's OpenAPI document.
    #[serde(rename = "type")]
    pub kind: String,
    /// The meaning of the code, for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The explanation of this occurrence, and the remedy, for people.
    pub detail: String,
    /// The kind of problem, for programs.
    pub code: Code,
    /// The action that the caller must take.
    pub action: Action,
    /// The transaction's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
    /// The path of the call that says whether the request committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look_up: Option<String>,
    /// The time to wait before a retry, in milliseconds; an earlier one is most likely rejected
    /// again. For `in_progress`: the time until the other attempt ends at the latest. The header
    /// `Retry-After` has the same in whole seconds, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The offset in the body, key or header at which something is wrong, in bytes from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
    /// The limit that was exceeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The size that exceeds the limit; the true size may be larger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual: Option<u64>,
}

impl Problem {
    /// Makes a problem with the title, status and action of `code`.
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

/// The action that the caller must take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Run the request again, as a new attempt: nothing was committed.
    Retry,
    /// Look the request up, or commit again: the outcome of the commit is not known.
    Unknown,
    /// Retry later if another attempt of the request is open. Otherwise the request ID belongs to
    /// another payload or to an old request, and a retry does not help.
    Conflict,
    /// Correct the call: the same call would fail again. After `ended` that is a new transaction;
    /// after `condition_failed`, a condition on what the key holds now.
    Invalid,
    /// Check the name: the call names something that does not exist.
    NotFound,
    /// Present credentials that allow the call.
    Unauthorized,
    /// Report it: an operator must repair the server or its store.
    Internal,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $action:ident, $title:literal;)*) => {
        /// The kind of a problem. It is stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// Returns the code as text.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// Returns the HTTP status. It is never 500: each failure of the store or the network
            /// has a code of its own, and a broken invariant ends the process.
            pub const fn status(self) -> u16 {
                match self { $(Code::$name => $status,)* }
            }

            /// Returns the action that the caller must take.
            pub const fn action(self) -> Action {
                match self { $(Code::$name => Action::$action,)* }
            }

            /// Returns the meaning of the code, for people.
            pub const fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// No compatible version of a key remains.
    SnapshotGone = "snapshot_gone", 409, Retry, "The transaction's snapshot is no longer kept";
    /// Another transaction has written a key that this one read.
    Conflict = "conflict", 409, Retry, "Another transaction came first";
    /// A condition of the call does not hold.
    ConditionFailed = "condition_failed", 412, Invalid, "A condition does not hold";
    /// The transaction's time ran out, or its node dropped it.
    Lost = "lost", 409, Retry, "The transaction was lost before it committed";
    /// A limit of the server or of the credential is reached.
    Overloaded = "overloaded", 429, Retry, "A limit of the server is reached";
    /// The node is starting, draining or stopped.
    NotServing = "not_serving", 503, Retry, "The node does not serve now";
    /// The store did not answer in time, or rejected the call, for instance because it is full.
    StoreUnavailable = "store_unavailable", 503, Retry, "The store did not serve the call";
    /// The commit may have been stored, but was not acknowledged.
    Unknown = "unknown", 503, Unknown, "It is not known whether the transaction committed";
    /// Another attempt of the request is open.
    InProgress = "in_progress", 409, Conflict, "Another attempt of the request is open";
    /// The request ID was used with another payload.
    KeyReused = "key_reused", 422, Conflict, "The request ID was used with another payload";
    /// The request committed long ago; its result is no longer kept.
    ResultGone = "result_gone", 410, Conflict, "The request committed; its result is no longer kept";
    /// The session token names a commit that the store has lost, or never had.
    SessionLost = "session_lost", 409, Invalid, "The store does not have a commit of the session";
    /// The transaction has committed, was aborted, or is committing.
    Ended = "ended", 409, Invalid, "The transaction has ended";
    /// The call breaks a rule.
    Invalid = "invalid", 400, Invalid, "The call is not valid";
    /// A part of the call is larger than its limit.
    TooLarge = "too_large", 413, Invalid, "The call exceeds a limit";
    /// The requested range begins after the value's end.
    RangeNotSatisfiable = "range_not_satisfiable", 416, Invalid, "The range is beyond the value's end";
    /// The call's headers are larger than their limit.
    HeadersTooLarge = "headers_too_large", 431, Invalid, "The call's headers exceed a limit";
    /// The call does not accept the body's content type.
    UnsupportedMediaType = "unsupported_media_type", 415, Invalid, "The body's content type is not supported";
    /// The body has a transfer encoding other than chunked.
    UnsupportedTransferEncoding = "unsupported_transfer_encoding", 501, Invalid, "The body's transfer encoding is not supported";
    /// The body did not arrive in time.
    BodyTimeout = "body_timeout", 408, Retry, "The body did not arrive in time";
    /// The path exists, but not for this method.
    MethodNotAllowed = "method_not_allowed", 405, Invalid, "The path does not support this method";
    /// The path does not exist.
    NoSuchPath = "no_such_path", 404, NotFound, "There is no such path";
    /// The transaction or request is not known.
    NotFound = "not_found", 404, NotFound, "No such transaction or request";
    /// The key has no value in this transaction's snapshot.
    Absent = "absent", 404, NotFound, "The key has no value";
    /// Credentials are missing, unknown or expired.
    Unauthorized = "unauthorized", 401, Unauthorized, "The call is not authorized";
    /// The credential is valid, but does not allow the call.
    Forbidden = "forbidden", 403, Unauthorized, "The credential does not allow the call";
    /// An object in the store is damaged, or was not written by AFT. This is not a server error in
    /// the sense of 500: the server works, and reports what it found.
    Damaged = "damaged", 503, Internal, "An object in the store is damaged";
}
