use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::backfill::{Gained, PhaseSummary, ProfileCounts, Status};
use crate::report::SyncStats;

fn summary(received: u64) -> Summary {
    Summary {
        version: VERSION,
        status: Status::Complete,
        started_at: "2026-11-26T03:12:01Z".to_owned(),
        seconds: 1.5,
        dry_run: false,
        verified: true,
        since: None,
        pubkeys: 2,
        profiles: ProfileCounts { found: 2, ..ProfileCounts::default() },
        received,
        events: BTreeMap::from([("imported", received)]),
        reasons: BTreeMap::new(),
        superseded: Vec::new(),
        deleted: Vec::new(),
        gained: Gained::default(),
        bytes_written: None,
        notices: Vec::new(),
        phases: vec![PhaseSummary { name: "Importing".to_owned(), seconds: 0.5 }],
        peak_memory: Some(1),
        peers: Vec::new(),
        fallback: Vec::new(),
        errors: Vec::new(),
        stats: SyncStats::default(),
    }
}

fn received(history: &History) -> Vec<u64> {
    history.runs.iter().map(|(run, _)| run.received).collect()
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("history.jsonl");
    (directory, file)
}

#[test]
fn runs_come_back_newest_first() {
    let (_directory, file) = file();
    assert_eq!(read(&file, 9).unwrap(), History::default());
    (1..=3).for_each(|number| append(&file, &summary(number)).unwrap());
    let history = read(&file, 9).unwrap();
    assert_eq!((received(&history), history.skipped), (vec![3, 2, 1], 0));
    assert_eq!(received(&read(&file, 2).unwrap()), [3, 2]);
    let (run, line) = &history.runs[0];
    assert_eq!(run.began(), "2026-11-26 03:12:01");
    assert_eq!(*line, serde_json::to_string(&summary(3)).unwrap());
}

#[test]
fn lines_that_are_not_summaries_are_skipped_and_counted() {
    let (_directory, file) = file();
    append(&file, &summary(1)).unwrap();
    let good = fs::read_to_string(&file).unwrap();
    let bad = [
        "{}",
        "[]",
        "\u{0}",
        &good.trim().replace("\"version\":1", "\"version\":2"),
        &good.trim().replace("2026-11-26T03:12:01Z", "yesterday"),
        &good.trim().replace("\"seconds\":1.5", "\"seconds\":-1"),
        &good.trim().replace("\"received\":1", "\"received\":-1"),
        &"[".repeat(100_000),
        &format!("{}{}", good.trim(), " ".repeat(LONGEST_LINE)),
    ];
    let mut text = format!("{good}\n\n{}\n", bad.join("\n")).into_bytes();
    text.extend(b"\xff\xfe\n");
    // What a run that was killed leaves.
    text.extend(&good.as_bytes()[..30]);
    fs::write(&file, text).unwrap();
    append(&file, &summary(7)).unwrap();
    let history = read(&file, 9).unwrap();
    assert_eq!((received(&history), history.skipped), (vec![7, 1], bad.len() as u64 + 2));
}

#[test]
fn a_file_that_has_grown_is_rotated_and_still_read() {
    let (directory, file) = file();
    append(&file, &summary(1)).unwrap();
    for number in 2..=6 {
        let mut text = fs::read(&file).unwrap();
        text.resize(ROTATED_PAST as usize + 1, b'\n');
        fs::write(&file, text).unwrap();
        append(&file, &summary(number)).unwrap();
    }
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 4);
    assert_eq!(received(&read(&file, 9).unwrap()), [6, 5, 4, 3]);
}

#[test]
fn of_a_huge_file_the_newest_lines_are_read() {
    let (_directory, file) = file();
    append(&file, &summary(1)).unwrap();
    File::options().write(true).open(&file).unwrap().set_len(1 << 40).unwrap();
    let mut end = File::options().append(true).open(&file).unwrap();
    end.write_all(format!("\n{}\n", serde_json::to_string(&summary(2)).unwrap()).as_bytes())
        .unwrap();
    let history = read(&file, 9).unwrap();
    assert_eq!((received(&history), history.skipped), (vec![2], 0));
}

#[test]
fn a_summary_of_any_length_is_read_back() {
    let (_directory, file) = file();
    let mut long = summary(1);
    long.profiles.missing_pubkeys = vec![crate::nostr::Pubkey::from_bytes([7; 32]); 30_000];
    long.profiles.missing = 30_000;
    append(&file, &long).unwrap();
    long.reasons = (0..10_000).map(|number| (format!("{number:0200}"), number)).collect();
    append(&file, &long).unwrap();
    let history = read(&file, 9).unwrap();
    let named =
        |(run, _): &(Run, String)| (run.profiles.missing, run.profiles.missing_pubkeys.len());
    assert_eq!(history.runs.iter().map(named).collect::<Vec<_>>(), [(30_000, 0), (30_000, 2_000)]);
}

#[test]
fn nothing_is_written_to_a_pipe_or_over_a_directory() {
    let (directory, file) = file();
    let status = std::process::Command::new("mkfifo").arg(&file).status().unwrap();
    assert!(status.success());
    let path = file.display();
    assert_eq!(
        append(&file, &summary(1)).unwrap_err().to_string(),
        format!(
            "the history lacks this run: cannot open {path}: it is a pipe (FIFO), not a regular \
             file; move it away"
        )
    );
    assert_eq!(
        read(&file, 9).unwrap_err().to_string(),
        format!(
            "cannot read the history {path}: it is a pipe (FIFO), not a regular file; move it away"
        )
    );
    assert!(append(directory.path(), &summary(1)).is_err());
}
