//! The open files of the process: how many it may have, and how many of them connections may take.
//!
//! A store that cannot open a file fails, and so do the connections that are there already. So the
//! limit is raised as far as the system allows, and a part of it is kept for the store.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::Failed;

/// The open files that are kept for the store and the process itself: the files of an embedded
/// store (900 by default), or the connections to a shared one (256 to S3 at most).
const KEPT: usize = 1_024;
/// The open files of an embedded store that are not in its tree's cache: journals, files that are
/// being written, and the process's own.
const BESIDE_TREE: usize = 64;
/// The fewest open files with which a server starts.
const LEAST: usize = 64;

/// The open files of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// The open files that connections may take.
    pub(crate) for_connections: usize,
    /// The open files that are kept for the store and the process itself.
    pub(crate) kept: usize,
}

impl Descriptors {
    /// Divides a limit of open files; `None` means that there is no limit.
    ///
    /// # Errors
    /// Returns an error if the limit is too small for a server.
    fn of(limit: Option<u64>) -> Result<Descriptors, Failed> {
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        if limit < LEAST {
            return Err(format!(
                "this process may open only {limit} files (ulimit -n), and a server needs {LEAST}: raise the limit"
            ));
        }
        // With a small limit, half of it is for connections.
        let kept = KEPT.min(limit / 2);
        Ok(Descriptors { for_connections: limit - kept, kept })
    }

    /// Raises the process's limit as far as it may, and divides it.
    ///
    /// # Errors
    /// Returns an error if the limit is too small for a server.
    pub(crate) fn raise() -> Result<Descriptors, Failed> {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: maximum, maximum };
        if current == maximum {
            return Descriptors::of(current);
        }
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => {
                info!(from = current, to = maximum, "the limit of open files is raised");
                Descriptors::of(maximum)
            }
            Err(why) => {
                warn!("cannot raise the limit of open files (ulimit -n) from {current:?}: {why}");
                Descriptors::of(current)
            }
        }
    }

    /// Lowers the bounds on connections, and on the files of an embedded store, to what the limit
    /// leaves.
    pub(crate) fn bound(&self, net: &mut aft_net::Settings, local: &mut aft_store_local::Options) {
        local.open_files = local.open_files.min(self.kept.saturating_sub(BESIDE_TREE));
        if net.connections_max > self.for_connections {
            warn!(
                setting = net.connections_max,
                used = self.for_connections,
                "the process may open too few files for doors.connections_max: raise the limit (ulimit -n), or lower the setting"
            );
            net.connections_max = self.for_connections;
        }
        net.connections_per_peer_max = net.connections_per_peer_max.min(net.connections_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_limit_is_kept_for_the_store() {
        let of = |limit| Descriptors::of(limit).map(|of| (of.for_connections, of.kept));
        assert_eq!(of(Some(64)), Ok((32, 32)));
        assert_eq!(of(Some(1_024)), Ok((512, 512)));
        assert_eq!(of(Some(1 << 20)), Ok(((1 << 20) - 1_024, 1_024)));
        assert!(of(None).is_ok_and(|(connections, _)| connections > 1 << 30));
        assert!(of(Some(63)).is_err_and(|why| why.contains("ulimit -n")));
    }

    #[test]
    fn bounds_on_connections_are_lowered_to_what_is_left() {
        let mut net =
            aft_net::Settings { connections_max: 100, connections_per_peer_max: 90, ..Default::default() };
        let mut local = aft_store_local::Options::default();
        let (before, files) = (net.clone(), local.open_files);
        Descriptors { for_connections: 100, kept: KEPT }.bound(&mut net, &mut local);
        assert_eq!((&net, local.open_files), (&before, files));
        Descriptors { for_connections: 32, kept: 100 }.bound(&mut net, &mut local);
        assert_eq!((net.connections_max, net.connections_per_peer_max, local.open_files), (32, 32, 36));
    }
}
