//! Dates in UTC, for `todate`, `fromdate`, `strftime`, `strptime`, `gmtime` and `mktime`. There is no time zone and no clock.

use std::fmt::Display;
use std::fmt::Write as _;

use chrono::DateTime;
use chrono::Datelike as _;
use chrono::NaiveDate;
use chrono::NaiveDateTime;
use chrono::NaiveTime;
use chrono::SecondsFormat;
use chrono::Timelike as _;
use chrono::Utc;
use chrono::format;
use chrono::format::Parsed;
use chrono::format::StrftimeItems;
use jaq_core::native::bome;
use jaq_core::native::unary;
use jaq_core::native::v;
use jaq_json::Error;
use jaq_json::Num;
use jaq_json::Val;
use jaq_json::ValR;
use jaq_std::ValT as _;

use crate::functions::Filters;
use crate::functions::float;
use crate::json;

/// Microseconds per second.
const SECOND: f64 = 1e6;

pub(crate) fn filters() -> Filters {
    Box::new([
        ("fromdateiso8601", v(0), |cv| bome(text(&cv.1).and_then(from_date))),
        ("todateiso8601", v(0), |cv| {
            bome(timestamp(&cv.1).map(|time| json::string(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true))))
        }),
        ("gmtime", v(0), |cv| bome(timestamp(&cv.1).map(|time| parts(time.naive_utc())))),
        ("mktime", v(0), |cv| bome(datetime(&cv.1).map(|time| whole(time.and_utc().timestamp())))),
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
    let time = DateTime::parse_from_rfc3339(text).map_err(error)?;
    if time.timestamp_subsec_nanos() == 0 {
        return Ok(whole(time.timestamp()));
    }
    Ok(Val::from(time.timestamp_micros() as f64 / SECOND))
}

/// The time of a number of seconds since 1970-01-01 UTC.
fn timestamp(value: &Val) -> Result<DateTime<Utc>, Error> {
    #[expect(clippy::cast_possible_truncation, reason = "a number that is too large is no time either way")]
    let microseconds = (float(value)? * SECOND) as i64;
    DateTime::from_timestamp_micros(microseconds).ok_or_else(|| error("the time is out of range"))
}

/// The parts of a time in jq's order: year, month from 0, day, hours, minutes, seconds, days since Sunday and since New Year.
fn parts(time: NaiveDateTime) -> Val {
    let seconds = if time.nanosecond() == 0 {
        whole(time.second())
    } else {
        Val::from(f64::from(time.second()) + f64::from(time.nanosecond()) / 1e9)
    };
    let parts = [
        whole(time.year()),
        whole(time.month0()),
        whole(time.day()),
        whole(time.hour()),
        whole(time.minute()),
        seconds,
        whole(time.weekday().num_days_from_sunday()),
        whole(time.ordinal0()),
    ];
    parts.into_iter().collect()
}

fn whole(number: impl Into<i64>) -> Val {
    let number: i64 = number.into();
    Val::Num(Num::from_integral(number))
}

/// The time with these parts.
fn datetime(value: &Val) -> Result<NaiveDateTime, Error> {
    let no_time = || Error::typ(value.clone(), "time");
    let Val::Arr(parts) = value else { return Err(no_time()) };
    let [year, month, day, hour, minute, second, ..] = &parts[..] else { return Err(no_time()) };
    let small = |part: &Val| part.as_isize().and_then(|part| u32::try_from(part).ok()).ok_or_else(no_time);
    let year = year.as_isize().and_then(|year| i32::try_from(year).ok()).ok_or_else(no_time)?;
    let month = small(month)?.checked_add(1).ok_or_else(no_time)?;
    let second = float(second)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a negative or large number becomes no valid time"
    )]
    let (second, nanoseconds) = (second.floor() as u32, (second.fract() * 1e9) as u32);
    let date = NaiveDate::from_ymd_opt(year, month, small(day)?);
    let time = NaiveTime::from_hms_nano_opt(small(hour)?, small(minute)?, second, nanoseconds);
    date.zip(time).map(|(date, time)| date.and_time(time)).ok_or_else(no_time)
}

fn formatted(value: &Val, format: &str) -> ValR {
    let time = match value {
        Val::Arr(_) => datetime(value)?.and_utc(),
        _ => timestamp(value)?,
    };
    let mut text = String::new();
    // Fails for a format that isn't valid.
    match write!(text, "{}", time.format(format)) {
        Ok(()) => Ok(json::string(&text)),
        Err(_) => Err(error(format!("`{format}` is not a format of times"))),
    }
}

/// A time without hours and minutes is at midnight.
fn parsed(text: &str, format: &str) -> ValR {
    let mut parsed = Parsed::new();
    format::parse(&mut parsed, text, StrftimeItems::new(format)).map_err(error)?;
    let time = parsed.to_naive_datetime_with_offset(0).or_else(|error| match parsed.hour_mod_12() {
        Some(_) => Err(error),
        None => parsed.to_naive_date().map(NaiveDateTime::from),
    });
    time.map(parts).map_err(error)
}
