//! TLS: the authorities that the client trusts, its own certificate, and the reasons why the two
//! sides do not agree.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::Error;
use crate::origin::Origin;
use crate::tls::TlsFiles;
use crate::watch::Timed;

/// A line that speaks TLS.
pub(crate) type Stream = TlsStream<Timed>;

/// The TLS of connections to one server.
pub(crate) struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Tls {
    /// Makes the TLS of connections to a server; `None` if its scheme is http. The files are
    /// checked in any case.
    ///
    /// # Errors
    /// Returns the errors of [`TlsFiles::client_config`], and [`Error::Invalid`] if the host is not
    /// a name that a certificate can have.
    pub(crate) fn new(files: &TlsFiles, origin: &Origin) -> Result<Option<Tls>, Error> {
        if !origin.secure && *files == TlsFiles::default() {
            return Ok(None);
        }
        let config = files.client_config()?;
        if !origin.secure {
            return Ok(None);
        }
        let name = ServerName::try_from(origin.host.clone());
        let name = name.map_err(|_| {
            Error::invalid(format!("the host {:?} is not a name that a certificate can have", origin.host))
        })?;
        Ok(Some(Tls { connector: TlsConnector::from(config), name }))
    }

    /// Agrees on TLS with the server at the other end of a line.
    ///
    /// # Errors
    /// Returns the failure of the handshake; [`disagreement`] tells its reasons.
    pub(crate) async fn connect(&self, line: Timed) -> io::Result<Stream> {
        self.connector.connect(self.name.clone(), line).await
    }
}

impl TlsFiles {
    /// Reads the files, and returns the configuration of connections that use them.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`], with the option and the file, if a file cannot be read or used,
    /// if only one of `certificate` and `key` is given, or if there is no `ca` and the system has
    /// no authorities.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, Error> {
        let own = match (&self.certificate, &self.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((
                certificates("certificate", certificate)?,
                PrivateKeyDer::from_pem_slice(&read("key", key)?)
                    .map_err(|_| unusable("key", key, "it holds no private key in PEM"))?,
            )),
            (Some(_), None) => {
                return Err(Error::invalid("the option `certificate` needs its private key: give `key` too"));
            }
            (None, Some(_)) => {
                return Err(Error::invalid(
                    "the option `key` needs the certificate that it belongs to: give `certificate` too",
                ));
            }
        };
        // The provider is named, so that the process needs no global default.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = match &self.ca {
            Some(path) => Verifier::new(certificates("ca", path)?, provider.clone())
                .map_err(|why| unusable("ca", path, &why))?,
            None => Verifier::new(system_roots()?, provider.clone()).map_err(Error::invalid)?,
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has what the default versions need")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|why| {
                Error::invalid(format!(
                    "the options `certificate` and `key` do not go together: {why}; give a certificate with its own private key"
                ))
            })?,
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn read(option: &str, path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|why| unusable(option, path, &why.to_string()))
}

fn unusable(option: &str, path: &Path, why: &str) -> Error {
    Error::invalid(format!("the option `{option}` names {}, which cannot be used: {why}", path.display()))
}

fn certificates(option: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(option, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(unusable(option, path, "it holds no certificate in PEM"))
        }
        Ok(certificates) => Ok(certificates),
        Err(_) => Err(unusable(option, path, "its PEM is not valid")),
    }
}

fn system_roots() -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = rustls_native_certs::load_native_certs();
    match found.certs.is_empty() {
        false => Ok(found.certs),
        true => Err(Error::invalid(format!(
            "the system has no certificate authorities ({}): name a file of them with `ca`",
            found.errors.first().map_or("none was found".to_owned(), ToString::to_string)
        ))),
    }
}

/// Verifies servers as rustls does. In addition it trusts a server that presents exactly one of the
/// given authorities: a certificate that its owner made and signed is both.
#[derive(Debug)]
struct Verifier {
    roots: Vec<CertificateDer<'static>>,
    inner: Arc<WebPkiServerVerifier>,
}

impl Verifier {
    fn new(roots: Vec<CertificateDer<'static>>, provider: Arc<CryptoProvider>) -> Result<Verifier, String> {
        let mut store = RootCertStore::empty();
        // Systems have a few authorities that rustls cannot read: the others count.
        let (added, _) = store.add_parsable_certificates(roots.iter().cloned());
        if added == 0 {
            return Err("no certificate in it is one of an authority".to_owned());
        }
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build();
        Ok(Verifier { roots, inner: inner.map_err(|why| why.to_string())? })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified =
            self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The validity period has been checked by then, the name has not.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(why)))
                if matches!(
                    why.0.downcast_ref::<webpki::Error>(),
                    Some(webpki::Error::CaUsedAsEndEntity)
                ) && self.roots.iter().any(|root| root == end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Returns the reason why the two sides did not agree on TLS, with the remedy; `None` if `why` is
/// another failure, such as a connection that broke.
pub(crate) fn disagreement(why: &io::Error) -> Option<String> {
    let why = why.get_ref()?.downcast_ref::<rustls::Error>()?;
    let remedy = match why {
        rustls::Error::InvalidMessage(_) => "the port may not speak TLS: check the port, or write http://",
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => "name the file of the server's authority with `ca`",
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "write the host that the certificate names",
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "renew the server's certificate, or set this machine's clock",
        rustls::Error::AlertReceived(_) => {
            "the server may ask for a client certificate: give `certificate` and `key` that it accepts"
        }
        _ => "check the server's certificate and the URL",
    };
    Some(format!("the server and this client do not agree on TLS: {why}; {remedy}"))
}
