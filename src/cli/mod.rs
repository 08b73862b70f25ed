//! Arguments, and one file for each command.
//!
//! A command parses, prepares, calls the library and prints; the exit code is decided here.

mod adopt;
mod as_script;
mod auth_key;
mod backfill;
mod bench;
mod call;
mod commits;
mod completions;
mod config;
mod diff;
mod doctor;
mod doctor_text;
mod exit;
mod export;
mod help;
mod history;
mod import;
mod kinds;
mod looks;
mod man;
mod node;
mod open;
mod output;
mod own_path;
mod peer_args;
mod peers;
mod profiles;
mod pubkey_args;
mod pubkeys;
mod report;
mod resources;
mod scan;
mod signals;
mod stats;
mod strfry;
mod systemd;
mod trace;
mod values;
mod verify;
mod wait;
mod wrapped;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::node::paths::OLD_SCRIPT;
use call::{Call, NotParsed};
use exit::{Failure, OrFail, Outcome};

const ABOUT: &str = "Reads strfry's database, and fetches from peer relays what is missing there";

/// The list of commands takes the place of clap's, which has no groups.
const FIRST_HELP: &str = "{about}\n{usage-heading} {usage}{after-help}";

macro_rules! commands {
    ($($name:literal, $module:ident, $about:literal;)*) => {
        /// The names of the commands.
        pub(super) const NAMES: &[&str] = &[$($name),*];

        /// The program's commands. The options of a command are put together only when it is the
        /// one that is called: all of them would take a third of the time that a lookup takes.
        fn command() -> Command {
            let command = Command::new("strfry-companion")
                .version(env!("CARGO_PKG_VERSION"))
                .long_version(help::version())
                .about(ABOUT)
                .help_template(FIRST_HELP)
                .max_term_width(100)
                .subcommand_required(true)
                .arg_required_else_help(true)
                .disable_help_subcommand(true);
            command$(.subcommand(
                // Once more, because shared options bring a description of their own.
                Command::new($name).about($about).disable_help_flag(true).defer(options_of),
            ))*
        }

        /// Gives a command its options.
        fn options_of(command: Command) -> Command {
            let name = command.get_name().to_owned();
            let about = command.get_about().cloned().unwrap_or_default();
            let command = match name.as_str() {
                $($name => $module::Arguments::augment_args(command),)*
                _ => command,
            };
            let command = looks::Looks::augment_args(command);
            let command = command.mut_subcommands(|command| {
                let help = help::help_option(&command);
                command.arg(help)
            });
            let help = help::help_option(&command);
            command.about(about).arg(help).after_long_help(help::after_options(&name))
        }

        fn run(name: &str, matches: &ArgMatches) -> exit::Result<Outcome> {
            // What imports, opens tunnels or leaves something to clean up ends in an orderly way of
            // its own.
            if !["backfill", "bench", "diff", "doctor", "import", "peers"].contains(&name) {
                signals::end_between_snapshots()?;
            }
            match name {
                $($name => $module::run(&$module::Arguments::from_arg_matches(matches).or_usage()?),)*
                _ => Err(Failure::Usage(anyhow!("no command {name}: see --help"))),
            }
        }
    };
}

commands! {
    "profiles", profiles, "Show which pubkeys have a profile, and what is in it";
    "backfill", backfill, "Fetch from peer relays what is missing here, and import it";
    "diff", diff, "Show what each peer has that is not here, and the reverse";
    "history", history, "List the backfills so far, show one, or compare two";
    "report", report, "Make an HTML page of the last backfill and those before it";
    "import", import, "Check events from files, and import them through strfry";
    "peers", peers, "Show the relays that a backfill asks, and why others not";
    "pubkeys", pubkeys, "Show where the node's own list of pubkeys comes from";
    "scan", scan, "Print the events that match a filter, newest first";
    "export", export, "Print every event by time, as strfry export does";
    "verify", verify, "Check the id and signature of every event";
    "stats", stats, "Show figures about the database";
    "config", config, "Show what each option is set to, and where that is said";
    "doctor", doctor, "Look for what would keep a backfill from working";
    "systemd", systemd, "Print a service, a timer, a line for cron, or a compose file";
    "completions", completions, "Print the completions of commands and options for a shell";
    "man", man, "Print a manual page, or write all of them";
    "bench", bench, "Compare this program with strfry, or with the old script";
    "adopt", adopt, "Let a node's old script hand over to this program";
}

/// The program's commands, with the list of them that the first help shows.
fn command_with_list() -> Command {
    let command = command();
    let list = help::list_of_commands(&command);
    command.after_long_help(format!("{list}\n\n{}", help::exit_codes())).after_help(list)
}

/// The old script: `backfill` without a subcommand.
fn script() -> Command {
    let command = Command::new("backfill").disable_help_flag(true).max_term_width(100);
    let command = command.version(env!("CARGO_PKG_VERSION")).long_version(help::version());
    options_of(command).name(OLD_SCRIPT)
}

/// The program with all options of all commands.
fn all_commands() -> Command {
    let mut commands = command_with_list();
    commands.build();
    commands
}

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(exit::tell_panic));
    signals::report_long_files_as_errors();
    let call = match Call::parse(std::env::args_os().collect(), false) {
        Ok(call) => call,
        Err(NotParsed::Arguments { error, remarks }) => {
            let code = exit::code_of_arguments(&error);
            remarks.iter().for_each(exit::tell);
            return code;
        }
        Err(NotParsed::Settings(failure)) => return exit::code(Outcome::Failure(failure)),
    };
    if let Ok(looks) = looks::Looks::from_arg_matches(&call.matches) {
        looks.set();
    }
    call.settings.remarks.iter().for_each(exit::tell);
    let outcome = run(&call.command, &call.matches).unwrap_or_else(Outcome::Failure);
    let is_usage = matches!(outcome, Outcome::Failure(Failure::Usage(_)));
    let code = exit::code(outcome);
    if let Some(hint) = call.settings.hint().filter(|_| is_usage) {
        exit::tell(hint);
    }
    code
}

fn is_script(program: Option<&OsString>) -> bool {
    program.is_some_and(|program| {
        Path::new(program).file_name().is_some_and(|name| name == OLD_SCRIPT)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        command_with_list().debug_assert();
        script().debug_assert();
    }

    #[test]
    fn the_scripts_name_is_recognised_wherever_it_lies() {
        assert!(is_script(Some(&"/home/x/.zen/backfill_constellation.sh".into())));
        assert!(!is_script(Some(&"strfry-companion".into())));
        assert!(!is_script(None));
    }
}
