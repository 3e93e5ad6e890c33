//! Counts the open transactions, calls and bytes of one tenant against its limits.
//!
//! Each tenant has counts of its own, so tenants never wait for each other here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, counter, gauge};

use crate::credential::{Credential, Limits, Tenant};
use crate::denied::Denied;

/// The time over which rates are measured: a burst of one second's worth is let through.
const BURST: Duration = Duration::from_secs(1);
/// The time to wait before a retry, once a limit on open work or memory is reached: most calls are
/// over by then.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The approximate memory of an operation in its transaction, besides its key and value.
const OPERATION_BYTES: usize = 256;
/// The most memory that a transaction's values take: the rest goes to the store in parts.
const VALUES_BYTES_MAX: usize = 1 << 20;

/// The name of a piece of open work, such as the attempt of a transaction.
type Id = [u8; 16];

/// The usage of one tenant.
pub(crate) struct Usage {
    since: Instant,
    calls: Rate,
    bytes: Rate,
    bodies_bytes: AtomicUsize,
    open: Mutex<Open>,
    meters: Meters,
}

/// Open transactions.
#[derive(Debug, Default)]
struct Open {
    places: HashMap<Id, Held>,
    /// The memory that all of them hold, in bytes.
    bytes: usize,
    /// A time before which none of them expires.
    none_before: Option<Instant>,
}

/// One open transaction.
#[derive(Debug, Default)]
struct Held {
    /// The time at which it expires; `None` while the call that opened it is in flight.
    until: Option<Instant>,
    operations_bytes: usize,
    values_bytes: usize,
}

impl Held {
    fn bytes(&self) -> usize {
        self.operations_bytes.saturating_add(self.values_bytes.min(VALUES_BYTES_MAX))
    }
}

/// The memory that operations take in their transaction.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    operations_bytes: usize,
    values_bytes: usize,
}

impl Load {
    /// Adds an operation on a key of `key_bytes` that writes a value of `value_bytes`, or 0 for an
    /// operation without a value.
    pub fn add(&mut self, key_bytes: usize, value_bytes: usize) {
        self.operations_bytes += OPERATION_BYTES + key_bytes;
        self.values_bytes = self.values_bytes.saturating_add(value_bytes);
    }
}

struct Meters {
    calls: Counter,
    bytes: Counter,
    open_transactions: Gauge,
    /// In the order of [`Limit::ALL`].
    limited: [Counter; Limit::ALL.len()],
}

/// A limit of a credential, as problem documents and metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    OpenTransactions,
    OpenBytes,
    Calls,
    Bytes,
    Bodies,
}

impl Limit {
    const ALL: [Limit; 5] =
        [Limit::OpenTransactions, Limit::OpenBytes, Limit::Calls, Limit::Bytes, Limit::Bodies];

    const fn as_str(self) -> &'static str {
        match self {
            Limit::OpenTransactions => "open_transactions_max",
            Limit::OpenBytes => "open_bytes_max",
            Limit::Calls => "calls_per_s",
            Limit::Bytes => "bytes_per_s",
            Limit::Bodies => "bodies_bytes_max",
        }
    }

    const fn of(self, limits: &Limits) -> u64 {
        match self {
            Limit::OpenTransactions => limits.open_transactions_max as u64,
            Limit::OpenBytes => limits.open_bytes_max as u64,
            Limit::Calls => or_none(limits.calls_per_s),
            Limit::Bytes => or_none(limits.bytes_per_s),
            Limit::Bodies => limits.bodies_bytes_max as u64,
        }
    }
}

const fn or_none(limit: Option<u64>) -> u64 {
    match limit {
        Some(limit) => limit,
        None => u64::MAX,
    }
}

impl Usage {
    pub(crate) fn new(name: &str) -> Usage {
        let label = || name.to_owned();
        Usage {
            since: Instant::now(),
            calls: Rate::default(),
            bytes: Rate::default(),
            bodies_bytes: AtomicUsize::new(0),
            open: Mutex::default(),
            meters: Meters {
                calls: counter!("aft_credential_calls_total", "credential" => label()),
                bytes: counter!("aft_credential_bytes_total", "credential" => label()),
                open_transactions: gauge!("aft_credential_open_transactions", "credential" => label()),
                limited: Limit::ALL.map(|limit| {
                    counter!("aft_credential_limited_total", "credential" => label(), "limit" => limit.as_str())
                }),
            },
        }
    }

    /// Counts a call. Rejects it if the rate of bytes or of calls is exceeded.
    pub(crate) fn call(&self, of: &Credential) -> Result<(), Denied> {
        self.meters.calls.increment(1);
        let now = self.now();
        // Bytes were charged by earlier calls; this call only waits for them.
        if of.limits.bytes_per_s.is_some()
            && let Some(wait) = self.bytes.wait(now)
        {
            return Err(self.refusal(of, Limit::Bytes, wait));
        }
        if let Some(per_s) = of.limits.calls_per_s
            && let Err(wait) = self.calls.take(1, per_s, now)
        {
            return Err(self.refusal(of, Limit::Calls, wait));
        }
        Ok(())
    }

    /// Counts bytes that came in or will go out. Later calls wait for those beyond the limit.
    pub(crate) fn charge(&self, of: &Credential, bytes: usize) {
        self.meters.bytes.increment(bytes as u64);
        if let Some(per_s) = of.limits.bytes_per_s {
            self.bytes.charge(bytes as u64, per_s, self.now());
        }
    }

    /// Takes a place for a transaction that is being opened.
    pub(crate) fn enter(&self, of: &Credential, attempt: Id) -> Result<(), Denied> {
        let most = of.limits.open_transactions_max;
        let mut open = self.open();
        // Expired transactions are dropped only when there is no room: most end by a call.
        if open.places.len() >= most {
            open.forget_ended();
            if open.places.len() >= most {
                drop(open);
                return Err(self.refusal(of, Limit::OpenTransactions, RETRY_AFTER));
            }
        }
        open.places.insert(attempt, Held::default());
        self.meters.open_transactions.set(open.places.len() as f64);
        Ok(())
    }

    /// Takes memory for operations of an open transaction.
    pub(crate) fn load(&self, of: &Credential, attempt: Id, load: Load) -> Result<(), Denied> {
        let most = of.limits.open_bytes_max;
        let mut open = self.open();
        if !open.load(attempt, load, most) {
            open.forget_ended();
            if !open.load(attempt, load, most) {
                drop(open);
                return Err(self.refusal(of, Limit::OpenBytes, RETRY_AFTER));
            }
        }
        Ok(())
    }

    /// Keeps the place of a transaction for at most `remaining`: the call that opened it is over.
    pub(crate) fn stay(&self, attempt: Id, remaining: Duration) {
        let until = Instant::now() + remaining;
        let mut open = self.open();
        // The transaction may have ended meanwhile.
        if let Some(held) = open.places.get_mut(&attempt) {
            held.until = Some(until);
            open.none_before = Some(open.none_before.map_or(until, |before| before.min(until)));
        }
    }

    /// Gives back the place of a transaction that has ended. A second call has no effect.
    pub(crate) fn leave(&self, attempt: Id) {
        let mut open = self.open();
        if let Some(held) = open.places.remove(&attempt) {
            open.bytes -= held.bytes();
            self.meters.open_transactions.set(open.places.len() as f64);
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().expect("nothing panics while it holds this lock")
    }

    /// Takes `bytes` of what large bodies of this tenant may hold.
    pub(crate) fn hold(self: &Arc<Usage>, of: &Credential, bytes: usize) -> Result<Quota, Denied> {
        let most = of.limits.bodies_bytes_max;
        let add = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= most);
        match self.bodies_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => Ok(Quota { usage: self.clone(), bytes }),
            Err(_) => Err(self.refusal(of, Limit::Bodies, RETRY_AFTER)),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_nanos()).expect("584 years in nanoseconds")
    }

    fn refusal(&self, of: &Credential, limit: Limit, wait: Duration) -> Denied {
        let at = Limit::ALL.iter().position(|other| *other == limit).expect("every limit is there");
        self.meters.limited[at].increment(1);
        Denied::Limit { name: of.name.clone(), limit: limit.as_str(), at: limit.of(&of.limits), wait }
    }
}

impl Tenant {
    /// Counts a call.
    ///
    /// # Errors
    /// Returns [`Denied::Limit`] if the tenant is over its rate of calls or bytes.
    pub fn call(&self) -> Result<(), Denied> {
        self.usage.call(&self.credential)
    }

    /// Counts bytes that came in or will go out. Later calls wait for those beyond the limit.
    pub fn charge(&self, bytes: usize) {
        self.usage.charge(&self.credential, bytes);
    }

    /// Takes a place for the open work `id`, until [`Tenant::leave`].
    ///
    /// # Errors
    /// Returns [`Denied::Limit`] if the tenant has as much open work as its limit allows.
    pub fn enter(&self, id: [u8; 16]) -> Result<(), Denied> {
        self.usage.enter(&self.credential, id)
    }

    /// Takes memory for operations of the open work `id`.
    ///
    /// # Errors
    /// Returns [`Denied::Limit`] if the tenant's open work would hold more than its limit allows.
    pub fn load(&self, id: [u8; 16], load: Load) -> Result<(), Denied> {
        self.usage.load(&self.credential, id, load)
    }

    /// Keeps the place of `id` for at most `remaining`: the call that opened the work is over.
    pub fn stay(&self, id: [u8; 16], remaining: Duration) {
        self.usage.stay(id, remaining);
    }

    /// Gives back the place of `id` and its memory.
    pub fn leave(&self, id: [u8; 16]) {
        self.usage.leave(id);
    }

    /// Takes `bytes` of what large bodies of this tenant may hold.
    ///
    /// # Errors
    /// Returns [`Denied::Limit`] if they would hold more than the limit allows.
    pub fn hold(&self, bytes: usize) -> Result<Quota, Denied> {
        self.usage.hold(&self.credential, bytes)
    }
}

impl std::fmt::Debug for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Usage").field("open", &self.open().places.len()).finish_non_exhaustive()
    }
}

impl Open {
    /// Counts the memory of operations. Returns false, and counts nothing, if the sum would exceed
    /// `most`.
    fn load(&mut self, attempt: Id, load: Load, most: usize) -> bool {
        // A transaction that has ended meanwhile holds nothing; the node reports its end.
        let Some(held) = self.places.get_mut(&attempt) else { return true };
        let after = Held {
            until: held.until,
            operations_bytes: held.operations_bytes.saturating_add(load.operations_bytes),
            values_bytes: held.values_bytes.saturating_add(load.values_bytes),
        };
        let bytes = (self.bytes - held.bytes()).saturating_add(after.bytes());
        if bytes > most {
            return false;
        }
        *held = after;
        self.bytes = bytes;
        true
    }

    /// Drops expired transactions. It scans them only if one may have expired.
    fn forget_ended(&mut self) {
        let now = Instant::now();
        if self.none_before.is_none_or(|before| now < before) {
            return;
        }
        let bytes = &mut self.bytes;
        self.places.retain(|_, held| {
            let stays = held.until.is_none_or(|until| now < until);
            *bytes -= if stays { 0 } else { held.bytes() };
            stays
        });
        self.none_before = self.places.values().filter_map(|held| held.until).min();
    }
}

/// A rate limiter (the generic cell rate algorithm). Its state is the time at which everything
/// taken so far is paid for, in nanoseconds: one number, and no lock.
#[derive(Debug, Default)]
struct Rate(AtomicU64);

impl Rate {
    /// Returns the time to wait until there is room again; `None` if there is room now.
    fn wait(&self, now: u64) -> Option<Duration> {
        let ahead = Duration::from_nanos(self.0.load(Ordering::Relaxed).saturating_sub(now));
        ahead.checked_sub(BURST).filter(|wait| !wait.is_zero())
    }

    /// Takes `amount`, or returns the time to wait for it and takes nothing.
    fn take(&self, amount: u64, per_s: u64, now: u64) -> Result<(), Duration> {
        let step = |paid: u64| {
            let next = paid.max(now).saturating_add(cost(amount, per_s));
            (next - now <= BURST.as_nanos() as u64).then_some(next)
        };
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step) {
            Ok(_) => Ok(()),
            Err(paid) => {
                Err(Duration::from_nanos(paid.saturating_add(cost(amount, per_s)) - now)
                    .saturating_sub(BURST))
            }
        }
    }

    /// Takes `amount`, even if there is no room.
    fn charge(&self, amount: u64, per_s: u64, now: u64) {
        let step = |paid: u64| Some(paid.max(now).saturating_add(cost(amount, per_s)));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    }
}

/// Returns the time that `amount` takes at a rate of `per_s`, in nanoseconds. The lowest rate is
/// one per second.
fn cost(amount: u64, per_s: u64) -> u64 {
    let nanos = u128::from(amount) * 1_000_000_000 / u128::from(per_s.max(1));
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// A part of the memory for large bodies of a tenant. Given back when it is dropped.
#[derive(Debug)]
pub struct Quota {
    usage: Arc<Usage>,
    bytes: usize,
}

impl Quota {
    /// Adds another quota of the same tenant.
    ///
    /// # Panics
    /// Panics if the tenants differ.
    pub fn merge(&mut self, mut other: Quota) {
        assert!(Arc::ptr_eq(&self.usage, &other.usage), "a body has one tenant");
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Gives back the part beyond `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let surplus = self.bytes.saturating_sub(bytes);
        self.bytes -= surplus;
        self.usage.bodies_bytes.fetch_sub(surplus, Ordering::Relaxed);
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        self.usage.bodies_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Rights;
    use crate::secret::TokenHash;

    fn credential(limits: Limits) -> Credential {
        Credential {
            name: "shop".into(),
            tokens: vec![TokenHash::of(b"")],
            access_keys: Vec::new(),
            certificate: None,
            prefix: String::new(),
            rights: Rights::ALL,
            expires_ms: None,
            limits,
        }
    }

    fn refused<T: std::fmt::Debug>(outcome: Result<T, Denied>, limit: &str) {
        match outcome.unwrap_err() {
            Denied::Limit { limit: at, wait, .. } => assert!(at == limit && wait > Duration::ZERO),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn open_transactions_are_limited_and_given_back() {
        let of = credential(Limits { open_transactions_max: 2, ..Limits::NONE });
        let usage = Usage::new("shop");
        let attempt = |n: u8| [n; 16];
        usage.enter(&of, attempt(1)).unwrap();
        usage.enter(&of, attempt(2)).unwrap();
        refused(usage.enter(&of, attempt(3)), "open_transactions_max");
        usage.leave(attempt(1));
        usage.leave(attempt(1));
        usage.enter(&of, attempt(3)).unwrap();
        // An expired transaction makes room; one whose call is in flight does not.
        usage.stay(attempt(2), Duration::ZERO);
        usage.enter(&of, attempt(4)).unwrap();
        refused(usage.enter(&of, attempt(5)), "open_transactions_max");
        usage.stay(attempt(9), Duration::ZERO);
        assert_eq!(usage.open().places.len(), 2);
    }

    #[test]
    fn memory_of_open_transactions_is_limited_and_given_back() {
        let of = credential(Limits { open_bytes_max: 3 << 20, ..Limits::NONE });
        let usage = Usage::new("shop");
        let attempt = |n: u8| [n; 16];
        let load = |value_bytes: usize| {
            let mut load = Load::default();
            load.add(1, value_bytes);
            load
        };
        for n in 1..=2 {
            usage.enter(&of, attempt(n)).unwrap();
            // Values beyond 1 MiB go to the store and count no further.
            usage.load(&of, attempt(n), load(100 << 20)).unwrap();
            usage.load(&of, attempt(n), load(100 << 20)).unwrap();
        }
        usage.enter(&of, attempt(3)).unwrap();
        refused(usage.load(&of, attempt(3), load(1 << 20)), "open_bytes_max");
        usage.load(&of, attempt(3), load(1_000)).unwrap();
        usage.leave(attempt(1));
        usage.load(&of, attempt(3), load(1 << 20)).unwrap();
        // An expired transaction makes room; an unknown one takes none.
        refused(
            usage.load(&of, attempt(3), Load { operations_bytes: 1 << 20, values_bytes: 0 }),
            "open_bytes_max",
        );
        usage.stay(attempt(2), Duration::ZERO);
        usage.load(&of, attempt(3), Load { operations_bytes: 1 << 20, values_bytes: 0 }).unwrap();
        usage.load(&of, attempt(1), load(usize::MAX)).unwrap();
        usage.leave(attempt(3));
        let open = usage.open();
        assert_eq!((open.bytes, open.places.len()), (0, 0));
    }

    #[test]
    fn body_bytes_are_limited_and_given_back() {
        let of = credential(Limits { bodies_bytes_max: 100, ..Limits::NONE });
        let usage = Arc::new(Usage::new("shop"));
        let mut one = usage.hold(&of, 60).unwrap();
        refused(usage.hold(&of, 41), "bodies_bytes_max");
        refused(usage.hold(&of, usize::MAX), "bodies_bytes_max");
        one.merge(usage.hold(&of, 40).unwrap());
        one.shrink(10);
        drop(usage.hold(&of, 90).unwrap());
        drop(one);
        assert_eq!(usage.bodies_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn calls_have_a_rate_and_a_burst() {
        let rate = Rate::default();
        const S: u64 = 1_000_000_000;
        let took = |from: u64, count: usize| (0..count).filter(|_| rate.take(1, 10, from).is_ok()).count();
        assert_eq!(took(5 * S, 100), 10);
        assert_eq!(rate.take(1, 10, 5 * S), Err(Duration::from_millis(100)));
        assert_eq!(took(5 * S + S / 2, 100), 5);
        assert_eq!(took(60 * S, 100), 10);
    }

    #[test]
    fn later_calls_wait_for_charged_bytes() {
        let rate = Rate::default();
        assert_eq!(rate.wait(0), None);
        rate.charge(5_000, 1_000, 0);
        assert_eq!(rate.wait(0), Some(Duration::from_secs(4)));
        assert_eq!(rate.wait(4_000_000_001), None);
        rate.charge(u64::MAX, 1, 0);
        assert!(rate.wait(0).is_some());
    }
}
