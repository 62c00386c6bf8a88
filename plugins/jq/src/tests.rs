//! Runs programs natively: those of jq's manual, also against jq itself if it is installed, and every kind of mistake.

use std::io::Write as _;
use std::process::Command;
use std::process::Stdio;

use serde_json::Value;
use wasmill_sdk::Failure;
use wasmill_sdk::testing::Emitted;
use wasmill_sdk::testing::Harness;
use wasmill_sdk::testing::Input;
use wasmill_sdk::testing::Tested;

use super::Jq;
use super::MESSAGE_MAX;
use super::OUTPUTS_MAX;

const PORTS: [&str; 3] = ["main", "errors", "audit"];

/// Programs, mostly from jq's manual, with input and results.
const PROGRAMS: &[(&str, &str, &[&str])] = &[
    (".", r#""Hello, world!""#, &[r#""Hello, world!""#]),
    (".", r#"{ "b" : [ 1 , null , true ] , "a" : {} }"#, &[r#"{"b":[1,null,true],"a":{}}"#]),
    (".foo", r#"{"foo": 42, "bar": "less"}"#, &["42"]),
    (".foo", r#"{"notfoo": true}"#, &["null"]),
    (".foo.bar", r#"{"foo":{"bar":"x"}}"#, &[r#""x""#]),
    (r#".["foo"]"#, r#"{"foo": 42}"#, &["42"]),
    ("[.foo?]", "[1, 2]", &["[]"]),
    ("[.[] | .a?]", r#"[{}, true, {"a":1}]"#, &["[null,1]"]),
    (".[0]", r#"[{"name":"JSON"},{"name":"XML"}]"#, &[r#"{"name":"JSON"}"#]),
    (".[-2]", "[1,2,3]", &["2"]),
    (".[2:4]", r#"["a","b","c","d","e"]"#, &[r#"["c","d"]"#]),
    (".[2:4]", r#""abcdefghi""#, &[r#""cd""#]),
    (".[]", r#"[{"name":"JSON"},{"name":"XML"}]"#, &[r#"{"name":"JSON"}"#, r#"{"name":"XML"}"#]),
    (".[]", r#"{"a": 1, "b": 1}"#, &["1", "1"]),
    (".foo, .bar", r#"{"foo": 42, "bar": "else"}"#, &["42", r#""else""#]),
    (
        "[.user, .projects[]]",
        r#"{"user":"stedolan","projects":["jq","wikiflow"]}"#,
        &[r#"["stedolan","jq","wikiflow"]"#],
    ),
    (
        "{user, title: .titles[]}",
        r#"{"user":"stedolan","titles":["JQ Primer","More JQ"]}"#,
        &[r#"{"user":"stedolan","title":"JQ Primer"}"#, r#"{"user":"stedolan","title":"More JQ"}"#],
    ),
    (
        r#".[] | select(.id == "second")"#,
        r#"[{"id":"first","v":1},{"id":"second","v":2}]"#,
        &[r#"{"id":"second","v":2}"#],
    ),
    ("map(select(. >= 2))", "[1,5,3,0,7]", &["[5,3,7]"]),
    ("map(.+1)", "[1,2,3]", &["[2,3,4]"]),
    ("map_values(.+1)", r#"{"a": 1, "b": 2}"#, &[r#"{"a":2,"b":3}"#]),
    ("keys", r#"{"abc": 1, "abcd": 2, "Foo": 3}"#, &[r#"["Foo","abc","abcd"]"#]),
    ("keys", "[42,3,35]", &["[0,1,2]"]),
    (".[] | length", r#"[[1,2], "string", {"a":2}, null]"#, &["2", "6", "1", "0"]),
    (r#"map(has("foo"))"#, r#"[{"foo": 42}, {}]"#, &["[true,false]"]),
    ("map(has(2))", r#"[[0,1], ["a","b","c"]]"#, &["[false,true]"]),
    (r#".[] | in({"foo": 42})"#, r#"["foo", "bar"]"#, &["true", "false"]),
    ("to_entries", r#"{"a": 1, "b": 2}"#, &[r#"[{"key":"a","value":1},{"key":"b","value":2}]"#]),
    (
        "from_entries",
        r#"[{"key":"a","value":1},{"name":"b","value":2},{"k":"c","value":false}]"#,
        &[r#"{"a":1,"b":2,"c":false}"#],
    ),
    (r#"with_entries(.key |= "KEY_" + .)"#, r#"{"a": 1, "b": 2}"#, &[r#"{"KEY_a":1,"KEY_b":2}"#]),
    ("sort_by(.foo)", r#"[{"foo":4},{"foo":3},{"foo":2}]"#, &[r#"[{"foo":2},{"foo":3},{"foo":4}]"#]),
    (
        "group_by(.foo)",
        r#"[{"foo":1,"bar":10},{"foo":3,"bar":100},{"foo":1,"bar":1}]"#,
        &[r#"[[{"foo":1,"bar":10},{"foo":1,"bar":1}],[{"foo":3,"bar":100}]]"#],
    ),
    ("unique_by(.foo)", r#"[{"foo":1,"bar":2},{"foo":1,"bar":3},{"foo":4}]"#, &[r#"[{"foo":1,"bar":2},{"foo":4}]"#]),
    ("unique", "[1,2,5,3,5,3,1,3]", &["[1,2,3,5]"]),
    ("min_by(.foo)", r#"[{"foo":2},{"foo":1}]"#, &[r#"{"foo":1}"#]),
    ("add", r#"["a","b","c"]"#, &[r#""abc""#]),
    ("add", "[1,2,3]", &["6"]),
    ("add", "[]", &["null"]),
    ("[any, all]", "[true, false]", &["[true,false]"]),
    ("any(. > 2), all(. > 2)", "[1,3]", &["true", "false"]),
    ("[.[] * 2, 7 % 3, 7 / 2, 10 / 2, 1 - 3]", "[4]", &["[8,1,3.5,5,-2]"]),
    (r#"test("foo")"#, r#""foo bar""#, &["true"]),
    (r#".[] | test("a b c # spaces are ignored"; "ix")"#, r#"["xabcd", "ABC"]"#, &["true", "true"]),
    (r#"capture("(?<a>[a-z]+)-(?<n>[0-9]+)")"#, r#""xyzzy-14""#, &[r#"{"a":"xyzzy","n":"14"}"#]),
    (r#"capture("(?<a>x)?(?<b>y)")"#, r#""y""#, &[r#"{"a":null,"b":"y"}"#]),
    (
        r#"match("foo"; "g")"#,
        r#""foo bar foo""#,
        &[
            r#"{"offset":0,"length":3,"string":"foo","captures":[]}"#,
            r#"{"offset":8,"length":3,"string":"foo","captures":[]}"#,
        ],
    ),
    (
        r#"match("(a)?(?<n>b)")"#,
        r#""\u00e9b""#,
        &[concat!(
            r#"{"offset":1,"length":1,"string":"b","captures":["#,
            r#"{"offset":-1,"length":0,"string":null,"name":null},{"offset":1,"length":1,"string":"b","name":"n"}]}"#
        )],
    ),
    (r#"[scan("c")]"#, r#""abcdefabc""#, &[r#"["c","c"]"#]),
    (r#"[scan("(a)|b")]"#, r#""ab""#, &[r#"[["a"],[null]]"#]),
    (r#"sub("(?<x>a)"; "\(.x)!"), gsub("a"; "b")"#, r#""aab""#, &[r#""a!ab""#, r#""bbb""#]),
    (r#"split(", ")"#, r#""a, b,c,d, e, ""#, &[r#"["a","b,c,d","e",""]"#]),
    (r#"[splits(", *")]"#, r#""a, b,c""#, &[r#"["a","b","c"]"#]),
    (r#"join(" ")"#, r#"["a",1,2.3,true,null,false]"#, &[r#""a 1 2.3 true  false""#]),
    ("ascii_downcase", r#""useful \u00c9 but not for \u00c9""#, &["\"useful \u{c9} but not for \u{c9}\""]),
    (r#"if . == 0 then "zero" elif . == 1 then "one" else "many" end"#, "2", &[r#""many""#]),
    ("reduce .[] as $item (0; . + $item)", "[10,2,5,3]", &["20"]),
    ("[foreach .[] as $item (0; . + $item)]", "[1,2,3]", &["[1,3,6]"]),
    ("[paths]", r#"[1,[[],{"a":2}]]"#, &[r#"[[0],[1],[1,0],[1,1],[1,1,"a"]]"#]),
    ("path(.a[0].b)", "null", &[r#"["a",0,"b"]"#]),
    (r#"getpath(["a","b"])"#, r#"{"a":{"b":1}}"#, &["1"]),
    ("del(.foo)", r#"{"foo": 42, "bar": 9001, "baz": 42}"#, &[r#"{"bar":9001,"baz":42}"#]),
    ("del(.a.b, .c)", r#"{"a":{"b":1,"x":2,"y":3},"c":4,"d":5,"e":6}"#, &[r#"{"a":{"x":2,"y":3},"d":5,"e":6}"#]),
    ("del(.[1, 2])", r#"["foo","bar","baz"]"#, &[r#"["foo"]"#]),
    ("del(.[1:3]), del(.[-1]), del(.[9])", "[1,2,3,4]", &["[1,4]", "[1,2,3]", "[1,2,3,4]"]),
    ("del(.[] | select(. >= 2))", "[1,5,3,0,7]", &["[1,0]"]),
    (".foo // 42", r#"{"foo": null}"#, &["42"]),
    (".[] | tostring", r#"[1, "1", [1]]"#, &[r#""1""#, r#""1""#, r#""[1]""#]),
    (".[] | tonumber", r#"[1, "1", "007", "-3"]"#, &["1", "1", "7", "-3"]),
    (r#"[.[] | ltrimstr("foo")]"#, r#"["fo","foo","barfoo","foobar"]"#, &[r#"["fo","","barfoo","bar"]"#]),
    (".foo |= . + 1 | .bar = 2 | .baz += 3", r#"{"foo":1,"baz":1}"#, &[r#"{"foo":2,"baz":4,"bar":2}"#]),
    ("[limit(2; .[])], first(.[]), [range(3)]", "[7,8,9]", &["[7,8]", "7", "[0,1,2]"]),
    ("flatten", "[1,[2,[3]]]", &["[1,2,3]"]),
    (r#"try error("no") catch ., (.a? // "none")"#, "[]", &[r#""no""#, r#""none""#]),
    (r#""\(.a) is \(.b)""#, r#"{"a":1,"b":[2]}"#, &[r#""1 is [2]""#]),
    ("tojson, (tojson | fromjson)", r#"{"a":[1]}"#, &[r#""{\"a\":[1]}""#, r#"{"a":[1]}"#]),
    ("[.[] | IN(1, 2)]", "[1,3]", &["[true,false]"]),
    ("INDEX(.id)", r#"[{"id":1},{"id":2}]"#, &[r#"{"1":{"id":1},"2":{"id":2}}"#]),
    ("@csv, @tsv", r#"[1,"a\"b",null,true]"#, &[r#""1,\"a\"\"b\",,true""#, r#""1\ta\"b\t\ttrue""#]),
    (
        "@base64, (@base64 | @base64d), @sh, @json",
        r#""a'b""#,
        &[r#""YSdi""#, r#""a'b""#, r#""'a'\\''b'""#, r#""\"a'b\"""#],
    ),
    ("[.[] | @base64]", r#"["","a","ab","abc"]"#, &[r#"["","YQ==","YWI=","YWJj"]"#]),
    ("@uri", r#""a b\u00e9""#, &[r#""a%20b%C3%A9""#]),
    (
        r#"todate, (todate | fromdate), gmtime, (gmtime | mktime), strftime("%Y-%m-%d %H:%M:%S %Z")"#,
        "1425599621",
        &[
            r#""2015-03-05T23:53:41Z""#,
            "1425599621",
            "[2015,2,5,23,53,41,4,63]",
            "1425599621",
            r#""2015-03-05 23:53:41 UTC""#,
        ],
    ),
    (r#"strptime("%Y-%m-%dT%H:%M:%SZ")"#, r#""2015-03-05T23:51:47Z""#, &["[2015,2,5,23,51,47,4,63]"]),
    (r#"strptime("%d.%m.%Y") | mktime | todate"#, r#""05.03.2015""#, &[r#""2015-03-05T00:00:00Z""#]),
    (r#"try strptime("%Y-%m-%dT%H:%M:%SZ") catch "no time""#, r#""yesterday""#, &[r#""no time""#]),
    ("[nan, infinite, -infinite]", "null", &["[null,1.7976931348623157e+308,-1.7976931348623157e+308]"]),
    ("map(sqrt), map(pow(.; 2)), map(floor)", "[4,2.25]", &["[2,1.5]", "[16,5.0625]", "[4,2]"]),
];

fn settings(program: &str) -> String {
    serde_json::json!({ "program": program }).to_string()
}

fn jq(settings: &str) -> Harness<Jq> {
    Harness::new(settings, &PORTS).unwrap_or_else(|e| panic!("{settings}: {e}"))
}

fn run(program: &str, input: Input) -> Tested {
    jq(&settings(program)).run_one(input)
}

fn values(outputs: &[Emitted]) -> Vec<&str> {
    outputs.iter().map(|output| str::from_utf8(output.value.as_deref().unwrap()).unwrap()).collect()
}

#[track_caller]
fn check(program: &str, value: &str, expected: &[&str]) {
    let outputs = run(program, Input::value(value)).unwrap_or_else(|e| panic!("{program} of {value}: {e}"));
    assert_eq!(values(&outputs), expected, "{program} of {value}");
}

#[track_caller]
fn check_rejected(result: Tested, expected: &str) -> String {
    let Err(Failure::Reject { code, reason }) = result else { panic!("{result:?}") };
    assert_eq!(code, expected, "{reason}");
    reason
}

/// The error message for a program that is refused.
fn refused(program: &str) -> String {
    let Err(error) = Harness::<Jq>::new(&settings(program), &PORTS) else { panic!("{program} is accepted") };
    error
}

#[test]
fn programs_of_the_manual_return_what_it_says() {
    for (program, input, expected) in PROGRAMS {
        check(program, input, expected);
    }
}

#[test]
fn programs_return_the_same_as_jq_itself() {
    if Command::new("jq").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "jq is not installed");
        return;
    }
    for (program, input, expected) in PROGRAMS {
        // Variables and newer functions are not compared, because any version of jq may be installed.
        let mut command = Command::new("jq");
        command.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        // If jq refuses the program, it doesn't read the input.
        let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
        let output = process.wait_with_output().unwrap();
        if !output.status.success() {
            continue;
        }
        let read = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
        let given: Vec<Value> = String::from_utf8(output.stdout).unwrap().lines().map(read).collect();
        let expected: Vec<Value> = expected.iter().map(|text| read(text)).collect();
        assert_eq!(given, expected, "{program} of {input}");
    }
}

#[test]
fn each_result_is_a_record_and_no_result_drops_the_record() {
    check(".items[]", r#"{"items":[{"a":1},2,null]}"#, &[r#"{"a":1}"#, "2", "null"]);
    check("select(.status >= 500) | {path, status}", r#"{"status":200,"path":"/"}"#, &[]);
}

#[test]
fn numbers_that_the_program_keeps_stay_as_they_are_written() {
    let digits = "1".repeat(200);
    for number in [
        "9007199254740993",
        "-9223372036854775809",
        "123456789012345678901234567890",
        "1.50",
        "1e3",
        "0.10E-7",
        "-0",
        &digits,
    ] {
        check(".", number, &[number]);
        check("{a: .[0]}", &format!("[{number}]"), &[&format!(r#"{{"a":{number}}}"#)]);
    }
    check(". + 1", "9007199254740993", &["9007199254740994"]);
    check(". == 9007199254740992", "9007199254740993", &["false"]);
    check(". * 1", "1.50", &["1.5"]);
    check(". * 1000", "3000000000", &["3000000000000"]);
    check(". / 1000 | floor | todate", "1700000000123", &[r#""2023-11-14T22:13:20Z""#]);
    check("00.5, 1e400 * 1", "null", &["0.5", "1.7976931348623157e+308"]);
}

#[test]
fn fields_keep_their_order() {
    check("del(.b)", r#"{"a":1,"b":2,"c":3,"d":4}"#, &[r#"{"a":1,"c":3,"d":4}"#]);
    check(".b = 9", r#"{"a":1,"b":2,"c":3}"#, &[r#"{"a":1,"b":9,"c":3}"#]);
    check(r#"with_entries(select(.key != "b"))"#, r#"{"c":1,"b":2,"a":3}"#, &[r#"{"c":1,"a":3}"#]);
}

#[test]
fn key_headers_and_timestamp_are_kept() {
    let input = Input::value("[1,2]").key([0xff]).header("h", [0xfe]).null_header("n").timestamp(5);
    let outputs = run(".[]", input).unwrap();
    assert_eq!(values(&outputs), ["1", "2"]);
    for output in outputs {
        assert_eq!((output.port, output.key.as_deref(), output.timestamp), (0, Some(&[0xff][..]), Some(5)));
        assert_eq!(output.headers, [(b"h".to_vec(), Some(vec![0xfe])), (b"n".to_vec(), None)]);
    }
}

#[test]
fn tombstones_are_forwarded() {
    let outputs = run("error", Input::tombstone().key("k")).unwrap();
    assert_eq!((outputs[0].port, outputs[0].key.as_deref(), &outputs[0].value), (0, Some(&b"k"[..]), &None));
}

#[test]
fn programs_know_their_record() {
    let program = "[$key, $headers, $topic, $partition, $offset, $timestamp]";
    let input =
        Input::value("{}").key("k").header("h", "1").header("h", "2").null_header("n").timestamp(1_700_000_000_000);
    assert_eq!(values(&run(program, input).unwrap()), [r#"["k",{"h":"2","n":null},"test",0,0,1700000000000]"#]);
    assert_eq!(values(&run(program, Input::value("{}")).unwrap()), [r#"[null,{},"test",0,0,null]"#]);
    let outputs =
        run(r#".key = $key | .trace = ($headers.trace // "none")"#, Input::value("{}").key([0xff, b'k'])).unwrap();
    assert_eq!(values(&outputs), ["{\"key\":\"\u{fffd}k\",\"trace\":\"none\"}"]);
}

#[test]
fn the_key_program_returns_the_key_of_each_result() {
    let mut plugin = jq(r#"{"program":".[]","key":".id"}"#);
    let value = r#"[{"id":"a"},{"id":7},{"id":null},{"id":{"b":[1]}},{}]"#;
    let outputs = plugin.run_one(Input::value(value).key("old")).unwrap();
    let keys: Vec<_> = outputs.iter().map(|output| output.key.as_deref()).collect();
    assert_eq!(keys, [Some(&b"a"[..]), Some(b"7"), None, Some(br#"{"b":[1]}"#), None]);
    let mut plugin = jq(r#"{"program":".","key":"$key | ascii_upcase"}"#);
    assert_eq!(plugin.run_one(Input::value("1").key("k")).unwrap()[0].key.as_deref(), Some(&b"K"[..]));
}

#[test]
fn the_port_program_names_the_output_of_each_result() {
    let mut plugin = jq(r#"{"program":".[]","port":"if .status >= 500 then \"errors\" else \"main\" end"}"#);
    let outputs = plugin.run_one(Input::value(r#"[{"status":200},{"status":503}]"#)).unwrap();
    assert_eq!(outputs.iter().map(|output| output.port).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_port_that_does_not_exist_or_is_not_a_string_is_rejected() {
    let mut plugin = jq(r#"{"program":".","port":".to"}"#);
    let reason = check_rejected(plugin.run_one(Input::value(r#"{"to":"error"}"#)), "bad-port");
    assert_eq!(reason, "there is no output `error`: there are main, errors, audit");
    let reason = check_rejected(plugin.run_one(Input::value(r#"{"to":["errors"]}"#)), "bad-port");
    assert_eq!(reason, r#"`port` gives ["errors"], which is not a string"#);
    check_rejected(plugin.run_one(Input::value("{}")), "bad-port");
    assert_eq!(plugin.run_one(Input::value(r#"{"to":"audit"}"#)).unwrap()[0].port, 2);
}

#[test]
fn port_and_key_must_return_one_result() {
    for setting in ["port", "key"] {
        for (program, reason) in [("empty", "gives no result"), (".a, .b", "gives more than one result")] {
            let mut plugin = jq(&format!(r#"{{"program":".","{setting}":"{program}"}}"#));
            let found = check_rejected(plugin.run_one(Input::value("{}")), "jq-error");
            assert_eq!(found, format!("`{setting}` {reason}"));
        }
    }
}

#[test]
fn invalid_json_is_rejected_with_the_position() {
    for (value, reason) in [
        ("", "expected value at byte 0"),
        ("no", "expected value at byte 1"),
        (r#"{"a":1,}"#, "expected string at byte 7"),
        (r#"{"a" 1}"#, "expected colon at byte 5"),
        ("[1,]", "expected value at byte 3"),
        ("[1", "expected comma or end of sequence at byte 2"),
        ("{} {}", "expected end of file at byte 3"),
        ("{1:2}", "expected string at byte 1"),
        ("007", "expected end of file at byte 1"),
        ("1.", "expected digit at byte 2"),
        ("-", "expected digit at byte 1"),
        ("+1", "expected value at byte 0"),
        ("NaN", "expected value at byte 0"),
        ("Infinity", "expected value at byte 0"),
        ("nan", "expected value at byte 1"),
        ("# comment\n1", "expected value at byte 0"),
        (r#"b"x""#, "expected value at byte 1"),
    ] {
        assert_eq!(check_rejected(run(".", Input::value(value)), "bad-json"), reason, "{value}");
    }
    for value in [&b"\"\xff\""[..], b"\"\\ud800\"", b"\"\n\"", b"\"\\x\"", b"\"a", b"\xef\xbb\xbf1"] {
        check_rejected(run(".", Input::value(value)), "bad-json");
    }
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    check(".", &deep(128), &[&deep(128)]);
    let reason = check_rejected(run(".", Input::value(deep(129))), "bad-json");
    assert_eq!(reason, "nested deeper than 128 levels at byte 128");
    check_rejected(run(".", Input::value("[".repeat(1_000_000))), "bad-json");
}

#[test]
fn an_error_of_the_program_is_rejected_with_its_message_and_without_the_results_before_it() {
    for (program, value, reason) in [
        (r#"error("no total")"#, "{}", "no total"),
        (r#"., error("late")"#, "{}", "late"),
        ("error({code: 5})", "{}", r#"{"code":5}"#),
        (".a", "[1]", r#"cannot index [1] with "a""#),
        (r#". + "a""#, "1", r#"cannot calculate 1 + "a""#),
        (r#"tonumber"#, r#""x""#, "cannot parse as number"),
        ("fromjson", r#""{""#, "expected value or end of sequence at byte 1"),
        (r#"test("(")"#, r#""x""#, "( is not a valid regex"),
        (r#"test("a"; "q")"#, r#""x""#, "q is not a valid regex flag"),
        ("{(1,2 | tojson | fromjson): 1}", "{}", "an object has a key that is not a string"),
        ("[1] | @csv | error", "{}", "1"),
        ("[[1]] | @csv", "{}", "array is not a field of CSV"),
    ] {
        let got = run(program, Input::value(value));
        assert!(got.is_err(), "{program}: {got:?}");
        let found = check_rejected(got, "jq-error");
        assert!(found.starts_with(reason), "{program}: {found}");
    }
    let long = format!(r#"{{"secret":"{}"}}"#, "\u{e9}".repeat(10_000));
    let reason = check_rejected(run(".secret.a", Input::value(&long)), "jq-error");
    assert!(reason.len() <= MESSAGE_MAX && reason.ends_with(".."), "{}", reason.len());
}

#[test]
fn an_endless_program_is_stopped_at_a_number_of_results() {
    for program in ["range(infinite)", "repeat(.)", "def f: ., f; f", "recurse(.)"] {
        let reason = check_rejected(run(program, Input::value("1")), "jq-error");
        assert_eq!(reason, "`program` gives more than 10000 results for one record", "{program}");
    }
    let outputs = run(&format!("range({OUTPUTS_MAX})"), Input::value("1")).unwrap();
    assert_eq!(outputs.len(), OUTPUTS_MAX);
}

#[test]
fn a_failed_record_does_not_affect_others() {
    let mut plugin = jq(&settings(".a | tonumber"));
    let results = plugin.run([r#"{"a":"1"}"#, r#"{"a":"x"}"#, "no", r#"{"a":2}"#].map(Input::value)).unwrap();
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, true]);
    assert_eq!(values(results[3].as_ref().unwrap()), ["2"]);
}

#[test]
fn a_program_that_does_not_compile_is_refused_with_the_position_of_the_mistake() {
    for (program, message) in [
        (".a |", "`program`, line 1, column 5: expected term, found the end"),
        (".a\n  | {b: .c, d}}", "`program`, line 2, column 15: expected token, found `}`"),
        ("if .a then 1", "`program`, line 1, column 13: expected else or end, found the end"),
        (r#"."a"#, "`program`, line 1, column 4: expected closing quote, found the end"),
        ("(.a", "`program`, line 1, column 4: expected closing parenthesis, found the end"),
        ("# \u{e9}\n\u{e9}", "`program`, line 2, column 1: expected token, found `\u{e9}`"),
        (".a | foo", "`program`, line 1, column 6: there is no filter `foo`"),
        ("map(foo(1))", "`program`, line 1, column 5: there is no filter `foo` with 1 argument"),
        ("test()", "`program`, line 1, column 6: expected term, found `)`"),
        ("map", "`program`, line 1, column 1: there is no filter `map`"),
        (
            "$a",
            "`program`, line 1, column 1: there is no variable `$a`: there are $key, $headers, $topic, $partition, $offset, $timestamp",
        ),
        ("break $a", "`program`, line 1, column 7: there is no label `$a`"),
        (r#"include "a"; ."#, "`program`, line 1, column 10: modules are not available in a plugin"),
        (r#"import "a" as $a; $a"#, "`program`, line 1, column 9: modules are not available in a plugin"),
    ] {
        assert_eq!(refused(program), message, "{program}");
    }
    let error = Harness::<Jq>::new(r#"{"program":".","key":".a."}"#, &PORTS).unwrap_err();
    assert!(error.starts_with("`key`, line 1, column 4: "), "{error}");
}

#[test]
fn features_that_a_plugin_lacks_are_refused_by_name() {
    for name in [
        "input",
        "inputs",
        "env",
        "$ENV",
        "now",
        "localtime",
        "input_filename",
        "input_line_number",
        "debug",
        "stderr",
        "halt",
        "halt_error",
        "strflocaltime(\"%Y\")",
        "debug(1)",
        "halt_error(1)",
        "get_search_list",
    ] {
        let message = refused(&format!(". | {name}"));
        let name = name.split('(').next().unwrap();
        assert_eq!(message, format!("`program`, line 1, column 5: `{name}` is not available in a plugin"));
    }
    check("def now: 5; now", "1", &["5"]);
}

#[test]
fn invalid_settings_are_refused() {
    for (settings, part) in [
        ("{}", "missing field `program`"),
        (r#"{"program":".","prot":"."}"#, "unknown field `prot`"),
        (r#"{"program":1}"#, "expected a string"),
        (r#"{"program":""}"#, "`program`, line 1, column 1: expected term, found the end"),
    ] {
        let error = Harness::<Jq>::new(settings, &PORTS).unwrap_err();
        assert!(error.contains(part), "{settings}: {error}");
    }
}
