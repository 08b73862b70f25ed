//! Where nothing is wrong, nothing is said to be, and nothing is touched.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use walkdir::WalkDir;

use crate::checked::Patient;
use crate::support::node::code;
use crate::support::{NO_STRFRY, real_strfry};

/// Every file below, with its content, its time and its mode; strfry's lock file, which every
/// reader uses, by its name alone.
fn files(directory: &Path) -> BTreeMap<PathBuf, (Vec<u8>, Option<SystemTime>, u32)> {
    let of = |path: PathBuf| {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let is_kept = metadata.is_file() && !path.ends_with("lock.mdb");
        let content = if is_kept { fs::read(&path).unwrap() } else { Vec::new() };
        let time = is_kept.then(|| metadata.modified().unwrap());
        (path, (content, time, metadata.mode()))
    };
    WalkDir::new(directory).into_iter().map(|entry| of(entry.unwrap().into_path())).collect()
}

#[test]
fn a_healthy_node_is_all_ok_and_stays_as_it_is() {
    let patient = Patient::new();
    let before = files(patient.node.home());
    let checked = patient.checked(&[]);
    assert_eq!((checked.code, checked.wrong()), (0, Vec::new()));
    assert_eq!(
        checked.ids(),
        [
            "strfry.program",
            "strfry.version",
            "strfry.config",
            "strfry.database",
            "strfry.import",
            "database.opens",
            "database.lock",
            "disk.database",
            "disk.state",
            "files.lock",
            "files.log",
            "files.error-log",
            "files.profile-log",
            "files.state",
            "files.history",
            "files.profiles",
            "files.pubkeys",
            "runs.now",
            "runs.state",
            "runs.last",
            "peers.peer",
            "peers.answer",
        ]
    );
    assert_eq!(files(patient.node.home()), before);
}

#[test]
fn a_node_before_its_first_backfill_gets_no_file() {
    let patient = Patient::new();
    let strfry = patient.node.strfry_dir();
    for entry in fs::read_dir(&strfry).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("constellation") || name.starts_with("hex") {
            fs::remove_file(path).unwrap();
        }
    }
    fs::remove_dir_all(patient.node.home().join("tmp/coucou")).unwrap();
    let before = files(patient.node.home());
    let state_dir = patient.node.home().join("a/b");
    for arguments in [&[][..], &["--state-dir", state_dir.to_str().unwrap()]] {
        let (code, wrong) = patient.wrong(arguments);
        assert_eq!((code, wrong.len(), wrong[0][0].as_str()), (0, 1, "runs.last"), "{wrong:?}");
        assert_eq!(wrong[0][3], "no backfill so far");
        assert_eq!(files(patient.node.home()), before);
    }
}

#[test]
fn the_real_strfry_imports_nothing_and_changes_no_byte_of_its_database() {
    let Some(strfry) = real_strfry() else { return println!("{NO_STRFRY}") };
    let patient = Patient::new();
    let strfry = std::path::absolute(strfry).unwrap();
    let output = Command::new(&strfry)
        .args(["--config", "strfry.conf", "import"])
        .current_dir(patient.node.strfry_dir())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(code(&output), 0);
    let before = files(patient.node.home());
    let (code, wrong) = patient.wrong(&["--strfry-bin", strfry.to_str().unwrap()]);
    assert_eq!((code, wrong), (0, Vec::new()));
    assert_eq!(files(patient.node.home()), before);
}

#[test]
fn people_get_a_line_for_each_finding_and_the_remedy_below_it() {
    let patient = Patient::new();
    fs::remove_file(patient.node.strfry_dir().join("strfry")).unwrap();
    let output = patient.command(&[]).output().unwrap();
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    let said = said.replace(&*patient.node.home().to_string_lossy(), "HOME");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[..2],
        [
            "strfry    error    HOME/strfry/strfry: cannot start strfry (HOME/strfry/strfry): No \
             such file or directory (os error 2)",
            "                     name strfry with --strfry-bin, or put it into a directory of PATH",
        ]
    );
    let files = lines.iter().position(|line| line.starts_with("files ")).unwrap();
    assert_eq!(
        lines[files..files + 2],
        [
            "files     ok       a backfill: asks for 1 pubkey",
            "          ok       HOME/strfry: 6 files can be written",
        ]
    );
    assert_eq!(lines.last(), Some(&"1 error, 0 warnings, 19 ok"), "{said}");
    assert_eq!(code(&output), 1);

    let output = patient.command(&["--quiet"]).output().unwrap();
    let quiet = String::from_utf8(output.stdout).unwrap();
    assert_eq!(quiet.lines().count(), 2, "{quiet}");
}
