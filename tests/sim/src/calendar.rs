//! The calendar of a run: planned events, by time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::verdict::{Violation, broken};

/// The number of events after which a run is taken to be an endless loop.
const EVENTS_MAX: u64 = 3_000_000;

/// Planned events: by time, then in the order in which they were planned.
#[derive(Debug, Clone)]
pub struct Calendar<E> {
    /// Among events of the same time, a lower sequence number comes first.
    heap: BinaryHeap<Reverse<(u64, u64, E)>>,
    sequence: u64,
    /// The number of events that have been taken out.
    performed: u64,
}

impl<E: Ord> Calendar<E> {
    /// Returns an empty calendar.
    pub fn new() -> Calendar<E> {
        Calendar { heap: BinaryHeap::new(), sequence: 0, performed: 0 }
    }

    /// Plans an event at `time_ms`, or at `now_ms` if that is later.
    pub fn at(&mut self, now_ms: u64, time_ms: u64, event: E) {
        self.sequence += 1;
        self.heap.push(Reverse((time_ms.max(now_ms), self.sequence, event)));
    }

    /// Plans an event at `time_ms`, before all others of that instant that were planned by
    /// [`Calendar::at`]. Several at one instant happen in their own order.
    pub fn first_at(&mut self, time_ms: u64, event: E) {
        self.heap.push(Reverse((time_ms, 0, event)));
    }

    /// Takes out the next event, with its time.
    ///
    /// # Errors
    ///
    /// Returns a violation if no event is planned, and after so many events that the run is taken
    /// to be an endless loop.
    pub fn next_event(&mut self) -> Result<(u64, E), Violation> {
        let Some(Reverse((time_ms, _, event))) = self.heap.pop() else {
            return broken("a run goes on", "no event is planned, but the run waits for one".into());
        };
        self.performed += 1;
        if self.performed > EVENTS_MAX {
            return broken("a run ends", format!("it has not ended after {EVENTS_MAX} events"));
        }
        Ok((time_ms, event))
    }

    /// Returns the time of the next event.
    pub fn next_ms(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((time_ms, _, _))| *time_ms)
    }

    /// Returns the number of events that have been taken out.
    pub fn performed(&self) -> u64 {
        self.performed
    }
}

impl<E: Ord> Default for Calendar<E> {
    fn default() -> Calendar<E> {
        Calendar::new()
    }
}

#[cfg(test)]
mod tests {
    use super::Calendar;

    #[test]
    fn events_come_by_time_then_in_the_order_of_planning() {
        let mut calendar = Calendar::new();
        calendar.at(0, 20, "later");
        calendar.at(0, 10, "second");
        calendar.at(10, 5, "third: its time has passed");
        calendar.first_at(10, "first");
        let order: Vec<_> = std::iter::from_fn(|| calendar.next_event().ok()).collect();
        let expect = [(10, "first"), (10, "second"), (10, "third: its time has passed"), (20, "later")];
        assert_eq!(order, expect);
        assert_eq!(calendar.performed(), 4);
        assert_eq!(calendar.next_event().expect_err("it is empty").rule, "a run goes on");
    }
}
