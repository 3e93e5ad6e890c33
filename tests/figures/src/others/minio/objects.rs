//! Objects on the disk: MinIO with one drive beside AFT on a `local:` store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::try_join_all;
use indicatif::ProgressBar;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::data::Seen;
use crate::measure::Choice;
use crate::others::ground;
use crate::others::load::{self, Caller, Length};
use crate::others::minio::endpoint::{Endpoint, Session, element, query_text};
use crate::others::minio::{
    AFT, BUCKET, GETS, Key, LARGE, LISTINGS, MINIO, PUTS, both, random_bytes, start_minio, write_all,
};
use crate::others::{ROUNDS, Rounds};
use crate::site::Failed;

pub(crate) const PUTS_ABOUT: &str = "PutObject of 4 KiB, drawn from 1,000 keys, closed loop, over presigned URLs of Signature Version 4.\n\
    MinIO: one drive with its default settings.\n\
    AFT: `aft serve` on a local: store with its default settings, acknowledged when its log is fsynced.\n\
    Each server is a process of its own on the same disk; clients are in Rust, with a connection each.";
pub(crate) const GETS_ABOUT: &str =
    "GetObject of 4 KiB, drawn from the same 1,000 keys, which both servers have read or written before.";
pub(crate) const LARGE_ABOUT: &str = "Objects of 64 MiB with random bytes: written in one PUT, written in 8 parts of 8 MiB (4 at a time), and\n\
    read; one client. A transaction is an object, so 10 a second are 640 MiB/s.";
pub(crate) const LISTINGS_ABOUT: &str = "ListObjectsV2 of 1,000 keys a page: all 100,000 keys, and the 1,000 common prefixes of 100 keys each.\n\
    One client; a transaction is the whole listing.";

/// The points of the figures of small objects.
pub(crate) const CLIENTS: [usize; 2] = [1, 16];

const STORE: &str = "local";
const SMALL_BYTES: usize = 4 << 10;
const SMALL_KEYS: usize = 1_000;
const LARGE_BYTES: usize = 64 << 20;
const PART_BYTES: usize = 8 << 20;
/// The number of parts that a client sends at a time.
const PARTS_AT_ONCE: usize = 4;
const LISTED_PREFIXES: usize = 1_000;
const LISTED_PER_PREFIX: usize = 100;
const WARM_UP_S: f64 = 1.0;
const SMALL_S: f64 = 4.0;
const LARGE_S: f64 = 5.0;
const LISTING_S: f64 = 10.0;

/// A load of large objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LargeKind {
    Put,
    Parts,
    Get,
}

impl LargeKind {
    pub(crate) const ALL: [LargeKind; 3] = [LargeKind::Put, LargeKind::Parts, LargeKind::Get];

    pub(crate) fn words(self) -> &'static str {
        match self {
            LargeKind::Put => "one PUT",
            LargeKind::Parts => "in parts",
            LargeKind::Get => "one GET",
        }
    }
}

/// A load of listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListingKind {
    Keys,
    Prefixes,
}

impl ListingKind {
    pub(crate) const ALL: [ListingKind; 2] = [ListingKind::Keys, ListingKind::Prefixes];

    pub(crate) fn words(self) -> &'static str {
        match self {
            ListingKind::Keys => "100,000 keys",
            ListingKind::Prefixes => "1,000 common prefixes",
        }
    }

    /// Returns the query, and the number of entries that it finds.
    fn query(self) -> (&'static str, usize) {
        match self {
            ListingKind::Keys => ("prefix=l%2F", LISTED_PREFIXES * LISTED_PER_PREFIX),
            ListingKind::Prefixes => ("prefix=l%2F&delimiter=%2F", LISTED_PREFIXES),
        }
    }
}

/// Measures those of the figures that were chosen, on both servers.
pub(super) async fn run(choice: &Choice, bar: &ProgressBar, rounds: &mut Rounds) -> Result<(), Failed> {
    let folder = ground::folder()?;
    let (_server, minio) = start_minio().await?;
    let key = Key::make(&folder).await?;
    let url = format!("local:{}", folder.path().join("data").display());
    let aft = key.serve(&url, &[], &folder).await?;
    let ends = (&minio, &aft.endpoint);
    let length = |seconds: f64| Length {
        warm_up: Duration::from_secs_f64(WARM_UP_S * choice.scale),
        time: Duration::from_secs_f64(seconds * choice.scale),
    };

    for figure in [PUTS, GETS] {
        if !choice.wants(figure) {
            continue;
        }
        let bytes = random_bytes(SMALL_BYTES, choice.seed);
        for endpoint in [ends.0, ends.1] {
            write_all(endpoint, (0..SMALL_KEYS).map(small).collect(), bytes.clone()).await?;
        }
        for clients in CLIENTS {
            for round in 0..ROUNDS {
                for (way, endpoint) in both(round, ends.0, ends.1) {
                    bar.set_message(format!("{figure} {way} {clients}"));
                    let body = if figure == PUTS { bytes.clone() } else { Bytes::new() };
                    let callers =
                        Small::several(endpoint, clients, &body, choice.seed ^ round as u64).await?;
                    let (seen, _) = load::closed(callers, length(SMALL_S)).await?;
                    rounds.add(figure, STORE, way, clients, sound(figure, way, seen)?);
                    bar.inc(1);
                }
            }
        }
    }
    if choice.wants(LARGE) {
        let bytes = random_bytes(LARGE_BYTES, choice.seed);
        for kind in LargeKind::ALL {
            for round in 0..ROUNDS {
                for (way, endpoint) in both(round, ends.0, ends.1) {
                    let way = format!("{way}, {}", kind.words());
                    bar.set_message(format!("{LARGE} {way}"));
                    let caller = Large::new(endpoint, kind, bytes.clone()).await?;
                    let (seen, _) = load::closed(vec![caller], length(LARGE_S)).await?;
                    rounds.add(LARGE, STORE, &way, 0, sound(LARGE, &way, seen)?);
                    bar.inc(1);
                }
            }
        }
    }
    if choice.wants(LISTINGS) {
        let bytes = Bytes::from_static(b"a small object");
        for (way, endpoint) in [(MINIO, ends.0), (AFT, ends.1)] {
            bar.set_message(format!("{LISTINGS} {way}: keys are written"));
            let keys = (0..LISTED_PREFIXES * LISTED_PER_PREFIX)
                .map(|nth| format!("l/{:04}/{:02}", nth / LISTED_PER_PREFIX, nth % LISTED_PER_PREFIX));
            write_all(endpoint, keys.collect(), bytes.clone()).await?;
        }
        for kind in ListingKind::ALL {
            for round in 0..ROUNDS {
                for (way, endpoint) in both(round, ends.0, ends.1) {
                    let way = format!("{way}, {}", kind.words());
                    bar.set_message(format!("{LISTINGS} {way}"));
                    let caller = Lister { session: endpoint.connect().await?, kind };
                    let (seen, _) = load::closed(vec![caller], length(LISTING_S)).await?;
                    rounds.add(LISTINGS, STORE, &way, 0, sound(LISTINGS, &way, seen)?);
                    bar.inc(1);
                }
            }
        }
    }
    Ok(())
}

/// Returns a result without errors.
///
/// # Errors
/// Returns the errors: a server that rejects calls is not compared by the others.
pub(super) fn sound(figure: &str, way: &str, seen: Seen) -> Result<Seen, Failed> {
    match seen.errors.is_empty() {
        true => Ok(seen),
        false => Err(format!("{figure}, {way}: {:?}", seen.errors)),
    }
}

/// Returns the key of a small object.
pub(super) fn small(nth: usize) -> String {
    format!("s/{nth:04}")
}

/// A client that writes small objects, or reads them if it has no bytes.
pub(super) struct Small {
    session: Session,
    /// The signed paths, one for each key.
    paths: Arc<[String]>,
    bytes: Bytes,
    rng: StdRng,
}

impl Small {
    pub(super) async fn several(
        endpoint: &Endpoint,
        clients: usize,
        bytes: &Bytes,
        seed: u64,
    ) -> Result<Vec<Small>, Failed> {
        let method = if bytes.is_empty() { "GET" } else { "PUT" };
        let path = |nth| endpoint.signed(method, &format!("/{BUCKET}/{}", small(nth)));
        let paths: Arc<[String]> = (0..SMALL_KEYS).map(path).collect::<Result<Vec<_>, _>>()?.into();
        let mut callers = Vec::new();
        for client in 0..clients {
            callers.push(Small {
                session: endpoint.connect().await?,
                paths: paths.clone(),
                bytes: bytes.clone(),
                rng: StdRng::seed_from_u64(seed ^ (client as u64) << 32),
            });
        }
        Ok(callers)
    }
}

impl Caller for Small {
    async fn call(&mut self) -> Result<u64, String> {
        let path = &self.paths[self.rng.random_range(0..self.paths.len())];
        if !self.bytes.is_empty() {
            self.session.send("PUT", path, &[], self.bytes.clone()).await?;
            return Ok(1);
        }
        let answer = self.session.send("GET", path, &[], Bytes::new()).await?;
        match answer.body.len() {
            SMALL_BYTES => Ok(1),
            len => Err(format!("{len} bytes")),
        }
    }
}

/// A client of one large object.
struct Large {
    /// One for each part in flight.
    sessions: Vec<Session>,
    kind: LargeKind,
    bytes: Bytes,
}

/// The path of the large object.
fn large_path() -> String {
    format!("/{BUCKET}/large")
}

impl Large {
    async fn new(endpoint: &Endpoint, kind: LargeKind, bytes: Bytes) -> Result<Large, Failed> {
        let mut sessions = Vec::new();
        for _ in 0..PARTS_AT_ONCE {
            sessions.push(endpoint.connect().await?);
        }
        Ok(Large { sessions, kind, bytes })
    }

    async fn put_in_parts(&mut self) -> Result<(), String> {
        let path = large_path();
        let begun = self.sessions[0].call("POST", &format!("{path}?uploads="), Bytes::new()).await?;
        let begun = String::from_utf8_lossy(&begun.body).into_owned();
        let id = element(&begun, "UploadId").ok_or_else(|| format!("no upload: {begun}"))?;
        let id = &query_text(id);
        let parts: Vec<Bytes> =
            (0..LARGE_BYTES).step_by(PART_BYTES).map(|at| self.bytes.slice(at..at + PART_BYTES)).collect();
        let sends = self.sessions.iter_mut().enumerate().map(|(lane, session)| {
            let (parts, path) = (&parts, &path);
            async move {
                let mut tags = Vec::new();
                for nth in (lane..parts.len()).step_by(PARTS_AT_ONCE) {
                    let number = nth + 1;
                    let path = format!("{path}?partNumber={number}&uploadId={id}");
                    let answer = session.call("PUT", &path, parts[nth].clone()).await?;
                    let tag = answer.headers.get("etag").and_then(|tag| tag.to_str().ok());
                    tags.push((number, tag.unwrap_or_default().to_owned()));
                }
                Ok::<_, String>(tags)
            }
        });
        let mut tags = try_join_all(sends).await?.concat();
        tags.sort();
        let mut complete = String::from("<CompleteMultipartUpload>");
        for (number, tag) in tags {
            complete.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"));
        }
        complete.push_str("</CompleteMultipartUpload>");
        let path = format!("{path}?uploadId={id}");
        let done = self.sessions[0].call("POST", &path, Bytes::from(complete)).await?;
        // Both servers may answer 200 and report an error afterwards.
        let done = String::from_utf8_lossy(&done.body);
        element(&done, "ETag").map(|_| ()).ok_or_else(|| format!("not completed: {done}"))
    }
}

impl Caller for Large {
    async fn call(&mut self) -> Result<u64, String> {
        match self.kind {
            LargeKind::Put => {
                self.sessions[0].call("PUT", &large_path(), self.bytes.clone()).await?;
            }
            LargeKind::Parts => self.put_in_parts().await?,
            LargeKind::Get => {
                let answer = self.sessions[0].call("GET", &large_path(), Bytes::new()).await?;
                if answer.body != self.bytes {
                    return Err("other bytes".to_owned());
                }
            }
        }
        Ok(1)
    }
}

/// A client that lists.
struct Lister {
    session: Session,
    kind: ListingKind,
}

impl Caller for Lister {
    async fn call(&mut self) -> Result<u64, String> {
        let (query, expected) = self.kind.query();
        match self.session.list(BUCKET, query).await? {
            found if found == expected => Ok(1),
            found => Err(format!("{found} of {expected}")),
        }
    }
}
