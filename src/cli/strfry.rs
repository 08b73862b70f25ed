//! How a command that imports reaches strfry, and which database that strfry writes.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;

use super::exit::{Failure, OrFail, Result};
use super::help::STRFRY;
use super::node::NodeArguments;
use crate::import::{StrfryCommand, initialise, is_untouched};
use crate::node::EventLimits;
use crate::stop::Stop;

#[derive(Debug, Clone, Args)]
pub(super) struct StrfryArguments {
    /// The strfry executable
    ///
    /// [default: strfry in strfry's working directory, else in PATH]
    #[arg(long, value_name = "FILE", help_heading = STRFRY, hide_short_help = true)]
    strfry_bin: Option<PathBuf>,
    /// How to reach a strfry in a container
    ///
    /// Such as 'docker exec -i relay /app/strfry': words, which no shell reads, and to which `import`
    /// is appended. That strfry finds its configuration by itself, unless they hold --config.
    #[arg(long, value_name = "COMMAND", help_heading = STRFRY, hide_short_help = true, conflicts_with = "strfry_bin")]
    strfry_command: Option<String>,
}

/// What strfry writes, as far as it is known before the database is open.
pub(super) struct Target {
    /// The database's directory, or its data.mdb.
    pub(super) database: PathBuf,
    pub(super) limits: EventLimits,
}

impl StrfryArguments {
    /// The executable on this machine.
    pub(super) fn binary(&self, node: &NodeArguments) -> Result<PathBuf> {
        let binary = self.strfry_bin.clone().unwrap_or_else(|| node.paths().strfry_bin());
        std::path::absolute(binary).or_usage()
    }

    /// The command by which strfry is reached, if it is not an executable on this machine.
    pub(super) fn words(&self) -> Option<&str> {
        self.strfry_command.as_deref()
    }

    pub(super) fn command(
        &self,
        node: &NodeArguments,
        patience: Duration,
    ) -> Result<StrfryCommand> {
        if let Some(words) = &self.strfry_command {
            let command = StrfryCommand::by_words(words, patience);
            return command.context("cannot use --strfry-command").or_usage();
        }
        let (paths, binary) = (node.paths(), self.binary(node)?);
        Ok(StrfryCommand::local(&binary, &paths.strfry_conf(), paths.strfry_dir(), patience))
    }

    /// The database that strfry imports into; another one must not be looked at.
    pub(super) fn target(&self, node: &NodeArguments) -> Result<Target> {
        if self.strfry_command.is_some() {
            // Its configuration names paths as it sees them, and may not be here at all.
            return Ok(Target { database: node.database()?, limits: node.event_limits()? });
        }
        let config = node.config().or_usage()?;
        let limits = config.limits;
        let Some(named) = &node.db else { return Ok(Target { database: config.db, limits }) };
        if config.is_of(named) {
            return Ok(Target { database: named.clone(), limits });
        }
        Err(Failure::Usage(anyhow!(
            "--db is {}, but strfry would import into {} (db in strfry.conf): \
             name the configuration of that database with --strfry-config",
            named.display(),
            config.db.display()
        )))
    }
}

impl Target {
    /// The database's directory.
    pub(super) fn directory(&self) -> PathBuf {
        let parent = self.database.parent().filter(|_| self.database.ends_with("data.mdb"));
        parent.unwrap_or(&self.database).to_owned()
    }

    /// Has strfry make the database if no strfry has opened it yet. `tell` is given a sentence then.
    pub(super) fn make_if_missing(
        &self,
        strfry: &StrfryCommand,
        stop: &Stop,
        tell: impl FnOnce(String),
    ) -> Result<()> {
        let directory = self.directory();
        if !is_untouched(&directory) {
            return Ok(());
        }
        tell(format!(
            "{} holds no database yet: strfry makes one (strfry import of nothing)",
            directory.display()
        ));
        initialise(strfry, &directory, stop).or_cannot_run()
    }
}
