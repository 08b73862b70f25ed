//! What the help looks like, and whether what it says can be typed.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::said::companion;
use crate::small_node::SmallNode;
use crate::support::node::code;

/// One line is the next prompt's.
const LINES: usize = 23;
const COLUMNS: usize = 80;

fn help(arguments: &[&str]) -> String {
    let output = companion(arguments).env("COLUMNS", COLUMNS.to_string()).output().unwrap();
    assert_eq!((code(&output), output.stderr.len()), (0, 0), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that the first help lists.
fn commands() -> Vec<String> {
    let help = help(&["-h"]);
    let list = help.lines().skip_while(|line| !line.is_empty()).skip(1);
    let list = list.take_while(|line| !line.starts_with("Options"));
    list.map(|line| line[8..].split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn the_short_help_of_every_command_fits_one_screen() {
    let commands = commands();
    assert!(commands.len() > 10, "{commands:?}");
    let each = commands.iter().map(|command| vec![command.as_str(), "-h"]);
    for arguments in each.chain([vec!["-h"]]) {
        let help = help(&arguments);
        let widest = help.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(help.lines().count() <= LINES && widest <= COLUMNS, "{arguments:?}:\n{help}");
    }
}

#[test]
fn the_long_help_of_every_command_has_every_option_an_example_and_the_exit_codes() {
    for command in commands() {
        let (short, long) = (help(&[&command, "-h"]), help(&[&command, "--help"]));
        let options = short.split_whitespace().filter(|word| word.starts_with("--"));
        let missing: Vec<&str> =
            options.filter(|option| !long.contains(option.trim_end_matches(';'))).collect();
        assert_eq!(missing, [""; 0], "{command}");
        assert!(long.contains("\nExamples:\n") && long.contains("\nExit codes:\n"), "{command}");
    }
}

/// The command lines of a help's examples.
fn examples(help: &str) -> Vec<String> {
    let examples = help.split_once("\nExamples:\n").unwrap().1;
    let examples = examples.split_once("\nExit codes:").unwrap().0.replace("\\\n", "");
    let lines = examples.lines().filter_map(|line| line.strip_prefix("    "));
    lines.map(str::to_owned).collect()
}

#[test]
fn the_examples_of_every_help_can_be_typed() {
    let small = SmallNode::new();
    small.node.import(&small.events[..2]);
    let place = tempfile::tempdir().unwrap();
    symlink(small.node.home(), place.path().join(".zen")).unwrap();
    let pubkeys = [&small.alice, &small.bob].map(|author| format!("{}\n", author.pubkey()));
    fs::write(place.path().join("pubkeys.txt"), pubkeys.concat()).unwrap();
    fs::write(place.path().join("filter.json"), "{\"kinds\":[0]}").unwrap();
    fs::write(place.path().join("backup.jsonl"), small.events.join("\n")).unwrap();
    let script = "#!/bin/bash\n# constellation-backfill.log\n\
                  discover_constellation_peers() {\n    :\n}\nmain \"$@\"\n";
    fs::write(place.path().join("backfill_constellation.sh"), script).unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_strfry-companion")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut tried = 0;
    for command in commands() {
        for example in examples(&help(&[&command, "--help"])) {
            assert!(example.contains("strfry-companion"), "{example}");
            let line = example.replace("wss://relay.example", &small.relay.url());
            let mut shell = Command::new("sh");
            shell.args(["-c", &line]).current_dir(place.path()).env("PATH", &path);
            shell.env("HOME", place.path()).env_remove("IPFSNODEID").env_remove("STRFRY_CONFIG");
            shell.env("STRFRY_COMPANION_ALLOW_LOCAL_PEERS", "true");
            shell.env("STRFRY_COMPANION_NO_FALLBACK", "true");
            let output = shell.output().unwrap();
            assert!(code(&output) <= 1, "{example}: {output:?}");
            tried += 1;
        }
    }
    assert!(tried > 20, "{tried}");
}

#[test]
fn a_mistaken_command_or_option_gets_a_suggestion() {
    for (arguments, tip) in [
        (&["backfil"][..], "tip: a similar subcommand exists: 'backfill'"),
        (&["backfill", "--relais", "x"], "tip: a similar argument exists: '--relay'"),
        (&["stats", "--jsn"], "tip: a similar argument exists: '--json'"),
        (&["stats", "--lock", "shard"], "tip: a similar value exists: 'shared'"),
        (&["config", "shwo"], "tip: a similar subcommand exists: 'show'"),
    ] {
        let output = companion(arguments).output().unwrap();
        let err = String::from_utf8(output.stderr.clone()).unwrap();
        assert_eq!(code(&output), 2, "{err}");
        assert!(err.contains(tip), "{arguments:?}: {err}");
    }
}

#[test]
fn a_command_within_a_command_has_help_of_its_own() {
    let help = help(&["config", "show", "-h"]);
    assert!(help.starts_with("Show what each option of a command is set to"), "{help}");
    assert!(help.contains("-h, --help"), "{help}");
}

#[test]
fn the_version_names_what_it_reads_and_what_it_is_linked_with() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(help(&["-V"]), format!("strfry-companion {version}\n"));
    let lmdb = strfry_companion::strfry_db::linked_lmdb().0;
    assert_eq!(
        help(&["--version"]),
        format!(
            "strfry-companion {version}\nreads databases of strfry 1.0 and 1.1 (DB version 3), \
             imports through their strfry import\nlinked with {lmdb}\n"
        )
    );
}

#[test]
fn completions_name_every_command_and_its_options() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = help(&["completions", shell]);
        for command in commands() {
            assert!(script.contains(&command), "{shell} {command}");
        }
        assert!(script.contains("fallback-relay") && script.contains("one-snapshot"), "{shell}");
    }
    // bash takes its script, and completes with it.
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("script"), help(&["completions", "bash"])).unwrap();
    let completed = "COMP_WORDS=(strfry-companion backfill --fallback-r); COMP_CWORD=2; \
                     . ./script; _strfry__companion strfry-companion --fallback-r backfill; \
                     echo \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    let Ok(output) = bash.args(["-c", completed]).current_dir(place.path()).output() else {
        return println!("skipped: there is no bash");
    };
    assert_eq!(String::from_utf8_lossy(&output.stdout), "--fallback-relay\n", "{output:?}");
}

#[test]
fn a_manual_page_has_the_text_of_the_help() {
    let page = help(&["man"]);
    for command in commands() {
        assert!(page.contains(&format!("strfry\\-companion\\-{command}(1)")), "{command}: {page}");
        let page = help(&["man", &command]);
        assert!(page.contains(&format!(".TH strfry-companion-{command} 1")), "{page}");
        assert!(page.contains("Exit codes:"), "{command}");
    }
    assert!(help(&["man", "backfill"]).contains("\\-\\-fallback\\-relay"));
    let place = tempfile::tempdir().unwrap();
    assert_eq!(help(&["man", "--dir", place.path().to_str().unwrap()]), "");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), commands().len() + 1);
    assert_eq!(fs::read_to_string(place.path().join("strfry-companion.1")).unwrap(), page);
}
