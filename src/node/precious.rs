//! Which files nothing may be written over, whatever name is given for them: those of strfry, and
//! those of the node.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::find_files;
use super::paths::{HEX_FILE, NodePaths, STATION_FILE, TUNNEL_OFFER, default_ipfs_config};

/// The files of strfry and of a node, as far as another file may turn out to be one of them.
#[derive(Debug, Clone)]
pub struct Precious {
    paths: NodePaths,
    /// Executables and configurations.
    strfry: Vec<PathBuf>,
    /// The directory of the database.
    database: PathBuf,
}

/// A file that is to be written, by its directory and name, and by what is there.
struct Wanted {
    place: PathBuf,
    there: Option<Metadata>,
    /// It is one of the node's own, and may be that.
    is_own: bool,
}

impl Precious {
    /// The files of this node, of the strfry that is called in this way, and of its database.
    pub fn new(paths: NodePaths, binary: &Path, config: &Path, database: &Path) -> Self {
        let strfry =
            vec![binary.to_owned(), config.to_owned(), paths.strfry_bin(), paths.strfry_conf()];
        Self { paths, strfry, database: database.to_owned() }
    }

    /// What a file of this name is, or would be, if nothing may be written to it.
    pub fn at(&self, path: &Path) -> Option<String> {
        let wanted = Wanted::new(path, false);
        if lies_in(path, &self.database) {
            return Some(self.of_database());
        }
        let trees = [self.paths.swarm(), self.paths.game_nostr(), self.paths.flashmem()];
        let of_tree = |tree: &PathBuf| {
            let tree = fs::canonicalize(tree).unwrap_or_else(|_| tree.clone());
            wanted.place.starts_with(tree)
        };
        let tree = trees.iter().find(|tree| of_tree(tree));
        let in_tree = |tree: &PathBuf| format!("among the node's files in {}", tree.display());
        tree.map(in_tree).or_else(|| self.name(&wanted))
    }

    /// What else one of the node's own files is, if it is a link to a file that nothing may be
    /// written to.
    pub fn behind(&self, path: &Path) -> Option<String> {
        let is_link = |there: Metadata| there.is_symlink() || there.nlink() > 1;
        let is_link = fs::symlink_metadata(path).is_ok_and(is_link);
        is_link.then(|| self.name(&Wanted::new(path, true))).flatten()
    }

    fn name(&self, wanted: &Wanted) -> Option<String> {
        if self.strfry.iter().any(|file| wanted.is(file)) {
            return Some("strfry's executable or configuration".to_owned());
        }
        let in_database = fs::read_dir(&self.database).into_iter().flatten().flatten();
        if in_database.map(|entry| entry.path()).any(|file| wanted.is(&file)) {
            return Some(self.of_database());
        }
        let mut files = self.paths.files();
        files.extend(default_ipfs_config());
        for name in [STATION_FILE, TUNNEL_OFFER] {
            files.extend(find_files::find(&self.paths.swarm(), name).files);
        }
        let players = find_files::children(&self.paths.game_nostr(), &mut Vec::new());
        files.extend(players.into_iter().map(|player| player.join(HEX_FILE)));
        files.extend(find_files::find(&self.paths.flashmem(), HEX_FILE).files);
        let file = files.into_iter().find(|file| wanted.is(file))?;
        Some(format!("the node's file {}", file.display()))
    }

    fn of_database(&self) -> String {
        format!("in the directory of strfry's database {}", self.database.display())
    }
}

impl Wanted {
    fn new(path: &Path, is_own: bool) -> Self {
        Self { place: place(path), there: fs::metadata(path).ok(), is_own }
    }

    /// Whether it is this file, by its name or another one.
    fn is(&self, file: &Path) -> bool {
        if place(file) == self.place {
            return !self.is_own;
        }
        self.there.as_ref().is_some_and(|there| is_at(file, there))
    }
}

/// A path whose directory is written in the one way that has no links in it.
fn place(path: &Path) -> PathBuf {
    let (Some(name), Ok(parent)) = (path.file_name(), fs::canonicalize(parent(path))) else {
        return path.to_owned();
    };
    parent.join(name)
}

fn parent(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// Whether a file of this name lies in this directory.
fn lies_in(path: &Path, directory: &Path) -> bool {
    fs::metadata(parent(path)).is_ok_and(|parent| is_at(directory, &parent))
}

fn is_at(path: &Path, file: &Metadata) -> bool {
    let is_same = |there: Metadata| (there.dev(), there.ino()) == (file.dev(), file.ino());
    fs::metadata(path).is_ok_and(is_same)
}
