//! Pages of names: questions of the core to those of a store, and answers back.
//!
//! A name that cannot be read holds up nothing but itself (protocol, section 11): it becomes a text
//! beside the readable names of its page. An answer of the core never says that more follow without
//! a name to go on from. So a driver goes on by itself, after the last *stored* name, over pages
//! that hold damaged names only:
//!
//! ```text
//!   Listing::new ──► store.list(space, group, after, limit) ──► take: true? ask again ──► answer
//! ```

use aft_core::ids::Key;
use aft_core::store::{Answer, Found, FoundRecord, Group, Name, Place, Scan};
use aft_store::{Damage, GroupPage, ItemPage, Position, ScanPage, Scanned, Space};
use bytes::Bytes;

use crate::body::decode_body;
use crate::fault::Fault;
use crate::name::{
    DAMAGED, blob_group, encode_entry, encode_name, key_group, parse_blob_group, parse_item, parse_name,
};

/// Returns the text about a name that cannot be read.
fn unreadable(fault: &Fault, place: &str) -> String {
    match fault.at(&place) {
        aft_store::Error::Damaged(text) => text,
        other => panic!("a fault is damage, not {other}"),
    }
}

/// A listing of one group, from question to answer.
#[derive(Debug)]
pub struct Listing {
    group: Group,
    space: Space,
    at: Bytes,
    after: Option<Bytes>,
    names: Vec<Name>,
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
        let after = after.map(|name| {
            let fits = match (&group, name) {
                (Group::Versions(key), Name::Version(of, _)) => key == of,
                (Group::Blobs(group), Name::Blob { group: of, .. }) => group == of,
                (Group::Versions(_) | Group::Blobs(_), _) => false,
            };
            assert!(fits, "cursor {name:?} is not of {group:?}");
            encode_name(name).item
        });
        Listing { group, space, at, after, names: Vec::new(), damaged: Damage::default(), more: false }
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

    /// Takes a page. Returns true if another one is needed: this one held damaged names only, and
    /// more follow.
    ///
    /// # Panics
    /// If the page does not lie behind the one before.
    pub fn take(&mut self, page: ItemPage) -> bool {
        let ItemPage { items, more, damaged } = page;
        self.damaged.append(damaged);
        assert!(!more || !items.is_empty(), "more never follow after no items");
        for item in items {
            assert!(self.after.as_ref().is_none_or(|after| *after < item), "items come in order");
            match parse_item(&self.group, &item) {
                Ok(name) => self.names.push(name),
                Err(fault) => {
                    self.damaged.add(|| unreadable(&fault, &stored(self.space, &self.at, &item)));
                }
            }
            self.after = Some(item);
        }
        self.more = more;
        self.more && self.names.is_empty()
    }

    /// Returns the answer for the core.
    ///
    /// # Panics
    /// If another page is needed.
    pub fn answer(self) -> Answer {
        assert!(!self.more || !self.names.is_empty(), "another page is needed");
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
    found: Found,
    damaged: Damage,
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
        };
        let (ask, found) = match scan {
            Scan::Versions { prefix, .. } if prefix.len() > Key::BYTES_MAX => {
                (Ask::Nothing, Found::Versions(Vec::new()))
            }
            Scan::Versions { prefix, after } => {
                let prefix = Bytes::copy_from_slice(prefix.as_bytes());
                let after = after.as_ref().and_then(encode_place);
                (Ask::Names { space: Space::Version, prefix, after }, Found::Versions(Vec::new()))
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
        Scanning { ask, found, damaged: Damage::default(), more: false }
    }

    /// Returns the next question to the store.
    pub fn ask(&self) -> &Ask {
        &self.ask
    }

    /// Takes the answer to [`Ask::Names`]. Returns true if another page is needed: this one held
    /// damaged names only, and more follow.
    ///
    /// # Panics
    /// If something else was asked, or the page does not lie behind the one before.
    pub fn take_names(&mut self, page: ScanPage) -> bool {
        let Scanning { ask: Ask::Names { space, after, .. }, found, damaged, .. } = self else {
            panic!("names were not asked for");
        };
        let ScanPage { names, more, damaged: met } = page;
        damaged.append(met);
        assert!(!more || !names.is_empty(), "more never follow after no names");
        for name in names {
            let behind = after.as_ref().is_none_or(|after| after.is_before(&name.group, &name.item));
            assert!(behind, "names come in order");
            let at = Position { group: name.group.clone(), item: Some(name.item.clone()) };
            if let Err(fault) = take_name(*space, name, found) {
                let item = at.item.as_deref().unwrap_or_default();
                damaged.add(|| unreadable(&fault, &stored(*space, &at.group, item)));
            }
            *after = Some(at);
        }
        self.end_page(more)
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
        self.end_page(more)
    }

    fn end_page(&mut self, more: bool) -> bool {
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
        let space = match self.ask {
            Ask::Nothing => Space::Version,
            Ask::Names { space, .. } | Ask::Groups { space, .. } => space,
        };
        let damaged = self.damaged.into_texts(space.as_str());
        Answer::Scanned { found: self.found, damaged, more: self.more }
    }
}

/// Parses one name, and adds it to what was found.
fn take_name(space: Space, name: Scanned, found: &mut Found) -> Result<(), Fault> {
    let Scanned { group, item, body, written_ms } = name;
    match (parse_name(space, &group, &item)?, found) {
        (Name::Version(key, entry), Found::Versions(found)) => found.push((key, entry)),
        (Name::Commit(hash), Found::Commits(found)) => {
            // A body that cannot be read is left out: the core gets the record, and hears of the
            // damage as of any other.
            let body = body.and_then(|bytes| decode_body(&Name::Commit(hash), &bytes).ok());
            found.push(FoundRecord { hash, body, written_ms });
        }
        (Name::Damaged(hash), Found::Damaged(found)) => found.push(hash),
        (
            Name::Version(..)
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
        return Some(Position { group: Bytes::copy_from_slice(text), item: Some(encode_entry(entry)) });
    }
    let text = &text[..text.len().min(Key::BYTES_MAX)];
    (!text.is_empty()).then(|| Position { group: Bytes::copy_from_slice(text), item: None })
}

fn stored(space: Space, group: &[u8], item: &[u8]) -> String {
    format!("{}/{}/{}", space.as_str(), group.escape_ascii(), item.escape_ascii())
}
