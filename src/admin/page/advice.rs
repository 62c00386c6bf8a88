//! PURE. What the page says about a pipeline: whether it is well, and if not, why, and what is safe to do.

use super::history::Rates;
use crate::admin::board::Operation;
use crate::admin::view::CheckView;
use crate::admin::view::StoppedAtView;
use crate::admin::view::Summary;

/// What the page says about a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Advice {
    /// How bad it is.
    pub(super) tone: Tone,
    /// Why it is as it is.
    pub(super) why: String,
    /// What is safe to do.
    pub(super) safe: &'static str,
    /// The button for that.
    pub(super) operation: Option<Operation>,
    /// The record that may be left out, where that is the other way out.
    pub(super) skip: Option<StoppedAtView>,
}

/// How bad something is, in the order of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    /// Nothing has to be done.
    Well,
    /// It is not as it should be, and goes on by itself, or somebody wants it so.
    Wait,
    /// A person has to do something.
    Act,
}

impl std::fmt::Display for Tone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Tone::Well => "well",
            Tone::Wait => "wait",
            Tone::Act => "act",
        })
    }
}

/// A lag of this many seconds is worth a word.
const BEHIND_SECONDS: f64 = 60.0;
/// The share of failed records that a person should look at, as the alert has it.
const FAILING_SHARE: f64 = 0.01;

/// What to say about a pipeline with these checks.
pub(super) fn advice(summary: &Summary, checks: &[CheckView], rates: Rates) -> Advice {
    let reason = summary.reason.clone();
    let skip = summary.stopped_at.clone().filter(|stopped| stopped.may_be_skipped);
    let say = |tone, why: String, safe, operation| Advice { tone, why, safe, operation, skip: skip.clone() };
    match summary.state.as_str() {
        "running" => running(summary, checks, rates),
        "paused" => say(
            Tone::Wait,
            "An operator has paused it. Its partitions are kept, and records wait in Kafka.".to_owned(),
            "Nothing is lost as long as the topics keep their records. Resume lets it go on.",
            Some(Operation::Resume),
        ),
        "starting" => {
            say(Tone::Wait, reason, "Nothing to do: it starts by itself. The log says what it waits for.", None)
        }
        "waiting" => say(
            Tone::Wait,
            trouble(checks).unwrap_or(reason),
            "Nothing is lost, and it goes on by itself when brokers answer. Look at what is named above: brokers, network, or a key of the file, \
             which a reload reads again. A restart doesn't help.",
            None,
        ),
        "halted" if summary.stopped_at.is_some() => say(
            Tone::Act,
            reason,
            "Everything before this record is finished. Fix the plugin or what the record needs; then resume tries it again. Skip leaves out \
             this record alone, if it fails once more.",
            Some(Operation::Resume),
        ),
        "halted" => say(
            Tone::Act,
            reason,
            "Nothing is lost. Do what the sentence above says: it goes on by itself within 10 seconds after that.",
            None,
        ),
        "draining" => say(Tone::Wait, reason, "Nothing to do: it finishes what is in flight, and commits.", None),
        "failed" if skip.is_some() => say(
            Tone::Act,
            reason,
            "A start is safe: it goes on with this record, so it stops here again until the plugin, the file or the record is another. Skip \
             leaves out this record alone, if it fails once more.",
            Some(Operation::Start),
        ),
        "failed" if summary.stopped_at.is_some() => say(
            Tone::Act,
            reason,
            "Too many records fail for it to go on. Fix the plugin; then start goes on with this record. What became a dead letter stays one.",
            Some(Operation::Start),
        ),
        "failed" => say(
            Tone::Act,
            reason,
            "What was committed stays so. Fix what the message says; then start reads the file again, and goes on behind the last commit.",
            Some(Operation::Start),
        ),
        _ => say(Tone::Wait, reason, "Start is safe: it goes on behind the last commit.", Some(Operation::Start)),
    }
}

/// Why brokers can't be reached.
fn trouble(checks: &[CheckView]) -> Option<String> {
    let failing = |name| move |check: &&CheckView| check.name == name && !check.ok;
    checks
        .iter()
        .find(failing("brokers"))
        .or_else(|| checks.iter().find(failing("outputs")))
        .map(|check| check.detail.clone())
}

fn running(summary: &Summary, checks: &[CheckView], rates: Rates) -> Advice {
    let Some(check) = checks.iter().find(|check| !check.ok) else { return flowing(summary, rates) };
    let why = check.detail.clone();
    match check.name.as_str() {
        "retries" => Advice {
            tone: Tone::Act,
            why: format!("A record is tried again and again: {why}"),
            safe: "Its partition waits and the others go on. Nothing is lost: make available what the record needs, or fix the plugin and reload.",
            operation: Some(Operation::Reload),
            skip: None,
        },
        "partitions" => Advice {
            tone: Tone::Act,
            why: format!("Partitions are held back: {why}"),
            safe: "The others go on, and these go on by themselves when that is over.",
            operation: None,
            skip: None,
        },
        "reload" => Advice {
            tone: Tone::Act,
            why: format!("The last reload changed nothing: {why}"),
            safe: "It runs on with what it had. Fix the file, then reload.",
            operation: Some(Operation::Reload),
            skip: None,
        },
        "memory" => Advice {
            tone: Tone::Act,
            why: format!("The memory of the process is nearly used up: {why}"),
            safe: "Nothing is lost, and it reads slowly. Raise `[limits] memory` in wasmill.toml and start the process again, or stop a pipeline \
                   that holds much.",
            operation: None,
            skip: None,
        },
        "state" => Advice {
            tone: Tone::Wait,
            why: format!("Its state is {why}"),
            safe: "Nothing to do: other partitions run already, and these follow.",
            operation: None,
            skip: None,
        },
        "outputs" | "brokers" => Advice {
            tone: Tone::Wait,
            why: format!("Brokers don't answer: {why}"),
            safe: "Nothing is lost, and it goes on by itself when brokers answer.",
            operation: None,
            skip: None,
        },
        name => Advice {
            tone: Tone::Act,
            why: format!("{name}: {why}"),
            safe: "A restart is safe: what is not committed is done again.",
            operation: Some(Operation::Restart),
            skip: None,
        },
    }
}

fn flowing(summary: &Summary, rates: Rates) -> Advice {
    if rates.failed > 0.0 && rates.failed >= FAILING_SHARE * rates.consumed {
        return failing(summary, rates);
    }
    if summary.lag.seconds < BEHIND_SECONDS {
        let why = "Records flow.".to_owned();
        return Advice { tone: Tone::Well, why, safe: "Nothing to do.", operation: None, skip: None };
    }
    Advice {
        tone: Tone::Wait,
        skip: None,
        why: format!(
            "It works, and is behind by {} records; the oldest of them waits for {:.0} s.",
            summary.lag.records, summary.lag.seconds
        ),
        safe: "If the lag grows, start more copies of the process, up to the number of partitions, or raise limits.parallelism.",
        operation: None,
    }
}

/// A part of the records fails for good.
fn failing(summary: &Summary, rates: Rates) -> Advice {
    let share = (100.0 * rates.failed / rates.consumed.max(rates.failed)).round();
    let last = summary.last_failure.as_ref().map_or_else(String::new, |last| {
        format!(
            " The last one: topic {}, partition {}, offset {}: {}",
            last.topic, last.partition, last.offset, last.what
        )
    });
    Advice {
        tone: Tone::Act,
        why: format!("{share} % of its records fail, {:.0} in a second.{last}", rates.failed),
        safe: "Dead letters are kept, and can be replayed; what the policy skips is gone. If the plugin is wrong, pause, fix it, and resume.",
        operation: Some(Operation::Pause),
        skip: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::view::LagView;
    use crate::admin::view::RecordCounts;
    use crate::metrics::State;

    fn said(state: &str, reason: &str, checks: &[(&str, &str)], seconds: f64) -> Advice {
        let summary = Summary {
            name: "orders".into(),
            file: "orders.toml".into(),
            group: None,
            state: state.into(),
            since: String::new(),
            reason: reason.into(),
            ready: true,
            lag: LagView { records: 7, seconds },
            records: RecordCounts::default(),
            restarts: 0,
            plugins: Vec::new(),
            stopped_at: reason.contains("offset 7").then(|| StoppedAtView {
                topic: "in".into(),
                partition: 0,
                offset: 7,
                may_be_skipped: !reason.contains("broke"),
            }),
            last_failure: None,
        };
        let checks = checks.iter().map(|(name, detail)| CheckView {
            ok: detail.is_empty(),
            name: (*name).to_owned(),
            detail: (*detail).to_owned(),
        });
        advice(&summary, &checks.collect::<Vec<_>>(), Rates::default())
    }

    #[test]
    fn each_state_has_a_sentence_and_the_button_that_helps() {
        for (state, reason, tone, operation) in [
            ("running", "running", Tone::Well, None),
            ("paused", "paused", Tone::Wait, Some(Operation::Resume)),
            ("waiting", "no broker has answered for 20 s", Tone::Wait, None),
            ("halted", "no permission to write to `out`", Tone::Act, None),
            ("halted", "topic in, partition 0, offset 7: no", Tone::Act, Some(Operation::Resume)),
            ("failed", "stopped at topic in, partition 0, offset 7: no", Tone::Act, Some(Operation::Start)),
            ("failed", "orders.toml:3: unknown field", Tone::Act, Some(Operation::Start)),
            ("stopped", "an operator has stopped it", Tone::Wait, Some(Operation::Start)),
        ] {
            let advice = said(state, reason, &[], 0.0);
            assert_eq!((advice.tone, advice.operation), (tone, operation), "{state}: {advice:?}");
            assert!(tone == Tone::Well || state == "paused" || advice.why.contains(reason), "{advice:?}");
        }
        for state in State::ALL {
            assert!(!said(state.label(), "why", &[], 0.0).safe.is_empty(), "{state:?}");
        }
    }

    #[test]
    fn a_check_that_fails_says_more_than_the_state() {
        let retries = said("running", "running", &[("config", ""), ("retries", "offset 7: tried 9 times")], 0.0);
        assert_eq!((retries.tone, retries.operation), (Tone::Act, Some(Operation::Reload)));
        assert!(retries.why.contains("offset 7"), "{retries:?}");
        let waiting =
            said("waiting", "no broker has answered for 20 s", &[("brokers", "it refused the password")], 0.0);
        assert_eq!(waiting.why, "it refused the password");
        let memory = said("running", "running", &[("memory", "15 MiB of 16 MiB are held: `orders`")], 0.0);
        assert!(memory.operation.is_none() && memory.why.contains("`orders`"), "a restart frees nothing: {memory:?}");
        let behind = said("running", "running", &[("config", "")], 90.0);
        assert_eq!(behind.tone, Tone::Wait);
        assert!(behind.why.contains("7 records") && behind.why.contains("90 s"), "{behind:?}");
    }
}
