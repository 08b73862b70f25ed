//! Where things are found and put, for nodes and for operators without one.

use std::fs;

use tempfile::TempDir;

use super::*;

fn node_at(home: &str) -> NodePaths {
    let named = Named { home: Some(home.into()), ..Named::default() };
    NodePaths::find(&named, &Surroundings::default())
}

/// A machine on which everything that can be found is a file of these names, below one directory.
struct Machine(TempDir);

impl Machine {
    fn with(files: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(&path, mode).unwrap();
        }
        Self(root)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn around(&self) -> Surroundings {
        Surroundings {
            working_dir: self.at("here"),
            user_home: Some(self.at("user")),
            strfry_config: None,
            etc_conf: self.at("etc/strfry.conf"),
            state_directory: None,
            xdg_state_home: None,
            path: Some(self.at("bin").into()),
        }
    }

    /// Configuration, directory and executable of strfry, without the root.
    fn strfry(&self, named: &Named, around: &Surroundings) -> [String; 3] {
        let paths = NodePaths::find(named, around);
        [paths.strfry_conf(), paths.strfry_dir().to_owned(), paths.strfry_bin()]
            .map(|path| self.short(&path))
    }

    fn state(&self, named: &Named, around: &Surroundings) -> String {
        let paths = NodePaths::find(named, around);
        let state = paths.state_dir();
        let files = [paths.peer_state(), paths.lock(), paths.log(), paths.error_log()];
        assert!(files.iter().all(|file| file.parent() == Some(state)), "{files:?}");
        assert_eq!(paths.profile_log().parent(), Some(state));
        self.short(state)
    }

    fn short(&self, path: &Path) -> String {
        path.strip_prefix(self.0.path()).unwrap_or(path).display().to_string()
    }
}

#[test]
fn everything_is_where_the_other_programs_of_a_node_look() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("strfry")).unwrap();
    let paths = node_at(home.path().to_str().unwrap());
    let made = [
        paths.home().to_owned(),
        paths.strfry_dir().to_owned(),
        paths.strfry_bin(),
        paths.strfry_conf(),
        paths.default_database(),
        paths.swarm(),
        paths.game_nostr(),
        paths.amis_of_amis(),
        paths.flashmem(),
        paths.blacklist(),
        paths.log(),
        paths.error_log(),
        paths.lock(),
        paths.peer_state(),
        paths.profiles_json(),
        paths.profiles_csv(),
        paths.profile_log(),
    ];
    let expected = [
        "",
        "strfry",
        "strfry/strfry",
        "strfry/strfry.conf",
        "strfry/strfry-db",
        "tmp/swarm",
        "game/nostr",
        "strfry/amisOfAmis.txt",
        "flashmem",
        "strfry/blacklist.txt",
        "strfry/constellation-backfill.log",
        "strfry/constellation-backfill.error.log",
        "strfry/constellation-backfill.lock",
        "strfry/constellation-backfill.state.json",
        "tmp/coucou/_NIP101.profiles.json",
        "tmp/coucou/_NIP101.profiles.csv",
        "strfry/hex-to-profile.log",
    ];
    assert_eq!(made, expected.map(|path| home.path().join(path)));
}

#[test]
fn strfrys_configuration_is_the_first_that_there_is() {
    let machine = Machine::with(&[
        "named.conf",
        "dir/strfry.conf",
        "zen/strfry/strfry.conf",
        "environment.conf",
        "user/.zen/strfry/strfry.conf",
        "etc/strfry.conf",
        "here/strfry.conf",
    ]);
    let mut around = machine.around();
    around.strfry_config = Some(machine.at("environment.conf"));
    let mut named = Named {
        home: Some(machine.at("zen")),
        strfry_dir: Some(machine.at("dir")),
        strfry_config: Some(machine.at("named.conf")),
        state_dir: None,
    };
    let conf = |named: &Named, around: &Surroundings| {
        let paths = NodePaths::find(named, around);
        (machine.short(&paths.strfry_conf()), paths.names_conf())
    };
    let mut found = vec![conf(&named, &around)];
    named.strfry_config = None;
    found.push(conf(&named, &around));
    named.strfry_dir = None;
    found.push(conf(&named, &around));
    named.home = None;
    found.push(conf(&named, &around));
    around.strfry_config = None;
    found.push(conf(&named, &around));
    fs::remove_dir_all(machine.at("user/.zen")).unwrap();
    found.push(conf(&named, &around));
    fs::remove_file(machine.at("etc/strfry.conf")).unwrap();
    found.push(conf(&named, &around));
    fs::remove_file(machine.at("here/strfry.conf")).unwrap();
    found.push(conf(&named, &around));
    let expected = [
        ("named.conf", true),
        ("dir/strfry.conf", false),
        ("zen/strfry/strfry.conf", false),
        ("environment.conf", true),
        ("user/.zen/strfry/strfry.conf", false),
        ("etc/strfry.conf", false),
        ("here/strfry.conf", false),
        ("user/.zen/strfry/strfry.conf", false),
    ];
    assert_eq!(found, expected.map(|(path, names)| (path.to_owned(), names)));
}

#[test]
fn a_node_that_lacks_its_configuration_gets_no_other_one() {
    let machine = Machine::with(&["user/.zen/strfry/blacklist.txt", "etc/strfry.conf"]);
    let [conf, ..] = machine.strfry(&Named::default(), &machine.around());
    assert_eq!(conf, "user/.zen/strfry/strfry.conf");
    let named = Named { home: Some(machine.at("user/.zen")), ..Named::default() };
    let mut around = machine.around();
    around.strfry_config = Some(machine.at("etc/strfry.conf"));
    assert_eq!(machine.strfry(&named, &around)[0], "user/.zen/strfry/strfry.conf");
}

#[test]
fn strfry_runs_where_it_is_said_to_run_else_where_its_configuration_was_found() {
    let machine = Machine::with(&["etc/strfry.conf", "bin/strfry", "srv/strfry.conf"]);
    let around = machine.around();
    let named = |dir: Option<&str>, conf: Option<&str>| Named {
        strfry_dir: dir.map(|it| machine.at(it)),
        strfry_config: conf.map(|it| machine.at(it)),
        ..Named::default()
    };
    for (named, expected) in [
        (named(None, None), ["etc/strfry.conf", "here", "bin/strfry"]),
        (named(Some("app"), None), ["etc/strfry.conf", "app", "bin/strfry"]),
        (named(None, Some("srv/strfry.conf")), ["srv/strfry.conf", "srv", "bin/strfry"]),
        (named(Some("app"), Some("etc/x.conf")), ["etc/x.conf", "app", "bin/strfry"]),
    ] {
        assert_eq!(machine.strfry(&named, &around), expected);
    }
    // Relative ones start from where this process runs, and strfry runs elsewhere.
    let relative = Named { strfry_config: Some("../srv/strfry.conf".into()), ..Named::default() };
    let expected = ["here/../srv/strfry.conf", "here/../srv", "bin/strfry"];
    assert_eq!(machine.strfry(&relative, &around), expected);
}

#[test]
fn strfry_is_what_lies_in_its_directory_else_what_path_leads_to() {
    let machine = Machine::with(&["user/.zen/strfry/strfry", "bin/strfry", "here/strfry.conf"]);
    let around = machine.around();
    let bin = |named: &Named| machine.strfry(named, &around)[2].clone();
    assert_eq!(bin(&Named::default()), "user/.zen/strfry/strfry");
    fs::remove_file(machine.at("user/.zen/strfry/strfry")).unwrap();
    assert_eq!(bin(&Named::default()), "bin/strfry");
    // What is no executable file is passed over, in PATH alone.
    fs::remove_file(machine.at("bin/strfry")).unwrap();
    fs::create_dir(machine.at("bin/strfry")).unwrap();
    assert_eq!(bin(&Named::default()), "user/.zen/strfry/strfry");
}

#[test]
fn nothing_is_executed_because_it_lies_where_the_program_runs() {
    let machine = Machine::with(&["here/strfry", "here/strfry.conf"]);
    let found = machine.strfry(&Named::default(), &machine.around());
    assert_eq!(found, ["here/strfry.conf", "here", "user/.zen/strfry/strfry"]);
    let named = Named { strfry_dir: Some(".".into()), ..Named::default() };
    assert_eq!(machine.strfry(&named, &machine.around())[2], "here/strfry");
}

#[test]
fn state_goes_to_the_node_else_to_where_an_operator_keeps_state() {
    let machine = Machine::with(&["srv/strfry.conf", "etc/strfry.conf"]);
    let mut around = machine.around();
    let mut named =
        Named { strfry_config: Some(machine.at("srv/strfry.conf")), ..Named::default() };
    assert_eq!(machine.state(&named, &around), "user/.local/state/strfry-companion");
    around.xdg_state_home = Some(machine.at("xdg"));
    assert_eq!(machine.state(&named, &around), "xdg/strfry-companion");
    around.xdg_state_home = Some("relative".into());
    assert_eq!(machine.state(&named, &around), "user/.local/state/strfry-companion");
    let systemd = format!("{}:/other", machine.at("systemd").display());
    around.state_directory = Some(systemd.into());
    assert_eq!(machine.state(&named, &around), "systemd");
    // A home without a strfry is no node.
    fs::create_dir_all(machine.at("user/.zen/game")).unwrap();
    assert_eq!(machine.state(&named, &around), "systemd");
    fs::create_dir(machine.at("user/.zen/strfry")).unwrap();
    assert_eq!(machine.state(&named, &around), "user/.zen/strfry");
    named.state_dir = Some(machine.at("named"));
    assert_eq!(machine.state(&named, &around), "named");
    around = Surroundings { user_home: None, ..machine.around() };
    named.state_dir = None;
    assert_eq!(machine.state(&named, &around), LAST_STATE_DIR);
}

#[test]
fn each_database_has_a_state_of_its_own_where_many_have_theirs() {
    let machine = Machine::with(&["srv/strfry.conf", "srv/a/strfry-db/data.mdb"]);
    std::os::unix::fs::symlink(machine.at("srv/a"), machine.at("srv/b")).unwrap();
    let state = |named: &Named, database: &str| {
        let paths = NodePaths::find(named, &machine.around());
        machine.short(paths.of_database(&machine.at(database)).state_dir())
    };
    let named = Named { strfry_config: Some(machine.at("srv/strfry.conf")), ..Named::default() };
    let root = machine.at("").canonicalize().unwrap();
    let below = |database: &str| {
        format!("user/.local/state/strfry-companion{}", root.join(database).display())
    };
    assert_eq!(state(&named, "srv/a/strfry-db"), below("srv/a/strfry-db"));
    assert_eq!(state(&named, "srv/a/strfry-db/data.mdb"), below("srv/a/strfry-db"));
    // The same one, by another name.
    assert_eq!(state(&named, "srv/b/strfry-db"), below("srv/a/strfry-db"));
    // It is not there yet.
    assert_eq!(state(&named, "srv/c/strfry-db"), below("srv/c/strfry-db"));
    let own = Named { state_dir: Some(machine.at("state")), ..named };
    assert_eq!(state(&own, "srv/a/strfry-db"), "state");
}

#[test]
fn state_stays_in_the_home_that_is_named_also_where_it_is_no_nodes() {
    let machine = Machine::with(&["srv/strfry.conf"]);
    let mut around = machine.around();
    around.state_directory = Some(machine.at("systemd").into());
    let named = Named {
        home: Some(machine.at("home")),
        strfry_dir: Some(machine.at("srv")),
        ..Named::default()
    };
    let paths = NodePaths::find(&named, &around).of_database(&machine.at("srv/strfry-db"));
    assert_eq!(machine.short(paths.state_dir()), "home");
    fs::create_dir_all(machine.at("home/strfry")).unwrap();
    assert_eq!(machine.state(&named, &around), "home/strfry");
}

/// What a peer owes is in there: in another place, a run would forget it.
#[test]
fn state_that_an_earlier_version_has_left_beside_strfry_is_carried_on() {
    let machine = Machine::with(&["srv/strfry.conf", "srv/constellation-backfill.state.json"]);
    let named = Named { strfry_config: Some(machine.at("srv/strfry.conf")), ..Named::default() };
    assert_eq!(machine.state(&named, &machine.around()), "srv");
}

#[test]
fn another_strfry_directory_leaves_state_and_lists_in_the_home_of_a_node() {
    let machine = Machine::with(&["srv/strfry.conf", "user/.zen/strfry/amisOfAmis.txt"]);
    let named = Named { strfry_dir: Some(machine.at("srv")), ..Named::default() };
    let paths = NodePaths::find(&named, &machine.around());
    let found = [paths.strfry_conf(), paths.lock(), paths.amis_of_amis(), paths.blacklist()];
    let expected = [
        "srv/strfry.conf",
        "user/.zen/strfry/constellation-backfill.lock",
        "user/.zen/strfry/amisOfAmis.txt",
        "user/.zen/strfry/blacklist.txt",
    ];
    assert_eq!(found.map(|path| machine.short(&path)), expected);

    fs::remove_dir_all(machine.at("user")).unwrap();
    let alone = NodePaths::find(&named, &machine.around());
    assert_eq!(machine.short(&alone.blacklist()), "srv/blacklist.txt");
}
