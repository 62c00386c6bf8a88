//! Traces of records: what a collector gets, what outputs carry on, and that neither records nor an end wait for the collector.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use serde_json::Value;

use crate::support::clock::Watch;
use crate::support::collector::Collector;
use crate::support::collector::ReceivedSpan;
use crate::support::component;
use crate::support::java;
use crate::support::java::Raw;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(90);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const FAILS: &str = "5bf92f3577b34da6a3ce929d0e0e4736";
const AGAIN: &str = "6bf92f3577b34da6a3ce929d0e0e4736";
const SENDER: &str = "00f067aa0ba902b7";

struct Case {
    input: String,
    output: String,
    dead: String,
    group: String,
    pipeline: Pipeline,
}

impl Case {
    /// A pipeline with two steps, the second of which fails as records say.
    fn new(name: &str) -> Case {
        let create = |what: &str| java::create(&format!("{name}-{what}"), 1, &[]);
        let (input, output, dead, group) = (create("in"), create("out"), create("dead"), unique(name));
        java::permit(&[&input], &[&output, &dead], &group);
        let pipeline = Pipeline::of(&format!(
            "[input]\ntopics = [\"{input}\"]\ngroup = \"{group}\"\n\n[[step]]\nname = \"first\"\nwasm = \"../plugin.wasm\"\n\n\
             [[step]]\nname = \"second\"\nwasm = \"../faulty.wasm\"\n\n[output.main]\ntopic = \"{output}\"\n\n\
             [on_error]\ndead_letter = \"{dead}\"\n"
        ));
        pipeline.install(&component::forward());
        pipeline.install_as("faulty.wasm", &component::faulty());
        Case { input, output, dead, group, pipeline }
    }

    fn run(&self, collector: &Collector, more: &[(&str, &str)]) -> Process {
        let url = collector.url();
        let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*url), ("OTEL_BSP_SCHEDULE_DELAY", "100")];
        self.pipeline.run_in(&[&variables, more].concat(), &[])
    }

    /// Produces records, and waits until all so far are committed.
    fn flow(&self, process: &mut Process, records: &[Raw]) {
        java::produce(&self.input, 0, records);
        process.wait("all to be committed", LIMIT, |_| {
            java::committed(&self.group, &self.input) == java::ends(&self.input)
        });
    }
}

fn record(value: &str, headers: &[(&str, Option<&str>)]) -> Raw {
    let bytes = |text: &str| text.as_bytes().to_vec();
    let headers = headers.iter().map(|(name, value)| (bytes(name), value.map(bytes))).collect();
    Raw { timestamp: 1_700_000_000_000, key: Some(b"k".to_vec()), value: Some(bytes(value)), headers }
}

fn parent(trace: &str, flags: &str) -> String {
    format!("00-{trace}-{SENDER}-{flags}")
}

/// The values of a record's headers of this name.
fn values(record: &Raw, name: &str) -> Vec<String> {
    let of = record.headers.iter().filter(|(other, _)| other == name.as_bytes());
    of.map(|(_, value)| String::from_utf8(value.clone().unwrap()).unwrap()).collect()
}

/// The spans of a trace, when so many are there.
fn await_trace(process: &mut Process, collector: &Collector, trace: &str, count: usize) -> Vec<ReceivedSpan> {
    let of = || -> Vec<_> { collector.spans().into_iter().filter(|span| span.trace == trace).collect() };
    process.wait("the spans of a trace", LIMIT, |_| of().len() >= count);
    let spans = of();
    assert_eq!(spans.len(), count, "{spans:#?}");
    spans
}

fn named<'s>(spans: &'s [ReceivedSpan], name: &str) -> &'s ReceivedSpan {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span {name} in {spans:#?}"))
}

#[test]
fn a_sampled_record_is_traced_from_its_sender_to_its_outputs_and_no_other_one_is_touched() {
    let case = Case::new("traced");
    let collector = Collector::start();
    let mut process = case.run(&collector, &[]);
    let (sampled, unsampled) = (parent(TRACE, "01"), parent("7bf92f3577b34da6a3ce929d0e0e4736", "00"));
    let records = [
        record("log", &[("tracestate", Some("x=1")), ("a", Some("1")), ("traceparent", Some(&sampled)), ("a", None)]),
        record(
            "passes",
            &[("b", None), ("traceparent", Some(&unsampled)), ("tracestate", Some("y=2")), ("b", Some(""))],
        ),
        record("passes", &[]),
        record("reject BAD", &[("traceparent", Some(&parent(FAILS, "01")))]),
        record("retry 1", &[("traceparent", Some(&parent(AGAIN, "01")))]),
    ];
    case.flow(&mut process, &records);

    let spans = await_trace(&mut process, &collector, TRACE, 4);
    let consumed = named(&spans, &format!("process {}", case.input));
    let attribute = |span: &ReceivedSpan, name: &str| span.attributes.get(name).cloned().unwrap_or_default();
    assert_eq!((&*consumed.parent, consumed.kind, &*consumed.state), (SENDER, 5, "x=1"));
    assert_eq!(consumed.error, None);
    for (name, value) in [
        ("messaging.system", "kafka"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", &*case.input),
        ("messaging.destination.partition.id", "0"),
        ("messaging.kafka.offset", "0"),
        ("messaging.consumer.group.name", &*case.group),
        ("wasmill.pipeline", "pipeline"),
        ("wasmill.attempt", "1"),
        ("wasmill.outcome", "emitted"),
    ] {
        assert_eq!(attribute(consumed, name), value, "{name}");
    }
    assert_eq!(consumed.resource.get("service.name").map(String::as_str), Some("wasmill"));
    for step in ["step first", "step second"] {
        let step = named(&spans, step);
        assert_eq!((&*step.parent, step.kind), (&*consumed.id, 1));
        assert!(step.nanoseconds >= 0 && step.nanoseconds <= consumed.nanoseconds, "{spans:#?}");
    }
    let sent = named(&spans, &format!("send {}", case.output));
    assert_eq!((&*sent.parent, sent.kind, attribute(sent, "wasmill.output")), (&*consumed.id, 4, "main".to_owned()));

    let outputs: Vec<Raw> = java::dump(&case.output, 0).into_iter().map(|(_, record)| record).collect();
    assert_eq!(outputs.len(), 4, "{}", process.log());
    assert_eq!(values(&outputs[0], "traceparent"), [format!("00-{TRACE}-{}-01", sent.id)]);
    assert_eq!(values(&outputs[0], "tracestate"), ["x=1"]);
    let others: Vec<_> =
        outputs[0].headers.iter().filter(|(name, _)| name == b"a").map(|(_, value)| value.clone()).collect();
    assert_eq!(others, [Some(b"1".to_vec()), None]);
    assert_eq!(outputs[1..3], records[1..3], "byte for byte");

    let failed = await_trace(&mut process, &collector, FAILS, 3);
    let refused = named(&failed, &format!("process {}", case.input));
    assert!(refused.error.as_ref().is_some_and(|text| text.contains("told to reject")), "{refused:?}");
    assert_eq!(
        (attribute(refused, "wasmill.outcome"), attribute(refused, "error.type")),
        ("dead_lettered".into(), "reject".into())
    );
    assert_eq!(
        (named(&failed, "step first").error.as_ref(), named(&failed, "step second").error.is_some()),
        (None, true)
    );
    let (_, letter) = java::dump(&case.dead, 0).remove(0);
    assert_eq!(values(&letter, "traceparent"), [parent(FAILS, "01")], "a dead letter has its record's headers");

    let tries = await_trace(&mut process, &collector, AGAIN, 7);
    let of: Vec<_> = tries
        .iter()
        .filter(|span| span.kind == 5)
        .map(|span| (attribute(span, "wasmill.attempt"), attribute(span, "wasmill.outcome")))
        .collect();
    assert_eq!(of, [("1".into(), "retried".into()), ("2".into(), "emitted".into())]);
    let kept = tries.iter().find(|span| span.kind == 5 && span.error.is_none()).unwrap();
    let sent = named(&tries, &format!("send {}", case.output));
    assert_eq!(
        (&sent.parent, values(&outputs[3], "traceparent")),
        (&kept.id, vec![format!("00-{AGAIN}-{}-01", sent.id)])
    );

    assert_eq!(collector.spans().len(), 14, "{:#?}", collector.spans());
    process.wait("the spans to be counted", LIMIT, |process| {
        process.metric("wasmill_trace_spans_exported_total") == Some(14.0)
    });
    assert_eq!(process.metric("wasmill_trace_spans_dropped_total"), Some(0.0));
    names_its_plugin(&process.log());
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0));
}

/// The lines that the plugin wrote have its name and version as fields.
fn names_its_plugin(log: &str) {
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let told: Vec<&Value> =
        lines.iter().filter(|line| line["target"] == "plugin" && line["message"] == "told to").collect();
    assert_eq!(told.len(), 3, "info, warn and error: {log}");
    for line in told {
        assert_eq!((&line["step"], &line["plugin"]), (&Value::from("second"), &Value::from("faulty")), "{line}");
        assert!(line["version"].is_string(), "{line}");
    }
}

#[test]
fn a_sampler_that_begins_traces_begins_one_for_each_record() {
    let case = Case::new("begun");
    let collector = Collector::start();
    let mut process = case.run(&collector, &[("OTEL_TRACES_SAMPLER", "always_on"), ("OTEL_SERVICE_NAME", "orders")]);
    let records: Vec<Raw> = (0..20).map(|n| record(&format!("value {n}"), &[])).collect();
    case.flow(&mut process, &records);
    process.wait("all spans", LIMIT, |_| collector.spans().len() >= 80);
    let spans = collector.spans();
    assert!(spans.iter().all(|span| span.resource.get("service.name").is_some_and(|name| name == "orders")));
    let outputs: Vec<Raw> = java::dump(&case.output, 0).into_iter().map(|(_, record)| record).collect();
    assert_eq!(outputs.len(), 20);
    let mut traces = std::collections::BTreeSet::new();
    for output in &outputs {
        let value = values(output, "traceparent").remove(0);
        let parts: Vec<&str> = value.split('-').collect();
        let sent = spans.iter().find(|span| span.id == parts[2]).unwrap();
        let first = spans.iter().find(|span| span.id == sent.parent).unwrap();
        assert_eq!((&*sent.trace, &*first.trace, &*first.parent, parts[3]), (parts[1], parts[1], "", "01"));
        traces.insert(first.trace.clone());
    }
    assert_eq!(traces.len(), 20, "each record has a trace of its own");
}

#[test]
fn a_collector_that_never_answers_delays_neither_records_nor_the_end() {
    let case = Case::new("silent");
    let collector = Collector::silent();
    let few = [("OTEL_TRACES_SAMPLER", "always_on"), ("OTEL_BSP_MAX_QUEUE_SIZE", "100")];
    let mut process = case.run(&collector, &few);
    let records: Vec<Raw> = (0..500).map(|n| record(&format!("value {n}"), &[])).collect();
    case.flow(&mut process, &records);
    assert_eq!(java::records(&case.output), [500]);
    process.wait("a request to wait for its answer", LIMIT, |_| collector.waiting() > 0);
    assert!(process.metric("wasmill_trace_spans_dropped_total").is_some_and(|dropped| dropped >= 1000.0));
    let watch = Watch::start();
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0));
    assert!(
        watch.elapsed() < Duration::from_secs(20),
        "{:?}: an end waits two seconds for the collector",
        watch.elapsed()
    );
}

#[test]
fn a_collector_that_is_not_there_is_one_line_in_the_log() {
    let case = Case::new("absent");
    let mut process = case.pipeline.run_in(
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
            ("OTEL_TRACES_SAMPLER", "always_on"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "200"),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ],
        &[],
    );
    case.flow(&mut process, &[record("first", &[])]);
    process.wait("the line", LIMIT, |process| process.log().contains("doesn't take them"));
    case.flow(&mut process, &[record("second", &[])]);
    process
        .wait("all to be dropped", LIMIT, |process| process.metric("wasmill_trace_spans_dropped_total") == Some(8.0));
    let log = process.log();
    assert!(log.contains("http://127.0.0.1:1/v1/traces doesn't take them: "), "{log}");
    assert!(log.contains("sampled by always_on"), "{log}");
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0));
}
