//! Checks that the schema in the repository, the tables of `docs/configuration.md` and every pipeline in the documentation
//! match this version. `cargo xtask docs` regenerates the schema and the tables.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use serde_json::Map;
use serde_json::Value as Json;
use wasmill::config;

const SCHEMA: &str = "schemas/pipeline.json";
const PAGE: &str = "docs/configuration.md";
const POLICY_SCHEMA: &str = "schemas/policy.json";
const POLICY_PAGE: &str = "docs/policy.md";
const PROCESS_SCHEMA: &str = "schemas/service.json";
const PROCESS_PAGE: &str = "docs/many-pipelines.md";
/// A generated table is between a line that begins like this, followed by the name of the section, and the next line
/// [`END`].
const BEGIN: &str = "<!-- generated from the sources by `cargo xtask docs`: ";
const END: &str = "<!-- end -->";

#[test]
fn the_schema_in_the_repository_is_current() {
    same(SCHEMA, &format!("{:#}\n", config::schema()));
}

#[test]
fn the_tables_of_the_page_are_current() {
    let sections = renew(PAGE, &config::schema());
    let schema = config::schema();
    for (key, schema) in schema["properties"].as_object().unwrap() {
        let section = if is_section(schema) { key.as_str() } else { "top level" };
        assert!(sections.iter().any(|found| found == section), "{PAGE} has no table for `{key}`");
    }
}

/// The page has a table for the rules, and words for the signers.
#[test]
fn the_schema_and_the_table_of_a_policy_are_current() {
    let schema = config::policy_schema();
    same(POLICY_SCHEMA, &format!("{schema:#}\n"));
    let keys: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["signers", "rule"], "{POLICY_PAGE} describes these");
    assert_eq!(renew(POLICY_PAGE, &schema), ["rule"]);
    let page = fs::read_to_string(root().join(POLICY_PAGE)).unwrap();
    let block = page.split("```toml policy.toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    fs::write(&path, block).unwrap();
    config::policy(&path).unwrap();
    let mut problems = Vec::new();
    fits(&schema, &json(&toml::Value::Table(block.parse().unwrap())), POLICY_PAGE, true, &mut problems);
    assert!(problems.is_empty(), "{problems:#?}");
}

/// `[kafka]` is that of a pipeline, whose page has its table.
#[test]
fn the_schema_and_the_tables_of_a_process_are_current() {
    let schema = config::process_schema();
    same(PROCESS_SCHEMA, &format!("{schema:#}\n"));
    let keys: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["http", "kafka", "limits", "service", "trace"]);
    assert_eq!(schema["properties"]["kafka"]["properties"], config::schema()["properties"]["kafka"]["properties"]);
    assert_eq!(renew(PROCESS_PAGE, &schema), ["http", "limits", "service", "trace"]);
    let page = fs::read_to_string(root().join(PROCESS_PAGE)).unwrap();
    let block = page.split("```toml wasmill.toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wasmill.toml");
    // The secrets of the page are in no file here.
    let text =
        block.replace("${file:/run/secrets/wasmill}", "0123456789abcdef").replace("${file:/run/secrets/kafka}", "x");
    fs::write(&path, text).unwrap();
    config::process(&path, &|_| None).unwrap();
    let mut problems = Vec::new();
    fits(&schema, &json(&toml::Value::Table(block.parse().unwrap())), PROCESS_PAGE, true, &mut problems);
    assert!(problems.is_empty(), "{problems:#?}");
}

/// Checks the tables of a page, or with `WASMILL_BLESS` writes them. Returns their sections.
fn renew(name: &str, schema: &Json) -> Vec<String> {
    let page = fs::read_to_string(root().join(name)).unwrap();
    let mut new = String::new();
    let mut lines = page.lines();
    let mut sections = Vec::new();
    while let Some(line) = lines.next() {
        writeln!(new, "{line}").unwrap();
        if let Some(section) = line.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(" -->")) {
            new.push_str(&table(schema, section));
            writeln!(new, "{END}").unwrap();
            assert!(lines.any(|line| line == END), "{name}: `{section}` has no end");
            sections.push(section.to_owned());
        }
    }
    same(name, &new);
    sections
}

/// Every key has a description: without one, its line in the table would say nothing.
#[test]
fn every_key_is_described() {
    fn look(schema: &Json, path: &str) {
        for (key, child) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            assert!(child["description"].as_str().is_some_and(|text| text.ends_with('.')), "{path} is not described");
            look(object(child), &path);
            look(&child["items"], &path);
            look(&child["additionalProperties"], &path);
        }
    }
    look(&config::schema(), "");
    look(&config::policy_schema(), "policy");
    look(&config::process_schema(), "process");
}

#[test]
fn every_pipeline_in_the_documentation_fits_the_schema() {
    let schema = config::schema();
    let mut count = 0;
    for (name, text, whole) in pipelines() {
        let mut problems = Vec::new();
        let value = json(&toml::Value::Table(text.parse().unwrap_or_else(|error| panic!("{name}: {error}"))));
        fits(&schema, &value, &name, whole, &mut problems);
        assert!(problems.is_empty(), "{problems:#?}");
        count += 1;
    }
    assert!(count >= 3, "only {count} pipelines were found");
}

/// An editor that has the schema finds the same mistakes as `check`.
#[test]
fn values_that_violate_the_schema_are_found() {
    let schema = config::schema();
    let whole = "[kafka]\nbrokers = [\"a:1\"]\n[input]\ntopics = [\"t\"]\n[[step]]\nwasm = \"p.wasm\"\n[output.main]\ntopic = \"u\"\n";
    for (old, new, expected) in [
        ("topics", "topic", "`topic` is not known"),
        ("[\"t\"]", "\"t\"", "fits none"),
        ("topic = \"u\"", "topic = \"u\"\ncompression = \"zip\"", "fits none"),
        ("wasm = \"p.wasm\"", "wasm = \"p.wasm\"\nbatch = 5000", "fits none"),
        ("wasm = \"p.wasm\"", "wasm = \"p.wasm\"\nbatch = \"50\"", "fits none"),
        ("brokers", "insecure = \"true\"\nbrokers", "fits none"),
        ("topic = \"u\"", "topic = \"u\"\ncompression = 5", "is no string"),
        ("wasm = \"p.wasm\"", "batch = 50", "fits none"),
        ("[output.main]", "[output.other]", "`main` is missing"),
        ("[kafka]\n", "[on_error]\nretries = \"often\"\n[kafka]\n", "fits none"),
        ("brokers", "tls = { cat = \"x\" }\nbrokers", "fits none"),
    ] {
        assert!(whole.contains(old));
        let value = json(&toml::Value::Table(whole.replacen(old, new, 1).parse().unwrap()));
        let mut problems = Vec::new();
        fits(&schema, &value, "file", true, &mut problems);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{new}: {problems:?}");
    }
}

/// A reference stands for a number, for `true` and `false`, for a list, and for one of several words.
#[test]
fn the_schema_accepts_references() {
    let text = "delivery = \"${A}\"\n[kafka]\nbrokers = \"${B}\"\ntls = \"${A}\"\ninsecure = \"${A}\"\n[input]\ntopics = [\"${B}\", \"t\"]\n\
                [limits]\nparallelism = \"${N:-4}\"\nmax_in_flight = { records = \"${N}\", bytes = \"${S}\" }\n\
                [on_error]\nretries = \"${N}\"\nmax_reject_share = \"${F}\"\n[state]\ncreate = \"${A}\"\n\
                [[step]]\nwasm = \"p.wasm\"\nbatch = \"${N}\"\nallow = { clock = \"${A}\" }\n[output.main]\ntopic = \"u\"\n";
    let mut problems = Vec::new();
    fits(&config::schema(), &json(&toml::Value::Table(text.parse().unwrap())), "file", true, &mut problems);
    assert!(problems.is_empty(), "{problems:#?}");
}

/// The pipelines of the examples and of the Markdown files, with a flag for whether it is complete or a fragment.
fn pipelines() -> Vec<(String, String, bool)> {
    let mut found = Vec::new();
    for folder in fs::read_dir(root().join("examples")).unwrap() {
        let file = folder.unwrap().path().join("pipeline.toml");
        if let Ok(text) = fs::read_to_string(&file) {
            found.push((file.display().to_string(), text, true));
        }
    }
    let pages = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    for page in pages.chain([root().join("README.md")]).filter(|path| path.extension().is_some_and(|ext| ext == "md")) {
        let text = fs::read_to_string(&page).unwrap();
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap_or_default();
            // Plugin manifests and test cases are not pipelines.
            if !block.contains("[[case]]")
                && !block.contains("[package]")
                && !block.contains("[dependencies]")
                && !block.contains("[lib]")
            {
                let is_whole = block.contains("[kafka]") && block.contains("[input]");
                found.push((page.display().to_string(), block.to_owned(), is_whole));
            }
        }
    }
    found
}

/// The rules of JSON Schema draft 7 that our schema uses. Any other rule fails the test, so that nothing stays unchecked.
fn fits(schema: &Json, value: &Json, at: &str, whole: bool, problems: &mut Vec<String>) {
    let Some(rules) = schema.as_object() else { return };
    for (rule, wanted) in rules {
        match rule.as_str() {
            "type" => {
                let is = |name: &str| match name {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64(),
                    "number" => value.is_number(),
                    name => panic!("no type of a schema: {name}"),
                };
                let names: Vec<&str> = wanted
                    .as_str()
                    .into_iter()
                    .chain(wanted.as_array().into_iter().flatten().filter_map(Json::as_str))
                    .collect();
                if !names.iter().any(|name| is(name)) {
                    problems.push(format!("{at} is no {}", names.join(" or ")));
                }
            }
            "enum" => {
                if !wanted.as_array().unwrap().contains(value) {
                    problems.push(format!("{at} is none of {wanted}"));
                }
            }
            "pattern" => {
                assert_eq!(wanted, "\\$\\{", "this test knows one pattern");
                if value.as_str().is_some_and(|text| !text.contains("${")) {
                    problems.push(format!("{at} is no reference"));
                }
            }
            "minimum" | "maximum" => {
                let (number, bound) = (value.as_i64(), wanted.as_i64().unwrap());
                if rule == "minimum" && number.is_some_and(|number| number < bound) {
                    problems.push(format!("{at} is below {bound}"));
                }
                if rule == "maximum" && number.is_some_and(|number| number > bound) {
                    problems.push(format!("{at} is above {bound}"));
                }
            }
            "exclusiveMinimum" | "exclusiveMaximum" => {
                let (number, bound) = (value.as_f64(), wanted.as_f64().unwrap());
                let is_min = rule == "exclusiveMinimum";
                if number.is_some_and(|number| if is_min { number <= bound } else { number >= bound }) {
                    problems.push(format!("{at} is not {} {bound}", if is_min { "above" } else { "below" }));
                }
            }
            "minItems" => {
                if value.as_array().is_some_and(|items| (items.len() as u64) < wanted.as_u64().unwrap()) {
                    problems.push(format!("{at} has too few items"));
                }
            }
            "anyOf" => {
                let fits_one = |one: &Json| {
                    let mut found = Vec::new();
                    fits(one, value, at, whole, &mut found);
                    found.is_empty()
                };
                if !wanted.as_array().unwrap().iter().any(fits_one) {
                    problems.push(format!("{at} fits none of {wanted}"));
                }
            }
            "required" => {
                let has = |key: &Json| value.get(key.as_str().unwrap()).is_some();
                let missing = wanted.as_array().unwrap().iter().filter(|key| whole && value.is_object() && !has(key));
                problems.extend(missing.map(|key| format!("{at}: `{}` is missing", key.as_str().unwrap())));
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    fits(wanted, item, &format!("{at}.{index}"), whole, problems);
                }
            }
            "properties" => {
                for (key, child) in value.as_object().into_iter().flatten() {
                    if let Some(wanted) = wanted.get(key) {
                        fits(wanted, child, &format!("{at}.{key}"), whole, problems);
                    }
                }
            }
            "additionalProperties" => {
                let known = rules.get("properties").and_then(Json::as_object);
                for (key, child) in value.as_object().into_iter().flatten() {
                    if known.is_some_and(|known| known.contains_key(key)) {
                        continue;
                    }
                    if wanted == &Json::Bool(false) {
                        problems.push(format!("{at}: `{key}` is not known"));
                    } else {
                        fits(wanted, child, &format!("{at}.{key}"), whole, problems);
                    }
                }
            }
            "description" | "default" | "examples" | "title" | "$schema" | "x-default" | "x-unit" => {}
            rule => panic!("this test doesn't know the rule `{rule}`"),
        }
    }
}

/// TOML as an editor passes it to a schema: dates are strings.
fn json(value: &toml::Value) -> Json {
    match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(value) => (*value).into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.iter().map(json).collect(),
        toml::Value::Table(table) => {
            Json::Object(table.iter().map(|(key, value)| (key.clone(), json(value))).collect::<Map<_, _>>())
        }
    }
}

/// The table of one section.
fn table(schema: &Json, section: &str) -> String {
    let mut text = String::from("\n| key | what it is | value | default | example |\n|---|---|---|---|---|\n");
    let properties = &schema["properties"];
    match section {
        "top level" => {
            for (key, schema) in properties.as_object().unwrap().iter().filter(|(_, schema)| !is_section(schema)) {
                row(&mut text, key, schema, false);
            }
        }
        "step" | "rule" => rows(&mut text, "", &properties[section]["items"]),
        "output" => rows(&mut text, "", &properties["output"]["additionalProperties"]),
        section => rows(&mut text, "", &properties[section]),
    }
    text.push('\n');
    text
}

fn rows(text: &mut String, above: &str, schema: &Json) {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    for (key, child) in schema["properties"].as_object().into_iter().flatten() {
        let name = format!("{above}{key}");
        let inside = object(child);
        // A table that consists only of its keys needs no row of its own.
        if !(inside["properties"].is_object() && child["properties"].is_object() && inside["required"].is_null()) {
            row(text, &name, child, required.contains(&key.as_str()));
        }
        rows(text, &format!("{name}."), inside);
    }
}

fn row(text: &mut String, key: &str, schema: &Json, required: bool) {
    let words = schema["description"].as_str().unwrap_or_default();
    let default = match (schema.get("default"), schema["x-default"].as_str()) {
        _ if required => "needed".to_owned(),
        (Some(default), _) => format!("`{}`", written(default)),
        (None, Some(words)) => words.to_owned(),
        (None, None) => "none".to_owned(),
    };
    let example = schema["examples"][0].clone();
    let example = if example.is_null() { String::new() } else { format!("`{}`", written(&example)) };
    writeln!(text, "| `{key}` | {words} | {} | {default} | {example} |", kind(schema)).unwrap();
}

/// The allowed values of a setting.
fn kind(schema: &Json) -> String {
    if let Some(either) = schema["anyOf"].as_array() {
        let kinds: Vec<String> = either.iter().filter(|one| one.get("pattern").is_none()).map(kind).collect();
        return kinds.join(" or ");
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    }
    if let Some(unit) = schema["x-unit"].as_str() {
        return unit.to_owned();
    }
    let bounds = match (schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
        (Some(min), Some(max)) => format!(", {min} to {max}"),
        _ => String::new(),
    };
    match schema["type"].as_str() {
        Some("integer") => format!("number{bounds}"),
        Some("number") => {
            format!("number above {} and below {}", schema["exclusiveMinimum"], schema["exclusiveMaximum"])
        }
        Some("boolean") => "`true`, `false`".to_owned(),
        Some("array") => "list of text".to_owned(),
        Some("object") => "table".to_owned(),
        _ => "text".to_owned(),
    }
}

fn is_section(schema: &Json) -> bool {
    schema["type"] == "object" || schema["type"] == "array"
}

/// The schema of the table, for a key that may also be something else.
fn object(schema: &Json) -> &Json {
    let either = schema["anyOf"].as_array();
    either.and_then(|all| all.iter().find(|one| one["type"] == "object")).unwrap_or(schema)
}

/// A value as it is written in a file.
fn written(value: &Json) -> String {
    match value {
        Json::Array(items) => format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(", ")),
        Json::Object(entries) => {
            let is_bare = |key: &str| key.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-'));
            let key = |key: &str| if is_bare(key) { key.to_owned() } else { format!("\"{key}\"") };
            let entries: Vec<String> =
                entries.iter().map(|(name, value)| format!("{} = {}", key(name), written(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => value.to_string(),
    }
}

/// Checks that the file has this text, or with `WASMILL_BLESS` writes it.
fn same(name: &str, expected: &str) {
    let path = root().join(name);
    if env::var_os("WASMILL_BLESS").is_some() {
        fs::write(&path, expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{name} is not current: cargo xtask docs writes it anew");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
