//! `man`: the manual pages, from the text of the help.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, Command};
use clap_mangen::Man;

use super::exit::{Failure, OrFail, Outcome, Result};
use super::help::OUTPUT;
use super::output::print;
use super::{NAMES, all_commands};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The command whose page is printed
    ///
    /// [default: the page of the program, which lists the commands]
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
    /// Write the pages of all commands into this directory
    ///
    /// It must exist. Files of the same names are overwritten.
    #[arg(long, value_name = "DIR", help_heading = OUTPUT, conflicts_with = "command")]
    dir: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome> {
    let commands = all_commands();
    if let Some(directory) = &arguments.dir {
        write_all(commands, directory)?;
        return Ok(Outcome::Complete);
    }
    let command = match &arguments.command {
        None => commands,
        Some(name) => of_command(&commands, name).ok_or_else(|| {
            Failure::Usage(anyhow!("no command {name}: there are {}", NAMES.join(", ")))
        })?,
    };
    let page = page(command).or_cannot_run()?;
    print(&String::from_utf8_lossy(&page))?;
    Ok(Outcome::Complete)
}

/// A command as it is called, with the program's name in front.
fn of_command(commands: &Command, name: &str) -> Option<Command> {
    let command = commands.find_subcommand(name)?.clone();
    let called = format!("strfry-companion {name}");
    Some(command.bin_name(called).display_name(format!("strfry-companion-{name}")))
}

fn page(command: Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(page)
}

fn write_all(commands: Command, directory: &Path) -> Result<()> {
    let of_each = NAMES.iter().filter_map(|name| {
        Some((format!("strfry-companion-{name}.1"), of_command(&commands, name)?))
    });
    let mut pages: Vec<(String, Command)> = of_each.collect();
    pages.push(("strfry-companion.1".to_owned(), commands));
    for (name, command) in pages {
        let path = directory.join(name);
        let write = || File::create(&path)?.write_all(&page(command)?);
        write().with_context(|| format!("cannot write {}", path.display())).or_cannot_run()?;
    }
    Ok(())
}
