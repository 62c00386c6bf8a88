//! `wasmill build`: builds the plugin in a folder and checks the result.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::exit_code::Exit;
use super::inspect;
use super::load;
use super::print;
use crate::author::Project;
use crate::plugin;

/// Builds the plugin in a folder, as its `plugin.toml` says, and checks that a step can run it.
///
/// Rust plugins are built with the active toolchain if it has the target wasm32-unknown-unknown (`rustup target add` installs it),
/// otherwise with Debian's packages rustc-web, cargo-web and rust-web-src. Nothing is installed. Other languages are built by the
/// command in `plugin.toml`. Dependencies that Rust plugins share are compiled once, in the user's cache folder; if CARGO_TARGET_DIR
/// is set, everything is compiled there.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill build
  wasmill build plugins/mask

plugin.toml:
  [build]
  lang = \"rust\"                        # or command = [\"make\", \"mask.wasm\"]
  output = \"mask.wasm\"
  watch = [\"src\", \"Cargo.toml\"]        # what `wasmill dev` builds it again for

  [manifest]                           # where the tools don't write one, as the Rust SDK does
  name = \"mask\"
  version = \"1.0.0\"
  settings = \"settings.schema.json\"")]
pub(super) struct Args {
    /// The folder with `plugin.toml`
    #[arg(value_name = "DIR", default_value = ".", env = "WASMILL_DIR")]
    folder: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let project = Project::open(&args.folder).map_err(Exit::Invalid)?;
    let built = project.sharing(load::user_cache()).build().map_err(Exit::Invalid)?;
    let path = built.output.display();
    let fits = plugin::admit(&built.bytes).map_err(|error| Exit::Invalid(format!("{path}: {error}")))?;
    print::data(&format!("built     {path}\n{}", inspect::describe(&fits)))?;
    Ok(())
}
