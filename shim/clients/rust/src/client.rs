//! The client: a server, a session, settings; and the calls that every other file is made of.

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

/// A client of one server. Cheap to clone; clones share connections and the session.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Transport,
    session: Arc<Session>,
    pub(crate) settings: Arc<Settings>,
}

impl Client {
    /// A client of the server at `http://HOST:PORT`, with defaults. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the URL has another form.
    pub fn new(url: &str) -> Result<Client, Error> {
        Client::builder(url).build()
    }

    /// The same with settings.
    pub fn builder(url: &str) -> Builder {
        Builder::new(url)
    }

    pub(crate) fn from_parts(transport: Transport, settings: Settings) -> Client {
        Client { transport, session: Arc::default(), settings: Arc::new(settings) }
    }

    /// A client that shares connections, and begins a session of its own. A token names a few commits only: tasks that hop between
    /// nodes and commit at the same time have each their own.
    pub fn with_own_session(&self) -> Client {
        let own = Client { session: Arc::default(), ..self.clone() };
        if let Some(token) = self.session.token() {
            own.session.add(&token);
        }
        own
    }

    /// The session's token, to be handed to another process; none before the first commit.
    pub fn session(&self) -> Option<String> {
        if self.settings.session { self.session.token() } else { None }
    }

    /// Goes on with the session of another process too: what it committed is seen from the next transaction on.
    pub fn join_session(&self, token: &str) {
        self.session.add(token);
    }

    /// Notes what a commit gave.
    pub(crate) fn committed(&self, token: Option<&str>) {
        if let (true, Some(token)) = (self.settings.session, token) {
            self.session.add(token);
        }
    }

    /// Did the request commit, when, which keys, with what result? `None`: no commit of it is known.
    ///
    /// # Errors
    /// Any that a call has, except [`Error::NotFound`].
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

    /// What a committed request has left, whatever its size; `None` if no commit of it is known, or it left nothing.
    ///
    /// # Errors
    /// As [`Client::request`].
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

    /// The same as [`Client::request`], asked once.
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

    /// One call.
    pub(crate) async fn send(&self, call: Call) -> Result<crate::transport::Answer, Fault> {
        accepted(self.transport.send(call).await)
    }

    /// A message and its reply, in protobuf.
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

    /// An opening, or a whole transaction.
    pub(crate) async fn post_begin(&self, path: &str, begin: &Begin) -> Result<Reply, Fault> {
        self.post(path.to_owned(), Format::Protobuf.encode(begin), None).await
    }
}

fn path_of(request: &Request, under: &str) -> Result<String, Error> {
    let path = request.look_up_path(under);
    path.ok_or_else(|| Error::invalid("a request without an ID cannot be looked up: nobody knows its name"))
}
