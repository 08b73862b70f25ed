//! `data.mdb` in memory: a read-only map of our own, as large as the file needs and with room for
//! it to grow, whatever its meta page remembers as the size of strfry's.
//!
//! A page of the map that lies behind the end of the file ends the process when it is looked at
//! (SIGBUS). So whoever reads compares the length of the file first, and asks for no more than
//! that. A file that is cut while it is being read cannot be guarded against: LMDB never does that.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Room for the file to grow before it must be mapped anew, which takes some 10 µs: address space
/// alone, and less of it where it is short.
const ROOM: usize = 64 << 20;

/// A part of the address space in which a file can be read.
#[derive(Debug)]
pub(crate) struct Map {
    begin: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it is only read, and unmapped when nobody has it any more.
#[allow(unsafe_code)]
unsafe impl Send for Map {}
// SAFETY: see above.
#[allow(unsafe_code)]
unsafe impl Sync for Map {}

impl Map {
    fn new(file: &File, bytes: usize) -> io::Result<Self> {
        // SAFETY: a new map at an address of the kernel's choice touches nothing that there is.
        #[allow(unsafe_code)]
        let begin = unsafe {
            let (read, shared) = (libc::PROT_READ, libc::MAP_SHARED);
            libc::mmap(std::ptr::null_mut(), bytes, read, shared, file.as_raw_fd(), 0)
        };
        match NonNull::new(begin.cast::<u8>()) {
            Some(place) if begin != libc::MAP_FAILED => Ok(Self { begin: place, bytes }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Has Linux read nothing around a page that is not in memory. `man 2 madvise`: `MADV_RANDOM`.
    /// From 6.3 on it also takes less care to keep pages that are looked at through the map.
    fn expect_random_reads(&self) {
        // SAFETY: it changes when pages of the map are read, and nothing that is in them. If it is
        // refused, more is read than is needed.
        #[allow(unsafe_code)]
        unsafe {
            libc::madvise(self.begin.as_ptr().cast(), self.bytes, libc::MADV_RANDOM);
        }
    }

    /// So many bytes from this one on, if they are in front of `end`, which must not lie behind the
    /// end of the file.
    #[inline]
    pub(crate) fn get(&self, from: usize, bytes: usize, end: usize) -> Option<&[u8]> {
        let behind = from.checked_add(bytes)?;
        if behind > self.bytes.min(end) {
            return None;
        }
        // SAFETY: it is in the map, and in the file as the caller says. What a reader asks for does
        // not change: its slot in the lock file keeps the writer from reusing the pages of its
        // moment, or nobody writes at all.
        #[allow(unsafe_code)]
        Some(unsafe { std::slice::from_raw_parts(self.begin.as_ptr().add(from), bytes) })
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: it has been mapped so, and nothing that was read of it lives longer.
        #[allow(unsafe_code)]
        unsafe {
            libc::munmap(self.begin.as_ptr().cast(), self.bytes);
        }
    }
}

/// The map of a file that grows.
#[derive(Debug, Default)]
pub(crate) struct GrowingMap {
    current: Mutex<Option<Arc<Map>>>,
    expects_random_reads: AtomicBool,
}

impl GrowingMap {
    /// From now on Linux is to read nothing around a page that is not in memory.
    pub(crate) fn expect_random_reads(&self) {
        if self.expects_random_reads.load(Ordering::Relaxed) {
            return;
        }
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        self.expects_random_reads.store(true, Ordering::Relaxed);
        if let Some(map) = &*current {
            map.expect_random_reads();
        }
    }

    /// A map in which so many bytes can be read. The one before lives as long as it is read in.
    ///
    /// # Errors
    /// There is not as much address space.
    pub(crate) fn covering(&self, file: &File, bytes: u64) -> io::Result<Arc<Map>> {
        let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(map) = current.as_ref().filter(|map| map.bytes >= bytes) {
            return Ok(Arc::clone(map));
        }
        // Before the new one is made: address space may be short.
        *current = None;
        let with_room = Map::new(file, bytes.saturating_add(ROOM));
        let map = Arc::new(with_room.or_else(|_| Map::new(file, bytes))?);
        if self.expects_random_reads.load(Ordering::Relaxed) {
            map.expect_random_reads();
        }
        *current = Some(Arc::clone(&map));
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_that_grows_is_read_to_its_new_end_and_never_behind_it() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 8_192]).unwrap();
        let maps = GrowingMap::default();
        let first = maps.covering(&file, 8_192).unwrap();
        let end = 8_192;
        assert_eq!(first.get(4_096, 4_096, end), Some(&[1; 4_096][..]));
        for (from, bytes) in [(4_096, 4_097), (8_192, 1), (usize::MAX, 2), (0, usize::MAX)] {
            assert_eq!(first.get(from, bytes, end), None, "{from} {bytes}");
        }
        file.write_all(&[2; 4_096]).unwrap();
        let same = maps.covering(&file, 12_288).unwrap();
        assert!(Arc::ptr_eq(&first, &same));
        assert_eq!(same.get(8_192, 4_096, 12_288), Some(&[2; 4_096][..]));
        file.set_len(2 * ROOM as u64).unwrap();
        let larger = maps.covering(&file, 2 * ROOM as u64).unwrap();
        assert!(!Arc::ptr_eq(&first, &larger) && larger.bytes >= 2 * ROOM);
        // What was read in before can still be read.
        assert_eq!(first.get(0, 1, end), Some(&[1][..]));
    }

    /// proc_pid_smaps(5): the flags of the map in which this address is; `rr` is `MADV_RANDOM`.
    fn is_read_at_random(map: &Map) -> bool {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let begin = format!("{:x}-", map.begin.as_ptr().addr());
        let mut lines = maps.lines().skip_while(|line| !line.starts_with(&begin));
        lines.find_map(|line| line.strip_prefix("VmFlags:")).unwrap().contains(" rr")
    }

    #[test]
    fn once_random_reads_are_expected_they_are_of_all_maps_to_come() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(2 * ROOM as u64).unwrap();
        let maps = GrowingMap::default();
        let first = maps.covering(&file, 4_096).unwrap();
        assert!(!is_read_at_random(&first));
        maps.expect_random_reads();
        assert!(is_read_at_random(&first));
        let larger = maps.covering(&file, 2 * ROOM as u64).unwrap();
        assert!(!Arc::ptr_eq(&first, &larger) && is_read_at_random(&larger));
    }
}
