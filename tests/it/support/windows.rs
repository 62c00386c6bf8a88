//! A pipeline that counts and sums for each key and minute, and what its results must be.
//!
//! Invariant: what the results must be is computed from the input topic by the rule that the documentation states, record by record, and
//! from nothing that wasmill says.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::clock;
use crate::support::component;
use crate::support::java;
use crate::support::java::Raw;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

pub(crate) const WINDOW_MS: i64 = 60_000;
/// How many wrong windows a message lists.
const LISTED: usize = 8;
/// The keys of a step that counts orders and sums their totals.
const FUNCTIONS: &str = "use = \"std:aggregate\"\nsettings = { orders = \"count\", revenue = \"sum:/total\" }";
/// The same of a plugin whose results have the number of orders with each total: `plugins/top`.
const PLUGIN: &str = "wasm = \"../plugin.wasm\"\nsettings = { field = \"/total\", k = 1000 }";

/// A result: key, start of the window.
pub(crate) type Window = (String, i64);
/// Orders, and their total in cents.
pub(crate) type Sums = (u64, i64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    AtLeastOnce,
    ExactlyOnce,
}

/// When windows close, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closing {
    pub(crate) lateness_s: i64,
    pub(crate) idle_s: u64,
}

/// The topics of a pipeline with a step that counts and sums for each key and minute.
#[derive(Debug)]
pub(crate) struct Windowed {
    pub(crate) input: String,
    pub(crate) output: String,
    pub(crate) late: String,
    pub(crate) group: String,
    pub(crate) pipeline: Pipeline,
    pub(crate) partitions: usize,
    delivery: Delivery,
    closing: Closing,
}

/// The windows that the input has, and its late records.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub(crate) windows: BTreeMap<Window, ExpectedWindow>,
    late: BTreeMap<(i64, Vec<u8>), Vec<Origin>>,
}

/// A partition and an offset of the input.
type Origin = (usize, i64);

/// A window of a key: where its records are, and their cents.
#[derive(Debug, Default)]
pub(crate) struct ExpectedWindow {
    records: Vec<(Origin, i64)>,
}

/// The results, compared with the windows that the input has.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) results: usize,
    /// The number of windows of each partition.
    pub(crate) windows: Vec<usize>,
    /// Results that are there again, with the same value.
    pub(crate) repeats: usize,
    pub(crate) late: usize,
    /// What is wrong.
    pub(crate) faults: Vec<String>,
}

impl Windowed {
    /// With `std:aggregate`. `more` is appended to the keys of `[input]`.
    pub(crate) fn new(name: &str, partitions: usize, closing: Closing, delivery: Delivery, more: &str) -> Windowed {
        Windowed::of(FUNCTIONS, name, partitions, closing, delivery, more)
    }

    /// Like [`Windowed::new`], with a plugin.
    pub(crate) fn with_plugin(
        name: &str,
        partitions: usize,
        closing: Closing,
        delivery: Delivery,
        more: &str,
    ) -> Windowed {
        let windowed = Windowed::of(PLUGIN, name, partitions, closing, delivery, more);
        windowed.pipeline.install(&component::plugin("top"));
        windowed
    }

    fn of(step: &str, name: &str, partitions: usize, closing: Closing, delivery: Delivery, more: &str) -> Windowed {
        let [input, output, late] =
            ["in", "out", "late"].map(|topic| java::create(&format!("windows-{name}-{topic}"), partitions, &[]));
        let group = unique(name);
        java::permit(&[&input], &[&output, &late, &format!("{group}.per-minute.changelog")], &group);
        let Closing { lateness_s, idle_s } = closing;
        let pipeline = Pipeline::of(&format!(
            "[[step]]\nname = \"per-minute\"\n{step}\nkey = \"json:/customer\"\nsame_partition = true\n\
             window = {{ size = \"1m\", lateness = \"{lateness_s}s\", idle = \"{idle_s}s\" }}\n\n\
             [state]\ncreate = true\n\n[output.main]\ntopic = \"{output}\"\n\n[output.late]\ntopic = \"{late}\"\n\n\
             [input]\ntopics = [\"{input}\"]\ngroup = \"{group}\"\n{more}\n"
        ));
        Windowed { input, output, late, group, pipeline, partitions, delivery, closing }
    }

    pub(crate) fn run(&self) -> Process {
        self.run_in(&[], &[])
    }

    /// Starts a process with these environment variables and these further arguments.
    pub(crate) fn run_in(&self, variables: &[(&str, &str)], more: &[&str]) -> Process {
        let delivery: &[&str] = match self.delivery {
            Delivery::AtLeastOnce => &["--set", "delivery=\"at_least_once\"", "--set", "limits.commit_every=\"200ms\""],
            // The default of a pipeline with windows.
            Delivery::ExactlyOnce => &[],
        };
        self.pipeline.run_in(variables, &[delivery, more].concat())
    }

    pub(crate) fn changelog(&self) -> String {
        format!("{}.per-minute.changelog", self.group)
    }

    /// What the input has now.
    pub(crate) fn expected(&self) -> Expected {
        let mut expected = Expected::default();
        for partition in 0..self.partitions {
            expected.add(partition, &java::dump(&self.input, partition), self.closing.lateness_s * 1000);
        }
        expected
    }

    /// All results, in the order of each partition.
    pub(crate) fn results(&self) -> Vec<(Window, Sums)> {
        let all = (0..self.partitions).flat_map(|partition| java::dump(&self.output, partition));
        let read = |(_, record): (i64, Raw)| {
            let result: Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
            let key = result["key"].as_str().unwrap().to_owned();
            assert_eq!(record.key.as_deref(), Some(key.as_bytes()), "the result's key");
            let end = record.timestamp + 1;
            ((key, end - WINDOW_MS), sums(&result))
        };
        all.map(read).collect()
    }

    /// Whether as many windows as expected have a result.
    pub(crate) fn has_results(&self, expected: usize) -> bool {
        // Ends count the markers of transactions, too, so this alone does not tell.
        let written = java::ends(&self.output).iter().sum::<i64>();
        usize::try_from(written).unwrap() >= expected
            && self.results().into_iter().map(|(window, _)| window).collect::<BTreeSet<_>>().len() >= expected
    }

    /// Compares the results with the windows of the input.
    pub(crate) fn examine(&self) -> Findings {
        let is_once = self.delivery == Delivery::ExactlyOnce;
        let expected = self.expected();
        let mut findings = Findings { windows: vec![0; self.partitions], ..Findings::default() };
        let mut once = BTreeMap::new();
        for (window, sums) in self.results() {
            findings.results += 1;
            match once.insert(window.clone(), sums) {
                None => {}
                Some(other) if other == sums && !is_once => findings.repeats += 1,
                Some(other) => findings.faults.push(format!("{window:?} has {other:?} and again {sums:?}")),
            }
        }
        for (window, wanted) in &expected.windows {
            findings.windows[wanted.partition()] += 1;
            let found = once.remove(window);
            if found != Some(wanted.sums()) {
                findings.faults.push(format!("{window:?} has {found:?} instead of {}", wanted.describe(found)));
            }
        }
        let none = once.keys().map(|window| format!("{window:?} has a result and no record"));
        findings.faults.extend(none);
        self.compare_late(expected.late, &mut findings);
        findings
    }

    /// Compares the late records with their output.
    fn compare_late(&self, mut expected: BTreeMap<(i64, Vec<u8>), Vec<Origin>>, findings: &mut Findings) {
        findings.late = expected.values().map(Vec::len).sum();
        let is_once = self.delivery == Delivery::ExactlyOnce;
        let mut seen = BTreeSet::new();
        for (_, record) in (0..self.partitions).flat_map(|partition| java::dump(&self.late, partition)) {
            let record = (record.timestamp, record.value.unwrap_or_default());
            let is_known = expected.get_mut(&record).and_then(Vec::pop).is_some();
            if !is_known && (is_once || !seen.contains(&record)) {
                findings.faults.push(format!("{:?} is in the output of late records, and is none", record.0));
            }
            seen.insert(record);
        }
        for (partition, offset) in expected.into_values().flatten() {
            findings.faults.push(format!("the late record at {partition}/{offset} is not in its output"));
        }
    }

    /// Fails unless each window of the input has its result: exactly once, or at least once and always the same.
    ///
    /// # Panics
    /// If not; the message lists some windows.
    pub(crate) fn assert_exact(&self) -> Findings {
        let findings = self.examine();
        let faults = &findings.faults;
        assert!(
            faults.is_empty(),
            "{} faults in {} windows: {}",
            faults.len(),
            findings.windows.iter().sum::<usize>(),
            faults[..faults.len().min(LISTED)].join("; ")
        );
        findings
    }
}

impl Expected {
    fn add(&mut self, partition: usize, records: &[(i64, Raw)], lateness_ms: i64) {
        let mut greatest = i64::MIN;
        for (offset, record) in records {
            let (time, origin) = (record.timestamp, (partition, *offset));
            let start = time.div_euclid(WINDOW_MS) * WINDOW_MS;
            let value = record.value.as_deref().unwrap();
            if start + WINDOW_MS <= greatest.saturating_sub(lateness_ms) {
                self.late.entry((time, value.to_vec())).or_default().push(origin);
            } else {
                let order: Value = serde_json::from_slice(value).unwrap();
                let window = (order["customer"].as_str().unwrap().to_owned(), start);
                self.windows.entry(window).or_default().records.push((origin, cents(&order["total"])));
            }
            greatest = greatest.max(time);
        }
    }
}

impl ExpectedWindow {
    fn sums(&self) -> Sums {
        (self.records.len() as u64, self.records.iter().map(|(_, cents)| cents).sum())
    }

    /// The partition that has its records.
    fn partition(&self) -> usize {
        self.records.first().map_or(0, |((partition, _), _)| *partition)
    }

    /// The sums, and the record that is missing in what was found, if there is one such.
    fn describe(&self, found: Option<Sums>) -> String {
        let (orders, cents) = self.sums();
        let lacking = found.filter(|found| found.0 + 1 == orders).map(|found| cents - found.1);
        let is_it = |(_, cents): &&(Origin, i64)| Some(*cents) == lacking;
        let one = self.records.iter().find(is_it).map(|((partition, offset), _)| format!("{partition}/{offset}"));
        let places: Vec<String> = match one {
            Some(place) => vec![place],
            None => self.records.iter().map(|((partition, offset), _)| format!("{partition}/{offset}")).collect(),
        };
        format!("{:?}; see the records at {}", (orders, cents), places[..places.len().min(LISTED)].join(", "))
    }
}

/// An order of a customer at a time.
pub(crate) fn order(time: i64, customer: u64, cents: i64) -> Raw {
    let value = format!(r#"{{"customer":"c{customer}","total":{}.{:02}}}"#, cents / 100, cents % 100);
    Raw { timestamp: time, key: None, value: Some(value.into_bytes()), headers: Vec::new() }
}

/// A base time whose windows, and those of the next hours, have all ended.
pub(crate) fn some_hours_ago() -> i64 {
    (i64::try_from(clock::unix_ms()).unwrap() / WINDOW_MS - 1440) * WINDOW_MS
}

/// The sums of a result.
fn sums(result: &Value) -> Sums {
    let Some(totals) = result["top"].as_array() else {
        return (result["orders"].as_u64().unwrap(), cents(&result["revenue"]));
    };
    assert_eq!(result["error"], 0, "a result of all totals: {result}");
    totals.iter().fold((0, 0), |(orders, sum), total| {
        let count = total["count"].as_u64().unwrap();
        let total: Value = serde_json::from_str(total["item"].as_str().unwrap()).unwrap();
        (orders + count, sum + i64::try_from(count).unwrap() * cents(&total))
    })
}

/// An amount in cents.
fn cents(amount: &Value) -> i64 {
    format!("{:.0}", amount.as_f64().unwrap() * 100.0).parse().unwrap()
}
