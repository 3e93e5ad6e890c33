//! The requests, counted where they are sent. Redis does not charge for them; the counts are for
//! comparison with the table in `lib.rs`.

use std::sync::atomic::{AtomicU64, Ordering};

use aft_store::{Costs, Requests};

/// A class of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Reads of whole objects: GET.
    Read,
    /// Listings: ZRANGEBYLEX, and EVALSHA of a scan.
    List,
    /// Writes: EVALSHA.
    Write,
    /// Requests that go with a connection: AUTH, SELECT, TIME, INFO, CONFIG GET, SCRIPT LOAD.
    Other,
}

impl Class {
    const ALL: [Class; 4] = [Class::Read, Class::List, Class::Write, Class::Other];

    const fn as_str(self) -> &'static str {
        match self {
            Class::Read => "get",
            Class::List => "list",
            Class::Write => "script",
            Class::Other => "other",
        }
    }
}

/// The requests and bytes counted since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    requests: [AtomicU64; Class::ALL.len()],
    bytes_out: AtomicU64,
    bytes_in: AtomicU64,
}

impl Meter {
    /// Counts a request that is sent, with a body of `bytes`.
    pub(crate) fn sent(&self, class: Class, bytes: usize) {
        self.requests[class as usize].fetch_add(1, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts a received body of `bytes`.
    pub(crate) fn received(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Returns the counts. The price is 0.
    pub(crate) fn costs(&self) -> Costs {
        let count = |class: Class| self.requests[class as usize].load(Ordering::Relaxed);
        Costs {
            requests: Class::ALL.map(|class| Requests { class: class.as_str(), count: count(class) }).into(),
            consumed: Vec::new(),
            bytes_sent: self.bytes_out.load(Ordering::Relaxed),
            bytes_received: self.bytes_in.load(Ordering::Relaxed),
            dollars: 0.0,
        }
    }
}
