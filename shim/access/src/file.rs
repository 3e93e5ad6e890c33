//! The credentials file: the callers that `aft serve` admits. It is TOML with one `[[credential]]`
//! per tenant; `aft credentials add --help` shows all entries.
//!
//! The document is walked by hand and not through serde, whose messages repeat values. A token may
//! stand where its hash belongs, or anywhere else, and an error message must be safe to log. So a
//! message names the file, the line and what is expected, and never repeats a value, except names
//! of credentials and of entries.
//!
//! Bearer tokens are listed by their hashes. The secrets of access keys have to be listed as they
//! are, since signatures cannot be verified without them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::access::Access;
use crate::credential::{
    Book, BookError, Credential, Limits, NAME_BYTES_MAX, PREFIX_BYTES_MAX, Right, Rights, TOKENS_MAX,
};
use crate::secret::{AccessKey, TokenHash};

/// A message for people: the file, the line, and what is expected there.
type Failed = String;

/// The largest file that is read, in bytes: far above the size of a file with the most credentials.
const BYTES_MAX: u64 = 4 << 20;
/// The permission bits of group and others in a file's mode.
const OTHERS: u32 = 0o077;

/// The credentials of a file.
#[derive(Debug)]
pub struct Credentials {
    /// The credentials, in the order of the file.
    pub credentials: Vec<Credential>,
    /// The line at which each begins, for errors that concern two of them.
    lines: Vec<usize>,
    file: String,
}

/// Reads a credentials file. `limits` apply to a credential that sets none.
///
/// # Errors
/// Returns a message, with the line where it applies, if the file cannot be read, if users other
/// than its owner may access it, or if its content is not valid.
pub fn read(path: &Path, limits: Limits) -> Result<Credentials, Failed> {
    let text = text(path)?.ok_or_else(|| {
        format!("credentials file {}: it does not exist; create it with aft credentials add", path.display())
    })?;
    parse(&text, &path.display().to_string(), limits)
}

/// Reads a file that only its owner may access. Returns `None` if it does not exist.
///
/// # Errors
/// Returns a message if the file cannot be read, is too large, or if users other than its owner may
/// access it.
pub fn text(path: &Path) -> Result<Option<String>, Failed> {
    let wrong = |why: &dyn std::fmt::Display| format!("credentials file {}: {why}", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(wrong(&why)),
    };
    // The metadata of the open file, not of the path: the path may name another file by now.
    let metadata = file.metadata().map_err(|why| wrong(&why))?;
    if metadata.is_dir() {
        return Err(wrong(&"it is a directory: give the path of a file"));
    }
    if metadata.mode() & OTHERS != 0 {
        return Err(wrong(&format!(
            "users other than its owner may access it (mode {:03o}): run chmod 600 {}",
            metadata.mode() & 0o777,
            path.display()
        )));
    }
    let mut text = String::new();
    file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(|why| wrong(&why))?;
    if text.len() as u64 > BYTES_MAX {
        return Err(wrong(&format!("it is larger than the limit of {BYTES_MAX} bytes")));
    }
    Ok(Some(text))
}

/// Parses the text of a credentials file. `file` names it in messages; `limits` apply to a
/// credential that sets none.
///
/// # Errors
/// Returns a message with the line if the text is not a valid credentials file.
pub fn parse(text: &str, file: &str, limits: Limits) -> Result<Credentials, Failed> {
    let reader = Reader { text, file };
    let document = DeTable::parse(text).map_err(|why| {
        // The parser's message says what was expected, and does not repeat the text.
        reader.wrong(
            why.span().map_or(0, |span| span.start),
            &format!("this is not valid TOML: {}", why.message()),
        )
    })?;
    let mut entries = Entries::new(&reader, document.get_ref(), document.span().start);
    let mut found = Credentials { credentials: Vec::new(), lines: Vec::new(), file: file.to_owned() };
    if let Some(list) = entries.take("credential") {
        let DeValue::Array(list) = list.get_ref() else {
            return Err(reader.wrong(list.span().start, "write [[credential]], in double brackets"));
        };
        for entry in list.iter() {
            let DeValue::Table(table) = entry.get_ref() else {
                return Err(reader.wrong(entry.span().start, "write [[credential]], in double brackets"));
            };
            found.lines.push(reader.line(entry.span().start));
            found.credentials.push(credential(&reader, table, entry.span().start, limits)?);
        }
    }
    entries.finish("credential")?;
    Ok(found)
}

impl Credentials {
    /// Makes a book of the credentials.
    ///
    /// # Errors
    /// Returns a message with the line for each error of [`Book::new`].
    pub fn book(self) -> Result<Book, Failed> {
        let Credentials { credentials, lines, file } = self;
        Book::new(credentials).map_err(|why| told(&file, &lines, &why))
    }

    /// Replaces the credentials of `access`, and returns the number of new ones.
    ///
    /// # Errors
    /// Returns the errors of [`Credentials::book`]. Then the old credentials stay in force.
    pub fn replace(self, access: &Access) -> Result<usize, Failed> {
        let Credentials { credentials, lines, file } = self;
        let count = credentials.len();
        access.replace(credentials).map_err(|why| told(&file, &lines, &why))?;
        Ok(count)
    }
}

/// Adds the file, and the line if there is one, to an error.
fn told(file: &str, lines: &[usize], why: &BookError) -> Failed {
    match why.at() {
        Some(at) => format!("credentials file {file}:{}: {why}", lines[at]),
        None => format!("credentials file {file}: {why}"),
    }
}

/// Parses one `[[credential]]`, which begins at byte `at` of the text.
fn credential(
    reader: &Reader<'_>,
    table: &DeTable<'_>,
    at: usize,
    limits: Limits,
) -> Result<Credential, Failed> {
    let mut entries = Entries::new(reader, table, at);
    let (name, name_at) =
        entries.text("name")?.ok_or_else(|| reader.wrong(at, "the credential has no name"))?;
    if !is_name(&name) {
        let what = format!("a name consists of 1 to {NAME_BYTES_MAX} letters, digits, '.', '_' and '-'");
        return Err(reader.wrong(name_at, &what));
    }
    let tokens = tokens(reader, &mut entries)?;
    let certificate = entries.text("certificate")?.map(|(text, _)| text);
    let access_keys = access_keys(reader, &mut entries)?;
    if tokens.is_empty() && access_keys.is_empty() && certificate.is_none() {
        // Without any, no caller could present the credential.
        let what = format!("{name:?} has neither token_sha256 nor access_keys nor certificate: add one");
        return Err(reader.wrong(at, &what));
    }
    // A prefix must be given, even an empty one: forgetting it must not open every key.
    let (prefix, prefix_at) = entries.text("prefix")?.ok_or_else(|| {
        reader.wrong(at, &format!("{name:?} has no prefix: write prefix = \"\" to allow every key"))
    })?;
    if prefix.len() > PREFIX_BYTES_MAX {
        return Err(reader.wrong(prefix_at, &format!("a prefix has at most {PREFIX_BYTES_MAX} bytes")));
    }
    let rights = rights(reader, &mut entries, at)?;
    let expires_ms = match entries.take("expires") {
        Some(value) => Some(instant(value.get_ref()).ok_or_else(|| {
            reader.wrong(
                value.span().start,
                "expires must be a date and time with an offset, such as 2030-01-01T00:00:00Z",
            )
        })?),
        None => None,
    };
    // Limits that the table leaves out keep their defaults.
    let limits = match entries.take("limits") {
        Some(value) => match value.get_ref() {
            DeValue::Table(table) => limits_of(reader, table, value.span().start, limits)?,
            _ => {
                return Err(
                    reader.wrong(value.span().start, "limits must be a table, such as { calls_per_s = 100 }")
                );
            }
        },
        None => limits,
    };
    entries.finish("name, token_sha256, access_keys, certificate, prefix, allow, expires, limits")?;
    Ok(Credential { name, tokens, access_keys, certificate, prefix, rights, expires_ms, limits })
}

/// Returns true if `name` is valid for a credential: its characters are safe in metrics, logs and
/// problem documents.
pub fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn tokens(reader: &Reader<'_>, entries: &mut Entries<'_, '_>) -> Result<Vec<TokenHash>, Failed> {
    let Some(value) = entries.take("token_sha256") else { return Ok(Vec::new()) };
    let at = value.span().start;
    let hash = |value: &Spanned<DeValue<'_>>| {
        let hash = value.get_ref().as_str().and_then(TokenHash::from_hex);
        hash.ok_or_else(|| {
            let what = "token_sha256 must be the SHA-256 of a token in 64 hexadecimal digits, or a list of these, and never the token itself; aft credentials add and aft credentials token generate one";
            reader.wrong(value.span().start, what)
        })
    };
    match value.get_ref() {
        DeValue::Array(list) if list.len() > TOKENS_MAX => {
            Err(reader.wrong(at, &format!("a credential has at most {TOKENS_MAX} tokens")))
        }
        DeValue::Array(list) => list.iter().map(hash).collect(),
        _ => Ok(vec![hash(value)?]),
    }
}

/// Parses the list of access keys.
fn access_keys(reader: &Reader<'_>, entries: &mut Entries<'_, '_>) -> Result<Vec<AccessKey>, Failed> {
    const WHAT: &str = "access_keys must be a list of keys such as { id = \"AFT…\", secret = \"…\" }: an id of letters, digits, '.', '_' and '-', and a secret without spaces, each of at most 128 bytes; aft credentials access-key generates one";
    let Some(value) = entries.take("access_keys") else { return Ok(Vec::new()) };
    let at = value.span().start;
    let DeValue::Array(list) = value.get_ref() else { return Err(reader.wrong(at, WHAT)) };
    if list.len() > TOKENS_MAX {
        return Err(reader.wrong(at, &format!("a credential has at most {TOKENS_MAX} access keys")));
    }
    let key = |value: &Spanned<DeValue<'_>>| {
        let at = value.span().start;
        let DeValue::Table(table) = value.get_ref() else { return Err(reader.wrong(at, WHAT)) };
        let mut entries = Entries::new(reader, table, at);
        let (id, secret) = (entries.text("id")?, entries.text("secret")?);
        entries.finish("id, secret")?;
        let key = id.zip(secret).and_then(|((id, _), (secret, _))| AccessKey::new(id, secret));
        key.ok_or_else(|| reader.wrong(at, WHAT))
    };
    list.iter().map(key).collect()
}

fn rights(reader: &Reader<'_>, entries: &mut Entries<'_, '_>, at: usize) -> Result<Rights, Failed> {
    const WHAT: &str = "allow must be a list with at least one of \"read\", \"write\" and \"admin\"";
    let value = entries.take("allow").ok_or_else(|| reader.wrong(at, WHAT))?;
    let DeValue::Array(list) = value.get_ref() else { return Err(reader.wrong(value.span().start, WHAT)) };
    let right = |value: &Spanned<DeValue<'_>>| {
        let text = value.get_ref().as_str();
        let found = Right::ALL.into_iter().find(|right| Some(right.as_str()) == text);
        found.ok_or_else(|| reader.wrong(value.span().start, WHAT))
    };
    if list.is_empty() {
        return Err(reader.wrong(value.span().start, WHAT));
    }
    list.iter().map(right).collect()
}

/// Returns `limits` with the entries of a table in place of the defaults.
fn limits_of(
    reader: &Reader<'_>,
    table: &DeTable<'_>,
    at: usize,
    mut limits: Limits,
) -> Result<Limits, Failed> {
    let mut entries = Entries::new(reader, table, at);
    let len = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    if let Some(number) = entries.number("open_transactions_max")? {
        limits.open_transactions_max = len(number);
    }
    if let Some(number) = entries.number("open_bytes_max")? {
        limits.open_bytes_max = len(number);
    }
    if let Some(number) = entries.number("bodies_bytes_max")? {
        limits.bodies_bytes_max = len(number);
    }
    limits.calls_per_s = entries.number("calls_per_s")?.or(limits.calls_per_s);
    limits.bytes_per_s = entries.number("bytes_per_s")?.or(limits.bytes_per_s);
    entries.finish("open_transactions_max, open_bytes_max, calls_per_s, bytes_per_s, bodies_bytes_max")?;
    Ok(limits)
}

/// Converts a date and time to milliseconds since the Unix epoch; earlier times become 0. `None` if
/// `value` is not a date and time with an offset.
fn instant(value: &DeValue<'_>) -> Option<u64> {
    let DeValue::Datetime(datetime) = value else { return None };
    let (date, time, offset) = (datetime.date?, datetime.time?, datetime.offset?);
    let minutes_ahead = match offset {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes),
    };
    let seconds = days(i64::from(date.year), i64::from(date.month), i64::from(date.day)) * 86_400
        + i64::from(time.hour) * 3_600
        + (i64::from(time.minute) - minutes_ahead) * 60
        + i64::from(time.second.unwrap_or(0));
    Some(u64::try_from(seconds).unwrap_or(0) * 1_000)
}

/// Returns the number of days from 1970-01-01 to a Gregorian date. Years are counted from March, so
/// that the leap day is a year's last (Hinnant, "chrono-compatible low-level date algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    const DAYS_FROM_0000_03_01: i64 = 719_468;
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year
        - DAYS_FROM_0000_03_01
}

/// The file and its text, to find the line of an error.
struct Reader<'a> {
    text: &'a str,
    file: &'a str,
}

impl Reader<'_> {
    fn line(&self, at: usize) -> usize {
        self.text.as_bytes()[..at.min(self.text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn wrong(&self, at: usize, what: &str) -> Failed {
        format!("credentials file {}:{}: {what}", self.file, self.line(at))
    }
}

/// The entries of a table. It records which were taken, to reject the others at the end.
struct Entries<'a, 'text> {
    reader: &'a Reader<'a>,
    table: &'a DeTable<'text>,
    taken: BTreeSet<&'static str>,
    at: usize,
}

impl<'a, 'text> Entries<'a, 'text> {
    fn new(reader: &'a Reader<'a>, table: &'a DeTable<'text>, at: usize) -> Entries<'a, 'text> {
        Entries { reader, table, taken: BTreeSet::new(), at }
    }

    fn take(&mut self, name: &'static str) -> Option<&'a Spanned<DeValue<'text>>> {
        self.taken.insert(name);
        self.table.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value)
    }

    fn text(&mut self, name: &'static str) -> Result<Option<(String, usize)>, Failed> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let at = value.span().start;
        match value.get_ref() {
            DeValue::String(text) => Ok(Some((text.to_string(), at))),
            _ => Err(self.reader.wrong(at, &format!("{name} must be text, in quotes"))),
        }
    }

    fn number(&mut self, name: &'static str) -> Result<Option<u64>, Failed> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        match number {
            Some(number @ 1..) => Ok(Some(number)),
            _ => Err(self
                .reader
                .wrong(value.span().start, &format!("{name} must be a whole number of at least 1"))),
        }
    }

    /// Rejects an entry that was not taken: it is unknown. `known` lists the known ones.
    fn finish(self, known: &str) -> Result<(), Failed> {
        match self.table.iter().find(|(key, _)| !self.taken.contains(key.get_ref().as_ref())) {
            None => Ok(()),
            Some((key, _)) => {
                let at = key.span().start.max(self.at);
                // A misspelt entry's name helps the reader, but the name may be a token in the
                // wrong place: only a short one is repeated.
                let name = key.get_ref();
                let name =
                    if is_name(name) && name.len() <= 24 { format!(" {name:?}") } else { String::new() };
                Err(self.reader.wrong(at, &format!("unknown entry{name}: the known entries are {known}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { open_transactions_max: 7, bodies_bytes_max: 8, ..Limits::NONE };
    const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn parsed(text: &str) -> Result<Credentials, Failed> {
        parse(text, "c.toml", LIMITS)
    }

    #[test]
    fn every_entry_is_read() {
        let text = format!(
            "[[credential]]\nname = 'shop'\ntoken_sha256 = ['{HASH}', '{}']\ncertificate = 'shop.example'\nprefix = 'shop/'\nallow = ['read', 'write']\nexpires = 2030-01-01T01:30:00+01:30\n[credential.limits]\nopen_transactions_max = 1\nopen_bytes_max = 2\ncalls_per_s = 0x10\nbytes_per_s = 3\nbodies_bytes_max = 4\n\n[[credential]]\nname = 'b'\nprefix = ''\nallow = ['admin']\ntoken_sha256 = '{HASH}'\n",
            "0".repeat(64)
        );
        let [shop, other] = &parsed(&text).unwrap().credentials[..] else { panic!("two") };
        assert_eq!((shop.name.as_str(), shop.prefix.as_str(), shop.tokens.len()), ("shop", "shop/", 2));
        assert_eq!(shop.tokens[0], TokenHash::of(b"abc"));
        assert_eq!(shop.certificate.as_deref(), Some("shop.example"));
        assert_eq!(shop.rights, [Right::Read, Right::Write].into_iter().collect());
        assert_eq!(shop.expires_ms, Some(1_893_456_000_000));
        let limits = Limits {
            open_transactions_max: 1,
            open_bytes_max: 2,
            calls_per_s: Some(16),
            bytes_per_s: Some(3),
            bodies_bytes_max: 4,
        };
        assert_eq!(shop.limits, limits);
        assert_eq!((other.expires_ms, other.limits, other.tokens.len()), (None, LIMITS, 1));
    }

    #[test]
    fn days_match_the_gregorian_calendar() {
        for (date, expected) in [
            ((1970, 1, 1), 0),
            ((1969, 12, 31), -1),
            ((2000, 2, 29), 11_016),
            ((2000, 3, 1), 11_017),
            ((2100, 3, 1), 47_541),
        ] {
            assert_eq!(days(date.0, date.1, date.2), expected, "{date:?}");
        }
    }

    #[test]
    fn errors_name_the_line_and_repeat_no_value() {
        let check = |text: &str, line: usize, part: &str| {
            let why = parsed(text).and_then(Credentials::book).unwrap_err();
            assert!(why.starts_with(&format!("credentials file c.toml:{line}: ")), "{why}");
            assert!(why.contains(part), "{part:?} is missing in {why}");
            assert!(!why.contains("SECRET") && !why.contains(HASH), "{why}");
        };
        let entry = |name: &str, more: &str| {
            format!("[[credential]]\nname = '{name}'\nprefix = ''\nallow = ['read']\n{more}\n")
        };
        let hash = format!("token_sha256 = '{HASH}'");
        check("[[credential]]\nname = SECRET", 2, "not valid TOML");
        check("[credential]\nname = 'a'", 1, "[[credential]]");
        check("# c\n\n[credentials]\nname = 'a'", 3, "unknown entry \"credentials\"");
        check("aft_SECRETSECRETSECRETSECRET = 1", 1, "unknown entry: the known entries are credential");
        check(&entry("a", "token = 'SECRET'"), 1, "neither token_sha256 nor access_keys nor certificate");
        check(
            &entry("a", &format!("{hash}\ntoken = 'SECRET'")),
            6,
            "unknown entry \"token\": the known entries are name,",
        );
        check(&entry("a", "token_sha256 = 'SECRET'"), 5, "never the token");
        check(&entry("a", "token_sha256 = ['SECRET']"), 5, "never the token");
        check(&entry("a", "token_sha256 = [\n1]"), 6, "never the token");
        check(&entry("a", &format!("token_sha256 = ['{}']", [HASH; 5].join("','"))), 5, "at most 4");
        for keys in ["'SECRET'", "['SECRET']", "[{ id = 'a' }]", "[{ id = 'a', secret = 'SECRET SECRET' }]"] {
            check(&entry("a", &format!("access_keys = {keys}")), 5, "access_keys must be a list");
        }
        check(&entry("a", "access_keys = [{ key = 'SECRET' }]"), 5, "unknown entry \"key\"");
        let key = "access_keys = [{ id = 'K', secret = 'SECRET' }]";
        assert_eq!(
            parsed(&entry("a", key)).unwrap().credentials[0].access_keys[0].secret().expose(),
            "SECRET"
        );
        check(&format!("{}{}", entry("a", key), entry("b", key)), 6, "\"b\" has an access key");
        check(&entry("SECRET name", &hash), 2, "letters, digits");
        check(&entry("", &hash), 2, "1 to 64");
        check("[[credential]]\nname = 1", 2, "name must be text");
        check("\n[[credential]]\nprefix = 'SECRET'", 2, "no name");
        check(&format!("[[credential]]\nname = 'a'\n{hash}"), 1, "\"a\" has no prefix");
        check(&format!("[[credential]]\nname = 'a'\nprefix = ''\n{hash}"), 1, "allow must be a list");
        for allow in ["['SECRET']", "'SECRET'", "[]", "[1]"] {
            let text = format!("[[credential]]\nname = 'a'\nprefix = ''\nallow = {allow}\n{hash}");
            check(&text, 4, "allow must be a list");
        }
        for expires in ["'SECRET'", "2030-01-01", "2030-01-01T00:00:00"] {
            check(&entry("a", &format!("{hash}\nexpires = {expires}")), 6, "with an offset");
        }
        check(&entry("a", &format!("{hash}\nlimits = 'SECRET'")), 6, "limits must be a table");
        check(
            &entry("a", &format!("{hash}\nlimits = {{ calls_per_s = 0 }}")),
            6,
            "calls_per_s must be a whole number of at least 1",
        );
        check(&entry("a", &format!("{hash}\nlimits = {{ calls_per_s = 'SECRET' }}")), 6, "of at least 1");
        check(&entry("a", &format!("{hash}\nlimits = {{ calls = 1 }}")), 6, "unknown entry \"calls\"");
        check(&format!("{}{}", entry("a", &hash), entry("b", &hash)), 6, "\"b\" has a token");
        let zeros = format!("token_sha256 = '{}'", "0".repeat(64));
        check(&format!("{}{}", entry("a", &hash), entry("a", &zeros)), 6, "named \"a\"");
        let why = parsed("").and_then(Credentials::book).unwrap_err();
        assert_eq!(
            why,
            "credentials file c.toml: there are no credentials, so every caller would be rejected: add one with aft credentials add"
        );
    }

    #[test]
    fn a_file_that_others_may_read_is_rejected() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.toml");
        std::fs::write(
            &path,
            format!("[[credential]]\nname='a'\nprefix=''\nallow=['read']\ntoken_sha256='{HASH}'"),
        )
        .unwrap();
        for (mode, fine) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o644, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            match read(&path, LIMITS) {
                Ok(_) => assert!(fine, "{mode:o}"),
                Err(why) => assert!(!fine && why.contains("chmod 600") && why.contains("c.toml"), "{why}"),
            }
        }
        let why = read(&directory.path().join("none"), LIMITS).unwrap_err();
        assert!(why.contains("none") && why.contains("aft credentials add"), "{why}");
    }
}
