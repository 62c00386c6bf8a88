//! Reads the results of a contestant back, and compares them with what has to come out.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::Message as _;
use rdkafka::Offset;

use crate::Field;
use crate::PARTITIONS;
use crate::cluster::WAIT;
use crate::input::Input;
use crate::input::NAME;
use crate::input::TAIL;
use crate::streams::Emit;

/// How long nothing may come before a topic counts as read to its end.
const SETTLED: Duration = Duration::from_millis(500);

/// What came out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Results {
    /// How many results there are.
    pub(crate) count: i64,
    /// When the broker appended the last one, in ms.
    pub(crate) last: i64,
}

/// Reads a contestant's results. Fails if they are not those that have to come out.
pub(crate) fn read(field: &Field, output: &str, input: &Input, emit: Emit) -> Results {
    let windows: HashMap<String, usize> = input.windows().enumerate().map(|(n, start)| (text(start), n)).collect();
    let mut counts: Vec<Vec<u32>> = input.counts().iter().map(|counts| vec![0; counts.len()]).collect();
    let reader = field.cluster.reader(output, PARTITIONS, Offset::Beginning);
    let mut results = Results { count: 0, last: 0 };
    let mut wait = WAIT;
    while let Some(message) = reader.poll(wait) {
        wait = SETTLED;
        let message = message.unwrap();
        let value = std::str::from_utf8(message.payload().unwrap()).unwrap();
        let key = std::str::from_utf8(message.key().unwrap()).unwrap();
        results.last = results.last.max(message.timestamp().to_millis().unwrap());
        results.count += 1;
        if key.starts_with(TAIL) {
            assert!(emit == Emit::Updates, "a window that is open has the result {value}");
            continue;
        }
        let (from, orders) = parse(value, key).unwrap_or_else(|| panic!("no result of {key}: {value}"));
        let key: usize = key.strip_prefix(NAME).unwrap().parse().unwrap();
        let place = &mut counts[windows[from]][key];
        assert!(emit == Emit::Updates || *place == 0, "a second result: {value}");
        *place = (*place).max(orders);
    }
    for (n, (own, wanted)) in counts.iter().zip(input.counts()).enumerate() {
        let wrong = own.iter().zip(wanted).filter(|(own, wanted)| own != wanted).count();
        assert!(wrong == 0, "window {n}: {wrong} of {} keys have another result in {output}", wanted.len());
    }
    results
}

/// Where the window of a result begins, and its count.
fn parse<'a>(value: &'a str, key: &str) -> Option<(&'a str, u32)> {
    let rest = value.strip_prefix("{\"key\":\"")?.strip_prefix(key)?.strip_prefix("\",\"from\":\"")?;
    let (from, rest) = rest.split_once('"')?;
    let (_, orders) = rest.strip_suffix('}')?.split_once("\"orders\":")?;
    Some((from, orders.parse().ok()?))
}

fn text(ms: i64) -> String {
    format!("{:.3}", jiff::Timestamp::from_millisecond(ms).unwrap())
}
