//! A look at the server: a check of its kind, of the meaning of its acknowledgements, and that its
//! data are those with which this store was opened.
//!
//! A look is taken on every new connection before any other request, and again on each connection
//! once a minute. If the server does not match, the connection is dropped and every call is
//! rejected, until a look matches again:
//!
//! | property | matches if |
//! |---|---|
//! | `PREFIX/identity`, random, written when the store is first opened | it is the same |
//! | version, mode, role | the server is a primary, not part of a cluster, and new enough |
//! | `maxmemory-policy` | it evicts no more than at the opening, and is not `allkeys-…` (1) |
//! | `evicted_keys` | no key was evicted since the opening (2) |
//! | `appendonly`, `appendfsync`, `no-appendfsync-on-rewrite` | no weaker than at the opening |
//!
//! 1. `allkeys-…` is accepted as long as `maxmemory` is not set.
//! 2. Only if the policy at the opening was to evict nothing.
//!
//! The identity is also checked with every request: writes compare it in their scripts, and every
//! read is followed by a read of it, so that no answer comes from data that replaced the store's
//! between two looks.

use std::collections::HashMap;

use bytes::Bytes;
use redis::{Cmd, Value};

use crate::layout::Layout;

/// The oldest version whose scripts, users and `ZRANGEBYLEX` suffice. Tests run on Redis 7.0.
const VERSION_MIN: (u32, u32) = (6, 0);

/// The time at which the server fsyncs a write. A greater value is a stronger promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fsync {
    /// Never: there is no append-only file.
    Never,
    /// Not known: there is an append-only file, but CONFIG GET is not allowed.
    Unknown,
    /// At the discretion of its operating system.
    Whenever,
    /// Every second.
    EverySecond,
    /// Before it answers, but not while it rewrites its append-only file.
    NotWhileRewriting,
    /// Before it answers.
    Always,
}

impl Fsync {
    /// Returns the meaning of an acknowledgement, for people.
    pub(crate) const fn durability(self) -> &'static str {
        match self {
            Fsync::Always => {
                "fsynced by the server (appendonly yes, appendfsync always); a failover to a replica may lose it"
            }
            Fsync::NotWhileRewriting => {
                "fsynced by the server, but not while it rewrites its file (no-appendfsync-on-rewrite yes): a crash then loses what came since"
            }
            Fsync::EverySecond => {
                "in the server's memory, fsynced a second or two later (appendfsync everysec): a crash loses what came last"
            }
            Fsync::Whenever => {
                "in the server's memory, written to disk whenever its system does (appendfsync no): a crash loses what came last"
            }
            Fsync::Unknown => {
                "in the server's append-only file; whether it is fsynced cannot be read (CONFIG GET is not allowed)"
            }
            Fsync::Never => {
                "in the server's memory only (appendonly no): a crash or restart loses what came since its last snapshot, or all"
            }
        }
    }

    /// Returns the settings that lead to it.
    const fn settings(self) -> &'static str {
        match self {
            Fsync::Always => "appendonly yes, appendfsync always, no-appendfsync-on-rewrite no",
            Fsync::NotWhileRewriting => "appendonly yes, appendfsync always, no-appendfsync-on-rewrite yes",
            Fsync::EverySecond => "appendonly yes, appendfsync everysec",
            Fsync::Whenever => "appendonly yes, appendfsync no",
            Fsync::Unknown => "appendonly yes, and CONFIG GET not allowed",
            Fsync::Never => "appendonly no",
        }
    }

    fn read(appends: bool, when: Option<&str>, while_rewriting: Option<&str>) -> Fsync {
        match (appends, when, while_rewriting) {
            (false, _, _) => Fsync::Never,
            (true, Some("always"), Some("no")) => Fsync::Always,
            (true, Some("always"), Some(_)) => Fsync::NotWhileRewriting,
            (true, Some("everysec"), Some(_)) => Fsync::EverySecond,
            (true, Some("no"), Some(_)) => Fsync::Whenever,
            (true, _, _) => Fsync::Unknown,
        }
    }
}

/// The keys that the server evicts when its memory is full. A greater value evicts more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Evicts {
    Nothing,
    /// Keys that have an expiry. This store sets none, but another client may.
    WhatExpires,
    /// Any key.
    Anything,
}

impl Evicts {
    fn read(policy: &str) -> Evicts {
        if policy.starts_with("allkeys") {
            Evicts::Anything
        } else if policy.is_empty() || policy == "noeviction" {
            Evicts::Nothing
        } else {
            Evicts::WhatExpires
        }
    }
}

/// The findings of one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    version: String,
    mode: String,
    is_replica: bool,
    /// The identifier of one run of the server, from start to stop.
    run_id: String,
    has_maxmemory: bool,
    policy: String,
    /// The number of keys evicted in this run of the server.
    evicted: u64,
    pub(crate) fsync: Fsync,
    pub(crate) identity: Option<Bytes>,
}

/// The indexes of those [`requests`] that the server may forbid.
pub(crate) const MAY_BE_FORBIDDEN: std::ops::RangeInclusive<usize> = 1..=2;

/// Returns the requests of a look, which are sent in one round trip.
pub(crate) fn requests(layout: &Layout) -> [Cmd; 5] {
    // One setting per request: several at once need Redis 7.
    let setting = |name: &str| {
        let mut get = redis::cmd("CONFIG");
        get.arg("GET").arg(name);
        get
    };
    [
        redis::cmd("INFO"),
        setting("appendfsync"),
        setting("no-appendfsync-on-rewrite"),
        identity_get(layout),
        // Keeps the server's clock known, also on a connection that only reads.
        redis::cmd("TIME"),
    ]
}

/// Returns the request for the identity.
pub(crate) fn identity_get(layout: &Layout) -> Cmd {
    let mut get = redis::cmd("GET");
    get.arg(&layout.identity()[..]);
    get
}

impl Seen {
    /// Parses the answers to [`requests`] except the last; the error says which one is malformed.
    /// The caller has replaced errors of CONFIG GET, which most providers forbid, by nil; no other
    /// answer is an error.
    pub(crate) fn read(answers: &[Value]) -> Result<Seen, &'static str> {
        let [info, when, while_rewriting, identity] = answers else {
            return Err("other than four answers to a look");
        };
        let info = text(info).ok_or("INFO that is no text")?;
        let identity = match identity {
            Value::Nil => None,
            Value::BulkString(identity) => Some(Bytes::copy_from_slice(identity)),
            _ => return Err("an identity that is no text"),
        };
        let (when, while_rewriting) = (setting(when), setting(while_rewriting));
        Ok(Seen::of(&info, when.as_deref(), while_rewriting.as_deref(), identity))
    }

    fn of(info: &str, when: Option<&str>, while_rewriting: Option<&str>, identity: Option<Bytes>) -> Seen {
        // INFO has lines of the form `name:value`.
        let fields: HashMap<&str, &str> =
            info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
        let field = |name: &str| fields.get(name).copied().unwrap_or_default();
        Seen {
            version: field("redis_version").to_owned(),
            mode: field("redis_mode").to_owned(),
            is_replica: field("role") == "slave",
            run_id: field("run_id").to_owned(),
            has_maxmemory: !matches!(field("maxmemory"), "" | "0"),
            policy: field("maxmemory_policy").to_owned(),
            evicted: field("evicted_keys").parse().unwrap_or_default(),
            fsync: Fsync::read(field("aof_enabled") == "1", when, while_rewriting),
            identity,
        }
    }

    /// Checks that this server can keep a store; the error says why not, and what to do.
    pub(crate) fn check(&self) -> Result<(), String> {
        let said = &self.version;
        let Some(version) = version(said) else {
            return Err("the server does not report its version: is it a Redis?".into());
        };
        if version < VERSION_MIN {
            let (major, minor) = VERSION_MIN;
            return Err(format!(
                "the server is Redis {said}, which is too old: use {major}.{minor} or newer"
            ));
        }
        if self.mode == "cluster" {
            return Err("the server is part of a Redis Cluster, whose scripts cannot access all keys: name one that is not".into());
        }
        if self.mode == "sentinel" {
            return Err(
                "the server is a Sentinel, which stores no data: name the server that it monitors".into()
            );
        }
        if self.is_replica {
            return Err("the server is a replica: name its primary".into());
        }
        if self.has_maxmemory && Evicts::read(&self.policy) == Evicts::Anything {
            return Err(format!(
                "the server evicts any key when its memory is full (maxmemory-policy {}), and a record that is evicted is lost data: set maxmemory-policy noeviction",
                self.policy
            ));
        }
        Ok(())
    }

    /// Returns warnings about a server that can be used.
    pub(crate) fn cautions(&self, url: &str) -> Vec<String> {
        let mut cautions = Vec::new();
        if self.fsync < Fsync::Always {
            cautions.push(format!(
                "{url}: an acknowledgement is not known to be fsynced: {}; for one that is, set appendonly yes, appendfsync always and no-appendfsync-on-rewrite no",
                self.fsync.durability()
            ));
        }
        let policy = &self.policy;
        match Evicts::read(policy) {
            Evicts::Anything => cautions.push(format!(
                "{url}: as soon as maxmemory is set the server evicts any key (maxmemory-policy {policy}): set maxmemory-policy noeviction"
            )),
            Evicts::WhatExpires if self.has_maxmemory => cautions.push(format!(
                "{url}: the server evicts keys that expire when its memory is full (maxmemory-policy {policy}); this store sets no expiry, but another client may: maxmemory-policy noeviction is safer"
            )),
            Evicts::WhatExpires | Evicts::Nothing => {}
        }
        cautions
    }
}

/// The look at the opening, with which later ones are compared.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    identity: Bytes,
    opened: Seen,
    /// The key of the identity, for messages.
    place: String,
}

impl Terms {
    pub(crate) fn new(layout: &Layout, identity: Bytes, opened: Seen) -> Terms {
        assert!(!identity.is_empty(), "an identity is written before the store is used");
        Terms { identity, opened, place: String::from_utf8_lossy(&layout.identity()).into_owned() }
    }

    pub(crate) fn identity(&self) -> &Bytes {
        &self.identity
    }

    /// Compares a look with the one at the opening; the error says what has become worse, and what
    /// to do.
    pub(crate) fn judge(&self, seen: &Seen) -> Result<(), String> {
        seen.check()?;
        let Terms { identity, opened, place } = self;
        let mut changes = Vec::new();
        match &seen.identity {
            Some(found) if found == identity => {}
            Some(_) => changes.push(format!(
                "the server has the data of another store ({place} has changed): check where the address leads and what was restored there; to use the data that are there now, restart this process"
            )),
            None => changes.push(format!(
                "the data of this store are gone from the server ({place} is missing): they were flushed, or the server was restarted or replaced without them; restore them, or restart this process to begin an empty store"
            )),
        }
        // A stricter policy is fine. A looser one may evict data that are already acknowledged.
        let (evicts, evicted) = (Evicts::read(&seen.policy), Evicts::read(&opened.policy));
        if evicts > evicted {
            changes.push(format!(
                "maxmemory-policy was {} when the store was opened and is {} now, so that acknowledged data may be evicted: set it back",
                opened.policy, seen.policy
            ));
        }
        // The server counts evictions from its start.
        let base = if seen.run_id == opened.run_id { opened.evicted } else { 0 };
        if evicted == Evicts::Nothing && seen.evicted > base {
            changes.push(format!(
                "the server has evicted {} keys since the store was opened, of this store or of others: set maxmemory-policy noeviction, restore what is missing, then restart this process",
                seen.evicted - base
            ));
        }
        // Callers were promised the durability of the opening.
        if seen.fsync < opened.fsync {
            changes.push(format!(
                "the server acknowledged writes under {} when the store was opened, and now does under {}: set it back, or restart this process to accept the weaker setting",
                opened.fsync.settings(),
                seen.fsync.settings()
            ));
        }
        if changes.is_empty() { Ok(()) } else { Err(changes.join("; and ")) }
    }
}

/// Returns the text of an answer; `None` if it is not a text.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

/// Returns the time in an answer to TIME (seconds and microseconds) in microseconds.
pub(crate) fn micros(value: &Value) -> Option<i64> {
    let Value::Array(parts) = value else { return None };
    let number = |value: &Value| text(value)?.parse::<i64>().ok().filter(|number| *number >= 0);
    match &parts[..] {
        [seconds, micros] => number(seconds)?.checked_mul(1_000_000)?.checked_add(number(micros)?),
        _ => None,
    }
}

/// Returns the value in an answer to CONFIG GET; `None` if that is forbidden.
fn setting(answer: &Value) -> Option<String> {
    match answer {
        Value::Array(pair) if pair.len() == 2 => text(&pair[1]),
        _ => None,
    }
}

/// Returns the first two numbers of a version such as `7.0.15`.
fn version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nrun_id:aa\r\nrole:master\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\nevicted_keys:3\r\n";

    /// Returns a look at a suitable server, with some lines of its INFO replaced.
    fn with(changes: &[(&str, &str)]) -> Seen {
        let mut info = FINE.to_owned();
        for (name, value) in changes {
            // If a name occurs twice, the later line counts.
            info.push_str(&format!("{name}:{value}\r\n"));
        }
        Seen::of(&info, Some("always"), Some("no"), Some(Bytes::from_static(b"me")))
    }

    #[test]
    fn servers_that_would_lose_data_are_refused() {
        assert_eq!(with(&[]).check(), Ok(()));
        assert_eq!(with(&[("redis_version", "6.0.1")]).check(), Ok(()));
        assert_eq!(with(&[("maxmemory", "1"), ("maxmemory_policy", "volatile-lru")]).check(), Ok(()));
        assert_eq!(with(&[("maxmemory_policy", "allkeys-lru")]).check(), Ok(()));
        let refused = |changes: &[(&str, &str)], word: &str| {
            let why = with(changes).check().expect_err("it is unfit");
            assert!(why.contains(word), "{why}");
        };
        refused(&[("maxmemory", "1"), ("maxmemory_policy", "allkeys-lru")], "noeviction");
        refused(&[("redis_version", "5.0.9")], "too old");
        refused(&[("redis_version", "")], "is it a Redis");
        refused(&[("redis_mode", "cluster")], "Cluster");
        refused(&[("redis_mode", "sentinel")], "Sentinel");
        refused(&[("role", "slave")], "primary");
    }

    #[test]
    fn warnings_name_the_setting() {
        assert!(with(&[]).cautions("u").is_empty());
        for fsync in
            [Fsync::NotWhileRewriting, Fsync::EverySecond, Fsync::Whenever, Fsync::Unknown, Fsync::Never]
        {
            let said = Seen { fsync, ..with(&[]) }.cautions("u");
            assert!(said.len() == 1 && said[0].contains("appendfsync always"), "{said:?}");
        }
        let said = with(&[("maxmemory_policy", "allkeys-lru")]).cautions("u");
        assert!(said.len() == 1 && said[0].contains("maxmemory is set"), "{said:?}");
        let said = with(&[("maxmemory", "1"), ("maxmemory_policy", "volatile-ttl")]).cautions("u");
        assert!(said.len() == 1 && said[0].contains("volatile-ttl"), "{said:?}");
    }

    #[test]
    fn fsync_is_read_from_the_settings() {
        let check = |appends, when, while_rewriting, expect| {
            assert_eq!(Fsync::read(appends, when, while_rewriting), expect);
        };
        check(true, Some("always"), Some("no"), Fsync::Always);
        check(true, Some("always"), Some("yes"), Fsync::NotWhileRewriting);
        check(true, Some("everysec"), Some("yes"), Fsync::EverySecond);
        check(true, Some("no"), Some("no"), Fsync::Whenever);
        check(true, None, None, Fsync::Unknown);
        check(true, Some("always"), None, Fsync::Unknown);
        check(false, Some("always"), Some("no"), Fsync::Never);
    }

    #[test]
    fn changes_for_the_worse_are_named() {
        let terms = |opened: Seen| Terms::new(&Layout::new("aft"), Bytes::from_static(b"me"), opened);
        let fine = terms(with(&[]));
        let fits = |terms: &Terms, seen: &Seen| assert_eq!(terms.judge(seen), Ok(()));
        let refused = |terms: &Terms, seen: &Seen, words: &[&str]| {
            let why = terms.judge(seen).expect_err("it does not fit");
            for word in words {
                assert!(why.contains(word), "{word:?} is missing in {why}");
            }
        };
        fits(&fine, &with(&[]));
        // A restart, and a memory limit at which nothing is evicted.
        fits(&fine, &with(&[("run_id", "bb"), ("evicted_keys", "0"), ("maxmemory", "1")]));
        refused(&fine, &Seen { identity: None, ..with(&[]) }, &["aft/identity is missing", "restore"]);
        let other = Seen { identity: Some(Bytes::from_static(b"you")), ..with(&[]) };
        refused(&fine, &other, &["another store", "aft/identity"]);
        refused(&fine, &with(&[("role", "slave")]), &["replica"]);
        refused(&fine, &with(&[("maxmemory_policy", "allkeys-lru")]), &["was noeviction", "is allkeys-lru"]);
        refused(&fine, &with(&[("maxmemory_policy", "volatile-lru")]), &["is volatile-lru"]);
        refused(&fine, &with(&[("evicted_keys", "5")]), &["evicted 2 keys"]);
        refused(&fine, &with(&[("run_id", "bb"), ("evicted_keys", "1")]), &["evicted 1 keys"]);
        for fsync in
            [Fsync::NotWhileRewriting, Fsync::EverySecond, Fsync::Whenever, Fsync::Unknown, Fsync::Never]
        {
            let weaker = Seen { fsync, ..with(&[]) };
            refused(&fine, &weaker, &["under appendonly yes, appendfsync always", fsync.settings()]);
            // A weak setting at the opening was accepted then.
            fits(&terms(weaker.clone()), &weaker);
            fits(&terms(weaker), &with(&[]));
        }
        // All changes are reported at once.
        let both = Seen { identity: None, ..with(&[("maxmemory_policy", "allkeys-lru")]) };
        refused(&fine, &both, &["identity is missing", "allkeys-lru"]);

        // A store on a server that evicts the keys for which other clients set an expiry.
        let guest = terms(with(&[("maxmemory", "1"), ("maxmemory_policy", "volatile-lru")]));
        fits(&guest, &with(&[("maxmemory_policy", "volatile-ttl"), ("evicted_keys", "9")]));
        refused(&guest, &with(&[("maxmemory_policy", "allkeys-lru")]), &["is allkeys-lru"]);
    }
}
