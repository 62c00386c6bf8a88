//! The table as Prometheus scrapes it.

use super::Metrics;
use super::State;

fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = metrics.exposition();
    let line = text.lines().find_map(|line| line.strip_prefix(series))?;
    line.trim().parse().ok()
}

#[test]
fn series_known_at_the_start_exist_with_the_value_zero() {
    let metrics = Metrics::new("orders", &["mask", "route"], &["main", "late"]);
    for series in [
        r#"wasmill_records_processed_total{outcome="failed",pipeline="orders"}"#,
        r#"wasmill_records_produced_total{output="late",pipeline="orders"}"#,
        r#"wasmill_step_errors_total{kind="bad_output",pipeline="orders",step="route"}"#,
        r#"wasmill_step_duration_seconds_count{pipeline="orders",step="mask"}"#,
        r#"wasmill_waiting_seconds_total{pipeline="orders",reason="in_flight"}"#,
        r#"wasmill_plugin_instantiations_total{pipeline="orders",reason="trap",step="mask"}"#,
        r#"wasmill_commits_total{pipeline="orders",result="error"}"#,
        r#"wasmill_in_flight_bytes{pipeline="orders"}"#,
    ] {
        assert_eq!(value(&metrics, series), Some(0.0), "{series}");
    }
    assert!(value(&metrics, "process_resident_memory_bytes").unwrap() > 0.0);
}

#[test]
fn a_topic_begins_at_zero_and_a_revoked_partition_has_no_lag() {
    let metrics = Metrics::new("orders", &[], &[]);
    metrics.add_topic("in");
    assert_eq!(value(&metrics, r#"wasmill_records_consumed_total{pipeline="orders",topic="in"}"#), Some(0.0));
    let lag = r#"wasmill_consumer_lag_records{partition="3",pipeline="orders",topic="in"}"#;
    metrics.set_lag("in", 3, 17);
    assert_eq!(value(&metrics, lag), Some(17.0));
    metrics.remove_lag("in", 3);
    assert_eq!(value(&metrics, lag), None);
    metrics.remove_lag("in", 3);
    let age = r#"wasmill_consumer_lag_seconds{pipeline="orders",topic="in"}"#;
    metrics.set_lag_seconds("in", 1.5);
    assert_eq!(value(&metrics, age), Some(1.5));
    metrics.remove_lag_seconds("in");
    assert_eq!(value(&metrics, age), None);
}

#[test]
fn a_pipeline_is_in_one_state() {
    let metrics = Metrics::new("orders", &[], &[]);
    metrics.set_state(State::Starting);
    metrics.set_state(State::Running);
    let text = metrics.exposition();
    let set: Vec<&str> =
        text.lines().filter(|line| line.starts_with("wasmill_pipeline_state{") && line.ends_with(" 1")).collect();
    assert_eq!(set, [r#"wasmill_pipeline_state{pipeline="orders",state="running"} 1"#]);
}

#[test]
fn a_step_has_one_component_and_the_process_one_build() {
    let metrics = Metrics::new("orders", &["mask"], &[]);
    metrics.set_plugin_info("mask", "mask", "0.1.0", "0123456789ab");
    metrics.set_plugin_info("mask", "mask", "0.2.0", "ba9876543210");
    metrics.set_librdkafka("2.12.1");
    let text = metrics.exposition();
    let infos: Vec<&str> = text.lines().filter(|line| line.starts_with("wasmill_plugin_info{")).collect();
    assert_eq!(infos.len(), 1, "{infos:?}");
    assert!(infos[0].contains(r#"version="0.2.0""#), "{infos:?}");
    assert!(
        text.lines().any(|line| line.starts_with("wasmill_build_info{") && line.contains(r#"librdkafka="2.12.1""#))
    );
}

#[test]
fn a_guest_can_break_neither_a_sum_nor_the_exposition() {
    let metrics = Metrics::new("orders", &["mask"], &[]);
    metrics.observe("mask", "n1", f64::NAN);
    metrics.observe("mask", "n1", 4.0);
    metrics.drop_values("mask", 5);
    assert_eq!(value(&metrics, r#"wasmill_metric_series_dropped_total{pipeline="orders",step="mask"}"#), Some(5.0));
    assert_eq!(value(&metrics, r#"wasmill_plugin_custom_sum{name="n1",pipeline="orders",step="mask"}"#), Some(4.0));
}
