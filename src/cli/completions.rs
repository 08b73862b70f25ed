//! `completions`: what a shell needs to complete commands and options.

use clap::Args;
use clap_complete::{Shell, generate};

use super::all_commands;
use super::exit::{Outcome, Result};
use super::output::print;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    let mut script = Vec::new();
    generate(arguments.shell, &mut all_commands(), "strfry-companion", &mut script);
    // clap_complete 4.6.11 writes the function's name in two ways if the program's has a dash, so
    // that bash completes no option of a command.
    let script = String::from_utf8_lossy(&script);
    print(&script.replace("strfry__subcmd__companion", "strfry__companion"))?;
    Ok(Outcome::Complete)
}
