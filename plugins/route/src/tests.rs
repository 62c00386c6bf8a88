//! Runs the plugin natively and checks where it sends records.

use wasmill_sdk::Failure;
use wasmill_sdk::testing::Harness;
use wasmill_sdk::testing::Input;

use super::Route;

const PORTS: [&str; 3] = ["main", "refunds", "audits"];

fn route(settings: &str) -> Harness<Route> {
    Harness::new(settings, &PORTS).expect("the settings are legal")
}

fn settings(field: &str, default: &str) -> String {
    format!(
        r#"{{"field":"{field}","routes":{{"refund":"refunds","7":"audits","true":"audits"}},"default":"{default}"}}"#
    )
}

/// Checks the ports that a value goes to, and that it arrives unchanged.
#[track_caller]
fn check(field: &str, default: &str, value: &str, expected: &[u32]) {
    let outputs = route(&settings(field, default)).run_one(Input::value(value)).expect("the record passes");
    assert!(outputs.iter().all(|output| output.value.as_deref() == Some(value.as_bytes())), "{outputs:?}");
    assert_eq!(outputs.iter().map(|output| output.port).collect::<Vec<_>>(), expected, "{value}");
}

#[test]
fn a_value_that_a_route_names_goes_to_its_port_byte_for_byte() {
    check("type", "drop", r#"{ "type" : "refund", "n" : 1.50 }"#, &[1]);
    check("type", "drop", r#"{"type":7}"#, &[2]);
    check("type", "drop", r#"{"type":true}"#, &[2]);
}

#[test]
fn a_dotted_field_goes_into_nested_objects() {
    check("order.type", "drop", r#"{"order":{"type":"refund"}}"#, &[1]);
    check("order.type", "drop", r#"{"order":"refund","type":"refund"}"#, &[]);
}

#[test]
fn values_without_a_route_go_to_the_default() {
    for value in [r#"{"type":"sale"}"#, "{}", "[]", "7", r#"{"type":null}"#, r#"{"type":{"refund":1}}"#] {
        check("type", "main", value, &[0]);
        check("type", "drop", value, &[]);
        let result = route(&settings("type", "reject")).run_one(Input::value(value));
        let Err(Failure::Reject { code, .. }) = result else { panic!("{value}: {result:?}") };
        assert_eq!(code, "no-route");
    }
}

#[test]
fn a_value_without_a_route_names_a_topic_if_there_is_one_to_name() {
    let settings = r#"{"field":"to","routes":{"refund":"refunds"},"topic":"rows.{}.all","default":"reject"}"#;
    let mut plugin = route(settings);
    let values = ["eu", "us", "eu", "refund"].map(|to| format!(r#"{{ "to":"{to}" }}"#));
    let results = plugin.run(values.iter().map(Input::value)).unwrap();
    let found = results.iter().map(|result| &result.as_ref().unwrap()[0]).collect::<Vec<_>>();
    let found_topics: Vec<_> = found.iter().map(|output| (output.port, output.topic.as_deref())).collect();
    let (eu, us) = ((0, Some("rows.eu.all")), (0, Some("rows.us.all")));
    assert_eq!(found_topics, [eu, us, eu, (1, None)]);
    assert!(found.iter().zip(&values).all(|(output, value)| output.value.as_deref() == Some(value.as_bytes())));
    // A record that says nothing has the default, and what no topic can be called is left to the host.
    assert!(plugin.run_one(Input::value("{}")).is_err());
    let outputs = plugin.run_one(Input::value(r#"{"to":"a b"}"#)).unwrap();
    assert_eq!(outputs[0].topic.as_deref(), Some("rows.a b.all"));
}

#[test]
fn without_a_default_it_is_main_and_tombstones_get_it_too() {
    let mut plugin = route(r#"{"field":"type","routes":{}}"#);
    let outputs = plugin.run_one(Input::tombstone().key("k")).unwrap();
    assert_eq!((outputs[0].port, outputs[0].key.as_deref(), &outputs[0].value), (0, Some(&b"k"[..]), &None));
}

#[test]
fn invalid_json_is_rejected_whatever_the_default_is() {
    for default in ["main", "drop", "reject"] {
        let result = route(&settings("type", default)).run_one(Input::value("no"));
        let Err(Failure::Reject { code, .. }) = result else { panic!("{default}: {result:?}") };
        assert_eq!(code, "bad-json");
    }
}

#[test]
fn refuses_an_unknown_port_and_lists_the_known_ones() {
    let error = Harness::<Route>::new(r#"{"field":"type","routes":{"refund":"refund"}}"#, &PORTS).unwrap_err();
    for part in ["`routes.refund`", "`refund`", "main, refunds, audits", "[output.refund]"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn refuses_invalid_settings() {
    for (settings, part) in [
        (r#"{"field":"a"}"#, "`routes`"),
        (r#"{"field":"a","topic":"rows"}"#, "write `{}` once"),
        (r#"{"field":"a","topic":"{}{}"}"#, "write `{}` once"),
        (r#"{"routes":{}}"#, "field"),
        (r#"{"field":"a..b","routes":{}}"#, "a..b"),
        (r#"{"field":"a","routes":{},"default":"other"}"#, "other"),
        (r#"{"field":"a","route":{}}"#, "route"),
    ] {
        let error = Harness::<Route>::new(settings, &PORTS).unwrap_err();
        assert!(error.contains(part), "{settings}: {error}");
    }
}
