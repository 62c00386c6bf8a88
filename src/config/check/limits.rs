//! `[limits]` and `[on_error]`, and the timeouts that depend on each other.

use std::num::NonZeroU32;
use std::time::Duration;

use toml::Spanned;

use super::Check;
use super::topics::MAX_POLL_INTERVAL;
use super::value;
use crate::config::Limits;
use crate::config::raw;
use crate::partition::BreakerTripped;
use crate::partition::Policy;
use crate::partition::Retries;
use crate::partition::Rule;
use crate::plugin::Settings;

const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// The interval between transactions: outputs are seen by readers of committed records after at most this time.
const TRANSACTION_EVERY: Duration = Duration::from_millis(100);
/// Brokers end longer transactions, see `transaction.timeout.ms` in `kafka::settings`.
const TRANSACTION_EVERY_MAX: Duration = Duration::from_secs(10);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Enough for brokers with a usual latency. One core writes the records in flight and another reads them, at sending
/// and at the acknowledgement, so the more there are, the fewer are still in a cache by then. With far fewer
/// records, executors wait for each other.
const IN_FLIGHT_RECORDS: usize = 25_000;
const IN_FLIGHT_BYTES: u64 = 64 << 20;

/// At least a few executors even on few cores: while one waits for the worker between two runs, another one can use the
/// core. An executor without a partition only costs the memory of its instances.
const PARALLELISM_DEFAULT_MIN: usize = 4;

/// The number of executors of a pipeline that sets none.
#[must_use]
pub fn parallelism_default() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).max(PARALLELISM_DEFAULT_MIN)
}

/// A weight as large as this has the share of 10 pipelines with the default.
const WEIGHT_MAX: usize = 100;
/// The weight of a pipeline that sets none.
pub const WEIGHT_DEFAULT: usize = 10;

/// A larger number is probably a mistake: an executor is a thread with its own plugin instances.
const PARALLELISM_MAX: usize = 1024;

/// Far more than a step that splits records makes, and little for the host.
pub(super) const OUTPUTS_PER_RECORD: u64 = 10_000;
pub(super) const OUTPUT_BYTES_PER_RECORD: u64 = 16 << 20;
/// The bounds of one call, which hold for one record, too.
const OUTPUTS_MAX: usize = 1_000_000;
const OUTPUT_BYTES_MAX: u64 = 64 << 20;
/// No process reads faster.
const RECORDS_PER_SECOND_MAX: usize = 10_000_000;

/// Each record in flight costs a few dozen bytes that `max_in_flight.bytes` doesn't count.
const IN_FLIGHT_RECORDS_MAX: usize = 10_000_000;

pub(super) fn commit_every(check: &mut Check<'_>, raw: &raw::Limits) -> Duration {
    value::duration(check, raw.commit_every.as_ref(), "commit_every").unwrap_or(COMMIT_EVERY)
}

pub(super) fn transaction_every(check: &mut Check<'_>, raw: &raw::Limits) -> Duration {
    let every = value::duration(check, raw.transaction_every.as_ref(), "transaction_every");
    if let (Some(text), Some(every)) = (&raw.transaction_every, every)
        && every > TRANSACTION_EVERY_MAX
    {
        let message = format!("`transaction_every`: {} is longer than 10 seconds", check.shown(text));
        check.report.add(
            text.span().into(),
            message,
            "brokers end a transaction that takes 15 seconds: write \"10s\" or less",
        );
    }
    every.unwrap_or(TRANSACTION_EVERY)
}

pub(super) fn limits(check: &mut Check<'_>, raw: &raw::Limits, on_error: &raw::OnError) -> (Limits, Policy) {
    let in_flight = &raw.max_in_flight;
    let records = value::number(check, in_flight.records.as_ref(), "max_in_flight.records", 1, IN_FLIGHT_RECORDS_MAX);
    let bytes = value::size(check, in_flight.bytes.as_ref(), "max_in_flight.bytes", 1, 1 << 40);
    let bytes = usize::try_from(bytes.unwrap_or(IN_FLIGHT_BYTES)).unwrap_or(usize::MAX);
    let parallelism = value::number(check, raw.parallelism.as_ref(), "parallelism", 1, PARALLELISM_MAX);
    let outputs = value::number(check, raw.outputs_per_record.as_ref(), "outputs_per_record", 1, OUTPUTS_MAX);
    let output_bytes =
        value::size(check, raw.output_bytes_per_record.as_ref(), "output_bytes_per_record", 1, OUTPUT_BYTES_MAX);
    let rate = raw.records_per_second.as_ref();
    let rate = value::number(check, rate, "records_per_second", 1, RECORDS_PER_SECOND_MAX);
    let weight = value::number(check, raw.weight.as_ref(), "weight", 1, WEIGHT_MAX);
    let limits = Limits {
        parallelism: parallelism.unwrap_or_else(parallelism_default),
        max_in_flight_records: records.unwrap_or(IN_FLIGHT_RECORDS),
        max_in_flight_bytes: bytes,
        outputs_per_record: outputs.map_or(OUTPUTS_PER_RECORD, |outputs| outputs as u64),
        output_bytes_per_record: output_bytes.unwrap_or(OUTPUT_BYTES_PER_RECORD),
        weight: weight.unwrap_or(WEIGHT_DEFAULT),
        records_per_second: rate.and_then(|rate| NonZeroU32::new(u32::try_from(rate).ok()?)),
        drain_timeout: value::duration(check, raw.drain_timeout.as_ref(), "drain_timeout").unwrap_or(DRAIN_TIMEOUT),
    };
    (limits, policy(check, on_error))
}

fn policy(check: &mut Check<'_>, raw: &raw::OnError) -> Policy {
    let defaults = Rule::default();
    let (backoff_from, backoff_to) = backoff(check, &raw.backoff, (defaults.backoff_from, defaults.backoff_to));
    let retries = raw.retries.as_ref().and_then(|retries| self::retries(check, retries));
    let general = Rule { retries: retries.unwrap_or(defaults.retries), backoff_from, backoff_to, ..defaults };
    let rejects_max = raw.max_reject_share.as_ref().and_then(|share| rejects_max(check, share));
    Policy { general, rejects_max, ..Policy::default() }
}

/// The waits before retries; `default` holds those that are not set.
pub(super) fn backoff(
    check: &mut Check<'_>,
    raw: &raw::Backoff,
    default: (Duration, Duration),
) -> (Duration, Duration) {
    let from = value::duration(check, raw.from.as_ref(), "backoff.from").unwrap_or(default.0);
    let to = value::duration(check, raw.to.as_ref(), "backoff.to").unwrap_or(default.1);
    if let Some(at) = raw.from.as_ref().or(raw.to.as_ref()).filter(|_| check.whole && from > to) {
        let help = "raise `to` or lower `from` (defaults: 100ms and 10s)";
        check.report.add(at.span().into(), "`backoff.to` is below `backoff.from`", help);
    }
    (from, to)
}

/// Converts a share of the breaker's window to a number of records.
fn rejects_max(check: &mut Check<'_>, share: &Spanned<f64>) -> Option<usize> {
    let value = *share.get_ref();
    if value > 0.0 && value < 1.0 {
        // In binary, 0.29 of 200 is slightly less than 58.
        let is_within = |records: u16| f64::from(records) <= value * f64::from(BreakerTripped::WINDOW) + 1e-6;
        return (0..BreakerTripped::WINDOW).rev().find(|&records| is_within(records)).map(usize::from);
    }
    let shown = check.shown_number(value, &share.span());
    let message = format!("`max_reject_share`: {shown} is out of range");
    check.report.add(share.span().into(), message, "write a number above 0 and below 1, such as 0.5, or leave it out");
    None
}

pub(super) fn retries(check: &mut Check<'_>, raw: &Spanned<raw::Retries>) -> Option<Retries> {
    match raw.get_ref() {
        raw::Retries::Times(times) if u32::try_from(*times).is_ok() => u32::try_from(*times).ok().map(Retries::Times),
        raw::Retries::Word(word) if word == "forever" => Some(Retries::Forever),
        raw::Retries::Times(_) | raw::Retries::Word(_) => {
            let help = "write a number from 0 to 4294967295, or \"forever\"";
            let origin = check.origin(&raw.span());
            let message = format!("`retries`{origin} is neither a number of times nor \"forever\"");
            check.report.add(raw.span().into(), message, help);
            None
        }
    }
}

/// Checks that step timeout < drain timeout < a third of the poll interval: a revoke waits for the running call, and
/// the group waits for the revoke.
pub(super) fn times(
    check: &mut Check<'_>,
    raw: &raw::Limits,
    limits: &Limits,
    raw_steps: &[Spanned<raw::Step>],
    steps: &[Settings],
    input: &raw::Input,
) {
    // A time that didn't parse is already reported, and replaced by its default here.
    if !check.whole || !check.report.is_empty() {
        return;
    }
    let drain = humantime::format_duration(DRAIN_TIMEOUT);
    for (raw_step, step) in raw_steps.iter().zip(steps).filter(|(_, step)| step.timeout.call >= limits.drain_timeout) {
        let Some(at) = raw_step.get_ref().timeout.as_ref().or(raw.drain_timeout.as_ref()) else { continue };
        check.report.add(
            at.span().into(),
            format!("the timeout of step `{}` is not below `limits.drain_timeout`", shown(check, raw_step, step)),
            format!(
                "lower `timeout` (default 1s) or raise `drain_timeout` (default {drain}): a revoke waits for the call"
            ),
        );
    }
    let max_poll = input.max_poll_interval.as_ref();
    let interval = value::duration(check, max_poll, "max_poll_interval").unwrap_or(MAX_POLL_INTERVAL);
    let at = raw.drain_timeout.as_ref().or(max_poll);
    if let Some(at) = at.filter(|_| limits.drain_timeout * 3 >= interval) {
        check.report.add(
            at.span().into(),
            "`limits.drain_timeout` is not below a third of `input.max_poll_interval`",
            format!("lower `drain_timeout` (default {drain}) or raise `max_poll_interval` (default 5m)"),
        );
    }
}

/// A step's name, or `***` if it is a secret.
fn shown(check: &Check<'_>, raw: &Spanned<raw::Step>, step: &Settings) -> String {
    let text =
        raw.get_ref().name.as_ref().or_else(|| raw.get_ref().wasm.as_ref()).or_else(|| raw.get_ref().r#use.as_ref());
    let is_secret = text.is_some_and(|text| check.secrets.touch(&text.span()));
    if is_secret { "***".to_owned() } else { step.name.to_string() }
}
