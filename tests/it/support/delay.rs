//! How long records take from the broker's log of the input to that of the output, by the broker's clock.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use crate::support::java;
use crate::support::java::Feed;
use crate::support::java::Raw;
use crate::support::wasmill::Process;

/// The longest wait for the records to come out.
const LIMIT: Duration = Duration::from_secs(120);
const RATE: u32 = 100;

/// Creates the topics of a pipeline whose delays are measured.
pub(crate) fn topics(name: &str) -> [String; 2] {
    ["in", "out"].map(|end| java::create(&format!("{name}-{end}"), 1, &["message.timestamp.type=LogAppendTime"]))
}

/// Has 100 records a second pass from topic to topic for a while, one output for each. Returns their delays in ms: the median, and the 99th
/// percentile.
pub(crate) fn measure(process: &mut Process, [input, output]: &[String; 2], seconds: u64) -> [i64; 2] {
    let from = [input, output].map(|topic| java::ends(topic)[0]);
    let count = u64::from(RATE) * seconds;
    let feed = Feed::start(input, RATE, 97, 20, count);
    process
        .wait("the records to come out", LIMIT, |_| java::ends(output)[0] - from[1] >= i64::try_from(count).unwrap());
    feed.stop();
    let [read, written] = [input, output].map(|topic| java::dump(topic, 0));
    // Records keep their order.
    let since = |records: Vec<(i64, Raw)>, from| records.into_iter().filter(move |(offset, _)| *offset >= from);
    let pairs = since(read, from[0]).zip(since(written, from[1]));
    let mut delays: Vec<i64> = pairs.map(|((_, read), (_, written))| written.timestamp - read.timestamp).collect();
    delays.sort_unstable();
    [50, 99].map(|share| delays[delays.len() * share / 100])
}
