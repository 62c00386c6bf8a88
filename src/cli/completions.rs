//! `wasmill completions`: shell completions for commands, flags and their values.

use clap::Args as ClapArgs;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::args::Args as Root;
use super::exit_code::Exit;
use super::print;

/// Prints the completions of a shell.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wasmill completions bash > /usr/share/bash-completion/completions/wasmill
  wasmill completions zsh > ~/.zfunc/_wasmill
  wasmill completions fish > ~/.config/fish/completions/wasmill.fish")]
pub(super) struct Args {
    /// The shell
    #[arg(value_name = "SHELL", value_enum, env = "WASMILL_SHELL")]
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Root::command(), "wasmill", &mut text);
    print::data(&String::from_utf8_lossy(&text)).map(drop)
}
