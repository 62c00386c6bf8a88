//! A step with windows: `window`, `key` and `time`, with `use = "std:aggregate"` or a plugin, and `[state]`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::Check;
use super::value;
use crate::aggregate::Functions;
use crate::aggregate::KeySelector;
use crate::aggregate::TimeSelector;
use crate::config::Computes;
use crate::config::Windowed;
use crate::config::raw;
use crate::config::raw::Text;
use crate::config::source::Span;
use crate::kafka::settings::Output;
use crate::kafka::settings::Partition;
use crate::partition::Order;
use crate::state::OVERLAP_MAX;
use crate::state::SPAN_MAX;
use crate::state::Window;

/// The step that aggregates without a plugin.
pub(super) const AGGREGATE: &str = "std:aggregate";

/// How long windows wait for records that are out of order, unless `lateness` says so.
const LATENESS_MS: i64 = 10_000;
/// The shortest time between two results of an open window.
const EARLY_MIN_MS: i64 = 100;
const MEMORY_BYTES: u64 = 512 << 20;

/// Whether a step has windows.
pub(super) fn is_windowed(step: &raw::Step) -> bool {
    is_native(step) || step.window.is_some()
}

/// Whether a step aggregates without a plugin.
pub(super) fn is_native(step: &raw::Step) -> bool {
    step.wasm.is_none() && step.r#use.as_ref().is_some_and(|used| used.get_ref() == AGGREGATE)
}

/// Reports keys of steps with windows on a step that has none.
pub(super) fn refuse(check: &mut Check<'_>, step: &raw::Step) {
    let keys = [
        ("emit", step.emit.as_ref().map(Spanned::span)),
        ("key", step.key.as_ref().map(Spanned::span)),
        ("time", step.time.as_ref().map(Spanned::span)),
        ("same_partition", step.same_partition.as_ref().map(Spanned::span)),
    ];
    for (key, span) in keys {
        if let Some(span) = span {
            let message = format!("`{key}` is for steps with windows");
            check.report.add(span.into(), message, "remove it, or add `window = { size = \"1m\" }`");
        }
    }
}

/// A step with windows, the last one of the file. `name` was checked.
pub(super) fn windowed(
    check: &mut Check<'_>,
    number: usize,
    raw: &Spanned<raw::Step>,
    name: String,
    state: &raw::State,
) -> Windowed {
    let at: Span = raw.span().into();
    let step = raw.get_ref();
    if step.name.is_none() {
        check.missing(at, "step.name", "the step's changelog topic is named by it: `name = \"per-minute\"`");
    }
    let others = [
        ("allow", step.allow.as_ref().map(Spanned::span)),
        ("timeout", step.timeout.as_ref().map(Spanned::span)),
        ("init_timeout", step.init_timeout.as_ref().map(Spanned::span)),
        ("memory", step.memory.as_ref().map(Spanned::span)),
        ("batch", step.batch.as_ref().map(Spanned::span)),
        ("sha256", step.sha256.as_ref().map(Spanned::span)),
    ];
    for (key, span) in others {
        if let Some(span) = span.filter(|_| is_native(step)) {
            let message = format!("`{key}` is for plugins, and `{AGGREGATE}` runs none");
            check.report.add(span.into(), message, "remove it; `state.memory` bounds the step's tables");
        }
    }
    let window = match &step.window {
        Some(raw) => a_window(check, raw),
        None => {
            check.missing(at, "step.window", "write `window = { size = \"1m\" }`");
            None
        }
    };
    let key = step.key.as_ref().and_then(|key| selector(check, key, "key", KeySelector::parse)).unwrap_or_default();
    let time =
        step.time.as_ref().and_then(|time| selector(check, time, "time", TimeSelector::parse)).unwrap_or_default();
    let is_promised = step.same_partition.as_ref().is_some_and(|same| *same.get_ref());
    if let Some(text) = step.key.as_ref().filter(|_| key != KeySelector::Record && !is_promised) {
        check.report.add(
            text.span().into(),
            "a `key` that is not the record's key needs `same_partition`",
            "write `same_partition = true` if all records with the same key are in one partition of the input, as they are when it is \
             part of the record's key or there is one partition; otherwise each partition would have a result of its own",
        );
    }
    Windowed {
        name: Arc::from(name),
        number,
        window: window.unwrap_or_else(fallback),
        key,
        time,
        same_partition: is_promised,
        early: early(check, step),
        computes: if is_native(step) { Computes::Functions(functions(check, step, at)) } else { Computes::Plugin },
        memory_bytes: value::size(check, state.memory.as_ref(), "memory", 1 << 20, 1 << 40).unwrap_or(MEMORY_BYTES),
        create: state.create.as_ref().is_some_and(|create| *create.get_ref()),
        span: at,
    }
}

/// Reports what a pipeline with windows can't have.
pub(super) fn agree(
    check: &mut Check<'_>,
    raw_order: &Option<Text>,
    order: Order,
    topics: Option<&Spanned<Vec<Text>>>,
) {
    if let Some(text) = raw_order.as_ref().filter(|_| order != Order::Partition) {
        let message = format!("`order`: {} with windows is not supported yet", check.shown(text));
        check.report.add(text.span().into(), message, "leave `order` out: it is \"partition\"");
    }
    let Some(topics) = topics else { return };
    let is_one = matches!(&topics.get_ref()[..], [topic] if !topic.get_ref().starts_with('^'));
    if !is_one && !topics.get_ref().is_empty() {
        let message = "a pipeline with windows reads one topic, and no pattern";
        check.report.add(
            topics.span().into(),
            message,
            "write one topic's name: its changelog has the same partitions",
        );
    }
}

/// The topic of the step's changelog. It is the group's, whose offsets belong to it.
pub(super) fn changelog(group: &str, windowed: &Windowed) -> Output {
    Output {
        name: "changelog".into(),
        topic: Some(format!("{group}.{}.changelog", windowed.name)),
        partition: Partition::SameAsInput,
        compression: "none".into(),
        librdkafka: BTreeMap::new(),
    }
}

/// Stands in for a window that was reported.
fn fallback() -> Window {
    Window::tumbling(60_000, LATENESS_MS).expect("a minute is a window")
}

fn selector<T>(
    check: &mut Check<'_>,
    text: &Text,
    key: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    match parse(text.get_ref()) {
        Ok(selector) => Some(selector),
        // Its reason holds the text.
        Err(_) if check.secrets.touch(&text.span()) => {
            let message = format!("`{key}`: {} can't be used", check.shown(text));
            check.report.add(text.span().into(), message, "write for example `json:/customer` or `header:id`");
            None
        }
        Err(why) => {
            let (message, help) = why.split_once("; ").unwrap_or((&why, "see the documentation of the step"));
            check.report.add(text.span().into(), format!("`{key}`: {message}"), help);
            None
        }
    }
}

fn functions(check: &mut Check<'_>, step: &raw::Step, at: Span) -> Functions {
    let table = step.settings.as_ref().map(Spanned::get_ref);
    let span = step.settings.as_ref().map_or(at, |settings| settings.span().into());
    let mut texts = Vec::new();
    for (name, value) in table.into_iter().flatten() {
        match value.as_str() {
            Some(text) => texts.push((name.as_str(), text)),
            None => {
                let message = format!("`settings.{name}`: expected a string");
                check.report.add(
                    span,
                    message,
                    "write a function such as `orders = \"count\"` or `revenue = \"sum:/total\"`",
                );
            }
        }
    }
    match Functions::parse(texts) {
        Ok(functions) => functions,
        Err(errors) => {
            let hides = check.secrets.touch(&(span.start..span.end));
            if hides {
                let message = "`settings` holds a secret, and a text that is no function";
                check.report.add(span, message, "write `settings = { orders = \"count\" }`");
            }
            for error in errors.into_iter().filter(|_| !hides) {
                let text = error.to_string();
                let (message, help) =
                    text.split_once("; ").unwrap_or((&text, "write `settings = { orders = \"count\" }`"));
                check.report.add(span, message, help);
            }
            Functions::parse([("records", "count")]).expect("`count` is a function")
        }
    }
}

fn a_window(check: &mut Check<'_>, raw: &Spanned<raw::Window>) -> Option<Window> {
    let at: Span = raw.span().into();
    let window = raw.get_ref();
    for (key, text) in [("gap", &window.gap), ("max", &window.max)] {
        if let Some(text) = text {
            let message = format!("`window.{key}`: sessions are not supported yet");
            check.report.add(text.span().into(), message, "write a `size`");
        }
    }
    if window.size.is_none() {
        check.missing(at, "window.size", "write how long a window is: `window = { size = \"1m\" }`");
    }
    let size = milliseconds(check, window.size.as_ref(), "window.size", 1);
    let every = milliseconds(check, window.every.as_ref(), "window.every", 1);
    let lateness = milliseconds(check, window.lateness.as_ref(), "window.lateness", 0);
    let max_ahead = milliseconds(check, window.max_ahead.as_ref(), "window.max_ahead", 0);
    let never = window.idle.as_ref().is_some_and(|idle| idle.get_ref() == "never");
    let idle = if never { None } else { milliseconds(check, window.idle.as_ref(), "window.idle", 1) };
    let size = size?;
    let hopping = Window::hopping(size, every.unwrap_or(size), lateness.unwrap_or(LATENESS_MS));
    let made = hopping.map_err(|error| {
        let span = window.every.as_ref().map_or(at, |every| every.span().into());
        let help = format!("`every` divides `size`, and a record is in {OVERLAP_MAX} windows at most");
        check.report.add(span, format!("`window`: {error}"), help);
    });
    let made = made.ok()?;
    let made = max_ahead.and_then(|max_ahead| made.with_max_ahead(max_ahead).ok()).unwrap_or(made);
    if window.idle.is_none() {
        return Some(made);
    }
    made.with_idle(idle).ok()
}

/// How often open windows are shown.
fn early(check: &mut Check<'_>, step: &raw::Step) -> Option<Duration> {
    let text = step.emit.as_ref()?.get_ref().early.as_ref();
    let ms = milliseconds(check, text, "emit.early", EARLY_MIN_MS)?;
    Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

/// A time in ms. `None` if it isn't set or is wrong.
fn milliseconds(check: &mut Check<'_>, text: Option<&Text>, key: &str, min: i64) -> Option<i64> {
    let text = text?;
    let shown = check.shown(text);
    let parsed = humantime::parse_duration(text.get_ref()).ok();
    let is_whole = |duration: &Duration| duration.subsec_nanos().is_multiple_of(1_000_000);
    let milliseconds = |duration: Duration| i64::try_from(duration.as_millis()).ok();
    let value = parsed.filter(is_whole).and_then(milliseconds).filter(|ms| (min..=SPAN_MAX).contains(ms));
    if value.is_none() {
        let message = format!("`{key}`: {shown} is not a time of {min} ms or more");
        check.report.add(text.span().into(), message, "write a number with its unit, such as \"1m\" or \"30s\"");
    }
    value
}
