//! `wasmill new`: the folder that a plugin begins with.

use std::io;
use std::io::Write as _;
use std::path::Path;

use clap::Args as ClapArgs;
use clap::Subcommand;
use clap::ValueEnum;

use super::exit_code::Exit;
use crate::author;

/// Makes the folder of a new plugin: source, tests, a pipeline to try it in, and the SDK.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill new plugin shout && wasmill build shout
  wasmill new plugin shout --lang rust")]
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
        /// The plugin's name, which is also that of the folder
        #[arg(value_name = "NAME")]
        name: String,
        /// Its language
        #[arg(long, value_enum, default_value = "rust", env = "WASMILL_LANG")]
        lang: Lang,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Lang {
    /// Rust, with the SDK
    Rust,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let What::Plugin { name, lang: Lang::Rust } = &args.what;
    if !author::is_name(name) {
        return Err(Exit::Usage(format!(
            "new: `{name}` can't be a plugin's name: it has 1 to 64 lower-case letters, digits and `-`, and begins with a letter, as \
             a crate's does"
        )));
    }
    author::create(Path::new(""), name).map_err(Exit::Invalid)?;
    // People read this; if stderr is gone, nobody does.
    let _ = writeln!(
        io::stderr(),
        "made {name}/: src/lib.rs is the plugin. Next:\n  \
         cd {name}\n  wasmill build\n  wasmill test pipeline.toml\n  wasmill dev pipeline.toml --feed input.ndjson"
    );
    Ok(())
}
