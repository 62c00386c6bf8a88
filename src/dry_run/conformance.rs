//! Checks whether a plugin keeps the contract, without a broker and a pipeline.
//!
//! The host refuses malformed results anyway; here they are found before a record is affected. A plugin must also treat a record the
//! same way whatever came before it and whatever else is in its batch, because the host runs records again and cuts batches freely.
//! `reducer.rs` checks plugins with state.

mod calls;
mod reducer;

use std::fmt;
use std::fmt::Debug;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use super::line::FeedRecord;
use crate::batch::Batch;
use crate::batch::View;
use crate::failure::Failure;
use crate::failure::Kind;
use crate::outcome::Outcome;
use crate::plugin::CallTimeouts;
use crate::plugin::Engine;
use crate::plugin::Grants;
use crate::plugin::Instance;
use crate::plugin::LoadError;
use crate::plugin::Settings;
use crate::plugin::Step;
use crate::record::Header;
use crate::record::TopicPartition;
use crate::secret::Hidden;
use crate::secret::Secret;

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: &'static str,
    /// How the rule is broken, for people; `None` if it holds.
    pub result: Result<(), String>,
    /// Why the rule could not be tried, for people.
    pub untried: Option<String>,
}

impl Violation {
    fn of(rule: &'static str, result: Result<(), String>) -> Violation {
        Violation { rule, result, untried: None }
    }
}

/// Calls with these numbers of records must all give the same results.
const BATCHES: [usize; 3] = [1, 7, 128];
/// The limits of an instance: the defaults of a step in a file.
const MEMORY_BYTES: u64 = 64 << 20;
const INIT_TIMEOUT: Duration = Duration::from_secs(10);
/// The number of calls after which memory must stop growing, and how often it is measured from then on.
const WARM_CALLS: usize = 20;
const CALLS: usize = 200;
/// The number of headers of the record with many headers.
const HEADERS: usize = 10_000;
/// The size of the large value in bytes: brokers don't take larger ones by default.
const LARGE: usize = 1_000_000;

/// A plugin's result for a record, with every reference resolved.
#[derive(Clone, PartialEq, Eq)]
enum Became {
    Outputs(Vec<Output>),
    /// The failure's kind and code.
    Failed(String),
}

impl Debug for Became {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Became::Outputs(outputs) => outputs.fmt(f),
            Became::Failed(failure) => f.write_str(failure),
        }
    }
}

/// Calls a plugin with a range of items, and returns one result for each.
type Call<'a, T> = dyn Fn(&mut Instance, Range<usize>) -> Result<Vec<T>, Failure> + 'a;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Output {
    port: u32,
    topic: Option<String>,
    partition: Option<i32>,
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    lengths: Vec<i32>,
    headers: Vec<u8>,
}

/// Loads a plugin without a pipeline: `settings` is a JSON object, `ports` are those besides `main`.
///
/// # Errors
/// If it isn't a plugin.
pub fn load(
    engine: &Engine,
    wasm: &Path,
    settings: String,
    ports: &[String],
    timeout: Duration,
) -> Result<Step, LoadError> {
    let name = wasm.file_stem().unwrap_or_default().to_string_lossy();
    let settings = Settings {
        name: name.into(),
        wasm: wasm.to_owned(),
        settings: Secret(settings),
        allow: Grants::all(),
        ports: std::iter::once("main".to_owned()).chain(ports.iter().cloned()).collect(),
        timeout: CallTimeouts { call: timeout, init: timeout.max(INIT_TIMEOUT) },
        memory_bytes: MEMORY_BYTES,
        batch_records: BATCHES[BATCHES.len() - 1],
        outputs_per_record: 1_000_000,
        output_bytes_per_record: 64 << 20,
        demands: Vec::new(),
        hidden: Hidden::default(),
    };
    Step::load(engine, settings)
}

/// Checks a plugin with unusual records, and with the caller's `records`.
#[must_use]
pub fn examine(step: &Step, records: &[FeedRecord]) -> Vec<Violation> {
    let step = &step.rehearsal();
    let (batch, names) = records_of(records);
    let mut findings = vec![Violation::of("it starts with its settings and ports", started(step))];
    if findings[0].result.is_ok() {
        if step.world().has_state() {
            reducer::examine(step, &batch, &names, &mut findings);
        } else {
            transform(step, &batch, &names, &mut findings);
        }
    }
    findings
}

/// Checks a plugin without state.
fn transform(step: &Step, batch: &Batch, names: &[String], findings: &mut Vec<Violation>) {
    let call: &Call<'_, Became> = &|instance, range| call(instance, batch, range);
    let alone = alone(step, names, call);
    let expected = alone.as_ref().ok().cloned();
    findings.push(Violation::of("any record is emitted, dropped or failed, and breaks nothing", alone.map(|_| ())));
    let Some(expected) = expected else { return };
    let same = again(step, names, &expected, call);
    findings.push(Violation::of("a record becomes the same whatever came before", same));
    for size in BATCHES {
        let rule = match size {
            1 => "a record becomes the same in calls of 1",
            7 => "a record becomes the same in calls of 7",
            _ => "a record becomes the same in calls of 128",
        };
        findings.push(Violation::of(rule, in_calls_of(step, names, &expected, call, size)));
    }
    let repeated = |instance: &mut Instance, size| each(batch.len(), size, |range| call(instance, range).map(drop));
    findings.push(memory(step, repeated));
}

const MEMORY: &str = "its memory doesn't grow for ever";

fn started(step: &Step) -> Result<(), String> {
    step.instantiate().map(|_| ()).map_err(|failure| failure.to_string())
}

/// Runs each item in its own instance.
fn alone<T>(step: &Step, names: &[String], call: &Call<'_, T>) -> Result<Vec<T>, String> {
    (0..names.len())
        .map(|index| {
            let mut instance = step.instantiate().map_err(|failure| failure.to_string())?;
            let became = call(&mut instance, index..index + 1).map_err(|failure| told(names, index, &failure))?;
            became.into_iter().next().ok_or_else(|| format!("{}: the plugin returned no result", names[index]))
        })
        .collect()
}

/// Runs all items one by one in one instance: twice in order, and once in reverse.
fn again<T: PartialEq + Debug>(
    step: &Step,
    names: &[String],
    expected: &[T],
    call: &Call<'_, T>,
) -> Result<(), String> {
    let mut instance = step.instantiate().map_err(|failure| failure.to_string())?;
    for index in (0..names.len()).chain(0..names.len()).chain((0..names.len()).rev()) {
        let became = match call(&mut instance, index..index + 1) {
            // The host runs the item again in a fresh instance. An interpreter fills its memory with garbage at times.
            Err(failure) if failure.kind == Kind::Memory => {
                instance = step.instantiate().map_err(|failure| failure.to_string())?;
                call(&mut instance, index..index + 1)
            }
            result => result,
        };
        let became = became.map_err(|failure| told(names, index, &failure))?;
        same(names, index, &expected[index..=index], &became)?;
    }
    Ok(())
}

fn in_calls_of<T: PartialEq + Debug + Clone>(
    step: &Step,
    names: &[String],
    expected: &[T],
    call: &Call<'_, T>,
    size: usize,
) -> Result<(), String> {
    let mut instance = step.instantiate().map_err(|failure| failure.to_string())?;
    for start in (0..names.len()).step_by(size) {
        let range = start..names.len().min(start + size);
        let became = match call(&mut instance, range.clone()) {
            Ok(became) => became,
            // An error about the whole call: the host then runs each item alone, in a fresh instance if it lacked memory.
            Err(failure) if matches!(failure.kind, Kind::Error | Kind::Memory) => {
                if failure.kind == Kind::Memory {
                    instance = step.instantiate().map_err(|failure| failure.to_string())?;
                }
                let one = |index| call(&mut instance, index..index + 1);
                let each: Result<Vec<_>, Failure> = range.clone().map(one).collect();
                each.map_err(|failure| told(names, start, &failure))?.concat()
            }
            Err(failure) => {
                return Err(format!("in a call with {} others: {}", range.len() - 1, told(names, start, &failure)));
            }
        };
        same(names, start, &expected[range], &became)?;
    }
    Ok(())
}

/// Repeats the same calls: the plugin's memory must have a bound. `calls` makes them with at most this many records in each.
///
/// If they break the instance, they are made again in a fresh one, record by record as the host does. If no instance lasts long enough to
/// be measured, the finding says so.
fn memory(step: &Step, calls: impl Fn(&mut Instance, usize) -> Result<(), Failure>) -> Violation {
    let finding = |result, untried| Violation { rule: MEMORY, result, untried };
    let (mut size, mut rounds, mut warm, mut end) = (usize::MAX, 0, 0, 0);
    let (mut has_lasted, mut broken) = (false, None);
    let mut instance = None;
    for _ in 0..CALLS {
        let mut running = match instance.take().map_or_else(|| step.instantiate(), Ok) {
            Ok(instance) => instance,
            Err(failure) => return finding(Err(failure.to_string()), None),
        };
        // Whether a call fails was checked before.
        let failure = calls(&mut running, size).err().filter(|failure| failure.kind.spoils_instance());
        let Some(failure) = failure else {
            rounds += 1;
            end = running.memory_bytes();
            if rounds <= WARM_CALLS {
                warm = end;
            }
            has_lasted |= rounds > WARM_CALLS;
            instance = Some(running);
            continue;
        };
        if rounds > WARM_CALLS && (end > warm || failure.kind == Kind::Memory) {
            let why = format!("{}, and more than it may have after {rounds}: {}", had(warm), failure.reason);
            return finding(Err(why), None);
        }
        (size, rounds, broken) = (1, 0, Some(failure));
    }
    if rounds > WARM_CALLS && end > warm {
        return finding(Err(format!("{}, and {end} after {rounds}", had(warm))), None);
    }
    let untried = broken.filter(|_| !has_lasted);
    let untried =
        untried.map(|failure| format!("not measured, as calls broke each instance before: {}", failure.reason));
    finding(Ok(()), untried)
}

fn had(warm: u64) -> String {
    format!("it had {warm} bytes after {WARM_CALLS} calls with the same records")
}

/// Makes calls for this many items, with at most `size` in each, up to the first that breaks the instance.
fn each(items: usize, size: usize, mut call: impl FnMut(Range<usize>) -> Result<(), Failure>) -> Result<(), Failure> {
    for start in (0..items).step_by(size.clamp(1, items.max(1))) {
        let result = call(start..items.min(start.saturating_add(size)));
        if result.as_ref().is_err_and(|failure| failure.kind.spoils_instance()) {
            return result;
        }
    }
    Ok(())
}

fn call(instance: &mut Instance, batch: &Batch, range: Range<usize>) -> Result<Vec<Became>, Failure> {
    let view = batch.slice(range.clone());
    let outcome = match instance.process(&view) {
        Ok(outcome) => outcome,
        Err(failure) if failure.kind == Kind::Error && range.len() == 1 => {
            return Ok(vec![Became::Failed("error".into())]);
        }
        Err(failure) => return Err(failure),
    };
    // Its counters don't matter here.
    drop(instance.take_effects());
    Ok(resolved(&view, &outcome))
}

/// An outcome by input record, with every reference resolved.
fn resolved(view: &View<'_>, outcome: &Outcome) -> Vec<Became> {
    let mut became = vec![Became::Outputs(Vec::new()); view.len()];
    for index in 0..outcome.outputs.len() {
        let made = view.resolve(&outcome.outputs, index, 0);
        if let Became::Outputs(outputs) = &mut became[made.parent] {
            outputs.push(Output {
                port: made.port,
                topic: made.topic.map(ToString::to_string),
                partition: made.partition,
                timestamp: made.timestamp,
                key: made.key.map(<[u8]>::to_vec),
                value: made.value.map(<[u8]>::to_vec),
                lengths: made.headers.lengths().to_vec(),
                headers: made.headers.data().to_vec(),
            });
        }
    }
    for failed in &outcome.failed {
        became[failed.index] = Became::Failed(reason(&failed.failure));
    }
    became
}

/// A failure's kind, and its code where the plugin gave one.
fn reason(failure: &Failure) -> String {
    let kind = failure.kind.label();
    if *failure.code == *failure.kind.code() { kind.to_owned() } else { format!("{kind} ({})", failure.code) }
}

fn same<T: PartialEq + Debug>(names: &[String], start: usize, expected: &[T], found: &[T]) -> Result<(), String> {
    for (index, (expected, found)) in (start..).zip(expected.iter().zip(found)) {
        if expected != found {
            let name = &names[index];
            return Err(format!("{name}: alone it became {}, and now {}", shown(expected), shown(found)));
        }
    }
    Ok(())
}

fn shown<T: Debug>(became: &T) -> String {
    let mut text = format!("{became:?}");
    text.truncate(text.floor_char_boundary(SHOWN_BYTES_MAX));
    text
}

/// The number of bytes of a difference that are shown.
const SHOWN_BYTES_MAX: usize = 300;

fn told(names: &[String], index: usize, failure: &Failure) -> String {
    let name = &names[index];
    let advice = if name.contains(NESTED) { DEPTH } else { "" };
    format!("{name}: {}: {}{advice}", failure.kind.label(), failure.reason)
}

/// What the names of deep records have in common.
const NESTED: &str = "10,000 nested";
/// What to do about one that breaks a plugin.
const DEPTH: &str = "\na parser that calls itself for each level overflows the stack: reject values that are nested deeper than 128 levels before you parse them";

/// Deep JSON: a parser that calls itself for each level must stop in time, and a writer too, which only sees what was closed.
fn deep() -> [(&'static str, String); 3] {
    const LEVELS: usize = 10_000;
    [
        ("10,000 nested lists, never closed", "[".repeat(LEVELS)),
        ("10,000 nested lists", format!("{}{}", "[".repeat(LEVELS), "]".repeat(LEVELS))),
        ("10,000 nested objects", format!("{}1{}", r#"{"a":"#.repeat(LEVELS), "}".repeat(LEVELS))),
    ]
}

/// The records for every plugin, and the caller's, each with a name.
fn records_of(own: &[FeedRecord]) -> (Batch, Vec<String>) {
    let source = TopicPartition { topic: "conformance".into(), partition: 0 };
    let mut batch = Batch::new(source);
    let mut names = Vec::new();
    let mut push = |name: &str, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>], timestamp: i64| {
        let offset = i64::try_from(names.len()).unwrap_or(i64::MAX);
        batch.push(offset, timestamp, 0, key, value, headers.iter().copied());
        names.push(format!("record {offset} ({name})"));
    };
    let header = |name: &'static [u8], value: Option<&'static [u8]>| Header { name, value };
    let odd =
        [header(b"\xff\x00", Some(b"\x00")), header(b"", None), header(b"a", Some(b"")), header(b"a", Some(b"2"))];
    let many = vec![header(b"name", Some(b"value")); HEADERS];
    let large = vec![b'x'; LARGE];
    let all_bytes: Vec<u8> = (0..=255).collect();
    push("a text", Some(b"key"), Some(b"text"), &[], 1);
    push("a tombstone", Some(b"key"), None, &[], 1);
    push("all null, no timestamp", None, None, &[], -1);
    push("all empty", Some(b""), Some(b""), &[], 0);
    push("every byte", Some(&all_bytes), Some(&all_bytes), &odd, i64::MAX);
    push("a JSON object", None, Some(br#"{"id":1,"email":"a@example.org","nested":{"list":[1,null,"x"]}}"#), &odd, 1);
    push("a JSON list", None, Some(b"[1,2.5e-3,-0]"), &[], 1);
    push("broken JSON", None, Some(br#"{"id":1,"#), &[], 1);
    for (name, value) in deep() {
        push(name, None, Some(value.as_bytes()), &[], 1);
    }
    push("JSON with a lone surrogate", None, Some(br#"{"email":"\ud800"}"#), &[], 1);
    push("a large value", None, Some(&large), &[], 1);
    push("10,000 headers", Some(b"key"), Some(b"text"), &many, 1);
    // Enough records for calls of all sizes.
    for (number, timestamp) in (0..150).zip(1..) {
        let text = format!(r#"{{"id":{number},"email":"{number}@example.org","note":"one of many"}}"#);
        push("one of many", Some(text.as_bytes()), Some(text.as_bytes()), &odd[..number % 5], timestamp);
    }
    for record in own {
        let headers: Vec<Header<'_>> =
            record.headers.iter().map(|(name, value)| Header { name, value: value.as_deref() }).collect();
        push("yours", record.key.as_deref(), record.value.as_deref(), &headers, record.timestamp.unwrap_or(-1));
    }
    (batch, names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trap_of_deep_json_says_what_to_do_and_a_code_is_named_only_if_it_says_more() {
        let (batch, names) = records_of(&[]);
        let trap = Failure::new(Kind::Trap, None, "wasm trap: stack overflow");
        for (name, value) in deep() {
            let index = names.iter().position(|found| found.contains(&format!("({name})"))).unwrap();
            assert_eq!(batch.record(index).value, Some(value.as_bytes()));
            assert!(told(&names, index, &trap).contains("deeper than 128 levels"), "{name}");
        }
        assert!(!told(&names, 0, &trap).contains("levels"));
        assert!(serde_json::from_str::<serde::de::IgnoredAny>(&deep()[0].1).is_err());
        assert_eq!(
            (reason(&trap), reason(&Failure::reject("s".into(), "bad-json", String::new()))),
            ("trap".into(), "reject (bad-json)".into())
        );
    }
}
