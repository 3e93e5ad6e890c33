//! Credentials as a file says them, and the book of all of them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use crate::secret::TokenHash;
use crate::usage::Usage;

/// Credentials of one book. Every token is compared with every call's: a thousand tokens take some microseconds.
pub const CREDENTIALS_MAX: usize = 1_000;
/// Tokens of one credential: the one in use and its successor, with room for two hurried rotations.
pub const TOKENS_MAX: usize = 4;
/// The longest name of a credential, which is a label of metrics and a part of every request's hash.
pub const NAME_BYTES_MAX: usize = 64;

/// The longest prefix: the longest key is longer.
pub const PREFIX_BYTES_MAX: usize = 1_024;

/// What a credential may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// Read and list keys; look up its own requests.
    Read,
    /// Write and delete keys; name requests, which stores their commits.
    Write,
    /// See what is not any tenant's: metrics, and, with the empty prefix, any request by its hash.
    Admin,
}

impl Right {
    /// Every right.
    pub const ALL: [Right; 3] = [Right::Read, Right::Write, Right::Admin];

    /// The right's name in files and problems.
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
    /// All of them.
    pub const ALL: Rights = Rights(0b111);

    /// Whether it holds this one.
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

/// How much one credential may have at once, so that it cannot starve the others. Where its file does not say, the
/// binary gives it a quarter of what the node and the doors have in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open transactions, those of single calls included.
    pub open_transactions_max: usize,
    /// Bytes that open transactions hold in memory, about: what they wrote, and what they know of the keys that they read.
    pub open_bytes_max: usize,
    /// Calls a second, over a second.
    pub calls_per_s: Option<u64>,
    /// Bytes of bodies a second, over a second, in and out. A body that passes the limit is let through; the next call waits the longer.
    pub bytes_per_s: Option<u64>,
    /// Bytes of large bodies that are held at once.
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

/// A credential: who presents one of its tokens, or a certificate of this name, is this tenant.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The tenant, in hashes of requests, metrics and logs.
    pub name: String,
    /// Hashes of its tokens.
    pub tokens: Vec<TokenHash>,
    /// A subject alternative name (DNS or URI) of its client certificate.
    pub certificate: Option<String>,
    /// What all of its keys begin with.
    pub prefix: String,
    /// What it may do.
    pub rights: Rights,
    /// When it ends, in milliseconds since the Unix epoch.
    pub expires_ms: Option<u64>,
    /// How much it may have.
    pub limits: Limits,
}

/// Why there is no book of some credentials. `at` is the index of the second one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    /// There are none.
    #[error("there is no credential: nobody could get in")]
    Empty,
    /// There are too many.
    #[error("there are {0} credentials, and {CREDENTIALS_MAX} are possible")]
    TooMany(usize),
    /// A name is twice there.
    #[error("a credential named {name:?} stands there already: names are tenants, give this one another")]
    SameName {
        /// Which.
        at: usize,
        /// Their name.
        name: String,
    },
    /// A token is twice there.
    #[error("the credential {name:?} has a token that stands there already: a token has one credential")]
    SameToken {
        /// Which.
        at: usize,
        /// Its name.
        name: String,
    },
    /// A certificate's name is twice there.
    #[error("the credential {name:?} has the certificate name of another credential")]
    SameCertificate {
        /// Which.
        at: usize,
        /// Its name.
        name: String,
    },
}

impl BookError {
    /// The index of the credential that is wrong.
    pub fn at(&self) -> Option<usize> {
        match self {
            BookError::Empty | BookError::TooMany(_) => None,
            BookError::SameName { at, .. }
            | BookError::SameToken { at, .. }
            | BookError::SameCertificate { at, .. } => Some(*at),
        }
    }
}

/// A credential, and the usage that counts against its limits.
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

/// All credentials.
#[derive(Debug)]
pub struct Book {
    /// Each token beside the index of its credential: one flat list, read from end to end for every call.
    tokens: Vec<(TokenHash, u32)>,
    certificates: HashMap<String, usize>,
    tenants: Vec<Arc<Tenant>>,
}

impl Book {
    /// A book of some credentials.
    ///
    /// # Errors
    /// If two of them could be taken for one another, or there is none.
    pub fn new(credentials: Vec<Credential>) -> Result<Book, BookError> {
        Book::build(credentials, &[])
    }

    /// Makes a book that takes the place of another: the usage of a tenant that both have goes on
    /// counting.
    pub(crate) fn following(credentials: Vec<Credential>, before: &Book) -> Result<Book, BookError> {
        Book::build(credentials, &before.tenants)
    }

    fn build(credentials: Vec<Credential>, before: &[Arc<Tenant>]) -> Result<Book, BookError> {
        match credentials.len() {
            0 => return Err(BookError::Empty),
            count if count > CREDENTIALS_MAX => return Err(BookError::TooMany(count)),
            _ => {}
        }
        let before: HashMap<&str, &Arc<Tenant>> =
            before.iter().map(|tenant| (tenant.credential.name.as_str(), tenant)).collect();
        let mut book = Book { tokens: Vec::new(), certificates: HashMap::new(), tenants: Vec::new() };
        let mut names = HashMap::new();
        for (at, credential) in credentials.into_iter().enumerate() {
            let name = credential.name.clone();
            if names.insert(name.clone(), at).is_some() {
                return Err(BookError::SameName { at, name });
            }
            for token in &credential.tokens {
                if book.tokens.iter().any(|(known, _)| known == token) {
                    return Err(BookError::SameToken { at, name });
                }
                book.tokens.push((*token, u32::try_from(at).expect("CREDENTIALS_MAX is below")));
            }
            if let Some(certificate) = &credential.certificate
                && book.certificates.insert(certificate.clone(), at).is_some()
            {
                return Err(BookError::SameCertificate { at, name });
            }
            let usage = match before.get(name.as_str()) {
                Some(tenant) => tenant.usage.clone(),
                None => Arc::new(Usage::new(&name)),
            };
            book.tenants.push(Arc::new(Tenant { credential, usage }));
        }
        Ok(book)
    }

    /// Whose token this is. Takes the same time whosever it is, and if it is nobody's.
    pub(crate) fn by_token(&self, presented: &TokenHash) -> Option<&Arc<Tenant>> {
        const NOBODY: u32 = u32::MAX;
        let whose = self
            .tokens
            .iter()
            .fold(NOBODY, |whose, (token, at)| u32::conditional_select(&whose, at, token.ct_eq(presented)));
        self.tenants.get(usize::try_from(whose).expect("indices have 32 bits"))
    }

    /// Whose certificate has one of these names.
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
    fn what_could_be_mistaken_is_refused() {
        let check = |credentials: Vec<Credential>, at: Option<usize>, part: &str| {
            let why = Book::new(credentials).unwrap_err();
            assert!(why.at() == at && why.to_string().contains(part), "{why}");
        };
        check(vec![], None, "nobody");
        check(vec![credential("a", "1"), credential("a", "2")], Some(1), "named \"a\"");
        check(vec![credential("a", "1"), credential("b", "1")], Some(1), "has a token");
        let of = |name: &str| Credential { certificate: Some("x".into()), ..credential(name, name) };
        check(vec![of("a"), of("b")], Some(1), "certificate");
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
