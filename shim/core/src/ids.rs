//! The names of the protocol: nodes, requests, attempts, keys, and the order of commits
//! ([`TxnId`]).
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

/// SHA-256 over the length-prefixed (tenant, scope, request ID). The request's commit record has it
/// as its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestHash(pub [u8; 32]);
hex_debug!(RequestHash);

/// SHA-256 of the request's payload as its caller defines it. Two requests with one ID and
/// different fingerprints are an error of the caller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);
hex_debug!(Fingerprint);

/// A node of the shim, for the life of one process: fresh at every start. No node has 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
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

/// A time of the hybrid logical clock: 48 bits of milliseconds since the epoch, 16 bits of counter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The latest millisecond that a time can hold: some day in the year 10895.
    pub const MS_MAX: u64 = u64::MAX >> 16;

    /// Returns the first instant of a millisecond; times that do not fit are clamped to
    /// [`Hlc::MS_MAX`].
    pub const fn from_ms(ms: u64) -> Hlc {
        let time = Hlc(if ms > Hlc::MS_MAX { Hlc::MS_MAX << 16 } else { ms << 16 });
        assert!(time.ms() == ms || ms > Hlc::MS_MAX, "a time that fits is kept to the millisecond");
        assert!(time.0 & 0xffff == 0, "the first instant of a millisecond has counted nothing");
        time
    }

    /// Returns the milliseconds since the epoch.
    pub const fn ms(self) -> u64 {
        self.0 >> 16
    }
}

const _: () = assert!(Hlc::from_ms(Hlc::MS_MAX).ms() == Hlc::MS_MAX, "the last millisecond fits");
const _: () = assert!(Hlc::from_ms(u64::MAX).ms() == Hlc::MS_MAX, "a time that does not fit is clamped");

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

/// The identity and place in order of a transaction: commit time, then attempt. Nothing else orders
/// versions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnId {
    /// Its commit time; greater than everything that it read.
    pub time: Hlc,
    /// Its attempt; breaks ties.
    pub attempt: AttemptId,
}

impl TxnId {
    /// A place before every transaction: the mark of a new store.
    pub const ZERO: TxnId = TxnId { time: Hlc(0), attempt: AttemptId([0; 16]) };

    /// Returns the place before every transaction of a time.
    pub const fn at(time: Hlc) -> TxnId {
        TxnId { time, attempt: AttemptId([0; 16]) }
    }

    /// Returns the greatest place below this one.
    ///
    /// # Panics
    /// Panics if this is [`TxnId::ZERO`], below which there is no place.
    pub fn just_below(self) -> TxnId {
        let attempt = u128::from_be_bytes(self.attempt.0);
        let below = match attempt.checked_sub(1) {
            Some(attempt) => TxnId { time: self.time, attempt: AttemptId(attempt.to_be_bytes()) },
            None => {
                let time = self.time.0.checked_sub(1).expect("no place is below the first one");
                TxnId { time: Hlc(time), attempt: AttemptId([0xff; 16]) }
            }
        };
        assert!(below < self, "the place below comes first");
        below
    }

    /// Parses the text that `Display` writes. Returns `None` for any other text.
    pub fn parse(text: &str) -> Option<TxnId> {
        let (time, attempt) = text.split_once('-')?;
        let (ms, counted) = time.split_once('.')?;
        let ms: u64 = ms.parse().ok()?;
        let counted: u16 = counted.parse().ok()?;
        let attempt = AttemptId(u128::from_str_radix(attempt, 16).ok()?.to_be_bytes());
        let txn = TxnId { time: Hlc(Hlc::from_ms(ms).0 | u64::from(counted)), attempt };
        // Accept only the canonical form: no plus signs, capitals or leading zeros, and no time
        // that was clamped.
        (txn.to_string() == text).then_some(txn)
    }
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
    /// Its request: the name of its commit record.
    pub hash: RequestHash,
    /// True if its one entry is the commit, so that there is no record to look it up by.
    pub whole: bool,
    /// The store's time when the client learned of it, at the latest, in milliseconds.
    pub seen_ms: u64,
}

/// The transactions that a client has committed or read, in a bounded size: what its next
/// transaction must see.
///
/// Commits that do not fit are covered by a fresh transaction, which sees every acknowledged commit
/// (protocol, P9); those that every listing in use shows by now need no cover.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Session {
    /// The transactions, at most [`Session::LEN_MAX`], newest first.
    pub entries: Vec<SessionEntry>,
    /// The store's time, in milliseconds, until which transactions of the client are fresh: it
    /// has seen more than the entries name.
    pub fresh_until_ms: u64,
    /// The node through which the client has seen everything that it saw, named here or not: its
    /// transactions on that node need not be fresh. 0: none.
    pub through: NodeId,
    /// The store's time, in milliseconds, after which `through` applies: by then every listing
    /// shows what the client has seen through other nodes.
    pub mixed_until_ms: u64,
}

impl Session {
    /// The number of transactions that a token names. Each may cost another node one look-up at
    /// begin.
    pub const LEN_MAX: usize = 8;

    /// Returns the newest commit time that the session has seen.
    pub fn newest(&self) -> Hlc {
        self.entries.iter().map(|entry| entry.txn.time).max().unwrap_or_default()
    }

    /// Returns true if a node knows everything that the client has seen, at store time `now_ms`.
    pub fn is_known_to(&self, node: NodeId, now_ms: u64) -> bool {
        self.through == node && node != NodeId::default() && self.mixed_until_ms < now_ms
    }
}

/// A key: non-empty UTF-8 of at most [`Key::BYTES_MAX`] bytes. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(std::sync::Arc<str>);

/// The reason why a text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// The text is empty; a key has at least one byte.
    Empty,
    /// The text has this many bytes; a key has at most [`Key::BYTES_MAX`].
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
    /// The greatest length in bytes: 1 KiB, plus a bucket's name with its separator.
    pub const BYTES_MAX: usize = 1024 + 64;

    /// Parses a key.
    ///
    /// # Errors
    /// Returns a [`KeyError`] if the text is empty or longer than [`Key::BYTES_MAX`] bytes.
    pub fn parse(text: &str) -> Result<Key, KeyError> {
        match text.len() {
            0 => Err(KeyError::Empty),
            bytes if bytes > Key::BYTES_MAX => Err(KeyError::TooLong(bytes)),
            _ => Ok(Key(text.into())),
        }
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        assert!(!self.0.is_empty() && self.0.len() <= Key::BYTES_MAX, "a key was parsed");
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
