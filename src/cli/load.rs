//! From a path to a checked pipeline and its loaded steps.

use std::net::SocketAddr;

use super::args::PipelineFile;
use super::exit_code::Exit;
use crate::config;
use crate::plugin::Engine;
use crate::plugin::Step;

/// Reads and checks a pipeline file.
pub(super) fn file(file: &PipelineFile, http: Option<SocketAddr>) -> Result<config::Pipeline, Exit> {
    let overrides = config::Overrides { set: file.set.clone(), http: http.map(|h| h.to_string()) };
    let env = |name: &str| std::env::var(name).ok();
    config::load(&file.path, &overrides, &env).map_err(|report| Exit::Invalid(report.to_string()))
}

/// Compiles the components of a pipeline's steps.
pub(super) fn steps(config: &config::Pipeline) -> Result<Vec<Step>, Exit> {
    let engine = Engine::new().map_err(|error| Exit::Bug(error.to_string()))?;
    let load = |settings: &crate::plugin::Settings| Step::load(&engine, settings.clone());
    config.steps.iter().map(load).collect::<Result<_, _>>().map_err(|error| Exit::Invalid(error.to_string()))
}
