//! The writes of one commit: one script, unless there are more than one script may hold.
//!
//! ```text
//!   script 1: create the record, put the first entries    only if the record's name is free
//!   script 2, 3, …: the other entries, at the same time   sent once the record is created
//! ```
//!
//! A script has at most [`NAMES_MAX`] names and [`BYTES_MAX`] bytes, so that the server can serve
//! other clients in between.

use std::ops::Range;
use std::time::Instant;

use aft_store::{Committed, Created, Name, Result, Writes};
use bytes::Bytes;
use redis::Value;

use crate::failure::{caught, not_redis};
use crate::layout;
use crate::link::{Link, Ran, Run};
use crate::scripts::Script;
use crate::store::{BODY_BYTES_MAX, too_large};

/// The number of names in one script.
pub(crate) const NAMES_MAX: usize = 1_000;
/// The size of bodies and names in one script, if it has more than one name.
const BYTES_MAX: usize = 4 << 20;

/// Writes the record and the entries, and returns the outcome of each. No script takes effect after
/// `until`, if that is given.
pub(crate) async fn commit(link: &Link, writes: Writes, until: Option<Instant>) -> Committed {
    let Writes { create, puts } = writes;
    let (has_record, count) = (create.is_some(), puts.len());
    let pieces: Vec<(Name, Bytes)> = create.into_iter().chain(puts).collect();
    // Gives all pieces the same outcome.
    let all = |outcome: Result<Created>| Committed {
        created: has_record.then(|| outcome.clone()),
        puts: vec![outcome.map(|_| ()); count],
    };
    let Some((first, _)) = pieces.first() else { return all(Ok(Created::Created)) };
    let asked = link.asked(&format!("commit of {} names from", pieces.len()), first);
    // A commit that cannot be written as a whole is not sent at all.
    if let Some((name, body)) = pieces.iter().find(|(_, body)| body.len() > BODY_BYTES_MAX) {
        let asked = format!("{asked}: {name}");
        return all(Err(too_large(&asked, body.len())));
    }

    let mut batches = batches(&pieces, has_record).into_iter();
    let first = batches.next().expect("there are pieces");
    let rest: Vec<Batch> = batches.collect();
    // The batch with the record goes alone: only if it creates the record are the others needed.
    let mut puts = match first.send(link, &asked, &pieces, until).await {
        Ok(Outcome::Exists) => return all(Ok(Created::Exists)),
        Ok(Outcome::Written(puts)) => puts,
        // The other batches are not sent: whether they are needed depends on the record's outcome.
        Err(error) => return all(Err(error)),
    };
    let rest = rest.iter().map(|batch| async {
        match batch.send(link, &asked, &pieces, until).await {
            Ok(Outcome::Written(puts)) => puts,
            Ok(Outcome::Exists) => {
                let error = not_redis(&asked, "a put without a condition failed on one");
                vec![Err(error); batch.range.len()]
            }
            Err(error) => vec![Err(error); batch.range.len()],
        }
    });
    puts.extend(futures::future::join_all(rest).await.into_iter().flatten());
    assert_eq!(puts.len(), count, "each entry has an outcome");
    Committed { created: has_record.then_some(Ok(Created::Created)), puts }
}

/// The part of a commit that one script writes.
#[derive(Debug, PartialEq, Eq)]
struct Batch {
    /// The indexes of its pieces in the commit.
    range: Range<usize>,
    /// True if its first piece is the record.
    has_record: bool,
}

/// The outcome of one script.
enum Outcome {
    /// The record's name was taken, so nothing was written.
    Exists,
    /// The outcome of each entry. The record, if there is one, was created.
    Written(Vec<Result<()>>),
}

/// Splits a commit's pieces into as few batches as can hold them.
fn batches(pieces: &[(Name, Bytes)], has_record: bool) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut bytes = 0;
    for (at, (name, body)) in pieces.iter().enumerate() {
        // The script gets the group once as an argument and twice in keys, and the item once in
        // each.
        let more = body.len() + 3 * name.group.len() + 2 * name.item.len();
        match batches.last_mut() {
            Some(batch) if batch.range.len() < NAMES_MAX && bytes + more <= BYTES_MAX => {
                batch.range.end += 1;
                bytes += more;
            }
            Some(_) | None => {
                batches.push(Batch { range: at..at + 1, has_record: has_record && at == 0 });
                bytes = more;
            }
        }
    }
    assert_eq!(
        batches.iter().map(|batch| batch.range.len()).sum::<usize>(),
        pieces.len(),
        "no piece is left out"
    );
    batches
}

impl Batch {
    /// Runs the script of this batch, not later than `until`.
    async fn send(
        &self,
        link: &Link,
        asked: &str,
        pieces: &[(Name, Bytes)],
        until: Option<Instant>,
    ) -> Result<Outcome> {
        let pieces = &pieces[self.range.clone()];
        let mut keys = Vec::with_capacity(pieces.len() * 3);
        let mut arguments = Vec::with_capacity(1 + pieces.len() * 3);
        arguments.push(Bytes::from_static(if self.has_record { b"1" } else { b"0" }));
        let mut bytes = 0;
        for (name, body) in pieces {
            keys.extend(link.layout().keys(name));
            arguments.extend([name.group.clone(), name.item.clone(), layout::seal(body)]);
            bytes += body.len();
        }
        let run = Run { script: Script::Commit, keys, arguments, bytes };
        let deadline = run.deadline(until);
        let Ran { done, rest } = link.run(asked, &run, deadline).await?;
        if !done {
            return Ok(Outcome::Exists);
        }
        let records = usize::from(self.has_record);
        let mut puts = vec![Ok(()); pieces.len() - records];
        // The rest of the answer is pairs of an entry's number and its error.
        for pair in rest.chunks(2) {
            let [Value::Int(at), Value::BulkString(said)] = pair else {
                return Err(not_redis(asked, "a commit's answer with malformed failures"));
            };
            let at = usize::try_from(*at).ok().filter(|at| (records..pieces.len()).contains(at));
            let at = at.ok_or_else(|| not_redis(asked, "the failure of an entry that does not exist"))?;
            let asked = link.asked("commit", &pieces[at].0);
            puts[at - records] = Err(caught(&asked, &String::from_utf8_lossy(said)));
        }
        Ok(Outcome::Written(puts))
    }
}

#[cfg(test)]
mod tests {
    use aft_store::Space;

    use super::*;

    fn pieces(bodies: &[usize]) -> Vec<(Name, Bytes)> {
        let name = |at: usize| Name::new(Space::Version, at.to_string(), "");
        bodies.iter().enumerate().map(|(at, bytes)| (name(at), vec![0; *bytes].into())).collect()
    }

    /// Checks the `ends` of the batches that `pieces` are split into.
    fn check(pieces: &[(Name, Bytes)], ends: &[usize]) {
        let cut = batches(pieces, true);
        assert_eq!(cut.iter().map(|batch| batch.range.end).collect::<Vec<_>>(), ends);
        for (at, batch) in cut.iter().enumerate() {
            assert_eq!(batch.has_record, at == 0);
        }
    }

    #[test]
    fn commits_are_split_by_names_and_by_bytes() {
        check(&pieces(&[]), &[]);
        check(&pieces(&[0]), &[1]);
        check(&pieces(&vec![0; NAMES_MAX]), &[NAMES_MAX]);
        check(&pieces(&vec![0; NAMES_MAX + 1]), &[NAMES_MAX, NAMES_MAX + 1]);
        check(&pieces(&[1 << 20; 5]), &[3, 5]);
        // A piece that fills a script alone.
        check(&pieces(&[BYTES_MAX, 0, 0]), &[1, 3]);
        assert!(!batches(&pieces(&[0]), false)[0].has_record);
    }
}
