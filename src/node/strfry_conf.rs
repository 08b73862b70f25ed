//! What strfry's own configuration says about its database and its limits.
//!
//! It reads the few values that the rest needs and judges no others.

use std::path::{Path, PathBuf};

use super::files::{self, FileError, FileProblem};
use super::tao_config::{self, Located, Value};

/// A configuration may be this large; the one strfry comes with has 5 kilobytes.
const MAX_CONF_BYTES: u64 = 1 << 20;

/// Where the database is (strfry 1.1.1, golpe.yaml, `db`).
pub const DEFAULT_DB: &str = "./strfry-db/";
/// Bytes of an event's stored JSON (strfry 1.1.1, golpe.yaml, `events.maxEventSize`).
pub const DEFAULT_MAX_EVENT_SIZE: usize = 65536;
/// Seconds that an event may be dated ahead (strfry 1.1.1, golpe.yaml,
/// `events.rejectEventsNewerThanSeconds`).
pub const DEFAULT_SECONDS_AHEAD: u64 = 900;
/// The first second that strfry's queries have no room for: they keep `scanIndex << 40 | created_at`
/// in 64 bits (strfry 1.1.1, `DBQuery.h`, `CandidateEvent`), so that such an event names a place
/// outside of a list. Once stored, it can end the relay at every query that meets it.
pub const END_OF_TIME: u64 = 1 << 40;
/// Tags of an event (strfry 1.1.1, golpe.yaml, `events.maxNumTags`).
pub const DEFAULT_MAX_NUM_TAGS: usize = 2000;
/// Bytes of a tag's value (strfry 1.1.1, golpe.yaml, `events.maxTagValSize`).
pub const DEFAULT_MAX_TAG_VAL_SIZE: usize = 1024;

/// The configuration of the strfry on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrfryConf {
    /// The directory of the database, resolved against strfry's working directory.
    pub db: PathBuf,
    /// What strfry allows of an event.
    pub limits: EventLimits,
}

/// Which events strfry can store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventLimits {
    /// `events.maxEventSize`: bytes of the stored JSON, and of an imported line with its newline.
    /// One longer line stops a whole import.
    pub max_event_size: usize,
    /// `events.rejectEventsNewerThanSeconds`: how far ahead of its clock the relay lets an event be
    /// dated.
    pub seconds_ahead: u64,
    /// `events.maxNumTags`
    pub max_num_tags: usize,
    /// `events.maxTagValSize`: bytes of the value of a tag whose name is one byte.
    pub max_tag_val_size: usize,
}

impl Default for EventLimits {
    /// What strfry uses where its configuration says nothing.
    fn default() -> Self {
        Self {
            max_event_size: DEFAULT_MAX_EVENT_SIZE,
            seconds_ahead: DEFAULT_SECONDS_AHEAD,
            max_num_tags: DEFAULT_MAX_NUM_TAGS,
            max_tag_val_size: DEFAULT_MAX_TAG_VAL_SIZE,
        }
    }
}

impl EventLimits {
    /// The last second of which the relay takes events, if it is `now`.
    pub fn latest(&self, now: u64) -> u64 {
        now.saturating_add(self.seconds_ahead).min(END_OF_TIME - 1)
    }
}

/// Why strfry's configuration is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfError {
    /// There is none.
    #[error("there is no strfry configuration at {0:?}; name the file with --strfry-config")]
    Missing(PathBuf),
    /// It cannot be read.
    #[error("{0}; or name another strfry configuration with --strfry-config")]
    Unreadable(FileError),
    /// It is not what strfry itself would accept.
    #[error(
        "cannot understand the strfry configuration {path:?}, line {line}: expected {expected}; \
         correct the line, or name another file with --strfry-config"
    )]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The first line is 1.
        line: usize,
        /// What belongs there.
        expected: &'static str,
    },
    /// A value that is needed has the wrong type.
    #[error("the strfry configuration {path:?}, line {line}: {key} must be {expected}; correct it")]
    WrongType {
        /// The file.
        path: PathBuf,
        /// The first line is 1.
        line: usize,
        /// The key, dotted.
        key: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A value that is needed is not written out.
    #[error(
        "the strfry configuration {path:?}, line {line}: {key} is computed from other values, \
         which only strfry itself can do; write the value out"
    )]
    Computed {
        /// The file.
        path: PathBuf,
        /// The first line is 1.
        line: usize,
        /// The key, dotted.
        key: &'static str,
    },
}

impl StrfryConf {
    /// What strfry uses where its configuration says nothing.
    pub fn defaults(working_dir: &Path) -> Self {
        Self { db: resolve(working_dir, DEFAULT_DB), limits: EventLimits::default() }
    }

    /// Reads the file at `path`, for a strfry that runs in `working_dir`.
    ///
    /// # Errors
    /// [`ConfError`] when the file is missing, cannot be read or understood, or gives one of the
    /// values in a wrong type.
    pub fn read(path: &Path, working_dir: &Path) -> Result<Self, ConfError> {
        let text = files::read(path, MAX_CONF_BYTES).map_err(|problem| match problem {
            FileProblem::Missing => ConfError::Missing(path.to_owned()),
            problem => ConfError::Unreadable(problem.at(path)),
        })?;
        Self::parse(&text, path, working_dir)
    }

    /// Whether its database is in this directory, or is this `data.mdb`. What does not exist gets
    /// its error when it is opened, and counts as the same.
    pub fn is_of(&self, database: &Path) -> bool {
        let directory = if database.ends_with("data.mdb") { database.parent() } else { None };
        match (directory.unwrap_or(database).canonicalize(), self.db.canonicalize()) {
            (Ok(named), Ok(configured)) => named == configured,
            _ => true,
        }
    }

    fn parse(text: &[u8], path: &Path, working_dir: &Path) -> Result<Self, ConfError> {
        let [db, max_event_size, seconds_ahead, max_num_tags, max_tag_val_size] =
            tao_config::last_values(
                text,
                [
                    &["db"],
                    &["events", "maxEventSize"],
                    &["events", "rejectEventsNewerThanSeconds"],
                    &["events", "maxNumTags"],
                    &["events", "maxTagValSize"],
                ],
            )
            .map_err(|error| ConfError::Syntax {
                path: path.to_owned(),
                line: error.line,
                expected: error.expected,
            })?;
        let defaults = Self::defaults(working_dir);
        let max = defaults.limits;
        let number = |key, value, default| match value {
            None => Ok(default),
            Some((Value::Unsigned(number), _)) => Ok(number),
            Some(located) => Err(unusable(path, located, key, "a non-negative integer")),
        };
        // On a machine whose memory is smaller than a number, that is no limit.
        let size = |key, value, default: usize| {
            let size = number(key, value, default as u64)?;
            Ok(usize::try_from(size).unwrap_or(usize::MAX))
        };
        Ok(Self {
            db: match db {
                None => defaults.db,
                Some((Value::Text(db), _)) if !db.is_empty() => resolve(working_dir, &db),
                Some(located) => {
                    return Err(unusable(
                        path,
                        located,
                        "db",
                        "the path of a directory, in quotes",
                    ));
                }
            },
            limits: EventLimits {
                max_event_size: size("events.maxEventSize", max_event_size, max.max_event_size)?,
                seconds_ahead: number(
                    "events.rejectEventsNewerThanSeconds",
                    seconds_ahead,
                    max.seconds_ahead,
                )?,
                max_num_tags: size("events.maxNumTags", max_num_tags, max.max_num_tags)?,
                max_tag_val_size: size(
                    "events.maxTagValSize",
                    max_tag_val_size,
                    max.max_tag_val_size,
                )?,
            },
        })
    }
}

/// Without the `.` and the final `/` of strfry's default.
fn resolve(working_dir: &Path, db: &str) -> PathBuf {
    working_dir.join(db).components().collect()
}

fn unusable(
    path: &Path,
    (value, line): Located,
    key: &'static str,
    expected: &'static str,
) -> ConfError {
    match value {
        Value::Computed => ConfError::Computed { path: path.to_owned(), line, key },
        _ => wrong(path, line, key, expected),
    }
}

fn wrong(path: &Path, line: usize, key: &'static str, expected: &'static str) -> ConfError {
    ConfError::WrongType { path: path.to_owned(), line, key, expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<StrfryConf, ConfError> {
        StrfryConf::parse(text.as_bytes(), Path::new("/s/strfry.conf"), Path::new("/s"))
    }

    #[test]
    fn a_configuration_as_strfry_ships_it_is_read() {
        let shipped = r#"
##
## Default strfry config
##

# Directory that contains the strfry LMDB database (restart required)
db = "./strfry-db/"

dbParams {
    # Maximum number of threads/processes that can simultaneously have LMDB transactions open
    maxreaders = 256
    mapsize = 10995116277760
    noReadAhead = false
}

events {
    # Maximum size of normalised JSON, in bytes
    maxEventSize = 131072
    rejectEventsNewerThanSeconds = 600
    maxNumTags = 3000
    maxTagValSize = 2048
}

relay {
    bind = "127.0.0.1"
    info {
        description = "This is a strfry instance."
        nips = ""
    }
    writePolicy { plugin = "" }
}
"#;
        assert_eq!(
            read(shipped),
            Ok(StrfryConf {
                db: "/s/strfry-db".into(),
                limits: EventLimits {
                    max_event_size: 131072,
                    seconds_ahead: 600,
                    max_num_tags: 3000,
                    max_tag_val_size: 2048
                },
            })
        );
    }

    #[test]
    fn what_is_not_configured_has_the_default_of_strfry() {
        let defaults = StrfryConf {
            db: "/s/strfry-db".into(),
            limits: EventLimits {
                max_event_size: 65536,
                seconds_ahead: 900,
                max_num_tags: 2000,
                max_tag_val_size: 1024,
            },
        };
        assert_eq!(read(""), Ok(defaults.clone()));
        assert_eq!(read("events = 5 relay { maxEventSize = 1 }"), Ok(defaults.clone()));
        assert_eq!(StrfryConf::defaults(Path::new("/s")), defaults);
    }

    #[test]
    fn the_latest_second_is_ahead_of_the_clock_and_never_one_that_strfry_has_no_room_for() {
        let ahead = |seconds_ahead| EventLimits { seconds_ahead, ..EventLimits::default() };
        assert_eq!(ahead(900).latest(1_700_000_000), 1_700_000_900);
        assert_eq!(ahead(0).latest(7), 7);
        assert_eq!(ahead(u64::MAX).latest(7), (1 << 40) - 1);
        assert_eq!(ahead(1).latest(u64::MAX), (1 << 40) - 1);
    }

    #[test]
    fn the_database_can_be_anywhere() {
        for (db, expected) in
            [("/var/lib/strfry", "/var/lib/strfry"), ("../db", "/s/../db"), ("a//./b/", "/s/a/b")]
        {
            assert_eq!(read(&format!("db = \"{db}\"")).unwrap().db, Path::new(expected));
        }
    }

    #[test]
    fn a_value_of_the_wrong_type_is_an_error_with_its_line() {
        assert_eq!(
            read("\ndb = 5").unwrap_err().to_string(),
            "the strfry configuration \"/s/strfry.conf\", line 2: db must be the path of a \
             directory, in quotes; correct it"
        );
        assert!(matches!(read("db = ''"), Err(ConfError::WrongType { key: "db", .. })));
        for value in ["\"65536\"", "-1", "1.5", "{}", "99999999999999999999"] {
            let path = "/s/strfry.conf".into();
            let (line, expected) = (2, "a non-negative integer");
            assert_eq!(
                read(&format!("events {{\n maxEventSize = {value} }}")),
                Err(ConfError::WrongType { path, line, key: "events.maxEventSize", expected })
            );
        }
        let computed = read("db = (env \"DB\")").unwrap_err();
        assert!(matches!(computed, ConfError::Computed { line: 1, key: "db", .. }));
    }

    #[test]
    fn a_file_that_is_not_there_or_not_a_configuration_is_a_clear_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("strfry.conf");
        assert_eq!(
            StrfryConf::read(&path, directory.path()),
            Err(ConfError::Missing(path.clone()))
        );
        std::fs::write(&path, b"\x7fELF\x02").unwrap();
        assert_eq!(
            StrfryConf::read(&path, directory.path()),
            Err(ConfError::Syntax { path: path.clone(), line: 1, expected: "a key" })
        );
        std::fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
        assert_eq!(
            StrfryConf::read(&path, directory.path()),
            Err(ConfError::Unreadable(FileProblem::TooLarge { limit: 1 << 20 }.at(&path)))
        );
    }
}
