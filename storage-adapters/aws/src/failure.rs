//! The failures that every AWS service shares: no answer at all, an answer from something other
//! than the service, and the texts of both.

use std::error::Error as StdError;
use std::fmt::Debug;

use aft_store::Error;
use aws_smithy_runtime_api::client::result::{SdkError, ServiceError};

use crate::proxy;

/// Returns the service's own answer, or the error to report if there is none. `asked` names the
/// store, the call and the key, and `service` names the protocol; both are for messages.
///
/// # Errors
/// [`Error::Refused`] if the request was not sent: the configuration or the credentials need a
/// look. Otherwise [`Error::NoAnswer`]: the request may have been carried out.
pub fn answer_of<'a, E, R>(
    service: &str,
    asked: &str,
    error: &'a SdkError<E, R>,
) -> Result<&'a ServiceError<E, R>, Error>
where
    E: StdError + 'static,
    R: Debug + 'static,
{
    Err(match error {
        // Nothing was sent. Missing credentials may come back later; a request that is built wrong
        // stays wrong.
        SdkError::ConstructionFailure(_) => Error::Refused(format!("{asked}: not sent: {}", chain(error))),
        SdkError::TimeoutError(_) => Error::NoAnswer(format!("{asked}: {}", chain(error))),
        SdkError::DispatchFailure(failure) if failure.is_user() => {
            Error::Refused(format!("{asked}: not sent: {}", chain(error)))
        }
        SdkError::DispatchFailure(_) => Error::NoAnswer(format!(
            "{asked}: {}; is the service running, and is the URL's endpoint right?{}",
            chain(error),
            proxy::remark()
        )),
        SdkError::ResponseError(_) => Error::NoAnswer(not_spoken(service, asked, &chain(error))),
        SdkError::ServiceError(answer) => return Ok(answer),
        // `SdkError` is non-exhaustive.
        _ => Error::NoAnswer(format!("{asked}: {}", chain(error))),
    })
}

/// Returns the text about an answer that the service never gives; `what` says what was odd about
/// it.
pub fn not_spoken(service: &str, asked: &str, what: &str) -> String {
    let remark = proxy::remark();
    format!("{asked}: the endpoint does not speak {service} ({what}); is the URL's endpoint right?{remark}")
}

/// Returns the text about an answer with this status, code and message.
pub fn said(asked: &str, status: u16, code: &str, message: Option<&str>) -> String {
    match message {
        Some(message) if !message.is_empty() => format!("{asked}: {status} {code}: {message}"),
        _ => format!("{asked}: {status} {code}"),
    }
}

/// Returns the text of an error and of its chain of sources. None of these texts holds credentials.
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        // Some wrappers only repeat what they wrap.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = error.source();
    }
    text
}
