//! Windows over keyed state: the results equal those that a separate computation makes of the input topic, through kills, disorder, late
//! records and a quiet partition.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::thread;
use std::time::Duration;

use crate::support;
use crate::support::broker;
use crate::support::clock;
use crate::support::component;
use crate::support::component::Behaviour;
use crate::support::java;
use crate::support::java::Raw;
use crate::support::random::Random;
use crate::support::say;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;
use crate::support::windows::Closing;
use crate::support::windows::Delivery;
use crate::support::windows::Findings;
use crate::support::windows::WINDOW_MS;
use crate::support::windows::Windowed;
use crate::support::windows::order;
use crate::support::windows::some_hours_ago;

const RECOVERY: Duration = Duration::from_secs(60);

fn setup(name: &str, partitions: usize, idle_s: u64, delivery: Delivery) -> Windowed {
    let closing = Closing { lateness_s: 10, idle_s };
    Windowed::new(name, partitions, closing, delivery, "session_timeout = \"6s\"")
}

/// Records in order close windows by their times. A quiet partition's last window is closed by the clock. Late records go to their output.
#[test]
fn windows_close_by_time_and_by_the_clock_and_late_records_go_to_their_output() {
    close_windows("basic", Delivery::ExactlyOnce);
}

#[test]
fn windows_close_with_at_least_once() {
    close_windows("basic-alo", Delivery::AtLeastOnce);
}

fn assert_totals(setup: &Windowed, results: usize, late: usize) {
    let found = setup.assert_exact();
    assert_eq!((found.results, found.late), (results, late), "results and late records");
}

fn close_windows(name: &str, delivery: Delivery) {
    broker::brokers();
    let setup = setup(name, 2, 2, delivery);
    let base = some_hours_ago();
    java::produce(&setup.input, 0, &[order(base, 1, 1050), order(base + 1, 2, 1), order(base + 59_999, 1, 250)]);
    java::produce(&setup.input, 1, &[order(base + 5, 3, 99)]);
    let mut process = setup.run();
    // The quiet partitions.
    process.wait("the results of the quiet partitions", RECOVERY, |_| {
        java::records(&setup.output).iter().sum::<usize>() == 3
    });
    // In time, then two windows later, then late.
    let later = base + 10 * WINDOW_MS;
    java::produce(&setup.input, 0, &[order(later, 1, 5), order(later + 3 * WINDOW_MS, 1, 6), order(later + 1, 1, 7)]);
    process.wait("the results after a jump", RECOVERY, |_| java::records(&setup.output).iter().sum::<usize>() == 5);
    process.wait("the late record", RECOVERY, |_| java::records(&setup.late).iter().sum::<usize>() == 1);
    assert_eq!(process.metric("wasmill_late_records_total"), Some(1.0));
    assert!(process.metric("wasmill_idle_advances_total").is_some_and(|advances| advances >= 2.0));
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
    assert_totals(&setup, 5, 1);
}

/// Two processes on one file under load, with disorder, late records and a partition that goes quiet: one of the two is killed, again and
/// again, and every result is there once.
#[test]
fn kill_9_changes_no_result() {
    kill("kills", &setup("kills", 3, 20, Delivery::ExactlyOnce), 4);
}

/// The same at least once: the results may repeat, and are the same.
#[test]
fn kill_9_changes_no_result_with_at_least_once() {
    kill("kills-alo", &setup("kills-alo", 3, 20, Delivery::AtLeastOnce), 4);
}

/// The same with a plugin.
#[test]
fn kill_9_changes_no_result_of_a_plugin_with_at_least_once() {
    let closing = Closing { lateness_s: 10, idle_s: 20 };
    let settings = "session_timeout = \"6s\"";
    let setup = Windowed::with_plugin("kills-plugin", 3, closing, Delivery::AtLeastOnce, settings);
    kill("kills-plugin", &setup, 2);
}

/// Kills this often, or 20 times in the long schedule, while there are 15,000 records for each.
fn kill(name: &str, setup: &Windowed, kills: usize) {
    broker::brokers();
    let _alone = support::load();
    let kills = if support::full() { 20 } else { kills };
    let records = kills * 15_000;
    let mut random = Random::seeded(&format!("windows-{name}"));
    let run = || setup.run();
    let mut processes: Vec<Process> = vec![run(), run()];
    let base = some_hours_ago();
    let chunk = 1_500;
    let chunks = records / chunk;
    let mut killed = 0;
    for at in 0..chunks {
        for partition in 0..3 {
            // The third partition is quiet from the middle on.
            if partition == 2 && at > chunks / 2 {
                continue;
            }
            let made: Vec<Raw> = (0..chunk / 3)
                .map(|n| {
                    // A minute takes 1,000 records of a partition.
                    let time = base + i64::try_from(at * (chunk / 3) + n).unwrap() * 60;
                    let back = match random.below(100) {
                        0 => 120_000 + i64::try_from(random.below(60_000)).unwrap(),
                        1..=30 => i64::try_from(random.below(9_000)).unwrap(),
                        _ => 0,
                    };
                    // A customer's orders are all in one partition.
                    order(
                        time - back,
                        random.below(200) * 3 + partition as u64,
                        i64::try_from(random.below(10_000)).unwrap(),
                    )
                })
                .collect();
            java::produce(&setup.input, partition, &made);
        }
        if at * kills / chunks >= killed && at > 0 {
            let victim = killed % 2;
            killed += 1;
            processes.remove(victim).kill();
            processes.insert(victim, run());
            // Anywhere in a restore or a transaction.
            thread::sleep(Duration::from_millis(random.below(1500)));
        }
    }
    say(&format!("windows: {records} records are sent, {killed} kills"));
    processes[0].wait("the lag to reach zero", 2 * RECOVERY, |_| java::lag(&setup.group, &setup.input) == 0);
    let end = |mut process: Process| {
        process.terminate();
        assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
    };
    processes.into_iter().for_each(end);
    // Everything is read, so that a busy machine can't make the clock close a window too soon.
    let mut process = setup.run_in(&[], &["--set", "step.0.window.idle=\"1s\""]);
    let expected = setup.expected().windows.len();
    process.wait("the last windows", 2 * RECOVERY, |_| setup.has_results(expected));
    end(process);
    // A process that came back with another number than it had leaves its old transaction to the broker.
    clock::wait_until("the last transaction to end", RECOVERY, || java::open_transactions(&setup.group).is_empty());
    let Findings { results, repeats, late, .. } = setup.assert_exact();
    say(&format!("{}: {results} results of {expected} windows, {repeats} repeated; {late} late records", setup.input));
}

/// Tables that need more memory than they may have stop the pipeline with their figures. With more memory it goes on, and nothing is lost.
#[test]
fn a_state_that_outgrows_its_memory_stops_the_pipeline_and_loses_nothing() {
    broker::brokers();
    let setup = setup("memory", 1, 2, Delivery::ExactlyOnce);
    let base = some_hours_ago();
    for chunk in 0..20 {
        let orders: Vec<Raw> =
            (0..2_000).map(|n| order(base + n, u64::try_from(chunk * 2_000 + n).unwrap(), n)).collect();
        java::produce(&setup.input, 0, &orders);
    }
    let mut small = setup.pipeline.run_with(&["--set", "state.memory=\"1 MiB\""]);
    assert_eq!(small.exit(RECOVERY), Some(1), "the exit code");
    let log = small.log();
    assert!(log.contains("its state has outgrown `state.memory`") && log.contains("step `per-minute`"), "{log}");
    let mut process = setup.pipeline.run();
    process.wait("all results", RECOVERY, |_| java::records(&setup.output).iter().sum::<usize>() == 40_000);
    assert!(process.metric("wasmill_state_cells").is_some());
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
    assert_totals(&setup, 40_000, 0);
}

/// The tables of a pipeline fill what the plugin of another one leaves of the process's memory. The pipeline slows down, and the process
/// says what holds the memory. With more of it the pipeline goes on, and nothing is lost.
#[test]
fn a_state_that_fills_the_memory_of_the_process_slows_its_pipeline_down_and_loses_nothing() {
    // The clock closes no window while its records are being sent.
    let setup = setup("shared-memory", 1, 600, Delivery::ExactlyOnce);
    let base = some_hours_ago();
    let produce = |from: i64, upto: i64| {
        for chunk in from..upto {
            let orders: Vec<Raw> =
                (0..2_000).map(|n| order(base + n, u64::try_from(chunk * 2_000 + n).unwrap(), n)).collect();
            java::produce(&setup.input, 0, &orders);
        }
    };
    let keeps = component::with(0, 0, Behaviour { before: "(drop (memory.grow (i32.const 190)))", after: "" });
    let [input, output] = ["in", "out"].map(|of| java::create(&format!("keeps-{of}"), 1, &[]));
    let other = Pipeline::new(&input, &output, &unique("keeps"), "\n[limits]\nparallelism = 1\n");
    let folder = tempfile::tempdir().unwrap();
    let pipelines = folder.path().join("pipelines");
    fs::create_dir(&pipelines).unwrap();
    fs::write(folder.path().join("plugin.wasm"), keeps).unwrap();
    for (name, file) in [("orders", setup.pipeline.file()), ("keeps", other.file())] {
        fs::copy(file, pipelines.join(format!("{name}.toml"))).unwrap();
    }
    fs::write(pipelines.join("wasmill.toml"), "[limits]\nmemory = \"16 MiB\"\n").unwrap();
    java::produce(&input, 0, &[order(base, 1, 1)]);
    let mut small = Process::fleet(&pipelines);
    // The plugin comes first: it is refused what the state already has, and would then take nothing.
    let of_plugins = "wasmill_process_memory_bytes{kind=\"plugins\"}";
    small.wait("the plugin to take its memory", RECOVERY, |process| {
        process.get("/metrics").is_some_and(|(_, body)| {
            let bytes = body.lines().find_map(|line| line.strip_prefix(of_plugins)?.trim().parse::<f64>().ok());
            bytes.is_some_and(|bytes| bytes > f64::from(190 * 65536))
        })
    });
    produce(0, 20);
    // The plugin alone leaves enough, so state is named with the first line.
    small.wait("what holds the memory to be named", RECOVERY, |process| {
        let log = process.log();
        let is_it = |line: &str| line.contains("little is left of the memory of all pipelines, and it won't fall");
        log.lines().any(|line| is_it(line) && line.contains("state "))
    });
    small
        .wait("all of it to become state", RECOVERY, |process| process.metric("wasmill_state_cells") == Some(40_000.0));
    let held = small.metric("wasmill_state_bytes").unwrap_or_default();
    say(&format!("windows: {held:.0} bytes of state in 16 MiB for all"));
    assert!(held > 1e6 && held < f64::from(4 << 20), "{held}");
    // With more of it, records are read a few at a time, but on and on.
    produce(20, 30);
    let waited = |process: &Process| {
        let (_, body) = process.get("/metrics")?;
        let is_it = |line: &&str| line.contains("pipeline=\"orders\"") && line.contains("reason=\"memory\"");
        let line = body.lines().filter(|line| line.starts_with("wasmill_waiting_seconds_total{")).find(is_it)?;
        line.rsplit(' ').next()?.parse::<f64>().ok()
    };
    small.wait("the pipeline to slow down", RECOVERY, |process| waited(process).is_some_and(|seconds| seconds > 0.0));
    small.wait("all to be committed", RECOVERY, |_| java::committed(&setup.group, &setup.input) == [60_000]);
    small.terminate();
    assert_eq!(small.exit(Duration::from_secs(25)), Some(0), "{}", small.log());
    let mut process = setup.run_in(&[], &["--set", "step.0.window.idle=\"1s\""]);
    process.wait("all results", RECOVERY, |_| java::records(&setup.output).iter().sum::<usize>() == 60_000);
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
    assert_totals(&setup, 60_000, 0);
}

/// A folded record has nothing that could wait for the transaction which is being committed: what is in flight are records on their way
/// to an executor, and the few cells that they change.
#[test]
fn folded_records_are_not_kept_while_a_transaction_is_committed() {
    const RECORDS: i64 = 100_000;
    const KEYS: i64 = 100;
    const RECORD_BYTES: f64 = 150.0;
    const CELLS_BYTES: f64 = 1e5;
    broker::brokers();
    let setup = setup("waiting", 2, 2, Delivery::ExactlyOnce);
    let base = some_hours_ago();
    for chunk in 0..RECORDS / 2000 {
        let orders: Vec<Raw> =
            (chunk * 2000..(chunk + 1) * 2000).map(|n| order(base, u64::try_from(n % KEYS).unwrap(), n)).collect();
        java::produce(&setup.input, usize::try_from(chunk % 2).unwrap(), &orders);
    }
    let mut process = setup.run();
    let mut most = 0.0_f64;
    process.wait("the lag to reach zero", RECOVERY, |process| {
        let names = ["wasmill_in_flight_records", "wasmill_in_flight_bytes"];
        let Some([records, bytes]) = process.metrics(names) else { return false };
        most = most.max(bytes - records * RECORD_BYTES);
        process.metric("wasmill_consumer_lag_records") == Some(0.0)
    });
    assert!(most < CELLS_BYTES, "{most} bytes are in flight, besides the records");
}

/// Keys may move when the input gets more partitions, so the pipeline stops: while it runs, and when it starts again.
#[test]
fn an_input_that_gets_more_partitions_stops_the_pipeline() {
    broker::brokers();
    let setup = setup("more", 2, 2, Delivery::ExactlyOnce);
    // A member learns of partitions with its next look at the topic, once a minute by default.
    let soon = "kafka.librdkafka.\"topic.metadata.refresh.interval.ms\"=\"1000\"";
    let mut process = setup.run_in(&[], &["--set", soon]);
    java::produce(&setup.input, 0, &[order(some_hours_ago(), 1, 1)]);
    process.wait("a result", RECOVERY, |_| java::records(&setup.output).iter().sum::<usize>() == 1);
    java::add_partitions(&setup.input, 3);
    assert_eq!(process.exit(2 * RECOVERY), Some(1), "the exit code");
    let log = process.log();
    assert!(log.contains("has 2 partitions, and the input has 3 or more"), "{log}");
    let mut process = setup.run();
    assert_eq!(process.exit(RECOVERY), Some(78), "the exit code");
    let log = process.log();
    assert!(log.contains(" has 2 partitions, and the input `") && log.contains("` has 3: state is kept"), "{log}");
}

/// A changelog topic that is missing, would lose state, or doesn't fit the input is refused with the way out.
#[test]
fn a_changelog_topic_that_would_lose_state_is_refused() {
    broker::brokers();
    let setup = setup("topic", 2, 2, Delivery::ExactlyOnce);
    let refused = |more: &[&str]| {
        let mut process = setup.pipeline.run_with(more);
        assert_eq!(process.exit(RECOVERY), Some(78), "the exit code");
        process.log()
    };
    let log = refused(&["--set", "state.create=false"]);
    let topic = setup.changelog();
    assert!(log.contains(&format!("the changelog topic `{topic}` does not exist")), "{log}");
    assert!(log.contains("--partitions 2 --config cleanup.policy=compact"), "{log}");
    java::produce(&setup.input, 0, &[order(some_hours_ago(), 1, 1)]);
    let mut process = setup.pipeline.run();
    process.wait("a result", RECOVERY, |_| java::records(&setup.output).iter().sum::<usize>() == 1);
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
    assert!(process.log().contains("created the changelog topic"), "{}", process.log());
    java::alter(&topic, "cleanup.policy=delete");
    let log = refused(&[]);
    assert!(log.contains("`cleanup.policy=delete`, which removes state"), "{log}");
    java::alter(&topic, "cleanup.policy=compact");
    // Other functions than those that computed the cells.
    java::produce(&setup.input, 0, &[order(some_hours_ago() + 60 * WINDOW_MS, 1, 1)]);
    let mut process = setup.pipeline.run_with(&["--set", "step.0.window.idle=\"never\""]);
    process.wait("the record to be committed", RECOVERY, |_| java::lag(&setup.group, &setup.input) == 0);
    process.terminate();
    assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
    let mut process = setup.pipeline.run_with(&["--set", "step.0.settings.largest=\"max:/total\""]);
    assert_eq!(process.exit(RECOVERY), Some(1), "the exit code");
    assert!(process.log().contains("computed with other functions"), "{}", process.log());
}

/// A changelog topic that was just created is not known to each broker at once, and two processes may want to create it.
#[test]
fn two_processes_that_start_at_once_create_the_changelog_topic_and_begin() {
    broker::brokers();
    let setup = setup("first", 2, 2, Delivery::ExactlyOnce);
    let mut processes = [setup.run(), setup.run()];
    for process in &mut processes {
        process.ready();
    }
    for process in &mut processes {
        let log = process.log();
        assert!(!log.contains("halted") && !log.contains("no broker of"), "{log}");
    }
    let created = processes.iter().filter(|process| process.log().contains("created the changelog topic")).count();
    assert_eq!(created, 1);
}

/// Dead letters that are written back to the input are records like others: each is in its window if that is open, late if it is not, or
/// rejected again.
#[test]
fn a_replayed_record_is_in_its_window_once_or_late_or_rejected_again() {
    broker::brokers();
    let dead = java::create("windows-replay-dead", 1, &[]);
    let closing = Closing { lateness_s: 0, idle_s: 3_600 };
    let more = format!("session_timeout = \"6s\"\n\n[on_error]\ndead_letter = \"{dead}\"\n");
    let setup = Windowed::new("replay", 1, closing, Delivery::ExactlyOnce, &more);
    java::permit(&[&dead], &[&dead, &setup.input], &format!("{}.dlq", setup.group));
    // The results of windows may be in a transaction after that of the record that closes them.
    let run = |more: &[&str], results: usize| {
        let mut process = setup.run_in(&[], more);
        process.wait("everything to be committed", RECOVERY, |_| java::lag(&setup.group, &setup.input) == 0);
        process.wait("the results", RECOVERY, |_| setup.has_results(results));
        process.terminate();
        assert_eq!(process.exit(Duration::from_secs(25)), Some(0));
    };
    let replay = |more: &[&str]| {
        let mut process = setup.pipeline.dlq("replay", more);
        (process.exit(RECOVERY), process.log())
    };
    let keyed = |order: Raw, customer: &str| Raw {
        headers: vec![(b"customer".to_vec(), Some(customer.as_bytes().to_vec()))],
        ..order
    };
    let base = some_hours_ago();
    let open = base + 3 * WINDOW_MS;
    let not_a_number = br#"{"customer":"c1","total":"many"}"#.to_vec();
    let orders = [
        order(base, 3, 700),
        keyed(order(base + 1, 1, 100), "c1"),
        keyed(order(open, 1, 200), "c1"),
        order(open + 1, 2, 50),
        keyed(Raw { value: Some(not_a_number.clone()), ..order(open + 2, 1, 0) }, "c1"),
    ];
    java::produce(&setup.input, 0, &orders);
    // Two of them have no such header.
    run(&["--set", "step.0.key=\"header:customer\""], 1);
    assert_eq!(java::records(&dead), [3]);
    let (code, log) = replay(&[]);
    assert!(code == Some(2) && log.contains("step `per-minute` has windows") && log.contains("`--to-input`"), "{log}");
    let (code, log) = replay(&["--to-input"]);
    assert!(code == Some(0) && log.contains("replayed 3\n"), "{log}");
    run(&[], 1);
    let (code, log) = replay(&["--to-input"]);
    assert!(code == Some(0) && log.contains("replayed 1\n"), "only what was rejected again: {log}");
    java::produce(&setup.input, 0, &[order(base + 10 * WINDOW_MS, 9, 1)]);
    run(&[], 3);

    let mut results = setup.results();
    results.sort_unstable();
    let window = |customer: &str, start: i64, cents: i64| ((customer.to_owned(), start), (1, cents));
    assert_eq!(results, [window("c1", base, 100), window("c1", open, 200), window("c2", open, 50)]);
    let replays = |times: &str| (b"wasmill-replays".to_vec(), Some(times.as_bytes().to_vec()));
    let late: Vec<Raw> = java::dump(&setup.late, 0).into_iter().map(|(_, record)| record).collect();
    assert_eq!(late, [Raw { headers: vec![replays("1")], ..order(base, 3, 700) }]);
    let dead = java::dump(&dead, 0).into_iter().map(|(_, record)| record);
    let again: Vec<Raw> = dead.skip(3).collect();
    assert_eq!(again.len(), 2);
    for (record, times) in again.into_iter().zip(["1", "2"]) {
        assert_eq!((record.timestamp, record.value.as_ref()), (open + 2, Some(&not_a_number)));
        assert!(record.headers.contains(&replays(times)), "{record:?}");
    }
}
