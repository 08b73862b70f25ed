//! Whether there is room where the database and the files of a run are.

use std::path::{Path, PathBuf};

use indicatif::HumanBytes;

use super::finding::{Check, Finding, Level, Trouble};
use crate::disk_room::{NEARLY_FULL, Room, SCARCE};

/// Below this much free space, or this many free files, something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Bytes below which an import is about to fail.
    pub error: u64,
    /// Bytes below which it will before long.
    pub warning: u64,
    /// Files that can still be created.
    pub files: u64,
}

impl Default for Thresholds {
    /// 100 MiB, 1 GiB; a run creates about ten files.
    fn default() -> Self {
        Self { error: NEARLY_FULL, warning: SCARCE, files: 100 }
    }
}

/// What needs room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The directory of the database.
    Database(PathBuf),
    /// That of state, lock and logs, which may be missing.
    State(PathBuf),
}

/// Looks how much room there is, for this user.
pub fn disk(place: &Place, thresholds: &Thresholds) -> Finding {
    let (check, path) = match place {
        Place::Database(path) => (Check::DiskDatabase, path),
        Place::State(path) => (Check::DiskState, path),
    };
    match Room::of(path) {
        Ok(room) => judge(place, check, path, room, thresholds),
        Err(error) => {
            let found = format!("cannot look how much room there is: {error}");
            let trouble = Trouble::new(found, "check the path and its permissions");
            Finding::warning(check, path.display(), trouble)
        }
    }
}

fn judge(place: &Place, check: Check, path: &Path, room: Room, thresholds: &Thresholds) -> Finding {
    let is_without_files = room.files.is_some_and(|files| files < thresholds.files);
    let found = match room.files.filter(|_| is_without_files) {
        Some(files) => format!("room for {files} more files only"),
        None => format!("{} free", HumanBytes(room.bytes)),
    };
    let level = match room.bytes {
        _ if is_without_files => Level::Error,
        bytes if bytes < thresholds.error => Level::Error,
        bytes if bytes < thresholds.warning => Level::Warning,
        _ => return Finding::ok(check, path.display(), found),
    };
    let remedy = match place {
        Place::Database(_) => "make room on that disk: on a full one strfry stores nothing",
        Place::State(_) => {
            "make room on that disk, or name another directory with --state-dir: on a full one a \
             run keeps neither state nor logs"
        }
    };
    Finding::of(check, level, path.display(), Trouble::new(found, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Thresholds = Thresholds { error: 1_000, warning: 2_000, files: 10 };

    fn judged(bytes: u64, files: Option<u64>) -> (Level, String) {
        let place = Place::Database("/d".into());
        let room = Room { bytes, files, file_system: 0 };
        let finding = judge(&place, Check::DiskDatabase, Path::new("/d"), room, &LIMITS);
        assert_eq!(finding.remedy.is_none(), finding.level == Level::Ok);
        (finding.level, finding.found)
    }

    #[test]
    fn little_room_is_a_warning_and_less_an_error() {
        assert_eq!(judged(2_000, Some(10)), (Level::Ok, "1.95 KiB free".into()));
        assert_eq!(judged(2_000, None), (Level::Ok, "1.95 KiB free".into()));
        assert_eq!(judged(1_999, None), (Level::Warning, "1.95 KiB free".into()));
        assert_eq!(judged(999, Some(10)), (Level::Error, "999 B free".into()));
        assert_eq!(judged(9_999, Some(9)), (Level::Error, "room for 9 more files only".into()));
    }

    #[test]
    fn a_directory_that_is_still_to_be_made_has_the_room_of_the_one_above() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::State(directory.path().join("a/b"));
        let none = Thresholds { error: 0, warning: 0, files: 0 };
        assert_eq!(disk(&place, &none).level, Level::Ok);
        let all = Thresholds { error: u64::MAX, ..none };
        let finding = disk(&place, &all);
        assert_eq!((finding.id, finding.level), (Check::DiskState, Level::Error));
        std::fs::write(directory.path().join("a"), "").unwrap();
        assert_eq!(disk(&place, &none).level, Level::Warning);
    }
}
