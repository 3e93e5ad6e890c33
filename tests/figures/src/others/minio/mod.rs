//! The comparison with MinIO: the S3 endpoint of AFT on a `local:` store beside MinIO on the same
//! disk, and on an `s3:` store beside plain access to the same MinIO.
//!
//! * [`endpoint`] – a minimal client of both.
//! * [`objects`] – small objects, large ones and listings, on the disk.
//! * [`over`] – listings and gets through AFT on top of MinIO.
//!
//! Each server is a process of its own with its default settings, and checks signatures.

mod endpoint;
mod objects;
mod over;

use aft_services::{Server, Service};
use bytes::Bytes;
use futures::future::try_join_all;
use indicatif::ProgressBar;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tempfile::TempDir;

use crate::data::Cell;
use crate::measure::Choice;
use crate::others::ground::{self, AftServer};
use crate::others::minio::endpoint::Endpoint;
use crate::others::{ROUNDS, Rounds};
use crate::site::Failed;

pub(crate) const MINIO: &str = "MinIO";
pub(crate) const AFT: &str = "aft";
pub(crate) const PUTS: &str = "s3-puts";
pub(crate) const GETS: &str = "s3-gets";
pub(crate) const LARGE: &str = "s3-large";
pub(crate) const LISTINGS: &str = "s3-listings";
pub(crate) const OVER: &str = "s3-over-minio";

pub(crate) use objects::{
    CLIENTS, GETS_ABOUT, LARGE_ABOUT, LISTINGS_ABOUT, LargeKind, ListingKind, PUTS_ABOUT,
};
pub(crate) use over::{OVER_ABOUT, OverKind};

/// The bucket of every measurement.
const BUCKET: &str = "figures";
/// The number of connections that write what a measurement reads.
const WRITERS: usize = 16;

/// Returns the number of measurements of a figure, without its repetition in rounds.
pub(crate) fn count(figure: &str) -> usize {
    match figure {
        PUTS | GETS => 2 * CLIENTS.len(),
        LARGE => 2 * LargeKind::ALL.len(),
        LISTINGS => 2 * ListingKind::ALL.len(),
        OVER => OverKind::ALL.len(),
        _ => unreachable!("{figure} is no comparison with MinIO"),
    }
}

/// Measures those of the figures that were chosen.
///
/// # Errors
/// Returns an error if a server cannot be started, or if a load fails.
pub(crate) async fn run(choice: &Choice, bar: &ProgressBar) -> Result<Vec<(&'static str, Cell)>, Failed> {
    let mut rounds = Rounds::default();
    if [PUTS, GETS, LARGE, LISTINGS].into_iter().any(|figure| choice.wants(figure)) {
        objects::run(choice, bar, &mut rounds).await?;
    }
    if choice.wants(OVER) {
        over::run(choice, bar, &mut rounds).await?;
    }
    Ok(rounds.cells)
}

/// A server of AFT with an S3 endpoint.
struct AftPlace {
    aft: AftServer,
    endpoint: Endpoint,
}

impl AftPlace {
    /// Returns the host and the port of its native API.
    fn native_host(&self) -> &str {
        self.aft.url.trim_start_matches("http://")
    }
}

/// An access key of AFT, and the file that contains it.
struct Key {
    id: String,
    secret: String,
    file: String,
}

impl Key {
    /// Draws a key of a credential with every right.
    async fn make(folder: &TempDir) -> Result<Key, Failed> {
        let file = folder.path().join("credentials.toml").display().to_string();
        let add = ["credentials", "add", "figures", &file, "--prefix", "", "--allow", "read,write"];
        let mut arguments: Vec<String> = add.map(str::to_owned).to_vec();
        arguments.push("--access-key".to_owned());
        let lines = ground::aft(arguments, Vec::new()).await?;
        let value = |name: &str| {
            let line =
                lines.lines().find_map(|line| line.split_once('=').filter(|(key, _)| key.ends_with(name)));
            line.map(|(_, value)| value.to_owned()).ok_or_else(|| format!("no {name} in {lines}"))
        };
        Ok(Key { id: value("AWS_ACCESS_KEY_ID")?, secret: value("AWS_SECRET_ACCESS_KEY")?, file })
    }

    /// Starts a server whose S3 endpoint takes this key.
    async fn serve(
        &self,
        store: &str,
        environment: &[(&'static str, &'static str)],
        folder: &TempDir,
    ) -> Result<AftPlace, Failed> {
        let more = ["--s3-listen", "127.0.0.1:0", "--bucket", BUCKET, "--credentials", &self.file];
        let mut aft = AftServer::start_with(store, &more, environment, folder.path()).await?;
        let endpoint = Endpoint::new(aft.s3_host()?, &self.id, &self.secret);
        Ok(AftPlace { aft, endpoint })
    }
}

/// Starts MinIO, and makes its bucket.
async fn start_minio() -> Result<(Server, Endpoint), Failed> {
    let started = tokio::task::spawn_blocking(|| {
        let server = Service::Minio.start()?;
        server.create_bucket(BUCKET)?;
        Ok::<_, aft_services::Error>(server)
    });
    let server = started.await.map_err(|why| why.to_string())?.map_err(|why| why.to_string())?;
    let host = format!("127.0.0.1:{}", server.port());
    let endpoint = Endpoint::new(host, server.access_key(), server.secret_key());
    Ok((server, endpoint))
}

/// Writes objects with the same bytes, over several connections.
async fn write_all(endpoint: &Endpoint, keys: Vec<String>, bytes: Bytes) -> Result<(), Failed> {
    let mut shares = vec![Vec::new(); WRITERS];
    for (nth, key) in keys.into_iter().enumerate() {
        shares[nth % WRITERS].push(key);
    }
    let writes = shares.into_iter().map(|keys| async {
        let mut session = endpoint.connect().await?;
        for key in keys {
            session.call("PUT", &format!("/{BUCKET}/{key}"), bytes.clone()).await?;
        }
        Ok::<_, Failed>(())
    });
    try_join_all(writes).await.map(drop)
}

/// Returns bytes that cannot be compressed.
fn random_bytes(len: usize, seed: u64) -> Bytes {
    let mut bytes = vec![0; len];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes.into()
}

/// Returns both ways in the order of a round: MinIO first in even rounds, last in odd ones.
fn both<T>(round: usize, minio: T, aft: T) -> [(&'static str, T); 2] {
    assert!(round < ROUNDS);
    match round % 2 {
        0 => [(MINIO, minio), (AFT, aft)],
        _ => [(AFT, aft), (MINIO, minio)],
    }
}
