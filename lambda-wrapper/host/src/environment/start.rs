//! The start of an environment's processes.

use std::sync::Arc;
use std::time::Duration;

use tokio::process::Child;

use super::Environment;
use crate::logs::Source;
use crate::machine::invocation::{Exit, Failure};
use crate::machine::{Machine, Stage};
use crate::process::{self, Program};
use crate::variables;

impl Environment {
    /// Starts the processes, and waits at most `limit` until all of them are ready.
    ///
    /// # Errors
    /// Returns the reason if they are not. The caller ends the environment.
    pub(crate) async fn start(self: &Arc<Self>, limit: Duration) -> Result<(), Failure> {
        let started = tokio::time::timeout(limit, self.launch()).await.unwrap_or(Err(Failure::TimedOut));
        if let Err(failure) = &started {
            self.change(|machine| machine.fail(failure.clone()));
        }
        started
    }

    async fn launch(self: &Arc<Self>) -> Result<(), Failure> {
        let shared = &self.shared;
        let runtime = variables::of_runtime(&shared.config, &shared.function, self.address, &self.log_stream);
        let variables = variables::of_extensions(&runtime);
        for extension in &shared.function.extensions {
            let command = [extension.display().to_string()];
            let name = extension.file_name().expect("the configuration was checked");
            let name = name.to_string_lossy().into_owned();
            let program =
                Program { command: &command, directory: &shared.function.directory, variables: &variables };
            let child = self.spawn(&name, &program)?.child;
            let environment = Arc::clone(self);
            self.reap_child(&name.clone(), child, move |exit| {
                environment.change(|machine| machine.extension_ended(&name, exit));
            });
        }
        self.ready(Machine::extensions_registered).await?;
        let mut command = shared.function.command.clone();
        if let Some(wrapper) = &shared.function.wrapper {
            // The wrapper finds the runtime's program by itself, from the same directory.
            command.insert(0, wrapper.display().to_string());
        }
        let program =
            Program { command: &command, directory: &shared.function.directory, variables: &runtime };
        // The state first: the process may call the Runtime API at once.
        self.change(Machine::runtime_started);
        let process = match self.spawn("runtime", &program) {
            Ok(process) => process,
            Err(failure) => {
                self.change(|machine| machine.runtime_ended(Exit::Unknown));
                return Err(failure);
            }
        };
        self.runtime.set(process.handle).expect("an environment has one runtime");
        let environment = Arc::clone(self);
        self.reap_child("runtime", process.child, move |exit| {
            environment.change(|machine| machine.runtime_ended(exit));
        });
        self.ready(|machine| machine.stage() != Stage::Init).await
    }

    /// Waits until `is_ready` holds or the environment has failed.
    async fn ready(&self, is_ready: impl Fn(&Machine) -> bool) -> Result<(), Failure> {
        self.machine.wait_for(|machine| is_ready(machine) || machine.failure().is_some()).await;
        self.machine.look(|machine| machine.failure().cloned()).map_or(Ok(()), Err)
    }

    fn spawn(&self, name: &str, program: &Program<'_>) -> Result<process::Process, Failure> {
        self.group.spawn(program).map_err(|why| {
            let first = program.command.first().expect("a command has a program");
            Failure::NotStarted(format!("{name} cannot be started: {first}: {why}"))
        })
    }

    /// Passes on the output of a process, and reports its end.
    fn reap_child(self: &Arc<Self>, name: &str, mut child: Child, ended: impl FnOnce(Exit) + Send + 'static) {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        if let Some(stdout) = stdout {
            tokio::spawn(Arc::clone(self).pass_on(name.to_owned(), Source::Stdout, stdout));
        }
        if let Some(stderr) = stderr {
            tokio::spawn(Arc::clone(self).pass_on(name.to_owned(), Source::Stderr, stderr));
        }
        tokio::spawn(async move { ended(process::exit(child.wait().await)) });
    }
}
