//! Runs a plugin natively, so that plain `cargo test` works on it. Not available on wasm32.
//!
//! The records pass through the same columns and the same loop as in the host. What the host does around that is not
//! simulated: retries, policies, limits, and the check of ports.

#[cfg(feature = "state")]
mod reduce;

#[cfg(feature = "state")]
pub use reduce::ReduceHarness;
#[cfg(feature = "state")]
pub use reduce::Shown;

#[cfg(feature = "http")]
mod http;

#[cfg(feature = "http")]
pub use http::Responding;
#[cfg(feature = "http")]
pub use http::respond;
#[cfg(feature = "http")]
pub(crate) use http::response_to;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use crate::Failure;
use crate::Instance;
use crate::Transform;
use crate::bindings::wasmill::plugin::columns::Batch;
use crate::bindings::wasmill::plugin::columns::Outcome;
use crate::bindings::wasmill::plugin::types;
use crate::emitter::SAME;
use crate::log::Level;
use crate::record::Header;
use crate::record::Headers;
use crate::record::NULL;
use crate::record::take;

/// A plugin under test.
///
/// ```
/// use wasmill_sdk::testing::Harness;
/// use wasmill_sdk::testing::Input;
/// # use wasmill_sdk::{Emitter, Record, Transform, Verdict, metrics, retry};
/// # struct Once;
/// # impl Transform for Once {
/// #     fn init(_: &str, _: &[String]) -> Result<Self, String> { Ok(Once) }
/// #     fn process(&mut self, record: Record<'_>, out: &mut Emitter<'_>) -> Verdict {
/// #         metrics::count("seen", 1);
/// #         out.forward(0);
/// #         if record.attempt == 0 { Err(retry("the first time never works")) } else { Ok(()) }
/// #     }
/// # }
///
/// let mut plugin = Harness::<Once>::new("{}", &["main"])?;
/// let results = plugin.run([Input::value("a"), Input::value("b").attempt(1)])?;
/// assert_eq!(results[0].as_ref().unwrap_err().to_string(), "retry: the first time never works");
/// assert_eq!(results[1].as_ref().unwrap()[0].value.as_deref(), Some(&b"b"[..]));
/// assert_eq!(plugin.counter("seen"), 2);
/// # Ok::<(), String>(())
/// ```
pub struct Harness<T> {
    plugin: Instance<T>,
    next_offset: i64,
}

/// The result of one record: its outputs, or why it failed.
pub type Tested = Result<Vec<Emitted>, Failure>;

/// One output, with everything filled in that it takes from its input record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// The index into the ports.
    pub port: u32,
    /// The topic that the plugin named.
    pub topic: Option<String>,
    /// `None` is null.
    pub key: Option<Vec<u8>>,
    /// `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Names and values, in order.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Milliseconds since 1970-01-01 UTC.
    pub timestamp: Option<i64>,
    /// `None` means that the output's partitioner chooses.
    pub partition: Option<u32>,
}

/// A record for a test. By default it has a null key and value, no headers and no timestamp, and is tried for the
/// first time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    timestamp: Option<i64>,
    attempt: u32,
}

impl Input {
    /// A record with a value.
    #[must_use]
    pub fn value(value: impl AsRef<[u8]>) -> Input {
        Input { value: Some(value.as_ref().to_vec()), ..Input::default() }
    }

    /// A record without a value.
    #[must_use]
    pub fn tombstone() -> Input {
        Input::default()
    }

    /// Sets the key.
    #[must_use]
    pub fn key(self, key: impl AsRef<[u8]>) -> Input {
        Input { key: Some(key.as_ref().to_vec()), ..self }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Input {
        self.headers.push((name.as_ref().to_vec(), Some(value.as_ref().to_vec())));
        self
    }

    /// Adds a header whose value is null.
    #[must_use]
    pub fn null_header(mut self, name: impl AsRef<[u8]>) -> Input {
        self.headers.push((name.as_ref().to_vec(), None));
        self
    }

    /// Sets the timestamp.
    #[must_use]
    pub fn timestamp(self, timestamp: i64) -> Input {
        Input { timestamp: Some(timestamp), ..self }
    }

    /// Sets how many times the record was tried before.
    #[must_use]
    pub fn attempt(self, attempt: u32) -> Input {
        Input { attempt, ..self }
    }
}

impl<T: Transform> Harness<T> {
    /// Creates the plugin with these settings (a JSON object) and ports. Clears what earlier plugins on this thread
    /// logged and counted.
    ///
    /// # Errors
    /// The error that the plugin's `init` returns.
    pub fn new(settings: &str, ports: &[&str]) -> Result<Harness<T>, String> {
        CAPTURED.take();
        let plugin = Instance::new();
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        plugin.init(|| T::init(settings, &ports))?;
        Ok(Harness { plugin, next_offset: 0 })
    }

    /// Runs a batch of partition 0 of the topic `test`. Returns the result of each record, in order.
    ///
    /// # Errors
    /// The error that the plugin returns for the whole call.
    ///
    /// # Panics
    /// If the plugin panics.
    pub fn run(&mut self, inputs: impl IntoIterator<Item = Input>) -> Result<Vec<Tested>, String> {
        let inputs: Vec<Input> = inputs.into_iter().collect();
        let batch = batch((self.next_offset..).zip(&inputs));
        self.next_offset += i64::try_from(inputs.len()).expect("a test has few records");
        let outcome = self.plugin.process(&source(), &batch)?;
        Ok(read(&inputs, outcome))
    }

    /// Runs one record.
    ///
    /// # Errors
    /// Why the record failed.
    ///
    /// # Panics
    /// As [`Harness::run`].
    pub fn run_one(&mut self, input: Input) -> Tested {
        let mut results = self.run([input]).map_err(crate::error)?;
        results.pop().expect("one record in, one result out")
    }

    /// What the plugin logged since it was created.
    #[must_use]
    pub fn logs(&self) -> Vec<(Level, String)> {
        CAPTURED.with_borrow(|captured| captured.logs.clone())
    }

    /// The sum that successful calls added to a counter.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        CAPTURED.with_borrow(|captured| captured.counters.get(name).copied().unwrap_or(0))
    }

    /// The values that were added to a histogram.
    #[must_use]
    pub fn observations(&self, name: &str) -> Vec<f64> {
        CAPTURED.with_borrow(|captured| captured.observations.get(name).cloned().unwrap_or_default())
    }
}

impl<T> fmt::Debug for Harness<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness").field("next_offset", &self.next_offset).finish_non_exhaustive()
    }
}

/// What the host would have received.
#[derive(Debug, Default)]
struct Captured {
    logs: Vec<(Level, String)>,
    counters: BTreeMap<String, u64>,
    observations: BTreeMap<String, Vec<f64>>,
    /// Ports and topics, in the order of their numbers.
    topics: Vec<(u32, String)>,
}

thread_local! {
    static CAPTURED: RefCell<Captured> = RefCell::default();
}

pub(crate) fn record_log(level: Level, message: &str) {
    CAPTURED.with_borrow_mut(|captured| captured.logs.push((level, message.to_owned())));
}

pub(crate) fn record_count(name: &str, by: u64) {
    CAPTURED.with_borrow_mut(|captured| *captured.counters.entry(name.to_owned()).or_default() += by);
}

pub(crate) fn record_observation(name: &str, value: f64) {
    CAPTURED.with_borrow_mut(|captured| captured.observations.entry(name.to_owned()).or_default().push(value));
}

/// The first number of a topic. Tests have fewer ports.
const FIRST_TOPIC: u32 = 1 << 20;

pub(crate) fn number_of_topic(port: u32, name: &str) -> u32 {
    CAPTURED.with_borrow_mut(|captured| {
        let topics = &mut captured.topics;
        let known = topics.iter().position(|(of, topic)| (*of, topic.as_str()) == (port, name));
        let place = known.unwrap_or_else(|| {
            topics.push((port, name.to_owned()));
            topics.len() - 1
        });
        FIRST_TOPIC + u32::try_from(place).expect("a test has few topics")
    })
}

/// The port and the topic that a number stands for.
fn port_and_topic(number: u32) -> (u32, Option<String>) {
    let Some(place) = number.checked_sub(FIRST_TOPIC) else { return (number, None) };
    CAPTURED.with_borrow(|captured| {
        let (port, topic) = &captured.topics[place as usize];
        (*port, Some(topic.clone()))
    })
}

/// Where all records of a test come from.
fn source() -> types::Source {
    types::Source { topic: "test".to_owned(), partition: 0 }
}

/// The records with their offsets, in columns.
fn batch<'a>(records: impl IntoIterator<Item = (i64, &'a Input)>) -> Batch {
    let mut batch = Batch { offsets: vec![], timestamps: vec![], attempts: vec![], layout: vec![], data: vec![] };
    for (offset, input) in records {
        batch.offsets.push(offset);
        batch.timestamps.push(input.timestamp.unwrap_or(-1));
        batch.attempts.push(input.attempt);
        let key = field(&mut batch.data, input.key.as_deref());
        let value = field(&mut batch.data, input.value.as_deref());
        let headers = i32::try_from(input.headers.len()).expect("a test has few headers");
        batch.layout.extend([key, value, headers]);
        for (name, value) in &input.headers {
            let name = field(&mut batch.data, Some(name));
            let value = field(&mut batch.data, value.as_deref());
            batch.layout.extend([name, value]);
        }
    }
    batch
}

/// Appends a field and returns its length.
fn field(data: &mut Vec<u8>, field: Option<&[u8]>) -> i32 {
    let Some(bytes) = field else { return NULL };
    data.extend_from_slice(bytes);
    i32::try_from(bytes.len()).expect("a field of a test is short")
}

/// Splits an outcome into the results of its records, as the host does.
fn read(inputs: &[Input], outcome: Outcome) -> Vec<Tested> {
    let Outcome { counts, ports, partitions, timestamps, layout, data, failures } = outcome;
    let mut layout = &layout[..];
    let mut data = &data[..];
    let mut outputs = 0..;
    let mut failures = failures.into_iter().peekable();
    let mut results = Vec::new();
    for (index, (input, count)) in (0..).zip(inputs.iter().zip(counts)) {
        if let Some(failed) = failures.next_if(|failed| failed.index == index) {
            results.push(Err(from_contract(failed.failure)));
            continue;
        }
        let emitted = outputs.by_ref().take(count as usize).map(|output: usize| {
            let (&[key, value, count], rest) = layout.split_first_chunk().expect("the layout names each output");
            layout = rest;
            let key = resolve(&mut data, key, &input.key);
            let value = resolve(&mut data, value, &input.value);
            let headers = if count == SAME {
                input.headers.clone()
            } else {
                let lengths = usize::try_from(count).expect("a number of headers is not negative") * 2;
                let (lengths, rest) = layout.split_at(lengths);
                layout = rest;
                let bytes = lengths.iter().map(|&length| length.max(0)).sum();
                let headers = Headers { lengths, data: take(&mut data, bytes).unwrap_or_default() };
                headers.iter().map(|Header { name, value }| (name.to_vec(), value.map(<[u8]>::to_vec))).collect()
            };
            let (port, topic) = port_and_topic(ports.get(output).copied().unwrap_or(0));
            Emitted {
                port,
                topic,
                key,
                value,
                headers,
                timestamp: timestamps.get(output).copied().filter(|&timestamp| timestamp >= 0).or(input.timestamp),
                partition: partitions.get(output).and_then(|&partition| u32::try_from(partition).ok()),
            }
        });
        results.push(Ok(emitted.collect()));
    }
    results
}

fn resolve(data: &mut &[u8], length: i32, input: &Option<Vec<u8>>) -> Option<Vec<u8>> {
    if length == SAME { input.clone() } else { take(data, length).map(<[u8]>::to_vec) }
}

fn from_contract(failure: types::Failure) -> Failure {
    match failure {
        types::Failure::Reject(types::Reject { code, reason }) => crate::reject(code, reason),
        types::Failure::Retry(types::Retry { delay_ms: None, reason }) => crate::retry(reason),
        types::Failure::Retry(types::Retry { delay_ms: Some(ms), reason }) => {
            crate::retry_after(std::time::Duration::from_millis(ms.into()), reason)
        }
    }
}
