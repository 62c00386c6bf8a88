//! `wasmill man`: the manual pages.

use std::fs;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use clap::CommandFactory as _;
use clap_mangen::Man;

use super::args::Args as Root;
use super::exit_code::Exit;
use super::print;

/// Prints the manual page of wasmill, or writes those of all commands into a folder.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill man | man -l -
  wasmill man --out /usr/local/share/man/man1")]
pub(super) struct Args {
    /// The folder for `wasmill.1`, `wasmill-run.1` and so on; it is created if it doesn't exist
    #[arg(long, value_name = "FOLDER", env = "WASMILL_MAN_OUT")]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let failed = |error: std::io::Error| Exit::Invalid(format!("man: {error}"));
    match &args.out {
        Some(folder) => {
            let failed = |error| Exit::Invalid(format!("man: write to {}: {error}", folder.display()));
            fs::create_dir_all(folder).map_err(failed)?;
            clap_mangen::generate_to(Root::command(), folder).map_err(failed)
        }
        None => {
            let mut page = Vec::new();
            Man::new(Root::command()).render(&mut page).map_err(failed)?;
            print::data(&String::from_utf8_lossy(&page)).map(drop)
        }
    }
}
