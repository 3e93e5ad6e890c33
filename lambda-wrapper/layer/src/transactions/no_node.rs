//! A build without the node and its stores: there is no value of these types.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, Response};

use crate::http::Body;
use crate::transactions::{Attempt, Begun, Ended, Failure, Spent};

/// A node in this process: there is none.
#[derive(Debug)]
pub enum Embedded {}

/// An open transaction of it.
#[derive(Debug)]
pub enum Open {}

impl Embedded {
    /// Rejects the store.
    ///
    /// # Errors
    /// Always returns the reason, with the remedy.
    pub async fn new(url: &str, _buckets: &[String], _memory_bytes: usize) -> Result<Embedded, String> {
        Err(format!(
            "AFT_STORE is {url:?}, and this layer was built without the node and its stores: use the layer that has \
             them, or set AFT_URL=http://HOST:PORT for a shim"
        ))
    }

    /// Starts nothing.
    pub async fn warm(&self) {
        match *self {}
    }

    /// Replaces nothing.
    ///
    /// # Errors
    /// Returns none.
    pub async fn renew(&self) -> Result<(), String> {
        match *self {}
    }

    /// Returns what was spent.
    pub async fn costs(&self) -> Spent {
        match *self {}
    }

    /// Forgets nothing.
    pub async fn forget(&self) {
        match *self {}
    }

    /// Begins no attempt.
    ///
    /// # Errors
    /// Returns none.
    pub async fn begin(&self, _attempt: &Attempt) -> Result<Begun, Failure> {
        match *self {}
    }

    /// Answers no call of S3.
    ///
    /// # Errors
    /// Returns none.
    pub async fn answer_s3(&self, _request: Request<Incoming>) -> Result<Response<Body>, Failure> {
        match *self {}
    }
}

impl Open {
    /// Commits nothing.
    pub(super) async fn commit(&self, _result: Option<Bytes>) -> Ended {
        match *self {}
    }

    /// Aborts nothing.
    pub(super) async fn abort(self) {
        match self {}
    }
}
