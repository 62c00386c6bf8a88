//! HTTP requests to a wasmill: the answer is short JSON, or a stream of events.

use std::fmt::Display;
use std::ops::ControlFlow;
use std::time::Duration;

use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::Limited;
use hyper::Method;
use hyper::Request;
use hyper::Response;
use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::AUTHORIZATION;
use hyper::header::CONTENT_TYPE;
use hyper::header::HOST;
use hyper::header::LOCATION;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HttpAnswer {
    pub(super) status: u16,
    /// Where to ask instead.
    pub(super) location: Option<String>,
    pub(super) body: String,
}

const CONNECT: Duration = Duration::from_secs(3);
/// A process answers within a second, or says that it doesn't.
const ANSWER: Duration = Duration::from_secs(5);
/// A process sends much less.
const BYTES_MAX: usize = 64 << 20;
/// A process sends a sign of life at least each ten seconds.
const SILENCE: Duration = Duration::from_secs(45);
/// A tap cuts records, so that an event is much smaller.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// Sends a GET request. `address` is `host:port`.
///
/// # Errors
/// Why there is no answer.
pub(super) fn get(address: &str, path: &str) -> Result<HttpAnswer, String> {
    send(HttpRequest { address, method: &Method::GET, path, token: None, body: "" })
}

/// A request to `host:port`.
#[derive(Clone, Copy, Debug)]
pub(super) struct HttpRequest<'a> {
    pub(super) address: &'a str,
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) token: Option<&'a str>,
    pub(super) body: &'a str,
}

/// An event of a stream: its name, and its data.
pub(super) type StreamEvent<'a> = (&'a str, &'a str);

/// How a stream of events ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// The answer is no stream.
    Answer(HttpAnswer),
    /// Who handles the events has enough.
    Enough,
    /// The process has ended it.
    Ended,
}

/// Sends a request.
///
/// # Errors
/// Why there is no answer.
pub(super) fn send(request: HttpRequest<'_>) -> Result<HttpAnswer, String> {
    runtime()?.block_on(async {
        let stream = connect(request.address).await?;
        let answer = timeout(ANSWER, async { whole(ask(stream, request).await?).await }).await;
        answer.map_err(|_| format!("no answer within {ANSWER:?}"))?
    })
}

/// Sends a request, and passes the events of the answer to `handle` until that returns `Break`.
///
/// # Errors
/// Why there is no answer, or no further one: the process sends a sign of life when there are no events.
pub(super) fn follow(
    request: HttpRequest<'_>,
    mut handle: impl FnMut(StreamEvent<'_>) -> ControlFlow<()>,
) -> Result<Followed, String> {
    runtime()?.block_on(async {
        let stream = connect(request.address).await?;
        let response = timeout(ANSWER, ask(stream, request)).await;
        let mut response = response.map_err(|_| format!("no answer within {ANSWER:?}"))??;
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if kind != Some("text/event-stream") {
            let answer = timeout(ANSWER, whole(response)).await;
            return answer.map_err(|_| format!("no answer within {ANSWER:?}"))?.map(Followed::Answer);
        }
        let mut unread = Vec::new();
        loop {
            let frame = timeout(SILENCE, response.frame()).await;
            let frame = frame.map_err(|_| format!("the process was silent for {SILENCE:?}"))?;
            let Some(frame) = frame.transpose().map_err(unreadable)? else { return Ok(Followed::Ended) };
            unread.extend_from_slice(&frame.into_data().unwrap_or_default());
            while let Some(end) = unread.windows(2).position(|pair| pair == b"\n\n") {
                let rest = unread.split_off(end + 2);
                let text = String::from_utf8(std::mem::replace(&mut unread, rest)).map_err(unreadable)?;
                if event(&text).is_some_and(|event| handle(event).is_break()) {
                    return Ok(Followed::Enough);
                }
            }
            if unread.len() > EVENT_BYTES_MAX {
                return Err(unreadable("an event has no end"));
            }
        }
    })
}

/// The name and the data of an event; `None` for a sign of life.
fn event(text: &str) -> Option<StreamEvent<'_>> {
    let (name, data) = text.trim_end().strip_prefix("event: ")?.split_once('\n')?;
    Some((name, data.strip_prefix("data: ")?))
}

fn runtime() -> Result<Runtime, String> {
    tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(told)
}

async fn connect(address: &str) -> Result<TcpStream, String> {
    let stream = timeout(CONNECT, TcpStream::connect(address)).await;
    stream.map_err(|_| format!("no connection within {CONNECT:?}"))?.map_err(told)
}

async fn ask(stream: TcpStream, request: HttpRequest<'_>) -> Result<Response<Incoming>, String> {
    let HttpRequest { address, method, path, token, body } = request;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
    // It ends with the runtime, or with the answer.
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header(HOST, address);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).map_err(told)?;
    sender.send_request(request).await.map_err(unreadable)
}

async fn whole(response: Response<Incoming>) -> Result<HttpAnswer, String> {
    let status = response.status().as_u16();
    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok()).map(str::to_owned);
    let body = Limited::new(response.into_body(), BYTES_MAX).collect().await.map_err(unreadable)?.to_bytes();
    Ok(HttpAnswer { status, location, body: String::from_utf8(body.into()).map_err(unreadable)? })
}

fn told(error: impl Display) -> String {
    error.to_string()
}

fn unreadable(error: impl Display) -> String {
    format!("what answers is no HTTP server, or the answer is not whole: {error}")
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A server that sends this and closes the connection, and a question to it.
    fn served<T>(text: &str, question: impl FnOnce(&str) -> T) -> T {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap().to_string();
        let text = text.to_owned();
        let serving = thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).unwrap() > 0);
            stream.write_all(text.as_bytes()).unwrap();
        });
        let answer = question(&address);
        serving.join().unwrap();
        answer
    }

    fn answer(text: &str) -> Option<HttpAnswer> {
        served(text, |address| get(address, "/state/s").ok())
    }

    #[test]
    fn an_answer_is_taken_whole_or_not_at_all() {
        let whole = "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://a:1/x\r\ncontent-length: 2\r\n\r\n{}";
        let expected = HttpAnswer { status: 307, location: Some("http://a:1/x".into()), body: "{}".into() };
        assert_eq!(answer(whole), Some(expected));
        for broken in ["", "HTTP/1.1 200 OK", "SSH-2.0-x\r\n\r\n", &whole[..whole.len() - 1], "HTTP/1.1 x y\r\n\r\n"] {
            assert_eq!(answer(broken), None, "{broken:?}");
        }
    }
    #[test]
    fn events_are_read_one_by_one_until_there_are_enough() {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        let text =
            format!("{head}event: open\ndata: {{}}\n\n:\n\nevent: line\ndata: 1\n\nevent: line\ndata: 2\n\nevent: li");
        let mut seen = Vec::new();
        let mut follow_until = |last: &str| {
            seen.clear();
            let ended = served(&text, |address| {
                let request = HttpRequest { address, method: &Method::GET, path: "/x", token: None, body: "" };
                follow(request, |(name, data)| {
                    seen.push(format!("{name} {data}"));
                    if data == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                })
            });
            (ended, seen.clone())
        };
        assert_eq!(follow_until("1"), (Ok(Followed::Enough), vec!["open {}".to_owned(), "line 1".to_owned()]));
        let (ended, seen) = follow_until("none");
        assert_eq!((ended, seen.len()), (Ok(Followed::Ended), 3), "half an event is none");
        let other = served("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\n{}", |address| {
            let request = HttpRequest { address, method: &Method::GET, path: "/x", token: None, body: "" };
            follow(request, |_| ControlFlow::Continue(()))
        });
        assert_eq!(other, Ok(Followed::Answer(HttpAnswer { status: 403, location: None, body: "{}".into() })));
    }
}
