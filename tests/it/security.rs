//! TLS and SASL with a node that requires them, and each way in which they fail, with distinct messages.
//!
//! The Java client produces and reads records over the node's plain port, so a round trip needs our own node: with
//! `WASMILL_TEST_BROKERS` those two tests do nothing.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::Duration;

use crate::kafka::secured::PASSWORD;
use crate::kafka::secured::Secured;
use crate::kafka::secured::USER;
use crate::support::broker;
use crate::support::component;
use crate::support::java;
use crate::support::java::Raw;
use crate::support::unique;
use crate::support::wasmill::Pipeline;
use crate::support::wasmill::Process;

const LIMIT: Duration = Duration::from_secs(60);

/// The TLS and SASL ports.
fn node() -> &'static Secured {
    broker::ports()
}

/// A pipeline on a port of the secured node.
fn pipeline(port: u16, more: &str) -> Pipeline {
    let (name, folder) = (unique("secured"), node().folder.display());
    let kafka = format!("brokers = [\"127.0.0.1:{port}\"]\n{}", more.replace("TLS", &folder.to_string()));
    let pipeline = Pipeline::new(&format!("{name}-in"), &format!("{name}-out"), &name, "").with_kafka(kafka);
    pipeline.install(&component::forward());
    pipeline
}

/// Checks a pipeline that can't connect: it logs one line, `/readyz` shows the same reason, and the pipeline waits.
fn refused(port: u16, kafka: &str, part: &str, key: &str) {
    let pipeline = pipeline(port, kafka);
    let mut process = pipeline.run();
    let address = format!("127.0.0.1:{port}");
    process.wait("the reason at /readyz", LIMIT, |process| {
        let page = process.get("/readyz?verbose");
        page.is_some_and(|(status, body)| {
            status == 503 && body.contains(&address) && body.contains(part) && body.contains(key)
        })
    });
    process.wait("the reason in the log", LIMIT, |process| process.log().contains(part));
    let log = process.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains(part)).collect();
    assert_eq!(lines.len(), 1, "one line in ten seconds: {log}");
    assert!(lines[0].contains(&address) && lines[0].contains(key), "{log}");
    for noise in ["SSL routines", "SSL handshake failed", "verification callback", PASSWORD] {
        assert!(!log.contains(noise), "{noise}: {log}");
    }
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
}

fn login(mechanism: &str, password: &str) -> String {
    format!(
        "tls = {{ ca = \"TLS/ca.pem\" }}\nsasl = {{ mechanism = \"{mechanism}\", username = \"{USER}\", password = \"{password}\" }}"
    )
}

/// Checks that records pass byte for byte, and that their offsets are committed.
fn connects(port: u16, kafka: &str) {
    if env::var_os("WASMILL_TEST_BROKERS").is_some() {
        return;
    }
    let (input, output) = (java::create("secured-in", 1, &[]), java::create("secured-out", 1, &[]));
    let group = unique("secured");
    let raw =
        |n: u8| Raw { timestamp: 1_700_000_000_000, key: Some(vec![n]), value: Some(vec![n; 9]), headers: Vec::new() };
    let records: Vec<_> = (0..50).map(raw).collect();
    java::produce(&input, 0, &records);
    let kafka = kafka.replace("TLS", &node().folder.display().to_string());
    let kafka = format!("brokers = [\"127.0.0.1:{port}\"]\n{kafka}");
    let pipeline = Pipeline::new(&input, &output, &group, "").with_kafka(kafka);
    pipeline.install(&component::forward());
    let mut process = pipeline.run();
    process.wait("the commit", LIMIT, |_| java::committed(&group, &input) == [50]);
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
    let arrived: Vec<_> = java::dump(&output, 0).into_iter().map(|(_, raw)| raw).collect();
    assert_eq!(arrived, records);
    assert!(!process.log().contains(PASSWORD), "{}", process.log());
}

#[test]
fn every_mechanism_logs_in_over_tls() {
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        connects(node().sasl, &login(mechanism, PASSWORD));
    }
}

#[test]
fn tls_connects_with_and_without_a_certificate_of_the_client() {
    connects(node().tls, "tls = { ca = \"TLS/ca.pem\" }");
    connects(node().mutual, "tls = { ca = \"TLS/ca.pem\", cert = \"TLS/client.pem\", key = \"TLS/client.key\" }");
}

#[test]
fn a_wrong_password_is_named_and_never_shown() {
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        refused(node().sasl, &login(mechanism, "wrong"), "refused the user or the password", "kafka.sasl.password");
    }
}

#[test]
fn the_repeated_log_line_says_that_the_password_is_wrong() {
    if env::var_os("WASMILL_TEST_BROKERS").is_some() {
        return;
    }
    let pipeline = pipeline(node().sasl, &login("PLAIN", "wrong"));
    let mut process = pipeline.run();
    let said = |process: &Process| {
        let log = process.log();
        log.lines().filter(|line| line.contains("; waiting for it") && line.contains("refused the user")).count()
    };
    process.wait("the reason once more", LIMIT, |process| said(process) >= 2);
    let log = process.log();
    let mut behind = log.lines().skip_while(|line| !line.contains("refused the user"));
    assert!(!behind.any(|line| line.contains("; waiting for one") || line.contains("brokers are down")), "{log}");
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
}

#[test]
fn an_authority_that_is_unknown_is_named() {
    refused(node().tls, "tls = { ca = \"TLS/other-ca.pem\" }", "authority that is not known", "kafka.tls.ca");
    refused(node().tls, "tls = true", "authority that is not known", "kafka.tls.ca");
}

#[test]
fn a_certificate_of_another_host_and_one_that_expired_are_told_apart() {
    let ca = "tls = { ca = \"TLS/ca.pem\" }";
    refused(node().elsewhere, ca, "another host name", "kafka.brokers");
    refused(node().expired, ca, "has expired", "clock");
}

#[test]
fn a_missing_client_certificate_is_reported() {
    refused(node().mutual, "tls = { ca = \"TLS/ca.pem\" }", "requires a client certificate", "kafka.tls.cert");
}

/// As Kubernetes changes a secret: the pipeline names a link into a folder that is a link itself, and the latter changes.
#[test]
fn a_password_corrected_only_in_its_file_is_reloaded() {
    let (input, output) = (java::create("rotated-in", 1, &[]), java::create("rotated-out", 1, &[]));
    let secret = tempfile::tempdir().unwrap();
    let version = |name: &str, password: &str| {
        let folder = secret.path().join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("password"), password).unwrap();
        symlink(name, secret.path().join("..data_tmp")).unwrap();
        fs::rename(secret.path().join("..data_tmp"), secret.path().join("..data")).unwrap();
    };
    version("..1", "wrong");
    symlink("..data/password", secret.path().join("password")).unwrap();
    let folder = node().folder.display();
    let kafka = format!(
        "brokers = [\"127.0.0.1:{}\"]\n{}",
        node().sasl,
        login("PLAIN", &format!("${{file:{}/password}}", secret.path().display())).replace("TLS", &folder.to_string())
    );
    let pipeline = Pipeline::new(&input, &output, &unique("rotated"), "").with_kafka(kafka);
    pipeline.install(&component::forward());
    let mut process = pipeline.run_with(&["--watch"]);
    process.wait("the refusal", LIMIT, |process| {
        process.get("/readyz?verbose").is_some_and(|(_, body)| body.contains("refused the user or the password"))
    });
    version("..2", PASSWORD);
    process.ready();
    assert!(process.log().contains("`[kafka]` with a new consumer"), "{}", process.log());
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
}

/// Certificates are renewed under the same path.
#[test]
fn a_signal_reloads_a_replaced_certificate() {
    let (input, output) = (java::create("renewed-in", 1, &[]), java::create("renewed-out", 1, &[]));
    let own = tempfile::tempdir().unwrap();
    let copy = |name: &str, more: &str| {
        let text = fs::read_to_string(node().folder.join(name)).unwrap();
        fs::write(own.path().join("new"), more.to_owned() + &text).unwrap();
        fs::rename(own.path().join("new"), own.path().join(name)).unwrap();
    };
    for name in ["ca.pem", "client.pem", "client.key"] {
        copy(name, "");
    }
    let kafka = format!(
        "brokers = [\"127.0.0.1:{}\"]\ntls = {{ ca = \"TLS/ca.pem\", cert = \"TLS/client.pem\", key = \"TLS/client.key\" }}",
        node().mutual
    );
    let kafka = kafka.replace("TLS", &own.path().display().to_string());
    let pipeline = Pipeline::new(&input, &output, &unique("renewed"), "").with_kafka(kafka);
    pipeline.install(&component::forward());
    let mut process = pipeline.run();
    process.ready();
    process.hang_up();
    process.wait("a reload without changes", LIMIT, |process| process.log().contains("nothing has changed"));
    for (times, name) in (1..).zip(["client.pem", "client.key", "ca.pem"]) {
        // Text before the first `-----BEGIN` line is a comment.
        copy(name, "renewed\n");
        process.hang_up();
        process.wait(name, LIMIT, |process| process.log().matches("`[kafka]` with a new consumer").count() == times);
        process.ready();
    }
    // Invalid files are refused, and the pipeline continues.
    fs::write(own.path().join("client.key"), "no key\n").unwrap();
    process.hang_up();
    process.wait("the refusal", LIMIT, |process| process.log().contains("not reloaded"));
    process.ready();
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
}

#[test]
fn no_output_holds_a_secret() {
    const TOKEN: &str = "canary-9Lx";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, PASSWORD).unwrap();
    let (name, port) = (unique("canary"), node().sasl);
    let kafka = format!(
        "brokers = [\"127.0.0.1:{port}\"]\ntls = {{ ca = \"{}/other-ca.pem\" }}\n\
         sasl = {{ mechanism = \"PLAIN\", username = \"{USER}\", password = \"${{file:{}}}\" }}",
        node().folder.display(),
        file.display()
    );
    let settings = "settings = { token = \"${CANARY}\" }";
    let pipeline =
        Pipeline::with_step(&format!("{name}-in"), &format!("{name}-out"), &name, "", settings).with_kafka(kafka);
    pipeline.install(&component::forward());
    let mut process = pipeline.run_in(&[("CANARY", TOKEN), ("WASMILL_LOG", "trace")], &[]);
    process.wait("the reason at /readyz", LIMIT, |process| {
        process.get("/readyz?verbose").is_some_and(|(_, body)| body.contains("kafka.tls.ca"))
    });
    let pages = ["/readyz?verbose", "/metrics"].map(|page| process.get(page).unwrap().1).concat();
    process.terminate();
    assert_eq!(process.exit(LIMIT), Some(0), "{}", process.log());
    let mut seen = format!("{pages}{}{}", process.log(), process.out());
    // A valid file, and files in which a secret is used where another kind of value is expected.
    let sound = pipeline.file();
    let text = fs::read_to_string(&sound).unwrap();
    let secret = format!("\"${{file:{}}}\"", file.display());
    for bad in [text.clone(), text.replace("\"PLAIN\"", &secret), format!("{text}start = \"${{CANARY}}\"\n")] {
        fs::write(&sound, &bad).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wasmill"));
        let output = command
            .args(["check", "--offline"])
            .arg(&sound)
            .env("CANARY", TOKEN)
            .env("WASMILL_LOG", "trace")
            .output()
            .unwrap();
        assert_eq!(output.status.success(), bad == text, "{output:?}");
        seen.push_str(&String::from_utf8_lossy(&output.stdout));
        seen.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    assert!(seen.contains("mechanism"), "the bad files were told of: {seen}");
    for canary in [PASSWORD, TOKEN] {
        assert!(!seen.contains(canary), "{canary}: {seen}");
    }
}
