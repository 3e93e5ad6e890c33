//! Errors, by what the caller must do.

use std::fmt;

use aft_api::{Action, Code, Problem};

/// Why there is no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Nothing was committed, and the transaction is of no use any more: run the request again. [`Client::run`](crate::Client::run)
    /// has done so until its attempts or its time were used up.
    #[error("nothing was committed, run the request again: {0}")]
    Retry(Box<Details>),
    /// Nothing was committed: the server cannot be reached, starts, drains, or is at a bound. Try again later.
    #[error("the server is not available, nothing was committed: {0}")]
    Unavailable(Box<Details>),
    /// Whether the transaction committed is not known. With a request ID: run the request again under the same ID, or ask
    /// [`Client::request`](crate::Client::request). Without one: read what it would have written.
    #[error("whether it committed is not known: {0}")]
    Unknown(Box<Details>),
    /// Another attempt of the request is open: it is being done. Come back for its result.
    #[error("another attempt of the request is open: {0}")]
    InProgress(Box<Details>),
    /// The request ID belongs to another payload: a mistake of the caller.
    #[error("the request ID belongs to another request: {0}")]
    KeyReused(Box<Details>),
    /// The request committed long ago, and its result is no longer kept. It will not run again.
    #[error("the request committed, its result is no longer kept: {0}")]
    ResultGone(Box<Details>),
    /// The call is wrong as it stands. In a transaction, nothing of it took effect.
    #[error("not valid: {0}")]
    Invalid(Box<Details>),
    /// What the call names does not exist. A key without a value is no error.
    #[error("not found: {0}")]
    NotFound(Box<Details>),
    /// Present credentials that allow the call.
    #[error("not authorized: {0}")]
    Unauthorized(Box<Details>),
    /// Somebody has to mend the server or its store; or what answered is no such server. A commit that may have taken
    /// effect is [`Error::Unknown`] instead, with the damage named.
    #[error("the server has to be mended: {0}")]
    Internal(Box<Details>),
}

/// The story of an error.
#[derive(Debug, Clone, Default)]
pub struct Details {
    /// What happened.
    pub detail: String,
    /// The server's own words, if they are the server's.
    pub problem: Option<Problem>,
    /// The request's ID, if it has one.
    pub request_id: Option<String>,
    /// The transaction's token, if there was one.
    pub transaction: Option<String>,
}

impl fmt::Display for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)?;
        if let Some(problem) = &self.problem {
            write!(f, " [{}]", problem.code.as_str())?;
        }
        if let Some(id) = &self.request_id {
            write!(f, " (request {id:?})")?;
        }
        if let Some(transaction) = &self.transaction {
            write!(f, " (transaction {transaction})")?;
        }
        Ok(())
    }
}

impl Error {
    /// The story.
    pub fn details(&self) -> &Details {
        match self {
            Error::Retry(details)
            | Error::Unavailable(details)
            | Error::Unknown(details)
            | Error::InProgress(details)
            | Error::KeyReused(details)
            | Error::ResultGone(details)
            | Error::Invalid(details)
            | Error::NotFound(details)
            | Error::Unauthorized(details)
            | Error::Internal(details) => details,
        }
    }

    /// The server's code, if this is a refusal of the server.
    pub fn code(&self) -> Option<Code> {
        self.details().problem.as_ref().map(|problem| problem.code)
    }

    /// When to try again, if the server said so: not before, and of [`Error::InProgress`] at the latest then.
    pub fn retry_after_ms(&self) -> Option<u64> {
        self.details().problem.as_ref().and_then(|problem| problem.retry_after_ms)
    }

    /// Returns true if a condition of the call did not hold; nothing of the call took effect.
    pub fn is_condition_failed(&self) -> bool {
        self.code() == Some(Code::ConditionFailed)
    }

    /// Whether it is certain that nothing was committed, and another attempt may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Error::Retry(_) | Error::Unavailable(_))
    }

    fn details_mut(&mut self) -> &mut Details {
        match self {
            Error::Retry(details)
            | Error::Unavailable(details)
            | Error::Unknown(details)
            | Error::InProgress(details)
            | Error::KeyReused(details)
            | Error::ResultGone(details)
            | Error::Invalid(details)
            | Error::NotFound(details)
            | Error::Unauthorized(details)
            | Error::Internal(details) => details,
        }
    }

    pub(crate) fn about(mut self, request_id: Option<&str>, transaction: Option<&str>) -> Error {
        let details = self.details_mut();
        details.request_id = request_id.map(str::to_owned);
        details.transaction = transaction.map(str::to_owned).or(details.transaction.take());
        self
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Error {
        Error::Invalid(story(detail))
    }

    pub(crate) fn retry(detail: impl Into<String>) -> Error {
        Error::Retry(story(detail))
    }

    pub(crate) fn unavailable(detail: impl Into<String>) -> Error {
        Error::Unavailable(story(detail))
    }

    pub(crate) fn unknown(detail: impl Into<String>) -> Error {
        Error::Unknown(story(detail))
    }

    /// The same story told as a retry: the transaction is gone, and no commit of it was ever sent.
    pub(crate) fn into_retry(self) -> Error {
        Error::Retry(Box::new(self.details().clone()))
    }

    /// The same story told as an outcome that is not known.
    pub(crate) fn into_unknown(self) -> Error {
        Error::Unknown(Box::new(self.details().clone()))
    }

    /// A refusal of the server.
    pub(crate) fn refused(problem: Problem) -> Error {
        let (code, action) = (problem.code, problem.action);
        let details = Box::new(Details {
            detail: problem.detail.clone(),
            transaction: problem.transaction.clone(),
            request_id: None,
            problem: Some(problem),
        });
        match code {
            Code::Overloaded | Code::NotServing | Code::StoreUnavailable => Error::Unavailable(details),
            Code::InProgress => Error::InProgress(details),
            Code::KeyReused => Error::KeyReused(details),
            Code::ResultGone => Error::ResultGone(details),
            _ => of_action(action, details),
        }
    }

    /// A refusal with a code that this client does not know: of a newer server, whose action still tells what to do.
    pub(crate) fn refused_newly(action: Action, code: &str, detail: &str) -> Error {
        of_action(action, story(format!("{code}: {detail}")))
    }
}

fn of_action(action: Action, details: Box<Details>) -> Error {
    match action {
        Action::Retry => Error::Retry(details),
        Action::Unknown => Error::Unknown(details),
        // Known conflicts have kinds of their own; a new one is told as what is wrong with the call.
        Action::Conflict | Action::Invalid => Error::Invalid(details),
        Action::NotFound => Error::NotFound(details),
        Action::Unauthorized => Error::Unauthorized(details),
        Action::Internal => Error::Internal(details),
    }
}

fn story(detail: impl Into<String>) -> Box<Details> {
    Box::new(Details { detail: detail.into(), ..Details::default() })
}
