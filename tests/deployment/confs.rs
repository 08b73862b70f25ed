//! Configurations as deployments have them: images, packages, tools that generate them, hands that
//! mistype. Each is understood as strfry understands it, or refused with the reason.

use std::fs;
use std::path::Path;
use std::process::Command;

use strfry_companion::node::StrfryConf;

use crate::support::{NO_STRFRY, fixture, real_strfry};

/// What a configuration means: its database, without the root, `maxEventSize`,
/// `rejectEventsNewerThanSeconds`, `maxNumTags` and `maxTagValSize`; or how it is refused, between
/// the words that name it and those that say what to do.
type Meaning = Result<(&'static str, [usize; 4]), &'static str>;

const DEFAULTS: [usize; 4] = [65_536, 900, 2_000, 1_024];

const NOT_FOLLOWED: &str = "1: expected a plain key: '(include …)', '(temporary …)' and '(permanent \
                            …)' are not followed here, so put the values into this file";

const CONFS: [(&str, Meaning); 24] = [
    ("as-shipped", Ok(("here/strfry-db", DEFAULTS))),
    ("package", Ok(("var/lib/strfry", DEFAULTS))),
    ("image", Ok(("app/strfry-db", DEFAULTS))),
    ("only-db", Ok(("here/strfry-db", DEFAULTS))),
    ("nothing", Ok(("here/strfry-db", DEFAULTS))),
    ("json", Ok(("var/lib/strfry", [131_072, 900, 4_000, 1_024]))),
    ("dotted", Ok(("data/strfry", [262_144, 60, 2_000, 4_096]))),
    ("one-line", Ok(("mnt/relay/db", [1_000_000, 900, 10_000, 1_024]))),
    ("windows", Ok(("here/C-drive/strfry db", [70_000, 900, 2_000, 1_024]))),
    ("comments", Ok(("opt/strfry/db", DEFAULTS))),
    ("twice", Ok(("second", DEFAULTS))),
    ("raw-string", Ok(("srv/strfry", DEFAULTS))),
    ("computed-elsewhere", Ok(("var/lib/strfry", DEFAULTS))),
    ("environment", Err("1: db is computed from other values")),
    ("added", Err("1: db is computed from other values")),
    ("reference", Err("2: db is computed from other values")),
    ("include", Err(NOT_FOLLOWED)),
    ("computed-limit", Err("3: events.maxEventSize is computed from other values")),
    ("semicolons", Err("1: expected a key")),
    ("template", Err("3: expected a key")),
    ("yaml", Err("1: expected a value")),
    ("permanent", Err(NOT_FOLLOWED)),
    ("windows-path", Err("1: expected a valid escape after '\\'")),
    ("size-with-unit", Err("2: expected '=', ':', '+=', '{' or '[' after a key")),
];

const WHAT_TO_DO: [&str; 2] = [
    ", which only strfry itself can do; write the value out",
    "; correct the line, or name another file with --strfry-config",
];

/// Those that strfry itself does not accept.
const NOT_ACCEPTED: [&str; 7] =
    ["include", "semicolons", "template", "yaml", "permanent", "windows-path", "size-with-unit"];

fn write(name: &str, root: &Path) -> std::path::PathBuf {
    let text = fs::read_to_string(fixture("confs").join(format!("{name}.conf"))).unwrap();
    let path = root.join(format!("{name}.conf"));
    fs::write(&path, text.replace("/ROOT", root.to_str().unwrap())).unwrap();
    path
}

#[test]
fn configurations_of_all_sorts_are_understood_or_refused_with_the_line() {
    let root = tempfile::tempdir().unwrap();
    for (name, expected) in CONFS {
        let read = StrfryConf::read(&write(name, root.path()), &root.path().join("here"));
        let found = read.map(|conf| {
            let limits = conf.limits;
            let ahead = limits.seconds_ahead as usize;
            let numbers =
                [limits.max_event_size, ahead, limits.max_num_tags, limits.max_tag_val_size];
            (conf.db.strip_prefix(root.path()).unwrap().to_str().unwrap().to_owned(), numbers)
        });
        let found =
            found.map_err(|error| error.to_string().replace(root.path().to_str().unwrap(), "ROOT"));
        let named = format!("\"ROOT/{name}.conf\"");
        let found = found.map_err(|error| {
            let (_, why) = error.split_once(&named).unwrap();
            let (why, _) = WHAT_TO_DO.iter().find_map(|words| why.split_once(words)).unwrap();
            why.to_owned()
        });
        let expected = expected.map(|(db, numbers)| (db.to_owned(), numbers));
        assert_eq!(found, expected.map_err(|error| format!(", line {error}")), "{name}");
    }
    let files = fs::read_dir(fixture("confs")).unwrap().count();
    assert_eq!(files, CONFS.len());
}

#[test]
fn strfry_makes_its_database_where_its_configuration_is_understood_to_have_it() {
    let Some(strfry) = real_strfry() else { return println!("{NO_STRFRY}") };
    let strfry = std::path::absolute(strfry).unwrap();
    let root = tempfile::tempdir().unwrap();
    for (name, meaning) in CONFS {
        let conf = write(name, root.path());
        // A limit of the machine is no matter of a configuration.
        let text = fs::read_to_string(&conf).unwrap().replace("524288", "0").replace("20000", "0");
        fs::write(&conf, text).unwrap();
        let here = root.path().join("here");
        fs::create_dir_all(&here).unwrap();
        let database = meaning.ok().map(|(database, _)| root.path().join(database));
        if let Some(database) = &database {
            let _ = fs::remove_dir_all(database);
            fs::create_dir_all(database).unwrap();
        }
        let mut command = Command::new(&strfry);
        command.arg("--config").arg(&conf).arg("import").current_dir(here);
        command.env("RELAY_NAME", "a relay").env("STRFRY_DB", "/nonexistent");
        let log = String::from_utf8(crate::support::feed(&mut command, b"").stderr).unwrap();
        let accepted = log.contains("CONFIG: successfully installed");
        assert_eq!(accepted, !NOT_ACCEPTED.contains(&name), "{name}: {log}");
        if let Some(database) = database {
            assert!(database.join("data.mdb").exists(), "{name}: {log}");
        }
    }
}
