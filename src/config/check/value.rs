//! Times, sizes, numbers, names and keywords: kinds of values that several keys share.

use std::time::Duration;

use toml::Spanned;

use super::Check;
use crate::config::near::near;
use crate::config::raw::Number;
use crate::config::raw::Size;
use crate::config::raw::Text;

/// librdkafka's own limit of a time.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The rule for the names of pipelines, steps and clients, which become parts of topics and labels.
pub(super) const NAME_RULE: &str = "use 1 to 100 of the characters a-z, A-Z, 0-9, `.`, `_` and `-`";

pub(super) fn is_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'))
}

/// A time between a millisecond and a day, in whole milliseconds. `None` if it isn't set or is wrong.
pub(super) fn duration(check: &mut Check<'_>, text: Option<&Text>, key: &str) -> Option<Duration> {
    let text = text?;
    let shown = check.shown(text);
    let (message, help) = match humantime::parse_duration(text.get_ref()) {
        Ok(duration) if duration < Duration::from_millis(1) => {
            (format!("`{key}`: {shown} is shorter than a millisecond"), "write a time of \"1ms\" or more")
        }
        Ok(duration) if duration > DURATION_MAX => {
            (format!("`{key}`: {shown} is longer than a day"), "write a time of \"24h\" or less")
        }
        Ok(duration) if duration.subsec_nanos() % 1_000_000 != 0 => {
            (format!("`{key}`: {shown} is not a whole number of milliseconds"), "round it to milliseconds")
        }
        Ok(duration) => return Some(duration),
        Err(_) => {
            (format!("`{key}`: {shown} is not a time"), "write a number with its unit, such as \"5s\" or \"200ms\"")
        }
    };
    check.report.add(text.span().into(), message, help);
    None
}

/// A size in bytes from `min` to `max`. `None` if it isn't set or is wrong.
pub(super) fn size(check: &mut Check<'_>, size: Option<&Spanned<Size>>, key: &str, min: u64, max: u64) -> Option<u64> {
    let size = size?;
    let (bytes, shown) = match size.get_ref() {
        Size::Bytes(bytes) => (u64::try_from(*bytes).ok(), format!("`{bytes}`")),
        Size::Text(text) => {
            let bytes = text.parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64());
            (bytes, check.shown_at(text, &size.span()))
        }
    };
    let (message, help) = match bytes {
        None => {
            (format!("`{key}`: {shown} is not a size"), "write a number with its unit, such as \"64 MiB\"".to_owned())
        }
        Some(bytes) if bytes < min => {
            (format!("`{key}`: {shown} is too small"), format!("write \"{}\" or more", bytesize::ByteSize(min)))
        }
        Some(bytes) if bytes > max => {
            (format!("`{key}`: {shown} is too large"), format!("write \"{}\" or less", bytesize::ByteSize(max)))
        }
        Some(bytes) => return Some(bytes),
    };
    check.report.add(size.span().into(), message, help);
    None
}

/// A whole number from `min` to `max`. `None` if it isn't set or is wrong.
pub(super) fn number(
    check: &mut Check<'_>,
    number: Option<&Number>,
    key: &str,
    min: usize,
    max: usize,
) -> Option<usize> {
    let number = number?;
    let value = usize::try_from(*number.get_ref()).ok().filter(|value| (min..=max).contains(value));
    if value.is_none() {
        let shown = check.shown_number(number.get_ref(), &number.span());
        let message = format!("`{key}`: {shown} is out of range");
        check.report.add(number.span().into(), message, format!("write a number from {min} to {max}"));
    }
    value
}

/// One of several keywords; `later` are those planned for later versions. `None` if it isn't set or is wrong.
pub(super) fn one_of<T: Copy>(
    check: &mut Check<'_>,
    text: Option<&Text>,
    key: &str,
    words: &[(&str, T)],
    later: &[&str],
) -> Option<T> {
    let text = text?;
    let word = text.get_ref().as_str();
    if let Some((_, value)) = words.iter().find(|(known, _)| *known == word) {
        return Some(*value);
    }
    let known: Vec<String> = words.iter().map(|(known, _)| format!("\"{known}\"")).collect();
    let known = known.join(" or ");
    let shown = check.shown(text);
    let message = match later.contains(&word) {
        true => format!("`{key}`: {shown} is not supported yet"),
        false => format!("`{key}`: {shown} is not a known value"),
    };
    let help = match near(word, words.iter().map(|(known, _)| *known)) {
        Some(near) if !later.contains(&word) => format!("did you mean \"{near}\"?"),
        Some(_) | None => format!("write {known}"),
    };
    check.report.add(text.span().into(), message, help);
    None
}

/// A text that isn't empty. `None` if it isn't set or is empty.
pub(super) fn filled(check: &mut Check<'_>, text: Option<&Text>, key: &str) -> Option<String> {
    let text = text?;
    if text.get_ref().trim().is_empty() {
        check.report.add(text.span().into(), format!("`{key}` is empty"), "write a value, or leave the key out");
        return None;
    }
    Some(text.get_ref().clone())
}
