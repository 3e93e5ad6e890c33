//! A host with the function `f`, its temporary files, and the limits of waits.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use aft_lambda_host::{Config, EnvironmentInfo, Function, Host, Invoke, Invoked, Line, Logs, Stage};
use serde_json::Value;

/// The limit of every wait: far above the time that anything takes on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
/// The pause between two looks at something that cannot be waited for.
const LOOK: Duration = Duration::from_millis(5);

/// The interpreter itself, not a wrapper that looks for it in the home of the user who runs it.
static PYTHON: LazyLock<String> = LazyLock::new(|| {
    let asked = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let asked = asked.expect("python3 is not installed: install it to run these tests");
    String::from_utf8(asked.stdout).expect("a path").trim().to_owned()
});

/// Returns the path of a program in `tests/programs`.
pub(crate) fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name)
}

/// Returns a function that runs the tiny runtime.
pub(crate) fn function() -> Function {
    let runtime = program("runtime.py").display().to_string();
    let mut function = Function::new("f", &[PYTHON.as_str(), &runtime]);
    function.timeout = LIMIT;
    function
}

/// A host, the lines of its processes, and a folder.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) host: Host,
    pub(crate) lines: Arc<Mutex<Vec<Line>>>,
    folder: tempfile::TempDir,
}

/// Starts a host with one function.
pub(crate) async fn start(function: Function) -> Scene {
    let mut config = Config::of(vec![function]);
    config.shutdown = LIMIT;
    start_with(config).await
}

/// Starts a host with a configuration, whose start of an environment has the time of all waits.
pub(crate) async fn start_with(mut config: Config) -> Scene {
    config.init = LIMIT;
    config.settle = LIMIT;
    config.path = Some(path());
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&lines);
    let logs = Logs::new(move |line| kept.lock().expect("nobody panics with the lines").push(line));
    let host = Host::start(config, logs).await.expect("the host starts");
    Scene { host, lines, folder: tempfile::tempdir().expect("a folder") }
}

/// Returns a `PATH` in which `python3` is the interpreter itself.
pub(crate) fn path() -> String {
    let folder = Path::new(PYTHON.as_str()).parent().expect("an interpreter lies in a folder");
    format!("{}:/usr/local/bin:/usr/bin:/bin", folder.display())
}

impl Scene {
    /// Returns the path of a file in the folder, which is not made.
    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Invokes the function with an event.
    pub(crate) async fn invoke(&self, event: Value) -> Invoked {
        let invoked = self.host.invoke(Invoke::new("f", event.to_string()));
        within(invoked).await.expect("the function is invoked")
    }

    /// Waits until exactly one environment is in each of these stages, in any order.
    pub(crate) async fn stages(&self, mut expect: Vec<Stage>) -> Vec<EnvironmentInfo> {
        let rank = |stage: &Stage| format!("{stage:?}");
        expect.sort_by_key(rank);
        let is = |list: &[EnvironmentInfo]| {
            let mut stages: Vec<_> = list.iter().map(|one| one.stage).collect();
            stages.sort_by_key(rank);
            stages == expect
        };
        within(self.host.wait_for(is)).await
    }

    /// Returns the text of the platform's lines and of the processes'.
    pub(crate) fn text(&self) -> Vec<String> {
        self.lines
            .lock()
            .expect("nobody panics with the lines")
            .iter()
            .map(|line| line.text.clone())
            .collect()
    }
}

/// Waits for something, within the limit.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("it takes far less than the limit")
}

/// Looks until there is something.
pub(crate) async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    within(async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(LOOK).await;
        }
    })
    .await
}

/// Waits until a file has this many whole lines, and returns them.
pub(crate) async fn lines(path: &str, count: usize) -> Vec<String> {
    until(|| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let whole = text.matches('\n').count();
        (whole >= count).then(|| text.lines().map(str::to_owned).collect())
    })
    .await
}

/// Returns the states of the processes in a group, from `/proc`: `R`, `S`, `T`, ...; those that
/// have ended and were not waited for are left out.
pub(crate) fn group_states(group: i32) -> BTreeMap<i32, char> {
    let entries = std::fs::read_dir("/proc").expect("/proc is there").flatten();
    let state = |entry: std::fs::DirEntry| {
        let number: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name may hold spaces; the state, the parent and the group follow it.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.chars().next()?;
        let own_group: i32 = fields.nth(1)?.parse().ok()?;
        (own_group == group && state != 'Z' && state != 'X').then_some((number, state))
    };
    entries.filter_map(state).collect()
}

/// Waits until no process of a group is left.
pub(crate) async fn group_is_gone(group: i32) {
    until(|| group_states(group).is_empty().then_some(())).await;
}

/// Returns a function's answer as JSON.
pub(crate) fn json(invoked: &Invoked) -> Value {
    serde_json::from_slice(&invoked.payload).unwrap_or_else(|why| panic!("{why}: {invoked:?}"))
}

/// Checks that an invocation has failed with this type and a message that ends like this.
pub(crate) fn check_failed(invoked: &Invoked, error_type: &str, message: &str) {
    assert_eq!(invoked.function_error, Some("Unhandled"), "{invoked:?}");
    let document = json(invoked);
    assert_eq!(document["errorType"], error_type, "{document}");
    let is_there = document["errorMessage"].as_str().is_some_and(|text| text.ends_with(message));
    assert!(is_there, "{document}: {message}");
}
