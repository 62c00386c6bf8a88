//! Pure: in what two versions of a pipeline's file differ, and what it takes to go from one to the other.
//!
//! The steps' own values don't count here: components, settings, deadlines, memory and batches are swapped step by step.

use crate::config::Pipeline;
use crate::config::Span;

/// Parts that differ, as they are called in the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// Changed in place.
    pub(super) in_place: Vec<&'static str>,
    /// Changed with a new consumer.
    pub(super) anew: Vec<&'static str>,
    /// Changed by starting the process again.
    pub(super) restart: Vec<(&'static str, Span)>,
}

impl Difference {
    pub(super) fn of(old: &Pipeline, new: &Pipeline) -> Difference {
        let (a, b) = (&old.kafka, &new.kafka);
        // A certificate that was renewed has the path that it had.
        let connection = (&a.brokers, &a.client_id, &a.tls, &a.sasl, &a.librdkafka, &old.connection)
            != (&b.brokers, &b.client_id, &b.tls, &b.sasl, &b.librdkafka, &new.connection);
        let names = |pipeline: &Pipeline| -> Vec<_> { pipeline.steps.iter().map(|step| step.name.clone()).collect() };
        let differing = |parts: &[(&'static str, bool)]| {
            parts.iter().filter_map(|(part, differs)| differs.then_some(*part)).collect()
        };
        Difference {
            in_place: differing(&[
                ("[output]", a.outputs != b.outputs || old.routes != new.routes),
                (
                    "[on_error]",
                    (&old.policy, old.dialect, &a.dead_letter) != (&new.policy, new.dialect, &b.dead_letter),
                ),
                ("[limits]", old.limits != new.limits || old.shutdown_timeout != new.shutdown_timeout),
            ]),
            anew: differing(&[
                ("[kafka]", connection),
                ("[input]", a.input != b.input),
                ("limits.commit_every", a.commit_every != b.commit_every),
            ]),
            restart: [
                ("name", old.name != new.name, new.spans.name),
                (
                    "the number or the names of the steps",
                    names(old) != names(new),
                    new.spans.steps.first().map(|step| step.wasm),
                ),
                ("[http]", old.http != new.http, new.spans.http),
            ]
            .into_iter()
            .filter(|(_, differs, _)| *differs)
            .map(|(part, _, at)| (part, at.unwrap_or(Span::START)))
            .collect(),
        }
    }
}
