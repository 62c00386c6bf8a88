//! `wasmill new`: creates the folder of a new plugin or pipeline.

use std::io;
use std::io::Write as _;
use std::path::Path;

use clap::Args as ClapArgs;
use clap::Subcommand;

use super::exit_code::Exit;
use crate::author;
use crate::author::Language;

/// Creates the folder of a new plugin (source, tests, a pipeline to try it in, and the SDK) or of a new pipeline.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill new plugin shout && wasmill build shout
  wasmill new plugin shout --lang python
  wasmill new pipeline errors && wasmill test errors/pipeline.toml")]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A plugin, in a folder of its name
    #[command(after_help = "Examples:
  wasmill new plugin shout && cd shout && wasmill build && wasmill test pipeline.toml")]
    Plugin {
        /// The name of the plugin and of its folder
        #[arg(value_name = "NAME")]
        name: String,
        /// The plugin's language
        #[arg(long, value_enum, default_value = "rust", env = "WASMILL_LANG")]
        lang: Language,
    },
    /// A pipeline without code, from a plugin that comes with wasmill, in a folder of its name
    #[command(after_help = "Examples:
  wasmill new pipeline errors && cd errors && wasmill test pipeline.toml && wasmill dev pipeline.toml --feed input.ndjson")]
    Pipeline {
        /// The name of the pipeline and of its folder
        #[arg(value_name = "NAME")]
        name: String,
    },
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let (what, name) = match &args.what {
        What::Plugin { name, .. } => ("plugin", name),
        What::Pipeline { name } => ("pipeline", name),
    };
    if !author::is_name(name) {
        return Err(Exit::Usage(format!(
            "new: `{name}` can't be a {what}'s name: it has 1 to 64 lower-case letters, digits and `-`, begins with a letter, and \
             doesn't end with `-`"
        )));
    }
    let next = match &args.what {
        What::Plugin { lang, .. } => {
            author::create(Path::new(""), name, *lang).map_err(Exit::Invalid)?;
            let installs: String = lang.installs().iter().map(|command| format!("  {command}\n")).collect();
            format!(
                "{} is the plugin. Next:\n  cd NAME\n{installs}  wasmill build\n  wasmill test pipeline.toml\n  wasmill dev pipeline.toml \
                 --feed input.ndjson",
                lang.source()
            )
        }
        What::Pipeline { .. } => {
            author::create_pipeline(Path::new(""), name).map_err(Exit::Invalid)?;
            "pipeline.toml is the pipeline. Next:\n  cd NAME\n  wasmill test pipeline.toml\n  \
             wasmill dev pipeline.toml --feed input.ndjson"
                .to_owned()
        }
    };
    // If stderr is closed, the message is lost.
    let _ = writeln!(io::stderr(), "made {name}/: {}", next.replace("NAME", name));
    Ok(())
}
