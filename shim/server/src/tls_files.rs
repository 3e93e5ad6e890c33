//! The files of TLS, which are read at the start and again at SIGHUP.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aft_api::rfc3339;
use aft_net::{CertificateTime, Tls, TlsError, TlsMaterial, certificate_time};
use tracing::warn;

use crate::Failed;

/// The bits of a file's mode that give rights to everyone.
const EVERYBODY: u32 = 0o007;

/// The paths of the certificate, its key, and the authorities of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

impl TlsFiles {
    /// Creates the paths from flags or settings; returns `None` if none is given.
    ///
    /// # Errors
    /// Returns an error if only one of certificate and key is given, or authorities without both.
    pub(crate) fn new(
        certificate: Option<PathBuf>,
        key: Option<PathBuf>,
        client_ca: Option<PathBuf>,
    ) -> Result<Option<TlsFiles>, Failed> {
        match (certificate, key) {
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key, client_ca })),
            (None, None) if client_ca.is_none() => Ok(None),
            _ => {
                Err("TLS needs both --tls-certificate and --tls-key; --tls-client-ca may be added to them"
                    .into())
            }
        }
    }

    /// Returns TLS with the present contents of the files.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read, or if the files do not fit together.
    pub(crate) fn tls(&self) -> Result<Tls, Failed> {
        Tls::new(&self.read()?).map_err(|why| self.told(&why))
    }

    /// Replaces the material in use with the present contents of the files.
    ///
    /// # Errors
    /// Returns an error as [`TlsFiles::tls`] does; then the material in use stays.
    pub(crate) fn replace(&self, tls: &Tls) -> Result<(), Failed> {
        tls.replace(&self.read()?).map_err(|why| self.told(&why))
    }

    /// Reads the files, and warns about a key that everyone may read and about a certificate that
    /// is not valid now.
    fn read(&self) -> Result<TlsMaterial, Failed> {
        let of = |flag: &str, path: &Path| {
            std::fs::read(path).map_err(|why| format!("{flag} {}: {why}", path.display()))
        };
        let material = TlsMaterial {
            certificate: of("--tls-certificate", &self.certificate)?,
            key: of("--tls-key", &self.key)?,
            client_ca: match &self.client_ca {
                Some(path) => Some(of("--tls-client-ca", path)?),
                None => None,
            },
        };
        if std::fs::metadata(&self.key).is_ok_and(|key| key.mode() & EVERYBODY != 0) {
            warn!("everyone on this machine may use the key {}: run chmod 600 on it", self.key.display());
        }
        if let Some(time) = certificate_time(&material.certificate) {
            let why = match time {
                CertificateTime::Expired(at_ms) => format!("it expired at {}", rfc3339(at_ms)),
                CertificateTime::NotYet(from_ms) => format!("it is valid only from {} on", rfc3339(from_ms)),
            };
            warn!("the certificate {}: {why}", self.certificate.display());
        }
        Ok(material)
    }

    /// Returns the error with the name of the file that causes it.
    fn told(&self, why: &TlsError) -> Failed {
        let file = match why {
            TlsError::Certificate(_) | TlsError::Swapped => &self.certificate,
            TlsError::Key(_) | TlsError::Mismatch => &self.key,
            TlsError::ClientCa(_) => self.client_ca.as_ref().unwrap_or(&self.certificate),
        };
        format!("TLS: {}: {why}", file.display())
    }
}
