//! PURE. What became of a record when it ran again.

use std::time::Duration;

use super::Letter;
use crate::dry_run::Made;
use crate::failure::Failure;
use crate::partition::OnFailure;
use crate::partition::Policy;
use crate::partition::Retries;

/// A record on its way back through the pipeline.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) letter: Letter,
    pub(super) outcome: Outcome,
    /// Whether its dead letter gets the time of writing, because its topic refused the record's timestamp.
    pub(super) is_retimed: bool,
    /// How many of its messages are not acknowledged.
    pub(super) open: usize,
    pub(super) is_delivered: bool,
}

/// What is sent for a record.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    /// What the steps returned.
    Outputs(Vec<Made>),
    /// The record itself, to this partition of the topic that it was read from; -1 is that of its key.
    WrittenBack { partition: i32 },
    /// A dead letter once more.
    DeadLetter { failure: Failure, tries: u32 },
    /// Nothing.
    Skipped,
}

/// What to do about a record that failed.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    Retry(Duration),
    DeadLetter,
    Skip,
    Stop,
}

/// What the file says about a failure of a record that was tried this many times.
pub(super) fn next(policy: &Policy, failure: &Failure, tries: u32) -> Next {
    let rule = policy.rule(failure);
    let has_retries = match rule.retries {
        Retries::Times(limit) => tries <= limit,
        Retries::Forever => true,
    };
    if has_retries {
        return Next::Retry(failure.delay.unwrap_or_else(|| rule.longest_backoff(tries)));
    }
    match rule.then {
        OnFailure::DeadLetter => Next::DeadLetter,
        OnFailure::Skip => Next::Skip,
        // A command that waits can't be held.
        OnFailure::Stop | OnFailure::Hold => Next::Stop,
    }
}

impl Item {
    pub(super) fn new(letter: Letter, outcome: Outcome) -> Item {
        Item { letter, outcome, is_retimed: false, open: 0, is_delivered: false }
    }

    /// An output or the dead letter of the record was refused.
    pub(super) fn refuse(&mut self, policy: &Policy, failure: &Failure, is_about_time: bool) -> Result<(), Failure> {
        self.outcome = match &self.outcome {
            Outcome::DeadLetter { .. } if is_about_time && !self.is_retimed => {
                self.is_retimed = true;
                return Ok(());
            }
            Outcome::DeadLetter { failure: first, .. } => {
                let reason = format!("{}; the record failed by: {}", failure.reason, first.reason);
                return Err(Failure { reason, ..failure.clone() });
            }
            Outcome::Outputs(_) => match next(policy, failure, u32::MAX) {
                Next::DeadLetter => Outcome::DeadLetter { failure: failure.clone(), tries: 1 },
                Next::Skip => Outcome::Skipped,
                Next::Stop | Next::Retry(_) => return Err(failure.clone()),
            },
            Outcome::WrittenBack { .. } | Outcome::Skipped => return Err(failure.clone()),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dlq::letter::tests::letter;
    use crate::failure::Kind;
    use crate::partition::Rule;

    fn policy(then: OnFailure) -> Policy {
        Policy { general: Rule { retries: Retries::Times(2), then, ..Rule::default() }, ..Policy::default() }
    }

    #[test]
    fn a_record_is_retried_as_in_the_pipeline_and_a_hold_stops() {
        let retry = Failure::new(Kind::Retry, None, "busy");
        let policies = [OnFailure::DeadLetter, OnFailure::Skip, OnFailure::Stop, OnFailure::Hold].map(policy);
        let asked = Failure { delay: Some(Duration::from_secs(7)), ..retry.clone() };
        assert_eq!(next(&policies[0], &asked, 2), Next::Retry(Duration::from_secs(7)));
        assert_eq!(next(&policies[0], &retry, 2), Next::Retry(Duration::from_millis(200)));
        let ends = policies.map(|policy| next(&policy, &retry, 3));
        assert_eq!(ends, [Next::DeadLetter, Next::Skip, Next::Stop, Next::Stop]);
        assert_eq!(next(&policy(OnFailure::Skip), &Failure::new(Kind::Trap, None, ""), 1), Next::Skip);
    }

    #[test]
    fn a_dead_letter_is_written_with_another_time_once_and_never_dropped() {
        let refused = Failure::new(Kind::Refused, None, "no");
        let policy = policy(OnFailure::DeadLetter);
        let mut item = Item::new(letter(0, 1), Outcome::Outputs(Vec::new()));
        assert_eq!(item.refuse(&policy, &refused, true), Ok(()));
        assert!(matches!(item.outcome, Outcome::DeadLetter { .. }) && !item.is_retimed);
        assert_eq!(item.refuse(&policy, &refused, true), Ok(()));
        assert!(item.is_retimed);
        assert!(item.refuse(&policy, &refused, true).is_err());
        let mut item = Item::new(letter(0, 1), Outcome::WrittenBack { partition: 0 });
        assert_eq!(item.refuse(&policy, &refused, false), Err(refused));
    }
}
