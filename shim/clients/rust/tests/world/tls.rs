//! TLS: what is trusted, what is not, and that a refusal is never "perhaps sent".

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aft_client::{Builder, Client, Error};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::every_call;
use crate::fake::{Fake, aft};

/// An authority, and files of what it signs.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    files: tempfile::TempDir,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("it can be made");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("it can be made"))
            .expect("it can be made");
        Authority { issuer, files: tempfile::tempdir().expect("it can be made") }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.files.path().join(name);
        std::fs::write(&path, text).expect("it can be made");
        path
    }

    fn ca(&self) -> PathBuf {
        self.file("ca.pem", &self.issuer.pem())
    }

    /// Signs a certificate, and returns it and its key, in PEM.
    fn sign(&self, name: &str, until: i32) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("it can be made");
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().expect("it can be made");
        (params.signed_by(&key, &self.issuer).expect("it can be made").pem(), key.serialize_pem())
    }

    fn client_files(&self) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.sign("client", 4000);
        (self.file("client.pem", &certificate), self.file("client.key", &key))
    }
}

const VERSIONS: [&[&SupportedProtocolVersion]; 2] = [&[&rustls::version::TLS13], &[&rustls::version::TLS12]];

fn config(
    (certificate, key): &(String, String),
    clients: Option<&Authority>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_protocol_versions(versions).expect("it can be made");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.issuer.der().clone()).expect("it can be made");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("it can be made"))
        }
    };
    let chain = rustls::pki_types::CertificateDer::pem_slice_iter(certificate.as_bytes());
    let chain = chain.map(|certificate| certificate.expect("it is PEM")).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("it can be made");
    Arc::new(builder.with_single_cert(chain, key).expect("it can be made"))
}

fn builder(fake: &Fake) -> Builder {
    Client::builder(&format!("https://localhost:{}", fake.address.port()))
        .run_time_max(Duration::from_secs(20))
}

/// Expects every call to fail at once and for good, with nothing sent.
async fn refused(name: &str, fake: &Fake, client: &Client, part: &str) {
    let begun = Instant::now();
    for (call, outcome) in every_call(client).await {
        let why = outcome.expect_err(call);
        assert!(matches!(why, Error::Unavailable(_)) && !why.is_retryable(), "{name}, {call}: {why:?}");
        assert!(why.to_string().contains(part), "{name}, {call}: {part:?} is missing in {why}");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{name}: no call is repeated");
    assert!(fake.take().iter().all(|asked| asked.line.is_empty()), "{name}: a call was read");
}

#[tokio::test]
async fn a_trusted_server_is_talked_to_over_kept_connections() {
    let authority = Authority::new("ours");
    for versions in VERSIONS {
        let server = config(&authority.sign("localhost", 4000), None, versions);
        let fake = Fake::start_with(Some(server), aft).await;
        let client = builder(&fake).ca(authority.ca()).build().unwrap();
        for (call, outcome) in every_call(&client).await {
            outcome.unwrap_or_else(|why| panic!("{call}: {why}"));
        }
        client.put("k", vec![7; 3 << 20]).await.unwrap();
        assert!(fake.take().len() > 7);
    }
}

#[tokio::test]
async fn a_server_that_is_not_trusted_gets_no_call() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    for versions in VERSIONS {
        for (name, authority, host, until, part) in [
            ("untrusted", &others, "localhost", 4000, "name the file of the server's authority with `ca`"),
            ("expired", &ours, "localhost", 2001, "expired"),
            ("wrong host", &ours, "elsewhere", 4000, "write the host that the certificate names"),
        ] {
            let server = config(&authority.sign(host, until), None, versions);
            let fake = Fake::start_with(Some(server), aft).await;
            refused(name, &fake, &builder(&fake).ca(ours.ca()).build().unwrap(), part).await;
        }
    }
}

#[tokio::test]
async fn a_port_of_the_other_kind_is_named() {
    let ours = Authority::new("ours");
    // A server that answers what it takes for a bad call.
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = plain.local_addr().unwrap().port();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        loop {
            let (mut stream, _) = plain.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    let client = Client::builder(&format!("https://localhost:{port}")).ca(ours.ca()).build().unwrap();
    let nobody = Fake::start(aft).await;
    refused("plain", &nobody, &client, "write http://").await;
    let server = config(&ours.sign("localhost", 4000), None, VERSIONS[0]);
    let fake = Fake::start_with(Some(server), aft).await;
    let client = Client::new(&format!("http://localhost:{}", fake.address.port())).unwrap();
    refused("TLS", &fake, &client, "write https://").await;
}

#[tokio::test]
async fn a_client_certificate_is_presented_and_a_missing_one_is_no_doubt() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    for versions in VERSIONS {
        let server = config(&ours.sign("localhost", 4000), Some(&ours), versions);
        let fake = Fake::start_with(Some(server), aft).await;
        let with = |files: (PathBuf, PathBuf)| {
            builder(&fake).ca(ours.ca()).certificate(files.0).key(files.1).build().unwrap()
        };
        for (call, outcome) in every_call(&with(ours.client_files())).await {
            outcome.unwrap_or_else(|why| panic!("{call}: {why}"));
        }
        fake.take();
        let without = builder(&fake).ca(ours.ca()).build().unwrap();
        for _ in 0..5 {
            refused("none", &fake, &without, "client certificate").await;
            refused("another's", &fake, &with(others.client_files()), "client certificate").await;
        }
    }
}

/// A certificate that its owner made and signed is its own authority.
#[tokio::test]
async fn a_self_signed_certificate_is_trusted_by_name() {
    let files = tempfile::tempdir().unwrap();
    for is_ca in [false, true] {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate().unwrap();
        let made = (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
        let ca = files.path().join("own.pem");
        std::fs::write(&ca, &made.0).unwrap();
        let fake = Fake::start_with(Some(config(&made, None, VERSIONS[0])), aft).await;
        builder(&fake).ca(&ca).build().unwrap().get("k").await.unwrap();
        fake.take();
        let elsewhere = format!("https://127.0.0.1:{}", fake.address.port());
        let client = Client::builder(&elsewhere).ca(&ca).build().unwrap();
        refused("by address", &fake, &client, "write the host that the certificate names").await;
    }
}

/// Takes connections and says nothing: the handshake is a part of connecting.
#[tokio::test]
async fn a_handshake_that_does_not_end_is_a_connection_that_was_not_opened() {
    let ours = Authority::new("ours");
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", mute.local_addr().unwrap().port());
    let client = Client::builder(&url)
        .ca(ours.ca())
        .connect_timeout(Duration::from_millis(200))
        .run_time_max(Duration::from_millis(300))
        .build()
        .unwrap();
    for (call, outcome) in every_call(&client).await {
        let why = outcome.expect_err(call);
        assert!(matches!(why, Error::Unavailable(_)) && why.is_retryable(), "{call}: {why:?}");
        assert!(why.to_string().contains("cannot connect"), "{call}: {why}");
    }
}
