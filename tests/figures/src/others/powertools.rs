//! The comparison with Powertools for AWS Lambda: a transfer between two accounts under a request
//! ID, done once, by functions in Python on the same DynamoDB Local.
//!
//! ```text
//!   transfers.py × workers ─boto3─► DynamoDB Local      two updates, a record before and after
//!   transfers.py × workers ─HTTP─► aft serve ─► DynamoDB Local       one transaction
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aft_client::Isolation;
use aft_services::{Home, Program, Server, Service};
use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::data::{Cell, Seen};
use crate::measure::Choice;
use crate::others::ground::{self, AftServer};
use crate::others::restate::level_name;
use crate::others::transfers::{ACCOUNTS, Account, Accounts, OPENING, audit};
use crate::others::{LEVELS, ROUNDS, Rounds, ways};
use crate::site::Failed;

pub(crate) const POWERTOOLS: &str = "Powertools";
pub(crate) const TRANSFERS: &str = "powertools-transfers";
/// The points of the figure.
pub(crate) const WORKERS: [usize; 3] = [1, 4, 16];

pub(crate) const ABOUT: &str = "A transfer between two of 1,000 accounts under a request ID, closed loop, by processes of Python that each make one\n\
    transfer after the other.\n\
    Powertools: its idempotency utility with its DynamoDB layer; the function makes two conditional updates by boto3.\n\
    AFT: the same function with the Python client, as one transaction that has the request's ID, on `aft serve` with its\n\
    default settings.\n\
    Both use the same DynamoDB Local.\n\
    At the end all balances and moves are added up, and a sample of the requests is sent again.\n\
    Half done are writes to an account that are missing (lost updates, which read atomic permits).\n\
    Powertools' two updates are not atomic: a function that dies between them leaves half a transfer, but no function dies\n\
    in this measurement.";

const STORE: &str = "DynamoDB";
/// The table of AFT, and those of Powertools.
const TABLE: &str = "figures";
const ACCOUNTS_TABLE: &str = "accounts";
const RECORDS_TABLE: &str = "records";
const WARM_UP_S: f64 = 1.0;
const TIME_S: f64 = 4.0;
/// The duration of the loads before the first measurement, in which a node learns the time of a
/// store that reports whole seconds. As in the plan, it is not scaled.
const LEARNS_TIME: Duration = Duration::from_secs(8);
/// The number of workers of those loads, which are not measured.
const FIRST_WORKERS: usize = 4;
/// The time that a script may take beyond that of its load.
const PATIENCE: Duration = Duration::from_secs(240);

const SCRIPT: &str = include_str!("transfers.py");

/// The store, AFT's server over it, and the script.
struct Place {
    dynamodb: Server,
    aft: AftServer,
    python: PathBuf,
    folder: TempDir,
}

/// The output of the script for a load.
#[derive(Debug, Deserialize)]
struct Printed {
    transactions: u64,
    attempts: u64,
    transactions_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    errors: std::collections::BTreeMap<String, u64>,
    acknowledged: u64,
    answered_again: u64,
    before: Account,
    after: Account,
}

/// Measures the figure.
///
/// # Errors
/// Returns an error if a server cannot be started, if a script fails, or if no transfer ended well.
pub(crate) async fn run(choice: &Choice, bar: &ProgressBar) -> Result<Vec<(&'static str, Cell)>, Failed> {
    let place = Place::start().await?;
    let mut nth = 0;
    // Every load has a name of its own, so that no request ID is used twice.
    let mut load = |level: Option<(Isolation, &'static str)>, workers: usize, warm_up_s: f64, time_s: f64| {
        nth += 1;
        json!({
            "bank": if level.is_some() { "aft" } else { "powertools" },
            "isolation": level.map(|(level, _)| level_name(level)),
            "prefix": level.map(|(_, prefix)| prefix),
            "workers": workers, "warm_up_s": warm_up_s, "time_s": time_s,
            "seed": choice.seed, "run": format!("run-{nth}"),
        })
    };
    for (_, level, prefix) in LEVELS {
        bar.set_message(format!("{TRANSFERS}: AFT learns its store's time"));
        let first = load(Some((level, prefix)), FIRST_WORKERS, 0.0, LEARNS_TIME.as_secs_f64() / 2.0);
        place.measure(first).await?;
    }
    let mut rounds = Rounds::default();
    for workers in WORKERS {
        for round in 0..ROUNDS {
            for side in ways(round, POWERTOOLS) {
                bar.set_message(format!("{TRANSFERS} {} {workers}", side.way));
                let (warm_up_s, time_s) = (WARM_UP_S * choice.scale, TIME_S * choice.scale);
                let seen = place.measure(load(side.level, workers, warm_up_s, time_s)).await;
                let seen = seen.map_err(|why| format!("{}: {why}", side.way))?;
                rounds.add(TRANSFERS, STORE, side.way, workers, seen);
                bar.inc(1);
            }
        }
    }
    Ok(rounds.cells)
}

impl Place {
    async fn start() -> Result<Place, Failed> {
        let dynamodb = tokio::task::spawn_blocking(|| Service::DynamoDb.start()).await;
        let dynamodb = dynamodb.map_err(|why| why.to_string())?.map_err(|why| why.to_string())?;
        let (endpoint, region) = (dynamodb.endpoint(), dynamodb.region());
        let url = format!("dynamodb://{TABLE}/others?endpoint={endpoint}&region={region}");
        let mut init = vec!["store".to_owned(), "init".to_owned(), url.clone()];
        for (_, level, prefix) in LEVELS {
            init.extend(["--isolation".to_owned(), format!("{prefix}={}", level_name(level))]);
        }
        ground::aft(init, dynamodb.environment()).await?;
        let folder = ground::folder()?;
        let aft = AftServer::start(&url, &dynamodb.environment(), folder.path()).await?;
        let script = folder.path().join("transfers.py");
        fs::write(&script, SCRIPT).map_err(|why| format!("cannot write {}: {why}", script.display()))?;
        let python = Service::Powertools.program(&Home::from_environment()).map_err(|why| why.to_string())?;
        let place = Place { dynamodb, aft, python, folder };
        place.script("prepare", json!({}), PATIENCE).await?;
        Ok(place)
    }

    /// Runs a load, and checks it against the sums of the accounts.
    async fn measure(&self, load: Value) -> Result<Seen, Failed> {
        let said = self.script("measure", load, PATIENCE).await?;
        let printed: Printed = serde_json::from_str(&said).map_err(|why| format!("{why}: {said}"))?;
        if printed.transactions == 0 {
            return Err(format!("no transfer ended well: {:?}", printed.errors));
        }
        let seen = Seen {
            transactions: printed.transactions,
            attempts: printed.attempts,
            transactions_per_s: printed.transactions_per_s,
            p50_ms: printed.p50_ms,
            p99_ms: printed.p99_ms,
            errors: printed.errors,
            ..Seen::default()
        };
        let accounts =
            Accounts { acknowledged: printed.acknowledged, answered_again: printed.answered_again };
        Ok(audit(seen, accounts, printed.before, printed.after))
    }

    /// Runs the script, and returns the result that it prints.
    async fn script(&self, what: &'static str, load: Value, patience: Duration) -> Result<String, Failed> {
        let mut given = json!({
            "endpoint": self.dynamodb.endpoint(), "region": self.dynamodb.region(),
            "access_key": self.dynamodb.access_key(), "secret_key": self.dynamodb.secret_key(),
            "accounts_table": ACCOUNTS_TABLE, "records_table": RECORDS_TABLE,
            "client": client_of_python(), "url": self.aft.url,
            "accounts": ACCOUNTS, "opening": OPENING,
        });
        let all = given.as_object_mut().expect("an object, above");
        all.extend(load.as_object().expect("an object, from above").clone());
        let (python, folder) = (self.python.clone(), self.folder.path().to_owned());
        let ran = tokio::task::spawn_blocking(move || {
            let given = given.to_string();
            let mut program = Program::start(&python, &["transfers.py", what, &given], &[], &folder)?;
            program.says("result ", patience)
        });
        ran.await.map_err(|why| why.to_string())?.map_err(|why| why.to_string())
    }
}

/// Returns the folder of this repository's client for Python.
fn client_of_python() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let root = root.expect("tests/figures lies two folders below the root");
    root.join("shim/clients/python/src").display().to_string()
}
