//! The bounds that all doors share, each with its reason.

/// The settings of a desk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The bytes of a body in JSON or protobuf, and of all values together that one call reads: a
    /// batch of a few thousand small values. A larger value has a call of its own.
    pub body_bytes_max: usize,
    /// The bytes of one value: as many as S3 accepts in one put. In memory it is held part by part.
    pub value_bytes_max: usize,
    /// The bytes of large bodies that are held at once, of requests and of replies, over all
    /// connections. Enough for 32 large values in flight, each of which holds four parts of 8 MiB.
    /// More is rejected as overloaded.
    pub bodies_bytes_max: usize,
    /// The time for which a call waits for another open attempt of its request unless it says
    /// otherwise, in milliseconds: most requests are done by then.
    pub wait_default_ms: u64,
    /// The longest such wait, in milliseconds; below the usual idle timeouts of proxies.
    pub wait_max_ms: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            body_bytes_max: 8 << 20,
            value_bytes_max: 5 << 30,
            bodies_bytes_max: 1 << 30,
            wait_default_ms: 5_000,
            wait_max_ms: 50_000,
        }
    }
}

/// The longest request ID, scope and fingerprint text, in bytes: any platform's message or
/// invocation ID, with its origin before it.
pub const NAME_BYTES_MAX: usize = 1024;
/// The longest result in a commit call, in bytes: it is kept in the commit record.
pub const RESULT_BYTES_MAX: usize = 1 << 20;
/// The tenant of every caller if there are no credentials.
pub(crate) const TENANT: &str = "local";
