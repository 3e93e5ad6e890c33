//! Refusals as problem documents: the one place that gives the core's outcomes their codes.

use aft_access::{Denied, Unauthorized};
use aft_api::{Action, Code, Malformed, PROBLEM_CONTENT_TYPE, Problem, header};
use aft_core::ids::{Key, KeyError};
use aft_core::message::{Bound, Conflict, Excess, Failed, Measured, Refusal};
use aft_desk::large::StoreError;
use aft_desk::{Asked, Cause, Doubt, Refused};
use aft_net::body::BodyError;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use metrics::counter;
use tracing::{debug, warn};

use crate::path::encode;

/// When to try again after a bound was reached or the node did not serve: bounds clear within some ten milliseconds, a node within seconds.
const RETRY_AFTER_MS: u64 = 1_000;

/// What to do about something damaged, unless its text knows better, as where a newer program wrote it.
const DAMAGED_REMEDY: &str = "what the store holds there is not what AFT wrote: restore this object from a copy, or, if other programs write there, serve a directory or prefix that is AFT's alone; if neither explains it, report it with this text. Calls that do not need the object are served";

/// Why it is not known whether a transaction committed.
const NOT_SAID: &str = "the commit may have been stored, and the store has not said so in time";

/// The same, where what the store said cannot be read.
fn damaged_in_doubt(what: &str) -> String {
    format!("the commit may have been stored, and its record cannot be read: {what} ({DAMAGED_REMEDY})")
}

/// Where to ask for a transaction's request.
fn look_up_by_transaction(token: &str) -> String {
    format!("/v1/requests/{token}?by=transaction")
}

/// A call that is answered with a problem; and its request ID, if it has one, for the log.
///
/// The span of a call is there for whoever asks for debug lines: it would cost every call something. What is logged without being asked for tells
/// its transaction and request by itself.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Box<Problem>, Option<String>);

/// The outcome of a handler.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Failure {
        Failure(Box::new(Problem::new(code, detail)), None)
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Failure {
        Failure::new(Code::Invalid, detail)
    }

    /// Wrong from this byte on.
    pub(crate) fn invalid_at(position: usize, detail: impl Into<String>) -> Failure {
        let mut failure = Failure::invalid(detail);
        failure.0.position = Some(position);
        failure
    }

    /// Longer than it may be; `limits` is the code.
    pub(crate) fn beyond(code: Code, what: &str, limit: usize, actual: usize) -> Failure {
        let mut failure =
            Failure::new(code, format!("{what} has at most {limit} bytes; this one has {actual}"));
        failure.0.limit = Some(limit as u64);
        failure.0.actual = Some(actual as u64);
        failure
    }

    /// What the store holds under a name is not what was written there; `what` names the object.
    pub(crate) fn damaged(what: &str) -> Failure {
        Failure::new(Code::Damaged, format!("{what} ({DAMAGED_REMEDY})"))
    }

    /// The credential does not allow the call; `reason` is one of a few, for metrics.
    pub(crate) fn forbidden(reason: &'static str, detail: String) -> Failure {
        counter!("aft_http_unauthorized_total", "reason" => reason).increment(1);
        Failure::new(Code::Forbidden, detail)
    }

    /// Adds the transaction that the call was about.
    pub(crate) fn of(mut self, transaction: &impl ToString) -> Failure {
        let transaction = &*self.0.transaction.get_or_insert_with(|| transaction.to_string());
        // Its node leads from the transaction to its request; and from an unnamed one, any node.
        if self.0.code == Code::Unknown && self.0.look_up.is_none() {
            self.0.look_up = Some(look_up_by_transaction(transaction));
        }
        self
    }

    /// Adds the ID of the request that the call was about.
    pub(crate) fn of_request(mut self, id: Option<&str>) -> Failure {
        self.1 = id.map(str::to_owned);
        self
    }
}

/// Returns the sentence for a caller that is not known. It does not repeat what the call presented.
const fn text_of_unauthorized(why: Unauthorized) -> &'static str {
    match why {
        Unauthorized::Missing => {
            "this server asks for a credential: send the header Authorization: Bearer TOKEN"
        }
        Unauthorized::Malformed => "the header Authorization stands once, and is Bearer TOKEN",
        Unauthorized::Unknown => "no credential has this token",
        Unauthorized::Certificate => {
            "no credential names this client certificate: have one added, or send the header Authorization: Bearer TOKEN"
        }
        Unauthorized::Expired => "the credential has expired: have it renewed",
    }
}

/// The place where the reasons of the desk get the codes and sentences of this protocol.
impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        match refused {
            Refused::Node(refusal) => refusal.into(),
            Refused::Denied(denied) => denied_failure(denied),
            Refused::Invalid(why) => Failure::invalid(why),
            Refused::Key(why) => {
                let mut failure = Failure::invalid(why.to_string());
                if let KeyError::TooLong(bytes) = why {
                    failure.0.limit = Some(Key::BYTES_MAX as u64);
                    failure.0.actual = Some(bytes as u64);
                }
                failure
            }
            Refused::TooLong { what, limit, actual } => Failure::beyond(Code::Invalid, what, limit, actual),
            Refused::ReadsTooLarge { limit, actual } => {
                let what = "what one call reads, all values together,";
                let mut failure = Failure::beyond(Code::TooLarge, what, limit, actual);
                failure.0.detail.push_str(": read fewer keys in a call, or large values one by one with GET; what this call wrote or committed stands");
                failure
            }
            Refused::NoRoom { bytes, bound } => no_room(bytes, bound),
            Refused::Elsewhere(token) => {
                let detail = format!(
                    "the transaction was open on node {}, which is another node or an earlier life of this one: unless its commit was sent, nothing took effect; run the request again",
                    token.node
                );
                Failure::new(Code::Lost, detail).of(&token)
            }
            Refused::Aborted => Failure::new(
                Code::Ended,
                "the transaction was aborted: nothing of it took effect; run the request again if it is to",
            ),
            Refused::Doubt(doubt) => in_doubt(&doubt),
        }
    }
}

/// Returns the refusal of a caller that is not known, may not do this, or does too much of it.
fn denied_failure(denied: Denied) -> Failure {
    match denied {
        Denied::Unauthorized(why) => {
            counter!("aft_http_unauthorized_total", "reason" => why.as_str()).increment(1);
            Failure::new(Code::Unauthorized, text_of_unauthorized(why))
        }
        Denied::Right { name, right } => {
            let right = right.as_str();
            let detail = format!(
                "the credential {name:?} has no right to {right}: have it added to its allow, or use another"
            );
            Failure::forbidden("right", detail)
        }
        Denied::Prefix { name, prefix, key } => {
            let key = crate::path::excerpt(&key);
            let detail = format!(
                "the credential {name:?} is for keys that begin with {prefix:?}, and {key:?} does not"
            );
            Failure::forbidden("prefix", detail)
        }
        Denied::Limit { name, limit, at, wait } => {
            let detail = format!(
                "the credential {name:?} is at its limit {limit} = {at}: try again after a while, or have it raised"
            );
            let mut failure = Failure::new(Code::Overloaded, detail);
            failure.0.limit = Some(at);
            failure.0.retry_after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1));
            failure
        }
    }
}

/// Returns the refusal of a share of the memory for large bodies.
fn no_room(bytes: usize, bound: usize) -> Failure {
    let detail = if bytes > bound {
        format!(
            "this call needs {bytes} bytes for large bodies, and the setting doors.bodies_bytes_max is {bound}: have it raised, or move less in a call"
        )
    } else {
        format!(
            "this call needs {bytes} bytes for large bodies, and those under way leave less of their bound, {bound} bytes in all: try again after a while"
        )
    };
    let mut failure = Failure::new(Code::Overloaded, detail);
    failure.0.retry_after_ms = Some(RETRY_AFTER_MS);
    failure
}

/// Returns the answer to a commit whose outcome is not known: how to ask for it with what the caller
/// has, the ID that it gave or the transaction.
fn in_doubt(Doubt { token, cause, asked }: &Doubt) -> Failure {
    let token = token.to_string();
    let why = match cause {
        Cause::NoAnswer => NOT_SAID.to_owned(),
        Cause::Damaged(what) => damaged_in_doubt(what),
        Cause::NodeGone => {
            let detail = "the transaction's node is gone, and a commit may have been sent before: repeat the commit with the request's ID as Idempotency-Key (and ?scope= if there was one), look the request up by its ID, or send it again under its ID; without an ID, ask as look_up says, for as long as a call may take to land, or read what it would have written";
            return Failure::new(Code::Unknown, detail).of(&token);
        }
    };
    let (look_up, remedy) = match asked {
        Asked::Whole { id: Some(id), scope } => {
            let path = look_up_path(id, scope.as_deref());
            let id = crate::path::excerpt(id);
            let remedy = format!(
                "send the request {id:?} again under this ID, which commits once at most, or ask GET {path}"
            );
            (path, remedy)
        }
        Asked::Whole { id: None, .. } => {
            let path = look_up_by_transaction(&token);
            let remedy = format!(
                "ask what became of its transaction with GET {path} or POST /v1/transactions/{token}/commit; the same call again would be another request"
            );
            (path, remedy)
        }
        Asked::Within => {
            let path = look_up_by_transaction(&token);
            let remedy = format!(
                "ask GET {path}, or send the same call again (a batch that carried the commit as a batch), which commits once at most"
            );
            (path, remedy)
        }
    };
    let mut failure = Failure::new(
        Code::Unknown,
        format!("whether transaction {token} committed is not known: {why}: {remedy}"),
    );
    failure.0.look_up = Some(look_up);
    failure
}

/// Returns the path at which to ask for a request of this name.
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
                let detail = format!("{what} did not come within {} s: nothing was done", timeout.as_secs());
                Failure::new(Code::BodyTimeout, detail)
            }
            BodyError::BrokeOff { what, why } => Failure::invalid(format!("{what} broke off: {why}")),
            BodyError::Refused(refused) => refused.into(),
        }
    }
}

impl From<Malformed> for Failure {
    fn from(why: Malformed) -> Failure {
        Failure::invalid_at(why.position, format!("the body is not what this call takes: {}", why.detail))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        let mut retry_after_ms = None;
        let mut beyond = None;
        let (code, detail) = match refusal {
            Refusal::SnapshotGone(key) => (
                Code::SnapshotGone,
                format!("no version of {key:?} that fits the transaction's other reads is kept any more: run the request again"),
            ),
            Refusal::Overloaded(bound) => {
                retry_after_ms = Some(RETRY_AFTER_MS);
                (Code::Overloaded, format!("{} at their bound: try again after a while", text_of(bound)))
            }
            Refusal::Conflict(conflict) => (Code::Conflict, text_of_conflict(&conflict)),
            Refusal::ConditionFailed(Failed { key, found }) => {
                let there = match found {
                    Some(version) => format!("it holds version {version}"),
                    None => "it has no value".into(),
                };
                let what = format!("the condition on {key:?} does not hold ({there})");
                (Code::ConditionFailed, format!("{what}: nothing of this call took effect; read the key, and decide anew"))
            }
            Refusal::Lost => (
                Code::Lost,
                "the transaction's time ran out, or its node dropped it, before a commit: nothing took effect; run the request again".into(),
            ),
            Refusal::StoreUnavailable(why) => {
                retry_after_ms = Some(RETRY_AFTER_MS);
                (Code::StoreUnavailable, format!("the store did not answer in time, and this call changed nothing ({why}): try again"))
            }
            Refusal::InProgress { retry_after_ms: ms } => {
                retry_after_ms = Some(ms);
                (
                    Code::InProgress,
                    format!("another attempt of the request is open, for at most {ms} ms more: try again then, or wait for it with `wait_ms`"),
                )
            }
            Refusal::KeyReused => (
                Code::KeyReused,
                "a request with this ID committed with another fingerprint: use a fresh ID for another request".into(),
            ),
            Refusal::ResultGone => (
                Code::ResultGone,
                "the request committed; its result is no longer kept, and it does not run again".into(),
            ),
            Refusal::Unknown(_) => (Code::Unknown, format!("{NOT_SAID}: ask as look_up says")),
            Refusal::UnknownDamaged(_, what) => {
                (Code::Unknown, format!("{}: ask as look_up says", damaged_in_doubt(&what)))
            }
            Refusal::NotFound => {
                (Code::NotFound, "no such transaction is open here, and no such request is known to have committed".into())
            }
            Refusal::Ended => (
                Code::Ended,
                "the transaction has committed, was aborted, or is committing: it takes no more operations. Which of these, and the outcome of a commit, tells its commit again: POST /v1/transactions/{transaction}/commit".into(),
            ),
            Refusal::NotServing => {
                retry_after_ms = Some(RETRY_AFTER_MS);
                (Code::NotServing, "the node starts, drains or has stopped: try again, or another node".into())
            }
            Refusal::TooLarge(excess) => {
                beyond = Some(excess);
                (Code::TooLarge, text_of_excess(excess))
            }
            Refusal::Invalid(why) => (Code::Invalid, why),
            Refusal::Damaged(what) => return Failure::damaged(&what),
        };
        let mut failure = Failure::new(code, detail);
        failure.0.retry_after_ms = retry_after_ms;
        failure.0.limit = beyond.map(|excess: Excess| excess.limit as u64);
        failure.0.actual = beyond.map(|excess| excess.actual as u64);
        failure
    }
}

fn text_of_conflict(Conflict { key, by }: &Conflict) -> String {
    let what = match (key, by) {
        (Some(key), Some(by)) => {
            format!("transaction {by} has written {key:?}, or is about to, and this one has read or written it too")
        }
        (Some(key), None) => format!(
            "{key:?} has changed since this transaction read it, or is kept free for a moment for a request that has lost often"
        ),
        (None, _) => {
            "another transaction no longer waited for this one's commit, or so much was committed since it began that it is not known any more whether what it read still holds".into()
        }
    };
    format!("{what}: nothing took effect; run the request again")
}

fn text_of_excess(Excess { of, actual, limit }: Excess) -> String {
    match of {
        Measured::InlineValues => format!(
            "values in the transaction's commit record would be {actual} bytes together, at most {limit} are allowed: split the request"
        ),
        Measured::Record => format!(
            "the transaction's commit record would have up to {actual} bytes with this, at most {limit} are allowed (what one object of the store holds): use fewer or shorter keys or a smaller result, or split the request"
        ),
    }
}

fn text_of(bound: Bound) -> &'static str {
    match bound {
        Bound::Transactions => "open transactions on this node, or what they hold, are",
        Bound::OperationsInTransaction => "operations under way in this transaction are",
        Bound::Waiters => "waiters for this request are",
        Bound::VerbQueue => "calls that wait for this node are",
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Failure(problem, request) = self;
        let code = problem.code;
        match code.action() {
            Action::Unknown | Action::Internal => warn!(
                code = code.as_str(),
                transaction = problem.transaction,
                request,
                look_up = problem.look_up,
                "{}",
                problem.detail
            ),
            _ => debug!(code = code.as_str(), transaction = problem.transaction, "{}", problem.detail),
        }
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
            assert_eq!(failure.0.action, action, "{refusal:?}");
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
        let problem = Failure::from(damaged).of(&"t").0;
        assert!(problem.detail.contains("commit/07 (") && problem.detail.contains("restore this object"));
        assert_eq!(problem.look_up.as_deref(), Some("/v1/requests/t?by=transaction"));
        check(Refusal::NotFound, 404, Action::NotFound, None);
        check(Refusal::Ended, 409, Action::Invalid, None);
        check(Refusal::NotServing, 503, Action::Retry, Some("1"));
        check(Refusal::Invalid("why".into()), 400, Action::Invalid, None);
        check(Refusal::Damaged("why".into()), 503, Action::Internal, None);
        let detail = Failure::from(Refusal::Damaged("blob/7".into())).0.detail;
        assert!(detail.starts_with("blob/7 (") && detail.contains("restore this object"), "{detail}");
    }
}
