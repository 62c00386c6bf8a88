//! `/api/v1/log`: the filter of the process's log lines.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;
use tokio::time::timeout;

use super::api;
use super::api::problem;
use super::connections::REQUEST;
use super::pages::Site;
use super::view;
use crate::telemetry;
use crate::telemetry::CurrentFilter;
use crate::telemetry::FilterRefused;

/// The longest body of a request.
const BODY_BYTES_MAX: usize = telemetry::FILTER_BYTES_MAX + 1024;
/// The longest time for which a filter can be set.
const TIME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// The filter to be set.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogFilterRequest {
    /// The filter, as `WASMILL_LOG` takes it: `info,wasmill::kafka=debug`.
    pub filter: String,
    /// After this time the one before comes back: `10m`. Without it the filter stays until the process ends.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
}

/// The filter as it is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LogFilterView {
    /// The filter.
    pub filter: String,
    /// Until when, as text, if it was set for a while.
    pub until: Option<String>,
    /// The filter that comes back then.
    pub then: Option<String>,
}

/// Answers with the filter.
pub(super) async fn show() -> Response {
    match telemetry::log_filter() {
        Some(current) => api::json(&shown(current)),
        None => problem(StatusCode::SERVICE_UNAVAILABLE, &FilterRefused::NoLog.to_string()),
    }
}

/// Sets the filter.
pub(super) async fn set(
    State(site): State<Arc<Site>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if let Some(refused) = api::refused(&site, from, &headers).await {
        return refused;
    }
    let (filter, time) = match read(body).await {
        Ok(read) => read,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    let until_ms =
        time.map(|time| telemetry::unix_ms().saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)));
    match telemetry::set_log_filter(&filter, until_ms) {
        Ok(change) => {
            tracing::info!(%from, "an operator has set the log filter to `{}`", filter.trim());
            if let Some(time) = time {
                drop(tokio::spawn(async move {
                    tokio::time::sleep(time).await;
                    if let Some(filter) = telemetry::end_log_filter(change) {
                        tracing::info!("the log filter is `{filter}` again");
                    }
                }));
            }
            show().await
        }
        Err(refused @ FilterRefused::Unreadable(_)) => problem(StatusCode::UNPROCESSABLE_ENTITY, &refused.to_string()),
        Err(refused @ FilterRefused::NoLog) => problem(StatusCode::SERVICE_UNAVAILABLE, &refused.to_string()),
    }
}

/// The filter of a request, and for how long.
async fn read(body: Body) -> Result<(String, Option<Duration>), String> {
    const WANTED: &str = "send for example {\"filter\": \"info,wasmill=debug\", \"for\": \"10m\"}";
    let body = timeout(REQUEST, axum::body::to_bytes(body, BODY_BYTES_MAX)).await;
    let Ok(Ok(body)) = body else {
        return Err(format!("the body has more than {BODY_BYTES_MAX} bytes, or is not whole; {WANTED}"));
    };
    let LogFilterRequest { filter, time } =
        serde_json::from_slice(&body).map_err(|error| format!("the body: {error}; {WANTED}"))?;
    let time = time.map(|text| match humantime::parse_duration(&text) {
        Ok(time) if !time.is_zero() && time <= TIME_MAX => Ok(time),
        Ok(_) | Err(_) => Err(format!("`for`: `{text}` is not a time up to 7 days, such as `10m`")),
    });
    Ok((filter, time.transpose()?))
}

fn shown(CurrentFilter { filter, returns, .. }: CurrentFilter) -> LogFilterView {
    let (until_ms, then) = returns.unzip();
    LogFilterView { filter, until: until_ms.map(view::time), then }
}
