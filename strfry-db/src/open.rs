//! Opens strfry's database for reading, in a way that can share it with a running strfry.
//!
//! How: with slots for readers in strfry's own lock file, or without them (`optimistic`). Never
//! creates a file: a database without a lock file is one that no strfry has open.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{DB_VERSION, OpenError, ReadError};
use crate::format::flatbuffers::Meta;
use crate::format::payload::KnownDictionaries;
use crate::format::tables::{META, Tables};
use crate::limits::{COPIED_PAGES, LESS_WITHOUT_LOCK, PAGES_OF_A_WALK};
use crate::lmdb::data_file;
use crate::lmdb::files::{Files, open_to_read};
#[cfg(feature = "lmdb")]
use crate::lmdb::lock_file;
use crate::lmdb::map::GrowingMap;
use crate::lmdb::meta_page::{MetaPage, MetaPages};
use crate::lmdb::reader_locks::{self, OpenElsewhere};
use crate::read::storage::Readers;
use crate::txn::copies::{Copies, SparePages};
use crate::txn::moment::{Moment, Seen};
#[cfg(feature = "lmdb")]
use crate::txn::open_here::OpenHere;
use crate::txn::open_snapshots::Open;
use crate::txn::optimistic::ATTEMPTS;
use crate::txn::page_reader::{CheckedPages, Pages};
use crate::txn::page_txn::PageTxn;
#[cfg(feature = "lmdb")]
use crate::txn::registered::{Registered, refuse_wrong_lmdb};
use crate::txn::snapshot::Snapshot;

/// strfry's key of the one `Meta` record.
const META_KEY: u64 = 1;
/// What strfry writes on the machine's own endianness.
const NATIVE_ENDIANNESS: u64 = 1;

/// Tries to begin with no two commits at that moment, which takes microseconds.
#[cfg(feature = "lmdb")]
const ATTEMPTS_TO_BEGIN: u32 = 1_000;

/// Held from the look at a lock file until the environment is open.
#[cfg(feature = "lmdb")]
static OPENING: Mutex<()> = Mutex::new(());

/// strfry's database, open for reading. Cheap to share between threads by reference.
pub struct StrfryDb {
    access: Access,
    files: Files,
    meta_pages: MetaPages,
    map: GrowingMap,
    checked: CheckedPages,
    /// Copies of pages, and what they are of.
    copies: Mutex<Option<(Arc<Moment>, Arc<Copies>)>>,
    spare: Arc<SparePages>,
    seen: Seen,
    pub(crate) tables: Tables,
    pub(crate) meta: Meta,
    pub(crate) dictionaries: KnownDictionaries,
}

/// What keeps the pages of a moment as they are.
enum Access {
    /// A slot in the lock file.
    #[cfg(feature = "lmdb")]
    Registered(Registered),
    /// There is no lock file, and nobody writes: this commit stays the last.
    AtRest { txn_id: u64 },
    /// Nothing: strfry may be writing, and its lock file is not used.
    Optimistic,
}

/// Where a read transaction takes pages from that stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PagesFrom {
    /// For what is looked up here and there, and for records: the pages of events that came one
    /// after the other lie together, and the kernel maps several at once.
    Map,
    /// For a walk along an index. Its pages lie anywhere in the file, and reading one is faster than
    /// mapping it, which is a page fault.
    Copies,
}

impl StrfryDb {
    /// Opens the database in a directory such as `strfry-db/`, or the one that this `data.mdb` is.
    ///
    /// Slots of readers that have been killed are cleared: strfry cannot reuse what they read.
    ///
    /// # Errors
    /// [`OpenError`], each of which says what to do.
    #[cfg(feature = "lmdb")]
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        refuse_wrong_lmdb()?;
        // The lock file may be looked at only while no environment has it open.
        let _opening = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
        let files = Files::find(path)?;
        let data_file = data_file::check(&files.data_path())?;
        let open = OpenHere::new(&files)
            .ok_or_else(|| OpenError::AlreadyOpen { path: files.directory().to_owned() })?;
        if !lock_file::check(&files.lock_path())? {
            return Self::at_rest(files, data_file);
        }
        Self::new(files, data_file, |files, _| {
            // Opening takes slots too.
            let _ending_later = Open::new();
            Registered::open(files, open).map(Access::Registered)
        })
    }

    /// Opens the database in a directory such as `strfry-db/`, or the one that this `data.mdb` is,
    /// without its lock file, as [`StrfryDb::open_without_lock`] does.
    ///
    /// # Errors
    /// [`OpenError`], each of which says what to do.
    #[cfg(not(feature = "lmdb"))]
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let files = Files::find(path)?;
        if files.has_lock_file() {
            return Self::open_without_lock(path);
        }
        let data_file = data_file::check(&files.data_path())?;
        Self::at_rest(files, data_file)
    }

    /// Opens a database that nobody has open.
    fn at_rest(files: Files, data_file: (File, u64)) -> Result<Self, OpenError> {
        Self::new(files, data_file, |_, moment| Ok(Access::AtRest { txn_id: moment.txn_id() }))
    }

    /// Opens the database without its lock file, for where that cannot be shared: each read is
    /// checked after the fact and repeated if strfry has overtaken it.
    ///
    /// Reads are slower, page by page, and cannot be of one moment for long.
    ///
    /// # Errors
    /// [`OpenError`], each of which says what to do.
    pub fn open_without_lock(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let files = Files::find_data(path)?;
        let data_file = data_file::check(&files.data_path())?;
        Self::new(files, data_file, |_, _| Ok(Access::Optimistic))
    }

    fn new(
        files: Files,
        data_file: (File, u64),
        access: impl FnOnce(&Files, &Moment) -> Result<Access, OpenError>,
    ) -> Result<Self, OpenError> {
        let meta_pages = MetaPages::new(data_file);
        let seen = Seen::default();
        let moment = look_at(&files, &meta_pages, &seen)?;
        // Before LMDB sees it, which believes its meta pages.
        let (meta, tables) = look(&files, &meta_pages, &moment)?;
        let access = access(&files, &moment)?;
        let db = Self {
            access,
            files,
            meta_pages,
            map: GrowingMap::default(),
            checked: CheckedPages::default(),
            copies: Mutex::default(),
            spare: Arc::default(),
            seen,
            tables,
            meta,
            dictionaries: KnownDictionaries::default(),
        };
        // What was looked at and what has been opened is the same.
        let same = db.check_files();
        same.map_err(|source| OpenError::Read { path: db.data_path(), source })?;
        Ok(db)
    }

    /// The directory that holds `data.mdb`.
    pub fn directory(&self) -> &Path {
        self.files.directory()
    }

    pub(crate) fn data_path(&self) -> PathBuf {
        self.files.data_path()
    }

    /// Whether readers are registered in a lock file, as they must be beside a running strfry.
    pub fn has_lock_file(&self) -> bool {
        match self.access {
            #[cfg(feature = "lmdb")]
            Access::Registered(_) => true,
            Access::AtRest { .. } | Access::Optimistic => false,
        }
    }

    /// What strfry says of the database: versions.
    #[doc(hidden)]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Whether strfry may overtake what is read here, and each read is checked afterwards.
    #[doc(hidden)]
    pub fn is_optimistic(&self) -> bool {
        matches!(self.access, Access::Optimistic)
    }

    /// Begins a read transaction. Keep it short: while it lives, strfry cannot reuse old pages.
    ///
    /// # Errors
    /// No free reader slot; the database has been replaced, or strfry has started on one opened
    /// without a lock file; or the lock file is not used, where only [`StrfryDb::read`] can tell
    /// whether what was read is whole.
    #[doc(hidden)]
    pub fn snapshot(&self) -> Result<Snapshot<'_>, ReadError> {
        if self.is_optimistic() { Err(ReadError::Unregistered) } else { self.begin(PagesFrom::Map) }
    }

    /// Begins a read transaction that takes its pages from there, where it can.
    pub(crate) fn begin(&self, source: PagesFrom) -> Result<Snapshot<'_>, ReadError> {
        let open = Open::new();
        let moment = self.check_files()?;
        match &self.access {
            #[cfg(feature = "lmdb")]
            Access::Registered(registered) => {
                self.begin_registered(registered, source, moment, open)
            }
            Access::AtRest { .. } => {
                let txn = self.pinned(moment.meta.clone(), source, &moment)?;
                Ok(Snapshot::new(self, txn, Some(moment), None, open))
            }
            Access::Optimistic => {
                let (meta, copies) = (moment.meta.clone(), self.copies_of(&moment));
                let txn = PageTxn::copying(&self.meta_pages, meta, copies);
                Ok(Snapshot::new(self, txn, Some(moment), None, open))
            }
        }
    }

    /// With a slot in the lock file.
    #[cfg(feature = "lmdb")]
    fn begin_registered<'db>(
        &'db self,
        registered: &'db Registered,
        source: PagesFrom,
        mut before: Arc<Moment>,
        open: Open,
    ) -> Result<Snapshot<'db>, ReadError> {
        for _ in 0..ATTEMPTS_TO_BEGIN {
            let slot = registered.begin()?;
            // LMDB takes the number from the lock file, where a writer puts it right after it has
            // written it to a meta page.
            let txn_id = slot.txn_id;
            let now = if before.txn_id() == txn_id { before.clone() } else { self.check_files()? };
            if before.txn_id() > txn_id.saturating_add(1) || now.txn_id() < txn_id {
                return Err(self.replaced());
            }
            // What is read is of this very commit, whose slot keeps its pages.
            if let Some(meta) = now.meta_of(txn_id) {
                let txn = self.pinned(meta, source, &now)?;
                let moment = Some(now).filter(|now| now.txn_id() == txn_id);
                return Ok(Snapshot::new(self, txn, moment, Some(slot), open));
            }
            before = now;
        }
        Err(ReadError::Overtaken)
    }

    /// A moment whose pages stay as they are: on the map, or on copies if that is wanted, or there
    /// is no address space for a map.
    fn pinned(
        &self,
        meta: MetaPage,
        source: PagesFrom,
        now: &Arc<Moment>,
    ) -> Result<PageTxn<'_>, ReadError> {
        let needed = meta.last_page.saturating_add(1).saturating_mul(meta.page_size);
        // A file that has grown since it was looked at.
        let bytes = match now.bytes() {
            bytes if bytes >= needed => bytes,
            _ => self.meta_pages.length()?,
        };
        // Pages at the very end may be counted but not written.
        let bytes = bytes.min(needed);
        let end = usize::try_from(bytes).unwrap_or(usize::MAX);
        let map = self.map.covering(&self.meta_pages.file, bytes).ok();
        let copies = || Copies::new(&self.spare, PAGES_OF_A_WALK).into();
        let pages = match (source, map) {
            (PagesFrom::Map, Some(map)) => Pages::Mapped { map, end, checked: &self.checked },
            (_, map) => Pages::copied(copies(), map.map(|map| (map, end))),
        };
        Ok(PageTxn::new(&self.meta_pages, meta, pages))
    }

    /// What has been copied at this moment before.
    fn copies_of(&self, moment: &Arc<Moment>) -> Arc<Copies> {
        let mut kept = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, copies)) = &*kept
            && Arc::ptr_eq(of, moment)
            && !copies.is_full()
        {
            return Arc::clone(copies);
        }
        // Their memory is used again.
        *kept = None;
        let copies = Arc::new(Copies::new(&self.spare, COPIED_PAGES));
        *kept = Some((Arc::clone(moment), Arc::clone(&copies)));
        copies
    }

    /// Whether the files are still those that were opened, hold what they held, and nobody writes
    /// to them who must not. Returns what the data file is like now.
    ///
    /// # Errors
    /// [`ReadError`]: they are not, or cannot be looked at.
    pub(crate) fn check_files(&self) -> Result<Arc<Moment>, ReadError> {
        let check = || match &self.access {
            Access::Optimistic => self.files.check_data(),
            #[cfg(feature = "lmdb")]
            Access::Registered(_) => self.files.check(),
            Access::AtRest { .. } => self.files.check(),
        };
        let now = self.seen.look(&self.meta_pages, check)?.ok_or_else(|| self.replaced())?;
        match &self.access {
            // Whoever writes has its lock file where we do not see it.
            Access::AtRest { txn_id, .. } if now.txn_id() != *txn_id => Err(ReadError::WrittenTo),
            _ => Ok(now),
        }
    }

    /// The data file is not what it was.
    pub(crate) fn replaced(&self) -> ReadError {
        ReadError::Replaced { path: self.data_path() }
    }

    pub(crate) fn meta_pages(&self) -> &MetaPages {
        &self.meta_pages
    }

    /// Something had to be read from the disk: for some time, pages are asked for before they are
    /// looked at.
    pub(crate) fn begin_to_read_ahead(&self) {
        self.map.expect_random_reads();
        self.meta_pages.read_ahead.turn_on();
    }

    /// A bound of a batch, or less of it without the lock file.
    pub(crate) fn bound(&self, rows: usize) -> usize {
        if self.is_optimistic() { (rows / LESS_WITHOUT_LOCK).max(1) } else { rows }
    }

    /// The reader slots; `None` without a lock file.
    #[doc(hidden)]
    pub fn readers(&self) -> Option<Readers> {
        match &self.access {
            #[cfg(feature = "lmdb")]
            Access::Registered(registered) => registered.readers(),
            Access::AtRest { .. } | Access::Optimistic => None,
        }
    }
}

impl StrfryDb {
    /// Who else has the database open, such as a relay. `None` if this process shares the lock file:
    /// then it must not be looked at.
    ///
    /// # Errors
    /// The lock file cannot be found or opened.
    #[doc(hidden)]
    pub fn open_elsewhere(&self) -> io::Result<Option<OpenElsewhere>> {
        if self.has_lock_file() {
            return Ok(None);
        }
        let files = Files::find(self.directory()).map_err(io::Error::other)?;
        match open_to_read(&files.lock_path()) {
            Ok(file) => reader_locks::open_elsewhere(&file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Some(OpenElsewhere::default()))
            }
            Err(error) => Err(error),
        }
    }
}

impl fmt::Debug for StrfryDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reads = match self.access {
            #[cfg(feature = "lmdb")]
            Access::Registered(_) => "with a slot in the lock file",
            Access::AtRest { .. } => "at rest: there is no lock file",
            Access::Optimistic => "without the lock file",
        };
        let mut fields = f.debug_struct("StrfryDb");
        fields.field("path", &self.data_path()).field("reads", &reads).finish()
    }
}

/// What the file is like before anything of it is read.
fn look_at(files: &Files, meta_pages: &MetaPages, seen: &Seen) -> Result<Arc<Moment>, OpenError> {
    let path = files.data_path();
    match seen.look(meta_pages, || meta_pages.length()) {
        Ok(Some(moment)) => Ok(moment),
        Ok(None) => Err(OpenError::Damaged { path, what: "its meta pages are none" }),
        Err(source) => Err(OpenError::Read { path, source }),
    }
}

/// What the database says of itself, and the tables that are there, both read without LMDB.
fn look(
    files: &Files,
    meta_pages: &MetaPages,
    moment: &Moment,
) -> Result<(Meta, Tables), OpenError> {
    let path = files.data_path();
    let read = |source| OpenError::Read { path: path.clone(), source };
    let looked = read_from(meta_pages, moment.meta.clone(), |pages| {
        if !pages.has(&META)? {
            return Ok(None);
        }
        let record = pages.get(&META, &META_KEY.to_ne_bytes())?.map(<[u8]>::to_vec);
        // Another version has other tables, so the record comes first.
        Ok(Some((record, Tables::find(|shape| pages.has(shape)))))
    });
    let not_strfry = || OpenError::NotStrfry { path: path.clone(), table: META.name };
    let (record, tables) = looked.map_err(read)?.ok_or_else(not_strfry)?;
    let meta = check_meta(&path, record.as_deref())?;
    Ok((meta, tables.map_err(read)?))
}

/// Reads in this moment, and in a later one if strfry has overtaken it.
fn read_from<R>(
    meta_pages: &MetaPages,
    mut meta: MetaPage,
    mut read: impl FnMut(&PageTxn<'_>) -> Result<R, ReadError>,
) -> Result<R, ReadError> {
    for _ in 0..ATTEMPTS {
        let txn = PageTxn::copying(meta_pages, meta, Arc::new(Copies::new(&Arc::default(), 8)));
        let result = read(&txn);
        if txn.is_whole() {
            return result;
        }
        meta = meta_pages.begin()?;
    }
    Err(ReadError::Overtaken)
}

fn check_meta(path: &Path, record: Option<&[u8]>) -> Result<Meta, OpenError> {
    let record = record.ok_or_else(|| OpenError::NoMeta { path: path.to_owned() })?;
    let meta = Meta::from_bytes(record).map_err(|_| OpenError::Read {
        path: path.to_owned(),
        source: ReadError::Damaged {
            table: META.name,
            key: META_KEY.to_string(),
            what: "it is not the flatbuffer that strfry writes",
        },
    })?;
    check_version(path, &meta)?;
    Ok(meta)
}

fn check_version(path: &Path, meta: &Meta) -> Result<(), OpenError> {
    let (path, found) = (path.to_owned(), meta.db_version);
    match found {
        _ if meta.endianness != NATIVE_ENDIANNESS => Err(OpenError::Endianness { path }),
        DB_VERSION => Ok(()),
        _ => Err(OpenError::Version { path, found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::golden_database;

    #[test]
    fn debug_text_names_the_file_and_the_way_of_reading_and_nothing_else() {
        let directory = golden_database("strfry-1.1.1");
        let path = directory.path().join("data.mdb");
        let text = |db: StrfryDb| format!("{db:?}");
        let expected = |reads| format!("StrfryDb {{ path: {path:?}, reads: {reads:?} }}");
        let at_rest = text(StrfryDb::open(directory.path()).unwrap());
        assert_eq!(at_rest, expected("at rest: there is no lock file"));
        let optimistic = text(StrfryDb::open_without_lock(directory.path()).unwrap());
        assert_eq!(optimistic, expected("without the lock file"));
    }
}
