//! Kills servers, stops them, and sets their clocks, at instants drawn from the seed.

use std::net::SocketAddr;
use std::time::Duration;

use aft_e2e::server::Server;
use aft_e2e::wall_clock::WallClock;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use tokio::sync::watch;

/// The time between two events: long enough for some hundred transactions.
const LIFE_MS: std::ops::Range<u64> = 50..400;
/// The time for which a server is usually stopped: mostly shorter than a transaction may last.
const SHORT_STOP_MS: std::ops::Range<u64> = 20..600;
/// The time for which it is stopped now and then: longer than any transaction may last.
const LONG_STOP_MS: std::ops::Range<u64> = 2_100..3_500;
const LONG_STOPS: f64 = 0.2;

/// A kind of disturbance of a server.
#[derive(Debug, Clone, Copy)]
enum Event {
    Kill,
    Stop,
    Clock,
}

/// A server and its own clock, declared in this order so that the process ends before its clock.
pub(crate) struct Place {
    pub(crate) server: Option<Server>,
    pub(crate) clock: WallClock,
}

/// Servers on one store.
pub(crate) struct Site {
    pub(crate) url: String,
    pub(crate) arguments: &'static [&'static str],
    pub(crate) settings: Vec<(&'static str, &'static str)>,
    /// The largest offset of a clock, in seconds, in either direction.
    pub(crate) off_max_s: i64,
    pub(crate) places: Vec<Place>,
}

impl Site {
    /// Starts all servers with the right time. The store was checked with the default times before,
    /// so these are changed first.
    pub(crate) fn start(&mut self) {
        assert!(self.places.iter().all(|place| place.server.is_none()), "they start together");
        let mut environment = self.settings.clone();
        for place in &mut self.places {
            place.clock.set(0);
            environment.extend(place.clock.environment());
        }
        Server::start_with_other_times(&self.url, self.arguments, &environment).kill();
        (0..self.places.len()).for_each(|at| self.restart(at));
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.places.iter().map(|place| place.server.as_ref().expect("it was started").address()).collect()
    }

    /// Kills all servers.
    pub(crate) fn end(&mut self) {
        self.places.iter_mut().filter_map(|place| place.server.take()).for_each(Server::kill);
    }

    /// Kills a server if it runs, and starts it again. Blocks.
    fn restart(&mut self, at: usize) {
        let Site { url, arguments, settings, places, .. } = self;
        let Place { server, clock } = &mut places[at];
        server.take().into_iter().for_each(Server::kill);
        let environment = [clock.environment(), settings.clone()].concat();
        *server = Some(Server::start_in(url, arguments, &environment));
    }
}

/// Carries out `events` events of each kind, in random order. After each one, the clients are
/// distributed over the servers differently.
pub(crate) async fn run(
    rng: &mut StdRng,
    site: &mut Site,
    events: u32,
    clients: &[watch::Sender<SocketAddr>],
) {
    let mut order: Vec<Event> = (0..events).flat_map(|_| [Event::Kill, Event::Stop, Event::Clock]).collect();
    order.shuffle(rng);
    for event in order {
        tokio::time::sleep(Duration::from_millis(rng.random_range(LIFE_MS))).await;
        let at = rng.random_range(0..site.places.len());
        match event {
            Event::Kill => tokio::task::block_in_place(|| site.restart(at)),
            Event::Stop => {
                let server = site.places[at].server.as_ref().expect("it was started");
                server.pause();
                let is_long = rng.random_bool(LONG_STOPS);
                let ms = rng.random_range(if is_long { LONG_STOP_MS } else { SHORT_STOP_MS });
                // In half of the cases its clients use another server while it is stopped.
                if rng.random_bool(0.5) {
                    route(rng, site, clients);
                }
                tokio::time::sleep(Duration::from_millis(ms)).await;
                site.places[at].server.as_ref().expect("it was started").resume();
            }
            Event::Clock => {
                // The clock is set while the server runs, or while it is restarted.
                let with_restart = rng.random_bool(0.5);
                if with_restart && let Some(server) = site.places[at].server.take() {
                    server.kill();
                }
                site.places[at].clock.set(rng.random_range(-site.off_max_s..=site.off_max_s));
                if with_restart {
                    tokio::task::block_in_place(|| site.restart(at));
                }
            }
        }
        route(rng, site, clients);
    }
}

/// Sends each client to some server.
fn route(rng: &mut StdRng, site: &Site, clients: &[watch::Sender<SocketAddr>]) {
    let addresses = site.addresses();
    let shift = rng.random_range(0..addresses.len());
    for (at, client) in clients.iter().enumerate() {
        client.send(addresses[(at + shift) % addresses.len()]).expect("clients are running");
    }
}
