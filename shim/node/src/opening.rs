//! Opening a store: `store/format` is read before anything else, and made where nothing of this project lies (protocol, section 14).
//!
//! ```text
//!   read ─► readable ─► serve
//!     ├───► damaged ─► serve without the mark, and say so: nothing is collected until somebody has
//!     │                mended it; nor is anything written where several processes share the store,
//!     │                since the levels of its keys are not known
//!     ├───► another version's ─► refuse
//!     └───► missing ─► look ─► nothing ─► create it ─► read again: of several nodes that make it at once, one has
//!                        ├───► data without a mark ─► read again, since another node may have made it since ─► serve without the mark
//!                        └───► another version's data ─► refuse
//! ```
//!
//! The mark is not handed to the core from here: it reads it by itself when it needs it, and learns the store's time by the same answer.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aft_core::ids::TxnId;
use aft_core::message::Isolation;
use aft_core::record::Format;
use aft_core::settings::Levels;
use aft_core::store::{Body, Name};
use aft_format::{
    About, FormatFound, Holds, Looked, Looking, Race, Times, encode_name, encode_object, read_format,
};
use aft_store::{Created, Error, Replaced, Space, Store, Tag};
use bytes::Bytes;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::clock;
use crate::handle::StartError;

/// Tries of each call before the caller hears that the store is not available: with the pauses some seconds.
const TRIES: u32 = 8;
/// Keys asked for in one page, when their levels are compared: a page of S3.
const KEYS_PAGE_LEN: usize = 1_000;
/// The pause after a first failure; it doubles.
const PAUSE: Duration = Duration::from_millis(20);
/// The program that makes a store, as `store/format` names it.
const PROGRAM: &str = concat!("aft ", env!("CARGO_PKG_VERSION"));

/// The description that a store gets which is made now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewStore {
    /// The verdict of the race probe, if there was one.
    pub race: Race,
    /// The times that its nodes are to share.
    pub times: Times,
    /// The levels of its keys; not kept where one process holds the store.
    pub levels: Levels,
}

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
    /// The mark is lost or damaged; the text says so, and what to do. Reading goes on, sweeps do not;
    /// nor do commits where several processes share the store, since the levels of its keys are lost
    /// as well.
    Unmarked(String),
}

/// Reads the store's description of itself, and makes it where the store is empty. A store that is
/// there may say something else than `new`: a node looks whether it may work on it.
///
/// # Errors
/// [`StartError::Refused`] if the store cannot be used; [`StartError::Unavailable`] if it does not answer. Both texts name the remedy.
pub async fn open_store(store: &dyn Store, new: &NewStore, limit: Duration) -> Result<Opened, StartError> {
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
            is_new = make(&call, new).await?;
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

/// Reads the store's description of itself, and makes nothing: `None` if there is none.
///
/// # Errors
/// [`StartError::Refused`] if the description cannot be read, [`StartError::Unavailable`] if the
/// store does not answer. Both texts name the remedy.
pub async fn read_description(
    store: &dyn Store,
    limit: Duration,
) -> Result<Option<(Arc<Format>, Box<About>)>, StartError> {
    let found = Patient { store, limit }.description().await?;
    Ok(found.map(|Description { format, about, .. }| (format, about)))
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
    loop {
        let before = call.description_to_change().await?;
        let had = before.about.times;
        let after = About { times: Some(times), ..(*before.about).clone() };
        if after == *before.about || call.change(before, &after).await? {
            return Ok(had);
        }
    }
}

/// Sets the levels of prefixes in the store's description of itself, for nodes that start from now
/// on; returns all levels that it has then. Nodes that run must be stopped before, since they do not
/// change theirs.
///
/// # Errors
/// [`StartError::Refused`] if one process holds the store, if there is no description that could be
/// changed, or if a key that has versions would get another level, with the key's name;
/// [`StartError::Unavailable`] if the store does not answer.
pub async fn change_levels(
    store: &dyn Store,
    changes: &[(String, Isolation)],
    limit: Duration,
) -> Result<Levels, StartError> {
    let call = Patient { store, limit };
    if store.capabilities().exclusive {
        return Err(StartError::Refused(format!(
            "{}: one process holds this store, and every transaction chooses its level there: no prefix has one",
            store.url()
        )));
    }
    loop {
        let before = call.description_to_change().await?;
        let mut after = (*before.about).clone();
        changes.iter().for_each(|(prefix, level)| after.levels.set(prefix.clone(), *level));
        if after == *before.about {
            return Ok(after.levels);
        }
        for (prefix, _) in changes {
            keep_levels(&call, prefix, &before.about.levels, &after.levels).await?;
        }
        if call.change(before, &after).await? {
            return Ok(after.levels);
        }
    }
}

/// Refuses levels by which a key that has versions would get another one: entries of the two levels
/// have different names.
async fn keep_levels(
    call: &Patient<'_>,
    prefix: &str,
    before: &Levels,
    after: &Levels,
) -> Result<(), StartError> {
    let store = call.store;
    let mut last: Option<Bytes> = None;
    loop {
        let groups = || store.groups(Space::Version, prefix.as_bytes(), last.as_deref(), KEYS_PAGE_LEN);
        let page = call.until_answered(groups).await.map_err(|error| unavailable(&error))?;
        for group in &page.groups {
            // What is no UTF-8 is damage, and counts as it reads.
            let key = String::from_utf8_lossy(group);
            let (was, would_be) = (before.of(&key).1, after.of(&key).1);
            if was != would_be {
                return Err(StartError::Refused(format!(
                    "{}: the level of the prefix {prefix:?} stays as it is, since a key that is {} has versions: \
                     {key:?}. Give the level to a prefix that holds no keys, or copy the keys to a new store",
                    store.url(),
                    was.as_str(),
                )));
            }
        }
        if !page.more {
            return Ok(());
        }
        last = page.groups.last().cloned();
        assert!(last.is_some(), "more never follow after no groups");
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
async fn make(call: &Patient<'_>, new: &NewStore) -> Result<bool, StartError> {
    let store = call.store;
    let identity = clock::fresh_identity();
    let capabilities = store.capabilities();
    let NewStore { race, times, levels } = new;
    let mut about = About::new(identity, &capabilities, *race, PROGRAM, clock::wall_ms(), *times);
    if !capabilities.exclusive {
        about.levels = levels.clone();
    }
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

/// A description that was read, with the tag that it had.
struct Description {
    format: Arc<Format>,
    about: Box<About>,
    tag: Tag,
}

impl Patient<'_> {
    /// Reads the store's description of itself; `None` if there is none.
    async fn description(&self) -> Result<Option<Description>, StartError> {
        let store = self.store;
        let name = encode_name(&Name::Format);
        let got = match self.until_answered(|| store.get(&name)).await {
            Ok(got) => got,
            Err(Error::Damaged(why)) => return Err(StartError::Refused(format!("{}: {why}", store.url()))),
            Err(error) => return Err(unavailable(&error)),
        };
        let Some((body, tag)) = got else { return Ok(None) };
        match read_format(Some(&body)) {
            FormatFound::Readable(format, about) => Ok(Some(Description { format, about, tag })),
            FormatFound::Damaged(why) | FormatFound::Refused(why) => {
                Err(StartError::Refused(format!("{}: {why}", store.url())))
            }
            FormatFound::Missing => unreachable!("its body was read"),
        }
    }

    async fn description_to_change(&self) -> Result<Description, StartError> {
        let missing = || format!("{}: there is no store/format to be changed", self.store.url());
        self.description().await?.ok_or_else(|| StartError::Refused(missing()))
    }

    /// Replaces a description. Returns false if it is not as it was read: a sweep may have moved the
    /// mark.
    async fn change(&self, before: Description, after: &About) -> Result<bool, StartError> {
        let Description { format, tag, .. } = before;
        let format = Format { about: after.encode(), ..(*format).clone() };
        let (name, body) = encode_object(&Name::Format, &Body::Format(format.into()));
        let replaced = self.until_answered(|| self.store.replace(&name, &tag, body.clone())).await;
        Ok(replaced.map_err(|error| unavailable(&error))? == Replaced::Replaced)
    }

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
