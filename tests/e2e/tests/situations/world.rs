//! The world of a situation: a server that can be killed, frozen and restarted, with TLS or
//! without, and a front before it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use aft_api::Begin;
use aft_e2e::client::Client;
use aft_e2e::server::{Server, local};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};
use serde_json::{Map, Value, json};

use crate::front::{self, Front};

/// A world, with the directories of its store and of its certificates.
pub(crate) struct World {
    directory: tempfile::TempDir,
    arguments: Vec<String>,
    /// `None` while it is dead.
    server: Option<Server>,
    address: SocketAddr,
    url: String,
}

impl World {
    /// Makes the world that a situation describes.
    pub(crate) async fn make(description: &Value) -> World {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let mut world = World {
            directory,
            arguments: Vec::new(),
            server: None,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            url: String::new(),
        };
        let tls = description["tls"].as_str();
        if let Some(kind) = tls {
            world.make_certificates(kind);
        }
        let server = world.serve("127.0.0.1:0");
        world.address = server.address();
        world.server = Some(server);
        let front = match &description["front"] {
            Value::Null => None,
            front => Some(front_of(front)),
        };
        let address = match front {
            Some(front) => front::start(front, world.address).await,
            None => world.address,
        };
        let scheme = if tls.is_some() { "https" } else { "http" };
        // Certificates are for the name.
        world.url = format!("{scheme}://localhost:{}", address.port());
        world
    }

    fn serve(&self, listen: &str) -> Server {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let store = local(&self.directory.path().join("store"));
        Server::start_with(&store, &[&["--listen", listen], &arguments[..]].concat())
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().expect("names of temporary files are text").to_owned()
    }

    /// Makes the certificates of a kind of TLS, and the arguments of the server for them.
    fn make_certificates(&mut self, kind: &str) {
        let key = || KeyPair::generate().expect("a key can be generated");
        let authority = || {
            let mut ca = CertificateParams::new(Vec::<String>::new()).expect("no names are fine");
            ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            // A name of its own: an issuer with the name of its subject would look self-signed.
            ca.distinguished_name.push(DnType::CommonName, "authority");
            CertifiedIssuer::self_signed(ca, key()).expect("a key signs itself")
        };
        let (ours, other) = (authority(), authority());
        let name = if kind == "wrong host" { "example.org" } else { "localhost" };
        let mut leaf = CertificateParams::new(vec![name.to_owned()]).expect("a host name is a name");
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if kind == "expired" {
            (leaf.not_before, leaf.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let leaf_key = key();
        let signer = if kind == "untrusted" { &other } else { &ours };
        let leaf = leaf.signed_by(&leaf_key, signer).expect("the authority signs");
        let mut client = CertificateParams::new(vec!["client".to_owned()]).expect("a name is a name");
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let client_key = key();
        let client = client.signed_by(&client_key, &ours).expect("the authority signs");
        for (file, text) in [
            ("ca.pem", ours.pem()),
            ("server.pem", leaf.pem()),
            ("server.key", leaf_key.serialize_pem()),
            ("client.pem", client.pem()),
            ("client.key", client_key.serialize_pem()),
        ] {
            std::fs::write(self.file(file), text).expect("there is room");
        }
        if kind == "none" {
            return;
        }
        self.arguments = vec!["--tls-certificate".to_owned(), self.file("server.pem")];
        self.arguments.extend(["--tls-key".to_owned(), self.file("server.key")]);
        if kind == "client certificate" {
            self.arguments.extend(["--tls-client-ca".to_owned(), self.file("ca.pem")]);
            // Only a server with credentials asks for certificates.
            let credentials = self.file("credentials.toml");
            let rights = "[[credential]]\nname = \"client\"\ncertificate = \"client\"\nprefix = \"\"\nallow = [\"read\", \"write\"]\n";
            std::fs::write(&credentials, rights).expect("there is room");
            let own = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&credentials, own).expect("it is ours");
            self.arguments.extend(["--credentials".to_owned(), credentials]);
        }
    }

    /// Returns a command with the world's places in it: `{url}`, `{port}`, `{directory}`.
    pub(crate) fn fill(&self, command: &Value) -> Value {
        match command {
            Value::String(text) => {
                let port = self.url.rsplit(':').next().expect("a URL has a port");
                let text = text.replace("{url}", &self.url).replace("{port}", port);
                json!(text.replace("{directory}", &self.file("")))
            }
            Value::Object(fields) => Value::Object(
                fields.iter().map(|(name, value)| (name.clone(), self.fill(value))).collect::<Map<_, _>>(),
            ),
            other => other.clone(),
        }
    }

    /// Lets something happen in the world.
    pub(crate) async fn let_happen(&mut self, event: &Value) {
        match event["happens"].as_str().expect("an event has a name") {
            "kill" => self.server.take().expect("it is alive").kill(),
            "restart" => self.server = Some(self.serve(&self.address.to_string())),
            "freeze" => self.server.as_ref().expect("it is alive").pause(),
            "thaw" => self.server.as_ref().expect("it is alive").resume(),
            // An attempt whose function has died: nobody will end it.
            "open" => {
                let client = Client::new(self.address);
                let id = event["id"].as_str().expect("an attempt has an ID").to_owned();
                client.begin(&Begin { request_id: Some(id), ..Begin::default() }).await.expect("it is alive");
            }
            "pause" => {
                tokio::time::sleep(Duration::from_millis(event["ms"].as_u64().expect("a time"))).await;
            }
            other => panic!("{other} cannot happen"),
        }
    }
}

fn front_of(description: &Value) -> Front {
    let text = |name: &str| description[name].as_str().unwrap_or_default().to_owned();
    match text("does").as_str() {
        "answers" => {
            let body = text("body");
            let head = text("head").replace('\n', "\r\n");
            let len = body.len();
            Front::Answers(format!(
                "HTTP/1.1 {head}\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{body}"
            ))
        }
        "is slow" => Front::Slow(description["bytes_per_s"].as_u64().expect("a rate") as usize),
        "loses answers" => {
            let times = description["times"].as_u64().expect("a number") as usize;
            Front::Loses(text("of"), Arc::new(AtomicUsize::new(times)))
        }
        "normalises" => Front::Normalises,
        other => panic!("a front cannot do {other}"),
    }
}
