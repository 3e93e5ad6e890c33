//! AFT at both isolation levels: the cost of the serializable level without conflicts, the
//! throughput of one contended key, and the gain from more clients on a store that syncs.
//!
//! `aft serve` is a process of its own with its default settings. The clients are in Rust, each
//! with a connection of its own. On stores that servers share, each level has its own prefix of
//! keys.

use std::time::Duration;

use aft_client::{Client, Error, Isolation, Op, Request};
use aft_services::Server;
use indicatif::ProgressBar;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tempfile::TempDir;

use crate::data::{Cell, Seen};
use crate::measure::Choice;
use crate::others::ground::{self, AftServer};
use crate::others::load::{self, Caller, Length};
use crate::others::restate::level_name;
use crate::others::{AFT_READ_ATOMIC, AFT_SERIALIZABLE, LEVELS, Outcome, ROUNDS, Rounds};
use crate::plan::Kind;
use crate::site::Failed;

pub(crate) const COST: &str = "level-cost";
pub(crate) const HOT: &str = "hot-key";
pub(crate) const MANY: &str = "redis-clients";
/// All figures of this file.
pub(crate) const FIGURES: [&str; 3] = [COST, HOT, MANY];

pub(crate) const COST_ABOUT: &str = "One client runs transactions that read two of 1,000 balances (100 bytes each) and write them.\n\
    Each step is a call, and so is the commit, as in a function.\n\
    There is no other client, so nothing conflicts.\n\
    On a store that servers share, a serializable commit takes one more round trip.";
pub(crate) const HOT_ABOUT: &str = "Clients count one key up, each in serializable runs that read it and write it one higher.\n\
    A client that meets a conflict runs again after a pause.\n\
    At the end the key holds exactly the number of acknowledged runs.\n\
    Attempts are those of all runs.";
pub(crate) const MANY_ABOUT: &str = "Transactions of two puts of 4 KiB, drawn from 1,000 keys, in one call, through one server.\n\
    The store is a Redis that fsyncs before it answers (`appendfsync always`).";

/// The numbers of clients at the points of a figure.
const HOT_CLIENTS: [usize; 2] = [1, 16];
const MANY_CLIENTS: [usize; 3] = [1, 10, 64];
const KEYS: u32 = 1_000;
const BALANCE_LEN: usize = 100;
const VALUE_LEN: usize = 4 << 10;
/// The key that all clients count up.
const COUNTER: &str = "ser/counter";
/// The limit of attempts of one run: so high that no client gives up, however often it conflicts.
const ATTEMPTS_MAX: u32 = 10_000;
const WARM_UP_S: f64 = 0.5;
const TIME_S: f64 = 2.5;
/// The name of a bucket, a table or a prefix.
const NAME: &str = "figures";

/// The stores on which a figure is measured.
fn kinds(figure: &str) -> &'static [Kind] {
    match figure {
        MANY => &[Kind::Redis],
        _ => &Kind::ALL,
    }
}

/// The levels and the numbers of clients at which a figure is measured.
fn points(figure: &str) -> (&'static [&'static str], &'static [usize]) {
    const BOTH: &[&str] = &[AFT_READ_ATOMIC, AFT_SERIALIZABLE];
    match figure {
        COST => (BOTH, &[1]),
        HOT => (&[AFT_SERIALIZABLE], &HOT_CLIENTS),
        MANY => (BOTH, &MANY_CLIENTS),
        _ => unreachable!("{figure} is no figure of this file"),
    }
}

/// Returns true if `figure` is one of this file.
pub(crate) fn shows(figure: &str) -> bool {
    FIGURES.contains(&figure)
}

/// Returns the chosen figures of this file that are measured on `kind`.
fn wanted(choice: &Choice, kind: Kind) -> Vec<&'static str> {
    let is_wanted = |figure: &&&str| choice.wants(figure) && kinds(figure).contains(&kind);
    FIGURES.iter().filter(is_wanted).copied().collect()
}

/// Returns the number of measurements, where each round counts as one.
pub(crate) fn count(choice: &Choice) -> usize {
    let figures = choice.kinds.iter().flat_map(|kind| wanted(choice, *kind));
    let points = figures.map(points).map(|(ways, clients)| ways.len() * clients.len());
    points.sum::<usize>() * ROUNDS
}

/// Measures the chosen figures. A store that cannot be measured here is left out with the reason,
/// and a store that fails does not stop the others.
pub(crate) async fn run(choice: &Choice, bar: &ProgressBar) -> Outcome {
    let mut outcome = Outcome::default();
    for kind in choice.kinds.iter().copied() {
        let figures = wanted(choice, kind);
        if figures.is_empty() {
            continue;
        }
        let names = figures.join(", ");
        // An fsync in a file system in memory costs nothing, so it says nothing about a disk.
        let fits = if kind == Kind::Memory { Ok(()) } else { ground::on_a_disk() };
        if let Err(why) = fits.and_then(|()| ground::binary().map(drop)) {
            outcome.left_out.push(format!("left out {names} on {}: {why}", kind.name()));
            continue;
        }
        match measure(choice, kind, &figures, bar).await {
            Ok(cells) => outcome.cells.extend(cells),
            Err(why) => outcome.failed.push(format!("{names} on {}: {why}", kind.name())),
        }
    }
    outcome
}

/// Measures figures on one store.
async fn measure(
    choice: &Choice,
    kind: Kind,
    figures: &[&'static str],
    bar: &ProgressBar,
) -> Result<Vec<(&'static str, Cell)>, Failed> {
    let length = Length {
        warm_up: Duration::from_secs_f64(WARM_UP_S * choice.scale),
        time: Duration::from_secs_f64(TIME_S * choice.scale),
    };
    let mut rounds = Rounds::default();
    let place = Place::start(kind).await?;
    for figure in figures.iter().copied() {
        let (ways, clients) = points(figure);
        for round in 0..ROUNDS {
            // Each order once: the way that comes first has the younger server.
            let mut order: Vec<(&str, usize)> =
                clients.iter().flat_map(|clients| ways.iter().map(|way| (*way, *clients))).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for (way, clients) in order {
                bar.set_message(format!("{figure} {} {way} {clients}", kind.name()));
                let seed = choice.seed ^ (round as u64) << 32;
                let seen = place.measure(figure, way, clients, seed, length).await;
                let seen = seen.map_err(|why| format!("{figure}, {}, {way}: {why}", kind.name()))?;
                rounds.add(figure, kind.name(), way, clients, seen);
                bar.inc(1);
            }
        }
    }
    Ok(rounds.cells)
}

/// A server of AFT, and its store.
struct Place {
    aft: AftServer,
    _service: Option<Server>,
    /// The folder of AFT's data. It is the last field, so it is removed after the servers have
    /// ended.
    _folder: TempDir,
}

impl Place {
    async fn start(kind: Kind) -> Result<Place, Failed> {
        let folder = ground::folder()?;
        let service = match kind.service() {
            None => None,
            Some(service) => {
                let started = tokio::task::spawn_blocking(move || service.start()).await;
                Some(started.map_err(|why| why.to_string())?.map_err(|why| why.to_string())?)
            }
        };
        let environment = service.as_ref().map(Server::environment).unwrap_or_default();
        let url = match &service {
            None if kind == Kind::Memory => "memory:".to_owned(),
            None => format!("local:{}", folder.path().join("data").display()),
            Some(server) => {
                // A store that servers share records the level of each prefix when it is made.
                let url = url(kind, server)?;
                let mut init = vec!["store".to_owned(), "init".to_owned(), url.clone()];
                for (_, level, prefix) in LEVELS {
                    init.extend(["--isolation".to_owned(), format!("{prefix}={}", level_name(level))]);
                }
                ground::aft(init, environment.clone()).await?;
                url
            }
        };
        let aft = AftServer::start(&url, &environment, folder.path()).await?;
        let place = Place { aft, _service: service, _folder: folder };
        if kind.service().is_some() {
            place.learn_time().await?;
        }
        Ok(place)
    }

    fn client(&self) -> Result<Client, Failed> {
        let builder = Client::builder(&self.aft.url).attempts_max(ATTEMPTS_MAX);
        builder.build().map_err(|why| why.to_string())
    }

    /// Commits for a while: if a store reports its time in whole seconds, a server needs some
    /// answers until it knows that time to within a round trip.
    async fn learn_time(&self) -> Result<(), Failed> {
        let client = self.client()?;
        let until = std::time::Instant::now() + Duration::from_secs(3);
        while std::time::Instant::now() < until {
            client.put("ser/first", "x").await.map_err(|why| why.to_string())?;
        }
        Ok(())
    }

    async fn measure(
        &self,
        figure: &str,
        way: &str,
        clients: usize,
        seed: u64,
        length: Length,
    ) -> Result<Seen, Failed> {
        let (_, level, prefix) = LEVELS.into_iter().find(|(of, _, _)| *of == way).expect("a way is a level");
        let level = Level { isolation: level, prefix };
        let draws = |client: usize| StdRng::seed_from_u64(seed ^ client as u64);
        match figure {
            COST => {
                let own = |client| Ok(Transfers { client: self.client()?, level, draws: draws(client) });
                let callers = (0..clients).map(own).collect::<Result<Vec<_>, Failed>>()?;
                Ok(load::closed(callers, length).await?.0)
            }
            MANY => {
                let own = |client| Ok(Puts { client: self.client()?, level, draws: draws(client) });
                let callers = (0..clients).map(own).collect::<Result<Vec<_>, Failed>>()?;
                Ok(load::closed(callers, length).await?.0)
            }
            HOT => self.count_up(clients, length).await,
            _ => unreachable!("{figure} is no figure of this file"),
        }
    }

    /// Counts one key up, and checks that it grew by the number of acknowledged runs.
    async fn count_up(&self, clients: usize, length: Length) -> Result<Seen, Failed> {
        let client = self.client()?;
        let read = async || {
            let value = client.get_fresh(COUNTER).await.map_err(|why| why.to_string())?;
            Ok::<u64, Failed>(number(value))
        };
        let before = read().await?;
        let own = |_| Ok(Count { client: self.client()?, counted: 0 });
        let callers = (0..clients).map(own).collect::<Result<Vec<_>, Failed>>()?;
        let (seen, callers) = load::closed(callers, length).await?;
        let counted: u64 = callers.iter().map(|caller| caller.counted).sum();
        let grown = read().await? - before;
        if seen.errors.is_empty() && grown != counted {
            return Err(format!("{counted} increments were acknowledged, but the key grew by {grown}"));
        }
        Ok(seen)
    }
}

/// Returns the URL of a store on `server`; makes the bucket on S3.
fn url(kind: Kind, server: &Server) -> Result<String, Failed> {
    let (endpoint, region) = (server.endpoint(), server.region());
    Ok(match kind {
        Kind::Redis => format!("redis://127.0.0.1:{}/{NAME}", server.port()),
        Kind::DynamoDb => format!("dynamodb://{NAME}/levels?endpoint={endpoint}&region={region}"),
        Kind::S3 => {
            server.create_bucket(NAME).map_err(|why| why.to_string())?;
            format!("s3://{NAME}/levels?endpoint={endpoint}&region={region}")
        }
        Kind::Memory | Kind::Local => unreachable!("an embedded store has no server"),
    })
}

fn number(value: Option<aft_client::Value>) -> u64 {
    value.map_or(0, |value| String::from_utf8_lossy(&value.bytes).trim().parse().unwrap_or(0))
}

/// An isolation level, and the prefix of the keys that have it.
#[derive(Debug, Clone, Copy)]
struct Level {
    isolation: Isolation,
    prefix: &'static str,
}

impl Level {
    /// Draws two different keys.
    fn two_keys(self, draws: &mut StdRng) -> [String; 2] {
        let one = draws.random_range(0..KEYS);
        let other = (one + draws.random_range(1..KEYS)) % KEYS;
        [one, other].map(|key| format!("{}k/{key:04}", self.prefix))
    }

    fn request(self) -> Request {
        Request::unnamed().isolation(self.isolation)
    }
}

/// A client that moves 1 from one balance to another in each call.
struct Transfers {
    client: Client,
    level: Level,
    draws: StdRng,
}

impl Caller for Transfers {
    async fn call(&mut self) -> Result<u64, String> {
        let keys = self.level.two_keys(&mut self.draws);
        let ran = self.client.run(self.level.request(), |t| {
            let [from, to] = keys.clone();
            async move {
                let (less, more) = (number(t.get(&from).await?), number(t.get(&to).await?));
                let text = |balance: u64| format!("{balance:<BALANCE_LEN$}");
                t.put(&from, text(less.saturating_sub(1))).await?;
                t.put(&to, text(more + 1)).await?;
                Ok::<_, Error>("")
            }
        });
        ran.await.map(|ran| u64::from(ran.attempts)).map_err(|why| code(&why))
    }
}

/// A client that writes two values in each call.
struct Puts {
    client: Client,
    level: Level,
    draws: StdRng,
}

impl Caller for Puts {
    async fn call(&mut self) -> Result<u64, String> {
        let keys = self.level.two_keys(&mut self.draws);
        let ops = keys.map(|key| Op::put(key, vec![b'x'; VALUE_LEN]));
        let done = self.client.execute(self.level.request(), ops.into(), "").await;
        done.map(|done| u64::from(done.ran.attempts)).map_err(|why| code(&why))
    }
}

/// A client that counts one key up in each call.
struct Count {
    client: Client,
    counted: u64,
}

impl Caller for Count {
    async fn call(&mut self) -> Result<u64, String> {
        let request = Request::unnamed().isolation(Isolation::Serializable);
        let ran = self.client.run(request, |t| async move {
            let count = number(t.get(COUNTER).await?);
            t.put(COUNTER, (count + 1).to_string()).await?;
            Ok::<_, Error>("")
        });
        let ran = ran.await.map_err(|why| code(&why))?;
        self.counted += 1;
        Ok(u64::from(ran.attempts))
    }
}

fn code(error: &Error) -> String {
    error.code().map_or_else(|| "no answer".to_owned(), |code| code.as_str().to_owned())
}
