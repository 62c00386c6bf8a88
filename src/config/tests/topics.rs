//! `topics_allowed` of outputs: its globs, what they may match, and what a policy permits.

use super::policy::judge;
use super::windows::STEP;
use super::windows::windowed;
use super::*;

/// The smallest file whose output allows these topics, and has no other.
fn allowing(globs: &str) -> String {
    with("topic = \"orders.clean\"", &format!("topics_allowed = {globs}"))
}

#[test]
fn records_may_name_topics_beside_the_outputs_topic_or_in_its_place() {
    let both = ok(&and("topics_allowed = [\"rows.*\", \"audit\"]"));
    assert_eq!(both.kafka.outputs[0].topic.as_deref(), Some("orders.clean"));
    let globs: Vec<&str> = both.routes.allowed(0).iter().map(glob::Pattern::as_str).collect();
    assert_eq!(globs, ["rows.*", "audit"]);
    assert_eq!(both.topics_by_name().collect::<Vec<_>>(), ["audit"]);
    let only = ok(&allowing("[\"rows.*\"]"));
    assert_eq!((only.kafka.outputs[0].topic.as_deref(), only.kafka.topics_written().count()), (None, 0));
    assert_eq!(only.kafka.named_topics_max(), 999);
    assert!(ok(SMALLEST).routes.allowed(0).is_empty());
}

#[test]
fn a_glob_that_is_wrong_or_matches_what_the_input_reads_is_refused_at_its_place() {
    let pattern = |globs: &str| allowing(globs).replace("[\"orders\"]", r"['^orders\.[0-9]+$']");
    for (text, message) in [
        (allowing("[]"), "`topics_allowed` is empty, so no topic may be named"),
        (allowing("[\"rows.[a\"]"), "`rows.[a` is not a glob: invalid range pattern at character 6"),
        (allowing("[\"^rows\"]"), "`^rows` is not a glob: it looks like a regular expression"),
        (
            allowing("[\"rows.*\", \"ord*\"]"),
            "output `main` may write the topic `orders` by `ord*`, which the input reads",
        ),
        (allowing("[\"orders\"]"), "output `main` may write the topic `orders` by `orders`, which the input reads"),
        (
            pattern("[\"*.7?\"]"),
            r"output `main` may write topics of `^orders\.[0-9]+$` by `*.7?`, which the input reads",
        ),
    ] {
        titles(&text, &[message]);
    }
    assert!(Case::new().load(pattern("[\"orders.a*\", \"*.[!0-9]*\"]")).is_ok());
    let report = Case::new().report(&allowing("[\"rows.*\", \"ord*\"]"));
    assert!(report.contains("orders.toml:8:29"), "{report}");
}

#[test]
fn late_records_and_results_of_functions_need_a_topic_of_the_output() {
    let text = windowed(STEP);
    let late = format!("{text}[output.late]\ntopics_allowed = [\"rows.*\"]\n");
    titles(
        &late,
        &["output `late` has no `topic`, and records that are late for their windows go there, which name none"],
    );
    let main = text.replace("topic = \"orders.clean\"", "topics_allowed = [\"rows.*\"]");
    titles(&main, &["output `main` has no `topic`, and the results of windows go there, which name none"]);
}

#[test]
fn a_policy_permits_a_glob_whose_topics_it_permits_all() {
    for (globs, refused) in [
        (r#"["orders.clean.*", "shared", "orders.[ab]"]"#, &[][..]),
        (r#"["orders*"]"#, &["orders*"]),
        (r#"["orders.x*", "[!r]*"]"#, &["[!r]*"]),
        (r#"["share?"]"#, &["share?"]),
    ] {
        let report = judge(&format!("topics_allowed = {globs}"));
        let found = report.matches("writing all topics of").count();
        assert_eq!(found, refused.len(), "{globs}: {report}");
        for glob in refused {
            assert!(
                report.contains(&format!("output `main`: writing all topics of `{glob}` is not permitted")),
                "{report}"
            );
            assert!(report.contains("`topics.write` permits `orders.*`, `shared`"), "{report}");
        }
    }
}
