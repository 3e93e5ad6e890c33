//! Failed calls: a code of the S3 protocol, its status, and what the caller must do.
//!
//! SDKs run a call again after 500, 502, 503 and 504. So a lost attempt of a longer transaction is
//! never one of these: it must be run again as a whole, by who began it.

use aft_access::{Denied, Unauthorized};
use aft_aws_chunked::FramingError;
use aft_core::message::Refusal;
use aft_desk::large::StoreError;
use aft_desk::{Cause, Refused};
use aft_net::body::BodyError;
use aft_net::browser::BadHead;
use metrics::counter;

use crate::origin::mapping::Mapping;
use crate::protocol::failure_of_body;

/// The outcome of an operation.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The code of the S3 protocol.
    pub(crate) code: &'static str,
    /// The HTTP status.
    pub(crate) status: u16,
    /// The explanation and the remedy, for people.
    pub(crate) message: String,
    /// The time at which the call can be run again as it is.
    pub(crate) again: Again,
}

/// The time at which a failed call can be run again as it is, because nothing of it took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It cannot, or it would fail again.
    Never,
    /// Another transaction came first.
    AtOnce,
    /// The server or its store cannot serve it now.
    Later,
}

impl Failure {
    /// Makes a failure.
    pub(crate) fn new(code: &'static str, status: u16, message: impl Into<String>) -> Failure {
        assert!((300..600).contains(&status), "{status} is no failure");
        Failure { code, status, message: message.into(), again: Again::Never }
    }

    /// A part of the call that breaks a rule.
    pub(crate) fn invalid_argument(message: impl Into<String>) -> Failure {
        Failure::new("InvalidArgument", 400, message)
    }

    /// A call that breaks a rule as a whole.
    pub(crate) fn invalid_request(message: impl Into<String>) -> Failure {
        Failure::new("InvalidRequest", 400, message)
    }

    /// A part of the protocol that this endpoint does not have.
    pub(crate) fn not_implemented(what: &str) -> Failure {
        Failure::new("NotImplemented", 501, format!("{what} is not implemented by this endpoint"))
    }

    /// A checksum or digest of the body that is not the one that the call names.
    pub(crate) fn bad_digest(name: &str) -> Failure {
        let message = format!("the body does not have the {name} that the call names: nothing was stored");
        Failure::new("BadDigest", 400, message)
    }

    /// A bucket that does not exist.
    pub(crate) fn no_such_bucket(bucket: &str) -> Failure {
        let message = format!("the bucket {bucket:?} does not exist: create it, or check its name");
        Failure::new("NoSuchBucket", 404, message)
    }

    /// An object that does not exist.
    pub(crate) fn no_such_key(key: &str) -> Failure {
        Failure::new("NoSuchKey", 404, format!("the bucket has no object with the key {key:?}"))
    }

    /// A condition of the call that does not hold.
    pub(crate) fn precondition_failed(condition: &str) -> Failure {
        let message = format!("the condition {condition} does not hold: nothing took effect");
        Failure::new("PreconditionFailed", 412, message)
    }

    /// An object that somebody has changed at its bucket's origin while it was read.
    pub(crate) fn changed_at_origin() -> Failure {
        Failure::behind_origin("the object was changed at its bucket's origin while it was read")
    }

    /// A longer transaction whose state is older than what the origin has.
    pub(crate) fn behind_origin(why: &str) -> Failure {
        Failure::operation_aborted(why).again(Again::AtOnce)
    }

    /// A bucket with an origin that this server does not know.
    pub(crate) fn unknown_origin(bucket: &str, mapping: &Mapping) -> Failure {
        let place = &mapping.place;
        let message = format!(
            "the bucket {bucket:?} reads through to {place}, which this server was not told: start it with --bucket \
             '{bucket}={}'",
            mapping.argument()
        );
        Failure::new("ServiceUnavailable", 503, message)
    }

    /// The end of a longer transaction, which its owner has to run again.
    fn operation_aborted(why: &str) -> Failure {
        let message = format!("{why}: nothing of the transaction took effect; run it again from its start");
        Failure::new("OperationAborted", 409, message)
    }

    /// Returns true if nothing of the call took effect, and it can be run again as it is.
    pub(crate) fn may_run_again(&self) -> bool {
        self.again != Again::Never
    }

    fn again(self, again: Again) -> Failure {
        Failure { again, ..self }
    }

    fn slow_down(why: impl Into<String>) -> Failure {
        Failure::new("SlowDown", 503, why).again(Again::Later)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        match refusal {
            Refusal::SnapshotGone(key) => {
                let why =
                    format!("no version of {key:?} that fits the transaction's other reads is kept any more");
                Failure::operation_aborted(&why).again(Again::AtOnce)
            }
            Refusal::Conflict(_) => Failure::operation_aborted(
                "another transaction has written a key that this one read or wrote",
            )
            .again(Again::AtOnce),
            Refusal::ConditionFailed(failed) => Failure::precondition_failed(&format!("on {:?}", failed.key)),
            Refusal::Overloaded(_) => Failure::slow_down("a limit of the server is reached: try again later"),
            Refusal::Lost => Failure::operation_aborted(
                "the transaction expired before it committed (a body may take at most as long as a transaction)",
            ),
            Refusal::NotFound | Refusal::Ended => {
                let why = "the transaction has ended, by a commit or without, or is not open on this server: \
                           ask for its outcome before you run it again";
                Failure::new("OperationAborted", 409, why)
            }
            Refusal::StoreUnavailable(why) => {
                Failure::new("ServiceUnavailable", 503, format!("the store did not serve this call: {why}"))
                    .again(Again::Later)
            }
            Refusal::Unknown(_) => Failure::new("ServiceUnavailable", 503, IN_DOUBT),
            Refusal::UnknownDamaged(_, what) => {
                Failure::new("InternalError", 500, format!("{IN_DOUBT}: {what}"))
            }
            Refusal::InProgress { .. } => Failure::new(
                "OperationAborted",
                409,
                "the same request is being carried out: try again later",
            ),
            Refusal::KeyReused | Refusal::ResultGone => Failure::new(
                "OperationAborted",
                409,
                "the request was committed before, and its answer is not kept any more: read the object",
            ),
            Refusal::NotServing => {
                Failure::new("ServiceUnavailable", 503, "the server is starting or stopping: try again later")
                    .again(Again::Later)
            }
            Refusal::TooLarge(excess) => Failure::invalid_request(format!(
                "the transaction would write {} bytes in one record, and at most {} are possible: commit it in parts",
                excess.actual, excess.limit
            )),
            Refusal::Invalid(why) => Failure::invalid_request(why),
            Refusal::Damaged(what) => {
                Failure::new("InternalError", 500, format!("an object of the store is damaged: {what}"))
            }
            Refusal::SessionLost(_) => unreachable!("the endpoint presents no session"),
        }
    }
}

/// The text for a commit whose outcome is not known.
const IN_DOUBT: &str =
    "it is not known whether the write took effect: read the object, or send the call again";

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        match refused {
            Refused::Node(refusal) => refusal.into(),
            Refused::Denied(denied) => denied.into(),
            Refused::Invalid(why) => Failure::invalid_request(why),
            Refused::Key(why) => Failure::new("KeyTooLongError", 400, why.to_string()),
            Refused::TooLong { what, limit, actual } => Failure::invalid_argument(format!(
                "{what} has {actual} bytes, and at most {limit} are allowed"
            )),
            Refused::ReadsTooLarge { limit, actual } => Failure::invalid_request(format!(
                "the call reads {actual} bytes at once, and at most {limit} are allowed"
            )),
            Refused::NoRoom { .. } => {
                Failure::slow_down("the server's memory for bodies is in use: try again later")
            }
            Refused::Elsewhere(_) | Refused::Aborted => Failure::from(Refusal::NotFound),
            Refused::Doubt(doubt) => match doubt.cause {
                Cause::NoAnswer(None) | Cause::NodeElsewhere => {
                    Failure::new("ServiceUnavailable", 503, IN_DOUBT)
                }
                Cause::NoAnswer(Some(why)) => {
                    Failure::new("ServiceUnavailable", 503, format!("{IN_DOUBT} ({why})"))
                }
                Cause::Damaged(what) => Failure::new("InternalError", 500, format!("{IN_DOUBT}: {what}")),
            },
        }
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Failure {
        let (reason, failure) = match denied {
            Denied::Unauthorized(why) => {
                let failure = match why {
                    Unauthorized::Missing => {
                        Failure::new("AccessDenied", 403, "the call presents no credential")
                    }
                    Unauthorized::Malformed => Failure::new(
                        "AuthorizationHeaderMalformed",
                        400,
                        "the header Authorization cannot be parsed",
                    ),
                    Unauthorized::Unknown | Unauthorized::Certificate => Failure::new(
                        "InvalidAccessKeyId",
                        403,
                        "the access key or token is not one of this server's",
                    ),
                    Unauthorized::Expired => Failure::new("ExpiredToken", 400, "the credential has expired"),
                };
                (why.as_str(), failure)
            }
            Denied::Right { name, right } => {
                let message =
                    format!("the credential {name:?} does not have the right to {}", right.as_str());
                ("right", Failure::new("AccessDenied", 403, message))
            }
            Denied::Prefix { name, prefix, .. } => {
                let message = format!("the credential {name:?} is limited to what begins with {prefix:?}");
                ("prefix", Failure::new("AccessDenied", 403, message))
            }
            Denied::Limit { name, limit, at, .. } => {
                return Failure::slow_down(format!(
                    "the credential {name:?} has reached its limit {limit} of {at}"
                ));
            }
        };
        counter!("aft_http_unauthorized_total", "reason" => reason).increment(1);
        failure
    }
}

impl From<BadHead> for Failure {
    fn from(bad: BadHead) -> Failure {
        match bad {
            BadHead::Malformed(detail) => Failure::invalid_request(detail),
            BadHead::Foreign { reason, detail } => {
                counter!("aft_http_unauthorized_total", "reason" => reason).increment(1);
                Failure::new("AccessDenied", 403, detail)
            }
        }
    }
}

impl From<BodyError<Refused>> for Failure {
    fn from(error: BodyError<Refused>) -> Failure {
        match error {
            BodyError::TooLarge { what, limit, actual } => Failure::new(
                "EntityTooLarge",
                400,
                format!("{what} has at least {actual} bytes, and at most {limit} are allowed"),
            ),
            BodyError::TooSlow { what, timeout } => Failure::new(
                "RequestTimeout",
                400,
                format!("{what}, or a part of it, did not arrive within {} s", timeout.as_secs()),
            ),
            BodyError::BrokeOff { what, why } => failure_of_body(&why).unwrap_or_else(|| {
                let message = format!("{what} ended early, and nothing was stored: {why}");
                Failure::new("IncompleteBody", 400, message)
            }),
            BodyError::Refused(refused) => refused.into(),
        }
    }
}

impl From<StoreError<Failure>> for Failure {
    fn from(error: StoreError<Failure>) -> Failure {
        match error {
            StoreError::Source(failure) => failure,
            StoreError::Refused(refused) => refused.into(),
        }
    }
}

impl From<FramingError> for Failure {
    fn from(error: FramingError) -> Failure {
        Failure::new("IncompleteBody", 400, format!("the body is not valid aws-chunked: {error}"))
    }
}
