//! The manifests of `deploy/kubernetes/`: each object by the schema of its kind, and everything that one says about another.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use serde_json::json;

use super::MASK;
use super::check;
use super::files;
use super::json as json_file;
use super::read;
use super::root;
use super::text;
use super::toml;
use super::violations;
use super::yaml;

const FOLDER: &str = "deploy/kubernetes";
const PIPELINE: &str = "deploy/kubernetes/base/orders.toml";
const KUSTOMIZATION: &str = "kustomization.yaml";

/// The objects, with their files.
fn objects() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for file in files(FOLDER) {
        if file.ends_with(".yaml") && !file.ends_with(KUSTOMIZATION) {
            found.extend(yaml(&file).into_iter().map(|object| (file.clone(), object)));
        }
    }
    found
}

fn of_kind(kind: &str) -> Value {
    let mut found = objects().into_iter().map(|(_, object)| object).filter(|object| object["kind"] == kind);
    let object = found.next().ok_or_else(|| format!("there is no {kind}")).unwrap();
    assert!(found.next().is_none(), "there are several of {kind}");
    object
}

fn of_kind_in(kind: &str, schemas: &Value, object: &Value) -> Vec<String> {
    let of_kind = &schemas["kinds"][kind];
    assert!(of_kind.is_object(), "there is no schema of `{kind}`");
    violations(&json!({ "$ref": of_kind["$ref"], "definitions": schemas["definitions"] }), object)
}

fn pod(workload: &Value) -> &Value {
    &workload["spec"]["template"]["spec"]
}

fn container(workload: &Value) -> &Value {
    &pod(workload)["containers"][0]
}

fn variable<'a>(workload: &'a Value, name: &str) -> Option<&'a Value> {
    container(workload)["env"].as_array().unwrap().iter().find(|variable| variable["name"] == name)
}

fn names(list: &Value) -> BTreeSet<&str> {
    list.as_array().into_iter().flatten().map(|item| item["name"].as_str().unwrap()).collect()
}

/// Seconds of a time such as `25s`.
fn seconds(time: &Value) -> u64 {
    time.as_str().unwrap().strip_suffix('s').unwrap().parse().unwrap()
}

/// MiB of a size such as `64 MiB` or `384Mi`.
fn mebibytes(size: &Value) -> u64 {
    let size = size.as_str().unwrap();
    let number = size.strip_suffix("MiB").or_else(|| size.strip_suffix("Mi")).ok_or_else(|| size.to_owned()).unwrap();
    number.trim().parse().unwrap()
}

/// Prints the table of what was validated: `cargo test --test deploy -- --nocapture`.
#[test]
fn every_object_fits_the_schema_of_its_kind() {
    let schemas = json_file("tests/deploy/schemas/kubernetes.json");
    let mut wrong = Vec::new();
    let mut seen = BTreeMap::new();
    for (file, object) in objects() {
        let of = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
        let kind = format!("{} {}", of("apiVersion"), of("kind"));
        wrong.extend(of_kind_in(&kind, &schemas, &object).iter().map(|what| format!("{file}: {what}")));
        seen.insert(kind, file);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for kind in [
        "apps/v1 Deployment",
        "apps/v1 StatefulSet",
        "monitoring.coreos.com/v1 PodMonitor",
        "keda.sh/v1alpha1 ScaledObject",
    ] {
        assert!(seen.contains_key(kind), "no {kind} was validated");
    }
}

/// The test above would pass with schemas that allow everything.
#[test]
fn a_misspelt_key_violates_the_schema() {
    let schemas = json_file("tests/deploy/schemas/kubernetes.json");
    for (kind, path) in [
        ("apps/v1 Deployment", "/spec/template/spec"),
        ("apps/v1 StatefulSet", "/spec/template/spec/containers/0/readinessProbe"),
        ("policy/v1 PodDisruptionBudget", "/spec"),
        ("networking.k8s.io/v1 NetworkPolicy", "/spec/egress/0"),
        ("monitoring.coreos.com/v1 PodMonitor", "/spec/podMetricsEndpoints/0"),
        ("keda.sh/v1alpha1 ScaledObject", "/spec/scaleTargetRef"),
        ("keda.sh/v1alpha1 TriggerAuthentication", "/spec"),
    ] {
        let mut object = of_kind(kind.split(' ').next_back().unwrap());
        object.pointer_mut(path).unwrap()["misspelt"] = json!(1);
        let found = of_kind_in(kind, &schemas, &object);
        assert!(found.iter().any(|what| what.contains("misspelt")), "{kind}: {found:?}");
    }
    let mut object = of_kind("Deployment");
    object["spec"]["replicas"] = json!("two");
    assert!(!of_kind_in("apps/v1 Deployment", &schemas, &object).is_empty());
}

#[test]
fn kustomizations_name_every_file_and_only_files_that_exist() {
    let mut kustomizations = 0;
    for file in files(FOLDER).into_iter().filter(|file| file.ends_with(KUSTOMIZATION)) {
        kustomizations += 1;
        let folder = root().join(&file).parent().unwrap().to_owned();
        let [all] = &yaml(&file)[..] else { panic!("{file}: one document") };
        let mut named = BTreeSet::new();
        for key in ["resources", "components"] {
            for path in all[key].as_array().into_iter().flatten().map(|path| path.as_str().unwrap()) {
                let target = folder.join(path);
                let exists = if target.is_dir() { target.join(KUSTOMIZATION).is_file() } else { target.is_file() };
                assert!(exists, "{file}: {path} is not there");
                named.insert(path.to_owned());
            }
        }
        for generator in all["configMapGenerator"].as_array().into_iter().flatten() {
            for path in generator["files"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()) {
                assert!(folder.join(path).is_file(), "{file}: {path} is not there");
                named.insert(path.to_owned());
            }
        }
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(path.is_dir() || name == KUSTOMIZATION || named.contains(&name), "{file}: doesn't name {name}");
        }
    }
    assert_eq!(kustomizations, 5);
    // What the variant without a Deployment removes is the one that the base has.
    let [variant] = &yaml("deploy/kubernetes/statefulset/kustomization.yaml")[..] else { panic!("one document") };
    let patch: Value = serde_saphyr::from_str(variant["patches"][0]["patch"].as_str().unwrap()).unwrap();
    let deployment = of_kind("Deployment");
    assert_eq!((&patch["kind"], &patch["$patch"]), (&json!("Deployment"), &json!("delete")));
    assert_eq!(patch["metadata"]["name"], deployment["metadata"]["name"]);
}

#[test]
fn labels_ports_and_names_agree() {
    let [deployment, set] = ["Deployment", "StatefulSet"].map(of_kind);
    let (service, budget) = (of_kind("Service"), of_kind("PodDisruptionBudget"));
    let (network, monitor) = (of_kind("NetworkPolicy"), of_kind("PodMonitor"));
    let [base] = &yaml("deploy/kubernetes/base/kustomization.yaml")[..] else { panic!("one document") };
    let secret = of_kind("Secret");
    let has_key = |key: &Value| secret["stringData"].get(key.as_str().unwrap()).is_some();
    for workload in [&deployment, &set] {
        let labels = &workload["spec"]["template"]["metadata"]["labels"];
        for selector in [
            &workload["spec"]["selector"]["matchLabels"],
            &budget["spec"]["selector"]["matchLabels"],
            &network["spec"]["podSelector"]["matchLabels"],
            &monitor["spec"]["selector"]["matchLabels"],
            &service["spec"]["selector"],
        ] {
            assert_eq!(selector, labels);
        }
        assert_eq!(pod(workload)["serviceAccountName"], of_kind("ServiceAccount")["metadata"]["name"]);
        let container = container(workload);
        let port = &container["ports"][0];
        for named in [
            &container["startupProbe"]["httpGet"]["port"],
            &container["livenessProbe"]["httpGet"]["port"],
            &container["readinessProbe"]["httpGet"]["port"],
            &network["spec"]["ingress"][0]["ports"][0]["port"],
            &monitor["spec"]["podMetricsEndpoints"][0]["port"],
            &service["spec"]["ports"][0]["targetPort"],
        ] {
            assert_eq!(*named, port["name"]);
        }
        let listens = format!("0.0.0.0:{}", port["containerPort"]);
        assert_eq!(variable(workload, "WASMILL_HTTP").unwrap()["value"], *listens);

        let volumes = &pod(workload)["volumes"];
        let mounted: BTreeSet<&str> = names(&container["volumeMounts"])
            .union(&names(&pod(workload)["initContainers"][0]["volumeMounts"]))
            .copied()
            .collect();
        assert_eq!(mounted, names(volumes));
        let volume = |name: &str| volumes.as_array().unwrap().iter().find(|volume| volume["name"] == name).unwrap();
        let generator = &base["configMapGenerator"][0];
        assert_eq!(volume("pipeline")["configMap"]["name"], generator["name"]);
        let file = generator["files"][0].as_str().unwrap();
        assert_eq!(container["args"], json!(["run", format!("/etc/wasmill/{file}")]));
        assert_eq!(container["image"], base["images"][0]["name"]);
        assert_eq!(volume("kafka")["secret"]["secretName"], secret["metadata"]["name"]);
        assert!(has_key(&volume("kafka")["secret"]["items"][0]["key"]));
        let user = &variable(workload, "KAFKA_USERNAME").unwrap()["valueFrom"]["secretKeyRef"];
        assert!(user["name"] == secret["metadata"]["name"] && has_key(&user["key"]), "{user}");
    }
    assert_eq!(set["spec"]["serviceName"], service["metadata"]["name"]);
    assert_eq!(service["spec"]["clusterIP"], "None");
    let (scaled, authentication) = (of_kind("ScaledObject"), of_kind("TriggerAuthentication"));
    assert_eq!(scaled["spec"]["scaleTargetRef"]["name"], deployment["metadata"]["name"]);
    let trigger = &scaled["spec"]["triggers"][0];
    assert_eq!(trigger["authenticationRef"]["name"], authentication["metadata"]["name"]);
    for reference in authentication["spec"]["secretTargetRef"].as_array().unwrap() {
        assert!(reference["name"] == secret["metadata"]["name"] && has_key(&reference["key"]), "{reference}");
    }
    let pipeline = toml(PIPELINE);
    assert_eq!(trigger["metadata"]["consumerGroup"], pipeline["input"]["group"]);
    assert_eq!(trigger["metadata"]["topic"], pipeline["input"]["topics"][0]);
    assert_eq!(trigger["metadata"]["bootstrapServers"], variable(&deployment, "KAFKA_BROKERS").unwrap()["value"]);
}

/// Only the pods of a StatefulSet have their names again.
#[test]
fn the_variant_differs_only_in_the_members_id() {
    let [deployment, mut set] = ["Deployment", "StatefulSet"].map(of_kind);
    assert_eq!(variable(&deployment, "INSTANCE_ID"), None);
    let id = variable(&set, "INSTANCE_ID").unwrap();
    assert_eq!(id["valueFrom"]["fieldRef"]["fieldPath"], "metadata.name");
    assert_eq!(toml(PIPELINE)["input"]["instance_id"], "${INSTANCE_ID:-}");
    let variables = set.pointer_mut("/spec/template/spec/containers/0/env").unwrap().as_array_mut().unwrap();
    variables.retain(|variable| variable["name"] != "INSTANCE_ID");
    assert_eq!(pod(&set), pod(&deployment));
}

/// docs/kubernetes.md has the formulas.
#[test]
fn the_grace_period_and_the_memory_suffice_for_the_file() {
    let pipeline = toml(PIPELINE);
    let limits = &pipeline["limits"];
    let step = &pipeline["step"][0];
    let instances = limits["parallelism"].as_u64().unwrap() * mebibytes(&step["memory"]);
    let needed = mebibytes(&limits["max_in_flight"]["bytes"]) + 2 * instances + 64;
    for workload in ["Deployment", "StatefulSet"].map(of_kind) {
        let grace = pod(&workload)["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(grace >= seconds(&pipeline["shutdown_timeout"]) + 10, "{grace}");
        let resources = &container(&workload)["resources"];
        assert!(mebibytes(&resources["limits"]["memory"]) >= needed, "{needed} MiB are needed");
        assert_eq!(resources["limits"]["memory"], resources["requests"]["memory"]);
        assert!(resources["limits"].get("cpu").is_none());
    }
}

#[test]
fn wasmill_accepts_the_pipeline_of_the_config_map() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    fs::write(&password, "change-me").unwrap();
    let mask = root().join(MASK);
    let pipeline = read(PIPELINE)
        .replace("/plugins/mask.wasm", mask.to_str().unwrap())
        .replace("/run/secrets/kafka/password", password.to_str().unwrap());
    let file = folder.path().join("orders.toml");
    fs::write(&file, pipeline).unwrap();
    for id in ["", "wasmill-orders-0"] {
        let variables = [("KAFKA_BROKERS", "kafka.kafka.svc:9093"), ("KAFKA_USERNAME", "orders"), ("INSTANCE_ID", id)];
        let output = check(&file, &variables);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    }
}
