//! `wasmill inspect`: what a component is and what it needs.

use std::fs;
use std::io;
use std::io::Write as _;
use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::exit_code::Exit;
use crate::plugin;

/// Prints the world and contract version of a component, its size and digest, and its imports in words.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill inspect mask.wasm")]
pub(super) struct Args {
    /// A component, or a core module with embedded component metadata
    #[arg(value_name = "WASM", env = "WASMILL_WASM")]
    path: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let path = args.path.display();
    let bytes = fs::read(&args.path).map_err(|error| Exit::Invalid(format!("read {path}: {error}")))?;
    let inspection = plugin::inspect(&bytes).map_err(|error| Exit::Invalid(format!("{path}: {error}")))?;
    // If nobody reads stdout, there is nobody to tell.
    let _ = io::stdout().write_all(describe(&inspection).as_bytes());
    Ok(())
}

/// The inspection in words, a line for each thing.
fn describe(inspection: &plugin::Inspection) -> String {
    let mut text = format!(
        "world     {:?}\ncontract  {}\nform      {:?}\nsize      {} bytes\nsha256    {}\n",
        inspection.world,
        inspection.contract.as_deref().unwrap_or("none"),
        inspection.form,
        inspection.bytes,
        inspection.digest
    );
    for (tool, version) in &inspection.producers {
        text.push_str(&format!("made by   {tool} {version}\n"));
    }
    for import in &inspection.imports {
        let granted = if import.granted { "always granted" } else { "not granted: `run` refuses it" };
        text.push_str(&format!("imports   {}: {} ({granted})\n", import.name, import.touches));
    }
    if inspection.imports.is_empty() {
        text.push_str("imports   nothing: it can touch nothing\n");
    }
    text
}
