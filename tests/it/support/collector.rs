//! A collector of traces: takes OTLP over HTTP as protobuf and keeps the spans, or takes connections and never answers.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message as _;

/// A span as it arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReceivedSpan {
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) state: String,
    pub(crate) name: String,
    /// As in the protocol: 1 is internal, 4 a producer, 5 a consumer.
    pub(crate) kind: i32,
    pub(crate) nanoseconds: i128,
    pub(crate) attributes: BTreeMap<String, String>,
    /// The text of an error.
    pub(crate) error: Option<String>,
    /// The attributes of the process.
    pub(crate) resource: BTreeMap<String, String>,
}

/// See the head of the file. Its thread ends with the test binary.
#[derive(Debug)]
pub(crate) struct Collector {
    port: u16,
    spans: Arc<Mutex<Vec<ReceivedSpan>>>,
    /// Connections that get no answer, which stay open.
    silent: Arc<Mutex<Vec<TcpStream>>>,
}

impl Collector {
    /// A collector that takes everything.
    pub(crate) fn start() -> Collector {
        Collector::begin(false)
    }

    /// A collector that takes connections and never answers.
    pub(crate) fn silent() -> Collector {
        Collector::begin(true)
    }

    fn begin(is_silent: bool) -> Collector {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (spans, silent) = (Arc::default(), Arc::default());
        let collector = Collector { port, spans: Arc::clone(&spans), silent: Arc::clone(&silent) };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if is_silent {
                    silent.lock().unwrap().push(stream);
                } else {
                    let spans = Arc::clone(&spans);
                    thread::spawn(move || serve(&stream, &spans));
                }
            }
        });
        collector
    }

    /// Its URL, without the path for traces.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The spans so far.
    pub(crate) fn spans(&self) -> Vec<ReceivedSpan> {
        self.spans.lock().unwrap().clone()
    }

    /// How many connections wait for an answer.
    pub(crate) fn waiting(&self) -> usize {
        self.silent.lock().unwrap().len()
    }
}

/// Answers the requests of a connection.
fn serve(stream: &TcpStream, spans: &Mutex<Vec<ReceivedSpan>>) {
    let mut reader = BufReader::new(stream);
    while let Some((head, length)) = head(&mut reader) {
        assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
        assert!(head.contains("application/x-protobuf"), "{head}");
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        spans.lock().unwrap().extend(received(&ExportTraceServiceRequest::decode(&body[..]).unwrap()));
        let mut writer = stream;
        writer
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
    }
}

/// The head of a request, and the length of its body.
fn head(reader: &mut BufReader<&TcpStream>) -> Option<(String, usize)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    Some((head, length.unwrap()))
}

fn received(request: &ExportTraceServiceRequest) -> Vec<ReceivedSpan> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut all = Vec::new();
    for of_resource in &request.resource_spans {
        let resource = texts(&of_resource.resource.as_ref().unwrap().attributes);
        for span in of_resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
            let error = span.status.as_ref().filter(|status| status.code == 2);
            all.push(ReceivedSpan {
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                state: span.trace_state.clone(),
                name: span.name.clone(),
                kind: span.kind,
                nanoseconds: i128::from(span.end_time_unix_nano) - i128::from(span.start_time_unix_nano),
                attributes: texts(&span.attributes),
                error: error.map(|status| status.message.clone()),
                resource: resource.clone(),
            });
        }
    }
    all
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Value| {
        if let Value::StringValue(text) = value {
            text.clone()
        } else if let Value::IntValue(number) = value {
            number.to_string()
        } else {
            format!("{value:?}")
        }
    };
    let of = |one: &KeyValue| Some((one.key.clone(), text(one.value.as_ref()?.value.as_ref()?)));
    attributes.iter().filter_map(of).collect()
}
