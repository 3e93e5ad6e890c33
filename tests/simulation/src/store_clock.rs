//! The store's own clock, as a function of true time, and its errors.

/// The store's own clock.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoreClock {
    offset_ms: i64,
    /// The resolution of the time in its answers, in milliseconds.
    pub span_ms: u64,
    /// The true time at which it was last set to another offset.
    pub stepped_ms: Option<u64>,
}

impl StoreClock {
    /// Returns a correct clock with a resolution of a millisecond.
    pub fn new() -> StoreClock {
        StoreClock { offset_ms: 0, span_ms: 1, stepped_ms: None }
    }

    /// Returns a clock that is off by `offset_ms` from true time, with a resolution of `span_ms`.
    pub fn with(offset_ms: i64, span_ms: u64) -> StoreClock {
        StoreClock { offset_ms, span_ms, stepped_ms: None }
    }

    /// Returns the store's time at `true_ms`.
    pub fn at(&self, true_ms: u64) -> u64 {
        true_ms.checked_add_signed(self.offset_ms).expect("clocks stay near the present")
    }

    /// Returns the store's time at `true_ms` as an answer carries it, rounded down to the
    /// resolution.
    pub fn shown_at(&self, true_ms: u64) -> u64 {
        let at = self.at(true_ms);
        at - at % self.span_ms
    }

    /// Sets the clock's offset, at `true_ms`.
    pub fn set(&mut self, offset_ms: i64, true_ms: u64) {
        if offset_ms != self.offset_ms {
            self.stepped_ms = Some(true_ms);
        }
        self.offset_ms = offset_ms;
    }

    /// Returns the store's time minus true time.
    pub fn offset_ms(&self) -> i64 {
        self.offset_ms
    }
}

impl Default for StoreClock {
    fn default() -> StoreClock {
        StoreClock::new()
    }
}
