//! A broker that dies and comes back (F7), a frozen broker (F8), the death of one of two brokers, so that leaders and the coordinator
//! move (F13), and a broker with a full disk (F29): no process exits, and each continues by itself.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::thread;
use std::time::Duration;

use crate::kafka;
use crate::load::Load;
use crate::load::seconds;
use crate::machine;
use crate::rows::Case;
use crate::support::broker;
use crate::support::clock;
use crate::support::java;
use crate::support::unique;
use crate::support::wasmill::Process;

/// The maximum time from the broker's return to the next delivered record.
const BACK: Duration = Duration::from_secs(15);

pub(crate) fn killed(case: &Case) {
    let times = if case.full { 3 } else { 1 };
    case.inject("", &format!("kill -9 of the broker {times} times, started again on its data after 2 to 5 s"), || {
        let load = Load::new("broker");
        let mut process = load.start();
        let mut figures = Vec::new();
        for _ in 0..times {
            load.passes(&mut process, load.delivery.tally().fresh + 10_000);
            let (in_flight, lag) = load.busy(&mut process);
            broker::node().kill().unwrap();
            thread::sleep(Duration::from_millis(2000 + case.below(3000)));
            assert_eq!(process.ended(), None, "wasmill outlives its broker");
            assert_eq!(process.get("/livez").map(|(status, _)| status), Some(200), "livez without a broker");
            broker::node().start_again().unwrap();
            let watch = clock::Watch::start();
            // The oracle needs the broker, too, so wasmill's own metric is checked first.
            let before = process.metric("wasmill_records_produced_total").unwrap();
            process.wait("outputs to be acknowledged again", BACK, |process| {
                process.metric("wasmill_records_produced_total").is_some_and(|produced| produced > before)
            });
            let back = watch.elapsed();
            load.resumes(&mut process);
            figures
                .push(format!("lag {lag}, in flight {in_flight}, delivering again {} after its return", seconds(back)));
        }
        let verdict = load.finish(process);
        format!("{}; {verdict}", figures.join("; "))
    });
}

pub(crate) fn frozen(case: &Case) {
    // Longer than the 15 s of silence after which it is not ready, and the 5 s between two checks.
    let frozen = Duration::from_secs(if case.full { 90 } else { 24 });
    case.inject("", &format!("SIGSTOP of the broker for {} s", frozen.as_secs()), || {
        let load = Load::new("frozen");
        let mut process = load.start();
        load.passes(&mut process, load.delivery.tally().fresh + 10_000);
        let (in_flight, lag) = load.busy(&mut process);
        let node = broker::node().id();
        let before = process.memory("VmRSS");
        broker::signal(node, "STOP");
        let watch = clock::Watch::start();
        let mut unready = None;
        let mut most = before;
        while watch.elapsed() < frozen {
            thread::sleep(Duration::from_millis(250));
            assert_eq!(process.ended(), None, "wasmill outlives a frozen broker");
            assert_eq!(process.get("/livez").map(|(status, _)| status), Some(200), "livez");
            let ready = process.get("/readyz").map(|(status, _)| status);
            match unready {
                None if ready == Some(503) => unready = Some(watch.elapsed()),
                None => assert!(watch.elapsed() < Duration::from_secs(20), "readyz is {ready:?} after 20 s"),
                Some(_) => assert_eq!(ready, Some(503), "readyz stays so"),
            }
            most = most.max(process.memory("VmRSS"));
        }
        broker::signal(node, "CONT");
        let watch = clock::Watch::start();
        let produced = process.metric("wasmill_records_produced_total").unwrap();
        process.wait("outputs to be acknowledged again", BACK, |process| {
            process.metric("wasmill_records_produced_total").is_some_and(|now| now > produced)
        });
        let back = watch.elapsed();
        process.wait("readyz to be 200 again", BACK, |process| {
            process.get("/readyz").is_some_and(|(status, _)| status == 200)
        });
        // The maximum in flight, the prefetch, and some margin.
        assert!(most < before + (96 << 20), "{before} bytes became {most}");
        let verdict = load.finish(process);
        format!(
            "lag {lag}, in flight {in_flight}; readyz 503 after {}, livez 200 throughout; RSS {} to {} MiB; delivering again {} \
             after SIGCONT; {verdict}",
            seconds(unready.unwrap()),
            before >> 20,
            most >> 20,
            seconds(back)
        )
    });
}

/// How long the cluster may take to move its leaders.
const MOVED: Duration = Duration::from_secs(60);

pub(crate) fn moved(case: &Case) {
    let times = if case.full { 4 } else { 2 };
    let injected = format!(
        "kill -9 of one of two brokers {times} times, so that its leaders and the group's coordinator move to the other one, then its return and \
         an election, so that they move back"
    );
    case.inject("", &injected, || {
        broker::pair();
        let group = (0..100).map(|_| unique("moved")).find(|group| java::coordinator(group) == 2);
        let load = Load::in_group("moved", group.expect("the second broker coordinates half of all groups"), "");
        let mut process = load.start();
        let mut figures = Vec::new();
        for _ in 0..times {
            load.passes(&mut process, load.delivery.tally().fresh + 10_000);
            let (in_flight, lag) = load.busy(&mut process);
            broker::node().kill().unwrap();
            let away = Duration::from_millis(case.below(3000));
            let first = moves(&load, &mut process, 1);
            thread::sleep(away);
            broker::node().start_again().unwrap();
            let back = moves(&load, &mut process, 2);
            figures.push(format!(
                "lag {lag}, in flight {in_flight}, delivering {} after the loss and {} after the return",
                seconds(first),
                seconds(back)
            ));
        }
        let verdict = load.finish(process);
        format!("{}; {verdict}", figures.join("; "))
    });
}

/// Waits until the second broker leads and coordinates (2) or does neither (1), and new records arrive. Returns how long that took.
fn moves(load: &Load, process: &mut Process, coordinator: i64) -> Duration {
    let watch = clock::Watch::start();
    process.wait("leaders and coordinator to move", MOVED, |_| {
        if coordinator == 2 {
            java::elect();
        }
        let leaders = java::leaders(load.input());
        let leads = if coordinator == 2 { leaders.contains(&2) } else { leaders.iter().all(|&leader| leader == 1) };
        leads && java::coordinator(load.group()) == coordinator
    });
    load.resumes(process);
    watch.elapsed()
}

pub(crate) fn disk_full(case: &Case) {
    case.inject(
        "",
        "the broker's disk of 60 MB fills up under load until it ends; then it has 1 GB and starts again",
        || {
            let disk = kafka::folder();
            machine::mount_memory(&disk, "60m");
            let load = Load::new("disk");
            let mut process = load.start();
            let (in_flight, lag) = load.busy(&mut process);
            process.wait("the broker to end", Duration::from_secs(120), |_| broker::node().has_ended());
            process.wait("readyz to be 503", Duration::from_secs(30), |process| {
                process.get("/readyz").is_some_and(|(status, _)| status == 503)
            });
            assert_eq!(process.get("/livez").map(|(status, _)| status), Some(200), "livez without a broker");
            machine::mount_memory(&disk, "remount,1g");
            broker::node().start_again().unwrap();
            let watch = clock::Watch::start();
            load.resumes(&mut process);
            let back = watch.elapsed();
            let verdict = load.finish(process);
            format!("lag {lag}, in flight {in_flight}; delivering again {} after its return; {verdict}", seconds(back))
        },
    );
}
