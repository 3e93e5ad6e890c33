//! Opening: a first look at the server that turns each mistake into a sentence.
//!
//! ```text
//!   URL ─► connect, AUTH, SELECT, TIME ─► INFO ─► CONFIG GET, where it is allowed ─► SCRIPT LOAD
//!          is it there, a Redis, ours?    old, clustered,  what does an              may it run scripts?
//!                                         a replica,       acknowledgement mean?
//!                                         evicting?
//! ```
//!
//! Ten requests or so, none of which writes. That writes work, and decide atomically, is the race probe's business, which `aft serve` runs first.

use std::collections::HashMap;

use aft_store::Error;

use crate::failure::not_redis;
use crate::link::{Link, Read, text};
use crate::location::Location;
use crate::{OpenError, Options};

/// The oldest version whose scripts, users and `ZRANGEBYLEX` are what this needs; Redis 7.0 is what it is tested on.
const VERSION_MIN: (u32, u32) = (6, 0);

/// When the server fsyncs what it acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fsync {
    /// Before it answers.
    Always,
    /// Before it answers, but not while it rewrites its file.
    NotWhileRewriting,
    EverySecond,
    /// When its operating system does.
    Whenever,
    /// There is an append-only file, and CONFIG GET is not allowed.
    Unknown,
    /// There is no append-only file.
    Never,
}

impl Fsync {
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
}

/// What the server is configured for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) fsync: Fsync,
    /// What should worry whoever runs it.
    pub(crate) cautions: Vec<String>,
}

pub(crate) async fn open(url: &str, options: &Options) -> Result<(Link, Location, Facts), OpenError> {
    let mut location = Location::parse(url)?;
    if location.password.is_none() {
        location.password.clone_from(&options.password);
    }
    let link = Link::new(location.clone())?;
    let asked = link.asked("open", &"the server");
    let info = link.read(&asked, Read::Other, &redis::cmd("INFO")).await?;
    let info = text(info).ok_or_else(|| not_redis(&asked, "INFO that is no text"))?;
    let info = fields(&info);
    check(&info).map_err(|problem| OpenError::Unfit { url: link.url.clone(), problem })?;
    let fsync = fsync(&link, &asked, &info).await?;
    let cautions = cautions(&link.url, fsync, &info);
    link.load_all(&asked).await?;
    Ok((link, location, Facts { fsync, cautions }))
}

/// The lines `name:value` of INFO.
fn fields(info: &str) -> HashMap<&str, &str> {
    info.lines().filter_map(|line| line.trim_end().split_once(':')).collect()
}

/// Says why a server cannot be used.
fn check(info: &HashMap<&str, &str>) -> Result<(), String> {
    let get = |name: &str| info.get(name).copied().unwrap_or_default();
    let said = get("redis_version");
    let Some(version) = version(said) else {
        return Err("the server does not tell its version: is it a Redis?".into());
    };
    if version < VERSION_MIN {
        let (major, minor) = VERSION_MIN;
        return Err(format!(
            "the server is Redis {said}, which is too old: {major}.{minor} or newer is needed"
        ));
    }
    if get("redis_mode") == "cluster" {
        return Err("the server is part of a Redis Cluster, whose scripts cannot reach all keys: name one that is not".into());
    }
    if get("redis_mode") == "sentinel" {
        return Err("this is a Sentinel, which keeps no data: name the server that it watches".into());
    }
    if get("role") == "slave" {
        return Err("the server is a replica: name its primary".into());
    }
    let policy = get("maxmemory_policy");
    if get("maxmemory") != "0" && policy.starts_with("allkeys") {
        return Err(format!(
            "the server throws keys away when its memory is full (maxmemory-policy {policy}), and a record that is thrown away is lost data: set maxmemory-policy noeviction"
        ));
    }
    Ok(())
}

/// What to tell whoever runs this, though it works.
fn cautions(url: &str, fsync: Fsync, info: &HashMap<&str, &str>) -> Vec<String> {
    let get = |name: &str| info.get(name).copied().unwrap_or_default();
    let mut cautions = Vec::new();
    match fsync {
        Fsync::Always => {}
        Fsync::NotWhileRewriting | Fsync::EverySecond | Fsync::Whenever | Fsync::Unknown | Fsync::Never => {
            cautions.push(format!(
                "{url}: an acknowledgement is not known to be fsynced: {}; for one that is, set appendonly yes, appendfsync always and no-appendfsync-on-rewrite no",
                fsync.durability()
            ));
        }
    }
    let (limit, policy) = (get("maxmemory"), get("maxmemory_policy"));
    if policy.starts_with("allkeys") {
        cautions.push(format!(
            "{url}: as soon as maxmemory is set the server throws keys away (maxmemory-policy {policy}): set maxmemory-policy noeviction"
        ));
    } else if limit != "0" && !policy.is_empty() && policy != "noeviction" {
        cautions.push(format!(
            "{url}: the server throws away keys that expire when its memory is full (maxmemory-policy {policy}); none of this store's does, unless somebody sets that: noeviction is safer"
        ));
    }
    cautions
}

async fn fsync(link: &Link, asked: &str, info: &HashMap<&str, &str>) -> Result<Fsync, Error> {
    if info.get("aof_enabled") != Some(&"1") {
        return Ok(Fsync::Never);
    }
    // One by one: several at once need Redis 7.
    let (Some(when), Some(rewrite)) = (
        setting(link, asked, "appendfsync").await?,
        setting(link, asked, "no-appendfsync-on-rewrite").await?,
    ) else {
        return Ok(Fsync::Unknown);
    };
    Ok(match (when.as_str(), rewrite.as_str()) {
        ("always", "no") => Fsync::Always,
        ("always", _) => Fsync::NotWhileRewriting,
        ("everysec", _) => Fsync::EverySecond,
        ("no", _) => Fsync::Whenever,
        (_, _) => Fsync::Unknown,
    })
}

/// A setting of the server; `None` where it may not be asked, as with most providers.
async fn setting(link: &Link, asked: &str, name: &str) -> Result<Option<String>, Error> {
    match link.read(asked, Read::Other, redis::cmd("CONFIG").arg("GET").arg(name)).await {
        Ok(redis::Value::Array(mut pair)) if pair.len() == 2 => Ok(pair.pop().and_then(text)),
        Ok(_) | Err(Error::Refused(_)) => Ok(None),
        Err(other) => Err(other),
    }
}

/// Of `7.0.15`, the first two numbers.
fn version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nrole:master\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n";

    fn with(changes: &[(&'static str, &'static str)]) -> HashMap<&'static str, &'static str> {
        let mut info = fields(FINE);
        info.extend(changes.iter().copied());
        info
    }

    #[test]
    fn servers_that_would_lose_data_are_refused() {
        assert_eq!(check(&with(&[])), Ok(()));
        assert_eq!(check(&with(&[("redis_version", "6.0.1")])), Ok(()));
        assert_eq!(check(&with(&[("maxmemory", "1"), ("maxmemory_policy", "volatile-lru")])), Ok(()));
        assert_eq!(check(&with(&[("maxmemory_policy", "allkeys-lru")])), Ok(()));
        let refused = |changes: &[(&'static str, &'static str)], word: &str| {
            let why = check(&with(changes)).expect_err("it is unfit");
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
    fn what_should_worry_is_said() {
        assert!(cautions("u", Fsync::Always, &with(&[])).is_empty());
        for fsync in
            [Fsync::NotWhileRewriting, Fsync::EverySecond, Fsync::Whenever, Fsync::Unknown, Fsync::Never]
        {
            let said = cautions("u", fsync, &with(&[]));
            assert!(said.len() == 1 && said[0].contains("appendfsync always"), "{said:?}");
        }
        let said = cautions("u", Fsync::Always, &with(&[("maxmemory_policy", "allkeys-lru")]));
        assert!(said.len() == 1 && said[0].contains("maxmemory is set"), "{said:?}");
        let said =
            cautions("u", Fsync::Always, &with(&[("maxmemory", "1"), ("maxmemory_policy", "volatile-ttl")]));
        assert!(said.len() == 1 && said[0].contains("volatile-ttl"), "{said:?}");
    }
}
