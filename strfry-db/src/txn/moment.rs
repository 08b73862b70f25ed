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

use crate::error::{ReadError, refused};
use crate::lmdb::meta_page::{MetaPage, MetaPages, is_overtaken};
use crate::lmdb::page::NO_PAGE;

/// Looks at a file that seems to be another: a meta page that is being written may be read half.
const LOOKS: usize = 3;

/// A commit, and how far the file had come.
#[derive(Debug)]
pub(crate) struct Moment {
    pub(crate) meta: MetaPage,
    /// Both meta pages.
    metas: [MetaPage; 2],
    /// Length of the file.
    bytes: u64,
    /// The root of its tables; `None` if there is none, or it may have been reused.
    root: Option<Box<[u8]>>,
}

impl Moment {
    /// Of a file of this length and these meta pages, if they are still the same. `None` if they are
    /// none.
    fn read(
        pages: &MetaPages,
        bytes: u64,
        metas: [MetaPage; 2],
    ) -> Result<Option<Self>, ReadError> {
        let metas = pages.at_one_moment(metas)?;
        let meta = MetaPage::newest_of(metas.clone());
        if meta.check().is_err() {
            return Ok(None);
        }
        let root = root(pages, &meta)?;
        Ok(Some(Self { meta, metas, bytes, root }))
    }

    /// The number of the commit.
    pub(crate) fn txn_id(&self) -> u64 {
        self.meta.txn_id
    }

    /// The meta page of this commit: it, or the one before it.
    #[cfg(feature = "lmdb")]
    pub(crate) fn meta_of(&self, txn_id: u64) -> Option<MetaPage> {
        MetaPage::of_commit(self.metas.clone(), txn_id)
    }

    /// Length of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a file of this length and these meta pages is what it was. MetaPage pages that are read
    /// while somebody writes them, and show what they showed before, are what they were.
    fn is_still(
        &self,
        pages: &MetaPages,
        bytes: u64,
        metas: &[MetaPage; 2],
    ) -> Result<bool, ReadError> {
        let is_same = self.bytes == bytes && self.metas == *metas && self.root.is_some();
        Ok(is_same && self.is_as_it_was(pages)?)
    }

    /// Whether a writer can have brought the file from there to here.
    fn may_follow(&self, before: &Self) -> bool {
        let mut numbers = self.metas.iter().zip(&before.metas);
        numbers.all(|(now, then)| now.txn_id >= then.txn_id)
            && self.meta.last_page >= before.meta.last_page
            && self.bytes >= before.bytes
            && (self.meta.txn_id != before.meta.txn_id || self.is_same_commit(before))
    }

    /// Whether they say the same, as far as it is known.
    fn is_same_commit(&self, other: &Self) -> bool {
        self.meta == other.meta && is_same_root(&self.root, &other.root)
    }

    /// Whether its commit was there `now`, with the same root.
    pub(crate) fn is_in(&self, now: &Self) -> bool {
        self.root.is_some() && now.root.is_some() && self.is_same_commit(now)
    }

    /// Whether its root is still what it was; to be asked while nobody may reuse it.
    pub(crate) fn is_as_it_was(&self, pages: &MetaPages) -> Result<bool, ReadError> {
        let Some(root) = &self.root else { return Ok(true) };
        Ok(read_root(pages, &self.meta)?.is_some_and(|now| now == *root))
    }
}

fn is_same_root(one: &Option<Box<[u8]>>, other: &Option<Box<[u8]>>) -> bool {
    one.as_ref().zip(other.as_ref()).is_none_or(|(one, other)| one == other)
}

/// The root of the tables of the last commit.
fn root(pages: &MetaPages, meta: &MetaPage) -> Result<Option<Box<[u8]>>, ReadError> {
    let root = read_root(pages, meta)?;
    let is_reused = || pages.newest().is_ok_and(|now| is_overtaken(meta.txn_id, now.txn_id));
    Ok(root.filter(|_| !is_reused()))
}

fn read_root(pages: &MetaPages, meta: &MetaPage) -> Result<Option<Box<[u8]>>, ReadError> {
    if meta.main.root == NO_PAGE {
        return Ok(None);
    }
    let mut root = vec![0; usize::try_from(meta.page_size).unwrap_or(0)].into_boxed_slice();
    let offset = meta.main.root.saturating_mul(meta.page_size);
    match pages.file.read_exact_at(&mut root, offset) {
        Ok(()) => Ok(Some(root)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(source) => Err(refused(&format!("read page {}", meta.main.root))(source)),
    }
}

/// The latest moment of a data file that has been seen.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<Option<Arc<Moment>>>);

impl Seen {
    /// Looks at the file, whose length `length` says; `None` if it does not hold the same database
    /// as before.
    pub(crate) fn look(
        &self,
        pages: &MetaPages,
        length: impl Fn() -> Result<u64, ReadError>,
    ) -> Result<Option<Arc<Moment>>, ReadError> {
        for _ in 0..LOOKS {
            // Taken before the file is read: another thread may see a later moment meanwhile.
            let before = self.latest().clone();
            let bytes = length()?;
            let now = match pages.both() {
                Ok(metas) => {
                    if let Some(before) = &before
                        && before.is_still(pages, bytes, &metas)?
                    {
                        return Ok(Some(Arc::clone(before)));
                    }
                    Moment::read(pages, bytes, metas)
                }
                Err(error) => Err(error),
            };
            let now = match now {
                Err(ReadError::NoMetaPages) => None,
                now => now?,
            };
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
