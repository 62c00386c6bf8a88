//! The third level of `check`: whether the brokers answer, the topics exist, and this user has the permissions that
//! the pipeline needs.
//!
//! Every finding includes the command that fixes it. What the brokers don't reveal is reported as a note, not guessed.

use std::collections::BTreeSet;
use std::time::Duration;

use glob::Pattern;

use super::Checked;
use crate::config;
use crate::config::Level;
use crate::config::Pipeline;
use crate::config::Report;
use crate::config::Span;
use crate::config::Usable;
use crate::kafka;
use crate::kafka::Commands;
use crate::kafka::changelog_topic;
use crate::kafka::changelog_topic::ChangelogFault;
use crate::kafka::command::Resource;
use crate::kafka::command::quoted;
use crate::kafka::connection;
use crate::kafka::membership;
use crate::kafka::probe;
use crate::kafka::probe::Answers;
use crate::kafka::probe::ChangelogAnswer;
use crate::kafka::probe::ProbeAnswer;
use crate::kafka::probe::Question;
use crate::kafka::probe::Unanswered;
use crate::kafka::settings::Guarantee;
use crate::kafka::settings::Partition;
use crate::kafka::settings::transactional_ids;
use crate::record::is_reserved_topic;

/// The time limit for the brokers' answers about one file. Files are asked about concurrently, so `check` ends within
/// ten seconds.
const LIMIT: Duration = Duration::from_secs(5);

/// The maximum number of files that are asked about concurrently.
const ASKED_AT_ONCE: usize = 16;

/// The maximum number of topics for a glob that are asked about.
const MATCHING_MAX: usize = 100;

/// The maximum number of topics that a note lists.
const NAMED_MAX: usize = 5;

/// The questions about a file, the globs of topics that its records may name, and the connection to ask on.
pub(super) type Asked = (kafka::Settings, Vec<Pattern>, Question);

/// The answers about a file; `None` if nothing was asked.
pub(super) type Reply = Option<Result<Answers, Unanswered>>;

/// The questions about a file; `None` if its connection settings are invalid.
pub(super) fn question((pipeline, usable): &(Pipeline, Usable)) -> Option<Asked> {
    if !usable.connection {
        return None;
    }
    let mut topics = BTreeSet::new();
    let mut names = false;
    for (topic, _) in inputs(pipeline, usable) {
        match topic.starts_with('^') {
            true => names = true,
            false => _ = topics.insert(topic.to_owned()),
        }
    }
    topics.extend(outputs(pipeline, usable).map(|output| output.topic.to_owned()));
    names |= allowed(pipeline).next().is_some();
    let group = usable.group.then(|| pipeline.kafka.input.group.clone());
    let is_exactly_once = pipeline.kafka.delivery != Guarantee::AtLeastOnce;
    let transactional_ids = group.as_deref().filter(|_| is_exactly_once).map(transactional_ids);
    let changelog = pipeline.kafka.changelog.as_ref().filter(|_| usable.group).and_then(|output| output.topic.clone());
    let topics = topics.into_iter().collect();
    let question = Question { topics, names, group, transactional_ids, changelog };
    let globs = allowed(pipeline).map(|(_, glob, _)| glob.clone()).collect();
    Some((pipeline.kafka.clone(), globs, question))
}

/// Asks about all files concurrently.
pub(super) fn ask(questions: Vec<Option<Asked>>) -> Vec<Reply> {
    let mut replies = Vec::with_capacity(questions.len());
    for some in questions.chunks(ASKED_AT_ONCE) {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (some.iter())
                .map(|asked| {
                    asked
                        .as_ref()
                        .map(|(settings, globs, question)| scope.spawn(|| first_and_second(settings, globs, question)))
                })
                .collect();
            let lost = || Err(Unanswered::Unreached("the thread that asked was lost".into()));
            replies.extend(
                threads.into_iter().map(|thread| thread.map(|thread| thread.join().unwrap_or_else(|_| lost()))),
            );
        });
    }
    replies
}

/// Asks. The topics that match a pattern or a glob are known only from the answers, so a second question asks about these topics.
fn first_and_second(settings: &kafka::Settings, globs: &[Pattern], question: &Question) -> Result<Answers, Unanswered> {
    let mut answers = probe::ask(settings, question, LIMIT)?;
    let patterns = settings.input.topics.iter().filter(|topic| topic.starts_with('^'));
    let read: BTreeSet<String> = patterns
        .flat_map(|pattern| answers.names.iter().filter(|name| config::reads(pattern, name)))
        .chain(globs.iter().flat_map(|glob| matching(glob, &answers.names).take(MATCHING_MAX)))
        .filter(|name| !answers.topics.contains_key(*name))
        .cloned()
        .collect();
    if question.names && !read.is_empty() {
        let more = Question { topics: read.into_iter().collect(), ..Question::default() };
        answers.topics.extend(probe::ask(settings, &more, LIMIT / 3)?.topics);
    }
    Ok(answers)
}

/// Adds the findings from the replies for all files.
pub(super) fn check(files: &mut [Checked], replies: Vec<Reply>) {
    for (file, reply) in files.iter_mut().zip(replies) {
        let Some((pipeline, usable)) = &file.pipeline else { continue };
        let judge = Judge { pipeline, usable, report: &mut file.report, notes: &mut file.notes };
        match reply {
            Some(Ok(answers)) => judge.answers(&answers),
            Some(Err(unanswered)) => judge.unanswered(unanswered),
            None => file.notes.push("no broker was asked: the mistakes above leave its address or login open".into()),
        }
    }
}

/// The globs of the topics that records may name: each with its output and its place.
fn allowed(pipeline: &Pipeline) -> impl Iterator<Item = (&str, &Pattern, Span)> {
    let outputs = pipeline.kafka.outputs.iter().zip(&pipeline.spans.outputs).enumerate();
    outputs.flat_map(|(number, (output, spans))| {
        let globs = pipeline.routes.allowed(number).iter().zip(&spans.allowed);
        globs.map(move |(glob, span)| (&*output.name, glob, *span))
    })
}

/// The topics of these that a glob matches and a record may name.
fn matching<'a>(glob: &'a Pattern, names: &'a [String]) -> impl Iterator<Item = &'a String> {
    names.iter().filter(move |name| glob.matches(name) && !is_reserved_topic(name))
}

struct Output<'a> {
    /// `None` for the dead-letter topic.
    name: Option<&'a str>,
    topic: &'a str,
    span: Span,
    same_partition: bool,
}

fn inputs<'a>(pipeline: &'a Pipeline, usable: &'a Usable) -> impl Iterator<Item = (&'a str, Span)> {
    let topics = pipeline.kafka.input.topics.iter().zip(&pipeline.spans.topics).zip(&usable.topics);
    topics.filter(|(_, usable)| **usable).map(|((topic, span), _)| (topic.as_str(), *span))
}

fn outputs<'a>(pipeline: &'a Pipeline, usable: &'a Usable) -> impl Iterator<Item = Output<'a>> {
    let outputs = pipeline.kafka.outputs.iter().zip(&pipeline.spans.outputs).zip(&usable.outputs);
    let outputs = outputs.filter(|(_, usable)| **usable).filter_map(|((output, spans), _)| {
        let topic = output.topic.as_deref()?;
        let same_partition = output.partition == Partition::SameAsInput;
        Some(Output { name: Some(&output.name), topic, span: spans.topic, same_partition })
    });
    let dead_letter = pipeline.kafka.dead_letter.iter().zip(pipeline.spans.dead_letter);
    let dead_letter = dead_letter.filter(|_| usable.dead_letter).map(|(output, span)| Output {
        name: None,
        topic: output.topic_name(),
        span,
        same_partition: false,
    });
    outputs.chain(dead_letter)
}

/// How the pipeline uses a topic.
#[derive(Clone, Copy)]
enum Role<'a> {
    Read,
    /// By this output, or as the dead-letter topic.
    Written(Option<&'a str>),
}

struct Judge<'a> {
    pipeline: &'a Pipeline,
    usable: &'a Usable,
    report: &'a mut Report,
    notes: &'a mut Vec<String>,
}

impl Judge<'_> {
    fn unanswered(self, unanswered: Unanswered) {
        let at = self.pipeline.spans.brokers;
        let commands = self.commands();
        let said = |reason: String| match self.pipeline.is_shown(at) {
            true => format!(": {}", self.pipeline.hide(&reason)),
            false => String::new(),
        };
        match unanswered {
            Unanswered::Unreached(reason) => self.report.add_levelled(
                Level::Unreachable,
                at,
                format!("no broker answers{}", said(reason)),
                "not reached, so topics and permissions were not checked",
                format!(
                    "start one, or check that the address, `tls` and `sasl` match a listener: {}",
                    commands.ask_versions()
                ),
            ),
            Unanswered::Refused(reason) => {
                let login = "set `kafka.tls` and `kafka.sasl` as the listener at this address requires";
                let token = self.pipeline.kafka.tokens().and_then(|_| connection::token_help(&reason));
                let help = token.unwrap_or(login);
                self.report.add(at, format!("the connection to the brokers failed{}", said(reason)), help);
            }
        }
    }

    fn answers(mut self, answers: &Answers) {
        let (pipeline, usable) = (self.pipeline, self.usable);
        let mut most_partitions = 0;
        for (topic, span) in inputs(pipeline, usable) {
            if topic.starts_with('^') {
                most_partitions = most_partitions.max(self.pattern(topic, span, answers));
                continue;
            }
            if let Some(partitions) = self.topic(topic, span, Role::Read, answers) {
                most_partitions = most_partitions.max(partitions);
            }
        }
        for output in outputs(pipeline, usable) {
            let found = self.topic(output.topic, output.span, Role::Written(output.name), answers);
            let Some(partitions) = found.filter(|&partitions| output.same_partition && partitions < most_partitions)
            else {
                continue;
            };
            let topic = self.shown(output.topic, output.span);
            self.report.add_levelled(
                Level::Warning,
                output.span,
                format!(
                    "`{topic}` has {partitions} partitions and the input {most_partitions}: with \
                     `partition = \"same_as_input\"` records of the others are refused"
                ),
                "",
                format!("add partitions: {}", self.commands().add_partitions(&topic, most_partitions)),
            );
        }
        for (output, glob, span) in allowed(pipeline) {
            self.allowed(output, glob, span, answers);
        }
        if let Some(answer) = &answers.changelog {
            self.changelog(answer, most_partitions);
        }
        self.group(answers.group.as_ref());
        self.transactional_ids(answers.transactional_ids.as_ref());
        self.membership(answers);
    }

    /// Whether the group would accept this consumer.
    fn membership(&mut self, answers: &Answers) {
        if !self.usable.group {
            return;
        }
        let (input, spans) = (&self.pipeline.kafka.input, &self.pipeline.spans);
        let span = spans.group.unwrap_or(spans.input);
        let timeout = input.session_timeout;
        if let Some((least, most)) = answers.sessions.filter(|(least, most)| !(*least..=*most).contains(&timeout)) {
            let message = membership::session_timeout(timeout, Some((least, most)));
            self.report.add(span, message, "set `input.session_timeout` within these bounds");
        }
        if let Some(protocol) = answers.protocol.as_deref().filter(|protocol| *protocol != membership::PROTOCOL) {
            let group = self.shown(&input.group, spans.group.or(spans.name).unwrap_or(span));
            let message = membership::other_protocol(&group, Some(protocol));
            self.report.add(span, message, "give each pipeline its own group");
        }
    }

    /// The highest number of partitions among the topics that the pattern currently matches.
    fn pattern(&mut self, pattern: &str, span: Span, answers: &Answers) -> usize {
        let shown = self.shown(pattern, span);
        let read: Vec<&String> = answers.names.iter().filter(|name| config::reads(pattern, name)).collect();
        if read.is_empty() {
            self.report.add_levelled(
                Level::Warning,
                span,
                format!("the pattern `{shown}` matches no existing topic, or none that this user may see"),
                "",
                format!("list the topics: {}", self.commands().list_topics()),
            );
            return 0;
        }
        let named: Vec<&str> = read.iter().take(NAMED_MAX).map(|name| name.as_str()).collect();
        let more = if read.len() > NAMED_MAX { ", .." } else { "" };
        if self.pipeline.is_shown(span) {
            self.notes.push(format!("`{shown}` reads {} topics now: {}{more}", read.len(), named.join(", ")));
        }
        let partitions = read.into_iter().filter_map(|name| self.topic(name, span, Role::Read, answers));
        partitions.max().unwrap_or(0)
    }

    /// The topics that records may name: those that exist are looked at. Which ones they will name isn't known.
    fn allowed(&mut self, output: &str, glob: &Pattern, span: Span, answers: &Answers) {
        let shown = self.shown(glob.as_str(), span);
        let there: Vec<&String> = matching(glob, &answers.names).collect();
        if there.is_empty() {
            let is_name = !glob.as_str().contains(['*', '?', '[']);
            let (message, help) = if is_name {
                let create = format!("create it: {}", self.commands().create_topic(&shown));
                (format!("the topic `{shown}` that output `{output}` allows does not exist"), create)
            } else {
                let list =
                    format!("create the topics that they name; list the topics: {}", self.commands().list_topics());
                (
                    format!("`{shown}` of output `{output}` matches no existing topic, or none that this user may see"),
                    list,
                )
            };
            let message = format!("{message}: records that name one fail");
            self.report.add_levelled(Level::Warning, span, message, "", help);
            return;
        }
        if self.pipeline.is_shown(span) {
            let named: Vec<&str> = there.iter().take(NAMED_MAX).map(|name| name.as_str()).collect();
            let more = if there.len() > NAMED_MAX { ", .." } else { "" };
            let (count, named) = (there.len(), named.join(", "));
            self.notes.push(format!(
                "records may name {count} existing topics by `{shown}`: {named}{more}; which ones they name shows only when they do"
            ));
        }
        for name in there.into_iter().take(MATCHING_MAX) {
            self.topic(name, span, Role::Written(Some(output)), answers);
        }
    }

    /// The number of partitions of a topic, if it exists.
    fn topic(&mut self, topic: &str, span: Span, role: Role<'_>, answers: &Answers) -> Option<usize> {
        let shown = self.shown(topic, span);
        let (what, operation) = match role {
            Role::Read => (format!("the input topic `{shown}`"), "Read"),
            Role::Written(Some(output)) => (format!("the topic `{shown}` of output `{output}`"), "Write"),
            Role::Written(None) => (format!("the dead-letter topic `{shown}`"), "Write"),
        };
        match answers.topics.get(topic)? {
            ProbeAnswer::There { partitions, may: Some(may) } => {
                let allowed = if operation == "Read" { may.read } else { may.write };
                if !allowed {
                    self.denied(span, &what, operation, Resource::Topic(&shown));
                }
                Some(*partitions)
            }
            ProbeAnswer::There { partitions, may: None } => {
                let verb = operation.to_lowercase();
                self.notes
                    .push(format!("the brokers don't report whether this user may {verb} `{shown}`; `run` finds out"));
                Some(*partitions)
            }
            ProbeAnswer::Missing => {
                let create = format!("create it: {}", self.commands().create_topic(&shown));
                let near = near(topic, &answers.names).filter(|_| self.pipeline.is_shown(span));
                let help = near.map_or_else(|| create.clone(), |near| format!("did you mean `{near}`? Or {create}"));
                self.report.add(span, format!("{what} does not exist"), help);
                None
            }
            ProbeAnswer::Denied => {
                self.denied(span, &what, operation, Resource::Topic(&shown));
                None
            }
            ProbeAnswer::Unknown(why) => {
                self.unknown(span, &what, why);
                None
            }
        }
    }

    fn group(&mut self, answer: Option<&ProbeAnswer>) {
        let span = self.pipeline.spans.group.unwrap_or(self.pipeline.spans.input);
        let at = self.pipeline.spans.group.or(self.pipeline.spans.name).unwrap_or(span);
        let shown = self.shown(&self.pipeline.kafka.input.group, at);
        match answer {
            Some(ProbeAnswer::There { may: Some(may), .. }) if may.read => {}
            Some(ProbeAnswer::There { may: Some(_), .. } | ProbeAnswer::Denied) => {
                self.denied(span, &format!("the consumer group `{shown}`"), "Read", Resource::Group(&shown));
            }
            Some(ProbeAnswer::There { may: None, .. } | ProbeAnswer::Missing) => {
                self.notes.push(format!(
                    "the brokers don't report whether this user may join the group `{shown}`; `run` finds out"
                ));
            }
            Some(ProbeAnswer::Unknown(why)) => {
                self.unknown(span, &format!("the consumer group `{shown}`"), why);
            }
            None => {}
        }
    }

    /// The changelog topic of a step with windows. `partitions`: those of the input; 0 if it doesn't exist.
    fn changelog(&mut self, answer: &ChangelogAnswer, partitions: usize) {
        let pipeline = self.pipeline;
        let (Some(windowed), Some(changelog)) = (&pipeline.windowed, &pipeline.kafka.changelog) else { return };
        let (span, at) = (windowed.span, pipeline.spans.group.unwrap_or(pipeline.spans.input));
        let topic = self.shown(changelog.topic_name(), at);
        let what = format!("the changelog topic `{topic}` of step `{}`", windowed.name);
        match &answer.topic {
            ProbeAnswer::There { partitions: found, may } => {
                for (operation, is_allowed) in may.iter().flat_map(|may| [("Read", may.read), ("Write", may.write)]) {
                    if !is_allowed {
                        self.denied(span, &what, operation, Resource::Topic(&topic));
                    }
                }
                let input = pipeline.kafka.input.topics.first().map(String::as_str).unwrap_or_default();
                let input = self.shown(input, pipeline.spans.topics.first().copied().unwrap_or(at));
                // Without an input there is another finding, and nothing to compare with.
                let input_partitions = if partitions == 0 { *found } else { partitions };
                let faults =
                    changelog_topic::faults(&self.commands(), &topic, *found, answer, (&input, input_partitions));
                for ChangelogFault { what, help, is_warning } in faults {
                    let level = if is_warning { Level::Warning } else { Level::Error };
                    self.report.add_levelled(level, span, what, "", help);
                }
            }
            ProbeAnswer::Missing if pipeline.kafka.creates_changelog => {
                self.notes.push(format!("{what} does not exist yet; `run` creates it, since `state.create` is `true`"));
            }
            ProbeAnswer::Missing => {
                let file = pipeline.file.display().to_string();
                let file = quoted(&file);
                let by_hand = self.commands().create_changelog(&topic, partitions.max(1));
                let help = format!("create it: wasmill state create {file}, or {by_hand}");
                self.report.add(span, format!("{what} does not exist"), help);
            }
            ProbeAnswer::Denied => self.denied(span, &what, "Write", Resource::Topic(&topic)),
            ProbeAnswer::Unknown(why) => self.unknown(span, &what, why),
        }
    }

    fn transactional_ids(&mut self, answer: Option<&ProbeAnswer>) {
        let span = self.pipeline.spans.group.unwrap_or(self.pipeline.spans.input);
        let at = self.pipeline.spans.group.or(self.pipeline.spans.name).unwrap_or(span);
        let prefix = transactional_ids(&self.shown(&self.pipeline.kafka.input.group, at));
        match answer {
            Some(ProbeAnswer::Denied) => self.report.add(
                span,
                format!("no permission to use transactional ids that begin with `{prefix}`"),
                format!("grant it: {}", self.commands().allow_transactions(&prefix)),
            ),
            Some(ProbeAnswer::Unknown(why)) => {
                self.unknown(span, &format!("the permission to use transactional ids that begin with `{prefix}`"), why);
            }
            Some(ProbeAnswer::There { .. } | ProbeAnswer::Missing) | None => {}
        }
    }

    fn denied(&mut self, span: Span, what: &str, operation: &str, resource: Resource<'_>) {
        self.report.add(
            span,
            format!("no permission to {} {what}", operation.to_lowercase()),
            format!("grant it: {}", self.commands().allow(&["Describe", operation], resource)),
        );
    }

    /// A broker was reached, but didn't answer, or answered with an unexpected error.
    fn unknown(&mut self, span: Span, what: &str, why: &str) {
        let message = format!("{what} couldn't be checked: {}", self.pipeline.hide(why));
        self.report.add_levelled(Level::Unreachable, span, message, "", "check again when the brokers answer");
    }

    /// The commands for the cluster, without secret values.
    fn commands(&self) -> Commands {
        commands(self.pipeline)
    }

    fn shown(&self, text: &str, span: Span) -> String {
        if self.pipeline.is_shown(span) { text.to_owned() } else { "***".to_owned() }
    }
}

/// The commands for a pipeline's cluster, without secret values.
pub(in crate::cli) fn commands(pipeline: &Pipeline) -> Commands {
    let kafka = &pipeline.kafka;
    let is_shown = pipeline.is_shown(pipeline.spans.brokers);
    let brokers = if is_shown { kafka.brokers.join(",") } else { "BROKERS".to_owned() };
    Commands::shown(kafka, brokers, kafka.shown_user())
}

/// An existing topic whose name is similar.
fn near<'a>(topic: &str, names: &'a [String]) -> Option<&'a str> {
    config::near(topic, names.iter().map(String::as_str))
}
