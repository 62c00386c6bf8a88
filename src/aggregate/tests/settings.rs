//! The notation of settings and selectors, and what is said about mistakes.

use super::*;
use crate::aggregate::SettingError;

fn errors(settings: &[(&str, &str)]) -> Vec<String> {
    let errors = Functions::parse(settings.iter().copied()).unwrap_err();
    errors.iter().map(SettingError::to_string).collect()
}

#[test]
fn every_wrong_setting_is_named_with_what_is_allowed() {
    let wrong = [
        ("a", "suum:/x"),
        ("b", "mean:/x"),
        ("c", "sum"),
        ("d", "sum:total"),
        ("e", "quantile:/ms"),
        ("f", "quantile:/ms:99"),
        ("g", "quantile"),
        ("key", "count"),
        ("", "count"),
        ("h", "frequency:/x"),
        ("i", "p99:/ms"),
        ("j", "COUNT"),
        ("k", "quantile:/ms:-0.1"),
        ("l", "quantile:ms:0.5"),
    ];
    let expected = [
        "`a`: `suum:/x` is unknown; did you mean \"sum:/total\"?",
        "`b`: `mean:/x` is unknown; did you mean \"avg:/items\"?",
        "`c`: `sum` names no field of the value; write for example \"sum:/total\"",
        "`d`: `total` is not a JSON pointer, which begins with `/`: write `/total`",
        "`e`: `quantile:/ms` doesn't say which quantile; write the field and a number from 0 to 1, for example \"quantile:/ms:0.99\"",
        "`f`: `99` is not a quantile; write the field and a number from 0 to 1, for example \"quantile:/ms:0.99\"",
        "`g`: `quantile` names no field of the value; write the field and a number from 0 to 1, for example \"quantile:/ms:0.99\"",
        "`key`: every result has a field `key` of its own; choose another name",
        "a setting's name is the result's field, so it can't be empty",
        "`h`: `frequency:/x` is unknown; the functions are count, sum, min, max, avg, distinct, quantile, first, last, for example \"sum:/total\"",
        "`i`: `p99:/ms` is unknown; did you mean \"quantile:/ms:0.99\"?",
        "`j`: `COUNT` is unknown; did you mean \"count\"?",
        "`k`: `-0.1` is not a quantile; write the field and a number from 0 to 1, for example \"quantile:/ms:0.99\"",
        "`l`: `ms` is not a JSON pointer, which begins with `/`: write `/ms`",
    ];
    assert_eq!(errors(&wrong), expected);
    assert!(errors(&[])[0].starts_with("`std:aggregate` computes nothing; write for example"));
    assert_eq!(errors(&[("a", "count"), ("a", "sum:/x")]), ["`a`: the name is used twice"]);
    let many: Vec<String> = (0..65).map(|n| format!("n{n}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "count")).collect();
    assert_eq!(errors(&many), ["there are 65 settings, where 64 are allowed"]);
}

#[test]
fn a_colon_in_a_pointer_belongs_to_the_pointer() {
    let functions = functions(&[("s", "sum:/a:b"), ("q", "quantile:/a:b:0.5"), ("whole", "max:")]);
    let pointers: Vec<&str> = functions.pointers().iter().map(|pointer| pointer.text()).collect();
    assert_eq!(pointers, ["", "/a:b"]);
    assert_eq!(result_of(&[("s", "sum:"), ("n", "count")], &["1.5", " 2 "]), r#""s":3.5,"n":2"#);
}

#[test]
fn names_are_escaped_in_the_result() {
    assert_eq!(result_of(&[("a\"b", "count")], &["{}"]), r#""a\"b":1"#);
}

#[test]
fn selectors_are_read_and_mistakes_explained() {
    assert!(KeySelector::parse("json:/customer").is_ok_and(|key| matches!(key, KeySelector::Json(_))));
    assert_eq!(KeySelector::parse("header:id"), Ok(KeySelector::Header("id".to_owned())));
    assert_eq!(KeySelector::parse("const:a:b"), Ok(KeySelector::Const("a:b".to_owned())));
    let key = |text: &str| KeySelector::parse(text).unwrap_err();
    assert!(
        key("jsno:/customer")
            .starts_with("`jsno:/customer` is unknown, did you mean `json:/customer`?; a key is taken from")
    );
    assert!(key("/customer").starts_with("`/customer` has no `json:` before it; a key is taken from"));
    assert_eq!(key("json:customer"), "`customer` is not a JSON pointer, which begins with `/`: write `/customer`");
    for empty in ["header:", "const:", "json", "header"] {
        assert!(key(empty).contains("names nothing after"), "{empty}: {}", key(empty));
    }
    assert!(key("").starts_with("`` is unknown; a key"));
    assert!(TimeSelector::parse("json:/ts").is_ok() && TimeSelector::parse("seconds:header:ts").is_ok());
    let time = |text: &str| TimeSelector::parse(text).unwrap_err();
    assert!(time("const:5").starts_with("`const:5` is unknown; a time is taken from"));
    assert!(time("heder:ts").contains("did you mean `header:ts`?"));
    assert!(time("seconds:/ts").starts_with("`/ts` has no `json:` before it"));
    assert!(time("seconds:").starts_with("`` is unknown; a time"));
}
