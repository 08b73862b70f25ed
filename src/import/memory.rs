//! How many events strfry may hold, so that its memory has room where it runs.
//!
//! LMDB keeps every page that a transaction changes in memory, up to 131,071 of them; beyond that it
//! writes some of them early. A service or a container may be allowed less than that takes.

use std::fs;
use std::path::Path;

use super::limits::{
    DIRTY_BYTES, DIRTY_BYTES_PER_EVENT, LEAST_ALLOWANCE, MOST_UNSETTLED, SPOOL_PIECE, SPOOL_PIECES,
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

/// Bytes of memory that this process and what it starts can still take; what only keeps files at
/// hand counts as free.
pub(super) fn free() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| number_after(&text, "MemAvailable:"));
    let machine = machine.map_or(u64::MAX, |kib| kib.saturating_mul(1 << 10));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    machine.min(free_of_groups(&groups, Path::new("/sys/fs/cgroup")))
}

/// Linux, `cgroup-v2.rst`: the limit of each group from this process's own up to the root, less what
/// the group has in use beside the pages of files.
fn free_of_groups(groups: &str, root: &Path) -> u64 {
    let Some(own) = groups.lines().find_map(|line| line.strip_prefix("0::/")) else {
        return u64::MAX;
    };
    let within = |group: &&Path| group.starts_with(root);
    let own = root.join(own);
    let free = own.ancestors().take_while(within).filter_map(|group| {
        let read = |name| fs::read_to_string(group.join(name)).ok();
        let limit: u64 = read("memory.max")?.trim().parse().ok()?;
        let in_use: u64 = read("memory.current")?.trim().parse().ok()?;
        let of_files = number_after(&read("memory.stat")?, "file").unwrap_or(0);
        Some(limit.saturating_sub(in_use.saturating_sub(of_files)))
    });
    free.min().unwrap_or(u64::MAX)
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
    }

    #[test]
    fn the_tightest_group_counts_and_pages_of_files_are_free() {
        let root = tempfile::tempdir().unwrap();
        let group = |name: &str, max: &str, current: &str, stat: &str| {
            let directory = root.path().join(name);
            fs::create_dir_all(&directory).unwrap();
            for (file, text) in
                [("memory.max", max), ("memory.current", current), ("memory.stat", stat)]
            {
                fs::write(directory.join(file), text).unwrap();
            }
        };
        group("a", "1000\n", "900\n", "anon 100\nfile 700\nfile_dirty 9\n");
        group("a/b", "max\n", "500\n", "file 1\n");
        let free = |groups| free_of_groups(groups, root.path());
        assert_eq!(free("0::/a/b\n"), 800);
        group("a/b", "650\n", "500\n", "anon 300\nfile 200\n");
        assert_eq!(free("1:name=x:/\n0::/a/b\n"), 350);
        // Version 1, no such group, and none at all: nothing is known of a limit.
        assert_eq!(free("4:memory:/a\n"), u64::MAX);
        assert_eq!(free("0::/elsewhere\n"), u64::MAX);
        assert_eq!(free(""), u64::MAX);
    }

    #[test]
    fn this_machine_says_what_is_free() {
        assert!((1..u64::MAX).contains(&free()));
    }
}
