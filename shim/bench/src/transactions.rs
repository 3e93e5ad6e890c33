//! The transactions that some stores have of their own, which the benchmark compares the shim with.

use aft_store::{Name, Result};
use async_trait::async_trait;
use bytes::Bytes;

/// A store's own transactions over plain names.
///
/// They are apart from [`Store`](aft_store::Store), since the shim does not use them and most
/// stores have none. A program that names concrete stores implements this trait for those that
/// have them.
#[async_trait]
pub trait Transactions: Send + Sync + std::fmt::Debug + 'static {
    /// Returns the bodies under `names` as of one moment, in the order of `names`. No name may
    /// occur twice.
    ///
    /// # Errors
    /// Returns [`Error::Busy`](aft_store::Error::Busy) if another transaction conflicted with this
    /// one: retry it after a delay. Otherwise returns the errors of
    /// [`Store::get`](aft_store::Store::get).
    async fn transact_get(&self, names: &[Name]) -> Result<Vec<Option<Bytes>>>;

    /// Writes all of `bodies` at one moment, or none of them. No name may occur twice.
    ///
    /// # Errors
    /// Returns [`Error::Busy`](aft_store::Error::Busy) if another transaction conflicted with this
    /// one: nothing was written, so retry it after a delay. Otherwise returns the errors of
    /// [`Store::put`](aft_store::Store::put).
    async fn transact_put(&self, bodies: Vec<(Name, Bytes)>) -> Result<()>;
}
