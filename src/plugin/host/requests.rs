//! HTTP requests of plugins, for steps that `allow.http` grants them.
//!
//! All instances of a step share one pool of connections. A request whose server or method isn't listed is refused before anything is
//! looked up; the addresses of its host are looked at when a connection is made, so a name that resolves to another address later
//! gains nothing. Redirects are not followed: a plugin that follows one makes another request, which is looked at like the first.
//! Invariant: a request ends before its call does, and the bytes of its bodies are bounded.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::net::ToSocketAddrs;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use std::time::Instant;

use http::Method;
use http::Request;
use http::Response;
use http::uri::Scheme;
use http_body_util::BodyExt;
use http_body_util::LengthLimitError;
use http_body_util::Limited;
use hyper::body::Body;
use hyper::body::Bytes;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::body::SizeHint;
use hyper_rustls::HttpsConnector;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioTimer;
use rustls::ClientConfig;
use rustls::RootCertStore;
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::RequestOptions;
use wasmtime_wasi_http::WasiBody;

use crate::plugin::network::HttpGrant;
use crate::plugin::network::Origin;

/// A server that doesn't accept a connection within this time is not there.
const CONNECT: Duration = Duration::from_secs(5);
/// A connection that isn't used for this long is closed.
const IDLE: Duration = Duration::from_secs(30);
/// What is read from a connection at once, and so the most bytes of a response's head.
const BUFFER_BYTES: usize = 64 << 10;

/// The addresses of a host; blocks.
pub(in crate::plugin) type Lookup = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// The requests of a step's instances.
pub(in crate::plugin) struct Client {
    grant: Arc<HttpGrant>,
    pool: legacy::Client<HttpsConnector<HttpConnector<Checked>>, Limited<WasiBody>>,
    counts: [AtomicU64; 3],
}

/// How a request ended, in the order of [`Client::take_counts`].
#[derive(Clone, Copy)]
enum Ended {
    /// With a response, whatever its status.
    Answered,
    /// It was not sent: the step doesn't grant it.
    Refused,
    /// The server wasn't reached, or was too slow, or one of the bodies was too large.
    Failed,
}

impl Client {
    pub(in crate::plugin) fn new(grant: HttpGrant, lookup: Lookup) -> io::Result<Client> {
        let grant = Arc::new(grant);
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut connector = HttpConnector::new_with_resolver(Checked { grant: Arc::clone(&grant), lookup });
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(connector);
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http1_max_buf_size(BUFFER_BYTES)
            .build(connector);
        Ok(Client { grant, pool, counts: Default::default() })
    }

    /// The requests since the last call: those that got a response, those that were refused, and those that failed.
    pub(in crate::plugin) fn take_counts(&self) -> [u64; 3] {
        self.counts.each_ref().map(|count| match count.load(Ordering::Relaxed) {
            0 => 0,
            _ => count.swap(0, Ordering::Relaxed),
        })
    }

    fn count(&self, ended: Ended) {
        self.counts[ended as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the step grants a request.
    fn permits(&self, request: &Request<WasiBody>) -> Result<(), Refusal> {
        let uri = request.uri();
        let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
        let authority = uri.authority().ok_or_else(|| Refusal::Server("a request without a host".to_owned()))?;
        let asked = Origin::of(is_tls, authority.host(), authority.port_u16());
        if authority.as_str().contains('@') || !self.grant.lists(&asked) {
            return Err(Refusal::Server(asked.to_string()));
        }
        if !self.grant.methods.iter().any(|method| method == request.method().as_str()) {
            return Err(Refusal::Method(request.method().clone(), asked.to_string()));
        }
        // The connector looks up names only.
        if let Ok(address) = asked.host().parse() {
            self.grant.reaches(asked.host(), address).map_err(|kind| Refusal::Address {
                host: asked.host().to_owned(),
                address,
                kind,
            })?;
        }
        Ok(())
    }

    /// Sends a request. `until` is the end of the call that makes it. The text says why it isn't sent, for the plugin's log.
    pub(super) async fn send(
        &self,
        request: Request<WasiBody>,
        options: RequestOptions,
        until: Option<Instant>,
    ) -> (Result<Response<WasiBody>, Error>, Option<String>) {
        if let Err(refusal) = self.permits(&request) {
            self.count(Ended::Refused);
            return (Err(refusal.error()), Some(refusal.to_string()));
        }
        let body_bytes = usize::try_from(self.grant.body_bytes).unwrap_or(usize::MAX);
        let request = request.map(|body| Limited::new(body, body_bytes));
        let first_byte = [Some(left(until)), options.connect_timeout, options.first_byte_timeout];
        let first_byte = first_byte.into_iter().flatten().min().unwrap_or(CONNECT);
        let ended = tokio::time::timeout(first_byte, self.pool.request(request)).await;
        match ended {
            Ok(Ok(response)) => {
                self.count(Ended::Answered);
                let between =
                    options.between_bytes_timeout.map_or_else(|| left(until), |between| between.min(left(until)));
                let body = |body| Limits {
                    body: Limited::new(body, body_bytes),
                    between,
                    pause: Box::pin(tokio::time::sleep(between)),
                    most: self.grant.body_bytes,
                };
                (Ok(response.map(|incoming| body(incoming).boxed_unsync())), None)
            }
            Ok(Err(error)) => match found::<Refusal>(&error) {
                Some(refusal) => {
                    self.count(Ended::Refused);
                    (Err(refusal.error()), Some(refusal.to_string()))
                }
                None => {
                    self.count(Ended::Failed);
                    (Err(self.failed(&error)), None)
                }
            },
            Err(_) => {
                self.count(Ended::Failed);
                (Err(Error::HttpResponseTimeout), None)
            }
        }
    }

    fn failed(&self, error: &legacy::Error) -> Error {
        if found::<LengthLimitError>(error).is_some() {
            return Error::HttpRequestBodySize(Some(self.grant.body_bytes));
        }
        if found::<rustls::Error>(error).is_some() {
            return Error::TlsCertificateError;
        }
        if let Some(no_address) = found::<NoAddress>(error) {
            return Error::DnsError { rcode: Some(no_address.0.clone()), info_code: None };
        }
        match found::<io::Error>(error).map(io::Error::kind) {
            Some(io::ErrorKind::TimedOut) => Error::ConnectionTimeout,
            _ if error.is_connect() => Error::ConnectionRefused,
            _ => Error::ConnectionTerminated,
        }
    }
}

/// What is left of a call, with some time for the plugin to do without the response.
fn left(until: Option<Instant>) -> Duration {
    let left = until.map_or(CONNECT, |until| until.saturating_duration_since(now()));
    left.mul_f64(0.9)
}

#[expect(clippy::disallowed_methods, reason = "what waits for a server is outside of the clock of guests")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// The error of this type that caused this one.
fn found<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        // The source of an `io::Error` is that of what it wraps, which so is left out.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

/// Looks up hosts, and refuses addresses that the step doesn't grant.
#[derive(Clone)]
struct Checked {
    grant: Arc<HttpGrant>,
    lookup: Lookup,
}

/// The addresses of a host by the system's resolver.
pub(in crate::plugin) fn system_lookup() -> Lookup {
    Arc::new(|host| Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect()))
}

impl tower_service::Service<Name> for Checked {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Box<dyn StdError + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Checked { grant, lookup } = self.clone();
        Box::pin(async move {
            let host = name.as_str().to_ascii_lowercase();
            let looked_up = {
                let host = host.clone();
                tokio::task::spawn_blocking(move || lookup(&host)).await?
            };
            let addresses = looked_up.map_err(|error| NoAddress(error.to_string()))?;
            let mut refused = None;
            let mut reached = Vec::new();
            for address in addresses {
                match grant.reaches(&host, address) {
                    Ok(()) => reached.push(SocketAddr::new(address, 0)),
                    Err(kind) => refused = Some(Refusal::Address { host: host.clone(), address, kind }),
                }
            }
            match (reached.is_empty(), refused) {
                (false, _) => Ok(reached.into_iter()),
                (true, Some(refusal)) => Err(refusal.into()),
                (true, None) => Err(NoAddress("the host has no address".to_owned()).into()),
            }
        })
    }
}

#[derive(Debug)]
struct NoAddress(String);

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for NoAddress {}

/// Why a request isn't sent.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Refusal {
    Server(String),
    Method(Method, String),
    Address { host: String, address: IpAddr, kind: &'static str },
}

impl Refusal {
    fn error(&self) -> Error {
        match self {
            Refusal::Server(_) | Refusal::Method(..) => Error::HttpRequestDenied,
            Refusal::Address { .. } => Error::DestinationIpProhibited,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Server(server) => {
                write!(f, "a request to `{server}` was refused: the step's `allow.http` doesn't list this server")
            }
            Refusal::Method(method, server) => write!(
                f,
                "a request `{method}` to `{server}` was refused: the `methods` of the step's `allow.http` don't have it"
            ),
            Refusal::Address { host, address, kind } => write!(
                f,
                "a request to `{host}` was refused: its address {address} is {kind}; if it is meant, list it in the `networks` of \
                 the step's `allow.http`"
            ),
        }
    }
}

impl StdError for Refusal {}

/// The body of a response, with its limits.
struct Limits {
    body: Limited<Incoming>,
    /// The longest time without bytes.
    between: Duration,
    pause: Pin<Box<tokio::time::Sleep>>,
    most: u64,
}

impl Body for Limits {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let next = tokio::time::Instant::now() + self.between;
                self.pause.as_mut().reset(next);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(match found::<LengthLimitError>(&*error) {
                Some(_) => Error::HttpResponseBodySize(Some(self.most)),
                None => Error::HttpResponseIncomplete,
            }))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => match self.pause.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Some(Err(Error::ConnectionReadTimeout))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::io::BufReader;
    use std::io::Write;
    use std::net::TcpListener;
    use std::sync::Mutex;
    use std::thread;

    use http_body_util::Full;

    use super::*;

    /// A server on this address that returns `response` to each connection once. Tells how many connections it had.
    fn server(address: &str, response: &'static [u8]) -> (u16, Arc<AtomicU64>) {
        let listener = TcpListener::bind(address).unwrap();
        let (port, connections) = (listener.local_addr().unwrap().port(), Arc::new(AtomicU64::new(0)));
        let count = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let head = BufReader::new(stream.try_clone().unwrap());
                // The client may have gone: that is what some tests are about.
                let _: Vec<String> = head.lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                let _ = stream.write_all(response);
            }
        });
        (port, connections)
    }

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

    fn grant(origins: &[&str], networks: &[&str]) -> HttpGrant {
        HttpGrant {
            origins: origins.iter().map(|text| text.parse().unwrap()).collect(),
            methods: vec!["GET".to_owned(), "POST".to_owned()],
            networks: networks.iter().map(|text| text.parse().unwrap()).collect(),
            body_bytes: 1000,
        }
    }

    /// The addresses of all hosts, one list after the other; the last one stays.
    fn lookup(lists: &[&[&str]]) -> Lookup {
        let parsed = |list: &&[&str]| list.iter().map(|address| address.parse().unwrap()).collect::<Vec<IpAddr>>();
        let lists = Mutex::new(lists.iter().map(parsed).rev().collect::<Vec<_>>());
        Arc::new(move |_| {
            let mut lists = lists.lock().unwrap();
            Ok(if lists.len() > 1 { lists.pop().unwrap() } else { lists[0].clone() })
        })
    }

    fn asked(method: &str, url: &str, body: &'static [u8]) -> Request<WasiBody> {
        let body = Full::new(Bytes::from_static(body)).map_err(|never| match never {}).boxed_unsync();
        Request::builder().method(method).uri(url).body(body).unwrap()
    }

    /// What comes back: the body, or the error, or the note.
    fn sent(client: &Client, request: Request<WasiBody>, within: Duration) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            match client.send(request, RequestOptions::default(), Some(now() + within)).await {
                (Ok(response), _) => match response.into_body().collect().await {
                    Ok(body) => String::from_utf8(body.to_bytes().to_vec()).unwrap(),
                    Err(error) => format!("{error:?}"),
                },
                (Err(error), None) => format!("{error:?}"),
                (Err(error), Some(note)) => format!("{error:?}: {note}"),
            }
        })
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn what_is_not_listed_is_refused_before_anything_is_looked_up() {
        let never: Lookup = Arc::new(|host| panic!("{host} was looked up"));
        let client = Client::new(grant(&["https://tiers.internal", "http://127.0.0.1:1"], &[]), never).unwrap();
        for url in [
            "http://tiers.internal/",
            "https://tiers.internal:444/",
            "https://169.254.169.254/latest/meta-data",
            "https://[::1]/",
            "http://127.0.0.1:2/",
            "https://me@tiers.internal/",
            "https://tiers.internal.evil.com/",
        ] {
            let said = sent(&client, asked("GET", url, b""), LONG);
            assert!(
                said.starts_with("HttpRequestDenied: a request to `") && said.contains("allow.http"),
                "{url}: {said}"
            );
        }
        let said = sent(&client, asked("DELETE", "https://tiers.internal/", b""), LONG);
        assert!(said.contains("`DELETE` to `https://tiers.internal` was refused"), "{said}");
        assert_eq!(client.take_counts(), [0, 8, 0]);
    }

    /// An address is looked at when it is connected to, however often the name's addresses change.
    #[test]
    fn a_name_that_comes_to_another_address_gains_nothing() {
        let (port, forbidden) = server("127.0.0.1:0", OK);
        let (_, permitted) = server(&format!("127.0.0.2:{port}"), OK);
        let url = format!("http://rebind.test:{port}/");
        let lists: [&[&str]; 6] = [
            &["127.0.0.2"],
            &["127.0.0.1"],
            &["::ffff:127.0.0.1"],
            &["127.0.0.1", "127.0.0.2"],
            &["169.254.169.254"],
            &[],
        ];
        let client = Client::new(grant(&[&url], &["127.0.0.2"]), lookup(&lists)).unwrap();
        let said = || sent(&client, asked("GET", &url, b""), LONG);
        assert_eq!(said(), "ok");
        for refused in [said(), said()] {
            assert!(
                refused.starts_with("DestinationIpProhibited: a request to `rebind.test` was refused"),
                "{refused}"
            );
        }
        assert_eq!(said(), "ok");
        assert!(said().contains("169.254.169.254 is link-local, where clouds have their metadata"));
        assert!(said().starts_with("DnsError"), "no address");
        assert_eq!((permitted.load(Ordering::SeqCst), forbidden.load(Ordering::SeqCst)), (2, 0));
        assert_eq!(client.take_counts(), [2, 3, 1]);
    }

    #[test]
    fn a_redirect_is_returned_and_not_followed() {
        let (elsewhere, forbidden) = server("127.0.0.1:0", OK);
        let location =
            format!("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{elsewhere}/\r\ncontent-length: 5\r\n\r\nmoved");
        let (port, _) = server("127.0.0.1:0", location.leak().as_bytes());
        let url = format!("http://127.0.0.1:{port}");
        let client = Client::new(grant(&[&url], &[]), system_lookup()).unwrap();
        assert_eq!(sent(&client, asked("GET", &url, b""), LONG), "moved");
        assert_eq!(forbidden.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn bodies_are_bounded_and_a_request_ends_before_its_call() {
        let (port, _) = server("127.0.0.1:0", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7d0\r\n");
        let endless = format!("http://127.0.0.1:{port}");
        let long =
            b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n".iter().copied().chain([b'x'; 2000]).collect::<Vec<u8>>();
        let (port, _) = server("127.0.0.1:0", long.leak());
        let long = format!("http://127.0.0.1:{port}");
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent_url = format!("http://{}", silent.local_addr().unwrap());
        let client = Client::new(grant(&[&endless, &long, &silent_url], &[]), system_lookup()).unwrap();
        let short = Duration::from_millis(300);
        assert_eq!(sent(&client, asked("GET", &long, b""), LONG), "HttpResponseBodySize(Some(1000))");
        assert_eq!(sent(&client, asked("POST", &long, &[b'x'; 1001]), LONG), "HttpRequestBodySize(Some(1000))");
        let began = now();
        assert_eq!(sent(&client, asked("GET", &silent_url, b""), short), "HttpResponseTimeout");
        assert!(began.elapsed() < short * 3, "{:?}", began.elapsed());
        // The server closes the connection in the middle of a chunk.
        assert_eq!(sent(&client, asked("GET", &endless, b""), LONG), "HttpResponseIncomplete");
    }
}
