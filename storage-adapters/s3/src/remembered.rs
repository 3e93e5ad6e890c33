//! Small bodies that were got after a listing had shown them. A listing names the ETag of each
//! object, so the next one gives them along.
//!
//! A sweep goes over all entries of checked keys, and needs their bodies; without this each costs a
//! request in every sweep, and most of them have not changed since the last.
//!
//! Nothing here gets stale: a body is found by key and ETag, and other bytes under the key have
//! another one, on which `replace` rests as well. A body is forgotten when two listings of the
//! whole space have not shown it. While there is no room, nothing more is remembered: a sweep comes
//! by in the same order each time, and what is put in the place of others would be gone before it
//! is of use.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// The longest body that is remembered: that of an entry without a value has some 100 bytes.
const BODY_BYTES_MAX: usize = 512;
/// The most that bodies take together: those of some 200,000 entries.
const BYTES_MAX: usize = 32 << 20;
/// The room that a body takes besides its bytes.
const AROUND_BYTES: usize = 64;

#[derive(Default)]
pub(crate) struct Remembered {
    bodies: Mutex<Bodies>,
}

#[derive(Default)]
struct Bodies {
    /// By a digest of key and ETag.
    by_id: BTreeMap<u128, Body>,
    bytes: usize,
    /// Counts listings of the whole space.
    pass: u64,
}

struct Body {
    bytes: Box<[u8]>,
    /// The pass that has shown it last.
    shown: u64,
}

impl Remembered {
    /// A listing of the whole space begins.
    pub(crate) fn begin_pass(&self) {
        let mut bodies = self.bodies.lock().expect("never held across a panic");
        let Bodies { by_id, bytes, pass } = &mut *bodies;
        *pass += 1;
        by_id.retain(|_, body| {
            let stays = body.shown + 2 > *pass;
            *bytes -= if stays { 0 } else { weight(&body.bytes) };
            stays
        });
        assert_eq!(*bytes == 0, by_id.is_empty(), "what is remembered is counted");
    }

    /// The body under a key with this ETag.
    pub(crate) fn get(&self, key: &str, tag: &str) -> Option<Bytes> {
        let mut bodies = self.bodies.lock().expect("never held across a panic");
        let pass = bodies.pass;
        let body = bodies.by_id.get_mut(&id(key, tag))?;
        body.shown = pass;
        Some(Bytes::copy_from_slice(&body.bytes))
    }

    pub(crate) fn put(&self, key: &str, tag: &str, body: &[u8]) {
        let mut bodies = self.bodies.lock().expect("never held across a panic");
        if body.len() > BODY_BYTES_MAX {
            return;
        }
        if bodies.bytes + weight(body) > BYTES_MAX {
            if bodies.pass > 0 {
                return;
            }
            // No sweep of this process comes by to forget anything.
            *bodies = Bodies::default();
        }
        let shown = bodies.pass;
        bodies.bytes += weight(body);
        if let Some(before) = bodies.by_id.insert(id(key, tag), Body { bytes: body.into(), shown }) {
            bodies.bytes -= weight(&before.bytes);
        }
    }
}

fn weight(body: &[u8]) -> usize {
    AROUND_BYTES + body.len()
}

fn id(key: &str, tag: &str) -> u128 {
    // An ETag is in quotes, so the two cannot run into each other.
    assert!(tag.starts_with('"'), "an ETag is in quotes");
    let digest = Sha256::new().chain_update(key).chain_update(tag).finalize();
    u128::from_be_bytes(digest[..16].try_into().expect("a digest has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_found_by_key_and_etag() {
        let remembered = Remembered::default();
        remembered.put("a", "\"1\"", b"one");
        assert_eq!(remembered.get("a", "\"1\"").as_deref(), Some(&b"one"[..]));
        assert_eq!((remembered.get("a", "\"2\""), remembered.get("b", "\"1\"")), (None, None));
        remembered.put("a", "\"2\"", &[7; BODY_BYTES_MAX + 1]);
        assert_eq!(remembered.get("a", "\"2\""), None, "it is too long");
    }

    #[test]
    fn what_no_pass_shows_is_forgotten() {
        let remembered = Remembered::default();
        remembered.put("a", "\"1\"", b"one");
        remembered.put("b", "\"1\"", b"two");
        for _ in 0..5 {
            remembered.begin_pass();
            assert!(remembered.get("a", "\"1\"").is_some());
        }
        assert_eq!(remembered.get("b", "\"1\""), None);
        (0..3).for_each(|_| remembered.begin_pass());
        assert_eq!(remembered.bodies.lock().unwrap().bytes, 0);
    }

    #[test]
    fn without_passes_it_begins_anew() {
        let remembered = Remembered::default();
        let body = [7; BODY_BYTES_MAX];
        let most = BYTES_MAX / weight(&body);
        (0..most + 10).for_each(|key| remembered.put(&key.to_string(), "\"1\"", &body));
        assert_eq!(remembered.bodies.lock().unwrap().by_id.len(), 10);
    }

    #[test]
    fn there_is_a_bound() {
        let remembered = Remembered::default();
        remembered.begin_pass();
        let body = [7; BODY_BYTES_MAX];
        let most = BYTES_MAX / weight(&body);
        (0..most + 10).for_each(|key| remembered.put(&key.to_string(), "\"1\"", &body));
        (0..10).for_each(|key| remembered.put(&key.to_string(), "\"1\"", &body));
        let bodies = remembered.bodies.lock().unwrap();
        assert!(bodies.by_id.len() == most && bodies.bytes <= BYTES_MAX, "{} bytes", bodies.bytes);
        drop(bodies);
        assert!(remembered.get("0", "\"1\"").is_some(), "the first ones stay");
    }
}
