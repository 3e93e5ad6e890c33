//! The names of the protocol: who (node), what (request), which execution (attempt), and the order of commits ([`TxnId`]).
//!
//! Nothing here draws a random number or hashes: identifiers are arguments, made by the driver.

use std::fmt;

macro_rules! hex_debug {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

/// One execution of a request, and the transaction that it opened: a fresh UUIDv7.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub [u8; 16]);
hex_debug!(AttemptId);

/// SHA-256 over the length-prefixed (tenant, scope, request ID). The commit record of the request stands under it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestHash(pub [u8; 32]);
hex_debug!(RequestHash);

/// SHA-256 of what the caller calls the request's payload. Two requests with one ID and different fingerprints are a mistake of the caller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);
hex_debug!(Fingerprint);

/// A node of the shim, for the life of one process: fresh at every start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Makes a name unique that would otherwise be reused: the node and a counter of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce {
    /// The node that made it.
    pub node: NodeId,
    /// Never twice in one life of the node.
    pub count: u64,
}

/// A time of the hybrid logical clock: 48 bits of wall-clock milliseconds, 16 bits of counter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The first instant of a wall-clock millisecond.
    pub const fn from_ms(ms: u64) -> Hlc {
        Hlc(ms << 16)
    }

    /// The wall-clock milliseconds since the epoch.
    pub const fn ms(self) -> u64 {
        self.0 >> 16
    }

    /// The minute since the epoch, by which intents and collect entries are grouped.
    pub const fn minute(self) -> u32 {
        (self.ms() / 60_000) as u32
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.ms(), self.0 & 0xffff)
    }
}

impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The identity and place in order of a committed transaction: commit time, then attempt. Nothing else orders versions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnId {
    /// When it committed, by the clock of its node; greater than everything that it read.
    pub time: Hlc,
    /// The attempt; breaks ties.
    pub attempt: AttemptId,
}

impl fmt::Display for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.time, self.attempt)
    }
}

impl fmt::Debug for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A transaction as a session token names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionEntry {
    /// The committed transaction.
    pub txn: TxnId,
    /// Where its commit record stands.
    pub hash: RequestHash,
}

/// What a client presents to see its earlier commits: at most [`SESSION_LEN_MAX`] entries, newest first.
pub type Session = Vec<SessionEntry>;

/// How many commits a session token names. Each may cost another node one look-up at begin; the last one carries the promise.
pub const SESSION_LEN_MAX: usize = 4;

/// A key: non-empty UTF-8 of at most [`Key::BYTES_MAX`] bytes. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(std::sync::Arc<str>);

/// Why a string is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// Keys have at least one byte.
    Empty,
    /// Keys have at most [`Key::BYTES_MAX`] bytes; this one has so many.
    TooLong(usize),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Empty => write!(f, "a key has at least one byte"),
            KeyError::TooLong(bytes) => {
                write!(f, "a key has at most {} bytes; this one has {bytes}", Key::BYTES_MAX)
            }
        }
    }
}

impl std::error::Error for KeyError {}

impl Key {
    /// 1 KiB, and a bucket's name with its separator on top.
    pub const BYTES_MAX: usize = 1024 + 64;

    /// Parses a key.
    ///
    /// # Errors
    /// If the text is empty or too long.
    pub fn parse(text: &str) -> Result<Key, KeyError> {
        match text.len() {
            0 => Err(KeyError::Empty),
            bytes if bytes > Key::BYTES_MAX => Err(KeyError::TooLong(bytes)),
            _ => Ok(Key(text.into())),
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl std::borrow::Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}
