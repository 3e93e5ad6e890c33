//! Pages of names: questions of the core to those of a store, and answers back.
//!
//! A name that cannot be read holds up nothing but itself (protocol, section 11): it becomes a text
//! beside the readable names of its page. An answer of the core never says that more follow without
//! a name to go on from. So a driver goes on by itself, after the last *stored* name, over pages
//! that hold damaged names only:
//!
//! ```text
//!   Listing::new ──► store.list(space, group, after, limit) ──► take ──► get wanted bodies
//!     ──► resolve: true? ask again ──► answer
//! ```
//!
//! Entries of checked keys are named by what they follow; what they are is in their bodies, which a
//! store may bring along. A listing of one key wants the newest two and no more at first: most
//! reads take the first, and the one below it if that is not decided yet.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use aft_core::ids::Key;
use aft_core::record::VersionEntry;
use aft_core::store::{Answer, Found, FoundRecord, Group, Name, Place, Scan};
use aft_store::{Damage, GroupPage, Heads, ItemPage, Position, ScanPage, Scanned, Space};
use bytes::Bytes;

use crate::body::{decode_body, parse_body};
use crate::fault::Fault;
use crate::name::{
    DAMAGED, blob_group, describe, encode_entry, encode_name, encode_successor, key_group, parse_blob_group,
    parse_item, parse_name,
};

/// Returns the text about a name that cannot be read.
fn unreadable(fault: &Fault, place: &str) -> String {
    match fault.at(&place) {
        aft_store::Error::Damaged(text) => text,
        other => panic!("a fault is damage, not {other}"),
    }
}

/// The entries of a checked key of which the first page of a listing gets the bodies: the newest,
/// and the one below it.
const BODIES_FIRST: usize = 2;
/// The same of a later page, or of a page of a scan.
const BODIES_LATER: usize = 256;

/// The number of times in a row that a page is asked for again, since entries went between their
/// names and their bodies. Each needs a removal at just that moment.
const ROUNDS_MAX: u32 = 16;

/// Entries of checked keys whose bodies are wanted, in order.
#[derive(Debug, Default)]
struct Wanted {
    names: Vec<Name>,
    /// Names that held nothing of account before the page was asked for.
    free: BTreeSet<Name>,
    rounds: u32,
}

/// The entries that the bodies of a page show.
#[derive(Debug, Default)]
struct Resolved {
    found: Vec<(Key, VersionEntry)>,
    /// The first key whose names are not as they were listed: something has gone meanwhile, and
    /// something else may have come that the page does not show.
    changed: Option<Key>,
}

impl Wanted {
    /// Returns the names of the store.
    fn stored(&self) -> Vec<aft_store::Name> {
        self.names.iter().map(encode_name).collect()
    }

    /// Takes the bodies, in the order of the names. `damaged` takes those that cannot be read.
    fn resolve(
        &mut self,
        bodies: Vec<Option<Bytes>>,
        mut damaged: impl FnMut(&Key, aft_store::Error),
    ) -> Resolved {
        let names = std::mem::take(&mut self.names);
        assert_eq!(names.len(), bodies.len(), "every body that is wanted is brought");
        let mut resolved = Resolved::default();
        for (name, body) in names.into_iter().zip(bodies) {
            let Name::Successor(key, _) = &name else { unreachable!("only locks have bodies to bring") };
            match body.map(|body| parse_lock(&name, &body)) {
                Some(Ok(Some(entry))) => resolved.found.push(entry),
                Some(Err(fault)) => damaged(key, fault.at(&describe(&name))),
                // Free before the page was asked for, and free still.
                Some(Ok(None)) if self.free.contains(&name) => {}
                gone => {
                    resolved.changed.get_or_insert_with(|| key.clone());
                    if gone.is_some() {
                        self.free.insert(name);
                    }
                }
            }
        }
        resolved
    }

    /// Counts a page that is asked for again.
    fn again(&mut self, what: impl FnOnce() -> String) -> Result<(), aft_store::Error> {
        self.rounds += 1;
        match self.rounds <= ROUNDS_MAX {
            true => Ok(()),
            false => Err(aft_store::Error::Busy(format!("{}: entries go while they are listed", what()))),
        }
    }
}

/// Parses the entry of a checked key; `None` if it counts as none.
fn parse_lock(name: &Name, body: &Bytes) -> Result<Option<(Key, VersionEntry)>, Fault> {
    let Name::Successor(key, _) = name else {
        unreachable!("only entries of checked keys have bodies to parse")
    };
    let entry = VersionEntry::of_lock(&parse_body(name, body)?);
    Ok(entry.map(|entry| (key.clone(), entry)))
}

/// A listing of one group, from question to answer.
#[derive(Debug)]
pub struct Listing {
    group: Group,
    space: Space,
    at: Bytes,
    after: Option<Bytes>,
    /// The place after which the last page was asked for.
    page_after: Option<Bytes>,
    /// Bodies that a page may want.
    bodies_max: usize,
    names: Vec<Name>,
    wanted: Wanted,
    damaged: Damage,
    more: bool,
}

impl Listing {
    /// Begins a listing.
    ///
    /// # Panics
    /// If `after` is not a name of the group: cursors are names that a listing of the group
    /// returned.
    pub fn new(group: Group, after: Option<&Name>) -> Listing {
        let (space, at) = match &group {
            Group::Versions(key) => (Space::Version, key_group(key)),
            Group::Blobs(group) => (Space::Blob, blob_group(group)),
        };
        let bodies_max = if after.is_some() { BODIES_LATER } else { BODIES_FIRST };
        let after = after.map(|name| {
            let fits = match (&group, name) {
                (Group::Versions(key), Name::Version(of, _)) => key == of,
                (Group::Blobs(group), Name::Blob { group: of, .. }) => group == of,
                (Group::Versions(_) | Group::Blobs(_), _) => false,
            };
            assert!(fits, "cursor {name:?} is not of {group:?}");
            match name {
                Name::Version(key, entry) => encode_name(&entry.name(key)).item,
                name => encode_name(name).item,
            }
        });
        let (names, wanted, damaged) = (Vec::new(), Wanted::default(), Damage::default());
        let page_after = after.clone();
        Listing { group, space, at, after, page_after, bodies_max, names, wanted, damaged, more: false }
    }

    /// Returns the space to list in.
    pub fn space(&self) -> Space {
        self.space
    }

    /// Returns the group to list.
    pub fn group(&self) -> &[u8] {
        &self.at
    }

    /// Returns the item to go on after.
    pub fn after(&self) -> Option<&[u8]> {
        self.after.as_deref()
    }

    /// Takes a page. Returns the names of entries whose bodies [`Listing::resolve`] wants.
    ///
    /// # Panics
    /// If the page does not lie behind the one before.
    pub fn take(&mut self, page: ItemPage) -> Vec<aft_store::Name> {
        let ItemPage { items, mut more, damaged } = page;
        self.page_after.clone_from(&self.after);
        self.damaged.append(damaged);
        assert!(!more || !items.is_empty(), "more never follow after no items");
        for item in items {
            assert!(self.after.as_ref().is_none_or(|after| *after < item), "items come in order");
            match parse_item(&self.group, &item) {
                Ok(Name::Successor(..)) if self.wanted.names.len() == self.bodies_max => {
                    more = true;
                    break;
                }
                Ok(name @ Name::Successor(..)) => self.wanted.names.push(name),
                Ok(name) => self.names.push(name),
                Err(fault) => {
                    self.damaged.add(|| unreadable(&fault, &stored(self.space, &self.at, &item)));
                }
            }
            self.after = Some(item);
        }
        self.more = more;
        self.wanted.stored()
    }

    /// Takes the bodies that a page wants, in order, `None` for what is gone. Returns true if
    /// another page is needed: this one held nothing that can be read, and more follow; or
    /// something of it has gone, so that it must be asked for again.
    ///
    /// # Errors
    /// [`Busy`](aft_store::Error::Busy) if that happens again and again.
    /// [`Damaged`](aft_store::Error::Damaged) if a body cannot be read: nobody knows then what the
    /// key holds.
    ///
    /// # Panics
    /// If there are not as many as are wanted.
    pub fn resolve(&mut self, bodies: Vec<Option<Bytes>>) -> Result<bool, aft_store::Error> {
        let mut first_damage = Ok(());
        let Resolved { mut found, changed } = self.wanted.resolve(bodies, |_, damage| {
            first_damage = std::mem::replace(&mut first_damage, Ok(())).and(Err(damage));
        });
        first_damage?;
        if let Some(key) = changed {
            self.names.clear();
            self.after.clone_from(&self.page_after);
            return self.wanted.again(|| key.to_string()).map(|()| true);
        }
        // A dead entry may follow what is newer than the version of the one below it.
        found.sort_by_key(|(_, entry)| Reverse(entry.txn));
        let is_mixed = !found.is_empty() && !self.names.is_empty();
        self.names.extend(found.into_iter().map(|(key, entry)| Name::Version(key, entry)));
        if is_mixed {
            // A server that was not stopped when the key's level changed wrote it at the old one.
            self.names.sort_by_key(|name| match name {
                Name::Version(_, entry) => Reverse(entry.txn),
                other => unreachable!("a group of versions holds {other:?}"),
            });
        }
        Ok(self.more && self.names.is_empty())
    }

    /// Returns the answer for the core.
    ///
    /// # Panics
    /// If another page is needed.
    pub fn answer(self) -> Answer {
        assert!(!self.more || !self.names.is_empty(), "another page is needed");
        assert!(self.wanted.names.is_empty(), "the bodies that are wanted were brought");
        let damaged = self.damaged.into_texts(self.space.as_str());
        Answer::Listed { names: self.names, damaged, more: self.more }
    }
}

/// A question to a store that a scan asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// No name can be meant: the answer is empty.
    Nothing,
    /// [`Store::scan`](aft_store::Store::scan).
    Names {
        /// The space.
        space: Space,
        /// The prefix of groups.
        prefix: Bytes,
        /// Exclusive.
        after: Option<Position>,
        /// The groups to ask for, by [`Store::scan_heads`](aft_store::Store::scan_heads); `None`
        /// for all.
        heads: Option<Heads>,
    },
    /// [`Store::groups`](aft_store::Store::groups).
    Groups {
        /// The space.
        space: Space,
        /// Exclusive.
        after: Option<Bytes>,
    },
}

/// A scan across groups, from question to answer.
#[derive(Debug)]
pub struct Scanning {
    ask: Ask,
    /// The place after which the last page was asked for.
    page_after: Option<Position>,
    found: Found,
    wanted: Wanted,
    damaged: Damage,
    /// Keys of which the body of an entry cannot be read.
    unread: Vec<Key>,
    /// The groups that the last page shows, if it is limited to heads.
    shown: BTreeSet<Bytes>,
    more: bool,
}

impl Scanning {
    /// Begins a scan.
    ///
    /// # Panics
    /// If a place names an entry of a text that is no key.
    pub fn new(scan: &Scan) -> Scanning {
        let names = |space, prefix: &'static [u8], after| Ask::Names {
            space,
            prefix: Bytes::from_static(prefix),
            after,
            heads: None,
        };
        let (ask, found) = match scan {
            Scan::Versions { prefix, .. } if prefix.len() > Key::BYTES_MAX => {
                (Ask::Nothing, Found::Versions(Vec::new()))
            }
            Scan::Versions { prefix, after, heads } => {
                let prefix = Bytes::copy_from_slice(prefix.as_bytes());
                let after = after.as_ref().and_then(encode_place);
                let heads = heads.as_ref().map(|heads| Heads {
                    delimiter: Bytes::copy_from_slice(heads.delimiter.as_bytes()),
                    each: heads.each as usize,
                });
                (Ask::Names { space: Space::Version, prefix, after, heads }, Found::Versions(Vec::new()))
            }
            Scan::Commits { after } => {
                // A record is the only item of its group.
                let after =
                    after.map(|hash| Position { group: encode_name(&Name::Commit(hash)).group, item: None });
                (names(Space::Commit, b"", after), Found::Commits(Vec::new()))
            }
            Scan::Blobs { after } => {
                let after = after.as_ref().map(blob_group);
                (Ask::Groups { space: Space::Blob, after }, Found::Blobs(Vec::new()))
            }
            Scan::Damaged { after } => {
                let after = after.map(|hash| {
                    let aft_store::Name { group, item, .. } = encode_name(&Name::Damaged(hash));
                    Position { group, item: Some(item) }
                });
                (names(Space::Store, DAMAGED, after), Found::Damaged(Vec::new()))
            }
        };
        let (wanted, damaged) = (Wanted::default(), Damage::default());
        let (unread, shown) = (Vec::new(), BTreeSet::new());
        Scanning { ask, page_after: None, found, wanted, damaged, unread, shown, more: false }
    }

    /// Returns the next question to the store.
    pub fn ask(&self) -> &Ask {
        &self.ask
    }

    /// Takes the answer to [`Ask::Names`]. Returns the names of entries whose bodies
    /// [`Scanning::resolve`] wants.
    ///
    /// # Panics
    /// If something else was asked, or the page does not lie behind the one before.
    pub fn take_names(&mut self, page: ScanPage) -> Vec<aft_store::Name> {
        let Scanning { ask, page_after, found, wanted, damaged, shown, .. } = self;
        let Ask::Names { space, after, heads, .. } = ask else { panic!("names were not asked for") };
        let ScanPage { names, mut more, damaged: met } = page;
        page_after.clone_from(after);
        damaged.append(met);
        assert!(!more || !names.is_empty(), "more never follow after no names");
        for name in names {
            let behind = after.as_ref().is_none_or(|after| after.is_before(&name.group, &name.item));
            assert!(behind, "names come in order");
            let at = Position { group: name.group.clone(), item: Some(name.item.clone()) };
            if wanted.names.len() == BODIES_LATER {
                more = true;
                break;
            }
            if heads.is_some() {
                shown.insert(at.group.clone());
            }
            if let Err(fault) = take_name(*space, name, found, wanted) {
                let item = at.item.as_deref().unwrap_or_default();
                damaged.add(|| unreadable(&fault, &stored(*space, &at.group, item)));
            }
            *after = Some(at);
        }
        self.more = more;
        self.wanted.stored()
    }

    /// Takes the bodies that a page wants, in order, `None` for what is gone. Returns true if
    /// another page is needed: this one held nothing that can be read, and more follow; or
    /// something of it has gone. The page ends before the key of that, and if it is the first, is
    /// asked for again.
    ///
    /// A page of heads is asked for again as a whole page if one of its groups has no entry that
    /// can be read: the store counted that group, and the core would count too few keys.
    ///
    /// # Errors
    /// [`Busy`](aft_store::Error::Busy) if that happens again and again.
    ///
    /// # Panics
    /// If there are not as many as are wanted.
    pub fn resolve(&mut self, bodies: Vec<Option<Bytes>>) -> Result<bool, aft_store::Error> {
        let (damaged, unread) = (&mut self.damaged, &mut self.unread);
        let Resolved { found: resolved, changed } = self.wanted.resolve(bodies, |key, damage| {
            unread.push(key.clone());
            damaged.add(|| match damage {
                aft_store::Error::Damaged(text) => text,
                other => panic!("a body that cannot be read is damage, not {other}"),
            });
        });
        let shown = std::mem::take(&mut self.shown);
        let (Found::Versions(found), Ask::Names { after, heads, .. }) = (&mut self.found, &mut self.ask)
        else {
            assert!(resolved.is_empty() && changed.is_none(), "nothing else has bodies to bring");
            return Ok(self.more && self.is_empty());
        };
        found.extend(resolved);
        if heads.is_some() {
            let keys = found.iter().map(|(key, _)| key).chain(&self.unread);
            let counted: BTreeSet<&[u8]> = keys.map(|key| key.as_str().as_bytes()).collect();
            let changed = changed.as_ref().map(|key| key.as_str().as_bytes());
            // Groups from one that has changed on are cut off below.
            let stays = |group: &&Bytes| changed.is_none_or(|changed| group[..] < *changed);
            if !shown.iter().filter(stays).all(|group| counted.contains(&group[..])) {
                found.clear();
                after.clone_from(&self.page_after);
                *heads = None;
                return Ok(true);
            }
        }
        if let Some(key) = changed {
            found.retain(|(of, _)| *of < key);
            self.more = true;
            match found.iter().map(|(of, _)| of).max() {
                Some(last) => *after = Some(Position { group: key_group(last), item: None }),
                None => {
                    after.clone_from(&self.page_after);
                    self.wanted.again(|| key.to_string())?;
                }
            }
        }
        if found.iter().any(|(_, entry)| entry.follows.is_some()) {
            found.sort_by(|(a, x), (b, y)| (a, Reverse(x.txn)).cmp(&(b, Reverse(y.txn))));
        }
        Ok(self.more && self.is_empty())
    }

    /// Takes the answer to [`Ask::Groups`]; as [`Scanning::take_names`].
    ///
    /// # Panics
    /// If something else was asked, or the page does not lie behind the one before.
    pub fn take_groups(&mut self, page: GroupPage) -> bool {
        let Scanning { ask: Ask::Groups { space, after }, found: Found::Blobs(found), damaged, .. } = self
        else {
            panic!("groups were not asked for");
        };
        let GroupPage { groups, more, damaged: met } = page;
        damaged.append(met);
        assert!(!more || !groups.is_empty(), "more never follow after no groups");
        for group in groups {
            assert!(after.as_ref().is_none_or(|after| *after < group), "groups come in order");
            match parse_blob_group(&group) {
                Ok(group) => found.push(group),
                Err(fault) => damaged
                    .add(|| unreadable(&fault, &format!("{}/{}", space.as_str(), group.escape_ascii()))),
            }
            *after = Some(group);
        }
        self.more = more;
        self.more && self.is_empty()
    }

    fn is_empty(&self) -> bool {
        match &self.found {
            Found::Versions(found) => found.is_empty(),
            Found::Commits(found) => found.is_empty(),
            Found::Blobs(found) => found.is_empty(),
            Found::Damaged(found) => found.is_empty(),
        }
    }

    /// Returns the answer for the core.
    ///
    /// # Panics
    /// If another page is needed.
    pub fn answer(self) -> Answer {
        assert!(!self.more || !self.is_empty(), "another page is needed");
        assert!(self.wanted.names.is_empty(), "the bodies that are wanted were brought");
        let space = match self.ask {
            Ask::Nothing => Space::Version,
            Ask::Names { space, .. } | Ask::Groups { space, .. } => space,
        };
        let damaged = self.damaged.into_texts(space.as_str());
        Answer::Scanned { found: self.found, damaged, unread: self.unread, more: self.more }
    }
}

/// Parses one name, and adds it to what was found, or to what is wanted for that.
fn take_name(space: Space, name: Scanned, found: &mut Found, wanted: &mut Wanted) -> Result<(), Fault> {
    let Scanned { group, item, body, written_ms } = name;
    match (parse_name(space, &group, &item)?, found) {
        (Name::Version(key, entry), Found::Versions(found)) => found.push((key, entry)),
        // A body that the listing brings along is taken with those that are got, as they are.
        (name @ Name::Successor(..), Found::Versions(found)) => {
            match body.map(|body| parse_lock(&name, &body)) {
                Some(Ok(entry)) => found.extend(entry),
                Some(Err(_)) | None => wanted.names.push(name),
            }
        }
        (Name::Commit(hash), Found::Commits(found)) => {
            // A body that cannot be read is left out: the core gets the record, and hears of the
            // damage as of any other.
            let body = body.and_then(|bytes| decode_body(&Name::Commit(hash), &bytes).ok());
            found.push(FoundRecord { hash, body, written_ms });
        }
        (Name::Damaged(hash), Found::Damaged(found)) => found.push(hash),
        (
            Name::Version(..)
            | Name::Successor(..)
            | Name::Commit(_)
            | Name::Damaged(_)
            | Name::Blob { .. }
            | Name::Format
            | Name::Notes,
            _,
        ) => return Err(Fault::Broken("no name of this kind was asked for")),
    }
    Ok(())
}

/// Returns the position of a place; `None` if it lies before every name.
///
/// A text that is longer than every key is cut to the longest key's length. That changes nothing: a
/// key that follows the cut text is not longer than it, so it differs from it at a byte that both
/// have.
fn encode_place(place: &Place) -> Option<Position> {
    let text = place.key.as_bytes();
    if let Some(entry) = &place.entry {
        assert!(!text.is_empty() && text.len() <= Key::BYTES_MAX, "entries lie under keys");
        let item = match &entry.follows {
            Some(before) => encode_successor(before),
            None => encode_entry(entry),
        };
        return Some(Position { group: Bytes::copy_from_slice(text), item: Some(item) });
    }
    let text = &text[..text.len().min(Key::BYTES_MAX)];
    (!text.is_empty()).then(|| Position { group: Bytes::copy_from_slice(text), item: None })
}

fn stored(space: Space, group: &[u8], item: &[u8]) -> String {
    format!("{}/{}/{}", space.as_str(), group.escape_ascii(), item.escape_ascii())
}
