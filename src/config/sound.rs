//! Which parts of a file with mistakes still mean what they say.
//!
//! A bad field must not hide a bad component or a missing topic; but to look further with a value that was misread would
//! find what isn't wrong, or send a password over a plain connection because `tls` was misspelt. So a part is sound only
//! if nothing was found in it, nor in a place that belongs to no part.

use std::ops::Range;

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use super::Pipeline;
use super::report::Report;
use super::source::Span;
use crate::plugin::bundled;

/// Which parts of a pipeline may be looked into further.
#[derive(Clone, Debug)]
pub struct Sound {
    /// Brokers may be asked.
    pub connection: bool,
    /// The group is the one that is meant.
    pub group: bool,
    /// The input's topics, one by one.
    pub topics: Vec<bool>,
    /// The outputs' topics, one by one.
    pub outputs: Vec<bool>,
    /// The topic of dead letters.
    pub dead_letter: bool,
    /// The steps, in order.
    pub steps: Vec<StepSound>,
}

/// What may be looked into of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepSound {
    /// Its component may be loaded.
    pub component: bool,
    /// It may be made ready: its settings and ports are those that are meant.
    pub init: bool,
}

impl Sound {
    /// All of a pipeline in whose file nothing was found wrong.
    #[must_use]
    pub fn whole(pipeline: &Pipeline) -> Sound {
        Sound {
            connection: true,
            group: true,
            topics: vec![true; pipeline.spans.topics.len()],
            outputs: vec![true; pipeline.spans.outputs.len()],
            dead_letter: pipeline.spans.dead_letter.is_some(),
            steps: vec![StepSound { component: true, init: true }; pipeline.steps.len()],
        }
    }
}

/// Where the parts of a file stand, before anything was taken out of it.
pub(super) struct Places {
    sections: Vec<(String, Vec<Range<usize>>)>,
    steps: Vec<StepPlaces>,
    outputs: usize,
}

struct StepPlaces {
    whole: Vec<Range<usize>>,
    component: Option<Range<usize>>,
    /// What it allows, and everything in that.
    allow: Vec<Range<usize>>,
}

impl Places {
    pub(super) fn of(document: &DeTable<'_>) -> Places {
        let mut sections = Vec::new();
        for (key, value) in document {
            let mut places = vec![key.span()];
            below(value, &mut places);
            sections.push((key.get_ref().to_string(), places));
        }
        let steps = match document.get("step").map(Spanned::get_ref) {
            Some(DeValue::Array(items)) => items.iter().map(step).collect(),
            _ => Vec::new(),
        };
        let outputs = match document.get("output").map(Spanned::get_ref) {
            Some(DeValue::Table(table)) => table.len(),
            _ => 0,
        };
        Places { sections, steps, outputs }
    }

    /// What may be looked into, now that everything in the file was found that is wrong. `merged` says that all of the
    /// command line's overrides had a place.
    pub(super) fn sound(&self, pipeline: &Pipeline, report: &Report, merged: bool) -> Sound {
        // A misspelt `[kafka]` or `[output.main]` is found outside of all parts.
        let known = ["kafka", "input", "step", "output", "limits", "on_error", "http", "reload"];
        let parts: Vec<&Range<usize>> =
            self.sections.iter().filter(|(name, _)| known.contains(&name.as_str())).flat_map(|(_, all)| all).collect();
        // What is missing altogether is told at the beginning of the file, and is no misspelt part.
        let is_inside = |span: Span| span == Span::START || parts.iter().any(|place| meets(span, place));
        let all_inside = merged && report.spans().all(is_inside);
        let clear = |name: &str| {
            let places = self.sections.iter().filter(|(section, _)| section == name).flat_map(|(_, places)| places);
            all_inside && !places.into_iter().any(|place| report.touches(place))
        };
        let has_main = pipeline.kafka.outputs.iter().any(|output| &*output.name == "main");
        let ports = all_inside && has_main && self.outputs == pipeline.kafka.outputs.len();
        let untouched = |span: &Span| !report.touches(&(span.start..span.end));
        let steps = if self.steps.len() == pipeline.steps.len() { &self.steps[..] } else { &[] };
        let unclear = StepSound { component: false, init: false };
        Sound {
            connection: clear("kafka") && !pipeline.kafka.brokers.is_empty(),
            group: clear("input"),
            topics: pipeline.spans.topics.iter().map(untouched).collect(),
            outputs: (pipeline.spans.outputs.iter().map(|output| &output.topic).map(untouched))
                .zip(&pipeline.kafka.outputs)
                .map(|(untouched, output)| untouched && !output.topic.is_empty())
                .collect(),
            dead_letter: pipeline.spans.dead_letter.as_ref().is_some_and(untouched),
            steps: (pipeline.steps.iter().enumerate())
                .map(|(index, settings)| {
                    let Some(StepPlaces { whole, component, allow }) = steps.get(index) else { return unclear };
                    let is_named = component.as_ref().is_some_and(|place| !report.touches(place));
                    // With less than it is given, a component might not be one that the step can run.
                    let is_given = !allow.iter().any(|place| report.touches(place));
                    let component = is_named
                        && is_given
                        && (settings.wasm.is_file() || bundled::name(&settings.wasm).is_some_and(bundled::is_there));
                    StepSound {
                        component,
                        init: component && ports && !whole.iter().any(|place| report.touches(place)),
                    }
                })
                .collect(),
        }
    }
}

fn meets(span: Span, place: &Range<usize>) -> bool {
    span.start < place.end && place.start < span.end
}

fn step(step: &Spanned<DeValue<'_>>) -> StepPlaces {
    let mut whole = Vec::new();
    below(step, &mut whole);
    let of = |key: &str| if let DeValue::Table(table) = step.get_ref() { table.get(key) } else { None };
    let mut allow = Vec::new();
    if let Some(value) = of("allow") {
        below(value, &mut allow);
    }
    StepPlaces { whole, component: of("wasm").map(Spanned::span), allow }
}

/// The places of a value and of everything in it.
fn below(value: &Spanned<DeValue<'_>>, places: &mut Vec<Range<usize>>) {
    places.push(value.span());
    match value.get_ref() {
        DeValue::Array(items) => items.iter().for_each(|item| below(item, places)),
        DeValue::Table(table) => {
            for (key, value) in table {
                places.push(key.span());
                below(value, places);
            }
        }
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}
