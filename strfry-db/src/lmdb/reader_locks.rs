//! Which processes have the database open and have read it: LMDB locks, in its lock file, the byte
//! whose number is the process's PID (0.9, `mdb.c`: `mdb_reader_pid`). The lock goes when the process
//! does, whereas its slot for readers may be left, or be given back between two reads.

use std::fs::File;
use std::io;

use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};

/// More are not looked for: strfry's `maxreaders` is 256.
const MOST: usize = 1_024;

/// Their PIDs, as they know themselves: in their own namespaces.
///
/// Only for a file that no environment of this process has open: when it is closed, this process's
/// locks on it go.
///
/// # Errors
/// The file says nothing of its locks.
pub(crate) fn holders(file: &File) -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    // From the first of these bytes to before the second. Byte 0 is locked for another purpose.
    let mut ranges = vec![(1, u64::from(u32::MAX))];
    while let Some((start, end)) = ranges.pop() {
        if start >= end || pids.len() >= MOST {
            continue;
        }
        let wanted = Flock {
            start,
            length: end - start,
            pid: None,
            typ: FlockType::WriteLock,
            offset_type: FlockOffsetType::Set,
        };
        // Any one of the locks there.
        let Some(lock) = fcntl_getlk(file, &wanted)? else { continue };
        let after = lock.start.saturating_add(lock.length.max(1));
        if lock.length == 1 {
            pids.extend(u32::try_from(lock.start));
        }
        ranges.extend([(start, lock.start), (after, end)]);
    }
    pids.sort_unstable();
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_file_without_locks_names_nobody() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(holders(&file).unwrap(), Vec::<u32>::new());
    }

    /// Another process, because a process does not see its own locks.
    #[test]
    fn every_locked_byte_but_the_first_is_a_process() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let script = "import fcntl, sys\n\
                      file = open(sys.argv[1], 'r+')\n\
                      for byte in (0, 7, 8, 4242, 4194304):\n    \
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
        assert_eq!(holders(file.as_file()).unwrap(), [7, 8, 4_242, 4_194_304]);
        drop(python.stdin.take());
        python.wait().unwrap();
        assert_eq!(holders(file.as_file()).unwrap(), Vec::<u32>::new());
    }
}
