//! Which parts of a file with mistakes are still usable.
//!
//! A wrong field must not hide a bad component or a missing topic. But checking further with a misread value could
//! report false mistakes, or send a password over a plain connection because `tls` was misspelt. So a part is usable
//! only if no mistake was found in it, nor outside of all parts.

use std::ops::Range;

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use super::Pipeline;
use super::report::Report;
use super::source::Span;
use crate::plugin::bundled;

/// Which parts of a pipeline can be checked further.
#[derive(Clone, Debug)]
pub struct Usable {
    /// Whether the brokers may be contacted.
    pub connection: bool,
    /// Whether the group is the intended one.
    pub group: bool,
    /// For each topic of the input, whether it is usable.
    pub topics: Vec<bool>,
    /// For each output, whether its topic is usable.
    pub outputs: Vec<bool>,
    /// Whether the dead-letter topic is usable.
    pub dead_letter: bool,
    /// The usable parts of each step, in order.
    pub steps: Vec<UsableStep>,
}

/// The usable parts of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsableStep {
    /// Whether its component may be loaded.
    pub component: bool,
    /// Whether it may be initialized: its settings and ports are the intended ones.
    pub init: bool,
}

impl Usable {
    /// Everything is usable, for a file without mistakes.
    #[must_use]
    pub fn whole(pipeline: &Pipeline) -> Usable {
        Usable {
            connection: true,
            group: true,
            topics: vec![true; pipeline.spans.topics.len()],
            outputs: vec![true; pipeline.spans.outputs.len()],
            dead_letter: pipeline.spans.dead_letter.is_some(),
            steps: vec![UsableStep { component: true, init: true }; pipeline.steps.len()],
        }
    }
}

/// The spans of the parts of a file, before anything was removed from it.
pub(super) struct PartSpans {
    sections: Vec<(String, Vec<Range<usize>>)>,
    steps: Vec<StepSpans>,
    outputs: usize,
}

struct StepSpans {
    whole: Vec<Range<usize>>,
    component: Option<Range<usize>>,
    /// `allow` and everything in it.
    allow: Vec<Range<usize>>,
}

impl PartSpans {
    pub(super) fn of(document: &DeTable<'_>) -> PartSpans {
        let mut sections = Vec::new();
        for (key, value) in document {
            let mut spans = vec![key.span()];
            below(value, &mut spans);
            sections.push((key.get_ref().to_string(), spans));
        }
        let steps = match document.get("step").map(Spanned::get_ref) {
            Some(DeValue::Array(items)) => items.iter().map(step).collect(),
            _ => Vec::new(),
        };
        let outputs = match document.get("output").map(Spanned::get_ref) {
            Some(DeValue::Table(table)) => table.len(),
            _ => 0,
        };
        PartSpans { sections, steps, outputs }
    }

    /// The usable parts, once all mistakes in the file were found. `merged` says that all overrides of the command line
    /// could be merged.
    pub(super) fn usable(&self, pipeline: &Pipeline, report: &Report, merged: bool) -> Usable {
        // A misspelt `[kafka]` or `[output.main]` is reported outside of all parts.
        let known = ["kafka", "input", "step", "plugins", "output", "limits", "state", "on_error", "http", "reload"];
        let parts: Vec<&Range<usize>> =
            self.sections.iter().filter(|(name, _)| known.contains(&name.as_str())).flat_map(|(_, all)| all).collect();
        // A missing part is reported at the start of the file, which doesn't count as outside.
        let is_inside = |span: Span| span == Span::START || parts.iter().any(|part| meets(span, part));
        let all_inside = merged && report.spans().all(is_inside);
        let clear = |name: &str| {
            let spans = self.sections.iter().filter(|(section, _)| section == name).flat_map(|(_, spans)| spans);
            all_inside && !spans.into_iter().any(|span| report.touches(span))
        };
        let has_main = pipeline.kafka.outputs.iter().any(|output| &*output.name == "main");
        let ports = all_inside && has_main && self.outputs == pipeline.kafka.outputs.len();
        let untouched = |span: &Span| !report.touches(&(span.start..span.end));
        let written = pipeline.steps.len() + usize::from(pipeline.windowed.is_some());
        let steps = if self.steps.len() == written { &self.steps[..] } else { &[] };
        let unclear = UsableStep { component: false, init: false };
        Usable {
            connection: clear("kafka") && !pipeline.kafka.brokers.is_empty(),
            group: clear("input"),
            topics: pipeline.spans.topics.iter().map(untouched).collect(),
            outputs: (pipeline.spans.outputs.iter().map(|output| &output.topic).map(untouched))
                .zip(&pipeline.kafka.outputs)
                .map(|(untouched, output)| untouched && output.topic.is_some())
                .collect(),
            dead_letter: pipeline.spans.dead_letter.as_ref().is_some_and(untouched),
            steps: (pipeline.steps.iter().enumerate())
                .map(|(index, settings)| {
                    let Some(StepSpans { whole, component, allow }) = steps.get(index) else { return unclear };
                    let is_named = component.as_ref().is_some_and(|span| !report.touches(span));
                    // With a wrong `allow`, a component could be refused for a missing grant.
                    let is_given = !allow.iter().any(|span| report.touches(span));
                    let component = is_named
                        && is_given
                        && (settings.wasm.is_file() || bundled::name(&settings.wasm).is_some_and(bundled::is_there));
                    UsableStep { component, init: component && ports && !whole.iter().any(|span| report.touches(span)) }
                })
                .collect(),
        }
    }
}

fn meets(span: Span, part: &Range<usize>) -> bool {
    span.start < part.end && part.start < span.end
}

fn step(step: &Spanned<DeValue<'_>>) -> StepSpans {
    let mut whole = Vec::new();
    below(step, &mut whole);
    let of = |key: &str| if let DeValue::Table(table) = step.get_ref() { table.get(key) } else { None };
    let mut allow = Vec::new();
    if let Some(value) = of("allow") {
        below(value, &mut allow);
    }
    StepSpans { whole, component: of("wasm").or_else(|| of("use")).map(Spanned::span), allow }
}

/// The spans of a value and of everything in it.
fn below(value: &Spanned<DeValue<'_>>, spans: &mut Vec<Range<usize>>) {
    spans.push(value.span());
    match value.get_ref() {
        DeValue::Array(items) => items.iter().for_each(|item| below(item, spans)),
        DeValue::Table(table) => {
            for (key, value) in table {
                spans.push(key.span());
                below(value, spans);
            }
        }
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}
