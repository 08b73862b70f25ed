//! Reading without the lock file (`--lock none`): how a snapshot is begun, and how to tell that it
//! was whole when it was read.
//!
//! # Why it is sound
//!
//! Without a slot in the lock file nothing stops strfry from reusing the pages of a snapshot. What
//! LMDB 0.9 promises even then, by how it frees pages: the writer of transaction `W` reuses pages
//! that a transaction up to `W - 2` has freed (`mdb_find_oldest` is at most `W - 1`, and
//! `mdb_page_alloc` takes only what is older), never those that `W - 1` or `W` itself frees. A page
//! of snapshot `T` that is not in a later one was freed by `T + 1` at the earliest, so the first
//! writer that can touch it is `T + 3`; and `T + 3` begins after `T + 2` has been committed.
//! Therefore: **as long as the newest meta page is of `T` or `T + 1`, every page of snapshot `T` is
//! as it was**. Two commits are one too many. This is looked at when a batch is complete
//! ([`StrfryDb::read`]); if it does not hold, the batch is thrown away, errors included, and read
//! again from a fresh snapshot. After [`ATTEMPTS`] it is an error.
//!
//! The beginning needs a rule of its own: the roots of the trees are in the newest meta page, which
//! a writer may be writing at that moment. So both meta pages are read twice, and count only if
//! nothing in them has changed in between. The page of `T` is written again only by `T + 2`, after
//! `T + 1` has shown itself.
//!
//! LMDB itself must not read like this: it trusts the structure of its pages, and one that changes
//! under its hands makes it fail an assertion or read behind the end of the file, which ends the
//! process (a writer that need not wait for a disk brings it there within seconds). So pages are
//! read without it (`page_txn`), and each is copied first. A copy may be of a page that strfry is
//! writing: then it is refused, or leads to nonsense, which the end of the batch throws away. It
//! cannot do more, because nothing is believed of a page that has not been checked, and a walk
//! through pages that are checked has an end (`cursor`).
//!
//! A fence stands between the copies and the look at the meta pages, for processors that reorder.
//! `data.mdb` does not shrink: LMDB never truncates it; and if it did, an ordinary read comes back
//! short.
//!
//! # Where it is not
//!
//! - On a network file system, or between two machines: the meta pages are then not seen in the
//!   order in which they were written.
//! - If the file is written by anything but LMDB 0.9. A copy over it is noticed (`moment`).
//! - If one of the meta pages is read while its 120 bytes are being stored, and twice the same. A
//!   processor may show such stores out of order, for nanoseconds; the two reads are system calls.

use crate::error::ReadError;
use crate::open::{PagesFrom, StrfryDb};
use crate::txn::snapshot::Snapshot;

/// Tries to read a batch before giving up. Each takes half as much as the one before, so that ten
/// are enough for any batch to come down to one entry, which takes microseconds; the others are for a
/// machine so busy that a commit or two come between even then.
pub const ATTEMPTS: u32 = 300;

impl StrfryDb {
    /// Reads in one snapshot, and answers with what `read` returns. The way to read that works with
    /// and without a lock file.
    ///
    /// Without one, what was read is checked afterwards, and if strfry has overtaken it, `read` is
    /// called again with another snapshot: so only what it returns counts.
    ///
    /// # Errors
    /// What `read` returns, or that the snapshot cannot be had.
    #[doc(hidden)]
    pub fn read<'db, R>(
        &'db self,
        mut read: impl FnMut(&Snapshot<'db>) -> Result<R, ReadError>,
    ) -> Result<R, ReadError> {
        self.read_keeping(&mut None, false, |snapshot, _| read(snapshot))
    }

    /// As [`StrfryDb::read`], in the snapshot that was kept, and keeping it or a new one if `keep`.
    /// `read` is also told how often it has been called before for this batch.
    pub(crate) fn read_keeping<'db, R>(
        &'db self,
        kept: &mut Option<Snapshot<'db>>,
        keep: bool,
        read: impl FnMut(&Snapshot<'db>, u32) -> Result<R, ReadError>,
    ) -> Result<R, ReadError> {
        self.read_from(PagesFrom::Map, kept, keep, read)
    }

    /// As [`StrfryDb::read_keeping`], from there. A snapshot that is kept keeps its copies, too, so
    /// it is to be on the map.
    pub(crate) fn read_from<'db, R>(
        &'db self,
        source: PagesFrom,
        kept: &mut Option<Snapshot<'db>>,
        keep: bool,
        mut read: impl FnMut(&Snapshot<'db>, u32) -> Result<R, ReadError>,
    ) -> Result<R, ReadError> {
        if keep && self.is_optimistic() {
            return Err(ReadError::Unregistered);
        }
        for attempt in 0..ATTEMPTS {
            let snapshot = match kept.take() {
                Some(snapshot) => {
                    self.check_files()?;
                    snapshot
                }
                None => self.begin(source)?,
            };
            let result = read(&snapshot, attempt);
            if snapshot.is_whole()? {
                if keep {
                    *kept = Some(snapshot);
                }
                return result;
            }
        }
        Err(ReadError::Overtaken)
    }
}

/// What is left of a bound after so many attempts.
pub(crate) fn halved(bound: usize, attempt: u32) -> usize {
    bound.checked_shr(attempt).unwrap_or(0).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_halved_down_to_one() {
        let bounds = [0, 1, 5, 10, 31, 64, 1_000].map(|attempt| halved(1_024, attempt));
        assert_eq!(bounds, [1_024, 512, 32, 1, 1, 1, 1]);
    }
}
