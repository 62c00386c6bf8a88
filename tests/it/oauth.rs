//! OAUTHBEARER with a node that takes tokens without a signature: tokens that expire while records flow, and each way in which
//! there is none or it is refused.
//!
//! They need a node of our own: with `WASMILL_TEST_BROKERS` these tests do nothing.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::env;
use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::ServerConfig;
use rustls::ServerConnection;
use rustls::StreamOwned;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::TempDir;

use crate::support;
use crate::support::broker;
use crate::support::clock;
use crate::support::component;
use crate::support::delivery::Delivery;
use crate::support::java;
use crate::support::java::Feed;
use crate::support::say;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(60);
/// What a command prints that isn't a token.
const NONSENSE: &str = "canary-3Kd";
/// What each token begins with: that there is no signature.
const TOKEN: &str = "eyJhbGciOiJub25lIn0";
const SECRET: &str = "canary-secret /+8";

fn is_our_node() -> bool {
    env::var_os("WASMILL_TEST_BROKERS").is_none()
}

/// A folder with a command that prints tokens, and counts how often it ran.
struct Script(TempDir);

impl Script {
    fn new(body: &str) -> Script {
        let script = Script(tempfile::tempdir().unwrap());
        script.become_(body);
        script
    }

    /// Replaces the command.
    fn become_(&self, body: &str) {
        let folder = self.0.path();
        fs::write(folder.join("new"), format!("echo >> {}/calls\n{body}", folder.display())).unwrap();
        fs::rename(folder.join("new"), folder.join("token.sh")).unwrap();
    }

    fn calls(&self) -> usize {
        fs::read_to_string(self.0.path().join("calls")).unwrap_or_default().lines().count()
    }

    /// The lines of `[kafka]`.
    fn kafka(&self) -> String {
        let command = format!("[\"sh\", \"{}/token.sh\"]", self.0.path().display());
        kafka(&format!("token_command = {command}"))
    }
}

fn kafka(from: &str) -> String {
    let port = broker::ports().token;
    format!("brokers = [\"127.0.0.1:{port}\"]\ninsecure = true\nsasl = {{ mechanism = \"OAUTHBEARER\", {from} }}")
}

/// The text of a command that prints a token which is said to live for so many seconds, and does so for `real_life_s`.
fn printing(life_s: i64, real_life_s: i64) -> String {
    format!(
        "now=$(date +%s)\n\
         text() {{ printf %s \"$1\" | base64 -w0 | tr '+/' '-_' | tr -d '='; }}\n\
         claims=\"{{\\\"sub\\\":\\\"mill\\\",\\\"iat\\\":$((now - 100)),\\\"exp\\\":$((now + {real_life_s}))}}\"\n\
         printf '{{\"token\":\"%s.%s.\",\"expires_at\":%s}}\\n' \"$(text '{{\"alg\":\"none\"}}')\" \"$(text \"$claims\")\" $((now + {life_s}))\n"
    )
}

/// A pipeline whose topics exist.
fn pipeline(kafka: String) -> Pipeline {
    let (input, output) = (java::create("token-in", 1, &[]), java::create("token-out", 1, &[]));
    let pipeline = Pipeline::new(&input, &output, &unique("token"), "").with_kafka(kafka);
    pipeline.install(&component::forward());
    pipeline
}

/// Waits until `/readyz` and the log give this reason.
fn waits_for(process: &mut Process, parts: &[&str]) {
    process.wait("the reason at /readyz", LIMIT, |process| {
        let page = process.get("/readyz?verbose");
        page.is_some_and(|(status, body)| status == 503 && parts.iter().all(|part| body.contains(part)))
    });
    process.wait("the reason in the log", LIMIT, |process| {
        process.log().lines().any(|line| parts.iter().all(|part| line.contains(part)))
    });
}

fn ends(process: &mut Process) {
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
    for secret in [NONSENSE, TOKEN, SECRET] {
        assert!(!process.log().contains(secret), "{secret}: {}", process.log());
    }
}

#[test]
fn tokens_are_refreshed_while_records_flow() {
    refreshes("token-once-more", "at_least_once");
}

#[test]
fn tokens_are_refreshed_while_transactions_are_committed() {
    refreshes("token-exactly-once", "exactly_once");
}

fn refreshes(test: &str, guarantee: &str) {
    if !is_our_node() {
        return;
    }
    broker::brokers();
    let _alone = support::load();
    let script = Script::new(&printing(8, 8));
    let mut delivery = Delivery::new(test, 3, "");
    let debug = "librdkafka = { debug = \"broker\" }";
    delivery.pipeline = delivery.pipeline.with_kafka(format!("{}\n{debug}", script.kafka()));
    let feed = Feed::start(&delivery.input, 2000, 997, 20, 0);
    let set = format!("delivery=\"{guarantee}\"");
    let mut process = delivery.pipeline.run_in(&[("WASMILL_LOG", "librdkafka=debug,info")], &["--set", &set]);
    process.ready();
    let (at, calls) = (clock::unix_ms(), script.calls());
    process.wait("three refreshes", Duration::from_secs(30), |_| script.calls() >= calls + 3);
    let took = clock::unix_ms() - at;
    // All clients have gone on with the last token for a while.
    let logins = |process: &Process| process.log().matches("Received REAUTH op").count();
    let before = logins(&process);
    process.wait("every client to log in again", Duration::from_secs(30), |process| logins(process) >= before + 4);
    feed.stop();
    process.wait_for_commits(&delivery.group, &delivery.input, LIMIT);
    let log = process.log();
    for sign in ["refused the token", "no new token", "SASL authentication error"] {
        assert!(!log.contains(sign), "{sign}: {log}");
    }
    say(&format!("{test}: {} commands, 3 refreshes in {took} ms, {} logins again", script.calls(), logins(&process)));
    ends(&mut process);
    let tally = delivery.assert_delivered(&feed);
    assert_eq!(tally.repeats, 0);
    assert!(tally.fresh > 20_000, "{}", tally.fresh);
}

#[test]
fn a_token_that_the_broker_refuses_is_told_from_one_that_is_missing() {
    if !is_our_node() {
        return;
    }
    let script = Script::new(&printing(600, -30));
    let pipeline = pipeline(script.kafka());
    let mut process = pipeline.run();
    let address = format!("broker 127.0.0.1:{}", broker::ports().token);
    waits_for(&mut process, &[&address, "it refused the token"]);
    assert!(!process.log().contains("no new token"), "{}", process.log());
    // The refused token would live for ten minutes, so that this needs a new one before its time.
    script.become_(&printing(600, 600));
    process.ready();
    ends(&mut process);
}

#[test]
fn a_command_that_fails_is_named_until_it_works() {
    if !is_our_node() {
        return;
    }
    let script = Script::new("echo canary-3Kd; echo vault is sealed >&2; echo more >&2; exit 7\n");
    let pipeline = pipeline(script.kafka());
    let mut process = pipeline.run();
    let key = "the command of `kafka.sasl.token_command`";
    waits_for(&mut process, &["no new token for the brokers", key, "failed with exit status: 7: vault is sealed"]);
    script.become_("echo canary-3Kd\n");
    waits_for(&mut process, &[key, "printed no JSON object"]);
    script.become_(&printing(-30, 600));
    waits_for(&mut process, &[key, "gave a token that expired 3"]);
    script.become_(&printing(600, 600));
    process.ready();
    assert!(!process.log().contains("refused"), "{}", process.log());
    ends(&mut process);
}

#[test]
fn commands_that_do_not_run_log_in_with_a_token() {
    if !is_our_node() {
        return;
    }
    let script = Script::new(&printing(600, 600));
    let dead = java::create("token-dead", 1, &[]);
    let (input, output) = (java::create("token-in", 1, &[]), java::create("token-out", 1, &[]));
    let more = format!("[on_error]\ndead_letter = \"{dead}\"");
    let pipeline = Pipeline::new(&input, &output, &unique("token"), &more).with_kafka(script.kafka());
    pipeline.install(&component::forward());
    let file = pipeline.file();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
        let output = command.args(arguments).arg(&file).env("NO_COLOR", "1").output().unwrap();
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        (output.status.code(), text)
    };
    for arguments in [&["check"][..], &["dlq", "list"]] {
        let (code, text) = run(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {text}");
    }
    assert_eq!(script.calls(), 2);
    script.become_("echo vault is sealed >&2; exit 7\n");
    for arguments in [&["check"][..], &["dlq", "list"]] {
        let (code, text) = run(arguments);
        assert!(code != Some(0) && text.contains("exit status: 7: vault is sealed"), "{arguments:?}: {text}");
    }
    script.become_(&printing(600, -30));
    let (code, text) = run(&["check"]);
    assert!(code != Some(0) && text.contains("refused the token"), "{text}");
}

/// A server for tokens on this machine.
struct Server {
    port: u16,
    /// What it answers to a client with the right secret, and what requests it got.
    state: Arc<Mutex<(String, Vec<String>)>>,
}

impl Server {
    /// Answers everything with this text. With TLS, its certificate is the broker's.
    fn start(answer: &str, with_tls: bool) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new((answer.to_owned(), Vec::new())));
        let shared = Arc::clone(&state);
        let tls = with_tls.then(tls);
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = match &tls {
                    Some(tls) => {
                        let connection = ServerConnection::new(Arc::clone(tls)).unwrap();
                        serve(&mut StreamOwned::new(connection, stream), &shared)
                    }
                    None => serve(&mut stream, &shared),
                };
            }
        });
        Server { port, state }
    }

    fn answers(&self, answer: &str) {
        self.state.lock().unwrap().0 = answer.to_owned();
    }

    /// The lines of `[kafka]`, with more keys of `oidc`.
    fn kafka(&self, scheme: &str, secret: &Path, more: &str) -> String {
        kafka(&format!(
            "oidc = {{ url = \"{scheme}://127.0.0.1:{}/token?tenant=a\", client_id = \"mill\", client_secret = \"${{file:{}}}\", \
             scope = \"kafka a/b\"{more} }}",
            self.port,
            secret.display()
        ))
    }
}

fn tls() -> Arc<ServerConfig> {
    let folder = &broker::ports().folder;
    let chain = CertificateDer::pem_file_iter(folder.join("broker.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(folder.join("broker.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(versions.with_no_client_auth().with_single_cert(chain, key).unwrap())
}

/// The answer with a token that lives for ten minutes.
fn granted() -> String {
    let now = clock::unix_ms() / 1000;
    let claims = format!("{{\"sub\": \"mill\", \"iat\": {}, \"exp\": {}}}", now - 10, now + 600);
    let token = format!("{TOKEN}.{}.", URL_SAFE_NO_PAD.encode(claims));
    http("200 OK", &format!("{{\"access_token\": \"{token}\", \"expires_in\": 590}}"))
}

fn serve(stream: &mut (impl Read + Write), state: &Mutex<(String, Vec<String>)>) -> std::io::Result<()> {
    let mut text = Vec::new();
    let mut part = [0; 4096];
    // The form ends with the scope.
    while !String::from_utf8_lossy(&text).ends_with("b") {
        let read = stream.read(&mut part)?;
        if read == 0 {
            break;
        }
        text.extend_from_slice(&part[..read]);
    }
    let mut state = state.lock().unwrap();
    state.1.push(String::from_utf8_lossy(&text).into_owned());
    stream.write_all(state.0.as_bytes())
}

fn http(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn a_server_gives_a_token_to_a_client_with_a_secret() {
    if !is_our_node() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, SECRET).unwrap();
    let refusal = format!("{{\"error\": \"invalid_client\", \"error_description\": \"{SECRET} is wrong\"}}");
    let server = Server::start(&http("401 Unauthorized", &refusal), false);
    let pipeline = pipeline(server.kafka("http", &secret, ""));
    let mut process = pipeline.run();
    let key = "the server of `kafka.sasl.oidc`";
    waits_for(&mut process, &["no new token", key, "answers 401 Unauthorized: invalid_client: *** is wrong"]);
    server.answers(
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    );
    waits_for(&mut process, &[key, "a redirect, which is not followed: 302 Found"]);
    server.answers(&http("200 OK", &" ".repeat(100_000)));
    waits_for(&mut process, &[key, "answers with more than 64 KiB"]);
    server.answers(&granted());
    process.ready();
    ends(&mut process);
    let requests = server.state.lock().unwrap().1.clone();
    let login = STANDARD.encode("mill:canary-secret%20%2F%2B8");
    for request in &requests {
        let lower = request.to_ascii_lowercase();
        assert!(request.starts_with("POST /token?tenant=a HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("Basic {login}")), "{request}");
        assert!(lower.contains("content-type: application/x-www-form-urlencoded"), "{request}");
        assert!(request.ends_with("grant_type=client_credentials&scope=kafka+a%2Fb"), "{request}");
    }
    // One client's question is enough for all of them.
    assert!(requests.len() <= 8, "{}", requests.len());
}

#[test]
fn a_servers_certificate_must_be_of_an_authority_that_is_known() {
    if !is_our_node() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, SECRET).unwrap();
    let server = Server::start(&granted(), true);
    let stranger = pipeline(server.kafka("https", &secret, ""));
    let mut process = stranger.run();
    waits_for(&mut process, &["the server of `kafka.sasl.oidc` can't be asked", "certificate"]);
    ends(&mut process);
    assert_eq!(server.state.lock().unwrap().1.len(), 0, "the secret was sent");
    let ca = format!(", ca = \"{}/ca.pem\"", broker::ports().folder.display());
    let known = pipeline(server.kafka("https", &secret, &ca));
    let mut process = known.run();
    process.ready();
    ends(&mut process);
}
