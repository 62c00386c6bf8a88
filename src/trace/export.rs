//! Sends spans to a collector: OTLP over HTTP, as protobuf.
//!
//! One thread takes batches from the queue and waits for the answers. `opentelemetry-otlp` writes the requests, tries them again, and reads the
//! variables for headers, compression and the time limit; this file has the HTTP client and the form of spans that the crate takes. A batch
//! that the collector doesn't take is dropped and counted.

use std::fmt::Write as _;
use std::future::Future;
use std::future::ready;
use std::io::Read as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use futures_executor::block_on;
use opentelemetry::InstrumentationScope;
use opentelemetry::Key;
use opentelemetry::KeyValue;
use opentelemetry::Value;
use opentelemetry::trace::SpanContext as OtelContext;
use opentelemetry::trace::SpanId;
use opentelemetry::trace::SpanKind as OtelKind;
use opentelemetry::trace::Status;
use opentelemetry::trace::TraceFlags;
use opentelemetry::trace::TraceId;
use opentelemetry::trace::TraceState;
use opentelemetry_http::Bytes;
use opentelemetry_http::HttpClient;
use opentelemetry_http::HttpError;
use opentelemetry_http::Request;
use opentelemetry_http::Response;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_otlp::WithHttpConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use opentelemetry_sdk::trace::SpanEvents;
use opentelemetry_sdk::trace::SpanExporter as _;
use opentelemetry_sdk::trace::SpanLinks;
use ureq::tls::Certificate;
use ureq::tls::RootCerts;
use ureq::tls::TlsConfig;

use super::context::SpanContext;
use super::queue::SpanQueue;
use super::span::AttributeValue;
use super::span::SpanKind;
use super::span::TraceSpan;
use crate::telemetry::rate_limit::EVERY;

/// The name that spans have if no variable names the service.
const SERVICE: &str = "wasmill";
/// The most bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Exporter {
    otlp: SpanExporter,
    /// Why the last request failed.
    why: Arc<Mutex<String>>,
    endpoint: String,
    scope: InstrumentationScope,
}

impl Exporter {
    /// An exporter for this URL, which has the path for traces. A request is tried for this long.
    ///
    /// # Errors
    /// What is wrong with a variable, or why there is no TLS.
    pub(super) fn new(endpoint: &str, timeout: Duration) -> Result<Exporter, String> {
        let why: Arc<Mutex<String>> = Arc::default();
        let client = Client { agent: agent(endpoint, timeout)?, why: Arc::clone(&why) };
        let otlp = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(endpoint)
            .with_timeout(timeout)
            .build();
        let mut otlp =
            otlp.map_err(|error| format!("{error}; the variables OTEL_EXPORTER_OTLP_.. say how traces are sent"))?;
        otlp.set_resource(&resource());
        let scope = InstrumentationScope::builder(SERVICE).with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Exporter { otlp, why, endpoint: endpoint.to_owned(), scope })
    }

    /// Sends what comes into the queue until the process ends.
    pub(super) fn run(&self, queue: &SpanQueue) {
        let mut said: Option<Instant> = None;
        while let Some(spans) = queue.take() {
            if spans.is_empty() {
                continue;
            }
            let count = spans.len();
            let data = spans.into_iter().map(|span| data(span, &self.scope)).collect();
            match block_on(self.otlp.export(data)) {
                Ok(()) => queue.count_exported(count),
                Err(error) => {
                    queue.count_dropped(count);
                    let now = now();
                    if said.is_none_or(|at| now.saturating_duration_since(at) >= EVERY) {
                        said = Some(now);
                        let why = std::mem::take(&mut *self.why.lock().unwrap_or_else(PoisonError::into_inner));
                        let why = if why.is_empty() { error.to_string() } else { why };
                        tracing::warn!(
                            "{count} spans were dropped: {} doesn't take them: {why}; records are processed all the same",
                            self.endpoint
                        );
                    }
                }
            }
        }
        queue.has_ended();
    }
}

#[expect(clippy::disallowed_methods, reason = "a thread of its own that paces its log lines")]
fn now() -> Instant {
    Instant::now()
}

/// The HTTP client of the exporter. A request waits for its answer on the thread that makes it.
#[derive(Debug)]
struct Client {
    agent: ureq::Agent,
    why: Arc<Mutex<String>>,
}

impl HttpClient for Client {
    fn send_bytes<'client, 'sending>(
        &'client self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'sending>>
    where
        'client: 'sending,
        Self: 'sending,
    {
        Box::pin(ready(self.send(request)))
    }
}

impl Client {
    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.agent.run(request.map(|body| body.to_vec())).map_err(|error| self.note(error.to_string()))?;
        let (head, body) = answer.into_parts();
        let mut bytes = Vec::new();
        body.into_reader()
            .take(ANSWER_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(|error| self.note(error.to_string()))?;
        if !head.status.is_success() {
            let mut text = format!("it answers {}", head.status);
            // A sentence for people, if there is one.
            if let Some(line) = std::str::from_utf8(&bytes).ok().and_then(|text| text.lines().next()) {
                // A String takes any text.
                let _ = write!(text, ": {}", line.escape_debug().take(200).collect::<String>());
            }
            self.note(text);
        }
        Ok(Response::from_parts(head, bytes.into()))
    }

    /// Keeps the reason of a failure for the log: the exporter's error doesn't tell it.
    fn note(&self, why: String) -> HttpError {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&why);
        why.into()
    }
}

fn agent(endpoint: &str, timeout: Duration) -> Result<ureq::Agent, String> {
    let mut config = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent("wasmill");
    if endpoint.starts_with("https://") {
        let found = rustls_native_certs::load_native_certs().certs;
        if found.is_empty() {
            return Err("the system has no authorities' certificates: install them, or set SSL_CERT_FILE".to_owned());
        }
        let found: Vec<_> = found.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&found))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        config = config.tls_config(tls);
    }
    Ok(config.build().new_agent())
}

/// What is the same for all spans of the process.
fn resource() -> Resource {
    let name = Key::from_static_str("service.name");
    let builder = Resource::builder();
    let found = builder.build().get(&name);
    let is_named = found.is_some_and(|name| !name.as_str().is_empty() && !name.as_str().starts_with("unknown_service"));
    let builder = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if is_named { builder.build() } else { builder.with_service_name(SERVICE).build() }
}

/// The span in the form that the crate takes.
fn data(span: TraceSpan, scope: &InstrumentationScope) -> SpanData {
    let TraceSpan { context, parent, is_parent_remote, kind, name, times, attributes, error } = span;
    let SpanContext { trace, span, flags, state } = context;
    // A state that can't be read is not the reason to lose a span.
    let state = state.and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    let flags = TraceFlags::new(flags);
    let at = |ns: u64| -> SystemTime { UNIX_EPOCH + Duration::from_nanos(ns) };
    SpanData {
        span_context: OtelContext::new(TraceId::from(trace), SpanId::from(span), flags, false, state),
        parent_span_id: parent.map_or(SpanId::INVALID, SpanId::from),
        parent_span_is_remote: is_parent_remote,
        span_kind: match kind {
            SpanKind::Consumer => OtelKind::Consumer,
            SpanKind::Internal => OtelKind::Internal,
            SpanKind::Producer => OtelKind::Producer,
        },
        name: name.into(),
        start_time: at(times.began_ns),
        end_time: at(times.ended_ns.max(times.began_ns)),
        attributes: attributes.into_iter().map(|(name, value)| KeyValue::new(name, value)).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: error.map_or(Status::Unset, Status::error),
        instrumentation_scope: scope.clone(),
    }
}

impl From<AttributeValue> for Value {
    fn from(value: AttributeValue) -> Value {
        match value {
            AttributeValue::Text(text) => Value::String(text.into()),
            AttributeValue::Number(number) => Value::I64(number),
            AttributeValue::Flag(flag) => Value::Bool(flag),
        }
    }
}
