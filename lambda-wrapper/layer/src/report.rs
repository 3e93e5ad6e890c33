//! The lines that the layer writes to the function's log: JSON, one object a line, on the standard
//! error. The first word of each message is the same, so that they can be filtered.

use std::io::Write as _;
use std::time::Duration;

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::attribution::Running;
use crate::runtime_api::records::Counts;
use crate::transactions::Spent;

/// Writes the log of this process from here on. Further calls have no effect.
pub fn start(level: Level) {
    // The clients of the stores warn with dumps of their own types, and their errors come back to
    // us: the stores say in words what failed.
    let targets = Targets::new()
        .with_default(level.min(Level::WARN))
        .with_target("aft_layer", level)
        .with_target("aws", Level::ERROR)
        .with_target("s3s", tracing_subscriber::filter::LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_timer(SystemTime)
        .with_writer(std::io::stderr);
    let _ = tracing_subscriber::registry().with(targets).with(lines).try_init();
}

/// The summary of an invocation.
#[derive(Debug)]
pub struct Summary<'a> {
    /// Lambda's ID of the invocation.
    pub aws_request_id: &'a str,
    /// The request ID of the transaction, if it has one.
    pub request_id: Option<&'a str>,
    /// The outcome in a word.
    pub outcome: &'a str,
    /// The calls in the transaction.
    pub running: Option<&'a Running>,
    /// The time that the begin took.
    pub begin: Duration,
    /// The time that the commit took.
    pub commit: Duration,
    /// The requests to the store in its time, and their price.
    pub spent: Spent,
}

impl Summary<'_> {
    /// Writes the summary.
    pub fn write(&self) {
        let count = |count: &std::sync::atomic::AtomicU64| count.load(std::sync::atomic::Ordering::Relaxed);
        let (reads, writes) = self.running.map_or((0, 0), |of| (count(&of.reads), count(&of.writes)));
        tracing::info!(
            aws_request_id = self.aws_request_id,
            request_id = self.request_id.unwrap_or("none"),
            outcome = self.outcome,
            reads,
            writes,
            begin_us = micros(self.begin),
            commit_us = micros(self.commit),
            store_requests = self.spent.requests,
            store_dollars_per_million = (self.spent.dollars * 1e6 * 1e2).round() / 1e2,
            "aft invocation"
        );
    }
}

/// The summary of a batch whose records ran one by one.
#[derive(Debug)]
pub struct BatchSummary<'a> {
    /// Lambda's ID of the invocation.
    pub aws_request_id: &'a str,
    /// The records by their outcome.
    pub counts: Counts,
}

impl BatchSummary<'_> {
    /// Writes the summary.
    pub fn write(&self) {
        let Counts { committed, already_committed, failed, not_run } = self.counts;
        tracing::info!(
            aws_request_id = self.aws_request_id,
            records = self.counts.all(),
            committed,
            already_committed,
            failed,
            not_run,
            "aft batch"
        );
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Writes a mistake that keeps the layer from starting, where people look first.
pub fn fatal(text: &str) {
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "aft-layer: {text}");
}
