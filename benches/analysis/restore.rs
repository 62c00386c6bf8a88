//! A million keys in one open window: the memory that they take, and the time to bring them back.
//!
//! Each contestant reads the topic, ends, and is started again with an empty folder, when there is one more record in each partition. *Back* is
//! the time from the start of that process to the commit of these records. *Restoring* is the part of it that the contestant itself reports.

use std::time::Duration;
use std::time::Instant;

use rdkafka::Message as _;
use rdkafka::Offset;
use wasmill::state::CellValue;
use wasmill::state::RecordKey;
use wasmill::state::decode_key;

use crate::Field;
use crate::PARTITIONS;
use crate::STEP;
use crate::Size;
use crate::cluster::WAIT;
use crate::contestant::COUNT;
use crate::contestant::Contestant;
use crate::contestant::Form;
use crate::contestant::STEP as NAME;
use crate::input::Draw;
use crate::input::Input;
use crate::millions;
use crate::process::Process;
use crate::progress::Progress;
use crate::progress::changelogs;
use crate::rounds::TWIN;
use crate::seconds;
use crate::streams::Emit;
use crate::streams::Store;
use crate::streams::Twin;
use crate::unix_ms;
use crate::verdict;

const LIMIT: Duration = Duration::from_secs(600);
/// The most memory that wasmill may have, with this many keys.
const MEMORY_MIB: f64 = 256.0;
const MEMORY_KEYS: usize = 1_000_000;
/// The least records that wasmill restores in a second.
const RESTORED: f64 = 500_000.0;
/// How long nothing may come before a topic counts as read to its end.
const SETTLED: Duration = Duration::from_millis(500);

/// Cells of about 16 bytes: as many as a count of Kafka Streams with its time.
const TOTALS: Form = Form { fields: "orders = \"count\", revenue = \"sum:/total\", largest = \"max:/total\"", ..COUNT };

pub(crate) fn run(field: &Field, size: Size) {
    let keys = size.restored;
    println!("\n{keys} keys in an open window: memory, and a start without anything on disk");
    println!(
        "{:<28}{:>14}{:>16}{:>12}{:>14}{:>16}{:>12}{:>20}",
        "", "filled: MiB", "restored: MiB", "back, s", "restoring, s", "records", "records/s", "changelog, MiB"
    );
    let contestants = [
        Contestant::Wasmill(TOTALS),
        Contestant::Streams(Twin { emit: Emit::OnClose, ..TWIN }),
        Contestant::Streams(Twin {
            name: "Kafka Streams, in memory",
            emit: Emit::OnClose,
            store: Store::Memory,
            ..TWIN
        }),
    ];
    for (place, contestant) in contestants.iter().enumerate() {
        // Each has a topic of its own: it gets longer.
        let mut input = Input::fill(field, &format!("restore-{place}"), keys, keys, 1, Draw::InTurn, false);
        let group = format!("{}-{}", input.topic, contestant.slug());
        let output = format!("{group}-results");
        field.cluster.create(&output, PARTITIONS, &[]);
        let topics = [input.topic.clone(), output.clone()];
        let topics = topics.each_ref().map(String::as_str);
        let process = contestant.start(field, &group, topics);
        let (process, _) = reach(field, contestant, process, &group, &input);
        let filled = process.peak_rss_mib();
        process.stop();

        input.prolong(field);
        let process = contestant.start(field, &group, topics);
        let (process, back) = reach(field, contestant, process, &group, &input);
        let restored = process.peak_rss_mib();
        let log = process.log();
        process.stop();
        let (ms, records) = match contestant {
            Contestant::Streams(_) => of_streams(&log),
            Contestant::Wasmill(_) | Contestant::Stateless => of_wasmill(&log),
        };
        let (names, bytes) = changelogs(&group);
        let rate = millions(records) * 1e6 / seconds(ms.max(1));
        print_row(contestant, [filled, restored], back, seconds(ms), records, rate, bytes);
        if let Contestant::Wasmill(_) = contestant {
            println!("{:>28}cells of {:.1} bytes", "", cell_bytes(field, &format!("{group}.{NAME}.changelog")));
            if keys == MEMORY_KEYS {
                println!(
                    "{:>28}goals: below {MEMORY_MIB} MiB: {}, {RESTORED} records/s: {}",
                    "",
                    verdict(filled.max(restored) < MEMORY_MIB),
                    verdict(rate >= RESTORED)
                );
            }
        }
        for topic in names.iter().chain([&output, &input.topic]) {
            field.cluster.delete(topic);
        }
    }
}

fn print_row(
    contestant: &Contestant,
    [filled, restored]: [f64; 2],
    back: f64,
    restoring: f64,
    records: i64,
    rate: f64,
    bytes: u64,
) {
    println!(
        "{:<28}{filled:>14.0}{restored:>16.0}{back:>12.1}{restoring:>14.2}{records:>16}{rate:>12.0}{:>20}",
        contestant.name(),
        bytes >> 20
    );
}

/// Waits until the process has committed everything. Returns it, and how many seconds that took.
fn reach(field: &Field, contestant: &Contestant, mut process: Process, group: &str, input: &Input) -> (Process, f64) {
    let (began, began_ms) = (Instant::now(), unix_ms());
    let progress = Progress::of(&field.cluster, group, &input.topic);
    while progress.committed() < input.end {
        let failed = if process.is_alive() { began.elapsed() >= LIMIT } else { true };
        assert!(!failed, "{} stands still or is gone\n{}", contestant.name(), process.log());
        std::thread::sleep(STEP);
    }
    (process, seconds(unix_ms() - began_ms))
}

/// The ms and the records of a restore: from the assignment to the last partition.
fn of_wasmill(log: &str) -> (i64, i64) {
    let (mut began, mut ended, mut all) = (None, 0, 0);
    for line in log.lines() {
        let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let (Some(time), Some(message)) = (line["timestamp"].as_str(), line["message"].as_str()) else { continue };
        let time = time.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        if message.starts_with("assigned ") {
            began.get_or_insert(time);
        }
        if let Some((_, records)) = message.split_once(" cells from ") {
            ended = time;
            all += records.split(' ').next().unwrap().parse::<i64>().unwrap();
        }
    }
    (ended - began.expect("wasmill logs its assignment"), all)
}

/// The same, of all stores and partitions.
fn of_streams(log: &str) -> (i64, i64) {
    let last = log.lines().rfind(|line| line.starts_with("restored ")).expect("it tells what it restored");
    let words: Vec<&str> = last.split(' ').collect();
    (words[4].parse().unwrap(), words[1].parse().unwrap())
}

/// The mean size of the cells in a changelog.
fn cell_bytes(field: &Field, changelog: &str) -> f64 {
    let reader = field.cluster.reader(changelog, PARTITIONS, Offset::Beginning);
    let (mut cells, mut bytes, mut wait) = (0, 0, WAIT);
    while let Some(message) = reader.poll(wait) {
        wait = SETTLED;
        let message = message.unwrap();
        let key = decode_key(message.key().unwrap_or_default()).unwrap();
        if let (RecordKey::Cell { .. }, Some(value)) = (key, message.payload()) {
            cells += 1;
            bytes += CellValue::decode(value).unwrap().cell.map_or(0, <[u8]>::len);
        }
    }
    f64::from(i32::try_from(bytes).unwrap()) / f64::from(cells)
}
