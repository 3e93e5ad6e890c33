//! The comparison with etcd: a transaction of two puts, acknowledged when it is on the disk, and
//! one of two gets of values in memory.
//!
//! Both servers are processes of their own with their default settings. Both have a connection for
//! each client and speak protobuf: etcd over HTTP/2, which it requires, AFT over HTTP/1.1.

use std::time::Duration;

use aft_client::{Client, Isolation, Op, Request};
use aft_services::{Server, Service};
use bytes::Bytes;
use indicatif::ProgressBar;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tempfile::TempDir;

use crate::data::{Cell, Seen};
use crate::measure::Choice;
use crate::others::ground::{self, AftServer};
use crate::others::grpc::{self, Connection, PutRequest, RangeRequest};
use crate::others::load::{self, Caller, Length};
use crate::others::{LEVELS, ROUNDS, Rounds, ways};
use crate::site::Failed;

pub(crate) const ETCD: &str = "etcd";
pub(crate) const PUTS: &str = "etcd-puts";
pub(crate) const GETS: &str = "etcd-gets";
/// The points of both figures.
pub(crate) const CLIENTS: [usize; 4] = [1, 4, 16, 64];

pub(crate) const PUTS_ABOUT: &str = "One transaction of two puts of 100 bytes, its two keys drawn from 1,000, closed loop.\n\
    etcd: one member with its default settings; a Txn of two puts, acknowledged when its log is fsynced.\n\
    AFT: `aft serve` on a local: store with its default settings; one execute of two puts, acknowledged when its log is\n\
    fsynced.\n\
    Each server is a process of its own on the same disk; clients are in Rust, with a connection each.";
pub(crate) const GETS_ABOUT: &str = "One transaction of two gets of 100 bytes that the server has in memory; otherwise the same.\n\
    etcd: a Txn of two ranges, linearizable (the default).\n\
    AFT: one execute of two gets.";

/// The name of the store in the figures: both servers have their data on the local disk.
const STORE: &str = "local";
const KEYS: u32 = 1_000;
const VALUE_LEN: usize = 100;
/// The operations of one transaction when all keys are written or read; etcd accepts up to 128.
const PAGE: u32 = 100;
const WARM_UP_S: f64 = 0.5;
const TIME_S: f64 = 2.5;

/// The operations of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Puts,
    Gets,
}

/// Both servers.
struct Place {
    etcd: Server,
    aft: AftServer,
    /// The folder of AFT's data. It is the last field, so it is removed after the server has ended.
    _folder: TempDir,
}

/// Measures those of both figures that were chosen.
///
/// # Errors
/// Returns an error if a server cannot be started, if a load fails, or if a server holds values
/// that it cannot have after the acknowledged transactions.
pub(crate) async fn run(choice: &Choice, bar: &ProgressBar) -> Result<Vec<(&'static str, Cell)>, Failed> {
    let place = Place::start().await?;
    place.prepare().await?;
    let length = Length {
        warm_up: Duration::from_secs_f64(WARM_UP_S * choice.scale),
        time: Duration::from_secs_f64(TIME_S * choice.scale),
    };
    let mut rounds = Rounds::default();
    for (figure, what) in [(PUTS, What::Puts), (GETS, What::Gets)] {
        if !choice.wants(figure) {
            continue;
        }
        for clients in CLIENTS {
            // The ways alternate, so that each has its share of old servers and of busy minutes.
            for round in 0..ROUNDS {
                for side in ways(round, ETCD) {
                    bar.set_message(format!("{figure} {} {clients}", side.way));
                    let seed = choice.seed ^ (round as u64) << 32;
                    let seen = match side.level {
                        None => place.measure_etcd(what, clients, seed, length).await,
                        Some(level) => place.measure_aft(what, level, clients, seed, length).await,
                    };
                    let seen = seen.map_err(|why| format!("{figure}, {}: {why}", side.way))?;
                    rounds.add(figure, STORE, side.way, clients, seen);
                    bar.inc(1);
                }
            }
            // Between points, when nothing is in flight: the values must not change while they are
            // read page by page.
            place.check().await?;
        }
    }
    Ok(rounds.cells)
}

impl Place {
    async fn start() -> Result<Place, Failed> {
        let etcd = tokio::task::spawn_blocking(|| Service::Etcd.start()).await;
        let etcd = etcd.map_err(|why| why.to_string())?.map_err(|why| why.to_string())?;
        let folder = ground::folder()?;
        let url = format!("local:{}", folder.path().join("data").display());
        let aft = AftServer::start(&url, &[], folder.path()).await?;
        Ok(Place { etcd, aft, _folder: folder })
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.etcd.port())
    }

    fn client(&self) -> Result<Client, Failed> {
        Client::new(&self.aft.url).map_err(|why| why.to_string())
    }

    /// Writes every key on both servers, and on AFT at both levels.
    async fn prepare(&self) -> Result<(), Failed> {
        let mut etcd = Connection::open(&self.host()).await?;
        let aft = self.client()?;
        for first in (0..KEYS).step_by(PAGE as usize) {
            let keys = first..first + PAGE;
            let value = |key| Draw { client: 0, nth: 0, keys: [key, key] }.value();
            let puts = keys.clone().map(|key| put(name("", key), value(key)));
            etcd.txn(puts.collect()).await?;
            for (_, level, prefix) in LEVELS {
                let puts = keys.clone().map(|key| Op::put(name(prefix, key), value(key)));
                let request = Request::unnamed().isolation(level);
                aft.execute(request, puts.collect(), "").await.map_err(|why| why.to_string())?;
            }
        }
        Ok(())
    }

    async fn measure_etcd(
        &self,
        what: What,
        clients: usize,
        seed: u64,
        length: Length,
    ) -> Result<Seen, Failed> {
        let host = self.host();
        let mut callers = Vec::new();
        for draws in Draws::of(clients, seed) {
            let connection = Connection::open(&host).await?;
            callers.push(EtcdCaller { connection, what, draws, acknowledged: 0 });
        }
        // The revision counts the transactions that wrote: it must grow by exactly the acknowledged
        // ones. Failed calls may have had an effect, so there is no check if any failed.
        let mut connection = Connection::open(&host).await?;
        let before = revision(&mut connection).await?;
        let (seen, callers) = load::closed(callers, length).await?;
        let wrote = revision(&mut connection).await? - before;
        let acknowledged: i64 = callers.iter().map(|caller| caller.acknowledged).sum();
        let expected = if what == What::Puts { acknowledged } else { 0 };
        if wrote != expected && seen.errors.is_empty() {
            return Err(format!(
                "etcd acknowledged {expected} transactions, but its revision grew by {wrote}"
            ));
        }
        Ok(seen)
    }

    async fn measure_aft(
        &self,
        what: What,
        (level, prefix): (Isolation, &'static str),
        clients: usize,
        seed: u64,
        length: Length,
    ) -> Result<Seen, Failed> {
        let mut callers = Vec::new();
        for draws in Draws::of(clients, seed) {
            callers.push(AftCaller { client: self.client()?, level, prefix, what, draws });
        }
        let (seen, _) = load::closed(callers, length).await?;
        Ok(seen)
    }

    /// Reads every key on both servers, and checks that its value is one that was written to it.
    async fn check(&self) -> Result<(), Failed> {
        let mut etcd = Connection::open(&self.host()).await?;
        let all = RangeRequest { key: Bytes::from_static(b"k/"), range_end: Bytes::from_static(b"k0") };
        let values: Vec<Bytes> = etcd.range(all).await?.kvs.into_iter().map(|kv| kv.value).collect();
        check(ETCD, &values)?;
        let aft = self.client()?;
        for (way, level, prefix) in LEVELS {
            let mut values = Vec::new();
            for first in (0..KEYS).step_by(PAGE as usize) {
                let gets = (first..first + PAGE).map(|key| Op::get(name(prefix, key)));
                let request = Request::unnamed().isolation(level);
                let executed = aft.execute(request, gets.collect(), "").await;
                let reads = executed.map_err(|why| why.to_string())?.reads;
                values.extend(reads.into_iter().filter_map(|read| read.value));
            }
            check(way, &values)?;
        }
        Ok(())
    }
}

async fn revision(connection: &mut Connection) -> Result<i64, Failed> {
    let one = RangeRequest { key: Bytes::from(name("", 0)), range_end: Bytes::new() };
    let header = connection.range(one).await?.header;
    header.map(|header| header.revision).ok_or_else(|| "etcd's answer has no revision".to_owned())
}

fn name(prefix: &str, key: u32) -> String {
    format!("{prefix}k/{key:04}")
}

fn put(key: String, value: String) -> grpc::Op {
    grpc::Op::Put(PutRequest { key: Bytes::from(key), value: Bytes::from(value) })
}

/// One transaction: its client, its number and its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Draw {
    client: usize,
    nth: u64,
    keys: [u32; 2],
}

impl Draw {
    /// Returns the text that the transaction writes to both keys.
    fn value(self) -> String {
        let [one, other] = self.keys;
        let text = format!("{}-{}-{one:04}-{other:04}-", self.client, self.nth);
        format!("{text:x<VALUE_LEN$}")
    }

    /// Parses a value; returns none if no transaction writes it.
    fn parse(value: &[u8]) -> Option<Draw> {
        let text = std::str::from_utf8(value).ok()?;
        let mut parts = text.split('-');
        let client = parts.next()?.parse().ok()?;
        let nth = parts.next()?.parse().ok()?;
        let keys = [parts.next()?.parse().ok()?, parts.next()?.parse().ok()?];
        let draw = Draw { client, nth, keys };
        (draw.value() == text).then_some(draw)
    }
}

/// Checks the values of all keys, in order. Each value must be one that was written to its key, and
/// the other key of that transaction must not have an older value of the same client, since that
/// would be half a transaction.
///
/// # Errors
/// Returns the first key with a wrong value, or the number of keys if some have none.
fn check(way: &str, values: &[Bytes]) -> Result<(), Failed> {
    if values.len() != KEYS as usize {
        return Err(format!("{way}: {} of {KEYS} keys have a value", values.len()));
    }
    let drawn: Vec<Option<Draw>> = values.iter().map(|value| Draw::parse(value)).collect();
    for (key, draw) in drawn.iter().enumerate() {
        let key = key as u32;
        let Some(draw) = draw.filter(|draw| draw.keys.contains(&key)) else {
            return Err(format!("{way}: key {key} has a value that was never written to it"));
        };
        let older = |other: &Draw| other.client == draw.client && other.nth < draw.nth;
        let partner = draw.keys.into_iter().find(|partner| *partner != key).unwrap_or(key);
        if drawn[partner as usize].as_ref().is_some_and(older) {
            return Err(format!(
                "{way}: key {key} has the value of {draw:?}, but key {partner} an older one"
            ));
        }
    }
    Ok(())
}

/// The transactions of one client.
#[derive(Debug)]
struct Draws {
    client: usize,
    nth: u64,
    rng: StdRng,
}

impl Draws {
    /// Returns the draws of all clients of a run. No two runs write the same value.
    fn of(clients: usize, seed: u64) -> impl Iterator<Item = Draws> {
        // The run is the upper half of a transaction's number, so later transactions of a client
        // have greater numbers across runs as well.
        static RUNS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let run = RUNS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        (0..clients).map(move |client| Draws {
            client: client + 1,
            nth: run << 32,
            rng: StdRng::seed_from_u64(seed ^ client as u64),
        })
    }

    fn next(&mut self) -> Draw {
        self.nth += 1;
        let one = self.rng.random_range(0..KEYS);
        let other = (one + self.rng.random_range(1..KEYS)) % KEYS;
        Draw { client: self.client, nth: self.nth, keys: [one, other] }
    }
}

struct EtcdCaller {
    connection: Connection,
    what: What,
    draws: Draws,
    acknowledged: i64,
}

impl Caller for EtcdCaller {
    async fn call(&mut self) -> Result<u64, String> {
        let draw = self.draws.next();
        let op = |key| match self.what {
            What::Puts => put(name("", key), draw.value()),
            What::Gets => {
                let key = Bytes::from(name("", key));
                grpc::Op::Range(RangeRequest { key, range_end: Bytes::new() })
            }
        };
        let answer = self.connection.txn(draw.keys.map(op).into()).await?;
        self.acknowledged += 1;
        if self.what == What::Gets {
            let found = answer.responses.iter().filter_map(|of| of.range.as_ref()).map(|of| of.kvs.len());
            if found.sum::<usize>() != 2 {
                return Err("not two values".to_owned());
            }
        }
        Ok(1)
    }
}

struct AftCaller {
    client: Client,
    level: Isolation,
    prefix: &'static str,
    what: What,
    draws: Draws,
}

impl Caller for AftCaller {
    async fn call(&mut self) -> Result<u64, String> {
        let draw = self.draws.next();
        let op = |key| match self.what {
            What::Puts => Op::put(name(self.prefix, key), draw.value()),
            What::Gets => Op::get(name(self.prefix, key)),
        };
        let request = Request::unnamed().isolation(self.level);
        let executed = self.client.execute(request, draw.keys.map(op).into(), "").await;
        let executed = executed.map_err(|why| why.to_string())?;
        let found = executed.reads.iter().filter(|read| read.value.is_some()).count();
        if self.what == What::Gets && found != 2 {
            return Err("not two values".to_owned());
        }
        Ok(u64::from(executed.ran.attempts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(client: usize, nth: u64, keys: [u32; 2]) -> Bytes {
        Bytes::from(Draw { client, nth, keys }.value())
    }

    /// Returns a correct value for each key.
    fn fine() -> Vec<Bytes> {
        (0..KEYS).map(|key| written(0, 0, [key, key])).collect()
    }

    #[test]
    fn values_are_of_the_right_length_and_read_back() {
        let mut draws = Draws::of(64, 1).last().expect("there are clients");
        let (one, other) = (draws.next(), draws.next());
        assert!(one.keys[0] != one.keys[1] && one.nth < other.nth);
        assert_eq!((one.value().len(), Draw::parse(one.value().as_bytes())), (VALUE_LEN, Some(one)));
        assert_eq!(Draw::parse(b"1-2-0003-0004-y"), None);
    }

    #[test]
    fn a_value_of_another_key_and_half_a_transaction_are_found() {
        let both = [written(3, 9, [7, 8]), written(3, 9, [7, 8])];
        let mut values = fine();
        values[7..9].clone_from_slice(&both);
        assert_eq!(check("etcd", &values), Ok(()));
        // The second key has an older value of the same client.
        values[8] = written(3, 5, [8, 9]);
        assert!(check("etcd", &values).expect_err("half is missing").contains("key 8 an older one"));
        // A value of another client may be newer.
        values[8] = written(4, 1, [8, 9]);
        assert_eq!(check("etcd", &values), Ok(()));
        values[8] = written(4, 1, [9, 10]);
        assert!(check("etcd", &values).expect_err("not its value").contains("key 8"));
        values.pop();
        assert!(check("etcd", &values).expect_err("one is missing").contains("999 of 1000"));
    }

    #[test]
    fn the_keys_of_both_levels_are_apart() {
        let side = |prefix| name(prefix, 17);
        assert_eq!(LEVELS.map(|(_, _, prefix)| side(prefix)), ["ra/k/0017", "ser/k/0017"]);
    }
}
