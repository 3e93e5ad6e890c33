//! TLS to the server, for `rediss://`: the authorities that are trusted, and the reasons why the
//! two sides do not agree.
//!
//! The client library could make such connections itself, but reads the system's authorities for
//! each of them, even where the URL names others. Here they are read once, at the opening.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The configuration of connections to one server.
pub(crate) struct Tls {
    connector: TlsConnector,
    /// The name that the server's certificate must have.
    name: ServerName<'static>,
}

/// A handshake that failed.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// The connection failed, as it does without TLS.
    Io(io::Error),
    /// The two sides do not agree, and would not the next time either. The text says why, and what
    /// to do.
    Unfit(String),
}

impl Tls {
    /// Reads the authorities: those in the file `ca`, or the system's.
    ///
    /// # Errors
    /// Returns a sentence, which names the file and says what to do, if they cannot be read, or if
    /// `host` is not a name that a certificate can have.
    pub(crate) fn new(host: &str, ca: Option<&Path>) -> Result<Tls, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host:?} is not a name that a certificate can have"))?;
        let roots = match ca {
            Some(path) => from_file(path)?,
            None => from_system()?,
        };
        // The provider is named, so that the process needs no global default.
        let config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("the provider has what the default versions need")
                .with_root_certificates(roots)
                .with_no_client_auth();
        Ok(Tls { connector: TlsConnector::from(Arc::new(config)), name })
    }

    /// Speaks TLS on a connection.
    ///
    /// # Errors
    /// Returns an error if the handshake fails.
    pub(crate) async fn connect(&self, tcp: TcpStream) -> Result<TlsStream<TcpStream>, HandshakeError> {
        self.connector.connect(self.name.clone(), tcp).await.map_err(explain)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

fn from_file(path: &Path) -> Result<RootCertStore, String> {
    let wrong = |why: &str| format!("ca={}: {why}; name a file with certificates in PEM", path.display());
    let pem = std::fs::read(path).map_err(|why| wrong(&why.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|why| wrong(&format!("it is not PEM ({why})")))?;
        roots.add(certificate).map_err(|why| wrong(&format!("a certificate cannot be used ({why})")))?;
    }
    if roots.is_empty() {
        return Err(wrong("it holds no certificate"));
    }
    Ok(roots)
}

fn from_system() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems have some that are too old to be parsed; the others count.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(
            "the system has no certificate authorities: install them (Debian: apt-get install ca-certificates), \
             or name a file with ?ca=FILE"
                .into(),
        );
    }
    Ok(roots)
}

/// Returns the meaning of a handshake's failure.
fn explain(why: io::Error) -> HandshakeError {
    let alert = why.get_ref().and_then(|why| why.downcast_ref::<rustls::Error>());
    match alert {
        None => HandshakeError::Io(why),
        Some(rustls::Error::InvalidCertificate(why)) => HandshakeError::Unfit(format!(
            "the server's certificate is not trusted ({why}): write ?ca=FILE with the authority that signed it, \
             and the name that it has as the host"
        )),
        Some(rustls::Error::InvalidMessage(_)) => HandshakeError::Unfit(
            "the server does not speak TLS on this port: write redis://, or the port that speaks it".into(),
        ),
        Some(why) => HandshakeError::Unfit(format!(
            "the TLS handshake failed ({why}): check which versions and certificates the server demands; client \
             certificates are not supported"
        )),
    }
}

/// The TLS that a URL asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TlsWanted {
    /// The file with the authorities to trust, instead of the system's.
    pub(crate) ca: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Tls;

    #[test]
    fn a_file_without_authorities_is_rejected_by_name() {
        let check = |path: &str, part: &str| {
            let why = Tls::new("h", Some(Path::new(path))).unwrap_err();
            assert!(why.contains(path) && why.contains(part) && why.contains("PEM"), "{why}");
        };
        check("/no/such/ca.pem", "No such file");
        check("/dev/null", "no certificate");
        assert!(Tls::new("a b", Some(Path::new("/dev/null"))).unwrap_err().contains("certificate can have"));
    }
}
