//! The directory that holds the fetched services: `target/services` of the workspace, or the one
//! that `AFT_SERVICES_DIR` names.
//!
//! Not in the target directory that cargo is configured with: services outlive a change of that
//! setting, and another checkout may share them.

use std::path::{Path, PathBuf};

use crate::Service;

/// A directory with one folder per service.
#[derive(Debug, Clone)]
pub struct Home(PathBuf);

impl Home {
    /// Returns the directory that the environment names. A relative `AFT_SERVICES_DIR` starts at
    /// the workspace's root, in every process.
    pub fn from_environment() -> Home {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .expect("tests/services lies two folders below the root");
        match std::env::var_os("AFT_SERVICES_DIR").filter(|named| !named.is_empty()) {
            Some(named) => Home(root.join(named)),
            None => Home(root.join("target/services")),
        }
    }

    /// Returns the directory's path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the folder of `service`.
    pub fn of(&self, service: Service) -> PathBuf {
        self.0.join(service.name())
    }

    /// Returns true if the current version of `service` is there and complete.
    pub(crate) fn has(&self, service: Service) -> bool {
        let (directory, recipe) = (self.of(service), service.recipe());
        let stamp = std::fs::read_to_string(stamp(&directory));
        // `exists` follows links: a cache that was copied to another machine may lack their
        // targets.
        stamp.is_ok_and(|stamp| stamp == recipe.stamp(&directory)) && recipe.program(&directory).exists()
    }
}

/// Returns the path of the stamp, the file that is written last.
pub(crate) fn stamp(directory: &Path) -> PathBuf {
    directory.join("stamp")
}
