//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use aft_access::Right;
use aft_bench::exactly_once::Options as ExactlyOnce;
use aft_client::TlsFiles;
use aft_core::ids::Key;
use aft_core::message::Isolation;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::functions::FunctionsArguments;
use crate::transfer::{ExportArguments, ImportArguments};

/// The width of help: it fits every terminal, a pipe to a pager, and a quotation in an issue. On a
/// narrower terminal it is broken to its width.
pub(crate) const HELP_COLUMNS: usize = 80;

/// Transactions for functions that are retried, run twice, or die halfway.
#[derive(Debug, Parser)]
#[command(name = "aft", version, max_term_width = HELP_COLUMNS)]
pub(crate) struct Aft {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(ServeArguments),
    Settings(SettingsArguments),
    Demo(DemoArguments),
    #[command(hide = true)]
    DemoFunction {
        order: String,
    },
    Bench(BenchArguments),
    Check(CheckArguments),
    Request(RequestArguments),
    Store(StoreArguments),
    Maintain(MaintainArguments),
    Import(ImportArguments),
    Export(ExportArguments),
    Credentials(CredentialsArguments),
    Functions(FunctionsArguments),
}

/// The format of logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// A choice of on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Switch {
    On,
    Off,
}

/// Serve transactions over a store.
///
/// A setting comes from a flag, else from the environment (AFT_SECTION__KEY), else from the
/// settings file, else it has its default. An unknown entry is rejected by name.
///
/// The first SIGTERM or SIGINT drains the server: /readyz says so, open transactions finish or time
/// out, and the exit code is 0. The second one ends the process at once.
#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// Serve this store: memory:, local:DIR, s3://BUCKET/PREFIX?endpoint=URL&region=R,
    /// dynamodb://TABLE/PREFIX?region=R&blobs=URL or redis[s]://HOST:PORT/PREFIX
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// Listen for the native API here: on a loopback address, or with --credentials on any
    /// [default: 127.0.0.1:7400]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,
    /// Serve the S3 protocol here, too: on a loopback address, or with --credentials on any
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) s3_listen: Option<String>,
    /// Take the part of a host before this domain for a bucket; may be given several times
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) s3_domain: Vec<String>,
    /// Make this bucket of the S3 endpoint at the start, if it is missing; may be given several
    /// times. As NAME=s3://BUCKET/PREFIX it reads through to an existing bucket, its origin: keys
    /// that it has never written are read there. With ?mirror=on committed objects are also
    /// written there
    #[arg(long, value_name = "NAME[=URL]")]
    pub(crate) bucket: Vec<String>,
    /// Run N nodes in this process, each with its own event loop; more than one only on stores that
    /// several servers may share (s3:, dynamodb:, redis:) [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) nodes: Option<NonZeroUsize>,
    /// Sweep the store from time to time, which removes superseded versions [default: on]
    #[arg(long, value_name = "SWITCH")]
    pub(crate) maintain: Option<Switch>,
    /// Read this settings file [default: aft.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Admit only callers with a credential in this file (aft credentials add makes one)
    /// [default: everyone, on loopback]
    #[arg(long, value_name = "FILE")]
    pub(crate) credentials: Option<PathBuf>,
    /// Speak TLS with this certificate and its chain to a root (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// Use this private key of the certificate (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Demand client certificates that these authorities have signed (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// Write logs in this format, on standard error [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// Divide all of the protocol's times by N; for tests only
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub(crate) test_time_divisor: Option<u64>,
}

/// The examples in `aft serve --help`, before the list of settings.
pub(crate) const SERVE_EXAMPLES: &str = "\
Examples:
  aft serve --store local:./data
  aft serve --store memory: --listen 127.0.0.1:0
  aft serve --store 's3://bucket/prefix?region=eu-west-1'
  aft serve --store local:./data --s3-listen 127.0.0.1:7401 --bucket photos
  aft serve --store local:./data --s3-listen 127.0.0.1:7401 \\
    --bucket 'photos=s3://photos/2026?region=eu-west-1&mirror=on'
  AFT_REDIS_PASSWORD=… aft serve --store 'redis://127.0.0.1:6379/shop'
  AFT_DOORS__VALUE_BYTES_MAX=1048576 aft serve --store local:./data
  aft serve --store local:./data --listen 0.0.0.0:7400 \\
    --credentials credentials.toml \\
    --tls-certificate server.pem --tls-key server.key";
/// The end of `aft serve --help`: what the list of settings and `aft settings` do not say.
pub(crate) const SERVE_NOTES: &str = "\
Access: without credentials everyone who reaches the port may do everything, so any address but \
loopback is rejected. SIGHUP reads the credentials, the certificate and the key again; \
connections stay open. An error in these files is logged then, and the old contents stay in use.

Times: timeout_ms and retention_s of a request are moved to the nearer bound if they are beyond \
it. The least retention is 2 x (timeout_max_ms + the time by which a call to the store may come \
late) + skew_max_ms: some 30 minutes with memory: and local:, 2 h 30 min with s3: and dynamodb:, \
and 2 minutes with redis:.

Several servers on one store: each sees what the others committed within recheck_after_ms, and at \
once in a transaction that begins fresh. A server takes its time from the store's answers. Where \
commit_wait_max_ms is too short for a commit, it first lists the keys that it writes.

Levels: on such a store they belong to the keys. If the first server makes the store, every key \
is serializable; aft store init --isolation makes it with other levels, and aft store show lists \
them.

Sweeps: aft maintain sweeps without serving.

Memory: it does not grow with the number of keys. With the defaults it is at most about 2.7 GiB, \
the sum of these, which memory_bytes_max bounds as a whole:
  index_bytes_max + value_cache_bytes_max + transactions_bytes_max
  + [local] cache_bytes_max + 7.5 times memtable_bytes_max
  + 16 bytes times sweep_hashes_max + bodies_bytes_max
  + 256 MiB for everything else";

/// Print every setting of `aft serve` at its default, as an annotated settings file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aft settings > aft.toml")]
pub(crate) struct SettingsArguments {}

/// Show bank transfers by processes that are killed, run twice and come back late: straight to a
/// store, then through AFT, then at both levels.
///
/// The exit code is 0 if the run through AFT kept every promise and the sum of all balances stayed
/// the same at the level serializable, and 1 if not. On an s3:, dynamodb: or redis: store the
/// levels are shown in a second store beside the given one, which is removed at the end.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aft demo
  aft demo --requests 200 --seed 7 --json --report report.html")]
pub(crate) struct DemoArguments {
    /// Make N transfers in each of the two runs
    #[arg(long, value_name = "N", default_value_t = aft_bench::demo::Options::default().requests)]
    pub(crate) requests: u64,
    /// Choose accounts, amounts and fates by this seed; the same seed gives the same ones
    #[arg(long, value_name = "X")]
    pub(crate) seed: Option<u64>,
    /// Use this store [default: local: in a temporary directory]
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// Write the HTML report to this file [default: a file in the directory for temporary files]
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Run a workload and print its figures.
#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    #[command(subcommand)]
    pub(crate) workload: BenchWorkload,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchWorkload {
    Standard(StandardArguments),
    ExactlyOnce(ExactlyOnceArguments),
}

/// Run the paper's standard transaction: two functions, each with one write and two reads of 4 KiB,
/// and keys by a Zipf law.
///
/// A store URL runs a node in this process; an http:// or https:// URL drives a server. Given
/// several servers of one store, each client goes on to the next server after every transaction,
/// takes its session along, and checks that it sees what it has committed and read.
///
/// The exit code is 1 if a run through AFT saw an anomaly or a session fell behind, and 0
/// otherwise.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aft bench standard --store memory: --seconds 10
  aft bench standard --store http://127.0.0.1:7400 --clients 40 --json
  aft bench standard --store http://10.0.0.1:7400 --store http://10.0.0.2:7400
  aft bench standard --store local:./bench --direct --history history.txt")]
pub(crate) struct StandardArguments {
    /// Load this store, or one or more servers: memory:, local:DIR,
    /// s3://BUCKET/PREFIX?endpoint=URL&region=R,
    /// dynamodb://TABLE/PREFIX?region=R&blobs=URL, redis[s]://HOST:PORT/PREFIX,
    /// http://HOST:PORT, https://HOST:PORT
    #[arg(long, value_name = "URL", required = true)]
    pub(crate) store: Vec<String>,
    /// Drop sessions when clients go from server to server, which shows what sessions are for
    #[arg(long)]
    pub(crate) no_sessions: bool,
    /// Read and write straight at the store, without AFT; the same as --way direct
    #[arg(long, conflicts_with = "way")]
    pub(crate) direct: bool,
    /// Choose how functions reach the store
    #[arg(long, value_name = "WAY", value_enum, default_value_t = Way::Shim)]
    pub(crate) way: Way,
    /// Compare all in one run: without AFT, by the store's own transactions if it has them, and
    /// with AFT
    #[arg(long, conflicts_with_all = ["direct", "way", "history"])]
    pub(crate) compare: bool,
    /// Delay every call to the store as on a cloud: s3 (20 ms median, 120 ms p99), dynamodb (5,
    /// 20), redis (0.5, 2); or by a number of milliseconds
    #[arg(long, value_name = "LATENCY", value_parser = latency)]
    pub(crate) latency: Option<Latency>,
    /// Measure N transactions [default: 10000]
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    pub(crate) transactions: Option<u64>,
    /// Measure for S seconds
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) seconds: Option<std::time::Duration>,
    /// Run for S seconds before measuring [default: 1 with --seconds, else 0]
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) warm_up: Option<std::time::Duration>,
    /// Start this many transactions a second, even if earlier ones have not ended [default: as fast
    /// as they end]
    #[arg(long, value_name = "PER_S")]
    pub(crate) rate: Option<f64>,
    /// Run C clients, each with at most one transaction in flight
    #[arg(long, value_name = "C", default_value_t = 10)]
    pub(crate) clients: usize,
    /// Use K keys
    #[arg(long, value_name = "K", default_value_t = 1_000)]
    pub(crate) keys: usize,
    /// Choose keys by a Zipf law with this exponent: 0 (all alike) to 3
    #[arg(long, value_name = "Z", default_value_t = 1.0)]
    pub(crate) zipf: f64,
    /// Run N functions in a transaction
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) functions: usize,
    /// Read N keys in a function
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) reads: usize,
    /// Write N keys in a function
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) writes: usize,
    /// Write values of this size
    #[arg(long, value_name = "BYTES", default_value_t = 4_096)]
    pub(crate) value_bytes: usize,
    /// Skip writing every key once before the load
    #[arg(long)]
    pub(crate) no_prepare: bool,
    /// Choose keys and values by this seed; the same seed gives the same ones
    #[arg(long, value_name = "X")]
    pub(crate) seed: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Read the bearer token for a server from this file
    /// [default: the environment's AFT_TOKEN, if it is set]
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) tls: TlsArguments,
    /// Write the history to this file, for `aft check`
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
}

/// The way on which functions reach the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Way {
    /// Through AFT
    Shim,
    /// Straight at the store, one call after the other
    Direct,
    /// Straight at the store: all writes of a function at once, then its reads
    DirectAtOnce,
    /// By the store's own transactions: one for the reads of each function, and one for all writes
    Transactions,
}

/// Compare three ways to run functions that crash: plain, with an idempotency record, and through
/// AFT.
///
/// Each request has two functions, and each of them reads a counter of its own request and writes
/// it one higher. Functions die at points that the seed draws, before and after each of their
/// calls, and the request is delivered again; some requests are delivered twice at once.
///
/// The three ways run one after the other over one store, with the same crashes; the last one goes
/// through a node in this process. Afterwards every counter is read: 1 and 1 is right.
///
/// The exit code is 0 if that holds through AFT and no reader saw half of a request meanwhile, and
/// 1 otherwise.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aft bench exactly-once --store memory:
  aft bench exactly-once --store local:./bench --crashes 0.1 --seed 7 --json
  aft bench exactly-once --store memory: --latency s3 \\
    --crashes 0 --duplicates 0 --readers 0

The default times are those of asynchronous calls of AWS Lambda, thirty times faster: a function \
may take 30 s, and is called again a minute after it failed, and two minutes after it failed \
again. A record in progress expires when its function's time is over, so with the defaults every \
retry finds it expired: the best case of such records.")]
pub(crate) struct ExactlyOnceArguments {
    /// Use this store: memory:, local:DIR, s3://BUCKET/PREFIX?endpoint=URL&region=R,
    /// dynamodb://TABLE/PREFIX?region=R&blobs=URL or redis[s]://HOST:PORT/PREFIX
    #[arg(long, value_name = "URL")]
    pub(crate) store: String,
    /// Send N requests in each of the three ways
    #[arg(long, value_name = "N", default_value_t = ExactlyOnce::default().requests)]
    pub(crate) requests: u64,
    /// Run C clients, each with at most one first attempt of a request in flight; retries run
    /// beside them
    #[arg(long, value_name = "C", default_value_t = ExactlyOnce::default().clients)]
    pub(crate) clients: usize,
    /// Kill this share of the attempts, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = ExactlyOnce::default().crashes)]
    pub(crate) crashes: f64,
    /// Deliver this share of the requests twice at the same time, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = ExactlyOnce::default().duplicates)]
    pub(crate) duplicates: f64,
    /// Make at most N attempts of a delivery, the first one included
    #[arg(long, value_name = "N", default_value_t = ExactlyOnce::default().attempts)]
    pub(crate) attempts: u32,
    /// Limit an attempt, a record in progress and an open transaction to S seconds [default: 1]
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) function_timeout: Option<std::time::Duration>,
    /// Wait S seconds after the first attempt that failed, twice as long after the second one, and
    /// so on [default: 2]
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) retry_delay: Option<std::time::Duration>,
    /// Run N tasks that read both counters of requests in flight
    #[arg(long, value_name = "N", default_value_t = ExactlyOnce::default().readers)]
    pub(crate) readers: usize,
    /// Write counters of this size
    #[arg(long, value_name = "BYTES", default_value_t = ExactlyOnce::default().value_bytes)]
    pub(crate) value_bytes: usize,
    /// Draw where attempts die, and what is delivered twice, from this seed; the same seed gives
    /// the same ones
    #[arg(long, value_name = "X")]
    pub(crate) seed: Option<u64>,
    /// Delay every call to the store as on a cloud: s3 (20 ms median, 120 ms p99), dynamodb (5,
    /// 20), redis (0.5, 2); or by a number of milliseconds
    #[arg(long, value_name = "LATENCY", value_parser = latency)]
    pub(crate) latency: Option<Latency>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// The time that calls to a store take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Latency(pub(crate) aft_store_faulty::Latency);

fn latency(text: &str) -> Result<Latency, String> {
    let latency = match text {
        "s3" => aft_store_faulty::Latency::S3,
        "dynamodb" => aft_store_faulty::Latency::DYNAMODB,
        "redis" => aft_store_faulty::Latency::REDIS,
        _ => match text.parse::<f64>() {
            // At most a minute.
            Ok(ms) if (0.0..=60_000.0).contains(&ms) => aft_store_faulty::Latency::fixed((ms * 1e3) as u64),
            _ => return Err("s3, dynamodb, redis, or milliseconds".into()),
        },
    };
    Ok(Latency(latency))
}

fn seconds(text: &str) -> Result<std::time::Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is not a number of seconds"))?;
    std::time::Duration::try_from_secs_f64(seconds).map_err(|why| why.to_string())
}

/// Check that a history is read atomic.
///
/// The exit code is 0 if it is, 1 if not, and 2 if the file is not a history or has no transaction
/// that committed: then there is nothing to judge.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aft check history.txt
  aft check history.txt --sessions
  aft check history.txt --plain history-plume.txt

A line of a history is w(key,value,session,transaction) or r(key,value,session,transaction), all \
integers. Value 0 means never written, and only reads have it; transaction -1 did not commit.")]
pub(crate) struct CheckArguments {
    /// Read the history from this file
    pub(crate) file: PathBuf,
    /// Demand that sessions see their own commits
    #[arg(long)]
    pub(crate) sessions: bool,
    /// Demand that all transactions have the outcome that they would have one after the other
    #[arg(long)]
    pub(crate) serializable: bool,
    /// Check also the reads of transactions that did not commit
    #[arg(long)]
    pub(crate) all_readers: bool,
    /// Write the history to this file in the plain text form of Plume and PolySI, which AWDIT's
    /// README calls the format plume: operations only, without comments and directives
    #[arg(long, value_name = "OUT")]
    pub(crate) plain: Option<PathBuf>,
}

/// Ask a server about requests.
#[derive(Debug, Args)]
pub(crate) struct RequestArguments {
    #[command(subcommand)]
    pub(crate) action: RequestAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RequestAction {
    Show(ShowArguments),
}

/// Show whether a request committed, when, which keys it wrote, and its result.
///
/// The exit code is 0 if it committed, and 1 if no commit of it is known.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aft request show order-17
  aft request show order-17 --scope checkout --server http://127.0.0.1:7400
  aft request show order-17 --server https://aft.internal:7400 --ca ca.pem")]
pub(crate) struct ShowArguments {
    /// Look up this request ID
    pub(crate) id: String,
    /// Look it up in this scope, in which the ID was used
    #[arg(long)]
    pub(crate) scope: Option<String>,
    /// Ask this server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7400")]
    pub(crate) server: String,
    /// Read the bearer token for the server from this file
    /// [default: the environment's AFT_TOKEN, if it is set]
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) tls: TlsArguments,
}

/// The files for a server at an https:// URL.
#[derive(Debug, Args)]
pub(crate) struct TlsArguments {
    /// Trust the authorities in this PEM file, instead of the system's, at an https:// URL
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Present the certificate in this PEM file, at an https:// URL
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub(crate) client_certificate: Option<PathBuf>,
    /// Read the private key of --client-certificate from this PEM file
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    pub(crate) client_key: Option<PathBuf>,
}

impl TlsArguments {
    /// Returns the files as the client takes them.
    pub(crate) fn files(self) -> TlsFiles {
        TlsFiles { ca: self.ca, certificate: self.client_certificate, key: self.client_key }
    }
}

/// Make and check the credentials of a server's callers.
#[derive(Debug, Args)]
pub(crate) struct CredentialsArguments {
    #[command(subcommand)]
    pub(crate) action: CredentialsAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CredentialsAction {
    Add(AddArguments),
    /// Draw a further token for an existing credential.
    ///
    /// Prints the token on standard output, once, and its hash on standard error: add the hash to
    /// the credential's list token_sha256 by hand. To change tokens without a gap, add the new
    /// hash, send the server SIGHUP, hand out the new token, and remove the old hash.
    #[command(after_help = "Examples:\n  aft credentials token > shop.token")]
    Token,
    /// Draw a further access key for an existing credential.
    ///
    /// Prints the key on standard output, once, as two lines that a shell can read: add it to the
    /// credential's list access_keys by hand, as { id = "…", secret = "…" }. To change keys without
    /// a gap, add the new one, send the server SIGHUP, hand it out, and remove the old one.
    #[command(after_help = "Examples:\n  aft credentials access-key > shop.env")]
    AccessKey,
    /// Read a credentials file as a server would, and report what is wrong with it.
    #[command(after_help = "Examples:\n  aft credentials check credentials.toml")]
    Check {
        /// Read this credentials file
        file: PathBuf,
    },
}

/// Add a credential to a file, which is created if it does not exist.
///
/// Prints its token on standard output, once: the file has only the token's SHA-256. With
/// --access-key it gets an access key for the S3 endpoint instead of a token, which is printed as
/// two lines that a shell can read. The file has to contain its secret, because signatures cannot
/// be verified without it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aft credentials add shop --prefix shop/ --allow read,write \\
    credentials.toml > shop.token
  aft credentials add operator --prefix '' --allow read,admin \\
    credentials.toml > operator.token
  aft credentials add thumbnails --prefix photos/ --allow read,write \\
    --access-key credentials.toml > thumbnails.env

An entry of the file; one of token_sha256, access_keys and certificate is
needed, and limits and expires may be left out:
  [[credential]]
  name = \"shop\"
  # Up to 4 of them.
  token_sha256 = [\"…\"]
  # Access keys for the S3 endpoint, up to 4 of them.
  access_keys = [{ id = \"AFT…\", secret = \"…\" }]
  # A DNS or URI name of its client certificate: with it, it needs no token.
  certificate = \"shop.example\"
  # All its keys begin with this.
  prefix = \"shop/\"
  # And \"admin\": metrics; with the empty prefix, any request by its hash.
  allow = [\"read\", \"write\"]
  expires = 2030-01-01T00:00:00Z
  [credential.limits]
  open_transactions_max = 100
  open_bytes_max = 33554432
  calls_per_s = 1000
  bytes_per_s = 10000000
  bodies_bytes_max = 67108864

If open_transactions_max, open_bytes_max or bodies_bytes_max is left out, it is a quarter of what \
the server accepts in all. A rate that is left out is not limited.")]
pub(crate) struct AddArguments {
    /// Name the tenant: letters, digits, '.', '_', '-'
    pub(crate) name: String,
    /// Admit it to keys that begin with this; '' for every key
    #[arg(long, value_name = "KEY")]
    pub(crate) prefix: String,
    /// Grant these rights: read, write, admin
    #[arg(long, value_name = "LIST", value_delimiter = ',', required = true, value_parser = right)]
    pub(crate) allow: Vec<Right>,
    /// Give it an access key for the S3 endpoint instead of a token
    #[arg(long)]
    pub(crate) access_key: bool,
    /// Add the credential to this file
    pub(crate) file: PathBuf,
}

fn right(text: &str) -> Result<Right, String> {
    let found = Right::ALL.into_iter().find(|right| right.as_str() == text);
    found.ok_or_else(|| "a right is read, write or admin".to_owned())
}

/// Sweep a store without serving: remove versions that newer ones have superseded.
///
/// Any number of servers and sweeps may run on a store at once. A sweep that is stopped leaves
/// notes, from which the next one continues. A superseded version is removed in the sweep after the
/// one that moved the mark above it. The exit code is 0 when the sweep has ended or was stopped.
///
/// Bytes are estimates: names and bodies of versions and records, and the large values of a record,
/// whose parts are removed in a later sweep. Parts of attempts that did not commit are only counted
/// as parts, since the store does not say how long they are.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aft maintain 's3://bucket/prefix?region=eu-west-1' --once
  aft maintain local:./data --for 60")]
pub(crate) struct MaintainArguments {
    /// Sweep this store: local:DIR, s3://BUCKET/PREFIX?endpoint=URL&region=R,
    /// dynamodb://TABLE/PREFIX?region=R&blobs=URL or redis[s]://HOST:PORT/PREFIX
    #[arg(value_name = "URL")]
    pub(crate) store: String,
    /// End when the whole store has been swept
    #[arg(long, conflicts_with = "limit")]
    pub(crate) once: bool,
    /// End after S seconds, or when the whole store has been swept
    #[arg(long = "for", id = "limit", value_name = "S", value_parser = seconds)]
    pub(crate) limit: Option<std::time::Duration>,
    /// Read this settings file [default: aft.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Divide all of the protocol's times by N; for tests only
    #[arg(long, value_name = "N", hide = true)]
    pub(crate) test_time_divisor: Option<u64>,
}

/// A level for a prefix of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PrefixLevel {
    pub(crate) prefix: String,
    pub(crate) level: Isolation,
}

fn prefix_level(text: &str) -> Result<PrefixLevel, String> {
    let form = "write PREFIX=LEVEL, where LEVEL is serializable or read_atomic";
    // A prefix may contain an equals sign, a level does not.
    let (prefix, level) = text.rsplit_once('=').ok_or(form)?;
    let levels = [Isolation::ReadAtomic, Isolation::Serializable];
    let level = levels.into_iter().find(|known| known.as_str() == level).ok_or(form)?;
    if prefix.len() > Key::BYTES_MAX {
        return Err(format!("the prefix is longer than any key, which has {} bytes at most", Key::BYTES_MAX));
    }
    Ok(PrefixLevel { prefix: prefix.to_owned(), level })
}

/// Prepare or examine a store.
#[derive(Debug, Args)]
pub(crate) struct StoreArguments {
    #[command(subcommand)]
    pub(crate) action: StoreAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreAction {
    /// Make a store if it does not exist, and report what it can do.
    ///
    /// For an s3: store it makes the bucket, for a dynamodb: store the table (on-demand). A second
    /// run changes nothing. The other stores are made when they are first opened.
    ///
    /// A dynamodb: store may keep its large values in a bucket, where they cost less: with
    /// blobs=s3://BUCKET/PREFIX in its URL, in which a & is written %26. The bucket is made as
    /// well, the store claims the prefix for itself alone, and every command and server on it then
    /// needs the same blobs=. A store that was made without it does not get it later.
    ///
    /// A new store records the [node] times that all of its nodes must have: timeout_max_ms,
    /// recheck_after_ms, skew_max_ms.
    ///
    /// On an s3:, dynamodb: or redis: store every key is serializable, unless --isolation sets
    /// another level when the store is made, or later for a prefix that holds no keys yet. On
    /// memory: and local: every transaction chooses its level.
    #[command(after_help = "\
Examples:
  aft store init 's3://bucket/prefix?region=eu-west-1'
  aft store init 's3://bucket?endpoint=http://127.0.0.1:9000'
  aft store init 'dynamodb://table?region=eu-west-1'
  aft store init 'dynamodb://table?region=eu-west-1&blobs=s3://bucket/large'
  aft store init redis://127.0.0.1:6379/shop \\
    --isolation =read_atomic --isolation stock/=serializable")]
    Init {
        /// Make this store: memory:, local:DIR, s3://BUCKET/PREFIX?endpoint=URL&region=R,
        /// dynamodb://TABLE/PREFIX?region=R&blobs=URL or redis[s]://HOST:PORT/PREFIX
        url: String,
        /// Make it in a bucket even if other objects are in its place, or another store is within
        /// or around it
        #[arg(long)]
        among_others: bool,
        /// Read this settings file, whose [node] times all nodes on the store must have
        /// [default: aft.toml, if there is one]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Write the times of the settings into a store that was made with other times. First stop
        /// its nodes, and wait for the longer timeout_max_ms of the two plus the time of late calls
        /// (see aft store show)
        #[arg(long)]
        change_times: bool,
        /// Set the level of the keys that begin with PREFIX: serializable or read_atomic. The
        /// longest prefix that fits counts; an empty one sets the level of all other keys. May be
        /// given several times. If the store exists: first stop its nodes, and wait for
        /// timeout_max_ms plus the time of late calls (see aft store show)
        #[arg(long, value_name = "PREFIX=LEVEL", value_parser = prefix_level)]
        isolation: Vec<PrefixLevel>,
        /// Divide all of the protocol's times by N; for tests only
        #[arg(long, value_name = "N", hide = true)]
        test_time_divisor: Option<u64>,
    },
    /// Show a store's description of itself: identity, abilities, the times of its nodes, the mark,
    /// the levels of its keys.
    ///
    /// Nothing is made or changed. A local: store must not be open in another process.
    #[command(
        after_help = "Examples:\n  aft store show redis://127.0.0.1:6379/shop\n  aft store show local:./data --json"
    )]
    Show {
        /// Show this store: local:DIR, s3://BUCKET/PREFIX?endpoint=URL&region=R,
        /// dynamodb://TABLE/PREFIX?region=R&blobs=URL or redis[s]://HOST:PORT/PREFIX
        url: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Check that a store keeps the contract that AFT needs: races, pages, tags, names.
    ///
    /// A local: store is made if it does not exist. The probe removes all objects that it made.
    ///
    /// The exit code is 0 if every check passes, and 1 if not.
    #[command(
        after_help = "Examples:\n  aft store probe local:./data\n  aft store probe 's3://bucket/prefix?region=eu-west-1'"
    )]
    Probe {
        /// Probe this store: memory:, local:DIR, s3://BUCKET/PREFIX?endpoint=URL&region=R,
        /// dynamodb://TABLE/PREFIX?region=R&blobs=URL or redis[s]://HOST:PORT/PREFIX
        url: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_follows_the_last_equals_sign() {
        let read = |text: &str| prefix_level(text).map(|PrefixLevel { prefix, level }| (prefix, level));
        assert_eq!(read("shop/=serializable"), Ok(("shop/".into(), Isolation::Serializable)));
        assert_eq!(read("=read_atomic"), Ok((String::new(), Isolation::ReadAtomic)));
        assert_eq!(read("a=b=read_atomic"), Ok(("a=b".into(), Isolation::ReadAtomic)));
        for text in ["shop/", "serializable", "shop/=", "shop/=snapshot", "shop/= serializable"] {
            assert!(read(text).unwrap_err().contains("PREFIX=LEVEL"), "{text}");
        }
        let long = format!("{}=serializable", "k".repeat(Key::BYTES_MAX + 1));
        assert!(read(&long).unwrap_err().contains("longer than any key"));
    }
}
