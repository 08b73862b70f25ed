//! Opens strfry's database for reading, in a way that can share it with a running strfry.
//!
//! How: LMDB 0.9 (lock version 1, as strfry links it), read-only, reader slots in strfry's own
//! lock file. Never creates a file: a database without a lock file is one that no strfry has open,
//! and is read without one.

use std::collections::HashMap;
use std::ffi::CStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use heed::{Env, EnvFlags, EnvOpenOptions, MdbError, WithoutTls};
use lmdb_master_sys as lmdb;
use rustix::fs::Access;

use super::data_file;
use super::error::{OpenError, ReadError};
use super::limits::NAMED_DATABASES;
use super::lookup::Snapshot;
use super::payload::Dictionary;
use super::schema::Meta;
use super::tables::{self, Tables};

/// strfry's key of the one `Meta` record.
const META_KEY: u64 = 1;
/// strfry 1.1.1, `CURR_DB_VERSION`.
const DB_VERSION: u64 = 3;
/// What strfry writes on the machine's own endianness.
const NATIVE_ENDIANNESS: u64 = 1;

/// strfry's database, open for reading. Cheap to share between threads by reference.
#[derive(Debug)]
pub struct StrfryDb {
    env: Env<WithoutTls>,
    directory: PathBuf,
    has_lock_file: bool,
    pub(super) tables: Tables,
    pub(super) meta: Meta,
    pub(super) dictionaries: Mutex<HashMap<u32, Arc<Dictionary>>>,
}

impl StrfryDb {
    /// Opens the database in a directory such as `strfry-db/`, or the one that this `data.mdb` is.
    ///
    /// # Errors
    /// [`OpenError`], each of which says what to do.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        refuse_wrong_lmdb()?;
        let directory = database_directory(path)?;
        let data_file = directory.join("data.mdb");
        data_file::check(&data_file)?;
        let has_lock_file = check_lock_file(&directory.join("lock.mdb"))?;

        let env = open_environment(&directory, has_lock_file)?;
        let lmdb = |source| OpenError::Lmdb { path: directory.clone(), source };
        let meta_table = tables::open_meta(&env)
            .map_err(lmdb)?
            .ok_or_else(|| OpenError::NotStrfry { path: data_file.clone(), table: "Meta" })?;
        let txn = env.read_txn().map_err(lmdb)?;
        let record = meta_table.get(&txn, &META_KEY.to_ne_bytes()).map_err(lmdb)?;
        let record = record.ok_or_else(|| OpenError::NoMeta { path: data_file.clone() })?;
        let meta = Meta::from_bytes(record).map_err(|_| OpenError::Read {
            path: data_file.clone(),
            source: ReadError::Damaged {
                table: "Meta",
                key: META_KEY.to_string(),
                what: "it is not the flatbuffer that strfry writes",
            },
        })?;
        drop(txn);
        check_version(&data_file, &meta)?;
        let tables = Tables::open(&env).map_err(lmdb)?;
        let dictionaries = Mutex::default();
        Ok(Self { env, directory, has_lock_file, tables, meta, dictionaries })
    }

    /// The directory that holds `data.mdb`.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether readers are registered in a lock file, as they must be beside a running strfry.
    pub fn has_lock_file(&self) -> bool {
        self.has_lock_file
    }

    /// What strfry says of the database: versions.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Begins a read transaction. Keep it short: while it lives, strfry cannot reuse old pages.
    ///
    /// # Errors
    /// No free reader slot, or strfry has started on a database opened without a lock file.
    pub fn snapshot(&self) -> Result<Snapshot<'_>, ReadError> {
        if !self.has_lock_file && self.directory.join("lock.mdb").exists() {
            return Err(ReadError::LockFileAppeared);
        }
        match self.env.read_txn() {
            Ok(txn) => Ok(Snapshot::new(self, txn)),
            Err(heed::Error::Mdb(MdbError::ReadersFull)) => Err(ReadError::ReadersFull),
            Err(source) => Err(ReadError::Lmdb { table: "(all)", source }),
        }
    }

    pub(super) fn env(&self) -> &Env<WithoutTls> {
        &self.env
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

/// Whether there is a lock file. It is not opened here: closing a file drops this process's
/// POSIX locks on it, among them those of an environment that is open already.
fn check_lock_file(path: &Path) -> Result<bool, OpenError> {
    let source = match rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK) {
        Ok(()) if path.is_dir() => io::ErrorKind::IsADirectory.into(),
        Ok(()) => return Ok(true),
        Err(rustix::io::Errno::NOENT) => return Ok(false),
        Err(error) => error.into(),
    };
    Err(OpenError::LockFile { path: path.to_owned(), source })
}

fn open_environment(directory: &Path, has_lock_file: bool) -> Result<Env<WithoutTls>, OpenError> {
    let mut flags = EnvFlags::READ_ONLY;
    if !has_lock_file {
        flags |= EnvFlags::NO_LOCK;
    }
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.max_dbs(NAMED_DATABASES);
    // SAFETY: the map is read-only and strfry changes it only by LMDB's rules, which our reader
    // slot is part of; without a lock file nobody writes, and every snapshot checks again that
    // none has appeared. The linked LMDB has strfry's lock format (`refuse_wrong_lmdb`), and the
    // data file reaches as far as its pages do (`data_file::check`).
    #[allow(unsafe_code)]
    let opened = unsafe { options.flags(flags).open(directory) };
    let path = directory.to_owned();
    opened.map_err(|error| match error {
        heed::Error::EnvAlreadyOpened => OpenError::AlreadyOpen { path },
        heed::Error::Mdb(MdbError::VersionMismatch) => OpenError::LockVersion { path },
        heed::Error::Mdb(MdbError::Invalid) => {
            OpenError::NotLmdb { path, what: "LMDB does not recognise it" }
        }
        source => OpenError::Lmdb { path, source },
    })
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
