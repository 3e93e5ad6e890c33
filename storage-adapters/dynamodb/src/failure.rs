//! What an answer that is no success means: in DynamoDB's words first, then in those of the seam.
//!
//! | answer | outcome |
//! |---|---|
//! | none: connection refused or lost, time-out, body cut short | `NoAnswer` |
//! | 500, 502, 503, 504 that do not speak of the rate | `NoAnswer`: the request may have been carried out |
//! | the table's, the account's or a partition's rate is exceeded; 429; another write of the item is under way | `Busy` |
//! | any other refusal with a code | `Refused`, with what to do |
//! | no DynamoDB (HTML, broken JSON, no code, no consumed capacity) | `NoAnswer`: a write may have been carried out, whatever came back |
//!
//! A condition that does not hold is no error: the caller asked a question.

use std::error::Error as StdError;

use aft_store::Error;
use aft_store_aws::{answer_of, not_spoken, said};
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

/// What an endpoint is to speak.
const SERVICE: &str = "DynamoDB";

/// Why a request has no result.
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
    /// For a call that sets no condition: then every failure is an error.
    pub(crate) fn into_error(self, asked: &str) -> Error {
        match self {
            Failure::Failed(error) => error,
            Failure::NoTable(text) => Error::Refused(text),
            Failure::Condition => Error::NoAnswer(not_dynamodb(asked, "a condition that was not set")),
        }
    }
}

/// An answer that DynamoDB does not give.
pub(crate) fn not_dynamodb(asked: &str, what: &str) -> String {
    not_spoken(SERVICE, asked, what)
}

/// What the SDK's error means. `asked` names the store, the call and the key.
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

/// Whether a code says that too much is asked at the moment, and nothing was carried out.
pub(crate) fn is_throttling(code: &str) -> bool {
    matches!(
        code,
        "ProvisionedThroughputExceededException"
            | "ProvisionedThroughputExceeded"
            | "RequestLimitExceeded"
            | "ThrottlingException"
            | "Throttling"
            // Another write of the same item is under way: a transaction of somebody else, or a
            // replica's.
            | "TransactionConflictException"
            | "ReplicatedWriteConflictException"
            // Of reads, which set no condition: the same.
            | "TransactionCanceledException"
            | "TransactionInProgressException"
    )
}

/// What an answer with this status, code and message means.
fn answered(asked: &str, status: u16, code: Option<&str>, message: Option<&str>) -> Failure {
    let code = code.unwrap_or_default();
    let said = said(asked, status, code, message);
    match code {
        "ConditionalCheckFailedException" => return Failure::Condition,
        "ResourceNotFoundException" | "TableNotFoundException" => {
            let remedy = "make the table with: aft store init URL, or write the region where it is as region=… in the URL";
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

/// What to do about a refusal.
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
            "the credentials or the region are wrong: look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or at the profile, and write the table's region as region=… in the URL"
        }
        "ExpiredTokenException" | "ExpiredToken" => "the credentials have expired: get new ones",
        "RequestExpired" | "RequestTimeTooSkewed" => "set this machine's clock",
        "UnknownOperationException" => {
            "the server lacks what this needs: PutItem with conditions, Query, BatchWriteItem"
        }
        "LimitExceededException" => {
            "the account makes too many tables at once, or has too many: wait, or ask for a higher limit"
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
    fn refusals_say_what_to_do() {
        assert!(check(400, "ResourceNotFoundException", Is::NoTable).contains("aft store init"));
        assert!(check(400, "AccessDeniedException", Is::Refused).contains("BatchWriteItem"));
        assert!(check(400, "UnrecognizedClientException", Is::Refused).contains("AWS_ACCESS_KEY_ID"));
        assert!(check(400, "InvalidSignatureException", Is::Refused).contains("region="));
        assert!(check(400, "ExpiredTokenException", Is::Refused).contains("expired"));
    }
}
