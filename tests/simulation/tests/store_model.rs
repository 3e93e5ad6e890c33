//! Goal: the simulator's store answers as a real one does through the durable mapping, so that what is proven on the one holds on the other.
//!
//! Method: the same random calls go to `StoreModel` and, through the names and bodies of `aft-wire`, to the memory store; every answer must be the same, tags
//! aside: they are compared by what they do. Failures print the seed and the call.

use std::collections::BTreeMap;
use std::sync::Arc;

use aft_core::ids::{AttemptId, Hlc, Key, NodeId, Nonce, RequestHash, TxnId};
use aft_core::record::{
    CollectEntry, CollectName, Intent, Kind, Meta, Record, Stage, Superseded, VersionEntry, Writes,
};
use aft_core::store::{Answer, Body, Call, Group, Groups, Name, Tag};
use aft_simulation::draw::key;
use aft_simulation::model::StoreModel;
use aft_simulation::random::Random;
use aft_store::{Created, Replaced, Store};
use aft_store_memory::MemoryStore;
use aft_wire::durable;
use bytes::Bytes;

const SEEDS: u64 = 20;
const CALLS: u64 = 2_000;

fn attempt(random: &mut Random) -> AttemptId {
    let mut id = [0; 16];
    id[15] = random.below(3) as u8;
    AttemptId(id)
}

fn hash(random: &mut Random) -> RequestHash {
    let mut hash = [0; 32];
    hash[0] = random.below(3) as u8;
    RequestHash(hash)
}

fn txn(random: &mut Random) -> TxnId {
    TxnId { time: Hlc(random.below(4) << random.below(40)), attempt: attempt(random) }
}

fn some_key(random: &mut Random) -> Key {
    let odd = ["a", "a/", "a/b", "key0", "b\u{e9}", "~"];
    if random.chance(500) {
        key(random.below(3) as u32)
    } else {
        let odd = random.pick(&odd);
        Key::parse(odd).expect("it is a key")
    }
}

fn nonce(random: &mut Random) -> Nonce {
    Nonce { node: NodeId(random.below(2)), count: random.below(2) }
}

fn name(random: &mut Random) -> Name {
    match random.below(6) {
        0 => Name::Commit(hash(random)),
        1 => Name::Intent(Intent {
            minute: random.below(3) as u32,
            time: Hlc(random.below(3)),
            attempt: attempt(random),
            nonce: nonce(random),
            hash: hash(random),
        }),
        2 => {
            let tombstone = random.chance(300);
            let kind = if tombstone { Kind::Tombstone } else { Kind::Inline };
            let size = if tombstone { 0 } else { random.below(3) };
            let etag = if tombstone { Bytes::new() } else { Bytes::from_static(b"etag") };
            let entry = VersionEntry {
                txn: txn(random),
                hash: hash(random),
                meta: Meta { kind, size, etag },
                cowritten: random.between(1, 3) as u32,
            };
            Name::Version(some_key(random), entry)
        }
        3 => Name::Blob {
            attempt: attempt(random),
            number: random.below(2) as u32,
            part: random.below(3) as u32,
        },
        4 => Name::Collect(CollectName {
            minute: random.below(3) as u32,
            time: Hlc(random.below(3)),
            attempt: attempt(random),
            nonce: nonce(random),
        }),
        _ => Name::Marker(some_key(random)),
    }
}

fn body(name: &Name, random: &mut Random) -> Body {
    match name {
        Name::Commit(hash) => Body::Record(Arc::new(Record {
            txn: txn(random),
            hash: *hash,
            named: random.chance(500),
            fingerprint: None,
            retention_ms: 5,
            result: None,
            large_result: None,
            blobs: 0,
            writes: Writes::Slim(Vec::new().into()),
        })),
        Name::Intent(_) | Name::Version(..) => Body::Empty,
        Name::Blob { .. } => Body::Part(Bytes::from(format!("part {}", random.below(3)))),
        Name::Collect(name) => Body::Collect(Arc::new(CollectEntry {
            stage: Stage::Pieces,
            horizon: Hlc(random.below(3)),
            transactions: vec![Superseded {
                txn: TxnId { attempt: name.attempt, ..txn(random) },
                hash: hash(random),
                writes: Vec::new().into(),
                blobs: Vec::new(),
                result_blob: None,
                retention_ms: random.below(3),
            }],
        })),
        Name::Entered | Name::Horizon => Body::Time(Hlc(random.below(3))),
        Name::Marker(_) => Body::Marker(nonce(random)),
    }
}

/// A call; tags are those that the model gave last, or a wrong one.
fn call(random: &mut Random, tags: &BTreeMap<Name, Tag>) -> Call {
    let name = name(random);
    let tag = |random: &mut Random| match tags.get(&name) {
        Some(tag) if random.chance(800) => tag.clone(),
        _ => Tag(Bytes::from_static(b"wrong")),
    };
    let limit = random.between(1, 4) as u32;
    match random.below(10) {
        0 | 1 => Call::Get(name),
        2 | 3 => Call::Put(name.clone(), body(&name, random)),
        4 => Call::Create(name.clone(), body(&name, random)),
        5 => Call::Replace(name.clone(), tag(random), body(&name, random)),
        6 => Call::Delete(vec![name, self::name(random)]),
        7 => Call::DeleteIf(name.clone(), tag(random)),
        8 => {
            let (group, after) = match name {
                Name::Version(key, entry) => (Group::Versions(key.clone()), Name::Version(key, entry)),
                Name::Intent(intent) => (Group::Intents(intent.minute), Name::Intent(intent)),
                Name::Collect(name) => (Group::Collects(name.minute), Name::Collect(name)),
                Name::Blob { attempt, number, part } => {
                    (Group::Blobs(attempt), Name::Blob { attempt, number, part })
                }
                Name::Commit(_) | Name::Marker(_) | Name::Entered | Name::Horizon => return Call::Get(name),
            };
            Call::List { group, after: random.chance(500).then_some(after), limit }
        }
        _ => {
            let groups = match random.below(3) {
                0 => Groups::Keys {
                    prefix: (*random.pick(&["", "a", "a/", "key", "z"])).to_owned(),
                    after: random.chance(500).then(|| some_key(random).as_str().to_owned()),
                },
                1 => Groups::IntentMinutes { after: random.chance(500).then(|| random.below(3) as u32) },
                _ => Groups::CollectMinutes { after: random.chance(500).then(|| random.below(3) as u32) },
            };
            Call::Groups { groups, limit }
        }
    }
}

/// What the memory store answers; `real` are its tags by the model's.
async fn ask(store: &MemoryStore, call: &Call, real: &mut BTreeMap<(Name, Tag), aft_store::Tag>) -> Answer {
    let tag_of = |real: &BTreeMap<(Name, Tag), aft_store::Tag>, name: &Name, tag: &Tag| {
        real.get(&(name.clone(), tag.clone()))
            .cloned()
            .unwrap_or(aft_store::Tag(Bytes::from_static(b"wrong")))
    };
    let replaced = |answer| match answer {
        Replaced::Replaced => Answer::Replaced,
        Replaced::Changed => Answer::Changed,
    };
    match call {
        Call::Get(name) => {
            let got = store.get(&durable::encode_name(name)).await.expect("the memory store answers");
            Answer::Got(got.map(|(bytes, tag)| {
                let body =
                    durable::decode_body(&durable::encode_name(name), &bytes).expect("this mapping wrote it");
                let model = aft_simulation::model::tag_of(&body);
                real.insert((name.clone(), model.clone()), tag);
                (body, model)
            }))
        }
        Call::Put(name, body) => {
            let name = durable::encode_name(name);
            store.put(&name, durable::encode_body(&name, body)).await.expect("the memory store answers");
            Answer::Done
        }
        Call::Create(name, body) => {
            let name = durable::encode_name(name);
            match store
                .create(&name, durable::encode_body(&name, body))
                .await
                .expect("the memory store answers")
            {
                Created::Created => Answer::Created,
                Created::Exists => Answer::Exists,
            }
        }
        Call::Replace(name, tag, body) => {
            let tag = tag_of(real, name, tag);
            let name = durable::encode_name(name);
            replaced(
                store
                    .replace(&name, &tag, durable::encode_body(&name, body))
                    .await
                    .expect("the memory store answers"),
            )
        }
        Call::Delete(names) => {
            let names: Vec<_> = names.iter().map(durable::encode_name).collect();
            store.delete(&names).await.expect("the memory store answers");
            Answer::Done
        }
        Call::DeleteIf(name, tag) => {
            let tag = tag_of(real, name, tag);
            replaced(
                store.delete_if(&durable::encode_name(name), &tag).await.expect("the memory store answers"),
            )
        }
        Call::List { group, after, limit } => {
            let (space, bytes) = durable::encode_group(group);
            let after = after.as_ref().map(|after| durable::encode_after(group, after));
            let page = store
                .list(space, &bytes, after.as_deref(), *limit as usize)
                .await
                .expect("the memory store answers");
            let names = page
                .items
                .iter()
                .map(|item| durable::decode_item(group, item).expect("this mapping wrote it"));
            Answer::Listed { names: names.collect(), more: page.more }
        }
        Call::Groups { groups, limit } => {
            let at = durable::encode_groups(groups).expect("prefixes are short");
            let page = store
                .groups(at.space, &at.prefix, at.after.as_deref(), *limit as usize)
                .await
                .expect("the memory store answers");
            match groups {
                Groups::Keys { .. } => Answer::Keys {
                    keys: durable::decode_keys(&page.groups).expect("this mapping wrote it"),
                    more: page.more,
                },
                Groups::IntentMinutes { .. } | Groups::CollectMinutes { .. } => Answer::Minutes {
                    minutes: durable::decode_minutes(at.space, &page.groups).expect("this mapping wrote it"),
                    more: page.more,
                },
            }
        }
        Call::Fetch { .. } => unreachable!("a fetch is a get of its record"),
    }
}

#[tokio::test]
async fn the_model_answers_as_the_memory_store_does() {
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let (mut model, store) = (StoreModel::default(), MemoryStore::new());
        let (mut tags, mut real) = (BTreeMap::new(), BTreeMap::new());
        for number in 0..CALLS {
            let call = call(&mut random, &tags);
            // The core takes tags from a get just before; so does this test, on both sides.
            if let Call::Replace(name, ..) | Call::DeleteIf(name, _) = &call {
                let before = ask(&store, &Call::Get(name.clone()), &mut real).await;
                assert_eq!(
                    before,
                    model.apply(&Call::Get(name.clone()), true),
                    "seed {seed}, before call {number}"
                );
            }
            let (expected, answer) = (model.apply(&call, true), ask(&store, &call, &mut real).await);
            assert_eq!(expected, answer, "seed {seed}, call {number}: {call:?}");
            if let (Call::Get(name), Answer::Got(Some((_, tag)))) = (&call, &answer) {
                tags.insert(name.clone(), tag.clone());
            }
        }
    }
}
