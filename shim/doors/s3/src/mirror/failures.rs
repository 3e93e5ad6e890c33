//! Goal: the mirror ends with the newest version of every key, whichever request to the origin
//! fails and whether it took effect; and its check finds what others did.
//! Method: a node in memory, and an origin in memory whose requests fail at chosen places.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use aft_access::Access;
use aft_desk::Desk;
use aft_format::Attributes;
use aft_node::NodeSettings;
use aft_store::Store as _;
use aft_store_memory::MemoryStore;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::BoxStream;

use super::Mirror;
use crate::call::Call;
use crate::checksum::{Digests, Wanted};
use crate::failure::Failure;
use crate::operations::list::Asked;
use crate::operations::write::Target;
use crate::origin::{
    Expect, Mapped, Origin, Origins, Outgoing, Plain, PlainEntry, PlainPage, PlainRange, Trouble,
};

/// The fate of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    /// It has no effect, and fails.
    Lost,
    /// It takes effect, and its answer is lost.
    Unanswered,
}

/// An origin in memory.
#[derive(Debug, Default)]
struct Outside {
    objects: Mutex<BTreeMap<String, (Plain, Bytes)>>,
    /// The fates of the next requests; then all are answered.
    fates: Mutex<VecDeque<Fate>>,
}

impl Outside {
    fn fate(&self) -> Fate {
        self.fates.lock().unwrap().pop_front().unwrap_or(Fate::Answered)
    }

    /// Writes an object as somebody else.
    fn set(&self, key: &str, text: &str) {
        let plain = Plain { size: text.len() as u64, etag: format!("foreign {text}"), ..Plain::default() };
        self.objects.lock().unwrap().insert(key.into(), (plain, Bytes::copy_from_slice(text.as_bytes())));
    }

    fn texts(&self) -> Vec<String> {
        let objects = self.objects.lock().unwrap();
        let text = |(key, (_, bytes)): (&String, &(Plain, Bytes))| {
            format!("{key}={}", String::from_utf8_lossy(bytes))
        };
        objects.iter().map(text).collect()
    }
}

fn lost() -> Trouble {
    Trouble::Failed("planted".into())
}

#[async_trait]
impl Origin for Outside {
    async fn head(&self, key: &str) -> Result<Option<Plain>, Trouble> {
        match self.fate() {
            Fate::Answered => Ok(self.objects.lock().unwrap().get(key).map(|(plain, _)| plain.clone())),
            Fate::Lost | Fate::Unanswered => Err(lost()),
        }
    }

    async fn get(
        &self,
        _: &str,
        _: &str,
        _: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes, String>>, Trouble> {
        unreachable!("the mirror reads no bytes there")
    }

    async fn part(&self, _: &str, _: &str, _: u32) -> Result<Option<Range<u64>>, Trouble> {
        unreachable!("the mirror reads no parts there")
    }

    async fn list(&self, range: PlainRange) -> Result<PlainPage, Trouble> {
        if self.fate() != Fate::Answered {
            return Err(lost());
        }
        let objects = self.objects.lock().unwrap();
        let all = objects.iter().filter(|(key, _)| **key > range.after);
        let entry = |(key, (plain, _)): (&String, &(Plain, Bytes))| {
            let Plain { size, etag, modified_ms, .. } = plain.clone();
            PlainEntry { key: key.clone(), size, etag, modified_ms }
        };
        Ok(PlainPage { objects: all.map(entry).collect(), ..PlainPage::default() })
    }

    async fn put(&self, key: &str, expect: Expect, mut outgoing: Outgoing) -> Result<String, Trouble> {
        let fate = self.fate();
        let mut bytes = BytesMut::new();
        while let Some(piece) = outgoing.bytes.next().await {
            bytes.extend_from_slice(&piece.map_err(Trouble::Failed)?);
        }
        let etag = format!("{bytes:?}");
        if fate == Fate::Lost {
            return Err(lost());
        }
        let mut objects = self.objects.lock().unwrap();
        let now = objects.get(key).map(|(plain, _)| plain.etag.clone());
        let holds = match expect {
            Expect::Nothing => now.is_none(),
            Expect::Tag(tag) => now == Some(tag),
        };
        if !holds {
            return Err(Trouble::Changed);
        }
        let plain = Plain {
            size: outgoing.size,
            etag: etag.clone(),
            mark: Some(outgoing.mark),
            attributes: outgoing.attributes,
            ..Plain::default()
        };
        objects.insert(key.into(), (plain, bytes.freeze()));
        if fate == Fate::Answered { Ok(etag) } else { Err(lost()) }
    }

    async fn delete(&self, key: &str, etag: &str) -> Result<(), Trouble> {
        let fate = self.fate();
        if fate == Fate::Lost {
            return Err(lost());
        }
        let mut objects = self.objects.lock().unwrap();
        match objects.get(key) {
            Some((plain, _)) if plain.etag != etag => return Err(Trouble::Changed),
            _ => drop(objects.remove(key)),
        }
        if fate == Fate::Answered { Ok(()) } else { Err(lost()) }
    }
}

/// A bucket with a mirror, whose rounds are run by hand.
struct Scene {
    outside: Arc<Outside>,
    origins: Arc<Origins>,
    call: Call,
    mirror: Mirror,
}

impl Scene {
    async fn start() -> Scene {
        let store = Arc::new(MemoryStore::new());
        let settings = NodeSettings::new(&store.capabilities());
        let node = aft_node::start(store, settings).await.expect("it starts");
        let desk = Desk::new(node, Arc::new(Access::open()), aft_desk::Settings::default());
        let outside = Arc::new(Outside::default());
        let mapped = Mapped {
            bucket: "photos".into(),
            place: "s3://real/".into(),
            mirror: true,
            origin: outside.clone(),
            silent: None,
        };
        let origins = Origins::open(&desk, vec![mapped]).await.expect("it is mapped");
        let mut call = Call::of_server(&desk);
        call.origins = Some(origins.clone());
        let bucket = origins.get("photos").expect("it is known").clone();
        let mirror = Mirror { call: Call::of_server(&desk), bucket };
        mirror.catch_up().await.expect("nothing is behind");
        Scene { outside, origins, call, mirror }
    }

    fn target(key: &str) -> Target {
        Target { bucket: "photos".into(), key: key.into(), conditions: Default::default() }
    }

    async fn put(&self, key: &str, text: &str) {
        let target = Scene::target(key);
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let mut digests = Digests::new(Wanted::default());
        digests.update(&bytes);
        let verified = digests.verify(&[]).expect("nothing was wanted");
        let to = target.checked(&self.call).expect("it is a key");
        self.call.put_whole(&target, &to, Attributes::default(), bytes, verified).await.expect("it is put");
    }

    /// Opens a longer transaction.
    async fn begin(&self) -> (Call, aft_desk::Open) {
        let caller = &self.call.caller;
        let ready = Call::reading().prepare(caller, None).expect("it is allowed");
        let opened = ready.open(caller, vec![crate::object::marker("photos")]).await.expect("it is open");
        let aft_desk::Opened::Open { open, .. } = opened else { panic!("it is new") };
        (self.call.within(open.attempt()), open)
    }

    /// Lists a range of the bucket, and returns the keys or the code of the failure.
    async fn list(&self, call: &Call, prefix: &str, max_keys: i32) -> Result<Vec<String>, &'static str> {
        let asked = Asked {
            bucket: "photos".into(),
            prefix: prefix.into(),
            max_keys: Some(max_keys),
            ..Asked::default()
        };
        let listing = call.list(&asked).await.map_err(|failure| failure.code)?;
        Ok(listing.objects.into_iter().map(|object| object.key).collect())
    }

    async fn delete(&self, key: &str) {
        self.call.delete(&Scene::target(key)).await.expect("it is deleted");
    }

    /// Mirrors every key that is due, once.
    async fn round(&self) -> Result<(), Failure> {
        let mut queue = super::Queue::default();
        self.mirror.list_due(&mut queue).await?;
        let mut all = Ok(());
        while let Some((key, entries)) = queue.begin() {
            let mirrored = self.mirror.mirror(&key, &entries).await;
            all = all.and(mirrored.clone());
            queue.end(key, mirrored);
        }
        all
    }

    /// Runs rounds until one does not fail.
    async fn mirror(&self) {
        for _ in 0..8 {
            if self.round().await.is_ok() {
                return;
            }
        }
        panic!("the mirror does not recover");
    }
}

#[tokio::test]
async fn whichever_request_fails_the_newest_version_is_mirrored() {
    for fate in [Fate::Lost, Fate::Unanswered] {
        for at in 0..10 {
            let scene = Scene::start().await;
            scene.outside.set("a", "before");
            scene.outside.set("b", "before");
            scene.outside.set("c", "before");
            let fates = (0..at).map(|_| Fate::Answered).chain([fate]);
            scene.outside.fates.lock().unwrap().extend(fates);
            scene.put("a", "one").await;
            scene.delete("b").await;
            scene.round().await.ok();
            scene.put("a", "two").await;
            scene.put("b", "two").await;
            scene.delete("b").await;
            scene.mirror().await;
            assert_eq!(scene.outside.texts(), ["a=two", "c=before"], "{fate:?} at {at}");
            assert!(!scene.mirror.expects_any(), "{fate:?} at {at}: nothing is due");
            scene.outside.fates.lock().unwrap().clear();
            assert_eq!(scene.mirror.check().await, Ok(0), "{fate:?} at {at}");
            assert!(scene.origins.get("photos").is_some());
        }
    }
}

#[tokio::test]
async fn the_check_finds_what_others_did() {
    let scene = Scene::start().await;
    for key in ["changed", "deleted", "same", "gone"] {
        scene.put(key, "ours").await;
    }
    scene.mirror().await;
    scene.delete("gone").await;
    scene.mirror().await;
    assert_eq!(scene.mirror.check().await, Ok(0));
    scene.outside.set("changed", "theirs");
    scene.outside.set("gone", "theirs");
    scene.outside.set("new", "theirs");
    scene.outside.objects.lock().unwrap().remove("deleted");
    assert_eq!(scene.mirror.check().await, Ok(3));
    scene.mirror().await;
    // What was deleted is there again, and nothing of somebody else is lost.
    let expected = ["changed=theirs", "deleted=ours", "gone=theirs", "new=theirs", "same=ours"];
    assert_eq!(scene.outside.texts(), expected);
    // An object that was left is found again by each check, until it is out of the way.
    assert_eq!(scene.mirror.check().await, Ok(2));
    for key in ["changed", "gone"] {
        scene.outside.objects.lock().unwrap().remove(key);
    }
    scene.mirror().await;
    assert_eq!(scene.mirror.check().await, Ok(0));
    assert_eq!(scene.outside.texts(), ["changed=ours", "deleted=ours", "new=theirs", "same=ours"]);
}

#[tokio::test]
async fn another_version_0_ends_a_longer_transaction() {
    let scene = Scene::start().await;
    scene.outside.set("a", "before");
    let found = scene.call.find("photos", "a").await.expect("it is read through");
    assert_eq!((found.size(), found.etag()), (6, "foreign before".to_owned()));
    // Mirrored by a commit that the reader does not see yet: the mark is looked at.
    let (within, _open) = scene.begin().await;
    let key = within.key("photos", "a", aft_access::Right::Read).expect("it is a key");
    assert!(aft_desk::value_of(within.read(key).await.expect("it is read").found).is_none());
    scene.put("a", "ours").await;
    scene.mirror().await;
    let failure = within.find("photos", "a").await.expect_err("version 0 is gone");
    assert_eq!((failure.code, failure.may_run_again()), ("OperationAborted", true));
    assert_eq!(scene.list(&within, "", 9).await, Err("OperationAborted"));
    assert_eq!(scene.list(&scene.call, "", 9).await, Ok(vec!["a".to_owned()]));
}

/// A transaction that has read the state before a commit is told that the mirror has carried it
/// out, although the origin's page does not show it.
#[tokio::test]
async fn a_listing_never_shows_half_of_a_commit() {
    let scene = Scene::start().await;
    scene.outside.set("z", "before");
    scene.put("x", "before").await;
    scene.mirror().await;
    let (within, _open) = scene.begin().await;
    let keys = ["x", "z"].map(str::to_owned);
    assert_eq!(scene.list(&within, "", 9).await, Ok(keys.to_vec()));
    scene.delete("z").await;
    scene.mirror().await;
    assert_eq!(scene.outside.texts(), ["x=before"]);
    for prefix in ["", "z"] {
        assert_eq!(scene.list(&within, prefix, 9).await, Err("OperationAborted"), "{prefix:?}");
    }
    // What does not hold z is not affected.
    assert_eq!(scene.list(&within, "x", 9).await, Ok(vec!["x".to_owned()]));
}

#[tokio::test]
async fn a_transactions_own_writes_are_no_change_of_others() {
    let scene = Scene::start().await;
    for key in ["k", "l", "m"] {
        scene.put(key, "before").await;
    }
    scene.outside.set("z", "before");
    scene.mirror().await;
    let caller = &scene.call.caller;
    let ready =
        scene.call.writing(&crate::object::marker("photos"), 0).prepare(caller, None).expect("allowed");
    let opened = ready.open(caller, vec![crate::object::marker("photos")]).await.expect("it is open");
    let aft_desk::Opened::Open { open, .. } = opened else { panic!("it is new") };
    let within = scene.call.within(open.attempt());
    within.delete(&Scene::target("k")).await.expect("it is deleted");
    within.delete(&Scene::target("z")).await.expect("it is deleted");
    let bytes = Bytes::from_static(b"a");
    let verified = Digests::new(Wanted::default()).verify(&[]).expect("nothing was wanted");
    let target = Scene::target("a");
    let to = target.checked(&within).expect("it is a key");
    within.put_whole(&target, &to, Attributes::default(), bytes, verified).await.expect("it is put");
    let keys = |keys: &[&str]| Ok(keys.iter().map(|key| (*key).to_owned()).collect());
    assert_eq!(scene.list(&within, "", 9).await, keys(&["a", "l", "m"]));
    assert_eq!(scene.list(&within, "", 2).await, keys(&["a", "l"]));
    assert_eq!(scene.list(&scene.call, "", 9).await, keys(&["k", "l", "m", "z"]));
}

/// A copy at the origin keeps the metadata, and so the mark of another key.
#[tokio::test]
async fn a_mark_counts_for_its_own_key() {
    let scene = Scene::start().await;
    for key in ["a", "b"] {
        scene.put(key, "ours").await;
    }
    scene.mirror().await;
    scene.put("a", "newer").await;
    scene.mirror().await;
    {
        let mut objects = scene.outside.objects.lock().unwrap();
        let a = objects["a"].clone();
        objects.insert("copy".into(), a.clone());
        objects.insert("b".into(), a);
    }
    let copy = scene.call.find("photos", "copy").await.expect("it is read through");
    assert_eq!(copy.size(), 5);
    scene.put("b", "ours again").await;
    scene.mirror().await;
    assert_eq!(scene.outside.texts(), ["a=newer", "b=newer", "copy=newer"]);
}
