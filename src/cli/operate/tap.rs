//! `wasmill tap`: records of a pipeline as they pass its steps.

use std::ops::ControlFlow;

use clap::Args as ClapArgs;
use clap::ValueEnum;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;

use super::Process;
use super::Token;
use super::path;
use super::read;
use crate::admin::view::StreamMissed;
use crate::admin::view::StreamNotice;
use crate::admin::view::TapOpened;
use crate::cli::exit_code::Exit;
use crate::cli::print;
use crate::cli::print::Reader;
use crate::telemetry;

/// Prints records of a pipeline as they pass its steps: one JSON object on each line, until ctrl-c.
///
/// It needs `tap = true` in `[http]` of the pipeline's file or of wasmill.toml, because it shows what records hold. It never slows the
/// pipeline: what passes too fast is counted on stderr, and large records are cut.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill tap orders
  wasmill tap orders --step mask --when out --limit 10
  wasmill tap orders --when failed | jq .failure
  wasmill tap orders --match 4711 --url http://mill-0:9108")]
pub(in crate::cli) struct Tap {
    /// The name of the pipeline, as `wasmill status` lists it
    #[arg(value_name = "NAME", env = "WASMILL_NAME")]
    name: String,
    #[command(flatten)]
    process: Process,
    #[command(flatten)]
    token: Token,
    /// Only records of this step
    #[arg(long, value_name = "STEP", env = "WASMILL_STEP")]
    step: Option<String>,
    /// Only records that go into a step, come out of it, or fail in it
    #[arg(long, value_enum, value_name = "WHEN", env = "WASMILL_WHEN")]
    when: Option<When>,
    /// Only records with this text in their value
    #[arg(long = "match", value_name = "TEXT", env = "WASMILL_MATCH")]
    text: Option<String>,
    /// Only records with this key
    #[arg(long, value_name = "KEY", env = "WASMILL_KEY")]
    key: Option<String>,
    /// End after this many records
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), env = "WASMILL_LIMIT")]
    limit: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum When {
    In,
    Out,
    Failed,
}

/// Prints the records.
///
/// # Errors
/// If the process doesn't answer, permits no tap, or has no such pipeline.
pub(in crate::cli) fn run(args: &Tap) -> Result<(), Exit> {
    let mut seen = 0;
    args.process.follow(&args.path(), args.token.get(), |(event, data)| {
        match event {
            "record" => {
                seen += 1;
                let reader = print::data(&format!("{data}\n"))?;
                let has_enough = args.limit.is_some_and(|limit| seen >= limit);
                return Ok(if has_enough || reader == Reader::Gone {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                });
            }
            "open" => {
                let TapOpened { pipeline, steps } = read(data)?;
                telemetry::tell(&format!("watching `{pipeline}`, steps: {}", steps.join(", ")));
            }
            "missed" => {
                let StreamMissed { count } = read(data)?;
                telemetry::tell(&format!("{count} records passed too fast to be shown"));
            }
            "notice" => telemetry::tell(&read::<StreamNotice>(data)?.text),
            "end" => return Err(Exit::Stopped(read::<StreamNotice>(data)?.text)),
            // Of a later version.
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    })
}

impl Tap {
    fn path(&self) -> String {
        let when = self.when.map(|when| match when {
            When::In => "in".to_owned(),
            When::Out => "out".to_owned(),
            When::Failed => "failed".to_owned(),
        });
        let query = [
            ("step", self.step.clone()),
            ("when", when),
            ("match", self.text.clone()),
            ("key", self.key.clone()),
            ("limit", self.limit.map(|limit| limit.to_string())),
        ];
        let pairs = query
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}={}", utf8_percent_encode(&value?, NON_ALPHANUMERIC))));
        format!("{}/tap?{}", path(&self.name), pairs.collect::<Vec<_>>().join("&"))
    }
}
