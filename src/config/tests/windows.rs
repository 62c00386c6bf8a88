//! Steps with windows.

use super::*;
use crate::aggregate::KeySelector;
use crate::kafka::settings::Guarantee;

/// A pipeline with windows, with more lines in its step.
pub(super) fn windowed(more: &str) -> String {
    with("wasm = \"plugins/mask.wasm\"", &format!("name = \"per-minute\"\nuse = \"std:aggregate\"\n{more}"))
}

pub(super) const STEP: &str = "window = { size = \"1m\" }\nsettings = { orders = \"count\" }\n";

#[test]
fn a_step_with_windows_delivers_exactly_once_and_has_a_changelog() {
    let pipeline = ok(&windowed(
        "key = \"json:/customer\"\nsame_partition = true\ntime = \"seconds:json:/at\"\n\
         window = { size = \"1h\", every = \"5m\", lateness = \"0s\", idle = \"never\", max_ahead = \"1m\" }\n\
         settings = { orders = \"count\", revenue = \"sum:/total\" }",
    ));
    assert!(pipeline.steps.is_empty());
    let step = pipeline.windowed.unwrap();
    assert_eq!((&*step.name, step.number), ("per-minute", 0));
    let window = step.window;
    assert_eq!((window.size(), window.every(), window.lateness()), (3_600_000, 300_000, 0));
    assert_eq!((window.idle(), window.max_ahead()), (None, 60_000));
    assert!(matches!(step.key, KeySelector::Json(_)));
    assert!(matches!(pipeline.kafka.delivery, Guarantee::ExactlyOnce { .. }));
    assert_eq!(pipeline.kafka.changelog.unwrap().topic_name(), "orders.per-minute.changelog");
    let step = ok(&windowed(STEP)).windowed.unwrap();
    assert_eq!((step.window.lateness(), step.window.idle(), step.window.max_ahead()), (10_000, Some(10_000), 600_000));
    assert_eq!((step.memory_bytes, step.create), (512 << 20, false));
    let more = format!("{}[state]\nmemory = \"1 GiB\"\ncreate = true\n", windowed(STEP));
    let step = ok(&more).windowed.unwrap();
    assert_eq!((step.memory_bytes, step.create), (1 << 30, true));
}

/// State is data: who opens the address for probes doesn't open it for state.
#[test]
fn state_is_served_where_only_this_machine_reaches_it_or_where_the_file_says_so() {
    let serves = |http: &str| ok(&format!("{}[http]\n{http}\n", windowed(STEP))).serves_state;
    assert!(serves("") && serves("listen = \"[::1]:1\"") && !serves("state = false"));
    assert!(!serves("listen = \"0.0.0.0:9108\"") && serves("listen = \"0.0.0.0:9108\"\nstate = true"));
    let pipeline = ok(&format!("{}[http]\nadvertise = \"wasmill-0.wasmill:9108\"\n", windowed(STEP)));
    assert_eq!(pipeline.kafka.advertise.as_deref(), Some("wasmill-0.wasmill:9108"));
    for (text, expected) in [
        (
            format!("{}[http]\nadvertise = \"wasmill-0\"\n", windowed(STEP)),
            "`http.advertise`: `wasmill-0` is not `host:port`",
        ),
        (
            format!("{}[http]\nadvertise = \"a:1\"\nstate = false\n", windowed(STEP)),
            "`http.advertise` sends others to this process, and `http.state` is `false`",
        ),
        (and("[http]\nadvertise = \"a:1\""), "`http.advertise` without a step with windows"),
    ] {
        let report = Case::new().load(&text).unwrap_err();
        assert!(report.findings().iter().any(|finding| finding.message.starts_with(expected)), "{report}");
    }
}

#[test]
fn mistakes_in_a_step_with_windows_are_reported_at_their_places() {
    for (text, expected) in [
        (windowed("settings = { orders = \"count\" }"), "`step.window` is missing"),
        (windowed(STEP).replace("name = \"per-minute\"\n", ""), "`step.name` is missing"),
        (windowed("window = { size = \"1m\" }"), "`std:aggregate` computes nothing"),
        (windowed(&STEP.replace("1m", "0s")), "`window.size`: `0s` is not a time of 1 ms or more"),
        (
            windowed(&STEP.replace("size = \"1m\"", "size = \"1m\", every = \"7s\"")),
            "`window`: `size` is not a multiple of `every`",
        ),
        (windowed(&STEP.replace("size", "gap")), "`window.gap`: sessions are not supported yet"),
        (
            windowed(&format!("{STEP}key = \"json:/customer\"")),
            "a `key` that is not the record's key needs `same_partition`",
        ),
        (windowed(&format!("{STEP}key = \"/customer\"")), "`key`: `/customer` has no `json:` before it"),
        (windowed(&format!("{STEP}timeout = \"1s\"")), "`timeout` is for plugins, and `std:aggregate` runs none"),
        (with("wasm =", "key = \"json:/customer\"\nwasm ="), "`key` is for steps with windows"),
        (with("wasm =", "window = { size = \"1m\" }\nwasm ="), "`step.name` is missing"),
        (
            format!("{}[[step]]\nwasm = \"plugins/mask.wasm\"\n", windowed(STEP)),
            "steps after a step with windows are not supported yet",
        ),
    ] {
        let report = Case::new().load(&text).unwrap_err();
        let found = report.findings();
        assert!(found.iter().any(|finding| finding.message == expected), "{expected}\n--- got ---\n{report}");
        assert!(found.iter().all(|finding| finding.line.is_some() && finding.help.is_some()), "{report}");
    }
}

#[test]
fn the_output_of_config_show_means_the_same_with_windows() {
    let case = Case::new();
    let text = windowed(STEP);
    let before = case.load(&text).unwrap();
    let shown = show(&case.folder.path().join("orders.toml"), &case.overrides, &|_| None).unwrap();
    assert!(shown.contains("delivery = \"exactly_once\""), "{shown}");
    let after = case.load(&shown).unwrap();
    let without_place =
        |windowed: Option<Windowed>| windowed.map(|windowed| Windowed { span: Span::START, ..windowed });
    assert_eq!(without_place(before.windowed), without_place(after.windowed));
    assert_eq!(before.kafka, after.kafka);
}
