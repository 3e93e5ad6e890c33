//! Kills the server and starts it again, at instants drawn from the seed.

use std::path::Path;
use std::time::Duration;

use aft_e2e::server::{Server, Starting, local};
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::sync::watch;

use crate::{KILLS_IN_EPOCH, TIME};

/// The time between a start and a kill: long enough for some hundred transactions, short enough for
/// many kills in a test.
const LIFE_MS: std::ops::Range<u64> = 30..300;
/// The time after which a starting server is killed.
const SHORT_LIFE_MS: std::ops::Range<u64> = 0..40;
/// The probability that a killed server's successor is killed while it starts.
const SHORT_LIVES: f64 = 0.2;

/// Kills `server` and its successors; sends the address of each one that comes to listen to
/// `address`. Returns the last, which runs.
pub(crate) async fn run(
    rng: &mut StdRng,
    mut server: Server,
    directory: &Path,
    address: &watch::Sender<std::net::SocketAddr>,
) -> Server {
    for _ in 0..KILLS_IN_EPOCH {
        tokio::time::sleep(Duration::from_millis(rng.random_range(LIFE_MS))).await;
        server.kill();
        while rng.random_bool(SHORT_LIVES) {
            let starting = Starting::spawn(&local(directory), TIME);
            tokio::time::sleep(Duration::from_millis(rng.random_range(SHORT_LIFE_MS))).await;
            starting.kill();
        }
        let store = local(directory);
        server = tokio::task::spawn_blocking(move || Server::start_with(&store, TIME))
            .await
            .expect("the server starts again");
        address.send(server.address()).expect("clients are running");
    }
    server
}
