//! One call of the program: what was typed, completed by the environment and configuration files.
//!
//! What they say is put among the arguments as if it had been typed before them, so that one parser
//! judges all of it. Options that were typed win.

use std::ffi::OsString;

use anyhow::anyhow;
use clap::error::{ContextKind, ContextValue};
use clap::{ArgMatches, Command};

use super::config::{Environment, Settings};
use super::exit::{self, Failure, code_of_arguments, tell};
use super::looks::color_of_help;
use super::{NAMES, command, command_with_list, is_script, options_of, script};

/// A call that can be run.
pub(super) struct Call {
    /// The command's name.
    pub(super) command: String,
    pub(super) matches: ArgMatches,
    pub(super) settings: Settings,
}

/// Why there is nothing to run.
pub(super) enum NotParsed {
    /// Help was asked for, or arguments are wrong.
    Arguments {
        error: Box<clap::Error>,
        /// Which of them were not typed.
        remarks: Vec<String>,
    },
    /// The environment or a configuration file cannot be used.
    Settings(Failure),
}

impl Call {
    /// Parses the arguments of a process, its own name included. With `show`, says where each option
    /// comes from, also if all of them were typed.
    pub(super) fn parse(mut typed: Vec<OsString>, show: bool) -> Result<Self, NotParsed> {
        let called_as_script = is_script(typed.first());
        if called_as_script {
            typed.insert(1, "--as-script".into());
        }
        let color = color_of_help(&typed);
        let parse = |arguments: &[OsString]| {
            let parser = match arguments.get(1).and_then(|first| first.to_str()) {
                _ if called_as_script => script(),
                // No first help: putting its list together takes as long as all the rest of this.
                Some(first) if NAMES.contains(&first) || first == "--version" => command(),
                _ => command_with_list(),
            };
            parser
                .color(color)
                .try_get_matches_from(arguments)
                .map(|matches| of_command(called_as_script, matches))
        };
        let plain =
            |error: clap::Error| NotParsed::Arguments { error: error.into(), remarks: vec![] };
        let Some((name, matches)) = parse(&typed).map_err(plain)? else {
            return Err(NotParsed::Settings(Failure::Usage(anyhow!("no command: see --help"))));
        };
        let environment = Environment::of_this_process();
        // Putting the options together once more takes a tenth of the time that a lookup takes.
        if !show && !Settings::are_elsewhere(&matches, &environment) {
            return Ok(Self { command: name, matches, settings: Settings::default() });
        }
        let settings = Settings::find(&name, &options(&name), &matches, &environment);
        let settings = settings.map_err(NotParsed::Settings)?;
        if settings.arguments().is_empty() {
            return Ok(Self { command: name, matches, settings });
        }
        let mut completed = typed;
        let place = if called_as_script { 1 } else { 2 };
        completed.splice(place..place, settings.arguments());
        let with_remarks = |error: clap::Error| {
            let named = named_in(&error);
            let remarks = settings.origins_of(|option| named.iter().any(|it| is_of(it, option)));
            NotParsed::Arguments { error: error.into(), remarks }
        };
        match parse(&completed).map_err(with_remarks)? {
            Some((command, matches)) => Ok(Self { command, matches, settings }),
            None => Ok(Self { command: name, matches, settings }),
        }
    }
}

impl Call {
    /// Parses a call that is only talked about, with where each of its options comes from, and prints
    /// what there is to say of it. `None`: it asks for help, which is printed.
    pub(super) fn of_another(typed: Vec<OsString>) -> exit::Result<Option<Self>> {
        match Self::parse(typed, true) {
            Ok(call) => {
                call.settings.remarks.iter().for_each(tell);
                Ok(Some(call))
            }
            Err(NotParsed::Settings(failure)) => Err(failure),
            Err(NotParsed::Arguments { error, remarks }) => {
                let asked = !error.use_stderr();
                let _ = code_of_arguments(&error);
                remarks.iter().for_each(tell);
                if asked { Ok(None) } else { Err(Failure::Told(2)) }
            }
        }
    }
}

/// A command with its options.
pub(super) fn options(name: &str) -> Command {
    options_of(Command::new(name.to_owned()).disable_help_flag(true))
}

fn of_command(called_as_script: bool, mut matches: ArgMatches) -> Option<(String, ArgMatches)> {
    if called_as_script {
        Some(("backfill".to_owned(), matches))
    } else {
        matches.remove_subcommand()
    }
}

/// The arguments that an error is about, as clap writes them: `--days <N>`.
fn named_in(error: &clap::Error) -> Vec<String> {
    let named =
        [ContextKind::InvalidArg, ContextKind::PriorArg].map(|kind| match error.get(kind) {
            Some(ContextValue::String(name)) => vec![name.clone()],
            Some(ContextValue::Strings(names)) => names.clone(),
            _ => Vec::new(),
        });
    named.concat()
}

fn is_of(argument: &str, option: &str) -> bool {
    let name = argument.strip_prefix("--").and_then(|rest| rest.strip_prefix(option));
    name.is_some_and(|rest| !rest.starts_with(|next: char| next == '-' || next.is_alphanumeric()))
}
