//! The meaning of failures: first as DynamoDB reports them ([`Failure`]), then as an [`Error`] of
//! the seam.
//!
//! | answer | outcome |
//! |---|---|
//! | none: connection refused or lost, timeout, body cut short | `NoAnswer` |
//! | 500, 502, 503, 504 that are not about the rate | `NoAnswer`: may have been carried out |
//! | the rate of the table, the account or a partition is exceeded; 429 | `Busy` |
//! | another write of the item is in flight | `Busy` |
//! | any other error with a code | `Refused`, with what to do |
//! | not DynamoDB (HTML, broken JSON, no code, no consumed capacity) | `NoAnswer`: the same |
//!
//! A condition that does not hold is not an error: it is an outcome of the call.

use std::error::Error as StdError;

use aft_store::Error;
use aft_store_aws::{answer_of, not_spoken, said};
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

/// The protocol that an endpoint is expected to speak.
const SERVICE: &str = "DynamoDB";

/// The reasons why a request has no result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The condition does not hold.
    Condition,
    /// There is no such table.
    NoTable(String),
    /// Anything else.
    Failed(Error),
}

impl Failure {
    /// Turns the failure of a call into an error. This is for calls without a condition: there, a
    /// failed condition makes no sense. `asked` names the store, the call and the key.
    pub(crate) fn into_error(self, asked: &str) -> Error {
        match self {
            Failure::Failed(error) => error,
            Failure::NoTable(text) => Error::Refused(text),
            Failure::Condition => Error::NoAnswer(not_dynamodb(asked, "a condition that was not set")),
        }
    }
}

/// Returns the text about an answer that DynamoDB never gives.
pub(crate) fn not_dynamodb(asked: &str, what: &str) -> String {
    not_spoken(SERVICE, asked, what)
}

/// Returns the meaning of the SDK's error. `asked` names the store, the call and the key.
pub(crate) fn classify<E>(asked: &str, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match answer_of(SERVICE, asked, error) {
        Ok(answer) => {
            let status = answer.raw().status().as_u16();
            answered(asked, status, answer.err().code(), answer.err().message())
        }
        Err(error) => Failure::Failed(error),
    }
}

/// Returns true if a code means that the server is too busy at the moment, and that nothing was
/// carried out.
pub(crate) fn is_throttling(code: &str) -> bool {
    matches!(
        code,
        "ProvisionedThroughputExceededException"
            | "ProvisionedThroughputExceeded"
            | "RequestLimitExceeded"
            | "ThrottlingException"
            | "Throttling"
            // Another write of the same item is in flight: from another caller's transaction, or
            // from a replica.
            | "TransactionConflictException"
            | "ReplicatedWriteConflictException"
            // The same for transactional reads: without a condition, nothing else cancels them.
            | "TransactionCanceledException"
            | "TransactionInProgressException"
    )
}

/// Returns the meaning of an answer with this status, code and message.
fn answered(asked: &str, status: u16, code: Option<&str>, message: Option<&str>) -> Failure {
    let code = code.unwrap_or_default();
    let said = said(asked, status, code, message);
    match code {
        "ConditionalCheckFailedException" => return Failure::Condition,
        "ResourceNotFoundException" | "TableNotFoundException" => {
            let remedy = "create it with: aft store init URL, or, if it is in another region, write region=… in the URL";
            return Failure::NoTable(format!("{asked}: there is no such table here; {remedy}"));
        }
        _ => {}
    }
    Failure::Failed(match (status, code) {
        (429, _) => Error::Busy(said),
        (_, code) if is_throttling(code) => Error::Busy(said),
        (500.., _) | (_, "InternalServerError" | "InternalFailure" | "ServiceUnavailable") => {
            Error::NoAnswer(said)
        }
        (_, "") => Error::NoAnswer(not_dynamodb(asked, &format!("status {status} without a code"))),
        (_, code) => Error::Refused(match remedy(code) {
            Some(remedy) => format!("{said}; {remedy}"),
            None => said,
        }),
    })
}

/// Returns what the operator should do about an error with this code.
fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "AccessDeniedException" | "AccessDenied" => {
            "allow these credentials dynamodb:DescribeTable, GetItem, Query, PutItem, DeleteItem and BatchWriteItem on the table (for aft store init also CreateTable)"
        }
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidClientTokenId"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException" => {
            "the credentials or the region are wrong: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the profile, and write the table's region as region=… in the URL"
        }
        "ExpiredTokenException" | "ExpiredToken" => "the credentials have expired: get new ones",
        "RequestExpired" | "RequestTimeTooSkewed" => "correct this machine's clock",
        "UnknownOperationException" => {
            "AFT needs conditional PutItem, Query and BatchWriteItem, which the server lacks"
        }
        "LimitExceededException" => {
            "the account creates too many tables at once, or has too many: wait, or request a higher limit"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Is {
        Condition,
        NoTable,
        NoAnswer,
        Busy,
        Refused,
    }

    fn check(status: u16, code: &str, expect: Is) -> String {
        let code = Some(code).filter(|code| !code.is_empty());
        let (is, text) = match answered("dynamodb://t: put k", status, code, Some("said")) {
            Failure::Condition => (Is::Condition, String::new()),
            Failure::NoTable(text) => (Is::NoTable, text),
            Failure::Failed(Error::NoAnswer(text)) => (Is::NoAnswer, text),
            Failure::Failed(Error::Busy(text)) => (Is::Busy, text),
            Failure::Failed(Error::Refused(text)) => (Is::Refused, text),
            Failure::Failed(Error::Damaged(text)) => panic!("damaged: {text}"),
        };
        assert_eq!(is, expect, "{status} {code:?}");
        assert!(text.is_empty() || text.starts_with("dynamodb://t: put k"), "{text}");
        text
    }

    #[test]
    fn answers_mean_what_the_table_says() {
        check(400, "ConditionalCheckFailedException", Is::Condition);
        check(500, "InternalServerError", Is::NoAnswer);
        check(400, "InternalServerError", Is::NoAnswer);
        check(502, "", Is::NoAnswer);
        check(503, "", Is::NoAnswer);
        check(503, "ServiceUnavailable", Is::NoAnswer);
        check(504, "", Is::NoAnswer);
        check(400, "ProvisionedThroughputExceededException", Is::Busy);
        check(400, "RequestLimitExceeded", Is::Busy);
        check(400, "ThrottlingException", Is::Busy);
        check(503, "ThrottlingException", Is::Busy);
        check(400, "TransactionConflictException", Is::Busy);
        check(429, "", Is::Busy);
        check(403, "", Is::NoAnswer);
        check(404, "", Is::NoAnswer);
        check(400, "ValidationException", Is::Refused);
    }

    #[test]
    fn rejections_say_what_to_do() {
        assert!(check(400, "ResourceNotFoundException", Is::NoTable).contains("aft store init"));
        assert!(check(400, "AccessDeniedException", Is::Refused).contains("BatchWriteItem"));
        assert!(check(400, "UnrecognizedClientException", Is::Refused).contains("AWS_ACCESS_KEY_ID"));
        assert!(check(400, "InvalidSignatureException", Is::Refused).contains("region="));
        assert!(check(400, "ExpiredTokenException", Is::Refused).contains("expired"));
    }
}
