//! HTTP requests to the servers that a step grants: `allow = { http = ["https://tiers.internal"] }`.
//!
//! ```
//! # use wasmill_sdk::{Failure, http, reject, retry};
//! fn tier(customer: u64) -> Result<Vec<u8>, Failure> {
//!     let response = http::get(format!("https://tiers.internal/tiers/{customer}")).send().map_err(retry)?;
//!     match response.status {
//!         200 => Ok(response.body),
//!         404 => Err(reject("unknown-customer", customer)),
//!         status => Err(retry(format!("the tiers' server returned {status}"))),
//!     }
//! }
//! ```
//!
//! A request waits for its response, and ends before the step's `timeout`. To have many in flight, give the step `batch = 1` and the
//! pipeline `limits.parallelism`: each record then waits for its own. Redirects are returned, not followed. After a fault or a crash
//! records are processed again, and so are their requests. In `cargo test` the responses are those of [`testing::respond`].
//!
//! [`testing::respond`]: crate::testing::respond

use std::fmt;
use std::time::Duration;

/// A request for a resource, to send with [`Request::send`].
pub fn get(url: impl Into<String>) -> Request {
    request("GET", url)
}

/// A request with a body.
pub fn post(url: impl Into<String>, body: impl Into<Vec<u8>>) -> Request {
    Request { body: body.into(), ..request("POST", url) }
}

/// A request with another method, in upper case. The step has to list it, in `http_methods` of `allow`.
pub fn request(method: impl Into<String>, url: impl Into<String>) -> Request {
    Request { method: method.into(), url: url.into(), headers: Vec::new(), body: Vec::new(), timeout: None }
}

/// A request that has not been sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// In upper case.
    pub method: String,
    /// With scheme and host.
    pub url: String,
    /// Names and values, in the order of sending. The host sends `host` and the body's length by itself.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Empty for none.
    pub body: Vec<u8>,
    /// The longest time until the response begins, and between its parts, if less than the step's `timeout` leaves.
    pub timeout: Option<Duration>,
}

impl Request {
    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Request {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the longest time until the response begins, and between its parts.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Request {
        Request { timeout: Some(timeout), ..self }
    }

    /// Sends it, and waits for the whole response.
    ///
    /// # Errors
    /// If the step doesn't grant it, or there is no response. A response of any status is none.
    pub fn send(&self) -> Result<Response, Error> {
        host::send(self)
    }

    /// Scheme, host with port, and path with query.
    #[cfg(any(test, target_arch = "wasm32"))]
    fn parts(&self) -> Result<(&str, &str, &str), Error> {
        let without_fragment = self.url.split('#').next().unwrap_or_default();
        let (scheme, rest) =
            without_fragment.split_once("://").ok_or_else(|| Error::new(format!("`{}` has no scheme", self.url)))?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.is_empty() {
            return Err(Error::new(format!("`{}` has no host", self.url)));
        }
        Ok((scheme, authority, if path.is_empty() { "/" } else { path }))
    }
}

/// A response, whatever its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The status code, as in 200.
    pub status: u16,
    /// Names in lower case, and values, in the order in which they came.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header with this name, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }
}

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    reason: String,
}

impl Error {
    /// An error with this message.
    pub fn new(reason: impl Into<String>) -> Error {
        Error { reason: reason.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Error {}

#[cfg(target_arch = "wasm32")]
mod host {
    use super::Error;
    use super::Request;
    use super::Response;
    use crate::bindings::http::wasi::http::outgoing_handler;
    use crate::bindings::http::wasi::http::types;
    use crate::bindings::http::wasi::http::types::ErrorCode;
    use crate::bindings::http::wasi::io::streams::StreamError;

    /// What is read or written at once: as much as the host takes.
    const CHUNK_BYTES: usize = 4096;

    pub(super) fn send(request: &Request) -> Result<Response, Error> {
        let of = |code: ErrorCode| Error::new(format!("{} {}: {}", request.method, request.url, explained(&code)));
        let broken = || Error::new(format!("{} {}: it can't be written", request.method, request.url));
        let (scheme, authority, path) = request.parts()?;
        let headers = types::Fields::new();
        for (name, value) in &request.headers {
            headers.append(name, value).map_err(|error| {
                Error::new(format!("{} {}: the header `{name}`: {error}", request.method, request.url))
            })?;
        }
        let outgoing = types::OutgoingRequest::new(headers);
        let scheme = match scheme {
            "http" => types::Scheme::Http,
            "https" => types::Scheme::Https,
            other => types::Scheme::Other(other.to_owned()),
        };
        outgoing.set_method(&method(&request.method)).map_err(|()| broken())?;
        outgoing.set_scheme(Some(&scheme)).map_err(|()| broken())?;
        outgoing.set_authority(Some(authority)).map_err(|()| broken())?;
        outgoing.set_path_with_query(Some(path)).map_err(|()| broken())?;
        let options = types::RequestOptions::new();
        if let Some(timeout) = request.timeout {
            let timeout = Some(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
            options.set_connect_timeout(timeout).map_err(|()| broken())?;
            options.set_first_byte_timeout(timeout).map_err(|()| broken())?;
            options.set_between_bytes_timeout(timeout).map_err(|()| broken())?;
        }
        let body = if request.body.is_empty() { None } else { Some(outgoing.body().map_err(|()| broken())?) };
        let future = outgoing_handler::handle(outgoing, Some(options)).map_err(of)?;
        if let Some(body) = body {
            let stream = body.write().map_err(|()| broken())?;
            // The server may have what it needs before it has read all: the response tells.
            let written = request.body.chunks(CHUNK_BYTES).try_for_each(|chunk| stream.blocking_write_and_flush(chunk));
            drop(stream);
            if written.is_ok() {
                types::OutgoingBody::finish(body, None).map_err(of)?;
            }
        }
        future.subscribe().block();
        let response = match future.get() {
            Some(Ok(response)) => response.map_err(of)?,
            Some(Err(())) | None => return Err(broken()),
        };
        let mut headers = response.headers().entries();
        headers.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
        let status = response.status();
        let incoming = response.consume().map_err(|()| broken())?;
        let stream = incoming.stream().map_err(|()| broken())?;
        let mut body = Vec::new();
        loop {
            match stream.blocking_read(CHUNK_BYTES as u64 * 16) {
                Ok(more) => body.extend_from_slice(&more),
                Err(StreamError::Closed) => return Ok(Response { status, headers, body }),
                Err(StreamError::LastOperationFailed(error)) => {
                    let code = types::http_error_code(&error).unwrap_or(ErrorCode::HttpResponseIncomplete);
                    return Err(of(code));
                }
            }
        }
    }

    fn method(name: &str) -> types::Method {
        match name {
            "GET" => types::Method::Get,
            "HEAD" => types::Method::Head,
            "POST" => types::Method::Post,
            "PUT" => types::Method::Put,
            "DELETE" => types::Method::Delete,
            "OPTIONS" => types::Method::Options,
            "PATCH" => types::Method::Patch,
            other => types::Method::Other(other.to_owned()),
        }
    }

    fn explained(code: &ErrorCode) -> String {
        match code {
            ErrorCode::HttpRequestDenied => {
                "the step's `allow` doesn't grant it; the log says what is missing".to_owned()
            }
            ErrorCode::DestinationIpProhibited => {
                "the step's `allow` doesn't grant the address of the host; the log says which".to_owned()
            }
            ErrorCode::DnsError(error) => {
                format!("the host isn't found: {}", error.rcode.as_deref().unwrap_or("the resolver doesn't say why"))
            }
            ErrorCode::ConnectionRefused => "the server can't be reached".to_owned(),
            ErrorCode::ConnectionTimeout => "the server didn't accept a connection in time".to_owned(),
            ErrorCode::HttpResponseTimeout => "there was no response in time".to_owned(),
            ErrorCode::ConnectionReadTimeout => "the rest of the response didn't come in time".to_owned(),
            ErrorCode::ConnectionTerminated => "the server closed the connection".to_owned(),
            ErrorCode::TlsCertificateError => "the server's certificate isn't valid here".to_owned(),
            ErrorCode::HttpRequestBodySize(_) => "the body is larger than `http_body` of the step's `allow`".to_owned(),
            ErrorCode::HttpResponseBodySize(_) => {
                "the response's body is larger than `http_body` of the step's `allow`".to_owned()
            }
            ErrorCode::ConnectionLimitReached => "too many requests at once".to_owned(),
            other => format!("{other:?}"),
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod host {
    use super::Error;
    use super::Request;
    use super::Response;

    pub(super) fn send(request: &Request) -> Result<Response, Error> {
        crate::testing::response_to(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_scheme_a_host_and_a_path() {
        let parts = |url: &str| get(url).parts().map(|(scheme, host, path)| format!("{scheme} {host} {path}"));
        assert_eq!(parts("https://a:1/b?c=d#e").as_deref(), Ok("https a:1 /b?c=d"));
        assert_eq!(parts("http://a").as_deref(), Ok("http a /"));
        assert_eq!(parts("http://a?b").as_deref(), Ok("http a ?b"));
        assert!(parts("a/b").is_err() && parts("http:///b").is_err());
    }

    #[test]
    fn a_test_gives_the_responses() {
        assert!(get("http://a").send().unwrap_err().to_string().contains("testing::respond"));
        let kept = crate::testing::respond(|request: &Request| match &*request.url {
            "http://a/1" => Ok(Response { status: 200, headers: vec![("x".into(), b"y".into())], body: b"z".into() }),
            _ => Err(Error::new("it is down")),
        });
        let response = get("http://a/1").send().unwrap();
        assert_eq!((response.status, response.header("X"), &*response.body), (200, Some(&b"y"[..]), &b"z"[..]));
        assert_eq!(post("http://a/2", "b").send().unwrap_err().to_string(), "it is down");
        drop(kept);
        assert!(get("http://a/1").send().is_err());
    }
}
