//! Which processes have the database open, as the locks on its lock file tell (LMDB 0.9, `mdb.c`).
//! Each shares byte 0 for as long as it has it open (`mdb_env_setup_locks`), and once it has read, it
//! locks the byte whose number is its PID (`mdb_reader_pid`). A slot for readers says less: it is
//! left by a killed process, and may be given back between two reads.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};

/// More are not looked for: strfry's `maxreaders` is 256.
const MOST: usize = 1_024;

/// Who has a database open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenElsewhere {
    /// Somebody has, wherever that process runs.
    pub somebody: bool,
    /// The PIDs that can be told, sorted: of all processes in our namespace, and of those that have
    /// read in others, as they know themselves.
    pub processes: Vec<u32>,
}

/// Looks at the locks on a lock file.
///
/// Only for one that no environment of this process has open: when it is closed, this process's
/// locks on it go.
///
/// # Errors
/// The file says nothing of its locks.
pub(crate) fn open_elsewhere(file: &File) -> io::Result<OpenElsewhere> {
    let somebody = lock_in(file, 0, 1)?.is_some();
    let inode = file.metadata()?.ino();
    // Without it, as in some containers, the others remain.
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let mut processes: Vec<u32> =
        locks.lines().filter_map(|line| holder_of_first_byte(line, inode)).collect();
    // From the first of these bytes to before the second.
    let mut ranges = vec![(1, u64::from(u32::MAX))];
    while let Some((start, end)) = ranges.pop() {
        if start >= end || processes.len() >= MOST {
            continue;
        }
        // Any one of the locks there.
        let Some(lock) = lock_in(file, start, end - start)? else { continue };
        let after = lock.start.saturating_add(lock.length.max(1));
        if lock.length == 1 {
            processes.extend(u32::try_from(lock.start));
        }
        ranges.extend([(start, lock.start), (after, end)]);
    }
    processes.sort_unstable();
    processes.dedup();
    Ok(OpenElsewhere { somebody: somebody || !processes.is_empty(), processes })
}

fn lock_in(file: &File, start: u64, length: u64) -> io::Result<Option<Flock>> {
    let wanted = Flock {
        start,
        length,
        pid: None,
        typ: FlockType::WriteLock,
        offset_type: FlockOffsetType::Set,
    };
    Ok(fcntl_getlk(file, &wanted)?)
}

/// A line of `/proc/locks`: `1: POSIX  ADVISORY  READ 26602 fe:00:10036755 0 0`. The device is not
/// compared: some file systems name another one there.
fn holder_of_first_byte(line: &str, inode: u64) -> Option<u32> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let [kind, _, _, pid, file, start] = std::array::from_fn(|_| words.next());
    let (_, of) = file?.rsplit_once(':')?;
    let is_it = kind == Some("POSIX") && of.parse() == Ok(inode) && start == Some("0");
    pid?.parse().ok().filter(|&pid| is_it && pid > 0)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_file_without_locks_names_nobody() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(open_elsewhere(&file).unwrap(), OpenElsewhere::default());
    }

    /// Another process, because a process does not see its own locks.
    #[test]
    fn who_holds_the_first_byte_and_every_other_byte_that_is_locked_is_a_process() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let script = "import fcntl, sys\n\
                      file = open(sys.argv[1], 'r+')\n\
                      for byte in (0, 7, 9, 4242, 4194304):\n    \
                      fcntl.lockf(file, fcntl.LOCK_EX, 1, byte)\n\
                      print(flush=True)\n\
                      sys.stdin.read()";
        let python = Command::new("python3")
            .args(["-c", script])
            .arg(file.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut python) = python else { return println!("skipped: there is no python3") };
        let mut line = [0];
        io::Read::read_exact(&mut python.stdout.take().unwrap(), &mut line).unwrap();
        let mut expected = vec![7, 9, 4_242, 4_194_304, python.id()];
        expected.sort_unstable();
        let expected = OpenElsewhere { somebody: true, processes: expected };
        assert_eq!(open_elsewhere(file.as_file()).unwrap(), expected);
        drop(python.stdin.take());
        python.wait().unwrap();
        assert_eq!(open_elsewhere(file.as_file()).unwrap(), OpenElsewhere::default());
    }
}
