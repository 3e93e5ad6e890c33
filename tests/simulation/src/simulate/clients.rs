//! The behaviour of clients: one request at a time, with retries, duplicates and timeouts.

use std::collections::BTreeMap;

use aft_core::ids::{Key, Session, TxnId};
use aft_core::message::Refusal;
use aft_sim::verdict::{Verdict, Violation};

use super::{Event, Simulation};
use crate::attempt::{Ended, Progress};
use crate::script::{Request, Step};

/// The largest number of times that a client retries a request.
const RETRIES_MAX: u32 = 8;

/// A client, which has one request at a time.
#[derive(Debug, Clone, Default)]
pub(super) struct Client {
    /// The session token that it holds.
    pub(super) session: Session,
    /// The versions that the token must let it see: the newest of each key that it knows to be
    /// committed.
    pub(super) known: BTreeMap<Key, TxnId>,
    /// The attempt that it waits for (`usize::MAX` until a planned retry begins), and the number of
    /// retries so far.
    pub(super) current: Option<(usize, u32)>,
    /// The number of conflicts in a row that its request has met.
    pub(super) conflicts: u32,
}

impl Simulation {
    /// Lets an attempt do its next step, unless its host first needs to hear the store's time, or
    /// the client dies while it stores a blob.
    pub(super) fn client(&mut self, number: usize) -> Verdict {
        let attempt = &self.world.attempts[number];
        if self.waits_for_time(attempt.host)? {
            self.after(5, Event::Client(number));
            return Ok(());
        }
        let attempt = &self.world.attempts[number];
        let at_parts = matches!(attempt.progress, Progress::Parts { .. }) && attempt.in_flight.is_empty();
        if at_parts && !self.healed && self.client_stream.chance(self.plan.faults.forsake) {
            self.world.strand_part(number);
            return Ok(());
        }
        self.world.client(number)
    }

    /// Returns true if a host was paused for long, no clock showed it, and it has not heard the
    /// store's time since. What a node commits before it has noticed such a pause is beyond the
    /// promise, so attempts wait, and a look-up brings the store's time.
    fn waits_for_time(&mut self, host: usize) -> Result<bool, Violation> {
        let slot = &self.world.hosts[host];
        // Only long pauses count. A pause that is not the last short one, which `unseen_ms` has,
        // was long.
        let blind = slot.unheard_ms.iter().any(|ended_ms| self.unseen_ms[host] != *ended_ms);
        if !blind || slot.process.machine().is_none() {
            return Ok(false);
        }
        if slot.tickets.is_empty() {
            let id = u32::MAX - 2 - self.world.requests.len() as u32;
            self.world.requests.push(Request::new(id, vec![Step::Commit]));
            let request = self.world.requests.len() - 1;
            self.world.look_up(host, request)?;
        }
        Ok(true)
    }

    /// Begins a client's next request: a new one, or one that was made before.
    pub(super) fn launch(&mut self, client: usize) {
        if self.healed || self.launched >= self.plan.requests {
            return;
        }
        self.launched += 1;
        let known = self.world.requests.len() as u64;
        // A request may come again: soon after (a duplicate), or much later.
        let again = known > 0 && self.client_stream.chance(250);
        let request = if again {
            let back = if self.client_stream.chance(700) { known.min(4) } else { known };
            let request = (known - 1 - self.client_stream.below(back)) as usize;
            if self.client_stream.chance(100) {
                // Or its request ID with another payload: a mistake of the caller.
                let payload = self.world.requests[request].payload + 1;
                let mistaken = Request { payload, ..self.world.requests[request].clone() };
                self.world.requests.push(mistaken);
                self.world.requests.len() - 1
            } else {
                request
            }
        } else {
            let request = self.plan.request(&mut self.client_stream, known as u32);
            self.world.requests.push(request);
            known as usize
        };
        self.attempt(client, request, 0);
    }

    /// Starts an attempt of a request on any host. `tries` is the number of retries before it.
    pub(super) fn attempt(&mut self, client: usize, request: usize, tries: u32) {
        let remembers = self.client_stream.chance(800);
        let Client { session, known, .. } =
            if remembers { self.clients[client].clone() } else { Client::default() };
        let host = self.client_stream.below(self.plan.roles.len() as u64) as usize;
        let number = self.world.new_attempt(request, host, session);
        self.world.attempts[number].known = known;
        self.world.attempts[number].conflicts = if tries > 0 { self.clients[client].conflicts } else { 0 };
        self.owner.push(Some(client));
        self.clients[client].current = Some((number, tries));
        let delay = self.client_stream.below(self.plan.delay_max_ms + 1);
        self.after(delay, Event::Client(number));
        let patience = if self.client_stream.chance(self.plan.faults.forsake) {
            self.client_stream.between(1, 500)
        } else {
            2 * self.plan.settings.timeout_max_ms
        };
        self.after(patience, Event::Impatience(client, number));
    }

    /// Lets a client stop waiting for an attempt, which continues as a zombie or dies.
    pub(super) fn forsake(&mut self, client: usize, number: usize) {
        let Some((current, tries)) = self.clients[client].current else { return };
        if current != number || self.world.attempts[number].ended().is_some() {
            return;
        }
        self.owner[number] = None;
        self.world.say(|| format!("client {client} stops waiting for attempt {number}"));
        if self.client_stream.chance(300)
            && matches!(self.world.attempts[number].progress, Progress::Ready | Progress::Unbegun)
            && self.world.attempts[number].in_flight.is_empty()
        {
            self.world.end(number, Ended::NodeDied);
        }
        self.clients[client].current = None;
        self.go_on(client, self.world.attempts[number].request, tries);
    }

    /// Plans what a client does after an attempt: a retry, or its next request.
    pub(super) fn go_on(&mut self, client: usize, request: usize, tries: u32) {
        let retry = !self.healed && tries < RETRIES_MAX;
        if retry {
            let delay = self.client_stream.below(200);
            self.clients[client].current = Some((usize::MAX, tries)); // busy until the retry begins
            self.after(delay, Event::Retry(client, request, tries + 1));
        } else {
            let think = self.client_stream.below(self.plan.think_max_ms + 1);
            self.after(think, Event::Launch(client));
        }
    }

    /// Handles the end of an attempt: its client takes the session token, and decides about a
    /// retry.
    pub(super) fn ended(&mut self, number: usize) {
        let Some(client) = self.owner.get_mut(number).and_then(Option::take) else { return };
        let Some((current, tries)) = self.clients[client].current else { return };
        if current != number {
            return;
        }
        self.clients[client].current = None;
        let attempt = &self.world.attempts[number];
        let request = attempt.request;
        // An unnamed request is retried only if it certainly did not commit.
        let conflict = matches!(attempt.ended(), Some(Ended::Refused(Refusal::Conflict(_))));
        let unsafe_to_repeat = !self.world.requests[request].named && attempt.commits > 0 && !conflict;
        self.clients[client].conflicts = if conflict { attempt.conflicts + 1 } else { 0 };
        let mut asks = false;
        let again = match attempt.ended().expect("it ended") {
            Ended::Committed(_) | Ended::Replayed(_) => {
                if attempt.session_after != Session::default() {
                    self.clients[client].session = attempt.session_after.clone();
                    self.clients[client].known = self.world.known_after(number);
                }
                false
            }
            Ended::Aborted => false,
            Ended::NodeDied => !unsafe_to_repeat,
            Ended::Refused(refusal) => match refusal {
                Refusal::KeyReused
                | Refusal::ResultGone
                | Refusal::ConditionFailed(_)
                | Refusal::TooLarge(_)
                | Refusal::Invalid(_)
                | Refusal::Damaged(_)
                | Refusal::SessionLost(_) => false,
                Refusal::Unknown(_) | Refusal::UnknownDamaged(..) | Refusal::Ended => {
                    asks = true;
                    !unsafe_to_repeat
                }
                Refusal::SnapshotGone(_)
                | Refusal::Conflict(_)
                | Refusal::Overloaded(_)
                | Refusal::Lost
                | Refusal::StoreUnavailable(_)
                | Refusal::InProgress { .. }
                | Refusal::NotFound
                | Refusal::NotServing => true,
            },
        };
        if asks && self.client_stream.chance(300) {
            let delay = self.client_stream.below(2 * self.plan.settings.timeout_max_ms);
            self.after(delay, Event::AskOf(number));
        }
        let tries = if again { tries } else { RETRIES_MAX };
        self.go_on(client, request, tries);
    }
}
