//! Asking the brokers once, for somebody who waits: do they answer, are the topics there, what may be done with them.
//!
//! Nothing is created, joined or written. It decides nothing: what follows from an answer is the caller's matter.
//! Invariant: [`ask`] returns within its limit and a few seconds, whatever the brokers do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use super::Settings;
use super::classify::code;
use super::settings;
use super::sys::Client;
use super::sys::Code;
use super::sys::Described;
use super::sys::Error;
use super::sys::Event;
use super::sys::EventKind;
use super::sys::Queue;
use super::sys::Side;

/// What is to be found out.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Topics by their names.
    pub topics: Vec<String>,
    /// Whether the names of all topics are wanted.
    pub names: bool,
    /// A consumer group.
    pub group: Option<String>,
}

/// What the brokers said.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// The topics that were asked for.
    pub topics: BTreeMap<String, ProbeAnswer>,
    /// The names of all topics that this user may see, if they were asked for.
    pub names: Vec<String>,
    /// The group that was asked for.
    pub group: Option<ProbeAnswer>,
    /// What its members use to share partitions among them, if it has any.
    pub protocol: Option<String>,
    /// The shortest and the longest session of a group's member, if the brokers say.
    pub sessions: Option<(Duration, Duration)>,
}

/// What the brokers said of a topic or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeAnswer {
    /// It is there, or for a group: it may be.
    There {
        /// The partitions of a topic.
        partitions: usize,
        /// What may be done with it; `None` if the brokers don't say.
        may: Option<May>,
    },
    /// There is no such topic.
    Missing,
    /// This user may not even know of it.
    Denied,
    /// It couldn't be found out, and why.
    Unknown(String),
}

/// What a user may do.
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
    /// No broker was reached in time, and the last that was heard.
    Unreached(String),
    /// A broker, or librdkafka, refuses to go on: a person must act.
    Refused(String),
}

/// Kafka's numbers of what may be done.
mod operation {
    pub(super) const ALL: i32 = 2;
    pub(super) const READ: i32 = 3;
    pub(super) const WRITE: i32 = 4;
}

/// Kafka's words for a group's coordinator that is loading its groups, isn't chosen yet, or is another one by now.
const COORDINATOR_MOVES: [Code; 3] = [Code(14), Code(15), Code(16)];
/// Between two looks at what the client reports of itself.
const STEP_MS: i32 = 250;
/// After all brokers were found down, for one that is just coming up.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Kept for the last questions, however long the connection took.
const LAST_MS: i32 = 1000;

/// Asks, and waits for the answers until `limit`.
///
/// # Errors
/// If no broker answers.
pub fn ask(settings: &Settings, question: &Question, limit: Duration) -> Result<Answers, Unanswered> {
    let client = Client::new(Side::Producer, &settings::asker(settings))
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
    if let Some(group) = &question.group {
        let (group, protocol) = ask_of_group(&client, group, deadline);
        (answers.group, answers.protocol) = (Some(group), protocol);
        answers.sessions = sessions(&client, deadline);
    }
    let is_missing = answers.topics.values().any(|answer| *answer == ProbeAnswer::Missing);
    if question.names || is_missing {
        // For a hint at a missing one, no answer is good enough.
        match client.topics(true, left_ms(deadline)) {
            Ok(topics) => answers.names = topics.into_iter().map(|(name, _)| name).collect(),
            Err(error) if question.names => return Err(Unanswered::Unreached(error.to_string())),
            Err(_) => {}
        }
    }
    Ok(answers)
}

/// Asks about a group, again and again while its coordinator is coming up.
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
        // Nothing ever comes on this queue.
        let _ = pause.poll(STEP_MS);
    }
}

/// The brokers' bounds of a session, if this user may know them.
fn sessions(client: &Arc<Client>, deadline: Instant) -> Option<(Duration, Duration)> {
    let names = ["group.min.session.timeout.ms", "group.max.session.timeout.ms"];
    let found = client.broker_settings(&names, left_ms(deadline)).ok()?;
    let mut bounds = found.into_iter().map(|value| value?.parse().ok().map(Duration::from_millis));
    Some((bounds.next()??, bounds.next()??))
}

/// Waits until a broker answers.
fn connect(client: &Arc<Client>, deadline: Instant) -> Result<(), Unanswered> {
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
        // While no connection is open the call may come back at once.
        if let Some(event) = events.poll(STEP_MS) {
            hear(&event, &mut heard, &mut down_since)?;
        }
    }
}

/// Takes what the client has to say.
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
            return Err(Unanswered::Refused(event.error_text()));
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

/// Whether the cluster says that a topic may not be read, or a group not be joined. It says nothing where nobody is denied anything.
pub(super) fn denies_reading(described: &Described) -> bool {
    described.operations.as_ref().is_some_and(|all| !may(all, operation::READ))
}

/// The same of writing to a topic.
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
        // A group that nobody joined yet: newer brokers say so.
        code::GROUP_ID_NOT_FOUND => ProbeAnswer::There { partitions: 0, may: None },
        _ => ProbeAnswer::Unknown(error.to_string()),
    }
}

/// Milliseconds until the deadline, or a second if it has passed.
fn left_ms(deadline: Instant) -> i32 {
    i32::try_from(deadline.saturating_duration_since(now()).as_millis()).unwrap_or(i32::MAX).max(LAST_MS)
}

#[expect(clippy::disallowed_methods, reason = "whoever asks waits for an answer, and counts the time by the clock")]
pub(super) fn now() -> Instant {
    Instant::now()
}
