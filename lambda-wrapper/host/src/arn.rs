//! Names of functions, as callers write them.

use crate::config::Config;

/// The only version that the host has.
pub(crate) const VERSION: &str = "$LATEST";

/// Returns a function's ARN.
pub(crate) fn arn(config: &Config, name: &str) -> String {
    let arn = format!("arn:aws:lambda:{}:{}:function:{name}", config.region, config.account);
    assert_eq!(name_in(&arn), Some(name), "the ARN leads back to the name");
    arn
}

/// Returns the name in `given`, which is a name, a partial ARN (`ACCOUNT:function:NAME`) or a full
/// one, each with or without a qualifier. The qualifier, the account and the region are ignored.
/// Returns `None` for anything else.
pub(crate) fn name_in(given: &str) -> Option<&str> {
    let pieces: Vec<&str> = given.split(':').collect();
    let name = match pieces[..] {
        [name] | [name, _] => name,
        ["arn", _, "lambda", _, _, "function", name] => name,
        ["arn", _, "lambda", _, _, "function", name, _] => name,
        [_, "function", name] | [_, "function", name, _] => name,
        _ => return None,
    };
    assert!(!name.contains(':'), "a piece has no separator");
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_names_the_function() {
        let arn = arn(&Config::default(), "pay");
        assert_eq!(arn, "arn:aws:lambda:us-east-1:123456789012:function:pay");
        for given in [
            "pay",
            "pay:$LATEST",
            "123456789012:function:pay",
            "123456789012:function:pay:live",
            &arn,
            &format!("{arn}:7"),
        ] {
            assert_eq!(name_in(given), Some("pay"), "{given}");
        }
        for given in ["", ":live", "arn:aws:s3:::bucket", "a:b:c", "arn:aws:lambda:r:1:layer:pay"] {
            assert_eq!(name_in(given), None, "{given}");
        }
    }
}
