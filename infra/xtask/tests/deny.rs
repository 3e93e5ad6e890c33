//! Goal: dependencies fit deny.toml: their licences, their sources, and a reason for each crate
//! that is there in two versions. Method: read `cargo metadata` for the platform of the release and
//! hold every package against the file. The tool cargo-deny reads the same file, and advisories as
//! well.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The registry from which crates may come; cargo writes it so, whatever it is replaced by.
const REGISTRY: &str = "registry+https://github.com/rust-lang/";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("infra/xtask lies two folders below the root")
}

fn rules() -> toml::Table {
    let text = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml is there");
    toml::from_str(&text).expect("deny.toml is TOML")
}

/// Returns the packages of other people: name, version, licence, source.
fn packages() -> Vec<[String; 4]> {
    let cargo = std::env::var_os("CARGO").expect("cargo tells tests where it is");
    // Offline: this test was built from the same lock file, so nothing needs to be fetched.
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata writes JSON");
    let packages = metadata["packages"].as_array().expect("metadata has packages");
    let text = |package: &Value, name: &str| package[name].as_str().unwrap_or_default().to_owned();
    packages
        .iter()
        .filter(|package| !package["source"].is_null())
        .map(|package| ["name", "version", "license", "source"].map(|name| text(package, name)))
        .collect()
}

/// Returns true if a licence expression can be met by the licences that are allowed.
fn is_met(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    // Old manifests write a slash for "or".
    let expression = expression.replace('/', " OR ");
    let any = |text: &str| text.split(" OR ").any(|one| allowed.contains(one.trim()));
    // No expression nests deeper than a bracket of alternatives among demands.
    let is_outside = |depth: i32| depth == 0;
    let (mut depth, mut parts, mut part) = (0, Vec::new(), String::new());
    for word in expression.split_whitespace() {
        depth += word.matches('(').count() as i32 - word.matches(')').count() as i32;
        if word == "AND" && is_outside(depth) {
            parts.push(std::mem::take(&mut part));
        } else {
            part.push_str(word.trim_matches(['(', ')']));
            part.push(' ');
        }
    }
    parts.push(part);
    parts.iter().all(|part| any(part))
}

#[test]
fn licences_fit() {
    let rules = rules();
    let allowed = rules["licenses"]["allow"].as_array().expect("there is a list of licences");
    let allowed: BTreeSet<&str> = allowed.iter().filter_map(toml::Value::as_str).collect();
    let packages = packages();
    assert!(packages.len() > 100, "{} packages", packages.len());
    let found: Vec<_> = packages.iter().filter(|[_, _, licence, _]| !is_met(licence, &allowed)).collect();
    assert!(found.is_empty(), "deny.toml does not allow the licences of {found:?}");
    let used = |licence: &str| packages.iter().any(|[_, _, of, _]| of.contains(licence));
    let unused: Vec<_> = allowed.iter().filter(|licence| !used(licence)).collect();
    assert!(unused.is_empty(), "deny.toml allows {unused:?}, which no package has");
}

#[test]
fn sources_are_the_registry() {
    let found: Vec<_> =
        packages().into_iter().filter(|[_, _, _, source]| !source.starts_with(REGISTRY)).collect();
    assert!(found.is_empty(), "{found:?} do not come from the registry");
}

#[test]
fn each_second_version_has_a_reason() {
    let rules = rules();
    let skip = rules["bans"]["skip"].as_array().expect("there is a list of second versions");
    let skipped: BTreeSet<String> = skip
        .iter()
        .map(|entry| {
            assert!(entry["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{entry}");
            entry["crate"].as_str().expect("an entry names a crate").to_owned()
        })
        .collect();
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for [name, version, ..] in packages() {
        versions.entry(name).or_default().insert(version);
    }
    let mut found = Vec::new();
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        let excused =
            versions.iter().filter(|version| skipped.contains(&format!("{name}@{version}"))).count();
        // One version needs no excuse.
        if excused + 1 < versions.len() {
            found.push(format!("{name}: {versions:?}"));
        }
    }
    assert!(found.is_empty(), "second versions without a reason in deny.toml: {found:?}");
    let gone: Vec<_> = skipped
        .iter()
        .filter(|entry| {
            let (name, version) = entry.split_once('@').expect("an entry is NAME@VERSION");
            !versions.get(name).is_some_and(|of| of.len() > 1 && of.contains(version))
        })
        .collect();
    assert!(gone.is_empty(), "deny.toml excuses {gone:?}, which are not there twice");
}

#[test]
fn expressions_are_judged() {
    let allowed = BTreeSet::from(["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"]);
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-2.0-only", false),
        ("GPL-2.0-only OR MIT", true),
        ("Unlicense/MIT", true),
        ("MIT AND GPL-2.0-only", false),
        ("ISC AND (MIT OR GPL-2.0-only)", true),
        ("(ISC OR MIT) AND BSD-3-Clause", false),
        ("Apache-2.0 WITH LLVM-exception OR Apache-2.0", true),
        ("", false),
    ] {
        assert_eq!(is_met(expression, &allowed), expected, "{expression}");
    }
}
