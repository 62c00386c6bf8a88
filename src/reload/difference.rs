//! Pure: how two versions of a pipeline's file differ, and what it takes to change from one to the other.
//!
//! The values of steps are not compared here: component, settings, timeout, memory and batch size are swapped per step.

use crate::config::Pipeline;
use crate::config::Span;
use crate::config::Windowed;

/// The differing parts, named as in the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// Applied in place.
    pub(super) in_place: Vec<&'static str>,
    /// Applied with a new consumer.
    pub(super) anew: Vec<&'static str>,
    /// Applied only by a restart of the process.
    pub(super) restart: Vec<(&'static str, Span)>,
}

impl Difference {
    pub(super) fn of(old: &Pipeline, new: &Pipeline) -> Difference {
        let (a, b) = (&old.kafka, &new.kafka);
        // A renewed certificate keeps its path, so `old.connection` holds the digests of such files.
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
                ("the commit interval in [limits]", a.commit_every != b.commit_every),
                ("delivery", a.delivery != b.delivery),
                ("order", old.order != new.order),
            ]),
            restart: [
                ("name", old.name != new.name, new.spans.name),
                (
                    "the number or the names of the steps",
                    names(old) != names(new),
                    new.spans.steps.first().map(|step| step.wasm),
                ),
                (
                    "the step with windows",
                    windowed(old) != windowed(new),
                    new.windowed.as_ref().or(old.windowed.as_ref()).map(|windowed| windowed.span),
                ),
                (
                    "[http]",
                    (old.http, old.serves_state, &a.advertise) != (new.http, new.serves_state, &b.advertise),
                    new.spans.http,
                ),
            ]
            .into_iter()
            .filter(|(_, differs, _)| *differs)
            .map(|(part, _, at)| (part, at.unwrap_or(Span::START)))
            .collect(),
        }
    }
}

/// Everything about the step with windows but its place in the file.
fn windowed(pipeline: &Pipeline) -> Option<Windowed> {
    pipeline.windowed.clone().map(|windowed| Windowed { span: Span::START, ..windowed })
}
