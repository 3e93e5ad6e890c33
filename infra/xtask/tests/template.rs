//! Goal: the template in `infra/sam` is one that CloudFormation takes, and its functions have the
//! rights that they use and no others. Method: cfn-lint, over the template of each architecture and
//! over one with a planted mistake; the calls in the code of the store against the actions in the
//! template.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use aft_services::{Home, Service};

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("infra/xtask lies two folders below the root").to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

fn template() -> String {
    read("infra/sam/template.yaml")
}

/// Returns the text of a resource: its line and the deeper ones that follow.
fn resource<'a>(template: &'a str, name: &str) -> &'a str {
    let head = format!("\n  {name}:\n");
    let start = template.find(&head).unwrap_or_else(|| panic!("the template has no {name}")) + 1;
    let rest = &template[start..];
    let mut ends = rest.match_indices("\n").map(|(at, _)| at + 1).skip(1);
    let end = ends.find(|at| !rest[*at..].starts_with("    ")).unwrap_or(rest.len());
    &rest[..end]
}

/// Returns the words in a text that begin with `prefix`, without it.
fn words<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let ends = |of: char| !of.is_ascii_alphanumeric() && of != '_';
    text.match_indices(prefix)
        .map(|(at, _)| text[at + prefix.len()..].split(ends).next().unwrap_or_default())
        .filter(|word| !word.is_empty())
        .collect()
}

/// Returns the program cfn-lint; none if it is to be left out, or if it was not fetched.
fn cfn_lint() -> Option<PathBuf> {
    let service = Service::LambdaRuntimes;
    if service.skipped() {
        return None;
    }
    match service.program(&Home::from_environment()) {
        Ok(python) => Some(python.with_file_name("cfn-lint")),
        Err(why) => {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("a test");
            // Not `println!`, whose output the test harness captures while the test passes.
            let line = format!("skipped: {name}: cfn-lint is not there: {why}\n");
            std::io::stdout().write_all(line.as_bytes()).expect("the output takes a line");
            None
        }
    }
}

fn lint(program: &Path, template: &str) -> Output {
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file for the template");
    file.write_all(template.as_bytes()).expect("the template is written");
    let mut command = Command::new(program);
    command.args(["--include-checks", "I", "W", "E", "--"]).arg(file.path());
    command.output().expect("cfn-lint starts")
}

#[test]
fn cfn_lint_finds_nothing() {
    let Some(program) = cfn_lint() else { return };
    let template = template();
    for architecture in ["x86_64", "arm64"] {
        let found = lint(&program, &template.replace("x86_64", architecture));
        let said = String::from_utf8_lossy(&found.stdout);
        assert!(found.status.success(), "{architecture}: {said}{}", String::from_utf8_lossy(&found.stderr));
    }
    let wrong = template.replace("AttributeType: B", "AttributeType: bytes");
    let found = lint(&program, &wrong);
    assert!(!found.status.success(), "a planted mistake is not found");
    assert!(String::from_utf8_lossy(&found.stdout).contains("bytes"), "{found:?}");
}

#[test]
fn functions_have_the_rights_that_they_use() {
    // The SDK's calls in the code of the store, as actions: `put_item` is PutItem.
    let code = read("storage-adapters/dynamodb/src/link.rs");
    let code: String = code.split_whitespace().collect();
    let calls: BTreeSet<String> = words(&code, "client.")
        .into_iter()
        .map(|call| {
            let part = |part: &str| part[..1].to_uppercase() + &part[1..];
            call.split('_').map(part).collect()
        })
        .collect();
    let mut sweeps: BTreeSet<&str> = calls.iter().map(String::as_str).collect();
    // Only `aft store init` does.
    assert!(sweeps.remove("CreateTable"), "{calls:?}");
    let mut serves = sweeps.clone();
    // A guest opens its store without a request.
    assert!(serves.remove("DescribeTable"), "{calls:?}");
    assert!(serves.len() > 3, "{calls:?}");
    let template = template();
    for (role, expected) in [("TakeOrderRole", serves), ("MaintainRole", sweeps)] {
        let rights = words(resource(&template, role), "dynamodb:");
        assert_eq!(rights, expected, "{role}");
    }
    assert!(!template.contains('*'), "a right for everything");
}

#[test]
fn names_in_the_template_exist() {
    let template = template();
    let settings = read("lambda-wrapper/layer/src/settings.rs") + &read("lambda-wrapper/events/src/rules.rs");
    let names = words(&template, "AFT_");
    assert!(names.len() > 3, "{names:?}");
    for name in names {
        assert!(settings.contains(&format!("\"AFT_{name}\"")), "AFT_{name} is no setting of the layer");
    }
    let role = read("lambda-wrapper/layer/src/role.rs");
    for name in ["aft-exec", "bootstrap"] {
        assert!(template.contains(name) && role.contains(&format!("\"{name}\"")), "{name}");
    }
    let link = read("storage-adapters/dynamodb/src/link.rs");
    for (constant, name, kind) in [("PARTITION", "p", "S"), ("SORT", "s", "B")] {
        assert!(link.contains(&format!("{constant}: &str = \"{name}\"")), "{constant}");
        let attribute = format!("AttributeName: {name}, AttributeType: {kind}");
        assert!(resource(&template, "Store").contains(&attribute), "{attribute}");
    }
    let sample = resource(&template, "TakeOrder");
    assert!(sample.contains("Handler: orders.handler"), "{sample}");
    assert!(read("infra/sam/sample/orders.py").contains("def handler(event, context):"));
}

#[test]
fn resources_are_cut_out_whole() {
    let template = "a:\n  B:\n    c: 1\n    d: 2\n\n  E:\n    f: 3\n";
    assert_eq!(resource(template, "B"), "  B:\n    c: 1\n    d: 2\n");
    assert_eq!(resource(template, "E"), "  E:\n    f: 3\n");
    assert_eq!(words("x:Get, x:Put y:Not", "x:"), BTreeSet::from(["Get", "Put"]));
}
