//! Goal: the quick tour in README.md works as shown. Method: its commands run unchanged, against a
//! server at a free port; the output of each is compared with the comment lines that follow it.
//!
//! In an expected line, `…` matches any text.

use std::path::Path;
use std::process::Command;

use aft_e2e::server::Server;

/// A command of the tour, and the output that README.md shows.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    command: String,
    expect: Vec<String>,
}

/// Returns the steps of the `sh` blocks between the marks `tour` and `/tour`.
fn steps(readme: &str) -> Vec<Step> {
    let (_, rest) = readme.split_once("<!-- tour -->").expect("README.md marks its tour");
    let (tour, _) = rest.split_once("<!-- /tour -->").expect("README.md marks the end of its tour");
    let mut steps: Vec<Step> = Vec::new();
    for block in tour.split("```sh\n").skip(1) {
        let (block, _) = block.split_once("```").expect("a block has an end");
        let mut continued = false;
        for line in block.lines().filter(|line| !line.trim().is_empty()) {
            if let Some(comment) = line.strip_prefix("# ") {
                steps.last_mut().expect("output follows a command").expect.push(comment.to_owned());
            } else if continued {
                let step = steps.last_mut().expect("a continued line follows another");
                step.command.push_str(&format!("\n{line}"));
            } else {
                steps.push(Step { command: line.to_owned(), expect: Vec::new() });
            }
            continued = line.ends_with('\\');
        }
    }
    steps
}

/// Returns true if `text` matches `pattern`, in which `…` matches any text.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('…') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    loop {
        if fits(rest, text) {
            return true;
        }
        let mut chars = text.chars();
        if chars.next().is_none() {
            return false;
        }
        text = chars.as_str();
    }
}

const MARK: &str = "--- next step";

#[test]
fn the_readme_tour_works() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("tests/e2e lies two folders below the root");
    let steps = steps(&std::fs::read_to_string(root.join("README.md")).expect("README.md is there"));
    assert!(steps.len() > 3, "{steps:?}");
    let server = Server::start("memory:");
    let commands: Vec<_> =
        steps.iter().map(|step| format!("{}\necho; echo '{MARK}'\n", step.command)).collect();
    let script = commands.concat().replace("127.0.0.1:7400", &server.address().to_string());
    let output = Command::new("bash").args(["-euc", &script]).output().expect("bash starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:#?}");
    let answers: Vec<_> = said.split(&format!("{MARK}\n")).collect();
    assert_eq!(answers.len(), steps.len() + 1, "{said}");
    for (step, answer) in steps.iter().zip(answers) {
        let lines: Vec<_> = answer.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        let as_expected = lines.len() == step.expect.len()
            && step.expect.iter().zip(&lines).all(|(pattern, line)| fits(pattern, line));
        assert!(
            as_expected,
            "{}\nREADME.md says:\n{:#?}\nit printed:\n{lines:#?}",
            step.command, step.expect
        );
    }
}

#[test]
fn steps_are_parsed_and_patterns_match() {
    assert!(fits("a…c", "abc") && fits("a…c", "ac") && fits("…", "") && fits("{…}", "{\"a\":1}"));
    assert!(!fits("a…c", "abd") && !fits("a", "ab") && !fits("a…b…c", "acb"));
    let readme = "x\n<!-- tour -->\n```sh\necho a \\\n  b\n# a b\nT=1\n```\ntext\n```sh\necho c\n# c\n```\n<!-- /tour -->\n";
    let step = |command: &str, expect: &[&str]| Step {
        command: command.to_owned(),
        expect: expect.iter().map(|&line| line.to_owned()).collect(),
    };
    assert_eq!(steps(readme), [step("echo a \\\n  b", &["a b"]), step("T=1", &[]), step("echo c", &["c"])]);
}
