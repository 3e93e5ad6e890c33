//! Small puts without a condition, which share requests under load.
//!
//! While few are in flight, each is a request of its own, and none waits. Beyond [`AT_ONCE_MAX`]
//! requests, puts wait until one ends, and are sent together, up to 25 in one: most of the cost of
//! a small request, on either side, is that of the request and not of the item. So a quiet store
//! keeps its low latency, and a busy one gets fewer requests. Large bodies bypass the queue: they
//! would gain nothing from sharing a request, and a batch of them would delay the puts behind it.
//!
//! Puts that are requested together, such as the entries of a commit, are queued and sent as one.
//! Twenty-five of them are sent immediately: a full request gains nothing by waiting.
//!
//! Each put that the server leaves unprocessed in a batch ends as *busy*, and its caller retries
//! it, as if it had been sent alone.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aft_store::Error;
use bytes::Bytes;
use futures::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::failure::Failure;
use crate::layout::Place;
use crate::link::{BATCH_MAX, Link, Only, WRITE_TIMEOUT};

/// The number of requests in flight above which puts wait. On average one of the four ends after a
/// quarter of a request's time, which is the wait; four batches at 10 ms each are 10,000 puts a
/// second. docs/benchmarks.md compares values from 2 to 16.
const AT_ONCE_MAX: usize = 4;
/// The longest time for which a request counts as in flight, so that one that hangs (on a
/// connection that was lost without notice) does not delay the others. It is many times the
/// duration of a request.
const TURN_MAX: Duration = Duration::from_millis(250);
/// The size of the largest body that shares a request: 25 of them are 400 KB, as much as one item
/// may have.
const SHARED_BODY_BYTES_MAX: usize = 16 << 10;
/// The number of puts that may wait: many times the number of calls that a node has in flight at
/// once (1,024).
const WAITING_MAX: usize = 10_000;

/// An item to write without a condition.
#[derive(Debug, Clone)]
pub(crate) struct Put {
    pub(crate) place: Place,
    pub(crate) body: Bytes,
    pub(crate) tag: Vec<u8>,
}

/// The queue of a store's puts.
pub(crate) struct Puts {
    link: Arc<Link>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// The number of requests in flight; at most [`AT_ONCE_MAX`].
    under_way: usize,
    /// The puts that wait; empty unless [`AT_ONCE_MAX`] requests are in flight.
    waiting: VecDeque<Waiting>,
}

/// A put that waits, and the sender of its outcome.
struct Waiting {
    put: Put,
    told: oneshot::Sender<Result<(), Error>>,
}

/// The result of queueing puts that are requested together.
enum Entered {
    /// They are sent immediately, in one request that counts as in flight.
    Go(Vec<Put>),
    /// They wait; each has a receiver of its outcome.
    Wait(Vec<oneshot::Receiver<Result<(), Error>>>),
    /// The queue is full.
    Full,
}

impl Puts {
    pub(crate) fn new(link: Arc<Link>) -> Arc<Puts> {
        Arc::new(Puts { link, queue: Mutex::default() })
    }

    /// Writes one item: a large one alone, a small one through the queue.
    pub(crate) async fn put(self: &Arc<Puts>, put: Put) -> Result<(), Error> {
        if !is_small(&put) {
            return self.alone(&put).await;
        }
        self.put_together(vec![put]).await.pop().expect("an outcome for each put")
    }

    /// Writes up to [`BATCH_MAX`] small items, and returns the outcome of each, in their order.
    pub(crate) async fn put_together(self: &Arc<Puts>, puts: Vec<Put>) -> Vec<Result<(), Error>> {
        let len = puts.len();
        assert!((1..=BATCH_MAX).contains(&len), "{len} puts together");
        assert!(puts.iter().all(is_small), "large bodies go alone");
        if len == BATCH_MAX {
            return self.outcomes(&puts).await;
        }
        let asked = match &puts[..] {
            [put] => self.link.asked("put", &put.place),
            puts => self.asked_together(puts),
        };
        let entered = self.queue().enter(puts);
        let outcomes = match entered {
            Entered::Go(puts) => Turn(self.clone()).during(self.outcomes(&puts)).await,
            Entered::Wait(answers) => {
                join_all(answers.into_iter().map(|answer| outcome_of(answer, &asked))).await
            }
            Entered::Full => {
                let text = format!("{asked}: not sent: {WAITING_MAX} puts are waiting already");
                vec![Err(Error::Busy(text)); len]
            }
        };
        assert_eq!(outcomes.len(), len, "an outcome for each put");
        outcomes
    }

    fn asked_together(&self, puts: &[Put]) -> String {
        format!("{}: put of {} items", self.link.url, puts.len())
    }

    async fn alone(&self, put: &Put) -> Result<(), Error> {
        let outcome = self.link.put(&put.place, &put.body, &put.tag, Only::Always).await;
        outcome.map_err(|failure| failure.into_error(&self.link.asked("put", &put.place)))
    }

    /// Sends a batch, and sends each put's outcome to its caller. Drops the request once no caller
    /// waits for any part of it.
    async fn together(&self, batch: Vec<Waiting>) {
        let (puts, mut told): (Vec<Put>, Vec<_>) = batch.into_iter().map(|one| (one.put, one.told)).unzip();
        let outcomes = tokio::select! {
            outcomes = self.outcomes(&puts) => outcomes,
            _ = join_all(told.iter_mut().map(oneshot::Sender::closed)) => return,
        };
        for (told, outcome) in told.into_iter().zip(outcomes) {
            // An error means that this caller no longer waits.
            let _ = told.send(outcome);
        }
    }

    /// Sends puts in one request, and returns the outcome of each.
    async fn outcomes(&self, puts: &[Put]) -> Vec<Result<(), Error>> {
        let each_alone = || join_all(puts.iter().map(|put| self.alone(put)));
        if puts.len() == 1 {
            return each_alone().await;
        }
        let asked = self.asked_together(puts);
        match self.link.put_batch(&asked, puts).await {
            Ok(undone) => {
                let outcome = |put: &Put| match undone.contains(&put.place) {
                    true => Err(Error::Busy(format!("{asked}: the server left this item unprocessed"))),
                    false => Ok(()),
                };
                puts.iter().map(outcome).collect()
            }
            // One bad item makes the server reject the whole batch: send each alone, so that the
            // others succeed.
            Err(Failure::NoTable(_) | Failure::Failed(Error::Refused(_))) => each_alone().await,
            Err(failure) => vec![Err(failure.into_error(&asked)); puts.len()],
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no holder panics")
    }
}

impl Queue {
    /// Admits puts as a new request if few are in flight; otherwise queues them, if there is room.
    fn enter(&mut self, puts: Vec<Put>) -> Entered {
        if self.under_way < AT_ONCE_MAX {
            self.under_way += 1;
            return Entered::Go(puts);
        }
        if self.waiting.len() + puts.len() > WAITING_MAX {
            return Entered::Full;
        }
        let wait = |put| {
            let (told, answer) = oneshot::channel();
            self.waiting.push_back(Waiting { put, told });
            answer
        };
        Entered::Wait(puts.into_iter().map(wait).collect())
    }

    /// Takes the puts to send next, in place of a request that has ended. They are of different
    /// items, since the server rejects a batch that has an item twice.
    fn next(&mut self) -> Vec<Waiting> {
        let mut batch: Vec<Waiting> = Vec::new();
        let mut places = HashSet::new();
        let mut kept = VecDeque::new();
        while batch.len() < BATCH_MAX
            && let Some(one) = self.waiting.pop_front()
        {
            // Its caller no longer waits.
            if one.told.is_closed() {
                continue;
            }
            if places.insert(one.put.place.clone()) {
                batch.push(one);
            } else {
                kept.push_back(one);
            }
        }
        // Keep the order: puts that were passed over come first next time.
        kept.append(&mut self.waiting);
        self.waiting = kept;
        if batch.is_empty() {
            self.under_way -= 1;
        }
        batch
    }
}

/// Returns true if a put is small enough to share requests with others.
pub(crate) fn is_small(put: &Put) -> bool {
    put.body.len() <= SHARED_BODY_BYTES_MAX
}

/// Waits for the outcome of a queued put. `asked` names the call.
async fn outcome_of(answer: oneshot::Receiver<Result<(), Error>>, asked: &str) -> Result<(), Error> {
    match timeout(WRITE_TIMEOUT, answer).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(Error::NoAnswer(format!("{asked}: the shared request was dropped"))),
        Err(_) => Err(Error::NoAnswer(format!("{asked}: took longer than {WRITE_TIMEOUT:?}"))),
    }
}

/// The slot of a request in flight. When it ends, or is dropped, the waiting puts are sent in its
/// place.
struct Turn(Arc<Puts>);

impl Turn {
    /// Runs a request in this slot, and returns its outcome. A slow request goes on after it has
    /// lost the slot.
    async fn during<T>(self, request: impl Future<Output = T>) -> T {
        let mut request = pin!(request);
        let in_turn = timeout(TURN_MAX, &mut request).await;
        drop(self);
        match in_turn {
            Ok(outcome) => outcome,
            Err(_) => request.await,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let batch = self.0.queue().next();
        if batch.is_empty() {
            return;
        }
        let next = Turn(self.0.clone());
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                let puts = next.0.clone();
                next.during(puts.together(batch)).await;
            })),
            // Outside a runtime nothing can be sent: dropping the batch notifies its callers, and
            // dropping `next` does the same for the rest of the queue.
            Err(_) => drop(batch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;

    struct Asked {
        queue: Queue,
        /// The receivers of those that wait for an outcome.
        waiting: Vec<oneshot::Receiver<Result<(), Error>>>,
    }

    impl Asked {
        /// Returns a queue with [`AT_ONCE_MAX`] requests in flight, and `puts` waiting.
        fn new(puts: &[&'static str]) -> Asked {
            let mut asked = Asked { queue: Queue::default(), waiting: Vec::new() };
            for _ in 0..AT_ONCE_MAX {
                assert!(asked.put("busy"));
            }
            for item in puts {
                assert!(!asked.put(item));
            }
            asked
        }

        /// Returns true if the put is sent immediately.
        fn put(&mut self, item: &'static str) -> bool {
            let place = Layout::new("p").place(&aft_store::Name::new(aft_store::Space::Version, "k", item));
            match self.queue.enter(vec![Put { place, body: Bytes::new(), tag: Vec::new() }]) {
                Entered::Go(_) => true,
                Entered::Wait(answers) => {
                    self.waiting.extend(answers);
                    false
                }
                Entered::Full => panic!("it has room for more"),
            }
        }

        /// Returns the items that are sent next.
        fn next(&mut self) -> Vec<String> {
            let batch = self.queue.next();
            batch.iter().map(|one| item_of(&one.put.place)).collect()
        }
    }

    fn item_of(place: &Place) -> String {
        let end = place.sort.iter().rposition(|byte| *byte == 1).expect("a group ends so");
        String::from_utf8(place.sort[end + 1..].to_vec()).expect("an item of the test")
    }

    #[test]
    fn waiting_puts_are_sent_together_in_their_order() {
        let mut asked = Asked::new(&["a", "b", "c"]);
        assert_eq!(asked.next(), ["a", "b", "c"]);
        assert_eq!(asked.queue.under_way, AT_ONCE_MAX);
        assert!(!asked.put("d"));
        assert_eq!(asked.next(), ["d"]);
        // Nothing waits, so a slot is free.
        assert!(asked.next().is_empty());
        assert!(asked.put("e") && !asked.put("f"));
    }

    #[test]
    fn a_batch_has_no_item_twice() {
        let mut asked = Asked::new(&["a", "a", "b", "a", "c"]);
        assert_eq!(asked.next(), ["a", "b", "c"]);
        assert_eq!(asked.next(), ["a"]);
        assert_eq!(asked.next(), ["a"]);
    }

    #[test]
    fn a_batch_is_bounded() {
        let letters: Vec<&'static str> = ('a'..='z').map(|letter| &*letter.to_string().leak()).collect();
        let mut asked = Asked::new(&letters);
        assert_eq!((asked.next().len(), asked.next()), (BATCH_MAX, vec!["z".to_owned()]));
    }

    #[test]
    fn puts_whose_caller_is_gone_are_not_sent() {
        let mut asked = Asked::new(&["a", "b"]);
        asked.waiting.remove(0);
        assert_eq!(asked.next(), ["b"]);
    }
}
