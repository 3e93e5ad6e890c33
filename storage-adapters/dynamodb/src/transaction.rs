//! DynamoDB's own transactions over plain items. They are not part of the seam: the shim does not
//! need them, and its benchmark compares it with them.
//!
//! Each item costs twice the units of a single read or write.

use aft_store::Error;
use aws_sdk_dynamodb::types::{Get, Put, ReturnConsumedCapacity, TransactGetItem, TransactWriteItem};
use bytes::Bytes;

use crate::failure::{Failure, classify, not_dynamodb};
use crate::layout::Place;
use crate::link::{Link, READ_TIMEOUT, WRITE_TIMEOUT, item, key, read_item};
use crate::meter::Class;

impl Link {
    /// Returns the bodies at several places at one moment, in the order of `places`.
    pub(crate) async fn transact_get(&self, places: &[Place]) -> Result<Vec<Option<Bytes>>, Error> {
        let asked = format!("{}: transact_get of {} items", self.url, places.len());
        let get = |place: &Place| {
            let get = Get::builder().table_name(&self.table).set_key(Some(key(place))).build();
            TransactGetItem::builder().get(get.expect("it has its table and key")).build()
        };
        let request = self
            .client
            .transact_get_items()
            .set_transact_items(Some(places.iter().map(get).collect()))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let output = self
            .within(&asked, READ_TIMEOUT, Class::TransactGet, 0, async {
                Box::pin(request.send()).await.map_err(|error| classify(&asked, &error))
            })
            .await
            .map_err(|failure| failure.into_error(&asked))?;
        self.consumed(&asked, Class::TransactGet, output.consumed_capacity())?;
        let found = output.responses.unwrap_or_default();
        if found.len() != places.len() {
            let what = format!("{} answers for {} items", found.len(), places.len());
            return Err(Error::NoAnswer(not_dynamodb(&asked, &what)));
        }
        let body = |found: aws_sdk_dynamodb::types::ItemResponse| match found.item {
            None => Ok(None),
            Some(item) => {
                let item = read_item(item, &asked)?;
                self.meter.received(item.body.len());
                Ok(Some(item.body))
            }
        };
        found.into_iter().map(body).collect()
    }

    /// Writes all of `bodies` or none.
    pub(crate) async fn transact_put(
        &self,
        bodies: &[(Place, Bytes)],
        tag: impl Fn() -> Vec<u8>,
    ) -> Result<(), Error> {
        let asked = format!("{}: transact_put of {} items", self.url, bodies.len());
        let put = |(place, body): &(Place, Bytes)| {
            let put =
                Put::builder().table_name(&self.table).set_item(Some(item(place, body, &tag()))).build();
            TransactWriteItem::builder().put(put.expect("it has its table and item")).build()
        };
        let request = self
            .client
            .transact_write_items()
            .set_transact_items(Some(bodies.iter().map(put).collect()))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let bytes = bodies.iter().map(|(_, body)| body.len()).sum();
        let output = self
            .within(&asked, WRITE_TIMEOUT, Class::TransactPut, bytes, async {
                Box::pin(request.send()).await.map_err(|error| match error.as_service_error() {
                    // No condition is set, so only another transaction or throttling can have
                    // cancelled it.
                    Some(why) if why.is_transaction_canceled_exception() => {
                        Failure::Failed(Error::Busy(format!("{asked}: cancelled: {why}")))
                    }
                    _ => classify(&asked, &error),
                })
            })
            .await
            .map_err(|failure| failure.into_error(&asked))?;
        self.consumed(&asked, Class::TransactPut, output.consumed_capacity())
    }
}
