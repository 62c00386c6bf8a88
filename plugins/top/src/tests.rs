//! Runs the plugin natively and checks its results.

use std::time::Duration;

use wasmill_sdk::Failure;
use wasmill_sdk::testing::Input;
use wasmill_sdk::testing::ReduceHarness;

use super::Top;

const MINUTE: Duration = Duration::from_secs(60);

fn top(settings: &str, size: Duration, every: Duration) -> ReduceHarness<Top> {
    ReduceHarness::new(settings, &["main"], size, every).expect("the settings are legal")
}

/// A record of the key `shop`.
fn input(second: i64, value: &str) -> Input {
    Input::value(value).key("shop").timestamp(second * 1000)
}

/// The results as text, after all windows are closed.
fn results(top: &mut ReduceHarness<Top>) -> Vec<String> {
    let shown = top.close_all().unwrap();
    let outputs = shown.into_iter().flat_map(|shown| shown.outputs.unwrap());
    outputs.map(|output| String::from_utf8(output.value.unwrap()).unwrap()).collect()
}

#[test]
fn items_are_ordered_by_count_and_then_by_name() {
    let mut top = top(r#"{"field":"/page","k":3}"#, MINUTE, MINUTE);
    for (second, page) in [(1, "b"), (2, "c"), (3, "a"), (4, "c"), (5, "d"), (61, "b")] {
        top.push(input(second, &format!(r#"{{"page":"{page}"}}"#)));
    }
    top.push(Input::value(r#"{"page":"other"}"#).timestamp(0));
    let (first, second) = ("1970-01-01T00:00:00.000Z", "1970-01-01T00:01:00.000Z");
    let third = "1970-01-01T00:02:00.000Z";
    let counts = r#"[{"item":"c","count":2},{"item":"a","count":1},{"item":"b","count":1}]"#;
    assert_eq!(
        results(&mut top),
        [
            format!(
                r#"{{"key":null,"from":"{first}","to":"{second}","error":0,"top":[{{"item":"other","count":1}}]}}"#
            ),
            format!(r#"{{"key":"shop","from":"{first}","to":"{second}","error":0,"top":{counts}}}"#),
            format!(r#"{{"key":"shop","from":"{second}","to":"{third}","error":0,"top":[{{"item":"b","count":1}}]}}"#),
        ]
    );
}

#[test]
fn windows_that_overlap_count_each_item_in_each_of_them() {
    let mut top = top(r#"{"field":""}"#, MINUTE, MINUTE / 2);
    for (second, item) in [(1, "7"), (31, "7"), (32, "true"), (61, "\"x\"")] {
        top.push(input(second, item));
    }
    let found: Vec<String> =
        results(&mut top).iter().map(|text| text.split("\"top\":").last().unwrap().to_owned()).collect();
    let item = |item: &str, count: u32| format!(r#"{{"item":"{item}","count":{count}}}"#);
    assert_eq!(
        found,
        [
            format!("[{}]}}", item("7", 1)),
            format!("[{},{}]}}", item("7", 2), item("true", 1)),
            format!("[{},{},{}]}}", item("7", 1), item("true", 1), item("x", 1)),
            format!("[{}]}}", item("x", 1)),
        ]
    );
}

#[test]
fn a_weight_counts_for_more_than_one() {
    let mut top = top(r#"{"field":"/page","weight":"/amount"}"#, MINUTE, MINUTE);
    for (page, amount) in [("a", 5), ("b", 3), ("b", 4), ("c", 0)] {
        top.push(input(1, &format!(r#"{{"page":"{page}","amount":{amount}}}"#)));
    }
    let result = results(&mut top).remove(0);
    let counts = r#""top":[{"item":"b","count":7},{"item":"a","count":5},{"item":"c","count":0}]}"#;
    assert!(result.ends_with(counts), "{result}");
}

#[test]
fn records_that_cannot_be_counted_are_rejected_and_change_nothing() {
    let mut top = top(r#"{"field":"/page","weight":"/amount"}"#, MINUTE, MINUTE);
    let long = format!(r#"{{"page":"{}","amount":1}}"#, "x".repeat(1025));
    let cases = [
        ("no", "bad-json"),
        ("{}", "no-item"),
        (r#"{"page":null,"amount":1}"#, "no-item"),
        (r#"{"page":["a"],"amount":1}"#, "no-item"),
        (&long, "item-too-long"),
        (r#"{"page":"a"}"#, "bad-weight"),
        (r#"{"page":"a","amount":-1}"#, "bad-weight"),
        (r#"{"page":"a","amount":1.5}"#, "bad-weight"),
    ];
    for (value, _) in cases {
        top.push(input(1, r#"{"page":"a","amount":1}"#));
        top.push(input(1, value));
    }
    let failures = top.failures().to_vec();
    assert_eq!(failures.len(), cases.len());
    for ((_, failure), (value, expected)) in failures.iter().zip(cases) {
        let Failure::Reject { code, .. } = failure else { panic!("{value}: {failure}") };
        assert_eq!(code, expected, "{value}");
    }
    top.push(Input::tombstone().key("shop").timestamp(1));
    assert!(top.failures()[cases.len()].1.to_string().starts_with("reject (no-item)"));
    let result = results(&mut top).remove(0);
    assert!(result.ends_with(r#""top":[{"item":"a","count":8}]}"#), "{result}");
}

#[test]
fn an_accumulator_stays_below_64_kib_and_the_result_says_how_exact_it_is() {
    let mut top = top(r#"{"field":"/page","k":1}"#, MINUTE, MINUTE);
    for number in 0..8_000 {
        top.push(input(1, &format!(r#"{{"page":"page {number}"}}"#)));
        top.push(input(1, r#"{"page":"often"}"#));
    }
    assert_eq!(top.failures(), []);
    let bytes = top.cell(Some(b"shop"), 1000).map_or(0, <[u8]>::len);
    assert!((50_000..60_010).contains(&bytes), "{bytes}");
    let result = results(&mut top).remove(0);
    let error: u64 = result.split(r#""error":"#).last().unwrap().split(',').next().unwrap().parse().unwrap();
    assert!((1..10).contains(&error), "{result}");
    assert!(result.ends_with(r#""top":[{"item":"often","count":8000}]}"#), "{result}");
}

#[test]
fn refuses_invalid_settings() {
    for (settings, part) in [
        ("{}", "field"),
        (r#"{"field":"page"}"#, r#"`field` is "page": write a JSON pointer, as in "/page""#),
        (r#"{"field":"/page","weight":"amount"}"#, "`weight`"),
        (r#"{"field":"/page","k":0}"#, "`k` is 0"),
        (r#"{"field":"/page","k":1001}"#, "1 to 1000"),
        (r#"{"field":"/page","n":1}"#, "unknown field `n`"),
    ] {
        let error = ReduceHarness::<Top>::new(settings, &["main"], MINUTE, MINUTE).unwrap_err();
        assert!(error.contains(part), "{settings}: {error}");
    }
}
