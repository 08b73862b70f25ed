//! Walks a path one name at a time, and judges each symbolic link before it is followed.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::Refused;

/// As many links as the kernel follows on one path (path_resolution(7)).
const MAX_LINKS: u32 = 40;
/// Looks at something without opening it: no pipe is waited for, no device starts to work.
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Where a path leads, once all links are followed.
#[derive(Debug)]
pub(super) struct Place {
    /// The directory of the file, only to be looked into.
    pub directory: OwnedFd,
    /// The name of the file in it, never that of a link when it was found.
    pub name: OsString,
    /// What has this name; `None` if nothing has.
    pub found: Option<Stat>,
    /// Others than this user and root can write to the directory.
    pub is_shared: bool,
}

impl Place {
    /// Follows a path to its last name, which need not exist.
    pub(super) fn find(path: &Path) -> io::Result<Self> {
        let mut walk = Walk::start(path)?;
        while let Some(name) = walk.names.pop() {
            let entry = match rustix::fs::openat(&walk.directory, &name, LOOK, Mode::empty()) {
                Ok(entry) => entry,
                Err(Errno::NOENT) if walk.names.is_empty() => return walk.end(name, None),
                Err(error) => return Err(error.into()),
            };
            let found = rustix::fs::fstat(&entry)?;
            if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
                walk.follow(&entry, &found, &name)?;
            } else if walk.names.is_empty() {
                return walk.end(name, Some(found));
            } else {
                walk.seen.push(&name);
                walk.directory = entry;
            }
        }
        // The path of a root directory, or an empty one.
        Err(io::ErrorKind::IsADirectory.into())
    }

    /// Returns when the names in the directory are on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(&self.directory, ".", flags, Mode::empty())?;
        File::from(directory).sync_all()
    }
}

struct Walk {
    /// Where the walk has come to.
    directory: OwnedFd,
    /// Its path, for messages.
    seen: PathBuf,
    /// Names that are still to be gone to, the next one last.
    names: Vec<OsString>,
    /// Links that were followed.
    links: u32,
}

impl Walk {
    fn start(path: &Path) -> io::Result<Self> {
        let root = if path.is_absolute() { "/" } else { "." };
        let names = names_of(path);
        Ok(Self { directory: open_root(root)?, seen: root.into(), names, links: 0 })
    }

    fn end(self, name: OsString, found: Option<Stat>) -> io::Result<Place> {
        let is_shared = is_shared(&rustix::fs::fstat(&self.directory)?);
        Ok(Place { directory: self.directory, name, found, is_shared })
    }

    /// Goes on where a link leads, if it can be trusted.
    fn follow(&mut self, link: &OwnedFd, found: &Stat, name: &OsString) -> io::Result<()> {
        let is_last = self.names.is_empty();
        let is_trusted = is_trusted(found.st_uid)
            && !(is_last && is_shared(&rustix::fs::fstat(&self.directory)?));
        if !is_trusted {
            return Err(Refused::Link(self.seen.join(name)).into());
        }
        self.links = self.links.saturating_add(1);
        if self.links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        let target = rustix::fs::readlinkat(link, "", Vec::new())?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        if target.is_absolute() {
            self.directory = open_root("/")?;
            self.seen = "/".into();
        }
        self.names.extend(names_of(&target));
        Ok(())
    }
}

fn open_root(path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// The names on a path, the first one last.
fn names_of(path: &Path) -> Vec<OsString> {
    let name = |component| match component {
        Component::Normal(_) | Component::ParentDir => Some(OsString::from(component.as_os_str())),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    let mut names: Vec<OsString> = path.components().filter_map(name).collect();
    names.reverse();
    names
}

fn is_trusted(user: u32) -> bool {
    user == 0 || user == rustix::process::geteuid().as_raw()
}

/// Whether others than this user and root can write to a directory.
fn is_shared(directory: &Stat) -> bool {
    const WRITE_OF_GROUP_OR_OTHERS: u32 = 0o022;
    !is_trusted(directory.st_uid) || directory.st_mode & WRITE_OF_GROUP_OR_OTHERS != 0
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_walk_leads_where_the_kernel_would_go() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["", "dir", "dir/dir"] {
            fs::create_dir_all(at(name)).unwrap();
            // Whatever the umask is.
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(at("file"), "").unwrap();
        fs::write(at("dir/file"), "").unwrap();
        for (link, target) in [
            ("up", ".."),
            ("dir/up", "../dir/./dir/.."),
            ("dir/dir/up", "../../up"),
            ("to", "dir/file"),
            ("dir/to", "dir/to"),
            ("dir/dir/to", "../../dir//dir/"),
            ("round", "dir/round"),
            ("dir/round", "../round"),
            ("nowhere", "absent/absent"),
        ] {
            symlink(target, at(link)).unwrap();
        }
        symlink(at("dir/dir"), at("absolute")).unwrap();
        symlink("/", at("dir/absolute")).unwrap();
        let names = ["dir", "file", "up", "to", "round", "nowhere", "absolute", "absent", ".."];
        let mut paths = vec![PathBuf::new()];
        let (mut found, mut not_found) = (0, 0);
        for _ in 0..4 {
            paths = paths.iter().flat_map(|path| names.map(|name| path.join(name))).collect();
            for path in &paths {
                let path = directory.path().join(path);
                let place = Place::find(&path);
                match fs::metadata(&path) {
                    // No file can have the name of the root.
                    Ok(_) if path.canonicalize().unwrap() == Path::new("/") => {}
                    Ok(expected) => {
                        let stat = place.unwrap().found.unwrap();
                        assert_eq!((stat.st_dev, stat.st_ino), (expected.dev(), expected.ino()));
                        found += 1;
                    }
                    Err(error) => {
                        let is_so = match &place {
                            // Only the file itself is missing.
                            Ok(place) => {
                                place.found.is_none() && error.kind() == io::ErrorKind::NotFound
                            }
                            Err(ours) => ours.raw_os_error() == error.raw_os_error(),
                        };
                        assert!(is_so, "{path:?}: {place:?}, {error}");
                        not_found += 1;
                    }
                }
            }
        }
        assert!(found > 100 && not_found > 1_000, "{found} {not_found}");
    }
}
