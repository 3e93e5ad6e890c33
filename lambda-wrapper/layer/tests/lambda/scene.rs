//! A function with the layer, under a local Lambda, over a real store.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aft_core::message::Isolation;
use aft_core::settings::Levels;
use aft_format::{Race, Times};
use aft_lambda_host::{Config, Function, Host, Invoke, Logs};
use aft_services::{Home, Program, Server, Service};
use aft_store::Store as _;
use aft_store_split::{Halves, SplitStore};
use serde_json::Value;
use tempfile::TempDir;

/// The bucket that the handlers use.
const BUCKET: &str = "shop";

/// The stores over which the scenes are played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreKind {
    Memory,
    Minio,
    DynamoDb,
    /// The same, with keys that are read atomic.
    MinioReadAtomic,
    DynamoDbReadAtomic,
    /// Records on DynamoDB, and large values on MinIO.
    Split,
    /// A shim, over a store in its memory.
    Shim,
    /// No layer at all: the function uses MinIO itself.
    PlainMinio,
}

/// The programs that a function uses, besides its code.
enum Beside {
    Nothing,
    Server(Server),
    Both { table: Server, bucket: Server },
    Shim(Shim),
}

/// A running shim, with the addresses that it has printed.
struct Shim {
    url: String,
    s3_url: String,
    _program: Program,
}

/// A local Lambda with one function, called `function`.
pub(crate) struct Scene {
    host: Host,
    kind: StoreKind,
    log: Arc<Mutex<Vec<String>>>,
    // These are dropped after the host.
    beside: Beside,
    _directory: TempDir,
}

impl fmt::Debug for Scene {
    /// Shows the last lines that the function and the layer wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let log = self.log.lock().expect("no test panics while it holds the log");
        writeln!(f, "{:?}", self.kind)?;
        log.iter().rev().take(40).rev().try_for_each(|line| writeln!(f, "    {line}"))
    }
}

impl Scene {
    /// Starts a scene with the runtime client for Python; `None` if a service that it needs is
    /// skipped.
    pub(crate) async fn start(kind: StoreKind, handler: &str) -> Option<Scene> {
        Scene::with(kind, handler, |_| {}).await
    }

    /// Starts a scene whose function `change` has changed.
    pub(crate) async fn with(
        kind: StoreKind,
        handler: &str,
        change: impl FnOnce(&mut Function),
    ) -> Option<Scene> {
        if Service::LambdaRuntimes.skipped() {
            return None;
        }
        let python =
            Service::LambdaRuntimes.program(&Home::from_environment()).unwrap_or_else(|why| panic!("{why}"));
        let beside = match kind {
            StoreKind::Memory => Beside::Nothing,
            StoreKind::Minio | StoreKind::MinioReadAtomic | StoreKind::PlainMinio => {
                Beside::Server(Service::Minio.start_or_skip()?)
            }
            StoreKind::DynamoDb | StoreKind::DynamoDbReadAtomic => {
                Beside::Server(Service::DynamoDb.start_or_skip()?)
            }
            StoreKind::Split => Beside::Both {
                table: Service::DynamoDb.start_or_skip()?,
                bucket: Service::Minio.start_or_skip()?,
            },
            StoreKind::Shim => Beside::Shim(start_shim()),
        };
        let directory = tempfile::tempdir().expect("a directory for the layer");
        let (extension, wrapper) = layer_files(directory.path());
        let mut function =
            Function::new("function", &[&python.display().to_string(), "-m", "awslambdaric", handler]);
        function.directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/handlers");
        function.handler = handler.to_owned();
        function.timeout = Duration::from_secs(6);
        function.concurrency = 4;
        function.freeze = true;
        function.environment = variables(kind, &beside).await;
        if kind != StoreKind::PlainMinio {
            function.extensions = vec![extension];
            function.wrapper = Some(wrapper);
        }
        change(&mut function);
        let (logs, log) = kept_logs();
        let mut config = Config::of(vec![function]);
        // Eight workers that load boto3 at once take longer than Lambda's 10 s on a busy machine.
        config.init = Duration::from_secs(120);
        let host = Host::start(config, logs).await.expect("the host starts");
        Some(Scene { host, kind, log, beside, _directory: directory })
    }

    /// Returns true if several environments share the store.
    pub(crate) fn is_shared(&self) -> bool {
        self.kind != StoreKind::Memory
    }

    /// Invokes the function, and returns its answer, or the document of its error.
    pub(crate) async fn answer(&self, invoke: Invoke) -> Result<Value, Value> {
        let invoked = self.host.invoke(invoke).await.unwrap_or_else(|why| panic!("{why}: {self:?}"));
        let answer = serde_json::from_slice(&invoked.payload)
            .unwrap_or_else(|why| panic!("{why}: {:?}: {self:?}", invoked.payload));
        match invoked.is_ok() {
            true => Ok(answer),
            false => Err(answer),
        }
    }

    /// Invokes the function with an event, which must succeed.
    pub(crate) async fn ok(&self, event: Value) -> Value {
        let answer = self.answer(Invoke::new("function", event.to_string())).await;
        answer.unwrap_or_else(|why| panic!("{event}: {why}: {self:?}"))
    }

    /// Returns the last line with `words` that the function or the layer wrote.
    pub(crate) fn last_logged(&self, words: &str) -> String {
        let log = self.log.lock().expect("no test panics while it holds the log");
        let line = log.iter().rev().find(|line| line.contains(words));
        line.unwrap_or_else(|| panic!("{words:?} was not logged")).clone()
    }

    /// Returns the lines with `words` that the function or the layer wrote.
    pub(crate) fn lines(&self, words: &str) -> Vec<String> {
        let log = self.log.lock().expect("no test panics while it holds the log");
        log.iter().filter(|line| line.contains(words)).cloned().collect()
    }

    /// Returns the number of lines that are these words.
    pub(crate) fn logged(&self, words: &str) -> usize {
        self.lines(words).iter().filter(|line| line.trim_end() == words).count()
    }

    /// Returns the local Lambda.
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// Returns the server beside the function.
    pub(crate) fn server(&mut self) -> &mut Server {
        match &mut self.beside {
            Beside::Server(server) => server,
            Beside::Nothing | Beside::Both { .. } | Beside::Shim(_) => {
                panic!("no one server holds the store")
            }
        }
    }

    /// Gives a level to a prefix of the store, as `aft store init --isolation` does.
    pub(crate) async fn change_level(&mut self, prefix: &str, level: Isolation) {
        let server = self.server();
        let mut options = aft_store_s3::Options::default();
        options.keys = Some(aft_store_s3::Keys {
            access: server.access_key().into(),
            secret: server.secret_key().into(),
        });
        let store =
            aft_store_s3::S3Store::open(&server.store_url(), &options).await.expect("the store is there");
        let changes = [(prefix.to_owned(), level)];
        let limit = Duration::from_secs(5);
        aft_node::change_levels(&store, &changes, limit).await.expect("a prefix without keys");
    }

    /// Takes the server beside the function, to be given back.
    pub(crate) fn take_server(&mut self) -> Server {
        match std::mem::replace(&mut self.beside, Beside::Nothing) {
            Beside::Server(server) => server,
            Beside::Nothing | Beside::Both { .. } | Beside::Shim(_) => {
                panic!("no one server holds the store")
            }
        }
    }

    /// Gives the server back.
    pub(crate) fn give_server(&mut self, server: Server) {
        self.beside = Beside::Server(server);
    }

    /// Returns true if the function or the layer wrote a line that contains `words`.
    pub(crate) fn has_logged(&self, words: &str) -> bool {
        self.log
            .lock()
            .expect("no test panics while it holds the log")
            .iter()
            .any(|line| line.contains(words))
    }

    pub(crate) async fn stop(self) {
        self.host.stop().await;
    }
}

/// Puts the binary where Lambda looks for an extension, and where the wrapper is.
fn layer_files(directory: &Path) -> (PathBuf, PathBuf) {
    let binary = env!("CARGO_BIN_EXE_aft-layer");
    let extensions = directory.join("extensions");
    std::fs::create_dir(&extensions).expect("a new directory");
    let (extension, wrapper) = (extensions.join("aft-layer"), directory.join("aft-exec"));
    symlink(binary, &extension).expect("a new link");
    symlink(binary, &wrapper).expect("a new link");
    (extension, wrapper)
}

/// Starts the server of the project, which cargo has put beside the layer.
fn start_shim() -> Shim {
    let aft = Path::new(env!("CARGO_BIN_EXE_aft-layer")).with_file_name("aft");
    assert!(aft.is_file(), "{} is missing: build it with `cargo build --locked -p aft`", aft.display());
    let any = "127.0.0.1:0";
    let arguments = ["serve", "--store", "memory:", "--listen", any, "--s3-listen", any, "--bucket", BUCKET];
    let folder = std::env::temp_dir();
    let mut program = Program::start(&aft, &arguments, &[], &folder).expect("the shim starts");
    let mut url = |words: &str| {
        let said = program.says(words, Duration::from_secs(30)).expect("the shim serves");
        said.split_whitespace().next().expect("an address").to_owned()
    };
    let (url, s3_url) = (url("listening on "), url("listening for S3 on "));
    Shim { url, s3_url, _program: program }
}

/// Makes a store on a server, as `aft store init` does, and returns its URL.
async fn make_store(kind: StoreKind, server: &Server) -> String {
    let url = server.store_url();
    let level = match kind {
        StoreKind::MinioReadAtomic | StoreKind::DynamoDbReadAtomic => Isolation::ReadAtomic,
        _ => Isolation::Serializable,
    };
    match kind {
        StoreKind::Memory | StoreKind::Split | StoreKind::Shim | StoreKind::PlainMinio => {
            unreachable!("it has no server, or two")
        }
        StoreKind::Minio | StoreKind::MinioReadAtomic => {
            let keys =
                aft_store_s3::Keys { access: server.access_key().into(), secret: server.secret_key().into() };
            let mut options = aft_store_s3::Options::default();
            options.keys = Some(keys);
            let (store, _) = aft_store_s3::S3Store::init(&url, &options, false).await.expect("a new store");
            describe(Arc::new(store), level).await;
        }
        StoreKind::DynamoDb | StoreKind::DynamoDbReadAtomic => {
            let keys = aft_store_dynamodb::Keys {
                access: server.access_key().into(),
                secret: server.secret_key().into(),
            };
            let mut options = aft_store_dynamodb::Options::default();
            options.keys = Some(keys);
            let (store, _) =
                aft_store_dynamodb::DynamoDbStore::init(&url, &options).await.expect("a new store");
            describe(Arc::new(store), level).await;
        }
    }
    url
}

/// Makes a store whose large values lie in a bucket, as `aft store init` does, and returns its URL.
async fn make_split(table: &Server, bucket: &Server) -> String {
    let halves = Halves { records: table.store_url(), blobs: bucket.store_url() };
    // One pair of keys, since the layer has one: that of the bucket, which checks signatures.
    let (access, secret) = (bucket.access_key(), bucket.secret_key());
    let options = aft_store_s3::Options::with_keys(access, secret);
    let (blobs, _) = aft_store_s3::S3Store::init(&halves.blobs, &options, false).await.expect("a new place");
    let options = aft_store_dynamodb::Options::with_keys(access, secret);
    let (records, _) =
        aft_store_dynamodb::DynamoDbStore::init(&halves.records, &options).await.expect("a new store");
    let store = SplitStore::new(Arc::new(records), Arc::new(blobs.clone()));
    let core = aft_node::NodeSettings::new(&store.capabilities()).core;
    let levels = Levels::everywhere(Isolation::Serializable);
    let new = aft_node::NewStore { race: Race::NotProbed, times: Times::of(&core), levels };
    aft_node::init_split(&store, &blobs, &new, Duration::from_secs(5)).await.expect("a new store");
    halves.joined()
}

/// Writes the description of a new store.
async fn describe(store: Arc<dyn aft_store::Store>, level: Isolation) {
    let mut settings = aft_node::NodeSettings::new(&store.capabilities());
    settings.core.levels = Levels::everywhere(level);
    let node = aft_node::start(store, settings).await.expect("a node on a new store");
    node.drain(Duration::ZERO).await;
}

/// Returns the variables of the function: the layer's, and those with which SDKs sign.
async fn variables(kind: StoreKind, beside: &Beside) -> BTreeMap<String, String> {
    let (mut access, mut secret) = ("any", "any");
    let mut set = BTreeMap::from([("AFT_LOG".to_owned(), "debug".to_owned())]);
    let mut add = |name: &str, value: &str| set.insert(name.to_owned(), value.to_owned());
    match beside {
        Beside::Nothing => {
            add("AFT_STORE", "memory:");
            add("AFT_S3_BUCKETS", BUCKET);
        }
        Beside::Server(server) if kind == StoreKind::PlainMinio => {
            (access, secret) = (server.access_key(), server.secret_key());
            add("AWS_ENDPOINT_URL_S3", &server.endpoint());
            for bucket in [BUCKET, "bank"] {
                server.create_bucket(bucket).expect("a new bucket");
            }
        }
        Beside::Server(server) => {
            (access, secret) = (server.access_key(), server.secret_key());
            add("AFT_STORE", &make_store(kind, server).await);
            add("AFT_S3_BUCKETS", BUCKET);
        }
        Beside::Both { table, bucket } => {
            (access, secret) = (bucket.access_key(), bucket.secret_key());
            add("AFT_STORE", &make_split(table, bucket).await);
            add("AFT_S3_BUCKETS", BUCKET);
        }
        Beside::Shim(shim) => {
            add("AFT_URL", &shim.url);
            // One process holds the store, so transactions choose their level.
            add("AFT_ISOLATION", "serializable");
            add("AFT_S3_URL", &shim.s3_url);
        }
    }
    add("AWS_ACCESS_KEY_ID", access);
    add("AWS_SECRET_ACCESS_KEY", secret);
    set
}

fn kept_logs() -> (Logs, Arc<Mutex<Vec<String>>>) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let log = kept.clone();
    let logs =
        Logs::new(move |line| log.lock().expect("no test panics while it holds the log").push(line.text));
    (logs, kept)
}
