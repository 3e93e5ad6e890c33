//! TLS of the client, if it was built with it: the feature `tls`, which is on by default.

#[cfg(not(feature = "tls"))]
mod absent;
#[cfg(feature = "tls")]
mod present;

use std::path::PathBuf;

#[cfg(not(feature = "tls"))]
pub(crate) use absent::{Stream, Tls, disagreement};
#[cfg(feature = "tls")]
pub(crate) use present::{Stream, Tls, disagreement};

/// The files with which a client speaks TLS, each in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities to trust, instead of the system's.
    pub ca: Option<PathBuf>,
    /// The client's certificate, followed by the intermediate certificates up to a root.
    pub certificate: Option<PathBuf>,
    /// The private key of the client's certificate.
    pub key: Option<PathBuf>,
}
