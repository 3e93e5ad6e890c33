//! The places of all connections to one server, and the choice among them.
//!
//! Small requests are spread over several connections, since a server reads no more than 16 KiB of
//! each before it syncs: over a single one, only two commits of two 4 KiB values would share a
//! sync, however many wait. A spare connection is made when those before it are full, so an idle
//! node has one.

use std::time::Duration;

use super::request::Lane;
use super::slot::{Place, Slot};

/// The number of connections for small requests.
const SMALL_COUNT: usize = 8;
/// The number of bytes in flight with which a connection is full: as many as Redis reads from it at
/// a time (`PROTO_IOBUF_LEN`).
const FULL_BYTES: usize = 16 << 10;
/// The approximate size of a request without its bodies: names, digest, moment, identity.
const REQUEST_BYTES: usize = 256;

/// The places of all connections.
#[derive(Default)]
pub(super) struct Slots {
    /// The first, and the spare ones.
    small: [Slot; SMALL_COUNT],
    large: Slot,
}

impl Slots {
    pub(super) fn all(&self) -> impl Iterator<Item = &Slot> {
        self.small.iter().chain([&self.large])
    }

    /// Chooses a connection for a request with bodies of `bytes`: the first that is not full, or
    /// else the one with the fewest bytes in flight. A look is valid for `look_every`.
    pub(super) fn place(&self, lane: Lane, bytes: usize, look_every: Duration) -> Place<'_> {
        let bytes = REQUEST_BYTES + bytes;
        let (first, spare) = match lane {
            Lane::Small => self.small.split_first().expect("there is at least one slot"),
            Lane::Large => return Place::on(&self.large, bytes),
        };
        let has_room = |slot: &Slot| slot.bytes() == 0 || slot.bytes() + bytes <= FULL_BYTES;
        // Prefer the first connection, so that a quiet node uses only one.
        if has_room(first) {
            return Place::on(first, bytes);
        }
        let mut least = first;
        for slot in spare {
            if has_room(slot) && slot.is_open(look_every) {
                return Place::on(slot, bytes);
            }
            // A slot without a connection must not be chosen only because it has nothing in flight.
            if slot.live().is_some() && slot.bytes() < least.bytes() {
                least = slot;
            }
        }
        Place::on(least, bytes)
    }

    pub(super) fn is_spare(&self, slot: &Slot) -> bool {
        self.small[1..].iter().any(|spare| std::ptr::eq(spare, slot))
    }

    /// Takes the same place on the first connection.
    pub(super) fn on_first(&self, place: &Place<'_>) -> Place<'_> {
        Place::on(&self.small[0], place.bytes())
    }

    /// Drops the idle spare connections after one has failed: they lead to the same server, and
    /// each might fail one more request.
    pub(super) fn forget_idle(&self) {
        for slot in &self.small[1..] {
            if slot.bytes() == 0
                && let Some(live) = slot.live()
            {
                slot.forget(live.number());
            }
        }
    }
}
