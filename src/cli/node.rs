//! Options that several commands share: where the node, strfry and its database are.

use std::fmt::Display;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::exit::{OrFail, Result, tell};
use super::help::STRFRY;
use super::open::LockArguments;
use crate::node::{
    ConfError, Discovery, EventLimits, Named, NodePaths, PeerPolicy, PubkeySources, SkippedPeer,
    StrfryConf, Subject, Surroundings, discover, own_station_id, paths,
};
use crate::strfry_db::StrfryDb;

/// The configuration file; a command that has this option takes others from the environment and from
/// such files.
#[derive(Debug, Clone, Args)]
pub(super) struct ConfigurationFile {
    /// File with options for every command, or `none`
    ///
    /// TOML whose keys are the names of options; a section such as [diff] is for that command alone.
    /// [default: strfry-companion.toml in the home of the node's files, in $XDG_CONFIG_HOME or
    /// ~/.config, and in /etc: what the first of these says, the next ones do not change]
    #[arg(long, value_name = "FILE", help_heading = STRFRY, hide_short_help = true)]
    config: Option<PathBuf>,
}

/// Where things are.
#[derive(Debug, Clone, Args)]
pub(super) struct NodeArguments {
    #[command(flatten)]
    configuration: ConfigurationFile,
    /// Directory of strfry's database, or its data.mdb
    ///
    /// [default: `db` of strfry.conf]
    #[arg(long, value_name = "DIR", help_heading = STRFRY)]
    pub(super) db: Option<PathBuf>,
    #[command(flatten)]
    pub(super) lock: LockArguments,
    /// Home of the node's files [default: ~/.zen]
    #[arg(long, value_name = "DIR", help_heading = STRFRY, hide_short_help = true)]
    home: Option<PathBuf>,
    /// strfry's working directory
    ///
    /// A relative `db` of its configuration starts there. [default: HOME/strfry, else the directory
    /// of --strfry-config, else the current one]
    #[arg(long, value_name = "DIR", help_heading = STRFRY)]
    strfry_dir: Option<PathBuf>,
    /// strfry's configuration
    ///
    /// [default: strfry.conf in strfry's working directory if that or a home is named, else
    /// $STRFRY_CONFIG, HOME/strfry/strfry.conf, /etc/strfry.conf, ./strfry.conf]
    #[arg(long, value_name = "FILE", help_heading = STRFRY, hide_short_help = true)]
    strfry_config: Option<PathBuf>,
    /// Directory for state, lock and logs
    ///
    /// [default: HOME/strfry, else the home that --home names, else $STATE_DIRECTORY, else a directory
    /// for each database in $XDG_STATE_HOME/strfry-companion or ~/.local/state/strfry-companion]
    #[arg(long, value_name = "DIR", help_heading = STRFRY, hide_short_help = true)]
    state_dir: Option<PathBuf>,
}

impl NodeArguments {
    /// Where everything is.
    pub(super) fn paths(&self) -> NodePaths {
        let paths = self.paths_of_any_database();
        // Without a database there is no state: the command ends with that error.
        match self.database() {
            Ok(database) => paths.of_database(&database),
            Err(_) => paths,
        }
    }

    fn paths_of_any_database(&self) -> NodePaths {
        let named = Named {
            home: self.home.clone(),
            strfry_dir: self.strfry_dir.clone(),
            strfry_config: self.strfry_config.clone(),
            state_dir: self.state_dir.clone(),
        };
        NodePaths::find(&named, &Surroundings::of_this_process())
    }

    /// strfry's configuration.
    pub(super) fn config(&self) -> std::result::Result<StrfryConf, ConfError> {
        let paths = self.paths_of_any_database();
        StrfryConf::read(&paths.strfry_conf(), paths.strfry_dir()).map_err(|error| {
            match (error, paths.conf_places()) {
                (ConfError::Missing(_), places @ [_, ..]) => ConfError::Nowhere(places.to_vec()),
                (error, _) => error,
            }
        })
    }

    /// What strfry allows of an event; its defaults if there is no configuration.
    pub(super) fn event_limits(&self) -> Result<EventLimits> {
        match self.config() {
            Ok(config) => Ok(config.limits),
            Err(error) if error.is_missing() && !self.paths_of_any_database().names_conf() => {
                Ok(EventLimits::default())
            }
            Err(error) => Err(error).or_usage(),
        }
    }

    /// Where the database is.
    pub(super) fn database(&self) -> Result<PathBuf> {
        if let Some(db) = &self.db {
            return Ok(db.clone());
        }
        match self.config() {
            Ok(config) => Ok(config.db),
            Err(error) if error.is_missing() && !self.paths_of_any_database().names_conf() => {
                Ok(self.paths_of_any_database().default_database())
            }
            Err(error) => Err(error).or_usage(),
        }
    }

    /// Opens the database, to read it.
    pub(super) fn open_database(&self) -> Result<StrfryDb> {
        self.lock.open_to_read(&self.database()?, tell)
    }

    /// The swarm's peers and stations.
    pub(super) fn discover(&self, policy: PeerPolicy) -> Discovery {
        let variable = std::env::var("IPFSNODEID").ok();
        let config = paths::default_ipfs_config().unwrap_or_default();
        let own = own_station_id(variable.as_deref(), &config).unwrap_or_else(|error| {
            warn(format_args!("cannot tell which station is this node's own: {error}"));
            None
        });
        discover(&self.paths().swarm(), own.as_deref(), policy)
    }

    /// The node's own list of pubkeys.
    pub(super) fn pubkeys(&self, discovery: &Discovery) -> PubkeySources {
        PubkeySources::read(&self.paths(), discovery)
    }

    /// The node's own list of pubkeys, with a warning for each of its files that cannot be read.
    pub(super) fn pubkeys_with_warnings(&self, discovery: &Discovery) -> PubkeySources {
        let sources = self.pubkeys(discovery);
        for error in sources.sources.iter().flat_map(|source| &source.errors) {
            warn(error);
        }
        sources
    }
}

/// A warning on the terminal.
pub(super) fn warn(text: impl Display) {
    tell(format_args!("warning: {text}"));
}

/// Relays that are not asked, and why, as JSON.
pub(super) fn skipped_as_json(skipped: &[SkippedPeer]) -> Vec<Value> {
    let as_json = |skipped: &SkippedPeer| {
        json!({
            "subject": subject(skipped),
            "station": skipped.station,
            "reason": skipped.reason.to_string(),
        })
    };
    skipped.iter().map(as_json).collect()
}

/// What named a relay.
pub(super) fn subject(skipped: &SkippedPeer) -> String {
    match &skipped.subject {
        Subject::File(path) => path.display().to_string(),
        Subject::Url(url) => url.to_string(),
    }
}
