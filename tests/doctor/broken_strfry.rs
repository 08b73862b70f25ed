//! strfry is missing, does not start, or uses another database.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::checked::{Checked, Patient, Wrong, wrong};
use crate::support::strfry_bin;

const PROGRAM: &str = "HOME/strfry/strfry";

/// Puts a shell script in strfry's place.
fn script(patient: &Patient, text: &str) -> PathBuf {
    let program = patient.node.strfry_dir().join("strfry");
    let _ = fs::remove_file(&program);
    fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

fn error(id: &str, found: &str, remedy: &str) -> (i32, Vec<Wrong>) {
    (1, vec![wrong(id, "error", PROGRAM, found, remedy)])
}

#[test]
fn a_strfry_that_is_missing() {
    let patient = Patient::new();
    fs::remove_file(patient.node.strfry_dir().join("strfry")).unwrap();
    let found = "cannot start strfry (HOME/strfry/strfry): No such file or directory (os error 2)";
    let remedy = "name strfry with --strfry-bin, or put it into a directory of PATH";
    assert_eq!(patient.wrong(&[]), error("strfry.program", found, remedy));
}

#[test]
fn a_strfry_that_is_not_executable() {
    let patient = Patient::new();
    let program = script(&patient, "exit 0");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
    let found = "HOME/strfry/strfry is not an executable file";
    let remedy = "name strfry with --strfry-bin";
    assert_eq!(patient.wrong(&[]), error("strfry.program", found, remedy));
}

#[test]
fn a_strfry_that_lacks_a_library() {
    let patient = Patient::new();
    let said = "strfry: error while loading shared libraries: liblmdb.so.0: cannot open";
    script(&patient, &format!("echo '{said}' >&2; exit 127"));
    let found = format!("strfry --version ended with exit status: 127: {said}");
    let remedy = "install what it lacks, or name another strfry with --strfry-bin";
    assert_eq!(patient.wrong(&[]), error("strfry.version", &found, remedy));
}

#[test]
fn a_strfry_of_an_unknown_version() {
    let patient = Patient::new();
    let stand_in = strfry_bin();
    let text = format!(
        "[ \"$1\" = --version ] && echo 'strfry 2.0' && exit\nexec {} \"$@\"",
        stand_in.display()
    );
    script(&patient, &text);
    let expected = wrong(
        "strfry.version",
        "warning",
        PROGRAM,
        "it says that it is: strfry 2.0",
        "this program knows strfry 1.0 and 1.1: see that this is a strfry, and look for a newer \
         strfry-companion if it is a newer one",
    );
    assert_eq!(patient.wrong(&[]), (0, vec![expected]));
}

#[test]
fn a_strfry_that_fails_when_it_opens_its_database() {
    let patient = Patient::new();
    let mut command = patient.command(&[]);
    let checked = Checked::by(command.env("STAND_IN_FAIL_START", "no disk"), &patient);
    let expected = wrong(
        "strfry.import",
        "error",
        "HOME/strfry/strfry import",
        "strfry import ended with exit status: 1: strfry error: no disk",
        "correct what it names; run it by hand, with no input, to see all that it says",
    );
    assert_eq!((checked.code, checked.wrong()), (1, vec![expected]));
}

#[test]
fn a_configuration_that_strfry_would_not_take() {
    let patient = Patient::new();
    patient.node.write("strfry/strfry.conf", "db = \"./strfry-db/\"\nrelay {\n");
    let (code, found) = patient.wrong(&[]);
    assert_eq!(code, 1);
    let [config, import] = &found[..] else { panic!("{found:?}") };
    // Nobody knows the database then.
    assert_eq!(import[3], "not tried: there is no database that can be read");
    assert_eq!(config[..3], ["strfry.config", "error", "HOME/strfry/strfry.conf"]);
    assert!(config[3].starts_with("cannot understand the strfry configuration "), "{config:?}");
    assert_eq!(config[4], "correct the line, or name another file with --strfry-config");
}

#[test]
fn a_configuration_that_names_another_database() {
    let patient = Patient::new();
    let other = Patient::new();
    let directory = patient.node.home().join("other");
    fs::rename(other.database(), &directory).unwrap();
    let expected = [
        wrong(
            "strfry.database",
            "error",
            "HOME/other",
            "strfry imports into another database, HOME/strfry/strfry-db",
            "name the configuration of this database with --strfry-config, or leave out --db",
        ),
        wrong(
            "strfry.import",
            "warning",
            "HOME/strfry/strfry import",
            "not tried: it would open another database",
            "mend that first, then look again",
        ),
    ];
    let database = directory.to_str().unwrap();
    assert_eq!(patient.wrong(&["--db", database]), (1, expected.into()));
}

#[test]
fn a_strfry_that_is_reached_through_a_command_need_not_say_its_version() {
    let patient = Patient::new();
    let stand_in = strfry_bin();
    let (dir, conf) = (patient.node.strfry_dir(), patient.node.strfry_dir().join("strfry.conf"));
    let program = patient.node.home().join("only-imports");
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = import ] || exit 9\ncd {} && exec {} --config {} \"$@\"\n",
        dir.display(),
        stand_in.display(),
        conf.display()
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let expected = wrong(
        "strfry.version",
        "warning",
        "HOME/only-imports",
        "strfry --version ended with exit status: 9",
        "let the command of --strfry-command pass on '--version', to see it here",
    );
    let checked = patient.checked(&["--strfry-command", program.to_str().unwrap()]);
    assert_eq!((checked.code, checked.wrong()), (0, vec![expected]));
    assert_eq!(checked.of("strfry.import")[0][3], "opens its database to import");
}
