//! Where everything on a node lives: the one place where paths are made.
//!
//! It names files; it never opens or creates one.

use std::path::{Path, PathBuf};

use crate::report::ROTATED_KEPT;

/// What a station publishes about itself, one in each directory of the swarm.
pub const STATION_FILE: &str = "12345.json";
/// Beside it, if a station offers a tunnel to its relay.
pub const TUNNEL_OFFER: &str = "x_strfry.sh";
/// The name of a file that holds a pubkey.
pub const HEX_FILE: &str = "HEX";

/// The files of one node.
///
/// Two directories matter beside the home: the *strfry directory* (the executable, `strfry.conf`
/// and the database; strfry's commands run in it) and the *records directory*, where the node's
/// other programs look for the log, the lock, the blacklist and the list of friends. Both are
/// `HOME/strfry` unless another strfry directory is given. Then the records stay in `HOME/strfry`
/// if that directory exists, and otherwise go to the strfry directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePaths {
    home: PathBuf,
    strfry_dir: PathBuf,
    records_dir: PathBuf,
}

impl NodePaths {
    /// The files of the node at `home`; `strfry_dir` replaces `HOME/strfry`.
    ///
    /// Looks once whether `HOME/strfry` exists, so that all files of a run share one directory
    /// even if it appears later.
    pub fn new(home: PathBuf, strfry_dir: Option<PathBuf>) -> Self {
        let own = home.join("strfry");
        let strfry_dir = strfry_dir.unwrap_or_else(|| own.clone());
        let records_dir = if own.is_dir() { own } else { strfry_dir.clone() };
        Self { home, strfry_dir, records_dir }
    }

    /// The home of the node's files, usually `~/.zen`.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The working directory of every strfry command.
    pub fn strfry_dir(&self) -> &Path {
        &self.strfry_dir
    }

    /// The strfry executable.
    pub fn strfry_bin(&self) -> PathBuf {
        self.strfry_dir.join("strfry")
    }

    /// strfry's configuration.
    pub fn strfry_conf(&self) -> PathBuf {
        self.strfry_dir.join("strfry.conf")
    }

    /// strfry's database, unless its configuration moves it.
    pub fn default_database(&self) -> PathBuf {
        self.strfry_dir.join("strfry-db")
    }

    /// One directory for each known station.
    pub fn swarm(&self) -> PathBuf {
        self.home.join("tmp").join("swarm")
    }

    /// One directory for each Nostr identity that lives on this node.
    pub fn game_nostr(&self) -> PathBuf {
        self.home.join("game").join("nostr")
    }

    /// Pubkeys of friends of friends.
    pub fn amis_of_amis(&self) -> PathBuf {
        self.records_dir.join("amisOfAmis.txt")
    }

    /// Holds pubkey files at any depth.
    pub fn flashmem(&self) -> PathBuf {
        self.home.join("flashmem")
    }

    /// Pubkeys that the relay refuses.
    pub fn blacklist(&self) -> PathBuf {
        self.records_dir.join("blacklist.txt")
    }

    /// The log of the latest run.
    pub fn log(&self) -> PathBuf {
        self.records_dir.join("constellation-backfill.log")
    }

    /// Warnings and errors of all runs.
    pub fn error_log(&self) -> PathBuf {
        self.records_dir.join("constellation-backfill.error.log")
    }

    /// The state file: what peers owe, and what of it is here.
    pub fn peer_state(&self) -> PathBuf {
        self.records_dir.join("constellation-backfill.state.json")
    }

    /// Held for a whole run.
    pub fn lock(&self) -> PathBuf {
        self.records_dir.join("constellation-backfill.lock")
    }

    /// The profiles that a run found.
    pub fn profiles_json(&self) -> PathBuf {
        self.profiles("json")
    }

    /// The same as a table.
    pub fn profiles_csv(&self) -> PathBuf {
        self.profiles("csv")
    }

    /// What became of each profile.
    pub fn profile_log(&self) -> PathBuf {
        self.records_dir.join("hex-to-profile.log")
    }

    /// Every file that a run writes.
    pub fn written(&self) -> [PathBuf; 7] {
        [
            self.lock(),
            self.error_log(),
            self.log(),
            self.profile_log(),
            self.peer_state(),
            self.profiles_json(),
            self.profiles_csv(),
        ]
    }

    /// Every file of the node's own whose whole name is known.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.blacklist(), self.amis_of_amis()];
        files.extend(self.written());
        let rotated = |number| self.error_log().with_extension(format!("log.{number}"));
        files.extend((1..=ROTATED_KEPT).map(rotated));
        files
    }

    fn profiles(&self, extension: &str) -> PathBuf {
        self.home.join("tmp").join("coucou").join(format!("_NIP101.profiles.{extension}"))
    }
}

/// `~/.zen`. `None` when the user has no home directory.
pub fn default_home() -> Option<PathBuf> {
    user_home().map(|home| home.join(".zen"))
}

/// `~/.ipfs/config`, which names the own station. `None` when the user has no home directory.
pub fn default_ipfs_config() -> Option<PathBuf> {
    user_home().map(|home| home.join(".ipfs").join("config"))
}

fn user_home() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| home.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_where_the_other_programs_of_a_node_look() {
        let paths = NodePaths::new("/z".into(), None);
        let made = [
            paths.home().to_owned(),
            paths.strfry_dir().to_owned(),
            paths.strfry_bin(),
            paths.strfry_conf(),
            paths.default_database(),
            paths.swarm(),
            paths.game_nostr(),
            paths.amis_of_amis(),
            paths.flashmem(),
            paths.blacklist(),
            paths.log(),
            paths.error_log(),
            paths.lock(),
            paths.profiles_json(),
            paths.profiles_csv(),
            paths.profile_log(),
        ];
        let expected = [
            "/z",
            "/z/strfry",
            "/z/strfry/strfry",
            "/z/strfry/strfry.conf",
            "/z/strfry/strfry-db",
            "/z/tmp/swarm",
            "/z/game/nostr",
            "/z/strfry/amisOfAmis.txt",
            "/z/flashmem",
            "/z/strfry/blacklist.txt",
            "/z/strfry/constellation-backfill.log",
            "/z/strfry/constellation-backfill.error.log",
            "/z/strfry/constellation-backfill.lock",
            "/z/tmp/coucou/_NIP101.profiles.json",
            "/z/tmp/coucou/_NIP101.profiles.csv",
            "/z/strfry/hex-to-profile.log",
        ];
        assert_eq!(made.map(|path| path.to_string_lossy().into_owned()), expected);
    }

    #[test]
    fn another_strfry_directory_leaves_the_records_in_the_home_that_has_a_place_for_them() {
        let home = tempfile::tempdir().unwrap();
        let elsewhere = NodePaths::new(home.path().into(), Some("/srv/strfry".into()));
        assert_eq!(elsewhere.lock(), Path::new("/srv/strfry/constellation-backfill.lock"));
        assert_eq!(elsewhere.blacklist(), Path::new("/srv/strfry/blacklist.txt"));

        std::fs::create_dir(home.path().join("strfry")).unwrap();
        let split = NodePaths::new(home.path().into(), Some("/srv/strfry".into()));
        assert_eq!(split.strfry_conf(), Path::new("/srv/strfry/strfry.conf"));
        assert_eq!(split.lock(), home.path().join("strfry/constellation-backfill.lock"));
        assert_eq!(split.amis_of_amis(), home.path().join("strfry/amisOfAmis.txt"));
    }
}
