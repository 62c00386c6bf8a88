//! Tests the oracle itself with topics that contain planted faults. Without this the other tests prove nothing.
#![expect(clippy::unwrap_used, reason = "tests")]

use crate::support::java;
use crate::support::java::Feed;
use crate::support::java::Raw;
use crate::support::java::Reader;
use crate::support::java::Tally;

const RECORDS: u64 = 2000;

/// The records of a feed in one partition, and the feed.
fn fed() -> (Feed, Vec<Raw>) {
    let input = java::create("oracle-in", 1, &[]);
    let feed = Feed::fill(&input, RECORDS);
    let records = java::dump(&input, 0).into_iter().map(|(_, raw)| raw).collect();
    (feed, records)
}

/// The oracle's verdict on these records: the tally, and how many are missing.
fn judge(feed: &Feed, records: &[Raw]) -> (Tally, (u64, String)) {
    let output = java::create("oracle-out", 1, &[]);
    java::produce(&output, 0, records);
    let reader = Reader::start(&output);
    (reader.tally(), reader.missing(feed))
}

fn clean() -> Tally {
    Tally { fresh: RECORDS, heights: vec![i64::try_from(RECORDS).unwrap()], ..Tally::default() }
}

#[test]
fn a_faithful_copy_is_clean() {
    let (feed, records) = fed();
    assert_eq!(feed.stop(), [i64::try_from(RECORDS).unwrap()]);
    assert_eq!(judge(&feed, &records), (clean(), (0, String::new())));
}

#[test]
fn loss_is_detected_in_the_middle_and_at_the_end() {
    let (feed, mut records) = fed();
    records.remove(700);
    let (tally, missing) = judge(&feed, &records);
    assert_eq!((tally, missing), (Tally { fresh: RECORDS - 1, ..clean() }, (1, "0/700".to_owned())));
    records.pop();
    let (tally, missing) = judge(&feed, &records);
    assert_eq!((tally.fresh, tally.heights, missing), (RECORDS - 2, vec![1999], (2, "0/700,0/1999".to_owned())));
}

#[test]
fn repeats_are_counted_and_are_not_disorder() {
    let (feed, mut records) = fed();
    let again = records[100..150].to_vec();
    records.splice(200..200, again);
    assert_eq!(judge(&feed, &records), (Tally { repeats: 50, ..clean() }, (0, String::new())));
}

#[test]
fn disorder_is_detected_within_a_key_and_allowed_between_keys() {
    let (feed, records) = fed();
    // Keys alternate, so neighbours have different keys.
    let mut neighbours = records.clone();
    neighbours.swap(10, 11);
    assert_eq!(judge(&feed, &neighbours).0, clean());
    let mut same_key = records.clone();
    let next = (11..same_key.len()).find(|&at| same_key[at].key == same_key[10].key).unwrap();
    same_key.swap(10, next);
    assert_eq!(judge(&feed, &same_key).0, Tally { disorder: 1, ..clean() });
}

#[test]
fn disorder_after_repeats_is_detected() {
    let (feed, mut records) = fed();
    let later = (701..records.len()).find(|&at| records[at].key == records[700].key).unwrap();
    records.swap(700, later);
    let again = records[..500].to_vec();
    records.splice(0..0, again);
    assert_eq!(judge(&feed, &records).0, Tally { repeats: 500, disorder: 1, ..clean() });
}

#[test]
fn an_old_value_after_the_newest_is_detected_until_the_newest_is_repeated() {
    let (feed, mut records) = fed();
    let key = &records[10].key;
    let of_key: Vec<Raw> = records.iter().filter(|record| record.key == *key).cloned().collect();
    let (old, newest) = (of_key[of_key.len() - 2].clone(), of_key[of_key.len() - 1].clone());
    records.push(old);
    assert_eq!(judge(&feed, &records), (Tally { repeats: 1, stale: 1, ..clean() }, (0, String::new())));
    records.push(newest);
    assert_eq!(judge(&feed, &records), (Tally { repeats: 2, ..clean() }, (0, String::new())));
}

#[test]
fn topics_that_share_a_feed_are_read_as_one_and_a_key_that_changes_its_topic_is_disorder() {
    let (feed, records) = fed();
    let [even, odd] = [0, 1].map(|rest| {
        let is_here = |record: &&Raw| record.key.as_ref().unwrap()[1] % 2 == rest;
        records.iter().filter(is_here).cloned().collect::<Vec<Raw>>()
    });
    let topics = [&even, &odd].map(|records| {
        let topic = java::create("oracle-one-of", 1, &[]);
        java::produce(&topic, 0, records);
        topic
    });
    let reader = Reader::of(&[&topics[0], &topics[1]]);
    assert_eq!((reader.tally(), reader.missing(&feed)), (clean(), (0, String::new())));
    let (mut fewer, mut more) = (even, odd);
    more.push(fewer.pop().unwrap());
    let topics = [&fewer, &more].map(|records| {
        let topic = java::create("oracle-one-of", 1, &[]);
        java::produce(&topic, 0, records);
        topic
    });
    // Topics have no order among each other: whichever is read first, the key's records in the other one are out of order.
    let Tally { disorder, fresh, .. } = Reader::of(&[&topics[0], &topics[1]]).tally();
    assert!(disorder > 0 && fresh == clean().fresh, "{disorder} of {fresh}");
}

#[test]
fn a_changed_byte_or_key_is_foreign() {
    let (feed, mut records) = fed();
    let value = records[5].value.as_mut().unwrap();
    let pad = value.iter().position(|&byte| byte == b'x').unwrap();
    value[pad] = b'y';
    records[6].key = Some(b"k0".to_vec());
    records[7].value = None;
    let (tally, missing) = judge(&feed, &records);
    assert_eq!(tally, Tally { fresh: RECORDS - 3, foreign: 3, ..clean() });
    assert_eq!(missing, (3, "0/5,0/6,0/7".to_owned()));
}

#[test]
fn raw_records_are_read_back_byte_for_byte() {
    let topic = java::create("oracle-raw", 1, &[]);
    let records = [
        Raw {
            timestamp: 5,
            headers: vec![(b"\xff\x00".to_vec(), None), (Vec::new(), Some(Vec::new()))],
            ..Raw::default()
        },
        Raw { timestamp: 4, key: Some(Vec::new()), value: Some(b"\x80".to_vec()), headers: Vec::new() },
    ];
    assert_eq!(java::produce(&topic, 0, &records), 0);
    let expected: Vec<(i64, Raw)> = (0..).zip(records).collect();
    assert_eq!(java::dump(&topic, 0), expected);
}
