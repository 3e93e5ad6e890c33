//! A store's description of itself: the part of `store/format` that the core hands on unchanged.
//!
//! It is made once, when the store is made, and says what the maker found. Nodes compare it with
//! what they find: settings that safety rests on must be the same on all of them.

use std::sync::Arc;

use aft_core::message::Isolation;
use aft_core::record::Format;
use aft_core::settings::Levels;
use aft_core::store::{Body, Name};
use aft_store::Capabilities;
use bytes::Bytes;
use prost::Message;

use crate::body::parse_body;
use crate::fault::Fault;
use crate::name::describe;
use crate::times::Times;
use crate::{FORMAT, messages};

/// The format number of a store whose parts of large values are in another store: a program that
/// does not know of such stores must not open it, since it would look for the parts in the wrong
/// place.
const FORMAT_SPLIT: u8 = FORMAT + 1;

/// A store's description of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The format number of the store: [`FORMAT`] for stores that this program makes, or the next
    /// one for those with [`About::blobs`].
    pub format: u8,
    /// The store's identity: random, so that a copy can be told from another store.
    pub identity: [u8; 16],
    /// The abilities that its adapter stated when the store was made.
    pub abilities: Abilities,
    /// The verdict of the race probe before the store was made.
    pub race: Race,
    /// The program that made the store, with its version.
    pub program: String,
    /// The time when the store was made, in milliseconds since the epoch.
    pub made_ms: u64,
    /// The times that all nodes share; `None` in a store that was made before they were written.
    pub times: Option<Times>,
    /// The levels of the keys, by prefix, where several processes share the store.
    pub levels: Levels,
    /// The place of the parts of large values, if that is another store than this one.
    pub blobs: Option<Blobs>,
}

/// The place of a store's parts of large values, in another store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blobs {
    /// The place, as [`Store::blobs_place`](aft_store::Store::blobs_place) names it.
    pub place: String,
    /// True once the store has claimed the place ([`Claim`](crate::Claim)). The store must not be
    /// used before.
    pub claimed: bool,
}

/// The abilities of a store that every node on it must agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// The store can delete by tag.
    pub delete_if: bool,
    /// One process at a time can write.
    pub exclusive: bool,
    /// A call without an answer takes effect within this time or never, in milliseconds.
    pub grace_ms: u64,
    /// The largest body of one object, in bytes.
    pub body_bytes_max: u64,
    /// The size of a part of a large value, in bytes.
    pub blob_part_bytes: u64,
}

/// The verdict of a race probe. A store that failed it is refused, so that there is no failed
/// verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Race {
    /// Nobody probed the store.
    NotProbed,
    /// One process at a time can write, so nobody can race.
    Exclusive,
    /// Exactly one create won each race.
    Passed {
        /// The number of writers in a race.
        writers: u32,
        /// The number of races.
        rounds: u32,
    },
}

/// The reason why a store's description of itself cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AboutError {
    /// A newer version of this program made or converted the store.
    #[error(
        "store/format: the store has format {found}, of a newer version of this program (this one reads {FORMAT_SPLIT}): \
         upgrade this node"
    )]
    Newer {
        /// The store's format number.
        found: u32,
    },
    /// The bytes are not what this program writes.
    #[error(
        "store/format: the store's description of itself is damaged ({0}): restore the object from a backup, or read \
         the store's keys and write them to a new prefix"
    )]
    Broken(&'static str),
}

impl About {
    /// Returns the description of a new store.
    pub fn new(
        identity: [u8; 16],
        capabilities: &Capabilities,
        race: Race,
        program: &str,
        made_ms: u64,
        times: Times,
    ) -> About {
        let abilities = Abilities::of(capabilities);
        let exclusive = race == Race::Exclusive;
        assert!(!exclusive || abilities.exclusive, "a store that many processes write is raced for");
        let (program, times) = (program.to_owned(), Some(times));
        let levels = Levels::default();
        About { format: FORMAT, identity, abilities, race, program, made_ms, times, levels, blobs: None }
    }

    /// Returns the description of the same store with its parts of large values in another one.
    pub fn with_blobs(self, blobs: Blobs) -> About {
        About { format: FORMAT_SPLIT, blobs: Some(blobs), ..self }
    }

    /// Returns the bytes for [`Format::about`].
    pub fn encode(&self) -> Bytes {
        let Abilities { delete_if, exclusive, grace_ms, body_bytes_max, blob_part_bytes } = self.abilities;
        let (verdict, writers, rounds) = match self.race {
            Race::NotProbed => (messages::Verdict::NotProbed, 0, 0),
            Race::Exclusive => (messages::Verdict::Exclusive, 0, 0),
            Race::Passed { writers, rounds } => (messages::Verdict::Passed, writers, rounds),
        };
        let about = messages::About {
            format: self.format.into(),
            identity: Bytes::copy_from_slice(&self.identity),
            abilities: Some(messages::Abilities {
                delete_if,
                exclusive,
                grace_ms,
                body_bytes_max,
                blob_part_bytes,
            }),
            race: Some(messages::Race { verdict: verdict.into(), writers, rounds }),
            program: self.program.clone(),
            made_ms: self.made_ms,
            times: self.times.map(Times::to_message),
            levels: self.levels.iter().map(encode_level).collect(),
            blobs: self
                .blobs
                .as_ref()
                .map(|Blobs { place, claimed }| messages::Blobs { place: place.clone(), claimed: *claimed }),
        };
        assert_eq!(self.blobs.is_some(), self.format == FORMAT_SPLIT, "only a split store has that format");
        about.encode_to_vec().into()
    }

    /// Reads the bytes of [`Format::about`].
    ///
    /// # Errors
    /// [`AboutError`] if they are damaged or of a newer format; the text names the remedy.
    pub fn decode(bytes: &Bytes) -> Result<About, AboutError> {
        let about = messages::About::decode(bytes.clone())
            .map_err(|_| AboutError::Broken("the bytes are no message of this format"))?;
        // The number comes first: all else may mean something different in a newer format.
        let format = match u8::try_from(about.format) {
            Ok(0 | 1) => return Err(AboutError::Broken("the format number is none of this program's")),
            Ok(format) if format <= FORMAT_SPLIT => format,
            Ok(_) | Err(_) => return Err(AboutError::Newer { found: about.format }),
        };
        let identity = about.identity[..].try_into();
        let identity = identity.map_err(|_| AboutError::Broken("the identity is of the wrong length"))?;
        let abilities = about.abilities.ok_or(AboutError::Broken("the abilities are missing"))?;
        let race = about.race.ok_or(AboutError::Broken("the verdict of the race probe is missing"))?;
        let (writers, rounds) = (race.writers, race.rounds);
        let race = match race.verdict() {
            messages::Verdict::None => return Err(AboutError::Broken("unknown verdict of the race probe")),
            messages::Verdict::NotProbed => Race::NotProbed,
            messages::Verdict::Exclusive => Race::Exclusive,
            messages::Verdict::Passed => Race::Passed { writers, rounds },
        };
        let messages::Abilities { delete_if, exclusive, grace_ms, body_bytes_max, blob_part_bytes } =
            abilities;
        let abilities = Abilities { delete_if, exclusive, grace_ms, body_bytes_max, blob_part_bytes };
        let times = about.times.as_ref().map(Times::of_message);
        let levels = decode_levels(&about.levels)?;
        let messages::About { program, made_ms, blobs, .. } = about;
        let blobs = match (blobs, format) {
            (Some(messages::Blobs { place, claimed }), FORMAT_SPLIT) => Some(Blobs { place, claimed }),
            (None, FORMAT) => None,
            (Some(_), _) => return Err(AboutError::Broken("a place of large values in the wrong format")),
            (None, _) => return Err(AboutError::Broken("the place of large values is missing")),
        };
        Ok(About { format, identity, abilities, race, program, made_ms, times, levels, blobs })
    }

    /// Returns the mark of a store that is made now.
    pub fn to_format(&self) -> Format {
        Format::new(self.encode())
    }

    /// Returns a sentence for each ability in which the store differs from the one that was made:
    /// what changed, and what follows. Empty where all is as it was.
    pub fn differences(&self, now: &Capabilities) -> Vec<String> {
        let (then, now) = (self.abilities, Abilities::of(now));
        let mut found = Vec::new();
        let mut differ = |what: &str, then: &dyn std::fmt::Display, now: &dyn std::fmt::Display| {
            found.push(format!(
                "{what} was {then} when the store was made and is {now} now: run all nodes with the same program and \
                 options"
            ));
        };
        if then.delete_if != now.delete_if {
            differ("deletion by tag", &then.delete_if, &now.delete_if);
        }
        if then.exclusive != now.exclusive {
            differ("exclusive use", &then.exclusive, &now.exclusive);
        }
        if then.grace_ms != now.grace_ms {
            differ("the grace of late calls (ms)", &then.grace_ms, &now.grace_ms);
        }
        if then.body_bytes_max != now.body_bytes_max {
            differ("the largest body (bytes)", &then.body_bytes_max, &now.body_bytes_max);
        }
        // A large value's place holds the size of its parts, so another size for new ones harms
        // nobody.
        found
    }
}

fn encode_level((prefix, level): (&str, Isolation)) -> messages::Level {
    let isolation = match level {
        Isolation::ReadAtomic => messages::Isolation::ReadAtomic,
        Isolation::Serializable => messages::Isolation::Serializable,
    };
    messages::Level { prefix: prefix.to_owned(), isolation: isolation.into() }
}

fn decode_levels(from: &[messages::Level]) -> Result<Levels, AboutError> {
    if !from.is_sorted_by(|a, b| a.prefix < b.prefix) {
        return Err(AboutError::Broken("the levels are out of order"));
    }
    let mut levels = Levels::default();
    for level in from {
        let isolation = match level.isolation() {
            messages::Isolation::None => return Err(AboutError::Broken("unknown level of a prefix")),
            messages::Isolation::ReadAtomic => Isolation::ReadAtomic,
            messages::Isolation::Serializable => Isolation::Serializable,
        };
        levels.set(level.prefix.clone(), isolation);
    }
    Ok(levels)
}

impl Abilities {
    /// Returns the abilities that an adapter states.
    pub fn of(capabilities: &Capabilities) -> Abilities {
        Abilities {
            delete_if: capabilities.delete_if,
            exclusive: capabilities.exclusive,
            grace_ms: capabilities.grace_ms,
            body_bytes_max: capabilities.body_bytes_max as u64,
            blob_part_bytes: capabilities.blob_part_bytes as u64,
        }
    }
}

/// The object `store/format` as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormatFound {
    /// It is not there: [`Looking`](crate::Looking) says whether a store may be made.
    Missing,
    /// It can be read.
    Readable(Arc<Format>, Box<About>),
    /// It is damaged: reading and committing go on, sweeps and verdicts that need the mark do not.
    /// The text names the remedy.
    Damaged(String),
    /// Another version of this program wrote it, and the store cannot be used. The text names the
    /// remedy.
    Refused(String),
}

/// Reads the body of `store/format`.
pub fn read_format(body: Option<&Bytes>) -> FormatFound {
    let Some(body) = body else { return FormatFound::Missing };
    let format = match parse_body(&Name::Format, body) {
        Ok(Body::Format(format)) => format,
        Ok(other) => panic!("store/format was read as {other:?}"),
        Err(fault) => {
            let aft_store::Error::Damaged(text) = fault.at(&describe(&Name::Format)) else {
                panic!("a fault is damage")
            };
            return match fault {
                Fault::Broken(_) => FormatFound::Damaged(format!(
                    "{text}: restore the object from a backup, or read the store's keys and write them to a new prefix"
                )),
                Fault::First | Fault::Newer { .. } => FormatFound::Refused(text),
            };
        }
    };
    match About::decode(&format.about) {
        Ok(about) => FormatFound::Readable(format, Box::new(about)),
        Err(error @ AboutError::Newer { .. }) => FormatFound::Refused(error.to_string()),
        Err(error @ AboutError::Broken(_)) => FormatFound::Damaged(error.to_string()),
    }
}
