//! One run of a contestant: it reads a topic from its beginning until its offsets are committed and its results are written.

use std::fs;
use std::time::Duration;
use std::time::Instant;

use crate::Field;
use crate::PARTITIONS;
use crate::STEP;
use crate::Size;
use crate::contestant::Contestant;
use crate::input::Input;
use crate::millions;
use crate::process::Process;
use crate::process::cpu_seconds;
use crate::progress::Progress;
use crate::progress::changelogs;
use crate::results;
use crate::seconds;
use crate::unix_ms;

/// The time limit of a run.
const LIMIT: Duration = Duration::from_secs(600);
/// A contestant is done after this number of looks in a row without a new result.
const STANDS: u32 = 40;

/// The result of one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// Thousands of records per second.
    pub(crate) rate: f64,
    /// CPU seconds per million records.
    pub(crate) cpu: f64,
    /// CPU seconds of the broker per million records.
    pub(crate) broker: f64,
    /// Peak resident memory, MiB.
    pub(crate) rss: f64,
    /// Seconds from the start of the process to its first commit.
    pub(crate) start: f64,
    /// Bytes of the changelogs on the broker's disk per record.
    pub(crate) changelog: f64,
    /// The number of results, of all records.
    pub(crate) results: i64,
    /// The names of the threads and their CPU seconds per million records, the busiest first.
    pub(crate) threads: Vec<(String, f64)>,
}

/// Where a process is at a moment.
struct Mark {
    ms: i64,
    committed: i64,
    cpu: f64,
    broker: f64,
    threads: Vec<(String, f64)>,
}

impl Mark {
    fn at(field: &Field, process: &Process, committed: i64) -> Mark {
        let broker = cpu_seconds(&format!("/proc/{}/stat", field.broker));
        Mark { ms: unix_ms(), committed, cpu: process.cpu_seconds(), broker, threads: threads(process) }
    }
}

/// Runs a contestant until it has processed everything from `input` into a new topic. Removes its topics.
pub(crate) fn drain(field: &Field, size: Size, contestant: &Contestant, input: &Input, round: usize) -> Figures {
    let cluster = &field.cluster;
    let group = format!("{}-{}-{round}", input.topic, contestant.slug());
    let output = format!("{group}-results");
    cluster.create(&output, PARTITIONS, &["message.timestamp.type=LogAppendTime"]);
    let progress = Progress::of(cluster, &group, &input.topic);
    let (began, began_ms) = (Instant::now(), unix_ms());
    let mut process = contestant.start(field, &group, [&input.topic, &output]);
    let lead = i64::try_from(size.lead).unwrap();
    let (mut first, mut started) = (None, None);
    loop {
        let committed = progress.committed();
        if committed > 0 {
            first.get_or_insert_with(unix_ms);
        }
        if committed >= lead && started.is_none() {
            started = Some(Mark::at(field, &process, committed));
        }
        if committed >= input.end {
            break;
        }
        let failed = if process.is_alive() { began.elapsed() >= LIMIT } else { true };
        assert!(
            !failed,
            "{}: {committed} of {} records, then it stands still or is gone\n{}",
            contestant.name(),
            input.end,
            process.log()
        );
        std::thread::sleep(STEP);
    }
    // The results of the last windows may come after the offsets. They are there when there are no more for a while.
    let mut ended = Mark::at(field, &process, input.end);
    let all_committed = ended.ms;
    let (mut before, mut stands) = (cluster.count(&output, PARTITIONS), 0);
    while stands < STANDS {
        std::thread::sleep(STEP);
        let there = cluster.count(&output, PARTITIONS);
        stands = if there == before { stands + 1 } else { 0 };
        if there != before {
            ended = Mark::at(field, &process, input.end);
        }
        before = there;
    }
    let rss = process.peak_rss_mib();
    process.stop();
    let results = contestant.emits().map(|emit| results::read(field, &output, input, emit));
    let (changelogs, bytes) = changelogs(&group);
    changelogs.iter().for_each(|topic| cluster.delete(topic));
    cluster.delete(&output);

    let started = started.unwrap();
    let end = results.map_or(all_committed, |results| results.last.max(all_committed));
    let counted = millions(input.end - started.committed);
    let mut threads: Vec<_> = ended.threads.iter().map(|(name, cpu)| (name.clone(), cpu / counted)).collect();
    for (name, cpu) in &mut threads {
        let before: f64 = started.threads.iter().filter(|(known, _)| known == name).map(|(_, cpu)| cpu).sum();
        *cpu -= before / counted;
    }
    threads.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    Figures {
        rate: counted * 1e3 / seconds(end - started.ms),
        cpu: (ended.cpu - started.cpu) / counted,
        broker: (ended.broker - started.broker) / counted,
        rss,
        start: seconds(first.unwrap_or(end) - began_ms),
        changelog: f64::from(u32::try_from(bytes).unwrap()) / millions(input.end) / 1e6,
        results: results.map_or(0, |results| results.count),
        threads,
    }
}

/// The CPU seconds of a process's threads so far, by name. Threads that differ in a number count as one.
fn threads(process: &Process) -> Vec<(String, f64)> {
    let mut threads: Vec<(String, f64)> = Vec::new();
    for task in fs::read_dir(format!("/proc/{}/task", process.child.id())).unwrap() {
        let task = task.unwrap().path();
        // It may have ended just now.
        let Ok(name) = fs::read_to_string(task.join("comm")) else { continue };
        let name = name.trim().trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
        let cpu = cpu_seconds(&task.join("stat").display().to_string());
        match threads.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += cpu,
            None => threads.push((name, cpu)),
        }
    }
    threads
}
