//! `[on_error]` and failed records, and timeouts that depend on each other.

use super::and;
use super::check;
use super::ok;
use super::titles;
use super::with;
use crate::partition::OnFailure;
use crate::sink::Dialect;

#[test]
fn failed_records_stop_the_pipeline_or_are_dead_lettered_or_skipped() {
    let policy = |more: &str| {
        let pipeline = ok(&and(&format!("[on_error]\n{more}")));
        (pipeline.policy.general.then, pipeline.kafka.dead_letter.and_then(|output| output.topic), pipeline.dialect)
    };
    let dead = Some("orders.dead".to_owned());
    assert_eq!(policy(""), (OnFailure::Stop, None, Dialect::Streams));
    assert_eq!(policy("then = \"skip\""), (OnFailure::Skip, None, Dialect::Streams));
    assert_eq!(policy("dead_letter = \"orders.dead\""), (OnFailure::DeadLetter, dead.clone(), Dialect::Streams));
    let both = "then = \"dead_letter\"\ndead_letter = \"orders.dead\"\ndialect = \"connect\"";
    assert_eq!(policy(both), (OnFailure::DeadLetter, dead, Dialect::Connect));
}

#[test]
fn max_reject_share_is_converted_to_a_number_of_the_last_two_hundred_records() {
    let rejects =
        |share: &str| ok(&and(&format!("[on_error]\nthen = \"skip\"\nmax_reject_share = {share}"))).policy.rejects_max;
    let shares = ["0.5", "0.29", "0.999", "0.005", "0.004", "1e-9"];
    assert_eq!(shares.map(rejects), [100, 58, 199, 1, 0, 0].map(Some));
    assert_eq!(ok(&and("[on_error]\nthen = \"skip\"")).policy.rejects_max, None, "it is off");
}

#[test]
fn dead_letters_need_a_topic_of_their_own() {
    check(
        &and("[on_error]\nthen = \"skip\"\ndead_letter = \"orders.dead\""),
        r#"
error: `then` is `skip`, so nothing would be written to the topic of `dead_letter`
  --> orders.toml:10:8
   |
10 | then = "skip"
   |        ^^^^^^
help: remove one of the two: without `then`, records that fail permanently go to that topic
"#,
    );
    for (more, title) in [
        ("then = \"dead_letter\"", "`on_error.dead_letter` is missing"),
        (
            "then = \"stop\"\ndead_letter = \"dead\"",
            "`then` is `stop`, so nothing would be written to the topic of `dead_letter`",
        ),
        ("dialect = \"connect\"", "`dialect` applies to dead letters, and this pipeline writes none"),
        ("dead_letter = \"dead\"\ndialect = \"flink\"", "`dialect`: `flink` is not a known value"),
        ("dead_letter = \"__dead\"", "`__dead` is a reserved name"),
        ("dead_letter = \"orders\"", "`dead_letter` is `orders`, which the input reads"),
        ("dead_letter = \"orders.clean\"", "`dead_letter` is `orders.clean`, which output `main` writes"),
    ] {
        titles(&and(&format!("[on_error]\n{more}")), &[title]);
    }
    let pattern =
        with("topics = [\"orders\"]", "topics = [\"^orders\\\\.d.*\"]") + "[on_error]\ndead_letter = \"orders.dead\"\n";
    titles(&pattern, &["`dead_letter` is `orders.dead`, which the input reads by `^orders\\.d.*`"]);
}

#[test]
fn timeouts_must_be_consistent() {
    let step = "the timeout of step `mask` is not below `limits.drain_timeout`";
    titles(&with("wasm =", "timeout = \"5s\"\nwasm ="), &[step]);
    titles(&and("[limits]\ndrain_timeout = \"1s\""), &[step]);
    ok(&with("wasm =", "timeout = \"4999ms\"\nwasm ="));
    let drain = "`limits.drain_timeout` is not below a third of `input.max_poll_interval`";
    titles(&and("[limits]\ndrain_timeout = \"100s\""), &[drain]);
    ok(&and("[limits]\ndrain_timeout = \"99s\""));
    let short = with("topics", "session_timeout = \"6s\"\nmax_poll_interval = \"15s\"\ntopics");
    titles(&short, &[drain]);
}
