//! The environment of the function's runtime, and how it gets from the process of the extension to
//! that of the exec wrapper.
//!
//! The two are started by Lambda, and share no parent of ours. They meet at a socket without a
//! file, whose name contains the address of the Runtime API: nothing of an earlier start can be
//! left there, and two environments on one machine do not meet.

use std::io::{Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::{Duration, Instant};

use crate::layer::Endpoints;

/// The time that the wrapper waits for the extension. Lambda starts the runtime when all extensions
/// have registered, so it is there already.
const MEET_TIME_MAX: Duration = Duration::from_secs(5);
const MEET_AGAIN: Duration = Duration::from_millis(10);
/// The most bytes of the variables.
const BYTES_MAX: u64 = 64 << 10;

/// Variables of the environment, to be set for the runtime.
pub type Variables = Vec<(String, String)>;

/// Returns the variables that lead a runtime, and the SDKs in it, to the local endpoints. `get`
/// returns the value of a variable that the runtime would have.
pub fn variables(endpoints: &Endpoints, get: impl Fn(&str) -> Option<String>) -> Variables {
    let mut variables = vec![("AWS_LAMBDA_RUNTIME_API".to_owned(), endpoints.runtime_api.to_string())];
    if let Some(s3) = endpoints.s3 {
        variables.push(("AWS_ENDPOINT_URL_S3".to_owned(), format!("http://{s3}")));
    }
    // A proxy must not get calls to this machine.
    for name in ["NO_PROXY", "no_proxy"] {
        let given = get(name).filter(|value| !value.trim().is_empty());
        let is_there =
            given.as_ref().is_some_and(|value| value.split(',').any(|host| host.trim() == "127.0.0.1"));
        if !is_there {
            let value = given.map_or_else(|| "127.0.0.1".to_owned(), |given| format!("{given},127.0.0.1"));
            variables.push((name.to_owned(), value));
        }
    }
    variables
}

/// Returns the reason why the SDKs will not follow the variables, if there is one.
pub fn ignored(get: impl Fn(&str) -> Option<String>) -> Option<String> {
    const NAME: &str = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS";
    let is_on = get(NAME).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    is_on.then(|| format!("{NAME} is set, so the function's SDKs pass the layer by: remove it"))
}

fn address(runtime_api: &str) -> std::io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("aft-layer/{runtime_api}"))
}

/// Gives the endpoints to each process that asks at the place of this Runtime API. The thread ends
/// with the process.
///
/// # Errors
/// Returns the reason why nobody can ask.
pub fn offer(runtime_api: &str, endpoints: Endpoints) -> Result<(), String> {
    let listener = address(runtime_api).and_then(|address| UnixListener::bind_addr(&address));
    let listener = listener.map_err(|why| {
        format!("cannot listen for the exec wrapper: {why}; is the layer twice in this environment?")
    })?;
    let serve = move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let s3 = endpoints.s3.map(|address| address.to_string()).unwrap_or_default();
            // The wrapper may have ended.
            let _ = writeln!(stream, "{}\n{s3}", endpoints.runtime_api);
        }
    };
    let started = std::thread::Builder::new().name("exec-wrapper".into()).stack_size(64 << 10).spawn(serve);
    started.map(drop).map_err(|why| format!("cannot start a thread: {why}"))
}

/// Asks the extension for its endpoints.
///
/// # Errors
/// Returns the reason why there are none, with the remedy.
pub fn ask(runtime_api: &str) -> Result<Endpoints, String> {
    let since = Instant::now();
    let mut stream = loop {
        match address(runtime_api).and_then(|address| UnixStream::connect_addr(&address)) {
            Ok(stream) => break stream,
            Err(_) if since.elapsed() < MEET_TIME_MAX => std::thread::sleep(MEET_AGAIN),
            Err(why) => {
                return Err(format!(
                    "the layer's extension does not run ({why}): add the whole layer to the function, not only the \
                     wrapper, and see the lines above for its reason; the function is not started without it"
                ));
            }
        }
    };
    let mut text = String::new();
    let read = (&mut stream).take(BYTES_MAX).read_to_string(&mut text);
    read.map_err(|why| format!("the layer's extension broke off: {why}"))?;
    let mut lines = text.lines();
    let unreadable =
        || "the layer's extension sent what is no address: are both files of one version?".to_owned();
    let runtime_api = lines.next().and_then(|line| line.parse().ok()).ok_or_else(unreadable)?;
    let s3 = match lines.next() {
        None | Some("") => None,
        Some(line) => Some(line.parse().map_err(|_| unreadable())?),
    };
    Ok(Endpoints { runtime_api, s3 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints() -> Endpoints {
        Endpoints { runtime_api: "127.0.0.1:1".parse().unwrap(), s3: Some("127.0.0.1:2".parse().unwrap()) }
    }

    #[test]
    fn the_runtime_is_led_to_the_endpoints() {
        let set = variables(&endpoints(), |name| (name == "no_proxy").then(|| "internal".into()));
        let value = |name: &str| set.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        assert_eq!(value("AWS_LAMBDA_RUNTIME_API"), Some("127.0.0.1:1"));
        assert_eq!(value("AWS_ENDPOINT_URL_S3"), Some("http://127.0.0.1:2"));
        assert_eq!((value("NO_PROXY"), value("no_proxy")), (Some("127.0.0.1"), Some("internal,127.0.0.1")));
        let set = variables(&Endpoints { s3: None, ..endpoints() }, |_| Some("a, 127.0.0.1".into()));
        assert_eq!(set.len(), 1, "{set:?}");
    }

    #[test]
    fn extension_and_wrapper_meet() {
        let name = format!("test:{}", std::process::id());
        offer(&name, endpoints()).unwrap();
        assert_eq!(ask(&name), Ok(endpoints()));
        assert_eq!(ask(&name), Ok(endpoints()), "a runtime that starts again asks again");
        assert!(offer(&name, endpoints()).unwrap_err().contains("twice"));
    }
}
