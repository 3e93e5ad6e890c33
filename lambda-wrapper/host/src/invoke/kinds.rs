//! Requests, answers and rejections of invocations.

use std::time::Duration;

use bytes::Bytes;

use crate::environment::EnvironmentId;

/// The longest payload of a synchronous invocation, in bytes, as in Lambda.
pub(crate) const PAYLOAD_MAX: usize = 6 << 20;
/// The longest payload of an event, in bytes, as in Lambda.
pub(crate) const EVENT_MAX: usize = 1 << 20;
/// The longest client context, in bytes, as in Lambda.
const CONTEXT_MAX: usize = 3_583;
/// The longest request ID, in bytes: far above that of a UUID.
const REQUEST_ID_MAX: usize = 128;
/// The longest trace header, in bytes: far above that of a trace with its lineage.
const TRACE_MAX: usize = 1_024;

/// An invocation to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoke {
    /// The function's name, partial ARN or ARN.
    pub function: String,
    /// JSON. If it is empty, the function gets `{}`.
    pub payload: Bytes,
    /// The request ID; a new one if there is none. Two invocations with one ID are duplicates to
    /// the function.
    pub request_id: Option<String>,
    /// The client context, in JSON.
    pub client_context: Option<String>,
    /// The trace header; a new one if there is none.
    pub trace_id: Option<String>,
    /// The time that it has, for tests; the function's timeout if there is none.
    pub timeout: Option<Duration>,
}

impl Invoke {
    /// Returns an invocation of a function with a payload.
    pub fn new(function: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self {
            function: function.into(),
            payload: payload.into(),
            request_id: None,
            client_context: None,
            trace_id: None,
            timeout: None,
        }
    }

    /// Returns the invocation with a request ID.
    #[must_use]
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    /// Returns the invocation with a time of its own.
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time);
        self
    }

    /// Checks everything but the name. Puts `{}` in the place of an empty payload.
    pub(crate) fn check(mut self, bytes_max: usize) -> Result<Self, InvokeError> {
        if self.payload.len() > bytes_max {
            return Err(InvokeError::TooLarge { bytes: self.payload.len() as u64, max: bytes_max });
        }
        if self.payload.is_empty() {
            self.payload = Bytes::from_static(b"{}");
        }
        let json = |bytes: &[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(bytes).map(drop);
        json(&self.payload).map_err(|why| {
            InvokeError::InvalidContent(format!("Could not parse request body into json: {why}"))
        })?;
        let context = self.client_context.as_deref().unwrap_or("{}");
        if json(context.as_bytes()).is_err() || context.len() > CONTEXT_MAX || context.contains(['\n', '\r'])
        {
            return Err(InvokeError::InvalidContent(format!(
                "Client context must be JSON on one line of at most {CONTEXT_MAX} bytes, in base64."
            )));
        }
        // It becomes a header and a piece of a path.
        let is_id = |id: &str| {
            let fits = (1..=REQUEST_ID_MAX).contains(&id.len());
            fits && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
        };
        if let Some(id) = self.request_id.as_deref().filter(|id| !is_id(id)) {
            let form = format!("use letters, digits and -_.:, at most {REQUEST_ID_MAX}");
            return Err(InvokeError::InvalidParameter(format!("{id:?} is no request ID: {form}")));
        }
        let is_trace = |id: &str| id.len() <= TRACE_MAX && id.bytes().all(|byte| byte.is_ascii_graphic());
        if self.trace_id.as_deref().is_some_and(|id| !is_trace(id)) {
            let form = format!("use at most {TRACE_MAX} characters of ASCII, without spaces");
            return Err(InvokeError::InvalidParameter(format!("the trace header is wrong: {form}")));
        }
        assert!(!self.payload.is_empty() && self.payload.len() <= bytes_max.max(2), "it was just checked");
        Ok(self)
    }
}

/// The answer to an invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoked {
    /// The request ID.
    pub request_id: String,
    /// The function's answer, or the error's document.
    pub payload: Bytes,
    /// The content type that the function gave.
    pub content_type: Option<String>,
    /// `Unhandled` if the function has failed.
    pub function_error: Option<&'static str>,
    /// The environment that ran it.
    pub environment: EnvironmentId,
    /// The end of the environment's output, at most 4 KiB.
    pub log_tail: Vec<u8>,
}

impl Invoked {
    /// Returns true if the function has returned, and neither failed nor timed out.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.function_error.is_none()
    }
}

/// The number of times that an event is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Once, apart from retries.
    Once,
    /// Twice, one delivery with its retries after the other, as may happen in Lambda.
    TwiceInTurn,
    /// Twice at the same time, to two environments.
    TwiceAtOnce,
}

/// An invocation that was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// There is no such function. Correct its name.
    #[error("Function not found: {0}")]
    NotFound(String),
    /// The function is at its limit. Try again later.
    #[error("Rate Exceeded.")]
    Throttled,
    /// The payload or the client context is not JSON. Correct it.
    #[error("{0}")]
    InvalidContent(String),
    /// Another part of the request is wrong. Correct it.
    #[error("{0}")]
    InvalidParameter(String),
    /// The payload is too large. Send less.
    #[error("{bytes} byte payload is too large: it must have at most {max} bytes")]
    TooLarge {
        /// The payload's size.
        bytes: u64,
        /// The limit.
        max: usize,
    },
    /// The call may come from a web page. Call from a program, by a loopback address.
    #[error("{0}")]
    Denied(String),
    /// The host is stopping, or the system does not let it start processes. The message says which.
    #[error("{0}")]
    Unavailable(String),
}

impl InvokeError {
    /// Returns the status and the type that AWS SDKs know.
    pub(crate) fn kind(&self) -> (u16, &'static str) {
        match self {
            Self::NotFound(_) => (404, "ResourceNotFoundException"),
            Self::Throttled => (429, "TooManyRequestsException"),
            Self::InvalidContent(_) => (400, "InvalidRequestContentException"),
            Self::InvalidParameter(_) => (400, "InvalidParameterValueException"),
            Self::TooLarge { .. } => (413, "RequestTooLargeException"),
            Self::Denied(_) => (403, "AccessDeniedException"),
            Self::Unavailable(_) => (500, "ServiceException"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(invoke: Invoke, expect: Option<&str>) {
        let checked = invoke.clone().check(8);
        assert_eq!(checked.err().map(|why| why.kind().1), expect, "{invoke:?}");
    }

    #[test]
    fn requests_are_checked_as_in_lambda() {
        check(Invoke::new("f", "[1]"), None);
        check(Invoke::new("f", ""), None);
        assert_eq!(Invoke::new("f", "").check(8).unwrap().payload, "{}");
        check(Invoke::new("f", "[1"), Some("InvalidRequestContentException"));
        check(Invoke::new("f", "123456789"), Some("RequestTooLargeException"));
        check(Invoke::new("f", "1").request_id("a/b"), Some("InvalidParameterValueException"));
        check(Invoke::new("f", "1").request_id("a".repeat(200)), Some("InvalidParameterValueException"));
        let context = Invoke { client_context: Some("{".to_owned()), ..Invoke::new("f", "1") };
        check(context, Some("InvalidRequestContentException"));
    }
}
