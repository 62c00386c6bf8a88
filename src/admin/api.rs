//! `/api/v1/`: pipelines as JSON, and what an operator may do with them. `openapi.json` describes it.
//!
//! Errors are `application/problem+json`. Only the log filter is set by a body: what anything else needs is in its path and query.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::Path;
use axum::extract::Query;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use axum::routing::post;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::access;
use super::access::Denied;
use super::board::Operation;
use super::board::Refused;
use super::board::Served;
use super::log_filter;
use super::logs;
use super::openapi;
use super::pages::Site;
use super::tap;
use super::view;
use crate::record::RecordId;
use crate::record::TopicPartition;

/// The path of the log filter.
pub(super) const LOG: &str = "/api/v1/log";

pub(super) fn router() -> Router<Arc<Site>> {
    Router::new()
        .route("/api/v1/openapi.json", get(async || json(&openapi::document())))
        .route("/api/v1/version", get(version))
        .route(LOG, get(log_filter::show).put(log_filter::set))
        .route("/api/v1/pipelines", get(list))
        .route("/api/v1/pipelines/{name}", get(one))
        .route("/api/v1/pipelines/{name}/config", get(config))
        .route("/api/v1/pipelines/{name}/logs", get(logs::logs))
        .route("/api/v1/pipelines/{name}/tap", get(tap::tap))
        .route("/api/v1/pipelines/{name}/{operation}", post(operate))
}

/// An error for programs and people.
pub(super) fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let (kind, title) = ("about:blank".to_owned(), title.to_owned());
    let problem = view::Problem { kind, title, status: status.as_u16(), detail: detail.to_owned() };
    let body = serde_json::to_string(&problem).unwrap_or_default();
    (status, [(CONTENT_TYPE, "application/problem+json")], format!("{body}\n")).into_response()
}

/// The answer with this value.
pub(super) fn json(value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], format!("{text}\n")).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn version(State(site): State<Arc<Site>>) -> Response {
    let pipelines = site.board.pipelines();
    let versions =
        pipelines.first().map(|first| first.metrics.versions().map(|(part, version)| (part, version.to_owned())));
    let map: serde_json::Map<String, serde_json::Value> =
        versions.into_iter().flatten().map(|(part, version)| (part.to_owned(), version.into())).collect();
    json(&map)
}

async fn list(State(site): State<Arc<Site>>) -> Response {
    let pipelines = site.board.pipelines().iter().map(|served| view::summary(served)).collect();
    json(&view::Pipelines { pipelines })
}

async fn one(State(site): State<Arc<Site>>, Path(name): Path<String>) -> Response {
    match find(&site, &name) {
        Ok(served) => json(&view::detail(&served)),
        Err(unknown) => *unknown,
    }
}

async fn config(
    State(site): State<Arc<Site>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Some(refused) = refused(&site, from, &headers).await {
        return refused;
    }
    let served = match find(&site, &name) {
        Ok(served) => served,
        Err(unknown) => return *unknown,
    };
    match served.look().shown_config() {
        Ok(toml) => json(&view::ConfigView { toml }),
        Err(why) => problem(StatusCode::CONFLICT, &why),
    }
}

/// The pipeline of this name, or the answer that there is none.
pub(super) fn find(site: &Site, name: &str) -> Result<Arc<Served>, Box<Response>> {
    let pipelines = site.board.pipelines();
    pipelines.iter().find(|served| *served.name == *name).cloned().ok_or_else(|| Box::new(unknown(&pipelines, name)))
}

/// The answer if the bound on streams is reached.
pub(super) fn too_many(what: &str) -> Response {
    problem(StatusCode::TOO_MANY_REQUESTS, &format!("too many {what} are open: close one of them"))
}

fn unknown(pipelines: &[Arc<Served>], name: &str) -> Response {
    let names: Vec<String> = pipelines.iter().map(|served| format!("`{}`", served.name)).collect();
    let there = if names.is_empty() { "there is none".to_owned() } else { format!("there are {}", names.join(", ")) };
    problem(StatusCode::NOT_FOUND, &format!("there is no pipeline `{name}`: {there}"))
}

async fn operate(
    State(site): State<Arc<Site>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Path((name, operation)): Path<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    if let Some(refused) = refused(&site, from, &headers).await {
        return refused;
    }
    if operation == SKIP {
        return skip(&site, from, &name, &uri);
    }
    let Some(operation) = Operation::ALL.into_iter().find(|known| known.label() == operation) else {
        let known: Vec<&str> = Operation::ALL.into_iter().map(Operation::label).chain([SKIP]).collect();
        let what = format!("there is no operation `{operation}`: there are {}", known.join(", "));
        return problem(StatusCode::NOT_FOUND, &what);
    };
    if operation == Operation::Reload && uri.query() == Some("dry_run=1") {
        return would_reload(&site, &name).await;
    }
    if let Some(query) = uri.query().filter(|query| !query.is_empty()) {
        return problem(StatusCode::BAD_REQUEST, &format!("`{operation}` takes no parameters, and got `{query}`"));
    }
    tracing::info!(%from, "an operator asks for `{operation}` of pipeline `{name}`");
    operated(&site, &name, operation.label(), site.board.operate(&name, &operation))
}

fn operated(site: &Site, pipeline: &str, operation: &str, result: Result<String, Refused>) -> Response {
    match result {
        Ok(result) => json(&view::Operated { pipeline: pipeline.to_owned(), operation: operation.to_owned(), result }),
        Err(Refused::Unknown) => unknown(&site.board.pipelines(), pipeline),
        Err(Refused::Conflict(why)) => problem(StatusCode::CONFLICT, &why),
    }
}

/// The operation that names a record.
const SKIP: &str = "skip";

/// The record of [`SKIP`], in the query: an operator names it, so that none is left out by accident.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordQuery {
    topic: String,
    partition: i32,
    offset: i64,
}

fn skip(site: &Site, from: SocketAddr, name: &str, uri: &Uri) -> Response {
    let Query(RecordQuery { topic, partition, offset }) = match Query::try_from_uri(uri) {
        Ok(record) => record,
        Err(error) => {
            let what = format!(
                "`{SKIP}` needs the record, as in `?topic=orders&partition=0&offset=17`: {}",
                error.body_text()
            );
            return problem(StatusCode::BAD_REQUEST, &what);
        }
    };
    let record = RecordId { partition: TopicPartition { topic: topic.into(), partition }, offset };
    let TopicPartition { topic, partition } = &record.partition;
    tracing::info!(%from, topic = &**topic, partition, offset, "an operator asks for `{SKIP}` of pipeline `{name}`");
    operated(site, name, SKIP, site.board.skip(name, &record))
}

/// The longest wait for what a reload would change: it asks brokers, and compiles plugins.
const WOULD_RELOAD_MAX: Duration = Duration::from_secs(60);

async fn would_reload(site: &Site, name: &str) -> Response {
    let (sender, answer) = oneshot::channel();
    // The request may be gone by then.
    let asked = site.board.would_reload(name, Box::new(move |told| drop(sender.send(told))));
    let told = match asked {
        Ok(()) => match timeout(WOULD_RELOAD_MAX, answer).await {
            Ok(Ok(Ok(said))) => Ok(format!("a reload would change: {said}")),
            Ok(Ok(Err(why))) => Err(Refused::Conflict(format!("a reload would be refused: {why}"))),
            Ok(Err(_)) => Err(Refused::Conflict("the pipeline has ended".to_owned())),
            Err(_) => Err(Refused::Conflict(format!("no answer within {WOULD_RELOAD_MAX:?}: it loads something else"))),
        },
        Err(refused) => Err(refused),
    };
    operated(site, name, Operation::Reload.label(), told)
}

/// The response to a request that may neither change anything nor see what records hold: to a wrong token after a while.
pub(super) async fn refused(site: &Site, from: SocketAddr, headers: &HeaderMap) -> Option<Response> {
    let denied = site.access.judge(from, headers).err()?;
    if denied == Denied::WrongToken {
        tracing::warn!(%from, "a request with a wrong token was refused");
        tokio::time::sleep(access::DELAY).await;
    }
    let status = match denied {
        Denied::NoToken | Denied::WrongToken => StatusCode::UNAUTHORIZED,
        Denied::Elsewhere | Denied::OtherPage => StatusCode::FORBIDDEN,
    };
    Some(problem(status, denied.text()))
}
