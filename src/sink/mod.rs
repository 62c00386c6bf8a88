//! Which output a step's port leads to, and the dead letter of a failed record.
//!
//! Pure. It doesn't send anything and knows topics only as output numbers, except for those that plugins name.

mod dead_letter;
mod failure_headers;
pub mod size;
mod topics;

pub use dead_letter::DeadLetter;
pub use dead_letter::DeadLetters;
pub use dead_letter::Dialect;
pub use dead_letter::GivenUp;
pub use dead_letter::REPLAYS;
pub use dead_letter::WINDOW;
pub use failure_headers::FailureHeaders;
pub use topics::AllowedTopics;
pub use topics::TopicChoice;

use std::collections::BTreeMap;
use std::sync::Arc;

use glob::Pattern;

use crate::batch::Outputs;

/// The destination of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To the next step.
    NextStep,
    /// To an output, by its index in the file.
    Output(usize),
}

/// The ports of every step. Port 0 is `main`: it leads to the next step, and after the last step to
/// `[output.main]`. The other ports are the other outputs in file order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    /// In file order.
    outputs: Arc<[TopicChoice]>,
    main: usize,
    steps: usize,
}

impl Routes {
    /// `outputs` are in file order; `None` if none of them is `main`.
    #[must_use]
    pub fn new(outputs: Vec<TopicChoice>, steps: usize) -> Option<Routes> {
        let main = outputs.iter().position(|choice| choice.output == "main")?;
        Some(Routes { outputs: outputs.into(), main, steps })
    }

    /// The routes of a file whose outputs are not known.
    #[must_use]
    pub fn only_main(steps: usize) -> Routes {
        Routes { outputs: Arc::new([TopicChoice::fixed("main".to_owned())]), main: 0, steps }
    }

    /// The same outputs for another number of steps.
    #[must_use]
    pub fn for_steps(&self, steps: usize) -> Routes {
        Routes { steps, ..self.clone() }
    }

    /// The names of the ports, which are the same for every step.
    #[must_use]
    pub fn ports(&self) -> Vec<String> {
        let others = self.outputs.iter().enumerate().filter(|&(index, _)| index != self.main);
        std::iter::once("main".to_owned()).chain(others.map(|(_, choice)| choice.output.clone())).collect()
    }

    /// The name of an output, by its index in the file.
    #[must_use]
    pub fn name(&self, output: usize) -> Option<&str> {
        self.outputs.get(output).map(|choice| choice.output.as_str())
    }

    /// The destination of a step's port. Ports that don't exist never get here: `outcome::check` refuses them.
    #[must_use]
    pub fn destination(&self, step: usize, port: u32) -> Destination {
        match port as usize {
            0 if step + 1 < self.steps => Destination::NextStep,
            0 => Destination::Output(self.main),
            port if port <= self.main => Destination::Output(port - 1),
            port => Destination::Output(port),
        }
    }

    /// The globs of the topics that records of an output may name, by its index in the file.
    #[must_use]
    pub fn allowed(&self, output: usize) -> &[Pattern] {
        let allowed = self.outputs.get(output).and_then(|choice| choice.allowed.as_ref());
        allowed.map(|allowed| &allowed.globs[..]).unwrap_or_default()
    }

    /// The outputs of a step whose plugin chose a topic that they may not go to: the first of each input record, as the record's
    /// index and the reason, in order. Costs nothing if no output names a topic and all have one without.
    #[must_use]
    pub fn refusals(&self, step: usize, outputs: &Outputs) -> Vec<(usize, String)> {
        let topics = outputs.topics();
        let is_total = self.outputs.iter().all(|choice| choice.has_default);
        if topics.of.is_empty() && is_total {
            return Vec::new();
        }
        let names = topics.names.iter().map(|(port, name)| self.refusal(step, *port, Some(name)));
        let names: Vec<Option<String>> = names.collect();
        let mut without: BTreeMap<u32, Option<String>> = BTreeMap::new();
        let mut refused: Vec<(usize, String)> = Vec::new();
        for index in 0..outputs.len() {
            let named = topics.of.get(index).and_then(|&place| names.get(place as usize));
            let refusal = match named {
                Some(refusal) => refusal,
                None => {
                    let port = outputs.port(index);
                    without.entry(port).or_insert_with(|| self.refusal(step, port, None))
                }
            };
            let parent = outputs.parent(index);
            if let Some(why) = refusal.as_ref().filter(|_| refused.last().is_none_or(|&(last, _)| last != parent)) {
                refused.push((parent, why.clone()));
            }
        }
        refused
    }

    fn refusal(&self, step: usize, port: u32, name: Option<&str>) -> Option<String> {
        match (self.destination(step, port), name) {
            (Destination::Output(output), _) => self.outputs[output].refusal(name),
            (Destination::NextStep, None) => None,
            (Destination::NextStep, Some(name)) => Some(format!(
                "an output names the topic `{}`, and its port leads to the next step",
                name.escape_debug()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::NO_TOPIC;
    use crate::batch::OutputColumns;

    fn fixed(names: &[&str]) -> Vec<TopicChoice> {
        names.iter().map(|name| TopicChoice::fixed((*name).to_owned())).collect()
    }

    #[test]
    fn ports_are_main_and_then_the_other_outputs_in_file_order() {
        let routes = Routes::new(fixed(&["audit", "main", "late"]), 2).unwrap();
        assert_eq!(routes.ports(), ["main", "audit", "late"]);
        assert_eq!(routes.destination(0, 0), Destination::NextStep);
        assert_eq!(routes.destination(1, 0), Destination::Output(1));
        for step in 0..2 {
            assert_eq!(routes.destination(step, 1), Destination::Output(0));
            assert_eq!(routes.destination(step, 2), Destination::Output(2));
        }
    }

    #[test]
    fn an_output_called_main_is_needed() {
        assert_eq!(Routes::new(fixed(&["audit"]), 1), None);
    }

    #[test]
    fn each_record_with_a_refused_topic_is_named_once_and_a_topic_between_steps_is_none() {
        let allowed = AllowedTopics { globs: vec![Pattern::new("rows.*").unwrap()], own: Vec::new() };
        let named = TopicChoice { output: "main".into(), has_default: false, allowed: Some(allowed) };
        let routes = Routes::new([vec![named], fixed(&["audit"])].concat(), 2).unwrap();
        let outputs = |topics: &[(u32, &str)], of: &[u32], ports: &[u32], parents: &[u32]| {
            let topics = topics.iter().map(|&(port, name)| (port, name.into())).collect();
            let columns = OutputColumns { ports: ports.to_vec(), topics, ..OutputColumns::default() };
            Outputs::from_checked(columns, parents.to_vec(), Vec::new(), of.to_vec())
        };
        let roots = |step: usize, outputs: &Outputs| -> Vec<usize> {
            routes.refusals(step, outputs).into_iter().map(|(root, _)| root).collect()
        };
        let topics = [(0, "rows.a"), (0, "other"), (1, "rows.a")];
        let some =
            outputs(&topics, &[0, 1, 1, NO_TOPIC, 2, NO_TOPIC, 0], &[0, 0, 0, 1, 1, 0, 0], &[0, 1, 1, 2, 3, 4, 5]);
        // `other` isn't allowed, `audit` allows none, and `main` has no topic of its own.
        assert_eq!(roots(1, &some), [1, 3, 4]);
        // The first step's `main` leads to the second one.
        assert_eq!(roots(0, &some), [0, 1, 3, 5]);
        assert_eq!(roots(1, &outputs(&[], &[], &[], &[0, 1])), [0, 1]);
        assert_eq!(roots(0, &outputs(&[], &[], &[], &[0, 1])), [0; 0]);
    }
}
