//! The open files of the process: how many it may have, and how many of them connections may take.
//!
//! A store that cannot open a file fails, and so do the connections that are there already. So the
//! limit is raised as far as the system allows, and a part of it is kept for the store.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::Failed;

/// The open files that are kept for the store and the process itself: the connections to a shared
/// store (256 to S3 at most), or the files of an embedded one.
const KEPT: usize = 384;
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

    /// Lowers the bounds on connections to what the limit leaves.
    pub(crate) fn bound(&self, net: &mut aft_net::Settings) {
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
        assert_eq!(of(Some(1_024)), Ok((640, 384)));
        assert_eq!(of(Some(1 << 20)), Ok(((1 << 20) - 384, 384)));
        assert!(of(None).is_ok_and(|(connections, _)| connections > 1 << 30));
        assert!(of(Some(63)).is_err_and(|why| why.contains("ulimit -n")));
    }

    #[test]
    fn bounds_on_connections_are_lowered_to_what_is_left() {
        let mut net =
            aft_net::Settings { connections_max: 100, connections_per_peer_max: 90, ..Default::default() };
        let before = net.clone();
        Descriptors { for_connections: 100, kept: 1 }.bound(&mut net);
        assert_eq!(net, before);
        Descriptors { for_connections: 32, kept: 32 }.bound(&mut net);
        assert_eq!((net.connections_max, net.connections_per_peer_max), (32, 32));
    }
}
