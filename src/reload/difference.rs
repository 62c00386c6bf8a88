//! Pure: which parts of a pipeline's file differ in what a running pipeline can't take over.
//!
//! Everything counts but the steps' own values: their components, settings, deadlines, memory and batches.

use crate::config::Pipeline;

/// The parts that differ, as they are called in the file.
pub(super) fn needs_restart(old: &Pipeline, new: &Pipeline) -> Vec<&'static str> {
    let (a, b) = (&old.kafka, &new.kafka);
    let connection = (&a.brokers, &a.client_id, &a.tls, &a.sasl, &a.librdkafka)
        != (&b.brokers, &b.client_id, &b.tls, &b.sasl, &b.librdkafka);
    let ports = |pipeline: &Pipeline| -> Vec<_> {
        pipeline.steps.iter().map(|step| (step.name.clone(), step.ports.clone())).collect()
    };
    let differs = [
        ("`name`", old.name != new.name),
        ("`[kafka]`", connection),
        ("`[input]`", a.input != b.input || a.commit_every != b.commit_every),
        ("the number, names or ports of the `[[step]]`s", ports(old) != ports(new)),
        ("`[output]`", a.outputs != b.outputs || old.routes != new.routes),
        ("`[on_error]`", (&old.policy, old.dialect, &a.dead_letter) != (&new.policy, new.dialect, &b.dead_letter)),
        ("`[limits]`", old.limits != new.limits || old.shutdown_timeout != new.shutdown_timeout),
        ("`[http]`", old.http != new.http),
    ];
    differs.into_iter().filter_map(|(part, differs)| differs.then_some(part)).collect()
}
