//! Reads and writes strict JSON, unlike jaq's own reader and writer, which also accept and produce comments, `NaN` and
//! bytes.
//!
//! Numbers are kept as they are written: integers exactly, all others as text until a program calculates with them. Values
//! that JSON can't represent are written as jq does, so that every output is JSON.

use std::io::Write as _;

use hifijson::LexAlloc;
use hifijson::SliceLexer;
use hifijson::token::Expect;
use hifijson::token::Lex as _;
use jaq_json::Map;
use jaq_json::Num;
use jaq_json::Rc;
use jaq_json::Val;

/// The maximum nesting depth, as in other plugins: parsing is recursive, and the stack is limited.
const DEPTH_MAX: usize = 128;
/// Longer integers are kept as text: converting one takes time quadratic in its length.
const DIGITS_MAX: usize = 100;
/// Floats at or above this are written with an exponent.
const WHOLE_MAX: f64 = 1e17;

/// Reads exactly one JSON value.
///
/// # Errors
/// What is wrong, and at which byte.
pub(crate) fn parse(text: &[u8]) -> Result<Val, String> {
    let mut lexer = SliceLexer::new(text);
    let parsed = lexer.exactly_one(|lexer| lexer.ws_peek(), |next, lexer| value(next, lexer, DEPTH_MAX));
    parsed.map_err(|error| {
        let at = text.len() - lexer.as_slice().len();
        match error {
            hifijson::Error::Depth => format!("nested deeper than {DEPTH_MAX} levels at byte {at}"),
            hifijson::Error::Token(expected) => format!("expected {expected} at byte {at}"),
            error @ (hifijson::Error::Num(_) | hifijson::Error::Str(_)) => format!("{error} at byte {at}"),
        }
    })
}

fn value<L: LexAlloc>(next: u8, lexer: &mut L, depth: usize) -> Result<Val, hifijson::Error> {
    Ok(match next {
        b'a'..=b'z' => lexer.null_or_bool().ok_or(Expect::Value)?.map_or(Val::Null, Val::Bool),
        b'0'..=b'9' | b'-' => {
            let (text, parts) = lexer.num_string().validated()?;
            Val::Num(number(text.as_ref(), parts.is_int()))
        }
        b'"' => {
            let text = lexer.discarded().str_string()?;
            string(text.as_ref())
        }
        b'[' => {
            let depth = depth.checked_sub(1).ok_or(hifijson::Error::Depth)?;
            let mut items = Vec::new();
            lexer.discarded().seq(b']', L::ws_peek, |next, lexer| {
                items.push(value(next, lexer, depth)?);
                Ok::<_, hifijson::Error>(())
            })?;
            Val::Arr(Rc::new(items))
        }
        b'{' => {
            let depth = depth.checked_sub(1).ok_or(hifijson::Error::Depth)?;
            let mut fields = Map::default();
            lexer.discarded().seq(b'}', L::ws_peek, |next, lexer| {
                lexer.expect(|_| Some(next), b'"').ok_or(Expect::String)?;
                let name = lexer.str_string()?;
                let name = string(name.as_ref());
                lexer.expect(L::ws_peek, b':').ok_or(Expect::Colon)?;
                let next = lexer.ws_peek().ok_or(Expect::Value)?;
                fields.insert(name, value(next, lexer, depth)?);
                Ok::<_, hifijson::Error>(())
            })?;
            Val::obj(fields)
        }
        _ => Err(Expect::Value)?,
    })
}

/// A string value.
pub(crate) fn string(text: &str) -> Val {
    Val::utf8_str(text.to_owned())
}

/// A number as it is written. A negative zero is not an integer in jaq.
fn number(text: &str, is_integer: bool) -> Num {
    let integer = is_integer && text.len() <= DIGITS_MAX && text != "-0";
    integer.then(|| Num::from_str_radix(text, 10)).flatten().unwrap_or_else(|| Num::Dec(Rc::new(text.to_owned())))
}

/// The number in a string: as in JSON, but with leading zeros, a leading `+` and surrounding whitespace allowed.
pub(crate) fn number_in(text: &[u8]) -> Option<Val> {
    let text = str::from_utf8(text).ok()?.trim_ascii();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let whole = digits.trim_start_matches('0');
    // One zero is left of `0`, `0.5` and `00e1`.
    let zero = if whole.len() < digits.len() && !whole.starts_with(|c: char| c.is_ascii_digit()) { "0" } else { "" };
    match parse(format!("{sign}{zero}{whole}").as_bytes()) {
        Ok(number @ Val::Num(_)) => Some(number),
        Ok(_) | Err(_) => None,
    }
}

/// Appends a value as compact JSON.
///
/// # Errors
/// If an object has a key that isn't a string, which jaq allows and JSON doesn't.
pub(crate) fn write(value: &Val, to: &mut Vec<u8>) -> Result<(), &'static str> {
    match value {
        Val::Null => to.extend_from_slice(b"null"),
        Val::Bool(true) => to.extend_from_slice(b"true"),
        Val::Bool(false) => to.extend_from_slice(b"false"),
        Val::Num(number) => write_number(number, to),
        Val::TStr(text) | Val::BStr(text) => write_string(text, to),
        Val::Arr(items) => {
            to.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    to.push(b',');
                }
                write(item, to)?;
            }
            to.push(b']');
        }
        Val::Obj(fields) => {
            to.push(b'{');
            for (index, (name, value)) in fields.iter().enumerate() {
                if index > 0 {
                    to.push(b',');
                }
                let (Val::TStr(name) | Val::BStr(name)) = name else {
                    return Err("an object has a key that is not a string");
                };
                write_string(name, to);
                to.push(b':');
                write(value, to)?;
            }
            to.push(b'}');
        }
    }
    Ok(())
}

/// A value as text for people: strings unchanged, everything else as JSON.
pub(crate) fn text(value: &Val) -> String {
    match value {
        Val::TStr(text) | Val::BStr(text) => String::from_utf8_lossy(text).into_owned(),
        Val::Null | Val::Bool(_) | Val::Num(_) | Val::Arr(_) | Val::Obj(_) => {
            let mut json = Vec::new();
            match write(value, &mut json) {
                Ok(()) => String::from_utf8_lossy(&json).into_owned(),
                Err(error) => error.to_owned(),
            }
        }
    }
}

/// Programs can create strings that aren't UTF-8, for example with `@base64d`.
fn write_string(text: &[u8], to: &mut Vec<u8>) {
    let written = serde_json::to_writer(to, &String::from_utf8_lossy(text));
    debug_assert!(written.is_ok(), "a vector takes everything");
}

fn write_number(number: &Num, to: &mut Vec<u8>) {
    let written = match number {
        Num::Int(number) => write!(to, "{number}"),
        Num::BigInt(number) => write!(to, "{number}"),
        Num::Float(number) => write_float(*number, to),
        Num::Dec(text) => match text.trim_start_matches('-').as_bytes() {
            // Only a program can create a number with a leading zero.
            [b'0', b'0'..=b'9', ..] => write_float(text.parse().unwrap_or(f64::NAN), to),
            _ => to.write_all(text.as_bytes()),
        },
    };
    debug_assert!(written.is_ok(), "a vector takes everything");
}

/// Writes a float as jq does: whole numbers like integers, and numbers that JSON can't represent as null or the nearest
/// number.
fn write_float(number: f64, to: &mut Vec<u8>) -> std::io::Result<()> {
    if number.is_nan() {
        to.write_all(b"null")
    } else if number.fract() == 0.0 && number.abs() < WHOLE_MAX {
        write!(to, "{number:.0}")
    } else {
        let nearest = number.clamp(f64::MIN, f64::MAX);
        serde_json::to_writer(to, &nearest).map_err(std::io::Error::from)
    }
}
