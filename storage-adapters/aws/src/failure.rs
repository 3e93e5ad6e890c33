//! What is the same in every service's failures: no answer, an answer of something else, and the words.

use std::error::Error as StdError;
use std::fmt::Debug;

use aft_store::Error;
use aws_smithy_runtime_api::client::result::{SdkError, ServiceError};

/// The service's own answer; or what it means that there is none. `asked` names the store, the call and the key.
///
/// # Errors
/// [`Error::Refused`] where nothing was sent and nothing will be, else [`Error::NoAnswer`].
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
        // Nothing was sent. Credentials that cannot be had at the moment come back; what is built wrong does not.
        SdkError::ConstructionFailure(_) => Error::Refused(format!("{asked}: not sent: {}", chain(error))),
        SdkError::TimeoutError(_) => Error::NoAnswer(format!("{asked}: {}", chain(error))),
        SdkError::DispatchFailure(failure) if failure.is_user() => {
            Error::Refused(format!("{asked}: not sent: {}", chain(error)))
        }
        SdkError::DispatchFailure(_) => Error::NoAnswer(format!(
            "{asked}: {}; is the service running, and is the URL's endpoint right?",
            chain(error)
        )),
        SdkError::ResponseError(_) => Error::NoAnswer(not_spoken(service, asked, &chain(error))),
        SdkError::ServiceError(answer) => return Ok(answer),
        // The enum is open.
        _ => Error::NoAnswer(format!("{asked}: {}", chain(error))),
    })
}

/// An answer that the service does not give.
pub fn not_spoken(service: &str, asked: &str, what: &str) -> String {
    format!("{asked}: the endpoint does not speak {service} ({what}); is the URL's endpoint right?")
}

/// An answer with this status, code and message, in words.
pub fn said(asked: &str, status: u16, code: &str, message: Option<&str>) -> String {
    match message {
        Some(message) if !message.is_empty() => format!("{asked}: {status} {code}: {message}"),
        _ => format!("{asked}: {status} {code}"),
    }
}

/// An error with what lies behind it. None of these texts holds credentials.
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
