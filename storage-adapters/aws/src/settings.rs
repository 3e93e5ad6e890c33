//! With which credentials, in which region, and how the SDK is to behave.

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

use crate::{Form, Location, Mistake, chain};

/// A server that does not take a connection by then is not there: a second is a long way, and a lost packet is sent again after one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Credentials may come from a service on the network, which is asked some times.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(15);
/// The region of servers that have none.
const REGION_DEFAULT: &str = "us-east-1";

/// Credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Names them.
    pub access: String,
    /// Signs with them.
    pub secret: String,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("access", &self.access).finish_non_exhaustive()
    }
}

/// What requests are sent with.
#[derive(Debug)]
pub struct Settings {
    /// Where to, with the region, and with the endpoint if it is not Amazon's own.
    pub location: Location,
    /// The region that is spoken to.
    pub region: String,
    /// What a service's client is made from. The endpoint is to be set to the location's: what the URL shows is where requests go, whatever else
    /// the environment names for one service.
    pub sdk: SdkConfig,
}

/// What requests to the store at a URL are sent with; `keys` instead of what the usual provider chain gives. Nothing is sent to the store yet.
///
/// # Errors
/// [`Mistake`].
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
        .app_name(AppName::new("aft").expect("three letters"))
        // Whoever calls repeats, and must know that it does: a create repeated in secret would answer Exists to its own success.
        .retry_config(RetryConfig::disabled())
        // The time that a whole request may take is bounded in each adapter's `link`, body included; the SDK's would end with the head of the answer.
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .disable_read_timeout()
                .disable_operation_timeout()
                .disable_operation_attempt_timeout()
                .build(),
        )
        // A body is bounded in size, and in time as a whole; a minimal rate on top would only cut off slow links.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    Ok(Settings { location, region, sdk })
}

/// The usual chain: environment, profile, what the machine or the container is given.
async fn load(location: &Location, keys: Option<&Keys>) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(Keys { access, secret }) = keys {
        loader = loader.credentials_provider(Credentials::new(access, secret, None, None, "options"));
    }
    let region = match (&location.region, &location.endpoint) {
        (Some(region), _) => RegionProviderChain::first_try(Region::new(region.clone())),
        // A server of one's own: the machine's metadata do not know its region, and asking for them takes seconds where there are none.
        (None, Some(_)) => RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(ProfileFileRegionProvider::new())
            .or_else(Region::new(REGION_DEFAULT)),
        (None, None) => RegionProviderChain::default_provider(),
    };
    loader.region(region).load().await
}

async fn check_credentials(sdk: &SdkConfig, url: &str) -> Result<(), Mistake> {
    let none = |why: String| Mistake::NoCredentials { url: url.to_owned(), why };
    let provider = sdk.credentials_provider().ok_or_else(|| none("nothing provides them".to_owned()))?;
    match timeout(CREDENTIALS_TIMEOUT, provider.provide_credentials()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(why)) => Err(none(chain(&why))),
        Err(_) => Err(none(format!("none within {} s", CREDENTIALS_TIMEOUT.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::Keys;

    #[test]
    fn no_form_shows_the_secret() {
        let shown = format!("{:?}", Keys { access: "known".to_owned(), secret: "hunter2".to_owned() });
        assert!(shown.contains("known") && !shown.contains("hunter2"), "{shown}");
    }
}
