//! TLS in front of the doors: certificate and key, optional client certificates, and the
//! replacement of all of them while connections stay open.
//!
//! A client's certificate is verified here. A credential then names its owner by one of the
//! certificate's alternative names. The subject's common name is ignored, since nothing says which
//! kind of name it is.

use std::fmt;
use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, RwLock};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::{Buf as _, Bytes};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use webpki::{EndEntityCert, KeyUsage};

use crate::stall::Impatient;

/// HTTP/2 first: a client that speaks both has many calls under way at once.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// The length of an HTTP/2 connection's preface, in bytes.
const HTTP2_PREFACE_BYTES: usize = 24;

/// The names in a connection's client certificate, which TLS has verified. An extension of every
/// request of the connection.
#[derive(Debug, Clone)]
pub struct Peer(pub Arc<[String]>);

/// The reason why a certificate is not valid now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateTime {
    /// It expired at this time, in milliseconds since the Unix epoch.
    Expired(u64),
    /// It is valid from this time on, in milliseconds since the Unix epoch.
    NotYet(u64),
}

/// The certificates and the key of a server, each in PEM.
pub struct TlsMaterial {
    /// The server's certificate, followed by the intermediate certificates up to a root.
    pub certificate: Vec<u8>,
    /// The private key of the server's certificate.
    pub key: Vec<u8>,
    /// The authorities that sign client certificates. With them, every client must present one.
    pub client_ca: Option<Vec<u8>>,
}

impl fmt::Debug for TlsMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsMaterial(…)")
    }
}

/// The reason why some material cannot be used for TLS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The certificate cannot be used.
    #[error("the certificate: {0}")]
    Certificate(String),
    /// The key cannot be used. The message repeats nothing of it.
    #[error("the key: {0}")]
    Key(&'static str),
    /// The key does not belong to the certificate.
    #[error("the key does not belong to the certificate: give the key with which the certificate was made")]
    Mismatch,
    /// The key was given as the certificate, and the certificate as the key.
    #[error(
        "the certificate file holds the private key, and the key file holds the certificate: exchange --tls-certificate and --tls-key"
    )]
    Swapped,
    /// The authorities for client certificates cannot be used.
    #[error("the client authorities: {0}")]
    ClientCa(String),
}

/// The TLS configuration of a listener.
pub struct Tls {
    config: RwLock<Arc<ServerConfig>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(…)")
    }
}

impl Tls {
    /// Makes a TLS configuration of `material`.
    ///
    /// # Errors
    /// Returns a [`TlsError`] if a part cannot be parsed, or if the key does not belong to the
    /// certificate.
    pub fn new(material: &TlsMaterial) -> Result<Tls, TlsError> {
        Ok(Tls { config: RwLock::new(Arc::new(config(material)?)) })
    }

    /// Replaces the material for connections that arrive from now on.
    ///
    /// # Errors
    /// Returns the errors of [`Tls::new`]. Then the old material stays in use.
    pub fn replace(&self, material: &TlsMaterial) -> Result<(), TlsError> {
        let config = Arc::new(config(material)?);
        *self.config.write().expect(POISONED) = config;
        Ok(())
    }

    /// Performs the handshake and reads the first bytes of HTTP, within `limit`: until then no
    /// other timer runs.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        stall: Duration,
        limit: Duration,
    ) -> std::io::Result<Accepted> {
        let accepted = async {
            let config = self.config.read().expect(POISONED).clone();
            let mut stream = TlsAcceptor::from(config).accept(Impatient::new(stream, stall)).await?;
            let session = stream.get_ref().1;
            let http2 = session.alpn_protocol() == Some(PROTOCOLS[0]);
            let peer = session.peer_certificates().and_then(<[_]>::first).and_then(names);
            // The HTTP/2 server starts its timers after the preface, so the preface is read here.
            let mut first = Vec::with_capacity(HTTP2_PREFACE_BYTES);
            while http2 && first.len() < HTTP2_PREFACE_BYTES {
                let left = HTTP2_PREFACE_BYTES - first.len();
                if (&mut stream).take(left as u64).read_buf(&mut first).await? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            }
            Ok(Accepted { stream: Begun { first: first.into(), stream }, http2, peer })
        };
        let late = |_| Error::new(ErrorKind::TimedOut, "the handshake took too long");
        tokio::time::timeout(limit, accepted).await.map_err(late)?
    }
}

const POISONED: &str = "nothing panics while it holds this lock";

/// A connection after its handshake.
pub(crate) struct Accepted {
    pub(crate) stream: Begun<TlsStream<Impatient<TcpStream>>>,
    pub(crate) http2: bool,
    pub(crate) peer: Option<Peer>,
}

/// Returns the names in a verified client certificate that a credential may use.
fn names(certificate: &CertificateDer<'_>) -> Option<Peer> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    Some(Peer(
        certificate.valid_dns_names().chain(certificate.valid_uri_names()).map(str::to_owned).collect(),
    ))
}

/// Makes the configuration of `material`. Files in each other's place are a common mistake, and get
/// a message of their own.
fn config(material: &TlsMaterial) -> Result<ServerConfig, TlsError> {
    let is_key = |pem: &[u8]| PrivateKeyDer::from_pem_slice(pem).is_ok();
    let is_certificate = |pem: &[u8]| certificates(pem).is_ok();
    let chain = certificates(&material.certificate).map_err(|why| match is_key(&material.certificate) {
        true if is_certificate(&material.key) => TlsError::Swapped,
        true => TlsError::Certificate(
            "it holds a private key, and no certificate: give the certificate's file".into(),
        ),
        false => TlsError::Certificate(why),
    })?;
    let key = PrivateKeyDer::from_pem_slice(&material.key).map_err(|_| {
        TlsError::Key(match is_certificate(&material.key) {
            true => {
                "it holds a certificate, and no private key: give the file of the certificate's private key"
            }
            false => "it holds no private key in PEM: give an unencrypted key in PKCS#8, PKCS#1 or SEC1",
        })
    })?;
    // The provider is named, so that the process needs no global default.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider has what the default versions need");
    // With authorities, a client without a certificate of theirs does not pass the handshake.
    let builder = match &material.client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(pem).map_err(TlsError::ClientCa)? {
                roots.add(authority).map_err(|why| TlsError::ClientCa(why.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|why| TlsError::ClientCa(why.to_string()))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|why| match why {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch,
        rustls::Error::InvalidCertificate(why) => TlsError::Certificate(format!("{why:?}")),
        _ => TlsError::Key("its kind is not supported: use an RSA, ECDSA or Ed25519 key"),
    })?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err("it holds no certificate in PEM".into()),
        Ok(certificates) => Ok(certificates),
        Err(_) => Err("its PEM is not valid".into()),
    }
}

/// Returns the reason why a server's certificate, in PEM, is not valid now; `None` if it is, or
/// cannot be parsed. Clients will reject such a certificate, but that is their decision.
pub fn certificate_time(certificate: &[u8]) -> Option<CertificateTime> {
    let chain = certificates(certificate).ok()?;
    let leaf = EndEntityCert::try_from(chain.first()?).ok()?;
    let now = UnixTime::since_unix_epoch(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?);
    // The validity period is checked before the signature. No authority is trusted here, so a
    // certificate that is valid now fails with another error, which is ignored.
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    match leaf.verify_for_usage(algorithms, &[], &[], now, KeyUsage::server_auth(), None, None) {
        Err(webpki::Error::CertExpired { not_after, .. }) => Some(CertificateTime::Expired(ms(not_after))),
        Err(webpki::Error::CertNotValidYet { not_before, .. }) => {
            Some(CertificateTime::NotYet(ms(not_before)))
        }
        Ok(_) | Err(_) => None,
    }
}

fn ms(time: UnixTime) -> u64 {
    time.as_secs().saturating_mul(1_000)
}

/// A stream whose first bytes have already been read.
#[derive(Debug)]
pub(crate) struct Begun<S> {
    first: Bytes,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, into);
        }
        let len = self.first.len().min(into.remaining());
        into.put_slice(&self.first[..len]);
        self.first.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn material() -> TlsMaterial {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        TlsMaterial {
            certificate: made.cert.pem().into_bytes(),
            key: made.signing_key.serialize_pem().into_bytes(),
            client_ca: None,
        }
    }

    #[test]
    fn unusable_material_is_rejected_with_the_reason() {
        let check = |change: fn(&mut TlsMaterial), part: &str| {
            let mut material = material();
            change(&mut material);
            let why = Tls::new(&material).unwrap_err().to_string();
            assert!(why.contains(part), "{part:?} is missing in {why}");
        };
        assert!(Tls::new(&material()).is_ok());
        check(
            |material| material.certificate = b"x".to_vec(),
            "the certificate: it holds no certificate in PEM",
        );
        check(
            |material| {
                material.certificate =
                    b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec()
            },
            "the certificate: ",
        );
        check(|material| material.certificate.truncate(100), "the certificate: ");
        check(|material| material.key = b"SECRET".to_vec(), "the key: it holds no private key");
        check(
            |material| std::mem::swap(&mut material.key, &mut material.certificate),
            "exchange --tls-certificate and --tls-key",
        );
        check(
            |material| material.certificate.clone_from(&material.key),
            "the certificate: it holds a private key",
        );
        check(|material| material.key.clone_from(&material.certificate), "the key: it holds a certificate");
        check(|of| of.key = material().key, "does not belong to the certificate");
        check(
            |material| material.client_ca = Some(Vec::new()),
            "the client authorities: it holds no certificate",
        );
    }

    #[test]
    fn an_expired_certificate_is_reported() {
        let time = |from: i32, to: i32| {
            let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(to, 1, 1);
            let key = KeyPair::generate().unwrap();
            certificate_time(params.self_signed(&key).unwrap().pem().as_bytes())
        };
        assert_eq!(time(2000, 4000), None);
        assert_eq!(time(2000, 2001), Some(CertificateTime::Expired(978_307_200_000)));
        assert_eq!(time(3000, 4000), Some(CertificateTime::NotYet(32_503_680_000_000)));
        assert_eq!(certificate_time(b"x"), None);
    }
}
