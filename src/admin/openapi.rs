//! The OpenAPI document of `/api/v1/`, with the schemas of the structs that it answers with.

use schemars::JsonSchema;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::Value as Json;
use serde_json::json;

use super::board::Operation;
use super::view;

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
            "get": read::<view::Logs>(&mut schemas, "The last log lines of a pipeline", &[name(), json!({
                "name": "after", "in": "query", "description": "Only lines after the one of this number", "schema": { "type": "integer" }
            })])
        },
        "/api/v1/pipelines/{name}/skip": { "post": skip(&mut schemas) },
        "/api/v1/pipelines/{name}/{operation}": { "post": operate(&mut schemas) },
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "wasmill",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The pipelines of a process. What changes something, and log lines, need the token of `[http] token` in wasmill.toml; without one \
                            it is for requests from the same machine.",
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

/// What an operation is answered with.
fn operated(schemas: &mut SchemaGenerator) -> Json {
    let mut responses = json!({ "200": answer::<view::Operated>(schemas, "It is done, or begun", "application/json") });
    for (status, why) in [
        ("400", "A parameter is missing, or isn't known"),
        ("401", "There is no token, or a wrong one"),
        ("403", "It comes from another machine, or from the page of another server"),
        ("404", "There is no such pipeline, or no such operation"),
        ("409", "The pipeline is in a state in which this can't be done"),
    ] {
        responses[status] = answer::<view::Problem>(schemas, why, "application/problem+json");
    }
    responses
}

fn answer<T: JsonSchema>(schemas: &mut SchemaGenerator, description: &str, kind: &str) -> Json {
    let schema = Json::from(schemas.subschema_for::<T>());
    json!({ "description": description, "content": { kind: { "schema": schema } } })
}
