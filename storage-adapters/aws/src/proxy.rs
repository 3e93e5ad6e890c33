//! The proxy between here and a service: that of the environment, but never for this machine.
//!
//! `HTTP_PROXY` and its kin are set on many machines for all programs. A proxy elsewhere cannot
//! reach a server on this machine's loopback address, and its answer is then taken for the store's.
//! `NO_PROXY=*` switches proxies off, as it does for curl; the SDK's own client would take the star
//! for a domain.

use std::net::IpAddr;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

/// The variables that name a proxy, in either case of letters.
const NAMES: [&str; 3] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/// Returns the HTTP client for a service at `endpoint`; `None` stands for Amazon's own.
pub(crate) fn client(endpoint: Option<&str>) -> SharedHttpClient {
    let proxy = match is_used(endpoint, &variable("NO_PROXY")) {
        true => ProxyConfig::from_env(),
        false => ProxyConfig::disabled(),
    };
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder().proxy_config(proxy.clone());
        if let Some(settings) = settings {
            connector = connector.connector_settings(settings.clone());
        }
        if let Some(sleep) = components.and_then(|components| components.sleep_impl()) {
            connector = connector.sleep_impl(sleep);
        }
        connector.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build()
    })
}

/// Returns a remark for the message of a call that failed, if a proxy may have been asked.
pub(crate) fn remark() -> String {
    let set: Vec<&str> = NAMES.into_iter().filter(|name| !variable(name).is_empty()).collect();
    match set.is_empty() || variable("NO_PROXY").trim() == "*" {
        true => String::new(),
        false => format!(
            "; {} names a proxy: does it reach this endpoint, or must NO_PROXY name it?",
            set.join(", ")
        ),
    }
}

/// Returns the value of an environment variable, whose name may be in lower case; else nothing.
fn variable(name: &str) -> String {
    let value = std::env::var(name).or_else(|_| std::env::var(name.to_ascii_lowercase()));
    value.unwrap_or_default()
}

fn is_used(endpoint: Option<&str>, no_proxy: &str) -> bool {
    let everything = no_proxy.split(',').any(|rule| rule.trim() == "*");
    !everything && !endpoint.is_some_and(is_here)
}

/// Returns true if an endpoint's host is a loopback address.
fn is_here(endpoint: &str) -> bool {
    let authority = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let authority = authority.split(['/', '?']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_used;

    #[test]
    fn no_proxy_is_used_for_this_machine_or_if_all_are_switched_off() {
        for endpoint in
            ["http://127.0.0.1:9000", "http://localhost:9000/", "https://[::1]:9000", "http://localhost"]
        {
            assert!(!is_used(Some(endpoint), ""), "{endpoint}");
        }
        for endpoint in ["http://10.0.0.1:9000", "http://minio:9000", "http://localhost.example:1"] {
            assert!(is_used(Some(endpoint), ""), "{endpoint}");
            assert!(!is_used(Some(endpoint), "*") && !is_used(Some(endpoint), "a, *"), "{endpoint}");
        }
        assert!(is_used(None, "localhost") && !is_used(None, "*"));
    }
}
