//! A slot in strfry's own lock file: what keeps strfry from reusing the pages of a moment.
//!
//! LMDB opens the environment, takes and gives back slots, and clears those of readers that have
//! been killed. It never looks at a page of a tree: its map is as small as it lets it be, and
//! nothing of a transaction is in it but the number of the commit.

use std::ffi::CStr;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use heed::{Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, WithoutTls};
use lmdb_master_sys as lmdb;

use crate::error::{OpenError, ReadError};
use crate::lmdb::files::Files;
use crate::read::storage::Readers;
use crate::txn::open_here::OpenHere;

/// The smallest map that heed takes; LMDB makes it as large as the pages that are in use.
const SMALLEST_MAP: usize = 1 << 16;

/// Tries to map a file that a writer makes longer meanwhile, the first with 1 MiB of room.
const RESIZES: u32 = 10;

/// An environment of which only the lock file is used.
#[derive(Debug)]
pub(crate) struct Registered {
    env: Env<WithoutTls>,
    /// Held while LMDB looks at its map, or replaces it.
    map: Mutex<LmdbMap>,
    _open: OpenHere,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LmdbMap {
    There,
    /// It could not be made larger: LMDB would look at where it was.
    Gone,
}

/// A reader's slot, given back when it is dropped.
pub(crate) struct Slot<'db> {
    /// Never locked: shared between threads because nothing in it is used.
    _txn: Mutex<RoTxn<'db, WithoutTls>>,
    /// The number of the commit whose pages it keeps.
    pub(crate) txn_id: u64,
}

impl Registered {
    /// Opens the lock file of a database, which must be there and shareable (`lock_file::check`),
    /// and clears the slots of readers that have been killed.
    ///
    /// # Errors
    /// [`OpenError`]
    pub(crate) fn open(files: &Files, open: OpenHere) -> Result<Self, OpenError> {
        let env = open_environment(files.directory())?;
        let lmdb =
            |error| OpenError::Lmdb { path: files.directory().to_owned(), source: io(error) };
        env.clear_stale_readers().map_err(lmdb)?;
        Ok(Self { env, map: Mutex::new(LmdbMap::There), _open: open })
    }

    /// Takes a slot, and with it the last commit.
    ///
    /// # Errors
    /// There is none left, or LMDB's map of a file that has grown cannot be made.
    pub(crate) fn begin(&self) -> Result<Slot<'_>, ReadError> {
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        if *map == LmdbMap::Gone {
            let source = io::ErrorKind::OutOfMemory.into();
            return Err(ReadError::Map { source });
        }
        let mut txn = self.env.read_txn();
        for attempt in 0..RESIZES {
            if !matches!(txn, Err(heed::Error::Mdb(MdbError::MapResized))) {
                break;
            }
            // A writer may make the file longer still before the next look: more each time.
            let room = SMALLEST_MAP << (4 + attempt);
            let bytes = self.env.info().map_size.saturating_add(room);
            let bytes = bytes.checked_next_multiple_of(SMALLEST_MAP).unwrap_or(SMALLEST_MAP);
            // SAFETY: transactions that are under way do not look at the map: none has a table
            // open, and their ends touch the lock file alone. Their beginnings, which do look at
            // it, hold the mutex, as whoever asks for LMDB's figures does.
            #[allow(unsafe_code)]
            let resized = unsafe { self.env.resize(bytes) };
            if let Err(error) = resized {
                *map = LmdbMap::Gone;
                return Err(ReadError::Map { source: io(error) });
            }
            txn = self.env.read_txn();
        }
        let txn = txn.map_err(|error| match error {
            heed::Error::Mdb(MdbError::ReadersFull) => ReadError::ReadersFull,
            error => ReadError::Lmdb { source: io(error) },
        })?;
        let txn_id = txn.id() as u64;
        Ok(Slot { _txn: Mutex::new(txn), txn_id })
    }

    /// How many slots are taken; `None` if LMDB can no longer tell.
    pub(crate) fn readers(&self) -> Option<Readers> {
        let map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        let info = (*map == LmdbMap::There).then(|| self.env.info())?;
        Some(Readers { used: info.number_of_readers, total: info.maximum_number_of_readers })
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
pub(crate) fn refuse_wrong_lmdb() -> Result<(), OpenError> {
    match linked_lmdb() {
        (_, [0, 9, patch]) if patch < 70 => Ok(()),
        (version, _) => Err(OpenError::WrongLmdb { version }),
    }
}

fn open_environment(directory: &Path) -> Result<Env<WithoutTls>, OpenError> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(SMALLEST_MAP);
    // SAFETY: nothing is read in LMDB's map but its meta pages, which are there
    // (`data_file::check`). The linked LMDB has strfry's lock format (`refuse_wrong_lmdb`).
    #[allow(unsafe_code)]
    let opened = unsafe { options.flags(EnvFlags::READ_ONLY).open(directory) };
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
        error => OpenError::Lmdb { path, source: io(error) },
    })
}

fn io(error: heed::Error) -> io::Error {
    match error {
        heed::Error::Io(error) => error,
        error => io::Error::other(error),
    }
}
