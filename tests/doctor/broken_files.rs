//! Files that a run could not write, a run that hangs, and runs that have not been for days.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use crate::checked::{HISTORY, LOCK, Patient, wrong};

#[test]
fn a_state_directory_that_cannot_be_made() {
    let patient = Patient::new();
    // As root may write everywhere, there is a file in the way.
    let file = patient.node.write("file", "");
    let state_dir = file.join("state");
    let (code, found) = patient.wrong(&["--state-dir", state_dir.to_str().unwrap()]);
    let ids: Vec<&str> = found.iter().map(|found| found[0].as_str()).collect();
    assert_eq!(code, 1);
    assert_eq!(
        ids,
        [
            "disk.state",
            "files.lock",
            "files.log",
            "files.error-log",
            "files.profile-log",
            "files.state",
            "files.history",
            "runs.now",
            "runs.last",
        ]
    );
    assert_eq!(
        found[5],
        wrong(
            "files.state",
            "error",
            "HOME/file/state/constellation-backfill.state.json",
            "cannot be written: Not a directory (os error 20)",
            "move away the file that is in the place of a directory, or name another place with \
             --state-dir",
        )
    );
}

#[test]
fn nobody_whose_events_a_backfill_could_ask_for() {
    let patient = Patient::new();
    let empty = patient.node.write("nobody.txt", "# nobody\n");
    let (code, found) = patient.wrong(&["--pubkeys", empty.to_str().unwrap()]);
    let expected = wrong(
        "files.pubkeys",
        "error",
        "a backfill",
        "no pubkeys: none in the files named with --pubkeys",
        "correct it, or name pubkeys with --pubkey or --pubkeys",
    );
    assert_eq!((code, found), (1, vec![expected]));
}

#[test]
fn files_with_something_else_in_their_place() {
    let patient = Patient::new();
    for (name, option, id) in [
        ("constellation-backfill.state.json", "--state-dir", "files.state"),
        ("constellation-backfill.log", "--state-dir", "files.log"),
        ("constellation-backfill.error.log", "--state-dir", "files.error-log"),
    ] {
        let path = patient.node.strfry_dir().join(name);
        let _ = fs::remove_file(&path);
        fs::create_dir(&path).unwrap();
        let expected = wrong(
            id,
            "error",
            &format!("HOME/strfry/{name}"),
            "cannot be written: is a directory",
            &format!("move away the directory in its place, or name another place with {option}"),
        );
        assert_eq!(patient.wrong(&[]), (1, vec![expected]), "{name}");
        fs::remove_dir(&path).unwrap();
    }
    let log = patient.node.strfry_dir().join("constellation-backfill.log");
    symlink("strfry.conf", &log).unwrap();
    let expected = wrong(
        "files.log",
        "error",
        "HOME/strfry/constellation-backfill.log",
        "it is a link to a file that is strfry's executable or configuration",
        "put a file of its own in its place",
    );
    assert_eq!(patient.wrong(&[]), (1, vec![expected]));
}

#[test]
fn metrics_in_a_directory_that_is_missing_or_in_the_place_of_another_file() {
    let patient = Patient::new();
    let checked = |path: &str| {
        let path = patient.node.home().join(path);
        patient.wrong(&["--metrics", path.to_str().unwrap()])
    };
    let error = |path: &str, found: &str, remedy: &str| {
        (1, vec![wrong("files.metrics", "error", path, found, remedy)])
    };
    assert_eq!(checked("strfry.prom"), (0, vec![]));
    assert_eq!(
        checked("absent/strfry.prom"),
        error(
            "HOME/absent/strfry.prom",
            "cannot be written: No such file or directory (os error 2)",
            "create its directory, or name another place with --metrics"
        )
    );
    assert_eq!(
        checked("strfry/strfry.conf"),
        error(
            "HOME/strfry/strfry.conf",
            "it is strfry's executable or configuration",
            "name another file with --metrics"
        )
    );
}

#[test]
fn a_run_that_holds_the_lock_for_three_hours_and_one_that_has_begun() {
    let patient = Patient::new();
    let lock = File::open(patient.node.write(LOCK, "4194304\n")).unwrap();
    lock.lock().unwrap();
    let hour = Duration::from_secs(3_600);
    lock.set_modified(SystemTime::now() - 3 * hour).unwrap();
    let expected = wrong(
        "runs.now",
        "error",
        "HOME/strfry/constellation-backfill.lock",
        "a backfill (PID 4194304) has held the lock for 3 h 00 min",
        "see in HOME/strfry/constellation-backfill.log whether it goes on, and end it if it does \
         not",
    );
    assert_eq!(patient.wrong(&[]), (1, vec![expected]));
    lock.set_modified(SystemTime::now() - hour).unwrap();
    let checked = patient.checked(&[]);
    assert_eq!((checked.code, checked.wrong()), (0, vec![]));
    let found = &checked.of("runs.now")[0][3];
    assert_eq!(found, "a backfill (PID 4194304) has held the lock for 1 h 00 min");
    lock.unlock().unwrap();
    // What a run that was killed has left keeps nobody from running.
    let found = &patient.checked(&[]).of("runs.now")[0][3];
    let expected =
        "no backfill is running here; PID 4194304 was killed, or runs in another container";
    assert_eq!(found, expected);
    // The look has left the lock alone.
    assert_eq!(patient.node.read(LOCK), "4194304\n");
    lock.try_lock().unwrap();
}

/// The history of a node, as of a run that ended so long ago and was so.
fn history(patient: &Patient, runs: &[(i64, &str)]) {
    let mut line: Value =
        serde_json::from_str(patient.node.read(HISTORY).lines().next().unwrap()).unwrap();
    let mut text = String::new();
    for (hours, status) in runs {
        line["started_at"] = json!((Timestamp::now() - hours.hours()).to_string());
        line["seconds"] = json!(1.0);
        line["status"] = json!(status);
        text.push_str(&format!("{line}\n"));
    }
    patient.node.write(HISTORY, text);
}

#[test]
fn a_last_complete_run_that_was_three_days_ago() {
    let patient = Patient::new();
    let history_of_two = [(80, "complete"), (73, "complete")];
    history(&patient, &history_of_two);
    let warning = |found: &str, remedy: &str| {
        (0, vec![wrong("runs.last", "warning", &format!("HOME/{HISTORY}"), found, remedy)])
    };
    assert_eq!(
        patient.wrong(&[]),
        warning(
            "the last complete backfill ended 3 d 0 h ago",
            "see that something starts it (cron, a systemd timer), or run 'strfry-companion \
             backfill'"
        )
    );
    let show = "see why the last one was not: 'strfry-companion history show'";
    history(&patient, &[(73, "complete"), (2, "failed"), (1, "incomplete")]);
    assert_eq!(
        patient.wrong(&[]),
        warning("the last complete backfill ended 3 d 0 h ago, and 2 since then were not", show)
    );
    history(&patient, &[(1, "incomplete")]);
    assert_eq!(patient.wrong(&[]), warning("the one backfill so far was not complete", show));
    history(&patient, &[(40, "complete"), (1, "incomplete")]);
    let checked = patient.checked(&[]);
    assert_eq!((checked.code, checked.wrong()), (0, vec![]));
    assert_eq!(
        checked.of("runs.last")[0][3],
        "the last complete backfill ended 1 d 15 h ago, and one since then was not"
    );
}

#[test]
fn a_state_that_is_damaged_and_one_of_another_database() {
    let patient = Patient::new();
    let state = "strfry/constellation-backfill.state.json";
    let text = patient.node.read(state);
    let checked = |text: &str| {
        patient.node.write(state, text);
        let (code, found) = patient.wrong(&[]);
        let [found] = &found[..] else { panic!("{found:?}") };
        assert_eq!(
            (code, [&*found[0], &*found[1], &*found[2]]),
            (1, ["runs.state", "error", &format!("HOME/{state}")])
        );
        assert!(
            found[4].starts_with("delete it to begin anew: ")
                || found[4].starts_with("use the newer program, or delete it"),
            "{found:?}"
        );
        found[3].clone()
    };
    let is = format!("the state of earlier runs \"HOME/{state}\" is");
    assert!(checked(&text[..text.len() / 2]).starts_with(&format!("{is} damaged (")));
    let newer = text.replacen("\"version\":2", "\"version\":3", 1);
    assert_eq!(
        checked(&newer),
        format!("{} version 3, and this program reads versions 1 and 2", is.replace(" is", " has"))
    );
    let other = text.replacen("\"highest\":1", "\"highest\":9", 1);
    assert!(checked(&other).starts_with(&format!("{is} of another database, ")));
    patient.node.write(state, text);
    assert_eq!(patient.wrong(&[]), (0, Vec::new()));
}
