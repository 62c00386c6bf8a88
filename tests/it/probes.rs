//! Probes while brokers are silent and while a pipeline drains. A mock broker is sufficient and can be silenced: it delays its
//! answers while its connections stay open.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use rdkafka::mocking::MockCluster;

use crate::support::clock;
use crate::support::component;
use crate::support::say;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

/// How long answers are delayed.
const SILENCE: Duration = Duration::from_secs(40);
const NOT_READY: Duration = Duration::from_secs(20);
/// Leaving the group and closing the clients have a time limit, even though the brokers delay their answers for longer.
const ENDED: Duration = Duration::from_secs(15);
const LIMIT: Duration = Duration::from_secs(90);

#[test]
fn silent_brokers_and_a_drain_are_not_ready_and_still_live() {
    let cluster = MockCluster::new(1).unwrap();
    for topic in ["in", "out"] {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    let pipeline = Pipeline::new("in", "out", "probes", "session_timeout = \"20s\"").at(cluster.bootstrap_servers());
    pipeline.install(&component::forward());
    let mut process = pipeline.run();
    process.ready();
    process.wait("the partition", LIMIT, |process| process.metric("wasmill_assigned_partitions") == Some(1.0));
    let (status, checks) = process.get("/readyz?verbose").unwrap();
    assert_eq!(status, 200, "{checks}");
    for check in ["config", "pipeline/", "brokers", "outputs", "thread/worker", "thread/delivery", "thread/ticker"] {
        assert!(checks.contains(&format!("[+]{check}")), "{checks}");
    }
    process.wait("the broker", LIMIT, |process| process.metric("wasmill_kafka_connected_brokers") == Some(1.0));

    cluster.broker_round_trip_time(1, SILENCE).unwrap();
    let watch = clock::Watch::start();
    not_ready(&mut process, "[-]brokers: no broker has answered", NOT_READY);
    say(&format!("probes: not ready {:?} after the broker's last answer", watch.elapsed()));
    process.wait("the state", LIMIT, |process| {
        process.get("/metrics").is_some_and(|(_, text)| {
            text.lines().any(|line| line.contains("state=\"waiting\"") && line.ends_with(" 1"))
        })
    });
    // Its session expires meanwhile. It loses its partitions, but must not report that it runs, or that it waits again.
    process.wait("the session's end", LIMIT, |process| {
        process
            .get("/metrics")
            .is_some_and(|(_, text)| text.lines().any(|line| line.contains("kind=\"lost\"") && line.ends_with(" 1")))
    });
    let lost = clock::Watch::start();
    process.wait("the worker to look at it", LIMIT, |process| {
        if let Some((_, checks)) = process.get("/readyz?verbose") {
            assert!(checks.contains(": waiting: no broker has answered for"), "{checks}");
        }
        lost.elapsed() > Duration::from_secs(3)
    });
    cluster.broker_round_trip_time(1, Duration::ZERO).unwrap();
    process.wait("answers", LIMIT, |process| process.get("/readyz").is_some_and(|(status, _)| status == 200));
    process.wait("the partition again", LIMIT, |process| process.metric("wasmill_assigned_partitions") == Some(1.0));

    // It can't leave the group while the broker is silent, so its end takes long enough to be observed.
    cluster.broker_round_trip_time(1, SILENCE).unwrap();
    process.terminate();
    not_ready(&mut process, "draining", Duration::from_secs(5));
    // Nothing was in flight and everything is committed, so the silence only costs some time.
    assert_eq!(process.exit(ENDED), Some(0));
    let log = process.log();
    let said = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!((said("no broker has answered for"), said("brokers answer again")), (1, 1), "{log}");
    let of_client =
        |line: &str| line.contains("librdkafka\"") && (line.contains("\"WARN\"") || line.contains("\"ERROR\""));
    assert!(!log.lines().any(of_client), "{log}");
}

/// Waits until the process is not ready for this reason, but still live.
fn not_ready(process: &mut Process, why: &str, limit: Duration) {
    process.wait(why, limit, |process| {
        let live = process.get("/livez").map(|(status, _)| status);
        assert_eq!(live, Some(200));
        process.get("/readyz?verbose").is_some_and(|(status, checks)| status == 503 && checks.contains(why))
    });
    assert_eq!(process.get("/readyz").unwrap().0, 503);
}
