//! `wasmill wit`: prints the contract with plugins, or writes it where tools for components look for it.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use clap::ValueEnum;

use super::exit_code::Exit;
use super::print;

/// The contract in each version. Every later one has all of the earlier ones.
const V1_0: &str = include_str!("../../wit/v1/plugin.wit");
const V1_1: &str = include_str!("../../wit/v1.1/plugin.wit");
const V1_2: &str = include_str!("../../wit/v1.2/plugin.wit");

/// Prints the contract with plugins, a WIT file, from which tools make bindings for a language. With `--dir`, writes it as a dependency of
/// a world of the plugin's own, as `componentize-py`, `componentize-qjs`, `jco` and `wit-bindgen` read it.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill wit > plugin.wit
  wasmill wit --dir wit                      wit/world.wit, and wit/deps/wasmill/plugin.wit
  wasmill wit --dir wit --world transform    for typed records
  wasmill wit --contract 1.0 > plugin.wit")]
pub(super) struct Args {
    /// Write the files into this folder; a `world.wit` that is there is kept
    #[arg(long, value_name = "DIR", env = "WASMILL_WIT_DIR")]
    dir: Option<PathBuf>,
    /// What the world in `world.wit` exports
    #[arg(long, value_enum, default_value = "transform-batch", env = "WASMILL_WIT_WORLD")]
    world: World,
    /// The version of the contract; a plugin of any version runs
    #[arg(long, value_enum, default_value = "1.2", env = "WASMILL_WIT_CONTRACT")]
    contract: Contract,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum World {
    /// Records in columns
    TransformBatch,
    /// Typed records
    Transform,
    /// Accumulators by key and window; since 1.1
    Reduce,
    /// The same, where the plugin finds keys and times; since 1.1
    ReduceBy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Contract {
    #[value(name = "1.0")]
    V1_0,
    #[value(name = "1.1")]
    V1_1,
    #[value(name = "1.2")]
    V1_2,
}

impl Contract {
    fn text(self) -> &'static str {
        match self {
            Contract::V1_0 => V1_0,
            Contract::V1_1 => V1_1,
            Contract::V1_2 => V1_2,
        }
    }

    fn version(self) -> &'static str {
        match self {
            Contract::V1_0 => "1.0.0",
            Contract::V1_1 => "1.1.0",
            Contract::V1_2 => "1.2.0",
        }
    }
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    if args.contract == Contract::V1_0 && matches!(args.world, World::Reduce | World::ReduceBy) {
        return Err(Exit::Usage("wit: plugins with state are there since 1.1: leave out `--contract`".to_owned()));
    }
    let Some(folder) = &args.dir else {
        return print::data(args.contract.text()).map(drop);
    };
    write(folder, args.world, args.contract)
        .map_err(|error| Exit::Invalid(format!("write {}: {error}", folder.display())))
}

fn write(folder: &Path, world: World, contract: Contract) -> io::Result<()> {
    let dependency = folder.join("deps").join("wasmill");
    fs::create_dir_all(&dependency)?;
    fs::write(dependency.join("plugin.wit"), contract.text())?;
    let own = folder.join("world.wit");
    if own.exists() {
        return Ok(());
    }
    fs::write(own, own_world(world, contract))
}

/// A world of the plugin's own. Log and metrics are imported: a runtime that doesn't use them leaves them out.
fn own_world(world: World, contract: Contract) -> String {
    let world = world.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let version = contract.version();
    let import = |name: &str| format!("    import wasmill:plugin/{name}@{version};\n");
    format!(
        "package my:plugin;\n\nworld plugin {{\n{}{}    include wasmill:plugin/{world}@{version};\n}}\n",
        import("log"),
        import("metrics")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_is_what_it_says_and_its_worlds_are_valid() {
        for contract in Contract::value_variants() {
            for world in World::value_variants() {
                if *contract == Contract::V1_0 && matches!(world, World::Reduce | World::ReduceBy) {
                    continue;
                }
                let folder = tempfile::tempdir().unwrap();
                write(folder.path(), *world, *contract).unwrap();
                let mut resolve = wit_parser::Resolve::default();
                let (package, _) = resolve.push_path(folder.path()).unwrap();
                let world = resolve.select_world(&[package], Some("plugin")).unwrap();
                assert!(!resolve.worlds[world].exports.is_empty());
                let of = format!("package wasmill:plugin@{};", contract.version());
                assert!(contract.text().contains(&of));
                // A world of one's own stays.
                fs::write(folder.path().join("world.wit"), "mine").unwrap();
                write(folder.path(), World::Transform, *contract).unwrap();
                assert_eq!(fs::read_to_string(folder.path().join("world.wit")).unwrap(), "mine");
            }
        }
    }
}
