//! Runs before this: whether one is going on, and when the last complete one ended.

use std::path::Path;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::finding::{Check, Finding, Trouble, in_words};
use crate::backfill::{StateError, Status, check_state};
use crate::history::{self, Run};
use crate::node::{LockState, RunLock};
use crate::strfry_db::StrfryDb;

/// Runs in which a complete one is looked for.
const RUNS: usize = 1_000;
/// A node whose last complete run is older has missed one: callers start one each hour or day.
const LATE: Duration = Duration::from_secs(2 * 86_400);
const SEE_WHY: &str = "see why the last one was not: 'strfry-companion history show'";

/// Whether a run holds this lock, and for how long. `log` is where it says what it does.
pub fn running(lock: &Path, log: &Path) -> Finding {
    let subject = lock.display();
    let holder = match RunLock::look(lock) {
        Ok(LockState::Free) => {
            return Finding::ok(Check::RunsNow, subject, "no backfill is running");
        }
        Ok(LockState::Named(pid)) => {
            let found = format!(
                "no backfill is running here; PID {pid} was killed, or runs in another container"
            );
            return Finding::ok(Check::RunsNow, subject, found);
        }
        Ok(LockState::Held(holder)) => holder,
        Err(error) => {
            let trouble = Trouble::of_message(&error.to_string(), "check the disk and the path");
            // A file that no run can use is told of among the files.
            return Finding::warning(Check::RunsNow, subject, trouble);
        }
    };
    let who = holder.pid.map_or("unknown PID".to_owned(), |pid| format!("PID {pid}"));
    let since = holder.held_for.map_or("an unknown time".to_owned(), in_words);
    let found = format!("a backfill ({who}) has held the lock for {since}");
    if !holder.is_overdue() {
        return Finding::ok(Check::RunsNow, subject, found);
    }
    let remedy = format!("see in {} whether it goes on, and end it if it does not", log.display());
    Finding::error(Check::RunsNow, subject, Trouble::new(found, remedy))
}

/// Whether a run can rely on what earlier ones noted in this file about this database. Nothing if there
/// is no file; one that cannot be read is told of among the files.
pub fn state(file: &Path, db: &StrfryDb) -> Option<Finding> {
    let subject = file.display();
    match check_state(file, db) {
        Err(StateError::Unreadable { .. }) => None,
        Ok(()) if !file.exists() => None,
        Ok(()) => Some(Finding::ok(Check::RunsState, subject, "tells what peers still owe")),
        Err(error) => {
            let trouble = Trouble::of_message(&error.to_string(), "see what 'backfill' says");
            Some(Finding::error(Check::RunsState, subject, trouble))
        }
    }
}

/// When the last complete run ended, by the history in this file, at this moment. `state` is the
/// state file, which tells of runs that no history has.
pub fn last_run(file: &Path, state: &Path, now: Timestamp) -> Finding {
    let subject = file.display();
    let history = match history::read(file, RUNS) {
        Ok(history) => history,
        Err(error) => {
            let trouble = Trouble::of_message(&error.to_string(), "check its permissions");
            return Finding::error(Check::RunsLast, subject, trouble);
        }
    };
    let runs: Vec<&Run> = history.runs.iter().map(|(run, _)| run).collect();
    let incomplete = runs.iter().take_while(|run| run.status != Status::Complete).count();
    let Some(last) = runs.get(incomplete) else {
        return never_complete(subject, incomplete, state);
    };
    let age = age(last, now);
    let since = match incomplete {
        0 => String::new(),
        1 => ", and one since then was not".to_owned(),
        count => format!(", and {count} since then were not"),
    };
    let found = format!("the last complete backfill ended {} ago{since}", in_words(age));
    if age < LATE {
        return Finding::ok(Check::RunsLast, subject, found);
    }
    let remedy = match incomplete {
        0 => {
            "see that something starts it (cron, a systemd timer), or run 'strfry-companion backfill'"
        }
        _ => SEE_WHY,
    };
    Finding::warning(Check::RunsLast, subject, Trouble::new(found, remedy))
}

fn never_complete(subject: impl ToString, incomplete: usize, state: &Path) -> Finding {
    let written = || state.metadata().ok()?.modified().ok();
    let ago = |time: SystemTime| in_words(time.elapsed().unwrap_or_default());
    let trouble = match (incomplete, written()) {
        (0, None) => Trouble::new("no backfill so far", "run 'strfry-companion backfill'"),
        (0, Some(time)) => {
            let found = format!("no history; the state of runs was written {} ago", ago(time));
            return Finding::ok(Check::RunsLast, subject, found);
        }
        (1, _) => Trouble::new("the one backfill so far was not complete", SEE_WHY),
        (count, _) => {
            Trouble::new(format!("none of the last {count} backfills was complete"), SEE_WHY)
        }
    };
    Finding::warning(Check::RunsLast, subject, trouble)
}

/// Since the run ended; nothing if that is still to come.
fn age(run: &Run, now: Timestamp) -> Duration {
    let since_begin = Duration::try_from(now.duration_since(run.started_at)).unwrap_or_default();
    // The history may name any number.
    let took = Duration::try_from_secs_f64(run.seconds).unwrap_or_default();
    since_begin.saturating_sub(took)
}
