//! The OpenAPI document of `/api/v1/`, with the schemas of the structs that it answers with.

use schemars::JsonSchema;
use schemars::Schema;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::Map;
use serde_json::Value as Json;
use serde_json::json;

use super::api;
use super::board::Operation;
use super::log_filter::LogFilterRequest;
use super::log_filter::LogFilterView;
use super::view;
use crate::tap::TapPoint;

/// The document.
pub(super) fn document() -> Json {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    let mut schemas = settings.into_generator();
    let paths = json!({
        "/api/v1/version": {
            "get": {
                "summary": "The versions of what runs here",
                "responses": { "200": { "description": "By part", "content": {
                    "application/json": { "schema": { "type": "object", "additionalProperties": { "type": "string" } } }
                } } }
            }
        },
        "/api/v1/pipelines": { "get": read::<view::Pipelines>(&mut schemas, "All pipelines", &[]) },
        "/api/v1/pipelines/{name}": {
            "get": read::<view::Detail>(&mut schemas, "A pipeline, with partitions, steps and outputs", &[name()])
        },
        "/api/v1/pipelines/{name}/logs": {
            "get": logs(&mut schemas)
        },
        "/api/v1/pipelines/{name}/skip": { "post": skip(&mut schemas) },
        "/api/v1/pipelines/{name}/config": { "get": config(&mut schemas) },
        "/api/v1/pipelines/{name}/tap": { "get": tap(&mut schemas) },
        (api::LOG): { "get": read::<LogFilterView>(&mut schemas, "The filter of log lines", &[]), "put": set_log(&mut schemas) },
        "/api/v1/pipelines/{name}/{operation}": { "post": operate(&mut schemas) },
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "wasmill",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The pipelines of a process. What changes something or shows log lines, configurations or records needs the token of `[http] token` \
                            in wasmill.toml; without one it is for requests from the same machine.",
            "license": { "name": "Apache-2.0" }
        },
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } }
        }
    })
}

fn name() -> Json {
    json!({ "name": "name", "in": "path", "required": true, "description": "The pipeline's name", "schema": { "type": "string" } })
}

/// A path that is read. Those of a pipeline have its name as a parameter, and an error if there is none.
fn read<T: JsonSchema>(schemas: &mut SchemaGenerator, summary: &str, parameters: &[Json]) -> Json {
    let mut responses = json!({ "200": answer::<T>(schemas, "As of now", "application/json") });
    if !parameters.is_empty() {
        responses["404"] = answer::<view::Problem>(schemas, "There is no such pipeline", "application/problem+json");
    }
    json!({ "summary": summary, "parameters": parameters, "responses": responses })
}

/// The answers of a path for users who may give orders, without the one of 200.
fn guarded(schemas: &mut SchemaGenerator, others: &[(&str, &str)]) -> Json {
    let mut responses = json!({});
    let of_all = [
        ("401", "There is no token, or a wrong one"),
        ("403", "It comes from another machine, or from the page of another server"),
    ];
    for &(status, why) in of_all.iter().chain(others) {
        responses[status] = answer::<view::Problem>(schemas, why, "application/problem+json");
    }
    responses
}

const UNKNOWN: (&str, &str) = ("404", "There is no such pipeline");
const TOO_MANY: (&str, &str) = ("429", "Too many are open");

fn operate(schemas: &mut SchemaGenerator) -> Json {
    let all = Operation::ALL.map(|operation| format!("- `{operation}`: {}", operation.meaning())).join("\n");
    let operation = json!({
        "name": "operation", "in": "path", "required": true,
        "schema": { "type": "string", "enum": Operation::ALL.map(Operation::label) }
    });
    let dry_run = json!({
        "name": "dry_run", "in": "query", "schema": { "type": "integer", "enum": [1] },
        "description": "Of `reload` only: nothing is changed, and the answer says what would be"
    });
    json!({
        "summary": "Does something with a pipeline",
        "description": all,
        "security": [{ "token": [] }, {}],
        "parameters": [name(), operation, dry_run],
        "responses": operated(schemas)
    })
}

fn skip(schemas: &mut SchemaGenerator) -> Json {
    let of = |name: &str, kind: &str, what: &str| json!({ "name": name, "in": "query", "required": true, "description": what, "schema": { "type": kind } });
    json!({
        "summary": "Leaves out the record at which a pipeline has stopped",
        "description": "The record is tried once more, and left out if it fails again; the pipeline goes on. It has to be named, so that none is \
                        left out by accident: `stopped_at` of the pipeline has it.",
        "security": [{ "token": [] }, {}],
        "parameters": [
            name(), of("topic", "string", "Its topic"), of("partition", "integer", "Its partition"), of("offset", "integer", "Its offset")
        ],
        "responses": operated(schemas)
    })
}

/// The responses to an operation.
fn operated(schemas: &mut SchemaGenerator) -> Json {
    let mut responses = guarded(
        schemas,
        &[
            ("400", "A parameter is missing, or isn't known"),
            ("404", "There is no such pipeline, or no such operation"),
            ("409", "The pipeline is in a state in which this can't be done"),
        ],
    );
    responses["200"] = answer::<view::Operated>(schemas, "It is done, or begun", "application/json");
    responses
}

fn config(schemas: &mut SchemaGenerator) -> Json {
    let mut responses =
        guarded(schemas, &[UNKNOWN, ("409", "Its file has never been valid, or a file that it refers to is gone")]);
    responses["200"] = answer::<view::ConfigView>(schemas, "As `wasmill config show` prints it", "application/json");
    json!({
        "summary": "The values that take effect, each with its origin, without secrets",
        "security": [{ "token": [] }, {}],
        "parameters": [name()],
        "responses": responses
    })
}

fn logs(schemas: &mut SchemaGenerator) -> Json {
    let mut responses = guarded(schemas, &[("400", "A parameter is wrong"), UNKNOWN, TOO_MANY]);
    responses["200"] = answer::<view::Logs>(schemas, "The last lines, or those that come", "application/json");
    let events = events(&[
        ("line", schemas.subschema_for::<view::LogLine>()),
        ("missed", schemas.subschema_for::<view::StreamMissed>()),
        ("end", schemas.subschema_for::<view::StreamNotice>()),
    ]);
    responses["200"]["content"]["text/event-stream"] = events;
    json!({
        "summary": "The log lines of a pipeline",
        "security": [{ "token": [] }, {}],
        "parameters": [
            name(),
            parameter("after", "Only lines after the one of this number", json!({ "type": "integer", "minimum": 0 })),
            parameter("follow", "1: go on with lines as they come, as server-sent events", json!({ "enum": [0, 1] })),
        ],
        "responses": responses
    })
}

fn tap(schemas: &mut SchemaGenerator) -> Json {
    let mut responses = guarded(schemas, &[("400", "A parameter is wrong"), UNKNOWN, TOO_MANY]);
    responses["403"]["description"] =
        "As elsewhere, or `http.tap` is not `true` in the pipeline's file or in wasmill.toml".into();
    let events = events(&[
        ("open", schemas.subschema_for::<view::TapOpened>()),
        ("record", schemas.subschema_for::<view::TapRecord>()),
        ("missed", schemas.subschema_for::<view::StreamMissed>()),
        ("notice", schemas.subschema_for::<view::StreamNotice>()),
        ("end", schemas.subschema_for::<view::StreamNotice>()),
    ]);
    responses["200"] = json!({ "description": "Records as they pass", "content": { "text/event-stream": events } });
    let text = || json!({ "type": "string" });
    json!({
        "summary": "Records as they pass the steps of a pipeline, as server-sent events",
        "description": "A tap takes a hundred records in a tenth of a second at most, and counts what else passes meanwhile. It outlives reloads \
                        and restarts of the pipeline.",
        "security": [{ "token": [] }, {}],
        "parameters": [
            name(),
            parameter("step", "Only records of this step", text()),
            parameter("when", "Only records that go in, come out, or fail", json!({ "enum": TapPoint::ALL.map(TapPoint::label) })),
            parameter("match", "Only records with this text in their value", text()),
            parameter("key", "Only records with this key", text()),
            parameter("limit", "The number of records after which it ends", json!({ "type": "integer", "minimum": 1 })),
        ],
        "responses": responses
    })
}

fn set_log(schemas: &mut SchemaGenerator) -> Json {
    let mut responses =
        guarded(schemas, &[("400", "The body can't be read"), ("422", "The filter can't be read: `detail` says why")]);
    responses["200"] = answer::<LogFilterView>(schemas, "It is set", "application/json");
    let schema = Json::from(schemas.subschema_for::<LogFilterRequest>());
    json!({
        "summary": "Sets the filter of log lines, for good or for a while",
        "security": [{ "token": [] }, {}],
        "requestBody": { "required": true, "content": { "application/json": { "schema": schema } } },
        "responses": responses
    })
}

fn parameter(name: &str, description: &str, schema: Json) -> Json {
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

/// A stream: the text, and the schema of the data of each of its events.
fn events(events: &[(&str, Schema)]) -> Json {
    let events: Map<String, Json> =
        events.iter().map(|(event, schema)| ((*event).to_owned(), Json::from(schema.clone()))).collect();
    json!({ "schema": { "type": "string" }, "x-events": events })
}

fn answer<T: JsonSchema>(schemas: &mut SchemaGenerator, description: &str, kind: &str) -> Json {
    let schema = Json::from(schemas.subschema_for::<T>());
    json!({ "description": description, "content": { kind: { "schema": schema } } })
}
