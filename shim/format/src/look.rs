//! The contents of a store that has no `store/format` (protocol, section 14).
//!
//! A new store is made only where nothing of this project lies: neither data of the first version,
//! which this program does not read, nor data of this version whose mark was lost. A mark that
//! began again would be wrong: a version entry that a sweep removed would count as not put yet.

use aft_store::{Damage, Error, Position, Scanned, Space, Store};
use bytes::Bytes;

use crate::FORMAT;
use crate::claim::Claim;
use crate::fault::Fault;
use crate::frame::check_first_byte;
use crate::name::{decode_name, describe};

/// Names asked for in one page. All but leftovers of probes decide at once.
const PAGE_LEN: usize = 100;
/// The race probe's names begin so. One that was killed leaves some behind.
const PROBE_PREFIX: &[u8] = b"aft-probe-";

/// The contents of a store that has no `store/format`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holds {
    /// Nothing of this project: a new store may be made here.
    Nothing,
    /// Data of the first version.
    First {
        /// An object that says so.
        example: String,
    },
    /// Data of a newer version.
    Newer {
        /// An object that says so.
        example: String,
        /// Its format number.
        found: u8,
    },
    /// The claim of another store, whose parts of large values lie here.
    Claimed {
        /// The URL of that store, without secrets; `None` if the claim cannot be read.
        store: Option<String>,
    },
    /// Data of this version, or names that no version writes: the mark is lost. Reading and
    /// committing go on; sweeps and verdicts that need the mark do not. If another node is making
    /// the store at this moment, its `store/format` is found when it is read once more.
    Unmarked {
        /// An object that says so.
        example: String,
    },
}

impl Holds {
    /// Returns a text that says why the store cannot be used, and what to do; `None` where it can.
    pub fn refusal(&self) -> Option<String> {
        match self {
            Holds::Nothing | Holds::Unmarked { .. } => None,
            Holds::Claimed { store } => {
                let store = store.as_deref().unwrap_or("a store that its claim (store/claim) does not name");
                Some(format!(
                    "this place holds the large values of another store, {store}, so no store can be made here: choose \
                     another prefix"
                ))
            }
            Holds::First { example } => Some(format!(
                "the store was written by the first version of this program ({example}), whose stores this one does \
                 not read: open it with the program that wrote it, read its keys, and write them to a new prefix"
            )),
            Holds::Newer { example, found } => Some(format!(
                "the store was written by a newer version of this program ({example} has format {found}; this one \
                 reads {FORMAT}): upgrade this node"
            )),
        }
    }

    /// Returns a text about a store that can be used in part only, with what to do.
    pub fn warning(&self) -> Option<String> {
        match self {
            Holds::Unmarked { example } => Some(format!(
                "the store holds data ({example}) and no store/format: nothing is collected, and reads that need the \
                 mark fail; restore store/format from a backup, or read the store's keys and write them to a new prefix"
            )),
            Holds::Nothing | Holds::First { .. } | Holds::Newer { .. } | Holds::Claimed { .. } => None,
        }
    }

    /// Returns the rank by which one finding outweighs another: a store of two versions is refused.
    fn rank(&self) -> u8 {
        match self {
            Holds::Nothing => 0,
            Holds::Unmarked { .. } => 1,
            Holds::Newer { .. } => 2,
            Holds::First { .. } => 3,
            Holds::Claimed { .. } => 4,
        }
    }
}

/// The spaces that a look goes through, in order.
const SPACES: [Space; 8] = [
    // The first version alone writes to these, but for what members say of themselves.
    Space::Intent,
    Space::Collect,
    Space::Marker,
    Space::Node,
    // Both versions write to these.
    Space::Version,
    Space::Blob,
    Space::Commit,
    // This version alone.
    Space::Store,
];

/// A look at the contents of a store whose `store/format` is missing: one scan of one page in each
/// space, and at most one get. It goes on call by call, so that a call that fails is repeated by
/// itself.
#[derive(Debug, Clone)]
pub struct Looking {
    /// The space that is looked at, as an index of [`SPACES`].
    at: usize,
    /// The last leftover of a probe in it.
    after: Option<Position>,
    /// Objects in it whose names cannot be read.
    damaged: Damage,
    /// A record whose first byte says which version wrote it, or the claim of another store.
    record: Option<aft_store::Name>,
    holds: Holds,
}

/// The outcome of one call of a look.
#[derive(Debug)]
pub enum Looked {
    /// It was not the last one.
    More(Looking),
    /// The contents.
    All(Holds),
}

impl Looking {
    /// Begins a look.
    #[expect(clippy::new_without_default, reason = "a look that has not begun is no value of its own")]
    pub fn new() -> Looking {
        let holds = Holds::Nothing;
        Looking { at: 0, after: None, damaged: Damage::default(), record: None, holds }
    }

    /// Makes the next call.
    ///
    /// # Errors
    /// The store's own, if the call fails.
    pub async fn go_on(&self, store: &dyn Store) -> Result<Looked, Error> {
        let mut next = self.clone();
        if let Some(name) = next.record.take() {
            let body = store.get(&name).await?.map(|(body, _)| body);
            return Ok(next.end_space(judge(&name, body.as_ref())));
        }
        let space = SPACES[self.at];
        let page = store.scan(space, b"", self.after.as_ref(), PAGE_LEN).await?;
        next.damaged.append(page.damaged);
        let is_leftover = |name: &Scanned| name.group.starts_with(PROBE_PREFIX);
        if let Some(Scanned { group, item, .. }) = page.names.iter().find(|name| !is_leftover(name)) {
            let name = aft_store::Name::new(space, group.clone(), item.clone());
            if space == Space::Commit || name == Claim::name() {
                // A record's name is the same in every version. Its first byte is not. A claim
                // names the store that wrote it.
                next.record = Some(name);
                return Ok(Looked::More(next));
            }
            return Ok(next.end_space(judge(&name, None)));
        }
        if let Some(Scanned { group, item, .. }) = page.names.into_iter().last().filter(|_| page.more) {
            next.after = Some(Position { group, item: Some(item) });
            return Ok(Looked::More(next));
        }
        // What is no name at all counts where there is no name.
        let example = next.damaged.first().map(str::to_owned);
        Ok(next.end_space(example.map_or(Holds::Nothing, |example| Holds::Unmarked { example })))
    }

    /// Goes to the next space, unless nothing there could change the contents.
    fn end_space(mut self, found: Holds) -> Looked {
        if found.rank() > self.holds.rank() {
            self.holds = found;
        }
        self.at += 1;
        (self.after, self.damaged) = (None, Damage::default());
        let is_over = self.at == SPACES.len() || matches!(self.holds, Holds::First { .. });
        if is_over { Looked::All(self.holds) } else { Looked::More(self) }
    }
}

/// Returns the version of the program that wrote an object, by its name and, for a record, its
/// body.
fn judge(name: &aft_store::Name, body: Option<&Bytes>) -> Holds {
    let item_byte = name.item.first().copied();
    let by_format = |outcome: Result<(), Fault>| match outcome {
        Err(Fault::First) => Holds::First { example: name.to_string() },
        Err(Fault::Newer { found }) => Holds::Newer { example: name.to_string(), found },
        Ok(()) | Err(Fault::Broken(_)) => {
            let example = decode_name(name).map_or_else(|_| name.to_string(), |name| describe(&name));
            Holds::Unmarked { example }
        }
    };
    match name.space {
        Space::Intent | Space::Collect | Space::Marker => Holds::First { example: name.to_string() },
        Space::Version | Space::Blob => by_format(item_byte.map_or(Ok(()), crate::fault::check_format)),
        Space::Commit => {
            by_format(body.and_then(|body| body.first().copied()).map_or(Ok(()), check_first_byte))
        }
        // The first version keeps two times here; members write beside them.
        Space::Node if name.group == b"entered"[..] || name.group == b"horizon"[..] => {
            Holds::First { example: name.to_string() }
        }
        Space::Node | Space::Lease => Holds::Nothing,
        Space::Store if *name == Claim::name() => {
            let claim = body.and_then(|body| Claim::decode(body).ok());
            Holds::Claimed { store: claim.map(|claim| claim.store) }
        }
        Space::Store => by_format(Ok(())),
    }
}
