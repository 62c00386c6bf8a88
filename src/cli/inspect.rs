//! `wasmill inspect`: prints what a component is and what it needs.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::exit_code::Exit;
use super::print;
use crate::plugin;
use crate::plugin::Grant;
use crate::plugin::Needs;
use crate::plugin::bundled;

/// Prints the world and contract version of a component, its size and digest, what its imports give access to, and the `allow` that
/// they need.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill inspect mask.wasm
  wasmill inspect std:jq
  wasmill inspect std:            the plugins that come with wasmill")]
pub(super) struct Args {
    /// A component, a core module with embedded component metadata, or `std:NAME`; `std:` lists those that come with wasmill
    #[arg(value_name = "WASM", env = "WASMILL_WASM")]
    path: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    if args.path.as_os_str() == bundled::SCHEME {
        let line = |(name, what): &(&str, &str)| {
            let missing = if bundled::is_there(name) { "" } else { " (not in this build)" };
            format!("{}{name:<8} {what}{missing}\n", bundled::SCHEME)
        };
        return print::data(&bundled::ALL.iter().map(line).collect::<String>()).map(drop);
    }
    let path = args.path.display();
    let bytes = plugin::read(&args.path).map_err(|error| Exit::Invalid(format!("read {path}: {error}")))?;
    let inspection = plugin::inspect(&bytes).map_err(|error| Exit::Invalid(format!("{path}: {error}")))?;
    print::data(&describe(&inspection))?;
    Ok(())
}

/// The inspection as text, one line per item.
pub(super) fn describe(inspection: &plugin::Inspection) -> String {
    let mut text = String::new();
    if let Some(manifest) = &inspection.manifest {
        text.push_str(&format!("plugin    {} {}\n", manifest.name, manifest.version));
        if !manifest.description.is_empty() {
            text.push_str(&format!("          {}\n", manifest.description));
        }
        if let Some(ports) = &manifest.ports {
            text.push_str(&format!("ports     {}\n", ports.join(", ")));
        }
        let unchecked = manifest.unchecked();
        let schema = match (&manifest.settings, unchecked.is_empty()) {
            (None, _) => "not described".to_owned(),
            (Some(_), true) => "described: `wasmill check` validates a step's settings against it".to_owned(),
            (Some(_), false) => {
                let keywords = unchecked.join("`, `");
                format!("described; `{keywords}` is not enforced here, the plugin must check it")
            }
        };
        text.push_str(&format!("settings  {schema}\n"));
    }
    let contract = inspection.contract.as_deref().unwrap_or("none");
    let place = if inspection.world.has_state() { " (for a step with a `window`)" } else { "" };
    text.push_str(&format!("world     {}{place}\ncontract  {contract}\n", inspection.world));
    if inspection.world.has_state() {
        let state = inspection.manifest.as_ref().and_then(|manifest| manifest.state.as_ref());
        text.push_str(&format!("state     {}\n", state.map_or_else(|| "versions not described".to_owned(), versions)));
    }
    text.push_str(&format!("form      {}\n", inspection.form));
    text.push_str(&format!("size      {} bytes\nsha256    {}\n", inspection.bytes, inspection.digest));
    for (tool, version) in &inspection.producers {
        text.push_str(&format!("made by   {tool} {version}\n"));
    }
    for import in &inspection.imports {
        let granted = match import.needs {
            Needs::Nothing => "every plugin gets it",
            Needs::Allow(_) => "a step's `allow` gives it",
            Needs::Optional(Grant::Clock) => "a step's `allow` gives it; else it stands still",
            Needs::Optional(Grant::Random) => "a step's `allow` gives them; else they are always the same",
            Needs::Optional(Grant::Http) => "a step's `allow` lists the servers; else it traps",
            Needs::Optional(Grant::Files) => "a step's `allow` lists them; else there are none",
            Needs::Optional(Grant::Env) => "a step's `allow` gives it; else it is empty",
            Needs::Inert => "every plugin may import it",
            Needs::Unavailable => "no plugin gets it",
        };
        text.push_str(&format!("imports   {}: {} ({granted})\n", import.name, import.touches));
    }
    text.push_str(&reach(inspection));
    text
}

/// The versions of a plugin's state: `writes version 2, reads 1, 2`.
fn versions(state: &plugin::StateVersions) -> String {
    let reads: Vec<String> = state.reads.iter().map(u32::to_string).collect();
    format!("writes version {}, reads {}", state.version, reads.join(", "))
}

/// What the component can access, in a sentence, and the `allow` setting that it needs.
fn reach(inspection: &plugin::Inspection) -> String {
    let touched = |is_meant: fn(Needs) -> bool| {
        let imports = inspection.imports.iter().filter(|import| is_meant(import.needs));
        let mut touches: Vec<&str> =
            imports.map(|import| import.touches).filter(|touches| !touches.starts_with("nothing")).collect();
        touches.sort_unstable();
        touches.dedup();
        touches.join(", ")
    };
    let reached = touched(|needs| !matches!(needs, Needs::Unavailable | Needs::Optional(_)));
    let wanted = touched(|needs| needs == Needs::Unavailable);
    let mut text = match reached.is_empty() {
        // What runs must not be called harmless because of what it is refused.
        true if !wanted.is_empty() => String::new(),
        true => "touches   nothing but the records that it is given\n".to_owned(),
        false => format!("touches   the records that it is given, and: {reached}\n"),
    };
    let (mut grants, mut optional) = (BTreeSet::new(), BTreeSet::new());
    for import in &inspection.imports {
        match import.needs {
            Needs::Allow(grant) => grants.insert(grant),
            Needs::Optional(grant) => optional.insert(grant.line()),
            Needs::Nothing | Needs::Inert | Needs::Unavailable => false,
        };
    }
    if let Some(refusal) = &inspection.refusal {
        text.push_str(&format!("allow     `check` and `run` refuse it: {refusal}\n"));
    } else if grants.is_empty() {
        text.push_str("allow     nothing to allow: a step runs it as it is\n");
        if !optional.is_empty() {
            let lines: Vec<&str> = optional.into_iter().collect();
            text.push_str(&format!(
                "          its runtime has more with `{}` in the step's `allow`\n",
                lines.join("`, `")
            ));
        }
    } else {
        text.push_str("allow     a step runs it with this below its `[[step]]`:\n\n[step.allow]\n");
        for grant in grants {
            text.push_str(grant.line());
            text.push('\n');
        }
    }
    text
}
