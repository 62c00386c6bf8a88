//! The dashboard and the alerts: every metric and every label of their queries is one that running pipelines have.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;

use super::json;
use super::read;
use super::running;
use super::text;
use super::yaml;

/// What Prometheus adds to each series.
const OF_THE_TARGET: [&str; 2] = ["instance", "job"];

/// A query, and where it is.
struct Query {
    place: String,
    text: String,
}

fn dashboard() -> Value {
    json("deploy/grafana/wasmill.json")
}

/// The queries of the panels and of the variables.
fn of_dashboard() -> Vec<Query> {
    let dashboard = dashboard();
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push(Query { place: panel["title"].to_string(), text: target["expr"].as_str().unwrap().to_owned() });
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let (series, label) = query.strip_prefix("label_values(").unwrap().rsplit_once(", ").unwrap();
        let label = label.strip_suffix(')').unwrap();
        found.push(Query { place: variable["name"].to_string(), text: format!("count by ({label}) ({series})") });
    }
    found
}

fn of_alerts() -> Vec<Query> {
    let [alerts] = &yaml("deploy/prometheus/alerts.yaml")[..] else { panic!("one document") };
    let rules = alerts["groups"][0]["rules"].as_array().unwrap();
    let of = |rule: &Value| Query { place: rule["alert"].to_string(), text: rule["expr"].as_str().unwrap().to_owned() };
    rules.iter().map(of).collect()
}

/// The selectors of a query: each metric with the labels that it is selected by, and the labels that it is grouped by.
fn uses(query: &str) -> (Vec<(String, Vec<String>)>, Vec<String>) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (mut metrics, mut grouped) = (Vec::new(), Vec::new());
    let mut rest = query;
    while let Some(start) = rest.find(is_word) {
        rest = &rest[start..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        if ["by", "on", "group_right", "group_left", "without"].contains(&word) {
            let list = rest.trim_start().strip_prefix('(').and_then(|list| list.split_once(')'));
            let (list, after) = list.unwrap_or(("", rest));
            grouped.extend(list.split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()));
            rest = after;
        } else if word.starts_with("wasmill_") || word.starts_with("process_") {
            let mut labels = Vec::new();
            if let Some((list, after)) = rest.strip_prefix('{').and_then(|list| list.split_once('}')) {
                let matchers = list.split("\",").map(str::trim).filter(|matcher| !matcher.is_empty());
                labels = matchers.map(|matcher| matcher.split(['=', '!']).next().unwrap().trim().to_owned()).collect();
                rest = after;
            }
            metrics.push((word.to_owned(), labels));
        }
    }
    (metrics, grouped)
}

/// Names in a query that no running pipeline has.
fn unknown(query: &Query, exposed: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let (metrics, grouped) = uses(&query.text);
    let mut wrong = Vec::new();
    let mut labels_of_any = BTreeSet::new();
    for (metric, labels) in metrics {
        let Some(known) = exposed.get(&metric) else {
            wrong.push(format!("{}: there is no metric `{metric}`", query.place));
            continue;
        };
        let has = |label: &String| known.contains(label) || OF_THE_TARGET.contains(&label.as_str());
        wrong.extend(
            labels
                .iter()
                .filter(|label| !has(label))
                .map(|label| format!("{}: `{metric}` has no label `{label}`", query.place)),
        );
        labels_of_any.extend(known.iter().cloned());
    }
    let has = |label: &String| labels_of_any.contains(label) || OF_THE_TARGET.contains(&label.as_str());
    wrong.extend(
        grouped
            .iter()
            .filter(|label| !has(label))
            .map(|label| format!("{}: no metric has the label `{label}`", query.place)),
    );
    wrong
}

#[test]
fn every_metric_and_label_of_the_queries_is_one_of_running_pipelines() {
    let exposed = running::metrics();
    let queries: Vec<Query> = of_dashboard().into_iter().chain(of_alerts()).collect();
    assert!(queries.len() > 40, "{} queries were found", queries.len());
    let wrong: Vec<String> = queries.iter().flat_map(|query| unknown(query, &exposed)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What would not be found if the look were wrong.
    for (text, what) in [
        ("rate(wasmill_records_eaten_total[5m])", "there is no metric `wasmill_records_eaten_total`"),
        ("wasmill_ready{job=~\"a\",topic=\"b\"}", "has no label `topic`"),
        ("sum by (pipeline, partition) (wasmill_ready)", "has the label `partition`"),
    ] {
        let query = Query { place: "here".to_owned(), text: text.to_owned() };
        let found = unknown(&query, &exposed);
        assert!(found.len() == 1 && found[0].contains(what), "{found:?}");
    }
}

/// By Prometheus' own parser.
#[test]
fn the_queries_of_the_dashboard_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    let queries = of_dashboard();
    let rule = |(number, query): (usize, &Query)| {
        let text = query.text.replace("$__rate_interval", "5m");
        serde_json::json!({ "record": format!("query:{number}"), "expr": text, "labels": { "place": query.place } })
    };
    let rules: Vec<Value> = queries.iter().enumerate().map(rule).collect();
    let file = folder.path().join("rules.json");
    let groups = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    fs::write(&file, groups.to_string()).unwrap();
    let output = Command::new("promtool").args(["check", "rules"]).arg(&file).output().unwrap();
    let said = text(&output);
    assert!(output.status.success() && said.contains(&format!("{} rules found", queries.len())), "{said}");
}

#[test]
fn panels_have_a_place_of_their_own_and_legends_that_their_queries_have() {
    let dashboard = dashboard();
    let mut taken = BTreeMap::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let place = &panel["gridPos"];
        let of = |key: &str| place[key].as_u64().unwrap();
        assert!(of("x") + of("w") <= 24, "{}", panel["title"]);
        for x in of("x")..of("x") + of("w") {
            for y in of("y")..of("y") + of("h") {
                let other = taken.insert((x, y), panel["title"].clone());
                assert_eq!(other, None, "{} covers it", panel["title"]);
            }
        }
        for target in panel["targets"].as_array().into_iter().flatten() {
            let (_, grouped) = uses(target["expr"].as_str().unwrap());
            for label in target["legendFormat"].as_str().unwrap().split("{{").skip(1) {
                let label = label.split("}}").next().unwrap();
                let has = grouped.iter().any(|other| other == label) || label == "instance";
                assert!(has, "{}: the legend has `{label}`", panel["title"]);
            }
        }
    }
    let ids: BTreeSet<u64> =
        dashboard["panels"].as_array().unwrap().iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), dashboard["panels"].as_array().unwrap().len());
}

/// The dashboard's data source is chosen in it; the one that compose provides is Prometheus' address there.
#[test]
fn what_grafana_is_provisioned_with_is_what_compose_runs() {
    let [sources] = &yaml("deploy/grafana/provisioning/datasources/prometheus.yaml")[..] else {
        panic!("one document")
    };
    assert_eq!(sources["datasources"][0]["url"], "http://prometheus:9090");
    let [compose] = &yaml("deploy/compose.yaml")[..] else { panic!("one document") };
    let [provider] = &yaml("deploy/grafana/provisioning/dashboards/wasmill.yaml")[..] else { panic!("one document") };
    let folder = provider["providers"][0]["options"]["path"].as_str().unwrap();
    let grafana = &compose["services"]["grafana"];
    let mounted = format!("./grafana/wasmill.json:{folder}/wasmill.json:ro");
    assert!(grafana["volumes"].as_array().unwrap().iter().any(|volume| *volume == *mounted), "{grafana}");
    assert_eq!(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"], format!("{folder}/wasmill.json"));
}

/// The path that `runbook_url` has is a page of this repository, with such a section.
#[test]
fn every_alert_leads_to_its_section() {
    let [alerts] = &yaml("deploy/prometheus/alerts.yaml")[..] else { panic!("one document") };
    for rule in alerts["groups"][0]["rules"].as_array().unwrap() {
        let (page, section) = rule["annotations"]["runbook_url"].as_str().unwrap().split_once('#').unwrap();
        let headings = read(page);
        let has =
            headings.lines().any(|line| line.strip_prefix("### ").is_some_and(|title| title.to_lowercase() == section));
        assert!(has, "{page} has no section {section}");
    }
}
