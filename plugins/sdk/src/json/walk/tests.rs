//! Edits by path: which values a path matches, what stays unchanged, and what is refused.

use serde::de::IgnoredAny;

use super::DEPTH_MAX;
use crate::json::Edit;
use crate::json::Paths;
use crate::json::splice_paths;

/// Applies one kind of edit at all paths. The text that replaces a value is the index of its path.
fn edited(paths: &[&str], edit: Edit, document: &str) -> Result<String, String> {
    let paths = Paths::new(paths).unwrap();
    let mut to = b"before ".to_vec();
    let write = |path: usize, value: &[u8], to: &mut Vec<u8>| {
        assert!(serde_json::from_slice::<IgnoredAny>(value).is_ok() && value == value.trim_ascii());
        to.extend_from_slice(path.to_string().as_bytes());
        edit
    };
    splice_paths(document.as_bytes(), &mut to, &paths, write).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(to).unwrap().strip_prefix("before ").unwrap().to_owned())
}

#[track_caller]
fn check(paths: &[&str], document: &str, expected: &str) {
    assert_eq!(edited(paths, Edit::Replace, document).as_deref(), Ok(expected), "{paths:?} in {document}");
    assert_eq!(edited(paths, Edit::Keep, document).as_deref(), Ok(document), "{paths:?} in {document}");
}

#[test]
fn a_name_alone_is_found_at_any_depth() {
    check(&["a"], r#"{"a":"x","b":{"a":"x"}}"#, r#"{"a":0,"b":{"a":0}}"#);
    check(&["a"], r#"[[{"b":[1,{"a":"x","b":"x"}]}],{"a":"x"}]"#, r#"[[{"b":[1,{"a":0,"b":"x"}]}],{"a":0}]"#);
    check(&["a", "b"], r#"{"b":"x","c":{"a":"x","ab":"x"}}"#, r#"{"b":1,"c":{"a":0,"ab":"x"}}"#);
}

#[test]
fn a_path_starts_at_the_root() {
    let document = r#"{"b":{"a":"x","c":"x"},"a":"x","c":{"b":{"a":"x"}}}"#;
    check(&["b.a"], document, r#"{"b":{"a":0,"c":"x"},"a":"x","c":{"b":{"a":"x"}}}"#);
    check(&["$.a"], document, r#"{"b":{"a":"x","c":"x"},"a":0,"c":{"b":{"a":"x"}}}"#);
    check(&["c.b.a", "c.x", "b.x.a"], document, r#"{"b":{"a":"x","c":"x"},"a":"x","c":{"b":{"a":0}}}"#);
}

#[test]
fn brackets_match_every_element_of_an_array_and_nothing_in_an_object() {
    let document = r#"{"i":[{"s":"x"},["y"],"z",{"t":{"s":"x"}}],"j":{"i":[1]}}"#;
    check(&["i[].s"], document, r#"{"i":[{"s":0},["y"],"z",{"t":{"s":"x"}}],"j":{"i":[1]}}"#);
    check(&["i[]"], document, r#"{"i":[0,0,0,0],"j":{"i":[1]}}"#);
    check(&["i[][]", "i[].t.s", "j[]", "j[].i"], document, r#"{"i":[{"s":"x"},[0],"z",{"t":{"s":1}}],"j":{"i":[1]}}"#);
    check(&["[].a", "$[][]"], r#"[{"a":"x","b":[1]},[1,2],3]"#, r#"[{"a":0,"b":[1]},[1,1],3]"#);
    check(&["i.s"], document, document);
}

#[test]
fn the_longer_path_applies_and_matched_values_are_not_searched() {
    check(&["a", "b.a"], r#"{"b":{"a":"x"},"a":"x"}"#, r#"{"b":{"a":1},"a":0}"#);
    check(&["b.a", "a"], r#"{"b":{"a":"x"},"a":"x"}"#, r#"{"b":{"a":0},"a":1}"#);
    check(&["b", "b.a"], r#"{"b":{"a":"x"},"c":{"a":"x"}}"#, r#"{"b":0,"c":{"a":"x"}}"#);
    check(&["a"], r#"{"a":{"a":"x"}}"#, r#"{"a":0}"#);
}

#[test]
fn names_are_compared_without_their_escapes_and_those_that_come_twice_are_edited_twice() {
    let long = "n".repeat(100);
    check(&["a", "b.c"], r#"{"\u0061":"x","b":{"\u0063":"x"}}"#, r#"{"\u0061":0,"b":{"\u0063":1}}"#);
    check(&["a", "b.c"], r#"{"a":"x","a":{},"b":1,"b":{"c":[],"c":[]}}"#, r#"{"a":0,"a":0,"b":1,"b":{"c":1,"c":1}}"#);
    check(&[r#""a.b""#, r#"c."\"[".d"#], r#"{"a.b":"x","c":{"\"[":{"d":1}}}"#, r#"{"a.b":0,"c":{"\"[":{"d":1}}}"#);
    check(&[&long], &format!(r#"[{{"{long}":"x","{long}n":"x"}}]"#), &format!(r#"[{{"{long}":0,"{long}n":"x"}}]"#));
    check(&["\u{e9}"], "{\"\u{e9}\":1,\"\\u00e9\":1,\"\\u00E8\":1}", "{\"\u{e9}\":0,\"\\u00e9\":0,\"\\u00E8\":1}");
    check(&["a"], r#"{"\ud800":{"a":1},"\ud83d\ude00":1}"#, r#"{"\ud800":{"a":0},"\ud83d\ude00":1}"#);
}

#[test]
fn values_that_no_path_matches_stay_byte_for_byte() {
    for document in ["{}", " [ ] ", "1.50", "\"a\"", "[{}]", "{\"b\":{ }}", " { \"b\" : [ 1.50e+3 , \"\\/\" ]\r\n}\t"] {
        check(&["a", "b.c", "b[].a"], document, document);
    }
    check(
        &["a"],
        "{ \"b\" : [ 1 , { \"a\"\t:\n[ 1 ] } ] ,\n\"a\": 1.0 }",
        "{ \"b\" : [ 1 , { \"a\"\t:\n0 } ] ,\n\"a\": 0 }",
    );
    check(&[], r#"{"a":{"a":1}}"#, r#"{"a":{"a":1}}"#);
}

#[test]
fn a_removed_value_is_removed_with_one_comma() {
    for (document, expected) in [
        (r#"{"a":1,"b":2,"c":3}"#, r#"{"b":2,"c":3}"#),
        (r#"{"b":1,"a":2,"c":3}"#, r#"{"b":1,"c":3}"#),
        (r#"{"b":1,"c":2,"a":3}"#, r#"{"b":1,"c":2}"#),
        (r#"{"a":1}"#, "{}"),
        (r#"{"a":1,"a":2}"#, "{}"),
        (r#"{"a":1,"a":2,"b":3,"a":4,"a":5,"c":6,"a":7}"#, r#"{"b":3,"c":6}"#),
        (r#"{"b":{"a":1},"a":1,"c":[{"a":1}]}"#, r#"{"b":{},"c":[{}]}"#),
        (r#"{"a":1,"b":{"c":1,"a":1},"a":1}"#, r#"{"b":{"c":1}}"#),
        (r#"{"a":1,"b":{"a":{}},"a":1,"b":0}"#, r#"{"b":{},"b":0}"#),
        (r#"{ "a" : 1 , "b" : 2 }"#, r#"{ "b" : 2 }"#),
        (r#"{ "b" : 1 , "a" : 2 }"#, r#"{ "b" : 1 }"#),
        (r#"{ "b" : 1 , "a" : 2 , "c" : 3 }"#, r#"{ "b" : 1 , "c" : 3 }"#),
        (r#"{ "a" : 1 }"#, "{  }"),
    ] {
        assert_eq!(edited(&["a"], Edit::Remove, document).as_deref(), Ok(expected), "{document}");
    }
    for (document, expected) in [
        (r#"{"a":[1],"b":1}"#, r#"{"a":[],"b":1}"#),
        (r#"{"a":[1,{},[2]]}"#, r#"{"a":[]}"#),
        (r#"{"a":[]}"#, r#"{"a":[]}"#),
        (r#"{"a":[ 1 , 2 ]}"#, r#"{"a":[  ]}"#),
    ] {
        assert_eq!(edited(&["a[]"], Edit::Remove, document).as_deref(), Ok(expected), "{document}");
    }
    // A different edit for each of three neighbours.
    let paths = Paths::new(["a", "b", "c"]).unwrap();
    let mut to = Vec::new();
    let edits = [Edit::Remove, Edit::Replace, Edit::Keep];
    let write = |path: usize, _: &[u8], to: &mut Vec<u8>| {
        to.push(b'0');
        edits[path]
    };
    splice_paths(br#"[{"a":1,"b":1,"a":1,"c":1,"a":1,"d":1,"b":1}]"#, &mut to, &paths, write).unwrap();
    assert_eq!(to, br#"[{"b":0,"c":1,"d":1,"b":0}]"#);
}

#[test]
fn a_document_that_nests_too_deep_is_refused_where_it_is_searched() {
    let nested = |depth: usize| format!("{}1{}", r#"{"b":["#.repeat(depth / 2), "]}".repeat(depth / 2));
    check(&["a"], &nested(DEPTH_MAX), &nested(DEPTH_MAX));
    for depth in [DEPTH_MAX + 2, 1_000_000] {
        let error = edited(&["a"], Edit::Replace, &nested(depth)).unwrap_err();
        assert_eq!(error, "objects and arrays nest more than 1000 deep");
        check(&["c.a"], &nested(depth), &nested(depth));
        check(&["b"], &nested(depth), r#"{"b":0}"#);
    }
    let error = edited(&["a"], Edit::Replace, &"[".repeat(1_000_000)).unwrap_err();
    assert!(error.contains("line 1 column"), "{error}");
}

/// Damaged and valid documents: the walk accepts what `serde_json` accepts, whatever is searched in them.
#[test]
fn it_accepts_the_same_documents_as_serde_json() {
    let deep = format!("{{\"c\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    let mixed = format!("{{\"c\":{}1{}}}", "[{\"x\":".repeat(100), "}]".repeat(100));
    let whole = [
        r#"{"a":1,"c":[1,2.5e-3,-0,{"x":null}],"text":"a \u00e9 \"quoted\" \\ text that is longer than eight"}"#,
        r#" [ { } , [ ] , "\ud800" , { "a" : true } , false , 1E+5 , 0.0 ] "#,
        r#"{"c":{"a":{"b":[]},"x":[[{"a":"\n"}],{}]},"\u0061":[{"x":[],"b":0}]}"#,
        "\"\u{e9}\u{1f600} and more bytes\"",
        "-12345678901234567890",
        &deep,
        &mixed,
    ];
    let searched = [&["q"][..], &["q.r", "c.q"], &["q[]"], &["c.x[].q", "c[][].q"], &[]];
    let searched = searched.map(|paths| Paths::new(paths).unwrap());
    let found = ["a", "x", "c.x[]"];
    let found = Paths::new(found).unwrap();
    let alphabet = b"{}[]\",:\\ \n\t0123456789.eE+-truefalsn\x00\x1f\x7f/u\xc3\xa9";
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % bound as u64).unwrap()
    };
    let mut taken = 0;
    for round in 0..50_000 {
        let mut document = whole[round % whole.len()].as_bytes().to_vec();
        for _ in 0..below(4) {
            let at = below(document.len());
            match below(3) {
                0 => document[at] = alphabet[below(alphabet.len())],
                1 => document.insert(at, alphabet[below(alphabet.len())]),
                _ => drop(document.remove(at)),
            }
        }
        let theirs = std::str::from_utf8(&document).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
        let shown = String::from_utf8_lossy(&document);
        let mut to = Vec::new();
        let keep = |_: usize, _: &[u8], _: &mut Vec<u8>| Edit::Keep;
        let ours = splice_paths(&document, &mut to, &searched[below(searched.len())], keep);
        assert_eq!(ours.is_ok(), theirs, "{shown}: {ours:?}");
        if theirs {
            assert_eq!(to, document);
            taken += 1;
        }
        for edit in [Edit::Replace, Edit::Remove] {
            let mut to = Vec::new();
            let write = |_: usize, _: &[u8], to: &mut Vec<u8>| {
                to.push(b'0');
                edit
            };
            let ours = splice_paths(&document, &mut to, &found, write);
            assert_eq!(ours.is_ok(), theirs, "{shown}: {ours:?}");
            let is_json = serde_json::from_slice::<IgnoredAny>(&to).is_ok();
            assert!(!theirs || is_json, "{shown}: {}", String::from_utf8_lossy(&to));
        }
    }
    assert!(taken > 10_000, "{taken} documents were JSON");
}
