//! `[on_error]`: what to do with failed records, and the dead-letter topic.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;

use super::Check;
use super::limits;
use super::outputs::Output;
use super::topics;
use super::value;
use crate::config::near::near;
use crate::config::raw;
use crate::config::raw::Text;
use crate::failure::Class;
use crate::failure::Kind;
use crate::kafka::settings;
use crate::kafka::settings::Partition;
use crate::partition::OnFailure;
use crate::partition::Policy;
use crate::partition::Retries;
use crate::partition::Rule;
use crate::sink::Dialect;

/// The dead-letter topic, if set, as an output that no port leads to.
pub(super) fn topic(
    check: &mut Check<'_>,
    raw: &raw::OnError,
    inputs: Option<&Spanned<Vec<Text>>>,
    outputs: &[Output],
) -> Option<settings::Output> {
    let topic = raw.dead_letter.as_ref()?;
    topics::writable(check, topic);
    topics::not_read(check, inputs, topic, "`dead_letter` is");
    if let Some(output) = outputs.iter().find(|output| output.topic.as_ref() == Some(topic)) {
        let message =
            format!("`dead_letter` is {}, which output `{}` writes", check.shown(topic), output.settings.name);
        let help = "give dead letters a topic of their own: readers of the output would take them for its records";
        check.report.add(topic.span().into(), message, help);
    }
    Some(settings::Output {
        name: Arc::from("dead_letter"),
        topic: Some(topic.get_ref().clone()),
        partition: Partition::ByKey,
        compression: "none".to_owned(),
        librdkafka: BTreeMap::new(),
    })
}

/// The policy, completed with what to do with failed records; and the naming scheme of dead-letter headers.
pub(super) fn policy(check: &mut Check<'_>, raw: &raw::OnError, policy: Policy) -> (Policy, Dialect) {
    let then = value::one_of(check, raw.then.as_ref(), "then", &WORDS, &[]);
    let default = if raw.dead_letter.is_some() { OnFailure::DeadLetter } else { OnFailure::Stop };
    let general = Rule { then: then.unwrap_or(default), ..policy.general };
    let codes: BTreeMap<_, _> =
        raw.code.iter().filter_map(|(code, reason)| by_code(check, raw, general, (code, reason))).collect();
    let kinds: BTreeMap<_, _> =
        raw.kind.iter().filter_map(|(kind, reason)| by_kind(check, raw, general, (kind, reason))).collect();
    let thens: Vec<OnFailure> = codes.values().chain(kinds.values()).chain([&general]).map(|rule| rule.then).collect();
    let dialects = [("streams", Dialect::Streams), ("connect", Dialect::Connect)];
    let dialect = value::one_of(check, raw.dialect.as_ref(), "dialect", &dialects, &[]);
    match (then, &raw.then, &raw.dead_letter) {
        (Some(OnFailure::DeadLetter), Some(at), None) => check.missing(
            at.span().into(),
            "on_error.dead_letter",
            "write the topic that they go to: `dead_letter = \"orders.dead\"`",
        ),
        (Some(_), Some(at), Some(_)) if !thens.contains(&OnFailure::DeadLetter) => {
            let shown = check.shown(at);
            check.report.add(
                at.span().into(),
                format!("`then` is {shown}, so nothing would be written to the topic of `dead_letter`"),
                "remove one of the two: without `then`, records that fail permanently go to that topic",
            );
        }
        _ => {}
    }
    let continues = raw.dead_letter.is_some() || thens.iter().any(|then| then.continues());
    if let Some(share) = raw.max_reject_share.as_ref().filter(|_| check.whole && !continues) {
        let help = "remove it, or set `then` or `dead_letter`, so that a rejected record doesn't stop the pipeline";
        check.report.add(
            share.span().into(),
            "the pipeline stops at the first reject, so `max_reject_share` has no effect",
            help,
        );
    }
    if let (Some(dialect), None) = (&raw.dialect, &raw.dead_letter) {
        let help = "remove it, or add `dead_letter` with their topic";
        check.report.add(
            dialect.span().into(),
            "`dialect` applies to dead letters, and this pipeline writes none",
            help,
        );
    }
    (Policy { general, codes: Arc::new(codes), kinds: Arc::new(kinds), ..policy }, dialect.unwrap_or_default())
}

const WORDS: [(&str, OnFailure); 4] = [
    ("stop", OnFailure::Stop),
    ("hold", OnFailure::Hold),
    ("dead_letter", OnFailure::DeadLetter),
    ("skip", OnFailure::Skip),
];

/// The rule for a code of rejects.
fn by_code(
    check: &mut Check<'_>,
    raw: &raw::OnError,
    general: Rule,
    (code, reason): (&Text, &raw::Reason),
) -> Option<(String, Rule)> {
    let name = code.get_ref();
    let is_code = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !is_code {
        let message = format!("`on_error.code`: {} is no code", check.shown(code));
        check.report.add(
            code.span().into(),
            message,
            "use 1 to 64 of the characters a-z, 0-9 and `-`, as in \"bad-json\"",
        );
        return None;
    }
    Some((name.clone(), rule(check, raw, general, Retries::Times(0), reason)))
}

/// The rule for a kind of failures.
fn by_kind(
    check: &mut Check<'_>,
    raw: &raw::OnError,
    general: Rule,
    (name, reason): (&Text, &raw::Reason),
) -> Option<(Kind, Rule)> {
    let kind = Kind::OF_RECORDS.into_iter().find(|kind| kind.code() == *name.get_ref());
    let Some(kind) = kind else {
        let known: Vec<String> = Kind::OF_RECORDS.iter().map(|kind| kind.code()).collect();
        let message = format!("`on_error.kind`: {} is not a known kind", check.shown(name));
        let help = match near(name.get_ref(), known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known kinds: `{}`", known.join("`, `")),
        };
        check.report.add(name.span().into(), message, help);
        return None;
    };
    if kind.class() == Class::Refused
        && let Some(at) = reason.retries.as_ref()
    {
        let message = format!("`retries` of `{}`: an output that its topic refuses is refused again", kind.code());
        check.report.add(at.span().into(), message, "remove it, and say with `then` what happens to the record");
    }
    let retries = if kind.class() == Class::Retry { general.retries } else { Retries::Times(0) };
    Some((kind, rule(check, raw, general, retries, reason)))
}

fn rule(check: &mut Check<'_>, raw: &raw::OnError, general: Rule, retries: Retries, reason: &raw::Reason) -> Rule {
    let own = reason.retries.as_ref().and_then(|retries| limits::retries(check, retries));
    let (from, to) = (general.backoff_from, general.backoff_to);
    let (backoff_from, backoff_to) = limits::backoff(check, &reason.backoff, (from, to));
    let then = value::one_of(check, reason.then.as_ref(), "then", &WORDS, &[]);
    if let (Some(at), Some(OnFailure::DeadLetter), None) = (&reason.then, then, &raw.dead_letter) {
        let help = "write the topic that they go to: `dead_letter = \"orders.dead\"`";
        check.missing(at.span().into(), "on_error.dead_letter", help);
    }
    let then = then.unwrap_or(general.then);
    Rule { retries: own.unwrap_or(retries), backoff_from, backoff_to, then }
}
