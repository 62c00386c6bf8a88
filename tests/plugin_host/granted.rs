//! Plugins that are granted HTTP requests or files: what they get, what is refused, and that a call ends wherever it waits.
#![expect(clippy::disallowed_methods, reason = "a test is a shell of its own")]

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use wasmill::batch::Batch;
use wasmill::failure::Failure;
use wasmill::failure::Kind;
use wasmill::outcome::Outcome;
use wasmill::plugin::Grants;
use wasmill::plugin::HttpGrant;
use wasmill::plugin::Instance;
use wasmill::plugin::Settings;
use wasmill::plugin::Step;
use wasmill::record::TopicPartition;
use wasmill::secret::Secret;

use crate::component::component;
use crate::component::load;
use crate::component::settings;
use crate::wasi;

fn plugin(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("plugins/target/wasm/{name}.wasm"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; `cargo xtask plugins` builds it", path.display()))
}

/// A server on this machine that answers each request by `response`, from its path, for as long as the test runs.
fn server(response: impl Fn(&str, &mut TcpStream) + Send + Clone + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, response) = (stream.unwrap(), response.clone());
            thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                while let Some(request) = lines.next() {
                    lines.by_ref().find(String::is_empty);
                    response(request.split(' ').nth(1).unwrap_or_default(), &mut stream);
                }
            });
        }
    });
    url
}

fn respond(stream: &mut TcpStream, status: &str, body: &str) {
    // The client may have gone: that is what some tests are about.
    let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
}

fn http(origins: &[&str]) -> Grants {
    let http = HttpGrant {
        origins: origins.iter().map(|origin| origin.parse().unwrap()).collect(),
        methods: vec!["GET".to_owned()],
        body_bytes: 1 << 20,
        networks: Vec::new(),
    };
    Grants { http: Some(http), ..Grants::default() }
}

fn enrich(url: &str, allow: Grants, timeout: Duration) -> Step {
    let given = Secret(format!("{{\"url\":\"{url}\"}}"));
    load(&plugin("enrich"), Settings { settings: given, allow, timeout: timeout.into(), ..settings() }).unwrap()
}

fn order(value: &str) -> Batch {
    let mut batch = Batch::new(TopicPartition { topic: "orders".into(), partition: 0 });
    batch.push(0, 0, 0, None, Some(value.as_bytes()), std::iter::empty());
    batch
}

/// The value that comes out, or why the record fails.
fn enriched(instance: &mut Instance, value: &str) -> Result<String, Failure> {
    let batch = order(value);
    let Outcome { outputs, mut failed, .. } = instance.process(&batch.view())?;
    match failed.pop() {
        Some(failed) => Err(failed.failure),
        None => Ok(String::from_utf8(outputs.resolve(0, &batch, 0).value.unwrap().to_vec()).unwrap()),
    }
}

const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_plugin_gets_responses_of_the_servers_that_its_step_lists() {
    let url = server(|path, stream| match path {
        "/7" => respond(stream, "200 OK", "{\"tier\":\"gold\"}"),
        "/8" => respond(stream, "404 Not Found", ""),
        _ => respond(stream, "503 Service Unavailable", ""),
    });
    let step = enrich(&url, http(&[&url]), LONG);
    let mut instance = step.instantiate().unwrap();
    assert_eq!(enriched(&mut instance, "{\"customer\":7}").unwrap(), "{\"customer\":7,\"tier\":\"gold\"}");
    let failed = enriched(&mut instance, "{\"customer\":8}").unwrap_err();
    assert_eq!((failed.kind, &*failed.code), (Kind::Reject, "unknown-customer"));
    let failed = enriched(&mut instance, "{\"customer\":9}").unwrap_err();
    assert_eq!((failed.kind, &*failed.reason), (Kind::Retry, "the server of customers returned 503"));
    assert_eq!(step.take_requests(), [3, 0, 0]);
}

#[test]
fn another_server_is_refused_and_the_plugin_goes_on() {
    let url = server(|_, stream| respond(stream, "200 OK", "{\"tier\":\"gold\"}"));
    let elsewhere = server(|_, _| panic!("a request came"));
    let step = enrich(&elsewhere, http(&[&url]), LONG);
    let mut instance = step.instantiate().unwrap();
    for _ in 0..3 {
        let failed = enriched(&mut instance, "{\"customer\":7}").unwrap_err();
        assert_eq!(failed.kind, Kind::Retry);
        assert!(
            failed.reason.contains(&format!("GET {elsewhere}/7: the step's `allow` doesn't grant it")),
            "{failed:?}"
        );
    }
    assert_eq!(step.take_requests(), [0, 3, 0]);
}

#[test]
fn without_the_grant_the_plugin_does_not_start() {
    let refused = load(&plugin("enrich"), settings()).unwrap_err().to_string();
    for part in [
        "wasi:http/outgoing-handler@0.2.0 (HTTP requests to the servers that its step lists)",
        "http = [\"https://host\"]",
    ] {
        assert!(refused.contains(part), "{refused} lacks {part}");
    }
}

/// A component imports what the runtime of its language does, so it starts without the grant: what it then asks for is refused by name.
#[test]
fn a_component_without_the_grant_is_refused_when_it_asks() {
    let given = Secret("{\"url\":\"http://127.0.0.1:1\"}".to_owned());
    let step = load(&component(&plugin("enrich")), Settings { settings: given, ..settings() }).unwrap();
    let failed = enriched(&mut step.instantiate().unwrap(), "{\"customer\":7}").unwrap_err();
    assert_eq!(failed.kind, Kind::Trap);
    assert!(
        failed.reason.contains("called `wasi:http/types.") && failed.reason.contains("grants no HTTP requests"),
        "{failed:?}"
    );
}

/// A server that accepts and says nothing: the plugin gets an error while there is time to do something about it.
#[test]
fn a_request_ends_before_its_call() {
    let url = server(|_, _| {});
    let timeout = Duration::from_millis(500);
    let step = enrich(&url, http(&[&url]), timeout);
    let mut instance = step.instantiate().unwrap();
    let began = Instant::now();
    let failed = enriched(&mut instance, "{\"customer\":7}").unwrap_err();
    assert!(failed.reason.ends_with("there was no response in time"), "{failed:?}");
    assert!(began.elapsed() < timeout, "{:?}", began.elapsed());
    assert_eq!(step.take_requests(), [0, 0, 1]);
}

/// The same component without the grant goes through its waits at once; with it they are real, and end with the call. No thread is left.
#[test]
fn a_call_that_waits_for_a_day_ends_at_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let allow = Grants { files: vec![folder.path().to_owned()], ..Grants::default() };
    let timeout = Duration::from_millis(200);
    let step = load(&wasi::runtime(true), Settings { allow, timeout: timeout.into(), ..settings() }).unwrap();
    let mut threads = Vec::new();
    for _ in 0..5 {
        let mut instance = step.instantiate().unwrap();
        let began = Instant::now();
        let failed = instance.process(&crate::records(0).view()).unwrap_err();
        assert_eq!(failed.kind, Kind::Timeout, "{failed:?}");
        assert!((timeout..timeout * 5).contains(&began.elapsed()), "{:?}", began.elapsed());
        threads.push(
            fs::read_dir("/proc/self/task")
                .unwrap()
                .filter(|thread| {
                    let name = thread
                        .as_ref()
                        .map(|thread| fs::read_to_string(thread.path().join("comm")).unwrap_or_default());
                    name.is_ok_and(|name| name.starts_with("plugin-io"))
                })
                .count(),
        );
    }
    assert!(threads.iter().all(|count| *count <= 4), "{threads:?}");
}

/// A folder with a table, and beside it what no plugin may read.
fn tables() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let granted = folder.path().join("tiers");
    fs::create_dir_all(granted.join("below")).unwrap();
    fs::write(granted.join("table.json"), "{\"7\":\"gold\"}").unwrap();
    fs::write(granted.join("below/table.json"), "{\"7\":\"silver\"}").unwrap();
    fs::write(folder.path().join("secret.json"), "{\"7\":\"canary\"}").unwrap();
    symlink("below/table.json", granted.join("inside.json")).unwrap();
    symlink("../secret.json", granted.join("outside.json")).unwrap();
    symlink(folder.path().join("secret.json"), granted.join("absolute.json")).unwrap();
    symlink("..", granted.join("up")).unwrap();
    (folder, granted)
}

fn lookup(table: &str, granted: &Path) -> Step {
    let given = Secret(format!("{{\"table\":\"{table}\",\"key\":\"customer\",\"add\":\"tier\"}}"));
    let allow = Grants { files: vec![granted.to_owned()], ..Grants::default() };
    load(&plugin("lookup"), Settings { settings: given, allow, ..settings() }).unwrap()
}

#[test]
fn a_plugin_reads_the_files_of_the_folder_that_its_step_grants() {
    let (_folder, granted) = tables();
    for (table, tier) in [("table.json", "gold"), ("below/table.json", "silver"), ("inside.json", "silver")] {
        let mut instance = lookup(&format!("{}/{table}", granted.display()), &granted).instantiate().unwrap();
        let expected = format!("{{\"customer\":7,\"tier\":\"{tier}\"}}");
        assert_eq!(enriched(&mut instance, "{\"customer\":7}").unwrap(), expected, "{table}");
    }
}

#[test]
fn nothing_leads_out_of_the_folder() {
    let (folder, granted) = tables();
    let inside = |path: &str| format!("{}/{path}", granted.display());
    for table in [
        inside("../secret.json"),
        inside("below/../../secret.json"),
        inside("outside.json"),
        inside("absolute.json"),
        inside("up/secret.json"),
        inside("/etc/passwd"),
        format!("{}/secret.json", folder.path().display()),
        format!("{}x/table.json", granted.display()),
        "/etc/passwd".to_owned(),
        "/proc/self/environ".to_owned(),
        "table.json".to_owned(),
        String::new(),
    ] {
        let failed = lookup(&table, &granted).instantiate().unwrap_err();
        assert!(
            failed.reason.contains(&format!("{table}: ")) && !failed.reason.contains("canary"),
            "{table}: {failed:?}"
        );
        assert!(failed.kind == Kind::Error, "{table}: {failed:?}");
    }
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let failed = lookup("/no/such/folder/table.json", Path::new("/no/such/folder")).instantiate().unwrap_err();
    assert!(failed.reason.contains("the folder /no/such/folder of `allow.files` can't be opened"), "{failed:?}");
}
