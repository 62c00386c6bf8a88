//! Times on the command line, and ages for people.

use std::str::FromStr;
use std::time::Duration;

/// A time in milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time(pub(super) i64);

impl FromStr for Time {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Time, &'static str> {
        read(text, now_ms())
            .map(Time)
            .ok_or("write a time as 2026-01-31T10:00:00Z or 2026-01-31, in UTC, or a time ago as 2h or 3days")
    }
}

fn read(text: &str, now_ms: i64) -> Option<i64> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time.as_millisecond());
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>() {
        return Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond());
    }
    let ago = humantime::parse_duration(text).ok()?;
    now_ms.checked_sub(i64::try_from(ago.as_millis()).ok()?)
}

/// Now, in milliseconds since 1970-01-01 UTC.
pub(super) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// How long ago a time was, in its two largest units.
pub(super) fn age(at_ms: i64, now_ms: i64) -> String {
    let seconds = u64::try_from(now_ms.saturating_sub(at_ms) / 1000).unwrap_or(0);
    let text = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// A time in RFC 3339.
pub(super) fn shown(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_moment_a_day_or_a_time_ago() {
        let hour = 3_600_000;
        for (text, expected) in [
            ("1970-01-01T01:00:00Z", hour),
            ("1970-01-01T03:00:00+02:00", hour),
            ("1970-01-02", 24 * hour),
            ("2h", 8 * hour),
            ("30m 5s", 10 * hour - 1_805_000),
        ] {
            assert_eq!(read(text, 10 * hour), Some(expected), "{text}");
        }
        for wrong in ["", "yesterday", "2026-13-01", "10"] {
            assert_eq!(read(wrong, 0), None, "{wrong}");
        }
    }

    #[test]
    fn an_age_has_two_units() {
        assert_eq!(age(0, 0), "0s");
        assert_eq!(age(0, 90_061_000), "1day 1h");
        assert_eq!(age(5_000, 0), "0s");
    }
}
