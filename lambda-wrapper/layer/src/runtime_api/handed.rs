//! The invocations that were handed out, until their responses come.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aft_lambda_events::Source;
use hyper::header::HeaderValue;
use tokio::time::Instant;

use crate::attribution::Running;
use crate::transactions::{Attempt, Open, Spent};

/// An invocation whose event was handed out.
#[derive(Debug)]
pub struct Handed {
    /// The layer's own name of it.
    pub nonce: u64,
    /// Lambda's ID, by which the response is posted. It may name two invocations at once: one that
    /// has timed out and still runs, and its retry.
    pub aws_request_id: String,
    /// Lambda's nonce of it, if there is one.
    pub invocation_id: Option<HeaderValue>,
    /// The sender of the event.
    pub source: Source,
    /// The attempt that its transaction is.
    pub attempt: Attempt,
    /// Its transaction.
    pub open: Open,
    /// Its calls.
    pub running: Arc<Running>,
    /// The end of its time.
    pub deadline: Instant,
    /// The time that the begin took.
    pub begin: Duration,
    /// The requests to the store before it.
    pub spent: Spent,
}

/// All invocations that were handed out.
#[derive(Debug, Default)]
pub struct AllHanded(Mutex<Vec<Handed>>);

impl AllHanded {
    fn all(&self) -> std::sync::MutexGuard<'_, Vec<Handed>> {
        self.0.lock().expect("nothing panics while it holds the invocations")
    }

    /// Returns true if no invocation is handed out.
    pub fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// Adds an invocation.
    pub fn add(&self, handed: Handed) {
        self.all().push(handed);
    }

    /// Takes all invocations that a response without a nonce may be for, if there are several: one
    /// has timed out and still runs, and others are its retries.
    pub fn take_ambiguous(&self, aws_request_id: &str) -> Vec<Handed> {
        let mut all = self.all();
        let fits = |handed: &Handed| handed.aws_request_id == aws_request_id;
        match all.iter().filter(|handed| fits(handed)).count() {
            0 | 1 => Vec::new(),
            _ => all.extract_if(.., |handed| fits(handed)).collect(),
        }
    }

    /// Takes the invocation that a response is for. Newer runtime clients say which of those with
    /// one ID; for others it is the one that was handed out last.
    pub fn take(&self, aws_request_id: &str, invocation_id: Option<&HeaderValue>) -> Option<Handed> {
        let mut all = self.all();
        let fits = |handed: &Handed| {
            handed.aws_request_id == aws_request_id
                && (invocation_id.is_none() || handed.invocation_id.as_ref() == invocation_id)
        };
        let at = all.iter().rposition(fits)?;
        Some(all.remove(at))
    }

    /// Takes the invocation with the layer's own name `nonce`.
    pub fn take_nonce(&self, nonce: u64) -> Option<Handed> {
        let mut all = self.all();
        let at = all.iter().position(|handed| handed.nonce == nonce)?;
        Some(all.remove(at))
    }

    /// Takes the oldest invocation, if there are more than `max` and its time is over.
    pub fn take_excess(&self, max: usize) -> Option<Handed> {
        let mut all = self.all();
        let is_due = all.len() > max && all.first().is_some_and(|oldest| oldest.deadline < Instant::now());
        is_due.then(|| all.remove(0))
    }

    /// Takes all invocations.
    pub fn take_all(&self) -> Vec<Handed> {
        std::mem::take(&mut *self.all())
    }
}
