//! An invocation of a function.

/// An invocation, as the Runtime API hands it out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Invocation<'a> {
    /// The event.
    pub event: &'a [u8],
    /// The header `Lambda-Runtime-Aws-Request-Id`.
    pub aws_request_id: &'a str,
    /// The header `Lambda-Runtime-Invoked-Function-Arn`. Its version or alias does not count.
    pub function_arn: &'a str,
    /// The header `Lambda-Runtime-Aws-Tenant-Id`.
    pub tenant_id: Option<&'a str>,
    /// The header `Lambda-Runtime-Client-Context`: JSON.
    pub client_context: Option<&'a str>,
}
