//! Arguments, and one file for each command.
//!
//! A command parses, prepares, calls the library and prints; the exit code is decided here.

mod adopt;
mod as_script;
mod asking;
mod auth_key;
mod backfill;
mod bench;
mod diff;
mod exit;
mod export;
mod history;
mod import;
mod looks;
mod node;
mod open;
mod output;
mod peers;
mod profiles;
mod pubkeys;
mod report;
mod resources;
mod scan;
mod signals;
mod stats;
mod strfry;
mod trace;
mod verify;
mod wait;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{ArgMatches, Args, Command, FromArgMatches, Parser};

use crate::node::paths::OLD_SCRIPT;
use exit::{Failure, OrFail, Outcome};

const EXIT_CODES: &str = "\
Exit codes:
  0  done; for backfill: every peer gave all that was asked, and all of it is accounted for;
     for diff: every peer's difference is known completely, whatever it is;
     for import: every event is in the database, or was superseded, deleted or left out
  1  finished, but something is incomplete or missing (profiles --check: a profile is
     missing; verify: an event is wrong; import: an event was refused; bench: answers differ)
  2  wrong usage or configuration
  3  could not run: trouble with the database, strfry, or the files of a run (lock, log);
     for backfill also: another one has been running for more than two hours";

const ABOUT: &str = "A companion to the Nostr relay strfry: reads its database while it runs, fetches \
                     what is missing from peer relays, verifies it, and imports it through strfry";

macro_rules! commands {
    ($($name:literal, $module:ident, $about:literal;)*) => {
        /// The program's commands. The options of a command are put together only when it is the
        /// one that is called: all of them would take a third of the time that a lookup takes.
        fn command() -> Command {
            let command = Command::new("strfry-companion")
                .version(env!("CARGO_PKG_VERSION"))
                .about(ABOUT)
                .after_help(EXIT_CODES)
                .max_term_width(100)
                .subcommand_required(true)
                .arg_required_else_help(true);
            let command = looks::Looks::augment_args(command);
            command$(.subcommand(
                // Once more, because shared options bring a description of their own.
                Command::new($name)
                    .about($about)
                    .defer(|command| $module::Arguments::augment_args(command).about($about)),
            ))*
        }

        fn run(name: &str, matches: &ArgMatches) -> exit::Result<Outcome> {
            // What imports, opens tunnels or leaves something to clean up ends in an orderly way of
            // its own.
            if !["backfill", "bench", "diff", "import", "peers"].contains(&name) {
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
    "profiles", profiles, "Show which pubkeys have a profile (kind 0), and what is in it";
    "backfill", backfill, "Fetch from peer relays what the database lacks, and import it";
    "diff", diff, "Show what each peer has that the database lacks, and the reverse; import nothing";
    "history", history, "List the backfills so far, show one, or compare two";
    "report", report, "Make an HTML page of the last backfill and those before it";
    "import", import, "Check events from files or standard input, and import them through strfry";
    "peers", peers, "Show the relays that a backfill would ask, and those that it would not";
    "pubkeys", pubkeys, "Show where the node's own list of pubkeys comes from";
    "scan", scan, "Print the events that match a filter, newest first";
    "export", export, "Print every event by time, byte for byte as `strfry export` does";
    "verify", verify, "Check id and signature of every event in the database, or in a file";
    "stats", stats, "Show figures about the database";
    "bench", bench, "Compare this program with strfry, or with the old script, on this database";
    "adopt", adopt, "Let the old script of an Astroport node hand over to this program, or undo that";
}

/// The old script: `backfill` without a subcommand.
#[derive(Debug, Parser)]
#[command(name = OLD_SCRIPT, version, max_term_width = 100)]
struct ScriptArguments {
    #[command(flatten)]
    backfill: backfill::Arguments,
    #[command(flatten)]
    looks: looks::Looks,
}

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(exit::tell_panic));
    signals::report_long_files_as_errors();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let color = looks::color_of_help(&arguments);
    let outcome = if is_script(arguments.first()) {
        match ScriptArguments::try_parse_from(arguments) {
            Ok(arguments) => {
                arguments.looks.set();
                backfill::run(&arguments.backfill.by_script_name())
            }
            Err(error) => return exit::code_of_arguments(&error),
        }
    } else {
        match command().color(color).try_get_matches_from(arguments) {
            Ok(matches) => {
                if let Ok(looks) = looks::Looks::from_arg_matches(&matches) {
                    looks.set();
                }
                let subcommand = matches.subcommand();
                subcommand.map_or(Ok(Outcome::Complete), |(name, matches)| run(name, matches))
            }
            Err(error) => return exit::code_of_arguments(&error),
        }
    };
    exit::code(outcome.unwrap_or_else(Outcome::Failure))
}

fn is_script(program: Option<&OsString>) -> bool {
    program.is_some_and(|program| {
        Path::new(program).file_name().is_some_and(|name| name == OLD_SCRIPT)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        command().debug_assert();
        ScriptArguments::command().debug_assert();
    }

    #[test]
    fn the_scripts_name_is_recognised_wherever_it_lies() {
        assert!(is_script(Some(&"/home/x/.zen/backfill_constellation.sh".into())));
        assert!(!is_script(Some(&"strfry-companion".into())));
        assert!(!is_script(None));
    }
}
