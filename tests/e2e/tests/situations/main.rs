//! Goal: the three clients do the same in the situations in which clients get. Method: the list of
//! situations in `shim/clients/vectors.json` is played with each client: a world is made, commands
//! are given, things happen meanwhile, and the outcomes are compared with the list.

mod agent;
mod front;
mod world;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::agent::{Agent, COMMAND_TIME_MAX};
use crate::world::World;

fn situations() -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let file = root.expect("tests/e2e lies two folders below the root").join("shim/clients/vectors.json");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
    let vectors: Value = serde_json::from_str(&text).expect("the vectors are JSON");
    vectors["situations"].as_array().expect("there is a list of situations").clone()
}

/// Returns true if a client is to be left out.
fn is_skipped(client: &str) -> bool {
    let skipped = std::env::var("AFT_SKIP_SERVICES").unwrap_or_default();
    skipped.split(',').any(|other| other.trim() == client)
}

/// Plays all situations with one client, and returns the differences.
async fn play_all(client: &str) {
    if is_skipped(client) {
        println!("skipped: {client} (AFT_SKIP_SERVICES)");
        return;
    }
    let situations = situations();
    assert!(situations.len() > 20, "the list is too short: {}", situations.len());
    let only = std::env::var("AFT_SITUATION").ok();
    let mut differences = Vec::new();
    for situation in &situations {
        let name = situation["name"].as_str().expect("a situation has a name");
        let left_out = situation["not"].as_array().is_some_and(|not| not.iter().any(|not| not == client));
        if left_out || only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        if let Err(difference) = play(client, situation).await {
            differences.push(format!("{name}: {difference}"));
        }
    }
    assert!(differences.is_empty(), "{client}:\n{}", differences.join("\n"));
}

/// Plays one situation.
async fn play(client: &str, situation: &Value) -> Result<(), String> {
    let mut world = World::make(&situation["world"]).await;
    let mut agent = Agent::start(client);
    let make = world.fill(&situation["client"]);
    let made = agent.carry_out(&make).await;
    compare(&make, &made, situation.get("made").unwrap_or(&serde_json::json!({"ok": true})))?;
    for step in situation["steps"].as_array().expect("a situation has steps") {
        if step.get("happens").is_some() {
            world.let_happen(step).await;
            continue;
        }
        let mut command = world.fill(&step["do"]);
        let gate = Gate::of(&mut command);
        let outcome = agent.carry_out(&command);
        let meanwhile = async {
            gate.reached().await;
            for event in step["meanwhile"].as_array().into_iter().flatten() {
                tokio::time::sleep(Duration::from_millis(event["after_ms"].as_u64().unwrap_or(0))).await;
                world.let_happen(event).await;
            }
            gate.open();
        };
        let (outcome, ()) = tokio::join!(outcome, meanwhile);
        compare(&command, &outcome, &step["expect"])?;
    }
    Ok(())
}

/// The point in a function at which it waits until everything has happened that happens meanwhile:
/// in the folder that the command names with `waits`, it makes the file `reached`, and waits for
/// the file `open`.
struct Gate(Option<TempDir>);

impl Gate {
    /// Makes the gate of a command that waits, and puts its folder into the command.
    fn of(command: &mut Value) -> Gate {
        if command["waits"] != true {
            return Gate(None);
        }
        let folder = tempfile::tempdir().expect("a folder can be made");
        command["waits"] = folder.path().to_str().expect("a path of text").into();
        Gate(Some(folder))
    }

    /// Waits until the function has come to the gate.
    async fn reached(&self) {
        let Some(folder) = &self.0 else { return };
        let since = Instant::now();
        while !folder.path().join("reached").exists() && since.elapsed() < COMMAND_TIME_MAX {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn open(&self) {
        if let Some(folder) = &self.0 {
            std::fs::write(folder.path().join("open"), "").expect("a file can be made");
        }
    }
}

/// Compares an outcome with what is expected: fields that are named must be equal; `within_ms`,
/// `says`, `says_not`, `length` and `attempts_min` are compared in their own ways.
fn compare(command: &Value, outcome: &Value, expect: &Value) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{command}: {what}: {outcome}, expected {expect}"));
    if outcome.get("skipped").is_some() {
        return Ok(());
    }
    let detail = outcome["detail"].as_str().unwrap_or_default();
    for (field, value) in expect.as_object().expect("an expectation is an object") {
        let holds = match field.as_str() {
            "within_ms" => outcome["ms"].as_u64() <= value.as_u64(),
            "attempts_min" => outcome["attempts"].as_u64() >= value.as_u64(),
            "length" => outcome["ok"].as_str().map(str::len) == value.as_u64().map(|len| len as usize),
            "says" => words(value).all(|word| detail.to_lowercase().contains(&word.to_lowercase())),
            "says_not" => words(value).all(|word| !detail.contains(word)),
            "found" => outcome["ok"].is_null() != value.as_bool().expect("true or false"),
            _ => outcome.get(field) == Some(value),
        };
        if !holds {
            return wrong(field);
        }
    }
    // An outcome that was not expected to fail must not have failed.
    if expect.get("error").is_none() && outcome.get("error").is_some() {
        return wrong("it failed");
    }
    Ok(())
}

fn words(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().expect("a list of words").iter().map(|word| word.as_str().expect("a word is text"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust() {
    play_all("rust").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python() {
    play_all("python").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node() {
    play_all("node").await;
}
