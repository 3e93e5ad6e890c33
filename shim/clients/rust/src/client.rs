//! The client: a server, a session and settings, and the basic calls that the other files use.

use std::sync::Arc;

use aft_api::{Begin, Format, Reply, Request as Found};
use bytes::Bytes;
use hyper::Method;

use crate::answer::{Fault, accepted, malformed};
use crate::builder::Builder;
use crate::error::Error;
use crate::pace::Pace;
use crate::request::Request;
use crate::session::Session;
use crate::settings::Settings;
use crate::transport::{Call, Transport};

/// A client of one server. It is cheap to clone, and clones share connections and the session.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Transport,
    session: Arc<Session>,
    pub(crate) settings: Arc<Settings>,
}

impl Client {
    /// Makes a client of the server at `http://HOST:PORT`, with default settings. Nothing is sent
    /// yet.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if the URL has another form.
    pub fn new(url: &str) -> Result<Client, Error> {
        Client::builder(url).build()
    }

    /// Returns a builder of a client of the server at `http://HOST:PORT`, to change its settings.
    pub fn builder(url: &str) -> Builder {
        Builder::new(url)
    }

    pub(crate) fn from_parts(transport: Transport, settings: Settings) -> Client {
        Client { transport, session: Arc::default(), settings: Arc::new(settings) }
    }

    /// Returns a client that shares connections with this one and has a session of its own, which
    /// continues this one's. A session token names only a few commits, so tasks that switch between
    /// nodes and commit at the same time should have a session each.
    pub fn with_own_session(&self) -> Client {
        let own = Client { session: Arc::default(), ..self.clone() };
        if let Some(token) = self.session.token() {
            own.session.add(&token);
        }
        own
    }

    /// Returns the session's token, which another process can pass to [`Client::join_session`]. It
    /// is `None` before the first commit, and if sessions are off.
    pub fn session(&self) -> Option<String> {
        if self.settings.session { self.session.token() } else { None }
    }

    /// Merges the session of another process into this one: transactions that begin from now on see
    /// that session's commits.
    pub fn join_session(&self, token: &str) {
        self.session.add(token);
    }

    /// Merges the session token that a commit returned into the session.
    pub(crate) fn committed(&self, token: Option<&str>) {
        if let (true, Some(token)) = (self.settings.session, token) {
            self.session.add(token);
        }
    }

    /// Looks a request up: returns its commit with its time, its keys and its result, or `None` if
    /// no commit of it is known. Failed calls are repeated within
    /// [`Builder::run_time_max`](crate::Builder::run_time_max).
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if the request has no ID; [`Error::Unavailable`] if the server
    /// does not answer in time; or another refusal of the server, except [`Error::NotFound`].
    pub async fn request(&self, request: impl Into<Request>) -> Result<Option<Found>, Error> {
        let request = request.into();
        let mut pace = Pace::new(self.settings.run_time_max);
        loop {
            let error = match self.look_up(&request).await {
                Ok(found) => return Ok(found),
                Err(error) => error.about(request.id.as_deref(), None),
            };
            if !error.is_retryable() || !pace.pause(&error).await {
                return Err(error);
            }
        }
    }

    /// Returns the result of a committed request, of any size; `None` if no commit of it is known,
    /// or if it has no result.
    ///
    /// # Errors
    /// Returns the errors of [`Client::request`].
    pub async fn result(&self, request: impl Into<Request>) -> Result<Option<Bytes>, Error> {
        let request = request.into();
        let path = path_of(&request, "results")?;
        let mut pace = Pace::new(self.settings.run_time_max);
        loop {
            let error = match self.send(Call::new(Method::GET, path.clone())).await {
                Ok(answer) => return Ok(Some(answer.body)),
                Err(Fault::Refused(Error::NotFound(_))) => return Ok(None),
                Err(fault) => fault.harmless().about(request.id.as_deref(), None),
            };
            if !error.is_retryable() || !pace.pause(&error).await {
                return Err(error);
            }
        }
    }

    /// Looks a request up as [`Client::request`] does, with a single call.
    pub(crate) async fn look_up(&self, request: &Request) -> Result<Option<Found>, Error> {
        let path = path_of(request, "requests")?;
        let mut call = Call::new(Method::GET, path);
        call.accept = Some(Format::Protobuf.content_type());
        match self.send(call).await {
            Ok(answer) => {
                Format::Protobuf.decode(&answer.body).map(Some).map_err(|why| malformed(why).harmless())
            }
            Err(Fault::Refused(Error::NotFound(_))) => Ok(None),
            Err(fault) => Err(fault.harmless()),
        }
    }

    /// Sends one call, and returns its answer if it is a success.
    pub(crate) async fn send(&self, call: Call) -> Result<crate::transport::Answer, Fault> {
        accepted(self.transport.send(call).await)
    }

    /// Posts a message and returns the reply, both in protobuf.
    pub(crate) async fn post(
        &self,
        path: String,
        body: Bytes,
        request_id: Option<String>,
    ) -> Result<Reply, Fault> {
        let mut call = Call::new(Method::POST, path);
        call.request_id = request_id;
        call.accept = Some(Format::Protobuf.content_type());
        call.content_type = Some(Format::Protobuf.content_type().to_owned());
        call.body = body;
        let answer = self.send(call).await?;
        Format::Protobuf.decode(&answer.body).map_err(malformed)
    }

    /// Posts an opening, or a whole transaction.
    pub(crate) async fn post_begin(&self, path: &str, begin: &Begin) -> Result<Reply, Fault> {
        self.post(path.to_owned(), Format::Protobuf.encode(begin), None).await
    }
}

fn path_of(request: &Request, under: &str) -> Result<String, Error> {
    let path = request.look_up_path(under);
    path.ok_or_else(|| Error::invalid("a request without an ID cannot be looked up: give it an ID"))
}
