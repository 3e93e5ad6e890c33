//! Values and results of any size, read piece by piece.

use aft_api::{Code, header};
use bytes::Bytes;
use hyper::Method;
use hyper::header::CONTENT_TYPE;

use crate::answer::Fault;
use crate::client::{Client, is_unknown_request};
use crate::error::Error;
use crate::foreign::foreign;
use crate::path::check_key;
use crate::request::Request;
use crate::transport::{Answer, Call, Started};
use crate::value::Value;

/// A value or a result that is read piece by piece. Memory is bounded by one piece.
#[derive(Debug)]
pub struct ValueStream {
    rest: Rest,
    size: Option<u64>,
    read: u64,
    content_type: String,
    version: String,
}

#[derive(Debug)]
enum Rest {
    Here(Option<Bytes>),
    Coming(Box<Started>),
    /// An error has ended the reading.
    Broken,
}

impl ValueStream {
    /// Makes the stream of an answer whose head has come.
    pub(crate) fn new(started: Started) -> Result<ValueStream, Fault> {
        let text = |name: &str| {
            let value = started.head.headers.get(name).and_then(|value| value.to_str().ok());
            value.map(str::to_owned)
        };
        let Some(version) = text(header::VERSION) else {
            // The body is not looked at: it may have any size.
            let answer = Answer {
                status: started.head.status,
                headers: started.head.headers.clone(),
                body: Bytes::new(),
                reason: None,
            };
            return Err(foreign(&answer));
        };
        let content_type = text(CONTENT_TYPE.as_str()).unwrap_or_default();
        let size = started.size();
        Ok(ValueStream { rest: Rest::Coming(Box::new(started)), size, read: 0, content_type, version })
    }

    /// Makes the stream of a value that is there.
    pub(crate) fn of_value(value: Value) -> ValueStream {
        let Value { bytes, content_type, version, size } = value;
        ValueStream { rest: Rest::Here(Some(bytes)), size: Some(size), read: 0, content_type, version }
    }

    /// Returns the size of the whole value in bytes; `None` if a proxy left it out of the answer.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Returns the content type with which the value was written.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// Returns the version's identity; `uncommitted` for the transaction's own write.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns the next piece, of any length but 0; `None` when all bytes have been returned.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the connection breaks, or is silent for the client's
    /// [`call_timeout`](crate::Builder::call_timeout); every later call returns it too. The pieces
    /// until then are the value's first bytes.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let piece = match &mut self.rest {
            Rest::Here(bytes) => bytes.take().filter(|bytes| !bytes.is_empty()),
            Rest::Coming(started) => match started.next().await {
                Ok(piece) => piece,
                Err(why) => return Err(self.broken(&Fault::from(why).harmless().details().detail)),
            },
            Rest::Broken => return Err(self.broken("an earlier piece did not come")),
        };
        self.read += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        if self.size.is_some_and(|size| self.read > size || (piece.is_none() && self.read < size)) {
            return Err(self.broken("its length is not what the server announced"));
        }
        Ok(piece)
    }

    fn broken(&mut self, why: &str) -> Error {
        self.rest = Rest::Broken;
        let of = self.size.map(|size| format!(" of {size}")).unwrap_or_default();
        Error::unavailable(format!("the value broke off after {}{of} bytes: {why}", self.read))
    }
}

impl Client {
    /// Opens one key's value to be read piece by piece, whatever its size, in a transaction of its
    /// own; `None` if it has none. Failed openings are repeated within
    /// [`Builder::run_time_max`](crate::Builder::run_time_max); a reading that has begun is not.
    ///
    /// # Errors
    /// Returns the errors of [`Client::get`].
    pub async fn stream(&self, key: impl AsRef<str>) -> Result<Option<ValueStream>, Error> {
        check_key(key.as_ref())?;
        let call = self.alone(Method::GET, key.as_ref());
        match self.open_stream(call, &Request::unnamed()).await {
            Err(error) if error.code() == Some(Code::Absent) => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Opens the result of a committed request to be read piece by piece, whatever its size; `None`
    /// if no commit of it is known, or if it has no result.
    ///
    /// # Errors
    /// Returns the errors of [`Client::request`].
    pub async fn result_stream(&self, request: impl Into<Request>) -> Result<Option<ValueStream>, Error> {
        let request = request.into();
        let [_, path] = request.look_up_paths()?;
        match self.open_stream(Call::new(Method::GET, path), &request).await {
            Err(error) if is_unknown_request(&error) => Ok(None),
            opened => opened.map(Some),
        }
    }

    async fn open_stream(&self, mut call: Call, request: &Request) -> Result<ValueStream, Error> {
        let mut pace = self.pace(request);
        call.until = Some(pace.until());
        loop {
            match self.start(call.clone()).await.and_then(ValueStream::new) {
                Ok(stream) => return Ok(stream),
                Err(fault) => {
                    let error = fault.harmless().about(request.id.as_deref(), None);
                    pace.again(error).await.map_err(|error| self.told(error))?;
                }
            }
        }
    }
}
