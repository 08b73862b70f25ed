//! `bench profiles`: which of many pubkeys have a profile.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use serde_json::{Value, json};

use super::report::Report;
use super::{Bench, Strfry, child};
use crate::cli::exit::{Failure, OrFail, Result};
use crate::cli::node::read_pubkeys;
use crate::node::PeerPolicy;
use crate::nostr::{Pubkey, kind};

/// strfry takes 2,047 authors; but no argument may be longer than 128 KiB (Linux,
/// `MAX_ARG_STRLEN`), and an author takes 67 bytes.
const AUTHORS_PER_SCAN: usize = 1_500;

const EACH: &str = "strfry scan | jq for each pubkey";
const ALL: &str = "one strfry scan for all";
const OURS: &str = "this program";
const LOOKUPS: &str = "its lookups alone";

/// Ids of the profiles that were found.
type Answers = HashMap<Pubkey, String>;

pub(super) fn run(bench: &Bench<'_>, files: &[PathBuf], sample: usize) -> Result<Report> {
    let pubkeys = wanted(bench, files)?;
    let db = bench.node().open_database()?;
    let title = format!(
        "which of {} pubkeys have a profile, among {} events",
        pubkeys.len(),
        db.stats().or_cannot_run()?.events
    );
    let mut report = bench.report(title);
    let strfry = bench.strfry()?;
    let has_jq = child::can_start(OsStr::new("jq"));
    let sample = pubkeys.get(..sample).unwrap_or(&pubkeys);
    match &strfry {
        Err(reason) => {
            report.not_run(EACH, reason);
            report.not_run(ALL, reason);
        }
        Ok(_) if !has_jq => report.not_run(EACH, "no jq in PATH"),
        Ok(_) if sample.is_empty() => report.not_run(EACH, "--sample 0"),
        Ok(_) => {}
    }

    let (mut each, mut all, mut ours, mut lookups) = (vec![], vec![], vec![], vec![]);
    for _ in 0..bench.runs() {
        let (answers, time) = ask_ourselves(bench, &pubkeys)?;
        ours.push(time);
        let begun = Instant::now();
        let has_profile = db.has_kind_each(&pubkeys, kind::PROFILE).or_cannot_run()?;
        lookups.push(begun.elapsed());
        for (pubkey, has_profile) in pubkeys.iter().zip(has_profile) {
            if has_profile != answers.contains_key(pubkey) {
                report.wrong.push(format!("{pubkey}: a lookup and this program differ"));
            }
        }
        if let Ok(strfry) = &strfry {
            let (theirs, time) = ask_for_all(strfry, &pubkeys)?;
            all.push(time);
            compare(&mut report, ALL, &pubkeys, &theirs, &answers);
            if has_jq && !sample.is_empty() {
                let (theirs, time) = ask_for_each(strfry, sample)?;
                // A ratio of two numbers of pubkeys.
                #[allow(clippy::cast_precision_loss, reason = "nobody has 2^52 pubkeys")]
                each.push(time.mul_f64(pubkeys.len() as f64 / sample.len() as f64));
                compare(&mut report, EACH, sample, &theirs, &answers);
            }
        }
        let compared = if strfry.is_ok() { "the same" } else { "compared with lookups only" };
        report.answers = format!("{compared}: {} of {} have one", answers.len(), pubkeys.len());
    }
    let remark = match sample.len() {
        all if all == pubkeys.len() => String::new(),
        some => format!("timed for {some}, multiplied"),
    };
    report.add(EACH, &each, remark);
    report.add(ALL, &all, String::new());
    report.add(OURS, &ours, String::new());
    let single = lookups.iter().min().map_or(0.0, Duration::as_secs_f64);
    #[allow(clippy::cast_precision_loss, reason = "nobody has 2^52 pubkeys")]
    let single = 1e6 * single / pubkeys.len() as f64;
    report.add(LOOKUPS, &lookups, format!("at best {single:.2} µs each"));
    report.measure_by(OURS);
    Ok(report)
}

pub(super) fn wanted(bench: &Bench<'_>, files: &[PathBuf]) -> Result<Vec<Pubkey>> {
    let mut pubkeys = Vec::new();
    for file in files {
        pubkeys.extend(read_pubkeys(file)?.pubkeys);
    }
    if files.is_empty() {
        pubkeys = bench
            .node()
            .pubkeys_with_warnings(&bench.node().discover(PeerPolicy::default()))
            .pubkeys;
    }
    pubkeys.sort_unstable();
    pubkeys.dedup();
    if pubkeys.is_empty() {
        return Err(Failure::Usage(anyhow!(
            "no pubkeys: name a file with --pubkeys, or the node's home with --home"
        )));
    }
    Ok(pubkeys)
}

fn ask_ourselves(bench: &Bench<'_>, pubkeys: &[Pubkey]) -> Result<(Answers, Duration)> {
    let mut command = bench.companion("profiles")?;
    command.args(["--pubkeys", "-", "--format", "jsonl"]);
    let input: String = pubkeys.iter().map(|pubkey| format!("{pubkey}\n")).collect();
    let (out, time) = child::output_for(&mut command, input.into_bytes())?;
    Ok((ids(&out)?, time))
}

fn ask_for_all(strfry: &Strfry, pubkeys: &[Pubkey]) -> Result<(Answers, Duration)> {
    let (mut answers, mut time) = (Answers::new(), Duration::ZERO);
    for authors in pubkeys.chunks(AUTHORS_PER_SCAN) {
        let authors: Vec<String> = authors.iter().map(ToString::to_string).collect();
        let filter = json!({"kinds": [kind::PROFILE], "authors": authors}).to_string();
        let (out, took) = child::output(&mut strfry.scan(&filter))?;
        time += took;
        answers.extend(ids(&out)?);
    }
    Ok((answers, time))
}

/// What scripts do: a scan for each pubkey, and jq to take the answer apart.
fn ask_for_each(strfry: &Strfry, pubkeys: &[Pubkey]) -> Result<(Answers, Duration)> {
    let (mut answers, mut time) = (Answers::new(), Duration::ZERO);
    for pubkey in pubkeys {
        let filter = json!({"kinds": [kind::PROFILE], "authors": [pubkey.to_string()], "limit": 1});
        let mut jq = Command::new("jq");
        jq.args(["--raw-output", ".id"]);
        let (out, took) = child::piped(&mut strfry.scan(&filter.to_string()), &mut jq)?;
        time += took;
        let id = String::from_utf8_lossy(&out).trim().to_owned();
        if !id.is_empty() {
            answers.insert(*pubkey, id);
        }
    }
    Ok((answers, time))
}

/// Pubkey and id of each object of JSON lines that has an id.
fn ids(lines: &[u8]) -> Result<Answers> {
    let mut answers = Answers::new();
    for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let object: Value = serde_json::from_slice(line)
            .context("cannot read the answer of a process")
            .or_cannot_run()?;
        let text = |field: &str| object.get(field).and_then(Value::as_str);
        let pubkey = text("pubkey").and_then(|pubkey| pubkey.parse().ok());
        if let (Some(pubkey), Some(id)) = (pubkey, text("id")) {
            answers.insert(pubkey, id.to_owned());
        }
    }
    Ok(answers)
}

fn compare(report: &mut Report, way: &str, pubkeys: &[Pubkey], theirs: &Answers, ours: &Answers) {
    let said = |answer: Option<&String>| answer.map_or("none".to_owned(), Clone::clone);
    for pubkey in pubkeys {
        let (theirs, ours) = (theirs.get(pubkey), ours.get(pubkey));
        if theirs != ours {
            let (theirs, ours) = (said(theirs), said(ours));
            report.wrong.push(format!("{pubkey}: {way} found {theirs}, {OURS} {ours}"));
        }
    }
}
