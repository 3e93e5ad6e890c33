//! An invocation, and the ways in which it ends.

use std::time::Duration;

use bytes::Bytes;

/// An invocation as the runtime gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invocation {
    /// The ID that a retry of an event and a duplicate share.
    pub(crate) request_id: String,
    /// A nonce that no other invocation has.
    pub(crate) invocation_id: String,
    /// The time at which it times out, in milliseconds of the epoch.
    pub(crate) deadline_ms: u64,
    pub(crate) arn: String,
    pub(crate) trace_id: String,
    /// JSON.
    pub(crate) client_context: Option<String>,
    pub(crate) payload: Bytes,
}

/// The end of an invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Returned { body: Bytes, content_type: Option<String> },
    Failed(Failure),
}

/// The reason why an invocation or the start of an environment has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The runtime or an extension has reported an error, with this document.
    Reported(Bytes),
    /// The runtime's process has ended.
    Exited(Exit),
    /// The runtime's or an extension's program cannot be started.
    NotStarted(String),
    /// An extension's process has ended.
    ExtensionCrashed { name: String, exit: Exit },
    /// An extension has reported an error of this type.
    ExtensionReported { name: String, error_type: String },
    /// The time is over.
    TimedOut,
    /// The response has more bytes than allowed.
    TooLarge { bytes: u64, max: u64 },
    /// The response broke off.
    Truncated,
}

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Status(i32),
    Signal(i32),
    /// Nothing is known about it.
    Unknown,
}

impl Exit {
    /// The end of a process that the host has killed.
    pub(crate) const KILLED: Self = Self::Signal(9);

    /// Returns the words that Lambda has for it.
    fn words(self) -> String {
        match self {
            Self::Status(status) => format!("exit status {status}"),
            Self::Signal(9) => "signal: killed".to_owned(),
            Self::Signal(15) => "signal: terminated".to_owned(),
            Self::Signal(signal) => format!("signal: {signal}"),
            Self::Unknown => "exit status unknown".to_owned(),
        }
    }
}

impl Failure {
    /// Returns the JSON document that the caller of the invocation gets.
    pub(crate) fn document(&self, request_id: &str, timeout: Duration) -> Bytes {
        let (error_type, message) = match self {
            Self::Reported(document) if document.is_empty() => return Bytes::from_static(b"{}"),
            Self::Reported(document) => return document.clone(),
            Self::Exited(Exit::Status(0)) => {
                ("Runtime.ExitError", "Error: Runtime exited without providing a reason".to_owned())
            }
            Self::Exited(exit) => {
                ("Runtime.ExitError", format!("Error: Runtime exited with error: {}", exit.words()))
            }
            Self::NotStarted(why) => ("Runtime.InvalidEntrypoint", format!("Error: {why}")),
            Self::ExtensionCrashed { name, exit } => {
                ("Extension.Crash", format!("Error: extension {name}: {}", exit.words()))
            }
            Self::ExtensionReported { name, error_type } => {
                (error_type.as_str(), format!("Error: extension {name} reported an error"))
            }
            Self::TimedOut => (
                "Sandbox.Timedout",
                format!("Error: Task timed out after {:.2} seconds", timeout.as_secs_f64()),
            ),
            Self::TooLarge { bytes, max } => (
                "Function.ResponseSizeTooLarge",
                format!(
                    "Error: Response payload size ({bytes} bytes) exceeded maximum allowed payload size ({max} bytes)."
                ),
            ),
            Self::Truncated => {
                ("Runtime.TruncatedResponse", "Error: the runtime's response broke off".to_owned())
            }
        };
        assert!(error_type.contains('.'), "a type has its family: {error_type}");
        let message = format!("RequestId: {request_id} {message}");
        document(error_type, &message)
    }
}

/// Returns an error's document, with its fields in Lambda's order.
pub(crate) fn document(error_type: &str, message: &str) -> Bytes {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    Bytes::from(format!(r#"{{"errorType":{},"errorMessage":{}}}"#, text(error_type), text(message)))
}

/// Returns the type of an error that a process gave in a header, or `fallback` if it is none of
/// `(Runtime|Function|Extension).Name`.
pub(crate) fn error_type(given: Option<&str>, fallback: &'static str) -> String {
    let is_type = |given: &str| {
        let name =
            given.split_once('.').filter(|(family, _)| ["Runtime", "Function", "Extension"].contains(family));
        name.is_some_and(|(_, name)| {
            name.starts_with(|first: char| first.is_ascii_uppercase())
                && name.bytes().all(|byte| byte.is_ascii_alphabetic())
        })
    };
    assert!(is_type(fallback), "{fallback} is a type");
    given.filter(|given| is_type(given)).unwrap_or(fallback).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(failure: &Failure, expect: &str) {
        let document = failure.document("r-1", Duration::from_secs(3));
        assert_eq!(document, expect, "{failure:?}");
    }

    #[test]
    fn documents_are_lambdas() {
        check(
            &Failure::TimedOut,
            r#"{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: r-1 Error: Task timed out after 3.00 seconds"}"#,
        );
        check(
            &Failure::Exited(Exit::Status(1)),
            r#"{"errorType":"Runtime.ExitError","errorMessage":"RequestId: r-1 Error: Runtime exited with error: exit status 1"}"#,
        );
        check(
            &Failure::Exited(Exit::Signal(9)),
            r#"{"errorType":"Runtime.ExitError","errorMessage":"RequestId: r-1 Error: Runtime exited with error: signal: killed"}"#,
        );
        check(
            &Failure::Exited(Exit::Status(0)),
            r#"{"errorType":"Runtime.ExitError","errorMessage":"RequestId: r-1 Error: Runtime exited without providing a reason"}"#,
        );
        check(&Failure::Reported(Bytes::from_static(b"as it is")), "as it is");
        check(&Failure::Reported(Bytes::new()), "{}");
    }

    #[test]
    fn types_of_errors_are_validated() {
        assert_eq!(error_type(Some("Runtime.NoSuchHandler"), "Runtime.Unknown"), "Runtime.NoSuchHandler");
        for given in [None, Some(""), Some("ValueError"), Some("Function.lower"), Some("Function.A b")] {
            assert_eq!(error_type(given, "Function.Unknown"), "Function.Unknown", "{given:?}");
        }
    }
}
