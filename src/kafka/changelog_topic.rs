//! The changelog topic, for commands that wait for an answer: whether it is as it has to be, and how it is created.
//!
//! An existing topic is never changed. What is wrong with it is said with the command that a person may run.

use std::time::Duration;

use super::Commands;
use super::Settings;
use super::changelog::SETTINGS;
use super::classify::code;
use super::probe;
use super::probe::ChangelogAnswer;
use super::probe::ProbeAnswer;
use super::probe::Question;
use super::probe::Unanswered;
use super::probe::left_ms;
use super::probe::now;
use super::settings;
use super::sys::Client;
use super::sys::Side;

/// What is wrong with a changelog topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangelogFault {
    /// What it is.
    pub what: String,
    /// What to do.
    pub help: String,
    /// Whether a pipeline still starts with it.
    pub is_warning: bool,
}

/// What [`create`] found or did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreatedChangelog {
    /// The topic was created, with this many partitions.
    New(usize),
    /// The topic was there, with this many partitions, and this is wrong with it.
    There(usize, Vec<ChangelogFault>),
}

/// Why [`create`] did nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotCreated {
    /// No broker answered.
    Unanswered(Unanswered),
    /// A person must act, as this says.
    Refused(String),
}

/// A tombstone that is removed sooner may be missed by a restore. This is Kafka's default.
const TOMBSTONES_MS_MIN: i64 = 86_400_000;

/// What is wrong with a topic that exists. `input` has `input_partitions`.
#[must_use]
pub fn faults(
    commands: &Commands,
    topic: &str,
    partitions: usize,
    answer: &ChangelogAnswer,
    (input, input_partitions): (&str, usize),
) -> Vec<ChangelogFault> {
    let mut faults = Vec::new();
    if partitions != input_partitions {
        faults.push(ChangelogFault {
            what: format!(
                "the changelog topic `{topic}` has {partitions} partitions, and the input `{input}` has {input_partitions}: state is kept \
                 by partition, and a key may have moved to another one"
            ),
            help: "read the input again from its beginning as a new group, `input.group`".to_owned(),
            is_warning: false,
        });
    }
    if let Some(policy) = answer.policy.as_deref().filter(|policy| *policy != "compact") {
        let retention = answer.retention_ms.as_deref().filter(|_| policy.contains("delete"));
        let after = retention.map_or_else(String::new, |ms| format!(" after `retention.ms={ms}`"));
        faults.push(ChangelogFault {
            what: format!(
                "the changelog topic `{topic}` has `cleanup.policy={policy}`, which removes state that is still needed{after}"
            ),
            help: commands.alter_topic(topic, "cleanup.policy=compact"),
            is_warning: false,
        });
    }
    let tombstones = answer.tombstones_ms.as_ref().and_then(|ms| ms.parse::<i64>().ok());
    if let Some(ms) = tombstones.filter(|ms| *ms < TOMBSTONES_MS_MIN) {
        let wanted = SETTINGS.iter().find(|(key, _)| *key == "delete.retention.ms").map_or("", |(_, value)| value);
        faults.push(ChangelogFault {
            what: format!(
                "the changelog topic `{topic}` has `delete.retention.ms={ms}`: a restore that takes longer may bring back removed state"
            ),
            help: commands.alter_topic(topic, &format!("delete.retention.ms={wanted}")),
            is_warning: true,
        });
    }
    faults
}

/// Creates the changelog topic with the partitions of the input, unless it exists. `commands` are printed in messages.
///
/// # Errors
/// See [`NotCreated`].
pub fn create(settings: &Settings, commands: &Commands, limit: Duration) -> Result<CreatedChangelog, NotCreated> {
    let topic = settings.changelog.as_ref().map_or("", |changelog| changelog.topic_name());
    let input = settings.input.topics.first().map(String::as_str).unwrap_or_default();
    let question =
        Question { topics: vec![input.to_owned()], changelog: Some(topic.to_owned()), ..Question::default() };
    let ask = || probe::ask(settings, &question, limit).map_err(NotCreated::Unanswered);
    let answers = ask()?;
    let partitions = match answers.topics.get(input) {
        Some(ProbeAnswer::There { partitions, .. }) => *partitions,
        Some(ProbeAnswer::Missing) | None => {
            let create = commands.remedy(&code::UNKNOWN_TOPIC_OR_PART.name(), "input", input);
            let what = format!("the input topic `{input}` does not exist, and the changelog has as many partitions");
            return Err(NotCreated::Refused(format!("{what}; {create}")));
        }
        Some(ProbeAnswer::Denied) => {
            let grant = commands.remedy(&code::TOPIC_AUTHORIZATION_FAILED.name(), "input", input);
            return Err(NotCreated::Refused(format!("no permission for the input topic `{input}`; {grant}")));
        }
        Some(ProbeAnswer::Unknown(why)) => return Err(NotCreated::Unanswered(Unanswered::Unreached(why.clone()))),
    };
    if let Some(found) = there(answers.changelog.as_ref(), commands, topic, (input, partitions))? {
        return Ok(found);
    }
    let tokens = probe::token_hook(settings).map_err(NotCreated::Unanswered)?;
    let client = Client::new(Side::Producer, &settings::asker(settings), tokens)
        .map_err(|reason| NotCreated::Unanswered(Unanswered::Refused(settings.hidden.hide(&reason))))?;
    let deadline = now() + limit;
    probe::connect(&client, deadline).map_err(NotCreated::Unanswered)?;
    let count = i32::try_from(partitions).unwrap_or(i32::MAX);
    match client.create_topic(topic, count, &SETTINGS, left_ms(deadline)) {
        Ok(()) => Ok(CreatedChangelog::New(partitions)),
        // Another process was faster.
        Err(error) if error.code == code::TOPIC_ALREADY_EXISTS => {
            let found = there(ask()?.changelog.as_ref(), commands, topic, (input, partitions))?;
            found.ok_or_else(|| {
                NotCreated::Refused(format!("the changelog topic `{topic}` was created and is gone again"))
            })
        }
        Err(error) => {
            let by_hand = commands.create_changelog(topic, partitions);
            let what = format!("the brokers don't create the changelog topic `{topic}`: {error}");
            Err(NotCreated::Refused(format!("{what}; have it created: {by_hand}")))
        }
    }
}

/// The topic, if it exists.
fn there(
    answer: Option<&ChangelogAnswer>,
    commands: &Commands,
    topic: &str,
    input: (&str, usize),
) -> Result<Option<CreatedChangelog>, NotCreated> {
    let Some(answer) = answer else { return Ok(None) };
    match &answer.topic {
        ProbeAnswer::There { partitions, .. } => {
            let faults = faults(commands, topic, *partitions, answer, input);
            Ok(Some(CreatedChangelog::There(*partitions, faults)))
        }
        ProbeAnswer::Missing => Ok(None),
        ProbeAnswer::Denied => {
            let grant = commands.remedy(&code::TOPIC_AUTHORIZATION_FAILED.name(), "changelog", topic);
            Err(NotCreated::Refused(format!("no permission for the changelog topic `{topic}`; {grant}")))
        }
        ProbeAnswer::Unknown(why) => Err(NotCreated::Unanswered(Unanswered::Unreached(why.clone()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_says_what_is_wrong_and_how_to_mend_it() {
        let commands = Commands::plain("a:9092");
        let answer = |policy: &str, tombstones: &str| ChangelogAnswer {
            topic: ProbeAnswer::There { partitions: 4, may: None },
            policy: Some(policy.into()),
            retention_ms: Some("604800000".into()),
            tombstones_ms: Some(tombstones.into()),
        };
        let of =
            |partitions, answer: &ChangelogAnswer| faults(&commands, "g.s.changelog", partitions, answer, ("in", 4));
        assert_eq!(of(4, &answer("compact", "86400000")), []);
        let found = of(3, &answer("compact,delete", "1000"));
        assert!(found[0].what.contains("has 3 partitions, and the input `in` has 4"), "{found:?}");
        assert!(found[1].what.ends_with("still needed after `retention.ms=604800000`"), "{found:?}");
        assert!(
            found[1].help.ends_with("--entity-name g.s.changelog --add-config cleanup.policy=compact"),
            "{found:?}"
        );
        assert!(found[2].what.contains("`delete.retention.ms=1000`") && found[2].is_warning, "{found:?}");
        let unknown = ChangelogAnswer { policy: None, tombstones_ms: None, ..answer("", "") };
        assert_eq!(of(4, &unknown), [], "what the brokers don't tell is not guessed");
    }
}
