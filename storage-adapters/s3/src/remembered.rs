//! A cache of small bodies that were read after a listing had shown them. A listing shows the ETag
//! of each object, so the next listing can return these bodies without a request.
//!
//! A sweep visits all entries of checked keys, and needs their bodies. Without the cache, each body
//! costs a request in every sweep, although most have not changed since the last one.
//!
//! Nothing here becomes stale: a body is found by key and ETag, and other bytes under the key have
//! another ETag (`replace` relies on that as well). A body is evicted when two listings of the
//! whole space have not shown it. A full cache takes no more bodies instead of evicting: since
//! every sweep goes in the same order, a body that replaced another would be evicted before its
//! next use.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// The size of the largest body that is cached. An entry without a value has about 100 bytes.
const BODY_BYTES_MAX: usize = 512;
/// The memory that bodies may take together: enough for about 200,000 entries.
const BYTES_MAX: usize = 32 << 20;
/// The memory that a body takes besides its bytes.
const AROUND_BYTES: usize = 64;

#[derive(Default)]
/// The cache. It is shared by all calls of a store.
pub(crate) struct Remembered {
    bodies: Mutex<Bodies>,
}

#[derive(Default)]
struct Bodies {
    /// The bodies by a digest of key and ETag.
    by_id: BTreeMap<u128, Body>,
    /// The sum of their [`weight`]s.
    bytes: usize,
    /// The number of listings of the whole space so far.
    pass: u64,
}

struct Body {
    bytes: Box<[u8]>,
    /// The pass that last showed it.
    shown: u64,
}

impl Remembered {
    /// Begins a listing of the whole space, and evicts the bodies that the last two have not shown.
    pub(crate) fn begin_pass(&self) {
        let mut bodies = self.bodies.lock().expect("never held across a panic");
        let Bodies { by_id, bytes, pass } = &mut *bodies;
        *pass += 1;
        by_id.retain(|_, body| {
            let stays = body.shown + 2 > *pass;
            *bytes -= if stays { 0 } else { weight(&body.bytes) };
            stays
        });
        assert_eq!(*bytes == 0, by_id.is_empty(), "the bytes are counted");
    }

    /// Returns the body under a key with this ETag, if it is cached.
    pub(crate) fn get(&self, key: &str, tag: &str) -> Option<Bytes> {
        let mut bodies = self.bodies.lock().expect("never held across a panic");
        let pass = bodies.pass;
        let body = bodies.by_id.get_mut(&id(key, tag))?;
        body.shown = pass;
        Some(Bytes::copy_from_slice(&body.bytes))
    }

    /// Caches a body, if it is small and there is room.
    pub(crate) fn put(&self, key: &str, tag: &str, body: &[u8]) {
        let mut bodies = self.bodies.lock().expect("never held across a panic");
        if body.len() > BODY_BYTES_MAX {
            return;
        }
        if bodies.bytes + weight(body) > BYTES_MAX {
            if bodies.pass > 0 {
                return;
            }
            // No sweep runs in this process, so nothing would ever be evicted: start from empty.
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
    // The quote at the start of an ETag separates it from the key.
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
    fn a_body_that_two_passes_have_not_shown_is_evicted() {
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
    fn without_passes_a_full_cache_is_emptied() {
        let remembered = Remembered::default();
        let body = [7; BODY_BYTES_MAX];
        let most = BYTES_MAX / weight(&body);
        (0..most + 10).for_each(|key| remembered.put(&key.to_string(), "\"1\"", &body));
        assert_eq!(remembered.bodies.lock().unwrap().by_id.len(), 10);
    }

    #[test]
    fn with_passes_a_full_cache_keeps_its_first_bodies() {
        let remembered = Remembered::default();
        remembered.begin_pass();
        let body = [7; BODY_BYTES_MAX];
        let most = BYTES_MAX / weight(&body);
        (0..most + 10).for_each(|key| remembered.put(&key.to_string(), "\"1\"", &body));
        (0..10).for_each(|key| remembered.put(&key.to_string(), "\"1\"", &body));
        let bodies = remembered.bodies.lock().unwrap();
        assert!(bodies.by_id.len() == most && bodies.bytes <= BYTES_MAX, "{} bytes", bodies.bytes);
        drop(bodies);
        assert!(remembered.get("0", "\"1\"").is_some(), "the first bodies stay");
    }
}
