//! Checks whether a loaded plugin fits its step: its world, and the step's settings against its schema. Each fault is reported at its
//! position in the file.

use crate::config;
use crate::config::Pipeline;
use crate::config::Report;
use crate::config::Windowed;
use crate::plugin;
use crate::plugin::Fault;
use crate::plugin::Step;
use crate::plugin::What;
use crate::plugin::World;

/// The report about a step, for callers without a report of their own.
pub(super) fn verify(pipeline: &Pipeline, number: usize, step: &Step) -> Result<(), String> {
    let mut report = pipeline.report();
    if check(pipeline, number, step, &mut report) { Err(report.to_string()) } else { Ok(()) }
}

/// Adds to the report that the plugin's world doesn't fit the step. Returns whether that is so.
pub(super) fn is_misplaced(pipeline: &Pipeline, number: usize, step: &Step, report: &mut Report) -> bool {
    let windowed = pipeline.windowed.as_ref().filter(|windowed| windowed.number == number);
    let problem = plugin::misplaced(step.world(), windowed.is_some());
    let Some(problem) = problem.or_else(|| misfit(windowed?, step)) else { return false };
    pipeline.add_unloaded(number, &format!("step `{}`: {problem}", step.settings().name), report);
    true
}

/// Adds the faults of a step to the report: of its plugin's world, or else of its settings. Returns whether there were any.
pub(super) fn check(pipeline: &Pipeline, number: usize, step: &Step, report: &mut Report) -> bool {
    if is_misplaced(pipeline, number, step, report) {
        return true;
    }
    let Some(manifest) = step.manifest() else { return false };
    let faults = manifest.faults(&step.settings().settings.0);
    for fault in &faults {
        tell(pipeline, number, &manifest.name, fault, report);
    }
    !faults.is_empty()
}

/// Why a plugin that finds keys itself doesn't fit its step. The text says what to do after `; `.
fn misfit(windowed: &Windowed, step: &Step) -> Option<String> {
    if step.world() != World::ReduceBy {
        return None;
    }
    if windowed.names_keys() {
        let problem = "its plugin finds the keys and the times of records itself; remove `key` and `time`, or use a plugin without `keyer`";
        return Some(problem.to_owned());
    }
    (!windowed.same_partition).then(|| {
        "its plugin finds keys that need not be the records' keys; write `same_partition = true` if all records with the same key are in \
         one partition of the input"
            .to_owned()
    })
}

fn tell(pipeline: &Pipeline, number: usize, plugin: &str, fault: &Fault, report: &mut Report) {
    let place = pipeline.setting(number, &fault.path);
    let fallback = pipeline.spans.steps.get(number).map(|spans| spans.settings);
    // A step without settings has no position to report.
    let Some(value) = place.map(|place| place.value).or(fallback) else { return };
    let path = format!("settings.{}", fault.path.join("."));
    let subject = path.trim_end_matches('.');
    match &fault.what {
        What::Unknown { known } => {
            let key = fault.path.last().map_or("", String::as_str);
            let help = match config::near(key, known.iter().map(String::as_str)) {
                Some(name) => format!("did you mean `{name}`?"),
                None if known.is_empty() => "remove it: the plugin has no settings there".to_owned(),
                None => format!("the plugin knows `{}`", known.join("`, `")),
            };
            let at = place.and_then(|place| place.key).unwrap_or(value);
            report.add(at, format!("plugin `{plugin}` has no `{subject}`"), help);
        }
        What::Missing { name } => {
            report.add(
                value,
                format!("plugin `{plugin}` needs `{subject}.{name}`"),
                "`wasmill inspect` says more of it",
            );
        }
        What::Wrong(text) => {
            report.add(value, format!("`{subject}`: {text}"), format!("plugin `{plugin}` describes it so"));
        }
    }
}
