//! Puts without a condition, many of them at once.
//!
//! While few are under way, each is a request of its own, and nobody waits. Beyond [`AT_ONCE_MAX`] they wait until a request ends, and go out together, up to 25 in
//! one: most of what a request costs either side is the request's and not the item's. So a quiet store answers as quickly as ever, and a busy one is asked less.
//!
//! What the server leaves undone of a batch ends as *busy*, each put for itself: it was not carried out, and whoever asked repeats it, as it would had the put been
//! alone.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use aft_store::Error;
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::layout::Place;
use crate::link::{BATCH_MAX, Link, Only, WRITE_TIMEOUT};

/// Requests under way before puts wait for each other. One of them ends after a quarter of a request's time on average, which is the wait; four batches at 10 ms each
/// are 10,000 puts a second. Measured with 2 to 16 (docs/benchmarks.md): fewer share more, and the p99 is lowest at 4.
const AT_ONCE_MAX: usize = 4;
/// Bodies in one batch, unless one alone has more: far below the 16 MB that DynamoDB takes, since one time-out is for all.
const BATCH_BYTES_MAX: usize = 1 << 20;

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
    /// Empty unless all are under way.
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    put: Put,
    told: oneshot::Sender<Result<(), Error>>,
}

impl Puts {
    pub(crate) fn new(link: Arc<Link>) -> Arc<Puts> {
        Arc::new(Puts { link, queue: Mutex::default() })
    }

    pub(crate) async fn put(self: &Arc<Puts>, put: Put) -> Result<(), Error> {
        let asked = self.link.asked("put", &put.place);
        let (told, answer) = oneshot::channel();
        let Some(put) = self.queue().enter(put, told) else {
            return match timeout(WRITE_TIMEOUT, answer).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(Error::NoAnswer(format!("{asked}: the process is ending"))),
                Err(_) => Err(Error::NoAnswer(format!("{asked}: took longer than {WRITE_TIMEOUT:?}"))),
            };
        };
        let _turn = Turn(self.clone());
        self.alone(&put).await
    }

    async fn alone(&self, put: &Put) -> Result<(), Error> {
        let outcome = self.link.put(&put.place, &put.body, &put.tag, Only::Always).await;
        outcome.map_err(|failure| failure.into_error(&self.link.asked("put", &put.place)))
    }

    async fn together(&self, batch: Vec<Waiting>) {
        if let [one] = batch.as_slice() {
            let outcome = self.alone(&one.put).await;
            return batch.into_iter().for_each(|one| one.tell(outcome.clone()));
        }
        let asked = format!("{}: put of {} items", self.link.url, batch.len());
        match self.link.put_batch(&asked, batch.iter().map(|one| &one.put)).await {
            Ok(undone) => {
                for one in batch {
                    let outcome = if undone.contains(&one.put.place) {
                        Err(Error::Busy(format!("{asked}: the server leaves this one undone")))
                    } else {
                        Ok(())
                    };
                    one.tell(outcome);
                }
            }
            Err(failure) => {
                let error = failure.into_error(&asked);
                batch.into_iter().for_each(|one| one.tell(Err(error.clone())));
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("nobody panics while holding it")
    }
}

impl Waiting {
    fn tell(self, outcome: Result<(), Error>) {
        // Nobody waits any more: then nobody is told.
        let _ = self.told.send(outcome);
    }
}

impl Queue {
    /// The put, if it may go at once; then it counts as under way.
    fn enter(&mut self, put: Put, told: oneshot::Sender<Result<(), Error>>) -> Option<Put> {
        if self.under_way < AT_ONCE_MAX {
            self.under_way += 1;
            return Some(put);
        }
        self.waiting.push_back(Waiting { put, told });
        None
    }

    /// Those that go next, in the place of a request that has ended: of different items, since a batch that has one twice is refused.
    fn next(&mut self) -> Vec<Waiting> {
        let mut batch: Vec<Waiting> = Vec::new();
        let mut places = HashSet::new();
        let mut bytes = 0;
        let mut kept = VecDeque::new();
        while let Some(one) = self.waiting.pop_front() {
            if one.told.is_closed() {
                continue;
            }
            let is_full = batch.len() == BATCH_MAX
                || (!batch.is_empty() && bytes + one.put.body.len() > BATCH_BYTES_MAX);
            if is_full {
                kept.push_back(one);
                break;
            }
            if !places.insert(one.put.place.clone()) {
                kept.push_back(one);
                continue;
            }
            bytes += one.put.body.len();
            batch.push(one);
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

/// A request under way. When it ends, or is dropped, those that wait go in its place.
struct Turn(Arc<Puts>);

impl Drop for Turn {
    fn drop(&mut self) {
        let batch = self.0.queue().next();
        if batch.is_empty() {
            return;
        }
        let next = Turn(self.0.clone());
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                next.0.together(batch).await;
                drop(next);
            })),
            // The runtime is gone, and with it those that waited; `next` sees to the others.
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
        fn new(puts: &[(&'static str, usize)]) -> Asked {
            let mut asked = Asked { queue: Queue::default(), waiting: Vec::new() };
            for _ in 0..AT_ONCE_MAX {
                assert!(asked.put("busy", 0).is_some());
            }
            for (item, bytes) in puts {
                assert!(asked.put(item, *bytes).is_none());
            }
            asked
        }

        fn put(&mut self, item: &'static str, bytes: usize) -> Option<Put> {
            let place = Layout::new("p").place(&aft_store::Name::new(aft_store::Space::Version, "k", item));
            let (told, answer) = oneshot::channel();
            self.waiting.push(answer);
            self.queue.enter(Put { place, body: vec![0; bytes].into(), tag: Vec::new() }, told)
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
        let mut asked = Asked::new(&[("a", 1), ("b", 1), ("c", 1)]);
        assert_eq!(asked.next(), ["a", "b", "c"]);
        assert_eq!(asked.queue.under_way, AT_ONCE_MAX);
        assert!(asked.put("d", 1).is_none());
        assert_eq!(asked.next(), ["d"]);
        // Nobody waits: the next put may go.
        assert!(asked.next().is_empty());
        assert!(asked.put("e", 1).is_some() && asked.put("f", 1).is_none());
    }

    #[test]
    fn a_batch_has_an_item_once() {
        let mut asked = Asked::new(&[("a", 1), ("a", 1), ("b", 1), ("a", 1), ("c", 1)]);
        assert_eq!(asked.next(), ["a", "b", "c"]);
        assert_eq!(asked.next(), ["a"]);
        assert_eq!(asked.next(), ["a"]);
    }

    #[test]
    fn a_batch_is_bounded() {
        let letters: Vec<_> = ('a'..='z').map(|letter| (&*letter.to_string().leak(), 1)).collect();
        let mut asked = Asked::new(&letters);
        assert_eq!((asked.next().len(), asked.next()), (BATCH_MAX, vec!["z".to_owned()]));
        let half = BATCH_BYTES_MAX / 2;
        let mut asked = Asked::new(&[("a", 2 * BATCH_BYTES_MAX), ("b", half), ("c", half), ("d", 1)]);
        assert_eq!(asked.next(), ["a"]);
        assert_eq!(asked.next(), ["b", "c"]);
        assert_eq!(asked.next(), ["d"]);
    }

    #[test]
    fn nobody_waits_for_what_is_not_sent() {
        let mut asked = Asked::new(&[("a", 1), ("b", 1)]);
        asked.waiting.remove(AT_ONCE_MAX);
        assert_eq!(asked.next(), ["b"]);
    }
}
