//! Options from configuration files and the environment.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::said::Said;
use crate::small_node::SmallNode;
use crate::support::terminal::on_terminal;

const NAME: &str = "strfry-companion.toml";

/// A user with a home, who may have a node in it.
struct User {
    home: TempDir,
}

impl User {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.home.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strfry-companion"));
        command.args(arguments).env("HOME", self.home.path()).env_remove("XDG_CONFIG_HOME");
        command.env_remove("STRFRY_CONFIG");
        command
    }

    fn said(&self, command: &mut Command) -> Said {
        Said::by(command, self.home.path())
    }

    /// What `config show` says of an option.
    fn shown(&self, command: &mut Command, option: &str) -> Value {
        let said = self.said(command);
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        let shown: Value = serde_json::from_str(&said.out).unwrap();
        let options = shown["options"].as_array().unwrap();
        options.iter().find(|row| row["name"] == option).unwrap().clone()
    }
}

fn row(name: &str, values: &[&str], from: &str, place: Option<&str>, over: &[&str]) -> Value {
    json!({"name": name, "values": values, "from": from, "place": place, "over": over})
}

#[test]
fn typed_wins_over_the_environment_over_the_node_over_the_user() {
    let user = User::new();
    let (of_user, of_node) = (format!("HOME/.config/{NAME}"), format!("HOME/.zen/{NAME}"));
    let show = ["config", "show", "--json", "backfill"];
    let days = |command: &mut Command| user.shown(command, "days");

    assert_eq!(days(&mut user.command(&show)), row("days", &["1"], "default", None, &[]));
    user.write(&format!(".config/{NAME}"), "days = 2\n");
    let expected = row("days", &["2"], "file", Some(&of_user), &[]);
    assert_eq!(days(&mut user.command(&show)), expected);
    user.write(&format!(".zen/{NAME}"), "days = 3\n");
    let expected = row("days", &["3"], "file", Some(&of_node), &[&of_user]);
    assert_eq!(days(&mut user.command(&show)), expected);
    let variable = "STRFRY_COMPANION_DAYS";
    let expected = row("days", &["4"], "environment", Some(variable), &[&of_node, &of_user]);
    assert_eq!(days(user.command(&show).env(variable, "4")), expected);
    let typed = [&show[..], &["--days", "5"]].concat();
    let expected = row("days", &["5"], "command line", None, &[variable, &of_node, &of_user]);
    assert_eq!(days(user.command(&typed).env(variable, "4")), expected);
}

#[test]
fn a_file_that_is_named_takes_the_place_of_the_usual_ones() {
    let user = User::new();
    user.write(&format!(".config/{NAME}"), "days = 2\n");
    user.write("own.toml", "kinds = [0, \"3\"]\npubkeys = [\"lists/a.txt\", \"~/b.txt\", \"-\"]\n");
    let own = user.home.path().join("own.toml");
    let show = ["config", "show", "--json", "backfill", "--config", own.to_str().unwrap()];
    let shown = |option| user.shown(&mut user.command(&show), option);
    assert_eq!(shown("days"), row("days", &["1"], "default", None, &[]));
    assert_eq!(shown("kinds"), row("kinds", &["0,3"], "file", Some("HOME/own.toml"), &[]));
    let files = ["HOME/lists/a.txt", "HOME/b.txt", "-"];
    assert_eq!(shown("pubkeys"), row("pubkeys", &files, "file", Some("HOME/own.toml"), &[]));
    let none = ["config", "show", "--json", "backfill", "--config", "none"];
    let days = user.shown(&mut user.command(&none), "days");
    assert_eq!(days, row("days", &["1"], "default", None, &[]));
}

#[test]
fn a_section_is_for_its_command_and_wins_over_the_lines_above() {
    let user = User::new();
    user.write(&format!(".config/{NAME}"), "days = 2\n[diff]\ndays = 9\n[stats]\ntop = 3\n");
    let place = format!("HOME/.config/{NAME}");
    let days =
        |command| user.shown(&mut user.command(&["config", "show", "--json", command]), "days");
    assert_eq!(days("backfill"), row("days", &["2"], "file", Some(&place), &[]));
    assert_eq!(days("diff"), row("days", &["9"], "file", Some(&place), &[]));
    // What wins over both names their file once.
    let typed = ["config", "show", "--json", "diff", "--days", "5"];
    let expected = row("days", &["5"], "command line", None, &[&place]);
    assert_eq!(user.shown(&mut user.command(&typed), "days"), expected);
}

#[test]
fn what_looks_at_backfills_looks_where_their_section_says() {
    let user = User::new();
    let text = "relay = [\"wss://all.example\"]\npubkeys = [\"all.txt\"]\n\
                [backfill]\nrelay = [\"wss://b.example\"]\npubkeys = [\"b.txt\"]\nhistory = \"kept\"\njson = true\n\
                [doctor]\npubkeys = [\"d.txt\"]\n";
    user.write(&format!(".config/{NAME}"), text);
    let values = |command: &str, option: &str| {
        let show = ["config", "show", "--json", command];
        user.shown(&mut user.command(&show), option)["values"].clone()
    };
    assert_eq!(values("doctor", "relay"), json!(["wss://b.example"]));
    assert_eq!(values("doctor", "pubkeys"), json!(["HOME/.config/d.txt"]));
    for command in ["backfill", "doctor", "history", "report"] {
        assert_eq!(values(command, "history"), json!(["HOME/.config/kept"]), "{command}");
    }
    // How each prints is its own.
    assert_eq!(values("doctor", "json"), json!(["false"]));
    assert_eq!(values("diff", "relay"), json!(["wss://all.example"]));
}

#[test]
fn a_run_does_what_the_files_and_the_environment_say() {
    let small = SmallNode::new();
    small.node.write(NAME, "kinds = \"0\"\nno-fallback = true\nallow-local-peers = true\n");
    let mut run = small.node.companion(&["backfill"]);
    let said = small.said(run.env("STRFRY_COMPANION_JSON", "true"));
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let summary: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(summary["status"], "complete");
    let requests = small.relay.record().requests;
    assert!(!requests.is_empty());
    assert!(requests.iter().all(|filter| filter["kinds"] == json!([0])), "{requests:?}");
    // By the old name, too.
    let mut run = small.node.script(&[]);
    let said = small.said(run.env("STRFRY_COMPANION_DRY_RUN", "on"));
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(said.out.starts_with("Complete: 0 events would be imported"), "{}", said.out);
}

#[test]
fn what_was_not_typed_is_named_when_it_is_wrong() {
    let user = User::new();
    user.write(&format!(".config/{NAME}"), "days = \"soon\"\n");
    let said = user.said(&mut user.command(&["backfill"]));
    assert_eq!(
        said,
        Said::refusal(
            2,
            format!(
                "error: invalid value 'soon' for '--days <N>': invalid digit found in string\n\n\
                 For more information, try '--help'.\n\
                 strfry-companion: --days comes from HOME/.config/{NAME}\n"
            )
        )
    );
    user.write(&format!(".config/{NAME}"), "kinds = \"soon\"\n");
    let said = user.said(&mut user.command(&["backfill"]));
    assert_eq!(said.code, 2);
    assert!(
        said.err.ends_with(&format!(
            "strfry-companion: options also come from HOME/.config/{NAME}: see strfry-companion \
             config show\n"
        )),
        "{}",
        said.err
    );
    let said = user.said(user.command(&["stats"]).env("STRFRY_COMPANION_JSON", "perhaps"));
    let refusal = "strfry-companion: STRFRY_COMPANION_JSON is 'perhaps': write true or false\n";
    assert_eq!(said, Said::refusal(2, refusal));
}

#[test]
fn a_contradiction_says_what_won() {
    let user = User::new();
    user.write(&format!(".config/{NAME}"), "no-fallback = true\n");
    let call = ["config", "show", "backfill", "--fallback-relay", "wss://f.example"];
    assert_eq!(
        user.said(&mut user.command(&call)).err,
        format!(
            "strfry-companion: --fallback-relay (the command line) wins over --no-fallback \
             (HOME/.config/{NAME})\n"
        )
    );
    // In one file nothing wins.
    let both = "no-fallback = true\nfallback-relay = [\"wss://f.example\"]\n";
    user.write(&format!(".config/{NAME}"), both);
    let said = user.said(&mut user.command(&["backfill"]));
    assert_eq!(said.code, 2);
    for line in [
        "cannot be used with '--no-fallback'",
        "strfry-companion: --no-fallback comes from HOME",
        "strfry-companion: --fallback-relay comes from HOME",
    ] {
        assert!(said.err.contains(line), "{line}: {}", said.err);
    }
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_what_may_be_meant() {
    let user = User::new();
    for (text, problem) in [
        ("dayz = 2", "no command has an option 'dayz' that can be set here; did you mean 'days'?"),
        (
            "qq = 2",
            "no command has an option 'qq' that can be set here; see strfry-companion config show",
        ),
        ("[backfil]\ndays = 2", "[backfil] is no command; did you mean 'backfill'?"),
        (
            "[stats]\ntopp = 2",
            "stats has no option 'topp' that can be set here; did you mean 'top'?",
        ),
        (
            "config = \"x\"",
            "no command has an option 'config' that can be set here; see strfry-companion config show",
        ),
        ("[man]\ndir = \"x\"", "the options of man are only typed; leave [man] out"),
        ("json = 1", "json takes true or false"),
        ("db = [\"a\", \"b\"]", "db takes one path, not a list of them"),
        ("days = true", "days takes texts or numbers"),
        ("relay = [[\"x\"]]", "relay takes texts or numbers"),
        ("db = \"a\\u0000b\"", "db holds a null character"),
    ] {
        user.write("own.toml", text);
        let own = user.home.path().join("own.toml");
        let said = user.said(&mut user.command(&["stats", "--config", own.to_str().unwrap()]));
        let problem = format!("strfry-companion: the configuration HOME/own.toml: {problem}\n");
        let said_first = Said { err: said.err.lines().next().unwrap().to_owned() + "\n", ..said };
        assert_eq!(said_first, Said::refusal(2, problem), "{text}");
    }
    user.write("own.toml", "days = 1\nkinds = \"0\n");
    let own = user.home.path().join("own.toml");
    let said = user.said(&mut user.command(&["stats", "--config", own.to_str().unwrap()]));
    let begin = "strfry-companion: the configuration HOME/own.toml, line 2: ";
    assert!(said.code == 2 && said.err.starts_with(begin), "{}", said.err);
}

#[test]
fn a_hostile_file_is_refused_and_holds_nothing_up() {
    let user = User::new();
    let own = user.home.path().join("own.toml");
    let refused = |problem: &str| {
        let said = user.said(&mut user.command(&["stats", "--config", own.to_str().unwrap()]));
        let begin = "strfry-companion: cannot read the configuration HOME/own.toml (--config none \
                     does without): ";
        let begin = format!("{begin}{problem}");
        assert!(said.code == 2 && said.err.starts_with(&begin), "{}", said.err);
    };
    let none = user.said(&mut user.command(&["stats", "--config", own.to_str().unwrap()]));
    assert_eq!(
        none,
        Said::refusal(
            2,
            "strfry-companion: there is no configuration HOME/own.toml; correct --config, or leave \
             it out to use the usual files\n"
        )
    );
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &own,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    refused("it is a pipe (FIFO), not a regular file");
    fs::remove_file(&own).unwrap();
    fs::create_dir(&own).unwrap();
    refused("");
    fs::remove_dir(&own).unwrap();
    user.write("own.toml", format!("# {}\n", "x".repeat(300_000)));
    refused("it is longer than 262144 bytes");
    user.write("own.toml", b"days = \"\xff\"\n");
    refused("stream did not contain valid UTF-8");
    user.write("own.toml", "days = 1\n");
    fs::set_permissions(&own, fs::Permissions::from_mode(0o646)).unwrap();
    refused("others can write to it, and could name programs to run");
    user.write("own.toml", format!("days = {}", "[".repeat(200_000)));
    let said = user.said(&mut user.command(&["stats", "--config", own.to_str().unwrap()]));
    assert!(said.code == 2 && !said.err.contains("bug at"), "{}", said.err);
}

/// What `config show` prints for people.
#[test]
fn each_option_is_shown_with_its_value_and_its_origin() {
    let user = User::new();
    user.write(&format!(".config/{NAME}"), "top = 3\n");
    let said = user.said(&mut user.command(&["config", "show", "stats", "--days", "9"]));
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let lines: Vec<&str> = said.out.lines().collect();
    let file = format!("HOME/.config/{NAME}");
    assert_eq!(lines[..2], ["Options of stats", &format!("Configuration files: {file}")]);
    for line in [
        &format!("  top            3  [{file}]"),
        "  payloads       false  [default]",
        "  db             (`db` of strfry.conf)  [default]",
        "  home           (~/.zen)  [default]",
    ] {
        assert!(lines.contains(&line), "{line}: {}", said.out);
    }
}

#[test]
fn a_long_value_goes_on_below_itself_on_a_terminal() {
    let user = User::new();
    let shown = on_terminal(&mut user.command(&["config", "show", "backfill"]), 80);
    assert_eq!(shown.code, Some(0));
    let lines: Vec<&str> = shown.out.lines().collect();
    assert!(lines.iter().all(|line| line.len() <= 80), "{}", shown.out);
    let at = lines.iter().position(|line| line.starts_with("  strfry-bin ")).unwrap();
    assert_eq!(
        lines[at..at + 2],
        [
            "  strfry-bin         (strfry in strfry's working directory, else in PATH)",
            "                     [default]",
        ]
    );
}
