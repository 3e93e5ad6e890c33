//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use aft_access::Right;
use aft_bench::exactly_once::Options as ExactlyOnce;
use aft_core::ids::Key;
use aft_core::message::Isolation;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Transactions for functions that are retried, run twice, or die halfway.
#[derive(Debug, Parser)]
#[command(name = "aft", version, max_term_width = 110)]
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
    Credentials(CredentialsArguments),
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Switch {
    On,
    Off,
}

/// Serve transactions over a store.
///
/// Settings come from flags, then from the environment (AFT_SECTION__KEY), then from the settings file, then from defaults; an unknown
/// entry is refused by name. The first SIGTERM or SIGINT drains: /readyz says so, open transactions are finished or time out, exit code
/// 0. The second one ends the process at once.
#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// The store: memory:, local:DIR, s3://BUCKET/PREFIX?endpoint=URL&region=R, dynamodb://TABLE/PREFIX?endpoint=URL&region=R or redis://HOST:PORT/PREFIX
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// Where the native API listens: a loopback address, or with --credentials any [default: 127.0.0.1:7400]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,
    /// Run so many nodes in this process, each with a loop of its own; only on stores that other servers may write to as well [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) nodes: Option<NonZeroUsize>,
    /// Remove superseded versions from time to time [default: on]
    #[arg(long, value_name = "SWITCH")]
    pub(crate) maintain: Option<Switch>,
    /// The settings file [default: aft.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Who gets in: a credentials file (aft credentials add makes one) [default: everybody, on loopback]
    #[arg(long, value_name = "FILE")]
    pub(crate) credentials: Option<PathBuf>,
    /// Speak TLS with this certificate, and those that lead from it to a root (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Demand client certificates that these authorities have signed (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// How logs are written, on standard error [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// Divide all times of the protocol by this, for tests
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub(crate) test_time_divisor: Option<u64>,
}

/// The end of `aft serve --help`, before and after the list of settings.
pub(crate) const SERVE_EXAMPLES: &str = "\
Examples:
  aft serve --store local:./data
  aft serve --store memory: --listen 127.0.0.1:0
  aft serve --store 's3://bucket/prefix?region=eu-west-1'
  AFT_REDIS_PASSWORD=… aft serve --store 'redis://127.0.0.1:6379/shop'
  AFT_DOORS__VALUE_BYTES_MAX=1048576 aft serve --store local:./data --log-format json
  aft serve --store local:./data --listen 0.0.0.0:7400 --credentials credentials.toml \
    --tls-certificate server.pem --tls-key server.key";
pub(crate) const SERVE_NOTES: &str = "\
Without credentials everybody who reaches the port may do everything, so another address than
loopback is refused. SIGHUP reads the credentials, the certificate and the key again; connections
stay open. What is wrong in them then is logged, and the old ones hold.

A transaction's timeout_ms is timeout_default_ms (1 minute) unless its caller says otherwise, and
at most timeout_max_ms (15 minutes). How long a request is remembered, retention_s, is
retention_default_ms (1 day) unless its caller says otherwise, and between twice timeout_max_ms
and 2 s more (30 minutes and 2 s) and 15 days. A wish beyond these bounds is moved to the nearer
one.

On a store that other servers may write to as well, a key is listed again before a read when its
last listing is older than recheck_after_ms (10 s, at most 60 s): what others committed is seen by
then; a transaction that begins fresh sees it at once. There a server takes its time from the
store's answers: it commits while it knows it to skew_max_ms (2 s), and waits up to
commit_wait_max_ms (50 ms) beside a commit so that the later of two writes wins; where that is too
short it looks at the written keys first.

On such a store the level of transactions belongs to the keys. One that is made by the first server
is serializable for every key; aft store init --isolation makes it with other levels, and aft store
show lists them.

Superseded versions go in sweeps, one sweep_interval_ms (1 hour; a minute on Redis, which keeps all
in memory) after the other. Any number of servers on a store may sweep, and one is enough:
--maintain off for the others. aft maintain sweeps without serving.

A commit that the store does not answer is called unknown after commit_patience_ms (15 s); it goes
on meanwhile until the transaction's time is over, and asking again tells how it ended.

Memory does not grow with the number of keys. With the defaults at most (README.md, Memory, says what each bound covers):
  index_bytes_max 256 MiB + value_cache_bytes_max 256 MiB + transactions_bytes_max 256 MiB
  + sweep_hashes_max 4 million times 16 bytes + cache_bytes_max 128 MiB + 5 times 1.5 times memtable_bytes_max 64 MiB
  + large bodies under way, either way, bodies_bytes_max 1 GiB + 256 MiB for everything else";

/// Print every setting of `aft serve`, as an annotated settings file with every default.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aft settings > aft.toml")]
pub(crate) struct SettingsArguments {}

/// See it: bank transfers by processes that are killed, run twice and come back late; straight to a store, then through AFT, then at both
/// levels.
///
/// Exit code 0 if the run through AFT kept every promise and the sum of all balances stayed at the level serializable, 1 if not. On an s3:,
/// dynamodb: or redis: store the levels are shown in a store beside the one that is named, which is removed at the end.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aft demo
  aft demo --requests 200 --seed 7 --json --report report.html")]
pub(crate) struct DemoArguments {
    /// Transfers in each of the two runs
    #[arg(long, value_name = "N", default_value_t = aft_bench::demo::Options::default().requests)]
    pub(crate) requests: u64,
    /// Chooses accounts, amounts and fates; the same seed gives the same ones
    #[arg(long, value_name = "X")]
    pub(crate) seed: Option<u64>,
    /// The store [default: local: in a temporary directory]
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// Where the HTML report goes [default: a file in the directory for temporary files]
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Measure: run a workload and print its figures.
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

/// The paper's standard transaction: two functions, each one write and two reads of 4 KiB, keys by a zipf law.
///
/// A store URL runs a node in this process; an http:// URL drives a server. Given several servers of one store, each client goes on to the next
/// after every transaction, carries its session along, and checks that it sees what it has committed and read. Exit code 0, or 1 if a run through
/// AFT saw an anomaly, or a session fell behind.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aft bench standard --store memory: --seconds 10
  aft bench standard --store http://127.0.0.1:7400 --clients 40 --zipf 1.5 --json
  aft bench standard --store http://10.0.0.1:7400 --store http://10.0.0.2:7400
  aft bench standard --store local:./bench --direct --history history.txt")]
pub(crate) struct StandardArguments {
    /// A store, or one or more servers: memory:, local:DIR, s3://BUCKET/PREFIX?endpoint=URL&region=R, dynamodb://TABLE/PREFIX?endpoint=URL&region=R, redis://HOST:PORT/PREFIX, http://HOST:PORT
    #[arg(long, value_name = "URL", required = true)]
    pub(crate) store: Vec<String>,
    /// Leave sessions behind when clients go from server to server: shows what sessions are for
    #[arg(long)]
    pub(crate) no_sessions: bool,
    /// Without AFT: read and write straight at the store. The same as --way direct
    #[arg(long, conflicts_with = "way")]
    pub(crate) direct: bool,
    /// How functions reach the store
    #[arg(long, value_name = "WAY", value_enum, default_value_t = Way::Shim)]
    pub(crate) way: Way,
    /// All in one run: without AFT, by the store's own transactions if it has them, with AFT; and how they compare
    #[arg(long, conflicts_with_all = ["direct", "way", "history"])]
    pub(crate) compare: bool,
    /// Let every call to the store take as long as on a cloud, or so many milliseconds: s3 (20 ms median, 120 ms p99), dynamodb (5, 20),
    /// redis (0.5, 2), or a number
    #[arg(long, value_name = "LATENCY", value_parser = latency)]
    pub(crate) latency: Option<Latency>,
    /// Measure so many transactions [default: 10000]
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    pub(crate) transactions: Option<u64>,
    /// Measure for so many seconds
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) seconds: Option<std::time::Duration>,
    /// Run for so many seconds before measuring [default: 1 with --seconds, else 0]
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) warm_up: Option<std::time::Duration>,
    /// Start so many transactions a second, whether earlier ones have ended or not [default: as fast as they end]
    #[arg(long, value_name = "PER_S")]
    pub(crate) rate: Option<f64>,
    /// Clients, each with one transaction under way at most
    #[arg(long, value_name = "C", default_value_t = 10)]
    pub(crate) clients: usize,
    /// Keys
    #[arg(long, value_name = "K", default_value_t = 1_000)]
    pub(crate) keys: usize,
    /// The exponent of the law by which keys are chosen: 0 (all alike) to 3
    #[arg(long, value_name = "Z", default_value_t = 1.0)]
    pub(crate) zipf: f64,
    /// Functions in a transaction
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) functions: usize,
    /// Reads in a function
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) reads: usize,
    /// Writes in a function
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) writes: usize,
    /// The size of a value in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 4_096)]
    pub(crate) value_bytes: usize,
    /// Do not write every key once before the load
    #[arg(long)]
    pub(crate) no_prepare: bool,
    /// Chooses keys and values; the same seed gives the same ones
    #[arg(long, value_name = "X")]
    pub(crate) seed: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// The bearer token for a server stands in this file [default: the environment's AFT_TOKEN, if it is set]
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Write the history to this file, for `aft check`
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
}

/// How functions reach the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Way {
    /// Through AFT
    Shim,
    /// Straight at the store, one call after the other
    Direct,
    /// Straight at the store, a function's writes all at once, and then its reads
    DirectAtOnce,
    /// By the store's own transactions: one for the reads of each function, one for all writes
    Transactions,
}

/// Exactly once under crashes: plain functions, functions with an idempotency record, and functions through AFT, side by side.
///
/// Each request has two functions; each of them reads a counter of its own request and writes it one higher. Functions die at points that
/// the seed draws, before and after each of their calls, and the request is delivered again; some are delivered twice at once. The three ways
/// meet the same fates, one after the other over one store, the last one through a node in this process. Afterwards every counter is read: 1
/// and 1 is right. Exit code 0 if that holds through AFT, and nobody saw a half meanwhile; else 1.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aft bench exactly-once --store memory:
  aft bench exactly-once --store local:./bench --requests 2000 --crashes 0.1 --seed 7 --json
  aft bench exactly-once --store memory: --latency s3 --crashes 0 --duplicates 0 --readers 0

The times keep the proportions of a function of 30 s that is called again a minute after it
failed, and two minutes after it failed again (asynchronous calls of AWS Lambda), thirty times
faster. A record in progress expires when its function's time is over, so that with the defaults
every retry finds it expired: its best case.")]
pub(crate) struct ExactlyOnceArguments {
    /// The store: memory:, local:DIR, s3://BUCKET/PREFIX?endpoint=URL&region=R, dynamodb://TABLE/PREFIX?endpoint=URL&region=R or redis://HOST:PORT/PREFIX
    #[arg(long, value_name = "URL")]
    pub(crate) store: String,
    /// Requests in each of the three ways
    #[arg(long, value_name = "N", default_value_t = ExactlyOnce::default().requests)]
    pub(crate) requests: u64,
    /// Clients, each with one request's first attempt under way at most; retries run beside them
    #[arg(long, value_name = "C", default_value_t = ExactlyOnce::default().clients)]
    pub(crate) clients: usize,
    /// The share of attempts that die, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = ExactlyOnce::default().crashes)]
    pub(crate) crashes: f64,
    /// The share of requests that are delivered twice at the same time, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = ExactlyOnce::default().duplicates)]
    pub(crate) duplicates: f64,
    /// Attempts of a delivery before it is given up: one, and the retries
    #[arg(long, value_name = "N", default_value_t = ExactlyOnce::default().attempts)]
    pub(crate) attempts: u32,
    /// Seconds that an attempt may run, a record is in progress and a transaction stays open [default: 1]
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) function_timeout: Option<std::time::Duration>,
    /// Seconds from an attempt that failed to the second one; twice as long to the third one, and so on [default: 2]
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(crate) retry_delay: Option<std::time::Duration>,
    /// Tasks that look at both counters of requests under way
    #[arg(long, value_name = "N", default_value_t = ExactlyOnce::default().readers)]
    pub(crate) readers: usize,
    /// The size of a counter's value in bytes
    #[arg(long, value_name = "BYTES", default_value_t = ExactlyOnce::default().value_bytes)]
    pub(crate) value_bytes: usize,
    /// Draws where attempts die and what is delivered twice; the same seed gives the same fates
    #[arg(long, value_name = "X")]
    pub(crate) seed: Option<u64>,
    /// Let every call to the store take as long as on a cloud, or so many milliseconds: s3 (20 ms median, 120 ms p99), dynamodb (5, 20),
    /// redis (0.5, 2), or a number
    #[arg(long, value_name = "LATENCY", value_parser = latency)]
    pub(crate) latency: Option<Latency>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// How long calls to a store take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Latency(pub(crate) aft_store_faulty::Latency);

fn latency(text: &str) -> Result<Latency, String> {
    let latency = match text {
        "s3" => aft_store_faulty::Latency::S3,
        "dynamodb" => aft_store_faulty::Latency::DYNAMODB,
        "redis" => aft_store_faulty::Latency::REDIS,
        _ => match text.parse::<f64>() {
            // The upper bound: a minute.
            Ok(ms) if (0.0..=60_000.0).contains(&ms) => aft_store_faulty::Latency::fixed((ms * 1e3) as u64),
            _ => return Err("s3, dynamodb, redis, or milliseconds".into()),
        },
    };
    Ok(Latency(latency))
}

fn seconds(text: &str) -> Result<std::time::Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is no number of seconds"))?;
    std::time::Duration::try_from_secs_f64(seconds).map_err(|why| why.to_string())
}

/// Judge a history: is it read atomic?
///
/// Exit code 0 if it is, 1 if not, 2 if the file is no history.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aft check history.txt
  aft check history.txt --sessions

A line of a history is w(key,value,session,transaction) or r(…), all integers; value 0 means never
written, and only reads have it; transaction -1 did not commit.")]
pub(crate) struct CheckArguments {
    /// The history
    pub(crate) file: PathBuf,
    /// Sessions must see their own commits
    #[arg(long)]
    pub(crate) sessions: bool,
    /// All transactions must come to what they would have come to one after the other
    #[arg(long)]
    pub(crate) serializable: bool,
    /// Judge also what transactions read that did not commit
    #[arg(long)]
    pub(crate) all_readers: bool,
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

/// Did a request commit, when, which keys, with what result?
///
/// Exit code 0 if it committed, 1 if no commit of it is known.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aft request show order-17
  aft request show order-17 --scope checkout --server http://127.0.0.1:7400")]
pub(crate) struct ShowArguments {
    /// The request ID
    pub(crate) id: String,
    /// The scope in which the ID was used
    #[arg(long)]
    pub(crate) scope: Option<String>,
    /// The server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7400")]
    pub(crate) server: String,
    /// The bearer token for the server stands in this file [default: the environment's AFT_TOKEN, if it is set]
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

/// Make and check credentials: who gets in at a server.
#[derive(Debug, Args)]
pub(crate) struct CredentialsArguments {
    #[command(subcommand)]
    pub(crate) action: CredentialsAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CredentialsAction {
    Add(AddArguments),
    /// Draw a further token, for a credential that is there: its hash goes into the list token_sha256 by hand.
    ///
    /// Prints the token on standard output, once, and its hash on standard error. To change tokens without a gap, add the new hash,
    /// send the server SIGHUP, hand out the new token, and remove the old hash.
    #[command(after_help = "Examples:\n  aft credentials token > shop.token")]
    Token,
    /// Read a credentials file as a server would, and say what is wrong with it.
    #[command(after_help = "Examples:\n  aft credentials check credentials.toml")]
    Check {
        /// The credentials file
        file: PathBuf,
    },
}

/// Add a credential to a file, which is made if it is not there.
///
/// Prints its token on standard output, once: the file has only the token's SHA-256.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aft credentials add shop --prefix shop/ --allow read,write credentials.toml > shop.token
  aft credentials add operator --prefix '' --allow read,admin credentials.toml > operator.token

An entry of the file; limits, certificate and expires may be left out:
  [[credential]]
  name = \"shop\"
  token_sha256 = [\"…\"]            # up to 4
  certificate = \"shop.example\"     # a DNS or URI name of its client certificate: with it, it needs no token
  prefix = \"shop/\"                 # all its keys begin so
  allow = [\"read\", \"write\"]        # and \"admin\": metrics; with the empty prefix, any request by its hash
  expires = 2030-01-01T00:00:00Z
  limits = { open_transactions_max = 100, open_bytes_max = 33554432, calls_per_s = 1000,
             bytes_per_s = 10000000, bodies_bytes_max = 67108864 }

Limits that are left out: open_transactions_max, open_bytes_max and bodies_bytes_max a quarter of
what the server has in all, the rates none.")]
pub(crate) struct AddArguments {
    /// The tenant's name: letters, digits, '.', '_', '-'
    pub(crate) name: String,
    /// What all its keys begin with; '' for every key
    #[arg(long, value_name = "PREFIX")]
    pub(crate) prefix: String,
    /// What it may do: read, write, admin
    #[arg(long, value_name = "RIGHTS", value_delimiter = ',', required = true, value_parser = right)]
    pub(crate) allow: Vec<Right>,
    /// The credentials file
    pub(crate) file: PathBuf,
}

fn right(text: &str) -> Result<Right, String> {
    let found = Right::ALL.into_iter().find(|right| right.as_str() == text);
    found.ok_or_else(|| "a right is read, write or admin".to_owned())
}

/// Sweep a store without serving: remove what newer versions have superseded.
///
/// Any number of servers and sweeps may run on a store at once. A sweep that is stopped leaves notes, from which the next one goes on. What is
/// superseded goes in the sweep after the one that moved the mark above it. Exit code 0 when it has ended or was stopped.
///
/// Bytes are estimates: names and bodies of versions and records, and the large values of a record, whose parts go in a later sweep. Parts of
/// attempts that did not commit are counted as parts alone, since the store does not say how long they are.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aft maintain 's3://bucket/prefix?region=eu-west-1' --once
  aft maintain local:./data --for 60")]
pub(crate) struct MaintainArguments {
    /// The store: local:DIR, s3://BUCKET/PREFIX?endpoint=URL&region=R, dynamodb://TABLE/PREFIX?endpoint=URL&region=R or redis://HOST:PORT/PREFIX
    #[arg(value_name = "URL")]
    pub(crate) store: String,
    /// End when the whole store has been swept
    #[arg(long, conflicts_with = "limit")]
    pub(crate) once: bool,
    /// End after so many seconds, or when the whole store has been swept
    #[arg(long = "for", id = "limit", value_name = "S", value_parser = seconds)]
    pub(crate) limit: Option<std::time::Duration>,
    /// The settings file [default: aft.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Divide all of the protocol's times by N; for tests only
    #[arg(long, value_name = "N", hide = true)]
    pub(crate) test_time_divisor: Option<u64>,
}

/// The level that a prefix of keys is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PrefixLevel {
    pub(crate) prefix: String,
    pub(crate) level: Isolation,
}

fn prefix_level(text: &str) -> Result<PrefixLevel, String> {
    let form = "write PREFIX=LEVEL, where LEVEL is serializable or read_atomic";
    // A prefix may hold the sign, a level does not.
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
    /// Make the store if it is not there, and say what it can do.
    ///
    /// Of an s3: store the bucket is made, of a dynamodb: store the table (on-demand); run again, nothing changes. The others make themselves when they are first opened.
    ///
    /// A new store notes the [node] times that all its nodes must have: timeout_max_ms, recheck_after_ms, skew_max_ms.
    ///
    /// On an s3:, dynamodb: or redis: store every key is serializable, unless --isolation says
    /// otherwise when the store is made, or later for a prefix that holds no keys yet. On memory: and
    /// local: every transaction chooses.
    #[command(after_help = "\
Examples:
  aft store init 's3://bucket/prefix?region=eu-west-1'
  aft store init 's3://bucket?endpoint=http://127.0.0.1:9000'
  aft store init 'dynamodb://table?region=eu-west-1'
  aft store init redis://127.0.0.1:6379/shop --isolation =read_atomic --isolation stock/=serializable")]
    Init {
        /// The store: memory:, local:DIR, s3://BUCKET/PREFIX?endpoint=URL&region=R, dynamodb://TABLE/PREFIX?endpoint=URL&region=R or redis://HOST:PORT/PREFIX
        url: String,
        /// In a bucket: make it although other objects stand there, or another store within or around the place
        #[arg(long)]
        among_others: bool,
        /// The settings file, whose [node] times all nodes on the store must have [default: aft.toml, if there is one]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Write the times of the settings into a store that was made with others; first stop its nodes, and wait for the longer deadline and the grace
        #[arg(long)]
        change_times: bool,
        /// The level of the keys that begin so: serializable or read_atomic. The longest prefix that
        /// fits counts; without a prefix, the level of all other keys. May be given several times. In
        /// a store that is there: first stop its nodes, and wait for the longer deadline and the grace
        #[arg(long, value_name = "PREFIX=LEVEL", value_parser = prefix_level)]
        isolation: Vec<PrefixLevel>,
        /// Divide all of the protocol's times by N; for tests only
        #[arg(long, value_name = "N", hide = true)]
        test_time_divisor: Option<u64>,
    },
    /// Show what a store says of itself: identity, abilities, the times of its nodes, the mark, the
    /// levels of its keys.
    ///
    /// Nothing is made or changed. A local: store must not be open elsewhere.
    #[command(
        after_help = "Examples:\n  aft store show redis://127.0.0.1:6379/shop\n  aft store show local:./data --json"
    )]
    Show {
        /// The store: local:DIR, s3://BUCKET/PREFIX?endpoint=URL&region=R, dynamodb://TABLE/PREFIX?endpoint=URL&region=R or redis://HOST:PORT/PREFIX
        url: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Does the store keep the contract that AFT rests on? Races, pages, tags, names.
    ///
    /// A local: store is made if it is not there; of its own objects the probe leaves none.
    ///
    /// Exit code 0 if every check passes, 1 if not.
    #[command(
        after_help = "Examples:\n  aft store probe local:./data\n  aft store probe 's3://bucket/prefix?region=eu-west-1'"
    )]
    Probe {
        /// The store: memory:, local:DIR, s3://BUCKET/PREFIX?endpoint=URL&region=R, dynamodb://TABLE/PREFIX?endpoint=URL&region=R or redis://HOST:PORT/PREFIX
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
