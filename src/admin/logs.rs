//! The log lines of a pipeline: the last ones, or those that come.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::ConnectInfo;
use axum::extract::Path;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::response::Response;

use super::api;
use super::api::problem;
use super::connections::Connection;
use super::in_query;
use super::pages::Site;
use super::stream::Events;
use super::stream::Gone;
use super::view;
use super::view::StreamMissed;
use super::view::StreamNotice;

/// How often a stream looks for further lines.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Answers with the last lines. With `?follow=1` the answer goes on with those that come.
pub(super) async fn logs(
    State(site): State<Arc<Site>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Extension(connection): Extension<Arc<Connection>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    // Plugins may log what records hold.
    if let Some(refused) = api::refused(&site, from, &headers).await {
        return refused;
    }
    let served = match api::find(&site, &name) {
        Ok(served) => served,
        Err(unknown) => return *unknown,
    };
    let Ok(after) = in_query(uri.query(), "after").map_or(Ok(0), str::parse) else {
        return problem(StatusCode::BAD_REQUEST, "`after` is the number of a line, such as `?after=17`");
    };
    match in_query(uri.query(), "follow") {
        None | Some("0") => api::json(&view::logs(&name, after)),
        Some("1" | "") => {
            let Ok(permit) = Arc::clone(&site.streams.logs).try_acquire_owned() else {
                return api::too_many("streams of log lines");
            };
            let dropped = served.metrics.http_streams_dropped.with_label_values(&["logs"]);
            let (events, answer) = Events::begin(&connection, permit, dropped);
            // It ends with the reader, with the pipeline, or with the server.
            drop(tokio::spawn(follow(events, site, name, after)));
            answer
        }
        Some(_) => problem(StatusCode::BAD_REQUEST, "`follow` is 1 or 0"),
    }
}

/// Sends lines until the reader or the pipeline is gone.
async fn follow(mut events: Events, site: Arc<Site>, name: String, after: u64) -> Result<(), Gone> {
    let mut after = after;
    loop {
        for line in view::logs(&name, after).lines {
            // Older lines than the kept ones are gone.
            let missed = line.number.saturating_sub(after + 1);
            if after > 0 && missed > 0 {
                events.send("missed", &StreamMissed { count: missed }).await?;
            }
            after = line.number;
            events.send("line", &line).await?;
        }
        if !site.board.pipelines().iter().any(|served| *served.name == *name) {
            let text = format!("pipeline `{name}` is gone: its file was removed");
            return events.send("end", &StreamNotice { text }).await;
        }
        events.wait(LOOK_EVERY).await?;
    }
}
