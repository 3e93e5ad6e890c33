//! The doors' bounds and times, each with its reason.

use std::time::Duration;

/// What the doors are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Connections at once; more wait in the kernel's queue. Each costs some 20 KiB.
    pub connections_max: usize,
    /// All of a call's header names and values. Room for a session token, a long request ID and a proxy's additions.
    pub header_bytes_max: usize,
    /// Bodies in JSON and protobuf: a batch of a few thousand small values. A larger value has a call of its own.
    pub body_bytes_max: usize,
    /// One value: what S3 takes in one put. In memory it is held part by part.
    pub value_bytes_max: usize,
    /// Bytes of large bodies that are held at once, of requests and of replies, over all connections: sixteen of the largest values, or
    /// ten that are being stored or fetched. More is refused as overloaded.
    pub bodies_bytes_max: usize,
    /// How long a client may take to send a call's head.
    pub header_timeout: Duration,
    /// How long a client may take to send a call's body, or of a large value each part: 8 MiB at 1 Mbit/s.
    pub body_timeout: Duration,
    /// How long a client may take nothing of an answer before its connection is closed: above what a network's troubles last, and what the
    /// client does not read is held no longer than this. Over HTTP/2, where it may be one stream that stalls, up to twice as long.
    pub reply_stall_timeout: Duration,
    /// How long open calls may take to finish once the listener stops.
    pub stop_timeout: Duration,
    /// How long a call waits for another open attempt of its request unless it says otherwise: most requests are done by then.
    pub wait_default_ms: u64,
    /// The longest wait; below the usual idle time-outs of proxies.
    pub wait_max_ms: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            connections_max: 4_096,
            header_bytes_max: 16 << 10,
            body_bytes_max: 8 << 20,
            value_bytes_max: 5 << 30,
            bodies_bytes_max: 1 << 30,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            reply_stall_timeout: Duration::from_secs(60),
            stop_timeout: Duration::from_secs(10),
            wait_default_ms: 5_000,
            wait_max_ms: 50_000,
        }
    }
}

/// The longest request ID, scope, and fingerprint text, in bytes: any platform's message or invocation ID, with its origin before it.
pub(crate) const NAME_BYTES_MAX: usize = 1024;
/// The longest content type that is kept with a value, in bytes.
pub(crate) const CONTENT_TYPE_BYTES_MAX: usize = 256;
/// The longest result in a commit call: it stands in the commit record.
pub(crate) const RESULT_BYTES_MAX: usize = 1 << 20;
/// Keys on a page of a listing, if the caller does not say.
pub(crate) const LIST_LIMIT_DEFAULT: u32 = 100;
/// Keys on a page of a listing, at most.
pub(crate) const LIST_LIMIT_MAX: u32 = 1_000;
/// Everybody's tenant, where there are no credentials.
pub(crate) const TENANT: &str = "local";
