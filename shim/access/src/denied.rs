//! The reasons to deny a call. A door maps each to a status and a text.

use std::time::Duration;

use crate::credential::Right;

/// The reason why a caller may not make a call, or not now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// The caller could not be identified.
    Unauthorized(Unauthorized),
    /// The credential `name` lacks `right`.
    Right {
        /// The name of the credential.
        name: String,
        /// The right that the call needs.
        right: Right,
    },
    /// The credential `name` only allows keys that begin with `prefix`, and `key` does not.
    Prefix {
        /// The name of the credential.
        name: String,
        /// Its prefix.
        prefix: String,
        /// The key, or the prefix of a listing.
        key: String,
    },
    /// The credential `name` has reached one of its limits.
    Limit {
        /// The name of the credential.
        name: String,
        /// The limit's name in a credentials file.
        limit: &'static str,
        /// The limit's value.
        at: u64,
        /// The time to wait before a retry.
        wait: Duration,
    },
}

/// The reason why the caller could not be identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unauthorized {
    /// The call presents no credential.
    Missing,
    /// The call presents a credential that cannot be parsed.
    Malformed,
    /// No credential has this token.
    Unknown,
    /// No credential names this client certificate.
    Certificate,
    /// The credential has expired.
    Expired,
}

impl Unauthorized {
    /// Returns the reason's name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Unauthorized::Missing => "missing",
            Unauthorized::Malformed => "malformed",
            Unauthorized::Unknown => "unknown",
            Unauthorized::Certificate => "certificate",
            Unauthorized::Expired => "expired",
        }
    }
}

impl From<Unauthorized> for Denied {
    fn from(why: Unauthorized) -> Denied {
        Denied::Unauthorized(why)
    }
}
