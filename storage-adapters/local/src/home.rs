//! The names in the store's directory. [`aft_disk::Home`] has those of its own files.
//!
//! ```text
//! AFT-STORE   "AFT-STORE 1"; written when all the rest is complete
//! tree/       the LSM tree and its journals
//! bodies/     bodies too large for the tree, a file each
//! ```

use std::path::Path;

use aft_disk::{Home, Layout, OpenError};

/// The directory of the LSM tree.
pub(crate) const TREE: &str = "tree";
/// The directory of bodies that are too large for the tree.
pub(crate) const BODIES: &str = "bodies";

const LAYOUT: Layout = Layout { name: "AFT-STORE", version: 1, parts: &[TREE, BODIES] };

/// Locks the directory, and makes it if it does not exist. In a new one, makes the directory of
/// bodies; the tree is made when it is opened.
pub(crate) fn take(dir: &Path) -> Result<Home, OpenError> {
    let home = Home::take(dir, LAYOUT)?;
    if home.is_new() {
        let bodies = home.part(BODIES);
        std::fs::create_dir(&bodies).map_err(OpenError::io("cannot make", &bodies))?;
    }
    Ok(home)
}
