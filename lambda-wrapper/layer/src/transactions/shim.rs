//! Transactions on a shim, through its native HTTP API.

use std::sync::{Arc, Mutex};

use aft_client::{Client, Error, Ran, Request, Transaction};
use bytes::Bytes;

use crate::settings::ShimPlace;
use crate::transactions::{
    Attempt, Begun, Ended, Failure, FailureKind, Inner, Open as OpenTransaction, RESULT_INLINE_BYTES_MAX,
};

/// A shim.
#[derive(Debug)]
pub struct Shim {
    place: ShimPlace,
    client: Mutex<Arc<Client>>,
}

impl Shim {
    /// Makes the connections to a shim, without opening one.
    ///
    /// # Errors
    /// Returns the reason why the URL or a file of it cannot be used.
    pub fn new(place: &ShimPlace) -> Result<Shim, String> {
        let client = Mutex::new(Arc::new(client(place)?));
        Ok(Shim { place: place.clone(), client })
    }

    /// Drops all connections: those of before a freeze may be dead without knowing it.
    ///
    /// # Errors
    /// Returns the errors of [`Shim::new`].
    pub fn renew(&self) -> Result<(), String> {
        let client = Arc::new(client(&self.place)?);
        *self.client.lock().expect("nothing panics while it holds the client") = client;
        Ok(())
    }

    fn client(&self) -> Arc<Client> {
        self.client.lock().expect("nothing panics while it holds the client").clone()
    }

    /// Begins an attempt.
    ///
    /// # Errors
    /// Returns the reason why there is no transaction.
    pub async fn begin(&self, attempt: &Attempt) -> Result<Begun, Failure> {
        let mut request = match &attempt.request_id {
            Some(id) => Request::named(id),
            None => Request::unnamed(),
        };
        if let (Some(scope), Some(_)) = (&attempt.scope, &attempt.request_id) {
            request = request.scope(scope);
        }
        if let Some(fingerprint) = &attempt.fingerprint {
            request = request.fingerprint(fingerprint);
        }
        if let Some(retention) = attempt.retention {
            request = request.retention(retention);
        }
        if attempt.waits {
            request = request.wait();
        }
        if let Some(level) = attempt.isolation {
            request = request.isolation(match level {
                aft_core::message::Isolation::ReadAtomic => aft_client::Isolation::ReadAtomic,
                aft_core::message::Isolation::Serializable => aft_client::Isolation::Serializable,
            });
        }
        // Several shims may stand behind one address, so a read must not rest on what one of them
        // heard.
        let request = request.fresh().timeout(attempt.timeout).run_time_max(attempt.timeout);
        let client = self.client();
        match client.begin(request.clone()).await {
            Ok(aft_client::Begun::Open(transaction)) => {
                let token = transaction.token().to_owned();
                let inner = Inner::Shim(Open { transaction, client, request });
                Ok(Begun::Open(OpenTransaction { token, inner }))
            }
            Ok(aft_client::Begun::Replayed(ran)) => {
                Ok(Begun::Replayed(result_of(&client, &request, ran).await?))
            }
            Err(error) => Err(failure(&error)),
        }
    }
}

fn client(place: &ShimPlace) -> Result<Client, String> {
    let mut builder = Client::builder(&place.url);
    if let Some(token) = &place.token {
        builder = builder.token(token);
    }
    if let Some(ca) = &place.ca {
        builder = builder.ca(ca);
    }
    // Each invocation is a stranger to the one before: fresh reads replace the session.
    builder.session(false).write_buffer_bytes_max(0).build().map_err(|why| format!("AFT_URL: {why}"))
}

/// Returns the whole result of a request that has committed.
async fn result_of(client: &Client, request: &Request, ran: Ran) -> Result<Option<Bytes>, Failure> {
    match ran.result_size {
        None => Ok(Some(ran.result)),
        // It is too large for the answer of the opening.
        Some(_) => client.result(request.clone()).await.map_err(|error| failure(&error)),
    }
}

/// An open transaction of a shim.
#[derive(Debug)]
pub struct Open {
    transaction: Transaction,
    client: Arc<Client>,
    request: Request,
}

impl Open {
    /// Commits.
    pub(super) async fn commit(&self, result: Option<Bytes>) -> Ended {
        let mut result = result.unwrap_or_default();
        if result.len() > RESULT_INLINE_BYTES_MAX
            && let Err(error) = self.transaction.put_result(std::mem::take(&mut result)).await
        {
            return Ended::Lost(failure(&error));
        }
        match self.transaction.commit(result).await {
            Ok(ran) if ran.replayed => match result_of(&self.client, &self.request, ran).await {
                Ok(result) => Ended::Replayed(result),
                // The request has committed, and its result cannot be read now.
                Err(failure) => Ended::Unknown(failure.text),
            },
            Ok(_) => Ended::Committed,
            Err(Error::Unknown(details)) => Ended::Unknown(details.to_string()),
            Err(error) => Ended::Lost(failure(&error)),
        }
    }

    /// Aborts.
    pub(super) async fn abort(self) {
        // Without an answer it ends at its deadline.
        let _ = self.transaction.abort().await;
    }
}

/// Returns the failure that an error of the client means.
fn failure(error: &Error) -> Failure {
    let kind = match error {
        Error::Retry(_) if error.code() == Some(aft_client::Code::Conflict) => FailureKind::Conflict,
        Error::Retry(_) => FailureKind::Lost,
        Error::Unavailable(_) | Error::Unknown(_) | Error::Internal(_) => FailureKind::Unavailable,
        Error::InProgress(_) => FailureKind::InProgress,
        Error::KeyReused(_) => FailureKind::KeyReused,
        Error::ResultGone(_) => FailureKind::ResultGone,
        Error::Invalid(_) | Error::NotFound(_) | Error::Unauthorized(_) => FailureKind::Invalid,
    };
    Failure::new(kind, error.to_string())
}
