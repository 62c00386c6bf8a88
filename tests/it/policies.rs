//! What happens to a failed record depends on why it failed: it is retried, skipped, dead-lettered, stops the pipeline or holds it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use crate::support::component;
use crate::support::java;
use crate::support::java::Raw;
use crate::support::unique;
use crate::support::wasmill::Pipeline;

const LIMIT: Duration = Duration::from_secs(60);

/// Topics with one partition, of which the first has these values; a pipeline between them through `plugins/faulty`.
struct Case {
    input: String,
    output: String,
    dead: String,
    group: String,
    pipeline: Pipeline,
}

impl Case {
    fn new(name: &str, values: &[&str], on_error: &str) -> Case {
        let [input, output, dead] = ["in", "out", "dead"].map(|end| java::create(&format!("{name}-{end}"), 1, &[]));
        let group = unique(name);
        java::permit(&[&input], &[&output, &dead], &group);
        let pipeline = Pipeline::of(&format!(
            "[[step]]\nname = \"faulty\"\nwasm = \"../plugin.wasm\"\n\n[output.main]\ntopic = \"{output}\"\n\n\
             [input]\ntopics = [\"{input}\"]\ngroup = \"{group}\"\n\n[on_error]\n{}\n",
            on_error.replace("DEAD", &dead)
        ));
        pipeline.install(&component::faulty());
        let raw = |value: &&str| Raw { timestamp: 1, value: Some(value.as_bytes().to_vec()), ..Raw::default() };
        java::produce(&input, 0, &values.iter().map(raw).collect::<Vec<_>>());
        Case { input, output, dead, group, pipeline }
    }

    fn values(topic: &str) -> Vec<String> {
        java::dump(topic, 0).into_iter().map(|(_, raw)| String::from_utf8(raw.value.unwrap()).unwrap()).collect()
    }
}

#[test]
fn each_reason_has_its_own_rule() {
    let on_error = "then = \"stop\"\ndead_letter = \"DEAD\"\nbackoff = { from = \"10ms\" }\n\
                    [on_error.code.flaky]\nretries = 2\nthen = \"skip\"\n\
                    [on_error.code.bad-json]\nthen = \"dead_letter\"\n\
                    [on_error.kind.trap]\nthen = \"skip\"\n\
                    [on_error.kind.retry]\nretries = 1\nthen = \"dead_letter\"";
    let values = ["a", "reject flaky", "b", "reject bad-json", "trap", "retry 1", "retry 9", "c", "reject other", "d"];
    let case = Case::new("reasons", &values, on_error);
    let mut process = case.pipeline.run();
    assert_eq!(process.exit(LIMIT), Some(1), "the general rule stops it at the last reject");
    let log = process.log();
    assert!(log.contains("offset 8") && log.contains("reject (other)"), "{log}");
    assert_eq!(java::committed(&case.group, &case.input), [8]);
    assert_eq!(Case::values(&case.output), ["a", "b", "retry 1", "c"]);
    assert_eq!(Case::values(&case.dead), ["reject bad-json", "retry 9"]);
    // Two retries of `flaky`, and one of each `retry`.
    let skipped = log.lines().find(|line| line.contains("skipped: ") && line.contains("flaky")).unwrap();
    assert!(skipped.contains("\"attempts\":3"), "{skipped}");
}

#[test]
fn a_record_holds_the_pipeline_until_it_is_reloaded() {
    hold("hold", &[]);
}

#[test]
fn a_record_holds_a_pipeline_with_exactly_once_delivery_and_order_by_key() {
    hold("hold-once", &["--set", "delivery=\"exactly_once\"", "--set", "order=\"key\""]);
}

fn hold(name: &str, more: &[&str]) {
    let values = ["a", "reject wait-for-me", "b"];
    let case = Case::new(name, &values, "[on_error.code.wait-for-me]\nthen = \"hold\"");
    let mut process = case.pipeline.run_with(more);
    let is_held = |process: &crate::support::wasmill::Process| {
        process.get("/readyz?verbose").is_some_and(|(status, checks)| {
            let place = format!("topic {}, partition 0, offset 1 (tried once): step `faulty`", case.input);
            status == 503 && checks.contains(&place) && checks.contains("kill -HUP")
        })
    };
    process.wait("the probe to name the record", LIMIT, is_held);
    process.wait("what is below to be committed", LIMIT, |_| java::committed(&case.group, &case.input) == [1]);
    // The problem is still there.
    process.hang_up();
    process.wait("it to be held again", LIMIT, |process| process.log().matches("held: topic").count() == 2);
    process.wait("the probe to name it again", LIMIT, is_held);
    case.pipeline.install(&component::forward());
    process.hang_up();
    process.wait("the rest", LIMIT, |_| java::committed(&case.group, &case.input) == [3]);
    process.wait("the probe", LIMIT, |process| process.get("/readyz").is_some_and(|(status, _)| status == 200));
    // Without keys there is no order by key.
    let sorted = |mut values: Vec<String>| {
        values.sort_unstable();
        values
    };
    assert_eq!(sorted(Case::values(&case.output)), sorted(values.map(str::to_owned).to_vec()));
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
}

#[test]
fn a_held_pipeline_ends_when_it_is_told_to() {
    let case = Case::new("hold-end", &["a", "reject no", "b"], "then = \"hold\"");
    let mut process = case.pipeline.run();
    process.wait("it to be held", LIMIT, |process| process.log().contains("held: topic"));
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
    assert_eq!(java::committed(&case.group, &case.input), [1]);
}
