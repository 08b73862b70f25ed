//! `adopt`: the script of a node hands over to this program, still works without it, and comes back
//! byte for byte.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::said::Said;
use crate::small_node::{LOG, SmallNode};
use crate::support::node::code;

const PROGRAM: &str = env!("CARGO_BIN_EXE_strfry-companion");
const SCRIPT: &str = "workspace/NIP-101/backfill_constellation.sh";
const COPY: &str = "workspace/NIP-101/backfill_constellation.sh.before-adopt";

/// What the old script has that somebody looks for, and an answer of its own.
const TEXT: &str = "#!/bin/bash
# Astroport backfill_constellation.sh script
BACKFILL_LOG=\"$HOME/.zen/strfry/constellation-backfill.log\"

# Function to discover constellation peers from IPNS swarm
discover_constellation_peers() {
    echo 'routable:wss://relay.example'
}

main() {
    echo \"the old script: $*\"
}

main \"$@\"
";

/// As `setup.sh` of NIP-101 takes a function out of the script.
const CUT: &str = r#"eval "$(sed -n '/^# Function to discover constellation peers from IPNS swarm$/,/^}$/p' "$1")"
discover_constellation_peers"#;

/// A home with the script in its usual place.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(home.path(SCRIPT).parent().unwrap()).unwrap();
        home.put(TEXT);
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, text: &str) {
        fs::write(self.path(SCRIPT), text).unwrap();
        fs::set_permissions(self.path(SCRIPT), Permissions::from_mode(0o755)).unwrap();
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path(SCRIPT)).unwrap()
    }

    fn adopt(&self, arguments: &[&str]) -> Said {
        self.adopt_by(PROGRAM, arguments)
    }

    fn adopt_by(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Said {
        let mut command = Command::new(program.as_ref());
        command.arg("adopt").args(arguments).arg("--home").arg(self.0.path());
        Said::by(&mut command, self.0.path())
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.path(SCRIPT).parent().unwrap()).unwrap();
        let mut names: Vec<String> =
            names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// By a process of its own: a file that is open for writing, in whatever process another test starts
/// meanwhile, cannot be executed.
fn copy_program(to: &Path) {
    assert!(Command::new("cp").arg(PROGRAM).arg(to).status().unwrap().success());
}

fn line(program: &str) -> String {
    format!(
        "{program} --version >/dev/null 2>&1 && exec {program} backfill --as-script \"$@\" \
         # strfry-companion adopt\n"
    )
}

fn text_of(output: &Output) -> (i32, &str) {
    (code(output), std::str::from_utf8(&output.stdout).unwrap())
}

#[test]
fn the_home_may_come_from_the_environment_or_a_configuration_file() {
    let home = Home::new();
    let user = tempfile::tempdir().unwrap();
    let adopt = || {
        let mut command = Command::new(PROGRAM);
        command.arg("adopt").env("HOME", user.path()).env_remove("XDG_CONFIG_HOME");
        command
    };
    let shown = home.adopt(&[]);
    assert_eq!((shown.code, shown.err.as_str()), (0, ""));
    let by_environment = adopt().env("STRFRY_COMPANION_HOME", home.0.path()).output().unwrap();
    assert_eq!(Said::of(&by_environment, home.0.path()), shown);
    fs::create_dir(user.path().join(".config")).unwrap();
    let file = user.path().join(".config/strfry-companion.toml");
    fs::write(&file, format!("home = \"{}\"\n", home.0.path().display())).unwrap();
    assert_eq!(Said::by(&mut adopt(), home.0.path()), shown);
    // To change the script, it has to be said.
    let mut unsaid = adopt();
    assert_eq!(Said::by(unsaid.env("STRFRY_COMPANION_YES", "true"), home.0.path()), shown);
    assert_eq!(home.text(), TEXT);
}

#[test]
fn without_yes_the_change_is_shown_and_nothing_is_done() {
    let home = Home::new();
    let said = home.adopt(&[]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let expected = format!(
        "HOME/{SCRIPT}\n  #!/bin/bash\n+ {}  # Astroport backfill_constellation.sh script\n\n\
         Nothing is changed yet. With --yes the line is put in, and a copy of the script is kept \
         as\nHOME/{COPY}.\n",
        line(PROGRAM)
    );
    assert_eq!(said.out, expected);
    assert_eq!((home.text().as_str(), home.names().len()), (TEXT, 1));
}

#[test]
fn it_is_undone_byte_for_byte_and_mode_and_owner_stay() {
    let home = Home::new();
    let text = format!("{TEXT}# More than ASCII: \u{e9}; no newline at the end");
    home.put(&text);
    let before = fs::metadata(home.path(SCRIPT)).unwrap();
    for _ in 0..2 {
        let said = home.adopt(&["--yes"]);
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        let (shebang, rest) = text.split_at("#!/bin/bash\n".len());
        assert_eq!(home.text(), format!("{shebang}{}{rest}", line(PROGRAM)));
        assert_eq!(fs::read_to_string(home.path(COPY)).unwrap(), text);
        for path in [SCRIPT, COPY] {
            let after = fs::metadata(home.path(path)).unwrap();
            let looks = |of: &fs::Metadata| (of.mode(), of.uid(), of.gid());
            assert_eq!(looks(&after), looks(&before), "{path}");
        }
        let again = home.adopt(&["--yes"]);
        let done = format!("HOME/{SCRIPT} hands over to this program already: nothing to do.\n");
        assert_eq!(again, Said { code: 0, out: done, err: String::new() });

        let said = home.adopt(&["--undo"]);
        let out =
            format!("HOME/{SCRIPT} is byte for byte what it was before; the copy is removed.\n");
        assert_eq!(said, Said { code: 0, out, err: String::new() });
        assert_eq!((home.text().as_str(), home.names().len()), (text.as_str(), 1));
    }
    let said = home.adopt(&["--undo"]);
    let out = format!("HOME/{SCRIPT} hands over to no program: nothing to undo.\n");
    assert_eq!(said, Said { code: 0, out, err: String::new() });
}

#[test]
fn a_script_that_has_changed_since_loses_the_line_alone() {
    let home = Home::new();
    home.adopt(&["--yes"]);
    home.put(&home.text().replace("the old script", "the new script"));
    let said = home.adopt(&["--undo"]);
    assert_eq!(said.code, 0);
    let out = format!(
        "The line is out of HOME/{SCRIPT}. The script has changed since it was put in; the copy from \
         then stays:\nHOME/{COPY}.\n"
    );
    assert_eq!(said.out, out);
    assert_eq!(home.text(), TEXT.replace("the old script", "the new script"));
    assert_eq!(fs::read_to_string(home.path(COPY)).unwrap(), TEXT);
}

#[test]
fn callers_by_path_by_bash_and_by_sed_get_this_program_and_the_function() {
    let home = Home::new();
    home.adopt(&["--yes"]);
    let script = home.path(SCRIPT);
    let by_bash = |arguments: &[&str]| {
        let mut command = Command::new("bash");
        command.arg(&script).args(arguments);
        command
    };
    for mut command in [Command::new(&script), by_bash(&[])] {
        let output = command.arg("--help").env("HOME", home.0.path()).output().unwrap();
        let (code, text) = text_of(&output);
        assert!(code == 0 && text.contains("--as-script"), "{text}");
    }
    let cut = Command::new("bash").args(["-c", CUT, "setup"]).arg(&script).output().unwrap();
    assert_eq!(text_of(&cut), (0, "routable:wss://relay.example\n"));
}

#[test]
fn the_script_runs_as_before_when_the_program_is_gone_or_does_not_start() {
    let home = Home::new();
    let program = home.path("bin dir/strfry-companion");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    copy_program(&program);
    assert_eq!(home.adopt_by(&program, &["--yes"]).code, 0);
    let quoted = format!("'{}'", program.display());
    assert!(home.text().contains(&line(&quoted)), "{}", home.text());
    let run = || Command::new(home.path(SCRIPT)).arg("--days").arg("7").output().unwrap();
    fs::write(&program, "#!/nonexistent/interpreter\n").unwrap();
    assert_eq!(text_of(&run()), (0, "the old script: --days 7\n"));
    fs::remove_file(&program).unwrap();
    let output = run();
    assert_eq!(text_of(&output), (0, "the old script: --days 7\n"));
    assert!(output.stderr.is_empty());
}

#[test]
fn the_program_is_named_by_the_link_by_which_it_is_called() {
    let home = Home::new();
    let link = home.path("strfry-companion");
    symlink(PROGRAM, &link).unwrap();
    home.adopt_by(&link, &["--yes"]);
    assert!(home.text().contains(&line(link.to_str().unwrap())), "{}", home.text());
    // Called by another name, the script gets the new line in place of the old one.
    let said = home.adopt(&["--yes"]);
    assert!(said.out.contains(&format!(
        "\n- {}+ {}",
        line("HOME/strfry-companion"),
        line(PROGRAM)
    )));
    assert_eq!(home.text().matches("# strfry-companion adopt").count(), 1);
    assert_eq!(fs::read_to_string(home.path(COPY)).unwrap(), TEXT);
}

#[test]
fn what_does_not_look_like_the_script_is_left_alone_with_the_reason() {
    let home = Home::new();
    let known =
        "is left alone, for it is not the script backfill_constellation.sh that is known here";
    for (text, reason) in [
        (TEXT.replace("bash", "sh"), "its first line is not that of a bash script (#!/bin/bash)"),
        (
            TEXT.replace("main \"$@\"\n", ""),
            "it does not hold \"main \\\"$@\\\"\", as the script does",
        ),
        ("x".repeat(2 << 20), "it is longer than 1 MiB, which the script is not"),
    ] {
        home.put(&text);
        for flags in [&[][..], &["--yes"], &["--undo"]] {
            let said = home.adopt(flags);
            assert_eq!((said.code, said.out.as_str()), (2, ""), "{reason}");
            assert!(
                said.err.contains("is left alone") && said.err.contains(reason),
                "{}",
                said.err
            );
            assert_eq!((home.text(), home.names().len()), (text.clone(), 1));
        }
    }
    home.put(&TEXT.replace("bash", "sh"));
    assert!(home.adopt(&[]).err.contains(known));
    fs::remove_file(home.path(SCRIPT)).unwrap();
    let missing = format!(
        "strfry-companion: cannot read the script HOME/{SCRIPT}; name it with --script: No such file or \
         directory (os error 2)\n"
    );
    assert_eq!(home.adopt(&["--yes"]), Said::refusal(2, missing));
}

#[test]
fn nothing_is_written_through_a_link_in_a_directory_of_others() {
    let home = Home::new();
    let shared = home.path("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o777)).unwrap();
    let link = shared.join("script.sh");
    symlink(home.path(SCRIPT), &link).unwrap();
    let said = home.adopt(&["--yes", "--script", link.to_str().unwrap()]);
    assert_eq!((said.code, home.text().as_str()), (3, TEXT));
    assert!(said.err.contains("is a symbolic link, and other users can write"), "{}", said.err);
}

#[test]
fn no_script_is_made_to_start_a_program_that_anybody_can_replace() {
    let home = Home::new();
    let program = home.path("open/strfry-companion");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    copy_program(&program);
    fs::set_permissions(program.parent().unwrap(), Permissions::from_mode(0o1777)).unwrap();
    let said = home.adopt_by(&program, &["--yes"]);
    let expected = "strfry-companion: any user of this machine can replace HOME/open/strfry-companion, \
                    which the script would start: install the program where others cannot write (chmod \
                    o-w), and call it there\n";
    assert_eq!((said, home.text().as_str()), (Said::refusal(2, expected), TEXT));
}

#[test]
fn an_adopted_script_backfills_and_starts_the_report_beside_it() {
    let small = SmallNode::new();
    small.node.write(SCRIPT, TEXT);
    let home = small.node.home();
    fs::set_permissions(home.join(SCRIPT), Permissions::from_mode(0o755)).unwrap();
    let mark = home.join("report");
    let (log, mark_text) = (home.join(LOG), mark.display());
    let report = format!(
        "#!/bin/sh\ngrep -c SYNC_STATS: '{}' > '{mark_text}.new' && mv '{mark_text}.new' '{mark_text}'\n",
        log.display()
    );
    let report = small.node.write("workspace/NIP-101/sync_report.sh", report);
    fs::set_permissions(&report, Permissions::from_mode(0o755)).unwrap();
    assert_eq!(small.said(&mut small.node.companion(&["adopt", "--yes"])).code, 0);
    let mut command = Command::new(home.join(SCRIPT));
    command.args(["--days", "1", "--allow-local-peers", "--home"]).arg(home);
    let said = small.said(command.env("HOME", home).env_remove("IPFSNODEID"));
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(small.holds(&small.events));
    crate::wait::until("the report has read the log", || mark.exists());
    assert_eq!(fs::read_to_string(mark).unwrap(), "1\n");
    assert!(small.log().contains("[INFO] 📤 Synchronization report queued for delivery\n"));
}
