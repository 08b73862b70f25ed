//! Arguments, and one file for each command.
//!
//! A command parses, prepares, calls the library and prints; the exit code is decided here.

mod auth_key;
mod backfill;
mod exit;
mod export;
mod node;
mod peers;
mod profiles;
mod pubkeys;
mod scan;
mod stats;
mod verify;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::Outcome;

/// The name by which a node's programs call the script that this program replaces.
const SCRIPT_NAME: &str = "backfill_constellation.sh";

const EXIT_CODES: &str = "\
Exit codes:
  0  done; for backfill: every peer gave all that was asked, and all of it is accounted for
  1  finished, but something is incomplete or missing (profiles --check: a profile is
     missing; verify: an event is wrong)
  2  wrong usage or configuration
  3  could not run: trouble with the database, strfry, or the files of a run (lock, log)";

/// A companion to the Nostr relay strfry: reads its database while it runs, fetches what is
/// missing from peer relays, verifies it, and imports it through strfry.
#[derive(Debug, Parser)]
#[command(name = "strfry-companion", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show which pubkeys have a profile (kind 0), and what is in it
    Profiles(profiles::Arguments),
    /// Fetch from peer relays what the database lacks, and import it
    #[command(after_help = EXIT_CODES)]
    Backfill(backfill::Arguments),
    /// Show the relays that a backfill would ask, and those that it would not
    Peers(peers::Arguments),
    /// Show where the node's own list of pubkeys comes from
    Pubkeys(pubkeys::Arguments),
    /// Print every event by time, byte for byte as `strfry export` does
    Export(export::Arguments),
    /// Check id and signature of every event in the database, or in a file
    Verify(verify::Arguments),
    /// Print the events that match a filter, newest first
    Scan(scan::Arguments),
    /// Show figures about the database
    Stats(stats::Arguments),
}

/// The old script: `backfill` without a subcommand.
#[derive(Debug, Parser)]
#[command(name = SCRIPT_NAME, version, after_help = EXIT_CODES, max_term_width = 100)]
struct ScriptArguments {
    #[command(flatten)]
    backfill: backfill::Arguments,
}

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let outcome = if is_script(arguments.first()) {
        backfill::run(ScriptArguments::parse_from(arguments).backfill)
    } else {
        match Arguments::parse_from(arguments).command {
            Command::Profiles(arguments) => profiles::run(&arguments),
            Command::Backfill(arguments) => backfill::run(arguments),
            Command::Peers(arguments) => peers::run(&arguments),
            Command::Pubkeys(arguments) => pubkeys::run(&arguments),
            Command::Export(arguments) => export::run(&arguments),
            Command::Verify(arguments) => verify::run(&arguments),
            Command::Scan(arguments) => scan::run(&arguments),
            Command::Stats(arguments) => stats::run(&arguments),
        }
    };
    exit::code(outcome.unwrap_or_else(Outcome::Failure))
}

fn is_script(program: Option<&OsString>) -> bool {
    program.is_some_and(|program| {
        Path::new(program).file_name().is_some_and(|name| name == SCRIPT_NAME)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
        ScriptArguments::command().debug_assert();
    }

    #[test]
    fn the_scripts_name_is_recognised_wherever_it_lies() {
        assert!(is_script(Some(&"/home/x/.zen/backfill_constellation.sh".into())));
        assert!(!is_script(Some(&"strfry-companion".into())));
        assert!(!is_script(None));
    }
}
