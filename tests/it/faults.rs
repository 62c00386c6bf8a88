//! A plugin that misbehaves on one record among thousands: the pipeline stops at that record with one message, everything
//! below is delivered and committed, nothing from there on is, and a fixed plugin continues from there.

use std::time::Duration;

use crate::support::component;
use crate::support::component::Behaviour;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::java::Reader;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const RECORDS: u64 = 4000;
const PARTITION: usize = 1;
const OFFSET: i64 = 1234;
const LIMIT: Duration = Duration::from_secs(60);

/// A name, a behaviour, and what the message must contain.
pub(crate) type Case = (&'static str, Behaviour, &'static str);

const fn before(name: &'static str, code: &'static str, says: &'static str) -> Case {
    (name, Behaviour { before: code, after: "" }, says)
}

pub(crate) const fn after(name: &'static str, code: &'static str, says: &'static str) -> Case {
    (name, Behaviour { before: "", after: code }, says)
}

pub(crate) const FAULTS: [Case; 6] = [
    before("a trap", "unreachable", "unreachable"),
    before("a loop for ever", "(loop $ever (br $ever))", "its timeout of 1s"),
    before("growth without end", "(loop $ever (drop (memory.grow (i32.const 16))) (br $ever))", "its timeout of 1s"),
    before(
        "growth until it is refused",
        "(loop $ever (br_if $ever (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
        "memory",
    ),
    before("recursion", "(drop (call $recurse (i32.const 0)))", "stack"),
    after(
        "a reject",
        "(call $drop_output (local.get $counts) (local.get $bad)) (call $reject (local.get $bad))",
        "planted reason",
    ),
];

/// Every way in which an outcome can be malformed; $own and the functions are those of `tests/plugins/odd_record.wat`.
pub(crate) const MALFORMED: [Case; 29] = [
    after("fewer counts", "(call $lengthen (global.get $counts_at) (i32.const -1))", "counts"),
    after("more counts", "(call $lengthen (global.get $counts_at) (i32.const 1))", "counts"),
    after(
        "a count without outputs",
        "(i32.store (i32.add (local.get $counts) (i32.shl (local.get $bad) (i32.const 2))) (i32.const -1))",
        "outputs",
    ),
    after(
        "too many ports",
        "(call $list (global.get $ports_at) (global.get $zeros) (i32.add (local.get $n) (i32.const 1)))",
        "ports",
    ),
    after("a port that isn't there", "(call $list (global.get $ports_at) (local.get $counts) (local.get $n))", "port"),
    after(
        "too many partitions",
        "(call $list (global.get $partitions_at) (global.get $zeros) (i32.add (local.get $n) (i32.const 1)))",
        "partitions",
    ),
    after(
        "a partition below -1",
        "(call $list (global.get $partitions_at) (local.get $layout) (local.get $n))",
        "partition",
    ),
    after(
        "too many timestamps",
        "(call $list (global.get $timestamps_at) (global.get $zeros) (i32.add (local.get $n) (i32.const 1)))",
        "timestamps",
    ),
    after(
        "a timestamp below -1",
        "(call $list (global.get $timestamps_at) (local.get $layout) (local.get $n))",
        "timestamp",
    ),
    after("a layout that ends early", "(call $lengthen (global.get $layout_at) (i32.const -1))", "layout"),
    after("a layout that goes on", "(call $lengthen (global.get $layout_at) (i32.const 1))", "layout"),
    after("data left over", "(call $list (global.get $data_at) (global.get $zeros) (i32.const 5))", "data"),
    after("a key's length of -3", "(i32.store (local.get $own) (i32.const -3))", "key"),
    after("a value's length of -3", "(i32.store offset=4 (local.get $own) (i32.const -3))", "value"),
    after("-1 headers", "(i32.store offset=8 (local.get $own) (i32.const -1))", "header"),
    after("-3 headers", "(i32.store offset=8 (local.get $own) (i32.const -3))", "header"),
    after("a million headers", "(i32.store offset=8 (local.get $own) (i32.const 1000000))", "header"),
    after(
        "a header's name that is null",
        "(call $header (local.get $own) (i32.sub (i32.sub (local.get $n) (local.get $bad)) (i32.const 1)) (i32.const -1) (i32.const 0))",
        "header",
    ),
    after(
        "a header's name as in the record",
        "(call $header (local.get $own) (i32.sub (i32.sub (local.get $n) (local.get $bad)) (i32.const 1)) (i32.const -2) (i32.const 0))",
        "header",
    ),
    after(
        "a header's value as in the record",
        "(call $header (local.get $own) (i32.sub (i32.sub (local.get $n) (local.get $bad)) (i32.const 1)) (i32.const 0) (i32.const -2))",
        "header",
    ),
    after("more bytes than there are", "(i32.store (local.get $own) (i32.const 7))", "data"),
    after("a failure of no record", "(call $reject (local.get $n))", "fail"),
    after("a failure of a record with outputs", "(call $reject (local.get $bad))", "fail"),
    after(
        "a failure listed twice",
        "(call $drop_output (local.get $counts) (local.get $bad)) \
         (call $reject (local.get $bad)) \
         (memory.copy (i32.const 3096) (global.get $failure) (i32.const 24)) \
         (call $lengthen (global.get $failures_at) (i32.const 1))",
        "fail",
    ),
    after(
        "a pointer out of bounds",
        "(call $list (global.get $counts_at) (i32.const -65536) (local.get $n))",
        "bounds",
    ),
    after("a tag that isn't there", "(i32.store8 (global.get $answer) (i32.const 9))", "discriminant"),
    after(
        "more bytes by reference than may be sent",
        "(local.set $layout (call $alloc (i32.const 12000000))) \
         (local.set $i (i32.const 0)) \
         (loop $more \
           (i32.store (i32.add (local.get $layout) (i32.shl (local.get $i) (i32.const 2))) (i32.const -2)) \
           (local.set $i (i32.add (local.get $i) (i32.const 1))) \
           (br_if $more (i32.lt_u (local.get $i) (i32.const 2990000)))) \
         (call $list (global.get $layout_at) (local.get $layout) \
           (i32.mul (i32.add (local.get $n) (i32.const 899999)) (i32.const 3))) \
         (i32.store (i32.add (local.get $counts) (i32.shl (local.get $bad) (i32.const 2))) (i32.const 900000))",
        "67108864",
    ),
    after(
        "lists that lie in the same bytes",
        "(drop (memory.grow (i32.const 930))) \
         (call $list (global.get $data_at) (i32.const 0) (i32.const 60000000)) \
         (call $list (global.get $layout_at) (i32.const 0) (i32.const 15000000))",
        "more data than one call may return",
    ),
    after("an error that isn't UTF-8", "(call $error (i32.const 538) (i32.const 2))", "utf-8"),
];

#[test]
fn a_plugin_that_misbehaves_stops_the_pipeline_at_its_record() {
    for case in FAULTS {
        stops_and_goes_on(case);
    }
}

#[test]
fn a_malformed_outcome_stops_the_pipeline_at_its_record() {
    for case in MALFORMED {
        stops_and_goes_on(case);
    }
}

#[test]
fn an_error_for_the_whole_batch_stops_the_pipeline_at_its_record() {
    let error = "(call $error (i32.const 524) (i32.const 14))";
    stops_and_goes_on(after("an error", error, "planted reason"));
}

fn stops_and_goes_on((name, behaviour, says): Case) {
    let input = java::create("fault-in", 2, &[]);
    let output = java::create("fault-out", 2, &[]);
    let group = unique("fault");
    let feed = Feed::fill(&input, RECORDS);
    let fed = feed.stop();
    let reader = Reader::start(&output);
    // As much of one record as of a call: its own bounds have tests of their own.
    let bounds = "outputs_per_record = 1000000\noutput_bytes_per_record = \"64 MiB\"";
    let often = &format!("[limits]\ncommit_every = \"100ms\"\n{bounds}");
    let pipeline = Pipeline::with_step(&input, &output, &group, often, "timeout = \"1s\"");
    pipeline.install(&component::with(PARTITION, OFFSET, behaviour));

    let mut process = pipeline.run();
    assert_eq!(process.exit(LIMIT), Some(1), "{name}");
    names_the_record(&process, name, &input, says);
    let committed = java::committed(&group, &input);
    let tally = reader.tally();
    assert_eq!(committed[PARTITION], OFFSET, "{name}: everything below is committed, nothing at or above");
    assert_eq!(tally.heights[PARTITION], OFFSET, "{name}: everything below is delivered, nothing at or above");
    assert_eq!(i64::try_from(tally.fresh).ok(), Some(tally.heights.iter().sum()), "{name}: there is no gap");
    // The records in flight of the other partition are finished, so the group continues exactly after its last delivered
    // record.
    assert_eq!(committed[1 - PARTITION].max(0), tally.heights[1 - PARTITION], "{name}");

    pipeline.install(&component::forward());
    let mut process = pipeline.run();
    process.wait("the rest to be committed", LIMIT, |_| java::committed(&group, &input) == fed);
    let tally = reader.tally();
    assert_eq!(reader.missing(&feed), (0, String::new()), "{name}");
    assert_eq!((tally.repeats, tally.disorder, tally.foreign), (0, 0, 0), "{name}");
}

/// A single message names the record's position, the step, the reason and the possible fixes.
fn names_the_record(process: &Process, name: &str, input: &str, says: &str) {
    let log = process.log();
    let place = [input, &OFFSET.to_string(), "step `step-one`"];
    let messages: Vec<&str> = log.lines().filter(|line| place.iter().all(|word| line.contains(word))).collect();
    assert_eq!(messages.len(), 1, "{name}: one message names the record; the log:\n{log}");
    assert!(messages[0].contains(says), "{name}: the message has no {says:?}: {}", messages[0]);
}
