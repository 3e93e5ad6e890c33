//! Opening a store: settings for the SDK, and first requests to the table that turn each mistake of
//! configuration into a message.
//!
//! ```text
//!   credentials and region                  found in the URL, the environment or a profile
//!   DescribeTable                           endpoint, keys and the table's key schema are right
//!   PutItem, GetItem, Query, DeleteItem,    the credentials allow what the store will do,
//!   BatchWriteItem                          tried on an item of its own
//! ```

use std::time::Duration;

use aft_store::Error;
use aft_store_aws::{Settings, Times, settings};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{KeyType, TableDescription, TableStatus};
use bytes::Bytes;
use tokio::time::Instant;

use crate::failure::{Failure, not_dynamodb};
use crate::layout::{Layout, Place};
use crate::link::{Columns, Link, Only, PARTITION, SORT, TAG_BYTES};
use crate::location::FORM;
use crate::meter::Meter;
use crate::{OpenError, Options};

/// The time that a new table has to become active. It usually takes a few seconds, sometimes half a
/// minute.
const ACTIVE_TIMEOUT: Duration = Duration::from_secs(120);
/// The pause between queries of its status.
const ACTIVE_INTERVAL: Duration = Duration::from_millis(500);

/// The key schema of a store's table, for messages.
const WANTED: &str = "the partition key p (S) and the sort key s (B)";

/// The parts of an opened store.
pub(crate) struct Opened {
    pub(crate) link: Link,
    pub(crate) layout: Layout,
}

/// Opens the store at `url`: connects, checks the table, and tests that it can be read and written.
pub(crate) async fn open(url: &str, options: &Options) -> Result<Opened, OpenError> {
    let opened = connect(url, options).await?;
    let table = describe(&opened.link).await?;
    check_key(&opened.link, &table)?;
    match table.table_status() {
        // A table serves requests while it is updated.
        Some(TableStatus::Active | TableStatus::Updating) => {}
        other => return Err(not_active(&opened.link, other)),
    }
    try_out(&opened).await?;
    Ok(opened)
}

/// The findings of [`DynamoDbStore::init`](crate::DynamoDbStore::init), and what it created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The table's name.
    pub table: String,
    /// True if the table was created.
    pub table_is_new: bool,
}

/// Opens the store at `url`, and creates its table if there is none.
pub(crate) async fn init(url: &str, options: &Options) -> Result<(Opened, Prepared), OpenError> {
    let opened = connect(url, options).await?;
    let link = &opened.link;
    let table_is_new = match describe(link).await {
        Ok(table) => {
            check_key(link, &table)?;
            false
        }
        Err(OpenError::NoTable(_)) => link.create_table().await?,
        Err(other) => return Err(other),
    };
    let since = Instant::now();
    loop {
        let status = match describe(link).await {
            Ok(table) => {
                // Another process may have created a different table meanwhile.
                check_key(link, &table)?;
                table.table_status
            }
            // The new table is not visible everywhere yet.
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
    let prepared = Prepared { table: opened.link.table.clone(), table_is_new };
    Ok((opened, prepared))
}

/// Returns a client for the store's table and the store's layout. Nothing is sent to the table yet.
pub(crate) async fn connect(url: &str, options: &Options) -> Result<Opened, OpenError> {
    let Settings { location, sdk, .. } = settings(&FORM, url, options.keys.as_ref()).await?;
    let url = location.to_string();
    let mut config = aws_sdk_dynamodb::config::Builder::from(&sdk);
    // Requests go where the URL shows, even if the environment names another endpoint for this
    // service.
    config.set_endpoint_url(location.endpoint.clone());
    let times = Times::default();
    let client = Client::from_conf(config.interceptor(times.clone()).build());
    let layout = Layout::new(&location.prefix);
    let link = Link::new(client, location.name, url, Meter::new(options.prices), times);
    Ok(Opened { link, layout })
}

async fn describe(link: &Link) -> Result<TableDescription, OpenError> {
    match link.describe().await {
        Ok(table) => Ok(table),
        Err(Failure::NoTable(text)) => Err(OpenError::NoTable(text)),
        Err(failure) => Err(failure.into_error(&format!("{}: describe the table", link.url)).into()),
    }
}

/// Checks that the table has the key schema of a store's table.
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

/// Makes every call once, on an item outside the spaces, to test that the credentials allow what
/// the store will do.
async fn try_out(opened: &Opened) -> Result<(), OpenError> {
    let Opened { link, layout } = opened;
    let partition = layout.aside(&format!("probe/{:032x}", rand::random::<u128>()));
    let place = Place { partition, sort: vec![0], group: None };
    let asked = link.asked("try out", &place);
    let failed = |failure: Failure| failure.into_error(&asked);
    let tag = [1; TAG_BYTES];
    link.put(&place, &Bytes::from_static(b"aft"), &tag, Only::IfAbsent).await.map_err(failed)?;
    let read = link.get(&place).await?;
    let listed = link.query(&place.partition, &[0], &[1], 1, Columns::Names).await?;
    if read.is_none_or(|item| item.body != "aft" || item.tag != tag.as_slice()) || listed.rows.len() != 1 {
        let text = not_dynamodb(&asked, "a written item is not read back");
        return Err(Error::NoAnswer(text).into());
    }
    link.delete(&place, Some(&tag)).await.map_err(failed)?;
    link.delete_batch(std::slice::from_ref(&place)).await?;
    Ok(())
}
