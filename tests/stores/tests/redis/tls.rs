//! `rediss://`: the store keeps its contract over TLS, and everything that TLS rejects is said with
//! its remedy. The real Redis is behind a proxy that ends TLS, with certificates made for the test.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use aft_store::Store as _;
use aft_store_redis::{Options, RedisStore};
use aft_store_tests::name;
use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::{server, url};

/// Makes an authority, whose certificate is written to `ca`, and the TLS of a server that it
/// vouches for under `host`.
fn authority(ca: &Path, host: &str) -> TlsAcceptor {
    let key = || KeyPair::generate().expect("a key can be made");
    let mut params = CertificateParams::new(Vec::new()).expect("no names are valid names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, key()).expect("a certificate can be made");
    std::fs::write(ca, issuer.pem()).expect("a file can be written");
    let own = key();
    let params = CertificateParams::new(vec![host.to_owned()]).expect("the host is a name");
    let certificate = params.signed_by(&own, &issuer).expect("a certificate can be made");
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("the key is the certificate's");
    TlsAcceptor::from(Arc::new(config))
}

/// Starts a proxy that speaks TLS, and passes everything on to `port` of this machine.
async fn proxy(acceptor: TlsAcceptor, port: u16) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    tokio::spawn(async move {
        while let Ok((inward, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut outward = TcpStream::connect(("127.0.0.1", port)).await?;
                let mut inward = acceptor.accept(inward).await?;
                tokio::io::copy_bidirectional(&mut inward, &mut outward).await
            });
        }
    });
    address
}

async fn rejection(url: &str) -> String {
    match RedisStore::open(url, &Options::default()).await {
        Ok(store) => panic!("{url} was opened as {}", store.url()),
        Err(why) => why.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_reached_over_tls() {
    let Some(server) = server() else { return };
    let directory = tempfile::tempdir().expect("a directory can be made");
    let ca = directory.path().join("ca.pem");
    let port = proxy(authority(&ca, "localhost"), server.port()).await.port();
    let over_tls = |host: &str| format!("rediss://{host}:{port}/tls?ca={}", ca.display());
    let store = Arc::new(RedisStore::open(&over_tls("localhost"), &Options::default()).await.unwrap());
    assert_eq!(store.url(), over_tls("localhost"));
    let large = Bytes::from(vec![7; 1 << 20]);
    store.put(&name("one"), large.clone()).await.unwrap();
    let (body, _) = store.get(&name("one")).await.unwrap().expect("it was put");
    assert_eq!(body, large);
    // The store that is seen without TLS is the same one.
    let plain =
        url(&server).rsplit_once('/').map(|(place, _)| format!("{place}/tls")).expect("it has a prefix");
    let plain = RedisStore::open(&plain, &Options::default()).await.unwrap();
    assert_eq!(plain.get(&name("one")).await.unwrap().map(|(body, _)| body), Some(large));
    let report = aft_store::conformance::probe(store).await;
    assert!(report.passed(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_tls_rejects_is_said_with_its_remedy() {
    let Some(server) = server() else { return };
    let directory = tempfile::tempdir().expect("a directory can be made");
    let (ca, other) = (directory.path().join("ca.pem"), directory.path().join("other.pem"));
    let port = proxy(authority(&ca, "localhost"), server.port()).await.port();
    drop(authority(&other, "localhost"));
    let check = async |url: String, parts: &[&str]| {
        let why = rejection(&url).await;
        for part in parts {
            assert!(why.contains(part), "{url}: {part:?} is missing in {why}");
        }
        assert!(!why.contains("hunter2"), "{why}");
    };
    let (ca, other) = (ca.display(), other.display());
    check(format!("rediss://me:hunter2@localhost:{port}/x?ca={other}"), &["not trusted", "?ca=FILE"]).await;
    // The certificate is for localhost.
    check(format!("rediss://127.0.0.1:{port}/x?ca={ca}"), &["not trusted", "not valid for name"]).await;
    check(format!("rediss://localhost:{port}/x?ca=/no/such/ca.pem"), &["/no/such/ca.pem", "PEM"]).await;
    let plain = server.port();
    check(format!("rediss://localhost:{plain}/x?ca={ca}"), &["no first answer", "speak TLS on this port?"])
        .await;
    check(format!("rediss://localhost:1/x?ca={ca}"), &["refused", "is the server running"]).await;
}
