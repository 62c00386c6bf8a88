//! The whole exposition as a committed text, and docs/metrics.md, generated from it and from the guide below.
//!
//! Names, types, labels, buckets and help are public, so every change shows up in a diff. `WASMILL_BLESS=1 cargo test --lib
//! metrics` rewrites both files. The tests check that the guide says for every metric what to do with it, and that every metric
//! named in the alerts exists.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::Metrics;
use super::State;

const EXPOSITION: &str = "src/metrics/exposition.txt";
const DOCUMENT: &str = "docs/metrics.md";
const ALERTS: &str = "deploy/prometheus/alerts.yaml";

/// A section of the document: its title, its introduction, and for each metric what to do with it.
type Section = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const GUIDE: &[Section] = &[
    (
        "Health",
        "Look at these first, in this order.",
        &[
            (
                "wasmill_pipeline_state",
                "Alert on `failed`, and on any state but `running` that lasts. `waiting` means that brokers are unavailable \
                 or refuse the credentials; `halted` needs a person. `/readyz?verbose` says why.",
            ),
            (
                "wasmill_ready",
                "If it is 0 for minutes, `/readyz?verbose` says why. A load balancer would see the same.",
            ),
            (
                "wasmill_consumer_lag_seconds",
                "The lag that users notice. Alert on the age that they would notice; it doesn't depend on the rate of records.",
            ),
            (
                "wasmill_consumer_lag_records",
                "Alert on growth, not on a number. It is at most 10 s old. A partition's series ends when another process \
                 gets the partition.",
            ),
            (
                "wasmill_records_processed_total",
                "The rate of the pipeline by outcome. A `failed` record stopped the pipeline: the log names it.",
            ),
            (
                "wasmill_in_flight_records",
                "If it stays near its limit, the plugin or the output is slower than the input.",
            ),
            ("wasmill_in_flight_records_limit", "`limits.max_in_flight.records`."),
            ("wasmill_in_flight_bytes", "The same for bytes."),
            ("wasmill_in_flight_bytes_limit", "`limits.max_in_flight.bytes`."),
            (
                "wasmill_retry_age_seconds",
                "It grows while a record is retried and its partition waits: `/readyz?verbose` and the log name the \
                 record and the plugin's reason.",
            ),
            ("wasmill_retrying_strands", "With `order = \"partition\"` a partition is one strand."),
            (
                "wasmill_gap_records",
                "Only with `order = \"key\"` or `\"none\"`. They count as in flight, and a crash repeats them; with exactly-once \
                 delivery their outputs wait with them.",
            ),
            ("wasmill_gap_age_seconds", "It grows while a record is retried or runs for long, and others pass it."),
            (
                "wasmill_waiting_seconds_total",
                "`in_flight` grows under back-pressure: Steps and Output show which of them is slow. `retry` counts waits \
                 before retries of records and after failed deliveries. `rate` grows while `limits.records_per_second` holds the \
                 reading back, and `memory` while little is left of `[limits] memory` in `wasmill.toml`.",
            ),
            (
                "wasmill_dead_letters_total",
                "A person has to look at each of these records: its headers say where it was read, why it failed and in which \
                 step.",
            ),
            (
                "wasmill_retries_total",
                "`step`: the plugin asked for a retry, often because something that it needs is unavailable. `produce`: \
                 deliveries fail; look at the log.",
            ),
        ],
    ),
    (
        "Input",
        "",
        &[
            (
                "wasmill_records_consumed_total",
                "The rate of reading. It is far above the rate of processing when records are read again after a failed \
                 delivery.",
            ),
            ("wasmill_bytes_consumed_total", "Divide by the number of records for their mean size."),
            (
                "wasmill_records_missed_total",
                "Above 0, data was lost: the pipeline was down for longer than the retention time.",
            ),
            (
                "wasmill_partitions_recreated_total",
                "Above 0, an input topic was deleted and created again. Records of the old topic that had not been read are \
                 lost.",
            ),
            (
                "wasmill_assigned_partitions",
                "The sum over the processes of a group is the number of partitions of its topics.",
            ),
            (
                "wasmill_rebalances_total",
                "A few with every deployment are normal. If there are many, members come and go: raise \
                 `input.session_timeout`. `lost`: this process sent no heartbeat for too long, and records are repeated.",
            ),
            (
                "wasmill_commits_total",
                "`error`: records delivered since the last successful commit would be repeated after a crash.",
            ),
            (
                "wasmill_transactions_total",
                "`aborted` counts transactions that failed or whose outcome is unknown: their \
                 records are processed again, and readers of committed records see each output once.",
            ),
            ("wasmill_commit_duration_seconds", "Slow commits make rebalances slow: look at the group's coordinator."),
        ],
    ),
    (
        "Steps",
        "",
        &[
            ("wasmill_step_records_in_total", "The rate of a step."),
            (
                "wasmill_step_records_out_total",
                "Divided by the records in, it shows how much a step filters or multiplies.",
            ),
            (
                "wasmill_step_duration_seconds",
                "The rate of the sum is the number of cores that the plugin uses. Near `limits.parallelism`, the plugin is \
                 the bottleneck.",
            ),
            (
                "wasmill_step_batch_records",
                "If batches are full under load and the plugin is fast, raise `batch`. If calls are slow, lower it: a call \
                 must end within `timeout`.",
            ),
            (
                "wasmill_step_errors_total",
                "`reject` and `retry` are the plugin's verdicts on a record; all other kinds are faults of the plugin itself.",
            ),
        ],
    ),
    (
        "Output",
        "",
        &[
            ("wasmill_records_produced_total", "The rate of writing."),
            (
                "wasmill_topic_records_produced_total",
                "Only of outputs whose plugin named the topic (`topics_allowed`): which topics get how much.",
            ),
            ("wasmill_bytes_produced_total", "Divide by the number of records for their mean size."),
            (
                "wasmill_produce_duration_seconds",
                "Above some hundred milliseconds, the output's brokers are slow or throttle.",
            ),
            (
                "wasmill_produce_errors_total",
                "`code` is Kafka's. After such an error the records are sent again; an error of the record itself goes to \
                 `[on_error]`.",
            ),
            (
                "wasmill_record_duration_seconds",
                "How long a record takes: it waits for its batch, the steps and the brokers.",
            ),
            (
                "wasmill_record_age_seconds",
                "The end-to-end delay since the record's own timestamp, as a reader of the output sees it.",
            ),
        ],
    ),
    (
        "Brokers",
        "",
        &[
            (
                "wasmill_kafka_connected_brokers",
                "0 means that no broker can be reached. A frozen broker still counts as connected.",
            ),
            ("wasmill_kafka_errors_total", "`code` is librdkafka's. librdkafka recovers from most of them by itself."),
        ],
    ),
    (
        "Plugins",
        "",
        &[
            (
                "wasmill_plugin_info",
                "Shows which version runs where. `version` is empty if the plugin has no version in its manifest; `digest` is \
                 always set.",
            ),
            (
                "wasmill_plugin_instances",
                "One for each executor. If there are fewer, an instance faulted and could not be replaced.",
            ),
            (
                "wasmill_plugin_memory_bytes",
                "Divide by the limit and by the instances. Near 1, the plugin will soon be refused memory.",
            ),
            ("wasmill_plugin_memory_limit_bytes", "`memory` of the step."),
            (
                "wasmill_plugin_instantiations_total",
                "`trap`: the plugin faulted, and its new instance lost what was in memory.",
            ),
            (
                "wasmill_plugin_reloads_total",
                "`failed`: the old version keeps running; the log and `/readyz?verbose` have the reason.",
            ),
            ("wasmill_plugin_swap_seconds", "No record waits longer than this for a swap."),
            (
                "wasmill_pipeline_restarts_total",
                "If it grows, the pipeline fails again and again: `/readyz?verbose` has the reason.",
            ),
            ("wasmill_config_reloads_total", "`failed`: nothing has changed; the pipeline keeps running as it was."),
            ("wasmill_config_last_reload_successful", "While it is 0, the running pipeline differs from the files."),
            ("wasmill_plugin_compile_seconds", "This is most of the time from the start until the pipeline is ready."),
            ("wasmill_plugin_logs_total", "At most 100 lines a second are written for each step; all are counted."),
            (
                "wasmill_plugin_http_requests_total",
                "`response` whatever its status; `refused`: `allow.http` doesn't list it, and the plugin's log says what; `failed`: the server \
                 isn't reached, or is too slow.",
            ),
            (
                "wasmill_plugin_custom_total",
                "The plugin defines their meaning. Names are lower case, at most 50 for a step.",
            ),
            ("wasmill_plugin_custom", "The same for values; the buckets are powers of ten."),
            (
                "wasmill_metric_series_dropped_total",
                "Above 0, the plugin probably makes names from data, such as a record's key.",
            ),
        ],
    ),
    (
        "Process",
        "These metrics have no label `pipeline`. The names `process_*` are those that every Prometheus client uses.",
        &[
            ("wasmill_build_info", "Shows which build runs where."),
            (
                "wasmill_log_lines_dropped_total",
                "The reader of the log is too slow, or gone. Records are still processed.",
            ),
            ("wasmill_trace_spans_exported_total", "0 without a collector, see tracing.md."),
            (
                "wasmill_trace_spans_dropped_total",
                "The collector is slow or gone, or too many records are sampled. Records are still processed.",
            ),
            (
                "wasmill_http_streams_dropped_total",
                "Somebody's `wasmill logs -f`, `wasmill tap` or page has stopped reading, and was disconnected after half a \
                 minute. Records are still processed.",
            ),
            (
                "wasmill_process_memory_bytes",
                "What plugins and state hold doesn't fall while records are processed: close to the limit, everything is slow.",
            ),
            (
                "wasmill_process_memory_limit_bytes",
                "Above nine tenths of it, each pipeline reads only a little at a time.",
            ),
            ("process_cpu_seconds_total", "The rate is the number of cores in use."),
            (
                "process_resident_memory_bytes",
                "Bounded by the limits of records and bytes in flight, the plugins' memory and the client's queues.",
            ),
            ("process_virtual_memory_bytes", "Large and harmless: WebAssembly memories reserve addresses."),
            ("process_open_fds", "Mostly connections."),
            ("process_max_fds", "What the system allows."),
            ("process_threads", "Constant while the process runs, except for new connections."),
            ("process_start_time_seconds", "A change means that the process was restarted."),
        ],
    ),
];

/// A metric as it appears in the exposition.
#[derive(Debug, Default)]
struct Family {
    help: String,
    kind: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// Metrics in which every possible series exists.
fn filled() -> std::sync::Arc<Metrics> {
    let metrics = Metrics::new("orders", &["mask"], &["main"]);
    metrics.set_librdkafka("2");
    metrics.add_topic("in");
    metrics.set_lag("in", 0, 1);
    metrics.set_lag_seconds("in", 1.0);
    metrics.set_state(State::Running);
    metrics.set_plugin_info("mask", "mask", "0.1.0", "0123456789ab");
    metrics.set_plugin_limits("mask", 1, Duration::from_secs(1));
    metrics.produce_errors.with_label_values(&["main", "msg_size_too_large"]).inc();
    metrics.plugin_http_requests.with_label_values(&["mask", "response"]).inc();
    metrics.kafka_errors.with_label_values(&["_TRANSPORT"]).inc();
    metrics.count("mask", "seen", 1);
    metrics.count_topic("main", "rows.eu", 1);
    metrics.observe("mask", "size", 1.0);
    metrics
}

/// The exposition without values and without the versions of the build.
fn exposition() -> String {
    let mut text = String::new();
    for line in filled().exposition().lines() {
        let series = match line.rsplit_once(' ') {
            Some((series, _)) if !line.starts_with('#') => series,
            Some(_) | None => line,
        };
        if series.starts_with("wasmill_build_info{") {
            text.push_str("wasmill_build_info{librdkafka=\"\",revision=\"\",version=\"\",wasmtime=\"\"}");
        } else {
            text.push_str(series);
        }
        text.push('\n');
    }
    text
}

fn families(exposition: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in exposition.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            current = name.to_owned();
            families.entry(current.clone()).or_default().help = help.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            families.get_mut(&current).unwrap().kind = rest.split(' ').nth(1).unwrap().to_owned();
        } else {
            assert!(line.starts_with(&current), "{line} is not of {current}");
            let labels = line.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
            for pair in labels.split(',').filter(|pair| !pair.is_empty()) {
                let (name, value) = pair.split_once('=').unwrap();
                let value = value.trim_matches('"').to_owned();
                families.get_mut(&current).unwrap().labels.entry(name.to_owned()).or_default().insert(value);
            }
        }
    }
    families
}

fn document(exposition: &str) -> String {
    let mut left = families(exposition);
    let mut text = String::from(
        "# Metrics\n\nThis page is generated from the code by `WASMILL_BLESS=1 cargo test --lib metrics`; a test checks that \
         it is current.\n\
         [operations.md](operations.md#alerts) has the alerts that use them.\n\n\
         Every series has the label `pipeline`, unless stated otherwise. A series whose labels are known at the start exists from \
         then on, with the value 0.\nThe series of a topic that a pattern finds begin when it is found. Those with a `code` or a \
         plugin's `name`, and those of its requests, begin with the first event.\n",
    );
    for (title, intro, metrics) in GUIDE {
        text.push_str(&format!("\n## {title}\n\n"));
        if !intro.is_empty() {
            text.push_str(&format!("{intro}\n\n"));
        }
        text.push_str("| metric | type | labels | meaning | what to do with it |\n|---|---|---|---|---|\n");
        for (name, advice) in *metrics {
            let family = left.remove(*name).unwrap_or_else(|| panic!("the guide names {name}, which isn't exposed"));
            let label = |(label, values): (&String, &BTreeSet<String>)| {
                let values: Vec<&str> = values.iter().map(String::as_str).filter(|value| !value.is_empty()).collect();
                if values.len() > 1 { format!("`{label}` = {}", values.join(", ")) } else { format!("`{label}`") }
            };
            let own = |(label, _): &(&String, &BTreeSet<String>)| *label != "pipeline" && *label != "le";
            let labels: Vec<String> = family.labels.iter().filter(own).map(label).collect();
            let Family { help, kind, .. } = family;
            text.push_str(&format!("| `{name}` | {kind} | {} | {help} | {advice} |\n", labels.join("; ")));
        }
    }
    assert!(left.is_empty(), "the guide says nothing of {:?}", left.keys());
    text
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Compares a committed file with the wanted text, or writes it.
fn holds(name: &str, wanted: &str) {
    if env::var_os("WASMILL_BLESS").is_some() {
        fs::write(path(name), wanted).unwrap();
    }
    let found = fs::read_to_string(path(name)).unwrap_or_default();
    let line = found.lines().zip(wanted.lines()).position(|(found, wanted)| found != wanted);
    let line = line.unwrap_or_else(|| found.lines().count().min(wanted.lines().count()));
    assert!(
        found == wanted,
        "{name} is not current from line {} on, which has to be\n{}\nif that is meant: WASMILL_BLESS=1 cargo test --lib metrics",
        line + 1,
        wanted.lines().nth(line).unwrap_or("(the end)")
    );
}

#[test]
fn the_exposition_equals_the_committed_one() {
    holds(EXPOSITION, &exposition());
}

#[test]
fn the_document_is_current() {
    holds(DOCUMENT, &document(&exposition()));
}

#[test]
fn names_keep_prometheus_rules() {
    for (name, Family { kind, help, .. }) in families(&exposition()) {
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        let units = ["_milliseconds", "_ms", "_kb", "_mb", "_minutes"];
        assert!(!units.iter().any(|unit| name.ends_with(unit)), "{name}: seconds and bytes are the units");
        assert!(name.starts_with("wasmill_") && help.ends_with('.') || name.starts_with("process_"), "{name}: {help}");
    }
}

#[test]
fn alerts_name_existing_metrics_and_headings() {
    let alerts = fs::read_to_string(path(ALERTS)).unwrap();
    let families = families(&exposition());
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let mut named: BTreeSet<&str> = BTreeSet::new();
    let ours = ["wasmill_", "process_"];
    // Comments and texts for people don't name series.
    let expressions = alerts.lines().map(|line| line.split('#').next().unwrap_or_default());
    named.extend(expressions.flat_map(|line| line.split(word)).filter(|word| ours.iter().any(|p| word.starts_with(p))));
    assert!(named.len() > 8, "{named:?}");
    for name in named {
        let bare = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let histogram = bare.and_then(|bare| families.get(bare)).is_some_and(|family| family.kind == "histogram");
        assert!(families.contains_key(name) || histogram, "{ALERTS} names {name}, which isn't exposed");
    }
    let operations = fs::read_to_string(path("docs/operations.md")).unwrap();
    let places: Vec<&str> =
        alerts.lines().filter_map(|line| line.split_once("operations.md#")).map(|(_, at)| at).collect();
    let rules = alerts.lines().filter(|line| line.trim_start().starts_with("- alert:")).count();
    assert_eq!(places.len(), rules, "each alert says where help is");
    let address = "runbook_url: docs/operations.md#";
    assert_eq!(alerts.matches(address).count(), rules, "as a place in this source, of which nobody knows the address");
    for place in places {
        let heading =
            |line: &str| line.starts_with('#') && line.trim_start_matches(['#', ' ']).to_lowercase() == place.trim();
        assert!(operations.lines().any(heading), "docs/operations.md has no heading {place}");
    }
}

#[test]
fn the_wasmtime_version_matches_the_lock_file() {
    let lock = fs::read_to_string(path("Cargo.lock")).unwrap();
    let wanted = format!("name = \"wasmtime\"\nversion = \"{}.", super::WASMTIME);
    assert!(lock.contains(&wanted), "the label `wasmtime` of wasmill_build_info is out of date");
}
