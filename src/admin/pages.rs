//! The response for each path.

use std::fmt::Write;
use std::sync::Arc;

use axum::Router;
use axum::body::HttpBody as _;
use axum::extract::RawQuery;
use axum::extract::Request;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header::CONNECTION;
use axum::http::header::CONTENT_TYPE;
use axum::middleware;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;

use super::HealthCheck;
use super::state::Desk;
use crate::metrics::Metrics;
use crate::pipeline::Check;

/// The list of pages, one per line.
macro_rules! pages {
    () => {
        "/metrics          in Prometheus' text format
/livez            200 while the process works; ?verbose shows its threads
/readyz           200 while records would flow; ?verbose says what is missing
/state/STEP/KEY   committed values of a step with windows; /state/STEP lists them
/version          what runs here
"
    };
}

const FIRST: &str = concat!("a wasmill pipeline; available:\n", pages!());
const NOT_FOUND: &str = concat!("not found; available:\n", pages!());

#[derive(Clone)]
struct Shared {
    metrics: Arc<Metrics>,
    health: Arc<HealthCheck>,
    desk: Desk,
}

pub(super) fn router(metrics: Arc<Metrics>, health: Arc<HealthCheck>, desk: Desk) -> Router {
    Router::new()
        .route("/", get(async || FIRST))
        .route("/metrics", get(metrics_page))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/version", get(version))
        .route("/state/{*path}", get(state))
        .fallback(async || (StatusCode::NOT_FOUND, NOT_FOUND))
        .layer(middleware::from_fn(without_body))
        .with_state(Shared { metrics, health, desk })
}

/// No path here takes a body, so a request with one is refused.
async fn without_body(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    (StatusCode::PAYLOAD_TOO_LARGE, [(CONNECTION, "close")], "no path accepts a request body\n").into_response()
}

async fn metrics_page(State(shared): State<Shared>) -> impl IntoResponse {
    shared.metrics.set_ready((shared.health)().ready);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.metrics.exposition())
}

async fn livez(State(shared): State<Shared>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let health = (shared.health)();
    answer(health.live, "not live; /livez?verbose says why\n", is_verbose(query.as_deref()), &health.threads)
}

async fn readyz(State(shared): State<Shared>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let health = (shared.health)();
    let verbose = is_verbose(query.as_deref());
    let (status, mut text) = answer(health.ready, "not ready; /readyz?verbose says why\n", verbose, &health.checks);
    if verbose {
        text.extend(health.partitions.iter().map(|line| format!("{line}\n")));
    }
    (status, text)
}

async fn state(State(shared): State<Shared>, uri: Uri) -> Response {
    shared.desk.respond(&uri).await
}

async fn version(State(shared): State<Shared>) -> String {
    shared.metrics.versions().map(|(part, version)| format!("{part} {version}\n")).concat()
}

fn is_verbose(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').any(|pair| pair.split('=').next() == Some("verbose")))
}

fn answer(ok: bool, short: &str, verbose: bool, list: &[Check]) -> (StatusCode, String) {
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let text = match (verbose, ok) {
        (true, _) => checks(list),
        (false, true) => "ok\n".to_owned(),
        (false, false) => short.to_owned(),
    };
    (status, text)
}

fn checks(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let written = if check.ok {
            writeln!(text, "[+]{} ok", check.name)
        } else {
            writeln!(text, "[-]{}: {}", check.name, check.detail)
        };
        written.expect("a String takes any text");
    }
    text
}
