//! What each path answers.

use std::fmt::Write;
use std::sync::Arc;

use axum::Router;
use axum::extract::RawQuery;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;

use super::HealthCheck;
use crate::metrics::Metrics;
use crate::pipeline::Health;

const NOT_FOUND: &str = "not here; there are
/metrics          in Prometheus' text format
/livez            200 while the process works
/readyz           200 while records would flow; ?verbose says what is missing
/version          what runs here
";

#[derive(Clone)]
struct Shared {
    metrics: Arc<Metrics>,
    health: Arc<HealthCheck>,
}

pub(super) fn router(metrics: Arc<Metrics>, health: Arc<HealthCheck>) -> Router {
    Router::new()
        .route("/metrics", get(metrics_page))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/version", get(version))
        .fallback(async || (StatusCode::NOT_FOUND, NOT_FOUND))
        .with_state(Shared { metrics, health })
}

async fn metrics_page(State(shared): State<Shared>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.metrics.exposition())
}

async fn livez(State(shared): State<Shared>) -> impl IntoResponse {
    if (shared.health)().live {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "a thread of the data path stands still\n")
    }
}

async fn readyz(State(shared): State<Shared>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let health = (shared.health)();
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verbose = query.is_some_and(|query| query.split('&').any(|pair| pair.split('=').next() == Some("verbose")));
    let text = match (verbose, health.ready) {
        (true, _) => checks(&health),
        (false, true) => "ok\n".to_owned(),
        (false, false) => "not ready; /readyz?verbose says why\n".to_owned(),
    };
    (status, text)
}

async fn version() -> String {
    format!("wasmill {}\n", env!("CARGO_PKG_VERSION"))
}

fn checks(health: &Health) -> String {
    let mut text = String::new();
    for check in &health.checks {
        let written = if check.ok {
            writeln!(text, "[+]{} ok", check.name)
        } else {
            writeln!(text, "[-]{}: {}", check.name, check.detail)
        };
        written.expect("a String takes any text");
    }
    text
}
