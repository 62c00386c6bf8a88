//! The page for people: whether everything is well, what is stuck and why, and what is safe to do.
//!
//! It is rendered here, needs nothing from elsewhere, and every figure is one of `/metrics`. Programs that ask for text get a table.

mod advice;
pub(super) mod history;

use std::net::SocketAddr;
use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::Path;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::StatusCode;
use axum::http::header::ACCEPT;
use axum::http::header::CACHE_CONTROL;
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::http::header::CONTENT_TYPE;
use axum::http::header::REFERRER_POLICY;
use axum::http::header::X_CONTENT_TYPE_OPTIONS;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use tokio::time::Instant;

use super::api;
use super::board::Operation;
use super::board::Served;
use super::pages;
use super::pages::Site;
use super::view;
use super::view::CheckView;
use super::view::Detail;
use super::view::Logs;
use super::view::MemoryView;
use super::view::StepView;
use super::view::StoppedAtView;
use super::view::Summary;
use crate::budget::Mib;
use advice::Advice;
use advice::Tone;

/// Everything comes from this server: nothing else may be loaded, and no other page may show this one.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; frame-ancestors 'none'; \
                      form-action 'none'; base-uri 'none'";

pub(super) fn router() -> Router<Arc<Site>> {
    let script =
        async || ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("../../../templates/page/page.js"));
    let style =
        async || ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("../../../templates/page/page.css"));
    Router::new()
        .route("/", get(overview))
        .route("/pipelines/{name}", get(pipeline))
        .route("/page.js", get(script))
        .route("/page.css", get(style))
}

/// A pipeline in the overview.
struct Row {
    summary: Summary,
    advice: Advice,
    /// What is safe to do about it.
    buttons: Vec<Button>,
    /// Its page.
    link: String,
    lag_age: String,
    rate_in: String,
    rate_out: String,
    /// The curve of its lag.
    spark: String,
}

#[derive(Template)]
#[template(path = "page/overview.html")]
struct Overview {
    version: &'static str,
    /// Whether everything is well, in one line.
    headline: String,
    tone: Tone,
    /// Those that are not well, the worst first.
    stuck: Vec<Row>,
    rows: Vec<Row>,
}

#[derive(Template)]
#[template(path = "page/pipeline.html")]
struct OfPipeline {
    version: &'static str,
    row: Row,
    detail: Detail,
    /// What it holds of the process's memory.
    memory: String,
    steps: Vec<StepRow>,
    buttons: Vec<Button>,
    /// `None` if the reader may not see it.
    private: Option<Private>,
    /// Whether records may be watched.
    serves_tap: bool,
}

/// What only readers who may give orders see.
struct Private {
    log: Logs,
    /// The values that take effect, or why they aren't known.
    config: Result<String, String>,
}

struct Button {
    operation: &'static str,
    meaning: &'static str,
    /// What it says, if that is more than the operation.
    query: String,
    /// Whether it is what is safe to do.
    helps: bool,
}

struct StepRow {
    view: StepView,
    /// Its plugin, with version and digest.
    plugin: String,
    p50: String,
    p99: String,
    memory: String,
}

async fn overview(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let pipelines = site.board.pipelines();
    let rows = || pipelines.iter().map(|served| row(&site, served)).collect::<Vec<Row>>();
    let all = rows();
    if !wants_html(&headers) {
        return table(&all).into_response();
    }
    let mut stuck: Vec<Row> = rows().into_iter().filter(|row| row.advice.tone > Tone::Well).collect();
    stuck.sort_by_key(|row| std::cmp::Reverse(row.advice.tone));
    let tone = stuck.first().map_or(Tone::Well, |row| row.advice.tone);
    let headline = headline(&all);
    html(&Overview { version: env!("CARGO_PKG_VERSION"), headline, tone, stuck, rows: all })
}

async fn pipeline(
    State(site): State<Arc<Site>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let pipelines = site.board.pipelines();
    let Some(served) = pipelines.iter().find(|served| *served.name == *name) else {
        return (StatusCode::NOT_FOUND, format!("there is no pipeline `{name}`; / lists them\n")).into_response();
    };
    let detail = view::detail(served);
    let row = row_of(&site, detail.summary.clone(), &detail.checks);
    let steps = detail.steps.iter().map(|step| step_row(step, &detail.summary)).collect();
    let fitting = Operation::ALL.into_iter().filter(|operation| fits(*operation, &detail.summary.state));
    let buttons =
        fitting.map(|operation| Button { helps: row.advice.operation == Some(operation), ..button(operation) });
    let buttons = buttons.chain(row.advice.skip.as_ref().map(skip_button)).collect();
    let look = served.look();
    // Plugins may log what records hold.
    let may_see = api::refused(&site, from, &headers).await.is_none();
    let private = may_see.then(|| Private { log: view::logs(&name, 0), config: look.shown_config() });
    let serves_tap = look.serves_tap();
    let memory = memory(&detail.memory);
    html(&OfPipeline { version: env!("CARGO_PKG_VERSION"), row, detail, memory, steps, buttons, private, serves_tap })
}

fn button(operation: Operation) -> Button {
    Button { operation: operation.label(), meaning: operation.meaning(), query: String::new(), helps: false }
}

/// The button that leaves out a record. It names the record, so that a page that is old leaves out no other one.
fn skip_button(record: &StoppedAtView) -> Button {
    let StoppedAtView { topic, partition, offset, .. } = record;
    let topic = utf8_percent_encode(topic, NON_ALPHANUMERIC);
    Button {
        operation: "skip",
        meaning: "tries the record at which it has stopped once more, and leaves out this one record if it fails again; then goes on. A record \
                  that is left out is read again only if the group's offset is moved back",
        query: format!("topic={topic}&partition={partition}&offset={offset}"),
        helps: false,
    }
}

/// Whether an operation does something in this state.
fn fits(operation: Operation, state: &str) -> bool {
    let runs = !matches!(state, "failed" | "stopped" | "draining");
    match operation {
        Operation::Pause => runs && state != "paused",
        Operation::Resume => matches!(state, "paused" | "halted"),
        Operation::Restart | Operation::Stop => runs || state == "failed",
        Operation::Start => !runs,
        Operation::Reload => runs || state == "failed",
    }
}

fn row(site: &Site, served: &Served) -> Row {
    let health = served.look().health;
    let checks: Vec<CheckView> = health.checks.iter().map(view::check).collect();
    row_of(site, view::summary(served), &checks)
}

fn row_of(site: &Site, summary: Summary, checks: &[CheckView]) -> Row {
    let (rates, spark) = site.history.of(Instant::now(), &summary);
    let advice = advice::advice(&summary, checks, rates);
    let buttons = advice.operation.map(button).into_iter().chain(advice.skip.as_ref().map(skip_button)).collect();
    Row {
        advice,
        buttons,
        link: format!("/pipelines/{}", utf8_percent_encode(&summary.name, NON_ALPHANUMERIC)),
        lag_age: if summary.lag.seconds > 0.0 { format!("{:.0} s", summary.lag.seconds) } else { String::new() },
        rate_in: format!("{:.0}", rates.consumed),
        rate_out: format!("{:.0}", rates.produced),
        spark,
        summary,
    }
}

fn step_row(step: &StepView, summary: &Summary) -> StepRow {
    let plugin = summary.plugins.iter().find(|plugin| plugin.step == step.name);
    let plugin = plugin.map_or_else(String::new, |plugin| {
        format!("{} {} ({})", plugin.plugin, plugin.version, plugin.digest).replace("  ", " ")
    });
    StepRow {
        plugin,
        p50: time(step.p50),
        p99: time(step.p99),
        memory: format!("{} of {} MiB", step.memory_bytes >> 20, (step.memory_limit_bytes * step.instances) >> 20),
        view: step.clone(),
    }
}

/// What a pipeline holds of the process's memory.
fn memory(view: &MemoryView) -> String {
    let [plugins, in_flight, state, all] = [view.plugins, view.in_flight, view.state, view.process].map(Mib);
    let limit = view.process_limit.map_or_else(String::new, |limit| format!(" of {}", Mib(limit)));
    format!("plugins {plugins}, in flight {in_flight}, state {state}; all pipelines {all}{limit}")
}

/// A time in the unit that people read best.
fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => String::new(),
        Some(seconds) if seconds < 0.001 => format!("{:.0} us", seconds * 1e6),
        Some(seconds) if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        Some(seconds) => format!("{seconds:.1} s"),
    }
}

/// Whether everything is well, in one line.
fn headline(rows: &[Row]) -> String {
    let of = |tone| rows.iter().filter(|row| row.advice.tone == tone).count();
    let (act, wait) = (of(Tone::Act), of(Tone::Wait));
    match (rows.len(), act, wait) {
        (0, _, _) => "There is no pipeline: put a file into the folder".to_owned(),
        (_, 0, 0) => "Everything is well".to_owned(),
        (all, 0, wait) => format!("Nothing has to be done; not all is running: {wait} of {all} pipelines"),
        (all, act, _) => format!("A person is needed for {act} of {all} pipelines"),
    }
}

/// The overview for a terminal.
fn table(rows: &[Row]) -> String {
    let header = ["pipeline", "state", "lag", "in/s", "out/s", "failures", "dead letters"].map(str::to_owned).to_vec();
    let cells = rows.iter().map(|Row { summary, rate_in, rate_out, .. }| {
        vec![
            summary.name.clone(),
            summary.state.clone(),
            summary.lag.records.to_string(),
            rate_in.clone(),
            rate_out.clone(),
            summary.records.failures.to_string(),
            summary.records.dead_lettered.to_string(),
        ]
    });
    let lines: Vec<Vec<String>> = std::iter::once(header).chain(cells).collect();
    let mut page = view::columns(&lines);
    for row in rows.iter().filter(|row| row.advice.tone > Tone::Well) {
        page.push_str(&format!("\n{}: {}\n  {}\n", row.summary.name, row.advice.why, row.advice.safe));
    }
    page.push('\n');
    page + pages::LIST
}

/// A browser says that it takes HTML; curl doesn't.
fn wants_html(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}

fn html(page: &impl Template) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    match page.render() {
        Ok(text) => (headers, text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("the page can't be made: {error}\n")).into_response(),
    }
}
