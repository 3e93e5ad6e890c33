//! The meaning of failures: first as S3 reports them ([`Failure`]), then as an [`Error`] of the
//! seam.
//!
//! | answer | outcome |
//! |---|---|
//! | none: connection refused or lost, timeout, body cut short | `NoAnswer` |
//! | 500, 502, 504, and a 503 that is not about the rate | `NoAnswer`: may have been carried out |
//! | `SlowDown`, `RequestLimitExceeded`, `TooManyRequests`, 429 | `Busy` |
//! | 409 about concurrent requests, after several retries | `Busy` |
//! | any other error with a code of S3 | `Refused`, with what to do |
//! | not S3 (HTML, broken XML, no ETag, no code) | `NoAnswer`: a write may have been carried out |
//!
//! 412, 404 and 416 are not errors: they answer the caller's condition or query. MinIO reports a
//! lost write quorum as `SlowDownWrite`. That does not promise that nothing was written, so it is
//! not `Busy`.

use std::error::Error as StdError;

use aft_store::Error;
use aft_store_aws::{answer_of, not_spoken, said};
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

/// The protocol that an endpoint is expected to speak.
const SERVICE: &str = "S3";

/// The reasons why a request has no result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// 412: the condition does not hold.
    Precondition,
    /// 404: no such key.
    Missing,
    /// 409: another request for the same key was in flight; this one took no effect.
    Conflict(String),
    /// 416: the object has no byte of the range that was asked for.
    OutOfRange,
    /// 404: no such bucket.
    NoBucket(String),
    /// Anything else.
    Failed(Error),
}

impl Failure {
    /// Turns the failure of a call into an error. This is for calls for which a failed condition or
    /// a missing key is not an outcome: there, the server's answer makes no sense. `asked` names
    /// the store, the call and the key.
    pub(crate) fn into_error(self, asked: &str) -> Error {
        match self {
            Failure::Failed(error) => error,
            Failure::Conflict(text) => Error::Busy(text),
            Failure::NoBucket(text) => Error::Refused(text),
            Failure::Precondition => Error::NoAnswer(not_s3(asked, "a 412 without a condition")),
            Failure::Missing => Error::NoAnswer(not_s3(asked, "a 404 for what needs no key")),
            Failure::OutOfRange => Error::NoAnswer(not_s3(asked, "a 416 without a range")),
        }
    }
}

/// Returns the text about an answer that S3 never gives.
pub(crate) fn not_s3(asked: &str, what: &str) -> String {
    not_spoken(SERVICE, asked, what)
}

/// Returns the meaning of the SDK's error. `asked` names the store, the call and the key.
pub(crate) fn classify<E>(asked: &str, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let answer = match answer_of(SERVICE, asked, error) {
        Ok(answer) => answer,
        Err(error) => return Failure::Failed(error),
    };
    let raw = answer.raw();
    let body = raw.body().bytes().unwrap_or_default();
    let region = raw.headers().get("x-amz-bucket-region").map(str::to_owned).or_else(|| region_in(body));
    let (code, message) = (answer.err().code(), answer.err().message());
    answered(asked, raw.status().as_u16(), code, message, region.as_deref())
}

/// Returns the meaning of an answer with this status, code and message. `region` is the bucket's,
/// if the answer names it.
fn answered(
    asked: &str,
    status: u16,
    code: Option<&str>,
    message: Option<&str>,
    region: Option<&str>,
) -> Failure {
    let code = code.unwrap_or_default();
    let said = said(asked, status, code, message);
    match (status, code) {
        (412, _) => return Failure::Precondition,
        (404, "NoSuchKey") => return Failure::Missing,
        (416, "InvalidRange") => return Failure::OutOfRange,
        (404, "NoSuchBucket") => {
            let remedy = "create it with: aft store init URL";
            return Failure::NoBucket(format!("{asked}: there is no such bucket; {remedy}"));
        }
        (409, "ConditionalRequestConflict" | "OperationAborted") => return Failure::Conflict(said),
        _ => {}
    }
    Failure::Failed(match (status, code) {
        (429, _)
        | (
            _,
            "SlowDown" | "RequestLimitExceeded" | "TooManyRequests" | "Throttling" | "ThrottlingException",
        ) => Error::Busy(said),
        // The server stopped reading the request, or failed within: it may have been carried out.
        (_, "RequestTimeout" | "InternalError") | (500.., _) if code != "NotImplemented" => {
            Error::NoAnswer(said)
        }
        (_, "") => Error::NoAnswer(not_s3(asked, &format!("status {status} without a code"))),
        (_, code) => Error::Refused(match remedy(code, region) {
            Some(remedy) => format!("{said}; {remedy}"),
            None => said,
        }),
    })
}

/// Returns what the operator should do about an error with this code.
fn remedy(code: &str, region: Option<&str>) -> Option<String> {
    let text = match code {
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => {
            "allow these credentials s3:ListBucket on the bucket and s3:GetObject, s3:PutObject, s3:DeleteObject on its objects"
        }
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidToken"
        | "InvalidSecurity"
        | "NotSignedUp" => {
            "the credentials are wrong: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the profile"
        }
        "ExpiredToken" | "TokenRefreshRequired" => "the credentials have expired: get new ones",
        "RequestTimeTooSkewed" => "correct this machine's clock",
        "PermanentRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException"
        | "Redirect" => {
            return Some(match region {
                Some(region) => {
                    format!("the bucket is in the region {region}: write region={region} in the URL")
                }
                None => "the region is wrong: write the bucket's own as region=… in the URL".to_owned(),
            });
        }
        "NotImplemented" => "AFT needs a server with conditional writes and ListObjectsV2",
        _ => return None,
    };
    Some(text.to_owned())
}

/// Returns the region that an error's XML names.
fn region_in(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("<Region>")?;
    let (region, _) = rest.split_once("</Region>")?;
    let known = !region.is_empty() && region.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    known.then(|| region.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Is {
        Precondition,
        Missing,
        Conflict,
        OutOfRange,
        NoBucket,
        NoAnswer,
        Busy,
        Refused,
    }

    fn check(status: u16, code: &str, expect: Is) -> String {
        let code = Some(code).filter(|code| !code.is_empty());
        let (is, text) = match answered("s3://b: put k", status, code, Some("said"), Some("eu-west-1")) {
            Failure::Precondition => (Is::Precondition, String::new()),
            Failure::Missing => (Is::Missing, String::new()),
            Failure::OutOfRange => (Is::OutOfRange, String::new()),
            Failure::Conflict(text) => (Is::Conflict, text),
            Failure::NoBucket(text) => (Is::NoBucket, text),
            Failure::Failed(Error::NoAnswer(text)) => (Is::NoAnswer, text),
            Failure::Failed(Error::Busy(text)) => (Is::Busy, text),
            Failure::Failed(Error::Refused(text)) => (Is::Refused, text),
            Failure::Failed(Error::Damaged(text)) => panic!("damaged: {text}"),
        };
        assert_eq!(is, expect, "{status} {code:?}");
        assert!(text.is_empty() || text.starts_with("s3://b: put k"), "{text}");
        text
    }

    #[test]
    fn answers_mean_what_the_table_says() {
        check(412, "PreconditionFailed", Is::Precondition);
        check(404, "NoSuchKey", Is::Missing);
        check(409, "ConditionalRequestConflict", Is::Conflict);
        check(416, "InvalidRange", Is::OutOfRange);
        check(500, "InternalError", Is::NoAnswer);
        check(200, "InternalError", Is::NoAnswer);
        check(502, "", Is::NoAnswer);
        check(503, "", Is::NoAnswer);
        check(503, "ServiceUnavailable", Is::NoAnswer);
        check(503, "SlowDownWrite", Is::NoAnswer);
        check(504, "", Is::NoAnswer);
        check(400, "RequestTimeout", Is::NoAnswer);
        check(503, "SlowDown", Is::Busy);
        check(503, "RequestLimitExceeded", Is::Busy);
        check(429, "", Is::Busy);
        check(404, "", Is::NoAnswer);
        check(403, "", Is::NoAnswer);
        check(400, "EntityTooLarge", Is::Refused);
        check(501, "NotImplemented", Is::Refused);
    }

    #[test]
    fn rejections_say_what_to_do() {
        assert!(check(404, "NoSuchBucket", Is::NoBucket).contains("aft store init"));
        assert!(check(403, "AccessDenied", Is::Refused).contains("s3:PutObject"));
        assert!(check(403, "InvalidAccessKeyId", Is::Refused).contains("AWS_ACCESS_KEY_ID"));
        assert!(check(403, "SignatureDoesNotMatch", Is::Refused).contains("AWS_SECRET_ACCESS_KEY"));
        assert!(check(301, "PermanentRedirect", Is::Refused).contains("region=eu-west-1"));
        assert!(check(400, "AuthorizationHeaderMalformed", Is::Refused).contains("region=eu-west-1"));
    }

    #[test]
    fn a_region_is_read_from_an_error() {
        let body = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>";
        assert_eq!(region_in(body).as_deref(), Some("eu-west-1"));
        assert_eq!(region_in(b"<Region><script></Region>"), None);
        assert_eq!(region_in(b"<html>"), None);
    }
}
