//! Calls of processes that do not fit their state.

/// A rejected call: its status, its type, and a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejected {
    pub(crate) status: u16,
    pub(crate) error_type: &'static str,
    pub(crate) message: String,
}

impl Rejected {
    fn new(status: u16, error_type: &'static str, message: impl Into<String>) -> Self {
        assert!((400..600).contains(&status), "{status} is an error");
        Self { status, error_type, message: message.into() }
    }

    /// The runtime's state does not allow the call.
    pub(crate) fn transition(from: &str, to: &str) -> Self {
        let message = format!(
            "Transition from {from} to {to} failed for runtime. Error: State transition is not allowed"
        );
        Self::new(403, "InvalidStateTransition", message)
    }

    /// The request ID or the invocation ID is not that of the open invocation.
    pub(crate) fn request_id() -> Self {
        Self::new(400, "InvalidRequestID", "Invalid request ID")
    }

    /// The invocation has timed out.
    pub(crate) fn timed_out() -> Self {
        Self::new(410, "InvokeTimeout", "Invoke timeout")
    }

    /// The header of the response mode has an unknown value.
    pub(crate) fn response_mode() -> Self {
        Self::new(400, "InvalidFunctionResponseMode", "Invalid function response mode")
    }

    /// The body is larger than `max` bytes.
    pub(crate) fn too_large(max: u64) -> Self {
        let message = format!("Exceeded maximum allowed payload size ({max} bytes).");
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// The body broke off.
    pub(crate) fn truncated() -> Self {
        Self::new(400, "TruncatedHTTPRequest", "HTTP request detected as truncated")
    }

    /// The extension's call is wrong, for a reason that `error_type` names.
    pub(crate) fn extension(error_type: &'static str, message: impl Into<String>) -> Self {
        assert!(error_type.starts_with("Extension.") || error_type == "InvalidRequestFormat", "{error_type}");
        Self::new(403, error_type, message)
    }

    /// The service that the extension asks for does not exist here.
    pub(crate) fn unsupported(error_type: &'static str, message: impl Into<String>) -> Self {
        Self { status: 202, error_type, message: message.into() }
    }
}
