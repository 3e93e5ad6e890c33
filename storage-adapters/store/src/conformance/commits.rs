//! Checks of commits: a record and the entries beside it, in one call.
//!
//! A store may carry out any piece and not another, as long as each piece's answer is true. So the
//! checks require that a piece whose answer is `Ok` is there, and that a taken name is not
//! overwritten. They do not require all or nothing.

use bytes::Bytes;
use futures::StreamExt;

use super::Outcome;
use super::contract::{LARGE_BODY_BYTES, REFUSED_BODY_BYTES_MAX, body, ensure};
use super::listing;
use super::scratch::{CALLS_AT_ONCE, Scratch, short};
use crate::{Committed, Created, Error, Name, Writes};

/// The number of entries of a large commit: more than any store takes in one batch of plain or
/// conditional writes (DynamoDB: 25 and 100), and more than are sent at once.
const MANY_ENTRIES: usize = 200;

/// Checks that the store holds every one of `pieces`.
async fn ensure_hold(s: &Scratch, pieces: &[(Name, Bytes)]) -> Outcome {
    let reads: Vec<_> = pieces.iter().map(|(name, _)| s.get_some(name)).collect();
    let reads: Vec<_> = futures::stream::iter(reads).buffered(CALLS_AT_ONCE).collect().await;
    for ((name, body), read) in pieces.iter().zip(reads) {
        let (read, _) = read?;
        ensure!(
            read == body,
            "{}: committed {} bytes, read {} other bytes",
            short(name),
            body.len(),
            read.len()
        );
    }
    Ok(())
}

/// Checks that the answer of every piece says that it was carried out, and that the store holds it.
async fn ensure_whole(s: &Scratch, writes: &Writes, committed: &Committed) -> Outcome {
    if let Some((name, body)) = &writes.create {
        ensure!(
            committed.created == Some(Ok(Created::Created)),
            "the create of {} answered {:?}",
            short(name),
            committed.created
        );
        ensure_hold(s, &[(name.clone(), body.clone())]).await?;
    }
    for ((name, _), put) in writes.puts.iter().zip(&committed.puts) {
        ensure!(put.is_ok(), "the put of {} answered {put:?}", short(name));
    }
    ensure_hold(s, &writes.puts).await
}

pub(super) async fn commit_writes_every_piece(s: &Scratch) -> Outcome {
    for &space in s.spaces {
        let record = s.name_in(space, b"commit", b"");
        let entry = |i: usize| {
            let group = format!("committed key {i}");
            let body = if i.is_multiple_of(2) { Bytes::new() } else { Bytes::from(group.clone()) };
            (s.name_in(s.spaces[i], group.as_bytes(), space.as_str().as_bytes()), body)
        };
        let puts: Vec<(Name, Bytes)> = (0..s.spaces.len()).map(entry).collect();
        // An entry overwrites what its name holds: some of the names exist already.
        for (name, _) in puts.iter().step_by(2) {
            s.put(name, "older").await?;
        }
        let writes = Writes { create: Some((record, "the record".into())), puts };
        let committed = s.commit(&writes).await?;
        ensure_whole(s, &writes, &committed).await?;
        for (i, (name, _)) in writes.puts.iter().enumerate() {
            let group = format!("committed key {i}");
            let items = s.list(name.space, group.as_bytes(), None, s.spaces.len()).await?.items;
            ensure!(items.contains(&name.item), "{name} was committed, but its group lists {items:?}");
        }
    }
    Ok(())
}

/// The ways in which a name can be taken.
#[derive(Debug, Clone, Copy)]
enum TakenBy {
    Create,
    Put,
    Commit,
}

pub(super) async fn commit_of_a_taken_name_overwrites_nothing(s: &Scratch) -> Outcome {
    for &space in s.spaces {
        for by in [TakenBy::Create, TakenBy::Put, TakenBy::Commit] {
            let item = format!("{by:?}");
            let record = s.name_in(space, b"taken", item.as_bytes());
            let first = || Writes { create: Some((record.clone(), "first".into())), puts: Vec::new() };
            match by {
                TakenBy::Create => drop(s.create(&record, "first").await?),
                TakenBy::Put => s.put(&record, "first").await?,
                TakenBy::Commit => drop(s.commit(&first()).await?),
            }
            // One entry of the losing commit would overwrite something, one would be new.
            let held = s.name_in(space, b"entry that was there", item.as_bytes());
            let new = s.name_in(space, b"entry of a loser", item.as_bytes());
            s.put(&held, "before").await?;
            // A loser has lost even if its body is the winner's.
            for body in ["second", "first"] {
                let writes = Writes {
                    create: Some((record.clone(), body.into())),
                    puts: vec![(held.clone(), "loser".into()), (new.clone(), "loser".into())],
                };
                let committed = s.commit(&writes).await?;
                ensure!(
                    committed.created == Some(Ok(Created::Exists)),
                    "{record} was taken ({by:?}), but a commit of it answered {:?}",
                    committed.created
                );
                let refused = committed.puts.iter().find(|put| put.is_err());
                ensure!(refused.is_none(), "an entry beside a taken name answered {refused:?}");
                let (read, _) = s.get_some(&record).await?;
                ensure!(read == "first", "{record} was taken ({by:?}), and a commit made it {read:?}");
                // The store may have written the entries or skipped them.
                let (read, _) = s.get_some(&held).await?;
                ensure!(read == "before" || read == "loser", "{held} holds {read:?}, which nobody wrote");
                let read = s.get(&new).await?.map(|(read, _)| read);
                ensure!(
                    read.as_ref().is_none_or(|read| read == "loser"),
                    "{new} holds {read:?}, which nobody wrote"
                );
            }
            // Once the record is deleted, its name is free for a commit again.
            s.delete(std::slice::from_ref(&record)).await?;
            let committed = s.commit(&first()).await?;
            ensure_whole(s, &first(), &committed).await?;
        }
    }
    Ok(())
}

pub(super) async fn commit_of_entries_alone(s: &Scratch) -> Outcome {
    for &space in s.spaces {
        for body in ["first", "second"] {
            let entry = |i: usize| (s.name_in(space, b"alone", i.to_string().as_bytes()), body.into());
            for entries in [1, 3] {
                let writes = Writes { create: None, puts: (0..entries).map(entry).collect() };
                let committed = s.commit(&writes).await?;
                ensure_whole(s, &writes, &committed).await?;
            }
        }
        // A commit of nothing at all is not an error.
        s.commit(&Writes::default()).await?;
    }
    Ok(())
}

pub(super) async fn commit_takes_many_entries(s: &Scratch) -> Outcome {
    let space = s.spaces[s.spaces.len() / 2];
    let key = |i: usize| format!("one of many {i:03}");
    let entry = |i: usize| (s.name_in(space, key(i).as_bytes(), b"entry"), i.to_string().into());
    let writes = Writes {
        create: Some((s.name(b"record of many", b""), "the record".into())),
        puts: (0..MANY_ENTRIES).map(entry).collect(),
    };
    let committed = s.commit(&writes).await?;
    ensure_whole(s, &writes, &committed).await?;
    let groups = listing::all_groups(s, space, b"one of many", MANY_ENTRIES).await?;
    let expected: Vec<Bytes> = (0..MANY_ENTRIES).map(|i| s.group(key(i).as_bytes())).collect();
    ensure!(groups == expected, "{} groups are listed, not those of {MANY_ENTRIES} entries", groups.len());
    Ok(())
}

pub(super) async fn commit_bodies_reach_their_bound(s: &Scratch) -> Outcome {
    let largest = s.store.capabilities().body_bytes_max.min(LARGE_BODY_BYTES);
    let sizes = [1, 4096, 65_536, 65_537, largest];
    for size in sizes.into_iter().filter(|&size| size <= largest) {
        let name = |group: &[u8]| s.name(group, size.to_string().as_bytes());
        let writes = Writes {
            create: Some((name(b"large record"), body(size, 4))),
            puts: vec![(name(b"large entry"), body(size, 5)), (name(b"small entry"), Bytes::new())],
        };
        let committed = s.commit(&writes).await?;
        ensure_whole(s, &writes, &committed).await?;
        // A loser of the same size must not overwrite the winner.
        let winner = writes.create.clone();
        let loser = winner.as_ref().map(|(name, _)| (name.clone(), body(size, 6)));
        let lost = s.commit(&Writes { create: loser, puts: Vec::new() }).await?;
        ensure!(lost.created == Some(Ok(Created::Exists)), "a second record answered {:?}", lost.created);
        ensure_hold(s, winner.as_slice()).await?;
    }
    Ok(())
}

pub(super) async fn commit_answers_for_each_piece(s: &Scratch) -> Outcome {
    let max = s.store.capabilities().body_bytes_max;
    if max > REFUSED_BODY_BYTES_MAX {
        s.skip("the bound is too large to try");
        return Ok(());
    }
    let too_large = Bytes::from(vec![7; max + 1]);
    // The piece that is too large: the record (case 0), the middle entry (1), and the middle entry
    // of a commit without a record (2).
    for (case, record) in [(0, Some(&too_large)), (1, None), (2, None)] {
        let name = |group: &[u8]| s.name(group, format!("case {case}").as_bytes());
        let middle = if case == 0 { Bytes::from("fits") } else { too_large.clone() };
        let record = record.cloned().unwrap_or_else(|| "fits".into());
        let writes = Writes {
            create: (case != 2).then(|| (name(b"piece 0"), record)),
            puts: vec![
                (name(b"piece 1"), "fits".into()),
                (name(b"piece 2"), middle),
                (name(b"piece 3"), "fits".into()),
            ],
        };
        let committed = s.commit(&writes).await?;
        // One list of answers for the record and the entries. The names are new, so `Exists` is an
        // error.
        let created = committed.created.iter().map(|created| match created {
            Ok(Created::Created) => Ok(()),
            Ok(Created::Exists) => Err(Error::Damaged("it answered Exists".to_owned())),
            Err(error) => Err(error.clone()),
        });
        let answers = created.chain(committed.puts.iter().cloned());
        for ((name, body), answer) in writes.create.iter().chain(&writes.puts).zip(answers) {
            match answer {
                Ok(()) => {
                    ensure!(
                        body.len() <= max,
                        "a commit accepted {name} with {} bytes, but the most is {max}",
                        body.len()
                    );
                    ensure_hold(s, &[(name.clone(), body.clone())]).await?;
                }
                Err(Error::Refused(_)) => {
                    let read = s.get(name).await?;
                    ensure!(read.is_none(), "a commit refused {name}, but it exists");
                }
                Err(error) => return Err(format!("commit of {name}: {error}")),
            }
        }
    }
    Ok(())
}
