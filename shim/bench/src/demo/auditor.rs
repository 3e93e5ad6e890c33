//! Auditors: they read pairs of accounts all the while, as any other client might.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep;

use crate::demo::access::{Access, Opening};
use crate::demo::account::{Account, Side};
use crate::demo::audit;
use crate::demo::order::Ended;
use crate::demo::platform::{Again, Platform};

/// Between the two reads of an audit: as long as a function takes from one call to the next.
const BETWEEN_READS: Duration = Duration::from_millis(1);
/// Between two audits, so that auditors leave the machine to the functions.
const BETWEEN_AUDITS: Duration = Duration::from_millis(4);
/// Attempts of one read before it is given up.
const ATTEMPTS_MAX: u32 = 10;

/// What an auditor saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct Audits {
    /// Looks that came to an end.
    pub(crate) count: u64,
    /// Requests that were seen half done.
    pub(crate) half_done: BTreeSet<u64>,
    /// Looks whose two accounts came from different attempts.
    pub(crate) fractured: u64,
    /// Looks that could not be made.
    pub(crate) failed: u64,
}

/// Looks at pairs, chosen at random, until told to stop.
pub(crate) async fn audit(platform: Arc<Platform>, pairs: u32, seed: u64, stop: Arc<AtomicBool>) -> Audits {
    let mut random = StdRng::seed_from_u64(seed);
    let mut audits = Audits::default();
    let mut access = Access::new(platform.server.clone(), None);
    while !stop.load(Ordering::Relaxed) {
        let pair = random.random_range(0..pairs);
        match read_pair(&platform, &mut access, pair, BETWEEN_READS).await {
            Ok((a, b)) => {
                let look = audit::look(&a, &b);
                platform.timeline.sample(pair, look.money_off);
                audits.count += 1;
                audits.fractured += u64::from(look.fractured);
                audits.half_done.extend(look.half_done);
            }
            Err(_) => audits.failed += 1,
        }
        sleep(BETWEEN_AUDITS).await;
    }
    audits
}

/// Both accounts of a pair; with the shim in one transaction, which is run again if it must be.
pub(crate) async fn read_pair(
    platform: &Platform,
    access: &mut Access,
    pair: u32,
    between: Duration,
) -> Result<(Account, Account), Ended> {
    let mut ended = Ended::Unknown;
    for _ in 0..ATTEMPTS_MAX {
        match read_once(platform, access, pair, between).await {
            Ok(accounts) => return Ok(accounts),
            Err(failed @ Ended::Failed(_)) => return Err(failed),
            Err(other) => ended = other,
        }
    }
    Err(ended)
}

async fn read_once(
    platform: &Platform,
    access: &mut Access,
    pair: u32,
    between: Duration,
) -> Result<(Account, Account), Ended> {
    access.leave();
    if platform.shim {
        let opening = Opening { request: None, isolation: platform.isolation, again: Again::default() };
        access.begin(opening).await?;
    }
    let a = read(access, &Side::A.key(&platform.prefix, pair)).await?;
    if !between.is_zero() {
        sleep(between).await;
    }
    let b = read(access, &Side::B.key(&platform.prefix, pair)).await?;
    access.commit().await?;
    Ok((a, b))
}

async fn read(access: &mut Access, key: &str) -> Result<Account, Ended> {
    let value = access.get(key).await?;
    let account = value.as_deref().and_then(Account::decode);
    account.ok_or_else(|| Ended::Failed(format!("there is no account {key}")))
}
