//! Makes a service in the home, once: a lock keeps two processes from making it at the same time,
//! and a stamp, which is written last, records what is there. The remains of an attempt that failed
//! are removed.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::{Error, Home, Service, home};

/// The result of [`fetch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// The service was there before.
    Before,
    /// The service was made now, in this time.
    Now(Duration),
}

pub(crate) fn fetch(service: Service, home: &Home, say: &dyn Fn(&str)) -> Result<Fetched, Error> {
    if home.has(service) {
        return Ok(Fetched::Before);
    }
    let make =
        |path: &Path| fs::create_dir_all(path).map_err(Error::io(format!("cannot make {}", path.display())));
    make(home.path())?;
    let lock = home.path().join(format!("{service}.lock"));
    let cannot_lock = || format!("cannot lock {}", lock.display());
    let file = File::create(&lock).map_err(Error::io(cannot_lock()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            say(&format!("{service}: another process fetches it; waiting for that"));
            file.lock().map_err(Error::io(cannot_lock()))?;
        }
        Err(TryLockError::Error(why)) => return Err(Error::io(cannot_lock())(why)),
    }
    // The process that held the lock may have made it.
    if home.has(service) {
        return Ok(Fetched::Before);
    }
    let (directory, recipe) = (home.of(service), service.recipe());
    // Without a valid stamp, the directory holds another version or the remains of a failed
    // attempt.
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .map_err(Error::io(format!("cannot remove {}", directory.display())))?;
    }
    make(&directory)?;
    let start = Instant::now();
    recipe.make(&directory, say)?;
    let stamp = home::stamp(&directory);
    fs::write(&stamp, recipe.stamp(&directory))
        .map_err(Error::io(format!("cannot write {}", stamp.display())))?;
    assert!(
        home.has(service),
        "{service}: made without an error, and yet not whole in {}",
        directory.display()
    );
    Ok(Fetched::Now(start.elapsed()))
}
