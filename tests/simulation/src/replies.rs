//! The replies to clients: judges each, and lets its attempt continue or end.

use std::collections::{BTreeMap, BTreeSet};

use aft_core::ids::{Key, Session, SessionEntry, TxnId};
use aft_core::message::{
    Committed, Condition, Conflict, Found, ListKeys, Read, Refusal, Replayed, Reply, Ticket,
};
use aft_core::record::BlobGroup;
use aft_core::store::Body;
use aft_sim::verdict::{Verdict, broken};

use crate::attempt::{Attempt, Ended, Progress, Seen, Sent, attempt_id, attempt_number};
use crate::audit::Commit;
use crate::conditional::judge_sums;
use crate::oracle::{Witness, judge_held, judge_listing, judge_news, judge_read};
use crate::world::{Fresh, World};

/// The size from which on an index never evicts anything in these worlds, in bytes.
const INDEX_ROOMY: usize = 1 << 20;
/// The limit on kept versions from which on no version of a key is evicted in these worlds.
const VERSIONS_MANY: usize = 16;

impl World {
    /// Judges a reply, and lets the attempt continue.
    pub(crate) fn replied(
        &mut self,
        number: usize,
        ticket: Ticket,
        reply: Result<Reply, Refusal>,
    ) -> Verdict {
        let sent = self.attempts[number].in_flight.remove(&ticket).expect("every waiter has sent a verb");
        if sent.draining && sent.begins && reply != Err(Refusal::NotServing) {
            return broken("a node that drains opens nothing new", format!("attempt {number}: {reply:?}"));
        }
        match reply {
            Ok(Reply::Begun { attempt, reads, committed, .. }) => {
                if !sent.begins || attempt != self.attempts[number].id {
                    return broken("a reply answers its verb", format!("Begun {attempt} for {sent:?}"));
                }
                // A commit that came with the begin has ended the transaction already.
                self.attempts[number].open |= committed.is_none();
                self.attempts[number].opened |= committed.is_none();
                self.judge_new_run(number, &sent)?;
                self.ran(number, &sent, &reads, committed)?;
            }
            Ok(Reply::Ran { reads, committed }) => self.ran(number, &sent, &reads, committed)?,
            Ok(Reply::Listed { keys, prefixes, next }) => {
                let Some((list, more)) = &sent.list else {
                    return broken("a reply answers its verb", format!("Listed for {sent:?}"));
                };
                let (fresh_ms, asked_ms) = (self.fresh_ms(number, &sent), sent.at_ms);
                let exclusive = self.settings.exclusive;
                let witness =
                    Witness { audit: &self.audit, store: &self.store, fresh_ms, asked_ms, exclusive };
                let attempt = &mut self.attempts[number];
                judge_listing(attempt, list, (&keys, &prefixes), next.as_deref(), &self.keys, witness)?;
                // A cut page, or a prefix, hides versions that the node has chosen.
                if next.is_some() || !prefixes.is_empty() {
                    attempt.holds(&sent);
                }
                if let Some(next) = next.filter(|_| *more > 0) {
                    let list = ListKeys { after: Some(next), ..list.clone() };
                    attempt.pages.push_back((list, more - 1));
                }
            }
            Ok(Reply::Reserved { group, number: blob }) => {
                let Some(key) = sent.blob.clone() else {
                    return broken("a reply answers its verb", format!("Reserved for {sent:?}"));
                };
                self.judge_reserved(number, &group)?;
                let attempt = &mut self.attempts[number];
                if attempt.outcome.is_none() {
                    attempt.progress = Progress::Parts { key, group, number: blob, next: 0 };
                    self.fresh.push(Fresh::Client(number));
                    return Ok(());
                }
            }
            Ok(Reply::Committed(committed)) => self.committed(number, &sent, committed)?,
            Ok(Reply::Replayed(replayed)) => self.replayed(number, &sent, &replayed)?,
            Ok(Reply::Aborted) => self.aborted(number, &sent)?,
            Ok(Reply::Found(record)) => return broken("a reply answers its verb", format!("{record:?}")),
            Err(refusal) => {
                self.judge_refusal(number, &sent, &refusal)?;
                self.refused(number, &sent, refusal);
            }
        }
        self.go_on(number, ticket);
        Ok(())
    }

    /// Judges the name of an attempt's group of blobs. Its time must not be earlier than the begin,
    /// or a sweep would take the attempt for over too soon.
    fn judge_reserved(&self, number: usize, group: &BlobGroup) -> Verdict {
        let attempt = &self.attempts[number];
        let hash = self.requests[attempt.request].hash_for(attempt.id);
        let begun_ms = self.store_clock.at(attempt.begun_ms);
        let skew_ms = self.settings.skew_max_ms + self.unseen_max_ms;
        let in_time = self.settings.exclusive || group.reserved_ms + skew_ms >= begun_ms;
        if group.attempt != attempt.id || group.hash != hash || !in_time {
            return broken(
                "section 3: a group of blobs names its attempt, its request, and when it began",
                format!("{group:?}, but attempt {number} began at {begun_ms}"),
            );
        }
        Ok(())
    }

    /// Lets an attempt send its next verb, wait for another reply, or end, after the reply to
    /// `ticket`.
    fn go_on(&mut self, number: usize, ticket: Ticket) {
        let attempt = &mut self.attempts[number];
        match (attempt.outcome.clone(), attempt.in_flight.keys().next()) {
            (Some(ended), None) => self.end(number, ended),
            (Some(_), Some(other)) => attempt.progress = Progress::Waiting(*other),
            (None, _) if attempt.progress == Progress::Waiting(ticket) => {
                attempt.progress = Progress::Ready;
                self.fresh.push(Fresh::Client(number));
            }
            (None, _) => {}
        }
    }

    /// Handles a rejected verb: a stubborn client continues or commits again, others end.
    fn refused(&mut self, number: usize, sent: &Sent, refusal: Refusal) {
        let attempt = &mut self.attempts[number];
        let request = &self.requests[attempt.request];
        attempt.holds(sent);
        let transient = matches!(
            refusal,
            Refusal::StoreUnavailable(_)
                | Refusal::Damaged(_)
                | Refusal::Overloaded(_)
                | Refusal::SnapshotGone(_)
                | Refusal::ConditionFailed(_)
        );
        // The writes in a batch that carries the commit may or may not have taken effect.
        if sent.carries {
            attempt.carrier_refused(&refusal);
        }
        if let Refusal::Unknown(_) | Refusal::UnknownDamaged(..) = refusal {
            attempt.in_doubt = Some(refusal.clone());
            attempt.keep_doubt();
        }
        let goes_on = if sent.commits {
            attempt.commits_again(request, &refusal)
        } else {
            request.stubborn && transient && !sent.begins && sent.blob.is_none()
        };
        if !goes_on {
            attempt.conclude(Ended::Refused(refusal));
        }
    }

    fn aborted(&mut self, number: usize, sent: &Sent) -> Verdict {
        if !sent.aborts {
            return broken("a reply answers its verb", format!("Aborted for {sent:?}"));
        }
        if self.audit.commits.contains_key(&self.attempts[number].id) {
            return broken("P1: what is aborted has no effect", format!("attempt {number} has committed"));
        }
        self.attempts[number].conclude(Ended::Aborted);
        Ok(())
    }

    /// Returns the time before which an entry must have landed to be taken into account by the
    /// reply to `sent`.
    fn fresh_ms(&self, number: usize, sent: &Sent) -> u64 {
        // Choices that the client was not told may have ruled out any entry.
        if self.attempts[number].holds_more() {
            return 0;
        }
        sent.at_ms.saturating_sub(self.settings.recheck_after_ms + self.delay_max_ms)
    }

    /// Judges section 5, step 4: learning a commit record indexes its whole write set. If this node
    /// has shown a transaction at one key just now, it must not read an older version at another
    /// key of it.
    fn judge_learned(&self, number: usize, sent: &Sent, read: &Read) -> Verdict {
        let attempt = &self.attempts[number];
        let Some((txn, since_ms)) = sent.shown.get(&read.key) else {
            return Ok(());
        };
        // The node may not know it any more: the index ages, is too small, or the entry was
        // collected.
        let fresh = self.now_ms < since_ms + self.settings.recheck_after_ms;
        let roomy =
            self.settings.index_bytes_max >= INDEX_ROOMY && self.settings.versions_kept_max >= VERSIONS_MANY;
        let collected =
            self.audit.commits.get(&txn.attempt).is_none_or(|commit| commit.removed.contains(&read.key));
        let passed_over = match &read.found {
            Found::Version(seen, _) => seen < txn,
            Found::Absent => true,
            Found::Own(_) => false,
        };
        // Or the transaction does not fit what was read before, seen or unseen.
        let fits = self.audit.commits.get(&txn.attempt).is_some_and(|commit| {
            attempt.read.iter().filter(|(key, _)| **key != read.key).all(|(key, seen)| {
                commit.record.write(key).is_none() || matches!(seen, Seen::Version(version) if version >= txn)
            }) && attempt.unseen.iter().all(|key| commit.record.write(key).is_none())
        });
        // With another verb in flight, the version may have been chosen before the node knew.
        let alone = !attempt.holds_more();
        if alone && fresh && roomy && !collected && passed_over && fits {
            return broken(
                "section 5: learning a commit record indexes its whole write set",
                format!("{read:?}, but the node has shown {txn}"),
            );
        }
        Ok(())
    }

    /// Notes that the node has shown the transaction in `read` to a client, and may have known it
    /// since `since_ms`.
    fn learned(&mut self, number: usize, since_ms: u64, read: &Read) {
        let Found::Version(txn, _) = &read.found else { return };
        // A transaction that the session named is kept for this attempt alone: the index may have
        // evicted it.
        if self.attempts[number].session.entries.iter().any(|entry| entry.txn == *txn) {
            return;
        }
        let Some(commit) = self.audit.commits.get(&txn.attempt) else { return };
        let host = &mut self.hosts[self.attempts[number].host];
        // It may have been in the index since the node was given its record.
        let since_ms = host.given.get(txn).copied().unwrap_or(since_ms).min(since_ms);
        for (key, _) in commit.record.writes.iter() {
            let known = host.learned.entry(key.clone()).or_insert((*txn, since_ms));
            if known.0 < *txn {
                *known = (*txn, since_ms);
            }
        }
    }

    /// Judges the reply to a batch, and notes its effects.
    fn ran(&mut self, number: usize, sent: &Sent, reads: &[Read], committed: Option<Committed>) -> Verdict {
        // A batch with sums has no gets: its reads are the sums.
        let asked: Vec<_> = match sent.adds.is_empty() {
            true => sent.gets.iter().map(|(key, _)| key).collect(),
            false => sent.adds.iter().map(|(key, ..)| key).collect(),
        };
        let told: Vec<_> = reads.iter().map(|read| &read.key).collect();
        if asked != told {
            return broken("a batch answers every get, in order", format!("{asked:?}, but {told:?}"));
        }
        let (fresh_ms, asked_ms, exclusive) =
            (self.fresh_ms(number, sent), sent.at_ms, self.settings.exclusive);
        let settings = &self.settings;
        let attempt = &mut self.attempts[number];
        // The reply has a sum, but not the version that it started from.
        let based = sent.adds.iter().map(|(key, ..)| key).filter(|key| !attempt.read.contains_key(*key));
        let based: Vec<Key> = based.cloned().collect();
        attempt.unseen.extend(based);
        // A checked key that is written was read first: the node chose a version that the client is
        // not told.
        let written = sent.writes.keys().chain(attempt.carried.keys().filter(|_| sent.carries));
        let blind = written.filter(|key| settings.locks(key) && !attempt.read.contains_key(*key));
        let blind: Vec<Key> = blind.cloned().collect();
        if !blind.is_empty() {
            attempt.unseen.extend(blind);
            attempt.holds(sent);
        }
        judge_sums(sent, reads)?;
        // Now judge reads, then conditions, then all that is new together.
        let reads = if sent.adds.is_empty() { reads } else { &[] };
        let basis_ms = self.attempts[number].basis_ms(sent);
        let before: BTreeSet<Key> = self.attempts[number].read.keys().cloned().collect();
        for (read, (_, own)) in reads.iter().zip(&sent.gets) {
            let witness = Witness { audit: &self.audit, store: &self.store, fresh_ms, asked_ms, exclusive };
            judge_read(&mut self.attempts[number], own.as_ref(), read, witness)?;
            self.learned(number, basis_ms, read);
        }
        for (key, condition) in &sent.checks {
            let witness = Witness { audit: &self.audit, store: &self.store, fresh_ms, asked_ms, exclusive };
            judge_held(&mut self.attempts[number], (key, condition), witness)?;
        }
        *self.notes.entry("conditions held").or_default() += sent.checks.len() as u64;
        *self.notes.entry("sums answered").or_default() += sent.adds.len() as u64;
        if !sent.carries {
            self.attempts[number].checks.extend(sent.checks.iter().cloned());
        }
        let witness = Witness { audit: &self.audit, store: &self.store, fresh_ms, asked_ms, exclusive };
        judge_news(&self.attempts[number], &before, witness)?;
        for (read, (_, own)) in reads.iter().zip(&sent.gets) {
            if own.is_none() && !before.contains(&read.key) {
                self.judge_learned(number, sent, read)?;
            }
        }
        self.attempts[number].wrote(sent.writes.clone());
        match committed {
            Some(committed) => self.committed(number, sent, committed),
            None if sent.commits => {
                broken("a reply answers its verb", format!("no commit in the reply to {sent:?}"))
            }
            None => Ok(()),
        }
    }

    /// Judges the acknowledgement of a commit.
    fn committed(&mut self, number: usize, sent: &Sent, committed: Committed) -> Verdict {
        if !sent.commits {
            return broken("a reply answers its verb", format!("{committed:?} for {sent:?}"));
        }
        let attempt = &self.attempts[number];
        if let Some(other) = attempt.in_flight.values().find(|other| !other.commits && !other.late) {
            return broken("section 4: a commit waits for operations in flight", format!("{other:?}"));
        }
        let named = self.requests[attempt.request].named;
        // Without a TxnId nothing was stored: there were no writes, and no request ID.
        let Some(txn) = committed.txn else {
            if named || !attempt.explains(&BTreeMap::new()) {
                return broken(
                    "P6: what is acknowledged is durable",
                    format!("attempt {number} committed without a TxnId"),
                );
            }
            if self.requests[self.attempts[number].request].checked {
                self.judge_checked_reader(number, sent)?;
            }
            self.attempts[number].conclude(Ended::Committed(None));
            return Ok(());
        };
        let known = self.audit.commits.get(&attempt.id).is_some_and(|commit| commit.record.txn == txn);
        if !known {
            return broken(
                "P6: what is acknowledged is durable",
                format!("attempt {number}: no record of {txn}"),
            );
        }
        // What it read is known completely only now, so it is judged again.
        let id = attempt.id;
        if !self.settings.exclusive {
            self.audit.judge_order(id, self.scene())?;
        } else if self.requests[attempt.request].checked {
            self.audit.judge_reads(txn, attempt)?;
        }
        self.judge_session(txn, &committed.session)?;
        self.audit.tell(id, self.now_ms)?;
        self.attempts[number].session_after = committed.session;
        self.attempts[number].conclude(Ended::Committed(Some(txn)));
        Ok(())
    }

    /// Judges a serializable transaction that only read.
    fn judge_checked_reader(&mut self, number: usize, sent: &Sent) -> Verdict {
        let attempt = &self.attempts[number];
        if self.settings.exclusive {
            return self.audit.judge_read_only(attempt, sent.at_ms);
        }
        let id = attempt.id;
        self.audit.readers.insert(id, self.now_ms);
        self.audit.judge_order(id, self.scene())
    }

    /// Judges a session token: it names the commit `txn`, or makes its holder's transactions fresh.
    fn judge_session(&self, txn: TxnId, session: &Session) -> Verdict {
        let named = session.fresh_until_ms > 0 || session.entries.iter().any(|entry| entry.txn == txn);
        let ordered = session.entries.windows(2).all(|pair| pair[0].txn > pair[1].txn);
        let entry = |entry: &SessionEntry| {
            let commit = self.audit.commits.get(&entry.txn.attempt);
            commit.is_some_and(|commit| commit.record.txn == entry.txn && commit.record.hash == entry.hash)
        };
        if !named
            || !ordered
            || session.entries.len() > Session::LEN_MAX
            || !session.entries.iter().all(entry)
        {
            return broken("P8: the session names the commit", format!("{txn}: {session:?}"));
        }
        Ok(())
    }

    /// Judges the replay of another attempt's result.
    fn replayed(&mut self, number: usize, sent: &Sent, replayed: &Replayed) -> Verdict {
        let attempt = &self.attempts[number];
        let request = &self.requests[attempt.request];
        let hash = request.hash_for(attempt.id);
        if !sent.commits && !sent.begins {
            return broken("a reply answers its verb", format!("{replayed:?} for {sent:?}"));
        }
        let Some(winner) = self.audit.commits.get(&replayed.txn.attempt) else {
            return broken("P5: what is replayed did commit", format!("{replayed:?}"));
        };
        let right = winner.record.txn == replayed.txn
            && winner.record.hash == hash
            && winner.record.result == replayed.result
            && winner.record.large_result == replayed.large_result
            && replayed.txn.attempt != attempt.id;
        if !right {
            return broken(
                "P5: every later attempt gets the winner's result",
                format!("attempt {number} got {replayed:?}; the winner is {:?}", winner.record),
            );
        }
        if let (Some(theirs), Some(ours)) = (winner.record.fingerprint, request.fingerprint())
            && theirs != ours
        {
            return broken(
                "section 6: a request with another payload gets no replay",
                format!("attempt {number}"),
            );
        }
        self.judge_session(replayed.txn, &replayed.session)?;
        self.audit.tell(replayed.txn.attempt, self.now_ms)?;
        self.attempts[number].session_after = replayed.session.clone();
        self.attempts[number].conclude(Ended::Replayed(replayed.txn));
        Ok(())
    }

    /// Judges P5: a request whose record was there before the verb was sent, and still is, does not
    /// run.
    fn judge_new_run(&self, number: usize, sent: &Sent) -> Verdict {
        let attempt = &self.attempts[number];
        let request = &self.requests[attempt.request];
        let now = self.store.record(&request.hash_for(attempt.id)).map(|record| record.txn);
        if request.named && sent.record_before.is_some() && sent.record_before == now {
            return broken(
                "P5: a request that committed does not run again",
                format!("attempt {number} ran though the record of its request was there"),
            );
        }
        Ok(())
    }

    /// Judges a rejection: it must be justified by what happened, and if it says that nothing was
    /// committed, that must be so.
    fn judge_refusal(&self, number: usize, sent: &Sent, refusal: &Refusal) -> Verdict {
        let attempt = &self.attempts[number];
        let request = &self.requests[attempt.request];
        let hash = request.hash_for(attempt.id);
        let winners = || self.audit.winners.get(&hash).into_iter().flatten();
        let records = || winners().map(|winner| &self.audit.commits[winner].record);
        // A repeated commit may be told the outcome of an earlier one.
        let repeated = sent.commits && attempt.commits > 1;
        let known = match refusal {
            // Only if something may have been removed.
            Refusal::SnapshotGone(key) => self.judge_gone(attempt) || self.store.has_passed_dead(key),
            Refusal::ResultGone => matches!(self.store.commits.get(&hash), Some((Body::Stub(_), _))),
            Refusal::Conflict(conflict) => {
                let mut written = attempt.written().into_iter().chain(attempt.dropped.keys());
                let locks = written.any(|key| self.settings.locks(key));
                // A batch with conditions may conflict before its commit: where the node knows that
                // what was read was overtaken, it does not judge the condition.
                let judged = sent.commits || !sent.checks.is_empty();
                (request.checked || locks) && judged && self.judge_conflict(attempt, conflict)
            }
            Refusal::KeyReused => records().any(|record| record.fingerprint != request.fingerprint()),
            Refusal::InProgress { .. } => {
                // The node's clock may be fast.
                let waited =
                    self.now_ms + 2 >= sent.at_ms + request.wait_ms.min(self.settings.timeout_max_ms);
                waited && !request.overlap && self.open_beside(attempt)
            }
            Refusal::Unknown(of) => *of == hash && sent.commits,
            Refusal::UnknownDamaged(of, what) => {
                let met = repeated || self.met_damage(attempt.host, sent.at_ms, what);
                *of == hash && sent.commits && met
            }
            Refusal::ConditionFailed(failed) => {
                self.judge_new_run(number, sent)?;
                self.audit.judge_failed(attempt, sent, failed, self.scene())?;
                true
            }
            // The store loses nothing here.
            Refusal::TooLarge(_) | Refusal::SessionLost(_) => false,
            Refusal::Invalid(_) => {
                let all: BTreeSet<&Key> = attempt.written().into_iter().chain(sent.writes.keys()).collect();
                let levels = !self.settings.exclusive && self.settings.levels.iter().next().is_some();
                // The value of a blob is not compared with bytes, and is not a number.
                let by_value =
                    sent.checks.iter().any(|(_, condition)| matches!(condition, Condition::Value(_)));
                let in_parts = (by_value || !sent.adds.is_empty()) && self.audit.has_parts();
                levels
                    || in_parts
                    || all.len() > self.settings.write_set_len_max
                    || self.reads_too_much(attempt, sent)
            }
            // Also to a begin: the deadline may pass while the batch in it runs.
            Refusal::Lost => true,
            Refusal::NotFound => !sent.begins,
            // A commit waits for what was sent before it; only an abort ends verbs in flight.
            Refusal::Ended => !sent.begins && (attempt.abort_sent || (sent.late && !sent.commits)),
            Refusal::NotServing => true,
            Refusal::Overloaded(_) => true,
            // Answers that were slow, or came during a pause in which the wait ran out, count as
            // none.
            Refusal::StoreUnavailable(why) => {
                let timeless = why.contains("the store's time");
                // The answer with the mark took so long that no put may rest on it.
                let slow = why.contains("too slowly");
                let waited = self.now_ms + 1 >= sent.at_ms + self.settings.store_patience_ms;
                repeated || waited || timeless || slow || self.met_failure(attempt.host, sent.at_ms)
            }
            Refusal::Damaged(what) => repeated || self.met_damage(attempt.host, sent.at_ms, what),
        };
        // These say that nothing was committed and nothing will be.
        let definite = match refusal {
            Refusal::Lost | Refusal::NotFound | Refusal::SnapshotGone(_) | Refusal::Conflict(_) => true,
            Refusal::StoreUnavailable(_) => sent.commits,
            Refusal::ConditionFailed(_)
            | Refusal::Overloaded(_)
            | Refusal::InProgress { .. }
            | Refusal::KeyReused
            | Refusal::ResultGone
            | Refusal::Unknown(_)
            | Refusal::UnknownDamaged(..)
            | Refusal::Ended
            | Refusal::NotServing
            | Refusal::TooLarge(_)
            | Refusal::Invalid(_)
            | Refusal::Damaged(_)
            | Refusal::SessionLost(_) => false,
        };
        // Except that a commit that is repeated after its retention finds no record: its outcome is
        // not remembered for longer.
        let forgotten = |commit: &Commit| repeated && commit.record_gone;
        let committed = self.audit.commits.get(&attempt.id);
        let false_loss = definite && committed.is_some_and(|commit| !forgotten(commit));
        if !known || false_loss {
            return broken(
                "a rejection is true",
                format!(
                    "attempt {number} was rejected: {refusal:?} (sent {sent:?}, committed: {false_loss})"
                ),
            );
        }
        Ok(())
    }

    /// Returns true if a transaction may meet `SnapshotGone`: something may have been removed whose
    /// absence its listings cannot explain.
    fn judge_gone(&self, attempt: &Attempt) -> bool {
        let deadline_ms = attempt.deadline_ms(&self.requests[attempt.request], &self.settings);
        // A node that knew the mark at the begin may still use listings with an older one, and must
        // answer `SnapshotGone` once another has settled above that (seeds 8053821, 8062150,
        // 9028340). A listing that it asked before it learned the mark carries the older one, and
        // is in use until it ages. And the timeout of a begin that waits for another attempt counts
        // from the end of the wait: the mark may move during the wait, unnoticed, and settle within
        // the timeout.
        let settled_above = self.audit.settled_for_readers(self.scene()) > attempt.mark_least;
        let protected = attempt.mark_known && !settled_above && !attempt.blind && self.now_ms <= deadline_ms;
        // `has_moved` is enough: a reader counts a mark as settled before a sweep may remove below
        // it.
        self.audit.has_moved() && !protected
    }

    /// Returns true if a serializable transaction may meet this conflict: the other transaction has
    /// sent a commit and wrote the key. A conflict that does not name both is always accepted: the
    /// node may have forgotten what was committed since, or keep the key free for one that lost
    /// often.
    fn judge_conflict(&self, attempt: &Attempt, conflict: &Conflict) -> bool {
        let Some((key, by)) = conflict.key.as_ref().zip(conflict.by) else { return true };
        let other = self.attempts.get(attempt_number(by.attempt)).filter(|other| other.id == by.attempt);
        other.is_some_and(|other| {
            let wrote = other.written().contains(key) || other.dropped.contains_key(key);
            other.id != attempt.id && other.commits > 0 && wrote
        })
    }

    /// Returns true if the read set may exceed its bound with the reads of `sent`.
    fn reads_too_much(&self, attempt: &Attempt, sent: &Sent) -> bool {
        let all: BTreeSet<&Key> = attempt.read.keys().chain(sent.gets.iter().map(|(key, _)| key)).collect();
        all.len() > self.settings.read_set_len_max || sent.list.is_some()
    }

    /// Returns true if another attempt of the same request may be open on the same node.
    fn open_beside(&self, attempt: &Attempt) -> bool {
        let hash = |attempt: &Attempt| self.requests[attempt.request].hash_for(attempt.id);
        self.attempts.iter().any(|other| {
            other.id != attempt.id && other.open && other.node == attempt.node && hash(other) == hash(attempt)
        })
    }

    /// Judges the reply to a look-up.
    pub(crate) fn looked_up(
        &mut self,
        host: usize,
        request: usize,
        record_before: Option<TxnId>,
        reply: &Result<Reply, Refusal>,
    ) -> Verdict {
        let hash = self.requests[request].hash_for(attempt_id(0, 0));
        let record = match reply {
            Ok(Reply::Found(record)) => record,
            Err(Refusal::NotFound | Refusal::Lost)
                if record_before.is_some()
                    && self.store.record(&hash).map(|record| record.txn) == record_before =>
            {
                return broken("P5: a commit that can be looked up is found", format!("{hash}: {reply:?}"));
            }
            Err(Refusal::Damaged(what)) if !self.met_damage(host, 0, what) => {
                return broken("a rejection is true", format!("the look-up of {hash}: damaged: {what}"));
            }
            _ => return Ok(()),
        };
        let commit = self.audit.commits.get(&record.txn.attempt);
        let known = commit.is_some_and(|commit| *commit.record == **record && record.hash == hash);
        if !known {
            return broken("P5: what is found did commit", format!("{record:?}"));
        }
        self.audit.tell(record.txn.attempt, self.now_ms)
    }
}
