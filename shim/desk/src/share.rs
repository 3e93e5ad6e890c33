//! The bound for all large bodies together, of requests and of replies, and the shares of it.
//!
//! A share is taken before the bytes are held, and given back when they are freed. A call that gets
//! no share does not wait for one: it is rejected at once, so that its client can retry later.

use std::sync::Arc;

use aft_access::{Quota, Tenant};
use aft_node::PARTS_BYTES_AT_ONCE;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::refused::{Refused, Result};

/// The unit of the bound in bytes, and the largest body that needs no share: the number of
/// connections bounds the memory of smaller ones.
const UNIT_BYTES: usize = 64 << 10;

/// The bound.
#[derive(Debug, Clone)]
pub(crate) struct Bodies {
    units: Arc<Semaphore>,
    bytes_max: usize,
}

/// A share of the bound, and of the limit of its tenant.
#[derive(Debug)]
pub struct Share {
    permit: OwnedSemaphorePermit,
    quota: Option<Quota>,
}

/// The count of one caller's bytes, and the source of its shares.
#[derive(Debug, Clone)]
pub struct Meter {
    bodies: Bodies,
    tenant: Option<Arc<Tenant>>,
}

/// Returns the memory for a body of `bytes`, including the copies that are made while its values
/// are decoded, stored in parts, or read from parts.
pub fn with_copies(bytes: usize) -> usize {
    bytes.saturating_add(bytes.min(PARTS_BYTES_AT_ONCE))
}

impl Bodies {
    pub(crate) fn new(bytes_max: usize) -> Bodies {
        Bodies { units: Arc::new(Semaphore::new(bytes_max.div_ceil(UNIT_BYTES))), bytes_max }
    }
}

impl Meter {
    pub(crate) fn new(bodies: Bodies, tenant: Option<Arc<Tenant>>) -> Meter {
        Meter { bodies, tenant }
    }

    /// Counts bytes that came in or will go out.
    pub fn charge(&self, bytes: usize) {
        if let Some(tenant) = &self.tenant {
            tenant.charge(bytes);
        }
    }

    /// Takes the share of a body of `bytes`; a small one needs none.
    ///
    /// # Errors
    /// Returns [`Refused::NoRoom`] or [`Refused::Denied`] if the bound is reached.
    pub fn share(&self, bytes: usize) -> Result<Option<Share>> {
        let mut share = None;
        self.grow(&mut share, bytes)?;
        Ok(share)
    }

    /// Enlarges `share` to that of a body of `bytes`.
    ///
    /// # Errors
    /// Returns the errors of [`Meter::share`]. Then `share` is unchanged.
    pub fn grow(&self, share: &mut Option<Share>, bytes: usize) -> Result<()> {
        if bytes <= UNIT_BYTES {
            return Ok(());
        }
        let have = share.as_ref().map_or(0, |share| share.permit.num_permits());
        let need = bytes.div_ceil(UNIT_BYTES).saturating_sub(have);
        if need == 0 {
            return Ok(());
        }
        // The tenant's own limit comes first, so that a tenant at its limit takes no units, and the
        // refusal names that limit.
        let quota = match &self.tenant {
            Some(tenant) => Some(tenant.hold(need.saturating_mul(UNIT_BYTES))?),
            None => None,
        };
        let units = &self.bodies.units;
        let permit =
            u32::try_from(need).ok().and_then(|need| units.clone().try_acquire_many_owned(need).ok());
        let Some(permit) = permit else {
            return Err(Refused::NoRoom { bytes, bound: self.bodies.bytes_max });
        };
        match share {
            Some(share) => share.merge(Share { permit, quota }),
            None => *share = Some(Share { permit, quota }),
        }
        Ok(())
    }
}

impl Share {
    fn merge(&mut self, other: Share) {
        self.permit.merge(other.permit);
        if let (Some(quota), Some(more)) = (&mut self.quota, other.quota) {
            quota.merge(more);
        }
    }

    /// Gives back the part that a body of `bytes` does not need.
    pub fn shrink(&mut self, bytes: usize) {
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
        assert!(bodies.share(UNIT_BYTES).unwrap().is_none());
        let mut one = bodies.share(6 * UNIT_BYTES - 1).unwrap();
        let bound = 10 * UNIT_BYTES;
        for bytes in [5 * UNIT_BYTES, 11 * UNIT_BYTES] {
            assert_eq!(bodies.share(bytes).unwrap_err(), Refused::NoRoom { bytes, bound });
        }
        assert!(bodies.share(usize::MAX).is_err());
        bodies.grow(&mut one, 10 * UNIT_BYTES).unwrap();
        assert!(bodies.share(2 * UNIT_BYTES).is_err());
        one.as_mut().unwrap().shrink(UNIT_BYTES + 1);
        drop(bodies.share(8 * UNIT_BYTES).unwrap());
        drop(one);
        assert!(bodies.share(10 * UNIT_BYTES).is_ok());
    }
}
