//! What can go wrong when strfry's database is opened or read, and what to do about it.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::format::keys::LevId;

/// strfry 1.1.1, `CURR_DB_VERSION`.
pub(crate) const DB_VERSION: u64 = 3;

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
#[non_exhaustive]
pub enum OpenError {
    #[error("no database at {path}: start strfry once, or name its directory with --db")]
    Missing { path: PathBuf },
    #[error("{path} is not a database: expected strfry's database directory, or its data.mdb")]
    NotADatabasePath { path: PathBuf },
    #[error(
        "{path} is empty: start strfry once to initialise it; if it has been used before, the disk was full: restore a backup"
    )]
    Empty { path: PathBuf },
    #[error(
        "{path} is not an LMDB database: {what}; name strfry's own database directory with --db"
    )]
    NotLmdb { path: PathBuf, what: &'static str },
    #[error(
        "{path} is truncated: it refers to pages behind its end ({bytes} bytes); copy it again while strfry is stopped, or restore a backup"
    )]
    Truncated { path: PathBuf, bytes: u64 },
    #[error(
        "{path} is damaged: {what}; 'strfry export' shows whether strfry can still read it, else restore a backup"
    )]
    Damaged { path: PathBuf, what: &'static str },
    #[error(
        "there are two lock files: {first} and {second}, and which one strfry uses cannot be told; delete the one that is left over, or name another path with --db"
    )]
    TwoLockFiles { first: PathBuf, second: PathBuf },
    #[error("cannot read {path}: {source}; {}", remedy(source))]
    ReadDataFile { path: PathBuf, source: io::Error },
    #[error(
        "cannot write to {path}: {source}; a reader has its slot there, so {}, or read without it (--lock none)",
        lock_file_remedy(source)
    )]
    LockFile { path: PathBuf, source: io::Error },
    #[error(
        "cannot write to {path}: it is on a read-only file system, and a reader has its slot there; mount it writable here, or read without it (--lock none)"
    )]
    LockFileReadOnly { path: PathBuf },
    #[error(
        "cannot share {path}: a program built with {theirs} has initialised it, and this one is built with {ours}, whose mutexes are laid out differently; use a strfry-companion built with {theirs}, or read without it (--lock none); if strfry itself is built with {ours} now, start it once and try again"
    )]
    LockFileOfOtherLibc { path: PathBuf, theirs: &'static str, ours: &'static str },
    #[error(
        "{path} was made by an incompatible LMDB: its lock file is not of the LMDB 0.9 release series; stop every program that uses this database, delete lock.mdb, start strfry again"
    )]
    LockVersion { path: PathBuf },
    #[error(
        "cannot take a place among the readers in {path}: a hundred readers of this program that have the same PID, in other PID namespaces (containers), are in the way; end some of them, or read without it (--lock none)"
    )]
    NoReaderNumber { path: PathBuf },
    #[error(
        "this program is linked to {version}, not to an LMDB 0.9 release: it would damage strfry's lock file and so opens no database; build it with the lmdb-release crate beside its sources"
    )]
    WrongLmdb { version: String },
    #[error(
        "{path} is not a strfry database: it has no table {table}; name strfry's own database directory with --db"
    )]
    NotStrfry { path: PathBuf, table: &'static str },
    #[error("{path} is not initialised: it has no Meta record; start strfry once")]
    NoMeta { path: PathBuf },
    #[error("{path} has DB version {found}, {}", version_remedy(*found))]
    Version { path: PathBuf, found: u64 },
    #[error(
        "{path} was created on a machine with different endianness: 'strfry export' it there and 'strfry import' it here"
    )]
    Endianness { path: PathBuf },
    #[error("{path} is already open in this process: use the one that is open")]
    AlreadyOpen { path: PathBuf },
    #[error("cannot open {path}: {source}; {}", lmdb_remedy(source))]
    Lmdb { path: PathBuf, source: io::Error },
    #[error("cannot read {path} while opening it: {source}")]
    Read { path: PathBuf, source: ReadError },
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
#[non_exhaustive]
pub enum ReadError {
    #[error(
        "cannot start reading the database: all of strfry's reader slots are taken (dbParams.maxreaders); try again later"
    )]
    ReadersFull,
    #[error(
        "the database was opened without a lock file, and strfry has started since: run this again"
    )]
    LockFileAppeared,
    #[error(
        "strfry commits faster than the database can be read without its lock file; read with it (without --lock none), or when strfry is less busy"
    )]
    Overtaken,
    #[error(
        "without the lock file no snapshot can be held, only read in and checked; use it (without --lock none), or read in many moments (without --one-snapshot)"
    )]
    Unregistered,
    #[error(
        "{path} has been replaced or removed since it was opened, so what can be read is not what strfry writes to: run this again"
    )]
    Replaced { path: PathBuf },
    #[error(
        "something has written to the database since it was opened, and there is no lock file to say who: name the directory that strfry uses with --db, or read without the lock file (--lock none)"
    )]
    WrittenTo,
    #[error("cannot {operation} of the database: {source}; {}", remedy(source))]
    File { operation: String, source: io::Error },
    #[error("the meta pages of the database are gone: something other than strfry writes to it")]
    NoMetaPages,
    #[error(
        "the database has no table {table}: start the current strfry once, it creates what is missing"
    )]
    NoTable { table: &'static str },
    #[error(
        "cannot take a reader's slot in the lock file: {source}; run this again, or read without it (--lock none)"
    )]
    Lmdb { source: io::Error },
    #[error(
        "the database has grown, and there is no address space to map it: {source}; raise the limit of this process (ulimit -v), or read without the lock file (--lock none)"
    )]
    Map { source: io::Error },
    #[error(
        "table {table} holds a damaged record for {key}: {what}; 'strfry export' shows whether strfry can still read it"
    )]
    Damaged { table: &'static str, key: String, what: &'static str },
}

/// What to do where a file cannot be opened, looked at or read.
fn remedy(error: &io::Error) -> &'static str {
    files_remedy(error).unwrap_or(match error.kind() {
        io::ErrorKind::PermissionDenied => "run as the user that strfry runs as",
        _ => "check its file system",
    })
}

/// What to do with a lock file that cannot be opened to be written to.
fn lock_file_remedy(error: &io::Error) -> &'static str {
    files_remedy(error).unwrap_or(match error.kind() {
        io::ErrorKind::PermissionDenied => "run as the user that strfry runs as",
        // Also a pipe or a device.
        _ => "move away what is there if it is no lock file and start strfry once",
    })
}

/// What to do with a database of another version than 3.
fn version_remedy(found: u64) -> &'static str {
    match found {
        ..DB_VERSION => {
            "older than the supported version 3: 'strfry export' your events with the old strfry, move the database files away, and 'strfry import' them with the new one"
        }
        _ => "newer than the supported version 3: a newer strfry-companion is needed",
    }
}

/// What to do where LMDB cannot open a database.
fn lmdb_remedy(error: &io::Error) -> &'static str {
    files_remedy(error)
        .unwrap_or("check the memory limits of this process, and whether strfry itself can open it")
}

/// What to do where this process, or the machine, has come to a limit, if that is the trouble.
fn files_remedy(error: &io::Error) -> Option<&'static str> {
    match Errno::from_io_error(error)? {
        Errno::MFILE => Some("this process may open too few files: raise its limit (ulimit -n)"),
        Errno::NFILE => Some("too many files are open on this machine: close some"),
        Errno::NOMEM => Some(
            "there is too little address space to map the file: raise the limit of this process (ulimit -v), or read without the lock file (--lock none)",
        ),
        _ => None,
    }
}

/// A record that is missing.
pub(crate) fn gone(table: &'static str, lev_id: LevId) -> ReadError {
    damaged(table, lev_id, "an index names it but it is not there")
}

/// A record that is not what strfry writes.
pub(crate) fn damaged(table: &'static str, key: impl ToString, what: &'static str) -> ReadError {
    ReadError::Damaged { table, key: key.to_string(), what }
}

/// The operating system has refused to do this with a file.
pub(crate) fn refused(operation: &str) -> impl FnOnce(io::Error) -> ReadError {
    move |source| ReadError::File { operation: operation.to_owned(), source }
}
