//! Credentials as a file lists them, and the book that indexes all of them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use crate::secret::{AccessKey, Secret, TokenHash};
use crate::usage::Usage;

/// The most credentials in one book. Each call's token is compared with every token of the book: a
/// thousand comparisons take some microseconds.
pub const CREDENTIALS_MAX: usize = 1_000;
/// The most tokens of one credential, and the most access keys: the one in use and its successor,
/// with room for two hurried rotations.
pub const TOKENS_MAX: usize = 4;
/// The longest name of a credential, in bytes. The name is a label of metrics and a part of every
/// request's hash.
pub const NAME_BYTES_MAX: usize = 64;

/// The longest prefix, in bytes; the longest key is longer.
pub const PREFIX_BYTES_MAX: usize = 1_024;

/// A permission of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// Read and list keys; look up its own requests.
    Read,
    /// Write and delete keys; name requests, since the commit of a named request is stored.
    Write,
    /// See what belongs to no single tenant: metrics, and, with the empty prefix, any request by
    /// its hash.
    Admin,
}

impl Right {
    /// Every right.
    pub const ALL: [Right; 3] = [Right::Read, Right::Write, Right::Admin];

    /// Returns the right's name in files and problem documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Right::Read => "read",
            Right::Write => "write",
            Right::Admin => "admin",
        }
    }
}

/// A set of rights.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Rights(u8);

impl Rights {
    /// Every right.
    pub const ALL: Rights = Rights(0b111);

    /// Returns true if the set contains `right`.
    pub const fn allow(self, right: Right) -> bool {
        self.0 & (1 << right as u8) != 0
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Rights {
        Rights(rights.into_iter().fold(0, |set, right| set | 1 << right as u8))
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(Right::ALL.iter().filter(|right| self.allow(**right))).finish()
    }
}

/// The resources that one credential may use at once, so that it cannot starve the others. For a
/// limit that the file does not set, the binary uses a quarter of what the node and the doors have
/// in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most open transactions, including those of calls that are a whole transaction.
    pub open_transactions_max: usize,
    /// The most bytes, approximately, that open transactions hold in memory: the values they wrote,
    /// and what they know of the keys they read.
    pub open_bytes_max: usize,
    /// The most calls per second, with a burst of one second's worth.
    pub calls_per_s: Option<u64>,
    /// The most bytes of bodies per second, in and out, with a burst of one second's worth. A body
    /// that exceeds the limit is let through, and later calls wait correspondingly longer.
    pub bytes_per_s: Option<u64>,
    /// The most bytes of large bodies that are held at once.
    pub bodies_bytes_max: usize,
}

impl Limits {
    /// No limit.
    pub const NONE: Limits = Limits {
        open_transactions_max: usize::MAX,
        open_bytes_max: usize::MAX,
        calls_per_s: None,
        bytes_per_s: None,
        bodies_bytes_max: usize::MAX,
    };
}

/// A credential. A caller that presents one of its tokens, or the certificate that it names, is
/// this tenant.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The name of the tenant in hashes of requests, metrics and logs.
    pub name: String,
    /// The hashes of its tokens.
    pub tokens: Vec<TokenHash>,
    /// Its access keys for the S3 endpoint.
    pub access_keys: Vec<AccessKey>,
    /// A subject alternative name (DNS or URI) of its client certificate.
    pub certificate: Option<String>,
    /// The prefix of every key that it may use.
    pub prefix: String,
    /// The rights that it has.
    pub rights: Rights,
    /// The time at which it expires, in milliseconds since the Unix epoch.
    pub expires_ms: Option<u64>,
    /// The resources that it may use at once.
    pub limits: Limits,
}

/// The reason why some credentials cannot form a book. `at` is the index of the credential that
/// clashes with an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    /// There are no credentials.
    #[error("there are no credentials, so every caller would be rejected: add one with aft credentials add")]
    Empty,
    /// There are more than [`CREDENTIALS_MAX`] credentials.
    #[error("there are {0} credentials, and at most {CREDENTIALS_MAX} are allowed")]
    TooMany(usize),
    /// Two credentials have one name.
    #[error(
        "another credential is already named {name:?}: a name identifies a tenant, so rename one of them"
    )]
    SameName {
        /// The index of the second credential.
        at: usize,
        /// The name of both.
        name: String,
    },
    /// A token is listed twice.
    #[error(
        "the credential {name:?} has a token that is already listed: a token belongs to one credential, and is listed once"
    )]
    SameToken {
        /// The index of the second credential.
        at: usize,
        /// The name of the second credential.
        name: String,
    },
    /// Two access keys have one ID.
    #[error(
        "the credential {name:?} has an access key whose id is already listed: calls name the key by its id, so it is listed once"
    )]
    SameAccessKey {
        /// The index of the second credential.
        at: usize,
        /// The name of the second credential.
        name: String,
    },
    /// Two credentials name one certificate.
    #[error(
        "the credential {name:?} names the same certificate as another credential: a certificate belongs to one credential"
    )]
    SameCertificate {
        /// The index of the second credential.
        at: usize,
        /// The name of the second credential.
        name: String,
    },
}

impl BookError {
    /// Returns the index of the credential that is wrong; `None` if no single one is.
    pub fn at(&self) -> Option<usize> {
        match self {
            BookError::Empty | BookError::TooMany(_) => None,
            BookError::SameName { at, .. }
            | BookError::SameToken { at, .. }
            | BookError::SameAccessKey { at, .. }
            | BookError::SameCertificate { at, .. } => Some(*at),
        }
    }
}

/// A credential with its current usage, which counts against its limits.
#[derive(Debug)]
pub struct Tenant {
    pub(crate) credential: Credential,
    pub(crate) usage: Arc<Usage>,
}

impl Tenant {
    /// Returns the credential.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }
}

/// An index of all credentials.
#[derive(Debug)]
pub struct Book {
    /// Each token with the index of its credential. One flat list, scanned from end to end for
    /// every call, so that the time of a lookup does not depend on the token.
    tokens: Vec<(TokenHash, u32)>,
    /// The access keys by their IDs, which are no secrets.
    access_keys: HashMap<String, (Secret, usize)>,
    certificates: HashMap<String, usize>,
    tenants: Vec<Arc<Tenant>>,
}

impl Book {
    /// Makes a book of `credentials`.
    ///
    /// # Errors
    /// Returns a [`BookError`] if there are none or too many, or if two of them share a name, a
    /// token, an access key or a certificate.
    pub fn new(credentials: Vec<Credential>) -> Result<Book, BookError> {
        Book::build(credentials, &[])
    }

    /// Makes a book of `credentials` that replaces the book `before`. Tenants that are in both keep
    /// their usage.
    pub(crate) fn following(credentials: Vec<Credential>, before: &Book) -> Result<Book, BookError> {
        Book::build(credentials, &before.tenants)
    }

    fn build(credentials: Vec<Credential>, before: &[Arc<Tenant>]) -> Result<Book, BookError> {
        match credentials.len() {
            0 => return Err(BookError::Empty),
            count if count > CREDENTIALS_MAX => return Err(BookError::TooMany(count)),
            _ => {}
        }
        // Tenants of the old book, by name: a tenant that stays keeps its counts.
        let before: HashMap<&str, &Arc<Tenant>> =
            before.iter().map(|tenant| (tenant.credential.name.as_str(), tenant)).collect();
        let mut book = Book {
            tokens: Vec::new(),
            access_keys: HashMap::new(),
            certificates: HashMap::new(),
            tenants: Vec::new(),
        };
        let mut names = HashMap::new();
        for (at, credential) in credentials.into_iter().enumerate() {
            let name = credential.name.clone();
            if names.insert(name.clone(), at).is_some() {
                return Err(BookError::SameName { at, name });
            }
            // A linear scan: it runs only when a file is read, over at most 4,000 tokens.
            for token in &credential.tokens {
                if book.tokens.iter().any(|(known, _)| known == token) {
                    return Err(BookError::SameToken { at, name });
                }
                book.tokens.push((*token, u32::try_from(at).expect("CREDENTIALS_MAX is below")));
            }
            for key in &credential.access_keys {
                let of = (key.secret().clone(), at);
                if book.access_keys.insert(key.id().to_owned(), of).is_some() {
                    return Err(BookError::SameAccessKey { at, name });
                }
            }
            if let Some(certificate) = &credential.certificate
                && book.certificates.insert(certificate.clone(), at).is_some()
            {
                return Err(BookError::SameCertificate { at, name });
            }
            // Open transactions of the old book count against the new limits.
            let usage = match before.get(name.as_str()) {
                Some(tenant) => tenant.usage.clone(),
                None => Arc::new(Usage::new(&name)),
            };
            book.tenants.push(Arc::new(Tenant { credential, usage }));
        }
        Ok(book)
    }

    /// Returns the tenant whose token hashes to `presented`. It takes the same time for every
    /// token, known or not, so that timing reveals nothing.
    pub(crate) fn by_token(&self, presented: &TokenHash) -> Option<&Arc<Tenant>> {
        const NOBODY: u32 = u32::MAX;
        let whose = self
            .tokens
            .iter()
            .fold(NOBODY, |whose, (token, at)| u32::conditional_select(&whose, at, token.ct_eq(presented)));
        self.tenants.get(usize::try_from(whose).expect("indices have 32 bits"))
    }

    /// Returns the tenant whose access key has an ID.
    pub(crate) fn by_access_key(&self, id: &str) -> Option<&Arc<Tenant>> {
        self.access_keys.get(id).map(|(_, at)| &self.tenants[*at])
    }

    /// Returns the secret of the access key with an ID.
    pub(crate) fn secret_of(&self, id: &str) -> Option<&Secret> {
        self.access_keys.get(id).map(|(secret, _)| secret)
    }

    /// Returns the tenant whose credential names a certificate with one of `names`.
    pub(crate) fn by_certificate(&self, names: &[String]) -> Option<&Arc<Tenant>> {
        names.iter().find_map(|name| Some(&self.tenants[*self.certificates.get(name)?]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(name: &str, token: &str) -> Credential {
        Credential {
            name: name.into(),
            tokens: vec![TokenHash::of(token.as_bytes())],
            access_keys: Vec::new(),
            certificate: None,
            prefix: format!("{name}/"),
            rights: Rights::ALL,
            expires_ms: None,
            limits: Limits::NONE,
        }
    }

    #[test]
    fn tokens_find_their_credential() {
        let mut two = credential("b", "2");
        two.tokens.push(TokenHash::of(b"3"));
        let book = Book::new(vec![credential("a", "1"), two]).unwrap();
        for (token, name) in [("1", Some("a")), ("2", Some("b")), ("3", Some("b")), ("4", None), ("", None)] {
            let found = book.by_token(&TokenHash::of(token.as_bytes()));
            assert_eq!(found.map(|tenant| tenant.credential.name.as_str()), name, "{token}");
        }
    }

    #[test]
    fn ambiguous_credentials_are_rejected() {
        let check = |credentials: Vec<Credential>, at: Option<usize>, part: &str| {
            let why = Book::new(credentials).unwrap_err();
            assert!(why.at() == at && why.to_string().contains(part), "{why}");
        };
        check(vec![], None, "no credentials");
        check(vec![credential("a", "1"), credential("a", "2")], Some(1), "named \"a\"");
        check(vec![credential("a", "1"), credential("b", "1")], Some(1), "has a token");
        let of = |name: &str| Credential { certificate: Some("x".into()), ..credential(name, name) };
        check(vec![of("a"), of("b")], Some(1), "certificate");
        let key = AccessKey::new("K".into(), "s".into()).unwrap();
        let of = |name: &str| Credential { access_keys: vec![key.clone()], ..credential(name, name) };
        check(vec![of("a"), of("b")], Some(1), "access key");
        let book = Book::new(vec![credential("a", "1"), of("b")]).unwrap();
        assert_eq!(book.by_access_key("K").map(|tenant| tenant.credential.name.as_str()), Some("b"));
        assert_eq!(book.secret_of("K").map(Secret::expose), Some("s"));
        assert!(book.by_access_key("k").is_none() && book.secret_of("").is_none());
        let many = (0..=CREDENTIALS_MAX).map(|n| credential(&n.to_string(), &n.to_string())).collect();
        check(many, None, "1001");
    }

    #[test]
    fn rights_are_a_set() {
        let rights: Rights = [Right::Read, Right::Admin].into_iter().collect();
        assert!(rights.allow(Right::Read) && !rights.allow(Right::Write) && rights.allow(Right::Admin));
        assert_eq!(Right::ALL.into_iter().collect::<Rights>(), Rights::ALL);
        assert_eq!(format!("{rights:?}"), "{Read, Admin}");
    }
}
