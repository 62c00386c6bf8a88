//! Shows single records to open taps. Without one, a call of a step costs a read of one number or two.

use std::sync::Arc;

use super::effects::Layer;
use crate::batch::View;
use crate::failure::Failure;
use crate::record::Headers;
use crate::record::OutRecord;
use crate::record::Record;
use crate::record::TopicPartition;
use crate::sink::Destination;
use crate::sink::Routes;
use crate::tap::Fate;
use crate::tap::Passing;
use crate::tap::TapPoint;
use crate::tap::TapRoute;
use crate::tap::Taps;

/// Records go into a step.
pub(super) fn input(taps: &Taps, step: &Arc<str>, records: &View<'_>) {
    if !taps.are_open() {
        return;
    }
    let wanting = taps.wanting(step, TapPoint::In, records.len());
    for index in (0..records.len()).take_while(|_| !wanting.is_empty()) {
        let passing = passing(step, records.source(), &records.record(index), Fate::In);
        wanting.iter().for_each(|tap| tap.offer(&passing));
    }
}

/// A step has made outputs, and a tap is open; `input` is what went into the step.
pub(super) fn outputs(taps: &Taps, step: &Arc<str>, layer: &Layer, input: &View<'_>, routes: &Routes) {
    let made = layer.calls.iter().map(|(_, outputs)| outputs.len()).sum();
    let wanting = taps.wanting(step, TapPoint::Out, made);
    for (range, outputs) in layer.calls.iter().take_while(|_| !wanting.is_empty()) {
        for index in 0..outputs.len() {
            let cause = input.record(range.start + outputs.parent(index));
            let record = input.resolve(outputs, index, range.start);
            let output = match routes.destination(layer.step, record.port) {
                Destination::NextStep => None,
                Destination::Output(output) => {
                    routes.name(output).map(|output| TapRoute { output, topic: record.topic.map(AsRef::as_ref) })
                }
            };
            let OutRecord { timestamp, key, value, headers, .. } = record;
            let passing =
                Passing { timestamp, key, value, headers, ..passing(step, input.source(), &cause, Fate::Out(output)) };
            wanting.iter().for_each(|tap| tap.offer(&passing));
        }
    }
}

/// A record has failed in a step, or with an output of it.
pub(super) fn failed(taps: &Taps, source: &TopicPartition, record: &Record<'_>, failure: &Failure) {
    if !taps.are_open() {
        return;
    }
    let step = failure.step.clone().unwrap_or_default();
    let passing = passing(&step, source, record, Fate::Failed(failure));
    taps.wanting(&step, TapPoint::Failed, 1).iter().for_each(|tap| tap.offer(&passing));
}

/// The result of a window is handed to the producer.
pub(super) fn result(
    taps: &Taps,
    step: &Arc<str>,
    source: &TopicPartition,
    record: &OutRecord<'_>,
    output: Option<&str>,
) {
    if !taps.are_open() {
        return;
    }
    let OutRecord { timestamp, key, value, headers, .. } = *record;
    let fate = Fate::Out(output.map(|output| TapRoute { output, topic: record.topic.map(AsRef::as_ref) }));
    let passing = Passing { step, source, offset: None, attempt: 0, timestamp, key, value, headers, fate };
    taps.wanting(step, TapPoint::Out, 1).iter().for_each(|tap| tap.offer(&passing));
}

/// A window has no result.
pub(super) fn failed_window(taps: &Taps, source: &TopicPartition, key: Option<&[u8]>, failure: &Failure) {
    if !taps.are_open() {
        return;
    }
    let step = failure.step.clone().unwrap_or_default();
    let (value, headers, fate) = (None, Headers::default(), Fate::Failed(failure));
    let passing = Passing { step: &step, source, offset: None, attempt: 0, timestamp: -1, key, value, headers, fate };
    taps.wanting(&step, TapPoint::Failed, 1).iter().for_each(|tap| tap.offer(&passing));
}

fn passing<'a>(step: &'a Arc<str>, source: &'a TopicPartition, record: &Record<'a>, fate: Fate<'a>) -> Passing<'a> {
    let Record { offset, timestamp, attempt, key, value, headers } = *record;
    Passing { step, source, offset: Some(offset), attempt, timestamp, key, value, headers, fate }
}
