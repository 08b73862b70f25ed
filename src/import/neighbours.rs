//! Whether somebody else has the database open, who would have to wait while strfry commits for us.

use std::fs;
use std::time::Duration;

use super::command::StrfryCommand;
use super::limits::{
    COMMIT_TIME, FIRST_ALLOWANCE, FIRST_ALLOWANCE_BESIDE_RELAY, MOST_UNSETTLED, PATIENCE_PER_COMMIT,
};
use super::memory;
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

/// What a commit may be like now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CommitLimit {
    pub(super) longest: Duration,
    /// Events of the first one, whose time is not known.
    pub(super) first: usize,
    /// Events that strfry's memory has room for.
    pub(super) most: usize,
    /// Somebody waits for it: strfry is not given the events of the next one meanwhile, which it
    /// might commit together with these.
    pub(super) is_awaited: bool,
}

/// Those who have the database open beside our own strfry.
#[derive(Debug)]
pub(super) struct Neighbours {
    commits: CommitTime,
    /// Our own strfry can be told from others.
    sees: bool,
    /// For a commit for which nobody waits.
    unhurried: Duration,
    /// Bytes of memory that were free before strfry was started.
    free: u64,
    /// Events that strfry's memory has room for.
    most: usize,
    /// Who was there at the first look.
    at_first: Option<Vec<u32>>,
    /// Somebody was there then whose PID cannot be told.
    unseen: bool,
    /// Somebody is to be given way.
    wait: bool,
    has_told: bool,
}

impl Neighbours {
    /// Beside a strfry that is reached so, where so many bytes of memory are free.
    pub(super) fn new(commits: CommitTime, command: &StrfryCommand, free: u64) -> Self {
        Self {
            commits,
            sees: command.is_local(),
            unhurried: command.patience / PATIENCE_PER_COMMIT,
            free,
            most: MOST_UNSETTLED,
            at_first: None,
            unseen: false,
            wait: commits == CommitTime::Considerate,
            has_told: false,
        }
    }

    /// Looks who is there beside this process and what it has started. Returns what is to be told.
    pub(super) fn look(&mut self, db: &StrfryDb) -> Option<String> {
        let database = db.directory().join("data.mdb").metadata().map_or(0, |file| file.len());
        self.most = memory::events_that_fit(self.free, database);
        if !self.sees || matches!(self.commits, CommitTime::AtMost(_)) {
            return None;
        }
        let Ok(Some(open)) = db.open_elsewhere() else {
            // Where it cannot be seen, somebody may be there.
            self.wait = self.commits == CommitTime::Considerate;
            return None;
        };
        let mut pids = open.processes;
        if self.at_first.is_none() && pids.is_empty() {
            // It runs where its PID cannot be told.
            self.unseen = open.somebody;
        }
        pids.retain(|&pid| !is_ours(pid));
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
            "process {new} has opened the database since this import began: while it has it open, \
             commits are kept below {} s, so that it can write",
            COMMIT_TIME.as_secs()
        ))
    }

    pub(super) fn limit(&self) -> CommitLimit {
        let awaited = |longest: Duration| CommitLimit {
            longest: longest.min(self.unhurried),
            first: FIRST_ALLOWANCE_BESIDE_RELAY,
            most: self.most,
            is_awaited: true,
        };
        match self.commits {
            CommitTime::AtMost(longest) => awaited(longest),
            _ if self.wait => awaited(COMMIT_TIME),
            _ => CommitLimit {
                longest: self.unhurried,
                first: FIRST_ALLOWANCE,
                most: self.most,
                is_awaited: false,
            },
        }
    }
}

/// Whether a process is this one, or was started by it, however many wrappers are in between.
fn is_ours(pid: u32) -> bool {
    let mut at = pid;
    // No wrapper is in so many others.
    for _ in 0..16 {
        if at == std::process::id() {
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
    use std::process::Command;

    use super::*;
    use crate::import::limits::PATIENCE;

    #[test]
    fn what_we_have_started_is_ours_and_whoever_started_us_is_not() {
        let own = std::process::id();
        let mut child = Command::new("sh").args(["-c", "sleep 100 & wait"]).spawn().unwrap();
        assert!(is_ours(own) && is_ours(child.id()));
        assert!(!is_ours(parent(own).unwrap()) && !is_ours(1));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// It would take its own strfry for somebody else.
    #[test]
    fn beside_a_strfry_in_a_container_somebody_is_assumed_unless_commits_are_to_be_large() {
        let command = StrfryCommand::by_words("docker exec -i relay strfry", PATIENCE).unwrap();
        let is_awaited = |commits| Neighbours::new(commits, &command, 0).limit().is_awaited;
        assert!(is_awaited(CommitTime::Considerate));
        assert!(!is_awaited(CommitTime::Bulk));
    }

    #[test]
    fn a_time_that_the_operator_names_holds_for_whole_commits() {
        let command = StrfryCommand::by_words("strfry", PATIENCE).unwrap();
        let longest = Duration::from_secs(5);
        let limit = Neighbours::new(CommitTime::AtMost(longest), &command, 0).limit();
        let first = FIRST_ALLOWANCE_BESIDE_RELAY;
        assert_eq!(limit, CommitLimit { longest, first, most: MOST_UNSETTLED, is_awaited: true });
    }
}
