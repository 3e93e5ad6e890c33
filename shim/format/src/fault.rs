//! Reasons why bytes do not parse, before it is known where they lay.

use std::fmt::Display;

use crate::FORMAT;

/// A fault of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// They are not what this project writes, or no longer.
    Broken(&'static str),
    /// The first version of this program wrote them.
    First,
    /// Their format number is greater than this program's.
    Newer {
        /// The number that they carry.
        found: u8,
    },
}

impl Fault {
    /// Returns the error for callers; it names the object.
    pub(crate) fn at(&self, place: &impl Display) -> aft_store::Error {
        aft_store::Error::Damaged(match self {
            Fault::Broken(what) => format!("{place}: {what}"),
            Fault::First => format!(
                "{place}: written by the first version of this program, whose stores this one does not read: \
                 open the store with the program that wrote it, read its keys, and write them to a new prefix"
            ),
            Fault::Newer { found } => format!(
                "{place}: written by a newer version of this program (format {found}; this one reads {FORMAT}): \
                 upgrade this node"
            ),
        })
    }
}

/// Checks a format number.
pub(crate) fn check_format(found: u8) -> Result<(), Fault> {
    match found {
        0 => Err(Fault::Broken("format 0, which never was")),
        1 => Err(Fault::First),
        _ if found > FORMAT => Err(Fault::Newer { found }),
        _ => Ok(()),
    }
}
