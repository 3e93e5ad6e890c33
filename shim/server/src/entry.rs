//! Who gets in at `aft serve`, and over what: read from files at the start, and again at every SIGHUP.

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

/// What a credential has whose file does not say, as a share of what the server has in all: two or three tenants at their limits leave the others room.
const SHARE: usize = 4;
/// A large value needs so much on its way in, so a share is no less: four parts of 8 MiB.
const BODIES_BYTES_LEAST: usize = 32 << 20;

/// The largest transaction: values of a mebibyte in memory, and a thousand operations on the longest keys.
const OPEN_BYTES_LEAST: usize = 3 << 20;

/// Who gets in, and over what.
pub(crate) struct Entry {
    pub(crate) access: Arc<Access>,
    pub(crate) tls: Option<(Arc<Tls>, TlsFiles)>,
    credentials: Option<(PathBuf, Limits)>,
}

impl Entry {
    /// Reads the files. The last two are what the server has in all.
    ///
    /// # Errors
    /// If something is wrong in them.
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

    /// Reads the files again at every SIGHUP. Without files the signal ends the process, as it does any.
    ///
    /// # Errors
    /// If the signal cannot be listened for.
    pub(crate) fn follow(self) -> Result<impl Future<Output = ()>, Failed> {
        let hangups = match self.credentials.is_some() || self.tls.is_some() {
            true => Some(
                signal(SignalKind::hangup()).map_err(|why| format!("cannot listen for signals: {why}"))?,
            ),
            false => None,
        };
        Ok(async move {
            let Some(mut hangups) = hangups else { return };
            while hangups.recv().await.is_some() {
                self.read_again();
            }
        })
    }

    fn read_again(&self) {
        if let Some((file, limits)) = &self.credentials {
            match credentials_file::read(file, *limits).and_then(|read| read.replace(&self.access)) {
                Ok(credentials) => {
                    info!(credentials, "the credentials file was read again, and holds from now on")
                }
                Err(why) => error!("the credentials that were read before stay: {why}"),
            }
        }
        if let Some((tls, files)) = &self.tls {
            match files.replace(tls) {
                Ok(()) => info!("certificate and key were read again, and hold for new connections"),
                Err(why) => error!("the certificate and key that were read before stay: {why}"),
            }
        }
    }
}

/// The limits of a credential whose file does not say.
fn limits(transactions_max: usize, transactions_bytes_max: usize, bodies_bytes_max: usize) -> Limits {
    Limits {
        open_transactions_max: (transactions_max / SHARE).max(1),
        // New transactions are refused from half of it on.
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
