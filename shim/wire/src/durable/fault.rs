//! Why bytes do not parse, before it is known where they stood.

use std::fmt::Display;

/// What is wrong with some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// They are not what this project writes, or no longer.
    Broken(&'static str),
    /// Their format version is newer than this program's.
    Newer {
        /// The version that they carry.
        found: u8,
        /// The newest that this program reads.
        known: u8,
    },
}

impl Fault {
    /// The error for callers: it names the object.
    pub(crate) fn at(&self, place: &impl Display) -> aft_store::Error {
        aft_store::Error::Damaged(match self {
            Fault::Broken(what) => format!("{place}: {what}"),
            Fault::Newer { found, known } => format!(
                "{place}: written by a newer version of this program (format {found}; this one reads up to {known}): upgrade this node"
            ),
        })
    }
}

/// Checks a leading format version byte.
pub(crate) fn check_format(found: u8, known: u8) -> Result<(), Fault> {
    match found {
        0 => Err(Fault::Broken("format version 0, which never was")),
        found if found > known => Err(Fault::Newer { found, known }),
        _ => Ok(()),
    }
}
