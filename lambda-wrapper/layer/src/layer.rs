//! The parts of the layer put together: one object that both local endpoints share.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::attribution::Attribution;
use crate::freeze::{self, Instants};
use crate::http::{bind, serve};
use crate::runtime_api::RuntimeApi;
use crate::runtime_api::handed::AllHanded;
use crate::runtime_api::records::Batches;
use crate::runtime_api::upstream::Upstream;
use crate::settings::{Place, Settings};
use crate::storage::S3;
use crate::storage::forward::Forward;
use crate::transactions::Transactions;

/// The layer of one environment.
#[derive(Debug)]
pub struct Layer {
    pub(crate) settings: Settings,
    pub(crate) upstream: Upstream,
    pub(crate) transactions: Transactions,
    pub(crate) forward: Option<Forward>,
    pub(crate) attribution: Attribution,
    pub(crate) handed: AllHanded,
    pub(crate) batches: Batches,
    /// True once a warning was written that the processes of workers are not known.
    pub(crate) warned_of_workers: AtomicBool,
    /// The address of the S3 endpoint.
    s3: Option<SocketAddr>,
    /// The clocks when something happened last.
    last: Mutex<Instants>,
    /// The task that reads what it can beside the function's own start.
    warming: Mutex<Option<JoinHandle<()>>>,
}

/// The addresses of the local endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoints {
    /// The proxy of the Runtime API.
    pub runtime_api: SocketAddr,
    /// The S3 endpoint; `None` if there is none, because a shim is used whose one is not known.
    pub s3: Option<SocketAddr>,
}

impl Layer {
    /// Makes the layer, and listens. Nothing is sent to the store on the way.
    ///
    /// # Errors
    /// Returns the reason why a setting cannot be used, or why a port cannot be listened on.
    pub async fn start(settings: Settings) -> Result<(Arc<Layer>, Endpoints), String> {
        let upstream = Upstream::new(&settings.lambda.runtime_api)?;
        let transactions = Transactions::new(&settings).await?;
        let (forward, has_s3) = match &settings.place {
            Place::Store { .. } => (None, true),
            Place::Shim(shim) => match &shim.s3_url {
                Some(url) => (Some(Forward::new(url, shim.token.as_deref())?), true),
                None => (None, false),
            },
        };
        let attribution = Attribution::new(settings.lambda.concurrency);
        let (listener, runtime_api) = bind().await?;
        let s3 = match has_s3 {
            true => Some(bind().await?),
            false => {
                warn!("aft: AFT_S3_URL is not set: calls of S3 are not covered, and take effect at once");
                None
            }
        };
        let layer = Arc::new(Layer {
            settings,
            upstream,
            transactions,
            forward,
            attribution,
            handed: AllHanded::default(),
            batches: Batches::default(),
            warned_of_workers: AtomicBool::new(false),
            s3: s3.as_ref().map(|(_, address)| *address),
            last: Mutex::new(Instants::now()),
            warming: Mutex::default(),
        });
        // Clients of the Runtime API may close their side after a request. Where a worker may end
        // alone, an event must not be asked for in its name any longer.
        let half_close = !layer.is_concurrent();
        tokio::spawn(serve(listener, RuntimeApi(layer.clone()), half_close));
        let s3 = s3.map(|(listener, address)| {
            tokio::spawn(serve(listener, S3(layer.clone()), true));
            address
        });
        info!(
            "aft: calls of DynamoDB are not covered: they take effect at once, and again when an invocation is retried"
        );
        layer.warm();
        Ok((layer, Endpoints { runtime_api, s3 }))
    }

    /// Returns the address of the S3 endpoint.
    pub(crate) fn s3_address(&self) -> Option<SocketAddr> {
        self.s3
    }

    /// Returns true if several invocations may run at once.
    pub(crate) fn is_concurrent(&self) -> bool {
        self.settings.lambda.concurrency > 1
    }

    /// Notes that something happened just now.
    pub(crate) fn touch(&self) {
        *self.last.lock().expect("nothing panics while it holds the clocks") = Instants::now();
    }

    /// Makes ready for an event that has just come. If the process may have been frozen since
    /// anything happened, nothing of before is used again.
    pub(crate) async fn wake(self: &Arc<Self>) {
        let now = Instants::now();
        let last =
            std::mem::replace(&mut *self.last.lock().expect("nothing panics while it holds the clocks"), now);
        // Where several invocations run at once nothing is frozen, and another may be beginning.
        if now.may_have_been_frozen_since(&last) && !self.is_concurrent() {
            self.renew().await;
        }
    }

    /// Makes ready after the process was restored from a snapshot: every copy of it has the same
    /// memory.
    pub(crate) async fn restored(self: &Arc<Self>) {
        // A snapshot is taken before the first event; any other call of the runtime is its mistake.
        if self.handed.is_empty() {
            self.renew().await;
            self.transactions.forget().await;
        }
        self.touch();
        self.warm();
    }

    async fn renew(&self) {
        freeze::reseed();
        // It may wait for a connection that is dead.
        if let Some(task) = self.warming.lock().expect("nothing panics while it holds the task").take() {
            task.abort();
        }
        self.upstream.renew();
        if let Some(forward) = &self.forward {
            forward.renew();
        }
        if let Err(why) = self.transactions.renew().await {
            warn!(why, "aft: the store cannot be used now");
        }
    }

    /// Reads what can be read from the store before the first event, beside the function's own
    /// start.
    fn warm(self: &Arc<Self>) {
        let layer = self.clone();
        let task = tokio::spawn(async move { layer.transactions.warm().await });
        *self.warming.lock().expect("nothing panics while it holds the task") = Some(task);
    }
}
