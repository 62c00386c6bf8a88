//! Instances of plugins are made when an executor first has records, and their memory is taken then.

use std::fs;
use std::time::Duration;

use crate::support;
use crate::support::component;
use crate::support::component::Behaviour;
use crate::support::java;
use crate::support::java::Raw;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(60);

fn record(key: &str, value: &str) -> Raw {
    Raw { key: Some(key.as_bytes().to_vec()), value: Some(value.as_bytes().to_vec()), ..Raw::default() }
}

fn instances(process: &Process) -> Option<f64> {
    process.metric("wasmill_plugin_instances")
}

/// With 64 executors: one instance at the start, one more for a second partition, and under load as many as are busy at once. A reload
/// makes them for the executors that are at work.
#[test]
fn an_executor_has_an_instance_from_its_first_record_on() {
    const PARALLELISM: u32 = 64;
    const KEYS: i64 = 2_000;
    let _alone = support::load();
    let (input, output) = (java::create("instances-in", 2, &[]), java::create("instances-out", 2, &[]));
    let group = unique("instances");
    let pipeline = Pipeline::new(&input, &output, &group, "\n[limits]\nparallelism = 64\n");
    pipeline.install(&component::stamped(1));
    let mut process = pipeline.run();
    process.ready();
    let memory = |process: &Process| process.metric("wasmill_plugin_memory_bytes").unwrap_or_default();
    let one = memory(&process);
    assert_eq!(instances(&process), Some(1.0), "at the start");
    for (partition, expected) in [(0, 1.0), (1, 2.0)] {
        java::produce(&input, partition, &[record("a", "b")]);
        process.wait("its record to be committed", LIMIT, |_| java::committed(&group, &input)[partition] == 1);
        assert_eq!(instances(&process), Some(expected), "with {} partitions", partition + 1);
    }
    assert!(memory(&process) < 2.5 * one, "the memory of two instances");
    pipeline.install(&component::stamped(2));
    process.hang_up();
    let made = |process: &Process, reason: &str| {
        let (_, body) = process.get("/metrics").unwrap_or_default();
        let line = body
            .lines()
            .find(|line| line.starts_with("wasmill_plugin_instantiations_total{") && line.contains(reason))?;
        line.rsplit(' ').next()?.parse::<f64>().ok()
    };
    process.wait("the reload", LIMIT, |process| made(process, "reason=\"reload\"") == Some(2.0));
    assert_eq!((instances(&process), made(&process, "reason=\"start\"")), (Some(2.0), Some(2.0)));
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());

    // Each call takes a while, so that all executors are busy at once.
    let hold = ("WASMILL_FAILPOINT", "after-guest=hold@100");
    let mut process = pipeline.run_in(&[hold], &["--set", "order=\"key\""]);
    let keyed: Vec<Raw> = (0..KEYS).map(|number| record(&number.to_string(), "b")).collect();
    for partition in 0..2 {
        java::produce(&input, partition, &keyed);
    }
    process.wait("all executors to be busy", LIMIT, |process| instances(process) == Some(f64::from(PARALLELISM)));
    process.wait("all to be committed", LIMIT, |_| java::committed(&group, &input) == [1 + KEYS; 2]);
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
}

/// The second executor's instance doesn't fit into what the process may have: that fails its records, as after a trap, and nothing else.
#[test]
fn an_instance_that_cannot_be_made_later_fails_the_records_of_its_executor() {
    let [input, output, dead] = [("in", 2), ("out", 2), ("dead", 1)]
        .map(|(of, partitions)| java::create(&format!("later-{of}"), partitions, &[]));
    let group = unique("later");
    let more = format!("\n[limits]\nparallelism = 2\n\n[on_error]\ndead_letter = \"{dead}\"\n");
    let pipeline = Pipeline::new(&input, &output, &group, &more);
    let folder = tempfile::tempdir().unwrap();
    let pipelines = folder.path().join("pipelines");
    fs::create_dir(&pipelines).unwrap();
    // 9.4 MiB.
    let large = component::with_pages(150, 0, -1, Behaviour::default());
    fs::write(folder.path().join("plugin.wasm"), large).unwrap();
    fs::copy(pipeline.file(), pipelines.join("later.toml")).unwrap();
    fs::write(pipelines.join("wasmill.toml"), "[limits]\nmemory = \"16 MiB\"\n").unwrap();
    let mut process = Process::fleet(&pipelines);
    process.ready();
    for partition in 0..2 {
        java::produce(&input, partition, &[record("a", "b")]);
        process.wait("its record to be committed", LIMIT, |_| java::committed(&group, &input)[partition] == 1);
    }
    assert_eq!((java::records(&output).iter().sum::<usize>(), java::records(&dead)), (1, vec![1]));
    let (_, body) = process.get("/metrics").unwrap();
    assert!(body.lines().any(|line| line.starts_with("wasmill_dead_letters_total{")
        && line.contains("kind=\"memory\"")
        && line.ends_with(" 1")));
    assert_eq!(instances(&process), Some(1.0));
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
}
