//! Which processes have the database open and read it, as LMDB's lock file tells: a slot names a
//! process, and a lock on the byte of that number shows that it lives.
//!
//! Layout from LMDB 0.9, `mdb.c`: `MDB_txninfo`. Two mutexes and a few words come first, each
//! filled up to cache lines; then one `MDB_reader` in each line, with its process at byte 8.
//! `mdb_reader_pid` locks the byte.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};

const MAGIC: u32 = 0xBEEF_C0DE;
const CACHE_LINE: usize = 64;
/// `mtb_magic`, `mtb_format`, `mtb_txnid` and `mtb_numreaders`, beside the first mutex.
const WORDS: usize = 4 + 4 + 8 + 4;
const PID: usize = 8;
/// More slots than strfry's `maxreaders` ever was (256) are not looked at.
const MOST_SLOTS: usize = 4_096;

/// The processes that live and have slots for readers, as they know themselves: the numbers are
/// those of their own namespace.
///
/// Only for a file that no environment of this process has open: when it is closed, this process's
/// locks on it go.
///
/// # Errors
/// The file cannot be read, or says nothing of its locks.
pub(crate) fn living(file: &File) -> io::Result<Vec<u32>> {
    let mut header = [0; 4];
    match file.read_exact_at(&mut header, 0) {
        Ok(()) if u32::from_ne_bytes(header) == MAGIC => {}
        // Nobody has made it yet.
        Ok(()) => return Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    let mut table = vec![0; MOST_SLOTS * CACHE_LINE];
    let read = read_at_most(file, &mut table, first_slot())?;
    let mut pids: Vec<u32> =
        table.get(..read).unwrap_or_default().chunks_exact(CACHE_LINE).map(pid_of).collect();
    pids.sort_unstable();
    pids.dedup();
    let mut living = Vec::new();
    for pid in pids {
        // A killed one leaves its slot.
        if pid > 0 && is_locked(file, pid)? {
            living.push(pid);
        }
    }
    Ok(living)
}

/// Where the slots begin. The mutex is of this machine's C library; musl's has 40 bytes on every
/// machine of 64 bits, as glibc's on most.
fn first_slot() -> u64 {
    let mutex = size_of::<libc::pthread_mutex_t>();
    let lines = |bytes: usize| bytes.div_ceil(CACHE_LINE) * CACHE_LINE;
    (lines(WORDS + mutex) + lines(mutex)) as u64
}

fn read_at_most(file: &File, buffer: &mut [u8], start: u64) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest @ [_, ..]) = buffer.get_mut(read..) {
        match file.read_at(rest, start + read as u64) {
            Ok(0) => break,
            Ok(bytes) => read += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

fn pid_of(slot: &[u8]) -> u32 {
    let pid = slot.get(PID..).and_then(|rest| rest.first_chunk());
    pid.map_or(0, |pid| u32::from_ne_bytes(*pid))
}

fn is_locked(file: &File, pid: u32) -> io::Result<bool> {
    let of_pid = Flock {
        start: u64::from(pid),
        length: 1,
        pid: None,
        typ: FlockType::WriteLock,
        offset_type: FlockOffsetType::Set,
    };
    Ok(fcntl_getlk(file, &of_pid)?.is_some())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_slot_whose_process_holds_no_lock_is_of_a_dead_one() {
        let mut file = tempfile::tempfile().unwrap();
        let mut bytes = vec![0; usize::try_from(first_slot()).unwrap() + 3 * CACHE_LINE];
        let slot = bytes.len() - CACHE_LINE;
        bytes[..4].copy_from_slice(&MAGIC.to_ne_bytes());
        bytes[slot + PID..slot + PID + 4].copy_from_slice(&4_242u32.to_ne_bytes());
        file.write_all(&bytes).unwrap();
        assert_eq!(living(&file).unwrap(), Vec::<u32>::new());
    }

    #[test]
    fn a_file_that_is_none_names_nobody() {
        let mut file = tempfile::tempfile().unwrap();
        assert_eq!(living(&file).unwrap(), Vec::<u32>::new());
        file.write_all(&[7; 20_000]).unwrap();
        assert_eq!(living(&file).unwrap(), Vec::<u32>::new());
    }
}
