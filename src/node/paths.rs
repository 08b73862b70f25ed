//! Where everything on a node lives: the one place where paths are made.
//!
//! It names files and looks whether they are there; it never opens or creates one.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use crate::history::HISTORY_KEPT;
use crate::report::ROTATED_KEPT;

/// What a station publishes about itself, one in each directory of the swarm.
pub const STATION_FILE: &str = "12345.json";
/// Beside it, if a station offers a tunnel to its relay.
pub const TUNNEL_OFFER: &str = "x_strfry.sh";
/// The name of the script that this program replaces.
pub const OLD_SCRIPT: &str = "backfill_constellation.sh";
/// The name of a file that holds a pubkey.
pub const HEX_FILE: &str = "HEX";

/// Where strfry looks when nothing names its configuration (strfry 1.1.1, golpe, `main.cpp.tt`).
pub const ETC_CONF: &str = "/etc/strfry.conf";
const CONF: &str = "strfry.conf";
const STRFRY: &str = "strfry";
const STATE: &str = "constellation-backfill.state.json";
/// Of this program, in a directory that many programs share.
const OWN_DIRECTORY: &str = "strfry-companion";
/// Where state belongs for a user without a home (file-hierarchy(7)).
const LAST_STATE_DIR: &str = "/var/lib/strfry-companion";

/// The places that the command line names.
#[derive(Debug, Clone, Default)]
pub struct Named {
    /// The home of the node's files.
    pub home: Option<PathBuf>,
    /// strfry's working directory.
    pub strfry_dir: Option<PathBuf>,
    /// strfry's configuration.
    pub strfry_config: Option<PathBuf>,
    /// For state, lock and logs.
    pub state_dir: Option<PathBuf>,
}

/// Where a process looks for what the command line does not name. Nowhere, by default.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Its working directory.
    pub working_dir: PathBuf,
    /// The user's home.
    pub user_home: Option<PathBuf>,
    /// `$STRFRY_CONFIG`
    pub strfry_config: Option<PathBuf>,
    /// [`ETC_CONF`]
    pub etc_conf: PathBuf,
    /// `$STATE_DIRECTORY`, which systemd sets: directories with colons between them.
    pub state_directory: Option<OsString>,
    /// `$XDG_STATE_HOME`
    pub xdg_state_home: Option<PathBuf>,
    /// `$PATH`
    pub path: Option<OsString>,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_this_process() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            working_dir: std::env::current_dir().unwrap_or_default(),
            user_home: user_home(),
            strfry_config: variable("STRFRY_CONFIG").map(PathBuf::from),
            etc_conf: ETC_CONF.into(),
            state_directory: variable("STATE_DIRECTORY"),
            xdg_state_home: variable("XDG_STATE_HOME").map(PathBuf::from),
            path: variable("PATH"),
        }
    }

    /// systemd's directory, which is one service's own.
    fn state_of_service(&self) -> Option<PathBuf> {
        let list = self.state_directory.as_ref()?;
        std::env::split_paths(list).next().filter(|directory| directory.is_absolute())
    }

    /// The directory for all databases that this user keeps state of.
    fn state_of_user(&self) -> PathBuf {
        // The specification says that a relative one is to be ignored.
        let named = self.xdg_state_home.clone().filter(|directory| directory.is_absolute());
        let usual = || Some(self.user_home.as_ref()?.join(".local").join("state"));
        let directory = named.or_else(usual).map(|directory| directory.join(OWN_DIRECTORY));
        directory.unwrap_or_else(|| LAST_STATE_DIR.into())
    }
}

/// Finds an executable of this name in the directories of `PATH`, as execvp(3) does.
pub fn in_path(name: &Path, path: Option<&OsString>) -> Option<PathBuf> {
    let is_executable = |file: &PathBuf| {
        file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
    };
    std::env::split_paths(path?).map(|directory| directory.join(name)).find(is_executable)
}

/// The files of one node, or of a strfry alone.
///
/// A node is a home with a directory `strfry`. In that directory are the executable, `strfry.conf`
/// and the database, strfry's commands run in it, and the node's other programs look there for the
/// log, the lock, the blacklist and the list of friends.
///
/// strfry's configuration is the first of these that there is:
///
/// 1. what `--strfry-config` names;
/// 2. `strfry.conf` in what `--strfry-dir` names;
/// 3. that of the node whose home `--home` names;
/// 4. what `$STRFRY_CONFIG` names;
/// 5. that of the node in `~/.zen`;
/// 6. `/etc/strfry.conf`;
/// 7. `./strfry.conf`.
///
/// strfry itself knows 1, 4, 6 and 7, in this order. A node comes before the machine's
/// configuration because its strfry is always told which one is its own.
///
/// `db` in it, if relative, starts from the *strfry directory*, in which strfry runs: what
/// `--strfry-dir` names, else the node's, else the directory of what `--strfry-config` names, else
/// the working directory of this process.
///
/// State, lock and logs go to the *state directory*: what `--state-dir` names, else the node's,
/// else where an earlier version has left its state (the strfry directory), else the home that
/// `--home` names, else `$STATE_DIRECTORY`, else a directory for each database below `$XDG_STATE_HOME/strfry-companion` or
/// `~/.local/state/strfry-companion` ([`NodePaths::of_database`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePaths {
    home: PathBuf,
    strfry_dir: PathBuf,
    strfry_conf: PathBuf,
    names_conf: bool,
    /// Where a configuration was looked for in vain. Empty if there is one, or one place only.
    conf_places: Vec<PathBuf>,
    strfry_bin: PathBuf,
    lists_dir: PathBuf,
    state_dir: PathBuf,
    /// Whether other databases have their state there, too.
    shares_state_dir: bool,
}

impl NodePaths {
    /// Finds the files. Looks once which directories and files exist, so that all files of a run
    /// share one directory even if another appears later. Paths of strfry are absolute, because it
    /// runs in another directory than this process, unless the working directory is gone.
    pub fn find(named: &Named, around: &Surroundings) -> Self {
        let absolute =
            |path: &Path| -> PathBuf { around.working_dir.join(path).components().collect() };
        let default_home = || around.user_home.clone().unwrap_or_default().join(".zen");
        let home = named.home.clone().unwrap_or_else(default_home);
        let own = home.join(STRFRY);
        let is_node = own.is_dir();
        let there = |conf: PathBuf| conf.exists().then_some(conf);

        let in_named_dir =
            || named.strfry_dir.as_ref().and_then(|dir| there(absolute(dir).join(CONF)));
        let of_node = || is_node.then(|| absolute(&own).join(CONF));
        let of_named_node = || named.home.as_ref().and_then(|_| of_node());
        let by_environment = || around.strfry_config.as_deref().map(absolute);
        let of_machine = || {
            let machine = [around.etc_conf.clone(), around.working_dir.join(CONF)];
            machine.into_iter().filter(|conf| conf.is_absolute())
        };
        let named_conf = named.strfry_config.as_deref().map(absolute);
        let found = named_conf.clone().or_else(in_named_dir).or_else(of_named_node);
        let by_environment = if found.is_none() { by_environment() } else { None };
        let names_conf = named_conf.is_some() || by_environment.is_some();
        let found = found.or(by_environment).or_else(of_node);
        let found = found.or_else(|| of_machine().find_map(there));

        let strfry_dir = named.strfry_dir.as_deref().map(absolute);
        let beside_conf = || named_conf.as_deref().and_then(Path::parent).map(Path::to_owned);
        let known_dir = strfry_dir.or_else(|| is_node.then(|| absolute(&own))).or_else(beside_conf);
        let strfry_dir = match (&known_dir, &found) {
            (Some(directory), _) => directory.clone(),
            (None, Some(_)) => around.working_dir.clone(),
            (None, None) => absolute(&own),
        };
        let conf_places = match &found {
            Some(_) => Vec::new(),
            None => {
                let named_dir = named.strfry_dir.as_deref().map(absolute);
                let places = named_dir.into_iter().chain([absolute(&own)]);
                let places = places.map(|dir| dir.join(CONF)).chain(of_machine());
                places.filter(|conf| conf.is_absolute()).collect()
            }
        };
        let strfry_conf = found.unwrap_or_else(|| strfry_dir.join(CONF));

        // Nothing is executed merely because it lies where this process happens to run.
        let beside = known_dir.as_ref().map(|directory| directory.join(STRFRY));
        let beside = beside.filter(|file| file.symlink_metadata().is_ok());
        let strfry_bin = beside
            .or_else(|| in_path(Path::new(STRFRY), around.path.as_ref()))
            .unwrap_or_else(|| known_dir.unwrap_or_else(|| absolute(&own)).join(STRFRY));

        let lists_dir = if is_node { own.clone() } else { strfry_dir.clone() };
        let before = || Some(strfry_dir.clone()).filter(|it| !is_node && it.join(STATE).exists());
        let of_node = is_node.then(|| own.clone());
        let own_state = named.state_dir.clone().or(of_node).or_else(before);
        let own_state = own_state.or_else(|| named.home.clone());
        let own_state = own_state.or_else(|| around.state_of_service());
        Self {
            home,
            strfry_dir,
            strfry_conf,
            names_conf,
            conf_places,
            strfry_bin,
            lists_dir,
            shares_state_dir: own_state.is_none(),
            state_dir: own_state.unwrap_or_else(|| around.state_of_user()),
        }
    }

    /// The files of a run for the database in this directory, or for this `data.mdb`. Where many
    /// databases have their state, each has a directory of its own, as deep as the database lies:
    /// `/srv/relay/strfry-db` has `~/.local/state/strfry-companion/srv/relay/strfry-db`.
    pub fn of_database(mut self, database: &Path) -> Self {
        if self.shares_state_dir {
            let directory = if database.ends_with("data.mdb") { database.parent() } else { None };
            let directory = directory.unwrap_or(database);
            let absolute = directory.canonicalize().or_else(|_| std::path::absolute(directory));
            for component in absolute.unwrap_or_default().components() {
                if let Component::Normal(name) = component {
                    self.state_dir.push(name);
                }
            }
            self.shares_state_dir = false;
        }
        self
    }

    /// The files of the node in this home, wherever this process runs.
    pub fn of_home(home: &Path) -> Self {
        let named = Named { home: Some(home.to_owned()), ..Named::default() };
        Self::find(&named, &Surroundings::default())
    }

    /// The home of the node's files, usually `~/.zen`.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The working directory of every strfry command.
    pub fn strfry_dir(&self) -> &Path {
        &self.strfry_dir
    }

    /// The strfry executable: in the strfry directory, else in `PATH`. Never in the working
    /// directory of this process unless that is named.
    pub fn strfry_bin(&self) -> PathBuf {
        self.strfry_bin.clone()
    }

    /// strfry's configuration.
    pub fn strfry_conf(&self) -> PathBuf {
        self.strfry_conf.clone()
    }

    /// Whether an option or the environment names that file, so that it must be there.
    pub fn names_conf(&self) -> bool {
        self.names_conf
    }

    /// Where a configuration was looked for, in this order, if nothing names one and there is none.
    pub fn conf_places(&self) -> &[PathBuf] {
        &self.conf_places
    }

    /// strfry's database, unless its configuration moves it.
    pub fn default_database(&self) -> PathBuf {
        self.strfry_dir.join("strfry-db")
    }

    /// Where state, lock and logs are. Everybody's but a node's may have to be created.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// One directory for each known station.
    pub fn swarm(&self) -> PathBuf {
        self.home.join("tmp").join("swarm")
    }

    /// One directory for each Nostr identity that lives on this node.
    pub fn game_nostr(&self) -> PathBuf {
        self.home.join("game").join("nostr")
    }

    /// The script that this program replaces, where a node's other programs call it.
    pub fn old_script(&self) -> PathBuf {
        self.relay_rules().join(OLD_SCRIPT)
    }

    /// Beside it, what the script starts at its end.
    pub fn report_script(&self) -> PathBuf {
        self.relay_rules().join("sync_report.sh")
    }

    /// A clone of github.com/papiche/NIP-101.
    fn relay_rules(&self) -> PathBuf {
        self.home.join("workspace").join("NIP-101")
    }

    /// Pubkeys of friends of friends.
    pub fn amis_of_amis(&self) -> PathBuf {
        self.lists_dir.join("amisOfAmis.txt")
    }

    /// Holds pubkey files at any depth.
    pub fn flashmem(&self) -> PathBuf {
        self.home.join("flashmem")
    }

    /// Pubkeys that the relay refuses.
    pub fn blacklist(&self) -> PathBuf {
        self.lists_dir.join("blacklist.txt")
    }

    /// The log of the latest run.
    pub fn log(&self) -> PathBuf {
        self.state_dir.join("constellation-backfill.log")
    }

    /// Warnings and errors of all runs.
    pub fn error_log(&self) -> PathBuf {
        self.state_dir.join("constellation-backfill.error.log")
    }

    /// The state file: what peers owe, and what of it is here.
    pub fn peer_state(&self) -> PathBuf {
        self.state_dir.join(STATE)
    }

    /// The summaries of all runs, as JSON lines.
    pub fn history(&self) -> PathBuf {
        self.state_dir.join("constellation-backfill.history.jsonl")
    }

    /// Held for a whole run.
    pub fn lock(&self) -> PathBuf {
        self.state_dir.join("constellation-backfill.lock")
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
        self.state_dir.join("hex-to-profile.log")
    }

    /// Every file that a run writes.
    pub fn written(&self) -> [PathBuf; 8] {
        [
            self.lock(),
            self.error_log(),
            self.log(),
            self.profile_log(),
            self.peer_state(),
            self.history(),
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
        let rotated = |number| self.history().with_extension(format!("jsonl.{number}"));
        files.extend((1..=HISTORY_KEPT).map(rotated));
        files
    }

    fn profiles(&self, extension: &str) -> PathBuf {
        self.home.join("tmp").join("coucou").join(format!("_NIP101.profiles.{extension}"))
    }
}

/// `~/.ipfs/config`, which names the own station. `None` when the user has no home directory.
pub fn default_ipfs_config() -> Option<PathBuf> {
    user_home().map(|home| home.join(".ipfs").join("config"))
}

fn user_home() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| home.is_absolute())
}

#[cfg(test)]
mod tests;
