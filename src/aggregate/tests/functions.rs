//! What each function computes, and which values it takes.

use super::*;

#[test]
fn the_functions_of_the_issue_give_their_results_in_the_order_of_the_settings() {
    let settings = [
        ("orders", "count"),
        ("revenue", "sum:/total"),
        ("largest", "max:/total"),
        ("smallest", "min:/total"),
        ("items", "avg:/items"),
        ("who", "distinct:/user"),
        ("p99", "quantile:/ms:0.99"),
        ("first", "first:/status"),
        ("last", "last:/status"),
    ];
    let values = [
        r#"{"total":12.50,"items":1,"user":"ann","ms":120,"status":"new"}"#,
        r#"{"total":0.5,"items":2,"user":"bob","ms":80,"status":{"paid":true}}"#,
        r#"{"total":-1,"items":2,"user":"ann","ms":95.5,"status":[1, 2]}"#,
    ];
    assert_eq!(
        result_of(&settings, &values),
        r#""orders":3,"revenue":12.00,"largest":12.50,"smallest":-1,"items":1.666667,"who":2,"p99":120,"first":"new","last":[1, 2]"#
    );
}

#[test]
fn missing_and_null_fields_are_skipped_as_in_sql() {
    let settings = [
        ("n", "count"),
        ("there", "count:/x"),
        ("s", "sum:/x"),
        ("a", "avg:/x"),
        ("lo", "min:/x"),
        ("hi", "max:/x"),
        ("d", "distinct:/x"),
        ("q", "quantile:/x:0.5"),
        ("f", "first:/x"),
        ("l", "last:/x"),
    ];
    let nothing = r#""n":3,"there":0,"s":null,"a":null,"lo":null,"hi":null,"d":0,"q":null,"f":null,"l":null"#;
    assert_eq!(result_of(&settings, &["{}", r#"{"x":null}"#, "[1]"]), nothing);
    let one = r#""n":3,"there":1,"s":4,"a":4,"lo":4,"hi":4,"d":1,"q":4,"f":4,"l":4"#;
    assert_eq!(result_of(&settings, &["{}", r#"{"x":4}"#, r#"{"x":null}"#]), one);
}

#[test]
fn a_tombstone_is_counted_and_has_no_fields() {
    let functions = functions(&[("n", "count"), ("s", "sum:/x")]);
    let cell = add(&functions, None, &record(None, 5)).unwrap();
    assert!(emitted(&functions, &cell).ends_with(r#""n":1,"s":null}"#));
}

#[test]
fn a_count_alone_takes_values_that_are_not_json() {
    let functions = functions(&[("n", "count")]);
    let cell = add(&functions, None, &record(Some(b"\xff\x00"), 5)).unwrap();
    assert_eq!(cell.len(), 2);
    assert!(emitted(&functions, &cell).ends_with(r#""n":1}"#));
}

#[test]
fn sums_of_money_are_exact() {
    let cents: Vec<String> = (0..1000).map(|_| r#"{"x":0.10}"#.to_owned()).collect();
    let cents: Vec<&str> = cents.iter().map(String::as_str).collect();
    assert_eq!(result_of(&[("s", "sum:/x"), ("a", "avg:/x")], &cents), r#""s":100.00,"a":0.10"#);
    let large = [r#"{"x":12345678901234567890123456789.01}"#, r#"{"x":0.000000000000000000001}"#];
    assert_eq!(result_of(&[("s", "sum:/x")], &large), r#""s":12345678901234567890123456789.010000000000000000001"#);
    let powers = [r#"{"x":1E3}"#, r#"{"x":-0}"#, r#"{"x":-0.0}"#, r#"{"x":25e-2}"#];
    assert_eq!(result_of(&[("s", "sum:/x")], &powers), r#""s":1000.25"#);
}

#[test]
fn a_value_that_is_no_number_is_rejected_and_named() {
    for function in ["sum", "min", "max", "avg"] {
        let reject = reject_after(&[("n", "count"), ("x", &format!("{function}:/x"))], &["{}"], r#"{"x":"12.50"}"#);
        assert_eq!(reject.code, "not-a-number");
        assert_eq!(reject.reason, "`/x` is a string (\"12.50\"), not a number; a number has no quotes in JSON");
    }
    let reason = |value: &str| {
        let reject = reject_after(&[("x", "quantile:/x:0.5")], &[], value);
        assert_eq!(reject.code, "not-a-number");
        reject.reason
    };
    assert_eq!(reason(r#"{"x":true}"#), "`/x` is a boolean (true), not a number");
    assert_eq!(reason(r#"{"x":[1]}"#), "`/x` is an array, not a number");
    assert_eq!(reason(r#"{"x":{"y":1}}"#), "`/x` is an object, not a number");
    assert!(!reason(&format!(r#"{{"x":"{}"}}"#, "9".repeat(2000))).contains("999"));
}

#[test]
fn a_number_that_is_too_large_is_rejected_with_its_own_code() {
    for (setting, value) in [
        ("sum:/x", "1e38"),
        ("sum:/x", "1E400"),
        ("sum:/x", "1e999999999999"),
        ("max:/x", "1e-39"),
        ("quantile:/x:0.5", "1E400"),
        ("quantile:/x:0.5", "-1e999999999"),
    ] {
        let reject = reject_after(&[("x", setting)], &[], &format!("{{\"x\":{value}}}"));
        assert_eq!(reject.code, "number-out-of-range", "{setting} {value}");
        assert!(reject.reason.starts_with(&format!("`/x` is a number ({value})")), "{reject}");
    }
    let largest = format!("{{\"x\":{}}}", "9".repeat(38));
    let reject = reject_after(&[("x", "sum:/x")], &[&largest], &largest);
    assert_eq!(
        reject.to_string(),
        "sum-out-of-range: there are more than 38 digits before the point in the sum of `/x`"
    );
}

#[test]
fn a_rejected_record_changes_no_function() {
    let settings = [("n", "count"), ("a", "sum:/a"), ("b", "sum:/b")];
    let functions = functions(&settings);
    let cell = cell_of(&functions, &[r#"{"a":1,"b":1}"#]);
    assert!(add(&functions, Some(&cell), &record(Some(br#"{"a":1,"b":"x"}"#), 5)).is_err());
    assert_eq!(emitted(&functions, &cell), emitted(&functions, &cell_of(&functions, &[r#"{"a":1,"b":1}"#])));
}

#[test]
fn equal_numbers_with_different_digits_are_one_minimum() {
    let settings = [("lo", "min:/x"), ("hi", "max:/x")];
    assert_eq!(result_of(&settings, &[r#"{"x":1.5}"#, r#"{"x":1.50}"#]), r#""lo":1.50,"hi":1.50"#);
    assert_eq!(result_of(&settings, &[r#"{"x":1.50}"#, r#"{"x":1.5}"#]), r#""lo":1.50,"hi":1.50"#);
    assert_eq!(result_of(&settings, &[r#"{"x":-3}"#, r#"{"x":1e2}"#, r#"{"x":20}"#]), r#""lo":-3,"hi":100"#);
}

#[test]
fn first_and_last_go_by_event_time_and_then_by_arrival() {
    let functions = functions(&[("f", "first:/x"), ("l", "last:/x")]);
    let mut cell: Option<Vec<u8>> = None;
    for (value, time) in [("3", 30), ("1", 10), ("11", 10), ("5", 50), ("55", 50), ("4", 40)] {
        let value = format!("{{\"x\":{value}}}");
        cell = Some(add(&functions, cell.as_deref(), &record(Some(value.as_bytes()), time)).unwrap());
    }
    assert!(emitted(&functions, &cell.unwrap()).ends_with(r#""f":1,"l":55}"#));
    let large = format!("{{\"x\":\"{}\"}}", "a".repeat(1023));
    let reject = reject_after(&[("l", "last:/x")], &[], &large);
    assert_eq!(reject.to_string(), "value-too-large: `/x` has 1025 bytes, where 1024 are allowed");
    let written = r#"{"x": {"a" : "\u00fc\ud800", "b": 1.0e+2 } }"#;
    assert_eq!(result_of(&[("l", "last:/x")], &[written]), r#""l":{"a" : "\u00fc\ud800", "b": 1.0e+2 }"#);
}

#[test]
fn distinct_takes_scalars() {
    let values =
        ["1", "1.0", "\"1\"", "true", "\"a\"", "\"\\u0061\"", "null"].map(|value| format!("{{\"x\":{value}}}"));
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    assert_eq!(result_of(&[("d", "distinct:/x")], &values), r#""d":4"#);
    for (value, what) in
        [("[1]", "an array"), ("{}", "an object"), (r#""\udc00""#, "a string with half of a surrogate pair")]
    {
        let reject = reject_after(&[("d", "distinct:/x")], &[], &format!("{{\"x\":{value}}}"));
        assert_eq!(reject.code, "not-a-scalar");
        assert_eq!(reject.reason, format!("`/x` is {what}, not a string, a number or a boolean"));
    }
}

#[test]
fn a_quantile_of_few_numbers_is_one_of_them() {
    let settings = [("lo", "quantile:/x:0"), ("mid", "quantile:/x:0.5"), ("hi", "quantile:/x:1")];
    assert_eq!(result_of(&settings, &[r#"{"x":100}"#]), r#""lo":100,"mid":100,"hi":100"#);
    assert_eq!(result_of(&settings, &[r#"{"x":0}"#, r#"{"x":-0.0}"#]), r#""lo":0,"mid":0,"hi":0"#);
    let result = result_of(&settings, &[r#"{"x":-2.5}"#, r#"{"x":0}"#, r#"{"x":1e3}"#]);
    assert_eq!(result, r#""lo":-2.5,"mid":0,"hi":1000"#);
}

#[test]
fn quantiles_are_within_one_percent() {
    let functions = functions(&[("q", "quantile:/x:0.5")]);
    let mut numbers: Vec<f64> = Vec::new();
    let mut cell: Option<Vec<u8>> = None;
    let mut seed = 7_u64;
    for _ in 0..3000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = (f64::from(u32::try_from(seed >> 40).unwrap()) / 1e6).exp() - 2.0;
        let value = format!("{{\"x\":{number}}}");
        numbers.push(number);
        cell = Some(add(&functions, cell.as_deref(), &record(Some(value.as_bytes()), 5)).unwrap());
    }
    numbers.sort_by(f64::total_cmp);
    let cell = cell.unwrap();
    assert!(cell.len() < 5000, "{}", cell.len());
    for permille in [0_usize, 1, 10, 250, 500, 900, 990, 999, 1000] {
        let quantile = format!("quantile:/x:{}.{:03}", permille / 1000, permille % 1000);
        let at = super::functions(&[("q", &quantile)]);
        let result: serde_json::Value = serde_json::from_str(&emitted(&at, &cell)).unwrap();
        let (result, exact) =
            (result["q"].as_f64().unwrap(), numbers[(3000 * permille).div_ceil(1000).saturating_sub(1)]);
        assert!((result - exact).abs() <= exact.abs() * 0.01, "{permille}: {result} instead of {exact}");
    }
}

#[test]
fn cells_of_a_count_and_a_sum_are_small() {
    let functions = functions(&[("n", "count"), ("s", "sum:/x"), ("a", "avg:/x")]);
    let values: Vec<String> = (0..300).map(|n| format!("{{\"x\":{n}.25}}")).collect();
    let cell = cell_of(&functions, &values.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(cell.len() <= 10, "{}", cell.len());
}

#[test]
fn the_key_of_a_result_is_text_base64_or_null() {
    let functions = functions(&[("n", "count")]);
    let cell = cell_of(&functions, &["{}"]);
    let check = |key: Option<&[u8]>, from, to, expected: &str| {
        let mut out = b"x".to_vec();
        functions.emit(key, ResultWindow { from_ms: from, to_ms: to, closed: None }, &cell, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("x{expected}"));
    };
    let minute = r#""from":"2026-11-30T10:00:00.000Z","to":"2026-11-30T10:01:00.500Z","n":1}"#;
    let (from, to) = (1_796_032_800_000, 1_796_032_860_500);
    check(Some(b"a\"\n\xc3\xbc"), from, to, &format!(r#"{{"key":"a\"\n{}",{minute}"#, '\u{fc}'));
    check(Some(b"42"), from, to, &format!(r#"{{"key":"42",{minute}"#));
    check(Some(b""), from, to, &format!(r#"{{"key":"",{minute}"#));
    check(Some(b"\xff\x00"), from, to, &format!(r#"{{"key":{{"base64":"/wA="}},{minute}"#));
    check(None, from, to, &format!(r#"{{"key":null,{minute}"#));
    check(None, i64::MIN, i64::MAX, r#"{"key":null,"from":-9223372036854775808,"to":9223372036854775807,"n":1}"#);
}

#[test]
fn functions_over_one_field_share_a_part_and_names_and_order_make_no_difference() {
    let one = functions(&[("a", "sum:/x"), ("b", "avg:/x"), ("p50", "quantile:/y:0.5"), ("n", "count")]);
    let other = functions(&[("p99", "quantile:/y:0.99"), ("total", "count"), ("mean", "avg:/x")]);
    assert_eq!(one.layout(), r#"["1","count","sum:/x","quantile:/y"]"#);
    assert_eq!((one.layout(), other.accepts(one.layout())), (other.layout(), Ok(())));
    let cell = cell_of(&one, &[r#"{"x":1,"y":2}"#]);
    assert!(emitted(&other, &cell).ends_with(r#""p99":2,"total":1,"mean":1}"#));
}

#[test]
fn a_changed_layout_is_refused_and_explained() {
    let old = functions(&[("n", "count"), ("s", "sum:/x")]);
    let refusal = |settings: &[(&str, &str)], stored: &str| functions(settings).accepts(stored).unwrap_err();
    assert_eq!(
        refusal(&[("n", "count"), ("s", "sum:/y")], old.layout()),
        r#"the state has "sum:/x" where the settings ask for "sum:/y""#
    );
    let more = [("n", "count"), ("s", "sum:/x"), ("m", "max:/x")];
    assert_eq!(refusal(&more, old.layout()), r#"the state has no "max:/x""#);
    assert_eq!(
        refusal(&[("n", "count")], old.layout()),
        r#"the state has "sum:/x", which the settings no longer ask for"#
    );
    assert_eq!(refusal(&more, r#"["2","count"]"#), "the state has format 2, and this version reads 1");
    assert_eq!(refusal(&more, "x"), "the stored layout of the functions is unreadable: x");
}
