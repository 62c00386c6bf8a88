//! The response for each path.

use std::fmt;
use std::fmt::Write;
use std::sync::Arc;

use axum::Router;
use axum::body::HttpBody as _;
use axum::extract::RawQuery;
use axum::extract::Request;
use axum::extract::State;
use axum::http::Method;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header::CONNECTION;
use axum::http::header::CONTENT_TYPE;
use axum::middleware;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use percent_encoding::percent_decode_str;

use super::Access;
use super::Board;
use super::Served;
use super::api;
use super::in_query;
use super::page;
use super::page::history;
use super::page::history::History;
use super::state;
use super::stream::Streams;
use super::view;
use crate::metrics;
use crate::pipeline::Check;
use crate::pipeline::Health;

/// The list of pages, one per line.
macro_rules! list {
    () => {
        "/                 this page; in a browser with buttons, and /pipelines/NAME for each pipeline
/metrics          in Prometheus' text format
/livez            200 while the process works; ?verbose shows its threads
/readyz           200 while records would flow; ?verbose says what is missing; ?pipeline=NAME asks for one
/state/STEP/KEY   committed values of a step with windows; /state/STEP lists them
/api/v1/pipelines states, lag, partitions and steps as JSON; /api/v1/openapi.json describes the API
/version          what runs here
"
    };
}

pub(super) const LIST: &str = list!();
const NOT_FOUND: &str = concat!("not found; available:\n", list!());

/// What is served.
pub(super) struct Site {
    pub(super) board: Arc<dyn Board>,
    pub(super) access: Access,
    pub(super) history: History,
    pub(super) streams: Streams,
}

impl Site {
    /// Takes samples of all pipelines, until it is dropped.
    pub(super) async fn sample(&self) {
        let mut ticks = tokio::time::interval(history::EVERY);
        loop {
            let at = ticks.tick().await;
            let pipelines = self.board.pipelines();
            let samples: Vec<_> =
                pipelines.into_iter().map(|served| (Arc::clone(&served), view::summary(&served))).collect();
            self.history.sample(at, &samples);
        }
    }
}

/// Shared by all requests.
type Shared = Arc<Site>;

pub(super) fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/metrics", get(metrics_page))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/version", get(version))
        .route("/state/{*path}", get(state_page))
        .merge(api::router())
        .merge(page::router())
        .fallback(async || (StatusCode::NOT_FOUND, NOT_FOUND))
        .layer(middleware::from_fn(without_body))
        .with_state(site)
}

/// Only one path takes a body, so another request with one is refused.
async fn without_body(request: Request, next: Next) -> Response {
    let takes_one = request.method() == Method::PUT && request.uri().path() == api::LOG;
    if takes_one || request.body().is_end_stream() {
        return next.run(request).await;
    }
    (StatusCode::PAYLOAD_TOO_LARGE, [(CONNECTION, "close")], "this path accepts no request body\n").into_response()
}

async fn metrics_page(State(site): State<Shared>) -> impl IntoResponse {
    let pipelines = site.board.pipelines();
    pipelines.iter().for_each(|served| served.metrics.set_ready(served.look().health.ready));
    let exposition = metrics::exposition(pipelines.iter().map(|served| &*served.metrics));
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], exposition)
}

async fn livez(State(site): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let look = |health: &'_ Health| (health.live, health.threads.clone(), Vec::new());
    probe(&site, query.as_deref(), ("/livez", "live"), look)
}

async fn readyz(State(site): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let look = |health: &'_ Health| (health.ready, health.checks.clone(), health.partitions.clone());
    probe(&site, query.as_deref(), ("/readyz", "ready"), look)
}

async fn state_page(State(site): State<Shared>, uri: Uri) -> Response {
    match chosen(&site, uri.query()) {
        Ok(named) => state::respond(&named, &uri).await,
        Err(unknown) => unknown.into_response(),
    }
}

async fn version(State(site): State<Shared>) -> String {
    let line = |(part, version): (&str, &str)| format!("{part} {version}\n");
    site.board.pipelines().first().map_or_else(String::new, |served| served.metrics.versions().map(line).concat())
}

/// The pipelines that a query asks about: the one that it names, or all.
fn chosen(site: &Site, query: Option<&str>) -> Result<Vec<Arc<Served>>, (StatusCode, String)> {
    let all = site.board.pipelines();
    let Some(name) = in_query(query, "pipeline") else { return Ok(all) };
    let name = percent_decode_str(name).decode_utf8_lossy();
    match all.iter().find(|served| *served.name == *name) {
        Some(found) => Ok(vec![Arc::clone(found)]),
        None => Err((StatusCode::NOT_FOUND, format!("there is no pipeline `{name}`: there are {}\n", names(&all)))),
    }
}

fn names<'a>(pipelines: impl IntoIterator<Item = &'a Arc<Served>>) -> String {
    pipelines.into_iter().map(|served| format!("`{}`", served.name)).collect::<Vec<_>>().join(", ")
}

/// What a probe looks at: whether it passes, the checks behind that, and further lines.
type Looked = (bool, Vec<Check>, Vec<String>);

/// Answers a probe about one pipeline or about all of them. With several, the checks of each have a line with its name above them.
fn probe(site: &Site, query: Option<&str>, (path, word): (&str, &str), look: impl Fn(&Health) -> Looked) -> Response {
    let pages = match chosen(site, query) {
        Ok(pages) => pages,
        Err(unknown) => return unknown.into_response(),
    };
    let (mut failing, mut verbose) = (Vec::new(), String::new());
    for page in &pages {
        let (ok, list, lines) = look(&page.look().health);
        if !ok {
            failing.push(page);
        }
        if pages.len() > 1 {
            write(&mut verbose, format_args!("pipeline {}: {}{word}", page.name, if ok { "" } else { "not " }));
        }
        checks(&list, &mut verbose);
        lines.iter().for_each(|line| write(&mut verbose, format_args!("{line}")));
    }
    let status = if failing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let text = match (in_query(query, "verbose").is_some(), failing.is_empty()) {
        (true, _) => verbose,
        (false, true) => "ok\n".to_owned(),
        (false, false) if pages.len() == 1 => format!("not {word}; {path}?verbose says why\n"),
        (false, false) => format!("not {word}: {}; {path}?verbose says why\n", names(failing)),
    };
    (status, text).into_response()
}

fn checks(checks: &[Check], to: &mut String) {
    for check in checks {
        if check.ok {
            write(to, format_args!("[+]{} ok", check.name));
        } else {
            write(to, format_args!("[-]{}: {}", check.name, check.detail));
        }
    }
}

fn write(to: &mut String, line: fmt::Arguments<'_>) {
    writeln!(to, "{line}").expect("a String takes any text");
}
