//! The reads of a transaction.

use aft_api::{Code, Format, Listing};
use hyper::Method;

use crate::answer::{self, Fault, with_version};
use crate::error::Error;
use crate::keys::Keys;
use crate::path::check_key;
use crate::stream::ValueStream;
use crate::transaction::Transaction;
use crate::transport::{Answer, Call};
use crate::value::{Range, Value};

impl Transaction {
    /// Returns a key's value; `None` if it has none.
    ///
    /// # Errors
    /// Returns [`Error::Retry`] if no version is left that fits the earlier reads: run the request
    /// again. Returns [`Error::Invalid`] if the key is empty or too long, or if the transaction has
    /// ended.
    pub async fn get(&self, key: impl AsRef<str>) -> Result<Option<Value>, Error> {
        let key = key.as_ref();
        check_key(key).map_err(|why| self.about(why))?;
        if let Some(known) = self.known(key)? {
            return Ok(known);
        }
        let call = Call::new(Method::GET, self.key_path(key));
        let found = self.counted(false, self.read(call)).await?;
        Ok(found.map(Value::of_answer))
    }

    /// Returns `len` bytes of a key's value, from byte `start` on, or as many as there are; `None`
    /// if the key has no value. [`Value::size`] is the size of the whole value.
    ///
    /// # Errors
    /// Returns the errors of [`Transaction::get`], and [`Error::Invalid`] if the range is empty or
    /// begins after the value's end.
    pub async fn get_range(
        &self,
        key: impl AsRef<str>,
        start: u64,
        len: u64,
    ) -> Result<Option<Value>, Error> {
        let key = key.as_ref();
        check_key(key).map_err(|why| self.about(why))?;
        let range = Range::new(start, len).map_err(|why| self.about(why))?;
        if let Some(known) = self.known(key)? {
            return known.map(|value| value.cut(range)).transpose().map_err(|why| self.about(why));
        }
        let call = Call { range: Some(range.header()), ..Call::new(Method::GET, self.key_path(key)) };
        let found = self.counted(false, self.read(call)).await?;
        let value = found.map(|answer| Value::of_range(answer, range)).transpose();
        value.map_err(|fault| self.failed(fault, false))
    }

    /// Opens a key's value to be read piece by piece, whatever its size; `None` if it has none. An
    /// error in the middle ends the reading: get the rest by [`Transaction::get_range`], or begin
    /// again.
    ///
    /// # Errors
    /// Returns the errors of [`Transaction::get`].
    pub async fn stream(&self, key: impl AsRef<str>) -> Result<Option<ValueStream>, Error> {
        let key = key.as_ref();
        check_key(key).map_err(|why| self.about(why))?;
        if let Some(known) = self.known(key)? {
            return Ok(known.map(ValueStream::of_value));
        }
        let call = Call::new(Method::GET, self.key_path(key));
        self.counted(false, async {
            let client = self.client();
            let started = self.again_if_harmless(call, true, |call| client.start(call)).await;
            match started.and_then(ValueStream::new) {
                Ok(stream) => Ok(Some(stream)),
                Err(Fault::Refused(error)) if error.code() == Some(Code::Absent) => Ok(None),
                Err(fault) => Err(self.failed(fault, false)),
            }
        })
        .await
    }

    /// Lists the keys that begin with a prefix; each page is one call.
    pub fn list(&self, prefix: impl Into<String>) -> Keys {
        Keys::new(self.clone(), prefix.into())
    }

    pub(crate) async fn list_page(&self, query: &str) -> Result<Listing, Error> {
        self.flush(Vec::new()).await?;
        let mut call = Call::new(Method::GET, self.path(&format!("/keys{query}")));
        call.accept = Some(Format::Protobuf.content_type());
        self.counted(false, async {
            let page = self.send(call, true).await;
            let page = page.and_then(|answer| answer::reply(&answer, |body| Format::Protobuf.decode(body)));
            page.map_err(|fault| self.failed(fault, false))
        })
        .await
    }

    /// Sends a call that reads a value.
    async fn read(&self, call: Call) -> Result<Option<Answer>, Error> {
        match self.send(call, true).await.and_then(with_version) {
            Ok(answer) => Ok(Some(answer)),
            Err(Fault::Refused(error)) if error.code() == Some(Code::Absent) => Ok(None),
            Err(fault) => Err(self.failed(fault, false)),
        }
    }
}
