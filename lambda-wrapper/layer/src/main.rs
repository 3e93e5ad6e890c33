//! The binary of the layer. Its name and its first argument choose the role.

use std::process::ExitCode;

use aft_layer::role::Role;
use aft_layer::settings::{Settings, VARIABLES};
use aft_layer::{environment, explain, extension, report, run, wrapper};

const HELP: &str = "\
The AFT layer for AWS Lambda: unmodified handlers become atomic and exactly once.

  /opt/extensions/aft-layer        the extension: serves the local endpoints
  /opt/aft-exec COMMAND…           the exec wrapper: AWS_LAMBDA_EXEC_WRAPPER
  aft-layer run -- COMMAND…        both in one, for images and local runs
  aft-layer maintain               a function that sweeps the store; also as bootstrap
  aft-layer explain-key EVENT.json the request ID that an event would get
  aft-layer --version

Variables of the function's environment:
";

fn main() -> ExitCode {
    let ended = Role::of(std::env::args_os()).and_then(act);
    ended.unwrap_or_else(|why| {
        report::fatal(&why);
        ExitCode::FAILURE
    })
}

fn act(role: Role) -> Result<ExitCode, String> {
    let get = |name: &str| std::env::var(name).ok();
    match role {
        Role::Wrapper(command) => Err(wrapper::run(command)),
        Role::Extension => {
            let settings = settings()?;
            block_on(extension::run(settings)).map(|()| ExitCode::SUCCESS)
        }
        Role::Run(command) => {
            let settings = settings()?;
            block_on(run::run(settings, command)).map(ExitCode::from)
        }
        #[cfg(feature = "embedded")]
        Role::Maintain => {
            let settings = settings()?;
            block_on(aft_layer::maintain::run(settings)).map(|()| ExitCode::SUCCESS)
        }
        #[cfg(not(feature = "embedded"))]
        Role::Maintain => {
            Err("this layer was built without the node, so it sweeps no store: a shim does, or the \
             function of the other layer"
                .into())
        }
        Role::ExplainKey(file) => {
            print!("{}", explain::run(&file, &Settings::read_rules(get)?, get)?);
            Ok(ExitCode::SUCCESS)
        }
        Role::Help => {
            print!("{HELP}");
            for (name, values, about) in VARIABLES {
                println!("  {name} = {values}\n      {about}");
            }
            Ok(ExitCode::SUCCESS)
        }
        Role::Version => {
            println!("aft-layer {}", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Reads the settings, and starts the log.
fn settings() -> Result<Settings, String> {
    let get = |name: &str| std::env::var(name).ok();
    let settings = Settings::read(get)?;
    report::start(settings.log);
    for name in Settings::unknown(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())) {
        tracing::warn!(name, "aft: this variable is no setting of the layer: is it misspelt?");
    }
    if let Some(why) = environment::ignored(get) {
        tracing::warn!(why, "aft: calls of the function are not covered");
    }
    Ok(settings)
}

/// Runs on one thread: a function has a fraction of a processor.
fn block_on<T>(future: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|why| format!("cannot start the runtime of the layer: {why}"))?;
    let ended = runtime.block_on(future);
    // Nothing of it is worth waiting for.
    runtime.shutdown_background();
    ended
}
