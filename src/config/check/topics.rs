//! `[input]`: the topics to read and where to start, and that no output leads back into them.

use std::time::Duration;

use toml::Spanned;

use super::Check;
use super::connection;
use super::outputs::Output;
use super::value;
use crate::config::raw;
use crate::config::raw::Text;
use crate::config::source::Span;
use crate::config::topic_sets::NoSet;
use crate::config::topic_sets::TopicSet;
use crate::kafka::settings::Input;
use crate::kafka::settings::Isolation;
use crate::kafka::settings::OnGap;
use crate::kafka::settings::OnRecreate;
use crate::kafka::settings::Start;
use crate::kafka::settings::is_reserved;
use crate::record::is_topic_name as is_topic;

/// The defaults of Kafka's own clients.
const SESSION_TIMEOUT: Duration = Duration::from_secs(45);
pub(super) const MAX_POLL_INTERVAL: Duration = Duration::from_secs(5 * 60);

const TOPIC_RULE: &str = "use 1 to 249 of the characters a-z, A-Z, 0-9, `.`, `_` and `-`";

/// The topics and their spans.
pub(super) fn inputs(check: &mut Check<'_>, topics: Option<&Spanned<Vec<Text>>>, at: Span) -> (Vec<String>, Vec<Span>) {
    const HELP: &str = "under `[input]`, write `topics = [\"orders\"]`";
    let Some(topics) = topics else {
        check.missing(at, "input.topics", HELP);
        return (Vec::new(), Vec::new());
    };
    if topics.get_ref().is_empty() {
        check.missing(topics.span().into(), "input.topics", HELP);
    }
    for (index, topic) in topics.get_ref().iter().enumerate() {
        let shown = check.shown(topic);
        let span = topic.span().into();
        if topics.get_ref()[..index].contains(topic) {
            check.report.add(span, format!("{shown} is listed twice"), "remove one");
        } else if topic.get_ref().starts_with('^') {
            if let Err((why, help)) = Pattern::new(topic.get_ref()) {
                check.report.add(span, format!("{shown} is not a pattern of topics: {why}"), help);
            }
        } else if !is_topic(topic.get_ref()) {
            let help = format!("{TOPIC_RULE}; a pattern begins with `^`");
            check.report.add(span, format!("{shown} can't be a topic's name"), help);
        } else if is_reserved(topic.get_ref()) && topics.get_ref().iter().any(|other| other.get_ref().starts_with('^'))
        {
            let help = "read it in a pipeline of its own: beside a pattern, `__*`, `*.changelog` and `*.repartition` are never read";
            check.report.add(span, format!("{shown} is a reserved name, and can't be listed beside a pattern"), help);
        }
    }
    topics.get_ref().iter().map(|topic| (topic.get_ref().clone(), Span::from(topic.span()))).unzip()
}

/// Reports a topic that can't be written.
pub(super) fn writable(check: &mut Check<'_>, topic: &Text) {
    let shown = check.shown(topic);
    let span = topic.span().into();
    if !is_topic(topic.get_ref()) {
        check.report.add(span, format!("{shown} can't be a topic's name"), TOPIC_RULE);
    } else if is_reserved(topic.get_ref()) {
        check.report.add(
            span,
            format!("{shown} is a reserved name"),
            "choose another: `__*` belongs to Kafka, `*.changelog` and `*.repartition` to wasmill",
        );
    }
}

/// Reports outputs whose topic the input reads: their records would be processed again and again.
pub(super) fn overlap(check: &mut Check<'_>, topics: Option<&Spanned<Vec<Text>>>, outputs: &[Output]) {
    for output in outputs {
        if let Some(topic) = &output.topic {
            not_read(check, topics, topic, &format!("output `{}` writes", output.settings.name));
        }
        for (text, glob) in &output.allowed {
            not_among(check, topics, (text, glob), &output.settings.name);
        }
    }
}

/// Reports a glob of topics that an output may write, if the input reads one of them.
fn not_among(
    check: &mut Check<'_>,
    topics: Option<&Spanned<Vec<Text>>>,
    (text, glob): (&Text, &glob::Pattern),
    output: &str,
) {
    let is_read = |input: &&Text| match input.get_ref().starts_with('^') {
        false => glob.matches(input.get_ref()),
        true => {
            let (pattern, globs) = (Pattern::new(input.get_ref()), TopicSet::of_globs([glob.as_str()].into_iter()));
            pattern.is_ok_and(|pattern| globs.is_none_or(|globs| globs.meets(&pattern.0)))
        }
    };
    let Some(input) = topics.and_then(|topics| topics.get_ref().iter().find(is_read)) else { return };
    let what = if input.get_ref().starts_with('^') { "topics of" } else { "the topic" };
    let message = format!(
        "output `{output}` may write {what} {} by {}, which the input reads",
        check.shown(input),
        check.shown(text)
    );
    let help = "its records would circulate for ever: write a narrower glob, or don't read this topic";
    check.report.add_labelled(text.span().into(), message, "read by `input.topics`", help);
}

/// Reports a written topic that the input reads. `who` begins the message.
pub(super) fn not_read(check: &mut Check<'_>, topics: Option<&Spanned<Vec<Text>>>, topic: &Text, who: &str) {
    if let Some(topics) = topics {
        let reads = topics.get_ref().iter().find(|input| reads(input.get_ref(), topic.get_ref()));
        let Some(input) = reads else { return };
        let shown = check.shown(topic);
        let message = match input.get_ref().starts_with('^') {
            true => format!("{who} {shown}, which the input reads by {}", check.shown(input)),
            false => format!("{who} {shown}, which the input reads"),
        };
        let help = "its records would circulate for ever: write to another topic, or don't read this one";
        check.report.add_labelled(topic.span().into(), message, "read by `input.topics`", help);
    }
}

/// Checks the other keys of `[input]`.
pub(super) fn input(check: &mut Check<'_>, raw: raw::Input, topics: Vec<String>, pipeline: &str) -> Input {
    let gaps = [("stop", OnGap::Stop), ("continue", OnGap::Continue)];
    let recreated = [("stop", OnRecreate::Stop), ("beginning", OnRecreate::Beginning)];
    let isolations = [("read_committed", Isolation::ReadCommitted), ("read_uncommitted", Isolation::ReadUncommitted)];
    let session_timeout = value::duration(check, raw.session_timeout.as_ref(), "session_timeout");
    let max_poll_interval = value::duration(check, raw.max_poll_interval.as_ref(), "max_poll_interval");
    let group = value::filled(check, raw.group.as_ref(), "group");
    let input = Input {
        topics,
        group: group.unwrap_or_else(|| pipeline.to_owned()),
        // `"${HOSTNAME:-}"` is empty if the variable isn't set.
        instance_id: raw.instance_id.map(Spanned::into_inner).filter(|id| !id.is_empty()),
        start: raw.start.and_then(|start| self::start(check, &start)).unwrap_or(Start::Earliest),
        on_gap: value::one_of(check, raw.on_gap.as_ref(), "on_gap", &gaps, &[]).unwrap_or(OnGap::Stop),
        on_recreate: value::one_of(check, raw.on_recreate.as_ref(), "on_recreate", &recreated, &[])
            .unwrap_or(OnRecreate::Stop),
        isolation: value::one_of(check, raw.isolation.as_ref(), "isolation", &isolations, &[])
            .unwrap_or(Isolation::ReadCommitted),
        session_timeout: session_timeout.unwrap_or(SESSION_TIMEOUT),
        max_poll_interval: max_poll_interval.unwrap_or(MAX_POLL_INTERVAL),
        librdkafka: connection::passed(check, raw.librdkafka, false),
    };
    let at = raw.session_timeout.as_ref().or(raw.max_poll_interval.as_ref());
    if let Some(at) = at.filter(|_| check.whole && input.session_timeout > input.max_poll_interval) {
        check.report.add(
            at.span().into(),
            "`session_timeout` is longer than `max_poll_interval`",
            "lower one or raise the other (defaults: 45s and 5m)",
        );
    }
    input
}

fn start(check: &mut Check<'_>, start: &Spanned<toml::Value>) -> Option<Start> {
    let text = match start.get_ref() {
        toml::Value::String(text) => text.clone(),
        toml::Value::Datetime(time) => time.to_string(),
        toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Array(_)
        | toml::Value::Table(_) => String::new(),
    };
    match text.as_str() {
        "earliest" => return Some(Start::Earliest),
        "latest" => return Some(Start::Latest),
        _ => {}
    }
    let time = text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
    if let Some(time) = time.filter(|time| *time >= 0) {
        return Some(Start::Timestamp(time));
    }
    let help = "write \"earliest\", \"latest\", or a time since 1970 with its zone, such as \"2026-01-31T00:00:00Z\"";
    let message = match text.is_empty() {
        true => "`start` is not a valid start".to_owned(),
        false => format!("`start`: {} is not a valid start", check.shown_at(&text, &start.span())),
    };
    check.report.add(start.span().into(), message, help);
    None
}

/// Whether a topic or a pattern of `input.topics` reads this topic.
#[must_use]
pub fn reads(input: &str, topic: &str) -> bool {
    match input.starts_with('^') {
        true => Pattern::new(input).is_ok_and(|pattern| pattern.reads(topic)),
        false => input == topic,
    }
}

/// A pattern of topics as librdkafka interprets it: a POSIX extended regular expression over bytes.
struct Pattern(TopicSet);

impl Pattern {
    fn new(pattern: &str) -> Result<Pattern, (String, &'static str)> {
        if let Some(foreign) = foreign(pattern) {
            let help = "patterns are POSIX extended regular expressions: `[0-9]`, not `\\d`, and no `(?..)`";
            return Err((format!("`{foreign}` means something else here"), help));
        }
        TopicSet::of_pattern(pattern).map(Pattern).map_err(|why| match why {
            NoSet::Malformed => {
                ("it doesn't parse".into(), "check its brackets and repetitions, as in \"^orders\\\\..*\"")
            }
            NoSet::TooLarge => ("it is too large".into(), "write a simpler one, or the topics' names"),
        })
    }

    /// Whether the pattern matches a topic.
    fn reads(&self, topic: &str) -> bool {
        !is_reserved(topic) && self.0.has(topic)
    }
}

/// The first construct in a pattern that POSIX doesn't have: it would silently mean something else there.
fn foreign(pattern: &str) -> Option<String> {
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, characters.peek()) {
            ('\\', Some(next)) if next.is_ascii_alphanumeric() && !"wWsSbB".contains(*next) => {
                return Some(format!("\\{next}"));
            }
            ('\\', Some(_)) => _ = characters.next(),
            ('(', Some('?')) => return Some("(?".into()),
            ('*' | '+' | '?', Some('?')) => return Some(format!("{character}?")),
            _ => {}
        }
    }
    None
}
