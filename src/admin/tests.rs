//! The server as a probe sees it: raw bytes over a socket.

use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use super::Access;
use super::Board;
use super::Look;
use super::Operation;
use super::Refused;
use super::ServeError;
use super::Served;
use super::Server;
use crate::config;
use crate::failure::Kind;
use crate::journal::BuriedRecord;
use crate::metrics::Metrics;
use crate::pipeline::Check;
use crate::pipeline::Health;
use crate::pipeline::ReloadPreview;
use crate::record::Headers;
use crate::record::RecordId;
use crate::record::TopicPartition;
use crate::secret::Secret;
use crate::tap::Fate;
use crate::tap::Passing;
use crate::tap::TapPoint;
use crate::tap::TapRoute;
use crate::telemetry;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn ask(server: &Server, path: &str) -> (u16, String) {
    send(server, "GET", path, "Host: localhost", "")
}

fn send(server: &Server, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server.local_addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// A pipeline, and what it was asked for.
struct Asked(Vec<Arc<Served>>, Mutex<Vec<(String, Operation)>>);

impl Board for Asked {
    fn pipelines(&self) -> Vec<Arc<Served>> {
        self.0.clone()
    }

    fn operate(&self, pipeline: &str, operation: &Operation) -> Result<String, Refused> {
        if !self.0.iter().any(|served| *served.name == *pipeline) {
            return Err(Refused::Unknown);
        }
        self.1.lock().unwrap().push((pipeline.to_owned(), *operation));
        if *operation == Operation::Start { Err(Refused::Conflict("it runs".into())) } else { Ok("done".into()) }
    }

    fn skip(&self, pipeline: &str, record: &RecordId) -> Result<String, Refused> {
        if !self.0.iter().any(|served| *served.name == *pipeline) {
            return Err(Refused::Unknown);
        }
        Ok(format!("{record} is left out"))
    }

    fn would_reload(&self, _: &str, answer: ReloadPreview) -> Result<(), Refused> {
        answer(Err("orders.toml:3: no".to_owned()));
        Ok(())
    }
}

/// What the file of a pipeline says, with this in `[http]`.
fn written(http: &str) -> config::Pipeline {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.toml");
    let text = format!(
        "[kafka]\nbrokers = [\"kafka:9092\"]\nsasl = {{ mechanism = \"SCRAM-SHA-512\", username = \"u\", password = \"canary\" }}\n\
         [input]\ntopics = [\"in\"]\n[[step]]\nname = \"mask\"\nwasm = \"p.wasm\"\n[output.main]\ntopic = \"out\"\n[http]\n{http}\n"
    );
    fs::write(folder.path().join("p.wasm"), "").unwrap();
    fs::write(&file, text).unwrap();
    config::load(&file, &config::Overrides::default(), &|_| None).unwrap_or_else(|report| panic!("{report}"))
}

/// A pipeline that isn't there yet.
fn serves(name: &str, health: &Arc<Mutex<Health>>, serves_state: bool) -> Arc<Served> {
    let health = Arc::clone(health);
    let config = Some(Arc::new(written(&format!("state = {serves_state}\ntap = {serves_state}"))));
    let look = move || Look {
        health: health.lock().unwrap().clone(),
        state: None,
        reason: "it loads its plugins".into(),
        file: "orders.toml".into(),
        running: None,
        stopped_at: None,
        config: config.clone(),
    };
    Served::new(name.into(), Metrics::new(name, &["mask"], &["main"]), look)
}

fn served(name: &str, health: &Arc<Mutex<Health>>) -> Arc<Served> {
    serves(name, health, false)
}

fn started(address: SocketAddr, pipelines: Vec<Arc<Served>>) -> Result<Server, ServeError> {
    Server::start(address, Arc::new(Asked(pipelines, Mutex::default())), Access::default())
}

fn start(pipelines: Vec<Arc<Served>>) -> Server {
    started(ANY, pipelines).unwrap()
}

fn server(health: &Arc<Mutex<Health>>) -> Server {
    start(vec![served("orders", health)])
}

fn check(ok: bool, name: &str, detail: &str) -> Check {
    Check { ok, name: name.into(), detail: detail.into() }
}

#[test]
fn probes_return_the_current_health_of_the_pipeline() {
    let health = Arc::new(Mutex::new(Health {
        live: true,
        ready: false,
        checks: vec![check(true, "config", "ok"), check(false, "brokers", "none answers")],
        threads: vec![check(true, "thread/worker", "ok")],
        partitions: vec!["orders/0: restoring".into()],
    }));
    let server = server(&health);
    assert_eq!(ask(&server, "/livez"), (200, "ok\n".into()));
    assert_eq!(ask(&server, "/livez?verbose"), (200, "[+]thread/worker ok\n".into()));
    assert_eq!(ask(&server, "/readyz"), (503, "not ready; /readyz?verbose says why\n".into()));
    assert_eq!(
        ask(&server, "/readyz?verbose"),
        (503, "[+]config ok\n[-]brokers: none answers\norders/0: restoring\n".into())
    );
    {
        let mut health = health.lock().unwrap();
        health.ready = true;
        health.checks[1].ok = true;
        health.partitions.clear();
    }
    assert_eq!(ask(&server, "/readyz"), (200, "ok\n".into()));
    assert_eq!(ask(&server, "/readyz?verbose=1"), (200, "[+]config ok\n[+]brokers ok\n".into()));
    {
        let mut health = health.lock().unwrap();
        health.live = false;
        health.threads[0] = check(false, "thread/worker", "stands still");
    }
    assert_eq!(ask(&server, "/livez"), (503, "not live; /livez?verbose says why\n".into()));
    assert_eq!(ask(&server, "/livez?verbose"), (503, "[-]thread/worker: stands still\n".into()));
}

#[test]
fn metrics_and_version_are_served_and_other_paths_list_them() {
    let server = server(&Arc::default());
    let (status, text) = ask(&server, "/metrics");
    assert_eq!(status, 200);
    assert!(text.contains("# TYPE wasmill_records_processed_total counter"), "{text}");
    let (status, versions) = ask(&server, "/version");
    assert_eq!(status, 200);
    let parts: Vec<&str> = versions.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(parts, ["wasmill", "revision", "wasmtime", "librdkafka"], "{versions}");
    assert!(versions.starts_with(concat!("wasmill ", env!("CARGO_PKG_VERSION"), "\n")), "{versions}");
    let (status, text) = ask(&server, "/metricz");
    assert_eq!(status, 404);
    let (status, first) = ask(&server, "/");
    assert_eq!(status, 200, "{first}");
    for page in ["/metrics ", "/livez ", "/readyz ", "/state/STEP/KEY ", "/api/v1/pipelines ", "/version "] {
        let is_there = |text: &str| text.lines().any(|line| line.starts_with(page));
        assert!(is_there(&text) && is_there(&first), "{page} is in each of\n{text}\n{first}");
    }
}

#[test]
fn probes_are_about_all_pipelines_or_about_the_one_that_is_named() {
    let [well, failed] = [true, false].map(|ready| {
        let checks = vec![check(ready, "pipeline", "failed: a record stopped it")];
        Arc::new(Mutex::new(Health { live: true, ready, checks, ..Health::default() }))
    });
    let server = start(vec![served("orders", &well), served("re funds", &failed)]);
    assert_eq!(ask(&server, "/livez"), (200, "ok\n".into()));
    assert_eq!(ask(&server, "/readyz"), (503, "not ready: `re funds`; /readyz?verbose says why\n".into()));
    assert_eq!(
        ask(&server, "/readyz?verbose"),
        (
            503,
            "pipeline orders: ready\n[+]pipeline ok\npipeline re funds: not ready\n[-]pipeline: failed: a record stopped it\n"
                .into()
        )
    );
    assert_eq!(ask(&server, "/readyz?pipeline=orders"), (200, "ok\n".into()));
    assert_eq!(
        ask(&server, "/readyz?verbose&pipeline=re%20funds"),
        (503, "[-]pipeline: failed: a record stopped it\n".into())
    );
    let unknown = "there is no pipeline `order`: there are `orders`, `re funds`\n";
    assert_eq!(ask(&server, "/readyz?pipeline=order"), (404, unknown.into()));
    assert_eq!(ask(&server, "/state/count/a?pipeline=order"), (404, unknown.into()));
    assert_eq!(ask(&server, "/state/count/a?pipeline=orders").0, 403);
    assert_eq!(ask(&server, "/state/count/a").0, 403, "none of them serves its state");
}

#[test]
fn a_question_about_state_finds_its_pipeline_among_several() {
    let starting = serves("orders", &Arc::default(), true);
    let server = start(vec![starting, served("refunds", &Arc::default())]);
    let (status, text) = ask(&server, "/state/count/a");
    assert_eq!(status, 404);
    assert!(text.starts_with("{\"error\":\"no pipeline that runs here") && text.contains("`count`"), "{text}");
    assert_eq!(ask(&server, "/state/count/%f").0, 400);
    assert_eq!(ask(&server, "/state/count/a?pipeline=orders").0, 503, "it is starting");
    assert_eq!(ask(&server, "/state/count/a?pipeline=refunds").0, 403);
}

/// One text has the metrics of all, each name with its help once, and those of the process once.
#[test]
fn the_metrics_of_all_pipelines_are_in_one_text() {
    let pipelines = ["orders", "refunds"].map(|name| served(name, &Arc::default()));
    let (_, text) = ask(&start(pipelines.into()), "/metrics");
    let count = |beginning: &str| text.lines().filter(|line| line.starts_with(beginning)).count();
    assert_eq!(count("# HELP wasmill_ready "), 1, "{text}");
    assert_eq!(count("wasmill_ready{"), 2, "{text}");
    assert_eq!(count("process_start_time_seconds "), 1, "{text}");
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
    assert!(names.is_sorted(), "{names:?}");
    let mut series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let all = series.len();
    series.sort_unstable_by_key(|line| line.rsplit_once(' ').map(|(series, _)| series));
    series.dedup_by_key(|line| line.rsplit_once(' ').map(|(series, _)| series));
    assert_eq!(series.len(), all, "a series is there twice");
}

/// State is data: without a pipeline to ask, that is, without `http.state`, nothing of it is served.
#[test]
fn state_is_refused_unless_the_file_permits_it() {
    let refusing = server(&Arc::default());
    let (status, text) = ask(&refusing, "/state/per-minute/c1");
    assert_eq!(status, 403);
    assert!(text.starts_with('{') && text.contains("`http.state` is `false`"), "{text}");
    let starting = start(vec![serves("orders", &Arc::default(), true)]);
    let (status, text) = ask(&starting, "/state/per-minute/c1");
    assert_eq!((status, text.as_str()), (503, "{\"error\":\"the pipeline doesn't run\"}\n"));
    assert_eq!(ask(&starting, "/state/per-minute?limit=0").0, 400);
}

#[test]
fn a_taken_address_is_an_error_and_a_dropped_server_frees_it() {
    let first = server(&Arc::default());
    let addr = first.local_addr();
    let again = || started(addr, vec![served("orders", &Arc::default())]);
    let taken = again().unwrap_err();
    assert!(matches!(&taken, ServeError::Address(why) if why.kind() == std::io::ErrorKind::AddrInUse), "{taken:?}");
    // An open connection doesn't keep the address in use.
    let _open = TcpStream::connect(addr).unwrap();
    drop(first);
    again().unwrap();
}

/// Without a bound, each idle connection would hold a descriptor for as long as it likes.
#[test]
fn many_idle_connections_block_no_probe_and_hold_few_descriptors() {
    const MANY: usize = 300;
    let health = Arc::new(Mutex::new(Health { live: true, ..Health::default() }));
    let server = server(&health);
    let mut idle: Vec<TcpStream> = (0..MANY)
        .map(|number| {
            let mut stream = TcpStream::connect(server.local_addr()).unwrap();
            // Half of the connections start a request.
            if number % 2 == 0 {
                stream.write_all(b"GET /livez HTTP/1.1\r\nHost:").unwrap();
            }
            stream
        })
        .collect();
    assert_eq!(ask(&server, "/livez"), (200, "ok\n".into()));
    // Connections above the bound were closed; the others are closed when their request doesn't arrive in time.
    for stream in &mut idle {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    }
    assert_eq!(ask(&server, "/livez"), (200, "ok\n".into()));
}

#[test]
fn a_body_is_not_taken() {
    let server = server(&Arc::default());
    let mut stream = TcpStream::connect(server.local_addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET /livez HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000000\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[test]
fn operations_reach_their_pipeline_and_refusals_say_why() {
    let board = Arc::new(Asked(vec![served("orders", &Arc::default())], Mutex::default()));
    let server = Server::start(ANY, Arc::clone(&board) as Arc<dyn Board>, Access::default()).unwrap();
    let post = |path: &str| send(&server, "POST", path, "Host: localhost", "");
    let (status, text) = post("/api/v1/pipelines/orders/pause");
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("\"result\":\"done\""), "{text}");
    assert_eq!(*board.1.lock().unwrap(), [("orders".to_owned(), Operation::Pause)]);
    for (path, status, why) in [
        ("/api/v1/pipelines/orders/start", 409, "it runs"),
        ("/api/v1/pipelines/order/pause", 404, "there is no pipeline `order`: there are `orders`"),
        ("/api/v1/pipelines/orders/paws", 404, "there are pause, resume"),
        ("/api/v1/pipelines/orders/pause?force=1", 400, "takes no parameters"),
        ("/api/v1/pipelines/orders/reload?dry_run=1", 409, "a reload would be refused: orders.toml:3: no"),
        ("/api/v1/pipelines/orders/skip", 400, "needs the record"),
        ("/api/v1/pipelines/orders/skip?topic=in&partition=0&offset=x", 400, "needs the record"),
        ("/api/v1/pipelines/orders/skip?topic=in&partition=0&offset=7&force=1", 400, "needs the record"),
    ] {
        let (found, text) = post(path);
        assert_eq!(found, status, "{text}");
        assert!(text.contains(why) && text.contains(&format!("\"status\":{status}")), "{text}");
    }
    let (status, text) = post("/api/v1/pipelines/orders/skip?topic=a%2Eb&partition=0&offset=7");
    assert!(status == 200 && text.contains("topic a.b, partition 0, offset 7 is left out"), "{text}");
    assert_eq!(ask(&server, "/api/v1/pipelines/orders/pause").0, 405, "a link changes nothing");
    let page =
        send(&server, "POST", "/api/v1/pipelines/orders/stop", "Host: localhost\r\nOrigin: http://evil.example", "");
    assert_eq!(page.0, 403, "{}", page.1);
    assert_eq!(board.1.lock().unwrap().len(), 2);
}

#[test]
fn a_token_is_asked_for_where_something_changes() {
    let access = Access::new(Some(Secret("0123456789abcdef".into())));
    let board = Asked(vec![served("orders", &Arc::default())], Mutex::default());
    let server = Server::start(ANY, Arc::new(board), access).unwrap();
    let post = |headers: &str| send(&server, "POST", "/api/v1/pipelines/orders/pause", headers, "");
    assert_eq!(post("Host: localhost").0, 401);
    assert_eq!(post("Host: localhost\r\nAuthorization: Bearer 0123456789abcdee").0, 401);
    assert_eq!(post("Host: mill\r\nAuthorization: Bearer 0123456789abcdef").0, 200);
    assert_eq!(ask(&server, "/api/v1/pipelines").0, 200, "states are for everybody who reaches the server");
    assert_eq!(ask(&server, "/api/v1/pipelines/orders/logs").0, 401, "plugins may log what records hold");
    let page =
        |headers: &str| send(&server, "GET", "/pipelines/orders", &format!("{headers}\r\nAccept: text/html"), "").1;
    assert!(page("Host: localhost").contains("wasmill logs orders --token TOKEN"));
    assert!(page("Host: a\r\nAuthorization: Bearer 0123456789abcdef").contains("class=\"log\""));
}

#[test]
fn pipelines_are_listed_and_shown_as_json() {
    let health = Arc::new(Mutex::new(Health {
        live: true,
        checks: vec![check(false, "brokers", "none answers")],
        ..Health::default()
    }));
    let server = server(&health);
    let (_, text) = ask(&server, "/api/v1/pipelines");
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    let one = &all["pipelines"][0];
    assert_eq!((one["name"].as_str(), one["state"].as_str()), (Some("orders"), Some("starting")), "{text}");
    let (_, text) = ask(&server, "/api/v1/pipelines/orders");
    let one: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(one["checks"][0]["detail"], "none answers", "{text}");
    assert_eq!(one["steps"][0]["name"], "mask", "{text}");
    assert_eq!(one["outputs"][0]["name"], "main", "{text}");
}

/// The document, and a schema of it as a document of its own.
fn schema_of(document: &serde_json::Value, path: &str, method: &str, status: &str) -> serde_json::Value {
    let answer = &document["paths"][path][method]["responses"][status]["content"];
    let (_, content) = answer.as_object().unwrap().iter().next().unwrap();
    let mut schema = content["schema"].clone();
    schema["components"] = document["components"].clone();
    schema
}

/// The log of this process, which writes nothing. Its filter is locked for the test that has it.
fn log() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let format = telemetry::Format::Json;
    let options = telemetry::Options {
        format,
        color: telemetry::Color::Never,
        verbosity: 0,
        filter: Some("off"),
        no_color: true,
        continues: false,
    };
    telemetry::init(&options).unwrap();
    alone
}

/// A stream of events, and what it began with.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(server: &Server, path: &str) -> Stream {
        let mut stream = TcpStream::connect(server.local_addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut stream = Stream(BufReader::new(stream));
        let mut head = stream.line();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        while !head.is_empty() {
            head = stream.line();
        }
        stream
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The next event; `None` at the end.
    fn event(&mut self) -> Option<(String, serde_json::Value)> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(event) = line.strip_prefix("event: ") {
                let event = event.trim_end().to_owned();
                let data = self.line();
                return Some((event, serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap()));
            }
        }
    }
}

#[test]
fn what_is_answered_is_what_the_openapi_document_says() {
    let _log = log();
    let health = Health { live: true, checks: vec![check(false, "brokers", "none answers")], ..Health::default() };
    let pipeline = serves("orders", &Arc::new(Mutex::new(health)), true);
    bury(&pipeline);
    let server = start(vec![pipeline]);
    let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let document = parsed(&ask(&server, "/api/v1/openapi.json").1);
    let mut answers = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let record = if path.ends_with("/skip") { "?topic=in&partition=0&offset=7" } else { "" };
            let filled = |name| path.replace("{name}", name).replace("{operation}", "pause") + record;
            let (verb, headers) = (method.to_uppercase(), "Host: localhost");
            let answer = |path: &str, body: &str| {
                send(&server, &verb, path, &format!("{headers}\r\nContent-Length: {}", body.len()), body)
            };
            let body = if verb == "PUT" { "{\"filter\": \"off,a=off\", \"for\": \"10m\"}" } else { "" };
            // Streams have a test of their own.
            if methods[method]["responses"]["200"]["content"]["application/json"].is_object() {
                let (status, text) = answer(&filled("orders"), body);
                assert_eq!(status, 200, "{path}: {text}");
                answers.push((path.clone(), method.clone(), "200", text));
            }
            if path.contains("{name}") {
                let (status, text) = answer(&filled("nothing"), body);
                assert_eq!(status, 404, "{path}: {text}");
                answers.push((path.clone(), method.clone(), "404", text));
            }
        }
    }
    assert!(answers.len() >= 13, "{answers:?}");
    for (path, method, status, text) in answers {
        let validator = jsonschema::validator_for(&schema_of(&document, &path, &method, status)).unwrap();
        let answer = parsed(&text);
        let errors: Vec<String> = validator.iter_errors(&answer).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{method} {path}, {status}: {errors:?}\n{text}");
    }
    let validator = jsonschema::validator_for(&schema_of(&document, "/api/v1/pipelines", "get", "200")).unwrap();
    assert!(!validator.is_valid(&serde_json::json!({ "pipelines": [{ "name": "orders" }] })), "it demands all fields");
}

/// A dead letter of this pipeline was acknowledged.
fn bury(served: &Served) {
    served.metrics.journal.buried(vec![BuriedRecord {
        at_ms: 1,
        partition: TopicPartition { topic: "in".into(), partition: 3 },
        offset: 17,
        step: "mask".into(),
        kind: Kind::Reject,
        reason: "<b>no JSON".into(),
    }]);
}

/// A record comes out of the step `mask`.
fn pass(served: &Served, value: &[u8]) {
    let (step, source) = ("mask".into(), TopicPartition { topic: "in".into(), partition: 1 });
    let passing = Passing {
        step: &step,
        source: &source,
        offset: Some(7),
        attempt: 0,
        timestamp: 5,
        key: Some(b"k"),
        value: Some(value),
        headers: Headers::new(&[1, 1], b"h\xff"),
        fate: Fate::Out(Some(TapRoute { output: "main", topic: None })),
    };
    served.metrics.taps.wanting("mask", TapPoint::Out, 1).iter().for_each(|tap| tap.offer(&passing));
}

/// The events are those that the document describes, a tap ends with its reader, and their number is bounded.
#[test]
fn a_tap_shows_what_passes_and_ends_with_its_reader() {
    let pipeline = serves("orders", &Arc::new(Mutex::new(Health { live: true, ..Health::default() })), true);
    let server = start(vec![Arc::clone(&pipeline)]);
    let (_, document) = ask(&server, "/api/v1/openapi.json");
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    let events =
        &document["paths"]["/api/v1/pipelines/{name}/tap"]["get"]["responses"]["200"]["content"]["text/event-stream"];
    let mut stream = Stream::open(&server, "/api/v1/pipelines/orders/tap?step=mask&when=out&match=a&limit=2");
    let mut seen = Vec::new();
    while let Some((event, data)) = stream.event() {
        let mut schema = events["x-events"][&event].clone();
        schema["components"] = document["components"].clone();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let errors: Vec<String> = validator.iter_errors(&data).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{event}: {errors:?}\n{data}");
        if event == "notice" {
            [&b"abc"[..], b"xyz", b"a\xff", b"aaa"].iter().for_each(|value| pass(&pipeline, value));
        }
        seen.push((event, data));
    }
    let names: Vec<&str> = seen.iter().map(|(event, _)| event.as_str()).collect();
    assert_eq!(names, ["open", "notice", "record", "record", "end"], "{seen:?}");
    assert_eq!(seen[0].1["steps"], serde_json::json!(["mask"]));
    assert!(seen[1].1["text"].as_str().unwrap().contains("it loads its plugins"), "{seen:?}");
    let record = serde_json::json!({
        "when": "out", "step": "mask", "topic": "in", "partition": 1, "offset": 7, "attempt": 0, "timestamp": 5,
        "key": "k", "value": "abc", "headers": [["h", { "base64": "/w==" }]], "truncated": false,
        "output": { "name": "main", "topic": "out" },
    });
    assert_eq!(seen[2].1, record);
    assert_eq!(seen[3].1["value"], serde_json::json!({ "base64": "Yf8=" }));
    drop(stream);
    let is_closed = |pipeline: &Served| !pipeline.metrics.taps.are_open();
    wait_until("the tap is closed", || is_closed(&pipeline));

    let mut taps: Vec<Stream> = (0..8).map(|_| Stream::open(&server, "/api/v1/pipelines/orders/tap")).collect();
    let (status, text) = ask(&server, "/api/v1/pipelines/orders/tap");
    assert!(status == 429 && text.contains("too many taps are open"), "{text}");
    // Idle connections close no stream.
    let many: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(server.local_addr()).unwrap()).collect();
    assert_eq!(ask(&server, "/livez").0, 200);
    drop(many);
    pass(&pipeline, b"all");
    for tap in &mut taps {
        let values: Vec<serde_json::Value> = std::iter::from_fn(|| tap.event())
            .filter(|(event, _)| event == "record")
            .map(|(_, data)| data["value"].clone())
            .take(1)
            .collect();
        assert_eq!(values, ["all"]);
    }
    drop(taps);
    wait_until("the taps are closed", || is_closed(&pipeline));
    drop(Stream::open(&server, "/api/v1/pipelines/orders/tap"));
}

/// Waits for what happens on the server's thread.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let (sender, never) = std::sync::mpsc::channel::<()>();
    for _ in 0..3000 {
        if holds() {
            return;
        }
        // A wait that nothing ends early.
        let _ = never.recv_timeout(Duration::from_millis(10));
    }
    drop(sender);
    panic!("waited in vain until {what}");
}

#[test]
fn a_tap_needs_the_right_to_give_orders_and_a_file_that_permits_it() {
    let refusing = server(&Arc::default());
    let (status, text) = ask(&refusing, "/api/v1/pipelines/orders/tap");
    assert!(status == 403 && text.contains("write `tap = true` in `[http]` of its file"), "{text}");
    let page = send(&refusing, "GET", "/pipelines/orders", "Host: localhost\r\nAccept: text/html", "").1;
    assert!(page.contains("They may not be watched") && !page.contains("tap-form"), "{page}");
    let pipeline = serves("orders", &Arc::default(), true);
    let access = Access::new(Some(Secret("0123456789abcdef".into())));
    let board = Asked(vec![Arc::clone(&pipeline)], Mutex::default());
    let server = Server::start(ANY, Arc::new(board), access).unwrap();
    for path in ["tap", "config", "logs?follow=1"] {
        let path = format!("/api/v1/pipelines/orders/{path}");
        assert_eq!(ask(&server, &path).0, 401, "{path}");
        let wrong = "Host: localhost\r\nAuthorization: Bearer 0123456789abcdee";
        assert_eq!(send(&server, "GET", &path, wrong, "").0, 401, "{path}");
    }
    assert_eq!(send(&server, "PUT", "/api/v1/log", "Host: localhost\r\nContent-Length: 2", "{}").0, 401);
    assert!(!pipeline.metrics.taps.are_open());
    let right = "Host: localhost\r\nAuthorization: Bearer 0123456789abcdef";
    let (status, text) = send(&server, "GET", "/api/v1/pipelines/orders/tap?step=none", right, "");
    assert!(status == 400 && text.contains("there is no step `none`: there are `mask`"), "{text}");
    let page = send(&server, "GET", "/pipelines/orders", &format!("{right}\r\nAccept: text/html"), "").1;
    assert!(page.contains("id=\"tap-form\"") && page.contains("topics = ["), "{page}");
    assert!(!page.contains("canary"), "{page}");
}

#[test]
fn the_configuration_is_shown_with_origins_and_without_secrets() {
    let server = server(&Arc::default());
    let (status, text) = ask(&server, "/api/v1/pipelines/orders/config");
    assert_eq!(status, 200, "{text}");
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    let toml = answer["toml"].as_str().unwrap();
    assert!(toml.contains("topics = [\"in\"]") && toml.contains("orders.toml:5"), "{toml}");
    assert!(toml.contains("password = \"***\"") && !toml.contains("canary"), "{toml}");
}

#[test]
fn log_lines_are_followed_until_their_reader_has_gone() {
    let _log = log();
    let pipeline = served("followed", &Arc::default());
    let server = start(vec![pipeline]);
    telemetry::set_log_filter("info", None).unwrap();
    let line = |text: &str| telemetry::in_pipeline("followed".into(), || tracing::info!("{text}"));
    line("before");
    let mut stream = Stream::open(&server, "/api/v1/pipelines/followed/logs?follow=1");
    let (event, data) = stream.event().unwrap();
    assert_eq!((event.as_str(), &data["text"]), ("line", &serde_json::json!("before")), "{data}");
    // More than are kept.
    (0..300).for_each(|n| line(&format!("line {n}")));
    let (mut lines, mut missed, mut last) = (0, 0, String::new());
    while last != "line 299" {
        let (event, data) = stream.event().unwrap();
        if event == "missed" {
            missed += data["count"].as_u64().unwrap();
        } else {
            lines += 1;
            last = data["text"].as_str().unwrap().to_owned();
        }
    }
    assert_eq!(lines + missed, 300);
    assert_eq!(ask(&server, "/api/v1/pipelines/followed/logs?follow=maybe").0, 400);
    telemetry::set_log_filter("off", None).unwrap();
}

#[test]
fn the_log_filter_is_set_for_a_while_and_a_wrong_one_is_refused() {
    let _log = log();
    let server = server(&Arc::default());
    let put = |body: &str| {
        send(&server, "PUT", "/api/v1/log", &format!("Host: localhost\r\nContent-Length: {}", body.len()), body)
    };
    for (body, status, why) in [
        ("{\"filter\": \"inof\"}", 422, "`inof` is no level"),
        ("{\"filter\": \"off\", \"for\": \"soon\"}", 400, "`soon` is not a time"),
        ("{\"filter\": \"off\", \"until\": \"10m\"}", 400, "unknown field `until`"),
        ("", 400, "the body"),
        (&format!("{{\"filter\": \"{}\"}}", "a".repeat(6000)), 400, "more than 5120 bytes"),
    ] {
        let (found, text) = put(body);
        assert!(found == status && text.contains(why), "{body}: {found} {text}");
    }
    let (status, text) = put("{\"filter\": \"off,some::module=off\", \"for\": \"1h\"}");
    let view: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(status == 200 && view["filter"] == "off,some::module=off" && view["until"].is_string(), "{text}");
    assert_eq!(send(&server, "POST", "/api/v1/log", "Host: localhost\r\nContent-Length: 2", "{}").0, 413);
}

#[test]
fn the_page_shows_texts_as_texts_and_lets_nothing_else_in() {
    let look = || Look {
        health: Health { live: true, ..Health::default() },
        state: None,
        reason: "stopped at <script>alert(1)</script>".into(),
        file: "<b>.toml".into(),
        running: None,
        stopped_at: None,
        config: None,
    };
    let served = Served::new("a \"b\" <i>".into(), Metrics::new("x", &["<u>"], &["main"]), look);
    served.metrics.set_state(crate::metrics::State::Failed);
    bury(&served);
    let server = start(vec![served]);
    let head = |path: &str| {
        let mut stream = TcpStream::connect(server.local_addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    for path in ["/", "/pipelines/a%20%22b%22%20%3Ci%3E"] {
        let page = head(path);
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("alert(1)"), "{page}");
        for tag in ["<script>", "<b>", "<i>", "<u>"] {
            assert!(!page.contains(tag), "{tag} in {page}");
        }
        assert!(page.to_lowercase().contains("content-security-policy: default-src 'none'"), "{page}");
        assert!(!page.contains("http://") && !page.contains("https://"), "nothing comes from elsewhere: {page}");
    }
    assert!(head("/page.js").starts_with("HTTP/1.1 200") && head("/page.css").starts_with("HTTP/1.1 200"));
    assert!(head("/pipelines/none").starts_with("HTTP/1.1 404"));
    assert!(ask(&server, "/").1.contains("a \"b\" <i>  failed"), "a terminal gets a table");
}
