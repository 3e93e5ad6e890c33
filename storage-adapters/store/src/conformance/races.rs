//! Checks of races: many writers of one name at once.
//!
//! Each writer is a task of its own, and all start at a barrier. Nothing is assumed about the order
//! in which they run: a check states what holds for *every* order, and fails on an outcome that no
//! order explains. A writer without an answer may or may not have written; if that leaves several
//! explanations, all are allowed.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::Outcome;
use super::contract::ensure;
use super::scratch::Scratch;
use crate::{Committed, Created, Error, Name, Replaced, Result, Store, Writes};

/// The most tries of an optimistic update, for each writer of the race. If an update never succeeds
/// within them, the store answers `Changed` for ever.
const UPDATE_TRIES_PER_WRITER: usize = 64;

/// The call that one writer of a race made, with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Put,
    Created(Created),
    Replaced(Replaced),
    DeletedIf(Replaced),
    Deleted,
    NoAnswer,
}

/// Starts one task for each writer, all at once, and returns their answers in the order of the
/// writers.
async fn race<W, F>(s: &Scratch, writers: usize, write: W) -> Outcome<Vec<Told>>
where
    W: Fn(usize, Arc<dyn Store>) -> F,
    F: Future<Output = Result<Told>> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(writers));
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let (barrier, write) = (barrier.clone(), write(writer, s.store.clone()));
        tasks.spawn(async move {
            barrier.wait().await;
            (writer, write.await)
        });
    }
    let mut answers = vec![Told::NoAnswer; writers];
    while let Some(joined) = tasks.join_next().await {
        let (writer, answer) = joined.map_err(|error| format!("a writer panicked: {error}"))?;
        answers[writer] = match answer {
            Ok(told) => told,
            Err(Error::NoAnswer(_)) => Told::NoAnswer,
            Err(error) => return Err(format!("writer {writer}: {error}")),
        };
    }
    Ok(answers)
}

fn body(writer: usize) -> Bytes {
    format!("by writer {writer}").into()
}

fn writers_told(answers: &[Told], told: &Told) -> Vec<usize> {
    answers.iter().enumerate().filter(|(_, answer)| *answer == told).map(|(writer, _)| writer).collect()
}

/// Returns the writer whose body `read` is.
fn author(answers: &[Told], read: &Bytes) -> Option<usize> {
    (0..answers.len()).find(|&writer| body(writer) == read)
}

async fn read_author(s: &Scratch, name: &Name, answers: &[Told]) -> Outcome<Option<usize>> {
    match s.get(name).await? {
        None => Ok(None),
        Some((read, _)) => match author(answers, &read) {
            Some(writer) => Ok(Some(writer)),
            None => Err(format!("{name} holds {read:?}, which no writer wrote")),
        },
    }
}

async fn create(store: Arc<dyn Store>, name: Name, body: Bytes) -> Result<Told> {
    store.create(&name, body).await.map(Told::Created)
}

/// Commits a record and one entry beside it. If either has no answer, the writer has none.
async fn commit(store: Arc<dyn Store>, name: Name, entry: Name, body: Bytes) -> Result<Told> {
    let writes = Writes { create: Some((name, body.clone())), puts: vec![(entry, body)] };
    let Committed { created, puts } = store.commit(writes).await;
    let created = created.expect("a create has an answer")?;
    puts.into_iter().collect::<Result<Vec<()>>>()?;
    Ok(Told::Created(created))
}

async fn put(store: Arc<dyn Store>, name: Name, body: Bytes) -> Result<Told> {
    store.put(&name, body).await.map(|()| Told::Put)
}

pub(super) async fn one_create_wins(s: &Scratch) -> Outcome {
    for &space in s.races {
        for round in 0..s.rounds {
            let name = s.name_in(space, b"race to create", round.to_string().as_bytes());
            s.will_write(&name);
            let answers =
                race(s, s.writers, |writer, store| create(store, name.clone(), body(writer))).await?;
            ensure_one_winner(s, &name, &answers).await?;
        }
    }
    Ok(())
}

/// Checks that of racing commits of one record, some of them plain creates, one wins, and that its
/// entry is there.
pub(super) async fn one_commit_wins(s: &Scratch) -> Outcome {
    for &space in s.races {
        for round in 0..s.rounds {
            let name = s.name_in(space, b"race to commit", round.to_string().as_bytes());
            let entry = |writer: usize| {
                s.name_in(space, b"entries that race", format!("{round} {writer}").as_bytes())
            };
            s.will_write(&name);
            (0..s.writers).for_each(|writer| s.will_write(&entry(writer)));
            // The last writer commits: if one thread runs all of them, it is the first to pass the
            // barrier.
            let creates = |writer: usize| writer % 4 == 1;
            let answers = race(s, s.writers, |writer, store| {
                let (name, entry) = (name.clone(), entry(writer));
                async move {
                    match creates(writer) {
                        true => create(store, name, body(writer)).await,
                        false => commit(store, name, entry, body(writer)).await,
                    }
                }
            })
            .await?;
            let winner = ensure_one_winner(s, &name, &answers).await?;
            for (writer, told) in answers.iter().enumerate().filter(|(writer, _)| !creates(*writer)) {
                let name = entry(writer);
                let held = s.get(&name).await?.map(|(held, _)| held);
                // The store may have skipped a loser's entry.
                let may_be_missing = Some(writer) != winner || *told == Told::NoAnswer;
                ensure!(
                    held.as_ref().map_or(may_be_missing, |held| *held == body(writer)),
                    "{name}: the commit of writer {writer} answered {told:?}, and its entry holds {held:?}"
                );
            }
        }
    }
    Ok(())
}

/// Checks that one of the racing creates of a name won, and that the name holds what it wrote.
/// Returns the winner, if it had an answer.
async fn ensure_one_winner(s: &Scratch, name: &Name, answers: &[Told]) -> Outcome<Option<usize>> {
    let winners = writers_told(answers, &Told::Created(Created::Created));
    let unanswered = writers_told(answers, &Told::NoAnswer);
    let holds = read_author(s, name, answers).await?;
    let all = answers.len();
    ensure!(
        winners.len() <= 1,
        "{} of {all} racing creates of {name} answered Created (writers {winners:?}): two requests \
         with one ID would both commit",
        winners.len()
    );
    match (winners.first(), holds) {
        (_, None) => return Err(format!("{name} does not exist after {all} creates of it")),
        (Some(winner), Some(holds)) => ensure!(
            *winner == holds,
            "{name}: the create of writer {winner} won, but it holds what writer {holds} wrote"
        ),
        (None, Some(holds)) => ensure!(
            unanswered.contains(&holds),
            "{name}: none of {all} creates answered Created, and it holds what writer {holds} wrote, \
             whose create answered Exists"
        ),
    }
    Ok(winners.first().copied())
}

pub(super) async fn create_never_overwrites_a_put(s: &Scratch) -> Outcome {
    for &space in s.races {
        for round in 0..s.rounds {
            let name = s.name_in(space, b"race create put", round.to_string().as_bytes());
            s.will_write(&name);
            let puts = |writer: usize| writer.is_multiple_of(4);
            let answers = race(s, s.writers, |writer, store| {
                let name = name.clone();
                async move {
                    match puts(writer) {
                        true => put(store, name, body(writer)).await,
                        false => create(store, name, body(writer)).await,
                    }
                }
            })
            .await?;
            let winners = writers_told(&answers, &Told::Created(Created::Created));
            ensure!(winners.len() <= 1, "{name}: the creates of writers {winners:?} all answered Created");
            let holds = read_author(s, &name, &answers).await?;
            let put_answered = answers.contains(&Told::Put);
            if put_answered {
                // A create can only win before the first put, which then overwrites it.
                ensure!(
                    holds.is_some_and(puts),
                    "{name} holds what {holds:?} created, although a put was acknowledged: a create overwrote it"
                );
            }
        }
    }
    Ok(())
}

pub(super) async fn create_and_delete_take_turns(s: &Scratch) -> Outcome {
    for &space in s.races {
        for round in 0..s.rounds {
            let name = s.name_in(space, b"race create delete", round.to_string().as_bytes());
            s.will_write(&name);
            let deletes = |writer: usize| writer.is_multiple_of(8);
            let answers = race(s, s.writers, |writer, store| {
                let name = name.clone();
                async move {
                    match deletes(writer) {
                        true => store.delete(&[name]).await.map(|()| Told::Deleted),
                        false => create(store, name, body(writer)).await,
                    }
                }
            })
            .await?;
            let winners = writers_told(&answers, &Told::Created(Created::Created));
            // A create wins on the missing name, and at most once more after each delete.
            let deleters = (0..s.writers).filter(|&writer| deletes(writer)).count();
            ensure!(
                winners.len() <= deleters + 1,
                "{name}: {deleters} deletes, but {} creates answered Created",
                winners.len()
            );
            // Only a create that won, or one without an answer, may have written.
            if let Some(holds) = read_author(s, &name, &answers).await? {
                let may_hold = winners.contains(&holds) || answers[holds] == Told::NoAnswer;
                ensure!(
                    may_hold,
                    "{name} holds what writer {holds} wrote, whose call answered {:?}",
                    answers[holds]
                );
            }
        }
    }
    Ok(())
}

pub(super) async fn one_replace_wins_per_tag(s: &Scratch) -> Outcome {
    let delete_if = s.store.capabilities().delete_if;
    for &space in s.races {
        for round in 0..s.rounds {
            let name = s.name_in(space, b"race to replace", round.to_string().as_bytes());
            s.put(&name, "the first").await?;
            let (_, tag) = s.get_some(&name).await?;
            // In every other round, some of the writers delete with the tag instead.
            let deletes = move |writer: usize| delete_if && round % 2 == 1 && writer.is_multiple_of(4);
            let answers = race(s, s.writers, |writer, store| {
                let (name, tag) = (name.clone(), tag.clone());
                async move {
                    match deletes(writer) {
                        true => store.delete_if(&name, &tag).await.map(Told::DeletedIf),
                        false => store.replace(&name, &tag, body(writer)).await.map(Told::Replaced),
                    }
                }
            })
            .await?;
            let mut winners = writers_told(&answers, &Told::Replaced(Replaced::Replaced));
            winners.extend(writers_told(&answers, &Told::DeletedIf(Replaced::Replaced)));
            let unanswered = writers_told(&answers, &Told::NoAnswer);
            ensure!(
                winners.len() <= 1,
                "{name}: with one tag, the calls of writers {winners:?} all answered Replaced"
            );
            ensure!(
                winners.len() == 1 || !unanswered.is_empty(),
                "{name}: none of {} calls with the current tag answered Replaced",
                answers.len()
            );
            if let Some(&winner) = winners.first() {
                let holds = read_author(s, &name, &answers).await?;
                let expected = Some(winner).filter(|&winner| !deletes(winner));
                ensure!(holds == expected, "{name}: writer {winner} won, but it holds what {holds:?} wrote");
            }
        }
    }
    Ok(())
}

pub(super) async fn replace_never_overwrites_a_put(s: &Scratch) -> Outcome {
    for &space in s.races {
        for round in 0..s.rounds {
            let name = s.name_in(space, b"race replace put", round.to_string().as_bytes());
            s.put(&name, "the first").await?;
            let (_, tag) = s.get_some(&name).await?;
            let puts = |writer: usize| writer % 4 == 3;
            let answers = race(s, s.writers, |writer, store| {
                let (name, tag) = (name.clone(), tag.clone());
                async move {
                    match puts(writer) {
                        true => put(store, name, body(writer)).await,
                        false => store.replace(&name, &tag, body(writer)).await.map(Told::Replaced),
                    }
                }
            })
            .await?;
            let winners = writers_told(&answers, &Told::Replaced(Replaced::Replaced));
            ensure!(
                winners.len() <= 1,
                "{name}: with one tag, the calls of writers {winners:?} all answered Replaced"
            );
            // A replace can only win before the first put, which then overwrites it.
            if answers.contains(&Told::Put) {
                let holds = read_author(s, &name, &answers).await?;
                ensure!(
                    holds.is_some_and(puts),
                    "{name} holds what {holds:?} wrote, although a put was acknowledged: a replace overwrote it"
                );
            }
        }
    }
    Ok(())
}

/// Checks that no increment is lost if every writer adds one to a number, by reading and replacing
/// it.
pub(super) async fn no_update_is_lost(s: &Scratch) -> Outcome {
    let writers = s.writers.min(8);
    let tries = writers * UPDATE_TRIES_PER_WRITER;
    let name = s.name(b"race to count", b"");
    s.put(&name, "0").await?;
    let answers = race(s, writers, |_, store| {
        let name = name.clone();
        async move {
            for _ in 0..tries {
                let Some((read, tag)) = store.get(&name).await? else { break };
                // Something else than a number becomes one that no count reaches, and fails the
                // check.
                let number: usize = String::from_utf8_lossy(&read).parse().unwrap_or(usize::MAX / 2);
                let answer = store.replace(&name, &tag, (number + 1).to_string().into()).await?;
                if answer == Replaced::Replaced {
                    return Ok(Told::Replaced(answer));
                }
            }
            Ok(Told::Replaced(Replaced::Changed))
        }
    })
    .await?;
    let added = writers_told(&answers, &Told::Replaced(Replaced::Replaced)).len();
    let unanswered = writers_told(&answers, &Told::NoAnswer).len();
    ensure!(
        added + unanswered == writers,
        "{} of {writers} writers did not succeed in {tries} tries",
        writers - added - unanswered
    );
    let (read, _) = s.get_some(&name).await?;
    let read: usize = String::from_utf8_lossy(&read).parse().map_err(|_| format!("{name} holds {read:?}"))?;
    ensure!(
        (added..=added + unanswered).contains(&read),
        "{added} increments of {name} were acknowledged and {unanswered} had no answer, but it holds {read}"
    );
    Ok(())
}
