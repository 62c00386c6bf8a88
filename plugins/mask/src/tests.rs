//! What the plugin makes of records, run natively.

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
fn hides_whatever_a_field_holds_and_leaves_nested_objects_alone() {
    check("{}", r#"{"name":{"first":"Ada"}}"#, r#"{"name":"***"}"#);
    check("{}", r#"{"owner":{"name":"Ada"}}"#, r#"{"owner":{"name":"Ada"}}"#);
    check("{}", r#"{ "total": 1.50, "na\u006de": "Ada" }"#, r#"{ "total": 1.50, "na\u006de": "***" }"#);
}

#[test]
fn leaves_json_that_is_no_object_as_it_is() {
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
fn rejects_what_is_not_json_and_emits_nothing_of_it() {
    let results = mask("{}").run([Input::value("no").header("audit", ""), Input::value("{}")]).unwrap();
    let Err(Failure::Reject { code, reason }) = &results[0] else { panic!("{:?}", results[0]) };
    assert_eq!(code, "bad-json");
    assert_eq!(reason, "expected ident at line 1 column 2");
    assert_eq!(results[1].as_ref().unwrap().len(), 1, "the next record is not touched by it");
    let Err(Failure::Reject { code, .. }) = mask("{}").run_one(Input::value("")) else { panic!("empty is not JSON") };
    assert_eq!(code, "bad-json");
}

#[test]
fn sends_what_is_audited_unmasked_to_the_audit_port_alone() {
    let outputs = mask("{}").run_one(Input::value(r#"{"name":"Ada"}"#).header("audit", "")).unwrap();
    let seen: Vec<_> = outputs.iter().map(|output| (output.port, output.value.as_deref().unwrap())).collect();
    assert_eq!(seen, [(1, &br#"{"name":"Ada"}"#[..]), (0, br#"{"name":"***"}"#)]);

    let mut without = Harness::<Mask>::new("{}", &["main"]).unwrap();
    let outputs = without.run_one(Input::value(r#"{"name":"Ada"}"#).header("audit", "")).unwrap();
    assert_eq!(outputs.len(), 1, "without the port nothing goes out unmasked");
}

#[test]
fn refuses_settings_that_it_does_not_know() {
    let error = Harness::<Mask>::new(r#"{"field":["email"]}"#, &["main"]).unwrap_err();
    assert_eq!(error, "unknown field `field`, expected `fields` at line 1 column 8");
}
