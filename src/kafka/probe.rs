//! Asks the brokers once, for a command that waits: whether they answer, which topics exist, and what the client may do
//! with them.
//!
//! It creates, joins and writes nothing, and leaves all conclusions to the caller. Invariant: [`ask`] returns within
//! its limit plus a few seconds, whatever the brokers do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use super::Settings;
use super::classify::code;
use super::connection;
use super::settings;
use super::sys::Client;
use super::sys::Code;
use super::sys::Described;
use super::sys::Error;
use super::sys::Event;
use super::sys::EventKind;
use super::sys::OnTokenNeeded;
use super::sys::Queue;
use super::sys::Side;

/// What to ask.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The names of topics.
    pub topics: Vec<String>,
    /// Whether to list the names of all topics.
    pub names: bool,
    /// A consumer group.
    pub group: Option<String>,
    /// What transactional ids begin with.
    pub transactional_ids: Option<String>,
    /// A changelog topic.
    pub changelog: Option<String>,
}

/// The brokers' answers.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// The topics that were asked for.
    pub topics: BTreeMap<String, ProbeAnswer>,
    /// The names of all topics that this user may see, if they were asked for.
    pub names: Vec<String>,
    /// The group that was asked for.
    pub group: Option<ProbeAnswer>,
    /// Whether producers may use the transactional ids that were asked for.
    pub transactional_ids: Option<ProbeAnswer>,
    /// The changelog topic that was asked for.
    pub changelog: Option<ChangelogAnswer>,
    /// The protocol with which the group's members share partitions, if it has members.
    pub protocol: Option<String>,
    /// The brokers' limits of a session timeout, if they report them.
    pub sessions: Option<(Duration, Duration)>,
}

/// The answer for a topic or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeAnswer {
    /// The topic exists; a group may exist.
    There {
        /// The partitions of a topic.
        partitions: usize,
        /// What this client may do with it; `None` if the brokers don't report it.
        may: Option<May>,
    },
    /// The topic doesn't exist.
    Missing,
    /// This user may not describe it.
    Denied,
    /// There is no answer, with the reason.
    Unknown(String),
}

/// The answer for a changelog topic. A setting that the brokers don't report is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangelogAnswer {
    /// The topic.
    pub topic: ProbeAnswer,
    /// Its `cleanup.policy`.
    pub policy: Option<String>,
    /// Its `retention.ms`.
    pub retention_ms: Option<String>,
    /// Its `delete.retention.ms`.
    pub tombstones_ms: Option<String>,
}

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct May {
    /// Read records, or for a group: join it and commit.
    pub read: bool,
    /// Write records.
    pub write: bool,
}

/// Why there are no answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// No broker was reached in time, with the last error.
    Unreached(String),
    /// A broker or librdkafka refuses the connection: an operator must act.
    Refused(String),
}

/// Kafka's numbers of the ACL operations.
mod operation {
    pub(super) const ALL: i32 = 2;
    pub(super) const READ: i32 = 3;
    pub(super) const WRITE: i32 = 4;
}

/// Kafka's codes for a group's coordinator that is loading its groups, isn't chosen yet, or has moved.
const COORDINATOR_MOVES: [Code; 3] = [Code(14), Code(15), Code(16)];
/// How long one wait for the client's events takes.
const STEP_MS: i32 = 250;
/// How long to go on after all brokers were found down, in case one is just starting.
const PATIENCE: Duration = Duration::from_millis(1500);
/// The least time for each request, even if connecting took all of the limit.
const LAST_MS: i32 = 1000;

/// Asks, and waits for the answers until `limit`.
///
/// # Errors
/// If no broker answers.
pub fn ask(settings: &Settings, question: &Question, limit: Duration) -> Result<Answers, Unanswered> {
    let client = Client::new(Side::Producer, &settings::asker(settings), token_hook(settings)?)
        .map_err(|reason| Unanswered::Refused(settings.hidden.hide(&reason)))?;
    let deadline = now() + limit;
    connect(&client, deadline)?;
    let names: Vec<&str> = question.topics.iter().map(String::as_str).collect();
    let mut answers = Answers::default();
    if !names.is_empty() {
        match client.describe_topics(&names, left_ms(deadline)) {
            Ok(all) => {
                answers.topics = all.into_iter().map(|topic| (topic.name.clone(), answer(topic))).collect();
            }
            Err(error) => {
                let unknown = |name: &&str| ((*name).to_owned(), ProbeAnswer::Unknown(error.to_string()));
                answers.topics = names.iter().map(unknown).collect();
            }
        }
    }
    if let Some(topic) = &question.changelog {
        answers.changelog = Some(ask_of_changelog(&client, topic, deadline));
    }
    if let Some(group) = &question.group {
        let (group, protocol) = ask_of_group(&client, group, deadline);
        (answers.group, answers.protocol) = (Some(group), protocol);
        answers.sessions = sessions(&client, deadline);
    }
    if let Some(prefix) = &question.transactional_ids {
        answers.transactional_ids = Some(ask_of_transactions(settings, prefix, deadline));
    }
    let is_missing = answers.topics.values().any(|answer| *answer == ProbeAnswer::Missing);
    if question.names || is_missing {
        // The names only serve as a hint for a missing topic, so this request may fail.
        match client.topics(true, left_ms(deadline)) {
            Ok(topics) => answers.names = topics.into_iter().map(|(name, _)| name).collect(),
            Err(error) if question.names => return Err(Unanswered::Unreached(error.to_string())),
            Err(_) => {}
        }
    }
    Ok(answers)
}

/// What gets the client its tokens.
pub(super) fn token_hook(settings: &Settings) -> Result<Option<OnTokenNeeded>, Unanswered> {
    settings.token_hook().map_err(Unanswered::Refused)
}

/// Asks about a changelog topic.
fn ask_of_changelog(client: &Arc<Client>, topic: &str, deadline: Instant) -> ChangelogAnswer {
    let found = match client.describe_topics(&[topic], left_ms(deadline)) {
        Ok(all) => all.into_iter().next().map_or(ProbeAnswer::Missing, answer),
        Err(error) => denied_or_unknown(&error),
    };
    let names = ["cleanup.policy", "retention.ms", "delete.retention.ms"];
    // A cluster that doesn't tell a topic's settings says nothing about them.
    let settings = match found {
        ProbeAnswer::There { .. } => client.topic_settings(topic, &names, left_ms(deadline)).unwrap_or_default(),
        ProbeAnswer::Missing | ProbeAnswer::Denied | ProbeAnswer::Unknown(_) => Vec::new(),
    };
    let mut settings = settings.into_iter();
    let mut next = || settings.next().flatten();
    ChangelogAnswer { topic: found, policy: next(), retention_ms: next(), tombstones_ms: next() }
}

/// Asks about a group. Retries while its coordinator is starting or moving.
fn ask_of_group(client: &Arc<Client>, group: &str, deadline: Instant) -> (ProbeAnswer, Option<String>) {
    let pause = client.new_queue();
    loop {
        let (found, code) = match client.describe_group(group, left_ms(deadline)) {
            Ok(mut described) => {
                let code = described.error.as_ref().map(|error| error.code);
                let protocol = described.protocol.take();
                ((answer(described), protocol), code)
            }
            Err(error) => ((denied_or_unknown(&error), None), Some(error.code)),
        };
        if !code.is_some_and(|code| COORDINATOR_MOVES.contains(&code)) || now() >= deadline {
            return found;
        }
        // Nothing is ever sent to this queue: the poll is a sleep.
        let _ = pause.poll(STEP_MS);
    }
}

/// Asks whether this user may use a transactional id that begins so. No request only asks for that, so a producer gets an id, which no
/// pipeline uses; the brokers forget it after some days.
fn ask_of_transactions(settings: &Settings, prefix: &str, deadline: Instant) -> ProbeAnswer {
    let mut config = settings::asker(settings);
    config.insert("transactional.id".into(), format!("{prefix}check"));
    let client = match settings.token_hook().and_then(|tokens| Client::new(Side::Producer, &config, tokens)) {
        Ok(client) => client,
        Err(reason) => return ProbeAnswer::Unknown(settings.hidden.hide(&reason)),
    };
    loop {
        match client.init_transactions(left_ms(deadline)) {
            Ok(()) => return ProbeAnswer::There { partitions: 0, may: Some(May { read: true, write: true }) },
            Err(failed) if failed.error.code == code::TRANSACTIONAL_ID_DENIED => return ProbeAnswer::Denied,
            Err(failed) if failed.is_retriable && now() < deadline => {}
            Err(failed) => return ProbeAnswer::Unknown(failed.error.to_string()),
        }
    }
}

/// The brokers' limits of a session timeout, if this user may read them.
fn sessions(client: &Arc<Client>, deadline: Instant) -> Option<(Duration, Duration)> {
    let names = ["group.min.session.timeout.ms", "group.max.session.timeout.ms"];
    let found = client.broker_settings(&names, left_ms(deadline)).ok()?;
    let mut bounds = found.into_iter().map(|value| value?.parse().ok().map(Duration::from_millis));
    Some((bounds.next()??, bounds.next()??))
}

/// Waits until a broker answers.
pub(super) fn connect(client: &Arc<Client>, deadline: Instant) -> Result<(), Unanswered> {
    let events = client.queue();
    let mut heard = None;
    let mut down_since = None;
    loop {
        let asked = client.topics(false, STEP_MS);
        listen(&events, &mut heard, &mut down_since)?;
        let Err(error) = asked else { return Ok(()) };
        let now = now();
        let is_down = down_since.is_some_and(|since| now > since + PATIENCE);
        if is_down || now >= deadline {
            return Err(Unanswered::Unreached(heard.unwrap_or_else(|| error.to_string())));
        }
        // While no connection is open, the call may return at once.
        if let Some(event) = events.poll(STEP_MS) {
            hear(&event, &mut heard, &mut down_since)?;
        }
    }
}

/// Processes the client's pending events.
fn listen(events: &Queue, heard: &mut Option<String>, down_since: &mut Option<Instant>) -> Result<(), Unanswered> {
    while let Some(event) = events.poll(0) {
        hear(&event, heard, down_since)?;
    }
    Ok(())
}

fn hear(event: &Event, heard: &mut Option<String>, down_since: &mut Option<Instant>) -> Result<(), Unanswered> {
    match event.kind() {
        EventKind::Error => {}
        EventKind::Fetch
        | EventKind::Delivery
        | EventKind::Rebalance
        | EventKind::OffsetCommit
        | EventKind::Stats
        | EventKind::Log
        | EventKind::Other => return Ok(()),
    }
    match event.code() {
        code::AUTHENTICATION | code::SASL_AUTHENTICATION_FAILED | code::SSL => {
            let text = event.error_text();
            return Err(Unanswered::Refused(connection::no_token(&text).unwrap_or(text)));
        }
        code::ALL_BROKERS_DOWN => *down_since = down_since.or_else(|| Some(now())),
        _ => *heard = Some(event.error_text()),
    }
    Ok(())
}

fn answer(described: Described) -> ProbeAnswer {
    match described.error {
        Some(error) => denied_or_unknown(&error),
        None => {
            let may = described
                .operations
                .map(|all| May { read: may(&all, operation::READ), write: may(&all, operation::WRITE) });
            ProbeAnswer::There { partitions: described.leaders.len(), may }
        }
    }
}

/// Whether the cluster reports that a topic may not be read, or a group not be joined. A cluster without authorization
/// reports nothing.
pub(super) fn denies_reading(described: &Described) -> bool {
    described.operations.as_ref().is_some_and(|all| !may(all, operation::READ))
}

/// Whether the cluster reports that a topic may not be written.
pub(super) fn denies_writing(described: &Described) -> bool {
    described.operations.as_ref().is_some_and(|all| !may(all, operation::WRITE))
}

fn may(all: &[i32], operation: i32) -> bool {
    all.iter().any(|&one| one == operation || one == operation::ALL)
}

fn denied_or_unknown(error: &Error) -> ProbeAnswer {
    match error.code {
        code::UNKNOWN_TOPIC_OR_PART | code::UNKNOWN_TOPIC => ProbeAnswer::Missing,
        code::TOPIC_AUTHORIZATION_FAILED | code::GROUP_AUTHORIZATION_FAILED => ProbeAnswer::Denied,
        // A group that nobody has joined yet. Only newer brokers return this code.
        code::GROUP_ID_NOT_FOUND => ProbeAnswer::There { partitions: 0, may: None },
        _ => ProbeAnswer::Unknown(error.to_string()),
    }
}

/// Milliseconds until the deadline, but at least a second.
pub(super) fn left_ms(deadline: Instant) -> i32 {
    i32::try_from(deadline.saturating_duration_since(now()).as_millis()).unwrap_or(i32::MAX).max(LAST_MS)
}

#[expect(clippy::disallowed_methods, reason = "whoever asks waits for an answer, and counts the time by the clock")]
pub(super) fn now() -> Instant {
    Instant::now()
}
