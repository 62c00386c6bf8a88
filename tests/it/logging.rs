//! The log of a process whose stderr is slow, blocked or closed: records flow, and a shutdown ends nevertheless.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use crate::support::component;
use crate::support::java;
use crate::support::java::Raw;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(90);
/// The end waits a short time for the last lines.
const ENDED: Duration = Duration::from_secs(15);
/// The number of records, about each of which the plugin logs lines.
const RECORDS: usize = 2000;

struct Case {
    input: String,
    group: String,
    pipeline: Pipeline,
}

impl Case {
    fn new() -> Case {
        let input = java::create("log-in", 1, &[]);
        let output = java::create("log-out", 1, &[]);
        let group = unique("log");
        let pipeline = Pipeline::new(&input, &output, &group, "");
        pipeline.install(&component::faulty());
        Case { input, group, pipeline }
    }

    /// Produces records, and waits until all records so far are committed.
    fn flow(&self, process: &mut Process) {
        let record = Raw { value: Some(b"log".to_vec()), ..Raw::default() };
        let first = java::produce(&self.input, 0, &vec![record; RECORDS]);
        let all = first + i64::try_from(RECORDS).unwrap();
        process.wait("records to flow", LIMIT, |_| java::committed(&self.group, &self.input) == [all]);
    }
}

#[test]
fn records_flow_and_a_shutdown_ends_although_the_log_is_not_read() {
    let case = Case::new();
    let mut process = case.pipeline.run_unread();
    process.ready();
    case.flow(&mut process);
    assert_eq!(process.get("/livez").map(|(status, _)| status), Some(200));
    process.terminate();
    assert_eq!(process.exit(ENDED), Some(0));
}

#[test]
fn records_flow_and_a_shutdown_ends_although_the_log_is_closed() {
    let case = Case::new();
    let mut process = case.pipeline.run_unread();
    process.close_log();
    process.ready();
    case.flow(&mut process);
    process.wait("lines to be lost", LIMIT, |process| {
        process.metric("wasmill_log_lines_dropped_total").is_some_and(|dropped| dropped > 0.0)
    });
    process.terminate();
    assert_eq!(process.exit(ENDED), Some(0));
}
