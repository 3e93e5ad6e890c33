//! The bounds and times of connections, each with its reason.

use std::time::Duration;

/// The settings of a listener and of the bodies on its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The number of connections at once. If all are taken, the one that has been idle for longest
    /// makes room; if all are in use, more wait in the kernel's queue. Each costs some 20 KiB.
    pub connections_max: usize,
    /// The number of connections at once from one peer address: no one address takes all places.
    pub connections_per_peer_max: usize,
    /// The bytes of all header names and values of a call. Room for a session token, a long request
    /// ID and a proxy's additions.
    pub header_bytes_max: usize,
    /// The time in which a client must send a call's head.
    pub header_timeout: Duration,
    /// The time in which a client must send a call's body, or each part of a large value: 8 MiB at
    /// 1 Mbit/s.
    pub body_timeout: Duration,
    /// The time after which a connection is closed if its client reads nothing of an answer. It is
    /// longer than most network failures last, and bounds how long unread bytes are held. Over
    /// HTTP/2, where one stream may stall, it takes up to twice as long.
    pub reply_stall_timeout: Duration,
    /// The time in which open calls may finish once the listener stops.
    pub stop_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            connections_max: 4_096,
            connections_per_peer_max: 3_072,
            header_bytes_max: 16 << 10,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            reply_stall_timeout: Duration::from_secs(60),
            stop_timeout: Duration::from_secs(10),
        }
    }
}
