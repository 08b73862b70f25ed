//! What `systemd` prints, taken as systemd, cron and compose take it, and run.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::operator::{Operator, Said};
use crate::support::events::sorted_ids;
use crate::support::node::Node;
use crate::support::strfry_bin;
use crate::with_each_strfry;

/// A name with what systemd, cron, shells, YAML and compose understand in a way of their own.
const ODD: &str = "a b%n%%$HOME ${X}'q\"\\%é;#:,\\";

/// The same, less what systemd takes in no program's path.
const PROGRAM_DIR: &str = "c d%n%%$HOME ${X}%é;#:,";

/// The lines of a unit: values by name, in their order. A backslash joins two lines.
fn settings(unit: &str) -> BTreeMap<String, Vec<String>> {
    let mut settings: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let joined = unit.replace("\\\n", " ");
    for line in joined.lines().filter(|line| !line.starts_with('#')) {
        if let Some((name, value)) = line.split_once('=') {
            settings.entry(name.to_owned()).or_default().push(value.to_owned());
        }
    }
    settings
}

/// Words as systemd.syntax(7) splits them, with `%%` for `%`.
fn words(value: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, ' ') => words.extend(word.take()),
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (Some(open), _) if character == open => quote = None,
            (_, '\\') => {
                let escaped = characters.next().unwrap();
                assert!("\\\"".contains(escaped), "{value}");
                word.get_or_insert_default().push(escaped);
            }
            (_, '%') => {
                assert_eq!(characters.next(), Some('%'), "a specifier: {value}");
                word.get_or_insert_default().push('%');
            }
            _ => word.get_or_insert_default().push(character),
        }
    }
    assert_eq!(quote, None, "{value}");
    words.extend(word);
    words
}

/// What cron gives a shell (`do_command.c` of vixie-cron): `%` ends it, and a backslash before `%`
/// goes.
fn by_cron(command: &str) -> String {
    let (mut text, mut escaped) = (String::new(), false);
    for character in command.chars() {
        match character {
            '%' if escaped => {
                text.pop();
                text.push('%');
                escaped = false;
            }
            '%' => panic!("the line ends here: {text}"),
            _ => {
                text.push(character);
                escaped = character == '\\' && !escaped;
            }
        }
    }
    text
}

/// An operator all of whose files are in a directory with that name; `srv` leads there.
fn in_an_odd_place(strfry: &Path) -> Operator {
    let operator = Operator::new(strfry);
    fs::rename(operator.at("srv"), operator.at(ODD)).unwrap();
    symlink(operator.at(ODD), operator.at("srv")).unwrap();
    let odd = |name: &str| operator.at(ODD).join(name);
    fs::rename(operator.at("pubkeys"), odd("pubkeys")).unwrap();
    fs::create_dir(operator.at(PROGRAM_DIR)).unwrap();
    let program = operator.at(PROGRAM_DIR).join("companion");
    symlink(env!("CARGO_BIN_EXE_strfry-companion"), program).unwrap();
    fs::create_dir(odd("state")).unwrap();
    operator
}

/// What is printed for that operator's backfill.
fn printed(operator: &Operator, what: &str) -> String {
    let mut command = Command::new(operator.at(PROGRAM_DIR).join("companion"));
    command.args(["systemd", what, "--days", "0", "--no-fallback", "--relay"]);
    command.arg(operator.relay.url()).args(["--pubkeys", "pubkeys", "--strfry-dir", "."]);
    command.args(["--state-dir", "state", "--strfry-bin"]).arg(&operator.strfry);
    for variable in ["IPFSNODEID", "STRFRY_CONFIG", "STATE_DIRECTORY", "IPFS_PATH"] {
        command.env_remove(variable);
    }
    command.env("HOME", operator.at("home")).env("PATH", "/nonexistent");
    let output = command.current_dir(operator.at(ODD)).output().unwrap();
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A run elsewhere, with nothing in the environment.
fn started_elsewhere(operator: &Operator, command: &mut Command) -> Said {
    operator.said(command.env_clear().env("HOME", operator.at("home")).current_dir("/"))
}

fn assert_all_is_here(operator: &Operator, said: &Said) {
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    assert_eq!(operator.stored(), sorted_ids(&operator.events));
}

/// Everything of the operator's is read-only, but for what follows up to `--`.
const CONFINED: &str = r#"
set -e
root=$1; shift
mount --bind "$root" "$root"
while [ "$1" != -- ]; do mount --bind "$1" "$1"; shift; done
shift
mount -o remount,bind,ro "$root"
if touch "$root/not-writable" 2>/dev/null; then exit 99; fi
exec "$@"
"#;

#[test]
fn the_service_starts_a_backfill_that_writes_only_where_it_may() {
    with_each_strfry(|strfry| {
        let operator = in_an_odd_place(strfry);
        let unit = settings(&printed(&operator, "service"));
        let [start] = &*unit["ExecStart"] else { panic!("{unit:?}") };
        // Without the colon systemd would put a variable in the place of `$HOME`.
        let command = words(start.strip_prefix(':').unwrap());
        let written: Vec<String> = unit["ReadWritePaths"].iter().flat_map(|it| words(it)).collect();
        assert_eq!(
            written,
            [operator.shown(&format!("{ODD}/state")), operator.shown(&format!("{ODD}/strfry-db"))]
        );
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount"]);
        if !unshare.arg("true").output().is_ok_and(|made| made.status.success()) {
            return println!("skipped: no mount namespace can be made here");
        }
        let mut unshare = Command::new("/usr/bin/unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "/bin/sh", "-c", CONFINED, "sh"]);
        unshare.arg(operator.root.path()).args(written).arg("--").args(command);
        let said = started_elsewhere(&operator, &mut unshare);
        assert_all_is_here(&operator, &said);
    });
}

#[test]
fn the_line_for_cron_starts_a_backfill() {
    with_each_strfry(|strfry| {
        let operator = in_an_odd_place(strfry);
        let text = printed(&operator, "cron");
        let [line] = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>()[..]
        else {
            panic!("{text}")
        };
        let fields: Vec<&str> = line.splitn(6, ' ').collect();
        assert!(fields[0].parse::<u8>().unwrap() < 60, "{line}");
        assert_eq!(fields[1..5], ["*"; 4]);
        let mut shell = Command::new("/bin/sh");
        let said = started_elsewhere(&operator, shell.args(["-c", &by_cron(fields[5])]));
        assert_all_is_here(&operator, &said);
        // Nothing that cron would mail.
        assert_eq!(said.out, "");
    });
}

#[test]
fn systemd_finds_no_fault_in_service_and_timer() {
    let operator = in_an_odd_place(&strfry_bin());
    let units = ["service", "timer"].map(|what| {
        operator.write(&format!("units/strfry-companion.{what}"), &printed(&operator, what))
    });
    let verified = Command::new("systemd-analyze").arg("verify").args(&units).output();
    let Ok(verified) = verified else { return println!("skipped: there is no systemd-analyze") };
    // It also finds fault with the machine's own units.
    let said = String::from_utf8_lossy(&verified.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("strfry-companion")).collect();
    assert_eq!(ours, [""; 0]);
    let rated = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=30"])
        .arg(&units[0])
        .output()
        .unwrap();
    assert!(rated.status.success(), "{}", String::from_utf8_lossy(&rated.stdout));
}

#[test]
fn the_service_of_a_node_names_its_home_and_the_directories_that_it_writes_to() {
    let node = Node::new(&strfry_bin());
    fs::create_dir_all(node.home().join("tmp/coucou")).unwrap();
    let home = node.home().to_str().unwrap();
    let mut command = node.companion(&["systemd", "service"]);
    command.env("PATH", "/nonexistent").env("STRFRY_COMPANION_KINDS", "0,3");
    command.env("IPFSNODEID", "12D3KooW");
    let output = command.output().unwrap();
    // A service whose runs could do nothing is printed all the same.
    assert_eq!(
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()),
        (
            Some(0),
            format!(
                "strfry-companion: warning: as things are, that backfill ends at once: no peers: no \
                 usable station in {home}/tmp/swarm (see the command 'peers'); name a relay with \
                 --relay\n"
            )
        )
    );
    let unit = settings(&String::from_utf8(output.stdout).unwrap());
    let owner = Command::new("id").arg("-un").output().unwrap().stdout;
    assert_eq!(unit["User"], [String::from_utf8(owner).unwrap().trim()]);
    assert_eq!(unit["Environment"], ["IPFSNODEID=12D3KooW"]);
    assert_eq!(
        words(&unit["ExecStart"][0]),
        [
            env!("CARGO_BIN_EXE_strfry-companion"),
            "backfill",
            "--kinds=0,3",
            &format!("--home={home}"),
        ]
    );
    assert_eq!(unit["ReadWritePaths"], [format!("{home}/strfry"), format!("{home}/tmp/coucou")]);
}

#[test]
fn the_compose_file_has_the_same_paths_inside_and_outside() {
    let operator = in_an_odd_place(&strfry_bin());
    let text = printed(&operator, "compose");
    let odd = serde_json::json!(operator.shown(ODD).replace('$', "$$")).to_string();
    let odd = odd.trim_matches('"');
    let volumes = text.split_once("    volumes:\n").unwrap().1;
    let volume = |name: &str, how: &str| {
        format!("      - {{ type: bind, source: \"{odd}{name}\", target: \"{odd}{name}\"{how} }}\n")
    };
    assert_eq!(
        volumes,
        [volume("", ", read_only: true"), volume("/state", ""), volume("/strfry-db", "")].concat()
    );
    let command = text.split_once("    command:\n").unwrap().1.split_once("    user:").unwrap().0;
    let expected: String = [
        "--days=0",
        &format!("--relay={}", operator.relay.url()),
        "--pubkeys=ODD/pubkeys",
        "--no-fallback",
        "--strfry-dir=ODD",
        "--strfry-config=ODD/strfry.conf",
        "--state-dir=ODD/state",
        &format!("--strfry-bin={}", operator.strfry.display()),
    ]
    .map(|option| format!("      - \"{}\"\n", option.replace("ODD", odd)))
    .concat();
    assert_eq!(command, format!("      - backfill\n{expected}"));
}

#[test]
fn what_cannot_be_said_there_is_refused() {
    let operator = Operator::new(&strfry_bin());
    let strfry = operator.strfry.to_str().unwrap();
    let dir = operator.shown("srv");
    let place = ["--strfry-dir", &dir, "--strfry-bin", strfry];
    let refused = |what: &str, flags: &[&str]| {
        let mut command = operator.companion(&["systemd", what]);
        let said = operator.said(command.args(place).args(flags).env("PATH", "/nonexistent"));
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
        said.err
    };
    for what in ["service", "cron", "compose"] {
        assert_eq!(
            refused(what, &["--state-dir", "line\nfeed"]),
            "strfry-companion: \"ROOT/here/line\\nfeed\" cannot be written into such a file: it is \
             not UTF-8, or holds a character that is not shown; give the file or directory another \
             name\n"
        );
        assert_eq!(
            refused(what, &["--pubkeys", "-"]),
            "strfry-companion: --pubkeys - is standard input, which nobody writes to there: name a \
             file\n"
        );
    }
    let relays = vec!["wss://a-relay.example"; 40];
    assert_eq!(
        refused("cron", &[&["--relay"], relays.as_slice()].concat()),
        "strfry-companion: the line is too long for cron, which takes 998 bytes: say some of it in a \
         configuration file (see docs/configuring.md), or use a timer\n"
    );
    symlink(env!("CARGO_BIN_EXE_strfry-companion"), operator.at("it's")).unwrap();
    let mut command = Command::new(operator.at("it's"));
    command.args(["systemd", "service"]).args(place).env("HOME", operator.at("home"));
    assert_eq!(
        operator.said(&mut command).err,
        "strfry-companion: systemd starts no program with a quote or a backslash in its path: put \
         ROOT/it's elsewhere\n"
    );
    let by_command = |what: &str, command: &str| {
        let db = operator.shown("srv/strfry-db");
        let flags = ["systemd", what, "--db", &db, "--strfry-command", command];
        let said = operator.said(operator.companion(&flags).env("PATH", "/nonexistent"));
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
        said.err
    };
    assert_eq!(
        by_command("compose", "docker exec -i relay strfry"),
        "strfry-companion: no compose file: a container starts no --strfry-command\n"
    );
    assert_eq!(
        by_command("service", "/usr/bin/sudo -n -u strfry strfry"),
        "strfry-companion: \"sudo\" in --strfry-command gets no other user's rights there: call this \
         program as the user whose strfry it is, and name strfry with --strfry-bin\n"
    );
}

#[test]
fn a_directory_with_nothing_of_strfrys_is_not_made_its_directory() {
    let operator = Operator::new(&strfry_bin());
    let absolute = format!("db = \"{}\"\n", operator.shown("srv/strfry-db"));
    operator.write("etc/strfry.conf", &absolute);
    let strfry = operator.strfry.to_str().unwrap();
    let mut command = operator.companion(&["systemd", "cron", "--strfry-bin", strfry]);
    command.env("STRFRY_CONFIG", operator.at("etc/strfry.conf")).env("PATH", "/nonexistent");
    let said = operator.said(&mut command);
    let (_, command) = said.out.split_once(" backfill ").unwrap();
    assert_eq!(
        command,
        format!(
            "--strfry-config=ROOT/etc/strfry.conf --state-dir=ROOT/home/.local/state/strfry-companion\
             ROOT/srv/strfry-db --strfry-bin={strfry} --quiet\n"
        )
    );
    let warned = "strfry-companion: warning: as things are, that backfill ends at once: ";
    assert!(said.err.starts_with(&format!("{warned}no peers: ")), "{}", said.err);

    // A compose file is for a strfry that is not here.
    let err = |what| {
        let mut command = operator.companion(&["systemd", what, "--strfry-bin", "/nonexistent"]);
        command.env("STRFRY_CONFIG", operator.at("etc/strfry.conf"));
        operator.said(&mut command).err
    };
    let missing = format!("{warned}cannot start strfry (/nonexistent): ");
    assert!(err("cron").starts_with(&missing), "{}", err("cron"));
    assert!(err("compose").starts_with(&format!("{warned}no peers: ")), "{}", err("compose"));
}
