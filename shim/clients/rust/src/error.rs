//! Errors: one kind for each thing that the caller can do.

use std::fmt;

use aft_api::{Action, Code, Problem};

/// The reason why a call has no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Nothing was committed, and the transaction cannot continue: run the request again.
    /// [`Client::run`](crate::Client::run) has done so until its attempts or its time were used up.
    #[error("nothing was committed, run the request again: {0}")]
    Retry(Box<Details>),
    /// Nothing was committed: the server cannot be reached, starts, drains, or is at a bound. Try
    /// again later if [`Error::is_retryable`] is true. Otherwise something stands between this
    /// client and the server (a certificate, a proxy, a redirect), and has to be corrected first.
    #[error("the server is not available and nothing was committed{later}: {0}", later = later(.0))]
    Unavailable(Box<Details>),
    /// The outcome of the transaction is not known: it may have committed. With a request ID, run
    /// the request again under the same ID, or look it up with
    /// [`Client::request`](crate::Client::request). Without one, read the keys that it would have
    /// written.
    #[error("the outcome is not known, the transaction may have committed: {0}")]
    Unknown(Box<Details>),
    /// Another attempt of the request is open. Send the request again later to get its result.
    #[error("another attempt of the request is open, try again later: {0}")]
    InProgress(Box<Details>),
    /// The request ID was used for another payload: use a new ID for a new request.
    #[error("the request ID belongs to another request: {0}")]
    KeyReused(Box<Details>),
    /// The request committed long ago, and its result is no longer kept. It will not run again.
    #[error("the request committed, but its result is no longer kept: {0}")]
    ResultGone(Box<Details>),
    /// The call is not valid: correct it. In a transaction, nothing of the call took effect.
    #[error("the call is not valid: {0}")]
    Invalid(Box<Details>),
    /// The thing that the call names does not exist. A key without a value is not an error.
    #[error("not found: {0}")]
    NotFound(Box<Details>),
    /// The credentials are missing, or do not allow the call: present others.
    #[error("not authorized: {0}")]
    Unauthorized(Box<Details>),
    /// The server or its store needs repair; or another kind of server answered. A commit that may
    /// have taken effect is [`Error::Unknown`] instead, with the damage in its text.
    #[error("the server or its store needs repair: {0}")]
    Internal(Box<Details>),
}

/// The details of an error.
#[derive(Debug, Clone, Default)]
pub struct Details {
    /// The description of the failure.
    pub detail: String,
    /// The server's problem document, if the server rejected the call.
    pub problem: Option<Problem>,
    /// The request's ID, if it has one.
    pub request_id: Option<String>,
    /// The transaction's token, if it is known.
    pub transaction: Option<String>,
    /// True if another try would end like this one.
    pub(crate) permanent: bool,
    /// The pause that a proxy asked for, in milliseconds.
    pub(crate) pause_ms: Option<u64>,
    /// True if a proxy turned the call away: it has not passed it on.
    pub(crate) turned_away: bool,
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
    /// Returns the details.
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

    /// Returns the code of the server's problem document, if the server rejected the call.
    pub fn code(&self) -> Option<Code> {
        self.details().problem.as_ref().map(|problem| problem.code)
    }

    /// Returns the pause before the next try, in milliseconds, if the server named one. It is the
    /// shortest sensible pause; for [`Error::InProgress`] it is the longest.
    pub fn retry_after_ms(&self) -> Option<u64> {
        let details = self.details();
        details.problem.as_ref().and_then(|problem| problem.retry_after_ms).or(details.pause_ms)
    }

    /// Returns true if a condition of the call did not hold; nothing of the call took effect.
    pub fn is_condition_failed(&self) -> bool {
        self.code() == Some(Code::ConditionFailed)
    }

    /// Returns true if certainly nothing was committed, and another attempt may succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Retry(_) => true,
            Error::Unavailable(details) => !details.permanent,
            Error::Unknown(_)
            | Error::InProgress(_)
            | Error::KeyReused(_)
            | Error::ResultGone(_)
            | Error::Invalid(_)
            | Error::NotFound(_)
            | Error::Unauthorized(_)
            | Error::Internal(_) => false,
        }
    }

    /// Returns true if the call was turned away before it was looked at: the same call may be sent
    /// again.
    pub(crate) fn is_turned_away(&self) -> bool {
        self.code() == Some(Code::Overloaded) || self.details().turned_away
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

    /// Makes an [`Error::Unavailable`] after which another try would end like this one.
    pub(crate) fn permanent(detail: impl Into<String>) -> Error {
        Error::Unavailable(Box::new(Details { permanent: true, ..*story(detail) }))
    }

    /// Makes the error of a call that a proxy turned away, with the pause that it asks for in
    /// milliseconds.
    pub(crate) fn turned_away(detail: impl Into<String>, pause_ms: Option<u64>) -> Error {
        Error::Unavailable(Box::new(Details { turned_away: true, pause_ms, ..*story(detail) }))
    }

    /// Adds the number of tries, if there were several: this is the error of the last one.
    pub(crate) fn after_tries(mut self, tries: u32) -> Error {
        if tries > 1 {
            let detail = &mut self.details_mut().detail;
            if !detail.ends_with(TRIES) {
                detail.push_str(&format!(" (the last of {tries}{TRIES}"));
            }
        }
        self
    }

    pub(crate) fn unknown(detail: impl Into<String>) -> Error {
        Error::Unknown(story(detail))
    }

    /// Converts this into [`Error::Retry`] with the same details: the transaction is gone, and no
    /// commit of it was ever sent.
    pub(crate) fn into_retry(self) -> Error {
        Error::Retry(Box::new(self.details().clone()))
    }

    /// Converts this into an [`Error::Unavailable`] with the same details, after which another try
    /// would end like this one.
    pub(crate) fn into_permanent(self) -> Error {
        Error::Unavailable(Box::new(Details { permanent: true, ..self.details().clone() }))
    }

    /// Converts this into [`Error::Unknown`] with the same details.
    pub(crate) fn into_unknown(self) -> Error {
        Error::Unknown(Box::new(self.details().clone()))
    }

    /// Converts a problem document of the server. A few codes decide the kind; otherwise the action
    /// does.
    pub(crate) fn refused(problem: Problem) -> Error {
        let (code, action) = (problem.code, problem.action);
        let details = Box::new(Details {
            detail: problem.detail.clone(),
            transaction: problem.transaction.clone(),
            problem: Some(problem),
            ..Details::default()
        });
        match code {
            Code::Overloaded | Code::NotServing | Code::StoreUnavailable => Error::Unavailable(details),
            Code::InProgress => Error::InProgress(details),
            Code::KeyReused => Error::KeyReused(details),
            Code::ResultGone => Error::ResultGone(details),
            _ => of_action(action, details),
        }
    }

    /// Converts a problem whose code this client does not know. It comes from a newer server, and
    /// its action still decides the kind.
    pub(crate) fn refused_newly(action: Action, code: &str, detail: &str) -> Error {
        of_action(action, story(format!("{code}: {detail}")))
    }
}

/// Returns the advice of an [`Error::Unavailable`].
fn later(details: &Details) -> &'static str {
    if details.permanent { "" } else { ", try again later" }
}

/// The end of the note that names the number of tries.
const TRIES: &str = " tries)";

fn of_action(action: Action, details: Box<Details>) -> Error {
    match action {
        Action::Retry => Error::Retry(details),
        Action::Unknown => Error::Unknown(details),
        // The known conflicts have kinds of their own; an unknown one counts as a call that is not
        // valid.
        Action::Conflict | Action::Invalid => Error::Invalid(details),
        Action::NotFound => Error::NotFound(details),
        Action::Unauthorized => Error::Unauthorized(details),
        Action::Internal => Error::Internal(details),
    }
}

fn story(detail: impl Into<String>) -> Box<Details> {
    Box::new(Details { detail: detail.into(), ..Details::default() })
}
