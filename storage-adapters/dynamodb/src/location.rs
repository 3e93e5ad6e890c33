//! Where a store is: its URL, `dynamodb://TABLE/PREFIX?endpoint=URL&region=R`; all but the table
//! may be left out.

use aft_store_aws::Form;

use crate::layout::PREFIX_BYTES_MAX;

/// DynamoDB's own bounds of a table's name.
const TABLE_CHARS: std::ops::RangeInclusive<usize> = 3..=255;

/// What a URL is.
pub(crate) const FORM: Form =
    Form { scheme: "dynamodb", check_name: check_table, prefix_bytes_max: PREFIX_BYTES_MAX };

fn check_table(table: &str) -> Result<(), String> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if TABLE_CHARS.contains(&table.chars().count()) && table.chars().all(known) {
        return Ok(());
    }
    Err(format!(
        "{table:?} is no name of a table: those have 3 to 255 letters, digits, hyphens, underscores and dots"
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
    fn names_are_taken() {
        for url in ["dynamodb://data", "dynamodb://My_data/a/b.c/"] {
            Location::parse(&FORM, url).unwrap();
        }
    }
}
