//! Opening a store: `store/format` is read before anything else, and created where the store holds
//! nothing of this project (protocol, section 14).
//!
//! ```text
//!   read ─► readable ─► serve
//!     ├───► damaged ─► serve without the mark, and log it: nothing is collected until somebody has
//!     │                restored it; nor is anything written where several processes share the
//!     │                store, since the levels of its keys are not known
//!     ├───► another version's, or with its large values elsewhere ─► reject
//!     └───► missing ─► look ─► nothing ─► create it ─► read it again: if several nodes create
//!                        │                it at once, one of them succeeds
//!                        ├───► data without a mark ─► read it again, since another node may have
//!                        │                   created it meanwhile ─► serve without the mark
//!                        └───► another version's data ─► reject
//! ```
//!
//! The mark is not handed to the core from here: the core reads it by itself when it needs it, and
//! learns the store's time by the same answer.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aft_core::ids::TxnId;
use aft_core::message::Isolation;
use aft_core::record::Format;
use aft_core::settings::Levels;
use aft_core::store::{Body, Name};
use aft_format::{
    About, Blobs, FormatFound, Holds, Looked, Looking, Race, Times, encode_name, encode_object, read_format,
};
use aft_store::{Created, Error, Replaced, Space, Store, Tag};
use bytes::Bytes;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::claiming::place_refusal;
use crate::clock;
use crate::handle::StartError;

/// The number of tries of each call before the store counts as unavailable. The pauses between them
/// add up to 2.5 s.
const TRIES: u32 = 8;
/// The number of keys in one page, when their levels are compared: a page of S3.
const KEYS_PAGE_LEN: usize = 1_000;
/// The pause after the first failure; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(20);
/// The name and version of the program that makes a store, as `store/format` holds them.
pub(crate) const PROGRAM: &str = concat!("aft ", env!("CARGO_PKG_VERSION"));

/// The description that a new store gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewStore {
    /// The verdict of the race probe, if one was made.
    pub race: Race,
    /// The times that the store's nodes must share.
    pub times: Times,
    /// The levels of the store's keys; not stored where one process holds the store.
    pub levels: Levels,
}

/// The store's description of itself, as a node found it at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The store has a mark.
    Marked {
        /// The mark, as it was read.
        mark: TxnId,
        /// The rest of the description.
        about: Box<About>,
        /// True if this call created the description, because the store was empty.
        is_new: bool,
    },
    /// The mark is lost or damaged; the text says which, and names the remedy. Such a store is
    /// read, but not swept. Where several processes share it, it takes no commits either, since the
    /// levels of its keys are lost as well.
    Unmarked(String),
}

/// Reads the store's description of itself, and creates it from `new` if the store is empty. The
/// description of an existing store may differ from `new`: the caller decides if it can work with
/// it. Each call of the store may take `limit`, and is repeated up to seven times.
///
/// # Errors
/// Returns [`StartError::Refused`] if this program cannot use the store, with the remedy, and
/// [`StartError::Unavailable`] if the store does not answer or rejects a call.
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
            if let Some(place) = store.blobs_place() {
                return Err(StartError::Refused(format!(
                    "{}: there is no store here, and one with large values in {place} is made only by aft store init, \
                     which claims that place: run it once with this URL",
                    store.url()
                )));
            }
            is_new = make(&call, new).await?;
        }
        // Read it again in any case: another node may have created it meanwhile.
        found = read().await?;
        if found == FormatFound::Missing {
            let lost = "store/format is missing right after it was created: another program deletes objects of this store";
            let why = holds.warning().unwrap_or_else(|| lost.to_owned());
            return Ok(Opened::Unmarked(format!("{}: {why}", store.url())));
        }
    }
    match found {
        FormatFound::Readable(format, about) => {
            if let Some(why) = place_refusal(&about, store) {
                return Err(StartError::Refused(format!("{}: {why}", store.url())));
            }
            for difference in about.differences(&store.capabilities()) {
                warn!(difference, "the store is not as it was when it was made");
            }
            if about.times.is_none() {
                warn!(
                    "the store's description lacks the times that its nodes must share, so they are not compared: run \
                     aft store init URL --change-times once, with the settings of the nodes"
                );
            }
            Ok(Opened::Marked { mark: format.mark, about, is_new })
        }
        FormatFound::Damaged(why) => Ok(Opened::Unmarked(format!("{}: {why}", store.url()))),
        FormatFound::Refused(why) => Err(StartError::Refused(format!("{}: {why}", store.url()))),
        FormatFound::Missing => unreachable!("looked at above"),
    }
}

/// Returns the reason why a node with the times `own` must not work on (or, if `sweeps`, must not
/// sweep) a store with the description `about`, with both values and the remedy. A store that one
/// process holds has no other nodes, so it never gives a reason.
pub(crate) fn times_refusal(about: &About, own: &Times, sweeps: bool) -> Option<String> {
    let of_store = about.times.filter(|_| !about.abilities.exclusive)?;
    of_store.refusal(own, sweeps)
}

/// Reads the store's description of itself, and creates nothing: returns `None` if there is none.
/// Each call of the store may take `limit`, and is repeated up to seven times.
///
/// # Errors
/// Returns [`StartError::Refused`] if the description cannot be read, with the remedy, and
/// [`StartError::Unavailable`] if the store does not answer or rejects a call.
pub async fn read_description(
    store: &dyn Store,
    limit: Duration,
) -> Result<Option<(Arc<Format>, Box<About>)>, StartError> {
    let found = Patient { store, limit }.description().await?;
    Ok(found.map(|Description { format, about, .. }| (format, about)))
}

/// Replaces the times in the store's description of itself, for nodes that start from now on, and
/// returns the former ones (`None` if there were none). Stop all nodes first: a running node keeps
/// its own times. Each call of the store may take `limit`, and is repeated up to seven times.
///
/// # Errors
/// Returns [`StartError::Refused`] if there is no description, or it cannot be read;
/// [`StartError::Unavailable`] if the store does not answer or rejects a call.
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
/// on, and returns all levels of the store after the change. Stop all nodes first: a running node
/// keeps the levels that it started with. Each call of the store may take `limit`, and is repeated
/// up to seven times.
///
/// # Errors
/// Returns [`StartError::Refused`] if one process holds the store, if there is no description or it
/// cannot be read, or if a key that has versions would get another level (the text names the key);
/// [`StartError::Unavailable`] if the store does not answer or rejects a call.
pub async fn change_levels(
    store: &dyn Store,
    changes: &[(String, Isolation)],
    limit: Duration,
) -> Result<Levels, StartError> {
    let call = Patient { store, limit };
    if store.capabilities().exclusive {
        return Err(StartError::Refused(format!(
            "{}: cannot give a level to a prefix: one process holds this store, and every transaction chooses its level \
             there",
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
        // Look at the keys under every prefix that changes before anything is written. The nodes
        // are stopped, so no key appears meanwhile.
        for (prefix, _) in changes {
            keep_levels(&call, prefix, &before.about.levels, &after.levels).await?;
        }
        if call.change(before, &after).await? {
            return Ok(after.levels);
        }
    }
}

/// Rejects the levels `after` if a key under `prefix` that has versions would get another level by
/// them: the version entries of the two levels have different names.
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
            // A group that is not UTF-8 is damage; its level is that of its lossy text.
            let key = String::from_utf8_lossy(group);
            let (was, would_be) = (before.of(&key).1, after.of(&key).1);
            if was != would_be {
                return Err(StartError::Refused(format!(
                    "{}: cannot change the level of the prefix {prefix:?}: the key {key:?}, whose level is {}, has \
                     versions; give the level to a prefix that holds no keys, or copy the keys to a new store",
                    store.url(),
                    was.as_str(),
                )));
            }
        }
        if !page.more {
            return Ok(());
        }
        last = page.groups.last().cloned();
        assert!(last.is_some(), "a page that is not the last has groups");
    }
}

/// Returns what kind of objects the store holds. A call that fails is repeated alone, not the whole
/// look.
pub(crate) async fn look(call: &Patient<'_>) -> Result<Holds, StartError> {
    let mut looking = Looking::new();
    loop {
        let looked = call.until_answered(|| looking.go_on(call.store)).await;
        match looked.map_err(|error| unavailable(&error))? {
            Looked::More(next) => looking = next,
            Looked::All(holds) => return Ok(holds),
        }
    }
}

/// Creates `store/format`. Returns false if another node was faster. A place of large values in
/// another store is not claimed yet.
pub(crate) async fn make(call: &Patient<'_>, new: &NewStore) -> Result<bool, StartError> {
    let store = call.store;
    let identity = clock::fresh_identity();
    let capabilities = store.capabilities();
    let NewStore { race, times, levels } = new;
    let mut about = About::new(identity, &capabilities, *race, PROGRAM, clock::wall_ms(), *times);
    if !capabilities.exclusive {
        about.levels = levels.clone();
    }
    if let Some(place) = store.blobs_place() {
        about = about.with_blobs(Blobs { place, claimed: false });
    }
    let (name, body) = encode_object(&Name::Format, &Body::Format(about.to_format().into()));
    let created = call.until_answered(|| store.create(&name, body.clone())).await;
    let created = created.map_err(|error| unavailable(&error))?;
    // If an earlier try got no answer, the object that is found may be this node's own. Then the
    // result names another maker, which does no harm.
    let is_ours = created == Created::Created;
    if is_ours {
        info!(store = store.url(), "made a new store");
    }
    Ok(is_ours)
}

/// A store whose calls are repeated until it answers, [`TRIES`] times in all.
pub(crate) struct Patient<'a> {
    pub(crate) store: &'a dyn Store,
    /// The longest time of one try.
    pub(crate) limit: Duration,
}

/// A description that was read, with the tag of its object.
pub(crate) struct Description {
    format: Arc<Format>,
    pub(crate) about: Box<About>,
    tag: Tag,
}

impl Patient<'_> {
    /// Reads the store's description of itself; `None` if there is none. Rejects a store whose
    /// large values lie elsewhere.
    async fn description(&self) -> Result<Option<Description>, StartError> {
        let found = self.any_description().await?;
        match found.as_ref().and_then(|found| place_refusal(&found.about, self.store)) {
            Some(why) => Err(StartError::Refused(format!("{}: {why}", self.store.url()))),
            None => Ok(found),
        }
    }

    /// Reads the store's description of itself, wherever its large values lie.
    pub(crate) async fn any_description(&self) -> Result<Option<Description>, StartError> {
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
        let missing = || {
            format!(
                "{}: there is no store/format to change; make the store with aft store init URL",
                self.store.url()
            )
        };
        self.description().await?.ok_or_else(|| StartError::Refused(missing()))
    }

    /// Replaces the description `before` by `after`. Returns false if the object has changed since
    /// it was read, for instance because a sweep moved the mark: read it again then.
    pub(crate) async fn change(&self, before: Description, after: &About) -> Result<bool, StartError> {
        let Description { format, tag, .. } = before;
        let format = Format { about: after.encode(), ..(*format).clone() };
        let (name, body) = encode_object(&Name::Format, &Body::Format(format.into()));
        let replaced = self.until_answered(|| self.store.replace(&name, &tag, body.clone())).await;
        Ok(replaced.map_err(|error| unavailable(&error))? == Replaced::Replaced)
    }

    pub(crate) async fn until_answered<T, F: Future<Output = Result<T, Error>>>(
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

pub(crate) fn unavailable(error: &Error) -> StartError {
    StartError::Unavailable(error.to_string())
}
