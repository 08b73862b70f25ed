//! A node to throw away: a home with a copy of the database, and all that a backfill looks for.

use std::fmt::Display;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde_json::json;
use tempfile::TempDir;

use super::{Strfry, child, group};
use crate::cli::exit::{Failure, OrFail, Result};
use crate::node::{EventLimits, NodePaths, Peer};
use crate::nostr::Pubkey;
use crate::stop::Stop;

/// What the script runs for each question to a peer.
const CLIENT: &str = "nostr_websocket_backfill.py";
/// What it looks for profiles with.
const PROFILES: &str = "Astroport.ONE/tools/nostr_hex_to_profile.sh";

/// A copy takes as long as the disk takes.
const LONGEST_COPY: Duration = Duration::from_secs(3_600);

/// What every home of a bench holds.
pub(super) struct Contents<'a> {
    pub(super) strfry: &'a Strfry,
    pub(super) limits: EventLimits,
    pub(super) peers: &'a [Peer],
    pub(super) pubkeys: &'a [Pubkey],
    /// The script's text.
    pub(super) script: &'a [u8],
    /// Where the script lies.
    pub(super) beside: &'a Path,
    /// The node that the bench is about.
    pub(super) node: &'a NodePaths,
}

/// Removed when it is dropped.
pub(super) struct Home {
    directory: TempDir,
    pub(super) script: PathBuf,
    /// The script has something to look for profiles with.
    pub(super) has_profiles: bool,
}

impl Home {
    /// A home in this directory. The database is a copy of the node's, or of another home's.
    pub(super) fn new(
        parent: &Path,
        contents: &Contents<'_>,
        other: Option<&Self>,
        stop: &Stop,
    ) -> Result<Self> {
        let directory =
            tempfile::Builder::new().prefix("strfry-companion-bench-").tempdir_in(parent);
        let directory = directory
            .with_context(|| {
                format!(
                    "cannot make a home in {}; name another directory with --work-dir",
                    parent.display()
                )
            })
            .or_cannot_run()?;
        let paths = NodePaths::of_home(&directory.path().join(".zen"));
        let script = paths.old_script();
        let mut home = Self { directory, script, has_profiles: false };
        home.fill(&paths, contents).context("cannot fill a home for the bench").or_cannot_run()?;
        home.copy_database(contents.strfry, other, stop)?;
        Ok(home)
    }

    /// The home directory of the user in it.
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn database(&self) -> PathBuf {
        NodePaths::of_home(&self.path().join(".zen")).default_database()
    }

    fn fill(&mut self, paths: &NodePaths, contents: &Contents<'_>) -> io::Result<()> {
        let (home, strfry) = (paths.home(), paths.strfry_dir());
        let tools = home.join("Astroport.ONE/tools");
        let rules = self.script.parent().unwrap_or(home);
        for directory in [&paths.default_database(), &tools, rules, &paths.swarm()] {
            fs::create_dir_all(directory)?;
        }
        symlink(&contents.strfry.program, strfry.join("strfry"))?;
        fs::write(strfry.join("strfry.conf"), conf(&contents.limits))?;
        let lines: String = contents.pubkeys.iter().map(|pubkey| format!("{pubkey}\n")).collect();
        fs::write(paths.amis_of_amis(), lines)?;
        if contents.node.blacklist().is_file() {
            fs::copy(contents.node.blacklist(), paths.blacklist())?;
        }
        for (number, peer) in contents.peers.iter().enumerate() {
            let station = format!("bench{number}");
            let text = json!({"ipfsnodeid": station, "myRELAY": peer.address()}).to_string();
            let directory = paths.swarm().join(station);
            fs::create_dir_all(&directory)?;
            fs::write(directory.join(crate::node::paths::STATION_FILE), text)?;
        }
        fs::write(&self.script, contents.script)?;
        fs::copy(contents.beside.join(CLIENT), rules.join(CLIENT))?;
        // The node's own would find the node's services. No captain, so no report is sent.
        fs::write(tools.join("my.sh"), "IPFSNODEID=bench\n")?;
        let profiles = contents.node.home().join(PROFILES);
        self.has_profiles = profiles.is_file();
        if self.has_profiles {
            // With its permissions.
            fs::copy(profiles, home.join(PROFILES))?;
        }
        Ok(())
    }

    /// By strfry, as a database that a relay writes to cannot be copied like any other file.
    fn copy_database(&self, strfry: &Strfry, other: Option<&Self>, stop: &Stop) -> Result<()> {
        let other = other.map(|other| NodePaths::of_home(&other.path().join(".zen")));
        let (config, directory) = match &other {
            Some(paths) => (paths.strfry_conf(), paths.strfry_dir()),
            None => (strfry.config.clone(), strfry.directory.as_path()),
        };
        let mut command = Command::new(&strfry.program);
        command.arg("--config").arg(config).arg("compact").arg(self.database().join("data.mdb"));
        let ran = group::run(command.current_dir(directory), LONGEST_COPY, stop)?;
        if ran.status.is_some_and(|status| status.success()) {
            return Ok(());
        }
        Err(Failure::CannotRun(anyhow!(
            "strfry compact has not copied the database; try by hand in {}: {} --config {} compact -",
            directory.display(),
            strfry.program.display(),
            strfry.config.display()
        )))
    }
}

/// A configuration for strfry with these limits.
fn conf(limits: &EventLimits) -> String {
    let line = |key: &str, value: &dyn Display| format!("    {key} = {value}\n");
    [
        "db = \"./strfry-db/\"\nrelay {\n    nofiles = 0\n}\nevents {\n".to_owned(),
        line("maxEventSize", &limits.max_event_size),
        line("rejectEventsNewerThanSeconds", &limits.seconds_ahead),
        line("maxNumTags", &limits.max_num_tags),
        line("maxTagValSize", &limits.max_tag_val_size),
        "}\n".to_owned(),
    ]
    .concat()
}

/// What the script needs to run, or why it would do nothing.
pub(super) fn check_tools(beside: &Path) -> Result<()> {
    for tool in ["bash", "jq", "python3"] {
        if !child::can_start(tool.as_ref()) {
            return Err(Failure::Usage(anyhow!("the script needs {tool}, and none is in PATH")));
        }
    }
    let mut python = Command::new("python3");
    if child::time(python.args(["-c", "import websockets"])).is_err() {
        return Err(Failure::Usage(anyhow!(
            "the script needs the Python module websockets, and python3 has none: activate the \
             environment in which the script runs (on a node: . ~/.astro/bin/activate)"
        )));
    }
    if !beside.join(CLIENT).is_file() {
        return Err(Failure::Usage(anyhow!(
            "the script needs {CLIENT} beside it, and {} has none",
            beside.display()
        )));
    }
    Ok(())
}
