//! The bound for all large bodies together, of requests and of replies, and the shares of it.
//!
//! A share is taken before the bytes are held, and given back when they are held no more. Nobody waits for one: a client is better told at once.

use std::sync::Arc;

use aft_node::PARTS_BYTES_AT_ONCE;
use aft_wire::http::Code;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::failure::{Failure, Result};

/// Bodies up to this size need no share: connections bound them.
pub(crate) const SMALL_BYTES_MAX: usize = 64 << 10;
/// The unit of the bound: one small body.
const UNIT_BYTES: usize = SMALL_BYTES_MAX;
/// When to try again for a share: most bodies have passed by then.
const RETRY_AFTER_MS: u64 = 1_000;

/// The bound.
#[derive(Debug)]
pub(crate) struct Bodies {
    units: Arc<Semaphore>,
    bytes_max: usize,
}

/// A share of the bound.
#[derive(Debug)]
pub(crate) struct Share(OwnedSemaphorePermit);

/// What a body counts for while its values are stored in parts or read from them, or decoded: with the copies that this takes.
pub(crate) fn with_copies(bytes: usize) -> usize {
    bytes.saturating_add(bytes.min(PARTS_BYTES_AT_ONCE))
}

impl Bodies {
    pub(crate) fn new(bytes_max: usize) -> Bodies {
        Bodies { units: Arc::new(Semaphore::new(bytes_max.div_ceil(UNIT_BYTES))), bytes_max }
    }

    /// The share of a body of so many bytes; a small one needs none.
    pub(crate) fn share(&self, bytes: usize) -> Result<Option<Share>> {
        let mut share = None;
        self.grow(&mut share, bytes)?;
        Ok(share)
    }

    /// Makes a share that of a body of so many bytes.
    pub(crate) fn grow(&self, share: &mut Option<Share>, bytes: usize) -> Result<()> {
        if bytes <= SMALL_BYTES_MAX {
            return Ok(());
        }
        let have = share.as_ref().map_or(0, |Share(permit)| permit.num_permits());
        let need = bytes.div_ceil(UNIT_BYTES).saturating_sub(have);
        if need == 0 {
            return Ok(());
        }
        let more =
            u32::try_from(need).ok().and_then(|need| self.units.clone().try_acquire_many_owned(need).ok());
        let Some(more) = more else { return Err(self.refusal(bytes)) };
        match share {
            Some(Share(permit)) => permit.merge(more),
            None => *share = Some(Share(more)),
        }
        Ok(())
    }

    fn refusal(&self, bytes: usize) -> Failure {
        let bound = self.bytes_max;
        let detail = if bytes > bound {
            format!(
                "this call needs {bytes} bytes for large bodies, and the setting doors.bodies_bytes_max is {bound}: have it raised, or move less in a call"
            )
        } else {
            format!(
                "this call needs {bytes} bytes for large bodies, and those under way leave less of their bound, {bound} bytes in all: try again after a while"
            )
        };
        let mut failure = Failure::new(Code::Overloaded, detail);
        failure.0.retry_after_ms = Some(RETRY_AFTER_MS);
        failure
    }
}

impl Share {
    /// Gives back what a body of so many bytes does not need.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let surplus = self.0.num_permits().saturating_sub(bytes.div_ceil(UNIT_BYTES));
        drop(self.0.split(surplus));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_given_back() {
        let bodies = Bodies::new(10 * UNIT_BYTES);
        assert!(bodies.share(SMALL_BYTES_MAX).unwrap().is_none());
        let mut one = bodies.share(6 * UNIT_BYTES - 1).unwrap();
        let why = bodies.share(5 * UNIT_BYTES).unwrap_err().0;
        assert!(why.code == Code::Overloaded && why.detail.contains("try again"), "{why:?}");
        let why = bodies.share(11 * UNIT_BYTES).unwrap_err().0;
        assert!(why.code == Code::Overloaded && why.detail.contains("raised"), "{why:?}");
        assert!(bodies.share(usize::MAX).is_err());
        bodies.grow(&mut one, 10 * UNIT_BYTES).unwrap();
        assert!(bodies.share(2 * UNIT_BYTES).is_err());
        one.as_mut().unwrap().shrink(SMALL_BYTES_MAX + 1);
        drop(bodies.share(8 * UNIT_BYTES).unwrap());
        drop(one);
        assert!(bodies.share(10 * UNIT_BYTES).is_ok());
    }
}
