//! Messages between processes in flight, and their faults: a message may be lost, late or doubled.

use std::collections::BTreeMap;

use crate::flights::Life;
use crate::random::Random;

/// The identity of a message in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The life that sent it.
    pub from: Life,
    /// The sender's number of the message.
    pub sequence: u64,
    /// The host that receives it.
    pub to: usize,
}

/// The messages in flight.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Net<M> {
    messages: BTreeMap<MessageId, M>,
}

impl<M: Clone> Net<M> {
    /// Puts a message in flight.
    pub fn send(&mut self, id: MessageId, message: M) {
        let before = self.messages.insert(id, message);
        assert!(before.is_none(), "a sender never uses a number twice for one receiver: {id:?}");
    }

    /// Returns a message that arrives, unless it is gone. With `keep` it stays in flight and may
    /// arrive again.
    pub fn arrive(&mut self, id: MessageId, keep: bool) -> Option<M> {
        if keep { self.messages.get(&id).cloned() } else { self.messages.remove(&id) }
    }

    /// Loses a message.
    pub fn lose(&mut self, id: MessageId) {
        self.messages.remove(&id);
    }

    /// Loses all messages.
    pub fn lose_all(&mut self) {
        self.messages.clear();
    }

    /// Returns the first message in flight, by sender, number and receiver.
    pub fn first(&self) -> Option<MessageId> {
        self.messages.keys().next().copied()
    }

    /// Returns all messages in flight, by sender, number and receiver.
    pub fn ids(&self) -> impl Iterator<Item = MessageId> {
        self.messages.keys().copied()
    }
}

impl<M> Default for Net<M> {
    fn default() -> Net<M> {
        Net { messages: BTreeMap::new() }
    }
}

/// The chance of each fault of a message, per thousand.
#[derive(Debug, Clone)]
pub struct MessageFaults {
    /// It is lost.
    pub lost: u64,
    /// It arrives twice.
    pub twice: u64,
    /// It arrives late.
    pub late: u64,
    /// The bound on the delay of late messages. Second arrivals follow within half of it.
    pub late_max_ms: u64,
}

/// Draws the delays after which a new message arrives, in ascending order; the last arrival
/// consumes it. Empty if it is lost. The usual delay is `delay_max_ms` at most.
pub fn draw_arrivals(random: &mut Random, faults: &MessageFaults, delay_max_ms: u64) -> Vec<u64> {
    // A chance of 0 draws too, so that plans with and without a fault differ only in that fault.
    if random.chance(faults.lost) {
        return Vec::new();
    }
    let mut delay = random.below(delay_max_ms + 1);
    if random.chance(faults.late) {
        delay += random.below(faults.late_max_ms);
    }
    let mut arrivals = vec![delay];
    if random.chance(faults.twice) {
        arrivals.push(delay + random.below(faults.late_max_ms / 2));
    }
    arrivals
}

#[cfg(test)]
mod tests {
    use super::{MessageFaults, MessageId, Net, draw_arrivals};
    use crate::flights::Life;
    use crate::random::Random;

    #[test]
    fn a_message_arrives_until_it_is_consumed_or_lost() {
        let mut net = Net::default();
        let id = |sequence| MessageId { from: Life(1), sequence, to: 0 };
        net.send(id(1), "one");
        net.send(id(2), "two");
        assert_eq!(net.arrive(id(1), true), Some("one"));
        assert_eq!(net.arrive(id(1), false), Some("one"));
        assert_eq!(net.arrive(id(1), false), None);
        net.lose(id(2));
        assert_eq!(net.ids().count(), 0);
    }

    #[test]
    fn arrivals_ascend_and_faults_add_or_remove_them() {
        let mut random = Random::new(1);
        let faults = |lost, twice| MessageFaults { lost, twice, late: 500, late_max_ms: 100 };
        for _ in 0..100 {
            assert_eq!(draw_arrivals(&mut random, &faults(1_000, 0), 5), []);
            assert_eq!(draw_arrivals(&mut random, &faults(0, 0), 5).len(), 1);
            let twice = draw_arrivals(&mut random, &faults(0, 1_000), 5);
            assert!(twice.len() == 2 && twice.is_sorted() && twice[1] <= 5 + 100 + 50, "{twice:?}");
        }
    }
}
