//! Topics by record: each record goes to the topic that it names, and one that names a topic that isn't allowed, or doesn't exist, fails
//! alone.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::component;
use crate::support::java;
use crate::support::java::Raw;
use crate::support::say;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(120);
const PARTITIONS: usize = 3;

/// Topics whose names begin alike, and a pipeline that sends each record to the topic that its field `to` names.
struct Rows {
    prefix: String,
    input: String,
    dead: String,
    group: String,
    pipeline: Pipeline,
}

impl Rows {
    /// `on_error` is that table of the file; `DEAD` stands for the dead-letter topic.
    fn new(name: &str, on_error: &str) -> Rows {
        let prefix = unique(name);
        let [input, dead] = ["in", "dead"].map(|what| java::create(&format!("{name}-{what}"), PARTITIONS, &[]));
        let group = unique(name);
        let pipeline = Pipeline::of(&format!(
            "[input]\ntopics = [\"{input}\"]\ngroup = \"{group}\"\nsession_timeout = \"6s\"\n\n\
             [[step]]\nname = \"route\"\nwasm = \"../plugin.wasm\"\nsettings = {{ field = \"to\", topic = \"{{}}\", default = \"reject\" }}\n\n\
             [output.main]\ntopics_allowed = [\"{prefix}.*\", \"{dead}\"]\n\n\
             [limits]\nmax_in_flight = {{ records = 3000 }}\n\n\
             [on_error]\n{}\n",
            on_error.replace("DEAD", &dead)
        ));
        pipeline.install(&component::plugin("route"));
        Rows { prefix, input, dead, group, pipeline }
    }

    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn create(&self, name: &str) -> String {
        let topic = self.topic(name);
        java::create_again(&topic, PARTITIONS, &[]);
        topic
    }

    /// Writes numbered records to a partition, each with its topic.
    fn feed(&self, partition: usize, records: impl Iterator<Item = (usize, String)>) {
        let record = |(number, to): (usize, String)| Raw {
            timestamp: 1_700_000_000_000,
            key: Some(format!("k{}", number % 97).into_bytes()),
            value: Some(format!("{{\"n\":{number},\"to\":\"{to}\"}}").into_bytes()),
            headers: Vec::new(),
        };
        java::produce(&self.input, partition, &records.map(record).collect::<Vec<_>>());
    }

    fn committed(&self, process: &mut Process) {
        process.wait("all to be committed", LIMIT, |_| {
            java::committed(&self.group, &self.input) == java::ends(&self.input)
        });
    }

    /// How often a topic has each value.
    fn values(topic: &str) -> BTreeMap<String, usize> {
        let mut values = BTreeMap::new();
        for partition in 0..PARTITIONS {
            for (_, raw) in java::dump(topic, partition) {
                *values.entry(String::from_utf8(raw.value.unwrap()).unwrap()).or_default() += 1;
            }
        }
        values
    }

    /// The dead letters' codes and reasons, by the topic that the record named. A repeated one counts once.
    fn dead_letters(&self) -> BTreeMap<String, (String, String)> {
        let mut found = BTreeMap::new();
        for partition in 0..PARTITIONS {
            for (_, raw) in java::dump(&self.dead, partition) {
                let header = |name: &str| {
                    let found = raw.headers.iter().find(|(own, _)| own == name.as_bytes());
                    found.and_then(|(_, value)| String::from_utf8(value.clone()?).ok()).unwrap_or_default()
                };
                let value = String::from_utf8(raw.value.clone().unwrap()).unwrap();
                let to = value.split("\"to\":\"").nth(1).unwrap().trim_end_matches("\"}").to_owned();
                found.insert(to, (header("wasmill-code"), header("__streams.errors.message")));
            }
        }
        found
    }
}

/// Three topics by a field, with records between them that name topics which can't be written, and a kill -9 on the way.
fn through_a_kill(name: &str, delivery: &[&str]) {
    const COUNT: usize = 20_000;
    let rows = Rows::new(name, "dead_letter = \"DEAD\"");
    let topics = ["eu", "us", "asia"].map(|region| rows.create(region));
    let missing = rows.topic("missing");
    let forbidden = format!("x{}", topics[0]);
    let to = |number: usize| match number {
        5_000 | 15_000 => missing.clone(),
        5_001 | 15_001 => forbidden.clone(),
        5_002 | 15_002 => rows.dead.clone(),
        5_003 | 15_003 => "no topic".to_owned(),
        number => topics[number % 3].clone(),
    };
    let mut process = rows.pipeline.run_with(delivery);
    let feed = |numbers: std::ops::Range<usize>| {
        for partition in 0..PARTITIONS {
            let own = numbers.clone().filter(|number| number / 7 % PARTITIONS == partition);
            rows.feed(partition, own.map(|number| (number, to(number))));
        }
    };
    for start in (0..COUNT / 2).step_by(1000) {
        feed(start..start + 1000);
    }
    process.wait("some to be committed, and not all", LIMIT, |_| {
        let committed: i64 = java::committed(&rows.group, &rows.input).iter().sum();
        committed > 0
    });
    for start in (COUNT / 2..COUNT).step_by(1000) {
        feed(start..start + 1000);
    }
    process.kill();
    process = rows.pipeline.run_with(delivery);
    rows.committed(&mut process);

    let mut repeats = 0;
    for (number, topic) in topics.iter().enumerate() {
        let values = Rows::values(topic);
        let wanted = (0..COUNT).filter(|&n| to(n) == *topic).count();
        assert_eq!(values.len(), wanted, "{topic}: {}", process.log());
        assert!(values.keys().all(|value| value.contains(topic.as_str())), "topic {number} has its own records only");
        repeats += values.values().sum::<usize>() - wanted;
    }
    say(&format!("{name}: {repeats} repeats of {COUNT} after a kill"));
    if !delivery.is_empty() {
        assert_eq!(repeats, 0);
    }
    let letters = rows.dead_letters();
    assert_eq!(letters.len(), 4, "{letters:?}");
    let (code, reason) = &letters[&missing];
    assert_eq!(code, "refused");
    for part in [missing.as_str(), "create it: ", "--create --topic "] {
        assert!(reason.contains(part), "{reason} lacks {part}");
    }
    for (named, part) in [
        (forbidden.as_str(), format!("where `output.main.topics_allowed` has `{}.*`", rows.prefix)),
        (rows.dead.as_str(), "writes its dead letters".to_owned()),
        ("no topic", "no name for a topic".to_owned()),
    ] {
        let (code, reason) = &letters[named];
        assert_eq!(code, "bad-output", "{reason}");
        assert!(reason.contains(&format!("`{named}`")) && reason.contains(&part), "{reason} lacks {part}");
    }
    let (_, metrics) = process.get("/metrics").unwrap();
    for line in metrics.lines().filter(|line| line.starts_with("wasmill_topic_records_produced_total{")) {
        assert!(topics.iter().any(|topic| line.contains(&format!("topic=\"{topic}\""))), "{line}");
    }
    assert_eq!(metrics.matches("wasmill_topic_records_produced_total{").count(), 3, "{metrics}");

    // The topic is asked about again after ten seconds.
    rows.create("missing");
    process.wait("records in the topic that was created", LIMIT, |_| {
        rows.feed(0, std::iter::once((COUNT, missing.clone())));
        java::records(&missing).iter().sum::<usize>() > 0
    });
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0));
}

#[test]
fn records_go_to_the_topics_that_they_name_and_a_kill_loses_none() {
    through_a_kill("named", &[]);
}

#[test]
fn records_go_to_the_topics_that_they_name_exactly_once() {
    through_a_kill("named-once", &["--set", "delivery=\"exactly_once\""]);
}

#[test]
fn a_pipeline_that_stops_at_a_topic_that_does_not_exist_names_it_and_the_command_that_creates_it() {
    let rows = Rows::new("named-stop", "then = \"stop\"");
    let topic = rows.create("eu");
    let missing = rows.topic("missing");
    rows.feed(0, (0..10).map(|number| (number, if number == 7 { missing.clone() } else { topic.clone() })));
    let mut process = rows.pipeline.run();
    assert_eq!(process.exit(LIMIT), Some(1));
    let log = process.log();
    for part in ["offset 7", missing.as_str(), "kafka-topics.sh", "--create --topic "] {
        assert!(log.contains(part), "{part} is missing: {log}");
    }
    assert_eq!(Rows::values(&topic).len(), 7, "what is below it is delivered");
    assert_eq!(java::committed(&rows.group, &rows.input)[0], 7);
}

#[test]
fn a_topic_that_may_not_be_written_or_is_deleted_fails_its_records_and_not_the_pipeline() {
    let rows = Rows::new("named-denied", "dead_letter = \"DEAD\"");
    let [eu, denied] = ["eu", "denied"].map(|name| rows.create(name));
    java::allow("ANONYMOUS", "topic", &denied, "describe");
    let mut process = rows.pipeline.run();
    let to = |number: usize| if number.is_multiple_of(2) { eu.clone() } else { denied.clone() };
    rows.feed(0, (0..10).map(|number| (number, to(number))));
    rows.committed(&mut process);
    assert_eq!(Rows::values(&eu).len(), 5);
    let (code, reason) = &rows.dead_letters()[&denied];
    assert_eq!(code, "refused");
    assert!(reason.contains("grant it: ") && reason.contains(&denied), "{reason}");
    // A topic that is gone is noticed by its deliveries.
    java::delete(&eu);
    rows.feed(1, (20..30).map(|number| (number, eu.clone())));
    rows.committed(&mut process);
    let (code, reason) = &rows.dead_letters()[&eu];
    assert_eq!(code, "refused");
    assert!(reason.contains("create it: ") && reason.contains(&eu), "{reason}");
}
