//! Requests: each is one call of the SDK, bounded in number and time, counted, and with its failure
//! turned into a message.
//!
//! The SDK's own retries are off: the store's callers retry, with pauses, and must know that they
//! do. Only one thing is retried here: deletions that a batch left unprocessed, since the answer
//! says that they were not carried out.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::time::Duration;

use aft_store::Error;
use aft_store_aws::Times;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, ConsumedCapacity, DeleteRequest, KeySchemaElement,
    KeyType, PutRequest, ReturnConsumedCapacity, ScalarAttributeType, TableDescription, WriteRequest,
};
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::failure::{Failure, classify, not_dynamodb};
use crate::layout::Place;
use crate::meter::{Class, Meter};
use crate::puts::Put;

/// The attribute of the partition key. Attributes have short names, since the names count towards
/// an item's size.
pub(crate) const PARTITION: &str = "p";
/// The attribute of the sort key.
pub(crate) const SORT: &str = "s";
/// The attribute of the body.
const BODY: &str = "b";
/// The attribute of the tag.
const TAG: &str = "t";
/// The attribute of the whole group, only if the sort key does not hold it.
const GROUP: &str = "g";

/// The number of requests in flight at once. Each has a connection, and many systems allow a
/// process 1,024 open files. At 5 ms a request these are 50,000 requests a second.
const REQUESTS_MAX: usize = 256;

/// The timeout of reads. Both timeouts include the wait for a permit. They are longer than those of
/// a node's own calls (5 and 10 s), which end those calls first; these here are for other callers.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout of writes and deletes.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// The time for which deletions that a batch left unprocessed are retried. It is below the 10 s of
/// a node's own writes, so that the node gets *busy* and not a timeout.
const BATCH_PATIENCE: Duration = Duration::from_secs(8);
/// The longest pause before the first retry. It doubles for each further one, up to
/// [`BATCH_PAUSE_MAX`].
const BATCH_PAUSE: Duration = Duration::from_millis(25);
const BATCH_PAUSE_MAX: Duration = Duration::from_secs(1);

/// The number of items that DynamoDB takes in one batch.
pub(crate) const BATCH_MAX: usize = 25;
/// The number of items to query for in one page: as many as fit in DynamoDB's page of 1 MB if each
/// has a KB.
pub(crate) const PAGE_MAX: usize = 1_000;

/// The length of a tag.
pub(crate) const TAG_BYTES: usize = 16;

/// The condition of a write on the item that is there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Only<'a> {
    /// No condition.
    Always,
    /// There is no item.
    IfAbsent,
    /// There is an item with this tag.
    IfTag(&'a [u8]),
}

/// An item that was read.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) body: Bytes,
    pub(crate) tag: Bytes,
    pub(crate) group: Option<Bytes>,
}

/// An item as a query shows it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) sort: Vec<u8>,
    /// The whole group, only if the sort key does not hold it.
    pub(crate) group: Option<Bytes>,
    /// The body, only if bodies were requested.
    pub(crate) body: Option<Bytes>,
}

/// One page of a partition, in the order of the sort keys.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Row>,
    /// True if more items follow.
    pub(crate) more: bool,
}

/// The attributes that a query returns. The price is that of whole items in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Columns {
    Names,
    NamesAndBodies,
}

/// A client for one table.
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) table: String,
    /// The store's URL, for messages.
    pub(crate) url: String,
    pub(crate) meter: Meter,
    /// The server's own time, as its answers carried it.
    pub(crate) times: Times,
    /// The permits for requests in flight.
    turns: Semaphore,
}

impl Link {
    pub(crate) fn new(client: Client, table: String, url: String, meter: Meter, times: Times) -> Link {
        Link { client, table, url, meter, times, turns: Semaphore::new(REQUESTS_MAX) }
    }

    /// Returns the item at a place; `None` if there is none.
    pub(crate) async fn get(&self, place: &Place) -> Result<Option<Item>, Error> {
        let asked = self.asked("get", place);
        let request = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(place)))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let output = self
            .within(&asked, READ_TIMEOUT, Class::Get, 0, async {
                Box::pin(request.send()).await.map_err(|error| classify(&asked, &error))
            })
            .await
            .map_err(|failure| failure.into_error(&asked))?;
        self.consumed(&asked, Class::Get, output.consumed_capacity.as_slice())?;
        let Some(item) = output.item else { return Ok(None) };
        let item = read_item(item, &asked)?;
        self.meter.received(item.body.len());
        Ok(Some(item))
    }

    /// Writes an item under the condition `only`.
    pub(crate) async fn put(
        &self,
        place: &Place,
        body: &Bytes,
        tag: &[u8],
        only: Only<'_>,
    ) -> Result<(), Failure> {
        let call = match only {
            Only::Always => "put",
            Only::IfAbsent => "create",
            Only::IfTag(_) => "replace",
        };
        let asked = self.asked(call, place);
        let request = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item(place, body, tag)))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let request = match only {
            Only::Always => request,
            Only::IfAbsent => request.condition_expression("attribute_not_exists(p)"),
            Only::IfTag(tag) => {
                request.condition_expression("t = :t").expression_attribute_values(":t", bytes(tag))
            }
        };
        let outcome = self.within(&asked, WRITE_TIMEOUT, Class::Put, body.len(), async {
            Box::pin(request.send()).await.map_err(|error| classify(&asked, &error))
        });
        match outcome.await {
            Ok(output) => self
                .consumed(&asked, Class::Put, output.consumed_capacity.as_slice())
                .map_err(Failure::Failed),
            Err(failure) => {
                if matches!(failure, Failure::Condition) {
                    // DynamoDB charges for this without reporting the units: count them as if the
                    // body had been written.
                    self.meter.consumed(Class::Put, body.len().div_ceil(1_024).max(1) as f64);
                }
                Err(failure)
            }
        }
    }

    /// Deletes one item, on the condition that it has the tag `tag`, if one is given.
    pub(crate) async fn delete(&self, place: &Place, tag: Option<&[u8]>) -> Result<(), Failure> {
        let asked = self.asked(if tag.is_some() { "delete_if" } else { "delete" }, place);
        let mut request = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(place)))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        if let Some(tag) = tag {
            request = request.condition_expression("t = :t").expression_attribute_values(":t", bytes(tag));
        }
        let outcome = self.within(&asked, WRITE_TIMEOUT, Class::Delete, 0, async {
            Box::pin(request.send()).await.map_err(|error| classify(&asked, &error))
        });
        match outcome.await {
            Ok(output) => self
                .consumed(&asked, Class::Delete, output.consumed_capacity.as_slice())
                .map_err(Failure::Failed),
            Err(failure) => {
                if matches!(failure, Failure::Condition) {
                    self.meter.consumed(Class::Delete, 1.0);
                }
                Err(failure)
            }
        }
    }

    /// Deletes up to [`BATCH_MAX`] different items. Deletions that the server leaves unprocessed,
    /// since it is too busy, are sent again after pauses.
    pub(crate) async fn delete_batch(&self, places: &[Place]) -> Result<(), Error> {
        assert!((1..=BATCH_MAX).contains(&places.len()), "a batch of {} items", places.len());
        let asked = format!("{}: delete of {} items", self.url, places.len());
        let request = |place: &Place| {
            let delete = DeleteRequest::builder().set_key(Some(key(place))).build();
            WriteRequest::builder().delete_request(delete.expect("it has its key")).build()
        };
        let mut left: Vec<WriteRequest> = places.iter().map(request).collect();
        let since = Instant::now();
        let mut pause_max = BATCH_PAUSE;
        loop {
            let said = match self.send_batch(&asked, left.clone(), 0).await {
                Ok(undone) if undone.is_empty() => return Ok(()),
                Ok(undone) => {
                    left = undone;
                    "the server left them unprocessed".to_owned()
                }
                Err(Failure::Failed(Error::Busy(said))) => said,
                Err(failure) => return Err(failure.into_error(&asked)),
            };
            let pause = pause_max.mul_f64(rand::random());
            if since.elapsed() + pause > BATCH_PATIENCE {
                return Err(Error::Busy(format!(
                    "{asked}: {} of them were not deleted within {BATCH_PATIENCE:?}: {said}",
                    left.len()
                )));
            }
            tokio::time::sleep(pause).await;
            pause_max = (pause_max * 2).min(BATCH_PAUSE_MAX);
        }
    }

    /// Writes up to [`BATCH_MAX`] different items without a condition, and returns the places of
    /// those that the server left unprocessed.
    pub(crate) async fn put_batch(&self, asked: &str, puts: &[Put]) -> Result<HashSet<Place>, Failure> {
        let mut bytes = 0;
        let mut places = HashMap::new();
        let request = |put: &Put| {
            bytes += put.body.len();
            places.insert((put.place.partition.clone(), put.place.sort.clone()), put.place.clone());
            let write = PutRequest::builder().set_item(Some(item(&put.place, &put.body, &put.tag))).build();
            WriteRequest::builder().put_request(write.expect("it has its item")).build()
        };
        let requests = puts.iter().map(request).collect();
        let undone = self.send_batch(asked, requests, bytes).await?;
        // The answer repeats unprocessed requests: find the place of each by its key.
        let place = |write: WriteRequest| {
            let mut item = write.put_request?.item;
            let AttributeValue::S(partition) = item.remove(PARTITION)? else { return None };
            places.remove(&(partition, Vec::from(take(&mut item, SORT)?)))
        };
        let found: Option<HashSet<Place>> = undone.into_iter().map(place).collect();
        found.ok_or_else(|| {
            Failure::Failed(Error::NoAnswer(not_dynamodb(asked, "an unprocessed item that was not sent")))
        })
    }

    /// Sends one batch, whose bodies have `bytes`, and returns the requests that the server left
    /// unprocessed.
    async fn send_batch(
        &self,
        asked: &str,
        requests: Vec<WriteRequest>,
        bytes: usize,
    ) -> Result<Vec<WriteRequest>, Failure> {
        let sent = requests.len();
        let request = self
            .client
            .batch_write_item()
            .request_items(&self.table, requests)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let output = self
            .within(asked, WRITE_TIMEOUT, Class::Batch, bytes, async {
                Box::pin(request.send()).await.map_err(|error| classify(asked, &error))
            })
            .await?;
        self.consumed(asked, Class::Batch, output.consumed_capacity()).map_err(Failure::Failed)?;
        let undone: Vec<WriteRequest> =
            output.unprocessed_items.into_iter().flatten().flat_map(|(_, requests)| requests).collect();
        if undone.len() > sent {
            let what = format!("{} of {sent} items left unprocessed", undone.len());
            return Err(Failure::Failed(Error::NoAnswer(not_dynamodb(asked, &what))));
        }
        Ok(undone)
    }

    /// Returns one page of up to `limit` items of a partition, from the sort key `from` to `to`,
    /// both inclusive.
    pub(crate) async fn query(
        &self,
        partition: &str,
        from: &[u8],
        to: &[u8],
        limit: usize,
        columns: Columns,
    ) -> Result<Page, Error> {
        let asked = format!("{}: list {partition} from {}", self.url, from.escape_ascii());
        let limit = limit.clamp(1, PAGE_MAX) as i32;
        let request = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("p = :p AND s BETWEEN :a AND :z")
            .expression_attribute_values(":p", AttributeValue::S(partition.to_owned()))
            .expression_attribute_values(":a", bytes(from))
            .expression_attribute_values(":z", bytes(to))
            .projection_expression(match columns {
                Columns::Names => "s, g",
                Columns::NamesAndBodies => "s, g, b",
            })
            .consistent_read(true)
            .limit(limit)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let output = self
            .within(&asked, READ_TIMEOUT, Class::Query, 0, async {
                Box::pin(request.send()).await.map_err(|error| classify(&asked, &error))
            })
            .await
            .map_err(|failure| failure.into_error(&asked))?;
        self.consumed(&asked, Class::Query, output.consumed_capacity.as_slice())?;
        let broken = |what: &str| Error::NoAnswer(not_dynamodb(&asked, what));
        let more = output.last_evaluated_key.is_some_and(|key| !key.is_empty());
        let mut rows = Vec::new();
        for mut item in output.items.unwrap_or_default() {
            let sort = take(&mut item, SORT).ok_or_else(|| broken("an item without its key"))?;
            let (group, body) = (take(&mut item, GROUP), take(&mut item, BODY));
            rows.push(Row { sort: Vec::from(sort), group, body });
        }
        let ordered = rows.is_sorted_by(|a, b| a.sort < b.sort);
        let within = rows.iter().all(|row| (from..=to).contains(&row.sort.as_slice()));
        if !ordered || !within || (more && rows.is_empty()) {
            return Err(broken("a page out of order, or with items that were not asked for"));
        }
        let bytes = |row: &Row| row.sort.len() + row.body.as_ref().map_or(0, Bytes::len);
        self.meter.received(rows.iter().map(bytes).sum());
        Ok(Page { rows, more })
    }

    /// Returns the table's description.
    pub(crate) async fn describe(&self) -> Result<TableDescription, Failure> {
        let asked = format!("{}: describe the table", self.url);
        let request = self.client.describe_table().table_name(&self.table);
        let output = self
            .within(&asked, READ_TIMEOUT, Class::Table, 0, async {
                Box::pin(request.send()).await.map_err(|error| classify(&asked, &error))
            })
            .await?;
        let none = || Failure::Failed(Error::NoAnswer(not_dynamodb(&asked, "no description")));
        output.table.ok_or_else(none)
    }

    /// Creates the table; returns false if it exists already.
    pub(crate) async fn create_table(&self) -> Result<bool, Error> {
        let asked = format!("{}: create the table", self.url);
        let key = |name, kind| {
            let key = KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
            key.expect("it has its name and type")
        };
        let attribute = |name, kind| {
            let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build();
            attribute.expect("it has its name and type")
        };
        let request = self
            .client
            .create_table()
            .table_name(&self.table)
            .key_schema(key(PARTITION, KeyType::Hash))
            .key_schema(key(SORT, KeyType::Range))
            .attribute_definitions(attribute(PARTITION, ScalarAttributeType::S))
            .attribute_definitions(attribute(SORT, ScalarAttributeType::B))
            .billing_mode(BillingMode::PayPerRequest);
        let made = self.within(&asked, WRITE_TIMEOUT, Class::Table, 0, async {
            match Box::pin(request.send()).await {
                Ok(_) => Ok(true),
                Err(error) if error.code() == Some("ResourceInUseException") => Ok(false),
                Err(error) => Err(classify(&asked, &error)),
            }
        });
        made.await.map_err(|failure| failure.into_error(&asked))
    }

    /// Returns the name of a call for messages: the store, the call and the place.
    pub(crate) fn asked(&self, call: &str, place: &Place) -> String {
        format!("{}: {call} {}:{}", self.url, place.partition, place.sort.escape_ascii())
    }

    /// Counts the capacity that an answer reports. Every answer of DynamoDB reports it, since every
    /// request asks for it. An answer without it is from something else, which may answer `{}` to
    /// everything.
    pub(crate) fn consumed(
        &self,
        asked: &str,
        class: Class,
        capacity: &[ConsumedCapacity],
    ) -> Result<(), Error> {
        if capacity.is_empty() {
            return Err(Error::NoAnswer(not_dynamodb(asked, "no consumed capacity")));
        }
        for one in capacity {
            self.meter.consumed(class, one.capacity_units.unwrap_or_default());
        }
        Ok(())
    }

    /// Waits for a permit, counts the request, sends it, and drops it after `limit`.
    pub(crate) async fn within<T>(
        &self,
        asked: &str,
        limit: Duration,
        class: Class,
        bytes: usize,
        request: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + limit;
        let turn = timeout_at(deadline, self.turns.acquire()).await;
        let Ok(turn) = turn else {
            let text =
                format!("{asked}: not sent: {REQUESTS_MAX} other requests have been in flight for {limit:?}");
            return Err(Failure::Failed(Error::Busy(text)));
        };
        let _turn = turn.expect("never closed");
        self.meter.sent(class, bytes);
        timeout_at(deadline, request).await.unwrap_or_else(|_| {
            Err(Failure::Failed(Error::NoAnswer(format!("{asked}: took longer than {limit:?}"))))
        })
    }
}

/// Returns the attributes of an item to write.
pub(crate) fn item(place: &Place, body: &Bytes, tag: &[u8]) -> HashMap<String, AttributeValue> {
    let mut item = key(place);
    item.insert(BODY.to_owned(), bytes(body));
    item.insert(TAG.to_owned(), bytes(tag));
    if let Some(group) = &place.group {
        item.insert(GROUP.to_owned(), bytes(group));
    }
    item
}

/// Parses the attributes of an item that was read. `asked` names the call.
pub(crate) fn read_item(mut item: HashMap<String, AttributeValue>, asked: &str) -> Result<Item, Error> {
    let (Some(body), Some(tag)) = (take(&mut item, BODY), take(&mut item, TAG)) else {
        let text = format!("{asked}: the item has no body or no tag; keep other items out of this table");
        return Err(Error::Damaged(text));
    };
    Ok(Item { body, tag, group: take(&mut item, GROUP) })
}

/// Returns the key attributes of a place.
pub(crate) fn key(place: &Place) -> HashMap<String, AttributeValue> {
    HashMap::from([
        (PARTITION.to_owned(), AttributeValue::S(place.partition.clone())),
        (SORT.to_owned(), bytes(&place.sort)),
    ])
}

fn bytes(bytes: &[u8]) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

/// Takes a binary attribute out of an item; `None` if it is missing or not binary.
fn take(item: &mut HashMap<String, AttributeValue>, name: &str) -> Option<Bytes> {
    match item.remove(name)? {
        AttributeValue::B(blob) => Some(blob.into_inner().into()),
        _ => None,
    }
}
