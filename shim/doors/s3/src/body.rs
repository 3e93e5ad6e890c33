//! Bodies of calls, verified while they arrive. Small ones are held; larger ones are stored part by
//! part, so that memory is bounded for any size.

use std::sync::{Arc, OnceLock};

use aft_desk::large::Source;
use aft_desk::{Caller, Meter, Refused, Share, with_copies};
use aft_net::body::{Limits, Started, start};
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::Bytes;

use crate::checksum::{Digests, Verified, Wanted};
use crate::failure::{Failure, Result};

/// The fields that follow a body, once it has ended.
pub(crate) type Trailer = Box<dyn FnOnce() -> Vec<(String, String)> + Send>;

/// The memory for one caller's bodies.
#[derive(Debug)]
pub(crate) struct Budget(Meter);

impl aft_net::body::Budget for Budget {
    type Share = Share;
    type Refused = Refused;

    fn charge(&self, bytes: usize) {
        self.0.charge(bytes);
    }

    fn with_copies(&self, bytes: usize) -> usize {
        with_copies(bytes)
    }

    fn grow(&self, share: &mut Option<Share>, bytes: usize) -> aft_desk::Result<()> {
        self.0.grow(share, bytes)
    }
}

/// The body of a write.
pub(crate) enum Content {
    /// A small one, whole and verified.
    Whole {
        bytes: Bytes,
        verified: Verified,
        /// Its share of the memory for all bodies.
        _share: Option<Share>,
    },
    /// A larger one, which is still arriving.
    Large(Box<Large>),
}

/// Begins to read a body.
pub(crate) async fn receive(
    caller: &Caller,
    net: &aft_net::Settings,
    body: Body,
    headers: &HeaderMap,
    wanted: Wanted,
    trailer: Trailer,
) -> Result<Content> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse::<u64>().ok());
    let bytes_max = caller.settings().value_bytes_max;
    let limits = Limits { what: "the body", bytes_max, timeout: net.body_timeout };
    let (whole_max, part_bytes) = (caller.node().inline_value_bytes_max(), caller.node().part_bytes());
    let budget = Budget(caller.meter());
    let mut digests = Digests::new(wanted);
    match start(budget, body, headers, limits, whole_max, part_bytes).await? {
        Started::Whole(whole) => {
            check_length(announced, whole.bytes.len() as u64)?;
            digests.update(&whole.bytes);
            let verified = digests.verify(&trailer())?;
            Ok(Content::Whole { bytes: whole.bytes, verified, _share: whole.share })
        }
        Started::Large(body) => {
            let ending = Some((digests, trailer));
            let verified = Arc::default();
            Ok(Content::Large(Box::new(Large { body, ending, announced, length: 0, verified })))
        }
    }
}

/// A large body that is arriving. It ends with an error if it is not the one that its call names,
/// so that it is not stored.
pub(crate) struct Large {
    body: Box<aft_net::body::Large<Budget>>,
    /// The digests so far, and the trailer; `None` once the body has ended.
    ending: Option<(Digests, Trailer)>,
    announced: Option<u64>,
    length: u64,
    verified: Arc<OnceLock<Verified>>,
}

impl Large {
    /// Returns the place in which the digests of the whole body are, once it has ended.
    pub(crate) fn verified(&self) -> Arc<OnceLock<Verified>> {
        self.verified.clone()
    }
}

impl Source for Large {
    type Error = Failure;

    fn announced(&self) -> Option<usize> {
        self.body.announced()
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some(piece) = self.body.next().await? {
            let (digests, _) = self.ending.as_mut().expect("nothing follows the end");
            digests.update(&piece);
            self.length += piece.len() as u64;
            return Ok(Some(piece));
        }
        if let Some((digests, trailer)) = self.ending.take() {
            check_length(self.announced, self.length)?;
            let verified = digests.verify(&trailer())?;
            self.verified.set(verified).expect("a body ends once");
        }
        Ok(None)
    }

    fn take_time(&mut self) {
        self.body.take_time();
    }
}

/// Checks that a body has the length that its head announced.
fn check_length(announced: Option<u64>, length: u64) -> Result<()> {
    match announced {
        Some(announced) if announced != length => Err(Failure::new(
            "IncompleteBody",
            400,
            format!("the body has {length} bytes, and its head announced {announced}: nothing was stored"),
        )),
        _ => Ok(()),
    }
}
