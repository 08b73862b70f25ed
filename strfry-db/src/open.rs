//! Opens strfry's database for reading, in a way that can share it with a running strfry.
//!
//! How: LMDB 0.9 (lock version 1, as strfry links it), read-only, reader slots in strfry's own
//! lock file. Never creates a file: a database without a lock file is one that no strfry has open,
//! and is read without one.

use std::collections::HashMap;
use std::ffi::CStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use heed::{Env, EnvFlags, EnvOpenOptions, MdbError, WithoutTls};
use lmdb_master_sys as lmdb;

use super::data_file;
use super::error::{OpenError, ReadError};
use super::files::{Files, OpenHere};
use super::limits::{LESS_WITHOUT_LOCK, NAMED_DATABASES};
use super::lock_file;
use super::moment::{Moment, Seen};
use super::open_snapshots::Open;
use super::pages::PageSnapshot;
use super::payload::Dictionary;
use super::schema::Meta;
use super::snapshot::{Snapshot, Source};
use super::tables::{META, Tables};
use super::unlocked::MetaPages;

/// strfry's key of the one `Meta` record.
const META_KEY: u64 = 1;
/// strfry 1.1.1, `CURR_DB_VERSION`.
const DB_VERSION: u64 = 3;
/// What strfry writes on the machine's own endianness.
const NATIVE_ENDIANNESS: u64 = 1;

/// Held from the look at a lock file until the environment is open.
static OPENING: Mutex<()> = Mutex::new(());

/// strfry's database, open for reading. Cheap to share between threads by reference.
#[derive(Debug)]
pub struct StrfryDb {
    access: Access,
    files: Files,
    meta_pages: MetaPages,
    seen: Seen,
    pub(super) tables: Tables,
    pub(super) meta: Meta,
    pub(super) dictionaries: Mutex<HashMap<u32, Arc<Dictionary>>>,
}

/// How the database is read.
#[derive(Debug)]
enum Access {
    /// Through LMDB, with a slot in the lock file.
    Registered { env: Env<WithoutTls>, _open: OpenHere },
    /// Through LMDB, where there is no lock file and nobody writes.
    AtRest { env: Env<WithoutTls>, txn_id: u64, _open: OpenHere },
    /// Beside a strfry, without its lock file.
    Pages,
}

impl StrfryDb {
    /// Opens the database in a directory such as `strfry-db/`, or the one that this `data.mdb` is.
    ///
    /// Slots of readers that have been killed are cleared: strfry cannot reuse what they read.
    ///
    /// # Errors
    /// [`OpenError`], each of which says what to do.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        refuse_wrong_lmdb()?;
        // The lock file may be looked at only while no environment has it open.
        let _opening = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
        let files = Files::find(path)?;
        let meta_pages = MetaPages::new(data_file::check(&files.data_path())?);
        let _open = OpenHere::new(&files)
            .ok_or_else(|| OpenError::AlreadyOpen { path: files.directory().to_owned() })?;
        let has_lock_file = lock_file::check(&files.lock_path())?;
        let seen = Seen::default();
        let moment = look_at(&files, &meta_pages, &seen)?;
        // Before LMDB sees it, which believes its pages, and creates nothing in another version.
        let (meta, _) = look(&files, &meta_pages, &moment)?;

        // Opening takes slots too.
        let _ending_later = Open::new();
        let flags = if has_lock_file { EnvFlags::empty() } else { EnvFlags::NO_LOCK };
        let env = open_environment(files.directory(), flags)?;
        let lmdb = |source| OpenError::Lmdb { path: files.directory().to_owned(), source };
        if has_lock_file {
            env.clear_stale_readers().map_err(lmdb)?;
        }
        let tables = Tables::open(&env).map_err(lmdb)?;
        let dictionaries = Mutex::default();
        let access = match has_lock_file {
            true => Access::Registered { env, _open },
            false => {
                let txn_id = env.read_txn().map_err(lmdb)?.id() as u64;
                Access::AtRest { env, txn_id, _open }
            }
        };
        // What was looked at and what LMDB has opened is the same.
        let db = Self { access, files, meta_pages, seen, tables, meta, dictionaries };
        let same = db.check_files();
        same.map_err(|source| OpenError::Read { path: db.data_path(), source })?;
        Ok(db)
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
        let meta_pages = MetaPages::new(data_file::check(&files.data_path())?);
        let seen = Seen::default();
        let moment = look_at(&files, &meta_pages, &seen)?;
        let (meta, tables) = look(&files, &meta_pages, &moment)?;
        let (access, dictionaries) = (Access::Pages, Mutex::default());
        Ok(Self { access, files, meta_pages, seen, tables, meta, dictionaries })
    }

    /// The directory that holds `data.mdb`.
    pub fn directory(&self) -> &Path {
        self.files.directory()
    }

    pub(super) fn data_path(&self) -> PathBuf {
        self.files.data_path()
    }

    /// Whether readers are registered in a lock file, as they must be beside a running strfry.
    pub fn has_lock_file(&self) -> bool {
        matches!(self.access, Access::Registered { .. })
    }

    /// What strfry says of the database: versions.
    #[doc(hidden)]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Whether strfry may overtake what is read here, and each read is checked afterwards.
    #[doc(hidden)]
    pub fn is_unlocked(&self) -> bool {
        matches!(self.access, Access::Pages)
    }

    /// Begins a read transaction. Keep it short: while it lives, strfry cannot reuse old pages.
    ///
    /// # Errors
    /// No free reader slot; the database has been replaced, or strfry has started on one opened
    /// without a lock file; or the lock file is not used, where only [`StrfryDb::read`] can tell
    /// whether what was read is whole.
    #[doc(hidden)]
    pub fn snapshot(&self) -> Result<Snapshot<'_>, ReadError> {
        if self.is_unlocked() { Err(ReadError::Unregistered) } else { self.begin() }
    }

    pub(super) fn begin(&self) -> Result<Snapshot<'_>, ReadError> {
        let before = self.check_files()?;
        let open = Open::new();
        let env = match &self.access {
            Access::Pages => {
                let pages = PageSnapshot::new(&self.meta_pages, before.meta.clone());
                return Ok(Snapshot::new(self, Source::Pages(pages), Some(before), open));
            }
            Access::Registered { env, .. } | Access::AtRest { env, .. } => env,
        };
        let txn = env.read_txn().map_err(|error| match error {
            heed::Error::Mdb(MdbError::ReadersFull) => ReadError::ReadersFull,
            source => ReadError::Lmdb { table: "(all)", source },
        })?;
        // LMDB takes the number from the lock file, where a writer puts it right after it has
        // written it to a meta page.
        let txn_id = txn.id() as u64;
        let now = if before.txn_id() == txn_id { Arc::clone(&before) } else { self.check_files()? };
        if before.txn_id() > txn_id.saturating_add(1) || now.txn_id() < txn_id {
            return Err(self.replaced());
        }
        let moment = Some(now).filter(|now| now.txn_id() == txn_id);
        Ok(Snapshot::new(self, Source::Lmdb(txn), moment, open))
    }

    /// Whether the files are still those that were opened, hold what they held, and nobody writes
    /// to them who must not. Returns what the data file is like now.
    ///
    /// # Errors
    /// [`ReadError`]: they are not, or cannot be looked at.
    pub(super) fn check_files(&self) -> Result<Arc<Moment>, ReadError> {
        let check = || match &self.access {
            Access::Pages => self.files.check_data(),
            Access::Registered { .. } | Access::AtRest { .. } => self.files.check(),
        };
        let now = self.seen.look(&self.meta_pages, check)?.ok_or_else(|| self.replaced())?;
        match &self.access {
            // Whoever writes has its lock file where we do not see it.
            Access::AtRest { txn_id, .. } if now.txn_id() != *txn_id => Err(ReadError::WrittenTo),
            _ => Ok(now),
        }
    }

    /// The data file is not what it was.
    pub(super) fn replaced(&self) -> ReadError {
        ReadError::Replaced { path: self.data_path() }
    }

    pub(super) fn meta_pages(&self) -> &MetaPages {
        &self.meta_pages
    }

    /// A bound of a batch, or less of it without the lock file.
    pub(super) fn bound(&self, rows: usize) -> usize {
        if self.is_unlocked() { (rows / LESS_WITHOUT_LOCK).max(1) } else { rows }
    }

    pub(super) fn env(&self) -> Option<&Env<WithoutTls>> {
        match &self.access {
            Access::Registered { env, .. } | Access::AtRest { env, .. } => Some(env),
            Access::Pages => None,
        }
    }
}

/// Version text of the LMDB that this program is linked to, and its major, minor and patch number.
pub fn linked_lmdb() -> (String, [i32; 3]) {
    let mut version = [0; 3];
    let [major, minor, patch] = &mut version;
    // SAFETY: mdb_version writes three ints and returns a static NUL-terminated string.
    #[allow(unsafe_code)]
    let text = unsafe { CStr::from_ptr(lmdb::mdb_version(major, minor, patch)) };
    (text.to_string_lossy().into_owned(), version)
}

/// LMDB's development branch counts as 0.9.70 and up and has another lock file format.
fn refuse_wrong_lmdb() -> Result<(), OpenError> {
    match linked_lmdb() {
        (_, [0, 9, patch]) if patch < 70 => Ok(()),
        (version, _) => Err(OpenError::WrongLmdb { version }),
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
    let looked = meta_pages.read_from(moment.meta.clone(), |pages| {
        if !pages.has(META)? {
            return Ok(None);
        }
        let record = pages.get(META, &META_KEY.to_ne_bytes())?.map(<[u8]>::to_vec);
        // Another version has other tables, so the record comes first.
        Ok(Some((record, Tables::find(|shape| pages.has(shape)))))
    });
    let not_strfry = || OpenError::NotStrfry { path: path.clone(), table: META.name };
    let (record, tables) = looked.map_err(read)?.ok_or_else(not_strfry)?;
    let meta = check_meta(&path, record.as_deref())?;
    Ok((meta, tables.map_err(read)?))
}

fn open_environment(directory: &Path, flags: EnvFlags) -> Result<Env<WithoutTls>, OpenError> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.max_dbs(NAMED_DATABASES);
    // SAFETY: the map is read-only and strfry changes it only by LMDB's rules, which our reader
    // slot is part of; without a lock file nobody writes, and every snapshot checks again that
    // none has appeared (`check_files`). The linked LMDB has strfry's lock format
    // (`refuse_wrong_lmdb`), and the data file reaches as far as its pages do (`data_file::check`).
    #[allow(unsafe_code)]
    let opened = unsafe { options.flags(EnvFlags::READ_ONLY | flags).open(directory) };
    let path = directory.to_owned();
    opened.map_err(|error| match error {
        heed::Error::EnvAlreadyOpened => OpenError::AlreadyOpen { path },
        heed::Error::Mdb(MdbError::VersionMismatch) => OpenError::LockVersion { path },
        heed::Error::Mdb(MdbError::Invalid) => {
            OpenError::NotLmdb { path, what: "LMDB does not recognise it" }
        }
        heed::Error::Mdb(MdbError::Problem) => OpenError::WrongLmdb { version: linked_lmdb().0 },
        heed::Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock => {
            OpenError::NoReaderNumber { path: path.join("lock.mdb") }
        }
        source => OpenError::Lmdb { path, source },
    })
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
        ..DB_VERSION => Err(OpenError::TooOld { path, found }),
        _ => Err(OpenError::TooNew { path, found }),
    }
}
