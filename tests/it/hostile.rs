//! Unusual records that Kafka allows: they arrive unchanged, byte for byte.

use std::time::Duration;

use crate::support::component;
use crate::support::java;
use crate::support::java::Raw;
use crate::support::unique;
use crate::support::wasmill::Pipeline;

fn header(name: &[u8], value: Option<&[u8]>) -> (Vec<u8>, Option<Vec<u8>>) {
    (name.to_vec(), value.map(<[u8]>::to_vec))
}

fn records() -> Vec<Raw> {
    let plain = |timestamp: i64| Raw {
        timestamp,
        key: Some(b"key".to_vec()),
        value: Some(b"value".to_vec()),
        headers: Vec::new(),
    };
    let odd_headers = vec![
        header(b"not utf-8 \xff\xfe\x80", Some(b"\x00\xff")),
        header(b"nul\x00inside", Some(b"a\x00b")),
        header(b"nul\x00inside and no value", None),
        header(b"", Some(b"an empty name")),
        header(b"null value", None),
        header(b"empty value", Some(b"")),
        header(b"repeated", Some(b"1")),
        header(b"repeated", Some(b"2")),
        header(b"between", Some(b"3")),
        header(b"repeated", None),
    ];
    let many = (0..10_000).map(|n: u32| header(format!("h{}", n % 7).as_bytes(), Some(&n.to_be_bytes()))).collect();
    vec![
        plain(1_700_000_000_000),
        Raw { headers: odd_headers, ..plain(1_700_000_000_001) },
        Raw { value: None, ..plain(1_700_000_000_002) },
        Raw { value: Some(Vec::new()), ..plain(1_700_000_000_003) },
        Raw { key: Some(Vec::new()), ..plain(1_700_000_000_004) },
        Raw { key: None, ..plain(1_700_000_000_005) },
        Raw { key: None, value: None, ..plain(1_700_000_000_006) },
        // Older than the record before it, and the oldest timestamp that is not "none".
        plain(1),
        Raw { headers: many, ..plain(1_700_000_000_007) },
        Raw { value: Some(vec![0xa5; 900_000]), ..plain(1_700_000_000_008) },
        plain(1_700_000_000_009),
    ]
}

#[test]
fn hostile_records_arrive_byte_for_byte() {
    arrive_through(&component::forward());
}

/// A typed plugin can't see header names that aren't UTF-8, but they are passed on nevertheless.
#[test]
fn hostile_records_arrive_byte_for_byte_through_the_typed_contract() {
    arrive_through(&component::typed(-1, "nop"));
}

fn arrive_through(plugin: &[u8]) {
    let count = i64::try_from(records().len()).expect("a few");
    let input = java::create("hostile-in", 1, &[]);
    let output = java::create("hostile-out", 1, &[]);
    let records = records();
    for record in &records {
        java::produce(&input, 0, std::slice::from_ref(record));
    }
    let group = unique("hostile");
    let pipeline = Pipeline::new(&input, &output, &group, "");
    pipeline.install(plugin);
    let mut process = pipeline.run();
    process
        .wait("all records to be committed", Duration::from_secs(60), |_| java::committed(&group, &input) == [count]);
    let arrived: Vec<Raw> = java::dump(&output, 0).into_iter().map(|(_, raw)| raw).collect();
    assert_eq!(arrived.len(), records.len());
    for (index, (arrived, sent)) in arrived.iter().zip(&records).enumerate() {
        assert!(arrived == sent, "record {index} arrived as {}", short(arrived));
    }
}

fn short(record: &Raw) -> String {
    format!("{record:?}").chars().take(500).collect()
}

#[test]
fn a_record_without_a_timestamp_gets_the_time_of_producing() {
    let input = java::create("untimed-in", 1, &[]);
    let output = java::create("untimed-out", 1, &[]);
    let record = Raw { timestamp: 0, value: Some(b"value".to_vec()), ..Raw::default() };
    java::produce(&input, 0, std::slice::from_ref(&record));
    java::produce(&input, 0, &[Raw { timestamp: -1, ..record.clone() }]);
    let group = unique("untimed");
    let pipeline = Pipeline::new(&input, &output, &group, "");
    pipeline.install(&component::forward());
    let before = i64::try_from(crate::support::clock::unix_ms()).unwrap();
    let mut process = pipeline.run();
    process.wait("both records to be committed", Duration::from_secs(60), |_| java::committed(&group, &input) == [2]);
    for (offset, raw) in java::dump(&output, 0) {
        assert!(raw.timestamp >= before, "record {offset} has the time {}", raw.timestamp);
        assert_eq!(Raw { timestamp: 0, ..raw }, record);
    }
}
