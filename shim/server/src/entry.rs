//! The credentials and the TLS of `aft serve`: read from files at the start, and again at every
//! SIGHUP.

use std::path::PathBuf;
use std::sync::Arc;

use aft_access::file as credentials_file;
use aft_access::{Access, Limits};
use aft_desk::Settings;
use aft_net::Tls;
use aft_node::NodeSettings;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use crate::Failed;
use crate::tls_files::TlsFiles;

/// The divisor of the server's bounds for a credential whose entry names no limit. With a quarter
/// each, two or three tenants at their limits leave room for the others.
const SHARE: usize = 4;
/// The least share of large bodies: one large value needs four parts of 8 MiB on its way in.
const BODIES_BYTES_LEAST: usize = 32 << 20;

/// The least share of open transactions, which fits the largest one: values of a mebibyte in
/// memory, and a thousand operations on the longest keys.
const OPEN_BYTES_LEAST: usize = 3 << 20;

/// The callers that are admitted, and the TLS of their connections.
pub(crate) struct Entry {
    pub(crate) access: Arc<Access>,
    pub(crate) tls: Option<(Arc<Tls>, TlsFiles)>,
    credentials: Option<(PathBuf, Limits)>,
}

impl Entry {
    /// Reads the files. `node` and `desk` hold the server's bounds, of which credentials get
    /// shares.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or is wrong; the text names it.
    pub(crate) fn open(
        credentials: Option<PathBuf>,
        tls: Option<TlsFiles>,
        node: &NodeSettings,
        desk: &Settings,
    ) -> Result<Entry, Failed> {
        let core = &node.core;
        let limits = limits(core.transactions_max, core.transactions_bytes_max, desk.bodies_bytes_max);
        let credentials = credentials.map(|file| (file, limits));
        let access = match &credentials {
            None => Access::open(),
            Some((file, limits)) => Access::guarded(credentials_file::read(file, *limits)?.book()?)?,
        };
        let tls = match tls {
            None => None,
            Some(files) => Some((Arc::new(files.tls()?), files)),
        };
        Ok(Entry { access: Arc::new(access), tls, credentials })
    }

    /// Reads the files again at every SIGHUP. Without files the signal is logged and has no effect:
    /// it must not end a server that drains on other signals.
    ///
    /// # Errors
    /// Returns an error if the process cannot listen for the signal.
    pub(crate) fn follow(self) -> Result<impl Future<Output = ()>, Failed> {
        let hangups = signal(SignalKind::hangup());
        let mut hangups = hangups.map_err(|why| format!("cannot listen for signals: {why}"))?;
        Ok(async move {
            while hangups.recv().await.is_some() {
                self.read_again();
            }
        })
    }

    /// Replaces the credentials and the certificate. What cannot be read stays as it was.
    fn read_again(&self) {
        if self.credentials.is_none() && self.tls.is_none() {
            info!("SIGHUP: there are no credentials and no certificate to read again");
        }
        if let Some((file, limits)) = &self.credentials {
            match credentials_file::read(file, *limits).and_then(|read| read.replace(&self.access)) {
                Ok(credentials) => {
                    info!(credentials, "the credentials file was read again and is in use from now on")
                }
                Err(why) => error!("the credentials that were read before stay: {why}"),
            }
        }
        if let Some((tls, files)) = &self.tls {
            match files.replace(tls) {
                Ok(()) => info!("certificate and key were read again and are used for new connections"),
                Err(why) => error!("the certificate and key that were read before stay: {why}"),
            }
        }
    }
}

/// Returns the limits of a credential whose entry names none.
fn limits(transactions_max: usize, transactions_bytes_max: usize, bodies_bytes_max: usize) -> Limits {
    Limits {
        open_transactions_max: (transactions_max / SHARE).max(1),
        // New transactions are rejected from half of the bound on.
        open_bytes_max: (transactions_bytes_max / 2 / SHARE).max(OPEN_BYTES_LEAST),
        calls_per_s: None,
        bytes_per_s: None,
        bodies_bytes_max: (bodies_bytes_max / SHARE).max(BODIES_BYTES_LEAST.min(bodies_bytes_max)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_has_a_quarter() {
        let check = |all: (usize, usize, usize), expect: (usize, usize, usize)| {
            let limits = limits(all.0, all.1, all.2);
            assert_eq!(
                (limits.open_transactions_max, limits.open_bytes_max, limits.bodies_bytes_max),
                expect
            );
        };
        check((10_000, 256 << 20, 1 << 30), (2_500, 32 << 20, 256 << 20));
        check((100, 32 << 20, 64 << 20), (25, 4 << 20, 32 << 20));
        check((1, 1 << 20, 1 << 20), (1, 3 << 20, 1 << 20));
    }
}
