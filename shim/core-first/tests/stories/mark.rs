//! Goal: on a store that one node holds alone, an attempt whose outcome was unknown and whose intent never landed does not hold the recovery mark back for
//! the life of the process; as long as its intent could still land, it does.
//!
//! Method: the store, played by hand, gives no answer to anything that an attempt writes, and holds nothing of it. The clocks go on past the attempt's
//! deadline and the longest wait for late calls; the marks that the node puts are read.

use aft_core_first::ids::{Hlc, Key, RequestHash};
use aft_core_first::message::{Batch, Begin, CommitArgs, Input, Op, Refusal, Verb};
use aft_core_first::record::{Location, Value};
use aft_core_first::settings::Settings;
use aft_core_first::store::{Answer, Body, Call, CallError, Name};
use bytes::Bytes;

use crate::by_hand::{Store, WALL_MS, World, opening};

const GRACE_MS: u64 = 10 * 60_000;

/// The marks that were put.
struct Marks(Vec<Hlc>);

impl Store for Marks {
    fn answer(&mut self, call: Call) -> Answer {
        match call {
            Call::Put(Name::Entered, Body::Time(mark)) => {
                self.0.push(mark);
                Answer::Done
            }
            Call::Put(Name::Intent(_), _) | Call::Create(..) => Answer::Failed(CallError::NoAnswer),
            Call::List { .. } => Answer::Listed { names: Vec::new(), more: false },
            Call::Groups { .. } => Answer::Minutes { minutes: Vec::new(), more: false },
            Call::Get(_) => Answer::Got(None),
            other => panic!("nothing here asks {other:?}"),
        }
    }
}

#[test]
fn an_intent_that_never_landed_holds_the_mark_back_only_while_it_could_land() {
    let settings = Settings::new(true, GRACE_MS, true);
    let (timeout_ms, wait_ms) = (settings.timeout_default_ms, settings.timeout_max_ms + GRACE_MS);
    let slack_ms = settings.slack_ms;
    let mut world = World::new(settings, Marks(Vec::new()));
    world.step(Input::Maintain(true));
    let bytes = Bytes::from_static(b"v");
    let value =
        Value { size: 1, location: Location::Inline(bytes), etag: Bytes::new(), attributes: Bytes::new() };
    let ops = vec![Op::Put(Key::parse("k").unwrap(), value)];
    let lost = Begin { named: true, ..opening(1, Batch { ops, commit: Some(CommitArgs::default()) }) };
    let put_at = Hlc::from_ms(WALL_MS + world.at_ms);
    world.send(Verb::Begin(Box::new(lost)));
    world.pass(timeout_ms + 1);
    assert_eq!(world.replies, [Err(Refusal::Unknown(RequestHash([1; 32])))]);

    world.pass(wait_ms - timeout_ms - 2);
    let held = world.store.0.iter().max().copied();
    assert!(held.is_none_or(|mark| mark < put_at), "{held:?} is past {put_at:?}, which may still land");

    // A pass and a mark later.
    world.pass(slack_ms);
    let moved = world.store.0.iter().max().copied();
    assert!(moved > Some(put_at), "{moved:?} is still before {put_at:?}, which cannot land any more");
}
