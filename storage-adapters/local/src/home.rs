//! The names in the store's directory. [`aft_disk::Home`] has those of its own files.
//!
//! ```text
//! AFT-STORE   "AFT-STORE 1"; written when all the rest is complete
//! tree/       the LSM tree and its journals
//! bodies/     bodies too large for the tree, a file each
//! PROBE       only while the store tries whether there is room again
//! ```
//!
//! The parts are made so that only their owner can enter them. The tree makes its files as the
//! process's umask says.

use std::path::Path;

use aft_disk::{Home, Layout, OpenError, make_private_dir};

/// The directory of the LSM tree.
pub(crate) const TREE: &str = "tree";
/// The directory of bodies that are too large for the tree.
pub(crate) const BODIES: &str = "bodies";

const LAYOUT: Layout = Layout { name: "AFT-STORE", version: 1, parts: &[TREE, BODIES] };

/// Locks the directory, and makes it if it does not exist. In a new one, makes the directories of
/// the parts; the tree is made in its own when it is opened.
pub(crate) fn take(dir: &Path) -> Result<Home, OpenError> {
    let home = Home::take(dir, LAYOUT)?;
    if home.is_new() {
        for part in [TREE, BODIES].map(|part| home.part(part)) {
            make_private_dir(&part).map_err(OpenError::io("cannot make", &part))?;
        }
    }
    Ok(home)
}
