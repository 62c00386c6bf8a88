//! Reads and checks a pipeline file, and loads its steps.

use std::env;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;

use super::args::Compiled;
use super::args::PipelineFile;
use super::exit_code::Exit;
use super::service::Written;
use super::settings;
use crate::config;
use crate::config::Held;
use crate::config::Referenced;
use crate::plugin::Cache;
use crate::plugin::Compiler;
use crate::plugin::Engine;
use crate::plugin::EngineError;
use crate::plugin::Step;
use crate::reload;
use crate::reload::Loaded;

/// Reads and checks a pipeline file.
pub(super) fn file(file: &PipelineFile, http: Option<SocketAddr>) -> Result<config::Pipeline, Exit> {
    examined(file, http, None).valid().map_err(|report| Exit::Invalid(report.to_string()))
}

/// Like [`file`], and returns how to read the file again later. `adapt` modifies the configuration each time. The policy is read again
/// each time, too: the pipeline is invalid if the policy is, or if it uses what the policy doesn't permit.
pub(super) fn written(
    file: &PipelineFile,
    http: Option<SocketAddr>,
    policy: Option<PathBuf>,
    adapt: impl Fn(&mut config::Pipeline) -> Result<(), String> + Send + 'static,
    probe: reload::Probe,
) -> Result<Written, Exit> {
    let file = file.clone();
    let load = move || {
        let examined = examined(&file, http, policy.as_deref());
        let files = examined.referenced.clone();
        let config = examined.valid().map_err(|report| report.to_string());
        let adapted = config.and_then(|mut config| adapt(&mut config).map(|()| config));
        Loaded { config: adapted, files }
    };
    let Loaded { config, files } = load();
    Ok(Written { config: config.map_err(Exit::Invalid)?, files, load: Box::new(load), probe })
}

/// The files that a pipeline depends on, as far as its own file can be read.
pub(super) fn referenced(file: &PipelineFile, policy: Option<&Path>) -> Vec<PathBuf> {
    examined(file, None, policy).referenced.into_iter().map(|referenced| referenced.path).collect()
}

fn examined(file: &PipelineFile, http: Option<SocketAddr>, policy: Option<&Path>) -> config::Examined {
    let overrides = config::Overrides {
        set: file.set.clone(),
        http: http.map(|h| h.to_string()),
        service: file.service.file.clone(),
    };
    let mut examined = config::examine(&file.path, &overrides, &|name| env::var_os(name));
    match policy.map(|path| (path, config::policy(path))) {
        None => {}
        Some((_, Ok(policy))) => policy.judge(&mut examined),
        Some((path, Err(report))) => {
            let held = config::digest(path).map_or(Held::Nothing, Held::Digest);
            examined.referenced.push(Referenced { path: path.to_owned(), held });
            (examined.report, examined.pipeline) = (report, None);
        }
    }
    examined
}

/// Reads and checks a policy file.
pub(super) fn policy(path: Option<&Path>) -> Result<(), Exit> {
    let policy = path.map(config::policy).transpose();
    policy.map(drop).map_err(|report| Exit::Invalid(report.to_string()))
}

/// Compiles the components of a pipeline's steps.
pub(super) fn steps(config: &config::Pipeline, compiled: &Compiled) -> Result<Vec<Step>, Exit> {
    steps_of(&engine(compiled)?, config)
}

/// Compiles the components of a pipeline's steps with this engine.
pub(super) fn steps_of(engine: &Engine, config: &config::Pipeline) -> Result<Vec<Step>, Exit> {
    let mut report = config.report();
    let mut steps = Vec::new();
    for (number, settings) in config.steps.iter().enumerate() {
        match Step::load(engine, settings.clone()) {
            Ok(step) => {
                settings::check(config, number, &step, &mut report);
                steps.push(step);
            }
            Err(error) => config.add_unloaded(number, &error.to_string(), &mut report),
        }
    }
    if report.is_empty() { Ok(steps) } else { Err(Exit::Invalid(report.to_string())) }
}

/// The engine. It compiles in child processes and caches the results if there is a folder for them.
pub(super) fn engine(compiled: &Compiled) -> Result<Engine, Exit> {
    let folder = compiled.folder.clone().or_else(user_cache);
    let cache = folder.and_then(|folder| {
        let opened = Cache::open(&folder);
        opened
            .inspect_err(|error| tracing::warn!("compiled components are not kept in {}: {error}", folder.display()))
            .ok()
    });
    Engine::new(Compiler::of_this_program(cache)).map_err(|error| match error {
        EngineError::Thread(error) => Exit::no_thread("stops plugins at their deadline", &error),
        EngineError::Wasmtime(_) => Exit::Bug(error.to_string()),
    })
}

/// wasmill's folder in the user's cache directory; a service may have none.
pub(super) fn user_cache() -> Option<PathBuf> {
    user_folder("XDG_CACHE_HOME", ".cache")
}

/// wasmill's folder in a directory of the user: the one that `variable` names, by default this one below the user's home.
pub(super) fn user_folder(variable: &str, default: &str) -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute(variable).or_else(|| Some(absolute("HOME")?.join(default)))?;
    Some(base.join("wasmill"))
}
