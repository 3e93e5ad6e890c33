//! Opening a store: `store/format` is read before anything else, and made where nothing of this project lies (protocol, section 14).
//!
//! ```text
//!   read ─► readable ─► serve
//!     ├───► damaged ─► serve without the mark, and say so: nothing is collected until somebody has mended it
//!     ├───► another version's ─► refuse
//!     └───► missing ─► look ─► nothing ─► create it ─► read again: of several nodes that make it at once, one has
//!                        ├───► data without a mark ─► read again, since another node may have made it since ─► serve without the mark
//!                        └───► another version's data ─► refuse
//! ```
//!
//! The mark is not handed to the core from here: it reads it by itself when it needs it, and learns the store's time by the same answer.

use std::future::Future;
use std::time::Duration;

use aft_core::ids::TxnId;
use aft_core::record::Format;
use aft_core::store::{Body, Name};
use aft_format::{
    About, FormatFound, Holds, Looked, Looking, Race, Times, encode_name, encode_object, read_format,
};
use aft_store::{Created, Error, Replaced, Store};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::clock;
use crate::handle::StartError;

/// Tries of each call before the caller hears that the store is not available: with the pauses some seconds.
const TRIES: u32 = 8;
/// The pause after a first failure; it doubles.
const PAUSE: Duration = Duration::from_millis(20);
/// The program that makes a store, as `store/format` names it.
const PROGRAM: &str = concat!("aft ", env!("CARGO_PKG_VERSION"));

/// The store's description of itself, as a node found it at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The store has a mark.
    Marked {
        /// The mark when it was read.
        mark: TxnId,
        /// All else that the store says of itself.
        about: Box<About>,
        /// It was made just now: the store was empty.
        is_new: bool,
    },
    /// The mark is lost or damaged; the text says so, and what to do. Reading and committing go on, sweeps do not.
    Unmarked(String),
}

/// Reads the store's description of itself, and makes it where the store is empty: `race` is what is known of races in it, `times` are those that
/// its nodes are to share. Of a store that was made with other times, a node looks whether it may work on it.
///
/// # Errors
/// [`StartError::Refused`] if the store cannot be used; [`StartError::Unavailable`] if it does not answer. Both texts name the remedy.
pub async fn open_store(
    store: &dyn Store,
    race: Race,
    times: Times,
    limit: Duration,
) -> Result<Opened, StartError> {
    let call = Patient { store, limit };
    let name = encode_name(&Name::Format);
    let read = async || -> Result<FormatFound, StartError> {
        match call.until_answered(|| store.get(&name)).await {
            Ok(got) => Ok(read_format(got.map(|(body, _)| body).as_ref())),
            Err(Error::Damaged(why)) => Ok(FormatFound::Damaged(why)),
            Err(error) => Err(unavailable(&error)),
        }
    };
    let mut found = read().await?;
    let mut is_new = false;
    if found == FormatFound::Missing {
        let holds = look(&call).await?;
        if let Some(why) = holds.refusal() {
            return Err(StartError::Refused(format!("{}: {why}", store.url())));
        }
        if holds == Holds::Nothing {
            is_new = make(&call, race, times).await?;
        }
        // Another node may have made the store since.
        found = read().await?;
        if found == FormatFound::Missing {
            let lost =
                "store/format was made and is not there: another program deletes what lies in this store";
            let why = holds.warning().unwrap_or_else(|| lost.to_owned());
            return Ok(Opened::Unmarked(format!("{}: {why}", store.url())));
        }
    }
    match found {
        FormatFound::Readable(format, about) => {
            for difference in about.differences(&store.capabilities()) {
                warn!(difference, "the store is not as it was when it was made");
            }
            if about.times.is_none() {
                warn!(
                    "the store says nothing of the times that its nodes must share, so they are not compared: run aft \
                     store init URL --change-times once, with the settings of the nodes"
                );
            }
            Ok(Opened::Marked { mark: format.mark, about, is_new })
        }
        FormatFound::Damaged(why) => Ok(Opened::Unmarked(format!("{}: {why}", store.url()))),
        FormatFound::Refused(why) => Err(StartError::Refused(format!("{}: {why}", store.url()))),
        FormatFound::Missing => unreachable!("looked at above"),
    }
}

/// Returns the reason why a node with the times `own` must not work on a store that says this of itself, with both values and the remedy. A store
/// that one process holds at a time has no other nodes.
pub(crate) fn times_refusal(about: &About, own: &Times, sweeps: bool) -> Option<String> {
    let of_store = about.times.filter(|_| !about.abilities.exclusive)?;
    of_store.refusal(own, sweeps)
}

/// Writes other times into the store's description of itself, for nodes that start from now on; returns those that it had. Nodes that run must be
/// stopped before, since they do not change theirs.
///
/// # Errors
/// [`StartError::Refused`] if there is no description that could be changed; [`StartError::Unavailable`] if the store does not answer.
pub async fn change_times(
    store: &dyn Store,
    times: Times,
    limit: Duration,
) -> Result<Option<Times>, StartError> {
    let call = Patient { store, limit };
    let name = encode_name(&Name::Format);
    loop {
        let got = call.until_answered(|| store.get(&name)).await.map_err(|error| unavailable(&error))?;
        let refused = |why: String| StartError::Refused(format!("{}: {why}", store.url()));
        let Some((body, tag)) = got else {
            return Err(refused("there is no store/format to be changed".to_owned()));
        };
        let (format, about) = match read_format(Some(&body)) {
            FormatFound::Readable(format, about) => (format, about),
            FormatFound::Damaged(why) | FormatFound::Refused(why) => return Err(refused(why)),
            FormatFound::Missing => unreachable!("its body was read"),
        };
        if about.times == Some(times) {
            return Ok(about.times);
        }
        let after = About { times: Some(times), ..(*about).clone() };
        let after = Format { about: after.encode(), ..(*format).clone() };
        let (_, body) = encode_object(&Name::Format, &Body::Format(after.into()));
        // By tag: a sweep may move the mark meanwhile.
        let replaced = call.until_answered(|| store.replace(&name, &tag, body.clone())).await;
        if replaced.map_err(|error| unavailable(&error))? == Replaced::Replaced {
            return Ok(about.times);
        }
    }
}

/// Looks at what the store holds. Each call is repeated by itself.
async fn look(call: &Patient<'_>) -> Result<Holds, StartError> {
    let mut looking = Looking::new();
    loop {
        let looked = call.until_answered(|| looking.go_on(call.store)).await;
        match looked.map_err(|error| unavailable(&error))? {
            Looked::More(next) => looking = next,
            Looked::All(holds) => return Ok(holds),
        }
    }
}

/// Makes `store/format`. Returns false if another node was faster.
async fn make(call: &Patient<'_>, race: Race, times: Times) -> Result<bool, StartError> {
    let store = call.store;
    let identity = clock::fresh_identity();
    let about = About::new(identity, &store.capabilities(), race, PROGRAM, clock::wall_ms(), times);
    let (name, body) = encode_object(&Name::Format, &Body::Format(about.to_format().into()));
    let created = call.until_answered(|| store.create(&name, body.clone())).await;
    let created = created.map_err(|error| unavailable(&error))?;
    // After a try without an answer it may be this node's own: then another one is said to have made it.
    let is_ours = created == Created::Created;
    if is_ours {
        info!(store = store.url(), "made a new store");
    }
    Ok(is_ours)
}

/// Calls that are repeated until the store answers.
struct Patient<'a> {
    store: &'a dyn Store,
    /// Of one try.
    limit: Duration,
}

impl Patient<'_> {
    async fn until_answered<T, F: Future<Output = Result<T, Error>>>(
        &self,
        call: impl Fn() -> F,
    ) -> Result<T, Error> {
        let mut again = 0;
        loop {
            let hangs = |_| Err(Error::NoAnswer(format!("{} does not answer", self.store.url())));
            let outcome = timeout(self.limit, call()).await.unwrap_or_else(hangs);
            again += 1;
            match outcome {
                Err(Error::NoAnswer(_) | Error::Busy(_)) if again < TRIES => {
                    sleep(PAUSE * 2_u32.pow(again - 1)).await;
                }
                outcome => return outcome,
            }
        }
    }
}

fn unavailable(error: &Error) -> StartError {
    StartError::Unavailable(error.to_string())
}
