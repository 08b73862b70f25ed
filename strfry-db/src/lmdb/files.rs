//! The two files of a database, by what they are (device and inode) and not by what they are
//! called. A name can lead to another file later: `strfry compact` and a rename, a lock file that
//! is deleted and made anew. What was opened is then not what strfry writes to, or strfry does not
//! see who reads it.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};

use crate::error::{OpenError, ReadError, refused};

const DATA: &str = "data.mdb";
const LOCK: &str = "lock.mdb";
/// As Linux, which follows no more links than so many on the way to a file.
const LINKS: usize = 40;

/// What a file is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

/// The data file of a database, and the lock file that belongs to it.
#[derive(Debug)]
pub(crate) struct Files {
    /// Where both are.
    directory: PathBuf,
    data: FileId,
    /// `None` if there is none.
    lock: Option<FileId>,
    /// Wherever one can be.
    lock_paths: Vec<PathBuf>,
}

impl Files {
    /// Finds the data file in a directory, or by its own name, and its lock file: beside it, or
    /// beside one of the links that lead to it.
    ///
    /// # Errors
    /// [`OpenError`]: there is no data file, or there is more than one lock file.
    pub(crate) fn find(path: &Path) -> Result<Self, OpenError> {
        let mut files = Self::find_data(path)?;
        let mut directories = linked_directories(&files.directory);
        let is_named_so = |directory: &PathBuf| {
            identify(&directory.join(DATA)).is_ok_and(|file| file == Some(files.data))
        };
        directories.retain(is_named_so);
        files.lock_paths = directories.iter().map(|directory| directory.join(LOCK)).collect();
        for directory in directories {
            let path = directory.join(LOCK);
            let unreadable = |source| OpenError::LockFile { path: path.clone(), source };
            match (identify(&path).map_err(unreadable)?, files.lock) {
                (Some(lock), Some(first)) if lock != first => {
                    let first = files.lock_path();
                    return Err(OpenError::TwoLockFiles { first, second: path });
                }
                (Some(lock), None) => {
                    files.lock = Some(lock);
                    files.directory = directory;
                }
                _ => {}
            }
        }
        Ok(files)
    }

    /// Finds the data file alone.
    ///
    /// # Errors
    /// [`OpenError`]: there is none.
    pub(crate) fn find_data(path: &Path) -> Result<Self, OpenError> {
        let directory = database_directory(path)?;
        let path = directory.join(DATA);
        let read = |source| OpenError::ReadDataFile { path: path.clone(), source };
        let missing = || OpenError::Missing { path: path.clone() };
        let data = identify(&path).map_err(read)?.ok_or_else(missing)?;
        Ok(Self { directory, data, lock: None, lock_paths: Vec::new() })
    }

    /// What the data file is.
    #[cfg(feature = "lmdb")]
    pub(crate) fn data(&self) -> FileId {
        self.data
    }

    /// Whether there is a lock file.
    #[cfg(not(feature = "lmdb"))]
    pub(crate) fn has_lock_file(&self) -> bool {
        self.lock.is_some()
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn data_path(&self) -> PathBuf {
        self.directory.join(DATA)
    }

    pub(crate) fn lock_path(&self) -> PathBuf {
        self.directory.join(LOCK)
    }

    /// Whether the names still lead to the files that were found. Returns the length of the data
    /// file.
    ///
    /// # Errors
    /// [`ReadError`]: one of them leads to another file, or to none, or a lock file has appeared.
    pub(crate) fn check(&self) -> Result<u64, ReadError> {
        let bytes = self.check_data()?;
        let own = self.lock_path();
        for path in &self.lock_paths {
            let now = identify(path).map_err(refused("look at the files"))?;
            match (self.lock, now) {
                (None, None) => {}
                (None, Some(_)) => return Err(ReadError::LockFileAppeared),
                (before, now) if before == now => {}
                (Some(_), None) if *path != own => {}
                _ => return Err(ReadError::Replaced { path: path.clone() }),
            }
        }
        Ok(bytes)
    }

    /// As [`Files::check`], of the data file alone.
    pub(crate) fn check_data(&self) -> Result<u64, ReadError> {
        let path = self.data_path();
        match look_at(&path).map_err(refused("look at the files"))? {
            Some((now, bytes)) if now == self.data => Ok(bytes),
            _ => Err(ReadError::Replaced { path }),
        }
    }
}

/// `None` if there is no such file. Opens nothing: to close a lock file would give up the locks of
/// this process on it.
fn identify(path: &Path) -> io::Result<Option<FileId>> {
    Ok(look_at(path)?.map(|(file, _)| file))
}

/// As [`identify`], and the file's length.
fn look_at(path: &Path) -> io::Result<Option<(FileId, u64)>> {
    match std::fs::metadata(path) {
        Ok(file) => Ok(Some((FileId { device: file.dev(), inode: file.ino() }, file.len()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a regular file. A pipe could make us wait, and some devices act when they are opened.
pub(crate) fn open_to_read(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let is_regular = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let refused = || io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
    if !is_regular(rustix::fs::stat(path)?) {
        return Err(refused());
    }
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    // It may have been replaced between the two.
    if is_regular(rustix::fs::fstat(&file)?) { Ok(file) } else { Err(refused()) }
}

/// The directory, and those that links lead to on the way to its data file.
fn linked_directories(named: &Path) -> Vec<PathBuf> {
    let mut directories = vec![named.to_owned()];
    let mut path = named.join(DATA);
    while let Ok(target) = std::fs::read_link(&path)
        && directories.len() <= LINKS
    {
        let directory = path.parent().unwrap_or(named);
        path = directory.join(target);
        directories.extend(path.parent().map(Path::to_owned));
    }
    directories
}

fn database_directory(path: &Path) -> Result<PathBuf, OpenError> {
    let not_a_database = || OpenError::NotADatabasePath { path: path.to_owned() };
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(path.to_owned()),
        Ok(_) if path.file_name().is_some_and(|name| name == DATA) => {
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
