//! How many events strfry may hold, so that its memory has room where it runs.
//!
//! LMDB keeps every page that a transaction changes in memory, up to 131,071 of them; beyond that it
//! writes some of them early. A service or a container may be allowed less than that takes.

use std::fs;
use std::path::Path;

use super::limits::{
    DIRTY_BYTES, DIRTY_BYTES_PER_EVENT, FIRST_BYTES, LEAST_ALLOWANCE, MOST_UNSETTLED, SPOOL_PIECE,
    SPOOL_PIECES,
};

/// How many events strfry may hold beside a database of so many bytes, if so many bytes of memory
/// are free: it may take half of them.
pub(super) fn events_that_fit(free: u64, database: u64) -> usize {
    // A commit copies pages of the database, and puts as many behind its end.
    let dirty = DIRTY_BYTES.min(database.saturating_mul(2));
    let texts = (SPOOL_PIECE * SPOOL_PIECES) as u64;
    if dirty.saturating_add(texts) <= free / 2 {
        return MOST_UNSETTLED;
    }
    let events = usize::try_from(free / 2 / DIRTY_BYTES_PER_EVENT).unwrap_or(usize::MAX);
    events.clamp(LEAST_ALLOWANCE, MOST_UNSETTLED)
}

/// How many bytes of events' texts may be unsettled then: strfry holds each in its memory, and again
/// in the pages that a commit changes.
pub(super) fn texts_that_fit(free: u64) -> usize {
    usize::try_from(free / 4).unwrap_or(usize::MAX).max(FIRST_BYTES)
}

/// Bytes of memory that this process and what it starts can still take; what only keeps files at
/// hand counts as free.
pub(super) fn free() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| number_after(&text, "MemAvailable:"));
    let machine = machine.map_or(u64::MAX, |kib| kib.saturating_mul(1 << 10));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    machine.min(free_of_groups(&groups, Path::new("/sys/fs/cgroup")))
}

/// The files of a control group that tell its memory.
struct Names {
    limit: &'static str,
    in_use: &'static str,
    /// In `memory.stat`: of these bytes, those of files.
    of_files: &'static str,
}

/// Linux, `cgroup-v1/memory.rst` and `cgroup-v2.rst`.
const VERSION_1: Names = Names {
    limit: "memory.limit_in_bytes",
    in_use: "memory.usage_in_bytes",
    of_files: "total_cache",
};
const VERSION_2: Names = Names { limit: "memory.max", in_use: "memory.current", of_files: "file" };

/// What the control groups leave, from this process's own up to the root: the limit of each, less
/// what it has in use beside the pages of files. Groups are lines of `/proc/self/cgroup`.
fn free_of_groups(groups: &str, root: &Path) -> u64 {
    let free = groups.lines().filter_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (controllers, own) = line.split_once(":/")?;
        match controllers {
            "" => free_of(root, own, &VERSION_2),
            "memory" => free_of(&root.join("memory"), own, &VERSION_1),
            _ => None,
        }
    });
    free.min().unwrap_or(u64::MAX)
}

/// `None`: without a limit.
fn free_of(root: &Path, own: &str, names: &Names) -> Option<u64> {
    let own = root.join(own);
    let groups = own.ancestors().take_while(|group| group.starts_with(root));
    let free = groups.filter_map(|group| {
        let read = |name| fs::read_to_string(group.join(name)).ok();
        let limit: u64 = read(names.limit)?.trim().parse().ok()?;
        let in_use: u64 = read(names.in_use)?.trim().parse().ok()?;
        let of_files = number_after(&read("memory.stat")?, names.of_files).unwrap_or(0);
        Some(limit.saturating_sub(in_use.saturating_sub(of_files)))
    });
    free.min()
}

/// The number behind this word, on the line that begins with it.
fn number_after(text: &str, word: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some(word)).then(|| words.next()?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn where_memory_is_short_strfry_holds_less() {
        // A large database, a large machine; and a small one, where a little memory is enough.
        assert_eq!(events_that_fit(16 << 30, 8 << 30), MOST_UNSETTLED);
        assert_eq!(events_that_fit(1 << 30, 64 * MIB), MOST_UNSETTLED);
        // As many as strfry commits by its own default, and fewer.
        assert_eq!(events_that_fit(800 * MIB, 8 << 30), 10_240);
        assert_eq!(events_that_fit(400 * MIB, 8 << 30), 5_120);
        assert_eq!(events_that_fit(0, 0), LEAST_ALLOWANCE);
        // And no more of large ones than of ordinary ones.
        assert_eq!(texts_that_fit(400 * MIB), 100 << 20);
        assert_eq!(texts_that_fit(0), FIRST_BYTES);
    }

    #[test]
    fn the_tightest_group_counts_and_pages_of_files_are_free() {
        let root = tempfile::tempdir().unwrap();
        let write = |group: &str, files: &[(&str, &str)]| {
            let directory = root.path().join(group);
            fs::create_dir_all(&directory).unwrap();
            files.iter().for_each(|(name, text)| fs::write(directory.join(name), text).unwrap());
        };
        let version_2 = |group: &str, max: &str, current: &str, stat: &str| {
            let files = [("memory.max", max), ("memory.current", current), ("memory.stat", stat)];
            write(group, &files);
        };
        let free = |groups| free_of_groups(groups, root.path());
        version_2("a", "1000\n", "900\n", "anon 100\nfile 700\nfile_dirty 9\n");
        version_2("a/b", "max\n", "500\n", "file 1\n");
        assert_eq!(free("0::/a/b\n"), 800);
        version_2("a/b", "650\n", "500\n", "anon 300\nfile 200\n");
        assert_eq!(free("0::/a/b\n"), 350);
        let version_1 = [
            ("memory.limit_in_bytes", "300\n"),
            ("memory.usage_in_bytes", "250\n"),
            ("memory.stat", "cache 1\ntotal_cache 200\n"),
        ];
        write("memory/c", &version_1);
        assert_eq!(free("8:pids:/\n4:memory:/c/d\n0::/a/b\n"), 250);
        // No such group, and none at all: nothing is known of a limit.
        assert_eq!(free("0::/elsewhere\n"), u64::MAX);
        assert_eq!(free(""), u64::MAX);
    }

    #[test]
    fn this_machine_says_what_is_free() {
        assert!((1..u64::MAX).contains(&free()));
    }
}
