//! AFT on an `s3:` store in MinIO, beside plain access to the same MinIO.

use std::time::Duration;

use bytes::Bytes;
use indicatif::ProgressBar;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tempfile::TempDir;

use crate::data::Seen;
use crate::measure::Choice;
use crate::others::ground;
use crate::others::http::Connection;
use crate::others::load::{self, Caller, Length};
use crate::others::minio::endpoint::{Endpoint, Session};
use crate::others::minio::objects::{Small, small, sound};
use crate::others::minio::{AftPlace, BUCKET, Key, OVER, random_bytes, start_minio, write_all};
use crate::others::{ROUNDS, Rounds};
use crate::site::Failed;

pub(crate) const OVER_ABOUT: &str = "AFT on an s3: store in MinIO, beside plain access to the same MinIO.\n\
    Listing: ListObjectsV2 of 10,000 keys, 1,000 a page, by a server of AFT that has just started; one client.\n\
    Gets: GetObject of 4 KiB, drawn from 1,000 keys, 16 clients, each call a transaction of its own, and so fresh.\n\
    Cached gets: the same in read atomic transactions of 20 gets, which may use a listing of the last minute\n\
    (`recheck_after_ms`, as for a server that is alone on its store); opening them is a call, too.";

const STORE: &str = "S3";
/// The bucket of AFT's store.
const STORE_BUCKET: &str = "store";
const SMALL_BYTES: usize = 4 << 10;
const SMALL_KEYS: usize = 1_000;
const LISTED_KEYS: usize = 10_000;
const CLIENTS: usize = 16;
const GETS_OF_A_TRANSACTION: usize = 20;
const WARM_UP_S: f64 = 1.0;
const GETS_S: f64 = 4.0;
/// The settings of each server: the longest time for which listings may be used.
const SETTINGS: [(&str, &str); 1] = [("AFT_NODE__RECHECK_AFTER_MS", "60000")];

/// A load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OverKind {
    PlainListing,
    Listing,
    PlainGets,
    Gets,
    CachedGets,
}

impl OverKind {
    pub(crate) const ALL: [OverKind; 5] = [
        OverKind::PlainListing,
        OverKind::Listing,
        OverKind::PlainGets,
        OverKind::Gets,
        OverKind::CachedGets,
    ];

    /// Returns the name of the way.
    pub(crate) fn way(self) -> &'static str {
        match self {
            OverKind::PlainListing => "MinIO, listing",
            OverKind::Listing => "aft, listing on a fresh node",
            OverKind::PlainGets => "MinIO, gets",
            OverKind::Gets => "aft, gets",
            OverKind::CachedGets => "aft, cached gets",
        }
    }
}

/// MinIO and what AFT needs to serve a store in it.
struct Place {
    minio: Endpoint,
    url: String,
    environment: Vec<(&'static str, &'static str)>,
    key: Key,
    /// A token for the native API, and for the S3 endpoint.
    token: String,
    folder: TempDir,
    _server: aft_services::Server,
}

/// Measures the figure.
pub(super) async fn run(choice: &Choice, bar: &ProgressBar, rounds: &mut Rounds) -> Result<(), Failed> {
    let place = Place::start().await?;
    bar.set_message(format!("{OVER}: keys are written"));
    let aft = place.serve().await?;
    let listed: Vec<String> = (0..LISTED_KEYS).map(|nth| format!("l/{nth:05}")).collect();
    let bytes = random_bytes(SMALL_BYTES, choice.seed);
    for endpoint in [&place.minio, &aft.endpoint] {
        write_all(endpoint, listed.clone(), bytes.slice(..16)).await?;
        write_all(endpoint, (0..SMALL_KEYS).map(small).collect(), bytes.clone()).await?;
    }
    let length = Length {
        warm_up: Duration::from_secs_f64(WARM_UP_S * choice.scale),
        time: Duration::from_secs_f64(GETS_S * choice.scale),
    };
    for round in 0..ROUNDS {
        let mut kinds = OverKind::ALL;
        if round % 2 == 1 {
            kinds.reverse();
        }
        for kind in kinds {
            bar.set_message(format!("{OVER} {}", kind.way()));
            let seed = choice.seed ^ round as u64;
            let seen = match kind {
                OverKind::PlainListing => listing(&place.minio).await?,
                OverKind::Listing => {
                    let fresh = place.serve().await?;
                    listing(&fresh.endpoint).await?
                }
                OverKind::PlainGets | OverKind::Gets => {
                    let endpoint = if kind == OverKind::Gets { &aft.endpoint } else { &place.minio };
                    let callers = Small::several(endpoint, CLIENTS, &Bytes::new(), seed).await?;
                    load::closed(callers, length).await?.0
                }
                OverKind::CachedGets => {
                    let callers = Cached::several(&place, &aft, seed).await?;
                    load::closed(callers, length).await?.0
                }
            };
            rounds.add(OVER, STORE, kind.way(), 0, sound(OVER, kind.way(), seen)?);
            bar.inc(1);
        }
    }
    Ok(())
}

impl Place {
    async fn start() -> Result<Place, Failed> {
        let folder = ground::folder()?;
        let (server, minio) = start_minio().await?;
        server.create_bucket(STORE_BUCKET).map_err(|why| why.to_string())?;
        let key = Key::make(&folder).await?;
        let add = ["credentials", "add", "native", &key.file, "--prefix", "", "--allow", "read,write"];
        let token = ground::aft(add.map(str::to_owned).to_vec(), Vec::new()).await?;
        Ok(Place {
            url: format!("s3://{STORE_BUCKET}/figures?endpoint={}&region=us-east-1", server.endpoint()),
            environment: [&server.environment()[..], &SETTINGS].concat(),
            token: token.trim().to_owned(),
            minio,
            key,
            folder,
            _server: server,
        })
    }

    async fn serve(&self) -> Result<AftPlace, Failed> {
        self.key.serve(&self.url, &self.environment, &self.folder).await
    }
}

/// Lists all keys once.
async fn listing(endpoint: &Endpoint) -> Result<Seen, Failed> {
    let mut session = endpoint.connect().await?;
    let from = std::time::Instant::now();
    let found = session.list(BUCKET, "prefix=l%2F").await?;
    let took = from.elapsed();
    if found != LISTED_KEYS {
        return Err(format!("{found} of {LISTED_KEYS} keys were listed"));
    }
    let ms = took.as_secs_f64() * 1_000.0;
    let transactions_per_s = 1.0 / took.as_secs_f64();
    Ok(Seen { transactions: 1, attempts: 1, transactions_per_s, p50_ms: ms, p99_ms: ms, ..Seen::default() })
}

/// A client that reads small objects in transactions that need not be fresh.
struct Cached {
    native: Connection,
    s3: Session,
    authorization: String,
    transaction: Option<String>,
    gets: usize,
    rng: StdRng,
}

impl Cached {
    async fn several(place: &Place, aft: &AftPlace, seed: u64) -> Result<Vec<Cached>, Failed> {
        let mut callers = Vec::new();
        for client in 0..CLIENTS {
            callers.push(Cached {
                native: Connection::open(aft.native_host()).await?,
                s3: aft.endpoint.connect().await?,
                authorization: format!("Bearer {}", place.token),
                transaction: None,
                gets: 0,
                rng: StdRng::seed_from_u64(seed ^ (client as u64) << 32),
            });
        }
        Ok(callers)
    }

    /// Ends the transaction if it has made all its gets, and returns the one to use.
    async fn transaction(&mut self) -> Result<String, String> {
        let headers = [("authorization", self.authorization.as_str())];
        if let Some(open) = &self.transaction {
            if self.gets < GETS_OF_A_TRANSACTION {
                return Ok(open.clone());
            }
            let path = format!("/v1/transactions/{open}/commit");
            let ended = self.native.send("POST", &path, &headers, "{}".to_owned()).await?;
            if !ended.status.is_success() {
                return Err(format!("commit: {}", ended.status));
            }
        }
        let open = "{\"isolation\":\"read_atomic\"}".to_owned();
        let opened = self.native.send("POST", "/v1/transactions", &headers, open).await?;
        let opened: serde_json::Value =
            serde_json::from_slice(&opened.body).map_err(|why| why.to_string())?;
        let token = opened["transaction"].as_str().ok_or_else(|| format!("not opened: {opened}"))?;
        self.gets = 0;
        self.transaction = Some(token.to_owned());
        Ok(token.to_owned())
    }
}

impl Caller for Cached {
    async fn call(&mut self) -> Result<u64, String> {
        let transaction = self.transaction().await?;
        let path = format!("/{BUCKET}/{}", small(self.rng.random_range(0..SMALL_KEYS)));
        let headers =
            [("authorization", self.authorization.as_str()), ("aft-transaction", transaction.as_str())];
        let answer = self.s3.send("GET", &path, &headers, Bytes::new()).await?;
        self.gets += 1;
        match answer.body.len() {
            SMALL_BYTES => Ok(1),
            len => Err(format!("{len} bytes")),
        }
    }
}
