//! The files of TLS: read at the start, and again at SIGHUP.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aft_api::rfc3339;
use aft_net::{CertificateTime, Tls, TlsError, TlsMaterial, certificate_time};
use tracing::warn;

use crate::Failed;

/// Of a file's mode: what everybody may.
const EVERYBODY: u32 = 0o007;

/// Where the material is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

impl TlsFiles {
    /// From what was said.
    ///
    /// # Errors
    /// If one of certificate and key is missing, or there are authorities without the two.
    pub(crate) fn new(
        certificate: Option<PathBuf>,
        key: Option<PathBuf>,
        client_ca: Option<PathBuf>,
    ) -> Result<Option<TlsFiles>, Failed> {
        match (certificate, key) {
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key, client_ca })),
            (None, None) if client_ca.is_none() => Ok(None),
            _ => {
                Err("TLS takes --tls-certificate and --tls-key, both; --tls-client-ca may come with them"
                    .into())
            }
        }
    }

    /// TLS with what the files hold now.
    ///
    /// # Errors
    /// If one cannot be read, or they do not fit together.
    pub(crate) fn tls(&self) -> Result<Tls, Failed> {
        Tls::new(&self.read()?).map_err(|why| self.told(&why))
    }

    /// Exchanges what is in use for what the files hold now.
    ///
    /// # Errors
    /// As [`TlsFiles::tls`]; then what is in use stays.
    pub(crate) fn replace(&self, tls: &Tls) -> Result<(), Failed> {
        tls.replace(&self.read()?).map_err(|why| self.told(&why))
    }

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
            warn!("everybody on this machine may use the key {}: chmod 600 it", self.key.display());
        }
        if let Some(time) = certificate_time(&material.certificate) {
            let why = match time {
                CertificateTime::Expired(at_ms) => format!("it expired at {}", rfc3339(at_ms)),
                CertificateTime::NotYet(from_ms) => format!("it is valid from {} on only", rfc3339(from_ms)),
            };
            warn!("the certificate {}: {why}", self.certificate.display());
        }
        Ok(material)
    }

    fn told(&self, why: &TlsError) -> Failed {
        let file = match why {
            TlsError::Certificate(_) | TlsError::Swapped => &self.certificate,
            TlsError::Key(_) | TlsError::Mismatch => &self.key,
            TlsError::ClientCa(_) => self.client_ca.as_ref().unwrap_or(&self.certificate),
        };
        format!("TLS: {}: {why}", file.display())
    }
}
