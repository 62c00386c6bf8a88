//! A field of one record, as the functions take it.
//!
//! It only reads the value, and says in a reject what is wrong with it. Invariant: the value is neither missing nor null.

use super::decimal::Decimal;
use super::json;
use super::json::JsonKind;
use super::pointer::Pointer;
use super::reject::Reject;

/// A field's value, with the pointer for messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pointer: &'a Pointer,
    /// The value as it is written.
    pub(super) json: &'a str,
    /// The number, once a function asked for it.
    decimal: Option<Decimal>,
}

impl<'a> Field<'a> {
    pub(super) fn new(pointer: &'a Pointer, json: &'a str) -> Field<'a> {
        Field { pointer, json, decimal: None }
    }

    /// The text of a value that must be a number.
    pub(super) fn number_text(&self) -> Result<&'a str, Reject> {
        let kind = json::kind(self.json);
        if kind == JsonKind::Number {
            return Ok(self.json);
        }
        let hint = if kind == JsonKind::Text { "; a number has no quotes in JSON" } else { "" };
        Err(self.reject("not-a-number", &format!("is {}, not a number{hint}", json::described(self.json))))
    }

    /// The number.
    pub(super) fn decimal(&mut self) -> Result<Decimal, Reject> {
        if let Some(decimal) = self.decimal {
            return Ok(decimal);
        }
        let number = Decimal::parse(self.number_text()?);
        let number = number.ok_or_else(|| self.out_of_range("more than 38 digits before or after the point"))?;
        self.decimal = Some(number);
        Ok(number)
    }

    pub(super) fn out_of_range(&self, why: &str) -> Reject {
        self.reject("number-out-of-range", &format!("is {}: {why}", json::described(self.json)))
    }

    /// A reject whose reason is the pointer, and what is wrong with the field.
    pub(super) fn reject(&self, code: &'static str, what: &str) -> Reject {
        Reject::new(code, format!("{} {what}", self.pointer))
    }

    /// The pointer in messages.
    pub(super) fn pointer(&self) -> &'a Pointer {
        self.pointer
    }
}
