//! JMESPath expressions over an event, from the settings.
//!
//! Beside the functions of the language there are those that users of Powertools know:
//! `powertools_json(text)` (also `json`) reads JSON inside a string, as in `body`, and
//! `powertools_base64(text)` (also `base64`) decodes text, as in `kinesis.data`. What they cannot
//! read is null.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jmespath::functions::{ArgumentType, CustomFunction, Signature};
use jmespath::{Context, Expression, Rcvar, Runtime, Variable};
use serde_json::Value;

/// The longest expression, in bytes: several paths and functions.
const EXPRESSION_BYTES_MAX: usize = 512;
/// The most characters of an expression that may nest. The parser and the evaluation recurse at
/// each, unbounded. In a build without optimisation 64 levels take up to 768 KiB of the 2 MiB that
/// a thread has.
const NESTING_MAX: usize = 64;
/// The characters of an expression that may nest.
const NESTING: &[char] = &['(', '[', '{', '!', '&', '|', '.', '<', '>', '='];
/// The most elements that a key of several parts may have.
const KEY_PARTS_MAX: usize = 32;

/// An expression that the settings gave.
#[derive(Debug, Clone)]
pub struct Path(Expression<'static>);

/// The reason why an expression is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It is too long.
    #[error(
        "the JMESPath expression has {0} bytes, and at most {EXPRESSION_BYTES_MAX} are allowed: select a member that contains what you need"
    )]
    TooLong(usize),
    /// It nests too deeply.
    #[error(
        "the JMESPath expression has {0} dots, brackets and operators, and at most {NESTING_MAX} are allowed: select a member that contains what you need"
    )]
    TooDeep(usize),
    /// It is no JMESPath expression.
    #[error("cannot read the JMESPath expression: {0}")]
    Syntax(String),
}

/// The reason why an event has no key under an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Missing {
    #[error("is null or absent")]
    Null,
    #[error("is an empty text")]
    Empty,
    #[error("is a list without elements")]
    NoParts,
    #[error("is a list of more than {KEY_PARTS_MAX} elements")]
    ManyParts,
    #[error("is a list in which one element is null, empty or an object")]
    Part,
    #[error("is true or false, which many requests have in common")]
    Truth,
    #[error("is a number with a fraction or beyond 64 bits; send it as text")]
    Number,
    #[error("is an object; select a text, a number, or a list of these")]
    Object,
    #[error("cannot be evaluated: {0}")]
    Failed(String),
    #[error("cannot be evaluated, since the event is not JSON")]
    Opaque,
}

impl Path {
    /// Parses an expression.
    ///
    /// # Errors
    /// Returns [`PathError`] if the expression is too long, nests too deeply, or is not valid. The
    /// caller should reject the settings, and name the one that has it.
    pub fn new(expression: &str) -> Result<Path, PathError> {
        if expression.len() > EXPRESSION_BYTES_MAX {
            return Err(PathError::TooLong(expression.len()));
        }
        let nesting = expression.matches(NESTING).count();
        if nesting > NESTING_MAX {
            return Err(PathError::TooDeep(nesting));
        }
        let parsed =
            RUNTIME.compile(expression).map_err(|why| PathError::Syntax(one_line(&why.to_string())))?;
        Ok(Path(parsed))
    }

    /// Returns the expression.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Returns the key that the expression selects: a text or a number, or the parts of a list.
    pub(crate) fn key(&self, event: Option<&Value>) -> Result<Vec<String>, Missing> {
        let found = self.select(event)?;
        match &*found {
            Variable::Array(parts) if parts.is_empty() => Err(Missing::NoParts),
            Variable::Array(parts) if parts.len() > KEY_PARTS_MAX => Err(Missing::ManyParts),
            // A key without one of its parts would be shared by requests that differ in it.
            Variable::Array(parts) => parts.iter().map(|part| of_part(part)).collect(),
            single => of_single(single).map(|key| vec![key]),
        }
    }

    /// Returns what the expression selects.
    pub(crate) fn select(&self, event: Option<&Value>) -> Result<Rcvar, Missing> {
        let event = event.ok_or(Missing::Opaque)?;
        self.0.search(event).map_err(|why| Missing::Failed(one_line(&why.to_string())))
    }
}

fn of_single(value: &Variable) -> Result<String, Missing> {
    match value {
        Variable::Null | Variable::Expref(_) => Err(Missing::Null),
        Variable::String(text) if text.trim().is_empty() => Err(Missing::Empty),
        Variable::String(text) => Ok(text.clone()),
        Variable::Number(number) if number.is_f64() => Err(Missing::Number),
        Variable::Number(number) => Ok(number.to_string()),
        Variable::Bool(_) => Err(Missing::Truth),
        Variable::Array(_) => Err(Missing::Part),
        Variable::Object(_) => Err(Missing::Object),
    }
}

/// A part may be true or false: other parts tell requests apart.
fn of_part(value: &Variable) -> Result<String, Missing> {
    match value {
        Variable::Bool(is) => Ok(is.to_string()),
        other => of_single(other).map_err(|why| if why == Missing::Number { why } else { Missing::Part }),
    }
}

/// Returns a message on one line: the parser draws an arrow below the expression.
fn one_line(message: &str) -> String {
    message
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && *line != "^")
        .collect::<Vec<_>>()
        .join(" ")
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut runtime = Runtime::new();
    runtime.register_builtin_functions();
    for (name, function) in [
        ("json", json as fn(&str) -> Option<Variable>),
        ("powertools_json", json),
        ("base64", decoded),
        ("powertools_base64", decoded),
    ] {
        let takes = Signature::new(vec![ArgumentType::Any], None);
        let run = move |arguments: &[Rcvar], _: &mut Context<'_>| {
            let text = arguments[0].as_string();
            Ok(Rcvar::new(text.and_then(|text| function(text)).unwrap_or(Variable::Null)))
        };
        runtime.register_function(name, Box::new(CustomFunction::new(takes, Box::new(run))));
    }
    runtime
});

fn json(text: &str) -> Option<Variable> {
    Variable::from_json(text).ok()
}

fn decoded(text: &str) -> Option<Variable> {
    let bytes = STANDARD.decode(text).ok()?;
    String::from_utf8(bytes).ok().map(Variable::String)
}
