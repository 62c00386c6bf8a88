//! `[kafka]`: brokers, TLS, and the keys passed on to librdkafka.

use std::collections::BTreeMap;

use toml::Spanned;

use super::Check;
use super::in_backticks;
use super::sasl;
use super::value;
use crate::config::process::PROCESS_FILE;
use crate::config::raw;
use crate::config::raw::Text;
use crate::config::source::Span;
use crate::kafka::settings::Sasl;
use crate::kafka::settings::Tls;
use crate::kafka::settings::VERIFICATION;
use crate::kafka::settings::refused;
use crate::secret::Secret;

/// The checked `[kafka]`.
pub(super) struct Connection {
    pub(super) brokers: Vec<String>,
    pub(super) client_id: Option<String>,
    pub(super) tls: Option<Tls>,
    pub(super) sasl: Option<Sasl>,
    pub(super) librdkafka: BTreeMap<String, Secret>,
}

/// Checks `[kafka]` as it takes effect: of the pipeline's file, completed by that of the process.
pub(super) fn connection(check: &mut Check<'_>, mut kafka: raw::Kafka, at: Span) -> Connection {
    let insecure = kafka.insecure.as_ref().is_some_and(|insecure| *insecure.get_ref());
    let unverified = kafka.librdkafka.keys().any(|key| key.get_ref() == VERIFICATION);
    let encrypted = kafka.tls.as_ref().is_some_and(|tls| !matches!(tls, raw::Tls::Switch(false)));
    let sasl = kafka.sasl.take().and_then(sasl::wanted);
    let in_clear = sasl.as_ref().map_or_else(Vec::new, |sasl| sasl::in_clear(sasl, encrypted));
    for (span, message, what) in in_clear.iter().filter(|_| !insecure) {
        check.report.add(
            *span,
            *message,
            format!("{what}; to accept that anyone on the network can read it, set `insecure = true` under `[kafka]`"),
        );
    }
    let is_idle = insecure && !unverified && in_clear.is_empty();
    // That of the process may be for other pipelines.
    let is_own = |key: &&Spanned<bool>| !check.report.is_of_process(key.span().into());
    if let Some(key) = kafka.insecure.as_ref().filter(|_| is_idle).filter(is_own) {
        check.report.add(
            key.span().into(),
            "`insecure` alone changes nothing",
            format!(
                "remove it; it only permits `librdkafka = {{ \"{VERIFICATION}\" = false }}`, `PLAIN` and `OAUTHBEARER` without \
                 `tls`, and an `http://` address in `sasl.oidc.url`"
            ),
        );
    }
    if kafka.brokers.as_ref().is_none_or(|brokers| brokers.get_ref().is_empty()) {
        let at = kafka.brokers.as_ref().map_or(at, |brokers| brokers.span().into());
        let help = no_brokers(check);
        check.missing(at, "kafka.brokers", &help);
    }
    values(check, kafka, sasl, insecure)
}

/// Checks `[kafka]` of a process's file by itself: it may leave out anything, and what it has must be right in every pipeline.
pub(super) fn of_process(check: &mut Check<'_>, mut kafka: raw::Kafka) {
    let sasl = kafka.sasl.take().and_then(sasl::wanted);
    if let Some(brokers) = kafka.brokers.as_ref().filter(|brokers| brokers.get_ref().is_empty()) {
        check.missing(brokers.span().into(), "kafka.brokers", NO_BROKERS);
    }
    // A pipeline may say that it is insecure.
    let _ = values(check, kafka, sasl, true);
}

/// Checks each value by itself.
fn values(check: &mut Check<'_>, kafka: raw::Kafka, sasl: Option<Spanned<raw::Sasl>>, insecure: bool) -> Connection {
    if let Some(id) = kafka.client_id.as_ref().filter(|id| !value::is_name(id.get_ref())) {
        let shown = check.shown(id);
        check.report.add(id.span().into(), format!("{shown} can't be a client id"), value::NAME_RULE);
    }
    Connection {
        brokers: kafka.brokers.map_or_else(Vec::new, |brokers| self::brokers(check, &brokers)),
        client_id: kafka.client_id.map(Spanned::into_inner),
        tls: kafka.tls.and_then(|tls| self::tls(check, tls)),
        sasl: sasl.and_then(|sasl| sasl::sasl(check, sasl)),
        librdkafka: passed(check, kafka.librdkafka, insecure),
    }
}

const NO_BROKERS: &str = "under `[kafka]`, write `brokers = [\"localhost:9092\"]`";

/// What to do about missing brokers. Those of a process's file beside the pipeline's may be the ones that are meant.
fn no_brokers(check: &Check<'_>) -> String {
    let beside = check.folder(&(0..0)).join(PROCESS_FILE);
    if !beside.is_file() {
        return NO_BROKERS.to_owned();
    }
    format!("{NO_BROKERS}; `[kafka]` of {0} counts with its folder, or with `--service {0}`", beside.display())
}

fn brokers(check: &mut Check<'_>, brokers: &Spanned<Vec<Text>>) -> Vec<String> {
    for broker in brokers.get_ref() {
        if let Some((why, help)) = wrong_broker(broker.get_ref()) {
            // Here is no place for a user and a password, so somebody may have written them.
            let shown = match broker.get_ref().rsplit_once('@') {
                Some((_, host)) if !check.secrets.touch(&broker.span()) => {
                    in_backticks(&format!("***@{host}")) + &check.origin(&broker.span())
                }
                Some(_) | None => check.shown(broker),
            };
            check.report.add(broker.span().into(), format!("{shown} is not a broker's address: {why}"), help);
        }
    }
    brokers.get_ref().iter().map(|broker| broker.get_ref().clone()).collect()
}

fn wrong_broker(broker: &str) -> Option<(&'static str, &'static str)> {
    const SHAPE: &str = "write a host and a port, such as \"localhost:9092\"";
    if broker.contains("://") {
        return Some(("it names a protocol", "write host and port alone; `tls` and `sasl` set the protocol"));
    }
    if broker.contains(',') {
        return Some(("it names several", "write each as an item of the list"));
    }
    let Some((host, port)) = broker.rsplit_once(':') else {
        return Some(("it has no port", SHAPE));
    };
    if host.is_empty() || host.contains(char::is_whitespace) || host.contains('/') {
        return Some(("its host is not one", SHAPE));
    }
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return Some(("an IPv6 address needs brackets", "write \"[::1]:9092\""));
    }
    match port.parse::<u16>() {
        Ok(1..) => None,
        _ => Some(("its port is not a number from 1 to 65535", SHAPE)),
    }
}

fn tls(check: &mut Check<'_>, tls: raw::Tls) -> Option<Tls> {
    let files = match tls {
        raw::Tls::Switch(false) => return None,
        raw::Tls::Switch(true) => return Some(Tls::default()),
        raw::Tls::Files(files) => files,
    };
    let alone = match (&files.cert, &files.key) {
        (Some(cert), None) => Some((cert, "`cert` needs its `key`", "add `key`, the path of the private key")),
        (None, Some(key)) => Some((key, "`key` needs its `cert`", "add `cert`, the path of the certificate")),
        _ => None,
    };
    if let Some((text, message, help)) = alone.filter(|_| check.whole) {
        check.report.add(text.span().into(), message, help);
    }
    let mut path = |text: Option<Text>, what| text.map(|text| check.file(&text, what).to_string_lossy().into_owned());
    Some(Tls {
        ca: path(files.ca, "the authority's certificate"),
        cert: path(files.cert, "the client's certificate"),
        key: path(files.key, "the client's key"),
    })
}

/// A table for librdkafka. Keys that would break a guarantee are reported.
pub(super) fn passed(check: &mut Check<'_>, table: raw::Passed, insecure: bool) -> BTreeMap<String, Secret> {
    for (key, value) in &table {
        let name = key.get_ref();
        if name.is_empty() || name.contains('\0') {
            check.report.add(key.span().into(), "this is not a key of librdkafka's", "remove it");
            continue;
        }
        let Some(reason) = refused(name, &value.0, insecure) else { continue };
        let help = match name.as_str() {
            VERIFICATION => "to accept that, set `insecure = true` under `[kafka]`".to_owned(),
            _ if reason.starts_with("set ") => format!("{reason} instead"),
            _ => "remove it".to_owned(),
        };
        let label = if reason.starts_with("set ") { "wasmill sets this one itself" } else { reason };
        check.report.add_labelled(key.span().into(), format!("librdkafka's `{name}` can't be set"), label, help);
    }
    table.into_iter().map(|(key, value)| (key.into_inner(), Secret(value.0))).collect()
}
