//! A function of the demo's platform: a process of its own, started by the demo as `aft demo-function ORDER`.
//!
//! ```text
//!   debit   read the balance · write it, less the amount · write a ledger entry
//!   credit  look at the debit · read the balance · write it, plus the amount · write a ledger entry · commit
//! ```
//!
//! An ordinary function, that does nothing about being run twice or killed. It may be told to stop at a point and wait; then the demo
//! kills it there, or lets it go on when it is long given up.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::demo::access::Access;
use crate::demo::account::{Account, ledger_key};
use crate::demo::order::{Ended, Hold, Order, Role, Said, Task};
use crate::http::Server;

/// Carries out one order: the hidden subcommand `demo-function`, whose single positional argument is passed on as it stands.
///
/// Speaks on standard output, in lines that the demo reads. The exit code says only whether the order was understood.
pub async fn run(order: &str) -> ExitCode {
    // However the demo ends, its processes end with it. (Nothing to be done if the system refuses; the demo kills them too.)
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    match serde_json::from_str(order) {
        Ok(Order::Ping) => say(&Said::Ended(Ended::Done)),
        Ok(Order::Become { parent, arguments }) => return become_program(parent, &arguments),
        Ok(Order::Function(task)) => {
            let ended = match carry_out(&task).await {
                Ok(ended) | Err(ended) => ended,
            };
            say(&Said::Ended(ended));
        }
        Err(why) => {
            eprintln!("demo-function is for the demo's own use; its order is not understood: {why}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// What the names of settings in the environment start with.
const SETTINGS: &[u8] = b"AFT_";

/// Becomes the program with other arguments; the death signal stays.
fn become_program(parent: u32, arguments: &[String]) -> ExitCode {
    if std::os::unix::process::parent_id() != parent {
        return ExitCode::FAILURE;
    }
    match std::env::current_exe() {
        Ok(program) => {
            let mut command = Command::new(program);
            command.args(arguments);
            // The demo shows the defaults, whatever the settings are of a server that is run from the same shell.
            let settings = std::env::vars_os().map(|(name, _)| name);
            for name in settings.filter(|name| name.as_encoded_bytes().starts_with(SETTINGS)) {
                command.env_remove(name);
            }
            let why = command.exec();
            eprintln!("cannot become aft {}: {why}", arguments.join(" "));
        }
        Err(why) => eprintln!("cannot find the running program: {why}"),
    }
    ExitCode::FAILURE
}

async fn carry_out(task: &Task) -> Result<Ended, Ended> {
    let server = Server::parse(&task.server, None).map_err(|why| Ended::Failed(why.to_string()))?;
    let mut access = Access::new(server, task.transaction.clone());
    let (key, amount) = match task.role {
        Role::Debit => (&task.from, -task.amount),
        Role::Credit => (&task.to, task.amount),
    };
    if task.role == Role::Credit {
        let debited = read(&mut access, &task.from).await?;
        if debited.attempt != task.attempt {
            say(&Said::OwnWriteMissed);
        }
    }
    let account = read(&mut access, key).await?;
    hold(task, Hold::Read);
    access.put(key, account.apply(task.request, amount, task.attempt).encode()).await?;
    hold(task, Hold::Wrote);
    let entry = format!("{amount} by attempt {}", task.attempt);
    access.put(&ledger_key(key, task.request), entry.into_bytes()).await?;
    match task.role {
        Role::Debit => Ok(Ended::Done),
        Role::Credit => access.commit().await,
    }
}

async fn read(access: &mut Access, key: &str) -> Result<Account, Ended> {
    let value = access.get(key).await?;
    let account = value.as_deref().and_then(Account::decode);
    account.ok_or_else(|| Ended::Failed(format!("there is no account {key}")))
}

/// Stops if this is the point to stop at, until a byte comes. The end of the input is the end of the demo.
fn hold(task: &Task, here: Hold) {
    if task.hold != Some(here) {
        return;
    }
    say(&Said::Held);
    // Blocking is the point: the process stands still, connections and all.
    if std::io::stdin().read_exact(&mut [0]).is_err() {
        std::process::exit(1);
    }
}

/// Says a line. If nobody listens any more, nobody misses it.
fn say(said: &Said) {
    let mut line = serde_json::to_string(said).expect("what is said is text");
    line.push('\n');
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}
