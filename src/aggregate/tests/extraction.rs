//! Keys, times and fields of records.

use super::*;
use crate::aggregate::Pointer;

fn headers(pairs: &[(&str, Option<&str>)]) -> (Vec<i32>, Vec<u8>) {
    let (mut lengths, mut data) = (Vec::new(), Vec::new());
    for (name, value) in pairs {
        lengths.extend([name.len().try_into().unwrap(), value.map_or(-1, |value| value.len().try_into().unwrap())]);
        data.extend(name.bytes().chain(value.unwrap_or_default().bytes()));
    }
    (lengths, data)
}

fn key(selector: &str, record: &Record<'_>) -> Result<Vec<u8>, String> {
    let extraction = Extraction::new(KeySelector::parse(selector).unwrap(), TimeSelector::Record, &[]);
    let mut found = FoundFields::default();
    extraction.read(record, &mut found).map_err(|reject| reject.to_string())?;
    let key = extraction.key(record, &found).map_err(|reject| reject.to_string())?;
    Ok(key.unwrap().into_owned())
}

fn key_of(value: &str) -> Result<String, String> {
    key("json:/a/b", &record(Some(value.as_bytes()), 5)).map(|key| String::from_utf8(key).unwrap())
}

#[test]
fn a_key_is_the_text_of_a_scalar() {
    let check = |json: &str, expected: &str| assert_eq!(key_of(json).as_deref(), Ok(expected), "{json}");
    check(r#"{"a":{"b":"x"}}"#, "x");
    check(r#"{"a":{"b":""}}"#, "");
    check(r#"{"a":{"b":"\u00fc\n\"\ud83d\ude00"}}"#, "\u{fc}\n\"\u{1f600}");
    check(r#"{"a":{"b":1.50e0}}"#, "1.50e0");
    check(r#"{"a":{"b":false}}"#, "false");
    check(" {\n\"z\":[[[]]],\"a\" : { \"b\" :\t7 } , \"y\" : {\"b\":1} }\n", "7");
    check(r#"{"a":{"b":1},"a":{"b":2}}"#, "2");
    check(r#"{"\u0061":{"b":1}}"#, "1");
    let reject = |json: &str, expected: &str| assert_eq!(key_of(json).unwrap_err(), expected, "{json}");
    reject(r#"{"a":{}}"#, "no-key: `/a/b` is missing");
    reject(r#"{"a":5}"#, "no-key: `/a/b` is missing");
    reject("[]", "no-key: `/a/b` is missing");
    reject("\"a\"", "no-key: `/a/b` is missing");
    reject(r#"{"a":{"b":null}}"#, "no-key: `/a/b` is null");
    reject(r#"{"a":{"b":1},"a":{}}"#, "no-key: `/a/b` is missing");
    reject(r#"{"a":{"b":1},"a":null}"#, "no-key: `/a/b` is missing");
    reject(r#"{"a":{"b":[1]}}"#, "no-key: `/a/b` is an array, not a string, a number or a boolean");
    reject(r#"{"a":{"b":{}}}"#, "no-key: `/a/b` is an object, not a string, a number or a boolean");
    reject(r#"{"a":{"b":"\ud800"}}"#, "no-key: `/a/b` has half of a surrogate pair");
    let tombstone = key("json:/a", &record(None, 5)).unwrap_err();
    assert_eq!(tombstone, "no-key: the record has a null value, so there is no `/a`");
}

#[test]
fn a_value_that_is_not_json_is_rejected_with_the_byte() {
    let reject = |json: &[u8]| key("json:/a", &record(Some(json), 5)).unwrap_err();
    assert_eq!(reject(b""), "bad-json: the value is empty, not JSON");
    assert_eq!(reject(b" \n"), "bad-json: the value is empty, not JSON");
    assert_eq!(reject(b"{\"a\":1"), "bad-json: the value is not JSON: EOF while parsing an object at byte 6");
    assert_eq!(reject(b"{\n\"b\":x}"), "bad-json: the value is not JSON: expected value at byte 7");
    assert_eq!(reject(b"{\"a\":1} {}"), "bad-json: the value is not JSON: trailing characters at byte 9");
    assert_eq!(reject(b"{\"a\":\"\xff\"}"), "bad-json: the value is not UTF-8 text at byte 6");
    assert!(reject(b"\x00\x00\x00\x00\x07").starts_with("bad-json: "), "what a schema registry puts before a value");
    assert!(reject(b"{\"\\ud800\":1}").starts_with("bad-json: the value is not JSON: "));
}

#[test]
fn pointers_into_arrays_and_pointers_that_go_on_are_found_in_one_pass() {
    let pointers = ["/a", "/a/0", "/a/1/x", "/a/01", "", "/-"].map(|text| Pointer::parse(text).unwrap());
    let extraction = Extraction::new(KeySelector::Record, TimeSelector::Record, &pointers);
    let value = br#"{"a":[5,{"x":"y"},6],"-":1}"#;
    let mut found = FoundFields::default();
    extraction.read(&record(Some(value), 5), &mut found).unwrap();
    let texts = |found: &FoundFields| (0..6).map(|field| found.text(Some(value), field)).collect::<Vec<_>>();
    let whole = std::str::from_utf8(value).unwrap();
    assert_eq!(texts(&found), [Some(r#"[5,{"x":"y"},6]"#), Some("5"), Some("\"y\""), None, Some(whole), Some("1")]);
    let other = br#"{"a":{"0":1,"01":2,"1":{"x":null}}}"#;
    extraction.read(&record(Some(other), 5), &mut found).unwrap();
    let text = |field| found.text(Some(other), field);
    assert_eq!((text(1), text(2), text(3)), (Some("1"), None, Some("2")));
    extraction.read(&record(None, 5), &mut found).unwrap();
    assert_eq!(texts(&found), [None; 6]);
}

#[test]
fn nesting_of_any_depth_needs_no_stack() {
    for (open, close) in [("[", "]"), ("{\"x\":", "}")] {
        let deep = format!("{{\"b\":{}1{},\"a\":7}}", open.repeat(500_000), close.repeat(500_000));
        assert_eq!(key("json:/a", &record(Some(deep.as_bytes()), 5)), Ok(b"7".to_vec()));
        let cut = format!("{{\"a\":{}", open.repeat(500_000));
        assert!(key("json:/a/x", &record(Some(cut.as_bytes()), 5)).unwrap_err().starts_with("bad-json"));
    }
}

#[test]
fn a_key_is_taken_from_a_header_or_is_a_constant() {
    let (lengths, data) = headers(&[("id", Some("1")), ("id", Some("2")), ("none", None), ("x", Some(""))]);
    let record = Record { headers: Headers::new(&lengths, &data), ..record(None, 5) };
    assert_eq!(key("header:id", &record), Ok(b"2".to_vec()));
    assert_eq!(key("header:x", &record), Ok(Vec::new()));
    assert_eq!(key("header:none", &record).unwrap_err(), "no-key: header `none` is null");
    assert_eq!(key("header:other", &record).unwrap_err(), "no-key: header `other` is missing");
    assert_eq!(key("const:all", &record), Ok(b"all".to_vec()));
    let extraction = Extraction::new(KeySelector::Record, TimeSelector::Record, &[]);
    assert!(!extraction.reads_values());
    let null = Record { key: None, ..record };
    assert_eq!(extraction.key(&null, &FoundFields::default()), Ok(None));
    assert_eq!(extraction.key(&record, &FoundFields::default()).unwrap().as_deref(), Some(&b"k"[..]));
}

fn time(selector: TimeSelector, record: &Record<'_>) -> Result<i64, String> {
    let extraction = Extraction::new(KeySelector::Record, selector, &[]);
    let mut found = FoundFields::default();
    extraction.read(record, &mut found).unwrap();
    extraction.time(record, &found).map_err(|reject| reject.to_string())
}

fn time_of(selector: &str, json: &str) -> Result<i64, String> {
    let value = format!("{{\"t\":{json}}}");
    time(TimeSelector::parse(selector).unwrap(), &record(Some(value.as_bytes()), 5))
}

#[test]
fn a_time_is_milliseconds_seconds_or_a_date() {
    let (millis, seconds) = ("json:/t", "seconds:json:/t");
    let check = |selector, json, expected| assert_eq!(time_of(selector, json), Ok(expected), "{selector} {json}");
    check(millis, "1796032800123", 1_796_032_800_123);
    check(millis, "1796032800123.9", 1_796_032_800_123);
    check(millis, "1.796032800123E12", 1_796_032_800_123);
    check(millis, "\"1796032800123\"", 1_796_032_800_123);
    check(millis, "0", 0);
    check(seconds, "1796032800", 1_796_032_800_000);
    check(seconds, "1796032800.1239", 1_796_032_800_123);
    check(seconds, "\"1796032800.5\"", 1_796_032_800_500);
    for selector in [millis, seconds] {
        check(selector, "\"2026-11-30T10:00:00Z\"", 1_796_032_800_000);
        check(selector, "\"2026-11-30T11:00:00.123456+01:00\"", 1_796_032_800_123);
        check(selector, "\"2026-11-30 10:00:00Z\"", 1_796_032_800_000);
    }
    let reject = |selector, json, expected: &str| {
        assert_eq!(time_of(selector, json).unwrap_err(), format!("no-time: {expected}"), "{json}");
    };
    let date = "not a number or a date with time and offset such as 2026-11-30T10:00:00Z";
    let range = "the time is not between 1970 and 9998; a number counts milliseconds, or with `seconds:` seconds";
    reject(millis, "\"2026-11-30\"", &format!("`/t` is a string (\"2026-11-30\"), {NO_OFFSET}"));
    reject(millis, "\"2026-11-30T10:00:00\"", &format!("`/t` is a string (\"2026-11-30T10:00:00\"), {NO_OFFSET}"));
    reject(millis, "\"yesterday\"", &format!("`/t` is a string (\"yesterday\"), {date}"));
    reject(millis, "\"\"", &format!("`/t` is a string (\"\"), {date}"));
    reject(millis, "true", &format!("`/t` is a boolean (true), {date}"));
    reject(millis, "{}", &format!("`/t` is an object, {date}"));
    reject(millis, "null", "`/t` is null");
    reject("json:/u", "5", "`/u` is missing");
    for json in ["-1", "1e999999999", "253370764800000", "\"1969-12-31T23:59:59Z\"", "\"9999-06-01T00:00:00Z\"", "9e17"]
    {
        reject(millis, json, range);
    }
    reject(seconds, "1796032800123", range);
}

const NO_OFFSET: &str = "a date without an offset: write 2026-11-30T10:00:00Z, or +01:00 instead of Z";

#[test]
fn a_time_is_taken_from_the_record_or_a_header() {
    let of_record = |timestamp| time(TimeSelector::Record, &record(None, timestamp));
    assert_eq!((of_record(0), of_record(7)), (Ok(0), Ok(7)));
    assert_eq!(of_record(-1).unwrap_err(), "no-time: the record has no timestamp; name a field of it with `time`");
    assert!(of_record(i64::MAX).is_err());
    let (lengths, data) =
        headers(&[("t", Some("1796032800123")), ("d", Some("2026-11-30T10:00:00Z")), ("x", Some("?"))]);
    let record = Record { headers: Headers::new(&lengths, &data), ..record(None, 5) };
    let of_header = |name: &str| time(TimeSelector::parse(&format!("header:{name}")).unwrap(), &record);
    assert_eq!((of_header("t"), of_header("d")), (Ok(1_796_032_800_123), Ok(1_796_032_800_000)));
    assert!(of_header("x").unwrap_err().starts_with("no-time: header `x` is \"?\", not a number or a date"));
    assert_eq!(of_header("y").unwrap_err(), "no-time: header `y` is missing");
}
