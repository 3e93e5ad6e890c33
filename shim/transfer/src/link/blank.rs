//! Keys that consist of white space alone. S3 takes them, and the SDK takes them for missing. So it
//! gets a name that stands in, which is replaced in the request's address before it is signed.

use std::sync::LazyLock;

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// The beginning of all names that stand in. No key has it by chance.
static BEGINNING: LazyLock<String> = LazyLock::new(|| format!("blank-{:032x}-", rand::random::<u128>()));

/// Returns a key, or the name that stands in for it.
pub(super) fn stand_in(key: String) -> String {
    match key.trim().is_empty() {
        true => {
            format!("{}{}", *BEGINNING, key.bytes().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
        false => key,
    }
}

/// Returns an address with the key for which a name stands in.
fn restored(address: &str) -> Option<String> {
    let start = address.find(BEGINNING.as_str())?;
    let digits = &address[start + BEGINNING.len()..];
    let len = digits.bytes().take_while(u8::is_ascii_hexdigit).count();
    let byte = |at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..len).step_by(2).map(byte).collect();
    let key = String::from_utf8(bytes?).ok()?;
    let encoded = utf8_percent_encode(&key, NON_ALPHANUMERIC);
    Some(format!("{}{encoded}{}", &address[..start], &digits[len..]))
}

/// Puts the keys back into requests.
#[derive(Debug)]
pub(super) struct Keys;

impl Intercept for Keys {
    fn name(&self) -> &'static str {
        "Keys"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        if let Some(address) = restored(request.uri()) {
            request.set_uri(address)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_keys_are_put_back() {
        assert_eq!(stand_in("a b".into()), "a b");
        for (key, encoded) in [("", ""), (" ", "%20"), ("\u{a0}\n", "%C2%A0%0A")] {
            let name = stand_in(key.into());
            assert!(!name.trim().is_empty());
            let address = format!("http://host/bucket/{name}?x-id=GetObject");
            let expected = format!("http://host/bucket/{encoded}?x-id=GetObject");
            assert_eq!(restored(&address), Some(expected), "{key:?}");
        }
        assert_eq!(restored("http://host/bucket/key"), None);
    }
}
