//! The arguments of the command line. Every flag has an environment variable, which `--help` names.

use clap::ArgAction;
use clap::Args as ClapArgs;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;

use super::build;
use super::check;
use super::completions;
use super::config;
use super::conformance;
use super::dev;
use super::dlq;
use super::exit_code::CODES;
use super::inspect;
use super::man;
use super::new;
use super::operate;
use super::run;
use super::schema;
use super::state;
use super::test;
use super::try_;
use super::wit;
use crate::telemetry;

/// Wasmill is a Kafka stream processor: one program, one TOML file, and jq programs or WebAssembly plugins between topics.
#[derive(Debug, Parser)]
#[command(name = "wasmill", version, disable_help_subcommand = true, after_help = after_help())]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) logs: Logs,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Run a pipeline on the brokers that its file names
    Run(run::Args),
    /// Run a pipeline on an embedded broker, without Kafka
    Dev(dev::Args),
    /// Create the folder of a new plugin or pipeline
    New(new::Args),
    /// Build the plugin in a folder
    Build(build::Args),
    /// Send records from stdin through the steps and print the outputs, without a broker
    Try(try_::Args),
    /// Run the test cases beside pipeline files, without a broker
    Test(test::Args),
    /// Check pipeline files, their components, topics and permissions
    Check(check::Args),
    /// List, show and replay the dead letters of a pipeline
    Dlq(dlq::Args),
    /// Ask a running pipeline for its state, or create its changelog topic
    State(state::Args),
    /// Show what the pipelines of a process do
    Status(operate::Status),
    /// Show it again and again
    Top(operate::Status),
    /// Print the last log lines of a pipeline
    Logs(operate::Logs),
    /// Print records of a pipeline as they pass its steps
    Tap(operate::Tap),
    /// Show or set which log lines a process writes
    LogFilter(operate::LogFilter),
    /// Stop reading; what is in flight is finished and committed, and the partitions are kept
    Pause(operate::Act),
    /// Go on after a pause, or try a record again that holds the pipeline
    Resume(operate::Act),
    /// Drain a pipeline and start it anew from its file; also one that has failed
    Restart(operate::Act),
    /// Drain a pipeline; it leaves its group and stays stopped
    Stop(operate::Act),
    /// Start a pipeline that was stopped or has failed
    Start(operate::Act),
    /// Have a pipeline read its file again, as HUP does
    Reload(operate::Reload),
    /// Leave out the record at which a pipeline has stopped, if it fails once more
    Skip(operate::Skip),
    /// Check that a plugin keeps the contract, without a broker or a pipeline
    Conformance(conformance::Args),
    /// Show what a component is and what it needs
    Inspect(inspect::Args),
    /// Show the configuration of a pipeline
    Config(config::Args),
    /// Print the JSON Schema of pipeline files
    Schema(schema::Args),
    /// Print the contract with plugins, for tools that make bindings
    Wit(wit::Args),
    /// Print the completions of a shell
    Completions(completions::Args),
    /// Print the manual page, or write those of all commands
    Man(man::Args),
}

impl Verb {
    /// Whether the command runs a pipeline as a service, so that its final message goes to the log.
    pub(super) fn is_service(&self) -> bool {
        matches!(self, Verb::Run(_))
    }

    /// Whether the command runs a pipeline, which continues even if its log lines can't be written.
    pub(super) fn continues(&self) -> bool {
        matches!(self, Verb::Run(_) | Verb::Dev(_))
    }
}

fn after_help() -> String {
    format!(
        "Examples:
  wasmill dev orders.toml --feed orders.ndjson
  wasmill try orders.toml --trace < orders.ndjson
  wasmill check orders.toml
  wasmill run orders.toml

{CODES}"
    )
}

/// What is logged, and how.
#[derive(Debug, ClapArgs)]
pub(super) struct Logs {
    /// Log more: debug, and twice for trace
    #[arg(short, long, global = true, action = ArgAction::Count, env = "WASMILL_VERBOSE")]
    verbose: u8,
    /// Log less: warnings, and twice for errors
    #[arg(short, long, global = true, action = ArgAction::Count, env = "WASMILL_QUIET")]
    quiet: u8,
    /// The format of log lines: text for people, or JSON
    #[arg(long, global = true, value_enum, default_value = "auto", env = "WASMILL_LOG_FORMAT")]
    log_format: Format,
    /// Colour the log; `auto` respects NO_COLOR
    #[arg(long, global = true, value_enum, default_value = "auto", env = "WASMILL_COLOR")]
    color: Color,
    /// Log by module, as in `wasmill::kafka=debug,info`; overrides -v and -q
    #[arg(long = "log", global = true, value_name = "FILTER", env = "WASMILL_LOG")]
    filter: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Auto,
    Human,
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

impl Logs {
    pub(super) fn options(&self, continues: bool) -> telemetry::Options<'_> {
        telemetry::Options {
            continues,
            format: match self.log_format {
                Format::Auto => telemetry::Format::Auto,
                Format::Human => telemetry::Format::Human,
                Format::Json => telemetry::Format::Json,
            },
            color: match self.color {
                Color::Auto => telemetry::Color::Auto,
                Color::Always => telemetry::Color::Always,
                Color::Never => telemetry::Color::Never,
            },
            verbosity: i16::from(self.verbose) - i16::from(self.quiet),
            filter: self.filter.as_deref().filter(|filter| !filter.is_empty()),
            no_color: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
        }
    }
}

/// The pipeline file and what is changed in it.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct PipelineFile {
    /// The pipeline file
    #[arg(value_name = "FILE", env = "WASMILL_FILE")]
    pub(super) path: std::path::PathBuf,
    /// Override a value of the file, as in `--set limits.parallelism=2`; in the variable, write one on each line
    #[arg(long = "set", value_name = "KEY=VALUE", value_delimiter = '\n', env = "WASMILL_SET")]
    pub(super) set: Vec<String>,
    #[command(flatten)]
    pub(super) service: ProcessFile,
}

/// The settings of the process.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(super) struct ProcessFile {
    /// The settings of the process: its `[kafka]` counts where a pipeline file leaves it out. By default `wasmill.toml` in a folder of
    /// pipelines, if there is one
    #[arg(id = "service", long = "service", value_name = "FILE", env = "WASMILL_SERVICE")]
    pub(super) file: Option<std::path::PathBuf>,
}

/// Where metrics and probes listen.
#[derive(Debug, ClapArgs)]
pub(super) struct Http {
    /// Serve metrics and probes at this address instead of the file's `http.listen`
    #[arg(long = "http", value_name = "ADDR", env = "WASMILL_HTTP")]
    pub(super) listen: Option<std::net::SocketAddr>,
}

/// What pipelines may use.
#[derive(Debug, ClapArgs)]
pub(super) struct Policy {
    /// Refuse pipelines that use more than this policy file permits: brokers, topics, groups, grants, limits, plugins
    #[arg(long = "policy", value_name = "FILE", env = "WASMILL_POLICY")]
    pub(super) file: Option<std::path::PathBuf>,
}

/// Where compiled components are kept.
#[derive(Debug, ClapArgs)]
pub(super) struct Compiled {
    /// Keep compiled components in this folder, which must be private [default: wasmill in the user's cache folder]
    #[arg(long = "cache", value_name = "DIR", env = "WASMILL_CACHE")]
    pub(super) folder: Option<std::path::PathBuf>,
}
