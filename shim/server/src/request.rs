//! `aft request show`: prints what a server knows about a request.

use std::process::ExitCode;
use std::time::Duration;

use aft_access::Secret;
use aft_api::{Code, Format, Problem, Request as Found};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::commands::{RequestAction, RequestArguments, ShowArguments};
use crate::{BAD, Failed, token};

/// The time to wait for an answer: longer than the server itself waits for its store.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) async fn run(arguments: RequestArguments) -> Result<ExitCode, Failed> {
    let RequestAction::Show(arguments) = arguments.action;
    let url = url(&arguments);
    let token = token::read(arguments.token_file.as_deref())?;
    let (succeeded, body) = match tokio::time::timeout(TIMEOUT, get(&url, token.as_ref())).await {
        Ok(answer) => answer.map_err(|why| format!("{url}: {why}"))?,
        Err(_) => return Err(format!("{url}: no answer within {} s", TIMEOUT.as_secs())),
    };
    if succeeded {
        // Decoded before it is shown, so that nothing but an answer of a server is.
        let request: Found = Format::Json.decode(&body).map_err(|why| {
            format!("{url}: the answer is not that of an AFT server ({why}); check the URL")
        })?;
        println!("{}", serde_json::to_string_pretty(&request).expect("a request has text keys"));
        return Ok(ExitCode::SUCCESS);
    }
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) if problem.code == Code::NotFound => {
            println!("{}: {}", arguments.id, problem.detail);
            Ok(ExitCode::from(BAD))
        }
        Ok(problem) => Err(format!("{}: {}", problem.title, problem.detail)),
        Err(_) => Err(format!("{url}: the answer is not that of an AFT server; check the URL")),
    }
}

/// Sends the request. Returns true if the status is a success, and the body.
async fn get(url: &str, token: Option<&Secret>) -> Result<(bool, Bytes), Failed> {
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    if url.starts_with("https://") {
        return Err("this command supports only http://: write http://HOST:PORT, or use curl --cacert".into());
    }
    let url: Uri = url.parse().map_err(|why| format!("not a URL: {why}; write http://HOST:PORT"))?;
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = url;
    if let Some(token) = token {
        let mut value =
            HeaderValue::try_from(format!("Bearer {}", token.expose())).expect("a token is visible ASCII");
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    // The cause is the useful part of the client's error: connection refused, no such host.
    let response = client.request(request).await.map_err(|why| {
        let source = std::error::Error::source(&why).map(|source| format!(": {source}")).unwrap_or_default();
        format!("{why}{source}; is the server running there?")
    })?;
    let succeeded = response.status().is_success();
    let body = response.into_body().collect().await.map_err(|why| why.to_string())?;
    Ok((succeeded, body.to_bytes()))
}

fn url(arguments: &ShowArguments) -> String {
    let server = arguments.server.trim_end_matches('/');
    let mut url = format!("{server}/v1/requests/{}", encode(&arguments.id));
    if let Some(scope) = &arguments.scope {
        url.push_str("?scope=");
        url.push_str(&encode(scope));
    }
    url
}

/// Percent-encodes all but unreserved characters.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte as char),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
