//! The response for each path.

use std::fmt;
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
use percent_encoding::percent_decode_str;

use super::HealthCheck;
use super::Served;
use super::in_query;
use super::state;
use super::state::Desk;
use crate::metrics;
use crate::metrics::Metrics;
use crate::pipeline::Check;
use crate::pipeline::Health;

/// The list of pages, one per line.
macro_rules! pages {
    () => {
        "/metrics          in Prometheus' text format
/livez            200 while the process works; ?verbose shows its threads
/readyz           200 while records would flow; ?verbose says what is missing; ?pipeline=NAME asks for one
/state/STEP/KEY   committed values of a step with windows; /state/STEP lists them
/version          what runs here
"
    };
}

const FIRST: &str = concat!("wasmill; available:\n", pages!());
const NOT_FOUND: &str = concat!("not found; available:\n", pages!());

/// A pipeline, and where questions about its state go.
struct Page {
    name: Arc<str>,
    metrics: Arc<Metrics>,
    health: Arc<HealthCheck>,
    desk: Desk,
}

/// All pipelines of the process, in the order of the command line.
type Shared = Arc<[Page]>;

pub(super) fn router(pipelines: Vec<Served>) -> Router {
    let page = |Served { name, metrics, health, state }| Page { name, metrics, health, desk: Desk::new(state) };
    let pages: Shared = pipelines.into_iter().map(page).collect();
    Router::new()
        .route("/", get(async || FIRST))
        .route("/metrics", get(metrics_page))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/version", get(version))
        .route("/state/{*path}", get(state_page))
        .fallback(async || (StatusCode::NOT_FOUND, NOT_FOUND))
        .layer(middleware::from_fn(without_body))
        .with_state(pages)
}

/// No path here takes a body, so a request with one is refused.
async fn without_body(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    (StatusCode::PAYLOAD_TOO_LARGE, [(CONNECTION, "close")], "no path accepts a request body\n").into_response()
}

async fn metrics_page(State(pages): State<Shared>) -> impl IntoResponse {
    pages.iter().for_each(|page| page.metrics.set_ready((page.health)().ready));
    let exposition = metrics::exposition(pages.iter().map(|page| &*page.metrics));
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], exposition)
}

async fn livez(State(pages): State<Shared>, RawQuery(query): RawQuery) -> Response {
    probe(&pages, query.as_deref(), ("/livez", "live"), |health| (health.live, &health.threads, &[]))
}

async fn readyz(State(pages): State<Shared>, RawQuery(query): RawQuery) -> Response {
    probe(&pages, query.as_deref(), ("/readyz", "ready"), |health| (health.ready, &health.checks, &health.partitions))
}

async fn state_page(State(pages): State<Shared>, uri: Uri) -> Response {
    let named = match chosen(&pages, uri.query()) {
        Ok(named) => named,
        Err(unknown) => return unknown.into_response(),
    };
    let desks: Vec<_> = named.iter().map(|page| (&*page.name, &page.desk)).collect();
    state::respond(&desks, &uri).await
}

async fn version(State(pages): State<Shared>) -> String {
    let line = |(part, version): (&str, &str)| format!("{part} {version}\n");
    pages.first().map_or_else(String::new, |page| page.metrics.versions().map(line).concat())
}

/// The pipelines that a query asks about: the one that it names, or all.
fn chosen<'a>(pages: &'a [Page], query: Option<&str>) -> Result<Vec<&'a Page>, (StatusCode, String)> {
    let Some(name) = in_query(query, "pipeline") else { return Ok(pages.iter().collect()) };
    let name = percent_decode_str(name).decode_utf8_lossy();
    let found: Vec<&Page> = pages.iter().filter(|page| *page.name == *name).collect();
    if found.is_empty() {
        let text = format!("there is no pipeline `{name}`: there are {}\n", names(pages));
        return Err((StatusCode::NOT_FOUND, text));
    }
    Ok(found)
}

fn names<'a>(pages: impl IntoIterator<Item = &'a Page>) -> String {
    pages.into_iter().map(|page| format!("`{}`", page.name)).collect::<Vec<_>>().join(", ")
}

/// What a probe looks at: whether it passes, the checks behind that, and further lines.
type Looked<'a> = (bool, &'a [Check], &'a [String]);

/// Answers a probe about one pipeline or about all of them. With several, the checks of each have a line with its name above them.
fn probe(
    pages: &[Page],
    query: Option<&str>,
    (path, word): (&str, &str),
    look: impl Fn(&Health) -> Looked<'_>,
) -> Response {
    let pages = match chosen(pages, query) {
        Ok(pages) => pages,
        Err(unknown) => return unknown.into_response(),
    };
    let (mut failing, mut verbose) = (Vec::new(), String::new());
    for page in &pages {
        let health = (page.health)();
        let (ok, list, lines) = look(&health);
        if !ok {
            failing.push(*page);
        }
        if pages.len() > 1 {
            write(&mut verbose, format_args!("pipeline {}: {}{word}", page.name, if ok { "" } else { "not " }));
        }
        checks(list, &mut verbose);
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
