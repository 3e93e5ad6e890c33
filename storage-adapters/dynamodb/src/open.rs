//! Opening: settings for the SDK, and a first look at the table that turns each mistake into a sentence.
//!
//! ```text
//!   URL ─► credentials? ─► region? ─► DescribeTable ─► PutItem, GetItem, Query, DeleteItem, BatchWriteItem, on an item of its own
//!                                     endpoint, keys,   may this do what the store will do?
//!                                     key schema
//! ```

use std::time::Duration;

use aft_store::Error;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{
    AppName, Credentials, ProvideCredentials as _, Region, StalledStreamProtectionConfig,
};
use aws_sdk_dynamodb::types::{KeyType, TableDescription, TableStatus};
use bytes::Bytes;
use tokio::time::{Instant, timeout};

use crate::failure::{Failure, chain, not_dynamodb};
use crate::layout::{Layout, Place};
use crate::link::{Link, Only, PARTITION, SORT, TAG_BYTES};
use crate::location::Location;
use crate::meter::Meter;
use crate::{Keys, OpenError, Options};

/// A server that does not take a connection by then is not there: a second is a long way, and a lost packet is sent again after one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Credentials may come from a service on the network, which is asked some times.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(15);
/// A new table takes some seconds, now and then half a minute.
const ACTIVE_TIMEOUT: Duration = Duration::from_secs(120);
/// How often it is asked.
const ACTIVE_INTERVAL: Duration = Duration::from_millis(500);
/// The region of servers that have none.
const REGION_DEFAULT: &str = "us-east-1";

/// The key of a table of ours, for people.
const WANTED: &str = "the partition key p (S) and the sort key s (B)";

/// The parts of an opened store.
pub(crate) struct Opened {
    pub(crate) link: Link,
    pub(crate) layout: Layout,
}

pub(crate) async fn open(url: &str, options: &Options) -> Result<Opened, OpenError> {
    let opened = connect(url, options).await?;
    let table = describe(&opened.link).await?;
    check_key(&opened.link, &table)?;
    match table.table_status() {
        // While it is changed it serves all the same.
        Some(TableStatus::Active | TableStatus::Updating) => {}
        other => return Err(not_active(&opened.link, other)),
    }
    try_out(&opened).await?;
    Ok(opened)
}

pub(crate) async fn init(url: &str, options: &Options) -> Result<Opened, OpenError> {
    let opened = connect(url, options).await?;
    let link = &opened.link;
    match describe(link).await {
        Ok(table) => check_key(link, &table)?,
        Err(OpenError::NoTable(_)) => link.create_table().await?,
        Err(other) => return Err(other),
    }
    let since = Instant::now();
    loop {
        let status = match describe(link).await {
            Ok(table) => {
                // Somebody else may have made another one meanwhile.
                check_key(link, &table)?;
                table.table_status
            }
            // Not everywhere known yet.
            Err(OpenError::NoTable(_)) => None,
            Err(other) => return Err(other),
        };
        if status == Some(TableStatus::Active) {
            break;
        }
        if since.elapsed() > ACTIVE_TIMEOUT {
            return Err(not_active(link, status.as_ref()));
        }
        tokio::time::sleep(ACTIVE_INTERVAL).await;
    }
    try_out(&opened).await?;
    Ok(opened)
}

/// A client; nothing is sent to the table yet.
async fn connect(url: &str, options: &Options) -> Result<Opened, OpenError> {
    let mut location = Location::parse(url)?;
    let sdk = settings(&location, options).await;
    location.endpoint = location.endpoint.or_else(|| sdk.endpoint_url().map(str::to_owned));
    let region = match (sdk.region(), &location.endpoint) {
        (Some(region), _) => region.to_string(),
        (None, Some(_)) => REGION_DEFAULT.to_owned(),
        (None, None) => return Err(OpenError::NoRegion(location.to_string())),
    };
    location.region = Some(region.clone());
    let url = location.to_string();
    check_credentials(&sdk, &url).await?;

    let mut config = aws_sdk_dynamodb::config::Builder::from(&sdk)
        .region(Region::new(region))
        .app_name(AppName::new("aft").expect("three letters"))
        // Whoever calls repeats, and must know that it does: a create repeated in secret would answer Exists to its own success.
        .retry_config(RetryConfig::disabled())
        // The time that a whole request may take is bounded in `link`.
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .disable_read_timeout()
                .disable_operation_timeout()
                .disable_operation_attempt_timeout()
                .build(),
        )
        // A body is at most 400 KB and bounded in time as a whole; a minimal rate on top would only cut off slow links.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    // What the URL shows is where requests go, whatever else the environment names for this one service.
    config.set_endpoint_url(location.endpoint.clone());
    let client = Client::from_conf(config.build());
    let layout = Layout::new(&location.prefix);
    let link = Link::new(client, location.table, url, Meter::new(options.prices));
    Ok(Opened { link, layout })
}

/// The usual chain: environment, profile, what the machine or the container is given.
async fn settings(location: &Location, options: &Options) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if let Some(Keys { access, secret }) = &options.keys {
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

async fn check_credentials(sdk: &SdkConfig, url: &str) -> Result<(), OpenError> {
    let none = |why: String| OpenError::NoCredentials { url: url.to_owned(), why };
    let provider = sdk.credentials_provider().ok_or_else(|| none("nothing provides them".to_owned()))?;
    match timeout(CREDENTIALS_TIMEOUT, provider.provide_credentials()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(why)) => Err(none(chain(&why))),
        Err(_) => Err(none(format!("none within {} s", CREDENTIALS_TIMEOUT.as_secs()))),
    }
}

async fn describe(link: &Link) -> Result<TableDescription, OpenError> {
    match link.describe().await {
        Ok(table) => Ok(table),
        Err(Failure::NoTable(text)) => Err(OpenError::NoTable(text)),
        Err(failure) => Err(failure.into_error(&format!("{}: describe the table", link.url)).into()),
    }
}

/// Is it a table of ours?
fn check_key(link: &Link, table: &TableDescription) -> Result<(), OpenError> {
    let kind = |name: &str| {
        let known = table.attribute_definitions().iter().find(|known| known.attribute_name() == name);
        known.map_or("?", |known| known.attribute_type().as_str())
    };
    let key = |wanted: &KeyType| {
        let part = table.key_schema().iter().find(|part| part.key_type() == wanted)?;
        Some((part.attribute_name(), kind(part.attribute_name())))
    };
    let (partition, sort) = (key(&KeyType::Hash), key(&KeyType::Range));
    if (partition, sort) == (Some((PARTITION, "S")), Some((SORT, "B"))) {
        return Ok(());
    }
    let shown = |part: Option<(&str, &str)>| match part {
        Some((name, kind)) => format!("{name} ({kind})"),
        None => "none".to_owned(),
    };
    let found = format!("the partition key {} and the sort key {}", shown(partition), shown(sort));
    Err(OpenError::OtherTable { url: link.url.clone(), found, wanted: WANTED })
}

fn not_active(link: &Link, status: Option<&TableStatus>) -> OpenError {
    let status = status.map_or("not there yet", TableStatus::as_str).to_owned();
    OpenError::NotActive { url: link.url.clone(), status }
}

/// Every call once, on an item beside the spaces: may these credentials do what the store will do?
async fn try_out(opened: &Opened) -> Result<(), OpenError> {
    let Opened { link, layout } = opened;
    let partition = layout.aside(&format!("probe/{:032x}", rand::random::<u128>()));
    let place = Place { partition, sort: vec![0], group: None };
    let asked = link.asked("try out", &place);
    let failed = |failure: Failure| failure.into_error(&asked);
    let tag = [1; TAG_BYTES];
    link.put(&place, &Bytes::from_static(b"aft"), &tag, Only::IfAbsent).await.map_err(failed)?;
    let read = link.get(&place).await?;
    let listed = link.query(&place.partition, &[0], &[1], 1).await?;
    if read.is_none_or(|item| item.body != "aft" || item.tag != tag.as_slice()) || listed.found.len() != 1 {
        let text = not_dynamodb(&asked, "what was written is not read");
        return Err(Error::NoAnswer(text).into());
    }
    link.delete(&place, Some(&tag)).await.map_err(failed)?;
    link.delete_batch(std::slice::from_ref(&place)).await?;
    Ok(())
}
