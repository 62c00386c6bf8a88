//! What a platform bounds for pipelines that it doesn't trust: how fast they read, and what their files may name, also after a reload.

use std::fs;
use std::time::Duration;

use crate::support::clock;
use crate::support::component;
use crate::support::java;
use crate::support::java::Raw;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(60);
const READ: &str = "wasmill_records_consumed_total";
const WAITED: &str = "wasmill_waiting_seconds_total{pipeline=\"pipeline\",reason=\"rate\"}";
const FAILED: &str = "wasmill_config_reloads_total{pipeline=\"pipeline\",result=\"failed\"}";
const SUCCEEDED: &str = "wasmill_config_reloads_total{pipeline=\"pipeline\",result=\"ok\"}";

fn records(count: usize) -> Vec<Raw> {
    let raw = Raw { timestamp: 1_700_000_000_000, key: None, value: Some(b"x".to_vec()), headers: Vec::new() };
    vec![raw; count]
}

#[test]
fn a_rate_holds_the_reading_back_until_a_reload_takes_it_away() {
    let input = java::create("rate-in", 1, &[]);
    let output = java::create("rate-out", 1, &[]);
    let group = unique("rate");
    let pipeline = Pipeline::new(&input, &output, &group, "[limits]\nrecords_per_second = 100");
    pipeline.install(&component::stamped(1));
    // At the rate, these would take far longer than the test waits.
    for _ in 0..10 {
        java::produce(&input, 0, &records(2_000));
    }
    let mut process = pipeline.run();
    let read = |process: &Process| process.metric(READ).unwrap_or(0.0);
    process.wait("the first records", LIMIT, |process| read(process) > 0.0);
    let (before, watch) = (read(&process), clock::Watch::start());
    process.wait("five hundred more", LIMIT, |process| read(process) >= before + 500.0);
    let (more, took) = (read(&process) - before, watch.elapsed().as_secs_f64());
    // What was read beyond the first look, and the bucket's tenth of a second, may come at once.
    assert!(more <= took * 100.0 + 100.0, "{more} records in {took} s");
    assert!(
        process.metric(WAITED).is_some_and(|waited| waited > took / 4.0),
        "{:?} of {took} s",
        process.metric(WAITED)
    );

    let file = pipeline.folder().join("0/pipeline.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("records_per_second = 100", "")).unwrap();
    process.hang_up();
    process.wait("all records to be committed", LIMIT, |_| java::committed(&group, &input) == [20_000]);
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0));
}

#[test]
fn a_reload_that_violates_the_policy_is_refused_and_the_old_configuration_runs_on() {
    let input = java::create("policy-in", 1, &[]);
    let output = java::create("policy-out", 1, &[]);
    let group = unique("policy");
    let pipeline = Pipeline::new(&input, &output, &group, "");
    pipeline.install(&component::stamped(1));
    let policy = pipeline.folder().join("policy.toml");
    let rule = format!(
        "[[rule]]\npipelines = [\"*\"]\nbrokers = [\"*\"]\ntopics = {{ read = [\"*\"], write = [\"{output}\"] }}\ngroups = [\"*\"]\n\
         references = {{ env = [\"*\"], files = [\"*\"] }}\nlibrdkafka = [\"*\"]\ninsecure = true\nlimits = {{ memory = \"64 MiB\" }}\n"
    );
    fs::write(&policy, &rule).unwrap();
    let mut process = pipeline.run_with(&["--watch", "--policy", policy.to_str().unwrap()]);
    process.ready();
    let file = pipeline.folder().join("0/pipeline.toml");
    let text = fs::read_to_string(&file).unwrap();
    let mut failed = 0;
    let mut offset = 0;
    let mut refused = |process: &mut Process, says: &[&str]| {
        failed += 1;
        process.wait("the reload to be refused", LIMIT, |process| process.metric(FAILED) == Some(f64::from(failed)));
        let (status, checks) = process.get("/readyz?verbose").unwrap();
        assert_eq!(status, 200, "what runs is ready\n{checks}");
        for part in says {
            assert!(checks.contains(part), "{part} is not in\n{checks}");
        }
        offset += 10;
        java::produce(&input, 0, &records(10));
        process.wait("the old configuration to go on", LIMIT, |_| java::ends(&output) == [offset]);
    };
    fs::write(&file, text.replace(&format!("topic = \"{output}\""), "topic = \"payments\"")).unwrap();
    refused(&mut process, &["writing the topic `payments` is not permitted", "policy.toml:4: `topics.write` permits"]);
    // The brokers weren't asked for what isn't permitted.
    assert!(!process.log().contains("does not exist"), "{}", process.log());
    fs::write(&file, text.replace("[[step]]", "[[step]]\nmemory = \"65 MiB\"")).unwrap();
    refused(&mut process, &["`memory` of step `step-one` is \"65 MiB\", which is more than is permitted"]);
    // The policy itself changes, and no longer permits what runs.
    fs::write(&file, &text).unwrap();
    process.wait("the file as it was", LIMIT, |process| process.metric(SUCCEEDED) == Some(1.0));
    fs::write(&policy, rule.replace(&output, "other")).unwrap();
    refused(&mut process, &["is not permitted", "policy.toml:4: `topics.write` permits `other`"]);
    fs::write(&policy, rule.replace("groups", "group")).unwrap();
    refused(&mut process, &["did you mean `groups`?"]);
    fs::write(&policy, &rule).unwrap();
    process.wait("the policy as it was", LIMIT, |process| process.metric(SUCCEEDED) == Some(2.0));
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0));
}
