//! `wasmill check`: checks pipeline files, their components and, through the brokers, topics and permissions, without running anything.
//!
//! All levels are checked, as far as possible, even if an earlier one has errors: a mistake in a field is reported together with those in
//! a component or a topic. This file runs the levels in order; `components.rs` checks plugins, `brokers.rs` asks the brokers and
//! evaluates their answers, `format.rs` prints.

pub(super) mod brokers;
mod components;
mod format;

use std::path::Path;
use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::args::Compiled;
use super::args::Policy;
use super::args::ProcessFile;
use super::exit_code::Exit;
use super::fleet;
use crate::config;
use crate::config::Examined;
use crate::config::Level;
use crate::config::Overrides;
use crate::config::Pipeline;
use crate::config::PolicyFile;
use crate::config::Report;
use crate::config::Usable;
use crate::kafka::membership;

use format::Format;

/// Checks pipeline files: keys, components (world, imports, and their `init` with the step's settings), brokers, topics, permissions,
/// and outputs that lead back into the input.
///
/// It reports everything that is wrong at once, each finding with its place, its reason and what to do. It creates, joins and writes
/// nothing. Exit code 69: no broker can be reached, and nothing else is wrong.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill check orders.toml && wasmill run orders.toml
  wasmill check --offline pipelines/
  wasmill check --policy policy.toml pipelines/
  wasmill check --deny-warnings --format github pipelines/*.toml
  wasmill check --format json orders.toml | jq '.findings[].message'")]
pub(super) struct Args {
    /// The pipeline files, or folders of them; in the variable, write one on each line
    #[arg(value_name = "FILE", required = true, value_delimiter = '\n', env = "WASMILL_FILE")]
    paths: Vec<PathBuf>,
    /// Override a value in every file, as in `--set limits.parallelism=2`; in the variable, write one on each line
    #[arg(long = "set", value_name = "KEY=VALUE", value_delimiter = '\n', env = "WASMILL_SET")]
    set: Vec<String>,
    /// Check only files and components, and ask no broker
    #[arg(long, env = "WASMILL_OFFLINE")]
    offline: bool,
    /// Treat warnings as errors
    #[arg(long, env = "WASMILL_DENY_WARNINGS")]
    deny_warnings: bool,
    /// The format of the findings: text, JSON, or annotations of a GitHub workflow
    #[arg(long, value_enum, default_value = "human", env = "WASMILL_CHECK_FORMAT")]
    format: Format,
    #[command(flatten)]
    service: ProcessFile,
    #[command(flatten)]
    policy: Policy,
    #[command(flatten)]
    compiled: Compiled,
}

/// The result for one file.
struct Checked {
    file: String,
    report: Report,
    /// The pipeline, as far as it could be read, for the later levels.
    pipeline: Option<(Pipeline, Usable)>,
    /// Messages that are not findings: information, and what could not be checked.
    notes: Vec<String>,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    // A mistake in the process's own file is one, too.
    let service = args.service.of(&args.paths)?;
    service.settings()?;
    let paths = fleet::files(&args.paths, false)?;
    let policy = args.policy.file.as_deref().map(config::policy).transpose();
    let (policy, mut files) = match policy {
        Ok(policy) => (policy, Vec::new()),
        Err(report) => (None, vec![of_policy(args, report)]),
    };
    files.extend(paths.iter().map(|path| fields(path, args, &service, policy.as_ref())));
    std::thread::scope(|scope| {
        // The brokers are asked while the components are compiled.
        let asked = (!args.offline).then(|| {
            scope.spawn({
                let questions: Vec<_> =
                    files.iter().map(|file| file.pipeline.as_ref().and_then(brokers::question)).collect();
                move || brokers::ask(questions)
            })
        });
        components::check(&mut files, &args.compiled)?;
        let asked = asked.map(std::thread::ScopedJoinHandle::join);
        match asked {
            Some(Ok(answers)) => brokers::check(&mut files, answers),
            Some(Err(_)) => return Err(Exit::Bug("asking the brokers failed; please report the lines above".into())),
            None => {}
        }
        Ok(())
    })?;
    warnings(&mut files);
    format::print(&files, args.format)?;
    verdict(&files, args.deny_warnings)
}

/// Asks the brokers about a pipeline whose file has no errors.
///
/// # Errors
/// The errors that the answers show, or that no broker answered.
pub(super) fn online(pipeline: &Pipeline) -> Result<(), String> {
    let looked_into = (pipeline.clone(), Usable::whole(pipeline));
    let question = brokers::question(&looked_into);
    let file = pipeline.file.display().to_string();
    let mut files = [Checked { file, report: pipeline.report(), pipeline: Some(looked_into), notes: Vec::new() }];
    brokers::check(&mut files, brokers::ask(vec![question]));
    let [Checked { report, .. }] = &files;
    let is_sound = report.findings().iter().all(|finding| finding.level == Level::Warning);
    if is_sound { Ok(()) } else { Err(report.to_string()) }
}

/// A policy file that is wrong. The pipelines are checked without it.
fn of_policy(args: &Args, report: Report) -> Checked {
    let file = args.policy.file.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
    Checked { file, report, pipeline: None, notes: Vec::new() }
}

/// The first level: the fields of the file, and what the policy permits.
fn fields(path: &Path, args: &Args, service: &ProcessFile, policy: Option<&PolicyFile>) -> Checked {
    let overrides = Overrides { set: args.set.clone(), http: None, service: service.file.clone() };
    let env = |name: &str| std::env::var_os(name);
    let mut examined = config::examine(path, &overrides, &env);
    if let Some(policy) = policy {
        policy.judge(&mut examined);
    }
    let Examined { report, pipeline, referenced: _ } = examined;
    Checked { file: path.display().to_string(), report, pipeline, notes: Vec::new() }
}

/// Warns of settings that work but may not do what is intended.
fn warnings(files: &mut [Checked]) {
    let mut groups: Vec<(String, Vec<String>, String)> = Vec::new();
    for file in files {
        let Some((pipeline, usable)) = file.pipeline.as_ref().filter(|(_, usable)| usable.group) else { continue };
        let (spans, group) = (&pipeline.spans, &pipeline.kafka.input.group);
        if spans.group.is_none() && spans.name.is_none() {
            file.report.add_levelled(
                Level::Warning,
                spans.input,
                format!(
                    "the consumer group `{group}` is named after the file: renaming the file would start a new group"
                ),
                "",
                format!("under `[input]`, write `group = \"{group}\"`"),
            );
        }
        if let Some((id, at)) = pipeline
            .kafka
            .input
            .instance_id
            .as_ref()
            .zip(spans.instance_id)
            .filter(|(id, _)| membership::is_generated(id))
        {
            let session = humantime::format_duration(pipeline.kafka.input.session_timeout);
            file.report.add_levelled(
                Level::Warning,
                at,
                format!(
                    "`instance_id` is `{id}`, which looks like the name of a Deployment's pod: no later start will have that name"
                ),
                "",
                format!(
                    "leave it out or use the names of a StatefulSet's pods; otherwise its partitions wait {session} after each crash"
                ),
            );
        }
        let brokers = pipeline.kafka.brokers.clone();
        let at = spans.group.unwrap_or(spans.input);
        let other = groups.iter().find(|(other, cluster, _)| other == group && *cluster == brokers);
        if let Some((_, _, other)) = other.filter(|_| usable.connection) {
            file.report.add_levelled(
                Level::Warning,
                at,
                format!("{other} has the same consumer group: each of the two would get only a part of the partitions"),
                "",
                "give each pipeline its own `group`",
            );
        }
        groups.push((group.clone(), brokers, file.file.clone()));
    }
}

/// The exit of the command for the findings of all files.
fn verdict(files: &[Checked], deny_warnings: bool) -> Result<(), Exit> {
    let count = |level: Level| {
        files.iter().flat_map(|file| file.report.findings()).filter(|finding| finding.level == level).count()
    };
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    if errors > 0 || (deny_warnings && warnings > 0) {
        // The findings have been printed already.
        return Err(Exit::Invalid(String::new()));
    }
    if count(Level::Unreachable) > 0 {
        return Err(Exit::Unreachable(String::new()));
    }
    Ok(())
}
