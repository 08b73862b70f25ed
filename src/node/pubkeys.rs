//! Whose events and profiles this node wants: the union of its four sources.
//!
//! A source that cannot be read is reported with what is wrong; the others still count.

use std::collections::BTreeSet;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::files::{self, FileError, FileProblem};
use super::paths::{HEX_FILE, NodePaths};
use super::peers::Discovery;
use super::pubkey_list::{MAX_LIST_BYTES, pubkey_in};
use super::{find_files, line_reader};
use crate::nostr::Pubkey;

/// All pubkeys of the node, and where they come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PubkeySources {
    /// Sorted, without repeats.
    pub pubkeys: Vec<Pubkey>,
    /// Those that live on this node, which are never blacklisted.
    pub local: BTreeSet<Pubkey>,
    /// What each source gave, in the order in which they were read.
    pub sources: Vec<SourceReport>,
}

/// What one source gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceReport {
    /// The source, as it is called in messages.
    pub name: &'static str,
    /// Its file or directory.
    pub path: PathBuf,
    /// Files that were read.
    pub files: usize,
    /// Pubkeys, repeats included.
    pub found: usize,
    /// Those of them that were known already, from this source or from one before it.
    pub duplicates: usize,
    /// Lines or values that are no pubkey.
    pub skipped: usize,
    /// Files that could not be read. One that does not exist is no error.
    pub errors: Vec<FileError>,
}

impl SourceReport {
    fn new(name: &'static str, path: PathBuf) -> Self {
        Self { name, path, files: 0, found: 0, duplicates: 0, skipped: 0, errors: vec![] }
    }

    fn take(&mut self, pubkey: Pubkey, all: &mut BTreeSet<Pubkey>) {
        self.found = self.found.saturating_add(1);
        if !all.insert(pubkey) {
            self.duplicates = self.duplicates.saturating_add(1);
        }
    }

    /// Takes every pubkey of a file, and answers with those of this file.
    fn read_file(&mut self, path: &Path, all: &mut BTreeSet<Pubkey>) -> BTreeSet<Pubkey> {
        let mut own = BTreeSet::new();
        let result = files::open(path, MAX_LIST_BYTES).and_then(|file| {
            line_reader::for_each_line(BufReader::new(file), |line| match pubkey_in(line) {
                None => {}
                Some(Err(_)) => self.skipped = self.skipped.saturating_add(1),
                Some(Ok(pubkey)) => {
                    own.insert(pubkey);
                    self.take(pubkey, all);
                }
            })?;
            Ok(())
        });
        match result {
            Ok(()) => self.files = self.files.saturating_add(1),
            Err(FileProblem::Missing) => {}
            Err(problem) => self.errors.push(problem.at(path)),
        }
        own
    }
}

impl PubkeySources {
    /// Reads the sources in the order of precedence: identities on this node, friends of friends,
    /// the stations that `discovery` found, flashmem.
    pub fn read(paths: &NodePaths, discovery: &Discovery) -> Self {
        let mut all = BTreeSet::new();
        let mut local = BTreeSet::new();

        let mut identities = SourceReport::new("game/nostr", paths.game_nostr());
        for identity in find_files::children(&identities.path.clone(), &mut identities.errors) {
            if identity.is_dir() {
                local.extend(identities.read_file(&identity.join(HEX_FILE), &mut all));
            }
        }

        let mut friends = SourceReport::new("amisOfAmis.txt", paths.amis_of_amis());
        friends.read_file(&paths.amis_of_amis(), &mut all);

        let mut stations = SourceReport::new("12345.json", paths.swarm());
        stations.files = discovery.stations;
        stations.skipped = discovery.skipped_station_pubkeys;
        for pubkey in &discovery.station_pubkeys {
            stations.take(*pubkey, &mut all);
        }

        let mut flashmem = SourceReport::new("flashmem", paths.flashmem());
        let found = find_files::find(&flashmem.path, HEX_FILE);
        flashmem.errors = found.errors;
        for file in found.files {
            flashmem.read_file(&file, &mut all);
        }

        Self {
            pubkeys: all.into_iter().collect(),
            local,
            sources: vec![identities, friends, stations, flashmem],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;
    use crate::node::{Named, Surroundings};

    fn paths_of(home: &Path) -> NodePaths {
        let named = Named { home: Some(home.into()), ..Named::default() };
        NodePaths::find(&named, &Surroundings::default())
    }

    #[test]
    fn the_union_of_all_sources_is_sorted_and_each_source_accounts_for_itself() {
        let home = tempfile::tempdir().unwrap();
        let paths = paths_of(home.path());
        let [alice, bob, captain, node, friend] =
            [0x10, 0x20, 0x30, 0x40, 0x50].map(|byte| Pubkey::from_bytes([byte; 32]));
        let write = |path: PathBuf, text: String| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(paths.game_nostr().join("alice@example.com/HEX"), alice.to_string());
        write(paths.game_nostr().join("bob/HEX"), format!("{bob}\r\n"));
        fs::create_dir_all(paths.game_nostr().join("dave/HEX")).unwrap();
        fs::create_dir_all(paths.game_nostr().join("erin")).unwrap();
        write(paths.game_nostr().join("frank/deep/HEX"), friend.to_string());
        write(paths.game_nostr().join("README"), "x".into());
        write(paths.amis_of_amis(), format!("{bob}\n{friend}\n{friend}\nnobody\n"));
        write(paths.flashmem().join("HEX"), alice.to_string());
        write(paths.flashmem().join("a/b/c/HEX"), format!("{friend}\nx\n"));
        symlink(home.path(), paths.flashmem().join("a/loop")).unwrap();
        let pipe = paths.flashmem().join("a/HEX");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let discovery = Discovery {
            stations: 2,
            station_pubkeys: vec![captain, node, captain],
            skipped_station_pubkeys: 1,
            ..Discovery::default()
        };
        let report = |name, path, counts: [usize; 4], errors| {
            let [files, found, duplicates, skipped] = counts;
            SourceReport { name, path, files, found, duplicates, skipped, errors }
        };
        let no_file = |path: &Path| vec![FileProblem::NotAFile.at(path)];
        let dave = paths.game_nostr().join("dave/HEX");
        assert_eq!(
            PubkeySources::read(&paths, &discovery),
            PubkeySources {
                pubkeys: vec![alice, bob, captain, node, friend],
                local: BTreeSet::from([alice, bob]),
                sources: vec![
                    report("game/nostr", paths.game_nostr(), [2, 2, 0, 0], no_file(&dave)),
                    report("amisOfAmis.txt", paths.amis_of_amis(), [1, 3, 2, 1], vec![]),
                    report("12345.json", paths.swarm(), [2, 3, 1, 1], vec![]),
                    report("flashmem", paths.flashmem(), [2, 2, 2, 1], no_file(&pipe)),
                ],
            }
        );
    }

    #[test]
    fn a_node_without_any_of_these_files_has_no_pubkeys_and_no_errors() {
        let home = tempfile::tempdir().unwrap();
        let paths = paths_of(home.path());
        let sources = PubkeySources::read(&paths, &Discovery::default());
        assert_eq!((sources.pubkeys, sources.local), (vec![], BTreeSet::new()));
        assert!(sources.sources.iter().all(|source| source.errors.is_empty()));
    }
}
