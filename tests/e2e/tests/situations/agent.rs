//! The clients under test, behind one interface: a command as JSON in, its outcome as JSON out.
//!
//! The clients in other languages are driven through `tests/agent.py` and `test/agent.mjs`, which
//! read one command a line; the Rust client is called here. `tests/agent.py` lists the commands.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use aft_client::{Client, Error, Op, Request};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// The longest time that a command may take.
pub(crate) const COMMAND_TIME_MAX: Duration = Duration::from_secs(120);

/// A client under test.
pub(crate) enum Agent {
    Rust(Option<Client>),
    Process(Box<Process>),
}

pub(crate) struct Process {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

fn clients() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.expect("tests/e2e lies two folders below the root").join("shim/clients")
}

impl Agent {
    /// Starts the agent of a client, by the name of its folder.
    pub(crate) fn start(client: &str) -> Agent {
        let (program, script) = match client {
            "rust" => return Agent::Rust(None),
            "python" => ("python3", "python/tests/agent.py"),
            "node" => ("node", "node/test/agent.mjs"),
            other => panic!("there is no client {other}"),
        };
        let script = clients().join(script);
        let mut child = Command::new(program)
            .arg(&script)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|why| panic!("{program} {}: {why}", script.display()));
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Agent::Process(Box::new(Process { _child: child, input, output }))
    }

    /// Carries out a command, and returns its outcome, with `ms`, the time that it took.
    pub(crate) async fn carry_out(&mut self, command: &Value) -> Value {
        let start = Instant::now();
        let outcome = async {
            match self {
                Agent::Rust(client) => rust(client, command).await.unwrap_or_else(|why| failure(&why)),
                Agent::Process(process) => process.carry_out(command).await,
            }
        };
        let outcome = tokio::time::timeout(COMMAND_TIME_MAX, outcome).await;
        let mut outcome = outcome.unwrap_or_else(|_| panic!("{command} takes longer than two minutes"));
        outcome["ms"] = json!(start.elapsed().as_millis() as u64);
        outcome
    }
}

impl Process {
    async fn carry_out(&mut self, command: &Value) -> Value {
        self.input.write_all(format!("{command}\n").as_bytes()).await.expect("the agent reads");
        let line = self.output.next_line().await.expect("the agent writes");
        let line = line.unwrap_or_else(|| panic!("the agent ended at {command}"));
        serde_json::from_str(&line).unwrap_or_else(|why| panic!("{command} was answered {line}: {why}"))
    }
}

fn failure(error: &Error) -> Value {
    let name = match error {
        Error::Retry(_) => "Retry",
        Error::Unavailable(_) => "Unavailable",
        Error::Unknown(_) => "Unknown",
        Error::InProgress(_) => "InProgress",
        Error::KeyReused(_) => "KeyReused",
        Error::ResultGone(_) => "ResultGone",
        Error::Invalid(_) => "Invalid",
        Error::NotFound(_) => "NotFound",
        Error::Unauthorized(_) => "Unauthorized",
        Error::Internal(_) => "Internal",
    };
    let code = error.code().map(|code| code.as_str());
    json!({"error": name, "retryable": error.is_retryable(), "detail": error.to_string(), "code": code})
}

fn request(id: &Value) -> Request {
    id.as_str().map_or_else(Request::unnamed, Request::named)
}

fn text(value: Option<aft_client::Value>) -> Value {
    value.map_or(Value::Null, |value| json!(String::from_utf8_lossy(&value.bytes)))
}

/// Carries out a command with the Rust client.
async fn rust(client: &mut Option<Client>, command: &Value) -> Result<Value, Error> {
    let of = |name: &str| command[name].as_str().unwrap_or_default().to_owned();
    let sleep = Duration::from_millis(command["sleep_ms"].as_u64().unwrap_or(0));
    let gate = command["waits"].as_str().map(PathBuf::from);
    if command["do"] == "client" {
        *client = Some(make(command)?);
        return Ok(json!({"ok": true}));
    }
    let client = client.as_ref().expect("the first command makes the client");
    match command["do"].as_str().expect("a command names what to do") {
        "get" => Ok(json!({"ok": text(client.get(of("key")).await?)})),
        "put" => {
            let value =
                command["size"].as_u64().map_or_else(|| of("value"), |size| "x".repeat(size as usize));
            client.put(of("key"), value).await?;
            Ok(json!({"ok": true}))
        }
        "run" => {
            let (key, value) = (of("key"), of("value"));
            let ran = client
                .run(request(&command["id"]), |t| {
                    let (key, value, gate) = (key.clone(), value.clone(), &gate);
                    async move {
                        t.get(&key).await?;
                        tokio::time::sleep(sleep).await;
                        wait_at(gate.as_deref()).await;
                        t.put(&key, value).await?;
                        Ok::<_, Error>("done")
                    }
                })
                .await?;
            let result = String::from_utf8_lossy(&ran.result).into_owned();
            Ok(json!({"ok": result, "replayed": ran.replayed, "attempts": ran.attempts}))
        }
        "read" => {
            let key = of("key");
            let read = std::sync::Mutex::new(Value::Null);
            client
                .run(Request::unnamed(), |t| {
                    let (key, read, gate) = (key.clone(), &read, &gate);
                    async move {
                        let value = t.get(&key).await?;
                        tokio::time::sleep(sleep).await;
                        wait_at(gate.as_deref()).await;
                        *read.lock().expect("nothing panics") = text(value);
                        Ok::<_, Error>("")
                    }
                })
                .await?;
            Ok(json!({"ok": read.into_inner().expect("nothing panics")}))
        }
        "execute" => {
            let ops = vec![Op::put(of("key"), of("value"))];
            let done = client.execute(request(&command["id"]), ops, "").await?;
            Ok(json!({"ok": true, "replayed": done.ran.replayed}))
        }
        "request" => {
            let found = client.request(request(&command["id"])).await?;
            Ok(json!({"ok": found.map(|found| found.version)}))
        }
        "count" => {
            let (times, tasks) = (command["times"].as_u64(), command["tasks"].as_u64());
            let (times, tasks) = (times.expect("a number"), tasks.expect("a number"));
            let mut running = tokio::task::JoinSet::new();
            for task in 0..tasks {
                let (client, key) = (client.clone(), of("key"));
                running.spawn(async move {
                    let own = times / tasks + u64::from(task < times % tasks);
                    for _ in 0..own {
                        count_down(&client, &key).await?;
                    }
                    Ok::<_, Error>(())
                });
            }
            while let Some(ended) = running.join_next().await {
                ended.expect("no task panics")?;
            }
            Ok(json!({"ok": times}))
        }
        "fork" => Ok(json!({"skipped": "a process of Rust does not fork"})),
        other => panic!("there is no command {other}"),
    }
}

/// Waits until the gate opens, if there is one.
async fn wait_at(gate: Option<&Path>) {
    let Some(gate) = gate else { return };
    std::fs::write(gate.join("reached"), "").expect("a file can be made");
    while !gate.join("open").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn count_down(client: &Client, key: &str) -> Result<(), Error> {
    client
        .run(Request::unnamed(), |t| async move {
            let stock = t.get(key).await?.map_or(0, |stock| {
                String::from_utf8_lossy(&stock.bytes).parse::<i64>().expect("the key holds a number")
            });
            t.put(key, (stock - 1).to_string()).await?;
            Ok::<_, Error>("")
        })
        .await
        .map(|_| ())
}

fn make(command: &Value) -> Result<Client, Error> {
    let mut builder =
        Client::builder(command["url"].as_str().expect("a client has a URL")).attempts_max(1_000);
    if let Some(token) = command["token"].as_str() {
        builder = builder.token(token);
    }
    if let Some(path) = command["ca"].as_str() {
        builder = builder.ca(path);
    }
    if let Some(path) = command["certificate"].as_str() {
        builder = builder.certificate(path);
    }
    if let Some(path) = command["key"].as_str() {
        builder = builder.key(path);
    }
    if let Some(ms) = command["silence_ms"].as_u64() {
        builder = builder.call_timeout(Duration::from_millis(ms));
    }
    if let Some(ms) = command["run_ms"].as_u64() {
        builder = builder.run_time_max(Duration::from_millis(ms));
    }
    builder.build()
}
