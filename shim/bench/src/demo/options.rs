//! What the demo is told.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use aft_store::Store;
use futures::future::BoxFuture;

/// Opens the store of a URL: the binary names concrete stores, this crate does not.
#[derive(Clone)]
pub struct OpenStore(pub Arc<dyn Fn(String) -> Opening + Send + Sync>);

/// A store that is being opened; a failure is a text for people.
pub type Opening = BoxFuture<'static, Result<Arc<dyn Store>, String>>;

impl fmt::Debug for OpenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenStore")
    }
}

/// Everything that the demo is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Transfers in each of the two runs.
    pub requests: u64,
    /// Chooses accounts, amounts and fates. `None`: a fresh one, which the outcome names.
    pub seed: Option<u64>,
    /// The kind of store, as a URL. `None`: `local:` in a temporary directory that goes with the demo. In a `local:DIR` the two runs use a
    /// directory each.
    pub store: Option<String>,
    /// Where the HTML report goes. `None`: `aft-demo-SEED.html` in the system's directory for temporary files.
    pub report: Option<PathBuf>,
    /// The binary `aft`, started as `aft serve …` and as `aft demo-function ORDER`. `None`: the running program.
    pub program: Option<PathBuf>,
    /// Opens the store for the direct run.
    pub open: Option<OpenStore>,
}

impl Default for Options {
    fn default() -> Options {
        Options { requests: 600, seed: None, store: None, report: None, program: None, open: None }
    }
}
