//! Runs the plugin natively and checks its outputs.

mod random;

use wasmill_sdk::Failure;
use wasmill_sdk::testing::Harness;
use wasmill_sdk::testing::Input;

use super::Mask;

fn mask(settings: &str) -> Harness<Mask> {
    Harness::new(settings, &["main", "audit"]).expect("the settings are legal")
}

#[track_caller]
fn check(settings: &str, value: &str, expected: &str) {
    let outputs = mask(settings).run_one(Input::value(value)).expect("the record passes");
    let values: Vec<_> =
        outputs.iter().map(|output| String::from_utf8_lossy(output.value.as_deref().unwrap())).collect();
    assert_eq!(values, [expected]);
}

#[test]
fn hides_personal_fields_by_default() {
    check(
        "{}",
        r#"{"email":"a@b.c","id":7,"name":"Ada","phone":"123"}"#,
        r#"{"email":"***","id":7,"name":"***","phone":"***"}"#,
    );
}

#[test]
fn hides_the_fields_of_its_settings_and_no_others() {
    check(r#"{"fields":["iban"]}"#, r#"{"email":"a@b.c","iban":"DE1"}"#, r#"{"email":"a@b.c","iban":"***"}"#);
}

#[test]
fn hides_whatever_a_field_holds_at_any_depth() {
    check("{}", r#"{"name":{"first":"Ada"}}"#, r#"{"name":"***"}"#);
    check("{}", r#"{"owner":{"name":"Ada"}}"#, r#"{"owner":{"name":"***"}}"#);
    check(
        "{}",
        r#"[{"contacts":[{"email":"a@b.c","id":1},{"to":{"phone":7}}]}]"#,
        r#"[{"contacts":[{"email":"***","id":1},{"to":{"phone":"***"}}]}]"#,
    );
    check("{}", r#"{ "total": 1.50, "na\u006de": "Ada" }"#, r#"{ "total": 1.50, "na\u006de": "***" }"#);
    check(
        "{}",
        r#"{"name":1,"a":{"email":1,"email":[]},"name":2}"#,
        r#"{"name":"***","a":{"email":"***","email":"***"},"name":"***"}"#,
    );
}

#[test]
fn a_path_hides_a_field_in_its_place_alone() {
    let value =
        r#"{"name":"tea","customer":{"name":"Ada","to":{"name":"Bo"}},"items":[{"name":"pen","gift_for":"Cy"}]}"#;
    check(
        r#"{"fields":["customer.name","items[].gift_for"]}"#,
        value,
        r#"{"name":"tea","customer":{"name":"***","to":{"name":"Bo"}},"items":[{"name":"pen","gift_for":"***"}]}"#,
    );
    check(
        r#"{"fields":["$.name"]}"#,
        value,
        r#"{"name":"***","customer":{"name":"Ada","to":{"name":"Bo"}},"items":[{"name":"pen","gift_for":"Cy"}]}"#,
    );
}

#[test]
fn a_field_may_have_a_mode_of_its_own() {
    check(
        r#"{"mode":"drop","fields":["name",{"path":"email","mode":"stars"},{"path":"card"},{"path":"b.card","mode":"last4"}]}"#,
        r#"{"name":"Ada","email":"a@b.c","card":"4111111111111111","b":{"card":"4111111111111234","id":7}}"#,
        r#"{"email":"***","b":{"card":"************1234","id":7}}"#,
    );
}

#[test]
fn drop_takes_the_field_with_its_comma_and_leaves_the_rest_byte_for_byte() {
    let settings = r#"{"mode":"drop","fields":["name","tags[]"]}"#;
    check(settings, r#"{ "name": "Ada", "id": 1.0 }"#, r#"{ "id": 1.0 }"#);
    check(settings, r#"{ "id": 1.0, "name": "Ada" }"#, r#"{ "id": 1.0 }"#);
    check(settings, r#"{"a": 1, "name": {}, "b": {"name": 1}}"#, r#"{"a": 1, "b": {}}"#);
    check(settings, r#"{"tags":["a",{"b":1}],"c":["d"]}"#, r#"{"tags":[],"c":["d"]}"#);
}

#[test]
fn last4_shows_four_characters_of_strings_with_at_least_eight() {
    let settings = r#"{"mode":"last4","fields":["v"]}"#;
    for (value, expected) in [
        (r#""4111111111111234""#, r#""************1234""#),
        (r#""12345678""#, r#""****5678""#),
        (r#""1234567""#, r#""***""#),
        (r#""""#, r#""***""#),
        ("1234567812345678", r#""***""#),
        ("null", r#""***""#),
        (r#"["12345678"]"#, r#""***""#),
        (r#"{"v":"12345678"}"#, r#""***""#),
        (r#""\u0031234\n\"\\8""#, r#""****\u000a\"\\8""#),
        ("\"\u{e9}\u{e9}\u{e9}\u{e9}\u{1f600}\u{e9}x\\u0001\"", "\"****\u{1f600}\u{e9}x\\u0001\""),
        (r#""12345678\ud800""#, r#""***""#),
    ] {
        check(settings, &format!(r#"{{"v":{value}}}"#), &format!(r#"{{"v":{expected}}}"#));
    }
}

/// The first test case of RFC 4231.
#[test]
fn hash_is_hmac_sha_256_of_a_strings_text() {
    let key = r"\u000b".repeat(20);
    let settings = format!(r#"{{"mode":"hash","fields":["v"],"key":"{key}"}}"#);
    let hash = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
    for text in ["Hi There", r"\u0048i\u0020There"] {
        check(&settings, &format!(r#"{{"v":"{text}"}}"#), &format!(r#"{{"v":"{hash}"}}"#));
    }
}

#[test]
fn hash_is_the_same_for_the_same_value_and_key_and_for_no_other() {
    let hash = |key: &str, value: &str| {
        let settings = format!(r#"{{"mode":"hash","fields":["v"],"key":"{key}"}}"#);
        let outputs = mask(&settings).run_one(Input::value(format!(r#"{{"v":{value}}}"#))).unwrap();
        let output = String::from_utf8(outputs[0].value.clone().unwrap()).unwrap();
        let hash = output.strip_prefix(r#"{"v":""#).unwrap().strip_suffix(r#""}"#).unwrap().to_owned();
        assert!(hash.len() == 64 && !output.contains(key), "{output}");
        hash
    };
    let (key, other) = ("0123456789abcdef", "0123456789abcdeF");
    assert_eq!(hash(key, r#""ada@example.com""#), hash(key, r#""ada\u0040example.com""#));
    assert_ne!(hash(key, r#""ada@example.com""#), hash(other, r#""ada@example.com""#));
    // Values other than strings are hashed as they are written.
    assert_eq!(hash(key, "1.50"), hash(key, "1.50"));
    assert_ne!(hash(key, "1.50"), hash(key, "1.5"));
    assert_eq!(hash(key, r#"{"a": [1]}"#), hash(key, r#""{\"a\": [1]}""#));
    assert_eq!(hash(key, "null"), hash(key, r#""null""#));
    assert_eq!(hash(key, r#""\ud800""#), hash(key, r#""\"\\ud800\"""#));
}

#[test]
fn keeps_json_that_is_not_an_object_unchanged() {
    check("{}", "[1,2]", "[1,2]");
    check("{}", r#""name""#, r#""name""#);
}

#[test]
fn keeps_key_headers_and_timestamp() {
    let input = Input::value("{}").key("k").header("h", [0xff]).null_header("n").timestamp(5);
    let outputs = mask("{}").run_one(input).unwrap();
    assert_eq!(outputs[0].key.as_deref(), Some(&b"k"[..]));
    assert_eq!(outputs[0].headers, [(b"h".to_vec(), Some(vec![0xff])), (b"n".to_vec(), None)]);
    assert_eq!((outputs[0].timestamp, outputs[0].partition, outputs[0].port), (Some(5), None, 0));
}

#[test]
fn forwards_tombstones() {
    let outputs = mask("{}").run_one(Input::tombstone().key("k")).unwrap();
    assert_eq!((outputs[0].key.as_deref(), &outputs[0].value), (Some(&b"k"[..]), &None));
}

#[test]
fn rejects_values_that_are_not_json_and_emits_nothing() {
    let results = mask("{}").run([Input::value("no").header("audit", ""), Input::value("{}")]).unwrap();
    let Err(Failure::Reject { code, reason }) = &results[0] else { panic!("{:?}", results[0]) };
    assert_eq!(code, "bad-json");
    assert_eq!(reason, "expected ident at line 1 column 2");
    assert_eq!(results[1].as_ref().unwrap().len(), 1, "the next record is not touched by it");
    let Err(Failure::Reject { code, .. }) = mask("{}").run_one(Input::value("")) else { panic!("empty is not JSON") };
    assert_eq!(code, "bad-json");
}

#[test]
fn sends_audited_records_unmasked_to_the_audit_port_only() {
    let outputs = mask("{}").run_one(Input::value(r#"{"name":"Ada"}"#).header("audit", "")).unwrap();
    let seen: Vec<_> = outputs.iter().map(|output| (output.port, output.value.as_deref().unwrap())).collect();
    assert_eq!(seen, [(1, &br#"{"name":"Ada"}"#[..]), (0, br#"{"name":"***"}"#)]);

    let mut without = Harness::<Mask>::new("{}", &["main"]).unwrap();
    let outputs = without.run_one(Input::value(r#"{"name":"Ada"}"#).header("audit", "")).unwrap();
    assert_eq!(outputs.len(), 1, "without the port nothing goes out unmasked");
}

#[test]
fn rejects_documents_that_nest_too_deep_to_be_searched() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let Err(Failure::Reject { code, reason }) = mask("{}").run_one(Input::value(deep.clone())) else {
        panic!("it is searched")
    };
    assert_eq!((&*code, &*reason), ("bad-json", "objects and arrays nest more than 1000 deep"));
    check(r#"{"fields":["$.name"]}"#, &deep, &deep);
}

#[test]
fn refuses_unknown_settings_and_names_their_position() {
    for (settings, expected) in [
        (r#"{"field":["email"]}"#, "unknown field `field`, expected one of `fields`, `mode`, `key` at line 1 column 8"),
        (
            r#"{"mode":"star"}"#,
            "unknown variant `star`, expected one of `stars`, `hash`, `drop`, `last4` at line 1 column 14",
        ),
        (
            r#"{"fields":[1]}"#,
            "invalid type: integer `1`, expected a path, or a table with `path` and `mode` at line 1 column 12",
        ),
        (r#"{"fields":[{"mode":"drop"}]}"#, "missing field `path` at line 1 column 26"),
        (
            r#"{"fields":[{"path":"a","modes":1}]}"#,
            "unknown field `modes`, expected `path` or `mode` at line 1 column 30",
        ),
        (
            r#"{"fields":["a","items[0].b"]}"#,
            "`fields`: path `items[0].b`: `[0]` is not supported; `[]` is every element of an array",
        ),
        (r#"{"fields":["a",{"path":"a"}]}"#, "`fields`: path `a`: the path is listed twice"),
        (r#"{"fields":[{"path":"a","mode":"hash"}]}"#, "`key` is missing: the mode of `a` is `hash`, which needs one"),
    ] {
        assert_eq!(Harness::<Mask>::new(settings, &["main"]).unwrap_err(), expected, "{settings}");
    }
}

#[test]
fn no_message_shows_the_key() {
    for (settings, expected) in [
        (r#"{"mode":"hash","key":"hunter2"}"#, "`key` has fewer than 16 characters"),
        (r#"{"mode":"hash","key":4815162342481516}"#, "`key` is not a string at line 1 column 38"),
        (r#"{"mode":"hash","key":["4815162342481516"]}"#, "`key` is not a string at line 1 column 21"),
        (r#"{"key":"4815162342481516"}"#, "`key` is set, but no field has the mode `hash`"),
        (
            r#"{"fields":[{"path":"a","key":"4815162342481516"}]}"#,
            "unknown field `key`, expected `path` or `mode` at line 1 column 28",
        ),
        (
            r#"{"mode":"hash","keys":"4815162342481516"}"#,
            "unknown field `keys`, expected one of `fields`, `mode`, `key` at line 1 column 21",
        ),
    ] {
        assert_eq!(Harness::<Mask>::new(settings, &["main"]).unwrap_err(), expected, "{settings}");
    }
    let settings = r#"{"mode":"hash","key":"4815162342481516"}"#;
    for document in ["no", r#"{"name":4815162342481516"#, r#"{"name":"a","b":"\x"}"#] {
        let Err(Failure::Reject { reason, .. }) = mask(settings).run_one(Input::value(document)) else {
            panic!("{document}")
        };
        assert!(!reason.contains("4815162342481516"), "{reason}");
    }
}
