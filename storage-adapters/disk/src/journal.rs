//! A check of an LSM tree's journals before the tree opens them.
//!
//! The tree takes anything in a journal that it cannot read for the torn end of the last,
//! unfinished write: it drops it *and everything behind it*. That is right for a torn end, but a
//! silent loss if the middle is damaged. So this module checks first:
//!
//! * Batches are numbered without gaps ([`Link`]), across journals too. A gap means that batches
//!   are lost.
//! * Each batch's own digest must match, and the tree's sequence numbers must rise.
//! * Behind bytes that are not a batch, every position is tried. A whole batch there proves that
//!   the bytes before it had been synced, since a batch is only written when the one before it is
//!   durable. So those bytes are damaged.
//! * If no batch follows, the number of the newest acknowledged batch
//!   ([`Acked`](crate::Acked)) decides: bytes behind that batch are a torn end, and are cut
//!   off.
//!
//! The layout is that of fjall 3 (`FJL` 3), without compression:
//!
//! ```text
//! batch: start (1) │ items (4) │ seqno (8) ║ item ... ║ end (1) │ checksum (8) │ "FJL" 3
//! item:  item (1) │ type (1) │ compression (1) │ keyspace (8) │ key length (2)
//!        │ value length (4) │ stored length (4) │ key │ value
//! ```

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use crate::chain::{Digest, Link};
use crate::{Home, OpenError};

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const VALUE: u8 = 0;
const TOMBSTONE: u8 = 1;
const NOT_COMPRESSED: u8 = 0;
const TRAILER: &[u8] = b"FJL\x03";

/// The first and the last batch of all journals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Journals {
    /// The link of the first batch.
    pub first: Option<Link>,
    /// The link of the last batch.
    pub last: Option<Link>,
}

/// The place of a batch.
struct Place {
    path: PathBuf,
    at: usize,
}

/// A batch found in a journal.
struct Batch {
    seqno: u64,
    link: Link,
    /// The position at which the next batch starts.
    end: usize,
}

/// A reader that takes pieces from `bytes`, from the front.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn is(&mut self, byte: u8) -> Option<()> {
        (self.byte()? == byte).then_some(())
    }
}

/// Reads one item: its type, key and value.
fn item<'a>(reader: &mut Reader<'a>) -> Option<(u8, &'a [u8], &'a [u8])> {
    reader.is(ITEM)?;
    let kind = reader.byte()?;
    reader.is(NOT_COMPRESSED)?;
    let _keyspace: [u8; 8] = reader.array()?;
    let key_len = u16::from_le_bytes(reader.array()?);
    let value_len = u32::from_le_bytes(reader.array()?);
    let stored_len = u32::from_le_bytes(reader.array()?);
    if value_len != stored_len {
        return None;
    }
    let key = reader.take(usize::from(key_len))?;
    let value = reader.take(usize::try_from(stored_len).ok()?)?;
    Some((kind, key, value))
}

/// Returns the batch at this position, or `None` if there is no whole and undamaged one. `chain` is
/// the key of its last item, the link.
fn batch(bytes: &[u8], at: usize, chain: &[u8]) -> Option<Batch> {
    let mut reader = Reader { bytes, at };
    reader.is(START)?;
    let items = u32::from_le_bytes(reader.array()?);
    let seqno = u64::from_le_bytes(reader.array()?);
    let after_start = reader.at;

    // The digest is seeded with the link, which is the last item. So the first pass finds the link,
    // and a second one computes the digest.
    let mut link = None;
    for i in 0..items {
        let (_, key, value) = item(&mut reader)?;
        if i == items - 1 && key == chain {
            link = Link::decode(value);
        }
    }
    let link = link?;
    reader.is(END)?;
    let _checksum: [u8; 8] = reader.array()?;
    if reader.take(TRAILER.len())? != TRAILER {
        return None;
    }
    let end = reader.at;

    let mut digest = Digest::after(link.number.checked_sub(1)?, link.previous);
    let mut reader = Reader { bytes, at: after_start };
    for _ in 0..items - 1 {
        match item(&mut reader)? {
            (VALUE, key, value) => digest.add(key, Some(value)),
            (TOMBSTONE, key, _) => digest.add(key, None),
            _ => return None,
        }
    }
    (digest.finish() == link.digest).then_some(Batch { seqno, link, end })
}

impl Journals {
    /// Checks all journals of the tree in a part of the directory, and cuts off torn ends. `tree`
    /// is the part's name, `chain` the key under which every batch holds its link, as its last
    /// item. `acked` is the number of the newest acknowledged batch, if it is known.
    ///
    /// Call it before the tree is opened. Afterwards, check that the tree has all batches up to the
    /// last one: journals that are missing altogether are not noticed here.
    ///
    /// # Errors
    /// Returns [`OpenError::Damaged`] if an acknowledged batch is damaged or missing; the message
    /// names the file and the place. Returns [`OpenError::Io`] if a journal cannot be read or cut.
    ///
    /// # Panics
    /// Panics if the directory's layout has no part `tree`.
    pub fn check(home: &Home, tree: &str, chain: &[u8], acked: Option<u64>) -> Result<Journals, OpenError> {
        Ok(scan(home.dir(), &home.part(tree), chain, acked, 0)?.0)
    }

    /// Cuts off the batch after `number`, if the journals have one: a batch whose commit failed,
    /// that no reader has seen. It may be there as a whole nevertheless. A caller was told that its
    /// outcome is unknown, and may have read since that it had no effect, so it must not come to
    /// life when the tree is opened again in this process.
    ///
    /// Checks the journals like [`Journals::check`].
    ///
    /// # Errors
    /// Returns the errors of [`Journals::check`], and [`OpenError::Damaged`] if more than one batch
    /// follows: nobody wrote them.
    ///
    /// # Panics
    /// Panics if the directory's layout has no part `tree`.
    pub fn cut_after(home: &Home, tree: &str, chain: &[u8], number: u64) -> Result<(), OpenError> {
        // Tables may hold everything, so that the journals end before `number`.
        let (found, last) = scan(home.dir(), &home.part(tree), chain, Some(number), number)?;
        match (found.last, last) {
            (Some(link), Some(place)) if link.number == number + 1 => {
                tracing::trace!(journal = %place.path.display(), at = place.at, batch = link.number, "cutting off a batch that failed");
                cut(&place)
            }
            (Some(link), _) if link.number > number => {
                let what = format!(
                    "the journals end with batch {}, but this process wrote batches up to {} only",
                    link.number,
                    number + 1
                );
                Err(OpenError::damaged(home.dir(), what))
            }
            _ => Ok(()),
        }
    }
}

/// Reads all journals and cuts off torn ends. Returns the first and the last batch, and the place
/// of the last one. If no journal holds a batch, `before` is the last one.
fn scan(
    dir: &Path,
    tree: &Path,
    chain: &[u8],
    acked: Option<u64>,
    before: u64,
) -> Result<(Journals, Option<Place>), OpenError> {
    let mut found = Journals::default();
    let mut last_place = None;
    let mut seqno = None;
    let mut torn = Vec::new();
    for path in journal_paths(tree)? {
        let bytes = std::fs::read(&path).map_err(OpenError::io("cannot read", &path))?;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut at = 0;
        // Walk over the whole batches at the start of the journal.
        while let Some(batch) = batch(&bytes, at, chain) {
            let Batch { seqno: batch_seqno, link, end } = batch;
            if let Some(last) = found.last
                && (link.number != last.number + 1 || link.previous != last.digest)
            {
                let what = format!(
                    "journal {file}, byte {at}: batch {} follows batch {}; acknowledged batches are missing",
                    link.number, last.number
                );
                return Err(OpenError::damaged(dir, what));
            }
            if seqno.is_some_and(|seqno| batch_seqno <= seqno) {
                let what =
                    format!("journal {file}, byte {at}: the header of batch {} is damaged", link.number);
                return Err(OpenError::damaged(dir, what));
            }
            seqno = Some(batch_seqno);
            found.first.get_or_insert(link);
            found.last = Some(link);
            last_place = Some(Place { path: path.clone(), at });
            at = end;
        }
        let rest = &bytes[at..];
        let Some(dirt) = first_dirt(rest) else {
            // Only reserved space follows, which was not used.
            continue;
        };
        // Bytes that are not a batch: damage if a batch follows, else perhaps a torn end.
        if let Some((later, place)) = later_batch(&bytes, at + 1, chain) {
            let next = found.last.map_or(1, |last| last.number + 1);
            let what = format!(
                "journal {file}: batch {next} at byte {at} is damaged; batch {} at byte {place} proves that it had been acknowledged",
                later.number
            );
            return Err(OpenError::damaged(dir, what));
        }
        tracing::warn!(journal = %path.display(), at, dirt = at + dirt, "a journal ends in an unfinished write");
        torn.push((path, at));
    }
    // Torn ends are cut only after all journals were read, when the last batch is known.
    let last = found.last.map_or(before, |last| last.number);
    for (path, at) in torn {
        if let Some(acked) = acked.filter(|&acked| acked > last) {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let what = format!(
                "journal {file}: batch {} at byte {at} is damaged; it had been acknowledged, like all batches up to {acked}",
                last + 1
            );
            return Err(OpenError::damaged(dir, what));
        }
        cut(&Place { path, at })?;
    }
    Ok((found, last_place))
}

/// Cuts a journal off at a place.
fn cut(Place { path, at }: &Place) -> Result<(), OpenError> {
    let cut = || {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(*at as u64)?;
        file.sync_all()
    };
    cut().map_err(OpenError::io("cannot cut the end of", path))
}

/// A block of zeros. Most journals end in tens of MiB of them, so blocks are compared, which is
/// fast in a debug build too.
const ZEROS: [u8; 4096] = [0; 4096];

/// Returns the position of the first byte that is not zero.
fn first_dirt(bytes: &[u8]) -> Option<usize> {
    let blocks = bytes.chunks(ZEROS.len());
    let clean = blocks.take_while(|block| **block == ZEROS[..block.len()]).count() * ZEROS.len();
    let dirt = bytes.get(clean..)?.iter().position(|&byte| byte != 0)?;
    Some(clean + dirt)
}

/// Returns the bytes without the zeros at their end, but for some of the last block.
fn without_zeros(bytes: &[u8]) -> &[u8] {
    let blocks = bytes.rchunks(ZEROS.len());
    let clean: usize = blocks.take_while(|block| **block == ZEROS[..block.len()]).map(<[u8]>::len).sum();
    &bytes[..bytes.len() - clean]
}

/// Returns the journals in the order in which they were written.
fn journal_paths(tree: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let mut journals = Vec::new();
    for entry in std::fs::read_dir(tree).map_err(OpenError::io("cannot list", tree))? {
        let path = entry.map_err(OpenError::io("cannot list", tree))?.path();
        let number =
            path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        journals.extend(number.map(|number| (number, path)));
    }
    journals.sort();
    Ok(journals.into_iter().map(|(_, path)| path).collect())
}

/// Returns the first whole batch at or after `from`, and its position.
fn later_batch(bytes: &[u8], from: usize, chain: &[u8]) -> Option<(Link, usize)> {
    // A batch ends with bytes that are not zero.
    let bytes = without_zeros(bytes);
    let starts = (from..bytes.len()).filter(|&at| bytes[at] == START && bytes.get(at + 13) == Some(&ITEM));
    starts.into_iter().find_map(|at| batch(bytes, at, chain).map(|batch| (batch.link, at)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::{
        END, ITEM, Journals, NOT_COMPRESSED, START, TOMBSTONE, TRAILER, VALUE, ZEROS, first_dirt,
        without_zeros,
    };
    use crate::home::tests::LAYOUT;
    use crate::{Digest, Home, Link, OpenError};

    const CHAIN: &[u8] = b"\0chain";

    type Item<'a> = (&'a [u8], Option<&'a [u8]>);

    /// Appends an item in the tree's layout.
    fn append_item(bytes: &mut Vec<u8>, (key, value): Item<'_>) {
        let len = (value.map_or(0, <[u8]>::len) as u32).to_le_bytes();
        bytes.extend([ITEM, if value.is_some() { VALUE } else { TOMBSTONE }, NOT_COMPRESSED]);
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend((key.len() as u16).to_le_bytes());
        bytes.extend(len);
        bytes.extend(len);
        bytes.extend(key);
        bytes.extend(value.unwrap_or_default());
    }

    /// Appends a batch of `items` that follows `last`, and returns its link.
    fn append(bytes: &mut Vec<u8>, last: Link, items: &[Item<'_>]) -> Link {
        let mut digest = Digest::after(last.number, last.digest);
        items.iter().for_each(|(key, value)| digest.add(key, *value));
        let link = Link { number: last.number + 1, previous: last.digest, digest: digest.finish() };
        bytes.push(START);
        bytes.extend((items.len() as u32 + 1).to_le_bytes());
        // The sequence number.
        bytes.extend((10 * link.number).to_le_bytes());
        items.iter().for_each(|item| append_item(bytes, *item));
        append_item(bytes, (CHAIN, Some(&link.encode())));
        bytes.push(END);
        // The tree's own checksum, which the check does not read.
        bytes.extend([0xcc; 8]);
        bytes.extend(TRAILER);
        link
    }

    /// A directory whose tree has two journals.
    struct Case {
        home: Home,
        _dir: tempfile::TempDir,
        /// The bytes of each journal, without the reserved space.
        journals: [Vec<u8>; 2],
        /// The start of the second journal's last batch.
        last_at: usize,
        links: Vec<Link>,
    }

    impl Case {
        /// Makes batches 1 and 2 in journal 9, and 3 and 4 in journal 10.
        fn new() -> Case {
            let dir = tempfile::tempdir().expect("there is room");
            let home = Home::take(dir.path(), LAYOUT).expect("a fresh directory");
            fs::create_dir(home.part("tree")).expect("there is room");
            let (mut old, mut new) = (Vec::new(), Vec::new());
            let one = append(&mut old, Link::default(), &[]);
            let two = append(&mut old, one, &[(b"a", Some(b"1")), (b"b", None)]);
            let three = append(&mut new, two, &[(b"a", None)]);
            let last_at = new.len();
            let four = append(&mut new, three, &[(b"c", Some(&[7; 300]))]);
            let links = vec![one, two, three, four];
            Case { home, _dir: dir, journals: [old, new], last_at, links }
        }

        fn path(&self, journal: usize) -> PathBuf {
            self.home.part("tree").join(["9.jnl", "10.jnl"][journal])
        }

        /// Writes the journals with 100 bytes of reserved space each, then checks them.
        fn check(&self, acked: Option<u64>) -> Result<Journals, OpenError> {
            for (nth, bytes) in self.journals.iter().enumerate() {
                fs::write(self.path(nth), [&bytes[..], &[0; 100]].concat()).expect("there is room");
            }
            Journals::check(&self.home, "tree", CHAIN, acked)
        }

        /// Checks the journals, and expects damage that is described with `says`.
        fn damaged(&self, acked: Option<u64>, says: &str) {
            match self.check(acked) {
                Err(OpenError::Damaged { what, .. }) => assert!(what.contains(says), "{what}"),
                other => panic!("{says}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_first_dirt_is_found_in_every_block() {
        for len in [0, 1, 4095, 4096, 4097, 10_000] {
            let mut bytes = vec![0; len];
            assert_eq!(first_dirt(&bytes), None, "{len} zeros");
            for at in [0, 4095, 4096, 8191, 9_999].into_iter().filter(|&at| at < len).rev() {
                bytes[at] = 1;
                assert_eq!(first_dirt(&bytes), Some(at), "{len} bytes");
            }
            let used = without_zeros(&bytes).len();
            assert!(bytes[used..].iter().all(|&byte| byte == 0), "{len} bytes");
            bytes.fill(0);
            assert_eq!(without_zeros(&bytes).len(), 0, "{len} zeros");
            bytes.insert(0, 1);
            assert!((1..=ZEROS.len()).contains(&without_zeros(&bytes).len()), "{len} zeros behind a byte");
        }
    }

    #[test]
    fn whole_journals_are_read_in_the_order_of_their_numbers() {
        let case = Case::new();
        let expect = Journals { first: Some(case.links[0]), last: Some(case.links[3]) };
        assert_eq!(case.check(Some(4)).expect("nothing is damaged"), expect);
        assert_eq!(case.check(None).expect("nothing is damaged"), expect);
        assert_eq!(fs::read(case.path(1)).expect("it exists").len(), case.journals[1].len() + 100);
    }

    #[test]
    fn a_tree_without_journals_has_no_links() {
        let case = Case::new();
        let found = Journals::check(&case.home, "tree", CHAIN, Some(4)).expect("nothing is there");
        assert_eq!(found, Journals::default());
    }

    /// Flips every byte but those of the tree's checksum and keyspace numbers, which only the tree
    /// checks.
    #[test]
    fn damage_to_an_acknowledged_batch_is_found() {
        let mut case = Case::new();
        let mut undetected = 0;
        for journal in 0..2 {
            for at in 0..case.journals[journal].len() {
                case.journals[journal][at] ^= 0x10;
                match case.check(Some(4)) {
                    Err(OpenError::Damaged { .. }) => {}
                    Ok(_) => undetected += 1,
                    Err(other) => panic!("journal {journal}, byte {at}: {other}"),
                }
                case.journals[journal][at] ^= 0x10;
            }
        }
        // For each batch the checksum, and the keyspace of each of its items. A flipped sequence
        // number is found if it does not rise.
        let items = [1, 3, 2, 2];
        let unchecked = items.map(|items| 8 + 8 * items).iter().sum::<usize>();
        assert!(undetected >= unchecked && undetected <= unchecked + 4 * 8, "{undetected}, {unchecked}");
    }

    #[test]
    fn a_torn_end_is_cut_off() {
        let mut case = Case::new();
        let whole = case.journals[1].len();
        case.journals[1].extend([START, 0xff, 3, 0, 7]);
        let found = case.check(Some(4)).expect("only the unfinished batch is torn");
        assert_eq!(found.last, Some(case.links[3]));
        assert_eq!(fs::read(case.path(1)).expect("it exists").len(), whole);
    }

    #[test]
    fn a_torn_batch_is_damage_if_it_was_acknowledged() {
        let mut case = Case::new();
        let cut = case.journals[1].len() - 1;
        case.journals[1].truncate(cut);
        case.damaged(Some(4), "journal 10.jnl: batch 4 at byte");
        assert!(fs::read(case.path(1)).expect("it exists").len() > cut, "nothing is cut then");
        let found = case.check(Some(3)).expect("batch 4 was not acknowledged");
        assert_eq!(found.last, Some(case.links[2]));
        assert_eq!(fs::read(case.path(1)).expect("it exists").len(), case.last_at);
        assert!(case.check(None).is_ok(), "nothing tells that it was acknowledged");
    }

    #[test]
    fn a_batch_that_failed_is_cut_off() {
        let case = Case::new();
        case.check(Some(4)).expect("nothing is damaged");
        let cut = |number| Journals::cut_after(&case.home, "tree", CHAIN, number);
        cut(4).expect("nothing follows");
        assert_eq!(fs::read(case.path(1)).expect("it exists").len(), case.journals[1].len() + 100);
        assert!(matches!(cut(2), Err(OpenError::Damaged { .. })), "two batches follow");
        cut(3).expect("one batch follows");
        assert_eq!(fs::read(case.path(1)).expect("it exists").len(), case.last_at);
        let found = Journals::check(&case.home, "tree", CHAIN, Some(3)).expect("nothing is damaged");
        assert_eq!(found.last, Some(case.links[2]));
        cut(3).expect("nothing follows any more");
    }

    #[test]
    fn a_batch_behind_a_damaged_one_proves_the_damage() {
        let mut case = Case::new();
        case.journals[1][case.last_at - 1] ^= 1;
        case.damaged(None, "batch 3 at byte 0 is damaged; batch 4 at byte");
    }

    #[test]
    fn missing_and_repeated_batches_are_found() {
        let mut case = Case::new();
        let last = case.journals[1].split_off(case.last_at);
        case.journals[1].clone_from(&last);
        case.damaged(None, "batch 4 follows batch 2");

        let mut case = Case::new();
        let last = case.journals[1][case.last_at..].to_vec();
        case.journals[1].extend(last);
        case.damaged(None, "batch 4 follows batch 4");

        // A batch with the right number in another chain.
        let mut case = Case::new();
        let other = Link { number: 4, digest: 99, ..Link::default() };
        append(&mut case.journals[1], other, &[]);
        case.damaged(None, "batch 5 follows batch 4");
    }

    #[test]
    fn links_under_another_key_do_not_count() {
        let case = Case::new();
        case.check(None).expect("nothing is damaged");
        let found = Journals::check(&case.home, "tree", b"other", Some(4));
        assert!(matches!(found, Err(OpenError::Damaged { .. })), "{found:?}");
    }
}
