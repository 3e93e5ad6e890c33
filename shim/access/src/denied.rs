//! The reasons to turn a call away. A door gives each its status and its text.

use std::time::Duration;

use crate::credential::Right;

/// A call that its caller may not make, or not now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// The caller is not known.
    Unauthorized(Unauthorized),
    /// The credential `name` lacks `right`.
    Right {
        /// The credential.
        name: String,
        /// The right that the call needs.
        right: Right,
    },
    /// The credential `name` is for keys that begin with `prefix`, and `key` does not.
    Prefix {
        /// The credential.
        name: String,
        /// Its prefix.
        prefix: String,
        /// The key, or the prefix of a listing.
        key: String,
    },
    /// The credential `name` has reached one of its limits.
    Limit {
        /// The credential.
        name: String,
        /// The limit's name in a credentials file.
        limit: &'static str,
        /// The limit's value.
        at: u64,
        /// The time after which another try is worth it.
        wait: Duration,
    },
}

/// The reasons for which the caller is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unauthorized {
    /// The call shows no credential.
    Missing,
    /// The call shows something that is no credential.
    Malformed,
    /// No credential has this token.
    Unknown,
    /// No credential names this client certificate.
    Certificate,
    /// The credential has expired.
    Expired,
}

impl Unauthorized {
    /// Returns the reason's name, as metrics have it.
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
