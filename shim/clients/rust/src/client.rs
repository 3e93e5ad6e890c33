//! The client: a server, a session and settings, and the basic calls that the other files use.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aft_api::{Begin, Code, Format, Reply, Request as Found};
use bytes::Bytes;
use hyper::Method;

use crate::answer::{self, Fault, accepted, with_version};
use crate::builder::Builder;
use crate::error::Error;
use crate::pace::Pace;
use crate::request::Request;
use crate::session::Session;
use crate::settings::Settings;
use crate::transport::{Call, Started, Transport};

/// A client of one server. It is cheap to clone, and clones share connections and the session.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Transport,
    session: Arc<Session>,
    pub(crate) settings: Arc<Settings>,
}

impl Client {
    /// Makes a client of the server at `http://HOST[:PORT]` or `https://HOST[:PORT]`, with default
    /// settings. Nothing is sent yet.
    ///
    /// Make it after the process has forked, if it forks at all: the calls of a client fail with
    /// [`Error::Invalid`] in another process than the one that made it.
    ///
    /// # Errors
    /// Returns [`Error::Invalid`] if the URL has another form.
    pub fn new(url: &str) -> Result<Client, Error> {
        Client::builder(url).build()
    }

    /// Returns a builder of a client of the server at `http://HOST[:PORT]` or
    /// `https://HOST[:PORT]`, to change its settings.
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

    /// Returns a client that shares connections and the session with this one, and has another time
    /// for each run or other call: `client.with_run_time_max(time).get("k")`.
    pub fn with_run_time_max(&self, time: Duration) -> Client {
        let settings = Settings { run_time_max: time, ..(*self.settings).clone() };
        Client { settings: Arc::new(settings), ..self.clone() }
    }

    /// Returns the pace of one call or run.
    pub(crate) fn pace(&self, request: &Request) -> Pace {
        self.pace_within(request.run_time(self.settings.run_time_max))
    }

    /// Returns the pace of a call that has this time.
    pub(crate) fn pace_within(&self, time_max: Duration) -> Pace {
        Pace::new(time_max).repeats(self.settings.repeats)
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
        let mut pace = self.pace(&request);
        loop {
            match self.look_up(&request, pace.until()).await {
                Ok(found) => return Ok(found),
                Err(error) => pace.again(error.about(request.id.as_deref(), None)).await?,
            }
        }
    }

    /// Returns the result of a committed request; `None` if no commit of it is known, or if it has
    /// no result. It is held in memory as a whole; [`Client::result_stream`] reads results of any
    /// size.
    ///
    /// # Errors
    /// Returns the errors of [`Client::request`], and [`Error::Invalid`] if the result has more
    /// than 256 MiB.
    pub async fn result(&self, request: impl Into<Request>) -> Result<Option<Bytes>, Error> {
        let request = request.into();
        let [_, path] = request.look_up_paths()?;
        let mut pace = self.pace(&request);
        loop {
            let call = Call { until: Some(pace.until()), ..Call::new(Method::GET, path.clone()) };
            match self.send(call).await.and_then(with_version) {
                Ok(answer) => return Ok(Some(answer.body)),
                Err(Fault::Refused(error)) if is_unknown_request(&error) => return Ok(None),
                Err(fault) => pace.again(fault.harmless().about(request.id.as_deref(), None)).await?,
            }
        }
    }

    /// Looks a request up as [`Client::request`] does, with a single call.
    pub(crate) async fn look_up(&self, request: &Request, until: Instant) -> Result<Option<Found>, Error> {
        let [path, _] = request.look_up_paths()?;
        let mut call = Call::new(Method::GET, path);
        call.accept = Some(Format::Protobuf.content_type());
        call.until = Some(until);
        let found = self.send(call).await;
        match found.and_then(|answer| answer::reply(&answer, |body| Format::Protobuf.decode(body))) {
            Ok(found) => Ok(Some(found)),
            Err(Fault::Refused(error)) if is_unknown_request(&error) => Ok(None),
            Err(fault) => Err(fault.harmless()),
        }
    }

    /// Sends one call, and returns its answer if it is a success.
    pub(crate) async fn send(&self, call: Call) -> Result<crate::transport::Answer, Fault> {
        accepted(self.transport.send(call).await)
    }

    /// Sends one call, and returns the head of its answer if it is a success.
    pub(crate) async fn start(&self, call: Call) -> Result<Started, Fault> {
        let started = self.transport.start(call).await?;
        if started.head.status.is_success() {
            return Ok(started);
        }
        Err(answer::rejected(&started.whole().await?))
    }

    /// Returns an error to the caller. Drops the session if the error says that the store has lost
    /// a commit that it names: the caller hears of it once, and the next call reads what the store
    /// has. While a commit is in doubt the session stays, because the caller gets another error.
    pub(crate) fn told(&self, error: Error) -> Error {
        if error.code() == Some(Code::SessionLost) {
            self.session.forget();
        }
        error
    }

    /// Posts a message and returns the reply, both in protobuf.
    pub(crate) async fn post(
        &self,
        path: String,
        body: Bytes,
        request_id: Option<String>,
        until: Instant,
    ) -> Result<Reply, Fault> {
        let mut call = Call::new(Method::POST, path);
        call.request_id = request_id;
        call.accept = Some(Format::Protobuf.content_type());
        call.content_type = Some(Format::Protobuf.content_type().to_owned());
        call.body = body.into();
        call.until = Some(until);
        let answer = self.send(call).await?;
        answer::reply(&answer, |body| Format::Protobuf.decode(body))
    }

    /// Posts an opening, or a whole transaction.
    pub(crate) async fn post_begin(&self, path: &str, begin: &Begin, until: Instant) -> Result<Reply, Fault> {
        self.post(path.to_owned(), Format::Protobuf.encode(begin), None, until).await
    }
}

/// Returns true if the server knows no commit of the request. A path that it does not know is
/// another matter.
pub(crate) fn is_unknown_request(error: &Error) -> bool {
    matches!(error, Error::NotFound(_)) && error.code() != Some(Code::NoSuchPath)
}
