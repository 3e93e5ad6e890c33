//! What clients are replied: each reply is judged, and its attempt goes on or ends.

use std::collections::{BTreeMap, BTreeSet};

use aft_core::ids::{Key, Session, SessionEntry, TxnId};
use aft_core::message::{
    Committed, Condition, Conflict, Found, ListKeys, Read, Refusal, Replayed, Reply, Ticket,
};
use aft_core::record::BlobGroup;
use aft_core::store::Body;

use crate::attempt::{Attempt, Ended, Progress, Seen, Sent, attempt_id, attempt_number};
use crate::audit::{Commit, Verdict, broken};
use crate::conditional::judge_sums;
use crate::oracle::{Witness, judge_held, judge_listing, judge_news, judge_read};
use crate::world::{Fresh, World};

/// An index that never forgets for want of room.
const INDEX_ROOMY: usize = 1 << 20;
/// More versions of a key than any world makes at once.
const VERSIONS_MANY: usize = 16;

impl World {
    /// Judges a reply, and lets the attempt go on.
    pub(crate) fn replied(
        &mut self,
        number: usize,
        ticket: Ticket,
        reply: Result<Reply, Refusal>,
    ) -> Verdict {
        let sent = self.attempts[number].in_flight.remove(&ticket).expect("who waits has sent");
        if sent.draining && sent.begins && reply != Err(Refusal::NotServing) {
            return broken("a node that drains opens nothing new", format!("attempt {number}: {reply:?}"));
        }
        match reply {
            Ok(Reply::Begun { attempt, reads, committed, .. }) => {
                if !sent.begins || attempt != self.attempts[number].id {
                    return broken("a reply answers its verb", format!("Begun {attempt} for {sent:?}"));
                }
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

    /// Judges the name of an attempt's blobs: a sweep must not find the attempt over before it is.
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

    /// The attempt sends its next verb, waits for another reply, or ends.
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

    /// Version entries that landed before this time must be known to what the verb is replied.
    fn fresh_ms(&self, number: usize, sent: &Sent) -> u64 {
        // What other verbs have chosen, and nobody was told of, may have ruled them out.
        if self.attempts[number].holds_more() {
            return 0;
        }
        sent.at_ms.saturating_sub(self.settings.recheck_after_ms + self.delay_max_ms)
    }

    /// Section 5, step 4: learning a commit record indexes its whole write set. What this node has just shown of a transaction, it knows on every key of it.
    fn judge_learned(&self, number: usize, sent: &Sent, read: &Read) -> Verdict {
        let attempt = &self.attempts[number];
        let Some((txn, since_ms)) = sent.shown.get(&read.key) else {
            return Ok(());
        };
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
        let fits = self.audit.commits.get(&txn.attempt).is_some_and(|commit| {
            attempt.read.iter().filter(|(key, _)| **key != read.key).all(|(key, seen)| {
                commit.record.write(key).is_none() || matches!(seen, Seen::Version(version) if version >= txn)
            }) && attempt.unseen.iter().all(|key| commit.record.write(key).is_none())
        });
        // Beside another verb it may have been chosen before the node knew.
        let alone = !attempt.holds_more();
        if alone && fresh && roomy && !collected && passed_over && fits {
            return broken(
                "section 5: learning a commit record indexes its whole write set",
                format!("{read:?}, but the node has shown {txn}"),
            );
        }
        Ok(())
    }

    fn learned(&mut self, number: usize, since_ms: u64, read: &Read) {
        let Found::Version(txn, _) = &read.found else { return };
        // What the session named was held for this transaction alone; the index may have forgotten it.
        if self.attempts[number].session.entries.iter().any(|entry| entry.txn == *txn) {
            return;
        }
        let Some(commit) = self.audit.commits.get(&txn.attempt) else { return };
        let host = &mut self.hosts[self.attempts[number].host];
        // It may have been in the index for a while.
        let since_ms = host.given.get(txn).copied().unwrap_or(since_ms).min(since_ms);
        for (key, _) in commit.record.writes.iter() {
            let known = host.learned.entry(key.clone()).or_insert((*txn, since_ms));
            if known.0 < *txn {
                *known = (*txn, since_ms);
            }
        }
    }

    fn ran(&mut self, number: usize, sent: &Sent, reads: &[Read], committed: Option<Committed>) -> Verdict {
        // Who adds reads nothing else in the same call.
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
        // What it writes under a lock was read first: the node chose a version beside the others, which
        // its client is not told.
        let settings = &self.settings;
        let attempt = &mut self.attempts[number];
        // The client is told a sum, and not which version it began with.
        let based = sent.adds.iter().map(|(key, ..)| key).filter(|key| !attempt.read.contains_key(*key));
        let based: Vec<Key> = based.cloned().collect();
        attempt.unseen.extend(based);
        let written = sent.writes.keys().chain(attempt.carried.keys().filter(|_| sent.carries));
        let blind = written.filter(|key| settings.locks(key) && !attempt.read.contains_key(*key));
        let blind: Vec<Key> = blind.cloned().collect();
        if !blind.is_empty() {
            attempt.unseen.extend(blind);
            attempt.holds(sent);
        }
        judge_sums(sent, reads)?;
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

    fn committed(&mut self, number: usize, sent: &Sent, committed: Committed) -> Verdict {
        if !sent.commits {
            return broken("a reply answers its verb", format!("{committed:?} for {sent:?}"));
        }
        let attempt = &self.attempts[number];
        if let Some(other) = attempt.in_flight.values().find(|other| !other.commits && !other.late) {
            return broken("section 4: a commit waits for what is under way", format!("{other:?}"));
        }
        let named = self.requests[attempt.request].named;
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

    /// Judges a token: it names the commit, or has its bearer begin fresh.
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
            return broken("section 6: another payload is not replayed to", format!("attempt {number}"));
        }
        self.judge_session(replayed.txn, &replayed.session)?;
        self.audit.tell(replayed.txn.attempt, self.now_ms)?;
        self.attempts[number].session_after = replayed.session.clone();
        self.attempts[number].conclude(Ended::Replayed(replayed.txn));
        Ok(())
    }

    /// P5: where a record was there before the request came, and still is, nothing runs.
    fn judge_new_run(&self, number: usize, sent: &Sent) -> Verdict {
        let attempt = &self.attempts[number];
        let request = &self.requests[attempt.request];
        let now = self.store.record(&request.hash_for(attempt.id)).map(|record| record.txn);
        if request.named && sent.record_before.is_some() && sent.record_before == now {
            return broken(
                "P5: a request that committed does not run again",
                format!("attempt {number} was begun"),
            );
        }
        Ok(())
    }

    fn judge_refusal(&self, number: usize, sent: &Sent, refusal: &Refusal) -> Verdict {
        let attempt = &self.attempts[number];
        let request = &self.requests[attempt.request];
        let hash = request.hash_for(attempt.id);
        let winners = || self.audit.winners.get(&hash).into_iter().flatten();
        let records = || winners().map(|winner| &self.audit.commits[winner].record);
        // A commit that was sent again may be told what an earlier one came to.
        let repeated = sent.commits && attempt.commits > 1;
        let known = match refusal {
            // Nothing is gone before something may have been removed.
            Refusal::SnapshotGone(key) => self.judge_gone(attempt) || self.store.has_passed_dead(key),
            Refusal::ResultGone => matches!(self.store.commits.get(&hash), Some((Body::Stub(_), _))),
            Refusal::Conflict(conflict) => {
                let mut written = attempt.written().into_iter().chain(attempt.dropped.keys());
                let locks = written.any(|key| self.settings.locks(key));
                // A condition that fails on what was overtaken is not judged.
                let judged = sent.commits || !sent.checks.is_empty();
                (request.checked || locks) && judged && self.judge_conflict(attempt, conflict)
            }
            Refusal::KeyReused => records().any(|record| record.fingerprint != request.fingerprint()),
            Refusal::InProgress { .. } => {
                // The clock that it waited by may be fast.
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
            Refusal::TooLarge(_) => false,
            Refusal::Invalid(_) => {
                let all: BTreeSet<&Key> = attempt.written().into_iter().chain(sent.writes.keys()).collect();
                let levels = !self.settings.exclusive && self.settings.levels.iter().next().is_some();
                // A value in parts is not compared, and is no number.
                let by_value =
                    sent.checks.iter().any(|(_, condition)| matches!(condition, Condition::Value(_)));
                let in_parts = (by_value || !sent.adds.is_empty()) && self.audit.has_parts();
                levels
                    || in_parts
                    || all.len() > self.settings.write_set_len_max
                    || self.reads_too_much(attempt, sent)
            }
            // The time may run out within the batch that came with the opening.
            Refusal::Lost => true,
            Refusal::NotFound => !sent.begins,
            // What was sent before the commit is finished before it; only an abort ends what is under way.
            Refusal::Ended => !sent.begins && (attempt.abort_sent || (sent.late && !sent.commits)),
            Refusal::NotServing => true,
            Refusal::Overloaded(_) => true,
            // Slow answers, and a pause that ended the waiting for them, are as good as none.
            Refusal::StoreUnavailable(why) => {
                let timeless = why.contains("the store's time");
                // The mark was too old for the puts that rest on it by the time that it was there.
                let slow = why.contains("too slowly");
                let waited = self.now_ms + 1 >= sent.at_ms + self.settings.store_patience_ms;
                repeated || waited || timeless || slow || self.met_failure(attempt.host, sent.at_ms)
            }
            Refusal::Damaged(what) => repeated || self.met_damage(attempt.host, sent.at_ms, what),
        };
        // These mean that nothing was committed and nothing will be.
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
            | Refusal::Damaged(_) => false,
        };
        // A commit that is asked for again when its retention has passed finds no record, and nobody
        // remembers its outcome for longer.
        let forgotten = |commit: &Commit| repeated && commit.record_gone;
        let committed = self.audit.commits.get(&attempt.id);
        let false_loss = definite && committed.is_some_and(|commit| !forgotten(commit));
        if !known || false_loss {
            return broken(
                "a refusal tells the truth",
                format!("attempt {number} was refused: {refusal:?} (sent {sent:?}, committed: {false_loss})"),
            );
        }
        Ok(())
    }

    /// Returns true if a transaction may meet `SnapshotGone`: something may have been removed that
    /// its listings cannot explain.
    fn judge_gone(&self, attempt: &Attempt) -> bool {
        let deadline_ms = attempt.deadline_ms(&self.requests[attempt.request], &self.settings);
        // A node that knew the mark at the begin may still rest on an older one, and must refuse
        // once another has settled above that (seeds 8053821, 8062150, 9028340). A listing that it
        // asked before it learned the mark carries the older one, and is in use until it ages. And
        // a begin that waits for another attempt counts its time from the end of the wait: the mark
        // may move during the wait, unheard, and settle within that time.
        let settled_above = self.audit.settled_for_readers(self.scene()) > attempt.mark_least;
        let protected = attempt.mark_known && !settled_above && !attempt.blind && self.now_ms <= deadline_ms;
        // A reader counts a mark as settled before anybody may remove below it.
        self.audit.has_moved() && !protected
    }

    /// Returns true if a serializable transaction may meet this conflict: another one that asked to
    /// commit wrote the key that it names. It says nothing of a key that is kept free, or forgotten.
    fn judge_conflict(&self, attempt: &Attempt, conflict: &Conflict) -> bool {
        let Some((key, by)) = conflict.key.as_ref().zip(conflict.by) else { return true };
        let other = self.attempts.get(attempt_number(by.attempt)).filter(|other| other.id == by.attempt);
        other.is_some_and(|other| {
            let wrote = other.written().contains(key) || other.dropped.contains_key(key);
            other.id != attempt.id && other.commits > 0 && wrote
        })
    }

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

    /// Judges the answer to a look-up.
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
                return broken(
                    "a refusal tells the truth",
                    format!("the look-up of {hash}: damaged: {what}"),
                );
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
