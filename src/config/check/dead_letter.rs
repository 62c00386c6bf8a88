//! `[on_error]`: what to do with failed records, and the dead-letter topic.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;

use super::Check;
use super::outputs::Output;
use super::topics;
use super::value;
use crate::config::raw;
use crate::config::raw::Text;
use crate::kafka::settings;
use crate::kafka::settings::Partition;
use crate::partition::OnFailure;
use crate::partition::Policy;
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
        topic: topic.get_ref().clone(),
        partition: Partition::ByKey,
        compression: "none".to_owned(),
        librdkafka: BTreeMap::new(),
    })
}

/// The policy, completed with what to do with failed records; and the naming scheme of dead-letter headers.
pub(super) fn policy(check: &mut Check<'_>, raw: &raw::OnError, policy: Policy) -> (Policy, Dialect) {
    let words = [("stop", OnFailure::Stop), ("dead_letter", OnFailure::DeadLetter), ("skip", OnFailure::Skip)];
    let then = value::one_of(check, raw.then.as_ref(), "then", &words, &[]);
    let dialects = [("streams", Dialect::Streams), ("connect", Dialect::Connect)];
    let dialect = value::one_of(check, raw.dialect.as_ref(), "dialect", &dialects, &[]);
    match (then, &raw.then, &raw.dead_letter) {
        (Some(OnFailure::DeadLetter), Some(at), None) => check.missing(
            at.span().into(),
            "on_error.dead_letter",
            "write the topic that they go to: `dead_letter = \"orders.dead\"`",
        ),
        (Some(OnFailure::Skip | OnFailure::Stop), Some(at), Some(_)) => {
            let shown = check.shown(at);
            check.report.add(
                at.span().into(),
                format!("`then` is {shown}, so nothing would be written to the topic of `dead_letter`"),
                "remove one of the two: without `then`, records that fail permanently go to that topic",
            );
        }
        (Some(OnFailure::DeadLetter | OnFailure::Skip | OnFailure::Stop) | None, _, _) => {}
    }
    let continues = raw.dead_letter.is_some() || matches!(then, Some(OnFailure::DeadLetter | OnFailure::Skip));
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
    let default = if raw.dead_letter.is_some() { OnFailure::DeadLetter } else { OnFailure::Stop };
    (Policy { then: then.unwrap_or(default), ..policy }, dialect.unwrap_or_default())
}
