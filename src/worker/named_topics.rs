//! PURE. The topics that records name: what is known of each, which are to be asked about, and how many there may be.
//!
//! Nothing is sent to a topic before a broker has said that it exists: a producer that knows no better waits for a missing topic
//! and holds up every output behind it. A topic that was there stays known, since a failed delivery tells when it is gone. One that
//! wasn't is asked about again after [`AGAIN`]. Invariant: a number is given once and never changes its topic.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use crate::failure::Failure;
use crate::failure::Kind;

/// How long a topic that doesn't exist, or may not be written, is taken for such.
const AGAIN: Duration = Duration::from_secs(10);
/// The most names in one question.
const ASKED_MAX: usize = 1000;
/// The most names of which something is known. Those that can't be written are forgotten first.
const KNOWN_MAX: usize = 10_000;

/// See the head of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct NamedTopics {
    /// The most numbers.
    most: usize,
    /// The topics with a number, each with its output, in the order of the numbers.
    numbered: Vec<(usize, Arc<str>)>,
    known: BTreeMap<Arc<str>, Known>,
    /// The names to ask about.
    wanted: BTreeSet<Arc<str>>,
    /// Whether a question is pending.
    is_asked: bool,
}

/// What is known of a topic.
#[derive(Clone, Debug, Default)]
struct Known {
    state: TopicState,
    /// The numbers of the topic, each with its output.
    numbers: Vec<(usize, usize)>,
}

#[derive(Clone, Debug, Default)]
enum TopicState {
    /// Nobody has said yet.
    #[default]
    Unknown,
    Writable,
    /// Nothing can be written there, until this time.
    Lacking(Box<Failure>, Instant),
}

/// Whether an output may go to the topic that its record named.
#[derive(Debug)]
pub(super) enum TopicLook {
    /// It may.
    Writable,
    /// The record fails.
    Fails(Failure),
    /// A broker has to be asked first.
    Unknown,
}

impl NamedTopics {
    /// At most `most` topics get a number.
    pub(super) fn new(most: usize) -> NamedTopics {
        NamedTopics { most, ..NamedTopics::default() }
    }

    /// Whether an output of this index may go to a topic. Gives it a number if it may.
    pub(super) fn look(&mut self, now: Instant, output: usize, topic: &Arc<str>) -> TopicLook {
        if !self.known.contains_key(topic) {
            if self.known.len() >= KNOWN_MAX {
                self.forget_lacking();
            }
            if self.known.len() >= KNOWN_MAX {
                return TopicLook::Fails(self.too_many(topic));
            }
            self.known.insert(Arc::clone(topic), Known::default());
        }
        let Some(known) = self.known.get_mut(topic) else { return TopicLook::Unknown };
        match &known.state {
            TopicState::Lacking(failure, until) if *until > now => TopicLook::Fails((**failure).clone()),
            TopicState::Unknown | TopicState::Lacking(..) => {
                self.wanted.insert(Arc::clone(topic));
                TopicLook::Unknown
            }
            TopicState::Writable if known.numbers.iter().any(|&(of, _)| of == output) => TopicLook::Writable,
            TopicState::Writable if self.numbered.len() < self.most => {
                known.numbers.push((output, self.numbered.len()));
                self.numbered.push((output, Arc::clone(topic)));
                TopicLook::Writable
            }
            TopicState::Writable => TopicLook::Fails(self.too_many(topic)),
        }
    }

    fn too_many(&self, topic: &str) -> Failure {
        let reason = format!(
            "an output names the topic `{topic}`, and records of this pipeline have named {} others since it started, the most that it may \
             write; spread them over several pipelines",
            self.most
        );
        Failure::new(Kind::TooManyTopics, None, reason)
    }

    /// Forgets the topics that can't be written.
    fn forget_lacking(&mut self) {
        self.known.retain(|_, known| !known.numbers.is_empty() || matches!(known.state, TopicState::Writable));
        self.wanted.clear();
    }

    /// The names to ask about now, if there are any and no question is pending.
    pub(super) fn question(&mut self) -> Option<Vec<Arc<str>>> {
        if self.is_asked || self.wanted.is_empty() {
            return None;
        }
        self.is_asked = true;
        Some(self.wanted.iter().take(ASKED_MAX).cloned().collect())
    }

    /// A broker has answered for some topics: each can be written, or the failure says why not. Returns whether one is gone that could
    /// be written before.
    pub(super) fn answer(&mut self, now: Instant, answers: Vec<(Arc<str>, Option<Failure>)>) -> bool {
        self.is_asked = false;
        let mut is_gone = false;
        for (topic, lacks) in answers {
            self.wanted.remove(&topic);
            let Some(known) = self.known.get_mut(&topic) else { continue };
            is_gone |= lacks.is_some() && matches!(known.state, TopicState::Writable);
            known.state = match lacks {
                None => TopicState::Writable,
                Some(failure) => TopicState::Lacking(Box::new(failure), now + AGAIN),
            };
        }
        is_gone
    }

    /// An output to a topic failed, so that nothing is known of it any more.
    pub(super) fn doubt(&mut self, number: usize) {
        if let Some((_, topic)) = self.numbered.get(number)
            && let Some(known) = self.known.get_mut(topic)
        {
            known.state = TopicState::Unknown;
        }
    }

    /// Outputs wait and nobody says why: all topics with a number are asked about again.
    pub(super) fn doubt_all(&mut self) {
        self.wanted.extend(self.numbered.iter().map(|(_, topic)| Arc::clone(topic)));
    }

    /// The number of a topic for this output, if it has one.
    pub(super) fn number(&self, output: usize, topic: &str) -> Option<usize> {
        let numbers = &self.known.get(topic)?.numbers;
        numbers.iter().find(|&&(of, _)| of == output).map(|&(_, number)| number)
    }

    /// The topics with a number, each with its output, in the order of their numbers.
    pub(super) fn numbered(&self) -> &[(usize, Arc<str>)] {
        &self.numbered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::clock;

    fn failure() -> Failure {
        Failure::new(Kind::Refused, None, "it doesn't exist")
    }

    fn is_writable(topics: &mut NamedTopics, now: Instant, output: usize, topic: &str) -> bool {
        matches!(topics.look(now, output, &topic.into()), TopicLook::Writable)
    }

    /// What a record that names the topic fails with.
    fn fails(topics: &mut NamedTopics, now: Instant, topic: &str) -> Option<Kind> {
        match topics.look(now, 0, &topic.into()) {
            TopicLook::Fails(failure) => Some(failure.kind),
            TopicLook::Writable | TopicLook::Unknown => None,
        }
    }

    /// Asks, and answers that the topics that `lacks` names can't be written.
    fn ask(topics: &mut NamedTopics, now: Instant, lacks: &[&str]) -> (Vec<Arc<str>>, bool) {
        let asked = topics.question().unwrap();
        let answers = asked.iter().map(|topic| (Arc::clone(topic), lacks.contains(&&**topic).then(failure)));
        let is_gone = topics.answer(now, answers.collect());
        (asked, is_gone)
    }

    #[test]
    fn a_topic_is_asked_about_once_and_a_missing_one_again_after_a_while() {
        let now = clock::now();
        let mut topics = NamedTopics::new(10);
        assert_eq!(topics.question(), None);
        for topic in ["eu", "us", "eu"] {
            assert!(!is_writable(&mut topics, now, 0, topic));
        }
        let asked = topics.question().unwrap();
        assert_eq!(asked, ["eu".into(), "us".into()]);
        assert!(!is_writable(&mut topics, now, 0, "late"));
        assert_eq!(topics.question(), None, "one question at a time");
        assert!(!topics.answer(now, vec![("eu".into(), None), ("us".into(), Some(failure()))]));
        assert!(is_writable(&mut topics, now, 0, "eu"));
        assert_eq!(fails(&mut topics, now, "us"), Some(Kind::Refused));
        assert_eq!(ask(&mut topics, now, &[]).0, ["late".into()], "it came while the question was pending");
        let later = now + AGAIN;
        assert!(is_writable(&mut topics, later, 0, "eu") && !is_writable(&mut topics, later, 0, "us"));
        assert_eq!(ask(&mut topics, later, &[]).0, ["us".into()]);
        assert!(is_writable(&mut topics, later, 0, "us"));
    }

    #[test]
    fn a_number_is_for_a_topic_of_one_output_and_stays() {
        let now = clock::now();
        let mut topics = NamedTopics::new(10);
        for (output, topic) in [(0, "eu"), (3, "eu"), (0, "us")] {
            if !is_writable(&mut topics, now, output, topic) {
                ask(&mut topics, now, &[]);
                assert!(is_writable(&mut topics, now, output, topic));
            }
        }
        assert_eq!(topics.numbered(), [(0, "eu".into()), (3, "eu".into()), (0, "us".into())]);
        assert_eq!(
            [(0, "eu"), (3, "eu"), (0, "us"), (3, "us")].map(|(of, topic)| topics.number(of, topic)),
            [Some(0), Some(1), Some(2), None]
        );
        // A delivery to it failed.
        topics.doubt(1);
        assert!(!is_writable(&mut topics, now, 0, "eu") && is_writable(&mut topics, now, 0, "us"));
        ask(&mut topics, now, &[]);
        assert!(is_writable(&mut topics, now, 0, "eu") && topics.numbered().len() == 3);
        topics.doubt_all();
        assert!(is_writable(&mut topics, now, 0, "us"), "nothing is known to be wrong with it");
        assert_eq!(ask(&mut topics, now, &["us"]), (vec!["eu".into(), "us".into()], true));
        assert_eq!((fails(&mut topics, now, "us"), topics.number(0, "us")), (Some(Kind::Refused), Some(2)));
    }

    #[test]
    fn more_topics_than_there_may_be_fail_their_records_and_no_others() {
        let now = clock::now();
        let mut topics = NamedTopics::new(1000);
        let name = |number: usize| format!("t{number}");
        for number in 0..1100 {
            assert!(!is_writable(&mut topics, now, 0, &name(number)));
        }
        let (asked, _) = ask(&mut topics, now, &[]);
        assert_eq!(asked.len(), ASKED_MAX, "a question has a bound of its own");
        ask(&mut topics, now, &[]);
        let writable: Vec<usize> =
            (0..1100).filter(|&number| is_writable(&mut topics, now, 0, &name(number))).collect();
        assert_eq!((writable.len(), writable[0], topics.numbered().len()), (1000, 0, 1000));
        assert_eq!(fails(&mut topics, now, "t1099"), Some(Kind::TooManyTopics));
        assert!(is_writable(&mut topics, now, 0, "t7"));
    }

    #[test]
    fn names_of_topics_that_do_not_exist_take_bounded_memory() {
        let now = clock::now();
        let mut topics = NamedTopics::new(10);
        assert!(!is_writable(&mut topics, now, 0, "there"));
        ask(&mut topics, now, &[]);
        assert!(is_writable(&mut topics, now, 0, "there"));
        for number in 0..3 * KNOWN_MAX {
            let name = format!("t{number}");
            assert!(!is_writable(&mut topics, now, 0, &name));
            ask(&mut topics, now, &[&name]);
            assert!(topics.known.len() <= KNOWN_MAX && topics.wanted.is_empty());
        }
        assert!(is_writable(&mut topics, now, 0, "there"));
        assert_eq!(fails(&mut topics, now, &format!("t{}", 3 * KNOWN_MAX - 1)), Some(Kind::Refused));
    }
}
