//! How many requests the store got: counted in process, or read from a server's `/metrics`.

use std::sync::Arc;

use bytes::Bytes;
use hyper::Method;

use crate::counting::{Calls, CountingStore};
use crate::error::{Error, Result};
use crate::http::{Connection, Server};

/// The counter of a server's calls to its store, by the label `call`.
const METRIC: &str = "aft_store_calls_total";

/// Where calls are counted.
#[derive(Debug)]
pub(crate) enum Counter {
    /// Around the store.
    Store(Arc<CountingStore>),
    /// At the server.
    Server(Server),
}

impl Counter {
    /// The calls so far.
    ///
    /// # Errors
    /// If the server does not answer.
    pub(crate) async fn calls(&self) -> Result<Calls> {
        match self {
            Counter::Store(store) => Ok(store.calls()),
            Counter::Server(server) => {
                let mut connection = Connection::new(server.clone());
                match connection.call(Method::GET, "/metrics", None, Bytes::new()).await {
                    Ok(answer) => Ok(parse(&String::from_utf8_lossy(&answer.body))),
                    Err(why) => Err(Error::Server { url: server.url.clone(), problem: why.to_string() }),
                }
            }
        }
    }
}

/// The counter's values by call; several nodes in one process are added up.
fn parse(metrics: &str) -> Calls {
    let mut calls = Calls::new();
    for line in metrics.lines() {
        let Some(rest) = line.strip_prefix(METRIC) else { continue };
        let Some((labels, value)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
            continue;
        };
        let call =
            labels.split(',').find_map(|label| label.trim().strip_prefix("call=\"")?.strip_suffix('"'));
        if let (Some(call), Ok(value)) = (call, value.trim().parse::<f64>()) {
            *calls.entry(call.to_owned()).or_default() += value as u64;
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    #[test]
    fn reads_the_counter_by_call() {
        let text = "# TYPE aft_store_calls_total counter\n\
                    aft_store_calls_total{call=\"put\"} 12\n\
                    aft_store_calls_total{node=\"a\",call=\"get\"} 3\n\
                    aft_store_calls_total{node=\"b\",call=\"get\"} 4\n\
                    aft_store_calls_seconds_sum{call=\"get\"} 5\n\
                    other 1\n";
        let expected = [("get".to_owned(), 7), ("put".to_owned(), 12)];
        assert_eq!(super::parse(text), expected.into_iter().collect());
    }
}
