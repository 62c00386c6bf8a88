//! `/api/v1/pipelines/NAME/tap`: records of a pipeline as they pass its steps.
//!
//! It shows what records hold: only where a file permits it, and to users who may give orders. A tap outlives reloads and restarts of its
//! pipeline. The buffer of the tap is emptied at intervals, which bounds what one costs the process.

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
use percent_encoding::percent_decode_str;
use tokio::time::Instant;

use super::api;
use super::api::problem;
use super::board::Look;
use super::board::Served;
use super::connections::Connection;
use super::pages::Site;
use super::stream::Events;
use super::stream::Gone;
use super::view;
use super::view::StreamMissed;
use super::view::StreamNotice;
use super::view::TapOpened;
use crate::tap::OpenTap;
use crate::tap::TapFilter;
use crate::tap::TapPoint;

/// How often the buffer is emptied.
const TAKE_EVERY: Duration = Duration::from_millis(100);
/// How often it is checked whether the tap may still be open, and has something to show.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What to do where taps are off.
pub(super) const OFF: &str = "records of this pipeline may not be watched: write `tap = true` in `[http]` of its file, or of wasmill.toml for all pipelines";

/// Opens a tap.
pub(super) async fn tap(
    State(site): State<Arc<Site>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Extension(connection): Extension<Arc<Connection>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    if let Some(refused) = api::refused(&site, from, &headers).await {
        return refused;
    }
    let served = match api::find(&site, &name) {
        Ok(served) => served,
        Err(unknown) => return *unknown,
    };
    let look = served.look();
    if !look.serves_tap() {
        return problem(StatusCode::FORBIDDEN, OFF);
    }
    let (filter, limit) = match wanted(uri.query().unwrap_or_default(), &look.steps()) {
        Ok(wanted) => wanted,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    let Ok(permit) = Arc::clone(&site.streams.taps).try_acquire_owned() else { return api::too_many("taps") };
    let dropped = served.metrics.http_streams_dropped.with_label_values(&["tap"]);
    let (events, answer) = Events::begin(&connection, permit, dropped);
    tracing::info!(%from, "an operator watches records of pipeline `{name}`");
    let watch = Watch { tap: served.metrics.taps.open(filter.clone()), site, served, filter, said: String::new() };
    // It ends with the reader, or with the server.
    drop(tokio::spawn(watch.run(events, limit)));
    answer
}

/// Reads the query: what the tap is for, and after how many records it ends.
fn wanted(query: &str, steps: &[String]) -> Result<(TapFilter, Option<u64>), String> {
    let (mut filter, mut limit) = (TapFilter::default(), None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value).decode_utf8();
        let value = value.map_err(|_| format!("`{name}` is not UTF-8"))?.into_owned();
        match name {
            "step" if steps.is_empty() || steps.contains(&value) => filter.step = Some(value),
            "step" => return Err(no_step(&value, steps)),
            "when" => {
                let known = TapPoint::ALL.into_iter().find(|point| point.label() == value);
                filter.point = Some(known.ok_or_else(|| format!("`when` is in, out or failed, and not `{value}`"))?);
            }
            "match" => filter.text = Some(value),
            "key" => filter.key = Some(value),
            "limit" => {
                let number = value.parse().ok().filter(|limit: &u64| *limit > 0);
                limit = Some(number.ok_or_else(|| format!("`limit` is a number from 1 on, and not `{value}`"))?);
            }
            _ => return Err(format!("there is no `{name}`: there are step, when, match, key and limit")),
        }
    }
    Ok((filter, limit))
}

fn no_step(step: &str, steps: &[String]) -> String {
    let there: Vec<String> = steps.iter().map(|step| format!("`{step}`")).collect();
    format!("there is no step `{step}`: there are {}", there.join(", "))
}

/// An open tap, and what it is about.
struct Watch {
    site: Arc<Site>,
    served: Arc<Served>,
    tap: OpenTap,
    filter: TapFilter,
    /// The last notice.
    said: String,
}

impl Watch {
    /// Sends records until the reader is gone or has enough.
    async fn run(mut self, mut events: Events, limit: Option<u64>) -> Result<(), Gone> {
        let mut look = self.served.look();
        events.send("open", &TapOpened { pipeline: self.served.name.to_string(), steps: look.steps() }).await?;
        let (mut left, mut looked) = (limit.unwrap_or(u64::MAX), None::<Instant>);
        loop {
            if looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
                looked = Some(Instant::now());
                if let Some(text) = self.find(&mut look) {
                    return events.send("end", &StreamNotice { text }).await;
                }
                self.notice(&mut events, &look).await?;
            }
            let (records, missed) = self.tap.take();
            for record in records {
                events.send("record", &view::tapped(record, |output| look.topic(output))).await?;
                left -= 1;
                if left == 0 {
                    let text = "the limit is reached".to_owned();
                    return events.send("end", &StreamNotice { text }).await;
                }
            }
            if missed > 0 {
                events.send("missed", &StreamMissed { count: missed }).await?;
            }
            events.wait(TAKE_EVERY).await?;
        }
    }

    /// Looks at the pipeline again. Returns why the tap has to end, if it has to.
    fn find(&mut self, look: &mut Look) -> Option<String> {
        let name = &self.served.name;
        let Some(served) = self.site.board.pipelines().into_iter().find(|served| served.name == *name) else {
            return Some(format!("pipeline `{name}` is gone: its file was removed"));
        };
        if !Arc::ptr_eq(&served, &self.served) {
            self.tap = served.metrics.taps.open(self.filter.clone());
            self.served = served;
        }
        *look = self.served.look();
        // A pipeline that starts again has not read its file yet.
        (look.config.is_some() && !look.serves_tap()).then(|| OFF.to_owned())
    }

    /// Tells once why nothing can be seen.
    async fn notice(&mut self, events: &mut Events, look: &Look) -> Result<(), Gone> {
        let (state, steps) = (look.state.unwrap_or_else(|| self.served.metrics.state().state).label(), look.steps());
        let text = match &self.filter.step {
            Some(step) if !steps.is_empty() && !steps.contains(step) => no_step(step, &steps),
            Some(_) | None if state != "running" => format!("the pipeline is {state}: {}", look.reason.trim_end()),
            Some(_) | None => String::new(),
        };
        if text == self.said {
            return Ok(());
        }
        let shown = if text.is_empty() { "the pipeline is running".to_owned() } else { text.clone() };
        self.said = text;
        events.send("notice", &StreamNotice { text: shown }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_whole_and_mistakes_are_named() {
        let steps = ["mask".to_owned(), "re route".to_owned()];
        let (filter, limit) = wanted("step=re%20route&when=failed&match=a%26b&key=%C3%BC&limit=5", &steps).unwrap();
        assert_eq!((filter.step.as_deref(), filter.point), (Some("re route"), Some(TapPoint::Failed)));
        assert_eq!((filter.text.as_deref(), filter.key.as_deref(), limit), (Some("a&b"), Some("\u{fc}"), Some(5)));
        assert!(wanted("", &steps).is_ok_and(|(filter, limit)| filter.step.is_none() && limit.is_none()));
        for (query, why) in [
            ("step=none", "there is no step `none`: there are `mask`, `re route`"),
            ("when=before", "`when` is in, out or failed"),
            ("limit=0", "`limit` is a number from 1 on"),
            ("limit=-1", "`limit` is a number from 1 on"),
            ("key=%ff", "`key` is not UTF-8"),
            ("match=a&stop=1", "there is no `stop`"),
        ] {
            let error = wanted(query, &steps).unwrap_err();
            assert!(error.contains(why), "{query}: {error}");
        }
    }
}
