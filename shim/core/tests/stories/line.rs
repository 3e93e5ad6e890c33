//! Goal: commits of one node that want the same locks wait in line in the node, not in the store.
//! The second one starts when the first has ended, costs no more calls than it would alone, and
//! conflicts only if its client has read an overwritten version. A commit that hangs is not waited
//! for.
//!
//! Method: calls of a first commit are held back, and the calls and outcomes of the next ones are
//! compared.

use aft_core::message::{Batch, Begin, CommitArgs, Isolation, Op, Refusal, Reply, Ticket, Verb};
use aft_core::settings::{Levels, Settings};
use aft_core::store::{Call, CallError, Name};

use crate::shop::{Shop, key, value};

fn stocked() -> Shop {
    let levels = Levels::everywhere(Isolation::Serializable);
    let mut shop = Shop::new(2, &Settings { levels, ..Shop::settings() });
    shop.write(0, None, &["a", "b", "c"], "0");
    shop.pass(100);
    shop.calls.clear();
    shop
}

/// Writes keys in one call.
fn execute(shop: &mut Shop, names: &[&str], text: &str) -> Ticket {
    let ops = names.iter().map(|name| Op::Put(key(name), value(text))).collect();
    let batch = Batch { ops, commit: Some(CommitArgs::default()) };
    let begin = Begin { batch, isolation: Some(Isolation::Serializable), ..shop.begin(None) };
    shop.send(0, Verb::Begin(Box::new(begin)))
}

fn committed(shop: &mut Shop, ticket: Ticket) {
    match shop.reply(0, ticket) {
        Some(Ok(Reply::Begun { committed: Some(_), .. } | Reply::Committed(_))) => {}
        other => panic!("no commit: {other:?}"),
    }
}

fn is_lock(call: &Call) -> bool {
    matches!(call, Call::Create(Name::Successor(..), _))
}

fn is_record(call: &Call) -> bool {
    matches!(call, Call::Create(Name::Commit(_), _))
}

#[test]
fn the_second_of_two_commits_costs_no_extra_calls() {
    let mut shop = stocked();
    shop.hold = is_record;
    let first = execute(&mut shop, &["a", "b"], "1");
    let second = execute(&mut shop, &["b", "c"], "2");
    assert_eq!(shop.count(is_lock), 2, "the second one has sent nothing: {:?}", shop.calls);
    shop.release(None);
    shop.pass(10);
    committed(&mut shop, first);
    committed(&mut shop, second);
    // Each commit sends its entries and its record, and does not read the other one's.
    assert_eq!(shop.calls.len(), 2 * 3, "{:?}", shop.calls);
    assert_eq!(["a", "b", "c"].map(|name| shop.read_fresh(1, name).unwrap()), ["1", "2", "2"]);
}

#[test]
fn a_commit_of_many_keys_is_not_overtaken() {
    let mut shop = stocked();
    shop.hold = is_record;
    let first = execute(&mut shop, &["a", "b"], "1");
    let wide = execute(&mut shop, &["a", "b", "c"], "2");
    // `c` is free, but the wide commit is first in line for it.
    let narrow = execute(&mut shop, &["c"], "3");
    assert_eq!(shop.count(is_lock), 2, "{:?}", shop.calls);
    shop.answer_held();
    shop.pass(10);
    committed(&mut shop, first);
    assert_eq!(shop.count(is_lock), 2 + 3, "the wide one goes first: {:?}", shop.calls);
    shop.release(None);
    shop.pass(10);
    committed(&mut shop, wide);
    committed(&mut shop, narrow);
    assert_eq!(["a", "c"].map(|name| shop.read_fresh(1, name).unwrap()), ["2", "3"]);
}

#[test]
fn a_commit_that_hangs_is_not_waited_for() {
    let mut shop = stocked();
    shop.hold = is_record;
    execute(&mut shop, &["a", "b"], "1");
    let second = execute(&mut shop, &["b"], "2");
    shop.pass(900);
    assert_eq!(shop.count(is_lock), 2, "{:?}", shop.calls);
    shop.hold = |_| false;
    // It is younger than the holder, so it breaks the holder after three seconds.
    shop.pass(4_000);
    committed(&mut shop, second);
    assert_eq!(["a", "b"].map(|name| shop.read_fresh(1, name).unwrap()), ["0", "2"]);
}

#[test]
fn a_commit_in_line_whose_reads_were_overwritten_conflicts_without_a_call() {
    let mut shop = stocked();
    let begin = Begin { isolation: Some(Isolation::Serializable), ..shop.begin(None) };
    let reader = shop.open(0, begin);
    assert_eq!(shop.get(0, reader, "a").unwrap(), Some("0".into()));
    let ops = vec![Op::Put(key("c"), value("2"))];
    shop.ask(0, Verb::Run(reader, Batch { ops, commit: None })).unwrap();
    shop.hold = is_record;
    let holder = execute(&mut shop, &["b", "c"], "1");
    let before = shop.calls.len();
    let waits = shop.send(0, Verb::Commit(reader, CommitArgs::default()));
    assert_eq!(shop.reply(0, waits), None, "it waits in line for `c`");
    // Meanwhile another transaction writes the key that it has read.
    shop.hold = |_| false;
    let beside = execute(&mut shop, &["a"], "3");
    shop.pass(10);
    committed(&mut shop, beside);
    let sent_beside = shop.calls.len() - before;
    shop.release(None);
    shop.pass(10);
    committed(&mut shop, holder);
    assert!(matches!(shop.reply(0, waits), Some(Err(Refusal::Conflict(_)))));
    assert_eq!(shop.calls.len(), before + sent_beside, "nothing was sent for it: {:?}", shop.calls);
    assert_eq!(shop.read_fresh(1, "c"), Some("1".into()));
}

#[test]
fn a_commit_that_took_no_effect_lets_the_next_one_start() {
    let mut shop = stocked();
    shop.hold = is_record;
    let first = execute(&mut shop, &["a", "b"], "1");
    let second = execute(&mut shop, &["b"], "2");
    shop.release(Some(CallError::Refused("full".into())));
    shop.pass(10);
    assert!(matches!(shop.reply(0, first), Some(Err(Refusal::StoreUnavailable(_)))));
    // Its entries exist, and its attempt is open and may commit again.
    shop.pass(4_000);
    committed(&mut shop, second);
    assert_eq!(["a", "b"].map(|name| shop.read_fresh(1, name).unwrap()), ["0", "2"]);
}

#[test]
fn a_place_in_line_ends_with_its_transaction() {
    let mut shop = stocked();
    shop.hold = is_record;
    let held = execute(&mut shop, &["a", "b"], "1");
    let ops = ["b", "c"].map(|name| Op::Put(key(name), value("2"))).into();
    let batch = Batch { ops, commit: Some(CommitArgs::default()) };
    let begin = Begin { batch, timeout_ms: Some(500), ..shop.begin(None) };
    let short = shop.send(0, Verb::Begin(Box::new(begin)));
    let behind = execute(&mut shop, &["c"], "3");
    shop.pass(700);
    committed(&mut shop, behind);
    assert!(matches!(shop.reply(0, short), Some(Err(Refusal::Lost))), "its time is over, nothing was sent");
    shop.release(None);
    shop.pass(10);
    committed(&mut shop, held);
}
