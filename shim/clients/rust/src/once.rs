//! Handlers of events that take effect once for each event.

use std::fmt;
use std::future::Future;

use bytes::Bytes;

use crate::client::Client;
use crate::error::Error;
use crate::request::Request;
use crate::transaction::Transaction;

/// A function whose effect on the store happens once for each event; [`Client::once`] makes it.
#[derive(Clone)]
pub struct Once<K, F> {
    client: Client,
    options: Request,
    key: K,
    function: F,
}

impl<K, F> fmt::Debug for Once<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a handler that runs `function` once for each event. `key` takes the request ID from
    /// the event: what its sender chose for it, the same in every delivery.
    ///
    /// ```no_run
    /// # async fn example(client: aft_client::Client) -> Result<(), aft_client::Error> {
    /// #[derive(Clone)]
    /// struct Order {
    ///     id: String,
    /// }
    /// let handler = client
    ///     .once(|order: &Order| order.id.clone(), |t, order: Order| async move {
    ///         t.put(format!("orders/{}", order.id), "new").await?;
    ///         Ok::<_, aft_client::Error>("taken")
    ///     })
    ///     .scope("orders");
    /// let result = handler.call(Order { id: "23".into() }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn once<V, I, K, F, Fut, R, E>(&self, key: K, function: F) -> Once<K, F>
    where
        V: Clone,
        K: Fn(&V) -> I,
        I: Into<Option<String>>,
        F: Fn(Transaction, V) -> Fut,
        Fut: Future<Output = Result<R, E>>,
        R: Into<Bytes>,
        E: From<Error>,
    {
        Once { client: self.clone(), options: Request::unnamed(), key, function }
    }
}

impl<K, F> Once<K, F> {
    /// Sets the scope, which keeps the same IDs of different handlers apart. There is none by
    /// default: handlers of one store that may get equal IDs need one each.
    pub fn scope(self, scope: impl Into<String>) -> Once<K, F> {
        let options = self.options.clone().scope(scope);
        Once { options, ..self }
    }

    /// Sets the options of the runs: those of `request`, whose ID is left out.
    pub fn options(self, request: Request) -> Once<K, F> {
        Once { options: request, ..self }
    }

    /// Runs the function for an event, unless it has taken effect for this event before, and
    /// returns the result of the attempt that committed.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`], and runs nothing, if the event has no key or a blank one; and
    /// otherwise the errors of [`Client::run`].
    pub async fn call<V, I, Fut, R, E>(&self, event: V) -> Result<Bytes, E>
    where
        V: Clone,
        K: Fn(&V) -> I,
        I: Into<Option<String>>,
        F: Fn(Transaction, V) -> Fut,
        Fut: Future<Output = Result<R, E>>,
        R: Into<Bytes>,
        E: From<Error>,
    {
        let id: Option<String> = (self.key)(&event).into();
        let Some(id) = id.filter(|id| !id.trim().is_empty()) else {
            return Err(Error::invalid(
                "the event has no key, or a blank one: without a request ID its effect could happen twice",
            )
            .into());
        };
        let request = self.options.clone().with_id(id);
        let ran = self.client.run(request, |t| (self.function)(t, event.clone())).await?;
        Ok(ran.result)
    }
}
