//! What the help says beside the options: groups of options and of commands, examples, exit codes.
//!
//! `-h` fits one screen of 80 columns and 24 lines; what is rare is in `--help` only
//! (`hide_short_help`).

use std::fmt::Write;

use clap::{Arg, ArgAction, Command};

use crate::strfry_db::linked_lmdb;

/// Heading of the options that say which events are wanted.
pub(super) const ASK: &str = "What to ask for";
/// Heading of the options that say which relays are asked, and how.
pub(super) const WHOM: &str = "Whom to ask";
/// Heading of the options that say where strfry and its files are.
pub(super) const STRFRY: &str = "strfry and this node";
/// Heading of the options that say what is written where.
pub(super) const OUTPUT: &str = "Output";

const EXIT_CODES: &str = "\
Exit codes:
  0  done; for backfill: every peer gave all that was asked, and all of it is
     accounted for; for diff: every peer's difference is known completely,
     whatever it is; for import: every event is in the database, or was
     superseded, deleted or left out
  1  finished, but something is incomplete or missing (profiles --check: a
     profile is missing; verify: an event is wrong; import: an event was
     refused; bench: answers differ; doctor: something is wrong)
  2  wrong usage or configuration
  3  could not run: trouble with the database, strfry, or the files of a run
     (lock, log); for backfill also: another one has been running for more than
     two hours";

/// The commands of the first help, in groups.
const GROUPS: &[(&str, &[&str])] = &[
    ("Fetch", &["backfill", "diff", "peers", "import", "history", "report"]),
    ("Read", &["profiles", "pubkeys", "scan", "export", "verify", "stats"]),
    ("Set up", &["doctor", "config", "systemd", "completions", "man", "bench", "adopt"]),
];

/// What a command line does, and that line. Tests run them on a node that has the files
/// `pubkeys.txt`, `filter.json` and `backup.jsonl`, with a relay of their own in the place of
/// `wss://relay.example`.
const EXAMPLES: &[(&str, &[(&str, &str)])] = &[
    (
        "backfill",
        &[
            ("The hourly run of a node", "strfry-companion backfill --days 1"),
            (
                "Profiles and relay lists of some authors, from one relay",
                "strfry-companion backfill --pubkeys pubkeys.txt --kinds 0,10002 \\\n      \
                 --relay wss://relay.example --no-fallback",
            ),
            ("What a run would import", "strfry-companion backfill --dry-run --json"),
        ],
    ),
    (
        "diff",
        &[
            ("How do we and our peers differ?", "strfry-companion diff --days 7 --kinds 0,3"),
            (
                "All that one relay has of some authors, with ids",
                "strfry-companion diff --days 0 --relay wss://relay.example \\\n      \
                 --pubkeys pubkeys.txt --ids",
            ),
        ],
    ),
    (
        "history",
        &[
            ("The runs so far", "strfry-companion history"),
            ("The last one, whole", "strfry-companion history show"),
        ],
    ),
    ("report", &[("A page of the last run, to look at", "strfry-companion report report.html")]),
    (
        "peers",
        &[(
            "How fast each relay answers, and what it can do",
            "strfry-companion peers --probe --relay wss://relay.example",
        )],
    ),
    (
        "import",
        &[
            (
                "A backup, and what of it is not in the database afterwards",
                "strfry-companion import backup.jsonl --rejects not-imported.jsonl",
            ),
            (
                "From another program, on one core",
                "cat backup.jsonl | strfry-companion import --threads 1 --json",
            ),
        ],
    ),
    (
        "profiles",
        &[
            (
                "How many of our pubkeys have no profile here?",
                "strfry-companion profiles --missing",
            ),
            (
                "Some authors, for a program",
                "strfry-companion profiles --pubkeys pubkeys.txt --format jsonl",
            ),
        ],
    ),
    ("pubkeys", &[("The list itself, one pubkey on each line", "strfry-companion pubkeys --list")]),
    (
        "scan",
        &[
            (
                "The newest notes with a hashtag",
                "strfry-companion scan '{\"kinds\":[1],\"#t\":[\"nostr\"],\"limit\":100}'",
            ),
            (
                "Ids and dates, without reading the events' JSON",
                "strfry-companion scan @filter.json --fields id,created_at",
            ),
            ("How many reactions are there?", "strfry-companion scan '{\"kinds\":[7]}' --count"),
        ],
    ),
    (
        "export",
        &[
            (
                "The newest events of the last years",
                "strfry-companion export --since 1700000000 --reverse | head -100",
            ),
            ("For strfry import --fried", "strfry-companion export --fried > fried.jsonl"),
        ],
    ),
    (
        "verify",
        &[
            ("The whole database", "strfry-companion verify > wrong.jsonl"),
            (
                "Profiles since 2023",
                "strfry-companion verify '{\"kinds\":[0],\"since\":1700000000}'",
            ),
            ("A backup", "strfry-companion verify backup.jsonl"),
        ],
    ),
    (
        "stats",
        &[(
            "A month, day by day, and the five busiest authors",
            "strfry-companion stats --days 30 --top 5",
        )],
    ),
    (
        "config",
        &[
            ("What would the hourly run do?", "strfry-companion config show backfill --days 1"),
            ("Which database is read?", "strfry-companion config show --json stats"),
        ],
    ),
    (
        "doctor",
        &[
            ("Is all well here?", "strfry-companion doctor"),
            (
                "Beside a relay, for a program",
                "strfry-companion doctor --relay wss://relay.example --json",
            ),
        ],
    ),
    (
        "systemd",
        &[
            (
                "A service, and the timer that starts it every hour",
                "strfry-companion systemd service --days 1 > strfry-companion.service \\\n      \
                 && strfry-companion systemd timer > strfry-companion.timer",
            ),
            (
                "A line for a crontab, for one relay",
                "strfry-companion systemd cron --relay wss://relay.example \\\n      \
                 --pubkeys pubkeys.txt",
            ),
        ],
    ),
    (
        "completions",
        &[
            ("For bash", "strfry-companion completions bash > strfry-companion.bash"),
            ("For fish", "strfry-companion completions fish > strfry-companion.fish"),
        ],
    ),
    (
        "man",
        &[
            ("The page of a command", "strfry-companion man backfill > backfill.1"),
            ("Write all pages", "mkdir -p man1 && strfry-companion man --dir man1"),
        ],
    ),
    (
        "adopt",
        &[(
            "What would be changed in the script?",
            "strfry-companion adopt --script backfill_constellation.sh",
        )],
    ),
    (
        "bench",
        &[
            ("A strfry scan for each pubkey, or this program?", "strfry-companion bench --runs 1"),
            (
                "The same for a filter",
                "strfry-companion bench scan '{\"kinds\":[1],\"limit\":500}' --runs 1",
            ),
        ],
    ),
];

/// What a command's `--help` says below its options.
pub(super) fn after_options(command: &str) -> String {
    let mut text = String::from("Examples:\n");
    for (what, line) in examples(command) {
        let end = if what.ends_with('?') { "" } else { ":" };
        let _ = writeln!(text, "  {what}{end}\n    {line}\n");
    }
    text + EXIT_CODES
}

fn examples(command: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let named = EXAMPLES.iter().find(|(name, _)| *name == command);
    named.into_iter().flat_map(|(_, examples)| *examples).copied()
}

/// `-h` and `--help`, in the last group of options that a command has anyway.
pub(super) fn help_option(command: &Command) -> Arg {
    let help = Arg::new("help").short('h').long("help").action(ArgAction::Help);
    let help = help.help("Show this; --help has all options, with examples");
    let is_output = |arg: &Arg| arg.get_help_heading() == Some(OUTPUT);
    if command.get_arguments().any(is_output) { help.help_heading(OUTPUT) } else { help }
}

/// The first help: all commands, in groups, a line each.
pub(super) fn list_of_commands(command: &Command) -> String {
    let mut text = String::new();
    for (group, names) in GROUPS {
        for (position, name) in names.iter().enumerate() {
            let group = if position == 0 { group } else { "" };
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "{group:<7} {name:<11} {about}");
        }
    }
    text + "Options of a command: strfry-companion COMMAND -h; explained: --help"
}

/// What `--version` says: the program's version, and what it reads with what.
pub(super) fn version() -> String {
    format!(
        "{}\nreads databases of strfry 1.0 and 1.1 (DB version 3), imports through their \
         strfry import\nlinked with {}",
        env!("CARGO_PKG_VERSION"),
        linked_lmdb().0
    )
}

/// What the first `--help` says below the commands.
pub(super) fn exit_codes() -> &'static str {
    EXIT_CODES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::NAMES;

    #[test]
    fn every_command_is_in_one_group_and_has_an_example() {
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        let mut names = NAMES.to_vec();
        grouped.sort_unstable();
        names.sort_unstable();
        assert_eq!(grouped, names);
        for name in names {
            assert!(examples(name).next().is_some(), "{name}");
        }
    }
}
