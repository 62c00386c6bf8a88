//! One HTTP request to a wasmill: the answer is short JSON.

use std::fmt::Display;
use std::time::Duration;

use http_body_util::BodyExt;
use http_body_util::Empty;
use http_body_util::Limited;
use hyper::Method;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::AUTHORIZATION;
use hyper::header::HOST;
use hyper::header::LOCATION;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
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

/// Sends a GET request. `address` is `host:port`.
///
/// # Errors
/// Why there is no answer.
pub(super) fn get(address: &str, path: &str) -> Result<HttpAnswer, String> {
    send(address, &Method::GET, path, None)
}

/// Sends a request without a body, with a token if there is one. `address` is `host:port`.
///
/// # Errors
/// Why there is no answer.
pub(super) fn send(address: &str, method: &Method, path: &str, token: Option<&str>) -> Result<HttpAnswer, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(told)?;
    runtime.block_on(async {
        let stream = timeout(CONNECT, TcpStream::connect(address)).await;
        let stream = stream.map_err(|_| format!("no connection within {CONNECT:?}"))?.map_err(told)?;
        let answer = timeout(ANSWER, ask(stream, address, method, path, token)).await;
        answer.map_err(|_| format!("no answer within {ANSWER:?}"))?
    })
}

async fn ask(
    stream: TcpStream,
    address: &str,
    method: &Method,
    path: &str,
    token: Option<&str>,
) -> Result<HttpAnswer, String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
    // It ends with the runtime, or with the answer.
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header(HOST, address);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(told)?;
    let response = sender.send_request(request).await.map_err(unreadable)?;
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

    /// Asks a server that sends this and closes the connection.
    fn answer(text: &str) -> Option<HttpAnswer> {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap().to_string();
        let text = text.to_owned();
        let serving = thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).unwrap() > 0);
            stream.write_all(text.as_bytes()).unwrap();
        });
        let answer = get(&address, "/state/s");
        serving.join().unwrap();
        answer.ok()
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
}
