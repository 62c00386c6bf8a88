//! PURE. Sets of topics that globs and patterns describe: whether two have a topic in common, and whether one is within others.
//!
//! Both are automata, and a topic is looked for that takes them through their states together: the answer is exact for all topics,
//! also those that don't exist yet. Invariant: a set that is too large to decide counts as the one that a finding is about.

use std::collections::BTreeSet;

use regex_automata::Input;
use regex_automata::dfa::Automaton;
use regex_automata::dfa::StartKind;
use regex_automata::dfa::dense;
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::syntax;

/// The largest compiled set, and the most memory to compile it.
const SET_BYTES_MAX: usize = 4 << 20;
/// The most pairs of states that are looked at.
const PAIRS_MAX: usize = 100_000;

/// A set of topics.
pub(in crate::config) struct TopicSet(dense::DFA<Vec<u32>>);

impl TopicSet {
    /// The topics that one of these globs matches. `None` if it is too large.
    pub(in crate::config) fn of_globs<'a>(globs: impl Iterator<Item = &'a str>) -> Option<TopicSet> {
        let all: Vec<String> = globs.map(regex_of).collect();
        TopicSet::of_pattern(&format!("^(?:{})$", all.join("|"))).ok()
    }

    /// The topics that a regular expression over bytes matches somewhere.
    ///
    /// # Errors
    /// If it doesn't parse, or is too large.
    pub(in crate::config) fn of_pattern(pattern: &str) -> Result<TopicSet, NoSet> {
        let rules = syntax::Config::new().unicode(false).utf8(false).nest_limit(50);
        if syntax::parse_with(pattern, &rules).is_err() {
            return Err(NoSet::Malformed);
        }
        let dfa = dense::Builder::new()
            .syntax(rules)
            .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(SET_BYTES_MAX)))
            .configure(
                dense::Config::new()
                    .start_kind(StartKind::Unanchored)
                    .dfa_size_limit(Some(SET_BYTES_MAX))
                    .determinize_size_limit(Some(SET_BYTES_MAX)),
            )
            .build(pattern);
        dfa.map(TopicSet).map_err(|_| NoSet::TooLarge)
    }

    /// Whether a topic is in the set.
    pub(in crate::config) fn has(&self, topic: &str) -> bool {
        // A topic's name is ASCII, so the search can't meet a byte at which it stops.
        matches!(self.0.try_search_fwd(&Input::new(topic)), Ok(Some(_)))
    }

    /// Whether a topic is in both sets.
    pub(in crate::config) fn meets(&self, other: &TopicSet) -> bool {
        finds(self, other, |of_other| of_other)
    }

    /// Whether all topics of the set are in another one.
    pub(in crate::config) fn is_within(&self, other: &TopicSet) -> bool {
        !finds(self, other, |of_other| !of_other)
    }
}

/// Why there is no set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum NoSet {
    Malformed,
    TooLarge,
}

/// Where a set's automaton is after some characters, and whether it has matched on the way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    state: StateID,
    has_matched: bool,
}

impl Place {
    fn start(set: &TopicSet) -> Option<Place> {
        let state = set.0.start_state_forward(&Input::new("")).ok()?;
        Some(Place { state, has_matched: set.0.is_match_state(state) })
    }

    fn after(self, set: &TopicSet, byte: u8) -> Place {
        let state = set.0.next_state(self.state, byte);
        Place { state, has_matched: self.has_matched || set.0.is_match_state(state) }
    }

    /// Whether a topic that ends here is in the set.
    fn is_in(self, set: &TopicSet) -> bool {
        self.has_matched || set.0.is_match_state(set.0.next_eoi_state(self.state))
    }

    /// Whether no topic that begins so is in the set.
    fn is_out(self, set: &TopicSet) -> bool {
        !self.has_matched && set.0.is_dead_state(self.state)
    }
}

/// Whether there is a topic in `set` for which `wanted` accepts whether it is in `other`. In doubt there is.
fn finds(set: &TopicSet, other: &TopicSet, wanted: impl Fn(bool) -> bool) -> bool {
    let (Some(start), Some(start_of_other)) = (Place::start(set), Place::start(other)) else { return true };
    let mut seen = BTreeSet::from([(start, start_of_other)]);
    let mut left = vec![(start, start_of_other)];
    while let Some((at, at_other)) = left.pop() {
        for byte in characters() {
            let next = (at.after(set, byte), at_other.after(other, byte));
            if next.0.is_out(set) || !seen.insert(next) {
                continue;
            }
            if next.0.is_in(set) && wanted(next.1.is_in(other)) || seen.len() > PAIRS_MAX {
                return true;
            }
            left.push(next);
        }
    }
    false
}

/// The characters of topics' names.
fn characters() -> impl Iterator<Item = u8> {
    (b'a'..=b'z').chain(b'A'..=b'Z').chain(b'0'..=b'9').chain(*b"._-")
}

/// A valid glob as a regular expression.
fn regex_of(glob: &str) -> String {
    let characters: Vec<char> = glob.chars().collect();
    let mut regex = String::new();
    let mut at = 0;
    while let Some(&character) = characters.get(at) {
        at += 1;
        match character {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '[' => {
                let is_not = characters.get(at) == Some(&'!');
                at += usize::from(is_not);
                // The first one may be a bracket.
                let length = characters.iter().skip(at + 1).position(|&end| end == ']').map_or(0, |length| length + 1);
                regex.push_str(&class(&characters[at..at + length], is_not));
                at += length + 1;
            }
            other => push_one(&mut regex, other),
        }
    }
    regex
}

/// What is in the brackets of a glob.
fn class(mut inside: &[char], is_not: bool) -> String {
    let mut class = if is_not { "[^".to_owned() } else { "[".to_owned() };
    while let Some((&first, rest)) = inside.split_first() {
        push_one(&mut class, first);
        inside = match rest {
            ['-', last, rest @ ..] => {
                class.push('-');
                push_one(&mut class, *last);
                rest
            }
            rest => rest,
        };
    }
    class.push(']');
    class
}

/// One character, whatever it means otherwise. One that no topic has is one that matches nothing.
fn push_one(regex: &mut String, character: char) {
    let byte = u8::try_from(character).ok().filter(u8::is_ascii).unwrap_or(0);
    regex.push_str(&format!("\\x{byte:02x}"));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn globs(globs: &[&str]) -> TopicSet {
        TopicSet::of_globs(globs.iter().copied()).unwrap()
    }

    #[test]
    fn a_glob_that_is_within_others_is_told_from_one_that_is_not() {
        for (glob, permitted) in [
            ("rows.*", &["rows.*"][..]),
            ("rows.eu", &["rows.*"]),
            ("rows.eu.*", &["audit", "rows.*"]),
            ("rows.[ab]", &["rows.a", "rows.b"]),
            ("rows.[a-c]?", &["rows.[a-z]*"]),
            ("rows.[!a]", &["rows.?"]),
            ("*.eu", &["*"]),
            ("a*b*c", &["*c"]),
        ] {
            assert!(globs(&[glob]).is_within(&globs(permitted)), "{glob} is in {permitted:?}");
        }
        for (glob, permitted) in [
            ("rows.*", &["rows.?*"][..]),
            ("rows.*", &["rows.eu", "rows.us"]),
            ("rows*", &["rows.*"]),
            ("*", &["rows.*", "*a", "*b"]),
            ("rows.[a-c]", &["rows.[ab]"]),
            ("rows.[!a]", &["rows.[b-z]"]),
            ("rows.?", &[]),
        ] {
            assert!(!globs(&[glob]).is_within(&globs(permitted)), "{glob} is not in {permitted:?}");
        }
    }

    #[test]
    fn a_glob_and_a_pattern_with_a_topic_in_common_are_found() {
        for (glob, pattern, meets) in [
            ("rows.*", "^rows", true),
            ("rows.*", "^rows\\.[0-9]+$", true),
            ("rows.*", "^orders\\..*", false),
            ("rows.?", "^rows\\.[0-9][0-9]+$", false),
            ("*.eu", "^rows\\.(us|eu)$", true),
            ("*.eu", "^rows\\.(us|de)$", false),
            ("rows.eu", "^.*u", true),
            ("rows.eu", "^.*x", false),
        ] {
            assert_eq!(globs(&[glob]).meets(&TopicSet::of_pattern(pattern).unwrap()), meets, "{glob} and {pattern}");
        }
    }

    #[test]
    fn a_set_that_is_too_large_counts_as_in_doubt() {
        let large = format!("*a{}", "?".repeat(40));
        assert!(TopicSet::of_globs([large.as_str()].into_iter()).is_none());
        let (long, all) = (format!("*a{}", "?".repeat(12)), globs(&["*"]));
        assert!(globs(&[&long]).is_within(&all) && globs(&[&long]).meets(&all));
    }

    proptest! {
        /// The automaton of a glob and the crate that matches names against it at run time agree.
        #[test]
        fn a_glob_means_the_same_here_and_where_names_are_matched(
            glob in "[ab.*?]{0,4}(\\[!?[]a-c]{1,3}\\])?[ab*]{0,3}",
            topic in "[abc.]{1,6}",
        ) {
            if let Ok(pattern) = glob::Pattern::new(&glob) {
                prop_assert_eq!(globs(&[&glob]).has(&topic), pattern.matches(&topic), "{} and {}", glob, topic);
            }
        }
    }
}
