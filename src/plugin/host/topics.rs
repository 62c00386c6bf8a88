//! The interface `topics`: the topics that a call names for its outputs.
//!
//! A name gets a number that an output has in place of a port's; `outcome::check` maps it back. Whether a name is allowed
//! is decided later, for each record. Numbers begin anew with each call, so a plugin can't use one of an earlier call;
//! the names are kept between calls, so that a name is copied once and not for each call. A plugin that names no topic
//! pays one addition for each call.

use std::collections::HashMap;
use std::sync::Arc;

use crate::record::TOPIC_NAME_BYTES_MAX;

/// The most numbers that one call gets.
const NUMBERS_MAX: usize = 10_000;
/// The most names that are kept between calls.
const KEPT_MAX: usize = 1024;
/// What a call with too many names is told.
pub(in crate::plugin) const TOO_MANY: &str = "the call asks for more than 10000 numbers of topics";

/// The topics of one instance's calls.
#[derive(Debug)]
pub(in crate::plugin) struct Topics {
    /// The number of ports: the first number of a topic.
    ports: u32,
    call: u64,
    /// The topics of this call, in the order of their numbers.
    named: Vec<(u32, Arc<str>)>,
    known: HashMap<Arc<str>, Known>,
}

/// A name that is kept.
#[derive(Debug)]
struct Known {
    name: Arc<str>,
    /// The last call that named it.
    call: u64,
    /// The ports that it was named with in that call, and the numbers.
    numbers: Vec<(u32, u32)>,
}

impl Topics {
    pub(in crate::plugin) fn new(ports: usize) -> Topics {
        let ports = u32::try_from(ports).unwrap_or(u32::MAX);
        Topics { ports, call: 0, named: Vec::new(), known: HashMap::new() }
    }

    /// A call begins: the numbers of earlier ones mean nothing any more.
    pub(in crate::plugin) fn begin(&mut self) {
        self.call += 1;
        self.named.clear();
    }

    /// The number of a topic. `None` if the call has too many. Of a name that is too long for a topic, the beginning is
    /// kept, which is too long as well.
    pub(in crate::plugin) fn number(&mut self, port: u32, name: &str) -> Option<u32> {
        let name = &name[..name.floor_char_boundary(TOPIC_NAME_BYTES_MAX + 4)];
        if !self.known.contains_key(name) {
            // Names of earlier calls are only kept for speed.
            if self.known.len() >= KEPT_MAX {
                let call = self.call;
                self.known.retain(|_, known| known.call == call);
            }
            let name: Arc<str> = name.into();
            let known = Known { name: Arc::clone(&name), call: self.call, numbers: Vec::new() };
            self.known.insert(name, known);
        }
        let known = self.known.get_mut(name)?;
        if known.call != self.call {
            known.call = self.call;
            known.numbers.clear();
        }
        if let Some(&(_, number)) = known.numbers.iter().find(|(of, _)| *of == port) {
            return Some(number);
        }
        if self.named.len() >= NUMBERS_MAX {
            return None;
        }
        let number = self.ports.checked_add(u32::try_from(self.named.len()).ok()?)?;
        known.numbers.push((port, number));
        self.named.push((port, Arc::clone(&known.name)));
        Some(number)
    }

    /// Takes the topics of the call, in the order of their numbers.
    pub(in crate::plugin) fn take(&mut self) -> Vec<(u32, Arc<str>)> {
        std::mem::take(&mut self.named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_one_number_for_each_port_and_name_and_the_next_call_begins_anew() {
        let mut topics = Topics::new(2);
        topics.begin();
        let numbers = [(0, "a"), (1, "a"), (0, "b"), (0, "a")].map(|(port, name)| topics.number(port, name));
        assert_eq!(numbers, [Some(2), Some(3), Some(4), Some(2)]);
        let first = topics.take();
        assert_eq!(first, [(0, "a".into()), (1, "a".into()), (0, "b".into())]);
        topics.begin();
        assert_eq!((topics.number(0, "b"), topics.number(0, "a")), (Some(2), Some(3)));
        let second = topics.take();
        assert!(Arc::ptr_eq(&first[0].1, &second[1].1), "the name isn't copied again");
    }

    #[test]
    fn numbers_and_names_are_bounded_and_a_long_name_stays_too_long() {
        let mut topics = Topics::new(1);
        topics.begin();
        for number in 0..NUMBERS_MAX {
            assert!(topics.number(0, &format!("t{number}")).is_some());
        }
        assert_eq!(topics.number(0, "more"), None);
        assert_eq!(topics.number(0, "t7"), Some(8), "it has one");
        topics.begin();
        assert_eq!(topics.number(0, &"x".repeat(1 << 20)), Some(1));
        assert!(topics.known.len() <= 2, "the names of the call before are gone");
        let (_, name) = &topics.take()[0];
        assert!(name.len() > TOPIC_NAME_BYTES_MAX && name.len() < 300);
    }
}
