//! The settings of the demo.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use aft_store::Store;
use futures::future::BoxFuture;

/// A function that opens the store at a URL. The binary provides it, because this crate names no
/// concrete stores.
#[derive(Clone)]
pub struct OpenStore(pub Arc<dyn Fn(String) -> Opening + Send + Sync>);

/// A store that is being opened; the error is a message for people.
pub type Opening = BoxFuture<'static, Result<Arc<dyn Store>, String>>;

impl fmt::Debug for OpenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenStore")
    }
}

/// The settings of the demo.
#[derive(Debug, Clone)]
pub struct Options {
    /// The number of transfers in each of the first two runs.
    pub requests: u64,
    /// The seed that draws accounts, amounts and fates. `None`: a random one, which the outcome
    /// reports.
    pub seed: Option<u64>,
    /// The URL of the store. `None`: a `local:` store in a temporary directory, which is removed at
    /// the end. In a `local:DIR` each run uses a directory of its own.
    pub store: Option<String>,
    /// The path of the HTML report. `None`: `aft-demo-SEED.html` in the system's directory for
    /// temporary files.
    pub report: Option<PathBuf>,
    /// The path of the `aft` binary, started as `aft serve …` and as `aft demo-function ORDER`.
    /// `None`: the running program.
    pub program: Option<PathBuf>,
    /// Opens the store of the direct run, and afterwards the balances' store in order to remove it.
    /// It must be set.
    pub open: Option<OpenStore>,
}

impl Default for Options {
    fn default() -> Options {
        Options { requests: 600, seed: None, store: None, report: None, program: None, open: None }
    }
}
