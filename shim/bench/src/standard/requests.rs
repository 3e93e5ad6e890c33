//! The number of requests to the store: counted in this process, or read from a server's
//! `/metrics`.

use std::sync::Arc;

use bytes::Bytes;
use hyper::Method;

use crate::counting::{Asked, CountingStore};
use crate::error::{Error, Result};
use crate::http::{Connection, Server};

/// The metric that counts a server's calls to its store, by the label `call`.
const CALLS: &str = "aft_store_calls_total";
/// The metric of the billing units that those calls consumed, by the label `unit`; absent if the
/// store does not charge by units.
const CONSUMED: &str = "aft_store_consumed";
/// The metric of the price of those calls; absent if the store does not charge by request.
const DOLLARS: &str = "aft_store_cost_dollars";

/// The place where calls are counted.
#[derive(Debug)]
pub(crate) enum Counter {
    /// In this process, by a decorator of the store.
    Store(Arc<CountingStore>),
    /// At the servers; their counts are added up.
    Servers(Vec<Server>),
}

impl Counter {
    /// Returns the calls so far, and what they cost.
    ///
    /// # Errors
    /// Returns [`Error::Server`] if a server does not answer.
    pub(crate) async fn asked(&self) -> Result<Asked> {
        match self {
            Counter::Store(store) => Ok(store.asked()),
            Counter::Servers(servers) => {
                // Concatenated metrics parse as those of one process with more nodes.
                let mut text = String::new();
                for server in servers {
                    let mut connection = Connection::new(server.clone());
                    match connection.call(Method::GET, "/metrics", None, Bytes::new()).await {
                        Ok(answer) => text.push_str(&String::from_utf8_lossy(&answer.body)),
                        Err(why) => {
                            return Err(Error::Server { url: server.url.clone(), problem: why.to_string() });
                        }
                    }
                    text.push('\n');
                }
                Ok(parse(&text))
            }
        }
    }
}

/// Parses the metrics; the values of several nodes are added up.
fn parse(metrics: &str) -> Asked {
    let mut asked = Asked::default();
    for line in metrics.lines() {
        // Lines without labels, such as comments, are not among these metrics.
        let Some((name, rest)) = line.split_once('{') else { continue };
        let Some((labels, value)) = rest.split_once('}') else { continue };
        let Ok(value) = value.trim().parse::<f64>() else { continue };
        let label = |name: &str| {
            labels.split(',').find_map(|label| label.trim().strip_prefix(name)?.strip_suffix('"'))
        };
        match (name, label("call=\""), label("unit=\"")) {
            (CALLS, Some(call), _) => *asked.calls.entry(call.to_owned()).or_default() += value as u64,
            (CONSUMED, _, Some(unit)) => *asked.units.entry(unit.to_owned()).or_default() += value,
            (DOLLARS, ..) => *asked.dollars.get_or_insert_default() += value,
            _ => {}
        }
    }
    asked
}

#[cfg(test)]
mod tests {
    use crate::counting::Asked;

    #[test]
    fn reads_the_calls_and_their_cost() {
        let text = "# TYPE aft_store_calls_total counter\n\
                    aft_store_calls_total{call=\"put\"} 12\n\
                    aft_store_calls_total{node=\"a\",call=\"get\"} 3\n\
                    aft_store_calls_total{node=\"b\",call=\"get\"} 4\n\
                    aft_store_calls_seconds_sum{call=\"get\"} 5\n\
                    other 1\n";
        let calls = [("get".to_owned(), 7), ("put".to_owned(), 12)];
        let calls: Asked = Asked { calls: calls.into(), ..Asked::default() };
        assert_eq!(super::parse(text), calls);
        let text = format!(
            "{text}aft_store_cost_dollars{{node=\"a\"}} 0.5\naft_store_consumed{{node=\"a\",unit=\"read_units\"}} 1.5\n"
        );
        let units = [("read_units".to_owned(), 1.5)].into();
        assert_eq!(super::parse(&text), Asked { dollars: Some(0.5), units, ..calls });
    }
}
