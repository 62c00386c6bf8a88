//! Asking for state: over HTTP and on the command line, of committed values only, from whichever member has them, and while they are
//! restored.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::process::Output;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::broker;
use crate::support::clock;
use crate::support::java;
use crate::support::java::Raw;
use crate::support::random::Random;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const MINUTE_MS: i64 = 60_000;
const LIMIT: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(25);

struct Setup {
    input: String,
    changelog: String,
    group: String,
    pipeline: Pipeline,
}

/// A pipeline whose windows stay open. `step`: more lines of the step.
fn setup(name: &str, partitions: usize, step: &str) -> Setup {
    broker::brokers();
    let [input, output] = ["in", "out"].map(|topic| java::create(&format!("asking-{name}-{topic}"), partitions, &[]));
    let group = unique(name);
    let changelog = format!("{group}.per-minute.changelog");
    java::permit(&[&input], &[&output, &changelog], &group);
    let pipeline = Pipeline::of(&format!(
        "[[step]]\nname = \"per-minute\"\nuse = \"std:aggregate\"\n{step}\n\
         window = {{ size = \"1m\", lateness = \"10s\", idle = \"never\" }}\n\
         settings = {{ orders = \"count\", revenue = \"sum:/total\" }}\n\n\
         [output.main]\ntopic = \"{output}\"\n\n\
         [input]\ntopics = [\"{input}\"]\ngroup = \"{group}\"\nsession_timeout = \"6s\"\n"
    ));
    Setup { input, changelog, group, pipeline }
}

const BY_CUSTOMER: &str = "key = \"json:/customer\"\nsame_partition = true";
const CREATE: [&str; 2] = ["--set", "state.create=true"];

/// An order of a customer, whose key is the customer.
fn order(time: i64, customer: &str, total: &str) -> Raw {
    let value = format!(r#"{{"customer":"{customer}","total":{total}}}"#).into_bytes();
    Raw { timestamp: time, key: Some(customer.as_bytes().to_vec()), value: Some(value), headers: Vec::new() }
}

/// An order without a key.
fn order_without_key(time: i64, total: &str) -> Raw {
    Raw { key: None, ..order(time, "nobody", total) }
}

fn some_hours_ago() -> i64 {
    (i64::try_from(clock::unix_ms()).unwrap() / MINUTE_MS - 240) * MINUTE_MS
}

fn ask(process: &Process, path: &str) -> (u16, Value) {
    let (status, body) = process.get(path).unwrap_or_default();
    (status, serde_json::from_str(&body).unwrap_or_default())
}

/// Like [`ask`], once the group and the pipeline have an answer.
fn answered(process: &Process, path: &str) -> (u16, Value) {
    clock::wait_for("an answer", LIMIT, || {
        Some(ask(process, path)).filter(|(status, _)| ![0, 503, 504].contains(status))
    })
}

fn wasmill(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wasmill")).args(arguments).env("NO_COLOR", "1").output().unwrap()
}

fn state(verb: &str, file: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let done = wasmill(&[&["state", verb, file.to_str().unwrap()], more].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status.code(), text(&done.stdout), text(&done.stderr))
}

fn end(processes: Vec<Process>) {
    for mut process in processes {
        process.terminate();
        assert_eq!(process.exit(END), Some(0));
    }
}

/// While records flow, each answer is exactly what the records below its `applied` offset say, and the group has committed that offset.
#[test]
fn an_answer_is_what_the_committed_records_say() {
    let setup = setup("committed", 1, BY_CUSTOMER);
    let mut process = setup.pipeline.run_with(&[&CREATE[..], &["--set", "limits.transaction_every=\"1s\""]].concat());
    process.ready();
    let mut random = Random::seeded("asking-committed");
    let base = some_hours_ago();
    // Of each record, whether it is of the key that is asked for, and its amount.
    let mut sent: Vec<(bool, u64)> = Vec::new();
    let (mut answers, mut seen) = (0, BTreeSet::new());
    let mut check = |process: &Process, sent: &[(bool, u64)]| {
        let (status, answer) = ask(process, "/state/per-minute/c1");
        if status != 200 {
            return 0;
        }
        let applied = answer["applied"].as_i64().unwrap();
        let own = || sent.iter().take(usize::try_from(applied).unwrap()).filter(|(is_own, _)| *is_own);
        let windows = answer["windows"].as_array().unwrap();
        assert_eq!(windows.len(), 1, "{answer}");
        assert_eq!(windows[0]["value"]["orders"], own().count(), "{answer}");
        let cents = format!("{:.0}", windows[0]["value"]["revenue"].as_f64().unwrap() * 100.0);
        assert_eq!(cents, own().map(|(_, cents)| cents).sum::<u64>().to_string(), "{answer}");
        // The broker shows an offset when the markers of its transaction are written, which may be a moment after it has answered.
        clock::wait_until("the offset to be shown", LIMIT, || {
            java::committed(&setup.group, &setup.input)[0] >= applied
        });
        seen.insert(applied);
        answers += 1;
        if answers < 20 { 0 } else { seen.len() }
    };
    let watch = clock::Watch::start();
    loop {
        let mut records = Vec::new();
        for _ in 0..40 {
            let (cents, is_own) = (random.below(1_000), random.below(3) > 0);
            let total = format!("{}.{:02}", cents / 100, cents % 100);
            records.push(order(base, if is_own { "c1" } else { "c2" }, &total));
            sent.push((is_own, cents));
        }
        java::produce(&setup.input, 0, &records);
        if check(&process, &sent) >= 4 {
            break;
        }
        assert!(watch.elapsed() < LIMIT, "no four different states are seen");
    }
    process.wait("everything to be committed", LIMIT, |_| java::lag(&setup.group, &setup.input) == 0);
    check(&process, &sent);
    // The text of a sum is that of a result: a decimal with its digits.
    java::produce(&setup.input, 0, &[order(base, "c3", "1.10"), order(base + 1, "c3", "2.20")]);
    process.wait("both orders", LIMIT, |process| {
        process
            .get("/state/per-minute/c3")
            .is_some_and(|(_, body)| body.contains(r#""value":{"orders":2,"revenue":3.30},"#))
    });
    end(vec![process]);
}

/// Lists, pages, prefixes, and what isn't there; over HTTP and on the command line, with the changelog created beforehand.
#[test]
fn keys_are_listed_page_by_page_and_by_prefix() {
    let setup = setup("list", 2, BY_CUSTOMER);
    let file = setup.pipeline.file();
    let checked = |expected: Option<i32>| {
        let done = wasmill(&["check", file.to_str().unwrap()]);
        let text = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert_eq!(done.status.code(), expected, "{text}");
        text
    };
    let text = checked(Some(78));
    assert!(
        text.contains(&format!("the changelog topic `{}` of step `per-minute` does not exist", setup.changelog)),
        "{text}"
    );
    assert!(
        text.contains("wasmill state create") && text.contains("--partitions 2 --config cleanup.policy=compact"),
        "{text}"
    );
    let (code, out, err) = state("create", &file, &[]);
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.starts_with(&format!("created `{}` with 2 partitions: cleanup.policy=compact,", setup.changelog)),
        "{out}"
    );
    checked(Some(0));
    java::alter(&setup.changelog, "cleanup.policy=delete");
    let text = checked(Some(78));
    assert!(
        text.contains("`cleanup.policy=delete`, which removes state that is still needed after `retention.ms="),
        "{text}"
    );
    let (code, out, err) = state("create", &file, &[]);
    assert_eq!((code, out.contains("exists, with 2 partitions")), (Some(78), true), "{err}");
    assert!(err.contains("--add-config cleanup.policy=compact"), "{err}");
    java::alter(&setup.changelog, "cleanup.policy=compact");
    let (code, out, err) = state("create", &file, &[]);
    assert_eq!((code, out.contains("exists, with 2 partitions")), (Some(0), true), "{err}");

    let (code, _, err) = state("get", &file, &["x"]);
    assert_eq!(code, Some(69), "{err}");
    let mut process = setup.pipeline.run();
    let at = process.address();
    let base = some_hours_ago();
    let customers: BTreeSet<String> =
        (0..25).map(|n| format!("{}-{n}", if n % 5 == 0 { "eu" } else { "us" })).chain(["\u{fc} /?".into()]).collect();
    for partition in 0..2 {
        let own = customers.iter().enumerate().filter(|(n, _)| n % 2 == partition);
        let orders: Vec<Raw> = own.map(|(_, customer)| order(base, customer, "1.5")).collect();
        java::produce(&setup.input, partition, &orders);
    }
    process.wait("everything to be committed", LIMIT, |_| java::lag(&setup.group, &setup.input) == 0);
    let mut pages = Vec::new();
    let mut next = String::new();
    loop {
        let (status, page) = ask(&process, &format!("/state/per-minute?limit=7{next}"));
        assert_eq!((status, page["others"].as_array().map(Vec::len)), (200, Some(0)), "{page}");
        let entries = page["entries"].as_array().unwrap();
        assert!(entries.len() <= 7, "{page}");
        pages.extend(entries.iter().map(|entry| entry["key"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(pages.len(), customers.len(), "each key once: {pages:?}");
    assert_eq!(pages.into_iter().collect::<BTreeSet<_>>(), customers);
    let (_, page) = ask(&process, "/state/per-minute?prefix=eu%2D");
    assert_eq!((page["entries"].as_array().unwrap().len(), &page["next"]), (5, &Value::Null), "{page}");
    assert_eq!(page["entries"][0]["value"], serde_json::json!({"orders": 1, "revenue": 1.5}), "{page}");
    let (status, answer) = ask(&process, "/state/per-minute/%C3%BC%20%2F%3F");
    assert_eq!((status, answer["windows"].as_array().unwrap().len()), (200, 1), "{answer}");
    for (path, status) in [
        ("/state/per-minute/nobody", 404),
        ("/state/per-minute/?null", 404),
        ("/state/per-hour/eu-0", 404),
        ("/state/per-minute?limit=1001", 400),
        ("/state/per-minute/%f", 400),
    ] {
        let (found, answer) = ask(&process, path);
        assert!(found == status && answer["error"].as_str().is_some(), "{path}: {found} {answer}");
    }

    let (code, out, err) = state("ls", &file, &["--at", &at, "--json"]);
    assert_eq!((code, out.lines().count()), (Some(0), customers.len()), "{err}");
    let (code, out, err) = state("ls", &file, &["--at", &at, "--prefix", "eu-", "--limit", "3"]);
    assert_eq!((code, out.lines().count(), err.contains("raise --limit")), (Some(0), 4, true), "{out}{err}");
    assert!(out.starts_with("KEY") && out.contains(r#"{"orders":1,"revenue":1.5}"#), "{out}");
    let (code, out, err) = state("get", &file, &["--at", &at, "\u{fc} /?"]);
    assert_eq!((code, out.lines().count(), err.contains("watermark 20")), (Some(0), 2, true), "{out}{err}");
    let (code, _, err) = state("get", &file, &["--at", &at, "nobody"]);
    assert_eq!((code, err.contains("the key has no open window")), (Some(1), true), "{err}");
    end(vec![process]);
    // Served only where the file permits it.
    let mut process = setup.pipeline.run_with(&["--set", "http.state=false"]);
    process.ready();
    assert_eq!(ask(&process, "/state/per-minute/eu-0").0, 403);
    end(vec![process]);
}

/// While a partition is restored, the process is not ready, says how far it is, and answers no question about that partition.
#[test]
fn a_restore_shows_its_progress() {
    let setup = setup("restore", 1, BY_CUSTOMER);
    let mut process = setup.pipeline.run_with(&CREATE);
    let base = some_hours_ago();
    let orders: Vec<Raw> = (0..60).map(|n| order(base + n, &format!("c{n}"), "1")).collect();
    java::produce(&setup.input, 0, &orders);
    process.wait("everything to be committed", LIMIT, |_| java::lag(&setup.group, &setup.input) == 0);
    end(vec![process]);
    let mut process = setup.pipeline.run_in(&[("WASMILL_FAILPOINT", "in-restore=hold@150")], &[]);
    process.wait("the restore", LIMIT, |process| process.metric("wasmill_restoring_partitions") == Some(1.0));
    let (status, answer) = ask(&process, "/state/per-minute/c7");
    assert_eq!(status, 503, "{answer}");
    assert_eq!(answer["restoring"]["partition"], 0, "{answer}");
    assert_eq!(ask(&process, "/state/per-minute").0, 503);
    process.wait("the restore's progress", LIMIT, |process| {
        process.get("/readyz?verbose").is_some_and(|(status, text)| {
            assert!(status == 503 || !text.contains("[-]state"), "{text}");
            text.contains("[-]state: being restored: ")
                && text.contains(" changelog records)")
                && !text.contains("(0 of 0")
        })
    });
    assert!(process.metric("wasmill_restore_remaining_records").is_some());
    process.ready();
    let (_, text) = process.get("/readyz?verbose").unwrap();
    assert!(text.contains("[+]state ok") && text.contains("/0: lag 0 records, watermark 20"), "{text}");
    process.wait("the metrics", LIMIT, |process| process.metric("wasmill_restore_remaining_records") == Some(0.0));
    assert_eq!(process.metric("wasmill_restore_seconds_count"), Some(1.0));
    let (status, answer) = ask(&process, "/state/per-minute/c7");
    assert_eq!((status, &answer["windows"][0]["value"]["orders"]), (200, &1.into()), "{answer}");
    end(vec![process]);
}

/// Sends an order of each customer to the partition that Kafka's own client chooses for it.
fn spread(setup: &Setup, partitions: usize) -> Vec<String> {
    let customers: Vec<String> = (0..12).map(|n| format!("c{n}")).collect();
    let scratch = java::create("asking-scratch", partitions, &[]);
    let keys: Vec<_> = customers.iter().map(|customer| Some(customer.as_bytes().to_vec())).collect();
    for (customer, partition) in customers.iter().zip(java::choose(&scratch, &keys)) {
        let order = order(some_hours_ago(), customer, "2");
        java::produce(&setup.input, usize::try_from(partition).unwrap(), &[order]);
    }
    customers
}

/// Two members of a group, each with one partition, and everything committed.
fn two(setup: &Setup, advertises: [bool; 2]) -> [Process; 2] {
    let mut both = advertises.map(|advertises| match advertises {
        true => setup.pipeline.run_advertised(&CREATE),
        false => setup.pipeline.run_with(&CREATE),
    });
    for process in &mut both {
        process.wait("a partition each", LIMIT, |process| {
            process.metric("wasmill_assigned_partitions") == Some(1.0)
                && process.metric("wasmill_restoring_partitions") == Some(0.0)
        });
    }
    both[0].wait("everything to be committed", LIMIT, |_| java::lag(&setup.group, &setup.input) == 0);
    both
}

/// A key that another member has is found there: by a redirect if that member tells its address. Otherwise the answer names it.
#[test]
fn a_key_of_another_member_is_redirected_to_it() {
    let setup = setup("owner", 2, "");
    let customers = spread(&setup, 2);
    let both = two(&setup, [true, false]);
    let (mut redirected, mut named) = (0, 0);
    for customer in &customers {
        let path = format!("/state/per-minute/{customer}");
        let statuses = both.each_ref().map(|process| answered(process, &path).0);
        match statuses {
            // The second one has no address.
            [421, 200] => {
                named += 1;
                let (_, answer) = answered(&both[0], &path);
                let error = answer["error"].as_str().unwrap();
                let member = answer["member"].as_str().unwrap();
                assert!(error.contains(member) && error.contains("`http.advertise`"), "{answer}");
            }
            [200, 307] => {
                redirected += 1;
                let location = format!("http://{}{path}", both[0].address());
                assert_eq!(both[1].location(&path), Some(location));
            }
            other => panic!("{customer}: {other:?}"),
        }
    }
    assert!(redirected > 0 && named > 0, "both have keys");
    let file = setup.pipeline.file();
    let codes: Vec<_> = customers
        .iter()
        .map(|customer| both.each_ref().map(|process| state("get", &file, &["--at", &process.address(), customer]).0))
        .collect();
    assert_eq!(codes.iter().filter(|codes| **codes == [Some(0), Some(0)]).count(), redirected, "{codes:?}");
    assert_eq!(codes.iter().filter(|codes| **codes == [Some(1), Some(0)]).count(), named, "{codes:?}");
    let (code, _, err) = state("ls", &file, &["--at", &both[0].address()]);
    assert_eq!((code, err.contains("the list is not whole")), (Some(1), true), "{err}");
    end(both.into());
}

/// If the key doesn't say which partition it belongs to, the answer names the members, and the command asks them all.
#[test]
fn a_key_without_a_known_partition_is_looked_for_at_all_members() {
    let setup = setup("all", 2, BY_CUSTOMER);
    let customers = spread(&setup, 2);
    let both = two(&setup, [true, true]);
    let file = setup.pipeline.file();
    let mut elsewhere = 0;
    for customer in &customers {
        let statuses = both.each_ref().map(|process| answered(process, &format!("/state/per-minute/{customer}")).0);
        assert!([[200, 421], [421, 200]].contains(&statuses), "{customer}: {statuses:?}");
        elsewhere += usize::from(statuses[0] == 421);
        let (code, out, err) = state("get", &file, &["--at", &both[0].address(), customer, "--json"]);
        assert_eq!((code, out.contains(r#""value":{"orders":1,"revenue":2}"#)), (Some(0), true), "{out}{err}");
    }
    assert!((1..12).contains(&elsewhere), "both have keys");
    let (code, out, err) = state("ls", &file, &["--at", &both[1].address(), "--json"]);
    assert_eq!((code, out.lines().count()), (Some(0), customers.len()), "{err}");
    let (code, _, err) = state("get", &file, &["--at", &both[1].address(), "nobody"]);
    assert_eq!((code, err.contains("the key has no open window\n")), (Some(1), true), "{err}");
    end(both.into());
}

/// While the pipeline's thread is busy, eight questions wait for it, and each has an answer within a second: that there is none. The next
/// one is turned away at once, also while those who asked the eight have gone.
#[test]
#[cfg(feature = "failpoints")]
fn eight_questions_wait_for_a_busy_pipeline_and_a_ninth_is_turned_away() {
    let setup = setup("busy", 1, "");
    // The thread holds for so long at the one record that it polls.
    let mut process = setup.pipeline.run_in(&[("WASMILL_FAILPOINT", "after-poll=hold@7000")], &CREATE);
    process.ready();
    let path = "/state/per-minute/c1";
    assert_eq!(answered(&process, path).0, 404);
    java::produce(&setup.input, 0, &[order(some_hours_ago(), "c1", "1")]);
    // This one goes on waiting.
    let busy = clock::wait_for("the pipeline to be busy", LIMIT, || {
        Some(ask(&process, path)).filter(|(status, _)| *status == 504).map(|(_, answer)| answer)
    });
    let why = busy["error"].as_str().unwrap();
    assert!(why.contains("no answer within 1s") && why.contains("the pipeline's thread is busy"), "{busy}");
    let mut answers: Vec<(u16, Value)> = thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| ask(&process, path))).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    });
    answers.sort_by_key(|(status, _)| *status);
    let turned_away = (503, serde_json::json!({ "error": "8 questions are waiting for an answer" }));
    assert_eq!(answers[0], turned_away);
    assert_eq!(answers.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [503, 504, 504, 504, 504, 504, 504, 504]);
    assert_eq!(ask(&process, path), turned_away);
    assert_eq!(ask(&process, "/state/per-minute"), turned_away, "a list is a question, too");
    assert_eq!(process.get("/livez").map(|(status, _)| status), Some(200));
    process.wait("the questions to be answered", LIMIT, |process| ask(process, path).0 == 200);
    end(vec![process]);
}

/// Records without a key have the null key, in whichever partition they are. It has its own question and its own name; the empty key and
/// the text `null` are others.
#[test]
fn records_without_a_key_are_found_by_the_null_key() {
    let setup = setup("null", 2, "");
    let mut process = setup.pipeline.run_with(&CREATE);
    let base = some_hours_ago();
    for partition in 0..2 {
        java::produce(
            &setup.input,
            partition,
            &[order_without_key(base, "1.5"), order_without_key(base + MINUTE_MS, "2")],
        );
    }
    java::produce(&setup.input, 0, &[order(base, "", "3"), order(base, "null", "4")]);
    process.wait("everything to be committed", LIMIT, |_| java::lag(&setup.group, &setup.input) == 0);
    let values = |path: &str| {
        let (status, answer) = ask(&process, path);
        assert_eq!(status, 200, "{path}: {answer}");
        let windows = answer["windows"].as_array().unwrap();
        windows.iter().map(|window| window["value"].clone()).collect::<Vec<_>>()
    };
    let value = |revenue: f64| serde_json::json!({ "orders": 1, "revenue": revenue });
    let without_key = [value(1.5), serde_json::json!({ "orders": 1, "revenue": 2 })];
    // One partition answers, with its own windows.
    assert_eq!(values("/state/per-minute/?null"), without_key);
    assert_eq!(values("/state/per-minute/?null&here"), without_key);
    assert_eq!(values("/state/per-minute/"), [serde_json::json!({ "orders": 1, "revenue": 3 })]);
    assert_eq!(values("/state/per-minute/null"), [serde_json::json!({ "orders": 1, "revenue": 4 })]);
    let (status, answer) = ask(&process, "/state/per-minute/c1?null");
    assert_eq!(status, 400, "{answer}");
    let (_, page) = ask(&process, "/state/per-minute");
    let mut listed: Vec<(i64, Value)> = page["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["partition"].as_i64().unwrap(), entry["key"].clone()))
        .collect();
    listed.sort_by_key(|(partition, key)| (*partition, key.to_string()));
    let null = |partition: i64| (partition, Value::Null);
    assert_eq!(listed, [(0, "".into()), (0, "null".into()), null(0), null(0), null(1), null(1)], "{page}");
    let (_, page) = ask(&process, "/state/per-minute?prefix=n");
    assert_eq!(page["entries"].as_array().unwrap().len(), 1, "the null key begins with nothing: {page}");
    let file = setup.pipeline.file();
    let (code, out, err) = state("get", &file, &["--at", &process.address(), "--null"]);
    assert_eq!((code, out.lines().count()), (Some(0), 3), "{out}{err}");
    let (code, out, err) = state("ls", &file, &["--at", &process.address()]);
    assert_eq!((code, out.lines().filter(|line| line.starts_with("null ")).count()), (Some(0), 5), "{out}{err}");
    end(vec![process]);
}
