//! The second level of `check`: loads each component, and instantiates it if its settings and ports are valid.

use super::Checked;
use crate::cli::args::Compiled;
use crate::cli::exit_code::Exit;
use crate::cli::load;
use crate::cli::settings;
use crate::config::Level;
use crate::config::Pipeline;
use crate::config::Report;
use crate::config::Usable;
use crate::config::Windowed;
use crate::config::near;
use crate::plugin::Engine;
use crate::plugin::Step;

/// Adds the findings about the components of all files.
pub(super) fn check(files: &mut [Checked], compiled: &Compiled) -> Result<(), Exit> {
    let engine = load::engine(compiled)?;
    for file in files {
        if let Some((pipeline, usable)) = &file.pipeline {
            steps(&engine, pipeline, usable, &mut file.report);
        }
    }
    Ok(())
}

fn steps(engine: &Engine, pipeline: &Pipeline, usable: &Usable, report: &mut Report) {
    let (mut ports, mut codes) = (Some(Vec::new()), Some(Vec::new()));
    if pipeline.windowed.is_some() {
        ports = Some(vec![Windowed::LATE.to_owned()]);
        codes = Some(Windowed::CODES.map(str::to_owned).into());
    }
    let steps = pipeline.steps.iter().zip(&usable.steps).enumerate();
    for (number, (settings, usable)) in steps.filter(|(_, (_, usable))| usable.component) {
        let step = match Step::load(engine, settings.clone()) {
            Ok(step) => step,
            Err(error) => {
                pipeline.add_unloaded(number, &error.to_string(), report);
                (ports, codes) = (None, None);
                continue;
            }
        };
        if settings::is_misplaced(pipeline, number, &step, report) {
            (ports, codes) = (None, None);
            continue;
        }
        unused(pipeline, number, &step, report);
        match (step.manifest().and_then(|manifest| manifest.codes.as_ref()), &mut codes) {
            (Some(own), Some(all)) => all.extend(own.iter().cloned()),
            (None, _) => codes = None,
            (Some(_), None) => {}
        }
        match (step.manifest().and_then(|manifest| manifest.ports.as_ref()), &mut ports) {
            (Some(own), Some(all)) => all.extend(own.iter().cloned()),
            (None, _) => ports = None,
            (Some(_), None) => {}
        }
        if !usable.init {
            ports = None;
            continue;
        }
        if settings::check(pipeline, number, &step, report) {
            continue;
        }
        if let Err(failure) = step.instantiate() {
            pipeline.add_unstarted(&settings.name, &failure.reason, report);
        }
    }
    if let Some(codes) = codes.filter(|_| usable.steps.iter().all(|step| step.component)) {
        unknown(pipeline, &codes, report);
    }
    if let Some(ports) = ports.filter(|_| usable.steps.iter().all(|step| step.init)) {
        unwritten(pipeline, &ports, report);
    }
}

/// Warns of permissions that a step grants and its plugin can't use.
fn unused(pipeline: &Pipeline, number: usize, step: &Step, report: &mut Report) {
    let Some(at) = pipeline.spans.steps.get(number).and_then(|spans| spans.allow) else { return };
    for grant in step.settings().allow.iter().filter(|grant| !step.uses(*grant)) {
        let message = format!("step `{}`: its plugin doesn't use `allow.{}`", step.settings().name, grant.key());
        report.add_levelled(
            Level::Warning,
            at,
            message,
            "",
            "remove it, or a later version of the plugin gets it unnoticed".to_owned(),
        );
    }
}

/// Reports rules for codes that no plugin has, if every plugin declares its codes.
fn unknown(pipeline: &Pipeline, codes: &[String], report: &mut Report) {
    // Every plugin can have an error of a record that has no code of its own.
    let is_known = |code: &String| codes.contains(code) || code == "error";
    for (code, at) in pipeline.spans.codes.iter().filter(|(code, _)| !is_known(code)) {
        let help = match near(code, codes.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if codes.is_empty() => "remove it: the plugins reject nothing".to_owned(),
            None => format!("codes of the plugins: `{}`", codes.join("`, `")),
        };
        report.add(*at, format!("no plugin rejects records with the code `{code}`"), help);
    }
}

/// Warns of outputs that no plugin writes to, if every plugin declares its ports.
fn unwritten(pipeline: &Pipeline, ports: &[String], report: &mut Report) {
    for (output, spans) in pipeline.kafka.outputs.iter().zip(&pipeline.spans.outputs) {
        if *output.name != *MAIN && !ports.iter().any(|port| **port == *output.name) {
            let mut known: Vec<&str> = ports.iter().map(String::as_str).filter(|port| *port != MAIN).collect();
            known.sort_unstable();
            known.dedup();
            let help = match known.is_empty() {
                true => "the plugins have no port but `main`: remove it".to_owned(),
                false => format!("the plugins write to `{}`", known.join("`, `")),
            };
            let message = format!("no plugin writes to the output `{}`", output.name);
            report.add_levelled(Level::Warning, spans.name, message, "", help);
        }
    }
}

/// The port that every step has.
const MAIN: &str = "main";
