//! Buffers for the bodies of full parts: used again while a large value is read, instead of new memory for each part.
//!
//! The system gives new memory page by page, each cleared and mapped when it is first touched, and the allocator gives memory of this size back as
//! soon as it is free. For 8 MiB that takes longer than the checksum of all bytes.
//!
//! Nothing is kept in idle times: when the last buffer in use comes back, the spare ones are freed as well. One value that is read never has more
//! of both than it has parts at once.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

/// Spare buffers at most, while others are in use. Enough for one value that is read; and 24 MiB at most on top of what is in use, however many values
/// are read.
const SPARE_MAX: usize = 3;

/// Buffers of one size.
#[derive(Debug)]
pub(crate) struct Buffers {
    bytes_each: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Empty, with room for `bytes_each`.
    spare: Vec<Vec<u8>>,
    in_use: usize,
}

/// A buffer in use; dropped, it may be used again.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// Never grows beyond its room.
    bytes: Vec<u8>,
    home: Arc<Buffers>,
}

impl Buffers {
    pub(crate) fn new(bytes_each: usize) -> Arc<Buffers> {
        Arc::new(Buffers { bytes_each, state: Mutex::default() })
    }

    /// An empty buffer for a body of so many bytes, if they are about what these buffers hold: a small body in a large buffer would take memory
    /// that nobody counts.
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> Option<Buffer> {
        if len > self.bytes_each || len < self.bytes_each / 8 * 7 {
            return None;
        }
        let spare = {
            let mut state = self.state();
            state.in_use += 1;
            state.spare.pop()
        };
        let bytes = spare.unwrap_or_else(|| Vec::with_capacity(self.bytes_each));
        Some(Buffer { bytes, home: self.clone() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the buffers in hand")
    }
}

impl Buffer {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends bytes; false, and nothing done, if there is no room for them.
    #[must_use]
    pub(crate) fn append(&mut self, bytes: &[u8]) -> bool {
        let fits = bytes.len() <= self.home.bytes_each - self.bytes.len();
        if fits {
            self.bytes.extend_from_slice(bytes);
        }
        fits
    }

    /// What was appended. The buffer comes back when the last slice of it is dropped.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        // Memory is given back after the lock is.
        let _freed = {
            let mut state = self.home.state();
            state.in_use -= 1;
            if state.in_use == 0 {
                (bytes, std::mem::take(&mut state.spare))
            } else if state.spare.len() < SPARE_MAX {
                state.spare.push(bytes);
                return;
            } else {
                (bytes, Vec::new())
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 64 << 10;

    fn spare(buffers: &Buffers) -> usize {
        buffers.state().spare.len()
    }

    #[test]
    fn a_buffer_is_used_again_while_another_is_in_use() {
        let buffers = Buffers::new(BYTES);
        let one = buffers.take(BYTES).unwrap();
        let mut two = buffers.take(BYTES).unwrap();
        assert!(two.append(&[7; BYTES]));
        let bytes = two.freeze();
        let (at, slice) = (bytes.as_ptr(), bytes.slice(1..2));
        drop(bytes);
        assert_eq!(spare(&buffers), 0, "a slice of it is left");
        assert_eq!(slice[..], [7]);
        drop(slice);
        assert_eq!(spare(&buffers), 1);
        let mut again = buffers.take(BYTES - 1).unwrap();
        assert!(again.append(b"new"));
        let again = again.freeze();
        assert_eq!((again.as_ptr(), &again[..]), (at, b"new".as_slice()), "nothing of the old bytes is left");
        drop((one, again));
        assert_eq!(spare(&buffers), 0, "idle buffers are freed");
    }

    #[test]
    fn spare_ones_are_few() {
        let buffers = Buffers::new(BYTES);
        let last = buffers.take(BYTES);
        let many: Vec<Buffer> = (0..SPARE_MAX + 2).map(|_| buffers.take(BYTES).unwrap()).collect();
        drop(many);
        assert_eq!(spare(&buffers), SPARE_MAX);
        drop(last);
        assert_eq!(spare(&buffers), 0);
    }

    #[test]
    fn only_bodies_of_about_its_size_get_one_and_none_grows() {
        let buffers = Buffers::new(BYTES);
        assert!(buffers.take(BYTES + 1).is_none());
        assert!(buffers.take(BYTES / 2).is_none());
        let mut buffer = buffers.take(BYTES).unwrap();
        assert!(buffer.append(&[1; BYTES - 1]));
        assert!(!buffer.append(&[2; 2]));
        assert_eq!(buffer.len(), BYTES - 1);
        assert!(buffer.append(&[3]));
        assert!(!buffer.append(&[4]));
    }
}
