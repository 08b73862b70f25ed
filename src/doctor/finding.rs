//! What one look found: whether it is as it should be, and if not, what to do.

use serde::{Serialize, Serializer};

/// How bad a finding is. Ordered: the worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// A backfill works, but not as well as it could, or not for long.
    Warning,
    /// A backfill does not work, or is never complete.
    Error,
}

impl Level {
    /// As people and programs read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What belongs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Area {
    Strfry,
    Database,
    Disk,
    Files,
    Runs,
    Peers,
}

impl Area {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 6] =
        [Self::Strfry, Self::Database, Self::Disk, Self::Files, Self::Runs, Self::Peers];

    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strfry => "strfry",
            Self::Database => "database",
            Self::Disk => "disk",
            Self::Files => "files",
            Self::Peers => "peers",
            Self::Runs => "runs",
        }
    }
}

macro_rules! checks {
    ($($name:ident = $id:literal in $area:ident, $what:literal;)*) => {
        /// What is looked at.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Check {
            $(#[doc = $what] $name,)*
        }

        impl Check {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name for programs, which does not change.
            pub fn id(self) -> &'static str {
                match self {
                    $(Self::$name => $id,)*
                }
            }

            /// Where it belongs.
            pub fn area(self) -> Area {
                match self {
                    $(Self::$name => Area::$area,)*
                }
            }
        }
    };
}

checks! {
    StrfryProgram = "strfry.program" in Strfry, "The executable is there.";
    StrfryVersion = "strfry.version" in Strfry, "It starts, and is of a version that is known.";
    StrfryConfig = "strfry.config" in Strfry, "Its configuration is there, and is understood.";
    StrfryDatabase = "strfry.database" in Strfry, "It imports into the database that is read.";
    StrfryImport = "strfry.import" in Strfry, "It opens that database to import.";
    DatabaseOpens = "database.opens" in Database, "It can be read.";
    DatabaseLock = "database.lock" in Database, "Whether strfry's lock file is shared, and why not.";
    DiskDatabase = "disk.database" in Disk, "Room where the database is.";
    DiskState = "disk.state" in Disk, "Room where state, lock and logs are.";
    FilesLock = "files.lock" in Files, "The lock of a run can be written.";
    FilesLog = "files.log" in Files, "The log can be written.";
    FilesErrorLog = "files.error-log" in Files, "The log of warnings and errors can be written.";
    FilesProfileLog = "files.profile-log" in Files, "The log of profiles can be written.";
    FilesState = "files.state" in Files, "The state of earlier runs can be read and replaced.";
    FilesHistory = "files.history" in Files, "The history can be read and written.";
    FilesProfiles = "files.profiles" in Files, "The profiles file can be replaced.";
    FilesPubkeys = "files.pubkeys" in Files, "There are pubkeys whose events a backfill asks for.";
    FilesMetrics = "files.metrics" in Files, "The metrics can be replaced.";
    PeersPeer = "peers.peer" in Peers, "A peer: whether it is reached, and answers.";
    PeersAnswer = "peers.answer" in Peers, "How many peers there are, and answer.";
    PeersTunnels = "peers.tunnels" in Peers, "How many tunnels open, of those that are needed.";
    PeersKey = "peers.key" in Peers, "The key by which relays may know this node can be read.";
    PeersClock = "peers.clock" in Peers, "This machine's clock, beside those of the peers.";
    RunsNow = "runs.now" in Runs, "Whether a backfill is running, and for how long.";
    RunsState = "runs.state" in Runs, "A backfill can rely on what earlier ones noted.";
    RunsLast = "runs.last" in Runs, "When the last complete backfill ended.";
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

/// What one look found. Its texts may hold a stranger's words: clean them for a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked for.
    pub id: Check,
    /// How bad it is.
    pub level: Level,
    /// What was looked at: a path, an address, a command.
    pub subject: String,
    /// What was found there.
    pub found: String,
    /// What to do; `None` exactly if nothing is wrong.
    pub remedy: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(id: Check, subject: impl ToString, found: impl Into<String>) -> Self {
        let (subject, found) = (subject.to_string(), found.into());
        Self { id, level: Level::Ok, subject, found, remedy: None }
    }

    /// Something that does not keep a backfill from working.
    pub fn warning(id: Check, subject: impl ToString, trouble: Trouble) -> Self {
        Self::of(id, Level::Warning, subject, trouble)
    }

    /// Something that does.
    pub fn error(id: Check, subject: impl ToString, trouble: Trouble) -> Self {
        Self::of(id, Level::Error, subject, trouble)
    }

    pub(super) fn of(id: Check, level: Level, subject: impl ToString, trouble: Trouble) -> Self {
        let Trouble { found, remedy } = trouble;
        Self { id, level, subject: subject.to_string(), found, remedy: Some(remedy) }
    }
}

/// What is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What was found.
    pub found: String,
    /// What to do.
    pub remedy: String,
}

/// Where the remedy of an error's message begins: every message is `cause; remedy`, or
/// `cause: start …`.
const REMEDIES: [(&str, usize); 2] = [("; ", 2), (": start ", 2)];

impl Trouble {
    /// With these words.
    pub fn new(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { found: found.into(), remedy: remedy.into() }
    }

    /// What the message of an error says, divided where its remedy begins. A message without one
    /// gets `otherwise`.
    pub fn of_message(message: &str, otherwise: &str) -> Self {
        let beginnings = REMEDIES.iter().filter_map(|(mark, length)| {
            let at = message.find(mark)?;
            Some((message.get(..at)?, message.get(at.checked_add(*length)?..)?))
        });
        match beginnings.min_by_key(|(found, _)| found.len()) {
            Some((found, remedy)) => Self::new(found, remedy),
            None => Self::new(message, otherwise),
        }
    }
}

/// All findings, as programs read them: schema/doctor-summary.schema.json.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    version: u32,
    /// The worst.
    pub level: Level,
    /// In the order in which they were made.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Of these findings.
    pub fn new(findings: Vec<Finding>) -> Self {
        let level = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
        Self { version: 1, level, findings }
    }

    /// How many findings are of this level.
    pub fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }
}

/// A time as people say it: `3 d 2 h`, `2 h 05 min`, `4 min`.
pub(super) fn in_words(time: std::time::Duration) -> String {
    let minutes = time.as_secs() / 60;
    let (hours, minutes) = (minutes / 60, minutes % 60);
    match (hours / 24, hours % 24) {
        (0, 0) => format!("{minutes} min"),
        (0, hours) => format!("{hours} h {minutes:02} min"),
        (days, hours) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_message_is_divided_where_its_remedy_begins() {
        for (message, found, remedy) in [
            ("cannot read x; check it; or not", "cannot read x", "check it; or not"),
            (
                "no database at x: start strfry once, or not",
                "no database at x",
                "start strfry once, or not",
            ),
            ("x is empty: start strfry once; if not", "x is empty", "start strfry once; if not"),
            ("it is broken: really", "it is broken: really", "look at it"),
        ] {
            assert_eq!(Trouble::of_message(message, "look at it"), Trouble::new(found, remedy));
        }
    }

    #[test]
    fn each_check_has_an_id_of_its_own_that_begins_with_its_area() {
        let ids: HashSet<&str> = Check::ALL.iter().map(|check| check.id()).collect();
        assert_eq!(ids.len(), Check::ALL.len());
        for check in Check::ALL {
            assert!(check.id().starts_with(&format!("{}.", check.area().name())), "{check:?}");
        }
    }

    #[test]
    fn a_report_is_as_bad_as_its_worst_finding() {
        let trouble = || Trouble::new("x", "y");
        let ok = Finding::ok(Check::RunsNow, "", "x");
        let warning = Finding::warning(Check::RunsNow, "", trouble());
        let error = Finding::error(Check::RunsNow, "", trouble());
        let level = |findings: &[&Finding]| {
            Report::new(findings.iter().map(|&finding| finding.clone()).collect()).level
        };
        assert_eq!(level(&[]), Level::Ok);
        assert_eq!(level(&[&ok, &ok]), Level::Ok);
        assert_eq!(level(&[&ok, &warning, &ok]), Level::Warning);
        assert_eq!(level(&[&error, &warning, &ok]), Level::Error);
    }

    #[test]
    fn times_are_told_in_two_units() {
        for (seconds, words) in [
            (59, "0 min"),
            (3_600 + 61, "1 h 01 min"),
            (3 * 86_400 + 7_199, "3 d 1 h"),
            (u64::MAX, "213503982334601 d 7 h"),
        ] {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }
}
