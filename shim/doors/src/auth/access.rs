//! From a call's head to its tenant.

use std::sync::{Arc, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use aft_core::ids::AttemptId;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use crate::auth::attempts::Sealer;
use crate::auth::credential::{Book, BookError, Credential, Tenant};
use crate::auth::secret::TokenHash;
use crate::failure::{Failure, Result, Unauthorized};

/// What begins the header's value; the case of its letters does not matter.
const SCHEME: &str = "bearer ";

/// Who gets in.
#[derive(Debug)]
pub struct Access(Option<Guard>);

#[derive(Debug)]
struct Guard {
    /// Exchanged as a whole; a call keeps the tenant that it found.
    book: RwLock<Arc<Book>>,
    sealer: Sealer,
}

/// The names in a connection's client certificate, which TLS has verified.
#[derive(Debug, Clone)]
pub(crate) struct Peer(pub(crate) Arc<[String]>);

impl Access {
    /// Everybody gets in, as the tenant `local`, and may do everything: for a loopback address alone.
    pub fn open() -> Access {
        Access(None)
    }

    /// Those get in who present a credential of the book.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn guarded(book: Book) -> std::result::Result<Access, String> {
        let sealer = Sealer::draw()?;
        Ok(Access(Some(Guard { book: RwLock::new(Arc::new(book)), sealer })))
    }

    /// Exchanges the credentials. Connections stay open; the next call on each is held against the new ones.
    ///
    /// # Errors
    /// As [`Book::new`]; the old ones stay.
    ///
    /// # Panics
    /// If access is open.
    pub fn replace(&self, credentials: Vec<Credential>) -> std::result::Result<(), BookError> {
        let guard = self.0.as_ref().expect("there are credentials to replace");
        let mut book = guard.book.write().expect(POISONED);
        *book = Arc::new(Book::following(credentials, &book.tenants)?);
        Ok(())
    }

    /// Whose call this is; `None` if access is open.
    pub(crate) fn tenant(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Result<Option<Arc<Tenant>>> {
        let Some(guard) = &self.0 else { return Ok(None) };
        let book = guard.book.read().expect(POISONED).clone();
        let tenant = match (token(headers)?, peer) {
            (Some(token), _) => {
                let hash = TokenHash::of_presented(token);
                hash.and_then(|hash| book.by_token(&hash)).ok_or(Unauthorized::Unknown)?
            }
            (None, Some(Peer(names))) => book.by_certificate(names).ok_or(Unauthorized::Certificate)?,
            (None, None) => return Err(Unauthorized::Missing.into()),
        };
        if tenant.credential.expires_ms.is_some_and(|at| at <= now_ms()) {
            return Err(Unauthorized::Expired.into());
        }
        Ok(Some(tenant.clone()))
    }

    /// Binds an attempt to a tenant.
    pub(crate) fn seal(&self, attempt: AttemptId, tenant: &Tenant) -> AttemptId {
        self.sealer().seal(attempt, &tenant.credential.name)
    }

    /// Whether an attempt is a tenant's.
    pub(crate) fn is_of(&self, attempt: &AttemptId, tenant: &Tenant) -> bool {
        self.sealer().is_of(attempt, &tenant.credential.name)
    }

    fn sealer(&self) -> &Sealer {
        &self.0.as_ref().expect("a tenant comes from a book").sealer
    }
}

const POISONED: &str = "nothing panics while it holds this lock";

/// The bearer token in the headers.
fn token(headers: &HeaderMap) -> Result<Option<&[u8]>> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let value = value.as_bytes();
    let split = value.split_at_checked(SCHEME.len());
    match split {
        Some((scheme, token))
            if scheme.eq_ignore_ascii_case(SCHEME.as_bytes()) && values.next().is_none() =>
        {
            Ok(Some(token.trim_ascii()))
        }
        _ => Err(Unauthorized::Malformed.into()),
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set to a time after 1970");
    since.as_millis() as u64
}

impl From<Unauthorized> for Failure {
    fn from(why: Unauthorized) -> Failure {
        Failure::unauthorized(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_bearer_token_is_taken() {
        let check = |values: &[&str], expect: std::result::Result<Option<&str>, ()>| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            let found = token(&headers).map(|token| token.map(|token| std::str::from_utf8(token).unwrap()));
            assert_eq!(found.map_err(|_| ()), expect, "{values:?}");
        };
        check(&[], Ok(None));
        check(&["Bearer abc"], Ok(Some("abc")));
        check(&["bEARER  abc "], Ok(Some("abc")));
        check(&["Bearer "], Ok(Some("")));
        for wrong in ["", "Bearer", "Basic abc", "abc", "Bearerabcdef"] {
            check(&[wrong], Err(()));
        }
        check(&["Bearer abc", "Bearer abc"], Err(()));
    }
}
