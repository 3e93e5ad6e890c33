//! Goal: the API is the same over TLS; a client certificate identifies a credential; connections
//! that do not speak TLS, or not in time, are dropped. Method: certificates made for the test, a
//! real socket, and clients that speak HTTP/1.1 or HTTP/2 over TLS, or something else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aft_access::{Access, Book, Credential, Limits, Rights, TokenHash};
use aft_net::{Tls, TlsMaterial};
use aft_store_memory::MemoryStore;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsConnector, rustls};

use crate::support::Server;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("the test makes it well-formed");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("the test makes it well-formed"))
        .expect("the test makes it well-formed")
}

/// Makes a certificate for `name`, and its key, both in PEM.
fn signed(by: &Authority, name: &str) -> (String, String) {
    let key = KeyPair::generate().expect("the test makes it well-formed");
    let params = CertificateParams::new(vec![name.into()]).expect("the test makes it well-formed");
    (params.signed_by(&key, by).expect("the test makes it well-formed").pem(), key.serialize_pem())
}

fn material(by: &Authority, clients: Option<&Authority>) -> TlsMaterial {
    let (certificate, key) = signed(by, "localhost");
    let client_ca = clients.map(|authority| authority.pem().into_bytes());
    TlsMaterial { certificate: certificate.into_bytes(), key: key.into_bytes(), client_ca }
}

fn credentials() -> Vec<Credential> {
    ["shop", "bank"]
        .map(|name| Credential {
            name: name.into(),
            tokens: vec![TokenHash::of(name.as_bytes())],
            access_keys: Vec::new(),
            certificate: Some(format!("{name}.example")),
            prefix: format!("{name}/"),
            rights: Rights::ALL,
            expires_ms: None,
            limits: Limits::NONE,
        })
        .into()
}

async fn start(material: &TlsMaterial) -> (Server, Arc<Tls>) {
    let tls = Arc::new(Tls::new(material).expect("the test makes it well-formed"));
    let access = Arc::new(
        Access::guarded(Book::new(credentials()).expect("the test makes it well-formed"))
            .expect("the test makes it well-formed"),
    );
    let server = Server::with_tls(MemoryStore::new(), access, Some(tls.clone()), |_, doors| {
        doors.net.header_timeout = Duration::from_millis(500);
    });
    (server.await, tls)
}

/// Connects with trust in an authority, offering these protocols; with a client certificate, if
/// there is one.
async fn connect(
    server: &Server,
    trusted: &Authority,
    protocols: &[&str],
    client: Option<(String, String)>,
) -> std::io::Result<TlsStream<TcpStream>> {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.der().clone()).expect("the test makes it well-formed");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder
        .with_safe_default_protocol_versions()
        .expect("the test makes it well-formed")
        .with_root_certificates(roots);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let certificate = rustls::pki_types::CertificateDer::from_pem_slice(certificate.as_bytes())
                .expect("the test makes it well-formed");
            let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes())
                .expect("the test makes it well-formed");
            builder.with_client_auth_cert(vec![certificate], key).expect("the test makes it well-formed")
        }
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(server.address).await?;
    TlsConnector::from(Arc::new(config))
        .connect("localhost".try_into().expect("the test makes it well-formed"), stream)
        .await
}

/// Makes one call over HTTP/1.1.
async fn call(
    stream: TlsStream<TcpStream>,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: impl Into<Bytes>,
) -> Option<Response<Bytes>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = sender
        .send_request(request.body(Full::new(body.into())).expect("the test makes it well-formed"))
        .await
        .ok()?;
    let (head, body) = response.into_parts();
    Some(Response::from_parts(head, body.collect().await.ok()?.to_bytes()))
}

#[tokio::test]
async fn http_1_and_http_2_work_over_tls() {
    let authority = authority();
    let (server, _) = start(&material(&authority, None)).await;
    // Without ALPN, and with each protocol.
    let large = vec![7; 3 << 20];
    for (protocols, agreed) in [(&[][..], None), (&["http/1.1"], Some("http/1.1"))] {
        let stream = connect(&server, &authority, protocols, None).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed.map(str::as_bytes));
        let put = call(stream, "PUT", "/v1/keys/shop/a", Some("shop"), large.clone()).await.unwrap();
        assert_eq!(put.status(), 200);
        let stream = connect(&server, &authority, protocols, None).await.unwrap();
        let get = call(stream, "GET", "/v1/keys/shop/a", Some("shop"), "").await.unwrap();
        assert!(get.status() == 200 && get.body()[..] == large[..]);
        let stream = connect(&server, &authority, protocols, None).await.unwrap();
        assert_eq!(call(stream, "GET", "/v1/keys/shop/a", None, "").await.unwrap().status(), 401);
    }
    let stream = connect(&server, &authority, &["h2", "http/1.1"], None).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        let request = Request::get("https://localhost/v1/keys/shop/a").header("authorization", "Bearer shop");
        let response = sender.send_request(request.body(Full::new(Bytes::new())).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.into_body().collect().await.unwrap().to_bytes()[..] == large[..]);
    }
}

#[tokio::test]
async fn a_client_certificate_is_a_credential() {
    let (ours, clients, strangers) = (authority(), authority(), authority());
    let (server, _) = start(&material(&ours, Some(&clients))).await;
    let with = async |certificate: Option<(String, String)>, path: &str, token: Option<&str>| {
        // If the server rejects the certificate, either the handshake or the first call fails.
        let stream = connect(&server, &ours, &[], certificate).await.ok()?;
        call(stream, "GET", path, token, "").await.map(|answer| answer.status().as_u16())
    };
    let of = |name: &str| Some(signed(&clients, name));
    assert_eq!(with(of("shop.example"), "/v1/keys/shop/a", None).await, Some(404));
    assert_eq!(with(of("shop.example"), "/v1/keys/bank/a", None).await, Some(403));
    assert_eq!(with(of("bank.example"), "/v1/keys/bank/a", None).await, Some(404));
    assert_eq!(with(of("other.example"), "/v1/keys/shop/a", None).await, Some(401));
    // A token takes precedence over the certificate, and a bad token is rejected despite it.
    assert_eq!(with(of("shop.example"), "/v1/keys/bank/a", Some("bank")).await, Some(404));
    assert_eq!(with(of("shop.example"), "/v1/keys/shop/a", Some("nonsense")).await, Some(401));
    assert_eq!(with(None, "/healthz", None).await, None);
    assert_eq!(with(Some(signed(&strangers, "shop.example")), "/healthz", None).await, None);
}

#[tokio::test]
async fn connections_without_tls_or_too_slow_are_dropped() {
    let authority = authority();
    let (server, _) = start(&material(&authority, None)).await;
    let dropped = async |mut stream: TcpStream, bytes: &[u8], least: Duration| {
        let since = Instant::now();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // The connection ends, with or without an alert.
        let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap();
        assert!(!answer.starts_with(b"HTTP/"), "{:?}", String::from_utf8_lossy(&answer));
        assert!(since.elapsed() >= least, "{:?}", since.elapsed());
    };
    let tcp = async || TcpStream::connect(server.address).await.unwrap();
    let call = b"GET /v1/keys/a HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer shop\r\n\r\n";
    dropped(tcp().await, call, Duration::ZERO).await;
    // No bytes, and a part of a ClientHello.
    let silent = Duration::from_millis(400);
    dropped(tcp().await, b"", silent).await;
    dropped(tcp().await, b"\x16\x03\x01\x02\x00\x01", silent).await;
    // A handshake, and then an incomplete start of HTTP.
    for protocols in [&["h2"][..], &["http/1.1"]] {
        let mut stream = connect(&server, &authority, protocols, None).await.unwrap();
        stream.write_all(b"PRI * HTTP").await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{protocols:?}");
    }
}

#[tokio::test]
async fn certificates_can_be_replaced_while_connections_stay_open() {
    let (first, second) = (authority(), authority());
    let (server, tls) = start(&material(&first, None)).await;
    let stream = connect(&server, &first, &[], None).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    tls.replace(&material(&second, None)).unwrap();
    let broken = TlsMaterial { key: signed(&first, "localhost").1.into_bytes(), ..material(&second, None) };
    assert!(tls.replace(&broken).is_err());
    let request = Request::get("/healthz").header("host", "localhost").body(Full::new(Bytes::new())).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    assert!(connect(&server, &first, &[], None).await.is_err());
    let stream = connect(&server, &second, &[], None).await.unwrap();
    assert_eq!(call(stream, "GET", "/healthz", None, "").await.unwrap().status(), 200);
}
