//! `wasmill state create`: creates the changelog topic of a step with windows.

use std::time::Duration;

use clap::Args as ClapArgs;

use crate::cli::args::PipelineFile;
use crate::cli::check::brokers;
use crate::cli::exit_code::Exit;
use crate::cli::load;
use crate::cli::print;
use crate::kafka::changelog;
use crate::kafka::changelog_topic;
use crate::kafka::changelog_topic::CreatedChangelog;
use crate::kafka::changelog_topic::NotCreated;
use crate::kafka::probe::Unanswered;

/// Creates the changelog topic of the step with windows, as `run` does with `state.create = true`.
///
/// The topic gets as many partitions as the input has. A topic that exists is checked and never changed. Exit code 78: it is not as it
/// has to be, or the brokers don't permit it.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill state create orders.toml
  wasmill state create orders.toml --set input.group=orders-2")]
pub(super) struct Args {
    #[command(flatten)]
    file: PipelineFile,
}

/// How long to wait for the brokers.
const LIMIT: Duration = Duration::from_secs(15);

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let config = load::file(&args.file, None)?;
    let Some(changelog) = &config.kafka.changelog else {
        return Err(Exit::Invalid(format!("{} has no step with windows", args.file.path.display())));
    };
    let topic = changelog.topic_name();
    let created = changelog_topic::create(&config.kafka, &brokers::commands(&config), LIMIT);
    match created.map_err(|why| not_created(&config, why))? {
        CreatedChangelog::New(partitions) => {
            let settings: Vec<String> =
                changelog::SETTINGS.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let settings = settings.join(", ");
            print::data(&format!("created `{topic}` with {partitions} partitions: {settings}\n")).map(drop)
        }
        CreatedChangelog::There(partitions, faults) => {
            print::data(&format!("`{topic}` exists, with {partitions} partitions\n"))?;
            for fault in faults.iter().filter(|fault| fault.is_warning) {
                crate::telemetry::tell(&format!("warning: {}\nhelp: {}", fault.what, fault.help));
            }
            let wrong = faults.iter().filter(|fault| !fault.is_warning);
            let wrong: Vec<String> = wrong.map(|fault| format!("{}\nhelp: {}", fault.what, fault.help)).collect();
            if wrong.is_empty() { Ok(()) } else { Err(Exit::Invalid(config.hide(&wrong.join("\n")))) }
        }
    }
}

fn not_created(config: &crate::config::Pipeline, why: NotCreated) -> Exit {
    match why {
        NotCreated::Unanswered(Unanswered::Unreached(why)) => {
            Exit::Unreachable(config.hide(&format!("the brokers don't answer: {why}")))
        }
        NotCreated::Unanswered(Unanswered::Refused(why)) | NotCreated::Refused(why) => Exit::Invalid(config.hide(&why)),
    }
}
