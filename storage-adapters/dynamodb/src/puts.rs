//! Small puts without a condition, many of them at once.
//!
//! While few are under way, each is a request of its own, and nobody waits. Beyond [`AT_ONCE_MAX`]
//! they wait until a request ends, and go out together, up to 25 in one: most of what a small
//! request costs either side is the request's and not the item's. So a quiet store answers as
//! quickly as ever, and a busy one is asked less. Large bodies go past all this: nothing is shared
//! between them, and a batch of them would hold up those behind it.
//!
//! Puts that are asked for together, as the entries of a commit are, are one request where a single
//! one would be. Twenty-five of them go at once: a full request gains nothing by waiting.
//!
//! What the server leaves undone of a batch ends as *busy*, each put for itself, and whoever asked
//! repeats it, as it would had the put been alone.

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

/// Requests under way before puts wait for each other. One of them ends after a quarter of a
/// request's time on average, which is the wait; four batches at 10 ms each are 10,000 puts a
/// second. docs/benchmarks.md has 2 to 16 beside each other.
const AT_ONCE_MAX: usize = 4;
/// A request counts as under way for so long at most: one that hangs (a connection that is gone and
/// does not say so) does not hold the others up. Many times what one takes.
const TURN_MAX: Duration = Duration::from_millis(250);
/// The largest body that shares a request: 25 of them are 400 KB, which one item may have too.
const SHARED_BODY_BYTES_MAX: usize = 16 << 10;
/// Puts that wait at most: many times the calls that a node has under way at once (1,024).
const WAITING_MAX: usize = 10_000;

/// An item to be written, whatever is there.
#[derive(Debug, Clone)]
pub(crate) struct Put {
    pub(crate) place: Place,
    pub(crate) body: Bytes,
    pub(crate) tag: Vec<u8>,
}

/// The puts of a store.
pub(crate) struct Puts {
    link: Arc<Link>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// Requests; at most [`AT_ONCE_MAX`].
    under_way: usize,
    /// Empty unless so many are under way.
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    put: Put,
    told: oneshot::Sender<Result<(), Error>>,
}

/// The fate of puts that are asked for together.
enum Entered {
    /// They go at once, in one request that counts as under way.
    Go(Vec<Put>),
    /// They wait.
    Wait(Vec<oneshot::Receiver<Result<(), Error>>>),
    /// Too many wait.
    Full,
}

impl Puts {
    pub(crate) fn new(link: Arc<Link>) -> Arc<Puts> {
        Arc::new(Puts { link, queue: Mutex::default() })
    }

    pub(crate) async fn put(self: &Arc<Puts>, put: Put) -> Result<(), Error> {
        if !is_small(&put) {
            return self.alone(&put).await;
        }
        self.put_together(vec![put]).await.pop().expect("an outcome for each put")
    }

    /// Writes up to [`BATCH_MAX`] small items; the outcome of each, in their order.
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
                let text = format!("{asked}: not sent: {WAITING_MAX} puts wait already");
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

    /// Sends a batch, and tells each what became of it. Once nobody waits for any of it, it is
    /// given up.
    async fn together(&self, batch: Vec<Waiting>) {
        let (puts, mut told): (Vec<Put>, Vec<_>) = batch.into_iter().map(|one| (one.put, one.told)).unzip();
        let outcomes = tokio::select! {
            outcomes = self.outcomes(&puts) => outcomes,
            _ = join_all(told.iter_mut().map(oneshot::Sender::closed)) => return,
        };
        for (told, outcome) in told.into_iter().zip(outcomes) {
            // Nobody waits any more: then nobody is told.
            let _ = told.send(outcome);
        }
    }

    async fn outcomes(&self, puts: &[Put]) -> Vec<Result<(), Error>> {
        let each_alone = || join_all(puts.iter().map(|put| self.alone(put)));
        if puts.len() == 1 {
            return each_alone().await;
        }
        let asked = self.asked_together(puts);
        match self.link.put_batch(&asked, puts).await {
            Ok(undone) => {
                let outcome = |put: &Put| match undone.contains(&put.place) {
                    true => Err(Error::Busy(format!("{asked}: the server leaves this one undone"))),
                    false => Ok(()),
                };
                puts.iter().map(outcome).collect()
            }
            // What is wrong with one is not wrong with all.
            Err(Failure::NoTable(_) | Failure::Failed(Error::Refused(_))) => each_alone().await,
            Err(failure) => vec![Err(failure.into_error(&asked)); puts.len()],
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("nobody panics while holding it")
    }
}

impl Queue {
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

    /// Those that go next, in the place of a request that has ended: of different items, since a
    /// batch that has one twice is refused.
    fn next(&mut self) -> Vec<Waiting> {
        let mut batch: Vec<Waiting> = Vec::new();
        let mut places = HashSet::new();
        let mut kept = VecDeque::new();
        while batch.len() < BATCH_MAX
            && let Some(one) = self.waiting.pop_front()
        {
            if one.told.is_closed() {
                continue;
            }
            if places.insert(one.put.place.clone()) {
                batch.push(one);
            } else {
                kept.push_back(one);
            }
        }
        // In their order: what was passed over comes first next time.
        kept.append(&mut self.waiting);
        self.waiting = kept;
        if batch.is_empty() {
            self.under_way -= 1;
        }
        batch
    }
}

/// Says whether a put shares requests with others.
pub(crate) fn is_small(put: &Put) -> bool {
    put.body.len() <= SHARED_BODY_BYTES_MAX
}

/// The outcome of a put that waits.
async fn outcome_of(answer: oneshot::Receiver<Result<(), Error>>, asked: &str) -> Result<(), Error> {
    match timeout(WRITE_TIMEOUT, answer).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(Error::NoAnswer(format!("{asked}: the request that it shared was given up"))),
        Err(_) => Err(Error::NoAnswer(format!("{asked}: took longer than {WRITE_TIMEOUT:?}"))),
    }
}

/// A request under way. When it ends, or is dropped, those that wait go in its place.
struct Turn(Arc<Puts>);

impl Turn {
    /// The outcome of a request that has this turn.
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
            // Outside a runtime: whoever waits is told, and `next` sees to the others.
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
        /// Those who wait for an answer.
        waiting: Vec<oneshot::Receiver<Result<(), Error>>>,
    }

    impl Asked {
        /// All but the puts are under way.
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

        /// Whether it goes at once.
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

        /// The items that go next.
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
    fn those_that_wait_go_together_in_their_order() {
        let mut asked = Asked::new(&["a", "b", "c"]);
        assert_eq!(asked.next(), ["a", "b", "c"]);
        assert_eq!(asked.queue.under_way, AT_ONCE_MAX);
        assert!(!asked.put("d"));
        assert_eq!(asked.next(), ["d"]);
        // Nobody waits: the next put may go.
        assert!(asked.next().is_empty());
        assert!(asked.put("e") && !asked.put("f"));
    }

    #[test]
    fn a_batch_has_an_item_once() {
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
    fn nobody_waits_for_what_is_not_sent() {
        let mut asked = Asked::new(&["a", "b"]);
        asked.waiting.remove(0);
        assert_eq!(asked.next(), ["b"]);
    }
}
