//! The table of settings: one row for each, from which files and the environment are read, and from
//! which `aft serve --help`, `aft settings` and README's table come.
//!
//! A setting has two places: the field of its component, which holds the default and its reason,
//! and its row here, which names it for users.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use aft_node::NodeSettings;
use aft_store::Capabilities;

use crate::commands::{LogFormat, Switch};
use crate::settings::value::{Field, Kind};

/// The settings of all components of a server.
#[derive(Debug, Clone)]
pub(crate) struct Components {
    pub(crate) serve: Serve,
    pub(crate) node: NodeSettings,
    pub(crate) local: aft_store_local::Options,
    pub(crate) s3: aft_store_s3::Prices,
    pub(crate) dynamodb: aft_store_dynamodb::Prices,
    pub(crate) net: aft_net::Settings,
    pub(crate) desk: aft_desk::Settings,
    pub(crate) s3_door: aft_door_s3::Settings,
    pub(crate) log: Log,
}

/// The settings of the process itself.
#[derive(Debug, Clone)]
pub(crate) struct Serve {
    pub(crate) store: Option<String>,
    pub(crate) listen: Option<String>,
    pub(crate) s3_listen: Option<String>,
    /// Names separated by commas, as are the next ones.
    pub(crate) s3_domains: Option<String>,
    pub(crate) s3_buckets: Option<String>,
    pub(crate) nodes: NonZeroUsize,
    /// The time that a drain waits for open transactions: as long as they have by default.
    pub(crate) drain: Duration,
    pub(crate) maintain: Switch,
    pub(crate) memory_bytes_max: Option<u64>,
    pub(crate) credentials: Option<PathBuf>,
    pub(crate) tls_certificate: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) tls_client_ca: Option<PathBuf>,
}

/// The settings of logs.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) filter: Option<String>,
}

impl Components {
    /// Returns the defaults over a store with these capabilities.
    pub(crate) fn over(store: &Capabilities) -> Components {
        Components {
            serve: Serve {
                store: None,
                listen: None,
                s3_listen: None,
                s3_domains: None,
                s3_buckets: None,
                nodes: NonZeroUsize::MIN,
                drain: Duration::from_secs(60),
                maintain: Switch::On,
                memory_bytes_max: None,
                credentials: None,
                tls_certificate: None,
                tls_key: None,
                tls_client_ca: None,
            },
            node: NodeSettings::new(store),
            local: aft_store_local::Options::default(),
            s3: aft_store_s3::Options::default().prices,
            dynamodb: aft_store_dynamodb::Options::default().prices,
            net: aft_net::Settings::default(),
            desk: aft_desk::Settings::default(),
            s3_door: aft_door_s3::Settings::default(),
            log: Log { format: LogFormat::Text, filter: None },
        }
    }
}

impl Default for Components {
    /// The defaults over a store that several servers share and that answers late calls for an
    /// hour, as those in a cloud.
    fn default() -> Components {
        Components::over(&Capabilities {
            delete_if: true,
            exclusive: false,
            grace_ms: 3_600_000,
            body_bytes_max: 8 << 20,
            blob_part_bytes: 8 << 20,
            durability: "of the defaults",
        })
    }
}

/// A section of the settings file.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) rows: &'static [Row],
}

/// A setting.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// The default in words, where it is not a value of the component.
    pub(crate) unset: Option<&'static str>,
    /// The bound or choice that it sets, in one or two sentences.
    pub(crate) about: &'static str,
    /// Its field.
    pub(crate) field: fn(&mut Components) -> Field<'_>,
}

/// Writes rows: name, kind, the default in words where there is no value, field, and the sentences.
macro_rules! rows {
    ($($name:ident: $kind:expr, $(@$unset:literal,)? $field:expr, $about:literal;)*) => {
        &[$(Row {
            name: stringify!($name),
            kind: $kind,
            unset: rows!(@unset $($unset)?),
            about: $about,
            field: $field,
        }),*]
    };
    (@unset) => { None };
    (@unset $unset:literal) => { Some($unset) };
}

/// Every section, in the order in which people need them.
pub(crate) const SECTIONS: &[Section] = &[
    Section {
        name: "serve",
        about: "The process. Each also has a flag of `aft serve`, except drain_ms and memory_bytes_max.",
        rows: rows! {
            store: Kind::Text, @"none: one must be named", |c| Field::Text(&mut c.serve.store), "The URL of the store.";
            listen: Kind::Text, @"127.0.0.1:7400", |c| Field::Text(&mut c.serve.listen), "The address of the native API: loopback, or any with credentials.";
            s3_listen: Kind::Text, @"none: no S3 endpoint", |c| Field::Text(&mut c.serve.s3_listen), "The address of the S3 endpoint: loopback, or any with credentials.";
            s3_domains: Kind::Text, @"none: path-style addressing", |c| Field::Text(&mut c.serve.s3_domains), "The domains below which the first part of a host is a bucket, separated by commas. The flag is --s3-domain, once for each.";
            s3_buckets: Kind::Text, @"none: made by CreateBucket", |c| Field::Text(&mut c.serve.s3_buckets), "The buckets of the S3 endpoint that are made at the start if they are missing, separated by commas; NAME=s3://BUCKET/PREFIX?mirror=on reads through to an existing one. The flag is --bucket, once for each.";
            nodes: Kind::Count, |c| Field::AtLeastOne(&mut c.serve.nodes), "The nodes of the process, each with a loop of its own; more than one only on stores that other servers may write to as well.";
            maintain: Kind::Switch, |c| Field::Switch(&mut c.serve.maintain), "Remove superseded versions from time to time. Any number of servers of a store may; one is enough.";
            drain_ms: Kind::Ms, |c| Field::Time(&mut c.serve.drain), "The time that open transactions have to finish when the server is told to stop.";
            memory_bytes_max: Kind::Bytes, @"none", |c| Field::MaybeNumber(&mut c.serve.memory_bytes_max), "All memory, from 192 MiB on: every bound on memory that is not set by itself gets its share.";
            credentials: Kind::File, @"none: everybody, on loopback", |c| Field::File(&mut c.serve.credentials), "The credentials file (`aft credentials add` makes one).";
            tls_certificate: Kind::File, @"none", |c| Field::File(&mut c.serve.tls_certificate), "The server's certificate, with those that lead from it to a root (PEM).";
            tls_key: Kind::File, @"none", |c| Field::File(&mut c.serve.tls_key), "The certificate's private key (PEM).";
            tls_client_ca: Kind::File, @"none", |c| Field::File(&mut c.serve.tls_client_ca), "The authorities of client certificates, which are demanded then (PEM).";
        },
    },
    Section {
        name: "node",
        about: "Transactions.",
        rows: rows! {
            index_bytes_max: Kind::Bytes, |c| Field::Len(&mut c.node.core.index_bytes_max), "What is known of committed versions: keys, versions, write sets; some 700 bytes for a key written alone. Cold keys are forgotten; the next read of one costs a listing.";
            value_cache_bytes_max: Kind::BytesOrNone, |c| Field::Number(&mut c.node.value_cache_bytes_max), "Cached values, with 512 bytes for the place of each. The least recently used ones go. 0: no cache.";
            transactions_bytes_max: Kind::Bytes, |c| Field::Len(&mut c.node.core.transactions_bytes_max), "Open transactions: a kilobyte each, what they wrote, what they read. New ones are rejected as overloaded from half of it on.";
            transactions_max: Kind::Count, |c| Field::Len(&mut c.node.core.transactions_max), "The number of open transactions.";
            queue_len_max: Kind::Count, |c| Field::Len(&mut c.node.queue_len_max), "The calls that wait for the node; more are rejected as overloaded.";
            store_calls_max: Kind::Count, |c| Field::Len(&mut c.node.store_calls_max), "The calls to the store in flight at once.";
            timeout_default_ms: Kind::Ms, |c| Field::Number(&mut c.node.core.timeout_default_ms), "The time that a transaction stays open unless its caller says otherwise.";
            timeout_max_ms: Kind::Ms, |c| Field::Number(&mut c.node.core.timeout_max_ms), "The longest time that a transaction may stay open. One minute on Redis.";
            retention_default_ms: Kind::Ms, |c| Field::Number(&mut c.node.core.retention_default_ms), "The time for which a request is remembered unless its caller says otherwise: at most 15 days, and at least twice the sum of timeout_max_ms and the time by which a call to the store may come late, and skew_max_ms.";
            commit_patience_ms: Kind::Ms, |c| Field::Number(&mut c.node.core.commit_patience_ms), "The time after which a commit that the store does not answer is called unknown. It goes on meanwhile, and asking again tells how it ended.";
            recheck_after_ms: Kind::Ms, |c| Field::Number(&mut c.node.core.recheck_after_ms), "The age from which on a key is listed again before a read, on a store that other servers may write to; at most a minute.";
            skew_max_ms: Kind::Ms, |c| Field::Number(&mut c.node.core.skew_max_ms), "A node commits only while it knows the store's time to within this.";
            commit_wait_max_ms: Kind::MsOrNone, |c| Field::Number(&mut c.node.core.commit_wait_max_ms), "The time that a commit may wait so that the later of two writes wins. 0: keys are listed before every commit, unless it read them.";
            sweep_interval_ms: Kind::Ms, |c| Field::Number(&mut c.node.core.sweep_interval_ms), "The pause between two sweeps. One minute on Redis, which keeps all in memory.";
            sweep_hashes_max: Kind::Count, |c| Field::Len(&mut c.node.core.sweep_hashes_max), "The requests that a sweep remembers at once, 16 bytes each. A larger store is swept in several passes.";
        },
    },
    Section {
        name: "local",
        about: "A `local:` store.",
        rows: rows! {
            cache_bytes_max: Kind::Bytes, |c| Field::Number(&mut c.local.cache_bytes), "Blocks of the tree in memory.";
            memtable_bytes_max: Kind::Bytes, |c| Field::Number(&mut c.local.memtable_bytes), "One memory table, which takes up to half as much again; at most five at once, usually two. Fixed when the directory is made.";
        },
    },
    Section {
        name: "s3",
        about: "The prices of an `s3:` store, for /metrics: by default Amazon's list prices.",
        rows: rows! {
            writes_dollars_per_1000: Kind::Dollars, |c| Field::Price(&mut c.s3.writes_dollars_per_1000), "A thousand puts, copies or listings.";
            reads_dollars_per_1000: Kind::Dollars, |c| Field::Price(&mut c.s3.reads_dollars_per_1000), "A thousand gets.";
        },
    },
    Section {
        name: "dynamodb",
        about: "The prices of a `dynamodb:` store, for /metrics: by default Amazon's list prices, on demand.",
        rows: rows! {
            writes_dollars_per_million: Kind::Dollars, |c| Field::Price(&mut c.dynamodb.writes_dollars_per_million), "A million write request units.";
            reads_dollars_per_million: Kind::Dollars, |c| Field::Price(&mut c.dynamodb.reads_dollars_per_million), "A million read request units.";
        },
    },
    Section {
        name: "doors",
        about: "Connections, bodies, waits.",
        rows: rows! {
            connections_max: Kind::Count, |c| Field::Len(&mut c.net.connections_max), "The connections at once, of which an S3 endpoint gets half; at most what the process's limit of open files leaves. If all are taken, the one that has been idle for longest makes room; if all are in use, more wait in the kernel's queue. Each costs some 20 KiB.";
            connections_per_peer_max: Kind::Count, |c| Field::Len(&mut c.net.connections_per_peer_max), "The connections at once from one address. Beyond it, an idle one of the same address makes room; if all are in use, the new one is closed.";
            header_bytes_max: Kind::Bytes, |c| Field::Len(&mut c.net.header_bytes_max), "The header names and values of a call together.";
            body_bytes_max: Kind::Bytes, |c| Field::Len(&mut c.desk.body_bytes_max), "A body in JSON or protobuf, and all values together that one call reads.";
            value_bytes_max: Kind::Bytes, |c| Field::Len(&mut c.desk.value_bytes_max), "One value. In memory it is held part by part.";
            bodies_bytes_max: Kind::Bytes, |c| Field::Len(&mut c.desk.bodies_bytes_max), "Bodies beyond 64 KiB on their way, of requests and of replies, until their last byte has left. A large value passes in parts of 8 MiB, of which it holds four at once on its way in or out, whatever its size: a server of 256 MiB passes two large values at once. What does not fit is rejected as overloaded, before it is held.";
            header_timeout_ms: Kind::Ms, |c| Field::Time(&mut c.net.header_timeout), "The time in which a client must send a call's head.";
            s3_xml_bytes_max: Kind::Bytes, |c| Field::Len(&mut c.s3_door.xml_bytes_max), "The XML of a call of the S3 endpoint.";
            s3_form_file_bytes_max: Kind::Bytes, |c| Field::Len(&mut c.s3_door.form_file_bytes_max), "The file in a form of the S3 endpoint (POST), which is held in memory.";
            body_timeout_ms: Kind::Ms, |c| Field::Time(&mut c.net.body_timeout), "The time in which a client must send a call's body, or each part of a large value.";
            reply_stall_timeout_ms: Kind::Ms, |c| Field::Time(&mut c.net.reply_stall_timeout), "The time after which a connection is closed whose client takes nothing of an answer. Over HTTP/2 up to twice as long.";
            wait_default_ms: Kind::Ms, |c| Field::Number(&mut c.desk.wait_default_ms), "The time that a call waits for another open attempt of its request unless it says otherwise.";
            wait_max_ms: Kind::Ms, |c| Field::Number(&mut c.desk.wait_max_ms), "The longest such wait; below the usual idle timeouts of proxies.";
        },
    },
    Section {
        name: "log",
        about: "Logs, on standard error.",
        rows: rows! {
            format: Kind::Format, |c| Field::Format(&mut c.log.format), "text, or one JSON object a line (json).";
            filter: Kind::Text, @"info, of libraries warnings or errors", |c| Field::Text(&mut c.log.filter), "What is logged, such as info,aft_door_native=debug.";
        },
    },
    Section {
        name: "test",
        about: "For tests.",
        rows: rows! {
            time_divisor: Kind::Count, |c| Field::Number(&mut c.node.time_divisor), "Divides all times of the protocol.";
        },
    },
];

/// The settings that bound memory, in the order of README's table.
#[cfg(test)]
pub(crate) const MEMORY: &[(&str, &str)] = &[
    ("node", "index_bytes_max"),
    ("node", "value_cache_bytes_max"),
    ("node", "transactions_bytes_max"),
    ("node", "sweep_hashes_max"),
    ("local", "cache_bytes_max"),
    ("local", "memtable_bytes_max"),
    ("doors", "bodies_bytes_max"),
];

/// Returns a section.
pub(crate) fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

/// Returns a row.
pub(crate) fn row(section_name: &str, name: &str) -> Option<&'static Row> {
    section(section_name)?.rows.iter().find(|row| row.name == name)
}
