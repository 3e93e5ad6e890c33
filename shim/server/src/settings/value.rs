//! Values of settings: their kinds, how they are read, and how they are shown.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum as _;

use crate::commands::{LogFormat, Switch};
use crate::settings::size;

/// The largest number: what TOML and most readers of it can hold.
const NUMBER_MAX: u64 = i64::MAX as u64;

/// The kind of a setting's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A number from 1 on: 0 would stop everything.
    Count,
    /// Bytes, from 1 on.
    Bytes,
    /// Bytes, or 0 for none.
    BytesOrNone,
    /// Milliseconds, from 1 on.
    Ms,
    /// Milliseconds, or 0 for none.
    MsOrNone,
    /// US dollars from 0 on.
    Dollars,
    /// Text.
    Text,
    /// The path of a file.
    File,
    /// `on` or `off`.
    Switch,
    /// `text` or `json`.
    Format,
}

/// A value as a file or the environment gives it, checked against its kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Number(u64),
    Price(f64),
    Text(String),
}

/// The field of a component that a setting sets.
#[derive(Debug)]
pub(crate) enum Field<'a> {
    Len(&'a mut usize),
    Number(&'a mut u64),
    MaybeNumber(&'a mut Option<u64>),
    AtLeastOne(&'a mut NonZeroUsize),
    Time(&'a mut Duration),
    Price(&'a mut f64),
    Text(&'a mut Option<String>),
    File(&'a mut Option<PathBuf>),
    Switch(&'a mut Switch),
    Format(&'a mut LogFormat),
}

impl Kind {
    /// Returns what a value of this kind is, for messages.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Kind::Count => "a number from 1 on",
            Kind::Bytes => {
                "a size from 1 on, in bytes or with a unit, like 67108864, \"64 MiB\" or \"64 MB\""
            }
            Kind::Ms => "a number from 1 on, in milliseconds and without a unit",
            Kind::BytesOrNone => {
                "a size from 0 on, in bytes or with a unit, like 67108864, \"64 MiB\" or \"64 MB\""
            }
            Kind::MsOrNone => "a number from 0 on, in milliseconds and without a unit",
            Kind::Dollars => "a price from 0 on",
            Kind::Text => "text",
            Kind::File => "a path",
            Kind::Switch => "on or off",
            Kind::Format => "text or json",
        }
    }

    /// Returns the unit, for tables.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Kind::Bytes | Kind::BytesOrNone => "bytes",
            Kind::Ms | Kind::MsOrNone => "milliseconds",
            Kind::Dollars => "US dollars",
            Kind::Count | Kind::Text | Kind::File | Kind::Switch | Kind::Format => "",
        }
    }

    /// Reads a value that a file gives as `text`, whether it is a number there or in quotes.
    ///
    /// # Errors
    /// Returns a sentence with the text and what is expected.
    pub(crate) fn read(self, text: &str) -> Result<Value, String> {
        let least = match self {
            Kind::Count | Kind::Bytes | Kind::Ms => 1,
            _ => 0,
        };
        let number = match self {
            Kind::Count | Kind::Ms | Kind::MsOrNone => text.parse().ok(),
            Kind::Bytes | Kind::BytesOrNone => size::parse(text),
            _ => None,
        };
        if number.is_some_and(|number| number > u128::from(NUMBER_MAX)) {
            return Err(format!("it must be {}, at most {NUMBER_MAX}, and is {text}", self.expected()));
        }
        let number = number.and_then(|number| u64::try_from(number).ok()).filter(|number| *number >= least);
        let value = match self {
            Kind::Count | Kind::Bytes | Kind::BytesOrNone | Kind::Ms | Kind::MsOrNone => {
                number.map(Value::Number)
            }
            Kind::Dollars => {
                let price = text.parse().ok().filter(|price: &f64| price.is_finite() && *price >= 0.0);
                price.map(Value::Price)
            }
            // Empty text would be no store, no address and no file.
            Kind::Text | Kind::File => Some(Value::Text(text.to_owned())).filter(|_| !text.is_empty()),
            Kind::Switch => Switch::from_str(text, false).ok().map(|_| Value::Text(text.to_owned())),
            Kind::Format => LogFormat::from_str(text, false).ok().map(|_| Value::Text(text.to_owned())),
        };
        value.ok_or_else(|| match text {
            "" => format!("it must be {}, and is empty", self.expected()),
            text => format!("it must be {}, and is {text}", self.expected()),
        })
    }

    /// Returns true if a value of this kind is written in quotes.
    pub(crate) fn is_quoted(self) -> bool {
        matches!(self, Kind::Text | Kind::File | Kind::Switch | Kind::Format)
    }
}

impl Field<'_> {
    /// Sets the field.
    ///
    /// # Panics
    /// Panics if the value is of another kind: the table pairs them.
    pub(crate) fn set(self, value: &Value) {
        match (self, value) {
            (Field::Len(to), Value::Number(number)) => *to = usize::try_from(*number).unwrap_or(usize::MAX),
            (Field::Number(to), Value::Number(number)) => *to = *number,
            (Field::MaybeNumber(to), Value::Number(number)) => *to = Some(*number),
            (Field::AtLeastOne(to), Value::Number(number)) => {
                let number = usize::try_from(*number).ok().and_then(NonZeroUsize::new);
                *to = number.unwrap_or(NonZeroUsize::MAX);
            }
            (Field::Time(to), Value::Number(ms)) => *to = Duration::from_millis(*ms),
            (Field::Price(to), Value::Price(price)) => *to = *price,
            (Field::Text(to), Value::Text(text)) => *to = Some(text.clone()),
            (Field::File(to), Value::Text(text)) => *to = Some(text.into()),
            (Field::Switch(to), Value::Text(text)) => {
                *to = Switch::from_str(text, false).expect("it was read as a switch");
            }
            (Field::Format(to), Value::Text(text)) => {
                *to = LogFormat::from_str(text, false).expect("it was read as a format");
            }
            (field, value) => panic!("{value:?} is not of the kind of {field:?}"),
        }
    }

    /// Returns the field's value as a settings file has it; `None` if it has none.
    pub(crate) fn show(&self) -> Option<String> {
        fn text(of: &dyn fmt::Display) -> Option<String> {
            Some(of.to_string())
        }
        match self {
            Field::Len(of) => text(&**of),
            Field::Number(of) => text(&**of),
            Field::MaybeNumber(of) => of.map(|number| number.to_string()),
            Field::AtLeastOne(of) => text(&**of),
            Field::Time(of) => text(&of.as_millis()),
            Field::Price(of) => text(&**of),
            Field::Text(of) => (*of).clone(),
            Field::File(of) => of.as_ref().map(|path| path.display().to_string()),
            Field::Switch(of) => of.to_possible_value().map(|value| value.get_name().to_owned()),
            Field::Format(of) => of.to_possible_value().map(|value| value.get_name().to_owned()),
        }
    }
}

/// Returns a number of this kind for people: `256 MiB`, `1 minute`.
pub(crate) fn for_people(kind: Kind, text: &str) -> String {
    let Ok(number) = text.parse::<u64>() else { return text.to_owned() };
    let units: &[(u64, &str)] = match kind {
        Kind::Bytes | Kind::BytesOrNone => {
            return size::show(number).unwrap_or_else(|| with_commas(number));
        }
        Kind::Ms | Kind::MsOrNone => {
            &[(86_400_000, "day"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"), (1, "ms")]
        }
        _ => &[],
    };
    match units.iter().find(|(size, _)| number >= *size && number % size == 0) {
        Some((size, unit)) => format!("{} {unit}", number / size),
        None => with_commas(number),
    }
}

fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
