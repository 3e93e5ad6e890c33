//! Goal: dependencies point one way, as ARCHITECTURE.md says. Method: read `cargo metadata` into a
//! small graph and compare it with a table. The rules are one pure function, and are themselves
//! tested with forbidden edges that are added on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A crate of the workspace, its folder, and the crates of the workspace that it may use.
struct Rule {
    name: &'static str,
    folder: &'static str,
    may_use: &'static [&'static str],
}

/// The concrete stores, which only the crates in [`NAME_STORES`] and those in tests/ may name.
const STORES: &[&str] = &[
    "aft-store-memory",
    "aft-store-local",
    "aft-store-s3",
    "aft-store-dynamodb",
    "aft-store-redis",
    "aft-store-faulty",
    "aft-store-split",
];

/// The crates that may name concrete stores: the binaries, and the targets of the benchmark, which
/// the figures need as well and cannot take from a binary.
const NAME_STORES: &[&str] = &["aft", "aft-bench-targets", "aft-layer"];

/// Every crate that the binary and the programs in tests/ may use.
const ALL_OF_OURS: &[&str] = &[
    "aft-core",
    "aft-format",
    "aft-api",
    "aft-access",
    "aft-aws-chunked",
    "aft-net",
    "aft-node",
    "aft-client",
    "aft-desk",
    "aft-door-native",
    "aft-door-s3",
    "aft-transfer",
    "aft-lambda-host",
    "aft-history",
    "aft-bench",
    "aft-bench-targets",
    "aft-disk",
    "aft-store",
    "aft-store-memory",
    "aft-store-local",
    "aft-store-aws",
    "aft-store-s3",
    "aft-store-dynamodb",
    "aft-store-redis",
    "aft-store-faulty",
    "aft-store-split",
    "aft-lambda-events",
];

/// The table in ARCHITECTURE.md. A change that adds a crate adds a row here and there.
#[rustfmt::skip]
const RULES: &[Rule] = &[
    Rule { name: "aft-core", folder: "shim/core", may_use: &[] },
    Rule { name: "aft-format", folder: "shim/format", may_use: &["aft-core", "aft-store"] },
    Rule { name: "aft-api", folder: "shim/api", may_use: &[] },
    Rule { name: "aft-access", folder: "shim/access", may_use: &[] },
    Rule { name: "aft-aws-chunked", folder: "shim/aws-chunked", may_use: &[] },
    Rule { name: "aft-net", folder: "shim/net", may_use: &[] },
    Rule { name: "aft-node", folder: "shim/node", may_use: &["aft-core", "aft-format", "aft-store"] },
    Rule { name: "aft-client", folder: "shim/clients/rust", may_use: &["aft-api"] },
    Rule { name: "aft-desk", folder: "shim/desk", may_use: &["aft-access", "aft-core", "aft-format", "aft-node"] },
    Rule { name: "aft-door-native", folder: "shim/doors/native", may_use: &["aft-access", "aft-api", "aft-core", "aft-desk", "aft-format", "aft-net", "aft-node"] },
    Rule { name: "aft-door-s3", folder: "shim/doors/s3", may_use: &["aft-access", "aft-aws-chunked", "aft-core", "aft-desk", "aft-format", "aft-net", "aft-node"] },
    Rule { name: "aft-transfer", folder: "shim/transfer", may_use: &["aft-core", "aft-door-s3", "aft-format", "aft-store", "aft-store-aws"] },
    Rule { name: "aft-history", folder: "shim/history", may_use: &[] },
    Rule { name: "aft-bench", folder: "shim/bench", may_use: &["aft-core", "aft-format", "aft-api", "aft-node", "aft-history", "aft-store"] },
    Rule { name: "aft-bench-targets", folder: "shim/bench-targets", may_use: &["aft-bench", "aft-store", "aft-store-dynamodb", "aft-store-faulty", "aft-store-memory"] },
    Rule { name: "aft", folder: "shim/server", may_use: ALL_OF_OURS },
    Rule { name: "aft-lambda-host", folder: "lambda-wrapper/host", may_use: &[] },
    Rule { name: "aft-store", folder: "storage-adapters/store", may_use: &[] },
    Rule { name: "aft-store-memory", folder: "storage-adapters/memory", may_use: &["aft-store"] },
    Rule { name: "aft-disk", folder: "storage-adapters/disk", may_use: &[] },
    Rule { name: "aft-store-local", folder: "storage-adapters/local", may_use: &["aft-store", "aft-disk"] },
    Rule { name: "aft-store-aws", folder: "storage-adapters/aws", may_use: &["aft-store"] },
    Rule { name: "aft-store-s3", folder: "storage-adapters/s3", may_use: &["aft-store", "aft-store-aws"] },
    Rule { name: "aft-store-dynamodb", folder: "storage-adapters/dynamodb", may_use: &["aft-store", "aft-store-aws"] },
    Rule { name: "aft-store-redis", folder: "storage-adapters/redis", may_use: &["aft-store"] },
    Rule { name: "aft-store-faulty", folder: "storage-adapters/faulty", may_use: &["aft-store"] },
    Rule { name: "aft-store-split", folder: "storage-adapters/split", may_use: &["aft-store"] },
    Rule { name: "aft-lambda-events", folder: "lambda-wrapper/events", may_use: &[] },
    Rule { name: "aft-layer", folder: "lambda-wrapper/layer", may_use: &["aft-access", "aft-client", "aft-core", "aft-desk", "aft-door-s3", "aft-format", "aft-lambda-events", "aft-net", "aft-node", "aft-store", "aft-store-dynamodb", "aft-store-memory", "aft-store-s3", "aft-store-split"] },
    Rule { name: "aft-sim", folder: "tests/sim", may_use: &[] },
    Rule { name: "aft-simulation", folder: "tests/simulation", may_use: &["aft-sim", "aft-core", "aft-history"] },
    Rule { name: "aft-e2e", folder: "tests/e2e", may_use: ALL_OF_OURS },
    Rule { name: "aft-figures", folder: "tests/figures", may_use: ALL_OF_OURS },
    Rule { name: "aft-services", folder: "tests/services", may_use: &[] },
    Rule { name: "aft-store-tests", folder: "tests/stores", may_use: ALL_OF_OURS },
    Rule { name: "xtask", folder: "infra/xtask", may_use: &[] },
];

/// The crates that any crate's *tests* may use in addition to its row: `aft-store` with its
/// conformance suite, stores to run against, the checker of histories, and the local Lambda.
const TESTS_MAY_USE: &[&str] = &[
    "aft-store",
    "aft-store-memory",
    "aft-store-local",
    "aft-store-faulty",
    "aft-store-split",
    "aft-history",
    "aft-lambda-host",
];

/// The only crates in tests/ that other crates may use, and only in their tests: one has the parts
/// of every simulator, the other starts the servers that stores are tested against.
const FOR_TESTS: &[&str] = &["aft-sim", "aft-services"];

/// The external crates that the core may use: none that awaits, serialises, draws random numbers
/// or logs.
const CORE_MAY_USE: &[&str] = &["bytes"];

/// The external crates that `aft-store` may use when no feature is enabled.
const SEAM_MAY_USE: &[&str] = &["async-trait", "bytes", "futures", "percent-encoding", "thiserror"];

/// The crates of other people that speak HTTP.
const HTTP: &[&str] = &["axum", "http", "http-body-util", "hyper", "hyper-util", "s3s", "tower"];

/// The crates of ours that may, besides the doors and the programs in tests/: the network side of
/// the doors, the client, the load generator, which has a client of its own, and the local Lambda,
/// whose APIs are HTTP.
const SPEAK_HTTP: &[&str] = &["aft-net", "aft-client", "aft-bench", "aft-lambda-host", "aft-layer"];

/// A crate of the workspace, with its dependencies.
#[derive(Debug, Clone, Default)]
struct Crate {
    folder: String,
    edges: Vec<Edge>,
}

#[derive(Debug, Clone)]
struct Edge {
    to: String,
    /// A dev-dependency.
    dev: bool,
    /// A dependency behind a feature.
    optional: bool,
    /// True if the edge enables the core's planted bugs.
    bugs: bool,
}

/// The workspace's crates by name. An edge to a name that is not a key leads to an external crate.
type Graph = BTreeMap<String, Crate>;

/// Returns the violations of the rules in `graph`, one sentence each. `documented` is the text of
/// docs/dependencies.md.
fn violations(graph: &Graph, documented: &str) -> Vec<String> {
    let mut found = Vec::new();
    // External crates that are named anywhere: each must be documented.
    let mut external = BTreeSet::new();
    for (name, krate) in graph {
        let Some(rule) = RULES.iter().find(|rule| rule.name == name) else {
            found.push(format!("{name} has no row in the table of infra/xtask/tests/dependencies.rs"));
            continue;
        };
        if krate.folder != rule.folder {
            found.push(format!("{name} lies in {}, not in {}", krate.folder, rule.folder));
        }
        for edge in &krate.edges {
            let to = edge.to.as_str();
            let Some(target) = graph.get(to) else {
                external.insert(to);
                found.extend(external_violation(name, edge, krate.folder.starts_with("tests/")));
                continue;
            };
            let in_tests = krate.folder.starts_with("tests/");
            // Checked apart from the table: a permitted edge may enable a feature that is not
            // permitted.
            if edge.bugs && !in_tests && !edge.dev {
                found.push(format!("{name} turns {to}'s planted bugs on: only tests do"));
            }
            // `aft-sim` itself has a row that allows nothing of ours, not even these.
            if FOR_TESTS.contains(&to) && name != "aft-sim" {
                if !edge.dev && !in_tests {
                    found.push(format!("{name} depends on {to}: only tests do"));
                }
                continue;
            }
            // The most specific rule comes first, so that each edge is reported once.
            let top = target.folder.split('/').next().unwrap_or_default();
            if top == "tests" || top == "infra" {
                found.push(format!("{name} depends on {to}: nothing depends on tests/ or infra/"));
            } else if edge.dev {
                // Crates in tests/ may use all of ours in their tests: the simulator's, for one,
                // compare its store model and encodings with the real ones.
                let ours_in_tests = TESTS_MAY_USE.contains(&to) || in_tests;
                let allowed = rule.may_use.contains(&to) || (ours_in_tests && name != "aft-sim");
                if !allowed {
                    found.push(format!("{name}'s tests depend on {to}: not in their table"));
                }
            } else if STORES.contains(&to) && !NAME_STORES.contains(&name.as_str()) && !in_tests {
                found.push(format!("{name} depends on {to}: only the binary names concrete stores"));
            } else if !rule.may_use.contains(&to) {
                found.push(format!("{name} depends on {to}: not in its row of the table"));
            }
        }
    }
    found.extend(RULES.iter().filter(|rule| !graph.contains_key(rule.name)).map(|rule| {
        format!("{} is in the table of infra/xtask/tests/dependencies.rs but not in the workspace", rule.name)
    }));
    found.extend(
        external
            .iter()
            .filter(|name| !documented.contains(&format!("`{name}`")))
            .map(|name| format!("{name} has no sentence in docs/dependencies.md")),
    );
    found
}

/// Returns the violation if `from` may not use the external crate that `edge` leads to.
fn external_violation(from: &str, edge: &Edge, in_tests: bool) -> Option<String> {
    let speaks_http = in_tests || SPEAK_HTTP.contains(&from) || from.starts_with("aft-door-");
    if HTTP.contains(&edge.to.as_str()) && !edge.dev && !speaks_http {
        return Some(format!(
            "{from} depends on {}: only doors, aft-net, clients and the local Lambda speak HTTP",
            edge.to
        ));
    }
    let allowed = match from {
        "aft-sim" => &[],
        _ if edge.dev => return None,
        "aft-core" => CORE_MAY_USE,
        "aft-store" if !edge.optional => SEAM_MAY_USE,
        _ => return None,
    };
    (!allowed.contains(&edge.to.as_str()))
        .then(|| format!("{from} depends on {}: it may use {allowed:?} only", edge.to))
}

/// Reads the output of `cargo metadata`. Packages without a source are those of the workspace.
fn read(metadata: &Value) -> Graph {
    let root = metadata["workspace_root"].as_str().expect("metadata names the root");
    let packages = metadata["packages"].as_array().expect("metadata has packages");
    packages
        .iter()
        .filter(|package| package["source"].is_null())
        .map(|package| {
            let manifest = Path::new(text(package, "manifest_path"));
            let folder =
                manifest.strip_prefix(root).ok().and_then(Path::parent).expect("ours lie below the root");
            let edges = package["dependencies"].as_array().expect("a package has dependencies");
            let edges = edges.iter().map(|edge| Edge {
                to: text(edge, "name").to_owned(),
                dev: edge["kind"] == "dev",
                optional: edge["optional"] == true,
                bugs: edge["features"]
                    .as_array()
                    .is_some_and(|on| on.iter().any(|name| name == "planted-bugs" || name == "rooms")),
            });
            let folder = folder.display().to_string();
            (text(package, "name").to_owned(), Crate { folder, edges: edges.collect() })
        })
        .collect()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("metadata lacks {name}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("infra/xtask lies two folders below the root")
}

fn workspace() -> Graph {
    let cargo = std::env::var_os("CARGO").expect("cargo sets CARGO for tests");
    // Offline: this test was built from the same lock file, so nothing has to be fetched.
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--no-deps"])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    read(&serde_json::from_slice(&output.stdout).expect("cargo metadata speaks JSON"))
}

fn documented() -> String {
    std::fs::read_to_string(root().join("docs/dependencies.md")).expect("docs/dependencies.md is there")
}

#[test]
fn dependencies_point_one_way() {
    let found = violations(&workspace(), &documented());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn planted_edges_are_found() {
    let edge = |to: &str| Edge { to: to.to_owned(), dev: false, optional: false, bugs: false };
    let dev = |to: &str| Edge { dev: true, ..edge(to) };
    check("aft-core", edge("tokio"), &["aft-core depends on tokio: it may use [\"bytes\"] only"]);
    check("aft-core", edge("serde"), &["aft-core depends on serde: it may use [\"bytes\"] only"]);
    check("aft-core", dev("aft-node"), &["aft-core's tests depend on aft-node: not in their table"]);
    check("aft-core", edge("aft-format"), &["aft-core depends on aft-format: not in its row of the table"]);
    check("aft-core", dev("aft-history"), &[]);
    check("aft-format", edge("aft-core"), &[]);
    check("aft-format", edge("aft-store"), &[]);
    check("aft-format", dev("aft-store-memory"), &[]);
    check("aft-format", edge("aft-api"), &["aft-format depends on aft-api: not in its row of the table"]);
    check(
        "aft-format",
        edge("aft-store-memory"),
        &["aft-format depends on aft-store-memory: only the binary names concrete stores"],
    );
    check("aft-store", edge("aft-core"), &["aft-store depends on aft-core: not in its row of the table"]);
    check(
        "aft-store",
        edge("tokio"),
        &[
            "aft-store depends on tokio: it may use [\"async-trait\", \"bytes\", \"futures\", \"percent-encoding\", \"thiserror\"] only",
        ],
    );
    check("aft-store", Edge { optional: true, ..edge("tokio") }, &[]);
    check(
        "aft-store-local",
        edge("aft-core"),
        &["aft-store-local depends on aft-core: not in its row of the table"],
    );
    check("aft-store-local", edge("aft-disk"), &[]);
    check("aft-disk", edge("aft-store"), &["aft-disk depends on aft-store: not in its row of the table"]);
    check(
        "aft-node",
        edge("aft-store-memory"),
        &["aft-node depends on aft-store-memory: only the binary names concrete stores"],
    );
    check("aft-node", dev("aft-store-memory"), &[]);
    check(
        "aft-bench",
        edge("aft-store-dynamodb"),
        &["aft-bench depends on aft-store-dynamodb: only the binary names concrete stores"],
    );
    check("aft-bench-targets", edge("aft-store-dynamodb"), &[]);
    check(
        "aft-bench-targets",
        edge("aft-store-s3"),
        &["aft-bench-targets depends on aft-store-s3: not in its row of the table"],
    );
    check(
        "aft-node",
        edge("aft-door-native"),
        &["aft-node depends on aft-door-native: not in its row of the table"],
    );
    check(
        "aft",
        edge("aft-simulation"),
        &["aft depends on aft-simulation: nothing depends on tests/ or infra/"],
    );
    check("aft", dev("xtask"), &["aft depends on xtask: nothing depends on tests/ or infra/"]);
    check("aft", edge("aft-services"), &["aft depends on aft-services: only tests do"]);
    check("xtask", edge("aft-services"), &["xtask depends on aft-services: only tests do"]);
    check("aft-store-local", dev("aft-services"), &[]);
    check("aft-e2e", edge("aft-services"), &[]);
    check("aft-simulation", edge("aft-sim"), &[]);
    check("aft-format", dev("aft-sim"), &[]);
    check("aft", edge("aft-sim"), &["aft depends on aft-sim: only tests do"]);
    check("aft-sim", edge("aft-core"), &["aft-sim depends on aft-core: not in its row of the table"]);
    check("aft-sim", dev("aft-core"), &["aft-sim's tests depend on aft-core: not in their table"]);
    check(
        "aft-sim",
        edge("aft-services"),
        &["aft-sim depends on aft-services: nothing depends on tests/ or infra/"],
    );
    check("aft-sim", edge("bytes"), &["aft-sim depends on bytes: it may use [] only"]);
    check("aft-sim", dev("tokio"), &["aft-sim depends on tokio: it may use [] only"]);
    let bugs = Edge { bugs: true, ..edge("aft-core") };
    check("aft", bugs.clone(), &["aft turns aft-core's planted bugs on: only tests do"]);
    check("aft-simulation", bugs, &[]);
    check(
        "aft-desk",
        edge("axum"),
        &["aft-desk depends on axum: only doors, aft-net, clients and the local Lambda speak HTTP"],
    );
    check(
        "aft-node",
        edge("hyper"),
        &["aft-node depends on hyper: only doors, aft-net, clients and the local Lambda speak HTTP"],
    );
    check(
        "aft-transfer",
        edge("aft-node"),
        &["aft-transfer depends on aft-node: not in its row of the table"],
    );
    check(
        "aft-transfer",
        edge("aft-store-s3"),
        &["aft-transfer depends on aft-store-s3: only the binary names concrete stores"],
    );
    check(
        "aft-transfer",
        edge("hyper"),
        &["aft-transfer depends on hyper: only doors, aft-net, clients and the local Lambda speak HTTP"],
    );
    check("aft-transfer", edge("aft-door-s3"), &[]);
    check("aft-door-native", edge("axum"), &[]);
    check("aft-net", edge("hyper"), &[]);
    check("aft-lambda-host", edge("axum"), &[]);
    check(
        "aft-lambda-host",
        edge("aft-net"),
        &["aft-lambda-host depends on aft-net: not in its row of the table"],
    );
    check("aft-e2e", edge("hyper"), &[]);
    check("aft-door-native", edge("left-pad"), &["left-pad has no sentence in docs/dependencies.md"]);
    check(
        "newcomer",
        edge("bytes"),
        &["newcomer has no row in the table of infra/xtask/tests/dependencies.rs"],
    );
}

/// Adds one edge to a workspace that has all crates and no edges, and expects exactly the
/// violations `expect`.
fn check(from: &str, edge: Edge, expect: &[&str]) {
    let of =
        |rule: &Rule| (rule.name.to_owned(), Crate { folder: rule.folder.to_owned(), edges: Vec::new() });
    let mut graph: Graph = RULES.iter().map(of).collect();
    graph.entry(from.to_owned()).or_default().edges.push(edge.clone());
    assert_eq!(violations(&graph, "`axum` `bytes` `hyper` `serde` `tokio`"), expect, "{from} → {edge:?}");
}
