//! What a strfry says on its standard error, drained by a thread of its own, so that strfry can
//! never block on its log while we wait for it.
//!
//! Keeps a bounded amount of it. Nothing here is believed: counts are hints when to look into the
//! database, and words to quote.

use std::collections::VecDeque;
use std::fmt;
use std::io::Read;
use std::path::Path;
use std::process::ChildStderr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::allowance::Commit;
use super::limits::{
    LOG_BUFFER, LOG_LINE, LOG_POLL, LOG_REST, QUOTED_COLUMNS, QUOTED_LINES, REMEMBERED_COMMITS,
    REMEMBERED_REJECTIONS,
};
use crate::disk_room::{NEARLY_FULL, Room};
use crate::report::clean_to;

/// The last lines of strfry's log, and whether its disk was full, for an error message; fit to be shown
/// on a terminal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quote {
    lines: Vec<String>,
    /// What to say of the disk of the database, if that is nearly full.
    disk: Option<String>,
}

/// strfry (1.0 and 1.1) says so if LMDB cannot note its PID in the lock file, because another process
/// with this PID has it: that one runs in another PID namespace.
const PID_IS_TAKEN: &str = "mdb_txn_begin: Resource temporarily unavailable";

impl Quote {
    /// What its words mean, if an operator cannot know that.
    pub(super) fn cause(&self) -> &'static str {
        match self.lines.iter().any(|line| line.contains(PID_IS_TAKEN)) {
            true => {
                ", because a process in another container has its PID and reads the same database \
                 (start strfry in that container, as with docker exec, or let both share PIDs, as \
                 with --pid host)"
            }
            false => "",
        }
    }

    /// Adds what is to be said of the disk of this database. strfry need not say that it is full: LMDB
    /// calls a write that was cut short an input/output error.
    pub(super) fn with_disk_of(self, db: &Path) -> Self {
        self.with_room(db, Room::of(db).map_or(u64::MAX, |room| room.bytes))
    }

    fn with_room(self, db: &Path, free: u64) -> Self {
        let disk = (free < NEARLY_FULL).then(|| {
            format!("; the disk of {} has {} MiB free: make room there", db.display(), free >> 20)
        });
        Self { disk, ..self }
    }
}

impl fmt::Display for Quote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disk = self.disk.as_deref().unwrap_or_default();
        match self.lines.as_slice() {
            [] => write!(f, " and wrote nothing to its log{disk}"),
            lines => write!(f, "{disk}; its last lines: {}", lines.join(" | ")),
        }
    }
}

/// What strfry claims to have done with its input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) added: u64,
    /// It says that it held them before.
    pub(super) dups: u64,
}

impl Claims {
    /// Those of two strfrys.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            added: self.added.saturating_add(other.added),
            dups: self.dups.saturating_add(other.dups),
        }
    }

    /// Whether it claims to have any event.
    pub(super) fn some(self) -> bool {
        self.added > 0 || self.dups > 0
    }
}

/// What a strfry has said so far. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct ChildLog(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    said: Mutex<Said>,
    changed: Condvar,
}

/// The first line of strfry after 1.1.1, if root runs it: of no use where it is quoted.
const RUNS_AS_ROOT: &str = "WARNING: Running as root is not recommended";

#[derive(Debug, Default)]
struct Said {
    /// When it logged its first line.
    first_word: Option<Instant>,
    last_lines: VecDeque<String>,
    rejections: VecDeque<String>,
    /// Events of which it has said that it is through with them, for better or worse.
    through: u64,
    /// The latest commits that nobody has asked for.
    commits: VecDeque<Commit>,
    claims: Claims,
    ended: bool,
    /// Nobody listens any more.
    closed: bool,
}

impl ChildLog {
    /// Starts the thread that reads it.
    pub(super) fn drain(&self, stderr: ChildStderr) -> std::io::Result<()> {
        let log = self.clone();
        let drain = move || {
            log.read_to_end(stderr);
            log.lock().ended = true;
            log.0.changed.notify_all();
        };
        thread::Builder::new().name("strfry-log".to_owned()).spawn(drain).map(drop)
    }

    /// How many of the events that it was given strfry says that it is through with.
    pub(super) fn through(&self) -> u64 {
        self.lock().through
    }

    /// The commits that it has told of since the last call.
    pub(super) fn take_commits(&self) -> VecDeque<Commit> {
        std::mem::take(&mut self.lock().commits)
    }

    pub(super) fn claims(&self) -> Claims {
        self.lock().claims
    }

    /// Whether strfry, and everything that it has started, has closed its standard error.
    pub(super) fn has_ended(&self) -> bool {
        self.lock().ended
    }

    /// Waits until strfry says that it is through with more events than these, or says no more;
    /// not longer than this.
    pub(super) fn wait_for_more_than(&self, through: u64, longest: Duration) {
        let said = self.lock();
        drop(self.0.changed.wait_timeout_while(said, longest, |said| {
            said.through <= through && !said.ended && !said.closed
        }));
    }

    /// Waits until strfry's standard error is closed, not longer than this.
    pub(super) fn wait_for_end(&self, longest: Duration) {
        let said = self.lock();
        drop(self.0.changed.wait_timeout_while(said, longest, |said| !said.ended));
    }

    /// Ends the listening; what strfry has started and left behind may talk on.
    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    pub(super) fn quote(&self) -> Quote {
        let shown = |line: &String| clean_to(line, QUOTED_COLUMNS).into_owned();
        Quote { lines: self.lock().last_lines.iter().map(shown).collect(), disk: None }
    }

    /// The last of the rejections, each from the words `Rejected event` on.
    pub(super) fn rejections(&self) -> Vec<String> {
        self.lock().rejections.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.0.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_to_end(&self, mut stderr: ChildStderr) {
        let mut buffer = vec![0; LOG_BUFFER];
        let mut lines = Lines::default();
        while !self.lock().closed {
            let mut ready = [PollFd::new(&stderr, PollFlags::IN)];
            match poll(&mut ready, Timespec::try_from(LOG_POLL).ok().as_ref()) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(_) => break,
            }
            let began = Instant::now();
            let length = match stderr.read(&mut buffer) {
                Ok(length @ 1..) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                _ => break,
            };
            let bytes = buffer.get(..length).unwrap_or_default();
            lines.read(bytes, |line| self.lock().push(line));
            self.0.changed.notify_all();
            if length >= LOG_BUFFER / 2 {
                // Whoever talks without end must not take a core of the relay's.
                thread::sleep(began.elapsed() * LOG_REST);
            }
        }
        lines.end(|line| self.lock().push(line));
    }
}

/// Puts lines together, of each not more than its beginning.
#[derive(Debug, Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    fn read(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, next) = rest.split_at(end + 1);
            self.keep(line);
            take(&self.begun);
            self.begun.clear();
            rest = next;
        }
        self.keep(rest);
    }

    fn keep(&mut self, part: &[u8]) {
        let room = LOG_LINE.saturating_sub(self.begun.len());
        self.begun.extend_from_slice(part.get(..room).unwrap_or(part));
    }

    /// The last line may lack its line feed.
    fn end(self, take: impl FnOnce(&[u8])) {
        if !self.begun.is_empty() {
            take(&self.begun);
        }
    }
}

impl Said {
    fn push(&mut self, line: &[u8]) {
        let now = Instant::now();
        let first_word = *self.first_word.get_or_insert(now);
        let line = String::from_utf8_lossy(line).trim_end().to_owned();
        if line == RUNS_AS_ROOT {
            return;
        }
        let message = message(&line);
        if let Some(through) = through(message) {
            self.through = self.through.saturating_add(through);
            let commit = Commit { events: through, at: now, first_word };
            push_bounded(&mut self.commits, commit, REMEMBERED_COMMITS);
        }
        if let Some(claims) = claims(message) {
            self.claims = claims;
        }
        if message.starts_with("Rejected event") {
            push_bounded(&mut self.rejections, message.to_owned(), REMEMBERED_REJECTIONS);
        }
        push_bounded(&mut self.last_lines, line, QUOTED_LINES);
    }
}

/// A line without the time, thread and level that strfry writes in front. Events that strfry quotes
/// come behind, so none of them can pass for a message of its own.
fn message(line: &str) -> &str {
    match line.split_once("| ") {
        Some((_, message)) if !line.starts_with("Rejected event") => message,
        _ => line,
    }
}

/// The sum of `Writer: added: 1 dups: 2 replaced: 3 deleted: 4`, which strfry writes after each
/// commit.
fn through(message: &str) -> Option<u64> {
    let counts = message.strip_prefix("Writer: added: ")?;
    let numbers = counts.split_ascii_whitespace().filter_map(|word| word.parse::<u64>().ok());
    Some(numbers.fold(0, u64::saturating_add))
}

/// The totals of `Committed 1. Processed 9 lines. 1 added, 2 rejected, 3 dups`, or of the same
/// after `Done.`
fn claims(message: &str) -> Option<Claims> {
    let (_, totals) = message
        .split_once("Processed ")
        .filter(|(start, _)| *start == "Done. " || start.starts_with("Committed "))?;
    let (_, totals) = totals.split_once(" lines. ")?;
    let number = |name: &str| {
        totals.split(", ").find_map(|part| part.strip_suffix(name)?.parse::<u64>().ok())
    };
    Some(Claims { added: number(" added")?, dups: number(" dups")? })
}

fn push_bounded<T>(queue: &mut VecDeque<T>, item: T, bound: usize) {
    queue.push_back(item);
    if queue.len() > bound {
        queue.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PREFIX: &str = "2026-01-01 00:00:00.000 (   1.0s) [Writer          ]INFO| ";

    fn said(lines: &[&str]) -> Said {
        let mut said = Said::default();
        lines.iter().for_each(|line| said.push(format!("{PREFIX}{line}\n").as_bytes()));
        said
    }

    #[test]
    fn what_a_taken_pid_means_is_said_before_strfrys_own_words() {
        let why = "  what():  mdb_txn_begin: Resource temporarily unavailable";
        let quote =
            |line: &str| Quote { lines: vec![line.to_owned(), "SIGABRT".to_owned()], disk: None };
        let cause = quote(why).cause();
        assert!(
            cause.starts_with(", because a process in another container has its PID"),
            "{cause}"
        );
        assert_eq!(quote("mdb_txn_begin: Invalid argument").cause(), "");
    }

    #[test]
    fn a_commit_says_how_many_events_are_through() {
        let said = said(&[
            "Writer: added: 1 dups: 20 replaced: 300 deleted: 4000",
            "Committed 7. Processed 9 lines. 7 added, 0 rejected, 2 dups",
        ]);
        assert_eq!((said.through, said.claims), (4_321, Claims { added: 7, dups: 2 }));
    }

    /// Where a root runs it, it would be the one line of a strfry that says nothing more.
    #[test]
    fn that_root_runs_it_is_no_word_of_strfrys_about_an_import() {
        let log = ChildLog::default();
        log.lock().push(b"WARNING: Running as root is not recommended\n");
        assert_eq!(log.quote().to_string(), " and wrote nothing to its log");
        log.lock().push(format!("{PREFIX}WARNING: Running as root is not recommended").as_bytes());
        assert!(log.quote().to_string().contains("Running as root"));
    }

    #[test]
    fn numbers_as_large_as_they_can_be_are_summed_up_without_overflow() {
        let line = "Writer: added: 18446744073709551615 dups: 18446744073709551615";
        assert_eq!(said(&[line, line]).through, u64::MAX);
    }

    #[test]
    fn an_event_that_is_quoted_passes_for_no_message_of_strfrys() {
        let said = said(&[
            r#"Rejected event: {"content":"x| Writer: added: 9"} reason: | Done. Processed 1 lines. 5 added, 0 rejected, 0 dups"#,
        ]);
        assert_eq!((said.through, said.claims), (0, Claims::default()));
        assert_eq!(said.rejections.len(), 1);
    }

    #[test]
    fn what_is_quoted_cannot_command_a_terminal() {
        let log = ChildLog::default();
        log.lock().push("\x1b[2J\x07\0 \u{202e}bidi \u{9b}31m\r".as_bytes());
        let quoted = log.quote().to_string();
        assert_eq!(quoted, r"; its last lines: \u{1b}[2J\u{7}\u{0} \u{202e}bidi \u{9b}31m");
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_and_little_is_kept(
            parts in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..100),
                    prop::collection::vec(any::<u8>(), 3_000..5_000),
                    Just(b"Rejected event ".to_vec()),
                    Just(b"| Writer: added: 18446744073709551615 \n".to_vec()),
                    Just(b"Done. Processed 1 lines. 99999999999999999999 added, 1 dups\n".to_vec()),
                ],
                0..40,
            ),
        ) {
            let (mut said, mut lines) = (Said::default(), Lines::default());
            for part in &parts {
                lines.read(part, |line| said.push(line));
                prop_assert!(lines.begun.len() <= LOG_LINE);
            }
            lines.end(|line| said.push(line));
            prop_assert!(said.last_lines.len() <= QUOTED_LINES);
            // A byte that is no UTF-8 becomes a character of three.
            prop_assert!(said.last_lines.iter().all(|line| line.len() <= 3 * LOG_LINE));
        }
    }

    #[test]
    fn of_a_full_disk_it_is_said_before_the_lines() {
        let quoted = |lines: &[&str], free| {
            let lines = lines.iter().map(|&line| line.to_owned()).collect();
            Quote { lines, disk: None }.with_room(Path::new("/srv/db"), free).to_string()
        };
        let why = ["mdb_txn_commit: Input/output error"];
        let full = "; the disk of /srv/db has 10 MiB free: make room there";
        let lines = "; its last lines: mdb_txn_commit: Input/output error";
        assert_eq!(quoted(&why, 10_500_000), format!("{full}{lines}"));
        assert_eq!(quoted(&[], 10_500_000), format!(" and wrote nothing to its log{full}"));
        assert_eq!(quoted(&why, NEARLY_FULL), lines);
    }

    #[test]
    fn the_disk_of_a_quote_is_that_of_the_database() {
        // Nothing is ever free there.
        let quote = Quote::default().with_disk_of(Path::new("/proc"));
        assert!(quote.to_string().contains("; the disk of /proc has 0 MiB free"), "{quote}");
    }
}
