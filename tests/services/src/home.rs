//! Where the fetched services are kept: `target/services` of the workspace, or what `AFT_SERVICES_DIR` names.
//!
//! Not the target directory that cargo was told: services outlive a change of that, and another checkout may share them.

use std::path::{Path, PathBuf};

use crate::Service;

/// A directory with one folder a service.
#[derive(Debug, Clone)]
pub struct Home(PathBuf);

impl Home {
    /// The one that the environment names. A relative `AFT_SERVICES_DIR` starts at the workspace's root, whoever reads it.
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

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// One service's folder.
    pub fn of(&self, service: Service) -> PathBuf {
        self.0.join(service.name())
    }

    /// Whether this very version of a service is there, whole.
    pub(crate) fn has(&self, service: Service) -> bool {
        let (directory, recipe) = (self.of(service), service.recipe());
        let stamp = std::fs::read_to_string(stamp(&directory));
        // The program's path follows links: a cache that was carried to another machine may have lost what it points to.
        stamp.is_ok_and(|stamp| stamp == recipe.stamp(&directory)) && recipe.program(&directory).exists()
    }
}

/// The file that is written last.
pub(crate) fn stamp(directory: &Path) -> PathBuf {
    directory.join("stamp")
}
