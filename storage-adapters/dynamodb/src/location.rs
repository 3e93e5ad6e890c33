//! The location of a store: its URL, `dynamodb://TABLE/PREFIX?endpoint=URL&region=R`; everything
//! but the table is optional.

use aft_store_aws::Form;

use crate::layout::PREFIX_BYTES_MAX;

/// The length of a table's name, as DynamoDB bounds it.
const TABLE_CHARS: std::ops::RangeInclusive<usize> = 3..=255;

/// The form of a store's URL.
pub(crate) const FORM: Form =
    Form { scheme: "dynamodb", check_name: check_table, prefix_bytes_max: PREFIX_BYTES_MAX };

fn check_table(table: &str) -> Result<(), String> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if TABLE_CHARS.contains(&table.chars().count()) && table.chars().all(known) {
        return Ok(());
    }
    Err(format!(
        "{table:?} is not a valid name of a table: use 3 to 255 letters, digits, hyphens, underscores and dots"
    ))
}

#[cfg(test)]
mod tests {
    use aft_store_aws::Location;

    use super::*;
    use crate::OpenError;

    #[test]
    fn mistakes_are_named() {
        let check = |url: &str, part: &str| {
            let why = OpenError::from(Location::parse(&FORM, url).unwrap_err()).to_string();
            assert!(why.contains(part) && why.contains("dynamodb://TABLE/PREFIX"), "{url}: {why}");
        };
        check("s3:data", "dynamodb://");
        check("dynamodb://", "name of a table");
        check("dynamodb://ab", "name of a table");
        check("dynamodb://my data", "name of a table");
        check(&format!("dynamodb://data/{}", "p".repeat(129)), "129 bytes");
        check("dynamodb://data?endpiont=http://h", "\"endpiont\"");
    }

    #[test]
    fn valid_urls_are_accepted() {
        for url in ["dynamodb://data", "dynamodb://My_data/a/b.c/"] {
            Location::parse(&FORM, url).unwrap();
        }
    }
}
