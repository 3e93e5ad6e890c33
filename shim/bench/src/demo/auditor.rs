//! Auditors: clients that read pairs of accounts throughout a run, as any other client might.

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
use crate::demo::bank::{Bank, Site};
use crate::demo::order::Ended;

/// The pause between the two reads of an audit: about as long as a function takes between two
/// calls.
const BETWEEN_READS: Duration = Duration::from_millis(1);
/// The pause between two audits, so that auditors leave the processor to the functions.
const BETWEEN_AUDITS: Duration = Duration::from_millis(4);
/// The number of attempts after which a read is abandoned.
const ATTEMPTS_MAX: u32 = 10;

/// The findings of an auditor.
#[derive(Debug, Clone, Default)]
pub(crate) struct Audits {
    /// Completed audits.
    pub(crate) count: u64,
    /// The numbers of requests that were seen half done.
    pub(crate) half_done: BTreeSet<u64>,
    /// Audits whose two accounts came from different attempts.
    pub(crate) fractured: u64,
    /// Audits that failed.
    pub(crate) failed: u64,
}

/// Audits randomly chosen pairs until `stop` is set.
pub(crate) async fn audit(bank: Arc<Bank>, pairs: u32, seed: u64, stop: Arc<AtomicBool>) -> Audits {
    let mut random = StdRng::seed_from_u64(seed);
    let mut audits = Audits::default();
    let mut access = Access::new(bank.site.server.clone(), None);
    while !stop.load(Ordering::Relaxed) {
        let pair = random.random_range(0..pairs);
        match read_pair(&bank.site, &mut access, pair, BETWEEN_READS).await {
            Ok((a, b)) => {
                let look = audit::look(&a, &b);
                bank.timeline.sample(pair, look.money_off);
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

/// Reads both accounts of a pair; through the shim in one transaction, which is retried if
/// necessary.
pub(crate) async fn read_pair(
    site: &Site,
    access: &mut Access,
    pair: u32,
    between: Duration,
) -> Result<(Account, Account), Ended> {
    let mut ended = Ended::Unknown;
    for _ in 0..ATTEMPTS_MAX {
        match read_once(site, access, pair, between).await {
            Ok(accounts) => return Ok(accounts),
            Err(failed @ Ended::Failed(_)) => return Err(failed),
            Err(other) => ended = other,
        }
    }
    Err(ended)
}

async fn read_once(
    site: &Site,
    access: &mut Access,
    pair: u32,
    between: Duration,
) -> Result<(Account, Account), Ended> {
    access.leave();
    if site.shim {
        let opening = Opening { request: None, isolation: site.isolation, conflicts: 0 };
        access.begin(opening).await?;
    }
    let a = read(access, &Side::A.key(&site.prefix, pair)).await?;
    if !between.is_zero() {
        sleep(between).await;
    }
    let b = read(access, &Side::B.key(&site.prefix, pair)).await?;
    access.commit().await?;
    Ok((a, b))
}

async fn read(access: &mut Access, key: &str) -> Result<Account, Ended> {
    let value = access.get(key).await?;
    let account = value.as_deref().and_then(Account::decode);
    account.ok_or_else(|| Ended::Failed(format!("account {key} is missing or damaged")))
}
