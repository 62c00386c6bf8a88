//! Kafka's own Java client, controlled through `tests/kafka/Oracle.java`: one JVM for the whole binary.
//!
//! It creates topics, produces, reads back and counts. Invariant: what tests claim about delivery was never read by the client library
//! that wasmill itself uses.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::cell::RefCell;
use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::ChildStdin;
use std::process::Command;
use std::process::Stdio;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use crate::kafka;
use crate::support::broker;
use crate::support::canary;
use crate::support::clock;
use crate::support::unique;

const SOURCE: &str = "tests/kafka/Oracle.java";

/// A record in a topic, byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// The records of a feed in a topic, in the order of its partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Records of the feed, each counted once.
    pub(crate) fresh: u64,
    /// Records that occurred before.
    pub(crate) repeats: u64,
    /// Records that, apart from repeats, follow a later one of their key, or are in another partition than their key's.
    pub(crate) disorder: u64,
    /// Records that are not from the feed.
    pub(crate) foreign: u64,
    /// Keys whose last record, including repeats, is not their newest: an old value would remain after compaction or in a table. Such
    /// keys may exist while records are being repeated, but not after everything is delivered.
    pub(crate) stale: u64,
    /// For each input partition, one above the highest offset whose record is in the topic.
    pub(crate) heights: Vec<i64>,
}

/// Creates a topic with a unique name.
pub(crate) fn create(name: &str, partitions: usize, configs: &[&str]) -> String {
    let topic = unique(name);
    create_again(&topic, partitions, configs);
    topic
}

/// Creates a topic with exactly this name. It keeps its records however old their timestamps are: by default Kafka deletes records older
/// than a week, half a minute after its start and then every five minutes.
pub(crate) fn create_again(topic: &str, partitions: usize, configs: &[&str]) {
    create_as(topic, &partitions.to_string(), configs);
}

fn create_as(topic: &str, partitions: &str, configs: &[&str]) {
    let mut request = format!("create\t{topic}\t{partitions}");
    for config in ["retention.ms=-1"].iter().chain(configs) {
        request.push('\t');
        request.push_str(config);
    }
    ask(&request);
}

/// Creates a topic whose partitions have these replicas, given by node ids; the first one is the preferred leader.
pub(crate) fn create_on(name: &str, replicas: &[&[u32]], configs: &[&str]) -> String {
    let of = |ids: &&[u32]| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
    let topic = unique(name);
    create_as(&topic, &format!("@{}", replicas.iter().map(of).collect::<Vec<_>>().join(",")), configs);
    topic
}

/// Deletes a topic.
pub(crate) fn delete(topic: &str) {
    ask(&format!("delete\t{topic}"));
}

/// Changes a setting of a topic, `name=value`.
pub(crate) fn alter(topic: &str, setting: &str) {
    ask(&format!("alter\t{topic}\t{setting}"));
}

/// Adds partitions to a topic, until it has this many.
pub(crate) fn add_partitions(topic: &str, partitions: usize) {
    ask(&format!("partitions\t{topic}\t{partitions}"));
}

/// Restricts an operation on a resource to this user. `kind` is `topic` or `group`. The tests' own clients are `ANONYMOUS`.
pub(crate) fn allow(user: &str, kind: &str, name: &str, operation: &str) {
    ask(&format!("allow\t{user}\t{kind}\t{name}\t{operation}"));
}

/// Grants a pipeline's permissions on a cluster that allows nothing without an ACL: read its inputs, write its outputs, use its group and
/// its transactions.
pub(crate) fn permit(inputs: &[&str], outputs: &[&str], group: &str) {
    let Some(user) = broker::user() else { return };
    for input in inputs {
        allow(user, "topic", input, "read");
    }
    for output in outputs {
        allow(user, "topic", output, "write");
    }
    allow(user, "group", group, "read");
    allow(user, "transactional_id", &format!("wasmill-{group}-*"), "write");
}

/// The node that leads each partition of a topic; -1 if there is none.
pub(crate) fn leaders(topic: &str) -> Vec<i64> {
    numbers(&ask(&format!("leaders\t{topic}"))[0])
}

/// The node of a group's coordinator.
pub(crate) fn coordinator(group: &str) -> i64 {
    numbers(&ask(&format!("coordinator\t{group}"))[0])[0]
}

/// Makes the preferred replica of every partition its leader again.
pub(crate) fn elect() {
    ask("elect");
}

/// Waits until a cluster has this number of brokers.
pub(crate) fn wait_for_brokers(brokers: &str, count: usize) {
    ask_at(brokers, &format!("brokers\t{count}"));
}

/// Deletes the records of a partition below an offset, as retention does.
pub(crate) fn delete_records(topic: &str, partition: usize, before: i64) {
    ask(&format!("delete-records\t{topic}\t{partition}\t{before}"));
}

/// The end offsets of a topic's partitions.
pub(crate) fn ends(topic: &str) -> Vec<i64> {
    numbers(&ask(&format!("end\t{topic}"))[0])
}

/// The number of records in each of a topic's partitions, as readers of committed records see them. The end offsets count the markers
/// of transactions, too.
pub(crate) fn records(topic: &str) -> Vec<usize> {
    (0..ends(topic).len()).map(|partition| dump(topic, partition).len()).collect()
}

/// The committed offsets of a group; -1 for none.
pub(crate) fn committed(group: &str, topic: &str) -> Vec<i64> {
    numbers(&ask(&format!("committed\t{group}\t{topic}"))[0])
}

/// The number of records that a group has not committed.
pub(crate) fn lag(group: &str, topic: &str) -> i64 {
    // Ends are read first: a commit in between can only make the lag smaller.
    let ends = ends(topic);
    ends.iter().zip(committed(group, topic)).map(|(end, committed)| (end - committed.max(0)).max(0)).sum()
}

/// The number of partitions of each member of a group, if the group is not rebalancing.
pub(crate) fn members(group: &str) -> Option<Vec<usize>> {
    let answer = ask(&format!("group\t{group}"));
    let owned = |list: &String| if list.is_empty() { 0 } else { list.split(',').count() };
    (answer[0] == "Stable").then(|| answer[1..].iter().map(owned).collect())
}

/// Whether a group has no members.
pub(crate) fn is_left(group: &str) -> bool {
    ask(&format!("group\t{group}"))[0] == "Empty"
}

/// The transactional ids of a group's members whose transaction has not ended, each with its state, such as `Ongoing`.
pub(crate) fn open_transactions(group: &str) -> Vec<String> {
    ask(&format!("open-transactions\twasmill-{group}-")).into_iter().filter(|id| !id.is_empty()).collect()
}

/// Writes records to a partition in one batch. Returns the offset of the first one.
pub(crate) fn produce(topic: &str, partition: usize, records: &[Raw]) -> i64 {
    let mut request = format!("produce\t{topic}\t{partition}");
    for record in records {
        request.push('\t');
        request.push_str(&write_raw(record));
    }
    ask(&request)[0].parse().unwrap()
}

/// Sends a record for each key, and returns the partitions that Kafka's own client chooses.
pub(crate) fn choose(topic: &str, keys: &[Option<Vec<u8>>]) -> Vec<i64> {
    let mut request = format!("choose\t{topic}");
    for key in keys {
        request.push('\t');
        request.push_str(&hex(key.as_deref()));
    }
    numbers(&ask(&request)[0])
}

/// The metadata that a group committed with its offset of partition 0.
pub(crate) fn note(group: &str, topic: &str) -> String {
    ask(&format!("note\t{group}\t{topic}"))[0].clone()
}

/// Commits an offset of partition 0 with metadata, for a group without members.
pub(crate) fn commit(group: &str, topic: &str, offset: i64, note: &str) {
    ask(&format!("commit\t{group}\t{topic}\t{offset}\t{note}"));
}

/// Joins a group with the assignor `range`, for as long as the tests run.
pub(crate) fn join(group: &str, topic: &str) {
    ask(&format!("join\t{group}\t{topic}"));
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Commit,
    Abort,
    /// Not at all, until the brokers abort it.
    Open,
}

/// Writes records to a partition in one transaction, which ends as given.
pub(crate) fn transact(ending: Ending, topic: &str, partition: usize, records: &[Raw]) {
    let ending = match ending {
        Ending::Commit => "commit",
        Ending::Abort => "abort",
        Ending::Open => "open",
    };
    let mut request = format!("transact\t{ending}\t{topic}\t{partition}");
    for record in records {
        request.push('\t');
        request.push_str(&write_raw(record));
    }
    ask(&request);
}

/// All records of a partition with their offsets.
pub(crate) fn dump(topic: &str, partition: usize) -> Vec<(i64, Raw)> {
    let answer = ask(&format!("dump\t{topic}\t{partition}"));
    answer.iter().filter(|text| !text.is_empty()).map(|text| read_raw(text)).collect()
}

/// Numbered records that a thread of the Java process sends to a topic.
#[derive(Debug)]
pub(crate) struct Feed(String);

impl Feed {
    /// Starts a feed of `rate` records per second, of about `100 + pad` bytes, until `count` are sent; with 0 until stopped.
    pub(crate) fn start(topic: &str, rate: u32, keys: u32, pad: u32, count: u64) -> Feed {
        let name = unique("feed");
        ask(&format!("feed\t{name}\t{topic}\t{rate}\t{keys}\t{pad}\t{count}"));
        Feed(name)
    }

    /// Fills a topic, and returns when all records are acknowledged.
    pub(crate) fn fill(topic: &str, count: u64) -> Feed {
        let feed = Feed::start(topic, 100_000, 97, 40, count);
        feed.end(Duration::from_secs(60));
        feed
    }

    /// Waits until all records are acknowledged.
    pub(crate) fn end(&self, limit: Duration) {
        clock::wait_until("a feed to end", limit, || ask(&format!("fed\t{}", self.0))[0] == "over");
    }

    /// Stops the feed. Returns the number of acknowledged records in each partition.
    pub(crate) fn stop(&self) -> Vec<i64> {
        numbers(&ask(&format!("stop-feed\t{}", self.0))[1])
    }
}

/// A reader of a whole topic that keeps running in the Java process, as a consumer that reads only committed records.
#[derive(Debug)]
pub(crate) struct Reader(String);

impl Reader {
    pub(crate) fn start(topic: &str) -> Reader {
        Reader::of(&[topic])
    }

    /// A reader of several topics as if they were one: each record of a feed goes to one of them.
    pub(crate) fn of(topics: &[&str]) -> Reader {
        let name = unique("watch");
        ask(&format!("watch\t{name}\t{}", topics.join("\t")));
        Reader(name)
    }

    /// Counts everything that the topic contains now.
    pub(crate) fn tally(&self) -> Tally {
        let answer = ask(&format!("tally\t{}", self.0));
        let number = |index: usize| answer[index].parse().unwrap();
        let heights = numbers(&answer[5]);
        Tally {
            fresh: number(0),
            repeats: number(1),
            disorder: number(2),
            foreign: number(3),
            stale: number(4),
            heights,
        }
    }

    /// How many records the broker appended between two times, for a topic with `LogAppendTime`.
    pub(crate) fn appended(&self, from_ms: u64, to_ms: u64) -> u64 {
        ask(&format!("appended\t{}\t{from_ms}\t{to_ms}", self.0))[0].parse().unwrap()
    }

    /// How many acknowledged records of a feed are missing, and which ones, as `partition/offset`.
    pub(crate) fn missing(&self, feed: &Feed) -> (u64, String) {
        let answer = ask(&format!("missing\t{}\t{}", self.0, feed.0));
        (answer[0].parse().unwrap(), answer[1].clone())
    }
}

/// Stops the reader in the Java process.
impl Drop for Reader {
    fn drop(&mut self) {
        // A failed test ends the process soon, and an answer here could hide the reason.
        if !thread::panicking() {
            ask(&format!("unwatch\t{}", self.0));
        }
    }
}

/// Sends a request about the cluster of this test, and returns the answer.
pub(crate) fn ask(request: &str) -> Vec<String> {
    ask_at(broker::brokers(), request)
}

/// Each thread has a connection of its own, so that a test that waits for an answer doesn't block others.
fn ask_at(brokers: &str, request: &str) -> Vec<String> {
    thread_local! {
        static CONNECTION: RefCell<Option<BufReader<TcpStream>>> = const { RefCell::new(None) };
    }
    let answer = CONNECTION.with_borrow_mut(|connection| {
        let connection = connection.get_or_insert_with(connect);
        connection.get_mut().write_all(format!("{brokers}\t{request}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_line(&mut answer).unwrap();
        answer
    });
    let mut fields = answer.trim_end_matches('\n').split('\t').map(str::to_owned);
    let asked: String = request.chars().take(120).collect();
    match fields.next().as_deref() {
        Some("ok") => fields.collect(),
        _ => panic!("the Java client answered {asked:?} with {answer:?}"),
    }
}

/// The first call starts the JVM.
fn connect() -> BufReader<TcpStream> {
    static JVM: OnceLock<Jvm> = OnceLock::new();
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, JVM.get_or_init(Jvm::start).port)).unwrap();
    stream.set_nodelay(true).unwrap();
    BufReader::new(stream)
}

/// The JVM process. It ends when its stdin is closed, at the latest with this process.
struct Jvm {
    _child: Child,
    _stdin: ChildStdin,
    port: u16,
}

impl Jvm {
    fn start() -> Jvm {
        let classes = compile();
        let path = format!("{}:{}", classes.display(), broker::jars().join("*").display());
        let mut command = kafka::bound(Path::new("java"));
        command.args(["-Xmx768m", "-XX:+UseSerialGC", kafka::BRIEF, "-Dlog4j2.level=OFF", "-cp", &path, "Oracle"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = kafka::spawn_bound(command).unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Jvm { _child: child, _stdin: stdin, port: port.trim().parse().unwrap() }
    }
}

/// Compiles the source if that was not done yet. Returns the folder of the classes.
pub(crate) fn compile() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(SOURCE);
    let classes = kafka::home().join("classes");
    let stamp = classes.join("Oracle.java");
    let wanted = fs::read(&source).unwrap();
    if fs::read(&stamp).is_ok_and(|had| had == wanted) {
        return classes;
    }
    fs::create_dir_all(&classes).unwrap();
    let jars = broker::jars().join("*");
    let status = Command::new("javac").arg("-cp").arg(jars).arg("-d").arg(&classes).arg(&source).status().unwrap();
    assert!(status.success(), "javac {}: {status}", source.display());
    fs::write(stamp, wanted).unwrap();
    classes
}

fn numbers(text: &str) -> Vec<i64> {
    text.split(',').filter(|n| !n.is_empty()).map(|n| n.parse().unwrap()).collect()
}

fn write_raw(record: &Raw) -> String {
    let Raw { timestamp, key, value, headers } = record;
    let mut text = format!("0,{timestamp},{},{}", hex(key.as_deref()), hex(value.as_deref()));
    for (name, value) in headers {
        text.push_str(&format!(",{}={}", hex(Some(name)), hex(value.as_deref())));
    }
    text
}

fn read_raw(text: &str) -> (i64, Raw) {
    let fields: Vec<&str> = text.split(',').collect();
    let header = |field: &&str| {
        let (name, value) = field.split_once('=').unwrap();
        let (name, value) = (unhex(name).unwrap(), unhex(value));
        canary::absent_from_ours(&name, value.as_deref());
        (name, value)
    };
    let headers = fields[4..].iter().map(header).collect();
    let raw = Raw { timestamp: fields[1].parse().unwrap(), key: unhex(fields[2]), value: unhex(fields[3]), headers };
    (fields[0].parse().unwrap(), raw)
}

fn hex(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (text != "-").then(|| (0..text.len()).step_by(2).map(byte).collect())
}
