//! `aft request show`: prints what a server knows about a request.

use std::process::ExitCode;
use std::time::Duration;

use aft_client::{Client, Error, Request};

use crate::commands::{RequestAction, RequestArguments, ShowArguments};
use crate::{BAD, Failed, output, token};

/// The longest silence to wait for: longer than the server itself waits for its store.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) async fn run(arguments: RequestArguments) -> Result<ExitCode, Failed> {
    let RequestAction::Show(arguments) = arguments.action;
    let ShowArguments { id, scope, server, token_file, tls } = arguments;
    let mut client = Client::builder(&server).tls(tls.files()).call_timeout(TIMEOUT).repeats(false);
    if let Some(token) = token::read(token_file.as_deref())? {
        client = client.token(token.expose());
    }
    let client = client.build().map_err(|why| why.details().detail.clone())?;
    let mut request = Request::named(&id);
    if let Some(scope) = scope {
        request = request.scope(scope);
    }
    match client.request(request).await {
        Ok(Some(found)) => {
            output::print(serde_json::to_string_pretty(&found).expect("a request has text keys"))?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(None) => {
            output::print(format_args!("{id}: no commit of this request is known"))?;
            Ok(ExitCode::from(BAD))
        }
        Err(why) => Err(explain(&server, &why)),
    }
}

fn explain(server: &str, why: &Error) -> Failed {
    let details = why.details();
    match (&details.problem, why) {
        (Some(problem), _) => format!("{}: {}", problem.title, problem.detail),
        (None, Error::Unavailable(_)) if why.is_retryable() => {
            format!("{server}: {}; is the server running there?", details.detail)
        }
        (None, Error::Invalid(_)) => details.detail.clone(),
        (None, _) => format!("{server}: {}", details.detail),
    }
}
