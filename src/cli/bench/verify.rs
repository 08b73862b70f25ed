//! `bench verify`: how checking ids and signatures grows with the threads.

use std::thread;
use std::time::Instant;

use anyhow::{Context, anyhow};
use rayon::ThreadPool;

use super::Bench;
use super::report::Report;
use crate::cli::exit::{Failure, OrFail, Result};
use crate::strfry_db::ExportRange;
use crate::verify::judge_stored;

pub(super) fn run(bench: &Bench<'_>, most: usize) -> Result<Report> {
    let db = bench.node().open_database()?;
    let mut newest =
        db.export_forms(ExportRange { reverse: true, ..ExportRange::default() }).or_cannot_run()?;
    let mut events = Vec::new();
    while events.len() < most && newest.next_batch(&mut events).or_cannot_run()? {}
    events.truncate(most);
    if events.is_empty() {
        return Err(Failure::Usage(anyhow!("no events to check")));
    }

    let mut report = bench.report(format!("id and signature of {} events", events.len()));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let pools: Vec<ThreadPool> = (1..=cores).map(pool).collect::<Result<_>>()?;
    let mut times = vec![Vec::new(); pools.len()];
    let mut first = None;
    for _ in 0..bench.runs() {
        for (pool, times) in pools.iter().zip(&mut times) {
            let begun = Instant::now();
            let checked = pool.install(|| judge_stored(&events));
            times.push(begun.elapsed());
            let expected = first.get_or_insert_with(|| checked.clone());
            if checked != *expected {
                let threads = pool.current_num_threads();
                report.wrong.push(format!("{threads} threads find others than 1"));
            }
        }
    }
    let wrong = first.map_or(0, |checked| checked.offenders.len());
    report.answers = format!("the same: {wrong} of them wrong");
    for (threads, times) in (1..).zip(&times) {
        let best = times.iter().min().map_or(0.0, std::time::Duration::as_secs_f64);
        #[allow(clippy::cast_precision_loss, reason = "events in memory are fewer than 2^52")]
        let rate = events.len() as f64 / best;
        report.add(&name(threads), times, format!("at best {rate:.0} events a second"));
    }
    report.measure_by(&name(1));
    Ok(report)
}

fn name(threads: usize) -> String {
    if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") }
}

fn pool(threads: usize) -> Result<ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|number| format!("signatures-{number}"))
        .build()
        .context("cannot start threads")
        .or_cannot_run()
}
