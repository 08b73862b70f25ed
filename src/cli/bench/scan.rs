//! `bench scan`: the same filter, given to strfry and to this program.

use std::process::Command;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::report::Report;
use super::{Bench, child};
use crate::cli::exit::{OrFail, Result};
use crate::cli::scan::filter_text;
use crate::strfry_db::Filter;

const WAYS: [(&str, &str, &[&str]); 2] = [
    ("strfry scan", "this program, scan", &[]),
    ("strfry scan --count", "this program, scan --count", &["--count"]),
];

pub(super) fn run(bench: &Bench<'_>, filter: &str) -> Result<Report> {
    let filter = filter_text(filter)?;
    Filter::parse(&filter).or_usage()?;
    let mut report = bench.report(format!("scan {filter}"));
    let strfry = bench.strfry()?;
    let ours = |flags: &[&str]| -> Result<Command> {
        let mut command = bench.companion("scan")?;
        command.args(flags).arg(&filter);
        Ok(command)
    };
    for (their_way, our_way, flags) in WAYS {
        let (mut their_times, mut our_times) = (Vec::new(), Vec::new());
        let (digest, lines) = digest(&mut ours(flags)?)?;
        match &strfry {
            Err(reason) => report.not_run(their_way, reason),
            Ok(strfry) => {
                let theirs = self::digest(strfry.scan(&filter).args(flags))?;
                if theirs != (digest, lines) {
                    let theirs = theirs.1;
                    report
                        .wrong
                        .push(format!("{their_way}: {theirs} lines, ours {lines}, or others"));
                }
            }
        }
        for _ in 0..bench.runs() {
            if let Ok(strfry) = &strfry {
                their_times.push(child::time(strfry.scan(&filter).args(flags))?);
            }
            our_times.push(child::time(&mut ours(flags)?)?);
        }
        report.add(their_way, &their_times, faster(&their_times, &our_times));
        report.add(our_way, &our_times, String::new());
        if flags.is_empty() {
            report.answers = match strfry {
                Ok(_) => format!("the same {lines} events, byte for byte"),
                Err(_) => format!("{lines} events, compared with nothing"),
            };
        }
    }
    report.measure_by(WAYS[0].1);
    Ok(report)
}

/// Of an output: its hash and how many lines it has.
fn digest(command: &mut Command) -> Result<([u8; 32], u64)> {
    let mut hash = Sha256::new();
    let mut lines = 0;
    child::each_piece(command, |piece| {
        hash.update(piece);
        lines += piece.iter().filter(|&&byte| byte == b'\n').count() as u64;
    })?;
    Ok((hash.finalize().into(), lines))
}

fn faster(theirs: &[Duration], ours: &[Duration]) -> String {
    let median = |times: &[Duration]| {
        let mut times = times.to_vec();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    };
    match (median(theirs), median(ours)) {
        (Some(theirs), Some(ours)) => {
            format!("ours is {:.2} times as fast", theirs.as_secs_f64() / ours.as_secs_f64())
        }
        _ => String::new(),
    }
}
