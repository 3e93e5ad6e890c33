//! Transactions on a node in this process: a guest on the user's own store.
//!
//! ```text
//!   store (no request) ─► description, read once, beside the function's start ─► node
//!          ▲                                                                      │
//!          └───────── after a pause: another client, another node ◄───────────────┘
//! ```
//!
//! After a pause the node is replaced, not woken: its calls in flight, its clocks and its
//! connections are of another time. That costs one request, a read of the mark: a guest's reads are
//! fresh anyway, and the store's description is remembered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aft_access::Access;
use aft_core::ids::{AttemptId, Key};
use aft_core::message::{CommitArgs, Isolation, Op, Refusal, Replayed};
use aft_core::record::LargeResult;
use aft_desk::large::{self, Arriving, Source, StoreError};
use aft_desk::{Asked, Caller, Cause, Desk, Opening, Outcome, Plan, Reads, Refused};
use aft_door_s3::check_own_buckets;
use aft_door_s3::origin::Origins;
use aft_format::fingerprint;
use aft_node::{NodeHandle, NodeSettings, Opened, State, read_description, start, start_described};
use aft_store::Store;
use axum::Router;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::sync::{Mutex, RwLock};
use tower::ServiceExt as _;
use tracing::warn;

use crate::http::Body;
use crate::transactions::{
    Attempt, Begun, Ended, Failure, FailureKind, Inner, Open as OpenTransaction, RESULT_INLINE_BYTES_MAX,
    Spent, store,
};

/// The bytes of values that a node keeps: a function has little memory, and its environment is
/// paid by it.
const VALUE_CACHE_BYTES_MAX: u64 = 8 << 20;
/// The share of a function's memory for large bodies in flight, and the least of it: four parts of
/// an upload.
const BODIES_SHARE: usize = 4;
const BODIES_BYTES_MIN: usize = 32 << 20;
/// The age of a store's mark from which nobody seems to sweep it: a day, and the hours by which a
/// mark stays behind.
const UNSWEPT_MAX: Duration = Duration::from_secs(28 * 3_600);
/// The pause before a commit in doubt is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// A node in this process, over the store at a URL.
#[derive(Debug)]
pub struct Embedded {
    url: String,
    buckets: Vec<String>,
    bodies_bytes_max: usize,
    /// The store's client; another one after each pause.
    store: RwLock<Option<Arc<dyn Store>>>,
    /// The store's description, once it was read.
    opened: Mutex<Option<Opened>>,
    /// The node; `None` until the description is known, and after a pause.
    running: RwLock<Option<Running>>,
    /// True once the buckets that the settings name were looked at.
    checked: Mutex<bool>,
    /// True once a warning was written that nobody sweeps the store.
    warned: AtomicBool,
}

/// A running node, with its doors.
#[derive(Debug, Clone)]
pub struct Running {
    /// The desk in front of the node.
    pub desk: Arc<Desk>,
    /// The S3 endpoint.
    pub s3: Router,
}

impl Running {
    fn works(&self) -> bool {
        self.desk.node().ready() != State::Stopped
    }
}

/// An open transaction.
#[derive(Debug)]
pub struct Open {
    caller: Caller,
    attempt: AttemptId,
}

impl Embedded {
    /// Makes the store's client. Nothing is sent to the store yet.
    ///
    /// # Errors
    /// Returns the reason why the URL or the credentials cannot be used.
    pub async fn new(url: &str, buckets: &[String], memory_bytes: usize) -> Result<Embedded, String> {
        Ok(Embedded {
            bodies_bytes_max: (memory_bytes / BODIES_SHARE).max(BODIES_BYTES_MIN),
            url: url.to_owned(),
            buckets: buckets.to_vec(),
            store: RwLock::new(Some(store::attach(url).await?)),
            opened: Mutex::new(None),
            running: RwLock::new(None),
            checked: Mutex::new(false),
            warned: AtomicBool::new(false),
        })
    }

    /// Starts the node, if the store answers.
    pub async fn warm(&self) {
        let ready = async {
            let Running { desk, .. } = self.running().await?;
            self.check_buckets(&desk).await
        };
        if let Err(failure) = ready.await {
            warn!(why = failure.text, "aft: the store cannot be used yet");
        }
    }

    /// Returns the requests that the store's client has made, and their price.
    pub async fn costs(&self) -> Spent {
        let costs = self.store.read().await.as_ref().and_then(|store| store.costs());
        let Some(costs) = costs else { return Spent::default() };
        let requests = costs.requests.iter().map(|class| class.count).sum();
        Spent { requests, dollars: costs.dollars }
    }

    /// Replaces the store's client and the node.
    ///
    /// # Errors
    /// Returns the reason why there is no client, for instance that there are no credentials. The
    /// next begin tries again.
    pub async fn renew(&self) -> Result<(), String> {
        // A store in memory lives in its client.
        if self.url == "memory:" {
            return Ok(());
        }
        *self.running.write().await = None;
        let mut store = self.store.write().await;
        *store = None;
        *store = Some(store::attach(&self.url).await?);
        Ok(())
    }

    /// Forgets what was read from the store: it may have been long ago.
    pub async fn forget(&self) {
        *self.opened.lock().await = None;
        *self.checked.lock().await = false;
    }

    /// Returns the running node; starts it first if there is none.
    ///
    /// # Errors
    /// Returns the reason why the store cannot be used; the text names the remedy.
    pub async fn running(&self) -> Result<Running, Failure> {
        if let Some(running) = self.running.read().await.as_ref().filter(|running| running.works()) {
            return Ok(running.clone());
        }
        let mut running = self.running.write().await;
        match &*running {
            // Another task was faster.
            Some(running) if running.works() => return Ok(running.clone()),
            // A node stops if the store's description has changed, for instance its levels.
            Some(_) => *self.opened.lock().await = None,
            None => {}
        }
        let node = self.start().await?;
        let started = self.doors(node);
        *running = Some(started.clone());
        Ok(started)
    }

    /// Answers a call of S3.
    ///
    /// # Errors
    /// Returns the errors of [`Embedded::running`].
    pub async fn answer_s3(&self, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
        let running = self.running().await?;
        let answer = running.s3.oneshot(request.map(axum::body::Body::new)).await;
        let answer = answer.unwrap_or_else(|never| match never {});
        Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
    }

    /// Returns the store's client; makes it first if there is none.
    async fn client(&self) -> Result<Arc<dyn Store>, Failure> {
        let mut store = self.store.write().await;
        if let Some(store) = &*store {
            return Ok(store.clone());
        }
        let attached = store::attach(&self.url).await;
        let attached = attached.map_err(|why| Failure::new(FailureKind::Unavailable, why))?;
        Ok(store.insert(attached).clone())
    }

    async fn start(&self) -> Result<NodeHandle, Failure> {
        let store = self.client().await?;
        let mut settings = NodeSettings::new(&store.capabilities());
        settings.core.guest = true;
        settings.value_cache_bytes_max = VALUE_CACHE_BYTES_MAX;
        let refused = |why: aft_node::StartError| match why {
            aft_node::StartError::Unavailable(text) => Failure::new(FailureKind::Unavailable, text),
            why => Failure::new(FailureKind::Invalid, why.to_string()),
        };
        if store.capabilities().exclusive {
            // A store in memory is made by its first user.
            return start(store, settings).await.map_err(refused);
        }
        let mut opened = self.opened.lock().await;
        let opened = match &mut *opened {
            Some(opened) => opened.clone(),
            none => {
                let read = read_description(&*store, settings.timeouts.read).await.map_err(refused)?;
                let Some((format, about)) = read else {
                    return Err(Failure::new(
                        FailureKind::Invalid,
                        format!(
                            "{url}: there is no store here yet: make it once, from a machine with the right to write \
                             there, with `aft store init {url}`",
                            url = self.url
                        ),
                    ));
                };
                none.insert(Opened::Marked { mark: format.mark, about, is_new: false }).clone()
            }
        };
        if let Opened::Marked { mark, about, .. } = &opened {
            self.warn_of_mark(mark.time.ms().max(about.made_ms));
        }
        // Every node on a store must have the times of its description: a guest takes them over.
        if let Opened::Marked { about, .. } = &opened
            && let Some(times) = &about.times
        {
            times.apply(&mut settings.core);
        }
        start_described(store, settings, opened).map_err(refused)
    }

    /// Warns once in a process if nobody seems to sweep the store.
    fn warn_of_mark(&self, mark_ms: u64) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let age = now.saturating_sub(Duration::from_millis(mark_ms));
        if age > UNSWEPT_MAX && !self.warned.swap(true, Ordering::Relaxed) {
            warn!(
                store = self.url,
                days = age.as_secs() / 86_400,
                "aft: nobody has swept the store for more than a day, so it grows: run `aft maintain URL --for 60` on a \
                 schedule, or the function of the template"
            );
        }
    }

    fn doors(&self, node: NodeHandle) -> Running {
        let bodies_bytes_max = self.bodies_bytes_max;
        let bounds = aft_desk::Settings { bodies_bytes_max, ..aft_desk::Settings::default() };
        let desk = Desk::new(node, Arc::new(Access::open()), bounds);
        let (net, settings) = (aft_net::Settings::default(), aft_door_s3::Settings::default());
        let origins = Origins::none(&desk, &self.buckets);
        let door = aft_door_s3::Door::new(desk.clone(), net, settings, origins);
        Running { desk, s3: aft_door_s3::router(door) }
    }

    /// Finds out, once in a process, whether the buckets that the settings name can be taken for
    /// granted: no write goes to one that has an origin, or does not exist.
    async fn check_buckets(&self, desk: &Arc<Desk>) -> Result<(), Failure> {
        let mut checked = self.checked.lock().await;
        if *checked || self.buckets.is_empty() {
            return Ok(());
        }
        let found = check_own_buckets(desk, &self.buckets).await;
        found.map_err(|why| Failure::new(FailureKind::Unavailable, format!("AFT_S3_BUCKETS: {why}")))?;
        *checked = true;
        Ok(())
    }

    /// Begins an attempt.
    ///
    /// # Errors
    /// Returns the reason why there is no transaction.
    pub async fn begin(&self, attempt: &Attempt) -> Result<Begun, Failure> {
        let Running { desk, .. } = self.running().await?;
        // Most often that was done beside the function's start.
        self.check_buckets(&desk).await?;
        let caller = desk.server();
        let opening = Opening {
            request_id: attempt.request_id.clone(),
            scope: attempt.scope.clone().filter(|_| attempt.request_id.is_some()),
            fingerprint: attempt.fingerprint.as_ref().map(|text| fingerprint(text.as_bytes())),
            timeout_ms: Some(millis(attempt.timeout)),
            waits: attempt.waits,
            wait_ms: attempt.waits.then(|| millis(attempt.timeout)),
            retention_ms: attempt.retention.map(millis),
            fresh: true,
            // Where several processes share the store, the level of the keys decides. In memory the
            // strictest one costs nothing.
            isolation: attempt
                .isolation
                .or_else(|| caller.node().is_exclusive().then_some(Isolation::Serializable)),
            ..Opening::default()
        };
        let ready = opening.prepare(&caller, None).map_err(failure)?;
        let attempt = ready.attempt();
        match ready.run(&caller, Plan::default(), None).await.map_err(failure)? {
            Outcome::Open { token, .. } => {
                let inner = Inner::Embedded(Open { caller, attempt });
                Ok(Begun::Open(OpenTransaction { token: token.to_string(), inner }))
            }
            Outcome::Replayed(replayed) => Ok(Begun::Replayed(result_of(&caller, replayed).await?)),
            outcome => panic!("an opening without operations was answered {outcome:?}"),
        }
    }
}

impl Open {
    /// Commits. A commit in doubt is asked for until the outcome is known; the caller bounds the
    /// time.
    pub(super) async fn commit(&self, result: Option<Bytes>) -> Ended {
        let mut result = result;
        if let Some(bytes) = result.take_if(|bytes| bytes.len() > RESULT_INLINE_BYTES_MAX)
            && let Err(failure) = self.store_result(bytes).await
        {
            return Ended::Lost(failure);
        }
        // Once the commit may have been sent, only its own outcome ends the doubt.
        let mut in_doubt = false;
        loop {
            let args = CommitArgs { result: result.clone(), request: None };
            let outcome = self.caller.commit(self.attempt, args, Reads::default(), &Asked::Within).await;
            match outcome {
                Ok(Outcome::Committed { .. }) => return Ended::Committed,
                Ok(Outcome::Replayed(replayed)) => {
                    return match result_of(&self.caller, replayed).await {
                        Ok(result) => Ended::Replayed(result),
                        // The request has committed, and its result cannot be read now.
                        Err(failure) => Ended::Unknown(failure.text),
                    };
                }
                Ok(outcome) => panic!("a commit was answered {outcome:?}"),
                Err(Refused::Doubt(doubt)) => match doubt.cause {
                    Cause::NoAnswer(_) => {
                        in_doubt = true;
                        tokio::time::sleep(ASK_AGAIN).await;
                    }
                    Cause::Damaged(what) => return Ended::Unknown(what),
                    Cause::NodeElsewhere => unreachable!("the node of the transaction is this one"),
                },
                Err(refused) if in_doubt && !is_outcome(&refused) => {
                    if matches!(refused, Refused::Node(Refusal::NotServing)) {
                        return Ended::Unknown(describe(&refused));
                    }
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                Err(refused) => return Ended::Lost(failure(refused)),
            }
        }
    }

    pub(super) async fn abort(self) {
        // Nothing has to happen for an abort.
        let _ = self.caller.abort(self.attempt).await;
    }

    /// Stores a large result in parts, for the commit that follows.
    async fn store_result(&self, bytes: Bytes) -> Result<(), Failure> {
        let arriving = Arriving::new(Whole(Some(bytes)));
        let stored = large::store(&self.caller, self.attempt, arriving).await;
        let stored = stored.map_err(|why| match why {
            StoreError::Refused(refused) => failure(refused),
            StoreError::Source(never) => match never {},
        })?;
        let plan = Plan::of(Op::Result(LargeResult { blob: stored.blob, size: stored.size }));
        self.caller.run(self.attempt, plan, None, &Asked::Within).await.map(drop).map_err(failure)
    }
}

/// Returns true if a refusal says that a commit certainly did not take effect, and not only that it
/// cannot be asked for now.
fn is_outcome(refused: &Refused) -> bool {
    matches!(
        refused,
        Refused::Aborted
            | Refused::Node(Refusal::Conflict(_) | Refusal::Lost | Refusal::KeyReused | Refusal::ResultGone)
    )
}

/// Returns the result of a request that has committed; `None` if it is no longer kept.
async fn result_of(caller: &Caller, replayed: Replayed) -> Result<Option<Bytes>, Failure> {
    let Some(LargeResult { blob, size }) = replayed.large_result else {
        return Ok(Some(replayed.result.unwrap_or_default()));
    };
    let of = Key::parse("result").expect("a key has a byte");
    let content = large::Content::of_blob(blob, size);
    let download = match large::read(caller, &of, &content, 0..size, None).await {
        Ok(download) => download,
        // The parts are kept with the record. If they are gone, so is the result.
        Err(Refused::Node(Refusal::SnapshotGone(_) | Refusal::ResultGone)) => return Ok(None),
        Err(refused) => return Err(failure(refused)),
    };
    let mut whole = BytesMut::from(&download.first[..]);
    let mut more = download.more;
    while let Some(piece) = more.next().await {
        match piece {
            Ok(piece) => whole.extend_from_slice(&piece),
            Err(Refusal::SnapshotGone(_) | Refusal::ResultGone) => return Ok(None),
            Err(refusal) => return Err(failure(refusal.into())),
        }
    }
    Ok(Some(whole.freeze()))
}

/// Bytes that are all there, as the source of a large value.
struct Whole(Option<Bytes>);

impl Source for Whole {
    type Error = std::convert::Infallible;

    fn announced(&self) -> Option<usize> {
        self.0.as_ref().map(Bytes::len)
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Self::Error> {
        Ok(self.0.take())
    }

    fn take_time(&mut self) {}
}

/// Returns the failure that a refusal means.
fn failure(refused: Refused) -> Failure {
    let kind = match &refused {
        Refused::Node(refusal) => match refusal {
            Refusal::InProgress { .. } => FailureKind::InProgress,
            Refusal::KeyReused => FailureKind::KeyReused,
            Refusal::ResultGone => FailureKind::ResultGone,
            Refusal::Conflict(_) | Refusal::ConditionFailed(_) => FailureKind::Conflict,
            Refusal::Lost | Refusal::Ended | Refusal::NotFound | Refusal::SnapshotGone(_) => {
                FailureKind::Lost
            }
            Refusal::Overloaded(_)
            | Refusal::StoreUnavailable(_)
            | Refusal::NotServing
            | Refusal::Unknown(_)
            | Refusal::UnknownDamaged(..)
            | Refusal::Damaged(_) => FailureKind::Unavailable,
            Refusal::TooLarge(_) | Refusal::Invalid(_) | Refusal::SessionLost(_) => FailureKind::Invalid,
        },
        Refused::Aborted | Refused::Elsewhere(_) => FailureKind::Lost,
        Refused::NoRoom { .. } | Refused::Doubt(_) => FailureKind::Unavailable,
        Refused::Denied(_)
        | Refused::Invalid(_)
        | Refused::Key(_)
        | Refused::TooLong { .. }
        | Refused::ReadsTooLarge { .. } => FailureKind::Invalid,
    };
    Failure::new(kind, describe(&refused))
}

/// Returns a refusal in words.
fn describe(refused: &Refused) -> String {
    match refused {
        Refused::Node(refusal) => describe_refusal(refusal),
        Refused::Invalid(text) => text.clone(),
        Refused::Aborted => "the transaction was aborted".into(),
        Refused::NoRoom { bytes, bound } => {
            format!("a body of {bytes} bytes needs more memory than the {bound} bytes for all of them")
        }
        Refused::TooLong { what, limit, actual } => {
            format!("{what} has {actual} bytes, and at most {limit} are allowed")
        }
        Refused::Denied(_) => unreachable!("there are no credentials in this process"),
        Refused::Key(why) => why.to_string(),
        Refused::Elsewhere(token) => format!("the transaction {token} was opened before this node started"),
        Refused::Doubt(doubt) => format!("the outcome of the transaction {} is not known", doubt.token),
        Refused::ReadsTooLarge { limit, actual } => {
            format!("the values read have {actual} bytes, and at most {limit} are allowed")
        }
    }
}

fn describe_refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::SnapshotGone(key) => format!("no version of {key:?} fits to what was read before"),
        Refusal::Conflict(conflict) => {
            format!("another transaction has written {:?}, which this one read or wrote", conflict.key)
        }
        Refusal::ConditionFailed(_) => "a condition of a write no longer holds".into(),
        Refusal::Overloaded(bound) => format!("the node in this function is at a bound: {bound:?}"),
        Refusal::StoreUnavailable(text) | Refusal::Invalid(text) | Refusal::Damaged(text) => text.clone(),
        Refusal::InProgress { .. } => "another attempt of the request is open".into(),
        Refusal::Lost => "the time of the transaction was over before it had committed".into(),
        Refusal::KeyReused => "the request ID was used before with another payload".into(),
        Refusal::ResultGone => "the request committed long ago, and its result is no longer kept".into(),
        Refusal::NotFound | Refusal::Ended => "the transaction has ended".into(),
        Refusal::Unknown(_) => "the outcome is not known".into(),
        Refusal::UnknownDamaged(_, what) => format!("the outcome is not known: {what}"),
        Refusal::NotServing => "the node in this function has stopped: its log says why".into(),
        Refusal::TooLarge(excess) => {
            format!("{:?}: {} are too much, at most {} are allowed", excess.of, excess.actual, excess.limit)
        }
        Refusal::SessionLost(_) => "the store lacks a commit that the session names".into(),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
