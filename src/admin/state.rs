//! `/state/`: the committed values of a step with windows, as JSON.
//!
//! The worker answers between two turns of its loop, so the number of questions that wait for it is bounded, and so is the time that one
//! waits. Everything that takes longer than copying is done on a thread of the pool.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header::CONTENT_TYPE;
use axum::http::header::LOCATION;
use axum::http::header::RETRY_AFTER;
use axum::response::IntoResponse;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Look;
use super::Served;
use super::in_query;
use crate::pipeline::AppliedUpTo;
use crate::pipeline::CellReader;
use crate::pipeline::GroupMember;
use crate::pipeline::Handle;
use crate::pipeline::ListPosition;
use crate::pipeline::ListedCell;
use crate::pipeline::StateAnswer;
use crate::pipeline::StateQuestion;
use crate::pipeline::StateWindow;
use crate::pipeline::WantedState;
use crate::pipeline::json_key;
use crate::pipeline::json_time;

/// The most questions that wait for an answer at a time.
const WAITING_MAX: usize = 8;
/// How long one waits for its answer.
const WAIT: Duration = Duration::from_secs(1);
/// A list that needs many answers of the worker ends after this time, and says where it continues.
const LIST: Duration = Duration::from_millis(500);
/// How many entries a list has, by default and at most.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;
/// A list has no further entry when its keys and cells have this many bytes.
const BYTES_MAX: usize = 4 << 20;

const NOT_SERVED: &str = "state is not served at this address: `http.state` is `false`, which is the default unless `http.listen` is a loopback address";

/// The response for a path below `/state/`: that of the only pipeline, or of the one that has the step.
pub(super) async fn respond(pipelines: &[Arc<Served>], uri: &Uri) -> Response {
    if let [pipeline] = pipelines {
        return pipeline.desk.respond(pipeline.look(), uri).await;
    }
    let looks: Vec<(&Arc<Served>, Look)> = pipelines.iter().map(|pipeline| (pipeline, pipeline.look())).collect();
    if looks.iter().all(|(_, look)| !look.serves_state()) {
        return failed(StatusCode::FORBIDDEN, NOT_SERVED, json!({}));
    }
    let step = match request(uri) {
        Ok(Request { step, .. }) => step,
        Err(what) => return failed(StatusCode::BAD_REQUEST, what, json!({})),
    };
    let mut with_step: Vec<_> = looks.into_iter().filter(|(_, look)| look.has_step(&step)).collect();
    match (with_step.pop(), &with_step[..]) {
        (Some((pipeline, look)), []) => pipeline.desk.respond(look, uri).await,
        (None, _) => {
            let what = format!("no pipeline that runs here and serves its state has a step `{step}` with windows");
            failed(StatusCode::NOT_FOUND, &what, json!({}))
        }
        (Some(last), others) => {
            let names: Vec<&str> = others.iter().chain([&last]).map(|(pipeline, _)| &*pipeline.name).collect();
            let what = format!("several pipelines have a step `{step}` with windows: name one with `?pipeline=`");
            failed(StatusCode::BAD_REQUEST, &what, json!({ "pipelines": names }))
        }
    }
}

impl Look {
    /// Whether the pipeline runs, serves its state, and has this step with windows.
    fn has_step(&self, step: &str) -> bool {
        let running = self.running.as_ref().filter(|_| self.serves_state());
        running.and_then(Handle::windowed).is_some_and(|windowed| windowed.0 == step)
    }
}

/// Where questions about the state of a pipeline go.
pub(super) struct Desk {
    waiting: Arc<Semaphore>,
}

/// A request: the step, and what is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    step: String,
    wanted: WantedState,
}

impl Default for Desk {
    fn default() -> Desk {
        Desk { waiting: Arc::new(Semaphore::new(WAITING_MAX)) }
    }
}

impl Desk {
    async fn respond(&self, look: Look, uri: &Uri) -> Response {
        if !look.serves_state() {
            return failed(StatusCode::FORBIDDEN, NOT_SERVED, json!({}));
        }
        let Request { step, wanted } = match request(uri) {
            Ok(request) => request,
            Err(what) => return failed(StatusCode::BAD_REQUEST, what, json!({})),
        };
        let Some(pipeline) = look.running else {
            return busy("the pipeline doesn't run", json!({}));
        };
        let Some((name, reader)) = pipeline.windowed().cloned() else {
            return failed(StatusCode::NOT_FOUND, "the pipeline has no step with windows", json!({}));
        };
        if name != step {
            let what = format!("there is no step `{step}` with windows: the step is `{name}`");
            return failed(StatusCode::NOT_FOUND, &what, json!({}));
        }
        let (sent, deadline) = (uri.path_and_query().map_or("", |path| path.as_str()), Instant::now() + WAIT);
        match &wanted {
            WantedState::List { cells_max, .. } => {
                let limit = *cells_max;
                self.list(&pipeline, step, wanted, limit, reader, deadline).await
            }
            WantedState::Key { key, .. } => {
                let key = key.clone();
                match self.ask(&pipeline, &step, wanted, deadline).await {
                    Ok(answer) => of_key(step, key, answer, reader, sent).await,
                    Err(response) => response,
                }
            }
        }
    }

    /// Asks the worker.
    async fn ask(
        &self,
        pipeline: &Handle,
        step: &str,
        wanted: WantedState,
        deadline: Instant,
    ) -> Result<StateAnswer, Response> {
        let Ok(permit) = Arc::clone(&self.waiting).try_acquire_owned() else {
            return Err(busy(&format!("{WAITING_MAX} questions are waiting for an answer"), json!({})));
        };
        let (reply, answer) = oneshot::channel();
        let question = StateQuestion { step: step.to_owned(), wanted };
        // A question whose client has gone still waits, so it keeps its permit. Sending fails if the client has gone.
        pipeline.ask_state(question, Box::new(move |answer| drop(reply.send((answer, permit)))));
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok((answer, _))) => Ok(answer),
            Ok(Err(_)) => Err(busy("the pipeline has ended, or is starting again", json!({}))),
            Err(_) => {
                let what = format!(
                    "no answer within {WAIT:?}: the pipeline's thread is busy, or the group's coordinator doesn't answer"
                );
                Err(failed(StatusCode::GATEWAY_TIMEOUT, &what, json!({})))
            }
        }
    }

    /// Asks for the parts of a list, until it has `limit` entries.
    async fn list(
        &self,
        pipeline: &Handle,
        step: String,
        wanted: WantedState,
        limit: usize,
        reader: CellReader,
        deadline: Instant,
    ) -> Response {
        let enough = Instant::now() + LIST;
        let WantedState::List { prefix, mut from, .. } = wanted else { return busy("", json!({})) };
        let (mut cells, mut bytes) = (Vec::new(), 0);
        let (next, others) = loop {
            let wanted = WantedState::List { prefix: prefix.clone(), from, cells_max: limit - cells.len() };
            match self.ask(pipeline, &step, wanted, deadline).await {
                Ok(StateAnswer::List { cells: found, next, others }) => {
                    bytes += found.iter().map(|cell| cell.cell.len()).sum::<usize>();
                    cells.extend(found);
                    let is_full = cells.len() >= limit || bytes >= BYTES_MAX || Instant::now() >= enough;
                    match next {
                        Some(next) if !is_full => from = next,
                        Some(_) | None => break (next, others),
                    }
                }
                Ok(answer) => return other(&step, answer, ""),
                Err(response) => return response,
            }
        };
        let read = move || cells.into_iter().map(|cell| entry(&reader, cell)).collect::<Result<Vec<_>, _>>();
        match blocking(read).await {
            Ok(entries) => {
                let next = next.map_or_else(|| "null".to_owned(), |next| format!("\"{next}\""));
                let others = others.map_or(Value::Null, |others| members(&others));
                json_text(
                    StatusCode::OK,
                    format!(
                        "{{\"step\":{},\"entries\":[{}],\"next\":{next},\"others\":{others}}}\n",
                        Value::from(step),
                        entries.join(",")
                    ),
                )
            }
            Err(why) => failed(StatusCode::INTERNAL_SERVER_ERROR, &why, json!({})),
        }
    }
}

/// Reads a request: `/state/STEP/KEY?here`, `/state/STEP/?null`, or `/state/STEP?prefix=&limit=&cursor=`.
fn request(uri: &Uri) -> Result<Request, &'static str> {
    let path = uri.path().strip_prefix("/state/").unwrap_or_default();
    let (step, key) = path.split_once('/').map_or((path, None), |(step, key)| (step, Some(key)));
    let step = decoded(step).and_then(|step| String::from_utf8(step).ok());
    let step = step.filter(|step| !step.is_empty()).ok_or("the path is /state/STEP/KEY or /state/STEP")?;
    let of = |name: &str| in_query(uri.query(), name);
    if let Some(key) = key {
        let key = decoded(key).ok_or("a `%` in the key is not followed by two hexadecimal digits")?;
        if of("null").is_some() && !key.is_empty() {
            return Err("`null` stands for the null key: leave the key out of the path, as in /state/STEP/?null");
        }
        let key = of("null").is_none().then_some(key);
        return Ok(Request { step, wanted: WantedState::Key { key, here: of("here").is_some() } });
    }
    let prefix = decoded(of("prefix").unwrap_or_default());
    let prefix = prefix.ok_or("a `%` in the prefix is not followed by two hexadecimal digits")?;
    let limit = of("limit").map_or(Some(LIMIT), |limit| limit.parse().ok());
    let limit = limit.filter(|limit| (1..=LIMIT_MAX).contains(limit)).ok_or("`limit` is a number from 1 to 1000")?;
    let from = of("cursor").map_or(Ok(ListPosition::START), |cursor| cursor.parse());
    let from = from.map_err(|()| "`cursor` is not the `next` of a list")?;
    Ok(Request { step, wanted: WantedState::List { prefix, from, cells_max: limit } })
}

/// The bytes that a text in a path or a query stands for; `None` if a `%` is not followed by two hexadecimal digits. A `+` stands for
/// itself.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let is_code = |after: &str| after.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
    text.split('%').skip(1).all(is_code).then(|| percent_decode_str(text).collect())
}

/// The response to a question about a key. `sent` is the path and the query of the request.
async fn of_key(step: String, name: Option<Vec<u8>>, answer: StateAnswer, reader: CellReader, sent: &str) -> Response {
    let key = match answer {
        StateAnswer::Key(key) => key,
        answer @ (StateAnswer::List { .. }
        | StateAnswer::NoKey { .. }
        | StateAnswer::NoStep
        | StateAnswer::Restoring { .. }
        | StateAnswer::Owner { .. }
        | StateAnswer::Elsewhere { .. }
        | StateAnswer::Unknown(_)) => return other(&step, answer, sent),
    };
    let at = key.at;
    match blocking(move || reader.windows(name.as_deref(), &key)).await {
        Ok(open) => {
            let windows: Vec<String> =
                open.windows.iter().map(|window| format!("{{{}}}", window_fields(window))).collect();
            let more = if open.is_cut { ",\"more\":true" } else { "" };
            json_text(
                StatusCode::OK,
                format!(
                    "{{\"step\":{},\"partition\":{},\"applied\":{},\"watermark\":{},\"windows\":[{}]{more}}}\n",
                    Value::from(step),
                    at.partition,
                    at.applied,
                    watermark(Some(at)),
                    windows.join(",")
                ),
            )
        }
        Err(why) => failed(StatusCode::INTERNAL_SERVER_ERROR, &why, json!({})),
    }
}

/// The response to an answer without cells.
fn other(step: &str, answer: StateAnswer, sent: &str) -> Response {
    match answer {
        StateAnswer::NoKey { at: Some(at), others } => {
            let what = format!(
                "the key has no open window in partition {}, which Kafka's default partitioner chooses for it",
                at.partition
            );
            let more = json!({
                "step": step, "partition": at.partition, "applied": at.applied, "watermark": time(at.watermark),
                "others": members(&others),
            });
            failed(StatusCode::NOT_FOUND, &what, more)
        }
        StateAnswer::NoKey { at: None, others } => {
            let more = json!({"step": step, "partition": null, "watermark": null, "others": members(&others)});
            failed(StatusCode::NOT_FOUND, "the key has no open window in the partitions of this process", more)
        }
        StateAnswer::Restoring { partition, read, total } => {
            let progress = json!({"partition": partition, "records_read": read, "records_total": total});
            busy(&format!("the state of partition {partition} is being restored"), json!({"restoring": progress}))
        }
        StateAnswer::Owner { partition, member, others } => {
            let what = format!("the key belongs to partition {partition}, which member `{}` has", member.id);
            let more = json!({"step": step, "partition": partition, "member": member.id, "others": members(&others)});
            match &member.address {
                Some(address) => {
                    let mut response = failed(StatusCode::TEMPORARY_REDIRECT, &what, more);
                    if let Ok(location) = format!("http://{address}{sent}").parse() {
                        response.headers_mut().insert(LOCATION, location);
                    }
                    response
                }
                None => {
                    let what = format!("{what}; it has no `http.advertise`, so its address isn't known");
                    failed(StatusCode::MISDIRECTED_REQUEST, &what, more)
                }
            }
        }
        StateAnswer::Elsewhere { others } => {
            let what = "the key is not in the partitions of this process, and it doesn't say which partition it belongs to: ask the others with `?here`";
            let more = json!({"step": step, "partition": null, "others": members(&others)});
            failed(StatusCode::MISDIRECTED_REQUEST, what, more)
        }
        StateAnswer::Unknown(why) => busy(&why, json!({})),
        StateAnswer::NoStep | StateAnswer::Key(_) | StateAnswer::List { .. } => {
            failed(StatusCode::NOT_FOUND, &format!("there is no step `{step}` with windows"), json!({}))
        }
    }
}

fn entry(reader: &CellReader, listed: ListedCell) -> Result<String, String> {
    let (key, partition) = (json_key(listed.key.as_deref()), listed.partition);
    let slice = reader.slice(listed)?;
    Ok(format!("{{\"key\":{key},\"partition\":{partition},{}}}", window_fields(&slice)))
}

/// The numbers of a value are decimals, so its text stays as it is.
fn window_fields(window: &StateWindow) -> String {
    let StateWindow { from, to, value, cell } = window;
    format!("\"from\":{from},\"to\":{to},\"value\":{value},\"cell\":\"{}\"", STANDARD.encode(cell))
}

fn watermark(at: Option<AppliedUpTo>) -> String {
    at.and_then(|at| at.watermark).map_or_else(|| "null".to_owned(), json_time)
}

fn time(ms: Option<i64>) -> Value {
    ms.map_or(Value::Null, |ms| serde_json::from_str(&json_time(ms)).unwrap_or_default())
}

fn members(members: &[GroupMember]) -> Value {
    let member =
        |member: &GroupMember| json!({"member": member.id, "partitions": member.partitions, "address": member.address});
    members.iter().map(member).collect()
}

/// Runs what may take some milliseconds where it delays no probe.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err("the answer can't be made: see the panic in the log".to_owned()))
}

/// A response that another try may change.
fn busy(what: &str, more: Value) -> Response {
    let mut response = failed(StatusCode::SERVICE_UNAVAILABLE, what, more);
    response.headers_mut().insert(RETRY_AFTER, 1.into());
    response
}

fn failed(status: StatusCode, what: &str, more: Value) -> Response {
    let mut body = json!({"error": what});
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    json_text(status, format!("{body}\n"))
}

fn json_text(status: StatusCode, text: String) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uri: &str) -> Result<Request, &'static str> {
        request(&uri.parse().unwrap())
    }

    fn key(key: Option<&[u8]>, here: bool) -> Result<Request, &'static str> {
        Ok(Request { step: "a b".into(), wanted: WantedState::Key { key: key.map(<[u8]>::to_vec), here } })
    }

    #[test]
    fn a_key_may_have_any_bytes() {
        assert_eq!(read("/state/a%20b/c1"), key(Some(b"c1"), false));
        assert_eq!(read("/state/a%20b/%00%ff%2F/x+y?here"), key(Some(b"\0\xff//x+y"), true));
        assert_eq!(read("/state/a%20b/"), key(Some(b""), false));
        assert_eq!(read("/state/a%20b/?null"), key(None, false));
        for wrong in ["/state/a/%", "/state/a/%2", "/state/a/%zz", "/state/a/b?null", "/state//b", "/state/%ff/b"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_list_has_bounds() {
        let list = |prefix: &[u8], from, cells_max| {
            let wanted = WantedState::List { prefix: prefix.to_vec(), from, cells_max };
            Ok(Request { step: "s".into(), wanted })
        };
        assert_eq!(read("/state/s"), list(b"", ListPosition::START, 100));
        let from = "3.60000.7.12".parse().unwrap();
        assert_eq!(read("/state/s?prefix=a%26&limit=1000&cursor=3.60000.7.12"), list(b"a&", from, 1000));
        for wrong in ["limit=0", "limit=1001", "limit=x", "limit=-1", "cursor=x", "prefix=%", "cursor="] {
            assert!(read(&format!("/state/s?{wrong}")).is_err(), "{wrong}");
        }
    }
}
