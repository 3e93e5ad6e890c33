//! Goal: a real server grants exactly the access that the credentials file describes, with TLS and
//! without, and no secret is ever printed. Method: the binary makes the file, serves with it, reads
//! it again; certificates are made for the test, and curl is the client that checks them.

use std::path::{Path, PathBuf};
use std::process::Command;

use aft_api::{Begin, Code, Op};
use aft_e2e::binary::{Ran, run};
use aft_e2e::client::{CallError, Client};
use aft_e2e::server::Server;
use hyper::Method;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().expect("a directory can be made"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("names of temporary files are text").to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).expect("a file can be written");
        self.text(name)
    }

    /// Adds a credential, and returns its token.
    fn add(&self, name: &str, allow: &str) -> String {
        let prefix = format!("{name}/");
        let file = self.text("credentials.toml");
        let ran = run(&["credentials", "add", name, "--prefix", &prefix, "--allow", allow, &file]);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        let token = ran.stdout.trim().to_owned();
        assert!(token.len() > 60 && !ran.stderr.contains(&token), "{ran:#?}");
        let text = std::fs::read_to_string(self.path("credentials.toml")).expect("it was made");
        assert!(!text.contains(&token), "{text}");
        token
    }
}

async fn put(client: &Client, key: &str) -> Result<(), Code> {
    let begin = Begin { ops: vec![Op::put(key.to_owned(), "value")], ..Begin::default() };
    match client.execute(&begin).await {
        Ok(reply) => {
            assert!(reply.committed, "{reply:?}");
            Ok(())
        }
        Err(CallError::Refused(problem)) => Err(problem.code),
        Err(why) => panic!("an undisturbed server answers: {why:?}"),
    }
}

#[tokio::test]
async fn credentials_are_made_enforced_and_reloaded() {
    let files = Files::new();
    let shop = files.add("shop", "read,write");
    let reader = files.add("reader", "read");
    let file = files.text("credentials.toml");
    let checked = run(&["credentials", "check", &file]);
    assert!(checked.code == Some(0) && checked.stdout.contains("2 credentials"), "{checked:#?}");

    let server = Server::start_with("memory:", &["--credentials", &file]);
    let client = Client::new(server.address());
    assert_eq!(put(&client, "shop/a").await, Err(Code::Unauthorized));
    assert_eq!(put(&client.clone().bearing("aft_nonsense"), "shop/a").await, Err(Code::Unauthorized));
    let shop = client.clone().bearing(&shop);
    assert_eq!(put(&shop, "shop/a").await, Ok(()));
    assert_eq!(put(&shop, "reader/a").await, Err(Code::Forbidden));
    assert_eq!(put(&client.clone().bearing(&reader), "reader/a").await, Err(Code::Forbidden));

    // A broken file changes nothing. A valid one replaces everything and keeps the connections.
    let good = std::fs::read_to_string(&file).expect("it was made");
    files.write("credentials.toml", &format!("{good}[[credential]]\nname = 7\n"));
    server.hang_up();
    server.says("the credentials that were read before stay").await;
    assert!(server.log().contains("name must be text"), "{}", server.log());
    assert_eq!(put(&shop, "shop/a").await, Ok(()));
    files.write("credentials.toml", &good);
    let bank = files.add("bank", "read,write");
    assert_eq!(put(&client.clone().bearing(&bank), "bank/a").await, Err(Code::Unauthorized));
    server.hang_up();
    server.says("was read again").await;
    assert_eq!(put(&client.clone().bearing(&bank), "bank/a").await, Ok(()));
    assert_eq!(put(&shop, "shop/a").await, Ok(()));
}

#[tokio::test]
async fn aft_request_and_bench_send_a_token() {
    let files = Files::new();
    let file = files.text("credentials.toml");
    let token = run(&["credentials", "add", "all", "--prefix", "", "--allow", "read,write,admin", &file]);
    let token = files.write("token", &token.stdout);
    let server = Server::start_with("memory:", &["--credentials", &file]);
    let url = format!("http://{}", server.address());
    let show = |more: &[&str]| run(&[&["request", "show", "r1", "--server", &url], more].concat());
    show(&[]).assert_refused(&["not authorized", "Authorization: Bearer"]);
    let shown = show(&["--token-file", &token]);
    assert!(shown.code == Some(1) && shown.stdout.contains("no commit"), "{shown:#?}");
    let bench = |more: &[&str]| -> Ran {
        run(&[&["bench", "standard", "--store", &url, "--transactions", "20", "--json"], more].concat())
    };
    assert_ne!(bench(&[]).code, Some(0));
    assert_eq!(bench(&["--token-file", &token]).json()["transactions"], 20);
}

#[test]
fn a_wrong_credentials_or_tls_setting_is_reported_at_the_start() {
    use std::os::unix::fs::PermissionsExt as _;
    let files = Files::new();
    let token = files.add("shop", "read");
    let file = files.text("credentials.toml");
    let serve =
        |more: &[&str]| run(&[&["serve", "--store", "memory:", "--listen", "127.0.0.1:0"], more].concat());
    let bad = files.write(
        "bad.toml",
        &format!(
            "[[credential]]\nname = \"a\"\nprefix = \"\"\nallow = [\"read\"]\ntoken_sha256 = \"{token}\"\n"
        ),
    );
    std::fs::set_permissions(&bad, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
    serve(&["--credentials", &bad]).assert_refused(&["bad.toml", "chmod 600"]);
    std::fs::set_permissions(&bad, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    let ran = serve(&["--credentials", &bad]);
    ran.assert_refused(&["bad.toml:5:", "never the token"]);
    assert!(!format!("{ran:?}").contains(&token));
    serve(&["--credentials", &files.text("none")]).assert_refused(&["none", "aft credentials add"]);
    serve(&["--tls-certificate", &file]).assert_refused(&["--tls-key"]);
    serve(&["--tls-certificate", &file, "--tls-key", &file])
        .assert_refused(&["credentials.toml", "the certificate"]);
    run(&["serve", "--store", "memory:", "--listen", "0.0.0.0:0"])
        .assert_refused(&["0.0.0.0", "--credentials"]);
}

/// Collects everything that is logged and answered with good and bad tokens, at the most verbose
/// level.
#[tokio::test]
async fn no_log_and_no_answer_contains_a_secret() {
    let files = Files::new();
    let token = files.add("shop", "read,write");
    let config = files.write("aft.toml", "[log]\nfilter = \"trace\"\n");
    let file = files.text("credentials.toml");
    let hash = std::fs::read_to_string(&file).expect("it was made");
    let hash = hash
        .split_once("token_sha256 = [\"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .expect("it has one")
        .0;
    let server =
        Server::start_with("memory:", &["--credentials", &file, "--config", &config, "--log-format", "json"]);
    let bad = "aft_00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let mut said = String::new();
    for (token, path) in [
        (token.as_str(), "/v1/keys/shop/a"),
        (&token, "/v1/keys/other/a"),
        (&token, "/metrics"),
        (&token, "/v1/requests/r1?by=nonsense"),
        (bad, "/v1/keys/shop/a"),
        (bad, "/metrics"),
    ] {
        for scheme in ["Bearer", "Basic", ""] {
            let authorization = format!("{scheme} {token}");
            let headers = [("authorization", authorization.trim())];
            let client = Client::new(server.address());
            let answer =
                client.raw(Method::GET, path, &headers, "").await.expect("an undisturbed server answers");
            said.push_str(&format!("{answer:?}"));
        }
        let client = Client::http2(server.address()).bearing(token);
        let answer = client.raw(Method::GET, path, &[], "").await.expect("an undisturbed server answers");
        said.push_str(&format!("{answer:?}"));
    }
    server.hang_up();
    server.says("was read again").await;
    let lines = server.log_lines();
    // The log is complete, from the first line on.
    assert!(lines.iter().any(|line| line.contains("node starts")), "{}", lines.len());
    let log = lines.join("\n");
    assert!(said.contains("unauthorized") && said.contains("forbidden"), "{said}");
    assert!(log.contains("\"level\":\"TRACE\"") || log.contains("\"level\":\"DEBUG\""), "{log}");
    for (what, text) in [("a token", &token[4..]), ("a wrong token", &bad[4..]), ("a hash", hash)] {
        assert!(!said.contains(text), "an answer has {what}: {said}");
        assert!(!log.contains(text), "the log has {what}:\n{log}");
    }
}

/// A certificate authority, which signs the test's certificates.
struct Certificates {
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    fn new(files: &Files, name: &str) -> Certificates {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signs");
        files.write(name, &authority.pem());
        Certificates { authority }
    }

    /// Makes a certificate for `name` and its key, in two files.
    fn make(&self, files: &Files, certificate: &str, key: &str, name: &str) {
        let pair = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.into()]).expect("a name");
        files.write(certificate, &params.signed_by(&pair, &self.authority).expect("signs").pem());
        files.write(key, &pair.serialize_pem());
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(files.path(key), std::fs::Permissions::from_mode(0o600))
            .expect("it is ours");
    }
}

/// Runs curl, and returns the body of the answer, or curl's error.
fn curl(directory: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new("curl");
    command.current_dir(directory).args(["-sS", "--max-time", "20"]).args(arguments);
    let output = command.output().expect("curl is there: the tests need it");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[tokio::test]
async fn tls_certificates_are_checked_on_both_sides_and_reloaded() {
    let files = Files::new();
    let token = files.add("shop", "read,write");
    let (ours, clients) = (Certificates::new(&files, "ca.pem"), Certificates::new(&files, "clients.pem"));
    ours.make(&files, "server.pem", "server.key", "localhost");
    clients.make(&files, "shop.pem", "shop.key", "shop.example");
    let file = files.text("credentials.toml");
    let (certificate, key) = (files.text("server.pem"), files.text("server.key"));
    let tls = ["--credentials", &file, "--tls-certificate", &certificate, "--tls-key", &key];
    let server = Server::start_with("memory:", &tls);
    assert!(server.log().contains("listening on https://127.0.0.1:"), "{}", server.log());
    let here = |server: &Server, path: &str| format!("https://localhost:{}{path}", server.address().port());
    let bearer = format!("authorization: Bearer {token}");
    let directory = files.0.path();
    let tea = here(&server, "/v1/keys/shop/tea");
    let put =
        curl(directory, &["--cacert", "ca.pem", "-H", &bearer, "-X", "PUT", "--data", "4", &tea]).unwrap();
    assert!(put.contains("\"committed\":true"), "{put}");
    let get = |more: &[&str], url: &str| curl(directory, &[&["--cacert", "ca.pem", url], more].concat());
    for version in ["--http1.1", "--http2"] {
        assert_eq!(get(&["-H", &bearer, version], &tea).unwrap(), "4", "{version}");
    }
    assert!(get(&[], &tea).unwrap().contains("unauthorized"));
    assert!(
        curl(directory, &[&tea]).unwrap_err().contains("certificate"),
        "no known authority has signed it"
    );
    let plain = here(&server, "/healthz").replace("https", "http");
    curl(directory, &[&plain]).unwrap_err();

    // The files are replaced, and read at SIGHUP.
    Certificates::new(&files, "ca2.pem").make(&files, "server.pem", "server.key", "localhost");
    server.hang_up();
    server.says("certificate and key were read again").await;
    get(&["-H", &bearer], &tea).unwrap_err();
    assert_eq!(curl(directory, &["--cacert", "ca2.pem", "-H", &bearer, &tea]).unwrap(), "4");
    drop(server);

    // With client certificates: none, one of another authority, and the one that the credential
    // names.
    ours.make(&files, "server.pem", "server.key", "localhost");
    ours.make(&files, "stranger.pem", "stranger.key", "shop.example");
    let text = std::fs::read_to_string(&file).expect("it was made");
    files.write("credentials.toml", &text.replace("prefix = ", "certificate = \"shop.example\"\nprefix = "));
    let authority = files.text("clients.pem");
    let server = Server::start_with("memory:", &[&tls[..], &["--tls-client-ca", &authority]].concat());
    let tea = here(&server, "/v1/keys/shop/tea");
    get(&["-H", &bearer], &tea).unwrap_err();
    get(&["--cert", "stranger.pem", "--key", "stranger.key"], &tea).unwrap_err();
    let shop = ["--cert", "shop.pem", "--key", "shop.key"];
    assert!(get(&shop, &tea).unwrap().contains("\"code\":\"absent\""));
    assert!(get(&shop, &here(&server, "/v1/keys/bank/a")).unwrap().contains("forbidden"));
}

/// Speaks https with the Rust client, `aft request show` and `aft bench`, each with a client
/// certificate.
#[tokio::test]
async fn the_client_and_the_commands_speak_https() {
    let files = Files::new();
    let ours = Certificates::new(&files, "ca.pem");
    ours.make(&files, "server.pem", "server.key", "localhost");
    ours.make(&files, "all.pem", "all.key", "all.example");
    let file = files.text("credentials.toml");
    run(&["credentials", "add", "all", "--prefix", "", "--allow", "read,write,admin", &file]);
    let text = std::fs::read_to_string(&file).expect("it was made");
    files.write("credentials.toml", &text.replace("prefix = ", "certificate = \"all.example\"\nprefix = "));
    let [ca, certificate, key] = ["ca.pem", "server.pem", "server.key"].map(|name| files.text(name));
    let tls = ["--credentials", &file, "--tls-certificate", &certificate, "--tls-key", &key];
    let server = Server::start_with("memory:", &[&tls[..], &["--tls-client-ca", &ca]].concat());
    let url = format!("https://localhost:{}", server.address().port());

    let builder = || aft_client::Client::builder(&url).ca(&ca);
    let client = builder().certificate(files.path("all.pem")).key(files.path("all.key")).build().unwrap();
    let ran = client.run("r1", |t| async move {
        t.put("k", "v").await?;
        Ok::<_, aft_client::Error>("done")
    });
    assert_eq!(ran.await.unwrap().result, "done");
    assert_eq!(client.get("k").await.unwrap().unwrap().bytes, "v");
    // Twenty times: with TLS 1.3 the alert may come before, after and while the call is written.
    let without = builder().build().unwrap();
    for _ in 0..20 {
        let refused = without.put("k", "w").await.unwrap_err();
        assert!(matches!(refused, aft_client::Error::Unavailable(_)), "{refused:?}");
        assert!(!refused.is_retryable() && refused.to_string().contains("client certificate"), "{refused}");
    }

    let [own, own_key] = ["all.pem", "all.key"].map(|name| files.text(name));
    let with = ["--ca", &ca, "--client-certificate", &own, "--client-key", &own_key];
    let show = |more: &[&str]| run(&[&["request", "show", "r1", "--server", &url], more].concat());
    assert_eq!(show(&with).json()["result"], "ZG9uZQ==");
    show(&[]).assert_refused(&["do not agree on TLS", "`ca`"]);
    show(&with[..2]).assert_refused(&["client certificate"]);
    show(&["--ca", "/nowhere/ca.pem"]).assert_refused(&["`ca`", "/nowhere/ca.pem"]);
    let arguments = ["bench", "standard", "--store", &url, "--transactions", "20", "--json"];
    assert_eq!(run(&[&arguments[..], &with].concat()).json()["transactions"], 20);
    assert_ne!(run(&arguments).code, Some(0));
}
