//! Whether a data file still holds the database that was opened, where its name and its inode say
//! so: a copy over it (`cp backup.mdb strfry-db/data.mdb`) leaves both as they are.
//!
//! LMDB itself does not notice: it takes the number of the last commit from the lock file, and the
//! meta page that belongs to this number is an empty one in a compacted copy.
//!
//! What tells a copy from a writer, by what LMDB 0.9 promises (`mdb.c`):
//!
//! - The number in each of the two meta pages only grows (`mdb_env_write_meta`), and so do the
//!   number of the last page (`mt_next_pgno`) and the file.
//! - A commit never changes pages of the one before it (`mdb_page_touch`): as long as the last
//!   commit has the same number, everything that it says is the same, and so is the root of its
//!   tables, which holds the root and the size of each.
//! - That root also stays as it was while a snapshot of its commit is protected.
//!
//! Not noticed between two snapshots: another database that has come at least as far in all of
//! this, and in the lock file too.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use super::data_file::Meta;
use super::error::ReadError;
use super::page::NO_PAGE;
use super::unlocked::{MetaPages, is_overtaken};

/// Looks at a file that seems to be another: a meta page that is being written may be read half.
const LOOKS: usize = 3;

/// A commit, and how far the file had come.
#[derive(Debug)]
pub(super) struct Moment {
    pub(super) meta: Meta,
    /// Of each meta page.
    txn_ids: [u64; 2],
    /// Length of the file.
    bytes: u64,
    /// The root of its tables; `None` if there is none, or it may have been reused.
    root: Option<Box<[u8]>>,
}

impl Moment {
    /// `None` if the meta pages are none.
    fn read(pages: &MetaPages) -> Result<Option<Self>, ReadError> {
        let metas = match pages.both_at_one_moment() {
            Ok(metas) => metas,
            Err(ReadError::NoMetaPages) => return Ok(None),
            Err(error) => return Err(error),
        };
        let txn_ids = [&metas[0], &metas[1]].map(|meta| meta.txn_id);
        let meta = Meta::newest_of(metas);
        if meta.check().is_err() {
            return Ok(None);
        }
        let bytes = pages.file.metadata().map_err(|source| ReadError::Size { source })?.len();
        let root = root(pages, &meta)?;
        Ok(Some(Self { meta, txn_ids, bytes, root }))
    }

    /// The number of the commit.
    pub(super) fn txn_id(&self) -> u64 {
        self.meta.txn_id
    }

    /// Whether a writer can have brought the file from there to here.
    fn may_follow(&self, before: &Self) -> bool {
        let has_grown = |now: &[u64], then: &[u64]| now.iter().zip(then).all(|(a, b)| a >= b);
        has_grown(&self.txn_ids, &before.txn_ids)
            && self.meta.last_page >= before.meta.last_page
            && self.bytes >= before.bytes
            && (self.meta.txn_id != before.meta.txn_id
                || self.meta == before.meta && is_same_root(&self.root, &before.root))
    }

    /// Whether its root is still what it was; to be asked while nobody may reuse it.
    pub(super) fn is_as_it_was(&self, pages: &MetaPages) -> Result<bool, ReadError> {
        let Some(root) = &self.root else { return Ok(true) };
        Ok(read_root(pages, &self.meta)?.is_some_and(|now| now == *root))
    }
}

fn is_same_root(one: &Option<Box<[u8]>>, other: &Option<Box<[u8]>>) -> bool {
    one.as_ref().zip(other.as_ref()).is_none_or(|(one, other)| one == other)
}

/// The root of the tables of the last commit.
fn root(pages: &MetaPages, meta: &Meta) -> Result<Option<Box<[u8]>>, ReadError> {
    let root = read_root(pages, meta)?;
    let is_reused = || pages.newest().is_ok_and(|now| is_overtaken(meta.txn_id, now.txn_id));
    Ok(root.filter(|_| !is_reused()))
}

fn read_root(pages: &MetaPages, meta: &Meta) -> Result<Option<Box<[u8]>>, ReadError> {
    if meta.main.root == NO_PAGE {
        return Ok(None);
    }
    let mut root = vec![0; usize::try_from(meta.page_size).unwrap_or(0)].into_boxed_slice();
    let offset = meta.main.root.saturating_mul(meta.page_size);
    match pages.file.read_exact_at(&mut root, offset) {
        Ok(()) => Ok(Some(root)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(source) => Err(ReadError::ReadPage { page: meta.main.root, source }),
    }
}

/// The latest moment of a data file that has been seen.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Option<Arc<Moment>>>);

impl Seen {
    /// Looks at the file; `None` if it does not hold the same database as before.
    pub(super) fn look(&self, pages: &MetaPages) -> Result<Option<Arc<Moment>>, ReadError> {
        for _ in 0..LOOKS {
            // Taken before the file is read: another thread may see a later moment meanwhile.
            let before = self.latest().clone();
            let now = Moment::read(pages)?;
            if let Some(now) = now
                && before.is_none_or(|before| now.may_follow(&before))
            {
                let now = Arc::new(now);
                let mut latest = self.latest();
                if latest.as_ref().is_none_or(|latest| now.txn_id() >= latest.txn_id()) {
                    *latest = Some(Arc::clone(&now));
                }
                return Ok(Some(now));
            }
            std::thread::yield_now();
        }
        Ok(None)
    }

    fn latest(&self) -> std::sync::MutexGuard<'_, Option<Arc<Moment>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
