//! A function of the demo's platform: a process that the demo starts as `aft demo-function ORDER`.
//!
//! ```text
//!   debit   read the balance · write it minus the amount · write a ledger entry
//!   credit  read the debited account · read the balance · write it plus the amount · write a
//!   ledger entry · commit
//! ```
//!
//! It is an ordinary function, which does nothing to protect itself against being killed or run
//! twice. Its order may say to stop at a point and wait. Then the demo kills it there, or lets it
//! continue long after its attempt was abandoned.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::demo::access::Access;
use crate::demo::account::{Account, ledger_key};
use crate::demo::order::{Ended, Hold, Order, Role, Said, Task};
use crate::http::Server;

/// Carries out one order: the hidden subcommand `demo-function`, whose only argument is `order`.
///
/// It writes messages to standard output, in lines that the demo reads. The exit code only says
/// whether the order was understood.
pub async fn run(order: &str) -> ExitCode {
    // When the demo's process ends for any reason, this one ends with it. An error is ignored: the
    // demo kills its processes as well.
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
            eprintln!("demo-function is for internal use by aft demo; cannot parse its order: {why}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// The prefix of settings in the environment.
const SETTINGS: &[u8] = b"AFT_";

/// Replaces this process by `aft` with `arguments`. The death signal is kept.
fn become_program(parent: u32, arguments: &[String]) -> ExitCode {
    // The parent died before the death signal was set.
    if std::os::unix::process::parent_id() != parent {
        return ExitCode::FAILURE;
    }
    match std::env::current_exe() {
        Ok(program) => {
            let mut command = Command::new(program);
            command.args(arguments);
            // Remove settings meant for other servers run from the same shell: the demo shows the
            // defaults.
            let settings = std::env::vars_os().map(|(name, _)| name);
            for name in settings.filter(|name| name.as_encoded_bytes().starts_with(SETTINGS)) {
                command.env_remove(name);
            }
            let why = command.exec();
            eprintln!("cannot execute aft {}: {why}", arguments.join(" "));
        }
        Err(why) => eprintln!("cannot find the path of the running program: {why}"),
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
    // The second function checks that it sees the first one's write.
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
    account.ok_or_else(|| Ended::Failed(format!("account {key} is missing or damaged")))
}

/// Stops if `here` is the point where the order says to stop, until a byte arrives on standard
/// input. The end of the input means that the demo has ended.
fn hold(task: &Task, here: Hold) {
    if task.hold != Some(here) {
        return;
    }
    say(&Said::Held);
    // This blocks the whole process on purpose, connections included.
    if std::io::stdin().read_exact(&mut [0]).is_err() {
        std::process::exit(1);
    }
}

/// Writes a message to standard output. Errors are ignored: then the demo no longer reads.
fn say(said: &Said) {
    let mut line = serde_json::to_string(said).expect("a message consists of strings");
    line.push('\n');
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}
