//! The place of a store's parts of large values, where that is in another store (decision 0024).
//!
//! A sweep deletes the parts that no record names. So it must never look at parts of another store,
//! and a store must never look for its parts in another place:
//!
//! ```text
//!   store/format ── names the place ──► the place of the parts
//!        ▲                                    │
//!        └──── has the identity that ◄── store/claim names
//! ```
//!
//! Making both takes three steps, each of which can be repeated after a crash:
//!
//! 1. create `store/format` with the place, unclaimed: it decides the store's identity;
//! 2. create `store/claim` with that identity: it decides who has the place;
//! 3. replace `store/format`, by tag: the place is claimed.
//!
//! Nobody opens a store between the first step and the third. After it a node compares the place of
//! its URL with the description, which it reads anyway, and never asks for the claim.

use std::time::Duration;

use aft_format::{About, Blobs, Claim, Holds};
use aft_store::{Created, Error, Store};
use tracing::{info, warn};

use crate::clock;
use crate::handle::StartError;
use crate::opening::{NewStore, Opened, PROGRAM, Patient, look, make, open_store, unavailable};

/// Returns the reason why a store with the description `about` must not be opened as `store`: its
/// parts of large values lie elsewhere. The text names both places and the remedy.
pub(crate) fn place_refusal(about: &About, store: &dyn Store) -> Option<String> {
    match (&about.blobs, store.blobs_place()) {
        (None, None) => None,
        (None, Some(place)) => Some(cannot_move(&place)),
        (Some(Blobs { place, .. }), None) => Some(format!(
            "the parts of this store's large values lie in {place}, and the URL does not say so: add blobs={place} to it \
             (a & in its value is written %26)"
        )),
        (Some(blobs), Some(place)) if blobs.place != place => Some(other_place(blobs, &place)),
        (Some(Blobs { claimed: false, place }), Some(_)) => Some(format!(
            "the making of this store was interrupted before it had claimed {place} for its large values: run \
             aft store init with the same URL again"
        )),
        (Some(_), Some(_)) => None,
    }
}

fn cannot_move(place: &str) -> String {
    format!(
        "the URL puts large values into {place}, but this store was made without blobs= and has them beside its \
         records, and that cannot be changed: leave blobs= out; or make a new store with it, and copy the keys there"
    )
}

fn other_place(blobs: &Blobs, place: &str) -> String {
    format!(
        "the URL puts large values into {place}, but those of this store lie in {}: write blobs={}; if it is the same \
         bucket and prefix at a new address, stop all nodes, and run aft store init with the new URL once",
        blobs.place, blobs.place
    )
}

/// Makes a store whose parts of large values lie in another one, or completes and checks one that
/// was made before. `blobs` is the store of the parts, of which `store` is made. The description
/// names the place of the parts, and a claim in that place names the store. Each call may take
/// `limit`, and is repeated up to seven times.
///
/// # Errors
/// Returns [`StartError::Refused`] if the place belongs to another store or holds anything else, if
/// the store has its parts in another place, or if it cannot be used; the text names the remedy.
/// Returns [`StartError::Unavailable`] if one of the two stores does not answer or rejects a call.
///
/// # Panics
/// Panics if the parts of `store` are not kept in another store.
pub async fn init_split(
    store: &dyn Store,
    blobs: &dyn Store,
    new: &NewStore,
    limit: Duration,
) -> Result<Opened, StartError> {
    let place = store.blobs_place().expect("the parts of this store lie in another one");
    let (call, parts) = (Patient { store, limit }, Patient { store: blobs, limit });
    let refused = |why: String| Err(StartError::Refused(format!("{}: {why}", store.url())));
    // True once this call has made the store, and the claim.
    let (mut is_new, mut has_claimed) = (false, false);
    loop {
        let Some(before) = call.any_description().await? else {
            match check_both_empty(&call, &parts).await {
                Ok(()) => is_new |= make(&call, new).await?,
                // Another call may have made this store meanwhile.
                Err(_) if call.any_description().await?.is_some() => {}
                Err(error) => return Err(error),
            }
            continue;
        };
        let about = (*before.about).clone();
        let Some(now) = about.blobs.clone() else { return refused(cannot_move(&place)) };
        if now.claimed && now.place != place {
            let is_same = is_same_but_for_address(&now.place, &place);
            // A claim that this call has made says nothing about where the parts are: another call
            // has given the store another place meanwhile. If that may be this one, the claim
            // stays.
            if has_claimed && !is_same {
                give_up_claim(&parts).await;
            }
            if has_claimed || !is_same || !has_claim(&parts, &about).await? {
                return refused(other_place(&now, &place));
            }
            let moved = about.with_blobs(Blobs { place: place.clone(), claimed: true });
            if call.change(before, &moved).await? {
                info!(from = now.place, to = place, "the place of large values has another address");
            }
            continue;
        }
        // An earlier call was interrupted, perhaps with another place; this one may hold anything.
        if !now.claimed
            && !has_claim(&parts, &about).await?
            && let Err(error) = check_empty(&parts).await
            && !has_claim(&parts, &about).await?
        {
            return Err(error);
        }
        has_claimed |= claim(&parts, store, &about).await?;
        if now.claimed {
            break;
        }
        let claimed = about.with_blobs(Blobs { place: place.clone(), claimed: true });
        if call.change(before, &claimed).await? {
            break;
        }
    }
    Ok(match open_store(store, new, limit).await? {
        Opened::Marked { mark, about, .. } => Opened::Marked { mark, about, is_new },
        Opened::Unmarked(why) => Opened::Unmarked(why),
    })
}

/// Returns true if two places differ only in the address at which they are reached.
fn is_same_but_for_address(one: &str, other: &str) -> bool {
    let path = |place: &str| place.split('?').next().map(str::to_owned);
    path(one) == path(other)
}

/// Rejects a store that holds anything, although it has no description.
async fn check_both_empty(call: &Patient<'_>, parts: &Patient<'_>) -> Result<(), StartError> {
    check_empty(parts).await?;
    match look(call).await? {
        Holds::Nothing => Ok(()),
        holds => {
            let why = holds.refusal().or_else(|| holds.warning());
            let why = why.expect("a store that holds anything has one of both");
            Err(StartError::Refused(format!("{}: {why}", call.store.url())))
        }
    }
}

/// Rejects a place of parts that holds anything: the claim or the data of another store.
async fn check_empty(parts: &Patient<'_>) -> Result<(), StartError> {
    let url = parts.store.url();
    let why = match look(parts).await? {
        Holds::Nothing => return Ok(()),
        Holds::Claimed { store } => taken(store.as_deref()),
        holds @ (Holds::First { .. } | Holds::Newer { .. }) => {
            holds.refusal().expect("data of another version is refused")
        }
        Holds::Unmarked { example } => format!(
            "the large values of a new store need a place of their own, and this one holds data of a store ({example}): \
             choose another prefix"
        ),
    };
    Err(StartError::Refused(format!("{url}: {why}")))
}

/// Returns the reason why a place cannot be used that the store at the URL `store` has claimed.
fn taken(store: Option<&str>) -> String {
    let store = store.unwrap_or("that the claim does not name, since it cannot be read");
    format!(
        "the large values of another store lie here, of {store}, and sweeps of the two would delete each other's: choose \
         another prefix; if that store is gone for good, delete all objects under this one first"
    )
}

/// Claims the place of parts for the store with the description `about`. Returns true if this call
/// has made the claim, and false if the store had it.
async fn claim(parts: &Patient<'_>, store: &dyn Store, about: &About) -> Result<bool, StartError> {
    let claim = Claim {
        identity: about.identity,
        store: store.url(),
        program: PROGRAM.to_owned(),
        made_ms: clock::wall_ms(),
    };
    let (name, body) = (Claim::name(), claim.encode());
    let created = parts.until_answered(|| parts.store.create(&name, body.clone())).await;
    if created.map_err(|error| unavailable(&error))? == Created::Created {
        return Ok(true);
    }
    match read_claim(parts).await? {
        // It may be this call's own, if an earlier try got no answer.
        Some(claim) if claim.identity == about.identity => Ok(false),
        Some(claim) => {
            Err(StartError::Refused(format!("{}: {}", parts.store.url(), taken(Some(&claim.store)))))
        }
        None => Err(StartError::Refused(format!(
            "{}: the claim of this place is missing right after it was found: another program deletes objects here",
            parts.store.url()
        ))),
    }
}

async fn has_claim(parts: &Patient<'_>, about: &About) -> Result<bool, StartError> {
    Ok(read_claim(parts).await?.is_some_and(|claim| claim.identity == about.identity))
}

async fn read_claim(parts: &Patient<'_>) -> Result<Option<Claim>, StartError> {
    let name = Claim::name();
    let read = parts.until_answered(|| async {
        let found = parts.store.get(&name).await?;
        found.map(|(body, _)| Claim::decode(&body)).transpose()
    });
    match read.await {
        Ok(claim) => Ok(claim),
        Err(Error::Damaged(why)) => Err(StartError::Refused(format!(
            "{}: the claim of this place cannot be read ({why}): choose another prefix, or restore the object from a backup",
            parts.store.url()
        ))),
        Err(error) => Err(unavailable(&error)),
    }
}

/// Deletes the claim that this call has made. If it fails, the place stays claimed by nobody.
async fn give_up_claim(parts: &Patient<'_>) {
    if let Err(error) = parts.store.delete(&[Claim::name()]).await {
        warn!(%error, store = parts.store.url(), "a claim of this place that nobody needs is left behind");
    }
}
