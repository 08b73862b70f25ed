//! Whether somebody else has the database open, who would have to wait while strfry commits for us.

use std::fs;
use std::time::Duration;

use super::limits::{
    COMMIT_TIME, FIRST_ALLOWANCE, FIRST_ALLOWANCE_BESIDE_RELAY, PATIENCE_PER_COMMIT,
};
use crate::strfry_db::StrfryDb;

/// How long a commit may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CommitTime {
    /// A second while somebody else has the database open, as long as it wants otherwise.
    #[default]
    Considerate,
    /// As long as it wants, unless a relay starts that was not there at the beginning.
    Bulk,
    /// No longer than this, whoever is there.
    AtMost(Duration),
}

/// Those who have the database open beside our own strfry.
#[derive(Debug)]
pub(super) struct Neighbours {
    commits: CommitTime,
    /// For a commit for which nobody waits.
    unhurried: Duration,
    /// Who was there at the first look.
    at_first: Option<Vec<u32>>,
    /// Somebody was there then whose PID cannot be told.
    unseen: bool,
    /// Somebody is to be given way.
    wait: bool,
    has_told: bool,
}

impl Neighbours {
    /// With the patience that there is for strfry.
    pub(super) fn new(commits: CommitTime, patience: Duration) -> Self {
        let unhurried = patience / PATIENCE_PER_COMMIT;
        Self { commits, unhurried, at_first: None, unseen: false, wait: false, has_told: false }
    }

    /// Looks who is there beside these children and this process. Returns what is to be told.
    pub(super) fn look(&mut self, db: &StrfryDb, children: &[u32]) -> Option<String> {
        if matches!(self.commits, CommitTime::AtMost(_)) {
            return None;
        }
        let Ok(Some(open)) = db.open_elsewhere() else {
            // Where it cannot be seen, somebody may be there.
            self.wait = self.commits == CommitTime::Considerate;
            return None;
        };
        let mut pids = open.processes;
        if self.at_first.is_none() && pids.is_empty() {
            // It runs where its PID cannot be told, as our own strfry may.
            self.unseen = open.somebody;
        }
        pids.retain(|&pid| !is_ours(pid, children));
        let is_first = self.at_first.is_none();
        let at_first = self.at_first.get_or_insert_with(|| pids.clone());
        let new = pids.iter().find(|pid| !at_first.contains(pid));
        self.wait = match self.commits {
            CommitTime::Bulk => new.is_some(),
            _ => self.unseen || !pids.is_empty(),
        };
        let new = new.filter(|_| !is_first && !self.has_told)?;
        self.has_told = true;
        Some(format!(
            "process {new} has opened the database since this import began: commits are kept below \
             {} s from now on, so that it can write",
            COMMIT_TIME.as_secs()
        ))
    }

    /// How long a commit may take now, and how many events the first may hold.
    pub(super) fn longest_commit(&self) -> (Duration, usize) {
        match self.commits {
            CommitTime::AtMost(longest) => {
                (longest.min(self.unhurried), FIRST_ALLOWANCE_BESIDE_RELAY)
            }
            _ if self.wait => (COMMIT_TIME.min(self.unhurried), FIRST_ALLOWANCE_BESIDE_RELAY),
            _ => (self.unhurried, FIRST_ALLOWANCE),
        }
    }
}

/// Whether a process is this one, or one of these children, or was started by one of them.
fn is_ours(pid: u32, children: &[u32]) -> bool {
    let mut at = pid;
    // No wrapper is in so many others.
    for _ in 0..16 {
        if at == std::process::id() || children.contains(&at) {
            return true;
        }
        match parent(at) {
            Some(next) if next > 1 => at = next,
            _ => return false,
        }
    }
    false
}

/// `man 5 proc`: the fourth word of `/proc/PID/stat`, the second being a name in brackets.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_have_started_is_ours_and_whoever_started_us_is_not() {
        let own = std::process::id();
        assert!(is_ours(own, &[]));
        let started_us = parent(own).unwrap();
        assert!(!is_ours(started_us, &[]), "{started_us}");
        assert!(is_ours(own, &[started_us]));
        assert!(!is_ours(1, &[]));
    }
}
