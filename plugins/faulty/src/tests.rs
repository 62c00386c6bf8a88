//! The failures that don't end the process; the host's tests cover the others.

use std::time::Duration;

use wasmill_sdk::Failure;
use wasmill_sdk::log::Level;
use wasmill_sdk::testing::Harness;
use wasmill_sdk::testing::Input;
use wasmill_sdk::testing::Tested;

use super::Faulty;

fn faulty() -> Harness<Faulty> {
    Harness::new("{}", &["main"]).unwrap()
}

fn run(value: &str) -> Tested {
    faulty().run_one(Input::value(value))
}

fn outputs(value: &str) -> usize {
    run(value).unwrap().len()
}

#[test]
fn forwards_other_values() {
    assert_eq!(run("{}").unwrap()[0].value.as_deref(), Some(&b"{}"[..]));
    assert_eq!(faulty().run_one(Input::tombstone()).unwrap().len(), 1);
    assert_eq!(outputs(""), 1);
}

#[test]
fn emits_as_many_outputs_as_told() {
    assert_eq!((outputs("emit 3"), outputs("emit 0"), outputs("drop"), outputs("busy 5")), (3, 0, 0, 1));
    assert_eq!(run("port 4").unwrap()[0].port, 4);
}

#[test]
fn rejects_and_retries_as_told() {
    assert_eq!(run("reject").unwrap_err(), wasmill_sdk::reject("told-to", "told to reject"));
    assert_eq!(run("reject no-luck").unwrap_err(), wasmill_sdk::reject("no-luck", "told to reject"));
    assert_eq!(run("retry 1").unwrap_err(), wasmill_sdk::retry("told to retry"));
    let delay = Some(Duration::from_millis(40));
    assert_eq!(run("retry 1 40").unwrap_err(), Failure::Retry { delay, reason: "told to wait".to_owned() });
    assert_eq!(faulty().run_one(Input::value("retry 1").attempt(1)).unwrap().len(), 1);
}

#[test]
fn an_error_fails_the_whole_call_and_discards_its_counts() {
    let mut faulty = faulty();
    let call = faulty.run([Input::value("count 5"), Input::value("error")]);
    assert_eq!(call.unwrap_err(), "told to fail");
    faulty.run([Input::value("count 2"), Input::value("count 3"), Input::value("reject")]).unwrap();
    assert_eq!(faulty.counter("told"), 5);
}

#[test]
fn logs_at_each_level() {
    let mut faulty = faulty();
    faulty.run_one(Input::value("log")).unwrap();
    let levels: Vec<Level> = faulty.logs().into_iter().map(|(level, _)| level).collect();
    assert_eq!(levels, [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error]);
}

#[test]
fn fails_at_the_start_as_told() {
    assert_eq!(Harness::<Faulty>::new(r#"{"init":"error"}"#, &["main"]).unwrap_err(), "told to fail at the start");
}

#[test]
#[should_panic(expected = "told to trap at offset 1 in company")]
fn trap_late_traps_after_the_first_record() {
    let mut faulty = faulty();
    assert_eq!(faulty.run_one(Input::value("trap-late")).unwrap().len(), 1);
    let _ = faulty.run_one(Input::value("trap-late"));
}
