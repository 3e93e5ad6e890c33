//! Finds the tenant of a call by the credential that the call presents.

use std::sync::{Arc, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::credential::{Book, BookError, Credential, Tenant};
use crate::denied::{Denied, Unauthorized};
use crate::seal::Sealer;
use crate::secret::{Secret, TokenHash};

/// The access to a server: open, or guarded by credentials.
#[derive(Debug)]
pub struct Access(Option<Guard>);

#[derive(Debug)]
struct Guard {
    /// Replaced as a whole; a call keeps the tenant that it found.
    book: RwLock<Arc<Book>>,
    sealer: Sealer,
}

/// The part of a call that says who makes it.
#[derive(Debug, Clone, Copy)]
pub enum Presented<'a> {
    /// No credential.
    Nothing,
    /// A bearer token.
    Token(&'a [u8]),
    /// The ID of an access key. The door has verified a signature that was made with its secret.
    AccessKey(&'a str),
    /// The names in a client certificate that TLS has verified.
    Certificate(&'a [String]),
}

impl Access {
    /// Admits every caller, with every right. Use it on a loopback address only.
    pub fn open() -> Access {
        Access(None)
    }

    /// Admits callers that present a credential of `book`.
    ///
    /// # Errors
    /// Returns an error if the system's random number generator fails.
    pub fn guarded(book: Book) -> Result<Access, String> {
        let sealer = Sealer::draw()?;
        Ok(Access(Some(Guard { book: RwLock::new(Arc::new(book)), sealer })))
    }

    /// Returns true if there are no credentials. Then a call's credential is ignored.
    pub fn is_open(&self) -> bool {
        self.0.is_none()
    }

    /// Replaces the credentials. Connections stay open; their next calls are checked against the
    /// new ones.
    ///
    /// # Errors
    /// Returns the errors of [`Book::new`]. Then the old credentials stay in force.
    ///
    /// # Panics
    /// Panics if access is open.
    pub fn replace(&self, credentials: Vec<Credential>) -> Result<(), BookError> {
        let mut book = self.guard().book.write().expect(POISONED);
        *book = Arc::new(Book::following(credentials, &book)?);
        Ok(())
    }

    /// Returns the tenant that makes a call.
    ///
    /// # Errors
    /// Returns [`Denied::Unauthorized`] if `presented` is missing, unknown or expired.
    ///
    /// # Panics
    /// Panics if access is open.
    pub fn tenant(&self, presented: Presented<'_>) -> Result<Arc<Tenant>, Denied> {
        let book = self.guard().book.read().expect(POISONED).clone();
        let tenant = match presented {
            Presented::Token(token) => {
                let hash = TokenHash::of_presented(token);
                hash.and_then(|hash| book.by_token(&hash)).ok_or(Unauthorized::Unknown)?
            }
            Presented::AccessKey(id) => book.by_access_key(id).ok_or(Unauthorized::Unknown)?,
            Presented::Certificate(names) => book.by_certificate(names).ok_or(Unauthorized::Certificate)?,
            Presented::Nothing => return Err(Unauthorized::Missing.into()),
        };
        // Expiry is checked after the lookup: only the holder of the token learns that it expired.
        if tenant.credential().expires_ms.is_some_and(|at| at <= now_ms()) {
            return Err(Unauthorized::Expired.into());
        }
        Ok(tenant.clone())
    }

    /// Returns the secret of an access key, to verify a signature; `None` if no credential has the
    /// key.
    ///
    /// # Panics
    /// Panics if access is open.
    pub fn secret_of(&self, access_key: &str) -> Option<Secret> {
        let book = self.guard().book.read().expect(POISONED).clone();
        book.secret_of(access_key).cloned()
    }

    /// Binds `id` to `tenant` by replacing its last four bytes with a seal.
    ///
    /// # Panics
    /// Panics if access is open.
    pub fn seal(&self, id: [u8; 16], tenant: &Tenant) -> [u8; 16] {
        self.guard().sealer.seal(id, &tenant.credential().name)
    }

    /// Returns true if `id` is bound to `tenant`.
    ///
    /// # Panics
    /// Panics if access is open.
    pub fn is_of(&self, id: &[u8; 16], tenant: &Tenant) -> bool {
        self.guard().sealer.is_of(id, &tenant.credential().name)
    }

    fn guard(&self) -> &Guard {
        self.0.as_ref().expect("there are credentials")
    }
}

const POISONED: &str = "nothing panics while it holds this lock";

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set to a time after 1970");
    since.as_millis() as u64
}
