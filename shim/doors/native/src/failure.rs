//! Errors as problem documents: the one place that maps the core's outcomes to codes.

use aft_access::{Denied, Unauthorized};
use aft_api::{Action, Code, Malformed, PROBLEM_CONTENT_TYPE, Problem, header};
use aft_core::ids::{Key, KeyError};
use aft_core::message::{Bound, Conflict, Excess, Failed, Measured, Refusal};
use aft_desk::large::StoreError;
use aft_desk::{Asked, Cause, Doubt, Refused};
use aft_net::body::BodyError;
use aft_net::browser::{BadHead, excerpt};
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use metrics::counter;
use tracing::{debug, warn};

use crate::path::encode;

/// The time to wait before a retry, after a limit was reached or while the node does not serve:
/// limits clear within some ten milliseconds, a node is back within seconds.
const RETRY_AFTER_MS: u64 = 1_000;

/// The remedy for a damaged object. It follows the description of the damage, which may have a
/// better one, such as for an object that a newer program wrote.
const DAMAGED_REMEDY: &str = "the content of this object is not what AFT wrote: restore this object from a copy; if other programs write to this store, serve a directory or prefix that is AFT's alone; otherwise report it with this text. Calls that do not need the object still succeed";

/// The reason why the outcome of a commit is not known, if the store did not answer.
const NOT_SAID: &str = "the commit may have been stored, but the store did not confirm it in time";

/// Returns the reason why the outcome of a commit is not known, if its record cannot be read.
fn damaged_in_doubt(what: &str) -> String {
    format!("the commit may have been stored, but its record cannot be read: {what} ({DAMAGED_REMEDY})")
}

/// Returns the path of the look-up by a transaction's token.
fn look_up_by_transaction(token: &str) -> String {
    format!("/v1/requests/{token}?by=transaction")
}

/// A failed call: its problem document, and what the log needs.
///
/// The span of a call exists only at the debug level, because it would slow down every call. So the
/// lines that are logged at higher levels name the transaction and the request themselves.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) problem: Box<Problem>,
    /// The request ID, if the call has one.
    request: Option<String>,
    /// True if an operator need not hear of it.
    quiet: bool,
}

/// The outcome of a handler.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Failure {
        Failure { problem: Box::new(Problem::new(code, detail)), request: None, quiet: false }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Failure {
        Failure::new(Code::Invalid, detail)
    }

    /// Makes a failure for an input that is wrong from the byte at `position` on.
    pub(crate) fn invalid_at(position: usize, detail: impl Into<String>) -> Failure {
        let mut failure = Failure::invalid(detail);
        failure.problem.position = Some(position);
        failure
    }

    /// Makes a failure with `code` for an input `what` of `actual` bytes, which is more than
    /// `limit`.
    pub(crate) fn beyond(code: Code, what: &str, limit: usize, actual: usize) -> Failure {
        let mut failure =
            Failure::new(code, format!("{what} may have at most {limit} bytes; this one has {actual}"));
        failure.problem.limit = Some(limit as u64);
        failure.problem.actual = Some(actual as u64);
        failure
    }

    /// Makes a failure for an object in the store that is not what AFT wrote; `what` names it.
    pub(crate) fn damaged(what: &str) -> Failure {
        Failure::new(Code::Damaged, format!("{what} ({DAMAGED_REMEDY})"))
    }

    /// Makes a failure for a credential that does not allow the call; `reason` is a label of
    /// metrics.
    pub(crate) fn forbidden(reason: &'static str, detail: String) -> Failure {
        counter!("aft_http_unauthorized_total", "reason" => reason).increment(1);
        Failure::new(Code::Forbidden, detail)
    }

    /// Adds the transaction that the call was about.
    pub(crate) fn of(mut self, transaction: &impl ToString) -> Failure {
        let transaction = &*self.problem.transaction.get_or_insert_with(|| transaction.to_string());
        // The transaction's node finds its request by the token; any node does, if the request has
        // no ID.
        if self.problem.code == Code::Unknown && self.problem.look_up.is_none() {
            self.problem.look_up = Some(look_up_by_transaction(transaction));
        }
        self
    }

    /// Adds the ID of the request that the call was about.
    pub(crate) fn of_request(mut self, id: Option<&str>) -> Failure {
        self.request = id.map(str::to_owned);
        self
    }
}

/// Returns the message for a caller that is not known. It does not repeat what the call presented.
const fn text_of_unauthorized(why: Unauthorized) -> &'static str {
    match why {
        Unauthorized::Missing => {
            "this server requires a credential: send the header Authorization: Bearer TOKEN"
        }
        Unauthorized::Malformed => {
            "the header Authorization is malformed: send it once, as Authorization: Bearer TOKEN"
        }
        Unauthorized::Unknown => "the bearer token is not valid: no credential of this server has it",
        Unauthorized::Certificate => {
            "no credential names this client certificate: ask for one to be added, or send the header Authorization: Bearer TOKEN"
        }
        Unauthorized::Expired => "the credential has expired: ask for a new one",
    }
}

/// Maps each error of the desk to a code and a message of this protocol.
impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        match refused {
            Refused::Node(refusal) => refusal.into(),
            Refused::Denied(denied) => denied_failure(denied),
            Refused::Invalid(why) => Failure::invalid(why),
            // The key's own error says what is wrong; the numbers are for programs.
            Refused::Key(why) => {
                let mut failure = Failure::invalid(why.to_string());
                if let KeyError::TooLong(bytes) = why {
                    failure.problem.limit = Some(Key::BYTES_MAX as u64);
                    failure.problem.actual = Some(bytes as u64);
                }
                failure
            }
            Refused::TooLong { what, limit, actual } => Failure::beyond(Code::Invalid, what, limit, actual),
            Refused::ReadsTooLarge { limit, actual } => {
                let what = "the sum of the values that one call reads";
                let mut failure = Failure::beyond(Code::TooLarge, what, limit, actual);
                failure.problem.detail.push_str(": read fewer keys in one call, or read large values one by one with GET; everything that this call wrote or committed remains in effect");
                failure
            }
            Refused::NoRoom { bytes, bound } => no_room(bytes, bound),
            Refused::Elsewhere(token) => {
                let detail = format!(
                    "the transaction was open on node {}, which is another node, or this one before it was restarted: nothing took effect unless its commit was sent; run the request again",
                    token.node
                );
                Failure::new(Code::Lost, detail).of(&token)
            }
            Refused::Aborted => Failure::new(
                Code::Ended,
                "the transaction was aborted: nothing of it took effect; run the request again if it should take effect",
            ),
            Refused::Doubt(doubt) => in_doubt(&doubt),
        }
    }
}

/// Returns the failure of a caller that is not known, lacks a right, or has reached a limit.
fn denied_failure(denied: Denied) -> Failure {
    match denied {
        Denied::Unauthorized(why) => {
            counter!("aft_http_unauthorized_total", "reason" => why.as_str()).increment(1);
            Failure::new(Code::Unauthorized, text_of_unauthorized(why))
        }
        Denied::Right { name, right } => {
            let right = right.as_str();
            let detail = format!(
                "the credential {name:?} has no right to {right}: ask for {right:?} to be added to its allow list, or use another credential"
            );
            Failure::forbidden("right", detail)
        }
        Denied::Prefix { name, prefix, key } => {
            let key = excerpt(&key);
            let detail = format!(
                "the credential {name:?} only allows keys that begin with {prefix:?}, and {key:?} does not: use another key or another credential"
            );
            Failure::forbidden("prefix", detail)
        }
        Denied::Limit { name, limit, at, wait } => {
            let detail = format!(
                "the credential {name:?} has reached its limit {limit} = {at}: try again later, or ask for the limit to be raised"
            );
            let mut failure = Failure::new(Code::Overloaded, detail);
            failure.problem.limit = Some(at);
            failure.problem.retry_after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1));
            failure
        }
    }
}

/// Returns the failure of a call that gets no memory for a large body.
fn no_room(bytes: usize, bound: usize) -> Failure {
    let detail = if bytes > bound {
        format!(
            "this call needs {bytes} bytes for large bodies, but the setting doors.bodies_bytes_max allows {bound}: send or read less in one call, or ask for the setting to be raised"
        )
    } else {
        format!(
            "this call needs {bytes} bytes for large bodies, but the calls in flight leave less than that of the {bound} bytes allowed: try again later"
        )
    };
    let mut failure = Failure::new(Code::Overloaded, detail);
    failure.problem.retry_after_ms = Some(RETRY_AFTER_MS);
    failure
}

/// Returns the failure of a commit whose outcome is not known. It says how to ask for the outcome:
/// by the request's ID if the caller gave one, and otherwise by the transaction.
fn in_doubt(Doubt { token, cause, asked }: &Doubt) -> Failure {
    let token = token.to_string();
    let why = match cause {
        Cause::NoAnswer(None) => NOT_SAID.to_owned(),
        Cause::NoAnswer(Some(why)) => format!("{NOT_SAID} ({why})"),
        Cause::Damaged(what) => damaged_in_doubt(what),
        // The caller may know a request ID that this node does not, so both ways are described.
        Cause::NodeElsewhere => {
            let detail = "the transaction was opened on a node that is not this one (another server, or this one before a restart), and that node may have sent a commit. If the request has an ID: repeat the commit with the ID in the header Idempotency-Key (and ?scope= if there was one), look the request up by its ID, or send it again under its ID. Without an ID: call the path in look_up, repeatedly for as long as a call to the store may take, or read the keys that the transaction wrote";
            // Any caller with an old token gets this answer: it tells of no trouble here.
            let mut failure = Failure::new(Code::Unknown, detail).of(&token);
            failure.quiet = true;
            return failure;
        }
    };
    // Which call is safe to repeat depends on what the caller sent: a request with an ID is, one
    // without an ID would be a second request, and a call on an open transaction is.
    let (look_up, remedy) = match asked {
        Asked::Whole { id: Some(id), scope } => {
            let path = look_up_path(id, scope.as_deref());
            let id = excerpt(id);
            let remedy = format!(
                "send the request again under its ID {id:?}, which commits at most once, or call GET {path}"
            );
            (path, remedy)
        }
        Asked::Whole { id: None, .. } => {
            let path = look_up_by_transaction(&token);
            let remedy = format!(
                "find the outcome with GET {path} or POST /v1/transactions/{token}/commit; do not repeat the call itself, which would be another request"
            );
            (path, remedy)
        }
        Asked::Within => {
            let path = look_up_by_transaction(&token);
            let remedy = format!(
                "call GET {path}, or send the same call again (if the commit was part of a batch, the same batch), which commits at most once"
            );
            (path, remedy)
        }
    };
    let mut failure = Failure::new(
        Code::Unknown,
        format!("it is not known whether transaction {token} committed: {why}: {remedy}"),
    );
    failure.problem.look_up = Some(look_up);
    failure
}

/// Returns the path of the look-up by a request's ID and scope.
fn look_up_path(id: &str, scope: Option<&str>) -> String {
    let mut path = format!("/v1/requests/{}", encode(id));
    if let Some(scope) = scope {
        path.push_str("?scope=");
        path.push_str(&encode(scope));
    }
    path
}

impl From<StoreError<BodyError<Refused>>> for Failure {
    fn from(error: StoreError<BodyError<Refused>>) -> Failure {
        match error {
            StoreError::Source(error) => error.into(),
            StoreError::Refused(refused) => refused.into(),
        }
    }
}

impl From<BodyError<Refused>> for Failure {
    fn from(error: BodyError<Refused>) -> Failure {
        match error {
            BodyError::TooLarge { what, limit, actual } => {
                Failure::beyond(Code::TooLarge, what, limit, actual)
            }
            BodyError::TooSlow { what, timeout } => {
                let detail = format!(
                    "{what} did not arrive within {} s, so nothing was done: send the call again",
                    timeout.as_secs()
                );
                Failure::new(Code::BodyTimeout, detail)
            }
            BodyError::BrokeOff { what, why } => {
                Failure::invalid(format!("{what} ended before it was complete: {why}"))
            }
            BodyError::Refused(refused) => refused.into(),
        }
    }
}

impl From<BadHead> for Failure {
    fn from(bad: BadHead) -> Failure {
        match bad {
            BadHead::Malformed(detail) => Failure::invalid(detail),
            BadHead::Foreign { reason, detail } => Failure::forbidden(reason, detail),
        }
    }
}

impl From<Malformed> for Failure {
    fn from(why: Malformed) -> Failure {
        Failure::invalid_at(why.position, format!("the body is not valid for this call: {}", why.detail))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        // Set by the refusals that have a time or a size; most have neither.
        let mut retry_after_ms = None;
        let mut beyond = None;
        let (code, detail) = match refusal {
            Refusal::SnapshotGone(key) => (
                Code::SnapshotGone,
                format!("no version of {key:?} that is compatible with the transaction's other reads is kept any more: run the request again"),
            ),
            Refusal::Overloaded(bound) => {
                retry_after_ms = Some(RETRY_AFTER_MS);
                (Code::Overloaded, format!("{} at their limit: try again later", text_of(bound)))
            }
            Refusal::Conflict(conflict) => (Code::Conflict, text_of_conflict(&conflict)),
            Refusal::ConditionFailed(Failed { key, found }) => {
                let there = match found {
                    Some(version) => format!("it holds version {version}"),
                    None => "it has no value".into(),
                };
                let what = format!("the condition on {key:?} does not hold ({there})");
                (Code::ConditionFailed, format!("{what}: nothing of this call took effect; read the key again and decide what to do"))
            }
            Refusal::Lost => (
                Code::Lost,
                "the transaction expired, or its node dropped it, before it committed: nothing took effect; run the request again".into(),
            ),
            Refusal::StoreUnavailable(why) => {
                retry_after_ms = Some(RETRY_AFTER_MS);
                (Code::StoreUnavailable, format!("the store did not serve this call, which changed nothing: {why}; try again when the cause is gone"))
            }
            Refusal::InProgress { retry_after_ms: ms } => {
                retry_after_ms = Some(ms);
                (
                    Code::InProgress,
                    format!("another attempt of the request is open, for at most {ms} ms more: try again after that, or wait for it with wait_ms"),
                )
            }
            Refusal::KeyReused => (
                Code::KeyReused,
                "a request with this ID has committed with another fingerprint (another payload): use a new ID for a new request".into(),
            ),
            Refusal::ResultGone => (
                Code::ResultGone,
                "the request has committed, and its result is no longer kept: it cannot run again under this ID".into(),
            ),
            // `Failure::of` adds the look-up. Commits through the desk become a `Doubt` before.
            Refusal::Unknown(_) => (Code::Unknown, format!("{NOT_SAID}: call the path in look_up")),
            Refusal::UnknownDamaged(_, what) => {
                (Code::Unknown, format!("{}: call the path in look_up", damaged_in_doubt(&what)))
            }
            Refusal::NotFound => {
                (Code::NotFound, "the transaction is not open on this node, and no request with this ID is known to have committed".into())
            }
            Refusal::Ended => (
                Code::Ended,
                "the transaction has committed, was aborted, or is committing, and accepts no more operations. To find out which, repeat its commit: POST /v1/transactions/{transaction}/commit".into(),
            ),
            Refusal::NotServing => {
                retry_after_ms = Some(RETRY_AFTER_MS);
                (Code::NotServing, "the node is starting, draining or stopped: try again later, or use another node".into())
            }
            Refusal::TooLarge(excess) => {
                beyond = Some(excess);
                (Code::TooLarge, text_of_excess(excess))
            }
            Refusal::Invalid(why) => (Code::Invalid, why),
            Refusal::Damaged(what) => return Failure::damaged(&what),
            Refusal::SessionLost(txn) => (
                Code::SessionLost,
                format!("the session token names commit {txn}, which this store does not have, though it is too recent to have been removed: the store was restored from an older backup, has lost writes, or is not the store of the session; begin without the token to read what the store has"),
            ),
        };
        let mut failure = Failure::new(code, detail);
        failure.problem.retry_after_ms = retry_after_ms;
        failure.problem.limit = beyond.map(|excess: Excess| excess.limit as u64);
        failure.problem.actual = beyond.map(|excess| excess.actual as u64);
        failure
    }
}

/// Returns the message for a conflict between serializable transactions.
fn text_of_conflict(Conflict { key, by }: &Conflict) -> String {
    let what = match (key, by) {
        (Some(key), Some(by)) => {
            format!("transaction {by} has written {key:?}, or is about to write it, and this transaction has read or written it too")
        }
        (Some(key), None) => format!(
            "{key:?} has changed since this transaction read it, or is held for a moment for a request that has had many conflicts"
        ),
        (None, _) => {
            "another transaction did not wait for this one's commit any longer, or so many commits followed its begin that its reads cannot be checked any more".into()
        }
    };
    format!("{what}: nothing took effect; run the request again")
}

/// Returns the message for a transaction whose commit record would be too large.
fn text_of_excess(Excess { of, actual, limit }: Excess) -> String {
    match of {
        Measured::InlineValues => format!(
            "the values in the transaction's commit record would have {actual} bytes together, and at most {limit} are allowed: split the request"
        ),
        Measured::Record => format!(
            "the transaction's commit record would have up to {actual} bytes with this call, and at most {limit} are allowed (the largest object of the store): use fewer or shorter keys or a smaller result, or split the request"
        ),
    }
}

/// Returns the subject and verb of the message for a bound that is reached.
fn text_of(bound: Bound) -> &'static str {
    match bound {
        Bound::Transactions => "the open transactions on this node, or the memory that they hold, are",
        Bound::OperationsInTransaction => "the operations in flight in this transaction are",
        Bound::Waiters => "the calls that wait for another attempt of this request are",
        Bound::VerbQueue => "the calls that wait for this node are",
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Failure { problem, request, quiet } = self;
        let code = problem.code;
        // A doubt or damage needs an operator's attention; everything else is the client's affair.
        match code.action() {
            Action::Unknown | Action::Internal if !quiet => warn!(
                code = code.as_str(),
                transaction = problem.transaction,
                request,
                look_up = problem.look_up,
                "{}",
                problem.detail
            ),
            _ => debug!(code = code.as_str(), transaction = problem.transaction, "{}", problem.detail),
        }
        // A newline at the end, for people who call with curl.
        let mut body = serde_json::to_vec(&problem).expect("a problem's keys are text");
        body.push(b'\n');
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(problem.status).expect("codes have valid statuses");
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_CONTENT_TYPE));
        headers.insert(header::ERROR, HeaderValue::from_static(code.as_str()));
        if code == Code::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(ms) = problem.retry_after_ms {
            headers.insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000).max(1)));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aft_core::ids::RequestHash;

    #[test]
    fn every_refusal_has_its_status_and_action() {
        let check = |refusal: Refusal, status: u16, action: Action, retry_after: Option<&str>| {
            let failure = Failure::from(refusal.clone());
            assert_eq!(failure.problem.action, action, "{refusal:?}");
            let response = failure.into_response();
            assert_eq!(response.status().as_u16(), status, "{refusal:?}");
            let header = response.headers().get(RETRY_AFTER).map(|value| value.to_str().unwrap());
            assert_eq!(header, retry_after, "{refusal:?}");
        };
        check(Refusal::SnapshotGone(Key::parse("k").unwrap()), 409, Action::Retry, None);
        let conflict = Conflict { key: Some(Key::parse("k").unwrap()), by: None };
        check(Refusal::Conflict(conflict), 409, Action::Retry, None);
        let failed = Failed { key: Key::parse("k").unwrap(), found: None };
        check(Refusal::ConditionFailed(failed), 412, Action::Invalid, None);
        check(Refusal::Overloaded(Bound::Transactions), 429, Action::Retry, Some("1"));
        check(Refusal::Lost, 409, Action::Retry, None);
        check(Refusal::StoreUnavailable("why".into()), 503, Action::Retry, Some("1"));
        check(Refusal::InProgress { retry_after_ms: 1_001 }, 409, Action::Conflict, Some("2"));
        check(Refusal::KeyReused, 422, Action::Conflict, None);
        check(Refusal::ResultGone, 410, Action::Conflict, None);
        check(Refusal::Unknown(RequestHash([7; 32])), 503, Action::Unknown, None);
        let damaged = Refusal::UnknownDamaged(RequestHash([7; 32]), "commit/07".into());
        check(damaged.clone(), 503, Action::Unknown, None);
        let problem = Failure::from(damaged).of(&"t").problem;
        assert!(problem.detail.contains("commit/07 (") && problem.detail.contains("restore this object"));
        assert_eq!(problem.look_up.as_deref(), Some("/v1/requests/t?by=transaction"));
        check(Refusal::NotFound, 404, Action::NotFound, None);
        check(Refusal::Ended, 409, Action::Invalid, None);
        check(Refusal::NotServing, 503, Action::Retry, Some("1"));
        check(Refusal::Invalid("why".into()), 400, Action::Invalid, None);
        check(Refusal::Damaged("why".into()), 503, Action::Internal, None);
        let detail = Failure::from(Refusal::Damaged("blob/7".into())).problem.detail;
        assert!(detail.starts_with("blob/7 (") && detail.contains("restore this object"), "{detail}");
    }
}
