//! One HTTP request to a wasmill: the answer is short JSON, and the connection is closed after it.

use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::net::ToSocketAddrs;
use std::time::Duration;

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
const BYTES_MAX: u64 = 64 << 20;

/// Sends a GET request. `address` is `host:port`.
///
/// # Errors
/// Why there is no answer.
pub(super) fn get(address: &str, path: &str) -> Result<HttpAnswer, String> {
    let answer = ask(address, path).map_err(|error| error.to_string())?;
    parse(&answer).ok_or_else(|| "what answers is no HTTP server, or the answer is not whole".to_owned())
}

fn ask(address: &str, path: &str) -> io::Result<Vec<u8>> {
    let mut failed = io::Error::other("the name has no address");
    for addr in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&addr, CONNECT) {
            Ok(mut stream) => {
                stream.set_read_timeout(Some(ANSWER))?;
                stream.set_write_timeout(Some(ANSWER))?;
                write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
                let mut answer = Vec::new();
                stream.take(BYTES_MAX).read_to_end(&mut answer)?;
                return Ok(answer);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn parse(answer: &[u8]) -> Option<HttpAnswer> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = (std::str::from_utf8(answer.get(..end)?).ok()?, answer.get(end + 4..)?);
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
    let of = |name: &str| headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
    if of("content-length").is_some_and(|length| length.parse() != Ok(body.len())) {
        return None;
    }
    let body = String::from_utf8(body.to_vec()).ok()?;
    Some(HttpAnswer { status, location: of("location").map(str::to_owned), body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_whole_or_not_at_all() {
        let answer = |text: &str| parse(text.as_bytes());
        let whole = "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://a:1/x\r\ncontent-length: 2\r\n\r\n{}";
        let expected = HttpAnswer { status: 307, location: Some("http://a:1/x".into()), body: "{}".into() };
        assert_eq!(answer(whole), Some(expected));
        for broken in ["", "HTTP/1.1 200 OK", "SSH-2.0-x\r\n\r\n", &whole[..whole.len() - 1], "HTTP/1.1 x y\r\n\r\n"] {
            assert_eq!(answer(broken), None, "{broken:?}");
        }
    }
}
