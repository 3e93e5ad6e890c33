//! The bound for all large bodies together, of requests and of replies, and the shares of it.
//!
//! A share is taken before the bytes are held, and given back when they are held no more. Nobody waits for one: a client is better told at once.

use std::sync::Arc;

use aft_access::{Quota, Tenant};
use aft_api::Code;
use aft_net::body::{Budget, SMALL_BYTES_MAX};
use aft_node::PARTS_BYTES_AT_ONCE;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::failure::{Failure, Result};

/// The unit of the bound: one small body.
const UNIT_BYTES: usize = SMALL_BYTES_MAX;
/// When to try again for a share: most bodies have passed by then.
const RETRY_AFTER_MS: u64 = 1_000;

/// The bound.
#[derive(Debug, Clone)]
pub(crate) struct Bodies {
    units: Arc<Semaphore>,
    bytes_max: usize,
}

/// A share of the bound, and of that of its tenant.
#[derive(Debug)]
pub(crate) struct Share {
    permit: OwnedSemaphorePermit,
    quota: Option<Quota>,
}

/// Counts the bytes of one caller's bodies, and gives their shares.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    bodies: Bodies,
    tenant: Option<Arc<Tenant>>,
}

/// What a body counts for while its values are stored in parts or read from them, or decoded: with the copies that this takes.
pub(crate) fn with_copies(bytes: usize) -> usize {
    bytes.saturating_add(bytes.min(PARTS_BYTES_AT_ONCE))
}

impl Bodies {
    pub(crate) fn new(bytes_max: usize) -> Bodies {
        Bodies { units: Arc::new(Semaphore::new(bytes_max.div_ceil(UNIT_BYTES))), bytes_max }
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

impl Meter {
    pub(crate) fn new(bodies: Bodies, tenant: Option<Arc<Tenant>>) -> Meter {
        Meter { bodies, tenant }
    }

    /// Counts bytes that have come.
    pub(crate) fn charge(&self, bytes: usize) {
        if let Some(tenant) = &self.tenant {
            tenant.charge(bytes);
        }
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
        let have = share.as_ref().map_or(0, |share| share.permit.num_permits());
        let need = bytes.div_ceil(UNIT_BYTES).saturating_sub(have);
        if need == 0 {
            return Ok(());
        }
        // The tenant's own limit first: then it is told of that, and of the others' load only if it has room itself.
        let quota = match &self.tenant {
            Some(tenant) => Some(tenant.hold(need.saturating_mul(UNIT_BYTES))?),
            None => None,
        };
        let units = &self.bodies.units;
        let permit =
            u32::try_from(need).ok().and_then(|need| units.clone().try_acquire_many_owned(need).ok());
        let Some(permit) = permit else { return Err(self.bodies.refusal(bytes)) };
        match share {
            Some(share) => share.merge(Share { permit, quota }),
            None => *share = Some(Share { permit, quota }),
        }
        Ok(())
    }
}

impl Budget for Meter {
    type Share = Share;
    type Refused = Failure;

    fn charge(&self, bytes: usize) {
        Meter::charge(self, bytes);
    }

    fn grow(&self, share: &mut Option<Share>, bytes: usize) -> Result<()> {
        Meter::grow(self, share, with_copies(bytes))
    }
}

impl Share {
    fn merge(&mut self, other: Share) {
        self.permit.merge(other.permit);
        if let (Some(quota), Some(more)) = (&mut self.quota, other.quota) {
            quota.merge(more);
        }
    }

    /// Gives back what a body of so many bytes does not need.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let units = bytes.div_ceil(UNIT_BYTES);
        let surplus = self.permit.num_permits().saturating_sub(units);
        drop(self.permit.split(surplus));
        if let Some(quota) = &mut self.quota {
            quota.shrink(units.saturating_mul(UNIT_BYTES));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_given_back() {
        let bodies = Meter::new(Bodies::new(10 * UNIT_BYTES), None);
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
