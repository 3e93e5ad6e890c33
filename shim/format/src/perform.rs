//! One call of the core to calls of a store, and the answer back. Nothing is repeated here.

use aft_core::store::{Answer, Body, Call, Name, Tag};
use aft_store::{Error, Replaced, Store};

use crate::body::{decode_body, encode_object};
use crate::commit::{created, decode_committed, encode_commit};
use crate::listing::{Ask, Listing, Scanning};
use crate::name::encode_name;

/// Runs a call to its end, however long it takes.
///
/// # Errors
/// The store's own; [`Damaged`](aft_store::Error::Damaged) if what it holds cannot be read.
pub async fn perform(store: &dyn Store, call: Call) -> Result<Answer, Error> {
    Ok(match call {
        Call::Get(name) | Call::Fetch { at: name, .. } => Answer::Got(get(store, &name).await?),
        Call::Put(name, body) => {
            let (at, bytes) = encode_object(&name, &body);
            store.put(&at, bytes).await?;
            Answer::Done
        }
        Call::Create(name, body) => {
            let (at, bytes) = encode_object(&name, &body);
            Answer::Created(created(store.create(&at, bytes).await?))
        }
        Call::Commit(writes) => {
            Answer::Committed(decode_committed(store.commit(encode_commit(&writes)).await))
        }
        Call::Replace(name, tag, body) => {
            let (at, bytes) = encode_object(&name, &body);
            replaced(store.replace(&at, &aft_store::Tag(tag.0), bytes).await?)
        }
        Call::Delete(names) => {
            let names: Vec<aft_store::Name> = names.iter().map(encode_name).collect();
            store.delete(&names).await?;
            Answer::Done
        }
        Call::DeleteIf(name, tag) => {
            replaced(store.delete_if(&encode_name(&name), &aft_store::Tag(tag.0)).await?)
        }
        Call::List { group, after, limit } => {
            let mut listing = Listing::new(group, after.as_ref());
            loop {
                let page =
                    store.list(listing.space(), listing.group(), listing.after(), limit as usize).await?;
                let wanted = listing.take(page);
                let bodies = store.get_bodies(&wanted).await?;
                if !listing.resolve(bodies)? {
                    break listing.answer();
                }
            }
        }
        Call::Scan { scan, limit } => {
            let mut scanning = Scanning::new(&scan);
            loop {
                let goes_on = match scanning.ask() {
                    Ask::Nothing => false,
                    Ask::Names { space, prefix, after, heads } => {
                        let (after, limit) = (after.as_ref(), limit as usize);
                        let page = match heads {
                            Some(heads) => store.scan_heads(*space, prefix, after, heads, limit).await?,
                            None => store.scan(*space, prefix, after, limit).await?,
                        };
                        let wanted = scanning.take_names(page);
                        let bodies = store.get_bodies(&wanted).await?;
                        scanning.resolve(bodies)?
                    }
                    Ask::Groups { space, after } => {
                        let page = store.groups(*space, b"", after.as_deref(), limit as usize).await?;
                        scanning.take_groups(page)
                    }
                };
                if !goes_on {
                    break scanning.answer();
                }
            }
        }
    })
}

/// Gets a body and its tag. That a record names the request under whose hash it lies, `decode_body`
/// has checked.
async fn get(store: &dyn Store, name: &Name) -> Result<Option<(Body, Tag)>, Error> {
    let Some((bytes, tag)) = store.get(&encode_name(name)).await? else { return Ok(None) };
    let body = decode_body(name, &bytes)?;
    if let (Name::Commit(hash), Body::Record(record)) = (name, &body) {
        assert!(record.hash == *hash, "the record of {} came back for {hash}", record.hash);
    }
    Ok(Some((body, Tag(tag.0))))
}

fn replaced(outcome: Replaced) -> Answer {
    match outcome {
        Replaced::Replaced => Answer::Replaced,
        Replaced::Changed => Answer::Changed,
    }
}
