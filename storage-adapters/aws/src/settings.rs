//! The SDK's settings: credentials, region, and behaviour.

use std::fmt;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use tokio::time::timeout;

use crate::{Form, Location, Mistake, chain, proxy};

/// The time that a server has to accept a connection before it counts as unreachable. A lost packet
/// is sent again after one second, and no network path takes as long as another.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The time that finding credentials may take. They may come from a service on the network, with
/// several attempts.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(15);
/// The region to sign for on servers that have no regions.
const REGION_DEFAULT: &str = "us-east-1";

/// An explicit pair of credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// The access key ID, which names the pair.
    pub access: String,
    /// The secret access key, which signs requests.
    pub secret: String,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("access", &self.access).finish_non_exhaustive()
    }
}

/// Everything that sending requests to a store needs.
#[derive(Debug)]
pub struct Settings {
    /// The location, with the region always set, and the endpoint set unless it is Amazon's own.
    pub location: Location,
    /// The region that requests are sent to.
    pub region: String,
    /// The configuration to build a service's client from. The caller sets the client's endpoint to
    /// the location's, so that requests go where the URL shows, even if the environment names
    /// another endpoint for that service.
    pub sdk: SdkConfig,
}

/// Returns the settings for requests to the store at `url`. `keys`, if given, replace the
/// credentials of the usual provider chain. Nothing is sent to the store yet.
///
/// # Errors
/// A [`Mistake`] if the URL is wrong, no credentials are found, or neither the URL nor the
/// environment names a region. All of them are for the operator to fix.
pub async fn settings(form: &Form, url: &str, keys: Option<&Keys>) -> Result<Settings, Mistake> {
    let mut location = Location::parse(form, url)?;
    let sdk = load(&location, keys).await;
    location.endpoint = location.endpoint.or_else(|| sdk.endpoint_url().map(str::to_owned));
    let region = match (sdk.region(), &location.endpoint) {
        (Some(region), _) => region.to_string(),
        (None, Some(_)) => REGION_DEFAULT.to_owned(),
        (None, None) => return Err(Mistake::NoRegion(location.to_string())),
    };
    location.region = Some(region.clone());
    check_credentials(&sdk, &location.to_string()).await?;
    let sdk = sdk
        .into_builder()
        .region(Region::new(region.clone()))
        .http_client(proxy::client(location.endpoint.as_deref()))
        .app_name(AppName::new("aft").expect("three letters"))
        // Callers retry, and must know that they do: a create that the SDK retried silently would
        // return Exists after its own success.
        .retry_config(RetryConfig::disabled())
        // Each adapter's `link` bounds the time of a whole request, body included; the SDK's
        // timeouts end with the head of the answer.
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .disable_read_timeout()
                .disable_operation_timeout()
                .disable_operation_attempt_timeout()
                .build(),
        )
        // A body is already bounded in size and in total time; a minimum rate would only cut off
        // slow links.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    Ok(Settings { location, region, sdk })
}

/// Loads the SDK's configuration from the usual chain: the environment, the profile, and the role
/// of the machine or container. The URL's region and `keys` come first.
async fn load(location: &Location, keys: Option<&Keys>) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(Keys { access, secret }) = keys {
        loader = loader.credentials_provider(Credentials::new(access, secret, None, None, "options"));
    }
    let region = match (&location.region, &location.endpoint) {
        (Some(region), _) => RegionProviderChain::first_try(Region::new(region.clone())),
        // A server other than Amazon's: the machine's metadata cannot know its region, and querying
        // them takes seconds on a machine that has none.
        (None, Some(_)) => RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(ProfileFileRegionProvider::new())
            .or_else(Region::new(REGION_DEFAULT)),
        (None, None) => RegionProviderChain::default_provider(),
    };
    loader.region(region).load().await
}

async fn check_credentials(sdk: &SdkConfig, url: &str) -> Result<(), Mistake> {
    let none = |why: String| Mistake::NoCredentials { url: url.to_owned(), why };
    let provider =
        sdk.credentials_provider().ok_or_else(|| none("no credentials provider is configured".to_owned()))?;
    match timeout(CREDENTIALS_TIMEOUT, provider.provide_credentials()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(why)) => Err(none(chain(&why))),
        Err(_) => {
            Err(none(format!("the provider chain gave none within {} s", CREDENTIALS_TIMEOUT.as_secs())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Keys;

    #[test]
    fn debug_output_hides_the_secret() {
        let shown = format!("{:?}", Keys { access: "known".to_owned(), secret: "hunter2".to_owned() });
        assert!(shown.contains("known") && !shown.contains("hunter2"), "{shown}");
    }
}
