//! Where strfry, its configuration and its database are found, and where a run writes.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use crate::operator::{CONF, DATABASE, Operator, Said};
use crate::support::events::Author;
use crate::support::{machine_has_a_strfry_conf, strfry_bin};
use crate::with_each_strfry;

const STATE_FILES: [&str; 6] = [
    "constellation-backfill.error.log",
    "constellation-backfill.history.jsonl",
    "constellation-backfill.lock",
    "constellation-backfill.log",
    "constellation-backfill.state.json",
    "hex-to-profile.log",
];

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Puts strfry into a directory that is alone in PATH.
fn with_strfry_in_path(operator: &Operator, command: &mut Command) {
    fs::create_dir_all(operator.at("bin")).unwrap();
    symlink(&operator.strfry, operator.at("bin/strfry")).unwrap();
    command.env("PATH", operator.at("bin"));
}

/// Where the state of the database is, below a directory for the state of many programs.
fn state_in(operator: &Operator, directory: &str) -> String {
    let database = operator.at(DATABASE).canonicalize().unwrap();
    format!("{directory}/strfry-companion{}", database.display())
}

#[test]
fn an_operator_names_nothing_but_what_to_ask_for() {
    with_each_strfry(|strfry| {
        let operator = Operator::new(strfry);
        let mut command = operator.backfill(&[]);
        with_strfry_in_path(&operator, &mut command);
        operator.assert_complete(command.current_dir(operator.at("srv")));
        // Nothing lies beside the configuration, and nobody else may read what is elsewhere.
        assert_eq!(operator.names("srv"), set(&["strfry-db", "strfry.conf"]));
        assert_eq!(operator.names("srv/strfry-db"), set(&["data.mdb", "lock.mdb"]));
        let state = state_in(&operator, "home/.local/state");
        assert_eq!(operator.names(&state), set(&STATE_FILES));
        let mode = fs::metadata(operator.at(&state)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(operator.names("home"), set(&[".local"]));
    });
}

#[test]
fn the_environment_says_where_strfrys_configuration_is_and_where_state_goes() {
    let operator = Operator::new(&strfry_bin());
    let strfry = operator.strfry.to_str().unwrap();
    operator.write(
        CONF,
        &format!("db = \"{}\"\nrelay {{\n nofiles = 0\n}}\n", operator.shown(DATABASE)),
    );
    let run = || {
        let mut command = operator.backfill(&["--strfry-bin", strfry]);
        command.env("STRFRY_CONFIG", operator.at(CONF));
        command
    };
    operator.assert_complete(run().env("STATE_DIRECTORY", operator.at("systemd")));
    assert_eq!(operator.names("systemd"), set(&STATE_FILES));
    assert_eq!(operator.said(run().env("XDG_STATE_HOME", operator.at("xdg"))).code, 0);
    assert_eq!(operator.names(&state_in(&operator, "xdg")), set(&STATE_FILES));
    assert_eq!(operator.said(run().arg("--state-dir").arg(operator.at("a/b"))).code, 0);
    assert_eq!(operator.names("a/b"), set(&STATE_FILES));
    assert_eq!(operator.names("srv"), set(&["strfry-db", "strfry.conf"]));
    assert_eq!((operator.names("home"), operator.names("here")), (set(&[]), set(&[])));
}

#[test]
fn a_configuration_that_the_environment_names_must_be_there() {
    let operator = Operator::new(&strfry_bin());
    for command in [&["scan", "--count", "{}"][..], &["import"], &["stats"]] {
        let said = operator.said(operator.companion(command).env("STRFRY_CONFIG", "missing.conf"));
        let expected = "strfry-companion: there is no strfry configuration at \
                        \"ROOT/here/missing.conf\"; name the file with --strfry-config\n";
        assert_eq!(said, Said { code: 2, out: String::new(), err: expected.into() });
    }
}

#[test]
fn without_any_configuration_the_error_names_the_places_that_were_looked_at() {
    if machine_has_a_strfry_conf() {
        return;
    }
    let operator = Operator::new(&strfry_bin());
    let database = operator.shown(DATABASE);
    let of_node = "\"ROOT/home/.zen/strfry/strfry.conf\"";
    let rest = "\"/etc/strfry.conf\", \"ROOT/here/strfry.conf\"";
    let expected = |places: &str| Said {
        code: 2,
        out: String::new(),
        err: format!(
            "strfry-companion: there is no strfry configuration: $STRFRY_CONFIG is not set, and \
             none of these files exists: {places}; name the file with --strfry-config FILE\n"
        ),
    };
    for command in ["backfill", "import"] {
        let run = || operator.companion(&[command, "--db", &database]);
        assert_eq!(operator.said(&mut run()), expected(&format!("{of_node}, {rest}")));
        let dir = operator.at("elsewhere");
        assert_eq!(
            operator.said(run().arg("--strfry-dir").arg(dir)),
            expected(&format!("\"ROOT/elsewhere/strfry.conf\", {of_node}, {rest}"))
        );
    }
}

#[test]
fn every_command_finds_the_database_of_the_configuration_that_strfry_would_use() {
    let operator = Operator::new(&strfry_bin());
    assert_eq!(
        operator
            .said(&mut operator.import(&[
                "--strfry-config",
                operator.at(CONF).to_str().unwrap(),
                "--strfry-bin",
                operator.strfry.to_str().unwrap(),
            ]))
            .code,
        0
    );
    let count = format!("{}\n", operator.events.len());
    let scan = || operator.companion(&["scan", "--count", "{}"]);
    let by_environment =
        operator.said(scan().env("STRFRY_CONFIG", "strfry.conf").current_dir(operator.at("srv")));
    let beside = operator.said(scan().current_dir(operator.at("srv")));
    let named = operator.said(scan().arg("--strfry-dir").arg(operator.at("srv")));
    for said in [by_environment, beside, named] {
        assert_eq!(said, Said { code: 0, out: count.clone(), err: String::new() });
    }
    // Where there is none, the error names the node's place.
    let nowhere = operator.said(&mut scan());
    assert_eq!(
        nowhere.err,
        "strfry-companion: no database at ROOT/home/.zen/strfry/strfry-db: start strfry once, or \
         name its directory with --db\n"
    );
}

/// What has been asked for and found empty for one is not here in the other.
#[test]
fn two_databases_do_not_share_a_state_also_if_the_first_is_empty() {
    let operator = Operator::new(&strfry_bin());
    let nobody = operator.write("nobody", &Author::new(2).pubkey().to_string());
    let run = |conf: &str, flags: &[&str]| {
        let url = operator.relay.url();
        let mut command = operator.companion(&["backfill", "--no-fallback", "--days", "0"]);
        command.args(["--relay", &url]).arg("--strfry-bin").arg(&operator.strfry).args(flags);
        command.arg("--pubkeys").arg(&nobody);
        operator.said(command.arg("--strfry-config").arg(operator.at(conf)))
    };
    let other = "other/strfry.conf";
    fs::create_dir_all(operator.at("other/strfry-db")).unwrap();
    fs::copy(operator.at(CONF), operator.at(other)).unwrap();
    for conf in [CONF, CONF, other, CONF, other] {
        let said = run(conf, &[]);
        assert_eq!(said.code, 0, "{said:?}");
    }
    let directory = operator.shown("state");
    let named = ["--state-dir", &directory];
    assert_eq!(run(CONF, &named).code, 0);
    let said = run(other, &named);
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    let expected = "is of another database, or of this one before a backup was restored (that one, \
                    at ROOT/srv/strfry-db, was empty, and this one is at ROOT/other/strfry-db)";
    assert!(said.err.contains(expected), "{}", said.err);
    assert!(said.err.contains("(--state-dir)"), "{}", said.err);
}

/// As packages and images have it: the configuration in /etc, the database elsewhere.
#[test]
fn the_machines_configuration_is_used_as_strfry_uses_it() {
    with_each_strfry(|strfry| {
        let operator = Operator::new(strfry);
        let mount = "mount -t tmpfs tmpfs /etc && cp \"$0\" /etc/strfry.conf && exec \"$@\"";
        let in_namespace = |command: &Command| {
            let mut unshare = Command::new("unshare");
            unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", mount]);
            unshare
                .arg(operator.at("etc.conf"))
                .arg(command.get_program())
                .args(command.get_args());
            for (name, value) in command.get_envs() {
                match value {
                    Some(value) => unshare.env(name, value),
                    None => unshare.env_remove(name),
                };
            }
            unshare.current_dir(command.get_current_dir().unwrap());
            unshare
        };
        fs::rename(operator.at(CONF), operator.at("etc.conf")).unwrap();
        let possible = operator
            .said(&mut in_namespace(Command::new("true").current_dir(operator.root.path())));
        if possible.code != 0 {
            return println!("skipped: no mount namespace can be made here");
        }
        // Its `db` is relative: it starts from where strfry runs, which is here unless it is named.
        let mut here = operator.backfill(&[]);
        fs::create_dir(operator.at("bin")).unwrap();
        symlink(strfry, operator.at("bin/strfry")).unwrap();
        let path = std::env::var("PATH").unwrap();
        here.current_dir(operator.at("srv"))
            .env("PATH", format!("{}:{path}", operator.shown("bin")));
        let said = operator.said(&mut in_namespace(&here));
        assert_eq!(said.code, 0, "{said:?}");
        let mut there = operator.companion(&["scan", "--count", "{}", "--strfry-dir"]);
        let said = operator.said(&mut in_namespace(there.arg(operator.at("srv"))));
        assert_eq!((said.code, said.out), (0, format!("{}\n", operator.events.len())));
    });
}
