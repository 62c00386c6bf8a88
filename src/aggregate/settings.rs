//! Reads the settings of `std:aggregate`: `revenue = "sum:/total"`.
//!
//! Each setting is a field of the result and the function that computes it. It doesn't compute anything. Every error is returned, not
//! just the first. Invariant: names are distinct, and none is `key`, `from` or `to`.

use std::fmt;

use super::decimal::Decimal;
use super::pointer::Pointer;

/// The maximum number of settings.
const FUNCTIONS_MAX: usize = 64;
/// What the result has beside the settings' fields.
const RESERVED: [&str; 4] = ["key", "from", "to", "closed"];

/// The result field that a setting asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) function: Function,
    /// `None` for a `count` of records.
    pub(super) pointer: Option<Pointer>,
}

/// How a result field is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Count,
    Sum,
    Min,
    Max,
    Average,
    Distinct,
    Quantile(Decimal),
    First,
    Last,
}

/// A setting that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    /// The setting's name; empty if the error is about all of them.
    pub name: String,
    /// What is wrong, and what is allowed: a lowercase fragment.
    pub message: String,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() { f.write_str(&self.message) } else { write!(f, "`{}`: {}", self.name, self.message) }
    }
}

impl std::error::Error for SettingError {}

/// A function's name, its notation, and other names that people try.
const FUNCTIONS: [(&str, &str, &[&str]); 9] = [
    ("count", "count", &["records", "rows", "number"]),
    ("sum", "sum:/total", &["total", "add"]),
    ("min", "min:/total", &["minimum", "smallest", "lowest"]),
    ("max", "max:/total", &["maximum", "largest", "highest"]),
    ("avg", "avg:/items", &["average", "mean"]),
    ("distinct", "distinct:/user", &["unique", "count_distinct", "approx_distinct", "cardinality", "hll"]),
    ("quantile", "quantile:/ms:0.99", &["percentile", "median", "p50", "p90", "p95", "p99", "histogram"]),
    ("first", "first:/status", &["earliest"]),
    ("last", "last:/status", &["latest"]),
];

/// Reads all settings, in their order.
pub(super) fn parse<'a>(
    settings: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Vec<Setting>, Vec<SettingError>> {
    let (mut read, mut errors) = (Vec::new(), Vec::new());
    for (name, text) in settings {
        let error = |message| SettingError { name: name.to_owned(), message };
        if name.is_empty() {
            errors.push(error("a setting's name is the result's field, so it can't be empty".to_owned()));
        } else if RESERVED.contains(&name) {
            errors.push(error(format!("every result has a field `{name}` of its own; choose another name")));
        } else if read.iter().any(|known: &Setting| known.name == name) {
            errors.push(error("the name is used twice".to_owned()));
        }
        match function(text) {
            Ok((function, pointer)) => read.push(Setting { name: name.to_owned(), function, pointer }),
            Err(message) => errors.push(error(message)),
        }
    }
    if read.is_empty() && errors.is_empty() {
        let message = "`std:aggregate` computes nothing; write for example settings = { orders = \"count\", revenue = \"sum:/total\" }";
        errors.push(SettingError { name: String::new(), message: message.to_owned() });
    }
    if read.len() > FUNCTIONS_MAX {
        let message = format!("there are {} settings, where {FUNCTIONS_MAX} are allowed", read.len());
        errors.push(SettingError { name: String::new(), message });
    }
    if errors.is_empty() { Ok(read) } else { Err(errors) }
}

/// Reads one setting.
fn function(text: &str) -> Result<(Function, Option<Pointer>), String> {
    let (name, field) = match text.split_once(':') {
        Some((name, field)) => (name, Some(field)),
        None => (text, None),
    };
    let Some((name, example, _)) = FUNCTIONS.iter().find(|(known, ..)| *known == name) else {
        return Err(unknown(text, name));
    };
    if *name == "quantile" {
        return quantile(text, field).map(|(quantile, pointer)| (Function::Quantile(quantile), Some(pointer)));
    }
    let function = match *name {
        "sum" => Function::Sum,
        "min" => Function::Min,
        "max" => Function::Max,
        "avg" => Function::Average,
        "distinct" => Function::Distinct,
        "first" => Function::First,
        "last" => Function::Last,
        _ => Function::Count,
    };
    match field {
        None if function == Function::Count => Ok((function, None)),
        None => Err(format!("`{text}` names no field of the value; write for example \"{example}\"")),
        Some(field) => Pointer::parse(field).map(|pointer| (function, Some(pointer))),
    }
}

fn quantile(text: &str, field: Option<&str>) -> Result<(Decimal, Pointer), String> {
    const FORM: &str = "write the field and a number from 0 to 1, for example \"quantile:/ms:0.99\"";
    let field = field.ok_or_else(|| format!("`{text}` names no field of the value; {FORM}"))?;
    let (pointer, number) =
        field.rsplit_once(':').ok_or_else(|| format!("`{text}` doesn't say which quantile; {FORM}"))?;
    let quantile = Decimal::parse(number).filter(|quantile| {
        let ratio = quantile.ratio();
        ratio.is_some_and(|(numerator, denominator)| numerator <= denominator) && quantile.scale() <= 18
    });
    match quantile {
        Some(quantile) => Ok((quantile, Pointer::parse(pointer)?)),
        None => Err(format!("`{number}` is not a quantile; {FORM}")),
    }
}

fn unknown(text: &str, name: &str) -> String {
    let names: Vec<&str> = FUNCTIONS.iter().map(|(name, ..)| *name).collect();
    let meant = FUNCTIONS
        .iter()
        .find(|(.., others)| others.contains(&name.to_ascii_lowercase().as_str()))
        .map(|(name, ..)| *name)
        .or_else(|| near(&name.to_ascii_lowercase(), &names));
    let example = FUNCTIONS.iter().find(|(name, ..)| Some(*name) == meant).map(|(_, example, _)| example);
    match example {
        Some(example) => format!("`{text}` is unknown; did you mean \"{example}\"?"),
        None => format!("`{text}` is unknown; the functions are {}, for example \"sum:/total\"", names.join(", ")),
    }
}

/// The one of `known` that `word` is probably a typo of.
pub(super) fn near<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let slips = if word.chars().count() < 6 { 1 } else { 2 };
    let (distance, name) = known.iter().map(|known| (strsim::damerau_levenshtein(word, known), *known)).min()?;
    (distance <= slips).then_some(name)
}
