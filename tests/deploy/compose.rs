//! `deploy/compose.yaml` by the schema of compose files, and what it mounts and runs.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use serde_json::Value;
use serde_json::json;

use super::check;
use super::json as json_file;
use super::root;
use super::text;
use super::toml;
use super::violations;
use super::yaml;

const FILE: &str = "deploy/compose.yaml";

fn compose() -> Value {
    let [document] = &yaml(FILE)[..] else { panic!("{FILE}: one document") };
    document.clone()
}

#[test]
fn the_file_fits_the_schema_of_compose_files() {
    let schema = json_file("tests/deploy/schemas/compose.json");
    let mut compose = compose();
    let found = violations(&schema, &compose);
    assert!(found.is_empty(), "{}", found.join("\n"));
    compose["services"]["wasmill"]["stop_grace"] = json!("1s");
    assert!(!violations(&schema, &compose).is_empty(), "a misspelt key passes");
}

#[test]
fn what_is_mounted_and_depended_on_exists() {
    let compose = compose();
    let folder = root().join("deploy");
    let services = compose["services"].as_object().unwrap();
    let mut mounts = 0;
    for (name, service) in services {
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let (source, _) = volume.as_str().unwrap().split_once(':').unwrap();
            let exists = if source.starts_with('.') {
                folder.join(source).exists()
            } else {
                compose["volumes"].get(source).is_some()
            };
            assert!(exists, "{name}: {source} is not there");
            mounts += 1;
        }
        for (other, how) in service["depends_on"].as_object().into_iter().flatten() {
            let other = services.get(other).ok_or_else(|| format!("{name} depends on {other}")).unwrap();
            assert!(how["condition"] != "service_healthy" || other.get("healthcheck").is_some(), "{name}");
        }
        let image = service["image"].as_str().unwrap();
        assert!(image.contains(':') && !image.ends_with(":latest"), "{name}: {image} has no version");
    }
    assert!(mounts >= 8, "{mounts}");
    let build = &services["wasmill"]["build"];
    assert!(folder.join(build["context"].as_str().unwrap()).join(build["dockerfile"].as_str().unwrap()).is_file());
}

/// The pipelines are those of `examples/`, but for the broker and where the plugin is.
#[test]
fn the_pipelines_are_those_of_the_examples_and_pass_a_check() {
    for name in ["orders", "revenue"] {
        let mut example = toml(&format!("examples/{name}/pipeline.toml"));
        let own = toml(&format!("deploy/compose/pipelines/{name}.toml"));
        example["kafka"]["brokers"] = json!(["kafka:9092"]);
        let step = example["step"][0].as_object_mut().unwrap();
        if step.remove("wasm").is_some() {
            step.insert("use".to_owned(), json!("std:mask"));
        }
        assert_eq!(own, example, "{name}");
        let timeout = own["shutdown_timeout"].as_str().unwrap_or("25s");
        let grace = compose()["services"]["wasmill"]["stop_grace_period"].clone();
        let seconds = |time: &str| time.strip_suffix('s').unwrap().parse::<u64>().unwrap();
        assert!(seconds(grace.as_str().unwrap()) > seconds(timeout), "{name}: {grace}");
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["revenue.toml", "wasmill.toml"] {
        fs::copy(root().join("deploy/compose/pipelines").join(name), folder.path().join(name)).unwrap();
    }
    with_mask(folder.path());
    let output = check(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

/// Nothing that the seeder writes becomes a dead letter.
#[test]
fn both_pipelines_take_what_the_seeder_writes() {
    let script = root().join("deploy/compose/seed.sh");
    let output = Command::new("sh").arg(&script).arg("3").output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let orders = String::from_utf8(output.stdout).unwrap();
    assert_eq!(orders.lines().count(), 3);
    let folder = tempfile::tempdir().unwrap();
    let masked = tried(&with_mask(folder.path()), &orders);
    assert_eq!(masked.len(), 3);
    assert!(!masked.iter().any(|order| order["email"].as_str().unwrap().contains("example.com")), "{masked:?}");
    let results = tried(&root().join("deploy/compose/pipelines/revenue.toml"), &orders);
    let counted: u64 = results.iter().map(|result| result["orders"].as_u64().unwrap()).sum();
    assert_eq!(counted, 3, "{results:?}");
}

/// The values of the records that a pipeline writes to its main output, which has to take all.
fn tried(file: &Path, input: &str) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
    command.arg("try").arg(file).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let records = String::from_utf8(output.stdout).unwrap();
    let value = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["output"], "main", "{line}");
        serde_json::from_str(record["value"].as_str().unwrap()).unwrap()
    };
    records.lines().map(value).collect()
}

/// The pipeline `orders`, with a plugin from the repository: the program of the tests has none inside.
fn with_mask(folder: &Path) -> PathBuf {
    let orders = fs::read_to_string(root().join("deploy/compose/pipelines/orders.toml")).unwrap();
    let mask = format!("wasm = \"{}\"", root().join(super::MASK).display());
    let file = folder.join("orders.toml");
    fs::write(&file, orders.replace("use = \"std:mask\"", &mask)).unwrap();
    file
}

/// Prometheus' own look at its file, with the alerts beside it.
#[test]
fn prometheus_accepts_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let mut wasmill = None;
    for volume in compose()["services"]["prometheus"]["volumes"].as_array().unwrap() {
        let mut parts = volume.as_str().unwrap().split(':');
        let (source, target) = (parts.next().unwrap(), parts.next().unwrap());
        let name = target.strip_prefix("/etc/prometheus/").unwrap();
        fs::copy(root().join("deploy").join(source), folder.path().join(name)).unwrap();
        wasmill = wasmill.or_else(|| name.ends_with("prometheus.yaml").then(|| folder.path().join(name)));
    }
    let output = Command::new("promtool").args(["check", "config"]).arg(wasmill.unwrap()).output().unwrap();
    let said = text(&output);
    assert!(output.status.success() && said.contains("14 rules found"), "{said}");
    let [prometheus] = &yaml("deploy/compose/prometheus.yaml")[..] else { panic!("one document") };
    let target = prometheus["scrape_configs"][0]["static_configs"][0]["targets"][0].as_str().unwrap();
    let listens = toml("deploy/compose/pipelines/wasmill.toml")["http"]["listen"].clone();
    assert_eq!(target.strip_prefix("wasmill"), listens.as_str().unwrap().strip_prefix("0.0.0.0"));
}
