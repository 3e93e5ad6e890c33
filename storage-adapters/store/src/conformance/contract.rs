//! Checks of each call's contract on its own, without races.

use std::time::Instant;

use bytes::Bytes;

use super::scratch::{Scratch, short};
use super::{Outcome, listing};
use crate::{Created, Error, Name, PART_BYTES_BEYOND, Replaced, Space, TIMES_KEPT_MAX};

/// The largest body that is tried, in bytes. A store may take larger ones, but a check should not
/// need the memory for them.
pub(super) const LARGE_BODY_BYTES: usize = 1 << 20;
/// A number of names beyond what any store takes in one batch (DynamoDB: 25, S3: 1000).
const MANY_NAMES: usize = 1050;
/// The largest bound of a store, in bytes, for which a body one byte beyond it is tried.
pub(super) const REFUSED_BODY_BYTES_MAX: usize = 64 << 20;

macro_rules! ensure {
    ($condition:expr, $($reason:tt)*) => {
        if !$condition {
            return Err(format!($($reason)*));
        }
    };
}
pub(super) use ensure;

pub(super) async fn missing_names_read_as_none(s: &Scratch) -> Outcome {
    for &space in s.spaces {
        let name = s.name_in(space, b"missing", b"item");
        ensure!(s.get(&name).await?.is_none(), "{name} holds something, but was never written");
        let page = s.list(space, b"missing", None, 10).await?;
        ensure!(page.items.is_empty() && !page.more, "a group that was never written lists {page:?}");
    }
    Ok(())
}

pub(super) async fn put_is_read_back_and_overwrites(s: &Scratch) -> Outcome {
    for &space in s.spaces {
        let name = s.name_in(space, b"put", b"item");
        for body in ["first", "second, longer", "3", "3"] {
            s.put(&name, body).await?;
            let (read, _) = s.get_some(&name).await?;
            ensure!(read == body, "{name}: put {body:?}, read {read:?}");
        }
        ensure!(s.list(space, b"put", None, 10).await?.items == ["item"], "a put item is not listed");
    }
    Ok(())
}

pub(super) async fn create_writes_only_once(s: &Scratch) -> Outcome {
    for &space in s.spaces {
        let name = s.name_in(space, b"create", b"item");
        ensure!(
            s.create(&name, "first").await? == Created::Created,
            "the first create of {name} answered Exists"
        );
        for body in ["second", "first"] {
            let again = s.create(&name, body).await?;
            ensure!(again == Created::Exists, "a second create of {name} answered Created");
            let (read, _) = s.get_some(&name).await?;
            ensure!(read == "first", "{name}: created as \"first\", read {read:?} after a second create");
        }
        s.delete(std::slice::from_ref(&name)).await?;
        ensure!(
            s.create(&name, "third").await? == Created::Created,
            "create after delete of {name} answered Exists"
        );
        s.put(&name, "fourth").await?;
        ensure!(
            s.create(&name, "fifth").await? == Created::Exists,
            "create after put of {name} answered Created"
        );
    }
    Ok(())
}

pub(super) async fn replace_needs_the_tag(s: &Scratch) -> Outcome {
    for &space in s.spaces {
        let name = s.name_in(space, b"replace", b"item");
        s.put(&name, "first").await?;
        let (_, first) = s.get_some(&name).await?;
        ensure!(
            s.replace(&name, &first, "second").await? == Replaced::Replaced,
            "{name}: the tag just read did not match"
        );
        let stale = s.replace(&name, &first, "third").await?;
        ensure!(
            stale == Replaced::Changed,
            "{name}: replace with the tag of an earlier content answered {stale:?}"
        );
        let (read, second) = s.get_some(&name).await?;
        ensure!(read == "second", "{name}: read {read:?} after a replace that answered Changed");
        s.delete(std::slice::from_ref(&name)).await?;
        let gone = s.replace(&name, &second, "fourth").await?;
        ensure!(gone == Replaced::Changed, "{name}: replace of a deleted name answered {gone:?}");
        ensure!(
            s.get(&name).await?.is_none(),
            "{name}: a replace that answered Changed wrote a deleted name"
        );
    }
    Ok(())
}

pub(super) async fn tags_tell_contents_apart(s: &Scratch) -> Outcome {
    let name = s.name(b"tags", b"item");
    let mut seen = Vec::new();
    for body in ["a", "b", "c", "a longer one"] {
        s.put(&name, body).await?;
        let (_, tag) = s.get_some(&name).await?;
        let (_, again) = s.get_some(&name).await?;
        ensure!(tag == again, "{name}: two reads of one content gave the tags {tag:?} and {again:?}");
        ensure!(!seen.contains(&tag), "{name}: two contents share the tag {tag:?}");
        seen.push(tag);
        s.delete(std::slice::from_ref(&name)).await?;
    }
    Ok(())
}

pub(super) async fn delete_deletes(s: &Scratch) -> Outcome {
    for &space in s.spaces {
        let kept = s.name_in(space, b"delete", b"kept");
        let gone = s.name_in(space, b"delete", b"gone");
        let never = s.name_in(space, b"delete", b"never written");
        let nowhere = s.name_in(space, b"no such group", b"");
        s.put(&kept, "kept").await?;
        s.put(&gone, "gone").await?;
        for _ in 0..2 {
            s.delete(&[never.clone(), gone.clone(), nowhere.clone()]).await?;
            ensure!(s.get(&gone).await?.is_none(), "{gone} is there after its delete");
            ensure!(s.get(&kept).await?.is_some(), "{kept} is gone after the delete of other names");
            let items = s.list(space, b"delete", None, 10).await?.items;
            ensure!(items == ["kept"], "after a delete the group lists {items:?}");
        }
        s.delete(&[]).await?;
    }
    Ok(())
}

pub(super) async fn delete_takes_many_names(s: &Scratch) -> Outcome {
    let names: Vec<Name> = (0..MANY_NAMES).map(|i| s.name(b"many", format!("{i:05}").as_bytes())).collect();
    s.put_all(&names).await?;
    let (last, others) = names.split_last().expect("there are many");
    s.delete(others).await?;
    let items = listing::all_items(s, s.spaces[0], b"many", MANY_NAMES).await?;
    ensure!(
        items == [last.item.clone()],
        "after a delete of {} names {} are left",
        others.len(),
        items.len()
    );
    Ok(())
}

pub(super) async fn delete_if_needs_the_tag(s: &Scratch) -> Outcome {
    let capable = s.store.capabilities().delete_if;
    for &space in s.spaces {
        let name = s.name_in(space, b"delete_if", b"item");
        s.put(&name, "first").await?;
        let (_, first) = s.get_some(&name).await?;
        if !capable {
            let answer = s.store.delete_if(&name, &first).await;
            ensure!(
                matches!(answer, Err(Error::Refused(_))),
                "a store without delete_if answered {answer:?}"
            );
            ensure!(s.get(&name).await?.is_some(), "{name} is gone after a refused delete_if");
            s.skip("the store has no conditional delete, and says so");
            continue;
        }
        s.put(&name, "second").await?;
        let stale = s.delete_if(&name, &first).await?;
        ensure!(
            stale == Replaced::Changed,
            "{name}: delete_if with the tag of an earlier content answered {stale:?}"
        );
        let (read, second) = s.get_some(&name).await?;
        ensure!(read == "second", "{name}: read {read:?} after a delete_if that answered Changed");
        let matching = s.delete_if(&name, &second).await?;
        ensure!(
            matching == Replaced::Replaced,
            "{name}: delete_if with the tag just read answered {matching:?}"
        );
        ensure!(s.get(&name).await?.is_none(), "{name} is there after its delete_if");
        let again = s.delete_if(&name, &second).await?;
        ensure!(again == Replaced::Changed, "{name}: delete_if of a missing name answered {again:?}");
    }
    Ok(())
}

pub(super) async fn empty_bodies_and_items(s: &Scratch) -> Outcome {
    for &space in s.spaces {
        let empty_item = s.name_in(space, b"empty", b"");
        let other = s.name_in(space, b"empty", b"x");
        ensure!(
            s.create(&empty_item, "").await? == Created::Created,
            "the first create of {empty_item} answered Exists"
        );
        ensure!(
            s.create(&empty_item, "").await? == Created::Exists,
            "a create over an empty body answered Created"
        );
        s.put(&other, "").await?;
        let (read, tag) = s.get_some(&empty_item).await?;
        ensure!(read.is_empty(), "an empty body reads as {read:?}");
        ensure!(
            s.list(space, b"empty", None, 10).await?.items == ["", "x"],
            "an empty item is not listed first"
        );
        let rest = s.list(space, b"empty", Some(b""), 10).await?.items;
        ensure!(rest == ["x"], "after the empty item come {rest:?}");
        ensure!(
            s.replace(&empty_item, &tag, "full").await? == Replaced::Replaced,
            "an empty body's tag did not match"
        );
        ensure!(s.get_some(&empty_item).await?.0 == "full", "an empty body was not replaced");
    }
    Ok(())
}

/// Byte strings that break careless encodings of names, in byte order.
pub(super) const AWKWARD: [&[u8]; 26] = [
    b"\x00",
    b"\x00\x00",
    b"\x00\x01",
    b"\x00\xff",
    b"\x01",
    b" ",
    b"%",
    b"%2F",
    b"+",
    b".",
    b"..",
    b"/",
    b"//",
    b"/a",
    b"a",
    b"a\x00",
    b"a\x00b",
    b"a\x01",
    b"a/",
    b"a/../b",
    b"a/b",
    b"a\\b?*#&=<>|\"'\r\n\t~",
    "grüße/日本/😀".as_bytes(),
    b"\xc3\x28",
    b"\xff",
    b"\xff\xff",
];

pub(super) async fn names_are_arbitrary_bytes(s: &Scratch) -> Outcome {
    let space = s.spaces[0];
    let mut names = Vec::new();
    for one in AWKWARD {
        names.push(s.name(b"bytes", one));
        names.push(s.name(one, b"bytes"));
        names.push(s.name(one, one));
    }
    for (i, name) in names.iter().enumerate() {
        let made = s.create(name, i.to_string()).await?;
        ensure!(
            made == Created::Created,
            "{name} is new, but its create answered Exists: it is confused with another name"
        );
    }
    for (i, name) in names.iter().enumerate() {
        let (read, _) = s.get_some(name).await?;
        ensure!(read == i.to_string(), "{name}: wrote {i}, read {read:?}");
    }
    let items = s.list(space, b"bytes", None, AWKWARD.len() + 1).await?.items;
    ensure!(items == AWKWARD, "names of items did not round-trip in order: {items:?}");
    let (gone, kept) = names.split_at(names.len() / 2);
    s.delete(gone).await?;
    for name in gone {
        ensure!(s.get(name).await?.is_none(), "{name} is there after its delete");
    }
    for name in kept {
        ensure!(s.get(name).await?.is_some(), "{name} is gone after the delete of other names");
    }
    Ok(())
}

pub(super) async fn names_reach_their_bounds(s: &Scratch) -> Outcome {
    for &space in s.spaces {
        let mut groups = Vec::new();
        for fill in [0x00, b'a', b'/', 0xff] {
            let group = s.longest_group(b"long", fill);
            let shorter = group.slice(..group.len() - 1);
            for group in [shorter, group] {
                for item_fill in [0x00, b'x', 0xff] {
                    let item = vec![item_fill; Name::ITEM_BYTES_MAX];
                    let name = Name::new(space, group.clone(), item);
                    let made = s.create(&name, format!("{fill} {item_fill} {}", group.len())).await?;
                    ensure!(
                        made == Created::Created,
                        "{} is new, but its create answered Exists: it is confused with another name",
                        short(&name)
                    );
                    let (read, _) = s.get_some(&name).await?;
                    ensure!(
                        read == format!("{fill} {item_fill} {}", group.len()),
                        "{}: read {read:?}",
                        short(&name)
                    );
                }
                groups.push(group);
            }
        }
        groups.sort();
        let listed = listing::all_groups(s, space, b"long", groups.len()).await?;
        ensure!(
            listed == groups,
            "of {} long groups {} were listed, or out of order",
            groups.len(),
            listed.len()
        );
    }
    Ok(())
}

/// Returns a body of `len` bytes. Its content depends on `seed` and on the position, so that a
/// misplaced part is seen.
pub(super) fn body(len: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(len).collect()
}

pub(super) async fn bodies_reach_their_bound(s: &Scratch) -> Outcome {
    let capabilities = s.store.capabilities();
    let (max, part) = (capabilities.body_bytes_max, capabilities.blob_part_bytes);
    ensure!(part > 0, "a part has no bytes");
    parts_reach_their_bound(s, part + PART_BYTES_BEYOND).await?;
    let largest = max.min(LARGE_BODY_BYTES);
    let sizes = [1, 255, 256, 4096, 65_535, 65_536, 65_537, largest - 1, largest];
    for &space in s.races {
        for size in sizes.into_iter().filter(|&size| size <= largest) {
            let name = s.name_in(space, b"large", size.to_string().as_bytes());
            let (one, two, three) = (body(size, 1), body(size, 2), body(size, 3));
            ensure!(
                s.create(&name, one.clone()).await? == Created::Created,
                "the first create of {name} answered Exists"
            );
            let (read, tag) = s.get_some(&name).await?;
            ensure!(read == one, "{name}: a body of {size} bytes was not read back as created");
            let pieces = s.get_pieces(&name).await?;
            ensure!(
                pieces.as_ref() == Some(&(read, tag.clone())),
                "{name}: a body of {size} bytes reads differently in pieces and in one"
            );
            ensure!(
                s.create(&name, two.clone()).await? == Created::Exists,
                "a second create of {name} answered Created"
            );
            ensure!(
                s.replace(&name, &tag, two.clone()).await? == Replaced::Replaced,
                "{name}: the tag did not match"
            );
            ensure!(
                s.get_some(&name).await?.0 == two,
                "{name}: a body of {size} bytes was not read back as replaced"
            );
            s.put(&name, three.clone()).await?;
            ensure!(
                s.get_some(&name).await?.0 == three,
                "{name}: a body of {size} bytes was not read back as put"
            );
            ensure!(s.replace(&name, &tag, one).await? == Replaced::Changed, "{name}: a stale tag matched");
            s.delete(std::slice::from_ref(&name)).await?;
            ensure!(s.get(&name).await?.is_none(), "{name} is there after its delete");
            ensure!(s.get_pieces(&name).await?.is_none(), "{name} is there in pieces after its delete");
        }
    }
    Ok(())
}

/// Checks that the space of parts takes a body of `size` bytes, which may be beyond the bound of
/// all others.
async fn parts_reach_their_bound(s: &Scratch, size: usize) -> Outcome {
    if !s.spaces.contains(&Space::Blob) {
        return Ok(());
    }
    let name = s.name_in(Space::Blob, b"large", b"part");
    let part = body(size, 4);
    s.put(&name, part.clone()).await?;
    ensure!(s.get_some(&name).await?.0 == part, "{name}: a part of {size} bytes was not read back");
    let pieces = s.get_pieces(&name).await?.map(|(read, _)| read);
    ensure!(pieces.as_ref() == Some(&part), "{name}: a part of {size} bytes reads differently in pieces");
    s.delete(std::slice::from_ref(&name)).await
}

pub(super) async fn bodies_beyond_the_bound_are_refused(s: &Scratch) -> Outcome {
    let max = s.store.capabilities().body_bytes_max;
    if max > REFUSED_BODY_BYTES_MAX {
        s.skip("the bound is too large to try");
        return Ok(());
    }
    let name = s.name(b"too large", b"item");
    s.will_write(&name);
    let too_large = Bytes::from(vec![7; max + 1]);
    let put = s.store.put(&name, too_large.clone()).await;
    ensure!(
        matches!(put, Err(Error::Refused(_))),
        "a put of {} bytes, the bound being {max}, answered {put:?}",
        max + 1
    );
    let create = s.store.create(&name, too_large).await;
    ensure!(matches!(create, Err(Error::Refused(_))), "a create beyond the bound answered {create:?}");
    ensure!(s.get(&name).await?.is_none(), "a refused body was written");
    Ok(())
}

pub(super) async fn spaces_do_not_mix(s: &Scratch) -> Outcome {
    for &space in s.spaces {
        let name = s.name_in(space, b"same", b"same");
        ensure!(
            s.create(&name, space.as_str()).await? == Created::Created,
            "{name} is new, but its create answered Exists: it is confused with a name in another space"
        );
        s.put(&s.name_in(space, space.as_str().as_bytes(), b""), "").await?;
    }
    for &space in s.spaces {
        let (read, _) = s.get_some(&s.name_in(space, b"same", b"same")).await?;
        ensure!(read == space.as_str(), "{space:?} reads what was written to {read:?}");
        let groups = listing::all_groups(s, space, b"", 10).await?;
        let mut expected = vec![s.group(b"same"), s.group(space.as_str().as_bytes())];
        expected.sort();
        ensure!(groups == expected, "{space:?} lists the groups {groups:?}");
    }
    let first = s.name_in(s.spaces[0], b"same", b"same");
    s.delete(&[first]).await?;
    for &space in &s.spaces[1..] {
        let name = s.name_in(space, b"same", b"same");
        ensure!(
            s.get(&name).await?.is_some(),
            "{name} is gone after the delete of the same name in another space"
        );
    }
    Ok(())
}

pub(super) async fn times_heard_are_sound(s: &Scratch) -> Outcome {
    let earlier = s.store.times_heard();
    let name = s.name(b"times", b"item");
    s.put(&name, "").await?;
    // More answers come than times are kept.
    for _ in 0..=TIMES_KEPT_MAX {
        s.get_some(&name).await?;
    }
    let (times, now) = (s.store.times_heard(), Instant::now());
    for time in &times {
        ensure!(time.sent <= time.received, "an answer came before its request was sent: {time:?}");
        ensure!(time.received <= now, "an answer is said to come in the future: {time:?}");
        ensure!(time.span_ms > 0, "the span of a time is 0, so the clock never read it: {time:?}");
    }
    for times in [&earlier, &times] {
        ensure!(times.len() <= TIMES_KEPT_MAX, "{} times were kept", times.len());
        ensure!(times.is_sorted_by_key(|time| time.received), "times do not come oldest first");
    }
    // Times are returned once.
    let again = s.store.times_heard();
    for taken in [&earlier, &times] {
        let repeated = again.iter().find(|time| taken.contains(time));
        ensure!(repeated.is_none(), "a time that was returned before is returned again: {repeated:?}");
    }
    if s.store.capabilities().exclusive {
        ensure!(
            times.is_empty(),
            "a store that one process holds returned {} times of a server",
            times.len()
        );
    }
    if times.is_empty() {
        s.skip("the store's answers carry no time");
    }
    Ok(())
}
