//! Opens strfry's database for reading, in a way that can share it with a running strfry.
//!
//! How: LMDB 0.9 (lock version 1, as strfry links it), read-only, reader slots in strfry's own
//! lock file. Never creates a file: a database without a lock file is one that no strfry has open,
//! and is read without one.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use heed::{Env, EnvFlags, EnvOpenOptions, MdbError, WithoutTls};
use lmdb_master_sys as lmdb;

use super::data_file;
use super::error::{OpenError, ReadError};
use super::limits::{LESS_WITHOUT_LOCK, NAMED_DATABASES};
use super::lock_file;
use super::open_snapshots::Open;
use super::pages::PageSnapshot;
use super::payload::Dictionary;
use super::schema::Meta;
use super::snapshot::{Snapshot, Source};
use super::tables::{self, Tables};
use super::unlocked::MetaPages;

/// The table that says what database this is.
const META: &str = "Meta";
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
    directory: PathBuf,
    pub(super) tables: Tables,
    pub(super) meta: Meta,
    pub(super) dictionaries: Mutex<HashMap<u32, Arc<Dictionary>>>,
}

/// How the database is read.
#[derive(Debug)]
enum Access {
    /// Through LMDB, with a slot in the lock file, or where nobody has made one.
    Lmdb { env: Env<WithoutTls>, has_lock_file: bool },
    /// Beside a strfry, without its lock file.
    Pages(MetaPages),
}

impl StrfryDb {
    /// Opens the database in a directory such as `strfry-db/`, or the one that this `data.mdb` is.
    ///
    /// Slots of readers that have been killed are cleared: strfry cannot reuse what they read.
    ///
    /// # Errors
    /// [`OpenError`], each of which says what to do.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        refuse_wrong_lmdb()?;
        let directory = database_directory(path)?;
        data_file::check(&directory.join("data.mdb"))?;
        // The lock file may be looked at only while no environment has it open.
        let _opening = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
        refuse_second(&directory)?;
        let has_lock_file = lock_file::check(&directory.join("lock.mdb"))?;

        let flags = if has_lock_file { EnvFlags::empty() } else { EnvFlags::NO_LOCK };
        let env = open_environment(&directory, flags)?;
        if has_lock_file {
            let cleared = env.clear_stale_readers();
            cleared.map_err(|source| OpenError::Lmdb { path: directory.clone(), source })?;
        }
        let data_file = directory.join("data.mdb");
        let lmdb = |source| OpenError::Lmdb { path: directory.clone(), source };
        let meta_table = tables::open_meta(&env)
            .map_err(lmdb)?
            .ok_or_else(|| OpenError::NotStrfry { path: data_file.clone(), table: META })?;
        let txn = env.read_txn().map_err(lmdb)?;
        let record = meta_table.get(&txn, &META_KEY.to_ne_bytes()).map_err(lmdb)?;
        let meta = check_meta(&data_file, record)?;
        drop(txn);
        let tables = Tables::open(&env).map_err(lmdb)?;
        let dictionaries = Mutex::default();
        let access = Access::Lmdb { env, has_lock_file };
        Ok(Self { access, directory, tables, meta, dictionaries })
    }

    /// Opens the database without its lock file, for where that cannot be shared: each read is
    /// checked after the fact and repeated if strfry has overtaken it.
    ///
    /// Reads are slower, page by page, and cannot be of one moment for long.
    ///
    /// # Errors
    /// [`OpenError`], each of which says what to do.
    pub fn open_without_lock(path: &Path) -> Result<Self, OpenError> {
        let directory = database_directory(path)?;
        let data_file = directory.join("data.mdb");
        data_file::check(&data_file)?;
        let read = |source| OpenError::ReadDataFile { path: data_file.clone(), source };
        let file = File::open(&data_file).map_err(read)?;
        let not_lmdb = || OpenError::NotLmdb { path: data_file.clone(), what: "it is too short" };
        let first = data_file::read_meta(&file, 0).map_err(read)?.ok_or_else(not_lmdb)?;
        let unlocked = MetaPages::new(file, first.page_size);
        let read = unlocked.read(|pages| {
            let is_there = |name| pages.has(&tables::full_name(name));
            let record = match is_there(META)? {
                true => Some(pages.get(&tables::full_name(META), &META_KEY.to_ne_bytes())?),
                false => None,
            };
            Ok((record.map(|record| record.map(<[u8]>::to_vec)), Tables::find(is_there)?))
        });
        let (record, tables) =
            read.map_err(|source| OpenError::Read { path: data_file.clone(), source })?;
        let record =
            record.ok_or_else(|| OpenError::NotStrfry { path: data_file.clone(), table: META })?;
        Ok(Self {
            access: Access::Pages(unlocked),
            directory,
            meta: check_meta(&data_file, record.as_deref())?,
            tables,
            dictionaries: Mutex::default(),
        })
    }

    /// The directory that holds `data.mdb`.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether readers are registered in a lock file, as they must be beside a running strfry.
    pub fn has_lock_file(&self) -> bool {
        matches!(self.access, Access::Lmdb { has_lock_file: true, .. })
    }

    /// What strfry says of the database: versions.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Whether strfry may overtake what is read here, and each read is checked afterwards.
    pub fn is_unlocked(&self) -> bool {
        matches!(self.access, Access::Pages(_))
    }

    /// Begins a read transaction. Keep it short: while it lives, strfry cannot reuse old pages.
    ///
    /// # Errors
    /// No free reader slot; strfry has started on a database opened without a lock file; or the
    /// lock file is not used, where only [`StrfryDb::read`] can tell whether what was read is whole.
    pub fn snapshot(&self) -> Result<Snapshot<'_>, ReadError> {
        if self.is_unlocked() { Err(ReadError::Unregistered) } else { self.begin() }
    }

    pub(super) fn begin(&self) -> Result<Snapshot<'_>, ReadError> {
        let open = Open::new();
        let source = match &self.access {
            Access::Pages(pages) => Source::Pages(PageSnapshot::new(pages, pages.begin()?)),
            Access::Lmdb { env, has_lock_file } => {
                if !has_lock_file && self.directory.join("lock.mdb").exists() {
                    return Err(ReadError::LockFileAppeared);
                }
                Source::Lmdb(env.read_txn().map_err(|error| match error {
                    heed::Error::Mdb(MdbError::ReadersFull) => ReadError::ReadersFull,
                    source => ReadError::Lmdb { table: "(all)", source },
                })?)
            }
        };
        Ok(Snapshot::new(self, source, open))
    }

    /// A bound of a batch, or less of it without the lock file.
    pub(super) fn bound(&self, rows: usize) -> usize {
        if self.is_unlocked() { (rows / LESS_WITHOUT_LOCK).max(1) } else { rows }
    }

    pub(super) fn env(&self) -> Option<&Env<WithoutTls>> {
        match &self.access {
            Access::Lmdb { env, .. } => Some(env),
            Access::Pages(_) => None,
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

fn database_directory(path: &Path) -> Result<PathBuf, OpenError> {
    let not_a_database = || OpenError::NotADatabasePath { path: path.to_owned() };
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(path.to_owned()),
        Ok(_) if path.file_name().is_some_and(|name| name == "data.mdb") => {
            let parent = path.parent().ok_or_else(not_a_database)?;
            Ok(if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_owned() })
        }
        Ok(_) => Err(not_a_database()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(OpenError::Missing { path: path.to_owned() })
        }
        Err(source) => Err(OpenError::ReadDataFile { path: path.to_owned(), source }),
    }
}

/// LMDB cannot have the same file open twice in a process.
fn refuse_second(directory: &Path) -> Result<(), OpenError> {
    let is_open =
        directory.canonicalize().is_ok_and(|path| heed::env_closing_event(path).is_some());
    if is_open { Err(OpenError::AlreadyOpen { path: directory.to_owned() }) } else { Ok(()) }
}

fn open_environment(directory: &Path, flags: EnvFlags) -> Result<Env<WithoutTls>, OpenError> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.max_dbs(NAMED_DATABASES);
    // SAFETY: the map is read-only and strfry changes it only by LMDB's rules, which our reader
    // slot is part of; without a lock file nobody writes, and every snapshot checks again that
    // none has appeared. The linked LMDB has strfry's lock format (`refuse_wrong_lmdb`), and the
    // data file reaches as far as its pages do (`data_file::check`).
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
            table: META,
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
