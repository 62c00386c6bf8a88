//! The functions that programs can call: jaq's definitions and filters, without those that are useless in a plugin, and those
//! of this plugin.
//!
//! jaq's own filters for regular expressions, dates and formats are only available together with a clock, the environment and a
//! log. So this plugin implements them, for jaq's definitions of `test`, `todate`, `@uri` and others.

use std::ops::Rem;

use jaq_core::RunPtr;
use jaq_core::load;
use jaq_core::load::parse::Def;
use jaq_core::native::Filter;
use jaq_core::native::Fun;
use jaq_core::native::bome;
use jaq_core::native::run;
use jaq_core::native::unary;
use jaq_core::native::v;
use jaq_json::Error;
use jaq_json::Rc;
use jaq_json::Val;
use jaq_json::ValR;
use jaq_std::ValT as _;

use crate::dates;
use crate::json;
use crate::program::Data;
use crate::regexes;

/// Definitions of jaq that call filters which don't exist here.
const LEFT_OUT: [&str; 12] = [
    "debug",
    // Implemented as a native filter in this plugin, which keeps the order of fields.
    "delpaths",
    "drem",
    "gamma",
    "halt",
    "halt_error",
    "logb",
    "nexttoward",
    "significand",
    "stderr",
    // Implemented as a native filter in this plugin.
    "tonumber",
    "@htmld",
];
/// Native filters of jaq that this plugin replaces: they end the process, or read and write more than JSON.
const REPLACED: [&str; 3] = ["halt", "fromjson", "tojson"];

/// The definitions that programs can use. If a name occurs twice, the last definition counts.
pub(crate) fn definitions() -> impl Iterator<Item = Def<&'static str>> {
    let own = load::parse(include_str!("definitions.jq"), |parser| parser.defs()).expect("the definitions parse");
    let of_jaq = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    of_jaq.filter(|definition| !LEFT_OUT.contains(&definition.name)).chain(own)
}

/// The native filters that programs and definitions can use.
pub(crate) fn natives() -> impl Iterator<Item = Fun<Data>> {
    let of_jaq = jaq_core::funs().chain(jaq_std::base_funs()).chain(jaq_json::funs());
    let own = [json_filters(), formats(), numbers(), dates::filters(), regexes::filters()];
    let own = own.into_iter().flat_map(|filters| filters.into_vec().into_iter().map(run::<Data>));
    of_jaq.filter(|(name, ..)| !REPLACED.contains(name)).chain(own)
}

/// Filters by name, arguments and function.
pub(crate) type Filters = Box<[Filter<RunPtr<Data>>]>;

fn json_filters() -> Filters {
    Box::new([
        ("fromjson", v(0), |cv| {
            let parsed = cv.1.try_as_utf8_bytes().and_then(|text| json::parse(text).map_err(Error::str));
            bome(parsed)
        }),
        ("tojson", v(0), |cv| {
            let mut text = Vec::new();
            bome(json::write(&cv.1, &mut text).map(|()| Val::utf8_str(text)).map_err(Error::str))
        }),
        ("tonumber", v(0), |cv| {
            bome(match &cv.1 {
                Val::Num(_) => Ok(cv.1),
                Val::TStr(text) => json::number_in(text).ok_or_else(|| Error::str("cannot parse as number")),
                _ => Err(Error::typ(cv.1, "number")),
            })
        }),
        ("delpaths", v(1), |cv| unary(cv, without)),
    ])
}

/// Removes what the paths lead to, from the last path to the first, so that no removal moves the target of another path.
fn without(mut value: Val, paths: Val) -> ValR {
    let Val::Arr(paths) = &paths else { return Err(Error::typ(paths, "array")) };
    let mut paths: Vec<&Val> = paths.iter().collect();
    paths.sort();
    for path in paths.into_iter().rev() {
        let Val::Arr(path) = path else { return Err(Error::typ(path.clone(), "array")) };
        remove(&mut value, path)?;
    }
    Ok(value)
}

fn remove(value: &mut Val, path: &[Val]) -> Result<(), Error> {
    let Some((first, rest)) = path.split_first() else {
        *value = Val::Null;
        return Ok(());
    };
    match (value, first) {
        (Val::Null, _) => Ok(()),
        (Val::Obj(fields), name @ Val::TStr(_)) => match rest {
            // The object is copied only if something changes.
            _ if !fields.contains_key(name) => Ok(()),
            [] => {
                Rc::make_mut(fields).shift_remove(name);
                Ok(())
            }
            rest => Rc::make_mut(fields).get_mut(name).map_or(Ok(()), |inner| remove(inner, rest)),
        },
        (Val::Arr(items), index @ Val::Num(_)) => {
            let Some(index) = position(index, items.len())?.filter(|&index| index < items.len()) else { return Ok(()) };
            let items = Rc::make_mut(items);
            if rest.is_empty() {
                items.remove(index);
                return Ok(());
            }
            remove(&mut items[index], rest)
        }
        (Val::Arr(items), Val::Obj(slice)) if rest.is_empty() => {
            let bound = |name: &str, otherwise: usize| match slice.get(&json::string(name)) {
                None | Some(Val::Null) => Ok(otherwise),
                Some(bound) => Ok(position(bound, items.len())?.unwrap_or(0).min(items.len())),
            };
            let (start, end) = (bound("start", 0)?, bound("end", items.len())?);
            if start < end {
                Rc::make_mut(items).drain(start..end);
            }
            Ok(())
        }
        (value, first) => Err(Error::index(value.clone(), first.clone())),
    }
}

/// An index from the start; `None` if it is before the first element.
fn position(index: &Val, length: usize) -> Result<Option<usize>, Error> {
    let index = index.as_isize().ok_or_else(|| Error::typ(index.clone(), "integer"))?;
    Ok(usize::try_from(index).ok().or_else(|| length.checked_sub(index.unsigned_abs())))
}

fn formats() -> Filters {
    Box::new([
        ("escape_html", v(0), |cv| bome(changed(&cv.1, escape_html))),
        ("encode_uri", v(0), |cv| bome(changed(&cv.1, encode_uri))),
        ("decode_uri", v(0), |cv| bome(changed(&cv.1, decode_uri))),
        ("encode_base64", v(0), |cv| bome(changed(&cv.1, encode_base64))),
        ("decode_base64", v(0), |cv| {
            let decoded = cv.1.try_as_utf8_bytes().map(decode_base64);
            bome(decoded.and_then(|bytes| bytes.ok_or_else(|| Error::str("not valid base64 data"))).map(Val::utf8_str))
        }),
    ])
}

fn changed(value: &Val, change: fn(&[u8]) -> Vec<u8>) -> ValR {
    value.try_as_utf8_bytes().map(change).map(Val::utf8_str)
}

fn escape_html(text: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'<' => escaped.extend_from_slice(b"&lt;"),
            b'>' => escaped.extend_from_slice(b"&gt;"),
            b'&' => escaped.extend_from_slice(b"&amp;"),
            b'\'' => escaped.extend_from_slice(b"&#39;"),
            b'"' => escaped.extend_from_slice(b"&quot;"),
            &other => escaped.push(other),
        }
    }
    escaped
}

fn encode_uri(text: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(text.len());
    for &byte in text {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(byte);
        } else {
            encoded.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    encoded
}

/// A `%` that isn't followed by two digits is kept.
fn decode_uri(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let digits = if first == b'%' { after.split_first_chunk::<2>() } else { None };
        let byte = digits.and_then(|(digits, after)| {
            let digits = str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
            Some((u8::from_str_radix(digits, 16).ok()?, after))
        });
        let (byte, after) = byte.unwrap_or((first, after));
        decoded.push(byte);
        rest = after;
    }
    decoded
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn encode_base64(bytes: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..chunk.len()].copy_from_slice(chunk);
        let [a, b, c] = three;
        let four = [a >> 2, ((a & 3) << 4) | (b >> 4), ((b & 15) << 2) | (c >> 6), c & 63];
        encoded.extend(four.iter().take(chunk.len() + 1).map(|&six| BASE64[usize::from(six)]));
        encoded.resize(encoded.len() + 3 - chunk.len(), b'=');
    }
    encoded
}

/// The decoded bytes, with or without `=` at the end; `None` if the text isn't base64.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let padding = text.iter().rev().take_while(|&&byte| byte == b'=').count();
    let text = &text[..text.len() - padding];
    let mut decoded = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for chunk in text.chunks(4) {
        let mut bits = 0_u32;
        for byte in chunk {
            let six = (0..).zip(BASE64).find(|(_, known)| *known == byte).map(|(six, _): (u32, _)| six)?;
            bits = (bits << 6) | six;
        }
        let missing = 4 - chunk.len();
        bits <<= 6 * missing;
        let [_, three @ ..] = bits.to_be_bytes();
        decoded.extend_from_slice(three.get(..3 - missing).filter(|bytes| !bytes.is_empty())?);
    }
    Some(decoded)
}

fn numbers() -> Filters {
    macro_rules! of_one {
        ($($name:literal: $function:expr),* $(,)?) => {
            [$(($name, v(0), |cv| bome(float(&cv.1).map($function).map(Val::from)))),*]
        };
    }
    macro_rules! of_two {
        ($($name:literal: $function:expr),* $(,)?) => {
            [$(($name, v(2), |mut cv| {
                let (second, first) = (cv.0.pop_var(), cv.0.pop_var());
                let numbers = float(&first).and_then(|first| Ok((first, float(&second)?)));
                bome(numbers.map(|(first, second)| Val::from($function(first, second))))
            })),*]
        };
    }
    let of_one: [Filter<RunPtr<Data>>; 16] = of_one! {
        "acos": f64::acos, "asin": f64::asin, "atan": f64::atan, "cbrt": f64::cbrt, "cos": f64::cos, "exp": f64::exp,
        "exp10": |x| f64::powf(10.0, x), "exp2": f64::exp2, "fabs": f64::abs, "log": f64::ln, "log10": f64::log10,
        "log2": f64::log2, "sin": f64::sin, "sqrt": f64::sqrt, "tan": f64::tan, "trunc": f64::trunc,
    };
    let of_two: [Filter<RunPtr<Data>>; 5] = of_two! {
        "atan2": f64::atan2, "fmax": f64::max, "fmin": f64::min, "fmod": Rem::rem, "pow": f64::powf,
    };
    of_one.into_iter().chain(of_two).collect()
}

/// A number as jq calculates with it.
pub(crate) fn float(value: &Val) -> Result<f64, Error> {
    value.as_f64().ok_or_else(|| Error::typ(value.clone(), "number"))
}
