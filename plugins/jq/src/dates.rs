//! Dates in UTC, for `todate`, `fromdate`, `strftime`, `strptime`, `gmtime` and `mktime`. There is no time zone and no clock.

use std::fmt::Display;

use jaq_core::native::bome;
use jaq_core::native::unary;
use jaq_core::native::v;
use jaq_json::Error;
use jaq_json::Num;
use jaq_json::Val;
use jaq_json::ValR;
use jaq_std::ValT as _;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::Offset;
use jiff::tz::TimeZone;

use crate::functions::Filters;
use crate::functions::float;
use crate::json;

/// Microseconds per second.
const SECOND: f64 = 1e6;

pub(crate) fn filters() -> Filters {
    Box::new([
        ("fromdateiso8601", v(0), |cv| bome(text(&cv.1).and_then(from_date))),
        ("todateiso8601", v(0), |cv| bome(timestamp(&cv.1).map(|time| json::string(&time.to_string())))),
        ("gmtime", v(0), |cv| bome(timestamp(&cv.1).map(|time| parts(Offset::UTC.to_datetime(time))))),
        ("mktime", v(0), |cv| bome(datetime(&cv.1).and_then(seconds))),
        ("strftime", v(1), |cv| unary(cv, |value, format| formatted(&value, text(&format)?))),
        ("strptime", v(1), |cv| unary(cv, |value, format| parsed(text(&value)?, text(&format)?))),
    ])
}

fn text(value: &Val) -> Result<&str, Error> {
    value.try_as_utf8_bytes().and_then(|bytes| str::from_utf8(bytes).map_err(error))
}

fn error(error: impl Display) -> Error {
    Error::str(error)
}

fn from_date(text: &str) -> ValR {
    let time: Timestamp = text.parse().map_err(error)?;
    if time.subsec_nanosecond() == 0 {
        return Ok(whole(time.as_second()));
    }
    Ok(Val::from(time.as_microsecond() as f64 / SECOND))
}

/// The time that is this number of seconds after 1970-01-01 UTC.
fn timestamp(value: &Val) -> Result<Timestamp, Error> {
    #[expect(clippy::cast_possible_truncation, reason = "what is too large is no time either way")]
    let microseconds = (float(value)? * SECOND) as i64;
    Timestamp::from_microsecond(microseconds).map_err(error)
}

/// A time in jq's broken-down form: year, month from 0, day, hours, minutes, seconds, days since Sunday, days since New Year.
fn parts(time: DateTime) -> Val {
    let seconds = if time.subsec_nanosecond() == 0 {
        whole(time.second())
    } else {
        Val::from(f64::from(time.second()) + f64::from(time.subsec_nanosecond()) / 1e9)
    };
    let parts = [
        whole(time.year()),
        whole(time.month() - 1),
        whole(time.day()),
        whole(time.hour()),
        whole(time.minute()),
        seconds,
        whole(time.weekday().to_sunday_zero_offset()),
        whole(time.day_of_year() - 1),
    ];
    parts.into_iter().collect()
}

fn whole(number: impl Into<i64>) -> Val {
    let number: i64 = number.into();
    Val::Num(Num::from_integral(number))
}

/// The time for such a broken-down form.
fn datetime(value: &Val) -> Result<DateTime, Error> {
    let no_time = || Error::typ(value.clone(), "time");
    let Val::Arr(parts) = value else { return Err(no_time()) };
    let [year, month, day, hour, minute, second, ..] = &parts[..] else { return Err(no_time()) };
    let small = |part: &Val| part.as_isize().and_then(|part| i8::try_from(part).ok()).ok_or_else(no_time);
    let year = year.as_isize().and_then(|year| i16::try_from(year).ok()).ok_or_else(no_time)?;
    let month = small(month)?.checked_add(1).ok_or_else(no_time)?;
    let second = float(second)?;
    #[expect(clippy::cast_possible_truncation, reason = "what is too large is refused as a time")]
    let (second, nanoseconds) = (second.floor() as i8, (second.fract() * 1e9) as i32);
    DateTime::new(year, month, small(day)?, small(hour)?, small(minute)?, second, nanoseconds).map_err(error)
}

fn seconds(time: DateTime) -> ValR {
    Offset::UTC.to_timestamp(time).map(|time| whole(time.as_second())).map_err(error)
}

fn formatted(value: &Val, format: &str) -> ValR {
    let time = match value {
        Val::Arr(_) => Offset::UTC.to_timestamp(datetime(value)?).map_err(error)?,
        _ => timestamp(value)?,
    };
    let zoned = time.to_zoned_datetime(TimeZone::UTC);
    strtime::format(format, &zoned).map(|text| json::string(&text)).map_err(error)
}

fn parsed(text: &str, format: &str) -> ValR {
    BrokenDownTime::parse(format, text).and_then(|time| time.to_datetime()).map(parts).map_err(error)
}
