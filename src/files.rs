//! Opens files of this program's own that somebody else may have replaced: by a pipe, a device, or
//! a link to a file that matters.
//!
//! Nothing here waits for the other end of a pipe, and no content is changed before the file is
//! known to be the right one.
//!
//! A path is walked one name at a time, so that each symbolic link on the way is judged before it
//! is followed. The last name may be a link only in a directory to which nobody but this user and
//! root can write; a link to a directory only has to belong to one of the two. Write access of a
//! group counts as that of others: nobody can tell who is in it, or what an ACL adds.

mod walk;

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, Permissions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use walk::Place;

/// A file that somebody keeps replacing while it is being opened is tried this often.
const MAX_ATTEMPTS: u32 = 16;
/// So often it is looked at whether a file in a directory of others has one name only.
const LOOKS: u32 = 4;
/// Opening waits for no pipe, follows no link, and takes no terminal for that of this process.
const CAREFULLY: OFlags =
    OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
/// As programs usually create files; the umask takes away from it.
const NEW_FILE: Mode = Mode::from_raw_mode(0o666);
/// The bits of a file's mode that `chmod` sets.
const MODE: u32 = 0o7777;
/// A temporary file is nobody else's to read.
const TEMPORARY_FILE: Mode = Mode::from_raw_mode(0o600);

/// Why a file is not used although the system would have opened it. It is the inner error of the
/// [`io::Error`] that the functions of this module return: see [`is_refusal`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// A pipe, a device or a socket.
    #[error("it is {0}, not a regular file; move it away")]
    NotAFile(&'static str),
    /// A link that somebody else may have made.
    #[error(
        "{0:?} is a symbolic link, and other users can write to its directory or own it; put the \
         file itself in its place, or let only its owner write to the directory (chmod go-w)"
    )]
    Link(PathBuf),
    /// A file with a second name, which may be that of a file that matters.
    #[error(
        "it has another name too (a hard link), and other users can write to its directory; \
         replace it by a file of its own, or let only its owner write to the directory (chmod go-w)"
    )]
    HardLink,
    /// Somebody keeps replacing it.
    #[error("another program keeps replacing it; stop that program and try again")]
    Unstable,
    /// It is not what it was when it was read.
    #[error("another program has changed it meanwhile; look at it and try again")]
    Changed,
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        Self::other(refused)
    }
}

/// Whether this error says what to do about it: see [`Refused`].
pub fn is_refusal(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Refused>())
}

/// Opens a file to append to, and creates it if it is missing. Its content is as it was: empty it
/// with [`File::set_len`].
///
/// # Errors
/// What the system says, or [`Refused`].
pub fn open_to_append(path: &Path) -> io::Result<File> {
    open(path, OFlags::WRONLY | OFlags::APPEND)
}

/// Opens a file to read and write from its beginning, and creates it if it is missing. Its content
/// is as it was.
///
/// # Errors
/// What the system says, or [`Refused`].
pub fn open_to_update(path: &Path) -> io::Result<File> {
    open(path, OFlags::RDWR)
}

/// Opens a file to read. Symbolic links are followed, as reading harms nobody.
///
/// # Errors
/// What the system says, or [`Refused::NotAFile`].
pub fn open_to_read(path: &Path) -> io::Result<File> {
    // Before opening: some devices begin to do something when they are opened.
    refuse_special(&rustix::fs::stat(path)?)?;
    let flags = CAREFULLY.difference(OFlags::NOFOLLOW) | OFlags::RDONLY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    // It may have been replaced between the two.
    refuse_special(&rustix::fs::fstat(&file)?)?;
    let_wait(&file)?;
    Ok(file)
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In place: [`open_to_append`], [`open_to_update`].
    InPlace,
    /// Replaced whole: [`replace`].
    Whole,
}

/// Whether this user may write a file, or create it if it is missing; returns whether it is there.
/// Opens and changes nothing.
///
/// # Errors
/// What the system says, or [`Refused`]. `NotFound`: its directory is missing.
pub fn may_write(path: &Path, way: Way) -> io::Result<bool> {
    let place = Place::find(path)?;
    let Some(found) = &place.found else {
        place.may(".", Access::WRITE_OK | Access::EXEC_OK)?;
        return Ok(false);
    };
    if is_directory(found) {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    match way {
        Way::InPlace => {
            place.refuse(found)?;
            place.may(&place.name, Access::WRITE_OK)?;
        }
        Way::Whole => {
            refuse_special(found)?;
            place.may(".", Access::WRITE_OK | Access::EXEC_OK)?;
        }
    }
    Ok(true)
}

/// Whether this user may create a directory, and those above it that are missing; nothing is wrong
/// if it is there. Changes nothing.
///
/// # Errors
/// What the system says of the directory in which the first one would be created.
pub fn may_create_directory(path: &Path) -> io::Result<()> {
    let mut above = path;
    loop {
        let at = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match rustix::fs::stat(at) {
            Ok(found) if !is_directory(&found) => {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            Ok(_) => {
                return Ok(rustix::fs::access(at, Access::WRITE_OK | Access::EXEC_OK)?);
            }
            Err(Errno::NOENT) => above = above.parent().ok_or(io::ErrorKind::NotFound)?,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether the path still names this file.
///
/// # Errors
/// What the system says, or [`Refused`].
pub fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let opened = rustix::fs::fstat(file)?;
    let named = Place::find(path)?.found;
    Ok(named.is_some_and(|named| is_same(&named, &opened)))
}

/// Why a file was not renamed.
#[derive(Debug, thiserror::Error)]
#[error("cannot rename {path:?}: {source}")]
pub struct RotateError {
    /// The file that is in the way, or that could not be renamed.
    pub path: PathBuf,
    /// What the system said, or [`Refused`].
    pub source: io::Error,
}

/// Renames a file to `NAME.1`, what was `NAME.1` to `NAME.2`, and so on; what was `NAME.<kept>` is
/// gone. Names that are missing are passed over. A link with such a name is renamed, not followed.
///
/// # Errors
/// [`RotateError`]. Nothing was renamed if one of the names is that of something else than a file.
pub fn rotate(path: &Path, kept: u8) -> Result<(), RotateError> {
    let failed = |name: &OsStr, source| RotateError { path: path.with_file_name(name), source };
    let place =
        Place::find(path).map_err(|source| RotateError { path: path.to_owned(), source })?;
    let directory = &place.directory;
    let numbered = |number: u8| {
        let mut numbered = place.name.clone();
        numbered.push(format!(".{number}"));
        numbered
    };
    let mut names = vec![place.name.clone()];
    names.extend((1..=kept).map(numbered));
    for name in &names {
        match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if is_directory(&found) => {
                return Err(failed(name, io::ErrorKind::IsADirectory.into()));
            }
            Ok(found) => refuse_special(&found).map_err(|source| failed(name, source))?,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(failed(name, error.into())),
        }
    }
    for pair in names.windows(2).rev() {
        let [from, to] = pair else { continue };
        match rustix::fs::renameat(directory, from, directory, to) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed(from, error.into())),
        }
    }
    Ok(())
}

/// Why a file was not replaced, and at which step.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}: {source}")]
pub struct ReplaceError {
    /// What was tried, such as `create a temporary file beside it`.
    pub step: &'static str,
    /// What the system said, or [`Refused`].
    pub source: io::Error,
}

/// Replaces a file, or creates it, with what `write` writes: whole or not at all. `mode` is that of
/// the new file. A link is followed under the same rule as by the other functions, so that it is
/// its target that is replaced.
///
/// # Errors
/// [`ReplaceError`]. The old content is still there, unless the step says otherwise.
pub fn replace(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> Result<(), ReplaceError> {
    put(&find_to_replace(path)?, Looks { mode, owner: None }, write)
}

/// Creates a file with the mode and the owner of another one, or replaces what has its name.
///
/// # Errors
/// As [`replace`], also if this user may not give a file to that owner.
pub fn replace_like(path: &Path, other: &Metadata, content: &[u8]) -> Result<(), ReplaceError> {
    let looks = Looks { mode: other.mode() & MODE, owner: Some((other.uid(), other.gid())) };
    put(&find_to_replace(path)?, looks, |out| out.write_all(content))
}

/// Replaces the content of a file that is still `before`. Its mode and its owner stay.
///
/// # Errors
/// As [`replace_like`]; [`Refused::Changed`] if the content is another one.
pub fn rewrite(path: &Path, before: &[u8], after: &[u8]) -> Result<(), ReplaceError> {
    let place = find_to_replace(path)?;
    let failed = |source| ReplaceError { step: "read what is there", source };
    let found = place.read_if(before).map_err(failed)?;
    let looks = Looks { mode: found.st_mode & MODE, owner: Some((found.st_uid, found.st_gid)) };
    put(&place, looks, |out| out.write_all(after))
}

/// What a new file looks like from outside.
struct Looks {
    mode: u32,
    /// User and group; `None`: those of this process.
    owner: Option<(u32, u32)>,
}

fn find_to_replace(path: &Path) -> Result<Place, ReplaceError> {
    let failed = |step| move |source| ReplaceError { step, source };
    let place = Place::find(path).map_err(failed("find its directory"))?;
    if let Some(found) = &place.found {
        refuse_special(found).map_err(failed("replace what is there"))?;
    }
    Ok(place)
}

fn put(
    place: &Place,
    looks: Looks,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> Result<(), ReplaceError> {
    let failed = |step| move |source| ReplaceError { step, source };
    let temporary =
        Temporary::create(place).map_err(failed("create a temporary file beside it"))?;
    let mut out = BufWriter::new(&temporary.file);
    write(&mut out)
        .and_then(|()| out.flush())
        .map_err(failed("write a temporary file beside it"))?;
    drop(out);
    let file = &temporary.file;
    if let Some((user, group)) = looks.owner {
        let owned = std::os::unix::fs::fchown(file, Some(user), Some(group));
        owned.map_err(failed("give it to its owner"))?;
    }
    let mode = Permissions::from_mode(looks.mode);
    file.set_permissions(mode).map_err(failed("set its permissions"))?;
    file.sync_all().map_err(failed("flush it to the disk"))?;
    temporary.rename().map_err(failed("rename a temporary file to it"))?;
    // The new name itself is on the disk only when the directory is.
    place.sync().map_err(failed("flush its directory to the disk, though it is in place"))
}

/// A file beside the one that it is to replace; deleted unless it is renamed.
struct Temporary<'a> {
    place: &'a Place,
    name: OsString,
    file: File,
}

impl<'a> Temporary<'a> {
    fn create(place: &'a Place) -> io::Result<Self> {
        for _ in 0..MAX_ATTEMPTS {
            let name = OsString::from(format!(".strfry-companion-{:016x}", fastrand::u64(..)));
            let flags = CAREFULLY | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            match rustix::fs::openat(&place.directory, &name, flags, TEMPORARY_FILE) {
                Ok(file) => return Ok(Self { place, name, file: file.into() }),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refused::Unstable.into())
    }

    fn rename(mut self) -> io::Result<()> {
        let directory = &self.place.directory;
        rustix::fs::renameat(directory, &self.name, directory, &self.place.name)?;
        self.name.clear();
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // What remains otherwise is a file that nobody reads.
            let _ = rustix::fs::unlinkat(&self.place.directory, &self.name, AtFlags::empty());
        }
    }
}

fn open(path: &Path, access: OFlags) -> io::Result<File> {
    for _ in 0..MAX_ATTEMPTS {
        let place = Place::find(path)?;
        let flags = match &place.found {
            None => CAREFULLY | access | OFlags::CREATE | OFlags::EXCL,
            Some(found) => {
                place.refuse(found)?;
                CAREFULLY | access
            }
        };
        let file = match rustix::fs::openat(&place.directory, &place.name, flags, NEW_FILE) {
            Ok(file) => File::from(file),
            // It has come, gone, or become a link since it was looked at.
            Err(Errno::EXIST | Errno::LOOP) => continue,
            Err(Errno::NOENT) if place.found.is_some() => continue,
            Err(error) => return Err(error.into()),
        };
        let opened = rustix::fs::fstat(&file)?;
        refuse_special(&opened)?;
        if place.is_shared && !place.is_only_name_of(&opened)? {
            continue;
        }
        let_wait(&file)?;
        return Ok(file);
    }
    Err(Refused::Unstable.into())
}

impl Place {
    /// Whether this user may do so with a file here.
    fn may(&self, name: impl rustix::path::Arg, access: Access) -> io::Result<()> {
        Ok(rustix::fs::accessat(&self.directory, name, access, AtFlags::empty())?)
    }

    /// Refuses to write to what was found here.
    fn refuse(&self, found: &Stat) -> io::Result<()> {
        refuse_special(found)?;
        if self.is_shared && !is_directory(found) && found.st_nlink > 1 {
            return Err(Refused::HardLink.into());
        }
        Ok(())
    }

    /// What the file here is, if this is its content.
    fn read_if(&self, content: &[u8]) -> io::Result<Stat> {
        let flags = CAREFULLY | OFlags::RDONLY;
        let file =
            File::from(rustix::fs::openat(&self.directory, &self.name, flags, Mode::empty())?);
        let opened = rustix::fs::fstat(&file)?;
        refuse_special(&opened)?;
        let mut read = Vec::new();
        // One byte more shows a longer file.
        let most = u64::try_from(content.len()).unwrap_or(u64::MAX).saturating_add(1);
        file.take(most).read_to_end(&mut read)?;
        if read == content { Ok(opened) } else { Err(Refused::Changed.into()) }
    }

    /// Whether a file that was opened here has this name and no other. One look tells both, because
    /// somebody could take either name away between two.
    ///
    /// The kernel finds the file by its name first and reads the number of its names then, and this
    /// name may go in between. Who wins that race once does not win it each time.
    fn is_only_name_of(&self, opened: &Stat) -> io::Result<bool> {
        for _ in 0..LOOKS {
            if !self.seems_only_name_of(opened)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn seems_only_name_of(&self, opened: &Stat) -> io::Result<bool> {
        match rustix::fs::statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) => Ok(is_same(&named, opened) && named.st_nlink == 1),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Refuses a pipe, a device or a socket. A directory gets the system's own answer.
fn refuse_special(stat: &Stat) -> io::Result<()> {
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::Directory | FileType::Symlink => return Ok(()),
        FileType::Fifo => "a pipe (FIFO)",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "of an unknown kind",
    };
    Err(Refused::NotAFile(what).into())
}

/// From now on the file behaves as any other.
fn let_wait(file: &File) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    Ok(rustix::fs::fcntl_setfl(file, flags.difference(OFlags::NONBLOCK))?)
}

#[cfg(test)]
mod tests;
